//! Records → the outbox at once, and its transactions when they are due: not more than one a second, but for departures,
//! halts, and what is much.

use std::mem;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Patience;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::core::delivery::{Happenings, Kept};
use crate::core::journey::JourneyState;
use crate::core::record::{Record, Seq};
use crate::outbox::{Document, Outbox, OutboxError, OutboxStats};
use crate::tasks::joined;
use crate::units::Uptime;

/// Flash wears out by writing: no more than one transaction in this time.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// What is read of a source that can wait, beyond what a transaction has taken.
const READ_AHEAD: usize = 2 * LARGE_COMMIT;

/// So many records are worth a transaction at any time; no receiver gives as many in a second.
const LARGE_COMMIT: usize = 500;

/// A transaction that takes longer is a sick card's.
const SLOW: Duration = Duration::from_secs(2);

/// Between the tries of the last commit.
const LAST_RETRY: Duration = Duration::from_millis(300);

/// The transaction that runs, and when the next one may.
#[derive(Debug)]
pub(super) struct Commits {
    outbox: Outbox,
    stats: watch::Receiver<OutboxStats>,
    patience: Patience,
    running: Option<JoinHandle<Result<(), OutboxError>>>,
    began: Uptime,
    /// The disk's time is the world's, also in a replay.
    pace: Clock,
    /// The next one begins not before this time.
    not_before: Uptime,
    backoff: Backoff,
    health: DiskHealth,
}

/// What was said of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiskHealth {
    Well,
    Slow,
    Failing,
}

/// What a commit does next.
pub(super) enum Step {
    Start,
    Done(Result<(), OutboxError>),
}

impl Commits {
    pub(super) fn new(outbox: Outbox, patience: Patience) -> Self {
        let backoff = Backoff::new(COMMIT_INTERVAL, Duration::from_secs(30), fastrand::Rng::new());
        Self {
            stats: outbox.stats(),
            outbox,
            patience,
            running: None,
            began: Uptime::ZERO,
            pace: Clock::live(),
            not_before: Uptime::ZERO,
            backoff,
            health: DiskHealth::Well,
        }
    }

    /// How many records are not on flash.
    pub(super) fn waiting(&self) -> usize {
        self.outbox.waiting()
    }

    /// The highest number that may be published.
    pub(super) fn reserved(&self) -> Seq {
        self.stats.borrow().reserved
    }

    /// Whether more may come: a source that can wait waits for the disk.
    pub(super) fn has_room(&self) -> bool {
        self.patience == Patience::GoesOn || self.outbox.waiting() < READ_AHEAD
    }

    pub(super) fn keep(&self, records: &mut Vec<Record>, state: &JourneyState) {
        self.outbox.accept(records, state, self.pace.uptime());
        records.clear();
    }

    pub(super) fn keep_happenings(&self, happenings: &mut Happenings) {
        let Happenings { events, kept, .. } = happenings;
        if events.is_empty() && kept.is_empty() {
            return;
        }
        let documents = kept.drain(..).map(|Kept { key, value }| Document { key, value }).collect();
        self.outbox.accept_events(mem::take(events), documents, self.pace.uptime());
    }

    /// Waits for the running transaction to end, or for the next one to be due. Cancelling it loses nothing.
    pub(super) async fn next_step(&mut self) -> Step {
        if let Some(running) = &mut self.running {
            return Step::Done(joined(running.await));
        }
        let Some(due) = self.outbox.flush_due() else { return std::future::pending().await };
        // A van departs and halts seldom, and a departure that is not on flash is what a power cut costs.
        let now = self.outbox.waiting() >= LARGE_COMMIT || self.outbox.is_urgent();
        if !now || self.health == DiskHealth::Failing {
            self.pace.reached(Some(due.max(self.not_before))).await;
        }
        Step::Start
    }

    pub(super) fn take(&mut self, step: Step) -> Result<(), OutboxError> {
        match step {
            Step::Start => {
                self.start();
                Ok(())
            }
            Step::Done(result) => self.settle(result).map(drop),
        }
    }

    fn start(&mut self) {
        let outbox = self.outbox.clone();
        self.began = self.pace.uptime();
        self.not_before = self.began + COMMIT_INTERVAL;
        self.running = Some(tokio::spawn(async move { outbox.flush().await }));
    }

    /// Notes how the running transaction ended; whether it must be tried again.
    fn settle(&mut self, result: Result<(), OutboxError>) -> Result<bool, OutboxError> {
        self.running = None;
        let took = self.pace.uptime().since(self.began);
        let (now, error) = match result {
            Ok(()) if took >= SLOW => (DiskHealth::Slow, None),
            Ok(()) => (DiskHealth::Well, None),
            Err(error @ OutboxError::Degraded { .. }) => (DiskHealth::Failing, Some(error)),
            Err(error) => return Err(error),
        };
        match (mem::replace(&mut self.health, now), now) {
            (before, now) if before == now => {}
            (_, DiskHealth::Failing) => {
                let error = error.as_ref().map(ToString::to_string).unwrap_or_default();
                tracing::error!(error, "outbox does not write, keeping records in memory");
            }
            (_, DiskHealth::Slow) => {
                let took_ms = took.as_millis();
                tracing::warn!(took_ms, "outbox writes slowly; look at the card's health");
            }
            (_, DiskHealth::Well) => {
                let dropped = self.stats.borrow().dropped;
                tracing::info!(dropped, "outbox writes again");
            }
        }
        if now == DiskHealth::Failing {
            self.not_before = self.pace.uptime() + self.backoff.next_wait();
            return Ok(true);
        }
        self.backoff.reset();
        Ok(false)
    }

