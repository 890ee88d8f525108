//! [`Epoch`](super::epoch::Epoch) → [`Fix`] or [`Rejection`]: the gate between what a receiver says and what we believe.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calendar::{Calendar, Era};
use super::epoch::Epoch;
use super::sentence::Indicator;
use crate::units::{Course, Distance, Dop, Height, Position, Speed, TimeOfDay, Uptime, UtcTime};

/// An accepted position in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// The instant that the receiver gave.
    pub utc: UtcTime,
    /// When the first byte of its epoch was read.
    pub read_at: Uptime,
    /// WGS 84.
    pub position: Position,
    /// 2D or 3D.
    pub mode: FixMode,
    /// How the receiver came to it.
    pub quality: FixQuality,
    /// Above mean sea level (NMEA 0183 GGA field 9).
    pub altitude_msl: Option<Height>,
    /// Above the WGS 84 ellipsoid: altitude plus geoid separation (GGA fields 9 and 11).
    pub height_hae: Option<Height>,
    /// Over ground.
    pub speed: Option<Speed>,
    /// Over ground, true.
    pub course: Option<Course>,
    /// Horizontal dilution of precision.
    pub hdop: Option<Dop>,
    /// Satellites used in the solution (GGA field 7): at most 99.
    pub satellites_used: Option<u8>,
    /// 68 % horizontal radius: GST if present, else HDOP × the range error.
    pub accuracy: Option<Distance>,
}

/// Dimensions of a fix (NMEA 0183 GSA field 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FixMode {
    /// Latitude and longitude; an altitude, if there is one, is held from before.
    TwoD,
    /// Latitude, longitude and altitude.
    ThreeD,
}

impl FixMode {
    /// 2 or 3, as in GSA field 2 and on the wire.
    #[must_use]
    pub const fn dimensions(self) -> u8 {
        match self {
            Self::TwoD => 2,
            Self::ThreeD => 3,
        }
    }
}

/// How a position was found (NMEA 0183 GGA field 6, and the mode indicator of RMC, GLL and GNS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FixQuality {
    /// Satellites alone (1, `A`).
    #[default]
    Gps,
    /// Differential, SBAS included (2, `D`).
    Dgps,
    /// Precise positioning service (3, `P`).
    Pps,
    /// Real-time kinematic, integers fixed (4, `R`).
    Rtk,
    /// Real-time kinematic, integers floating (5, `F`).
    RtkFloat,
    /// Dead reckoning (6, `E`).
    Estimated,
}

impl FixQuality {
    /// `None` for what is no measurement: typed in by hand, or a simulator.
    fn of(indicator: Indicator) -> Option<Self> {
        Some(match indicator {
            Indicator::Autonomous => Self::Gps,
            Indicator::Differential => Self::Dgps,
            Indicator::Precise => Self::Pps,
            Indicator::Rtk => Self::Rtk,
            Indicator::RtkFloat => Self::RtkFloat,
            Indicator::Estimated => Self::Estimated,
            Indicator::NoFix | Indicator::Manual | Indicator::Simulator => return None,
        })
    }
}

/// Why an epoch is no fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The receiver says so, or gives no position.
    NoFix,
    /// It has a position and no time of day.
    NoTime,
    /// Fewer than three satellites, and neither RMC, GLL nor GSA says that there is a fix nevertheless.
    TooFewSatellites,
    /// 0° N 0° E.
    NullIsland,
    /// Typed in by hand, or a simulator's (GGA quality 7 and 8).
    NotMeasured,
    /// The instant was accepted before: the receiver repeats itself.
    Repeated,
    /// No date came while [`Gate::MAX_WAITING`] later fixes waited for one.
    Undated,
}

/// How many epochs were rejected, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectionCounters {
    /// [`Rejection::NoFix`].
    pub no_fix: u64,
    /// [`Rejection::NoTime`].
    pub no_time: u64,
    /// [`Rejection::TooFewSatellites`].
    pub too_few_satellites: u64,
    /// [`Rejection::NullIsland`].
    pub null_island: u64,
    /// [`Rejection::NotMeasured`].
    pub not_measured: u64,
    /// [`Rejection::Repeated`].
    pub repeated: u64,
    /// [`Rejection::Undated`].
    pub undated: u64,
}

impl RejectionCounters {
    fn count(&mut self, rejection: Rejection) {
        *match rejection {
            Rejection::NoFix => &mut self.no_fix,
            Rejection::NoTime => &mut self.no_time,
            Rejection::TooFewSatellites => &mut self.too_few_satellites,
            Rejection::NullIsland => &mut self.null_island,
            Rejection::NotMeasured => &mut self.not_measured,
            Rejection::Repeated => &mut self.repeated,
            Rejection::Undated => &mut self.undated,
        } += 1;
    }

    /// Those that had a position and were not believed.
    #[must_use]
    pub const fn unbelieved(&self) -> u64 {
        self.no_time + self.too_few_satellites + self.null_island + self.not_measured + self.repeated + self.undated
    }
}

/// Lets through what can be believed.
#[derive(Debug)]
pub struct Gate {
    calendar: Calendar,
    /// Fixes that wait for the receiver's first date, oldest first.
    waiting: VecDeque<(TimeOfDay, Fix)>,
    /// The time of day of the newest accepted epoch, and when it was read.
    accepted: Option<(TimeOfDay, Uptime)>,
    /// The mode that was last said, and when.
    mode: Option<(FixMode, Uptime)>,
    counters: RejectionCounters,
}

