//! Points of the trail ↔ one batch of bytes in the outbox: 5 to 9 bytes a point (pure).
//!
//! ```text
//! magic 3 | version 1 | crc32 4 | length 2 | first seq 8 | points 1 | level 1 | bits …      (little-endian)
//! ```
//!
//! - Everything but magic, version and the CRC itself is under the CRC; those are compared. A flipped bit is an error,
//!   never another point, and never a panic.
//! - The bits are residuals of a prediction: time, latitude and longitude go on as before (second order), the odometer
//!   goes on by the speed, everything else stays as it is (first order). What seldom changes is behind two flags.
//! - Version 1 has positions as the outbox keeps them, version 2 as the contract says them; all else is the same. The
//!   precision is the wire's or finer, see [`TrackPoint::rounded`]; `read_at` is not kept.
//! - A batch stands for itself: it is found and read in the bytes of a file that is no database any more.

mod bits;
mod model;
mod raw;

use bits::{BitReader, BitWriter, Ended};
use model::Model;
pub use raw::Precision;
use raw::Raw;

use crate::core::record::{Seq, TrackPoint};

/// What a batch begins with.
pub const MAGIC: [u8; 3] = *b"WpB";

/// The formats that this agent knows.
const VERSIONS: [(u8, Precision); 2] = [(1, Precision::Kept), (2, Precision::Said)];

/// Bytes before the bits.
const HEADER: usize = 20;

/// Where the CRC begins, and what it covers.
const CRC_AT: usize = 4;
const COVERED_FROM: usize = 8;

/// Points in a batch at most: what one damaged page can cost.
pub const MAX_POINTS: u8 = 200;

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// Not one of ours, or not its beginning.
    #[error("not a batch of points")]
    NoBatch,
    /// Written by a newer agent.
    #[error(
        "batch of format {0}, this agent knows 1 and 2: install the newer agent again to send it"
    )]
    Version(u8),
    /// Damaged.
    #[error("batch is damaged: {0}")]
    Damaged(&'static str),
}

impl From<Ended> for PackedError {
    fn from(_: Ended) -> Self {
        Self::Damaged("ends too early")
    }
}

/// A batch that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// How often it was thinned: it holds about every 2^level-th point.
    pub level: u8,
    /// Its points, ascending.
    pub points: Vec<(Seq, TrackPoint)>,
}

/// A batch that grows point by point.
#[derive(Clone, Debug)]
pub struct Packer {
    first: Seq,
    last: Seq,
    precision: Precision,
    count: u8,
    model: Model,
    bits: BitWriter,
}

impl Packer {
    /// Begins a batch with its first point.
    #[must_use]
    pub fn new(seq: Seq, point: &TrackPoint, precision: Precision) -> Self {
        let (model, bits) = (Model::new(seq, precision), BitWriter::default());
        let mut packer = Self { first: seq, last: seq, precision, count: 0, model, bits };
        packer.add(seq, point);
        packer
    }

    /// Adds a point above the last one; false, and as before, if it is then larger than `max_bytes` or has too many.
    #[must_use]
    pub fn push(&mut self, seq: Seq, point: &TrackPoint, max_bytes: usize) -> bool {
        if self.count == MAX_POINTS {
            return false;
        }
        let mark = (self.last, self.model, self.bits.mark());
        self.add(seq, point);
        let fits = self.len() <= max_bytes;
        if !fits {
            (self.last, self.model) = (mark.0, mark.1);
            self.bits.rewind(mark.2);
            self.count -= 1;
        }
        fits
    }

    fn add(&mut self, seq: Seq, point: &TrackPoint) {
        let Self { model, bits, count, precision, .. } = self;
        let written = model.pass(bits, &Raw::of(seq, point, *precision), *count == 0);
        debug_assert!(written.is_ok(), "a writer does not end");
        self.last = seq;
        self.count += 1;
    }

