//! Outbox → messages for `event`: one event each, in the order of `Seq`, ahead of the trail (pure but for the reading).
//!
//! A refused event waits and comes again later, each time after a longer pause, and the line goes on without it. All of
//! this belongs to one connection; the next begins again at the lowest event that is still in the outbox.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::refusals::pause;
use crate::core::delivery::EventRecord;
use crate::core::record::Seq;
use crate::outbox::{Outbox, OutboxError};
use crate::units::Uptime;

/// Events read ahead: some name every parcel on board.
const AHEAD: usize = 8;

/// Refused ranges that are remembered one by one; beyond that, neighbours become one.
const MAX_PARKED: usize = 64;

/// Messages without PUBACK on `event`; the rest of the window is the trail's.
pub(super) const MAX_IN_FLIGHT: usize = 10;

/// Where events wait and none is on its way, the outbox is read from its beginning so often: a disk that failed while
/// the line was read may have kept some back.
const READ_AGAIN_EVERY: Duration = Duration::from_mins(1);

/// What a message on `event` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub seq: Seq,
    /// How often it was refused.
    pub refused: u32,
    /// Of its payload.
    pub bytes: usize,
}

/// An event as it goes out.
#[derive(Debug)]
pub(super) struct ReadyEvent {
    pub attempt: Attempt,
    pub payload: Vec<u8>,
}

/// Events up to `until`, read ahead.
#[derive(Debug, Default)]
struct Cursor {
    read: Seq,
    until: Option<Seq>,
    ahead: VecDeque<EventRecord>,
    refused: u32,
}

impl Cursor {
    async fn refill(&mut self, outbox: &Outbox, readable: Seq) -> Result<(), OutboxError> {
        let to = self.until.map_or(readable, |until| until.min(readable));
        if !self.ahead.is_empty() || self.read >= to {
            return Ok(());
        }
        let found = outbox.events_after(self.read, AHEAD).await?;
        self.read = match found.last() {
            Some(last) if found.len() == AHEAD => last.seq,
            last => last.map_or(to, |last| last.seq.max(to)),
        };
        let until = self.until;
        self.ahead.extend(found.into_iter().filter(|event| until.is_none_or(|to| event.seq <= to)));
        Ok(())
    }
}

/// Refused events, which wait.
#[derive(Clone, Copy, Debug)]
struct Parked {
    first: Seq,
    last: Seq,
    refused: u32,
    until: Uptime,
}

/// The events of one connection.
#[derive(Debug, Default)]
pub(super) struct EventLane {
    line: Cursor,
    /// The refused ones that are being sent again.
    again: Option<Cursor>,
    parked: Vec<Parked>,
    read_again_at: Uptime,
    /// The lowest event of the outbox, when it was read from its beginning.
    pub(super) lowest: Option<Seq>,
}

