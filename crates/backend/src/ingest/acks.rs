//! Collects stored sequence numbers into `ack` payloads: exact ranges, at most one message per van
//! and second. Pure.

use std::collections::BTreeMap;

use super::parse::{Payload, VanMessage};
use waypost_model::units::UtcTime;
use waypost_wire::VERSION;
use waypost_wire::payloads::{Ack, SeqRange, StoredSeqs};

/// Stored ranges of one van, by their first number.
#[derive(Debug, Default)]
struct PendingAck {
    events: BTreeMap<u64, u64>,
    track: BTreeMap<u64, u64>,
}

/// Stored ranges that are not yet published.
#[derive(Debug, Default)]
pub(super) struct Acks {
    pending: BTreeMap<String, PendingAck>,
}

impl Acks {
    /// Records a stored message.
    pub(super) fn record(&mut self, said: &VanMessage) {
        match &said.payload {
            Payload::Event(event) => {
                if let Some(seq) = event.event.seq {
                    self.pending.entry(said.van.clone()).or_default().events.insert(seq, seq);
                }
            }
            // A message contains everything that the van sent between its first and last point.
            Payload::Track(fixes) => {
                if let (Some(first), Some(last)) = (fixes.first(), fixes.last()) {
                    let track = &mut self.pending.entry(said.van.clone()).or_default().track;
                    let known = track.entry(first.point.seq).or_default();
                    *known = last.point.seq.max(*known);
                }
            }
            Payload::Position(_)
            | Payload::State(..)
            | Payload::Connection(_)
            | Payload::CommandResult(_) => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns the next `ack` with the id of its van.
    pub(super) fn next_ack(&mut self, now: UtcTime) -> Option<(String, Ack)> {
        let mut entry = self.pending.first_entry()?;
        let van = entry.key().clone();
        let stored = entry.get_mut();
        let ack = Ack {
            v: VERSION,
            event: StoredSeqs { up_to: None, ranges: take_ranges(&mut stored.events) },
            track: StoredSeqs { up_to: None, ranges: take_ranges(&mut stored.track) },
            ts: Some(now.to_string()),
        };
        if stored.events.is_empty() && stored.track.is_empty() {
            entry.remove();
        }
        Some((van, ack))
    }
}

/// Takes the first ranges in ascending order, merging those that touch.
fn take_ranges(stored: &mut BTreeMap<u64, u64>) -> Vec<SeqRange> {
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
    use crate::ingest::parse::{Fix, MessageParser};

    fn track(seqs: &[u64]) -> VanMessage {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let path = format!("{root}/docs/contract/track.example.json");
        let payload = std::fs::read(path).unwrap();
        let now = UtcTime::parse("2026-11-22T10:00:00Z").unwrap();
        let mut said =
            MessageParser::new("fleet").parse("fleet/v1/VAN-042/track", &payload, now).unwrap();
        let Payload::Track(fixes) = &mut said.payload else { panic!("it is a track") };
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
            acks.record(&track(&[10 * n, 10 * n + 5]));
        }
        acks.record(&track(&[6, 9]));
        acks.record(&track(&[0, 2]));
        let (van, first) = acks.next_ack(now).unwrap();
        assert_eq!((van.as_str(), first.track.ranges.len()), ("VAN-042", Ack::MAX_RANGES));
        assert_eq!(first.track.ranges[0], SeqRange { first: 0, last: 15 }, "0..5, 6..9 and 10..15");
        assert!(first.track.ranges.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
        let (_, second) = acks.next_ack(now).unwrap();
        assert_eq!(second.track.ranges.last(), Some(&SeqRange { first: 990, last: 995 }));
        assert_eq!(first.track.ranges.len() + second.track.ranges.len(), 99);
        assert!(acks.is_empty() && acks.next_ack(now).is_none());
    }
}
