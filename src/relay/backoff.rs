//! How long to wait before the next connection (pure, but for the dice).
//!
//! Full jitter: a fleet that lost its broker does not come back in step. Never below the first step: brokers of the
//! large clouds allow one CONNECT a second per client identifier.

use std::time::Duration;

/// Who was refused for what only a person can change waits at least this long.
const AT_LEAST_FOR_A_PERSON: Duration = Duration::from_secs(60);

/// A connection that lived this long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// The bounds of the waiting time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The least, above 0; the bound doubles from here.
    pub first: Duration,
    /// The most, at least `first`.
    pub max: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(300) }
    }
}

/// The waiting time, growing with each failure.
#[derive(Debug)]
pub(super) struct Backoff {
    config: BackoffConfig,
    failures: u32,
    dice: fastrand::Rng,
}

impl Backoff {
    pub(super) const fn new(config: BackoffConfig, dice: fastrand::Rng) -> Self {
        Self { config, failures: 0, dice }
    }

    /// A connection ended that was up for `lived`.
    pub(super) fn ended(&mut self, lived: Duration) {
        if lived >= GOOD_AFTER {
            self.failures = 0;
        }
    }

    /// How long to wait now.
    pub(super) fn next(&mut self) -> Duration {
        let BackoffConfig { first, max } = self.config;
        self.failures = self.failures.saturating_add(1);
        let bound = first.saturating_mul(2_u32.saturating_pow(self.failures)).min(max.max(first));
        self.between(first, bound)
    }

    /// How long to wait where only a person can help.
    pub(super) fn next_for_a_person(&mut self) -> Duration {
        let wait = self.next();
        let least = AT_LEAST_FOR_A_PERSON;
        if wait >= least { wait } else { self.between(least, least * 2) }
    }

    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + most.saturating_sub(least).mul_f64(self.dice.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(BackoffConfig::default(), fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn the_wait_grows_is_capped_and_differs_from_van_to_van() {
        let mut longest = Duration::ZERO;
        for seed in 0..50 {
            let mut backoff = backoff(seed);
            for attempt in 1..40 {
                let wait = backoff.next();
                let bound = Duration::from_secs(2_u64.saturating_pow(attempt).min(300));
                assert!((Duration::from_secs(1)..=bound).contains(&wait), "{attempt}: {wait:?}");
                longest = longest.max(wait);
            }
        }
        assert!(longest > Duration::from_secs(290));
        assert_ne!(backoff(1).next(), backoff(2).next());
    }

    #[test]
    fn a_good_connection_resets_it_and_a_short_one_does_not() {
        let mut backoff = backoff(1);
        for _ in 0..10 {
            backoff.next();
        }
        backoff.ended(Duration::from_secs(29));
        assert_eq!(backoff.failures, 10);
        backoff.ended(Duration::from_secs(30));
        assert!(backoff.next() <= Duration::from_secs(2));
    }

    #[test]
    fn who_needs_a_person_waits_a_minute_at_least() {
        let mut backoff = backoff(1);
        for _ in 0..20 {
            let wait = backoff.next_for_a_person();
            assert!((60..=300).contains(&wait.as_secs()), "{wait:?}");
        }
    }
}
