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
//! - The precision is the wire's or finer, see [`TrackPoint::rounded`]; `read_at` is not kept.
//! - A batch stands for itself: it is found and read in the bytes of a file that is no database any more.

use super::bits::{BitReader, BitWriter, Coder, Ended, Usual};
use crate::core::fix::{Fix, FixMode, FixQuality};
use crate::core::journey::Motion;
use crate::core::record::{Seq, TrackPoint};
use crate::units::{Course, Distance, Dop, Height, Position, Speed, Uptime, UtcTime};

/// What a batch begins with.
pub const MAGIC: [u8; 3] = *b"WpB";

/// The format that this agent writes.
const VERSION: u8 = 1;

/// Bytes before the bits.
const HEADER: usize = 20;

/// Where the CRC begins, and what it covers.
const CRC_AT: usize = 4;
const COVERED_FROM: usize = 8;

/// Points in a batch at most: what one damaged page can cost.
pub const MAX_POINTS: u8 = 200;

/// The time between two fixes from which on they say nothing about the way to the next.
const NEAR_MS: i64 = 60_000;

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// Not one of ours, or not its beginning.
    #[error("not a batch of points")]
    NoBatch,
    /// Written by a newer agent.
    #[error(
        "batch of format {0}, this agent knows {VERSION}: install the newer agent again to send it"
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

/// A point as whole numbers in the units of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Raw {
    seq: i64,
    utc_ms: i64,
    lat_e7: i64,
    lon_e7: i64,
    odometer_dm: i64,
    altitude_dm: i64,
    /// Ellipsoid above mean sea level.
    geoid_dm: i64,
    speed_cmps: i64,
    course_ddeg: i64,
    hdop_e2: i64,
    satellites: i64,
    /// Accuracy beyond what the HDOP alone says.
    spread_dm: i64,
    /// One bit for each optional field.
    present: i64,
    /// Mode, quality and motion.
    labels: i64,
}

const ALTITUDE: i64 = 1;
const ELLIPSOID: i64 = 1 << 1;
const SPEED: i64 = 1 << 2;
const COURSE: i64 = 1 << 3;
const HDOP: i64 = 1 << 4;
const SATELLITES: i64 = 1 << 5;
const ACCURACY: i64 = 1 << 6;

const MODES: [FixMode; 2] = [FixMode::TwoD, FixMode::ThreeD];
const MOTIONS: [Motion; 3] = [Motion::Unknown, Motion::Moving, Motion::Halted];
const QUALITIES: [FixQuality; 6] = [
    FixQuality::Gps,
    FixQuality::Dgps,
    FixQuality::Pps,
    FixQuality::Rtk,
    FixQuality::RtkFloat,
    FixQuality::Estimated,
];

impl Raw {
    fn of(seq: Seq, point: &TrackPoint) -> Self {
        let TrackPoint { fix, motion, odometer } = point;
        let height = |height: Option<Height>| height.map_or(0, |height| tenths(height.as_metres()));
        let altitude_dm = height(fix.altitude_msl);
        let hdop_e2 = fix.hdop.map_or(0, |dop| whole(dop.value() * 100.0));
        let accuracy_dm = fix.accuracy.map(|accuracy| tenths(accuracy.as_metres()));
        let present = [
            (ALTITUDE, fix.altitude_msl.is_some()),
            (ELLIPSOID, fix.height_hae.is_some()),
            (SPEED, fix.speed.is_some()),
            (COURSE, fix.course.is_some()),
            (HDOP, fix.hdop.is_some()),
            (SATELLITES, fix.satellites_used.is_some()),
            (ACCURACY, fix.accuracy.is_some()),
        ];
        let mode = index(&MODES, &fix.mode);
        let quality = index(&QUALITIES, &fix.quality);
        Self {
            seq: i64::try_from(seq.get()).unwrap_or(i64::MAX),
            utc_ms: fix.utc.as_unix_ms(),
            lat_e7: fix.position.lat_e9() / 100,
            lon_e7: fix.position.lon_e9() / 100,
            odometer_dm: tenths(odometer.as_metres()),
            altitude_dm,
            geoid_dm: fix.height_hae.map_or(0, |hae| tenths(hae.as_metres()) - altitude_dm),
            speed_cmps: fix.speed.map_or(0, |speed| i64::from(speed.as_mmps()) / 10),
            course_ddeg: fix.course.map_or(0, |course| tenths(course.as_degrees())),
            hdop_e2,
            satellites: fix.satellites_used.map_or(0, i64::from),
            spread_dm: accuracy_dm.map_or(0, |accuracy| accuracy - by_hdop_dm(hdop_e2)),
            present: present.iter().filter(|(_, is)| *is).map(|(bit, _)| bit).sum(),
            labels: index(&MOTIONS, motion) + 3 * (mode + 2 * quality),
        }
    }

