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

    /// The wait after one more failure: at random between half of `first` and the doubled, capped wait.
    pub fn next_wait(&mut self) -> Duration {
        let doubled =
            self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let ceiling = doubled.min(self.max);
        self.failures = self.failures.saturating_add(1);
        let floor = (self.first / 2).min(ceiling);
        floor + (ceiling - floor).mul_f64(self.jitter.f64())
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
        assert!(waits.iter().all(|wait| (first / 2..=max).contains(wait)));
        assert!(waits[..2].iter().all(|wait| *wait <= 2 * first));
        assert!(waits.iter().any(|wait| *wait > max * 9 / 10));
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}
