//! Schedules the transactions of the outbox.
//!
//! Records are handed to the outbox at once and committed at most once per second. Departures,
//! halts, large batches and events are committed immediately, together only with records that are
//! due. Events that arrive during a transaction are committed together by the next one.

use std::mem;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::SourceKind;
use crate::outbox::{Outbox, OutboxError, OutboxStats, StoredDoc};
use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq};
use waypost_model::units::Uptime;
use waypost_pipeline::delivery::{DeliveryOutput, StateDocChange};
use waypost_service::backoff::Backoff;
use waypost_service::clock::Clock;
use waypost_service::task::unwrap_join;

/// Minimum time between transactions, to limit flash wear.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of uncommitted records while a recording is read.
const MAX_PREFETCH: usize = 2 * LARGE_COMMIT;

/// Number of records that triggers a transaction at once. No receiver produces as many in a second.
const LARGE_COMMIT: usize = 500;

/// A longer transaction is reported as slow; it indicates a failing card.
const SLOW_COMMIT: Duration = Duration::from_secs(2);

/// Delay between attempts of the final commit.
const FINAL_RETRY_DELAY: Duration = Duration::from_millis(300);

/// Runs one transaction at a time and determines when the next may start.
#[derive(Debug)]
pub(super) struct CommitScheduler {
    outbox: Outbox,
    stats: watch::Receiver<OutboxStats>,
    source_kind: SourceKind,
    running: Option<JoinHandle<Result<(), OutboxError>>>,
    started_at: Uptime,
    /// Real time, also in an accelerated replay, because it measures the disk.
    clock: Clock,
    /// Earliest start of the next transaction.
    not_before: Uptime,
    backoff: Backoff,
    health: DiskHealth,
}

/// State of the disk as last logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiskHealth {
    Healthy,
    Slow,
    Failing,
}

/// Next step of the scheduler.
pub(super) enum CommitStep {
    /// Start a transaction with the records due by this time.
    Start(Uptime),
    Done(Result<(), OutboxError>),
}

impl CommitScheduler {
    pub(super) fn new(outbox: Outbox, source_kind: SourceKind) -> Self {
        let backoff = Backoff::new(COMMIT_INTERVAL, Duration::from_secs(30), fastrand::Rng::new());
        Self {
            stats: outbox.stats(),
            outbox,
            source_kind,
            running: None,
            started_at: Uptime::ZERO,
            clock: Clock::live(),
            not_before: Uptime::ZERO,
            backoff,
            health: DiskHealth::Healthy,
        }
    }

    /// Number of records that are not on flash.
    pub(super) fn pending(&self) -> usize {
        self.outbox.unsaved_count()
    }

    /// Highest sequence number that may be published.
    pub(super) fn max_publishable_seq(&self) -> Seq {
        self.stats.borrow().reserved
    }

    /// Whether more input may be read. A recording waits for the disk, a live receiver never does.
    pub(super) fn has_room(&self) -> bool {
        self.source_kind == SourceKind::Live || self.outbox.unsaved_count() < MAX_PREFETCH
    }

    pub(super) fn enqueue(&self, records: &mut Vec<Record>, state: &TripState) {
        self.outbox.accept(records, state, self.clock.uptime());
        records.clear();
    }

    pub(super) fn enqueue_delivery(&self, happenings: &mut DeliveryOutput) {
        let DeliveryOutput { events, state_docs, .. } = happenings;
        if events.is_empty() && state_docs.is_empty() {
            return;
        }
        let documents = state_docs
            .drain(..)
            .map(|StateDocChange { key, value }| StoredDoc { key, value })
            .collect();
        self.outbox.accept_events(mem::take(events), documents, self.clock.uptime());
    }

