//! What was read, by its name, within a bound of bytes.
//!
//! What nobody has used for a while goes first. While all of it is in use, what is new is not kept: who goes through more
//! than fits, again and again, would else find nothing of it.

use std::collections::HashMap;
use std::time::Duration;

use crate::units::UtcTime;

/// What was not used for so long goes when something else wants its place.
const IDLE: Duration = Duration::from_mins(5);

/// Things by name.
#[derive(Debug)]
pub(super) struct Kept<T> {
    things: HashMap<String, Thing<T>>,
    bytes: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Thing<T> {
    it: T,
    bytes: usize,
    used_at: UtcTime,
}

impl<T> Kept<T> {
    /// At most so many bytes.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { things: HashMap::new(), bytes: 0, most_bytes }
    }

    /// What is kept under a name.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.things.get(name).map(|thing| &thing.it)
    }

    /// Keeps what is used at `now` and has so many bytes, if it fits.
    pub(super) fn put(&mut self, name: &str, it: T, bytes: usize, now: UtcTime) {
        self.remove(name);
        while self.bytes + bytes > self.most_bytes {
            let Some(idle) = self.idle(now) else { return };
            self.remove(&idle);
        }
        self.bytes += bytes;
        self.things.insert(name.to_owned(), Thing { it, bytes, used_at: now });
    }

    fn remove(&mut self, name: &str) {
        if let Some(thing) = self.things.remove(name) {
            self.bytes -= thing.bytes;
        }
    }

    /// What was used longest ago, if that is long ago.
    fn idle(&self, now: UtcTime) -> Option<String> {
        let (name, oldest) = self.things.iter().min_by_key(|(_, thing)| thing.used_at)?;
        let is_idle = oldest.used_at.checked_add(IDLE).is_none_or(|until| until <= now);
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
        let mut kept = Kept::new(100);
        kept.put("a", 1, 60, at(0));
        kept.put("b", 2, 40, at(1));
        kept.put("c", 3, 1, at(4));
        assert_eq!((kept.get("a"), kept.get("c")), (Some(&1), None), "all are in use");
        kept.put("c", 3, 41, at(5));
        assert_eq!((kept.get("a"), kept.get("b"), kept.get("c")), (None, Some(&2), Some(&3)));
        kept.put("b", 4, 60, at(5));
        assert_eq!((kept.get("b"), kept.bytes), (None, 41), "what has grown too large is let go");
        kept.put("d", 5, 101, at(60));
        assert_eq!((kept.get("d"), kept.bytes), (None, 0), "larger than all there is");
    }
}
