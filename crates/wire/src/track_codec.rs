//! Track codec of the outbox: encodes a batch of track points in 5 to 9 bytes per point. No I/O.
//!
//! ```text
//! magic 3 | version 1 | crc32 4 | length 2 | first seq 8 | points 1 | level 1 | bits …  (LE)
//! ```
//!
//! - The CRC covers everything after it; magic and version are compared. A flipped bit gives an
//!   error, never another point or a panic.
//! - The bits are prediction residuals. Time, latitude and longitude are predicted linearly (second
//!   order), the odometer from the speed, all other fields as unchanged (first order). Rarely
//!   changing fields are behind two flags.
//! - Version 1 has positions in the outbox's precision, version 2 in that of the contract; both are
//!   otherwise equal. The precision is at least that of the contract, see [`TrackPoint::rounded`].
//!   `read_at` is not stored.
//! - A batch is self-contained: it can be recovered from a corrupt database file.

mod bits;
mod model;
mod raw;

use bits::{BitReader, BitWriter, UnexpectedEnd};
use model::Model;
pub use raw::Precision;
use raw::Raw;

use waypost_model::record::{Seq, TrackPoint};

/// First bytes of a batch.
pub const MAGIC: [u8; 3] = *b"WpB";

/// Supported format versions.
const VERSIONS: [(u8, Precision); 2] = [(1, Precision::Stored), (2, Precision::Published)];

/// Size of the header in bytes.
const HEADER: usize = 20;

/// Offset of the CRC, and of the bytes that it covers.
const CRC_AT: usize = 4;
const CRC_COVERS_FROM: usize = 8;

/// Maximum number of points per batch. It limits the loss from one damaged page.
pub const MAX_POINTS: u8 = 200;

/// Reason why bytes are not a valid batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackBatchError {
    /// The bytes do not start with a batch.
    #[error("not a batch of points")]
    NotABatch,
    /// Written by a newer agent.
    #[error(
        "batch has format {0}, this agent supports 1 and 2: reinstall the newer agent to send it"
    )]
    Version(u8),
    /// Damaged.
    #[error("batch is damaged: {0}")]
    Damaged(&'static str),
}

impl From<UnexpectedEnd> for TrackBatchError {
    fn from(_: UnexpectedEnd) -> Self {
        Self::Damaged("unexpected end")
    }
}

/// Decoded batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackBatch {
    /// Number of times the batch was thinned: it has about every 2^level-th point.
    pub level: u8,
    /// Points in ascending order of `seq`.
    pub points: Vec<(Seq, TrackPoint)>,
}

/// Builds a batch point by point.
#[derive(Clone, Debug)]
pub struct TrackBatchBuilder {
    first: Seq,
    last: Seq,
    precision: Precision,
    count: u8,
    model: Model,
    bits: BitWriter,
}

impl TrackBatchBuilder {
    /// Starts a batch with its first point.
    #[must_use]
    pub fn new(seq: Seq, point: &TrackPoint, precision: Precision) -> Self {
        let (model, bits) = (Model::new(seq, precision), BitWriter::default());
        let mut packer = Self { first: seq, last: seq, precision, count: 0, model, bits };
        packer.add(seq, point);
        packer
    }

    /// Adds a point with a higher `seq`. Returns false, with the batch unchanged, if the batch
    /// would exceed `max_bytes` or [`MAX_POINTS`].
    #[must_use]
    pub fn push(&mut self, seq: Seq, point: &TrackPoint, max_bytes: usize) -> bool {
        if self.count == MAX_POINTS {
            return false;
        }
        let mark = (self.last, self.model, self.bits.checkpoint());
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
        let written = model.transcode(bits, &Raw::from_point(seq, point, *precision), *count == 0);
        debug_assert!(written.is_ok(), "a writer never reaches an end");
        self.last = seq;
        self.count += 1;
    }

    /// Returns the size of the batch in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it has at least one point")]
    pub fn len(&self) -> usize {
        HEADER + self.bits.len()
    }

    /// Returns the sequence number of the first point.
    #[must_use]
    pub const fn first(&self) -> Seq {
        self.first
    }

    /// Returns the sequence number of the last point.
    #[must_use]
    pub const fn last(&self) -> Seq {
        self.last
    }

    /// Returns the number of points.
    #[must_use]
    pub const fn count(&self) -> u8 {
        self.count
    }