    /// Damage that the CRC did not see may still be no point.
    fn point(&self) -> Option<(Seq, TrackPoint)> {
        let has = |bit: i64| self.present & bit != 0;
        // An optional field that is there and cannot be is damage; one that is not there is none.
        let field = |bit, value: Option<f64>| if has(bit) { value.map(Some) } else { Some(None) };
        let over = |value: i64, unit: f64| exact(value).map(|value| value / unit);
        let height = |height: Option<f64>| match height {
            Some(metres) => Height::from_metres(metres).map(Some),
            None => Some(None),
        };
        let labels = usize::try_from(self.labels).ok()?;
        // Without an altitude the ellipsoid is measured from zero.
        let msl_dm = if has(ALTITUDE) { self.altitude_dm } else { 0 };
        let hae_dm = msl_dm.checked_add(self.geoid_dm)?;
        let accuracy_dm = self.spread_dm.checked_add(by_hdop_dm(self.hdop_e2))?;
        let fix = Fix {
            utc: UtcTime::from_unix_ms(self.utc_ms)?,
            read_at: Uptime::ZERO,
            position: Position::from_degrees(over(self.lat_e7, 1e7)?, over(self.lon_e7, 1e7)?)?,
            mode: MODES[labels / 3 % 2],
            quality: *QUALITIES.get(labels / 6)?,
            altitude_msl: height(field(ALTITUDE, over(self.altitude_dm, 10.0))?)?,
            height_hae: height(field(ELLIPSOID, over(hae_dm, 10.0))?)?,
            speed: match field(SPEED, over(self.speed_cmps, 100.0))? {
                Some(mps) => Some(Speed::from_mps(mps)?),
                None => None,
            },
            course: match field(COURSE, over(self.course_ddeg, 10.0))? {
                Some(degrees) => Some(Course::from_degrees(degrees)?),
                None => None,
            },
            hdop: match field(HDOP, over(self.hdop_e2, 100.0))? {
                Some(dop) => Some(Dop::new(dop)?),
                None => None,
            },
            satellites_used: match has(SATELLITES) {
                true => Some(u8::try_from(self.satellites).ok()?),
                false => None,
            },
            accuracy: match field(ACCURACY, over(accuracy_dm, 10.0))? {
                Some(metres) => Some(Distance::from_metres(metres)?),
                None => None,
            },
        };
        let odometer = Distance::from_metres(over(self.odometer_dm, 10.0)?)?;
        let seq = Seq::new(u64::try_from(self.seq).ok()?);
        Some((seq, TrackPoint { fix, motion: MOTIONS[labels % 3], odometer }))
    }
}

/// 5 m of range error for each unit of HDOP, as the gate reckons.
const fn by_hdop_dm(hdop_e2: i64) -> i64 {
    hdop_e2.wrapping_add(1) / 2
}

fn index<T: PartialEq>(all: &[T], one: &T) -> i64 {
    let index = all.iter().position(|other| other == one).expect("the list has them all");
    i64::try_from(index).expect("the lists are short")
}

fn tenths(value: f64) -> i64 {
    whole(value * 10.0)
}

#[expect(clippy::cast_possible_truncation, reason = "units are bounded; else it saturates")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

/// What an `f64` holds exactly.
#[expect(clippy::cast_precision_loss, reason = "the range was checked")]
fn exact(value: i64) -> Option<f64> {
    (value.unsigned_abs() < 1 << 53).then_some(value as f64)
}

/// The fields in the order of the bits.
#[derive(Clone, Copy)]
enum Field {
    SeqStep,
    UtcStep,
    Present,
    Labels,
    Geoid,
    Hdop,
    Satellites,
    Spread,
    Lat,
    Lon,
    Speed,
    Course,
    Altitude,
    Odometer,
}