    /// Bytes of the batch.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it has a point at least")]
    pub fn len(&self) -> usize {
        HEADER + self.bits.len()
    }

    /// Its first point's number.
    #[must_use]
    pub const fn first(&self) -> Seq {
        self.first
    }

    /// Its last point's number.
    #[must_use]
    pub const fn last(&self) -> Seq {
        self.last
    }

    /// How many points it has.
    #[must_use]
    pub const fn count(&self) -> u8 {
        self.count
    }

    /// The batch, with what it says of its thinning.
    #[must_use]
    pub fn pack(&self, level: u8) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend(MAGIC);
        let version = VERSIONS.iter().find(|(_, precision)| *precision == self.precision);
        bytes.push(version.expect("each has a version").0);
        bytes.extend([0; 4]);
        let length = u16::try_from(self.len()).expect("200 points of 120 bytes");
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.first.get().to_le_bytes());
        bytes.extend([self.count, level]);
        self.bits.extend(&mut bytes);
        let crc = crc32fast::hash(&bytes[COVERED_FROM..]);
        bytes[CRC_AT..COVERED_FROM].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Bytes of the batch that `bytes` begin with, as its header says; `None` without one.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?)))
}

/// The batch that `bytes` begin with, if they do and it is whole: for the bytes of a file that is no database any more.
#[must_use]
pub fn found_at(bytes: &[u8]) -> Option<&[u8]> {
    let batch = bytes.get(..length(bytes)?)?;
    check(batch).ok().map(|_| batch)
}

fn check(bytes: &[u8]) -> Result<Precision, PackedError> {
    let (Some(header), true) = (bytes.first_chunk::<HEADER>(), bytes.starts_with(&MAGIC)) else {
        return Err(PackedError::NoBatch);
    };
    let version = header[3];
    let known = VERSIONS.iter().find(|(known, _)| *known == version);
    let (_, precision) = *known.ok_or(PackedError::Version(version))?;
    if usize::from(u16::from_le_bytes([header[8], header[9]])) != bytes.len() {
        return Err(PackedError::Damaged("has another length"));
    }
    if crc32fast::hash(&bytes[COVERED_FROM..]).to_le_bytes() != header[CRC_AT..COVERED_FROM] {
        return Err(PackedError::Damaged("has another checksum"));
    }
    Ok(precision)
}

