//! Records that the outbox stores until the backend acknowledges them.

use serde::{Deserialize, Serialize};

use super::fix::Fix;
use super::motion::Motion;
use crate::units::{Course, Distance, Height, Position, Speed};

/// Sequence number of a record. It increases by at least one and is never reused by the same van,
/// even after a power cut.
///
/// (van, `Seq`) is the key by which consumers recognise duplicates.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Seq(u64);

impl Seq {
    /// The value before the first record.
    pub const ZERO: Self = Self(0);

    /// Creates a sequence number. SQLite's row ids end at `i64::MAX`; at 10 Hz that is 29 billion
    /// years away.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An accepted item that must reach the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub seq: Seq,
    pub subject: Subject,
}

/// Kind of a record. Each kind has its own queue and topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// A track point, for the topic `track`.
    Point(TrackPoint),
}

/// A fix with the trip state at that moment.
///
/// `fix.read_at` belongs to the process that read it. A point restored from the outbox file has
/// [`Uptime::ZERO`](crate::units::Uptime::ZERO) there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackPoint {
    pub fix: Fix,
    /// Motion state at the time of the fix.
    pub motion: Motion,
    /// Total distance driven.
    pub odometer: Distance,
}

impl TrackPoint {
    /// Rounds to the stored precision: 1e-7 degrees (1 cm), 0.01 m/s, 0.1° of course, and 0.1 m for
    /// heights, accuracy and odometer. Points are rounded on creation, so the outbox does not
    /// change them.
    #[must_use]
    pub fn rounded(self) -> Self {
        let Self { fix, motion, odometer } = self;
        let length = |of: Distance| Distance::from_metres(tenths(of.as_metres())).unwrap_or(of);
        let height = |of: Height| Height::from_metres(tenths(of.as_metres())).unwrap_or(of);
        let degrees = |e9: i64| whole_hundreds(e9) / 1e9;
        let place = fix.position;
        let position = Position::from_degrees(degrees(place.lat_e9()), degrees(place.lon_e9()));
        let fix = Fix {
            position: position.unwrap_or(place),
            altitude_msl: fix.altitude_msl.map(height),
            height_hae: fix.height_hae.map(height),
            speed: fix.speed.and_then(|of| Speed::from_mps((of.as_mps() * 100.0).round() / 100.0)),
            course: fix.course.and_then(|of| Course::from_degrees(tenths(of.as_degrees()))),
            accuracy: fix.accuracy.map(length),
            ..fix
        };
        Self { fix, motion, odometer: length(odometer) }
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "1.8e11 is exact in 53 bits")]
fn whole_hundreds(value: i64) -> f64 {
    (value as f64 / 100.0).round() * 100.0
}