    /// Waits until the running transaction ends or the next one is due. Cancel-safe.
    pub(super) async fn next_step(&mut self) -> CommitStep {
        if let Some(running) = &mut self.running {
            let ended = running.await;
            // A handle must not be polled again after its result.
            self.running = None;
            return CommitStep::Done(unwrap_join(ended).await);
        }
        loop {
            let due = self.outbox.flush_due();
            // Departures and halts are rare, and a power cut must not lose one.
            let now = self.outbox.unsaved_count() >= LARGE_COMMIT || self.outbox.is_urgent();
            if due.is_some() && now && self.health != DiskHealth::Failing {
                return CommitStep::Start(self.clock.uptime());
            }
            let due = due.map(|due| due.max(self.not_before));
            tokio::select! {
                biased;
                now = self.clock.sleep_until(due) => return CommitStep::Start(now),
                changed = self.stats.changed() => changed.expect("this struct holds the outbox, so that its sender exists"),
            }
        }
    }

    pub(super) fn run_step(&mut self, step: CommitStep) -> Result<(), OutboxError> {
        match step {
            CommitStep::Start(by) => {
                let outbox = self.outbox.clone();
                self.start(async move { outbox.flush_by(by).await });
                Ok(())
            }
            CommitStep::Done(result) => self.finish_commit(result).map(drop),
        }
    }

    fn start(&mut self, flush: impl Future<Output = Result<(), OutboxError>> + Send + 'static) {
        self.started_at = self.clock.uptime();
        self.not_before = self.started_at + COMMIT_INTERVAL;
        self.running = Some(tokio::spawn(flush));
    }

    /// Records the result of the running transaction. Returns whether it must be retried.
    fn finish_commit(&mut self, result: Result<(), OutboxError>) -> Result<bool, OutboxError> {
        self.running = None;
        let took = self.clock.uptime().since(self.started_at);
        let (now, error) = match result {
            Ok(()) if took >= SLOW_COMMIT => (DiskHealth::Slow, None),
            Ok(()) => (DiskHealth::Healthy, None),
            Err(error @ OutboxError::Degraded { .. }) => (DiskHealth::Failing, Some(error)),
            Err(error) => return Err(error),
        };
        match (mem::replace(&mut self.health, now), now) {
            (before, now) if before == now => {}
            (_, DiskHealth::Failing) => {
                let error = error.as_ref().map(ToString::to_string).unwrap_or_default();
                tracing::error!(error, "outbox write failed, keeping records in memory");
            }
            (_, DiskHealth::Slow) => {
                let took_ms = took.as_millis();
                tracing::warn!(took_ms, "outbox write slow: check the health of the card");
            }
            (_, DiskHealth::Healthy) => {
                let dropped = self.stats.borrow().dropped;
                tracing::info!(dropped, "outbox write recovered");
            }
        }
        if now == DiskHealth::Failing {
            self.not_before = self.clock.uptime() + self.backoff.next_delay();
            return Ok(true);
        }
        self.backoff.reset();
        Ok(false)
    }

