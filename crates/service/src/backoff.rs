//! Exponential backoff with full jitter: the delay bound doubles after each failure, up to a
//! maximum.
//!
//! The jitter spreads reconnects, so that a thousand vans that lost the same broker do not return
//! in the same second.

use std::time::Duration;

/// Generator of retry delays.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    jitter: fastrand::Rng,
}

impl Backoff {
    /// Creates a backoff with delays from `first` to `max`. Panics if `first` is zero.
    #[must_use]
    pub fn new(first: Duration, max: Duration, jitter: fastrand::Rng) -> Self {
        assert!(!first.is_zero(), "backoff: the first delay must not be zero");
        Self { first, max, failures: 0, jitter }
    }

    /// Counts a failure and returns the next delay: random, from `first` to the doubled and capped
    /// bound.
    pub fn next_delay(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let duplicates = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        let bound = duplicates.min(self.max.max(self.first));
        self.first + (bound - self.first).mul_f64(self.jitter.f64())
    }

    /// Resets the delay after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_never_vanish() {
        let (first, max) = (Duration::from_secs(1), Duration::from_mins(5));
        let mut backoff = Backoff::new(first, max, fastrand::Rng::with_seed(7));
        let waits: Vec<Duration> = (0..1000).map(|_| backoff.next_delay()).collect();
        assert!(waits.iter().all(|wait| (first..=max).contains(wait)));
        assert!(waits[0] <= 2 * first && waits[1] <= 4 * first);
        assert!(waits.iter().any(|wait| *wait > max * 9 / 10));
        backoff.reset();
        assert!(backoff.next_delay() <= 2 * first);
        let other = Backoff::new(first, max, fastrand::Rng::with_seed(8)).next_delay();
        assert_ne!(other, waits[0], "vans differ");
    }
}