    /// Encodes the batch with its thinning level.
    #[must_use]
    pub fn pack(&self, level: u8) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend(MAGIC);
        let version = VERSIONS.iter().find(|(_, precision)| *precision == self.precision);
        bytes.push(version.expect("each precision has a version").0);
        bytes.extend([0; 4]);
        let length =
            u16::try_from(self.len()).expect("200 points of at most 120 bytes fit into u16");
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.first.get().to_le_bytes());
        bytes.extend([self.count, level]);
        self.bits.extend(&mut bytes);
        let crc = crc32fast::hash(&bytes[CRC_COVERS_FROM..]);
        bytes[CRC_AT..CRC_COVERS_FROM].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Returns the size of the leading batch according to its header; `None` if `bytes` has no complete
/// header.
pub(super) fn batch_len(bytes: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?)))
}

/// Returns the leading batch if it is complete and valid. Used to recover batches from a corrupt
/// database file.
#[must_use]
pub fn leading_batch(bytes: &[u8]) -> Option<&[u8]> {
    let batch = bytes.get(..batch_len(bytes)?)?;
    check(batch).ok().map(|_| batch)
}

fn check(bytes: &[u8]) -> Result<Precision, TrackBatchError> {
    let (Some(header), true) = (bytes.first_chunk::<HEADER>(), bytes.starts_with(&MAGIC)) else {
        return Err(TrackBatchError::NotABatch);
    };
    let version = header[3];
    let known = VERSIONS.iter().find(|(known, _)| *known == version);
    let (_, precision) = *known.ok_or(TrackBatchError::Version(version))?;
    if usize::from(u16::from_le_bytes([header[8], header[9]])) != bytes.len() {
        return Err(TrackBatchError::Damaged("length mismatch"));
    }
    if crc32fast::hash(&bytes[CRC_COVERS_FROM..]).to_le_bytes() != header[CRC_AT..CRC_COVERS_FROM] {
        return Err(TrackBatchError::Damaged("checksum mismatch"));
    }
    Ok(precision)
}

/// Decodes a whole batch.
///
/// # Errors
/// Returns an error if the bytes are damaged or written by a newer agent.
pub fn unpack(bytes: &[u8]) -> Result<TrackBatch, TrackBatchError> {
    let precision = check(bytes)?;
    let (header, body) = bytes.split_at(HEADER);
    let first = u64::from_le_bytes(header[10..18].try_into().expect("eight bytes"));
    let (count, level) = (header[18], header[19]);
    let mut reader = BitReader::new(body);
    let mut model = Model::new(Seq::new(first), precision);
    let mut points: Vec<(Seq, TrackPoint)> = Vec::with_capacity(usize::from(count));
    for number in 0..count {
        let raw = model.transcode(&mut reader, &Raw::default(), number == 0)?;
        let point = raw.to_point(precision).ok_or(TrackBatchError::Damaged("invalid point"))?;
        if points.last().is_some_and(|(last, _)| *last >= point.0) {
            return Err(TrackBatchError::Damaged("points do not ascend"));
        }
        points.push(point);
    }
    if points.is_empty() || !reader.is_exhausted() {
        return Err(TrackBatchError::Damaged("point count mismatch"));
    }
    Ok(TrackBatch { level, points })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    use super::raw::{MODES, MOTIONS, QUALITIES};
    use super::*;
    use waypost_model::fix::Fix;
    use waypost_model::units::{Course, Distance, Dop, Height, Position, Speed, Uptime, UtcTime};

    pub(crate) fn point() -> impl Strategy<Value = TrackPoint> {
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
        let mut packer = TrackBatchBuilder::new(points[0].0, &points[0].1, Precision::Stored);
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
            prop_assert_eq!(leading_batch(&longer), Some(&bytes[..]));
            prop_assert_eq!(unpack(&bytes), Ok(TrackBatch { level: 2, points }));
        }

        #[test]
        fn any_bytes_are_points_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..200), count: u8) {
            // The CRC is valid, so that the damage reaches the decoder.
            let mut bytes = [&MAGIC[..], &[1, 0, 0, 0, 0]].concat();
            bytes.extend(u16::try_from(HEADER + body.len()).unwrap().to_le_bytes());
            bytes.extend(u64::from(count).pow(7).to_le_bytes());
            bytes.extend([count, 0]);
            bytes.extend(&body);
            let crc = crc32fast::hash(&bytes[CRC_COVERS_FROM..]);
            bytes[CRC_AT..CRC_COVERS_FROM].copy_from_slice(&crc.to_le_bytes());
            let _ = unpack(&bytes);
            let _ = unpack(&body);
            let _ = leading_batch(&body);
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
        let mut packer = TrackBatchBuilder::new(points[0].0, &points[0].1, Precision::Stored);
        let fitting = points[1..].iter().take_while(|(seq, at)| packer.push(*seq, at, 500)).count();
        assert!(packer.len() <= 500 && fitting > 5, "{fitting}");
        assert_eq!(packer.pack(2), packed(&points[..=fitting]));
        assert_eq!(packer.last(), points[fitting].0);
    }
}