    /// Commits all remaining records, with unlimited retries; the caller limits the time.
    pub(super) async fn finish(&mut self) -> Result<(), OutboxError> {
        loop {
            if let Some(running) = &mut self.running {
                let ended = running.await;
                self.running = None;
                let result = unwrap_join(ended).await;
                if self.finish_commit(result)? {
                    tokio::time::sleep(FINAL_RETRY_DELAY).await;
                }
            } else if self.outbox.is_durable() {
                return Ok(());
            } else {
                let outbox = self.outbox.clone();
                self.start(async move { outbox.flush().await });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::OutboxConfig;
    use crate::outbox::tests::{event, record};
    use waypost_model::motion::Motion;

    /// An outbox in a temporary directory, with its scheduler.
    struct Bench {
        _folder: tempfile::TempDir,
        outbox: Outbox,
        commits: CommitScheduler,
        next: u64,
    }

    impl Bench {
        async fn new(source_kind: SourceKind, commit_after: Duration) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("outbox.db");
            let config = OutboxConfig { commit_after, ..OutboxConfig::new(path) };
            let outbox = Outbox::open(config).await.unwrap();
            let commits = CommitScheduler::new(outbox.clone(), source_kind);
            Self { _folder: folder, outbox, commits, next: 1 }
        }

        fn enqueue(&mut self, count: u64) {
            let mut records: Vec<Record> =
                (0..count).map(|more| record(Seq::new(self.next + more), Motion::Moving)).collect();
            self.next += count;
            self.commits.enqueue(&mut records, &TripState::default());
        }

        fn event(&mut self) {
            let event = event(Seq::new(self.next));
            self.next += 1;
            self.outbox.accept_events(vec![event], Vec::new(), self.commits.clock.uptime());
        }

        /// Runs the scheduler for `time`.
        async fn run_for(&mut self, time: Duration) {
            let end = tokio::time::sleep(time);
            tokio::pin!(end);
            loop {
                tokio::select! {
                    biased;
                    step = self.commits.next_step() => self.commits.run_step(step).unwrap(),
                    () = &mut end => return,
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ten_fixes_a_second_are_one_transaction_a_second() {
        let mut bench = Bench::new(SourceKind::Live, Duration::ZERO).await;
        let (mut transactions, mut newest) = (0, Seq::ZERO);
        for _ in 0..600 {
            bench.enqueue(1);
            bench.run_for(Duration::from_millis(100)).await;
            let committed = bench.outbox.stats().borrow().durable;
            transactions += u32::from(committed != newest);
            newest = committed;
        }
        assert!((55..=61).contains(&transactions), "{transactions} in a minute");
        bench.commits.finish().await.unwrap();
        assert_eq!(bench.outbox.stats().borrow().pending, 600);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_acknowledged_in_time_is_never_written_and_the_rest_is_when_it_is_old_enough() {
        let mut bench = Bench::new(SourceKind::Live, Duration::from_secs(5)).await;
        for _ in 0..600 {
            bench.enqueue(1);
            bench.run_for(Duration::from_secs(1)).await;
            let newest = Seq::new(bench.next.saturating_sub(3));
            bench.outbox.acknowledge(&(Seq::ZERO..=newest));
        }
        assert_eq!(bench.outbox.stats().borrow().durable, Seq::ZERO);
        let mut oldest = 0;
        for _ in 0..600 {
            bench.enqueue(1);
            bench.run_for(Duration::from_secs(1)).await;
            oldest = oldest.max(bench.next - 1 - bench.outbox.stats().borrow().durable.get());
        }
        assert_eq!(bench.outbox.stats().borrow().pending, 602);
        bench.enqueue(1);
        bench.run_for(Duration::from_secs(6)).await;
        assert_eq!(
            bench.commits.pending(),
            0,
            "points are committed in time without a further record, too"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_departure_is_on_flash_at_once() {
        let mut bench = Bench::new(SourceKind::Live, Duration::from_secs(60)).await;
        let mut records = vec![record(Seq::new(1), Motion::Moving)];
        let moving = TripState { motion: Motion::Moving, ..TripState::default() };
        bench.commits.enqueue(&mut records, &moving);
        bench.run_for(Duration::from_millis(1)).await;
        assert_eq!(bench.outbox.stats().borrow().durable, Seq::new(1));
        bench.run_for(Duration::from_millis(100)).await;
        let mut records = vec![record(Seq::new(2), Motion::Halted)];
        bench.commits.enqueue(&mut records, &TripState { motion: Motion::Halted, ..moving });
        bench.run_for(Duration::from_millis(1)).await;
        assert_eq!(bench.outbox.stats().borrow().durable, Seq::new(2), "committed immediately");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_on_flash_at_once_and_costs_the_points_beside_it_nothing() {
        let mut bench = Bench::new(SourceKind::Live, Duration::from_secs(5)).await;
        for _ in 0..300 {
            bench.enqueue(1);
            bench.run_for(Duration::from_millis(500)).await;
            let event = event(Seq::new(bench.next));
            bench.next += 1;
            let (outbox, now) = (bench.outbox.clone(), bench.commits.clock.uptime());
            // Events are added by another task while the engine waits.
            let given = async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                outbox.accept_events(vec![event], Vec::new(), now);
            };
            tokio::join!(given, bench.run_for(Duration::from_millis(2)));
            let stats = *bench.outbox.stats().borrow();
            assert_eq!(stats.events_newest.get(), bench.next - 1, "committed immediately");
            bench.run_for(Duration::from_millis(498)).await;
            let newest = Seq::new(bench.next.saturating_sub(4));
            bench.outbox.acknowledge(&(Seq::ZERO..=newest));
        }
        assert_eq!(bench.outbox.stats().borrow().durable, Seq::ZERO, "no point is written");
        let mut oldest = 0;
        for _ in 0..300 {
            bench.enqueue(1);
            bench.run_for(Duration::from_millis(700)).await;
            bench.event();
            bench.run_for(Duration::from_millis(300)).await;
            // Half of the sequence numbers belong to points.
            let durable = bench.outbox.stats().borrow().durable.get();
            oldest = oldest.max((bench.next - 1).saturating_sub(durable.max(598)) / 2);
        }
        assert!((4..=6).contains(&oldest), "a point is {oldest} s old at most");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_events_a_second_make_no_more_transactions_than_the_disk_takes() {
        let mut bench = Bench::new(SourceKind::Live, Duration::from_secs(5)).await;
        let mut news = bench.outbox.stats();
        let mut transactions = 0;
        for _ in 0..10 {
            // The disk is blocked for half a second.
            let busy = bench.outbox.busy().await;
            for _ in 0..50 {
                bench.event();
                bench.run_for(Duration::from_millis(10)).await;
            }
            news.mark_unchanged();
            drop(busy);
            let mut before = news.borrow().events_newest;
            while bench.outbox.unsaved_count() > 0 {
                bench.run_for(Duration::from_millis(1)).await;
                let now = bench.outbox.stats().borrow().events_newest;
                transactions += u32::from(now != before);
                before = now;
            }
        }
        assert!((10..=20).contains(&transactions), "{transactions} for 500 events");
        assert_eq!(bench.outbox.stats().borrow().events_pending, 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_fails_for_an_hour_costs_nothing_and_is_asked_seldom() {
        let mut bench = Bench::new(SourceKind::Live, Duration::ZERO).await;
        bench.outbox.forbid_writes(true).await;
        for _ in 0..3600 {
            bench.enqueue(1);
            bench.run_for(Duration::from_secs(1)).await;
        }
        assert_eq!(bench.commits.pending(), 3600);
        assert!(bench.outbox.stats().borrow().failing, "the statistics report the failure");
        bench.outbox.forbid_writes(false).await;
        bench.run_for(Duration::from_mins(1)).await;
        let stats = *bench.outbox.stats().borrow();
        assert_eq!((stats.pending, stats.dropped, bench.commits.pending()), (3600, 0, 0));
        assert!(!stats.failing);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_receiver_says_beyond_the_bound_is_given_up_oldest_first_and_counted() {
        let mut bench = Bench::new(SourceKind::Live, Duration::ZERO).await;
        bench.outbox.forbid_writes(true).await;
        for _ in 0..120 {
            bench.enqueue(100);
            assert!(bench.commits.has_room(), "a live receiver never waits");
            bench.run_for(Duration::from_secs(1)).await;
        }
        bench.outbox.forbid_writes(false).await;
        bench.run_for(Duration::from_mins(1)).await;
        let stats = *bench.outbox.stats().borrow();
        assert_eq!(stats.pending + stats.dropped, 12_000);
        assert!((2000..=2200).contains(&stats.dropped), "{stats:?}");
        let oldest = bench.outbox.records_after(Seq::ZERO, None, 1).await.unwrap()[0].seq;
        assert_eq!(oldest.get(), stats.dropped + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_recording_waits_for_the_disk_and_loses_nothing() {
        let mut bench = Bench::new(SourceKind::Recorded, Duration::from_secs(5)).await;
        bench.outbox.forbid_writes(true).await;
        while bench.commits.has_room() {
            bench.enqueue(100);
            bench.run_for(Duration::from_millis(10)).await;
        }
        bench.outbox.forbid_writes(false).await;
        bench.commits.finish().await.unwrap();
        let stats = *bench.outbox.stats().borrow();
        assert_eq!((stats.pending, stats.dropped), (bench.next - 1, 0));
    }
}