impl EventLane {
    /// The next event that is due, and how often it was refused; `under_way` are sent and not acknowledged.
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
        let begins = self.line.read == Seq::ZERO;
        self.line.refill(outbox, readable).await?;
        if begins {
            self.lowest = self.line.ahead.front().map(|event| event.seq);
        }
        if let Some(event) = self.line.ahead.pop_front() {
            return Ok(Some((event, 0)));
        }
        if let Some(found) = self.next_again(outbox, readable, now).await? {
            return Ok(Some(found));
        }
        let is_idle = under_way == 0 && self.parked.is_empty() && self.again.is_none();
        if is_idle && pending > 0 && now >= self.read_again_at {
            self.read_again_at = now + READ_AGAIN_EVERY;
            self.line = Cursor::default();
            self.line.refill(outbox, readable).await?;
        }
        Ok(self.line.ahead.pop_front().map(|event| (event, 0)))
    }

    /// When, after `now`, something becomes due.
    pub(super) fn deadline(&self, now: Uptime) -> Option<Uptime> {
        let parked = self.parked.iter().map(|parked| parked.until);
        parked.chain([self.read_again_at]).filter(|due| *due > now).min()
    }

    /// An event was refused.
    pub(super) fn park(&mut self, attempt: Attempt, now: Uptime) {
        let refused = attempt.refused.saturating_add(1);
        self.wait(attempt.seq, refused, now + pause(refused));
    }

    /// An event waits until then, whatever becomes of the others.
    pub(super) fn wait(&mut self, seq: Seq, refused: u32, until: Uptime) {
        self.parked.push(Parked { first: seq, last: seq, refused, until });
        self.parked.sort_by_key(|parked| parked.first);
        if self.parked.len() > MAX_PARKED {
            // What lies between them is on its way or has arrived: at worst it is repeated.
            let next = self.parked.remove(1);
            let kept = &mut self.parked[0];
            kept.last = kept.last.max(next.last);
            kept.refused = kept.refused.max(next.refused);
            kept.until = kept.until.max(next.until);
        }
    }

    async fn next_again(
        &mut self,
        outbox: &Outbox,
        readable: Seq,
        now: Uptime,
    ) -> Result<Option<(EventRecord, u32)>, OutboxError> {
        loop {
            if let Some(again) = &mut self.again {
                again.refill(outbox, readable).await?;
                if let Some(event) = again.ahead.pop_front() {
                    return Ok(Some((event, again.refused)));
                }
                self.again = None;
            }
            let Some(due) = self.parked.iter().position(|parked| now >= parked.until) else {
                return Ok(None);
            };
            let Parked { first, last, refused, .. } = self.parked.remove(due);
            let read = Seq::new(first.get().saturating_sub(1));
            self.again = Some(Cursor { read, until: Some(last), refused, ..Cursor::default() });
        }
    }
}

/// A message above this may be what a broker with an unsaid limit ends the connection for; the large clouds take 128 KiB.
const LARGE: usize = 16 * 1024;

/// So many connections that ended over the same event make it suspect.
const STRIKES: u32 = 3;

/// How long a suspect then waits; it doubles with each further connection that ends over it.
const SUSPECT_WAITS: Duration = Duration::from_mins(5);

/// The longest wait.
const SUSPECT_WAITS_AT_MOST: Duration = Duration::from_hours(1);

/// How many events are remembered.
const MAX_SUSPECTS: usize = 32;

/// Large events that connections ended over: they wait then, so that they hold up no other, and end a connection an hour
/// at most. It outlives connections.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<Seq, (u32, Uptime)>);

impl Suspects {
    /// A connection was lost while this was the oldest event without PUBACK.
    pub(super) fn lost_with(&mut self, attempt: Attempt, now: Uptime) {
        if attempt.bytes > LARGE {
            let (strikes, not_before) = self.0.entry(attempt.seq).or_default();
            *strikes = strikes.saturating_add(1);
            if let Some(beyond) = strikes.checked_sub(STRIKES) {
                let wait = SUSPECT_WAITS.saturating_mul(2_u32.saturating_pow(beyond));
                *not_before = now + wait.min(SUSPECT_WAITS_AT_MOST);
            }
            if self.0.len() > MAX_SUSPECTS {
                self.0.pop_first();
            }
        }
    }

    /// Until when it waits, if it does.
    pub(super) fn wait_until(&self, seq: Seq, now: Uptime) -> Option<Uptime> {
        self.0.get(&seq).map(|(_, not_before)| *not_before).filter(|until| *until > now)
    }

    /// It has arrived.
    pub(super) fn acquit(&mut self, seq: Seq) {
        self.0.remove(&seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_events_are_remembered_within_bounds_and_none_is_forgotten() {
        let mut lane = EventLane::default();
        for number in 1..=1000 {
            let attempt = Attempt { seq: Seq::new(number), refused: 0, bytes: 1000 };
            lane.park(attempt, Uptime::ZERO);
            assert!(lane.parked.len() <= MAX_PARKED);
        }
        for number in (1..=1000).map(Seq::new) {
            let covers = |parked: &Parked| parked.first <= number && parked.last >= number;
            assert!(lane.parked.iter().any(covers), "{number:?}");
        }
    }
}
