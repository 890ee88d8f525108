//! Records → the outbox at once, and its transactions when they are due: not more than one a second, but for departures,
//! halts, what is much, and events. Those have one at once, with nothing but what is due beside them; while it runs, others
//! gather, so that there are never more transactions than the disk takes.

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
    /// A transaction with what is due by then.
    Start(Uptime),
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

    /// Waits for the running transaction to end, or for the next one to be due, whoever gave what it is for. Cancelling it
    /// loses nothing.
    pub(super) async fn next_step(&mut self) -> Step {
        if let Some(running) = &mut self.running {
            return Step::Done(joined(running.await));
        }
        loop {
            let due = self.outbox.flush_due();
            // A van departs and halts seldom, and a departure that is not on flash is what a power cut costs.
            let now = self.outbox.waiting() >= LARGE_COMMIT || self.outbox.is_urgent();
            if due.is_some() && now && self.health != DiskHealth::Failing {
                return Step::Start(self.pace.uptime());
            }
            let due = due.map(|due| due.max(self.not_before));
            tokio::select! {
                biased;
                now = self.pace.reached(due) => return Step::Start(now),
                changed = self.stats.changed() => changed.expect("the outbox is held here"),
            }
        }
    }

    pub(super) fn take(&mut self, step: Step) -> Result<(), OutboxError> {
        match step {
            Step::Start(by) => {
                let outbox = self.outbox.clone();
                self.start(async move { outbox.flush_by(by).await });
                Ok(())
            }
            Step::Done(result) => self.settle(result).map(drop),
        }
    }

    fn start(&mut self, flush: impl Future<Output = Result<(), OutboxError>> + Send + 'static) {
        self.began = self.pace.uptime();
        self.not_before = self.began + COMMIT_INTERVAL;
        self.running = Some(tokio::spawn(flush));
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
                let outbox = self.outbox.clone();
                self.start(async move { outbox.flush().await });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::journey::Motion;
    use crate::outbox::OutboxConfig;
    use crate::outbox::tests::{event, record};

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

        fn event(&mut self) {
            let event = event(Seq::new(self.next));
            self.next += 1;
            self.outbox.accept_events(vec![event], Vec::new(), self.commits.pace.uptime());
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
    async fn an_event_is_on_flash_at_once_and_costs_the_points_beside_it_nothing() {
        let mut bench = Bench::new(Patience::GoesOn, Duration::from_secs(5)).await;
        for _ in 0..300 {
            bench.keep(1);
            bench.run_for(Duration::from_millis(500)).await;
            let event = event(Seq::new(bench.next));
            bench.next += 1;
            let (outbox, now) = (bench.outbox.clone(), bench.commits.pace.uptime());
            // By another task, while the engine waits.
            let given = async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                outbox.accept_events(vec![event], Vec::new(), now);
            };
            tokio::join!(given, bench.run_for(Duration::from_millis(2)));
            let stats = *bench.outbox.stats().borrow();
            assert_eq!(stats.events_newest.get(), bench.next - 1, "not a second later");
            bench.run_for(Duration::from_millis(498)).await;
            let newest = Seq::new(bench.next.saturating_sub(4));
            bench.outbox.acknowledge(&(Seq::ZERO..=newest));
        }
        assert_eq!(bench.outbox.stats().borrow().durable, Seq::ZERO, "no point was written");
        let mut oldest = 0;
        for _ in 0..300 {
            bench.keep(1);
            bench.run_for(Duration::from_millis(700)).await;
            bench.event();
            bench.run_for(Duration::from_millis(300)).await;
            // Half of the numbers are points'.
            let durable = bench.outbox.stats().borrow().durable.get();
            oldest = oldest.max((bench.next - 1).saturating_sub(durable.max(598)) / 2);
        }
        assert!((4..=6).contains(&oldest), "a point is {oldest} s old at most");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_events_a_second_make_no_more_transactions_than_the_disk_takes() {
        let mut bench = Bench::new(Patience::GoesOn, Duration::from_secs(5)).await;
        let mut news = bench.outbox.stats();
        let mut transactions = 0;
        for _ in 0..10 {
            // The disk takes half a second.
            let busy = bench.outbox.busy().await;
            for _ in 0..50 {
                bench.event();
                bench.run_for(Duration::from_millis(10)).await;
            }
            news.mark_unchanged();
            drop(busy);
            let mut before = news.borrow().events_newest;
            while bench.outbox.waiting() > 0 {
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
        let mut bench = Bench::new(Patience::GoesOn, Duration::ZERO).await;
        bench.outbox.forbid_writes(true).await;
        for _ in 0..3600 {
            bench.keep(1);
            bench.run_for(Duration::from_secs(1)).await;
        }
        assert_eq!(bench.commits.waiting(), 3600);
        assert!(bench.outbox.stats().borrow().failing, "who asks is told");
        bench.outbox.forbid_writes(false).await;
        bench.run_for(Duration::from_mins(1)).await;
        let stats = *bench.outbox.stats().borrow();
        assert_eq!((stats.pending, stats.dropped, bench.commits.waiting()), (3600, 0, 0));
        assert!(!stats.failing);
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
