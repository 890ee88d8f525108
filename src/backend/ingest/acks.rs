//! What was stored → payloads of `ack`, for vans that wait for them: exact ranges, per van at most each second (pure).

use std::collections::BTreeMap;

use super::reading::{Message, Said};
use crate::units::UtcTime;
use crate::wire::VERSION;
use crate::wire::json::{Ack, SeqRange};

/// Of one van, in the order of their first numbers.
#[derive(Debug, Default)]
struct Stored {
    events: BTreeMap<u64, u64>,
    track: BTreeMap<u64, u64>,
}

/// What was stored and not said yet.
#[derive(Debug, Default)]
pub(super) struct Acks {
    stored: BTreeMap<String, Stored>,
}

impl Acks {
    /// This is stored.
    pub(super) fn note(&mut self, said: &Said) {
        match &said.message {
            Message::Event(event) => {
                if let Some(seq) = event.event.seq {
                    self.stored.entry(said.van.clone()).or_default().events.insert(seq, seq);
                }
            }
            // All that the van sent between a message's first and last point is in that message.
            Message::Track(fixes) => {
                if let (Some(first), Some(last)) = (fixes.first(), fixes.last()) {
                    let track = &mut self.stored.entry(said.van.clone()).or_default().track;
                    let known = track.entry(first.point.seq).or_default();
                    *known = last.point.seq.max(*known);
                }
            }
            Message::Position(_)
            | Message::State(..)
            | Message::Connection(_)
            | Message::CommandResult(_) => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    /// The next word to a van, and to whom.
    pub(super) fn next(&mut self, now: UtcTime) -> Option<(String, Ack)> {
        let mut entry = self.stored.first_entry()?;
        let van = entry.key().clone();
        let stored = entry.get_mut();
        let ack = Ack {
            v: VERSION,
            event_seq: None,
            track_seq: None,
            events: ranges(&mut stored.events),
            track: ranges(&mut stored.track),
            ts: Some(now.to_string()),
        };
        if stored.events.is_empty() && stored.track.is_empty() {
            entry.remove();
        }
        Some((van, ack))
    }
}

/// Takes the first ranges of those, ascending, and none that touches another.
fn ranges(stored: &mut BTreeMap<u64, u64>) -> Vec<SeqRange> {
    let mut ranges: Vec<SeqRange> = Vec::new();
    while let Some(entry) = stored.first_entry() {
        let (first, last) = (*entry.key(), *entry.get());
        let is_full = ranges.len() == Ack::MAX_RANGES;
        match ranges.last_mut() {
            Some(before) if first <= before.last.saturating_add(1) => {
                before.last = before.last.max(last);
            }
            _ if is_full => break,
            _ => ranges.push(SeqRange { first, last }),
        }
        entry.remove();
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ingest::reading::{Fix, Reader};

    fn track(seqs: &[u64]) -> Said {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/docs/contract/track.example.json");
        let payload = std::fs::read(path).unwrap();
        let now = UtcTime::parse("2026-11-22T10:00:00Z").unwrap();
        let mut said = Reader::new("fleet").read("fleet/v1/VAN-042/track", &payload, now).unwrap();
        let Message::Track(fixes) = &mut said.message else { panic!("it is a track") };
        let one = fixes[0].clone();
        let fix = |seq: &u64| {
            let mut fix: Fix = one.clone();
            fix.point.seq = *seq;
            fix
        };
        *fixes = seqs.iter().map(fix).collect();
        said
    }

    #[test]
    fn ranges_ascend_are_at_most_64_and_none_touches_another() {
        let now = UtcTime::parse("2026-11-22T10:00:00Z").unwrap();
        let mut acks = Acks::default();
        for n in (0..100_u64).rev() {
            acks.note(&track(&[10 * n, 10 * n + 5]));
        }
        acks.note(&track(&[6, 9]));
        acks.note(&track(&[0, 2]));
        let (van, first) = acks.next(now).unwrap();
        assert_eq!((van.as_str(), first.track.len()), ("VAN-042", Ack::MAX_RANGES));
        assert_eq!(first.track[0], SeqRange { first: 0, last: 15 }, "0..5, 6..9 and 10..15");
        assert!(first.track.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
        let (_, second) = acks.next(now).unwrap();
        assert_eq!(second.track.last(), Some(&SeqRange { first: 990, last: 995 }));
        assert_eq!(first.track.len() + second.track.len(), 99);
        assert!(acks.is_empty() && acks.next(now).is_none());
    }
}
