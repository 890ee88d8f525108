//! How long to wait before the next connection.
//!
//! Never below a second: brokers of the large clouds allow one CONNECT a second per client identifier.

use std::time::Duration;

use crate::backoff::Backoff;

/// Who was refused for what only a person can change, credentials or client identifier, disturbs rarely.
const FIRST_FOR_A_PERSON: Duration = Duration::from_secs(60);
const MAX_FOR_A_PERSON: Duration = Duration::from_mins(5);

/// A connection that lived this long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// The bounds of the waiting time while the broker cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The least, above 0; the bound doubles from here.
    pub first: Duration,
    /// The most, at least `first`: so late a van may notice that the network is back.
    pub max: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(30) }
    }
}

/// The waiting times, growing with each failure.
#[derive(Debug)]
pub(super) struct Reconnect {
    unreachable: Backoff,
    refused: Backoff,
}

impl Reconnect {
    pub(super) fn new(config: BackoffConfig, mut dice: fastrand::Rng) -> Self {
        Self {
            unreachable: Backoff::new(config.first, config.max, dice.fork()),
            refused: Backoff::new(FIRST_FOR_A_PERSON, MAX_FOR_A_PERSON, dice),
        }
    }

    /// A connection ended that was up for `lived`.
    pub(super) fn ended(&mut self, lived: Duration) {
        if lived >= GOOD_AFTER {
            self.unreachable.reset();
            self.refused.reset();
        }
    }

    /// How long to wait now.
    pub(super) fn next_wait(&mut self) -> Duration {
        self.unreachable.next_wait()
    }

    /// How long to wait where only a person can help.
    pub(super) fn next_wait_for_a_person(&mut self) -> Duration {
        self.refused.next_wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_connection_resets_it_and_a_short_one_does_not() {
        let mut reconnect = Reconnect::new(BackoffConfig::default(), fastrand::Rng::with_seed(1));
        let mut longest_of = |waits: u32, lived: u64| {
            reconnect.ended(Duration::from_secs(lived));
            (0..waits).map(|_| reconnect.next_wait()).max().unwrap()
        };
        assert!(longest_of(50, 0) > Duration::from_secs(25));
        assert!(longest_of(50, 29) > Duration::from_secs(25));
        assert!(longest_of(1, 30) <= Duration::from_secs(2));
    }

    #[test]
    fn who_needs_a_person_waits_a_minute_at_least() {
        let mut reconnect = Reconnect::new(BackoffConfig::default(), fastrand::Rng::with_seed(1));
        for _ in 0..20 {
            let wait = reconnect.next_wait_for_a_person();
            assert!((60..=300).contains(&wait.as_secs()), "{wait:?}");
        }
    }
}
