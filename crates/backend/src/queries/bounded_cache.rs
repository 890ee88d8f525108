//! A byte-bounded LRU cache.
//!
//! Entries used within the last 5 minutes are never evicted. If they fill the budget, new entries
//! are not cached: otherwise, a scan over more data than fits would evict every entry before its
//! next use.

use std::collections::HashMap;
use std::time::Duration;

use waypost_model::units::UtcTime;

/// An entry that was not used for this time may be evicted.
const IDLE_AFTER: Duration = Duration::from_mins(5);

/// Cache entries by key.
#[derive(Debug)]
pub(super) struct BoundedCache<T> {
    entries: HashMap<String, Entry<T>>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    bytes: usize,
    used_at: UtcTime,
}

impl<T> BoundedCache<T> {
    /// Creates a cache with a budget of `most_bytes`.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, max_bytes }
    }

    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.entries.get(name).map(|thing| &thing.value)
    }

    /// Caches a value of `bytes` bytes, used at `now`, if it fits.
    pub(super) fn insert(&mut self, name: &str, it: T, bytes: usize, now: UtcTime) {
        self.remove(name);
        while self.bytes + bytes > self.max_bytes {
            let Some(idle) = self.oldest_idle(now) else { return };
            self.remove(&idle);
        }
        self.bytes += bytes;
        self.entries.insert(name.to_owned(), Entry { value: it, bytes, used_at: now });
    }

    fn remove(&mut self, name: &str) {
        if let Some(thing) = self.entries.remove(name) {
            self.bytes -= thing.bytes;
        }
    }

    /// Returns the least recently used key, if it is idle.
    fn oldest_idle(&self, now: UtcTime) -> Option<String> {
        let (name, oldest) = self.entries.iter().min_by_key(|(_, thing)| thing.used_at)?;
        let is_idle = oldest.used_at.checked_add(IDLE_AFTER).is_none_or(|until| until <= now);
        is_idle.then(|| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_what_is_idle_makes_room() {
        let begin = UtcTime::parse("2026-11-23T12:00:00Z").unwrap();
        let at = |minute: u64| begin.checked_add(Duration::from_mins(minute)).unwrap();
        let mut kept = BoundedCache::new(100);
        kept.insert("a", 1, 60, at(0));
        kept.insert("b", 2, 40, at(1));
        kept.insert("c", 3, 1, at(4));
        assert_eq!((kept.get("a"), kept.get("c")), (Some(&1), None), "all entries are in use");
        kept.insert("c", 3, 41, at(5));
        assert_eq!((kept.get("a"), kept.get("b"), kept.get("c")), (None, Some(&2), Some(&3)));
        kept.insert("b", 4, 60, at(5));
        assert_eq!(
            (kept.get("b"), kept.bytes),
            (None, 41),
            "an entry that no longer fits is removed"
        );
        kept.insert("d", 5, 101, at(60));
        assert_eq!((kept.get("d"), kept.bytes), (None, 0), "larger than the budget");
    }
}
