//! Who asks how often → whether once more is too often. In memory, bounded; each instance counts for itself.
//!
//! A bucket is one instant, the time at which it would be full again (the generic cell rate algorithm, ITU-T I.371): a
//! key that is not there has a full one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use crate::units::Uptime;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So often at once.
    pub burst: u32,
    /// Then once in this time.
    pub every: Duration,
}

/// A bucket for each key.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    most: usize,
    full_at: Mutex<HashMap<K, Uptime>>,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// At most `most` keys are remembered: above that, those that would be full again first are forgotten.
    #[must_use]
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, full_at: Mutex::default() }
    }

    /// Takes one from a key's bucket.
    ///
    /// # Errors
    /// It is empty: how long until there is one.
    pub fn take(&self, key: &K, now: Uptime) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().expect("no holder of the lock can panic");
        let filled = full_at.get(key).map_or(now, |full_at| (*full_at).max(now));
        let empty = self.rate.every * self.rate.burst;
        let after = filled + self.rate.every;
        if after.since(now) > empty {
            return Err(after.since(now).saturating_sub(empty));
        }
        if full_at.len() >= self.most && !full_at.contains_key(key) {
            make_room(&mut full_at, now);
        }
        full_at.insert(key.clone(), after);
        Ok(())
    }

    /// Gives back what was taken: it was no attack.
    pub fn give_back(&self, key: &K) {
        let mut buckets = self.full_at.lock().expect("no holder of the lock can panic");
        if let Some(full_at) = buckets.get_mut(key) {
            *full_at = Uptime::new(full_at.since_start().saturating_sub(self.rate.every));
        }
    }
}

/// Forgets the full ones; where that is less than half, the fullest half.
fn make_room<K: Eq + Hash>(full_at: &mut HashMap<K, Uptime>, now: Uptime) {
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

    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(10) };

    fn at(s: u64) -> Uptime {
        Uptime::from_millis(s * 1000)
    }

    #[test]
    fn a_burst_passes_then_one_in_each_time() {
        let buckets = Buckets::new(RATE, 10);
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
            assert_eq!(buckets.take(&'a', now), expected, "{now:?}");
        }
        assert_eq!(buckets.take(&'b', at(1000)), Ok(()), "others are not touched");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let buckets = Buckets::new(RATE, 10);
        for _ in 0..100 {
            assert_eq!(buckets.take(&(), at(5)), Ok(()));
            buckets.give_back(&());
        }
    }

    #[test]
    fn many_keys_take_no_more_room_and_do_not_free_the_worst() {
        let buckets = Buckets::new(RATE, 100);
        while buckets.take(&u32::MAX, at(0)).is_ok() {}
        for key in 0..10_000 {
            assert_eq!(buckets.take(&key, at(0)), Ok(()));
            assert!(buckets.full_at.lock().unwrap().len() <= 100);
        }
        assert!(buckets.take(&u32::MAX, at(0)).is_err(), "it is forgotten last");
    }
}