/// What the next point is predicted from, the same on both sides.
#[derive(Clone, Copy, Debug)]
struct Model {
    before: Raw,
    seq_step: i64,
    utc_step_ms: i64,
    lat_step: i64,
    lon_step: i64,
    usual: [Usual; 14],
}

/// One point through the coder.
struct Pass<'a, C> {
    coder: &'a mut C,
    usual: [Usual; 14],
}

impl<C: Coder> Pass<'_, C> {
    /// `value` as its distance from what was predicted; the one that was read if this is a reader.
    fn code(&mut self, field: Field, predicted: i64, value: i64) -> Result<i64, Ended> {
        let usual = &mut self.usual[field as usize];
        let residual = self.coder.residual(usual, value.wrapping_sub(predicted))?;
        Ok(predicted.wrapping_add(residual))
    }
}

impl Model {
    fn new(first: Seq) -> Self {
        // Guesses in the order of `Field`: they matter for the first points of a batch only.
        let usual = [0, 0, 0, 0, 0, 8, 1, 2, 60, 60, 20, 40, 4, 2].map(Usual::about);
        let seq = i64::try_from(first.get()).unwrap_or(i64::MAX);
        let before = Raw { seq, ..Raw::default() };
        Self { before, seq_step: 0, utc_step_ms: 0, lat_step: 0, lon_step: 0, usual }
    }

    /// Writes `point`, or ignores it and reads one. What wraps is damage that no CRC saw.
    fn pass(&mut self, coder: &mut impl Coder, point: &Raw, first: bool) -> Result<Raw, Ended> {
        let mut pass = Pass { coder, usual: self.usual };
        let last_step_ms = self.utc_step_ms;
        let mut next = self.seldom(&mut pass, point)?;
        let before = self.before;
        let near = [last_step_ms, self.utc_step_ms].iter().all(|ms| (1..=NEAR_MS).contains(ms));
        let goes_on = |step: i64| {
            if near { step.wrapping_mul(self.utc_step_ms) / last_step_ms } else { 0 }
        };
        let lat = before.lat_e7.wrapping_add(goes_on(self.lat_step));
        let lon = before.lon_e7.wrapping_add(goes_on(self.lon_step));
        next.lat_e7 = pass.code(Field::Lat, lat, point.lat_e7)?;
        next.lon_e7 = pass.code(Field::Lon, lon, point.lon_e7)?;
        if next.present & SPEED != 0 {
            next.speed_cmps = pass.code(Field::Speed, before.speed_cmps, point.speed_cmps)?;
        }
        if next.present & COURSE != 0 {
            // The shorter way round.
            let turn = point.course_ddeg.wrapping_sub(before.course_ddeg).wrapping_add(1800);
            let turn = turn.rem_euclid(3600) - 1800;
            let turned = pass.code(Field::Course, 0, turn)?;
            next.course_ddeg = before.course_ddeg.wrapping_add(turned).rem_euclid(3600);
        }
        if next.present & ALTITUDE != 0 {
            next.altitude_dm = pass.code(Field::Altitude, before.altitude_dm, point.altitude_dm)?;
        }
        let drives = near && next.labels % 3 == index(&MOTIONS, &Motion::Moving);
        let way = if drives { next.speed_cmps.wrapping_mul(self.utc_step_ms) / 10_000 } else { 0 };
        let odometer = before.odometer_dm.wrapping_add(way);
        next.odometer_dm = pass.code(Field::Odometer, odometer, point.odometer_dm)?;
        self.lat_step = next.lat_e7.wrapping_sub(before.lat_e7);
        self.lon_step = next.lon_e7.wrapping_sub(before.lon_e7);
        self.before = next;
        // The first point is written out, and no measure of what is usual.
        if !first {
            self.usual = pass.usual;
        }
        Ok(next)
    }

