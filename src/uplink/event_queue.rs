//! Queue of `event` messages: one event each, in order of `Seq`, with priority over the track. No
//! I/O except reads from the outbox.
//!
//! A rejected event is retried after an increasing delay, and later events are sent meanwhile. The
//! queue belongs to one connection. The next connection starts at the lowest event in the outbox.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::publish_rejections::rejection_delay;
use crate::outbox::{Outbox, OutboxError};
use waypost_model::event::EventRecord;
use waypost_model::record::Seq;
use waypost_model::units::Uptime;

/// Number of events to prefetch. Some list every parcel on board.
const PREFETCH: usize = 8;

/// Maximum number of separately tracked rejected ranges. Beyond it, neighbours are merged.
const MAX_DEFERRED: usize = 64;

/// Maximum number of `event` messages without PUBACK. The remaining window is for the track.
pub(super) const MAX_IN_FLIGHT: usize = 10;

/// Interval for rereading the outbox from its start, while events are pending and none is in
/// flight. A disk failure during a read may have left some out.
const RESCAN_INTERVAL: Duration = Duration::from_mins(1);

/// An attempt to send an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub seq: Seq,
    /// Number of rejections.
    pub rejections: u32,
    /// Size of the payload.
    pub bytes: usize,
}

/// An encoded event that is ready to be sent.
#[derive(Debug)]
pub(super) struct ReadyEvent {
    pub attempt: Attempt,
    pub payload: Vec<u8>,
}

/// A read position with prefetched events, up to `until`.
#[derive(Debug, Default)]
struct Cursor {
    read_to: Seq,
    until: Option<Seq>,
    prefetched: VecDeque<EventRecord>,
    rejections: u32,
}

impl Cursor {
    async fn refill(&mut self, outbox: &Outbox, readable: Seq) -> Result<(), OutboxError> {
        let to = self.until.map_or(readable, |until| until.min(readable));
        if !self.prefetched.is_empty() || self.read_to >= to {
            return Ok(());
        }
        let found = outbox.events_after(self.read_to, PREFETCH).await?;
        self.read_to = match found.last() {
            Some(last) if found.len() == PREFETCH => last.seq,
            last => last.map_or(to, |last| last.seq.max(to)),
        };
        let until = self.until;
        self.prefetched
            .extend(found.into_iter().filter(|event| until.is_none_or(|to| event.seq <= to)));
        Ok(())
    }
}

/// Rejected events that wait for a retry.
#[derive(Clone, Copy, Debug)]
struct DeferredRange {
    first: Seq,
    last: Seq,
    rejections: u32,
    until: Uptime,
}

/// Event queue of one connection.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    cursor: Cursor,
    /// Rejected events that are being retried.
    retry: Option<Cursor>,
    deferred: Vec<DeferredRange>,
    rescan_at: Uptime,
    /// Lowest event in the outbox when it was read from its start.
    pub(super) lowest: Option<Seq>,
}

impl EventQueue {
    /// Returns the next due event and its number of rejections. `under_way` is the number of sent
    /// and unacknowledged events.
    pub(super) async fn next(
        &mut self,
        outbox: &Outbox,
        under_way: usize,
        now: Uptime,
    ) -> Result<Option<(EventRecord, u32)>, OutboxError> {
        let (readable, pending) = {
            let stats = outbox.stats();
            let stats = stats.borrow();
            (stats.events_newest, stats.events_pending)
        };
        let begins = self.cursor.read_to == Seq::ZERO;
        self.cursor.refill(outbox, readable).await?;
        if begins {
            self.lowest = self.cursor.prefetched.front().map(|event| event.seq);
        }
        if let Some(event) = self.cursor.prefetched.pop_front() {
            return Ok(Some((event, 0)));
        }
        if let Some(found) = self.next_retry(outbox, readable, now).await? {
            return Ok(Some(found));
        }
        let is_idle = under_way == 0 && self.deferred.is_empty() && self.retry.is_none();
        if is_idle && pending > 0 && now >= self.rescan_at {
            self.rescan_at = now + RESCAN_INTERVAL;
            self.cursor = Cursor::default();
            self.cursor.refill(outbox, readable).await?;
        }
        Ok(self.cursor.prefetched.pop_front().map(|event| (event, 0)))
    }

    /// Returns the next deadline after `now`.
    pub(super) fn deadline(&self, now: Uptime) -> Option<Uptime> {
        let deferred = self.deferred.iter().map(|deferred| deferred.until);
        deferred.chain([self.rescan_at]).filter(|due| *due > now).min()
    }

