//! Track points as integers in the units of the format.

use waypost_model::fix::{Fix, FixMode, FixQuality};
use waypost_model::motion::Motion;
use waypost_model::record::{Seq, TrackPoint};
use waypost_model::units::{Course, Distance, Dop, Height, Position, Speed, Uptime, UtcTime};

/// Precision of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 1e-7 degrees (1 cm), as stored in the outbox.
    Stored,
    /// 1e-5 degrees (1 m), as published.
    Published,
}

impl Precision {
    const fn units_per_degree(self) -> f64 {
        match self {
            Self::Stored => 1e7,
            Self::Published => 1e5,
        }
    }
}

/// Track point as integers in the units of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) seq: i64,
    pub(super) utc_ms: i64,
    /// In the unit of [`Precision`].
    pub(super) lat: i64,
    pub(super) lon: i64,
    pub(super) odometer_dm: i64,
    pub(super) altitude_dm: i64,
    /// Height above the ellipsoid minus altitude above mean sea level.
    pub(super) geoid_dm: i64,
    pub(super) speed_cmps: i64,
    pub(super) course_ddeg: i64,
    pub(super) hdop_e2: i64,
    pub(super) satellites: i64,
    /// Accuracy minus the accuracy derived from the HDOP.
    pub(super) spread_dm: i64,
    /// Presence bits of the optional fields.
    pub(super) present: i64,
    /// Fix mode, quality and motion, combined.
    pub(super) labels: i64,
}

pub(super) const ALTITUDE: i64 = 1;
const ELLIPSOID: i64 = 1 << 1;
pub(super) const SPEED: i64 = 1 << 2;
pub(super) const COURSE: i64 = 1 << 3;
const HDOP: i64 = 1 << 4;
const SATELLITES: i64 = 1 << 5;
const ACCURACY: i64 = 1 << 6;

pub(super) const MODES: [FixMode; 2] = [FixMode::TwoD, FixMode::ThreeD];
pub(super) const MOTIONS: [Motion; 3] = [Motion::Unknown, Motion::Moving, Motion::Halted];
pub(super) const QUALITIES: [FixQuality; 6] = [
    FixQuality::Gps,
    FixQuality::Dgps,
    FixQuality::Pps,
    FixQuality::Rtk,
    FixQuality::RtkFloat,
    FixQuality::Estimated,
];

impl Raw {
    pub(super) fn from_point(seq: Seq, point: &TrackPoint, precision: Precision) -> Self {
        let TrackPoint { fix, motion, odometer } = point;
        let height = |height: Option<Height>| height.map_or(0, |height| tenths(height.as_metres()));
        let altitude_dm = height(fix.altitude_msl);
        let hdop_e2 = fix.hdop.map_or(0, |dop| round(dop.value() * 100.0));
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
        let position = match precision {
            Precision::Stored => fix.position,
            Precision::Published => fix.position.rounded_to_1e5(),
        };
        Self {
            seq: i64::try_from(seq.get()).unwrap_or(i64::MAX),
            utc_ms: fix.utc.as_unix_ms(),
            lat: round(position.lat_deg() * precision.units_per_degree()),
            lon: round(position.lon_deg() * precision.units_per_degree()),
            odometer_dm: tenths(odometer.as_metres()),
            altitude_dm,
            geoid_dm: fix.height_hae.map_or(0, |hae| tenths(hae.as_metres()) - altitude_dm),
            speed_cmps: fix.speed.map_or(0, |speed| i64::from(speed.as_mmps()) / 10),
            course_ddeg: fix.course.map_or(0, |course| tenths(course.as_degrees())),
            hdop_e2,
            satellites: fix.satellites_used.map_or(0, i64::from),
            spread_dm: accuracy_dm.map_or(0, |accuracy| accuracy - accuracy_from_hdop_dm(hdop_e2)),
            present: present.iter().filter(|(_, is)| *is).map(|(bit, _)| bit).sum(),
            labels: index(&MOTIONS, motion) + 3 * (mode + 2 * quality),
        }
    }

    /// Converts to a point; `None` for invalid values, which the CRC may have missed.
    pub(super) fn to_point(self, precision: Precision) -> Option<(Seq, TrackPoint)> {
        let has = |bit: i64| self.present & bit != 0;
        // Outer `None`: present but invalid, so the batch is damaged. Inner `None`: absent.
        let field = |bit, value: Option<f64>| if has(bit) { value.map(Some) } else { Some(None) };
        let over = |value: i64, unit: f64| exact(value).map(|value| value / unit);
        let degrees = |value| over(value, precision.units_per_degree());
        let height = |height: Option<f64>| match height {
            Some(metres) => Height::from_metres(metres).map(Some),
            None => Some(None),
        };
        let labels = usize::try_from(self.labels).ok()?;
        // Without an altitude the height above the ellipsoid is stored directly.
        let msl_dm = if has(ALTITUDE) { self.altitude_dm } else { 0 };
        let hae_dm = msl_dm.checked_add(self.geoid_dm)?;
        let accuracy_dm = self.spread_dm.checked_add(accuracy_from_hdop_dm(self.hdop_e2))?;
        let fix = Fix {
            utc: UtcTime::from_unix_ms(self.utc_ms)?,
            read_at: Uptime::ZERO,
            position: Position::from_degrees(degrees(self.lat)?, degrees(self.lon)?)?,
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

/// Returns the accuracy for an HDOP at 5 m of range error, as in the fix filter.
const fn accuracy_from_hdop_dm(hdop_e2: i64) -> i64 {
    hdop_e2.wrapping_add(1) / 2
}

pub(super) fn index<T: PartialEq>(all: &[T], one: &T) -> i64 {
    let index = all.iter().position(|other| other == one).expect("the list is complete");
    i64::try_from(index).expect("the lists are short")
}

fn tenths(value: f64) -> i64 {
    round(value * 10.0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "units are bounded; the cast saturates otherwise"
)]
fn round(value: f64) -> i64 {
    value.round() as i64
}

/// Converts to `f64` if the value is represented exactly.
#[expect(clippy::cast_precision_loss, reason = "the range was checked")]
fn exact(value: i64) -> Option<f64> {
    (value.unsigned_abs() < 1 << 53).then_some(value as f64)
}