impl Gate {
    /// A cold receiver may need 12.5 minutes for the date: the length of the almanac at 1 Hz.
    pub const MAX_WAITING: usize = 750;

    /// 68 % horizontal radius at HDOP 1 of a receiver that says nothing better. Stated, not measured.
    pub const RANGE_ERROR_M: f64 = 5.0;

    /// A gate that has accepted nothing yet.
    #[must_use]
    pub fn new(era: Era) -> Self {
        Self {
            calendar: Calendar::new(era),
            waiting: VecDeque::new(),
            accepted: None,
            mode: None,
            counters: RejectionCounters::default(),
        }
    }

    /// Some receivers say the mode in every fifth epoch only; so long it holds.
    const MODE_HOLDS: Duration = Duration::from_secs(6);

    /// Judges one epoch and hands on what it makes known: nothing, its fix, or with the first date all that waited.
    pub fn push(&mut self, epoch: &Epoch, mut accept: impl FnMut(Fix)) {
        let (time, mut fix) = match self.judge(epoch) {
            Ok(judged) => judged,
            Err(rejection) => {
                // A date is worth having also when the position is not.
                if let Some(time) = epoch.time.filter(|_| epoch.date.is_some()) {
                    self.calendar.date(epoch.date, time);
                }
                return self.counters.count(rejection);
            }
        };
        self.accepted = Some((time, fix.read_at));
        if said_mode(epoch).is_some() {
            self.mode = Some((fix.mode, fix.read_at));
        }
        if let Some(utc) = self.calendar.date(epoch.date, time) {
            for (time, waited) in self.waiting.drain(..) {
                let about = utc.checked_sub(fix.read_at.since(waited.read_at));
                if let Some(utc) = about.and_then(|about| nearest(about, time)) {
                    accept(Fix { utc, ..waited });
                }
            }
            fix.utc = utc;
            accept(fix);
        } else {
            if self.waiting.len() == Self::MAX_WAITING {
                self.waiting.pop_front();
                self.counters.count(Rejection::Undated);
            }
            self.waiting.push_back((time, fix));
        }
    }

    /// The input has ended: what still waits for a date will not get one.
    pub fn finish(&mut self) {
        for _ in self.waiting.drain(..) {
            self.counters.count(Rejection::Undated);
        }
    }

    /// What has been counted so far.
    #[must_use]
    pub const fn counters(&self) -> RejectionCounters {
        self.counters
    }

    /// The fix of an epoch, still on the first day of 1970.
    fn judge(&self, epoch: &Epoch) -> Result<(TimeOfDay, Fix), Rejection> {
        let position = epoch.position.filter(|_| !epoch.denied).ok_or(Rejection::NoFix)?;
        let time = epoch.time.ok_or(Rejection::NoTime)?;
        if position.is_null_island() {
            return Err(Rejection::NullIsland);
        }
        let few = epoch.satellites_used.is_some_and(|used| used < 3);
        if few && !epoch.witnessed && epoch.gsa_mode.is_none_or(|mode| mode < 2) {
            return Err(Rejection::TooFewSatellites);
        }
        let quality = epoch.indicator.map_or(Some(FixQuality::Gps), FixQuality::of);
        let quality = quality.ok_or(Rejection::NotMeasured)?;
        if self.accepted.is_some_and(|(accepted, _)| accepted == time) {
            return Err(Rejection::Repeated);
        }
        let by_hdop = |dop: Dop| Distance::from_metres(dop.value() * Self::RANGE_ERROR_M);
        let fix = Fix {
            utc: UtcTime::from_unix_ms(i64::from(time.as_millis())).expect("a day after 1970 began"),
            read_at: epoch.read_at,
            position,
            mode: said_mode(epoch).or_else(|| self.held_mode(epoch.read_at)).unwrap_or(FixMode::TwoD),
            quality,
            altitude_msl: epoch.altitude_msl,
            height_hae: epoch.altitude_msl.zip(epoch.geoid_separation).and_then(|(msl, geoid)| msl.above(geoid)),
            speed: epoch.speed,
            course: epoch.course,
            hdop: epoch.hdop,
            satellites_used: epoch.satellites_used,
            accuracy: epoch.accuracy.or_else(|| epoch.hdop.and_then(by_hdop)),
        };
        Ok((time, fix))
    }

    fn held_mode(&self, at: Uptime) -> Option<FixMode> {
        self.mode.filter(|(_, said_at)| at.since(*said_at) <= Self::MODE_HOLDS).map(|(mode, _)| mode)
    }
}

/// GSA says it; without GSA an altitude or a fourth satellite does.
fn said_mode(epoch: &Epoch) -> Option<FixMode> {
    match epoch.gsa_mode {
        Some(2) => Some(FixMode::TwoD),
        Some(3) => Some(FixMode::ThreeD),
        _ if epoch.altitude_msl.is_some() => Some(FixMode::ThreeD),
        _ if epoch.satellites_used.is_some_and(|used| used > 3) => Some(FixMode::ThreeD),
        _ => None,
    }
}

/// The instant at `time` of some day that is nearest to `about`.
fn nearest(about: UtcTime, time: TimeOfDay) -> Option<UtcTime> {
    let days = [-1, 0, 1].into_iter().filter_map(|days| about.date().plus_days(days));
    days.filter_map(|date| UtcTime::new(date, time)).min_by_key(|utc| utc.millis_since(about).abs())
}
