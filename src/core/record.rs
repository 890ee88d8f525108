//! [`Fix`] and journey → [`Record`]: what the outbox keeps until the backend has it.

use serde::{Deserialize, Serialize};

use super::fix::Fix;
use super::journey::Motion;
use crate::units::{Course, Distance, Height, Position, Speed};

/// The number of a record: it rises by at least one, and is never used twice by the same van, also after a power cut.
///
/// (van, `Seq`) is the key by which a consumer recognises a duplicate.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Seq(u64);

impl Seq {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    /// SQLite's row ids end at `i64::MAX`; at 10 Hz that is 29 billion years away.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one.
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

/// Something that was accepted and must arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// What it says.
    pub subject: Subject,
}

/// What a record is about. Each kind has its lane and topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Subject {
    /// A point of the trail, for the topic `track`.
    Point(TrackPoint),
}

/// A fix, and what the journey knew at that moment.
///
/// `fix.read_at` belongs to the run that read it: a point that comes back from the outbox's file has
/// [`Uptime::ZERO`](crate::units::Uptime::ZERO) there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackPoint {
    /// Where and when.
    pub fix: Fix,
    /// Whether the van was driving.
    pub motion: Motion,
    /// Driven so far.
    pub odometer: Distance,
}

impl TrackPoint {
    /// With the precision that is kept: 1e-7 degrees (1 cm), 0.01 m/s, 0.1° of course, 0.1 m of heights, accuracy and
    /// odometer. Every point is rounded where it is made, so that nobody sees it change on its way through the outbox.
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
