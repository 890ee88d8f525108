//! Per-key rate limiter (GCRA). State is in memory, bounded, and per instance.
//!
//! A bucket is a single instant, the time at which it is full again (generic cell rate algorithm,
//! ITU-T I.371). A missing key has a full bucket.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use waypost_model::units::Uptime;

/// A rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Number of requests allowed at once.
    pub burst: u32,
    /// Interval at which one more request is allowed.
    pub interval: Duration,
}

/// One bucket per key.
#[derive(Debug)]
pub struct RateLimiter<K> {
    quota: Quota,
    max_keys: usize,
    full_at: Mutex<HashMap<K, Uptime>>,
}

impl<K: Clone + Eq + Hash> RateLimiter<K> {
    /// Creates a limiter of at most `most` keys. Above that, the fullest buckets are evicted.
    #[must_use]
    pub fn new(quota: Quota, max_keys: usize) -> Self {
        Self { quota, max_keys, full_at: Mutex::default() }
    }

    /// Takes one token from a key's bucket.
    ///
    /// # Errors
    /// The bucket is empty; the error is the time until the next token.
    pub fn acquire(&self, key: &K, now: Uptime) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().expect("no holder of the lock can panic");
        let filled = full_at.get(key).map_or(now, |full_at| (*full_at).max(now));
        let empty = self.quota.interval * self.quota.burst;
        let after = filled + self.quota.interval;
        if after.since(now) > empty {
            return Err(after.since(now).saturating_sub(empty));
        }
        if full_at.len() >= self.max_keys && !full_at.contains_key(key) {
            evict(&mut full_at, now);
        }
        full_at.insert(key.clone(), after);
        Ok(())
    }

    /// Returns a token, after a request that proved legitimate.
    pub fn refund(&self, key: &K) {
        let mut buckets = self.full_at.lock().expect("no holder of the lock can panic");
        if let Some(full_at) = buckets.get_mut(key) {
            *full_at = Uptime::new(full_at.since_start().saturating_sub(self.quota.interval));
        }
    }
}

/// Evicts full buckets; if fewer than half are full, evicts the fullest half.
fn evict<K: Eq + Hash>(full_at: &mut HashMap<K, Uptime>, now: Uptime) {
    let most = full_at.len();
    full_at.retain(|_, full_at| *full_at > now);
    if full_at.len() > most / 2 {
        let mut times: Vec<Uptime> = full_at.values().copied().collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        let mut room = middle;
        full_at.retain(|_, full_at| {
            let goes = *full_at <= median && room > 0;
            room -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { burst: 3, interval: Duration::from_secs(10) };

    fn at(s: u64) -> Uptime {
        Uptime::from_millis(s * 1000)
    }

    #[test]
    fn a_burst_passes_then_one_in_each_time() {
        let buckets = RateLimiter::new(QUOTA, 10);
        let wait = |s| Err(Duration::from_secs(s));
        for (now, expected) in [
            (at(100), Ok(())),
            (at(100), Ok(())),
            (at(100), Ok(())),
            (at(100), wait(10)),
            (at(104), wait(6)),
            (at(110), Ok(())),
            (at(110), wait(10)),
            (at(1000), Ok(())),
            (at(1000), Ok(())),
            (at(1000), Ok(())),
            (at(1000), wait(10)),
        ] {
            assert_eq!(buckets.acquire(&'a', now), expected, "{now:?}");
        }
        assert_eq!(buckets.acquire(&'b', at(1000)), Ok(()), "other keys are independent");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let buckets = RateLimiter::new(QUOTA, 10);
        for _ in 0..100 {
            assert_eq!(buckets.acquire(&(), at(5)), Ok(()));
            buckets.refund(&());
        }
    }

    #[test]
    fn many_keys_take_no_more_room_and_do_not_free_the_worst() {
        let buckets = RateLimiter::new(QUOTA, 100);
        while buckets.acquire(&u32::MAX, at(0)).is_ok() {}
        for key in 0..10_000 {
            assert_eq!(buckets.acquire(&key, at(0)), Ok(()));
            assert!(buckets.full_at.lock().unwrap().len() <= 100);
        }
        assert!(buckets.acquire(&u32::MAX, at(0)).is_err(), "the emptiest bucket is evicted last");
    }
}
