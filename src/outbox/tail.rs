//! The newest records in memory: what is not on flash yet, and some of what is (pure: time is an argument).
//!
//! - A record that is acknowledged before it is committed leaves here, and itself never costs the card a byte.
//! - What was committed and not acknowledged stays for a while, so that a slow disk does not keep it from the relay.
//! - Everything above `floor` that is not acknowledged is here; everything up to it is in the file, or nowhere.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::OutboxStats;
use super::events::{Events, Group};
use super::ranges::Ranges;
use super::transaction::{Pending, Stored};
use crate::core::journey::JourneyState;
use crate::core::record::{Record, Seq, Subject};
use crate::units::{Uptime, UtcTime};

/// What a failing disk may keep waiting: 2.7 hours at 1 Hz, 2 MB. Then the oldest are given up, and counted.
pub(super) const MAX_WAITING: usize = 10_000;

/// Committed records that are kept to be read without the disk: a quarter of an hour at 1 Hz, 150 KiB.
const MAX_CACHED: usize = 1000;

/// So many are worth a transaction at any time; no receiver gives as many in a second.
const LARGE_COMMIT: usize = 500;

/// The odometer of a van whose every fix arrives in time is written so often, for the sake of a power cut. It is what such a
/// van writes at all, with departures and halts: measured at the device, 68 bytes a fix.
const STATE_AFTER: Duration = Duration::from_mins(5);

#[derive(Clone, Copy, Debug)]
struct Entry {
    record: Record,
    /// When it was accepted.
    since: Uptime,
}

#[derive(Debug)]
pub(super) struct Tail {
    entries: VecDeque<Entry>,
    floor: Seq,
    newest: Seq,
    stored: Stored,
    state: JourneyState,
    /// Since when the state differs from the one in the file.
    state_since: Option<Uptime>,
    urgent: bool,
    /// Acknowledged, and still in the file.
    acked: Ranges,
    /// Of these, the ones that are known to be there.
    counted: u64,
    /// What the running transaction takes along: up to which number, and the acknowledged.
    committing: Option<(Seq, Ranges)>,
    /// Up to here a transaction that failed may be in the file all the same: only who reads it anew knows.
    doubtful: Seq,
    /// The newest transaction failed.
    failing: bool,
    /// Left while the transaction that may keep them was running: acknowledged, and given up.
    left_acked: u64,
    left_given_up: u64,
    /// Records given up that the file has not counted yet.
    given_up: u64,
}

impl Tail {
    pub(super) fn new(stored: Stored, state: JourneyState, newest: Seq) -> Self {
        Self {
            entries: VecDeque::new(),
            floor: stored.durable,
            newest,
            stored,
            state,
            state_since: None,
            urgent: false,
            failing: false,
            acked: Ranges::default(),
            counted: 0,
            committing: None,
            doubtful: Seq::ZERO,
            left_acked: 0,
            left_given_up: 0,
            given_up: 0,
        }
    }