/// Reads a whole batch.
///
/// # Errors
/// [`PackedError`], when the bytes are damaged or newer than this agent.
pub fn unpack(bytes: &[u8]) -> Result<Packed, PackedError> {
    let precision = check(bytes)?;
    let (header, body) = bytes.split_at(HEADER);
    let first = u64::from_le_bytes(header[10..18].try_into().expect("eight bytes"));
    let (count, level) = (header[18], header[19]);
    let mut reader = BitReader::new(body);
    let mut model = Model::new(Seq::new(first), precision);
    let mut points: Vec<(Seq, TrackPoint)> = Vec::with_capacity(usize::from(count));
    for number in 0..count {
        let raw = model.pass(&mut reader, &Raw::default(), number == 0)?;
        let point = raw.point(precision).ok_or(PackedError::Damaged("a point that cannot be"))?;
        if points.last().is_some_and(|(last, _)| *last >= point.0) {
            return Err(PackedError::Damaged("points that do not ascend"));
        }
        points.push(point);
    }
    if points.is_empty() || !reader.has_ended() {
        return Err(PackedError::Damaged("has another number of points"));
    }
    Ok(Packed { level, points })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    use super::raw::{MODES, MOTIONS, QUALITIES};
    use super::*;
    use crate::core::fix::Fix;
    use crate::units::{Course, Distance, Dop, Height, Position, Speed, Uptime, UtcTime};

    pub(in crate::wire) fn point() -> impl Strategy<Value = TrackPoint> {
        let fix = (
            (0_i64..4_000_000_000_000, -90.0..=90.0_f64, -180.0..=180.0_f64),
            (0_usize..2, 0_usize..6, 0_usize..3, 0.0..1e9_f64),
            (prop::option::of(-500.0..9000.0_f64), prop::option::of(-500.0..9000.0_f64)),
            (prop::option::of(0.0..300.0_f64), prop::option::of(0.0..360.0_f64)),
            (prop::option::of(0.01..80.0_f64), prop::option::of(0_u8..100)),
            prop::option::of(0.0..1000.0_f64),
        );
        fix.prop_map(|(place, labels, heights, way, satellites, accuracy)| {
            let fix = Fix {
                utc: UtcTime::from_unix_ms(place.0).unwrap(),
                read_at: Uptime::ZERO,
                position: Position::from_degrees(place.1, place.2).unwrap(),
                mode: MODES[labels.0],
                quality: QUALITIES[labels.1],
                altitude_msl: heights.0.and_then(Height::from_metres),
                height_hae: heights.1.and_then(Height::from_metres),
                speed: way.0.and_then(Speed::from_mps),
                course: way.1.and_then(Course::from_degrees),
                hdop: satellites.0.and_then(Dop::new),
                satellites_used: satellites.1,
                accuracy: accuracy.and_then(Distance::from_metres),
            };
            let odometer = Distance::from_metres(labels.3).unwrap();
            TrackPoint { fix, motion: MOTIONS[labels.2], odometer }.rounded()
        })
    }

    fn packed(points: &[(Seq, TrackPoint)]) -> Vec<u8> {
        let mut packer = Packer::new(points[0].0, &points[0].1, Precision::Kept);
        for (seq, point) in &points[1..] {
            assert!(packer.push(*seq, point, usize::MAX));
        }
        packer.pack(2)
    }

    fn numbered(points: Vec<(u64, TrackPoint)>) -> Vec<(Seq, TrackPoint)> {
        let mut seq = 77;
        let mut step = |by| {
            seq += by;
            Seq::new(seq)
        };
        points.into_iter().map(|(by, point)| (step(by), point)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_points_come_back_as_they_were(
            points in proptest::collection::vec((1_u64..5, point()), 1..40),
        ) {
            let points = numbered(points);
            let bytes = packed(&points);
            let longer = [&bytes[..], &[7; 9]].concat();
            prop_assert_eq!(found_at(&longer), Some(&bytes[..]));
            prop_assert_eq!(unpack(&bytes), Ok(Packed { level: 2, points }));
        }

        #[test]
        fn any_bytes_are_points_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..200), count: u8) {
            // With a CRC that is right, so that every damage reaches what is behind it.
            let mut bytes = [&MAGIC[..], &[1, 0, 0, 0, 0]].concat();
            bytes.extend(u16::try_from(HEADER + body.len()).unwrap().to_le_bytes());
            bytes.extend(u64::from(count).pow(7).to_le_bytes());
            bytes.extend([count, 0]);
            bytes.extend(&body);
            let crc = crc32fast::hash(&bytes[COVERED_FROM..]);
            bytes[CRC_AT..COVERED_FROM].copy_from_slice(&crc.to_le_bytes());
            let _ = unpack(&bytes);
            let _ = unpack(&body);
            let _ = found_at(&body);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let points = proptest::collection::vec((1_u64..5, point()), 20)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let bytes = packed(&numbered(points));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unpack(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(unpack(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_point_that_does_not_fit_leaves_the_batch_as_it_was() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let points = proptest::collection::vec((1_u64..5, point()), 60)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let points = numbered(points);
        let mut packer = Packer::new(points[0].0, &points[0].1, Precision::Kept);
        let fitting = points[1..].iter().take_while(|(seq, at)| packer.push(*seq, at, 500)).count();
        assert!(packer.len() <= 500 && fitting > 5, "{fitting}");
        assert_eq!(packer.pack(2), packed(&points[..=fitting]));
        assert_eq!(packer.last(), points[fitting].0);
    }
}