    /// Defers a rejected event.
    pub(super) fn defer(&mut self, attempt: Attempt, now: Uptime) {
        let refused = attempt.rejections.saturating_add(1);
        self.defer_until(attempt.seq, refused, now + rejection_delay(refused));
    }

    /// Defers an event until a fixed time.
    pub(super) fn defer_until(&mut self, seq: Seq, refused: u32, until: Uptime) {
        self.deferred.push(DeferredRange { first: seq, last: seq, rejections: refused, until });
        self.deferred.sort_by_key(|deferred| deferred.first);
        if self.deferred.len() > MAX_DEFERRED {
            // Events between them are in flight or acknowledged. At worst they are sent twice.
            let next = self.deferred.remove(1);
            let kept = &mut self.deferred[0];
            kept.last = kept.last.max(next.last);
            kept.rejections = kept.rejections.max(next.rejections);
            kept.until = kept.until.max(next.until);
        }
    }

    async fn next_retry(
        &mut self,
        outbox: &Outbox,
        readable: Seq,
        now: Uptime,
    ) -> Result<Option<(EventRecord, u32)>, OutboxError> {
        loop {
            if let Some(again) = &mut self.retry {
                again.refill(outbox, readable).await?;
                if let Some(event) = again.prefetched.pop_front() {
                    return Ok(Some((event, again.rejections)));
                }
                self.retry = None;
            }
            let Some(due) = self.deferred.iter().position(|deferred| now >= deferred.until) else {
                return Ok(None);
            };
            let DeferredRange { first, last, rejections: refused, .. } = self.deferred.remove(due);
            let read = Seq::new(first.get().saturating_sub(1));
            self.retry = Some(Cursor {
                read_to: read,
                until: Some(last),
                rejections: refused,
                ..Cursor::default()
            });
        }
    }
}

/// Size above which an event may exceed an undisclosed limit of the broker. Large cloud brokers
/// accept 128 KiB.
const LARGE_EVENT_BYTES: usize = 16 * 1024;

/// Number of connections lost with the same event after which it becomes a suspect.
const SUSPECT_AFTER: u32 = 3;

/// Initial delay of a suspect. It doubles with each further lost connection.
const SUSPECT_DELAY: Duration = Duration::from_mins(5);

/// Maximum delay of a suspect.
const MAX_SUSPECT_DELAY: Duration = Duration::from_hours(1);

/// Maximum number of tracked events.
const MAX_SUSPECTS: usize = 32;

/// Large events with which connections were lost. A suspect is delayed, so that it blocks no other
/// event and costs at most one connection per hour. Outlives connections.
#[derive(Debug, Default)]
pub(super) struct DisconnectSuspects(BTreeMap<Seq, (u32, Uptime)>);

impl DisconnectSuspects {
    /// Records a lost connection. `attempt` was its oldest event without PUBACK.
    pub(super) fn record_disconnect(&mut self, attempt: Attempt, now: Uptime) {
        if attempt.bytes > LARGE_EVENT_BYTES {
            let (strikes, not_before) = self.0.entry(attempt.seq).or_default();
            *strikes = strikes.saturating_add(1);
            if let Some(beyond) = strikes.checked_sub(SUSPECT_AFTER) {
                let wait = SUSPECT_DELAY.saturating_mul(2_u32.saturating_pow(beyond));
                *not_before = now + wait.min(MAX_SUSPECT_DELAY);
            }
            if self.0.len() > MAX_SUSPECTS {
                self.0.pop_first();
            }
        }
    }

    /// Returns until when an event is delayed.
    pub(super) fn deferred_until(&self, seq: Seq, now: Uptime) -> Option<Uptime> {
        self.0.get(&seq).map(|(_, not_before)| *not_before).filter(|until| *until > now)
    }

    /// Clears an event after its acknowledgement.
    pub(super) fn clear(&mut self, seq: Seq) {
        self.0.remove(&seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_events_are_remembered_within_bounds_and_none_is_forgotten() {
        let mut lane = EventQueue::default();
        for number in 1..=1000 {
            let attempt = Attempt { seq: Seq::new(number), rejections: 0, bytes: 1000 };
            lane.defer(attempt, Uptime::ZERO);
            assert!(lane.deferred.len() <= MAX_DEFERRED);
        }
        for number in (1..=1000).map(Seq::new) {
            let covers =
                |deferred: &DeferredRange| deferred.first <= number && deferred.last >= number;
            assert!(lane.deferred.iter().any(covers), "{number:?}");
        }
    }
}
