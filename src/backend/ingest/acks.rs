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