    /// What seldom changes, behind a flag, and what the receiver thinks of its fix, behind another.
    fn seldom(&mut self, pass: &mut Pass<'_, impl Coder>, point: &Raw) -> Result<Raw, Ended> {
        let before = self.before;
        let mut next = before;
        let seq_step = point.seq.wrapping_sub(before.seq);
        let utc_step_ms = point.utc_ms.wrapping_sub(before.utc_ms);
        let steps = (seq_step, utc_step_ms) == (self.seq_step, self.utc_step_ms);
        let kind = |raw: &Raw| (raw.present, raw.labels, raw.geoid_dm);
        if pass.coder.flag(!steps || kind(point) != kind(&before))? {
            self.seq_step = pass.code(Field::SeqStep, self.seq_step, seq_step)?;
            self.utc_step_ms = pass.code(Field::UtcStep, self.utc_step_ms, utc_step_ms)?;
            next.present = pass.code(Field::Present, before.present, point.present)?;
            next.labels = pass.code(Field::Labels, before.labels, point.labels)?;
            next.geoid_dm = pass.code(Field::Geoid, before.geoid_dm, point.geoid_dm)?;
        }
        next.seq = before.seq.wrapping_add(self.seq_step);
        next.utc_ms = before.utc_ms.wrapping_add(self.utc_step_ms);
        let quality = |raw: &Raw| (raw.hdop_e2, raw.satellites, raw.spread_dm);
        if pass.coder.flag(quality(point) != quality(&before))? {
            next.hdop_e2 = pass.code(Field::Hdop, before.hdop_e2, point.hdop_e2)?;
            next.satellites = pass.code(Field::Satellites, before.satellites, point.satellites)?;
            next.spread_dm = pass.code(Field::Spread, before.spread_dm, point.spread_dm)?;
        }
        Ok(next)
    }
}

/// A batch that grows point by point.
#[derive(Clone, Debug)]
pub struct Packer {
    first: Seq,
    last: Seq,
    count: u8,
    model: Model,
    bits: BitWriter,
}

impl Packer {
    /// Begins a batch with its first point.
    #[must_use]
    pub fn new(seq: Seq, point: &TrackPoint) -> Self {
        let bits = BitWriter::default();
        let mut packer = Self { first: seq, last: seq, count: 0, model: Model::new(seq), bits };
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
        let Self { model, bits, count, .. } = self;
        let written = model.pass(bits, &Raw::of(seq, point), *count == 0);
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
        bytes.push(VERSION);
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

/// The batch that `bytes` begin with, if they do and it is whole: for the bytes of a file that is no database any more.
#[must_use]
pub fn found_at(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?));
    let batch = bytes.get(..length)?;
    check(batch).ok().map(|()| batch)
}

fn check(bytes: &[u8]) -> Result<(), PackedError> {
    let (Some(header), true) = (bytes.first_chunk::<HEADER>(), bytes.starts_with(&MAGIC)) else {
        return Err(PackedError::NoBatch);
    };
    if header[3] != VERSION {
        return Err(PackedError::Version(header[3]));
    }
    if usize::from(u16::from_le_bytes([header[8], header[9]])) != bytes.len() {
        return Err(PackedError::Damaged("has another length"));
    }
    if crc32fast::hash(&bytes[COVERED_FROM..]).to_le_bytes() != header[CRC_AT..COVERED_FROM] {
        return Err(PackedError::Damaged("has another checksum"));
    }
    Ok(())
}

/// Reads a whole batch.
///
/// # Errors
/// [`PackedError`], when the bytes are damaged or newer than this agent.
pub fn unpack(bytes: &[u8]) -> Result<Packed, PackedError> {
    check(bytes)?;
    let (header, body) = bytes.split_at(HEADER);
    let first = u64::from_le_bytes(header[10..18].try_into().expect("eight bytes"));
    let (count, level) = (header[18], header[19]);
    let mut reader = BitReader::new(body);
    let mut model = Model::new(Seq::new(first));
    let mut points: Vec<(Seq, TrackPoint)> = Vec::with_capacity(usize::from(count));
    for number in 0..count {
        let raw = model.pass(&mut reader, &Raw::default(), number == 0)?;
        let point = raw.point().ok_or(PackedError::Damaged("a point that cannot be"))?;
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
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    use super::*;

    fn point() -> impl Strategy<Value = TrackPoint> {
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
        let mut packer = Packer::new(points[0].0, &points[0].1);
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
            let mut bytes = [&MAGIC[..], &[VERSION, 0, 0, 0, 0]].concat();
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
        let mut packer = Packer::new(points[0].0, &points[0].1);
        let fitting = points[1..].iter().take_while(|(seq, at)| packer.push(*seq, at, 500)).count();
        assert!(packer.len() <= 500 && fitting > 5, "{fitting}");
        assert_eq!(packer.pack(2), packed(&points[..=fitting]));
        assert_eq!(packer.last(), points[fitting].0);
    }
}
