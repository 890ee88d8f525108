//! Parses and validates the payload of an `ack` message. No I/O.

use waypost_model::record::Seq;
use waypost_wire::VERSION;
use waypost_wire::payloads::{Ack, SeqRange, StoredSeqs};

/// Maximum size of an `ack` message: the maximum number of ranges with the largest numbers, and
/// spaces.
const MAX_ACK_BYTES: usize = 8 * 1024;

/// The `ack` message is malformed or implausible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct InvalidAck;

/// Numbers of one topic that the backend has stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AckedRanges {
    /// Everything that was sent in order, up to this number, is stored.
    pub watermark: Option<Seq>,
    /// In ascending order, without overlaps.
    ranges: Vec<SeqRange>,
}

impl AckedRanges {
    pub(super) fn is_empty(&self) -> bool {
        self.watermark.is_none() && self.ranges.is_empty()
    }

    /// Highest number of the ranges.
    pub(super) fn highest(&self) -> Option<Seq> {
        self.ranges.last().map(|range| Seq::new(range.last))
    }

    /// Whether adjacent ranges cover every number from `first` to `last`.
    pub(super) fn contains(&self, first: Seq, last: Seq) -> bool {
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

    /// Whether the ranges are few, in ascending order, and not above `sent`.
    pub(super) fn is_valid(&self, sent: Seq) -> bool {
        self.ranges.len() <= Ack::MAX_RANGES
            && self.ranges.iter().all(|range| range.first <= range.last)
            && self.ranges.is_sorted_by(|before, after| before.last < after.first)
            && self.highest().is_none_or(|highest| highest <= sent)
    }
}

/// Parses an `ack` message into the numbers of events and of track points.
pub(super) fn parse_ack(payload: &[u8]) -> Result<[AckedRanges; 2], InvalidAck> {
    let ack: Ack = Some(payload)
        .filter(|payload| payload.len() <= MAX_ACK_BYTES)
        .and_then(|payload| serde_json::from_slice(payload).ok())
        .filter(|ack: &Ack| ack.v == VERSION)
        .ok_or(InvalidAck)?;
    let words = [ack.event, ack.track]
        .map(|StoredSeqs { up_to, ranges }| AckedRanges { watermark: up_to.map(Seq::new), ranges });
    if words.iter().all(AckedRanges::is_empty) { Err(InvalidAck) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(payload: &str) -> AckedRanges {
        parse_ack(payload.as_bytes()).unwrap()[1].clone()
    }

    #[test]
    fn a_message_is_stored_if_the_ranges_have_all_its_numbers() {
        let word = track(r#"{"v":1,"track":{"ranges":[[1,60],[61,90],[120,120],[130,150]]}}"#);
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
            assert_eq!(
                word.contains(Seq::new(first), Seq::new(last)),
                is_stored,
                "{first} to {last}"
            );
        }
        assert!(
            !track(r#"{"v":1,"track":{"up_to":100}}"#).contains(Seq::new(1), Seq::new(1)),
            "no range"
        );
    }

    #[test]
    fn the_largest_word_is_read_and_one_range_more_is_not_believed() {
        let ranges = |count: u64| {
            let base = u64::MAX - 1000;
            let ranges = (0..count).map(|n| format!("[{}, {}]", base + 2 * n, base + 2 * n));
            ranges.collect::<Vec<_>>().join(", ")
        };
        let full = ranges(64);
        let payload =
            format!(r#"{{"v": 1, "event":{{"ranges":[{full}]}}, "track":{{"ranges":[{full}]}}}}"#);
        assert!(
            parse_ack(payload.as_bytes())
                .unwrap()
                .iter()
                .all(|word| word.is_valid(Seq::new(u64::MAX)))
        );
        let more = track(&format!(r#"{{"v": 1, "track":{{"ranges":[{}]}}}}"#, ranges(65)));
        assert!(!more.is_valid(Seq::new(u64::MAX)));
    }
}