    /// Commits everything that is left, and does not give up: the caller's patience ends it.
    pub(super) async fn finish(&mut self) -> Result<(), OutboxError> {
        loop {
            if let Some(running) = &mut self.running {
                let result = joined(running.await);
                if self.settle(result)? {
                    tokio::time::sleep(LAST_RETRY).await;
                }
            } else if self.outbox.is_safe() {
                return Ok(());
            } else {
                self.start();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::journey::Motion;
    use crate::outbox::OutboxConfig;
    use crate::outbox::tests::record;

    /// An outbox in a directory of its own, and what waits for it.
    struct Bench {
        _folder: tempfile::TempDir,
        outbox: Outbox,
        commits: Commits,
        next: u64,
    }

    impl Bench {
        async fn new(patience: Patience, commit_after: Duration) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("outbox.db");
            let config = OutboxConfig { commit_after, ..OutboxConfig::new(path) };
            let outbox = Outbox::open(config).await.unwrap();
            let commits = Commits::new(outbox.clone(), patience);
            Self { _folder: folder, outbox, commits, next: 1 }
        }

        fn keep(&mut self, count: u64) {
            let mut records: Vec<Record> =
                (0..count).map(|more| record(Seq::new(self.next + more), Motion::Moving)).collect();
            self.next += count;
            self.commits.keep(&mut records, &JourneyState::default());
        }

        /// Lets `time` pass.
        async fn run_for(&mut self, time: Duration) {
            let end = tokio::time::sleep(time);
            tokio::pin!(end);
            loop {
                tokio::select! {
                    biased;
                    step = self.commits.next_step() => self.commits.take(step).unwrap(),
                    () = &mut end => return,
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ten_fixes_a_second_are_one_transaction_a_second() {
        let mut bench = Bench::new(Patience::GoesOn, Duration::ZERO).await;
        let (mut transactions, mut newest) = (0, Seq::ZERO);
        for _ in 0..600 {
            bench.keep(1);
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
        let mut bench = Bench::new(Patience::GoesOn, Duration::from_secs(5)).await;
        for _ in 0..600 {
            bench.keep(1);
            bench.run_for(Duration::from_secs(1)).await;
            let newest = Seq::new(bench.next.saturating_sub(3));
            bench.outbox.acknowledge(&(Seq::ZERO..=newest));
        }
        assert_eq!(bench.outbox.stats().borrow().durable, Seq::ZERO);
        let mut oldest = 0;
        for _ in 0..600 {
            bench.keep(1);
            bench.run_for(Duration::from_secs(1)).await;
            oldest = oldest.max(bench.next - 1 - bench.outbox.stats().borrow().durable.get());
        }
        assert_eq!(bench.outbox.stats().borrow().pending, 602);
        bench.keep(1);
        bench.run_for(Duration::from_secs(6)).await;
        assert_eq!(bench.commits.waiting(), 0, "the promise holds without a next record, too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_departure_is_on_flash_at_once() {
        let mut bench = Bench::new(Patience::GoesOn, Duration::from_secs(60)).await;
        let mut records = vec![record(Seq::new(1), Motion::Moving)];
        let moving = JourneyState { motion: Motion::Moving, ..JourneyState::default() };
        bench.commits.keep(&mut records, &moving);
        bench.run_for(Duration::from_millis(1)).await;
        assert_eq!(bench.outbox.stats().borrow().durable, Seq::new(1));
        bench.run_for(Duration::from_millis(100)).await;
        let mut records = vec![record(Seq::new(2), Motion::Halted)];
        bench.commits.keep(&mut records, &JourneyState { motion: Motion::Halted, ..moving });
        bench.run_for(Duration::from_millis(1)).await;
        assert_eq!(bench.outbox.stats().borrow().durable, Seq::new(2), "not a second later");
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_fails_for_an_hour_costs_nothing_and_is_asked_seldom() {
        let mut bench = Bench::new(Patience::GoesOn, Duration::ZERO).await;
        bench.outbox.forbid_writes(true).await;
        for _ in 0..3600 {
            bench.keep(1);
            bench.run_for(Duration::from_secs(1)).await;
        }
        assert_eq!(bench.commits.waiting(), 3600);
        bench.outbox.forbid_writes(false).await;
        bench.run_for(Duration::from_mins(1)).await;
        let stats = *bench.outbox.stats().borrow();
        assert_eq!((stats.pending, stats.dropped, bench.commits.waiting()), (3600, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_receiver_says_beyond_the_bound_is_given_up_oldest_first_and_counted() {
        let mut bench = Bench::new(Patience::GoesOn, Duration::ZERO).await;
        bench.outbox.forbid_writes(true).await;
        for _ in 0..120 {
            bench.keep(100);
            assert!(bench.commits.has_room(), "a receiver does not wait");
            bench.run_for(Duration::from_secs(1)).await;
        }
        bench.outbox.forbid_writes(false).await;
        bench.run_for(Duration::from_mins(1)).await;
        let stats = *bench.outbox.stats().borrow();
        assert_eq!(stats.pending + stats.dropped, 12_000);
        assert!((2000..=2200).contains(&stats.dropped), "{stats:?}");
        let oldest = bench.outbox.after(Seq::ZERO, None, 1).await.unwrap()[0].seq;
        assert_eq!(oldest.get(), stats.dropped + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_recording_waits_for_the_disk_and_loses_nothing() {
        let mut bench = Bench::new(Patience::Waits, Duration::from_secs(5)).await;
        bench.outbox.forbid_writes(true).await;
        while bench.commits.has_room() {
            bench.keep(100);
            bench.run_for(Duration::from_millis(10)).await;
        }
        bench.outbox.forbid_writes(false).await;
        bench.commits.finish().await.unwrap();
        let stats = *bench.outbox.stats().borrow();
        assert_eq!((stats.pending, stats.dropped), (bench.next - 1, 0));
    }
}
