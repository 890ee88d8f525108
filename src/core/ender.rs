//! Which sentence ends a receiver's epochs: NMEA 0183 does not say, so it is learnt, and forgotten when it was wrong.

use std::time::Duration;

use super::sentence::Tag;
use crate::units::Uptime;

/// A sentence, and the how-manieth of its kind it is within its epoch: `GSA` comes once for each constellation.
pub(super) type End = (Tag, u8);

/// The sentence that ends the receiver's epochs, as far as it is known.
#[derive(Debug)]
pub(super) struct Ender {
    /// Which, and the how-manieth of its kind: `GSA` comes once for each constellation.
    end: Option<End>,
    /// How many epochs in a row ended so, and since when.
    agreed: u32,
    since: Uptime,
    /// How long they must agree to be believed: doubled each time that the belief was wrong.
    trial: Duration,
    learnt: bool,
}

impl Ender {
    const MIN_AGREED: u32 = 3;
    /// Longer than a second, because fast receivers send some sentences once a second only.
    const FIRST_TRIAL: Duration = Duration::from_millis(1900);
    const MAX_TRIAL: Duration = Duration::from_mins(2);

    pub(super) const fn new() -> Self {
        Self { end: None, agreed: 0, since: Uptime::ZERO, trial: Self::FIRST_TRIAL, learnt: false }
    }

    pub(super) fn observe(&mut self, end: Option<End>, at: Uptime) {
        if self.end != end {
            (self.end, self.agreed, self.since) = (end, 0, at);
        }
        self.agreed = self.agreed.saturating_add(1);
        self.learnt = self.agreed >= Self::MIN_AGREED && at.since(self.since) >= self.trial;
    }

    pub(super) fn was_wrong(&mut self) {
        (self.end, self.learnt) = (None, false);
        self.trial = (self.trial * 2).min(Self::MAX_TRIAL);
    }

    pub(super) fn learnt(&self) -> Option<End> {
        self.end.filter(|_| self.learnt)
    }
}
