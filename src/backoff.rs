//! How long to wait before the next try: doubled each time, capped, with full jitter.
//!
//! A thousand vans that lost the same broker must not come back in the same second.

use std::time::Duration;

/// The waits between tries.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    jitter: fastrand::Rng,
}

impl Backoff {
    /// Waits from `first` to `max`; `first` must not be zero.
    #[must_use]
    pub fn new(first: Duration, max: Duration, jitter: fastrand::Rng) -> Self {
        assert!(!first.is_zero(), "without a pause it is no backoff");
        Self { first, max, failures: 0, jitter }
    }

    /// The wait after one more failure: at random between `first` and the doubled, capped bound.
    pub fn next_wait(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        let bound = doubled.min(self.max.max(self.first));
        self.first + (bound - self.first).mul_f64(self.jitter.f64())
    }

    /// It worked: the next failure is the first again.
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
        let waits: Vec<Duration> = (0..1000).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|wait| (first..=max).contains(wait)));
        assert!(waits[0] <= 2 * first && waits[1] <= 4 * first);
        assert!(waits.iter().any(|wait| *wait > max * 9 / 10));
        backoff.reset();
        assert!(backoff.next_wait() <= 2 * first);
        let other = Backoff::new(first, max, fastrand::Rng::with_seed(8)).next_wait();
        assert_ne!(other, waits[0], "vans differ");
    }
}