    /// Takes what is new of `records`, which ascend, with the state after them; returns what it took.
    pub(super) fn accept<'a>(
        &mut self,
        records: &'a [Record],
        state: &JourneyState,
        now: Uptime,
    ) -> &'a [Record] {
        let fresh = &records[records.partition_point(|record| record.seq <= self.newest)..];
        self.urgent |= state.motion != self.state.motion
            || fresh.iter().any(|record| !matches!(record.subject, Subject::Point(_)));
        if *state != self.state {
            self.state = *state;
            self.state_since.get_or_insert(now);
        }
        self.entries.extend(fresh.iter().map(|record| Entry { record: *record, since: now }));
        self.newest = fresh.last().map_or(self.newest, |record| record.seq);
        while self.waiting() > MAX_WAITING {
            self.give_up_oldest();
        }
        fresh
    }

    /// Takes what an earlier run left behind; numbers that the file has are known there.
    pub(super) fn take_over(
        &mut self,
        records: &[Record],
        newest: Seq,
        state: Option<JourneyState>,
    ) -> usize {
        let durable = self.stored.durable;
        let fresh = &records[records.partition_point(|record| record.seq <= durable)..];
        self.entries
            .extend(fresh.iter().map(|record| Entry { record: *record, since: Uptime::ZERO }));
        // How long they have waited already, nobody knows any more.
        self.urgent |= !fresh.is_empty();
        if let Some(state) = state.filter(|state| newest > durable && *state != self.state) {
            (self.state, self.state_since) = (state, Some(Uptime::ZERO));
        }
        fresh.len()
    }

    /// So many others have been given up, which the file is to count.
    pub(super) const fn give_up(&mut self, events: u64) {
        self.given_up += events;
    }

    /// Records in memory that the disk did not take in time.
    pub(super) const fn given_up(&self) -> u64 {
        self.given_up + self.left_given_up
    }

    fn give_up_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let seq = entry.record.seq;
        self.floor = seq;
        if seq > self.stored.durable {
            let under_way = self.committing.as_ref().is_some_and(|(until, _)| seq <= *until);
            *(if under_way { &mut self.left_given_up } else { &mut self.given_up }) += 1;
        }
    }

    /// These have arrived.
    pub(super) fn acknowledge(&mut self, range: &RangeInclusive<Seq>) {
        let begin = self.entries.partition_point(|entry| entry.record.seq < *range.start());
        let end = self.entries.partition_point(|entry| entry.record.seq <= *range.end());
        let durable = self.stored.durable;
        let committing = self.committing.as_ref().map_or(Seq::ZERO, |(until, _)| *until);
        for entry in self.entries.drain(begin..end) {
            let seq = entry.record.seq;
            self.counted += u64::from(seq <= durable);
            self.left_acked += u64::from(seq > durable && seq <= committing);
        }
        let in_file = self.stored.has_rows && *range.start() <= durable;
        if in_file || *range.start() <= committing.max(self.doubtful) {
            self.acked.insert(range);
        }
        if self.waiting() == 0 && self.state_since.is_none() {
            self.urgent = false;
        }
    }

    /// How many are not on flash.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len() - self.cached()
    }

    fn cached(&self) -> usize {
        self.entries.partition_point(|entry| entry.record.seq <= self.stored.durable)
    }

    /// When the next transaction is due, if records become `commit_after` old; zero is at once.
    pub(super) fn due(&self, commit_after: Duration, block: u64) -> Option<Uptime> {
        let waiting = self.waiting();
        let near = self.stored.reserved.get().saturating_sub(self.newest.get()) < block / 2;
        let at_once = near
            || self.given_up > 0
            || waiting >= LARGE_COMMIT
            || self.acked.are_many()
            || self.is_urgent();
        if at_once {
            return Some(Uptime::ZERO);
        }
        let oldest = self.entries.get(self.cached()).map(|entry| entry.since + commit_after);
        let state = self.state_since.map(|since| since + STATE_AFTER.max(commit_after));
        [oldest, state].into_iter().flatten().min()
    }

    /// Whether a transaction should begin sooner than a second after the last one: a departure, a halt.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent && (self.waiting() > 0 || self.state_since.is_some())
    }

    /// Begins a transaction: with everything that waits, or with the acknowledged alone.
    pub(super) fn begin(&mut self, with_records: bool) -> Pending {
        let (mut records, mut state, mut until) = (Vec::new(), None, self.stored.durable);
        // What changes while the transaction runs waits its own time: a van's odometer changes with every fix.
        let state_since = self.state_since.take_if(|_| with_records);
        if with_records {
            let waiting = self.entries.range(self.cached()..);
            records = waiting.map(|entry| entry.record).collect();
            state = state_since.map(|_| self.state);
            until = self.newest;
        }
        let acked = mem::take(&mut self.acked);
        self.committing = Some((until, acked.clone()));
        self.urgent &= !with_records;
        Pending {
            records,
            state,
            newest: self.newest,
            until,
            acked,
            group: Group::default(),
            settled: BTreeSet::new(),
            given_up: self.given_up,
            counted: self.counted,
            state_since,
        }
    }

    /// The transaction is in the file.
    pub(super) fn done(&mut self, pending: &Pending, stored: Stored) {
        self.counted = self.counted - pending.counted + mem::take(&mut self.left_acked);
        self.left_given_up = 0;
        self.given_up -= pending.given_up;
        self.committing = None;
        self.doubtful = Seq::ZERO;
        self.failing = false;
        self.stored = stored;
        self.trim();
    }

    /// It is not, or nobody knows.
    pub(super) fn failed(&mut self, pending: &Pending) {
        self.given_up += mem::take(&mut self.left_given_up);
        self.left_acked = 0;
        self.state_since = pending.state_since.or(self.state_since);
        self.doubtful = self.doubtful.max(pending.until);
        self.failing = true;
        self.urgent = true;
        self.acked.extend(&pending.acked);
        self.committing = None;
    }

    /// The file says what it holds, also when it was replaced.
    pub(super) fn learn(&mut self, stored: Stored) {
        self.stored = stored;
        self.trim();
    }

    fn trim(&mut self) {
        let gone_to = self.stored.gone_to.min(self.stored.durable);
        let gone = self.entries.partition_point(|entry| entry.record.seq <= gone_to);
        let surplus = self.cached().saturating_sub(MAX_CACHED).max(gone);
        if let Some(last) = self.entries.drain(..surplus).next_back() {
            self.floor = last.record.seq;
        }
    }

    /// What must be read of the file for records above `seq`: up to which number; `None` if nothing.
    pub(super) fn in_file(&self, seq: Seq) -> Option<Seq> {
        (seq < self.floor && self.stored.has_rows).then_some(self.floor)
    }

    /// Up to where records are in the file alone.
    pub(super) const fn floor(&self) -> Seq {
        self.floor
    }

    /// Records in memory above `seq`, whose numbers are reserved.
    pub(super) fn after(&self, seq: Seq, until: Option<Seq>, limit: usize) -> Vec<Record> {
        let begin = self.entries.partition_point(|entry| entry.record.seq <= seq.max(self.floor));
        let until = until.map_or(self.stored.reserved, |until| until.min(self.stored.reserved));
        self.entries
            .range(begin..)
            .map(|entry| entry.record)
            .take_while(|record| record.seq <= until)
            .take(limit)
            .collect()
    }

    /// What has arrived and is still in the file.
    pub(super) fn arrived(&self) -> Ranges {
        let mut arrived = self.acked.clone();
        if let Some((_, committing)) = &self.committing {
            arrived.extend(committing);
        }
        arrived
    }

    /// Whether acknowledged records are still in the file.
    pub(super) fn has_acked(&self) -> bool {
        !self.acked.is_empty()
    }

    /// Whether nothing waits for its first transaction: then a second copy of it is of no use.
    pub(super) fn is_safe(&self) -> bool {
        self.waiting() == 0
    }

    /// Whether the file has the state: not while a transaction runs that may bring it there.
    pub(super) const fn state_is_safe(&self) -> bool {
        self.state_since.is_none() && self.committing.is_none()
    }

    /// Everything that waits, and the state after it.
    pub(super) fn to_keep(&self) -> (Vec<Record>, JourneyState) {
        let waiting = self.entries.range(self.cached()..);
        (waiting.map(|entry| entry.record).collect(), self.state)
    }

    /// The highest number of a point that was accepted.
    pub(super) const fn newest(&self) -> Seq {
        self.newest
    }

    /// Points that have not arrived.
    fn pending(&self) -> u64 {
        self.stored.points.saturating_sub(self.counted) + self.waiting() as u64
    }

    /// Number and UTC of the oldest point.
    fn oldest(&self) -> Option<(Seq, Option<UtcTime>)> {
        let in_file = self.stored.points.saturating_sub(self.counted);
        let all_cached = in_file <= self.cached() as u64;
        let first = self.entries.front().map(|entry| match &entry.record.subject {
            Subject::Point(point) => (entry.record.seq, Some(point.fix.utc)),
        });
        if all_cached { first } else { self.stored.oldest.or(first) }
    }

    /// What there is, with `events` beside the points.
    pub(super) fn stats(&self, events: &Events) -> OutboxStats {
        let Stored { durable, reserved, thinned, dropped, bytes, .. } = self.stored;
        let oldest_event = events.oldest().map(|(seq, utc)| (seq, Some(utc)));
        let oldest = self.oldest().into_iter().chain(oldest_event).min_by_key(|(seq, _)| *seq);
        OutboxStats {
            pending: self.pending() + events.pending(),
            events_pending: events.pending(),
            oldest: oldest.and_then(|(_, utc)| utc),
            newest: self.newest,
            events_newest: events.readable(),
            durable,
            reserved,
            thinned,
            dropped: dropped + self.given_up,
            failing: self.failing,
            bytes,
            written_bytes_today: self.stored.written_bytes_today,
            device_bytes_today: self.stored.device_bytes_today,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::journey::Motion;
    use crate::outbox::tests::{record, state};

    const COMMIT_AFTER: Duration = Duration::from_secs(5);

    fn tail() -> Tail {
        let stored = Stored { reserved: Seq::new(1_000_000), ..Stored::NONE };
        Tail::new(stored, JourneyState::default(), Seq::ZERO)
    }

    #[test]
    fn a_state_that_changes_while_it_is_written_is_written_every_five_minutes_all_the_same() {
        let mut tail = tail();
        let (mut transactions, mut running) = (0, None::<(Pending, u32)>);
        for tenth in 1..=36_000_u32 {
            let now = Uptime::from_millis(u64::from(tenth) * 100);
            let seq = Seq::new(u64::from(tenth));
            tail.accept(&[record(seq, Motion::Moving)], &state(f64::from(tenth)), now);
            tail.acknowledge(&(Seq::ZERO..=seq));
            match running.take() {
                // It takes longer than the state stays the same.
                Some((pending, 0)) => {
                    let stored = Stored { durable: pending.until, ..tail.stored };
                    tail.done(&pending, stored);
                }
                Some((pending, ticks)) => running = Some((pending, ticks - 1)),
                None if tail.due(COMMIT_AFTER, 1000).is_some_and(|due| due <= now) => {
                    transactions += 1;
                    running = Some((tail.begin(true), 1));
                }
                None => {}
            }
        }
        assert!((10..=13).contains(&transactions), "{transactions} in an hour");
    }

    #[test]
    fn a_state_that_was_not_written_is_as_old_as_before() {
        let mut tail = tail();
        let at = |s: u64| Uptime::from_millis(s * 1000);
        tail.accept(&[], &state(1.0), at(1));
        let pending = tail.begin(true);
        assert!(!tail.state_is_safe(), "the file does not have it yet");
        tail.accept(&[], &state(2.0), at(2));
        tail.failed(&pending);
        assert_eq!(tail.state_since, Some(at(1)));
        let pending = tail.begin(true);
        tail.done(&pending, tail.stored);
        assert!(tail.state_is_safe());
    }

    #[test]
    fn what_arrives_after_a_commit_that_failed_is_deleted_if_that_was_in_the_file_after_all() {
        let mut tail = tail();
        let records: Vec<_> = (1..=5).map(|seq| record(Seq::new(seq), Motion::Moving)).collect();
        tail.accept(&records, &state(1.0), Uptime::ZERO);
        let pending = tail.begin(true);
        tail.failed(&pending);
        tail.acknowledge(&(Seq::new(1)..=Seq::new(5)));
        let pending = tail.begin(true);
        assert!(pending.acked.contains(Seq::new(3)));
        tail.done(&pending, Stored { durable: pending.until, ..tail.stored });
        tail.acknowledge(&(Seq::new(6)..=Seq::new(6)));
        assert!(!tail.has_acked(), "what never was in the file is not looked for");
    }
}
