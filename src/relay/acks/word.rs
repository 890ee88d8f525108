//! A payload on `ack` → what the backend says of each topic, if that can be true (pure).

use crate::core::record::Seq;
use crate::wire::VERSION;
use crate::wire::json::{Ack, SeqRange};

/// A message on `ack` is never larger: as many ranges as it may have, of the largest numbers, with spaces.
const MAX_ACK_BYTES: usize = 8 * 1024;

/// The backend's word is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Unfit;

/// What the backend says of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// Everything that was sent in order, up to this number, is stored.
    pub mark: Option<Seq>,
    /// Ascending, none touched twice.
    ranges: Vec<SeqRange>,
}

impl Word {
    /// Nothing.
    pub(super) fn is_silent(&self) -> bool {
        self.mark.is_none() && self.ranges.is_empty()
    }

    /// The highest number of a range.
    pub(super) fn highest(&self) -> Option<Seq> {
        self.ranges.last().map(|range| Seq::new(range.last))
    }

    /// Whether ranges, one or several without a gap, have every number from `first` to `last`.
    pub(super) fn has(&self, first: Seq, last: Seq) -> bool {
        let from = self.ranges.partition_point(|range| range.last < first.get());
        let mut wanted = first.get();
        for range in &self.ranges[from..] {
            if range.first > wanted {
                return false;
            }
            if range.last >= last.get() {
                return true;
            }
            wanted = range.last.saturating_add(1);
        }
        false
    }

    /// Whether the ranges are few, in order, and of nothing above `sent`.
    pub(super) fn is_fit(&self, sent: Seq) -> bool {
        self.ranges.len() <= Ack::MAX_RANGES
            && self.ranges.iter().all(|range| range.first <= range.last)
            && self.ranges.is_sorted_by(|before, after| before.last < after.first)
            && self.highest().is_none_or(|highest| highest <= sent)
    }
}

/// What it says of events, and of the trail.
pub(super) fn words(payload: &[u8]) -> Result<[Word; 2], Unfit> {
    let ack: Ack = Some(payload)
        .filter(|payload| payload.len() <= MAX_ACK_BYTES)
        .and_then(|payload| serde_json::from_slice(payload).ok())
        .filter(|ack: &Ack| ack.v == VERSION)
        .ok_or(Unfit)?;
    let word = |mark: Option<u64>, ranges| Word { mark: mark.map(Seq::new), ranges };
    let words = [word(ack.event_seq, ack.events), word(ack.track_seq, ack.track)];
    if words.iter().all(Word::is_silent) { Err(Unfit) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(payload: &str) -> Word {
        words(payload.as_bytes()).unwrap()[1].clone()
    }

    #[test]
    fn a_message_is_stored_if_the_ranges_have_all_its_numbers() {
        let word = track(r#"{"v":1,"track":[[1,60],[61,90],[120,120],[130,150]]}"#);
        for (first, last, is_stored) in [
            (1, 60, true),
            (1, 90, true),
            (30, 61, true),
            (90, 90, true),
            (90, 91, false),
            (1, 120, false),
            (120, 120, true),
            (119, 120, false),
            (120, 130, false),
            (129, 129, false),
            (130, 150, true),
            (140, 151, false),
            (151, 160, false),
        ] {
            assert_eq!(word.has(Seq::new(first), Seq::new(last)), is_stored, "{first} to {last}");
        }
        assert!(!track(r#"{"v":1,"track_seq":100}"#).has(Seq::new(1), Seq::new(1)), "no range");
    }

    #[test]
    fn the_largest_word_is_read_and_one_range_more_is_not_believed() {
        let ranges = |count: u64| {
            let base = u64::MAX - 1000;
            let ranges = (0..count).map(|n| format!("[{}, {}]", base + 2 * n, base + 2 * n));
            ranges.collect::<Vec<_>>().join(", ")
        };
        let full = ranges(64);
        let payload = format!(r#"{{"v": 1, "events": [{full}], "track": [{full}]}}"#);
        assert!(
            words(payload.as_bytes()).unwrap().iter().all(|word| word.is_fit(Seq::new(u64::MAX)))
        );
        let more = track(&format!(r#"{{"v": 1, "track": [{}]}}"#, ranges(65)));
        assert!(!more.is_fit(Seq::new(u64::MAX)));
    }
}
