//! [`Fix`] and journey → [`Record`]: what the outbox keeps until the backend has it.

use serde::{Deserialize, Serialize};

use super::fix::Fix;
use super::journey::Motion;
use crate::units::Distance;

/// The number of a record: it rises by at least one, and is never used twice by the same van, also after a power cut.
///
/// (van, `Seq`) is the key by which a consumer recognises a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackPoint {
    /// Where and when.
    pub fix: Fix,
    /// Whether the van was driving.
    pub motion: Motion,
    /// Driven so far.
    pub odometer: Distance,
}
