//! In-memory buffer of the newest records: all uncommitted ones and a cache of committed ones. No
//! I/O; time is an argument.
//!
//! - A record that is acknowledged before its commit leaves the buffer and causes no flash writes.
//! - A committed record stays for a while if it is not acknowledged, so that the uplink can read it
//!   without the disk.
//! - Every unacknowledged record above `floor` is in the buffer. Records up to it are only in the
//!   database.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::OutboxStats;
use super::event_buffer::{EventBuffer, EventGroup};
use super::seq_ranges::SeqRanges;
use super::write_batch::{FileStats, WriteBatch};
use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq, Subject};
use waypost_model::units::{Uptime, UtcTime};

/// Maximum number of uncommitted records while the disk fails: 2.7 hours at 1 Hz, 2 MB. Beyond it,
/// the oldest are evicted and counted.
pub(super) const MAX_UNSAVED: usize = 10_000;

/// Committed records kept for reading without disk access: about 15 minutes at 1 Hz, 150 KiB.
const MAX_CACHED: usize = 1000;

/// Number of waiting records that triggers a transaction at once. No receiver produces as many in a
/// second.
const LARGE_COMMIT: usize = 500;

/// Interval for storing a changed odometer if every record is acknowledged in time. It limits the
/// loss after a power cut. With departures and halts, it is all that such a van writes: 68 bytes
/// per fix, measured at the device.
const STATE_INTERVAL: Duration = Duration::from_mins(5);

#[derive(Clone, Copy, Debug)]
struct BufferedRecord {
    record: Record,
    /// Time of acceptance.
    accepted_at: Uptime,
}

#[derive(Debug)]
pub(super) struct WriteBuffer {
    entries: VecDeque<BufferedRecord>,
    file_only_to: Seq,
    newest: Seq,
    file_stats: FileStats,
    state: TripState,
    /// Time since which the state differs from the one in the database.
    state_since: Option<Uptime>,
    urgent: bool,
    /// Acknowledged records that are still in the database.
    acked: SeqRanges,
    /// Number of `acked` records known to be in the database.
    acked_in_file: u64,
    /// Content of the running transaction: highest number, and acknowledged records.
    committing: Option<(Seq, SeqRanges)>,
    /// Records up to this number may be in the database although their transaction failed. Only
    /// reopening it shows.
    uncertain_to: Seq,
    /// Whether the newest transaction failed.
    failing: bool,
    /// Records that were acknowledged or evicted while the transaction that contains them was
    /// running.
    acked_in_commit: u64,
    evicted_in_commit: u64,
    /// Evicted records that are not counted in the database yet.
    uncounted_evictions: u64,
}

impl WriteBuffer {
    pub(super) fn new(file_stats: FileStats, state: TripState, newest: Seq) -> Self {
        Self {
            entries: VecDeque::new(),
            file_only_to: file_stats.durable,
            newest,
            file_stats,
            state,
            state_since: None,
            urgent: false,
            failing: false,
            acked: SeqRanges::default(),
            acked_in_file: 0,
            committing: None,
            uncertain_to: Seq::ZERO,
            acked_in_commit: 0,
            evicted_in_commit: 0,
            uncounted_evictions: 0,
        }
    }

