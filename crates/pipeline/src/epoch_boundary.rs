//! Learns the sentence that ends a receiver's epochs. NMEA 0183 does not define it. A wrong result
//! is discarded and learned again.

use std::time::Duration;

use super::sentence::SentenceId;
use waypost_model::units::Uptime;

/// A sentence type and its ordinal within the epoch. `GSA` occurs once per constellation.
pub(super) type BoundarySentence = (SentenceId, u8);

/// Learned epoch boundary of one receiver.
#[derive(Debug)]
pub(super) struct EpochBoundaryLearner {
    candidate: Option<BoundarySentence>,
    /// Number of consecutive epochs that ended with the candidate, and the start of that run.
    confirmations: u32,
    since: Uptime,
    /// Required duration of agreement. It doubles after each wrong result, up to `MAX_TRIAL`.
    trial: Duration,
    confirmed: bool,
}

impl EpochBoundaryLearner {
    const MIN_CONFIRMATIONS: u32 = 3;
    /// Longer than 1 s, because fast receivers send some sentences only once per second.
    const INITIAL_TRIAL: Duration = Duration::from_millis(1900);
    const MAX_TRIAL: Duration = Duration::from_mins(2);

    pub(super) const fn new() -> Self {
        Self {
            candidate: None,
            confirmations: 0,
            since: Uptime::ZERO,
            trial: Self::INITIAL_TRIAL,
            confirmed: false,
        }
    }

    pub(super) fn observe(&mut self, end: Option<BoundarySentence>, at: Uptime) {
        if self.candidate != end {
            (self.candidate, self.confirmations, self.since) = (end, 0, at);
        }
        self.confirmations = self.confirmations.saturating_add(1);
        self.confirmed =
            self.confirmations >= Self::MIN_CONFIRMATIONS && at.since(self.since) >= self.trial;
    }

    pub(super) fn reset(&mut self) {
        (self.candidate, self.confirmed) = (None, false);
        self.trial = (self.trial * 2).min(Self::MAX_TRIAL);
    }

    pub(super) fn boundary(&self) -> Option<BoundarySentence> {
        self.candidate.filter(|_| self.confirmed)
    }
}