    /// Buffers new records of `records`, which are in ascending order, and the state after them.
    /// Returns the new ones.
    pub(super) fn accept<'a>(
        &mut self,
        records: &'a [Record],
        state: &TripState,
        now: Uptime,
    ) -> &'a [Record] {
        let fresh = &records[records.partition_point(|record| record.seq <= self.newest)..];
        self.urgent |= state.motion != self.state.motion
            || fresh.iter().any(|record| !matches!(record.subject, Subject::Point(_)));
        if *state != self.state {
            self.state = *state;
            self.state_since.get_or_insert(now);
        }
        self.entries.extend(
            fresh.iter().map(|record| BufferedRecord { record: *record, accepted_at: now }),
        );
        self.newest = fresh.last().map_or(self.newest, |record| record.seq);
        while self.unsaved_count() > MAX_UNSAVED {
            self.evict_oldest();
        }
        fresh
    }

    /// Restores records of an earlier run. Skips those that are in the database.
    pub(super) fn restore(
        &mut self,
        records: &[Record],
        newest: Seq,
        state: Option<TripState>,
    ) -> usize {
        let durable = self.file_stats.durable;
        let fresh = &records[records.partition_point(|record| record.seq <= durable)..];
        self.entries.extend(
            fresh
                .iter()
                .map(|record| BufferedRecord { record: *record, accepted_at: Uptime::ZERO }),
        );
        // Their age is unknown, so commit them at once.
        self.urgent |= !fresh.is_empty();
        if let Some(state) = state.filter(|state| newest > durable && *state != self.state) {
            (self.state, self.state_since) = (state, Some(Uptime::ZERO));
        }
        fresh.len()
    }

    /// Adds evicted events to the count that is stored with the next commit.
    pub(super) const fn add_evictions(&mut self, events: u64) {
        self.uncounted_evictions += events;
    }

    /// Number of records evicted from memory because the disk was too slow.
    pub(super) const fn evictions(&self) -> u64 {
        self.uncounted_evictions + self.evicted_in_commit
    }

    fn evict_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let seq = entry.record.seq;
        self.file_only_to = seq;
        if seq > self.file_stats.durable {
            let under_way = self.committing.as_ref().is_some_and(|(until, _)| seq <= *until);
            *(if under_way {
                &mut self.evicted_in_commit
            } else {
                &mut self.uncounted_evictions
            }) += 1;
        }
    }

    /// Marks records as acknowledged.
    pub(super) fn acknowledge(&mut self, range: &RangeInclusive<Seq>) {
        let begin = self.entries.partition_point(|entry| entry.record.seq < *range.start());
        let end = self.entries.partition_point(|entry| entry.record.seq <= *range.end());
        let durable = self.file_stats.durable;
        let committing = self.committing.as_ref().map_or(Seq::ZERO, |(until, _)| *until);
        for entry in self.entries.drain(begin..end) {
            let seq = entry.record.seq;
            self.acked_in_file += u64::from(seq <= durable);
            self.acked_in_commit += u64::from(seq > durable && seq <= committing);
        }
        let in_file = self.file_stats.has_rows && *range.start() <= durable;
        if in_file || *range.start() <= committing.max(self.uncertain_to) {
            self.acked.insert(range);
        }
        if self.unsaved_count() == 0 && self.state_since.is_none() {
            self.urgent = false;
        }
    }

    /// Number of records that are not on flash.
    pub(super) fn unsaved_count(&self) -> usize {
        self.entries.len() - self.cached()
    }

    fn cached(&self) -> usize {
        self.entries.partition_point(|entry| entry.record.seq <= self.file_stats.durable)
    }

    /// When the next transaction is due if records are committed after `commit_after`. Zero means
    /// at once.
    pub(super) fn due(&self, commit_after: Duration, block: u64) -> Option<Uptime> {
        let waiting = self.unsaved_count();
        let near = self.file_stats.reserved.get().saturating_sub(self.newest.get()) < block / 2;
        let immediate = near
            || self.uncounted_evictions > 0
            || waiting >= LARGE_COMMIT
            || self.acked.is_fragmented()
            || self.is_urgent();
        if immediate {
            return Some(Uptime::ZERO);
        }
        let oldest = self.entries.get(self.cached()).map(|entry| entry.accepted_at + commit_after);
        let state = self.state_since.map(|since| since + STATE_INTERVAL.max(commit_after));
        [oldest, state].into_iter().flatten().min()
    }

    /// Whether a transaction should start earlier than one second after the last one: after a
    /// departure or a halt.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent && (self.unsaved_count() > 0 || self.state_since.is_some())
    }

    /// Starts a transaction, with all uncommitted records or with acknowledgements only.
    pub(super) fn begin_commit(&mut self, with_records: bool) -> WriteBatch {
        let (mut records, mut state, mut until) = (Vec::new(), None, self.file_stats.durable);
        // A change during the transaction starts a new interval, because the odometer changes with
        // every fix.
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
        WriteBatch {
            records,
            state,
            newest: self.newest,
            until,
            acked,
            group: EventGroup::default(),
            acked_events: BTreeSet::new(),
            evictions: self.uncounted_evictions,
            acked_in_file: self.acked_in_file,
            state_since,
        }
    }

    /// The transaction was committed.
    pub(super) fn commit_done(&mut self, pending: &WriteBatch, stored: FileStats) {
        self.acked_in_file =
            self.acked_in_file - pending.acked_in_file + mem::take(&mut self.acked_in_commit);
        self.evicted_in_commit = 0;
        self.uncounted_evictions -= pending.evictions;
        self.committing = None;
        self.uncertain_to = Seq::ZERO;
        self.failing = false;
        self.file_stats = stored;
        self.trim();
    }

    /// The transaction failed, or its outcome is unknown.
    pub(super) fn commit_failed(&mut self, pending: &WriteBatch) {
        self.uncounted_evictions += mem::take(&mut self.evicted_in_commit);
        self.acked_in_commit = 0;
        self.state_since = pending.state_since.or(self.state_since);
        self.uncertain_to = self.uncertain_to.max(pending.until);
        self.failing = true;
        self.urgent = true;
        self.acked.extend(&pending.acked);
        self.committing = None;
    }

    /// Adopts the statistics of the database, also after it was replaced.
    pub(super) fn sync_from_file(&mut self, stored: FileStats) {
        self.file_stats = stored;
        self.trim();
    }

    fn trim(&mut self) {
        let evicted_to = self.file_stats.evicted_to.min(self.file_stats.durable);
        let gone = self.entries.partition_point(|entry| entry.record.seq <= evicted_to);
        let surplus = self.cached().saturating_sub(MAX_CACHED).max(gone);
        if let Some(last) = self.entries.drain(..surplus).next_back() {
            self.file_only_to = last.record.seq;
        }
    }

    /// Highest number to read from the database for records above `seq`. `None` if nothing has to
    /// be read.
    pub(super) fn in_file(&self, seq: Seq) -> Option<Seq> {
        (seq < self.file_only_to && self.file_stats.has_rows).then_some(self.file_only_to)
    }

    /// Records up to this number are only in the database.
    pub(super) const fn file_only_to(&self) -> Seq {
        self.file_only_to
    }

    /// Records in memory above `seq` whose numbers are reserved.
    pub(super) fn records_after(&self, seq: Seq, until: Option<Seq>, limit: usize) -> Vec<Record> {
        let begin =
            self.entries.partition_point(|entry| entry.record.seq <= seq.max(self.file_only_to));
        let until =
            until.map_or(self.file_stats.reserved, |until| until.min(self.file_stats.reserved));
        self.entries
            .range(begin..)
            .map(|entry| entry.record)
            .take_while(|record| record.seq <= until)
            .take(limit)
            .collect()
    }

    /// Acknowledged records that are still in the database.
    pub(super) fn acked_ranges(&self) -> SeqRanges {
        let mut arrived = self.acked.clone();
        if let Some((_, committing)) = &self.committing {
            arrived.extend(committing);
        }
        arrived
    }

    /// Whether acknowledged records are still in the database.
    pub(super) fn has_acked(&self) -> bool {
        !self.acked.is_empty()
    }

    /// Whether no record waits for its first transaction. The journal is then redundant.
    pub(super) fn is_durable(&self) -> bool {
        self.unsaved_count() == 0
    }

    /// Whether the database holds the state. False while a transaction with it is running.
    pub(super) const fn is_state_durable(&self) -> bool {
        self.state_since.is_none() && self.committing.is_none()
    }

    /// All uncommitted records, and the state after them.
    pub(super) fn unsaved(&self) -> (Vec<Record>, TripState) {
        let waiting = self.entries.range(self.cached()..);
        (waiting.map(|entry| entry.record).collect(), self.state)
    }

    /// Highest number of an accepted point.
    pub(super) const fn newest(&self) -> Seq {
        self.newest
    }

    /// Number of unacknowledged points.
    fn pending(&self) -> u64 {
        self.file_stats.points.saturating_sub(self.acked_in_file) + self.unsaved_count() as u64
    }

    /// Number and UTC of the oldest point.
    fn oldest(&self) -> Option<(Seq, Option<UtcTime>)> {
        let in_file = self.file_stats.points.saturating_sub(self.acked_in_file);
        let all_cached = in_file <= self.cached() as u64;
        let first = self.entries.front().map(|entry| match &entry.record.subject {
            Subject::Point(point) => (entry.record.seq, Some(point.fix.utc)),
        });
        if all_cached { first } else { self.file_stats.oldest.or(first) }
    }

    /// Statistics of points and `events`.
    pub(super) fn stats(&self, events: &EventBuffer) -> OutboxStats {
        let FileStats { durable, reserved, thinned, dropped, bytes, .. } = self.file_stats;
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
            dropped: dropped + self.uncounted_evictions,
            failing: self.failing,
            bytes,
            written_bytes_today: self.file_stats.written_bytes_today,
            device_bytes_today: self.file_stats.device_bytes_today,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::{record, state};
    use waypost_model::motion::Motion;

    const COMMIT_AFTER: Duration = Duration::from_secs(5);

    fn write_buffer() -> WriteBuffer {
        let stored = FileStats { reserved: Seq::new(1_000_000), ..FileStats::NONE };
        WriteBuffer::new(stored, TripState::default(), Seq::ZERO)
    }

    #[test]
    fn a_state_that_changes_while_it_is_written_is_written_every_five_minutes_all_the_same() {
        let mut tail = write_buffer();
        let (mut transactions, mut running) = (0, None::<(WriteBatch, u32)>);
        for tenth in 1..=36_000_u32 {
            let now = Uptime::from_millis(u64::from(tenth) * 100);
            let seq = Seq::new(u64::from(tenth));
            tail.accept(&[record(seq, Motion::Moving)], &state(f64::from(tenth)), now);
            tail.acknowledge(&(Seq::ZERO..=seq));
            match running.take() {
                // The transaction takes longer than the interval between two changes of the state.
                Some((pending, 0)) => {
                    let stored = FileStats { durable: pending.until, ..tail.file_stats };
                    tail.commit_done(&pending, stored);
                }
                Some((pending, ticks)) => running = Some((pending, ticks - 1)),
                None if tail.due(COMMIT_AFTER, 1000).is_some_and(|due| due <= now) => {
                    transactions += 1;
                    running = Some((tail.begin_commit(true), 1));
                }
                None => {}
            }
        }
        assert!((10..=13).contains(&transactions), "{transactions} in an hour");
    }

    #[test]
    fn a_state_that_was_not_written_is_as_old_as_before() {
        let mut tail = write_buffer();
        let at = |s: u64| Uptime::from_millis(s * 1000);
        tail.accept(&[], &state(1.0), at(1));
        let pending = tail.begin_commit(true);
        assert!(!tail.is_state_durable(), "not in the database yet");
        tail.accept(&[], &state(2.0), at(2));
        tail.commit_failed(&pending);
        assert_eq!(tail.state_since, Some(at(1)));
        let pending = tail.begin_commit(true);
        tail.commit_done(&pending, tail.file_stats);
        assert!(tail.is_state_durable());
    }

    #[test]
    fn what_arrives_after_a_commit_that_failed_is_deleted_if_that_was_in_the_file_after_all() {
        let mut tail = write_buffer();
        let records: Vec<_> = (1..=5).map(|seq| record(Seq::new(seq), Motion::Moving)).collect();
        tail.accept(&records, &state(1.0), Uptime::ZERO);
        let pending = tail.begin_commit(true);
        tail.commit_failed(&pending);
        tail.acknowledge(&(Seq::new(1)..=Seq::new(5)));
        let pending = tail.begin_commit(true);
        assert!(pending.acked.contains(Seq::new(3)));
        tail.commit_done(&pending, FileStats { durable: pending.until, ..tail.file_stats });
        tail.acknowledge(&(Seq::new(6)..=Seq::new(6)));
        assert!(!tail.has_acked(), "records that never were in the database are not deleted");
    }
}
