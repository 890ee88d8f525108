//! Records → the outbox, one transaction at a time, and not more than one a second.

use std::mem;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Patience;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::core::journey::JourneyState;
use crate::core::record::{Record, Seq};
use crate::outbox::{Outbox, OutboxError, OutboxStats};
use crate::tasks::joined;
use crate::units::Uptime;

/// Flash wears out by writing: no more than one transaction in this time.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// What a failing disk may keep waiting: 2.7 hours at 1 Hz, 2 MB. Then the oldest are given up, and it is said.
const MAX_WAITING: usize = 10_000;

/// What is read of a source that can wait, while a commit runs.
const READ_AHEAD: usize = 2 * LARGE_COMMIT;

/// A commit of so many records is worth its write at any time; no receiver gives as many in a second.
const LARGE_COMMIT: usize = 500;

/// Between the tries of the last commit.
const LAST_RETRY: Duration = Duration::from_millis(300);

/// What waits for the outbox, and the commit that runs.
#[derive(Debug)]
pub(super) struct Commits {
    outbox: Outbox,
    stats: watch::Receiver<OutboxStats>,
    patience: Patience,
    waiting: Vec<Record>,
    state: JourneyState,
    running: Option<Running>,
    /// The disk's time is the world's, also in a replay.
    pace: Clock,
    /// The next commit begins not before this time.
    due: Uptime,
    backoff: Backoff,
    /// Records given up that the outbox has not counted yet.
    given_up: u64,
    failing: bool,
}

#[derive(Debug)]
struct Running {
    records: Vec<Record>,
    given_up: u64,
    commit: JoinHandle<Result<(), OutboxError>>,
}

/// What a commit does next.
pub(super) enum Step {
    Start,
    Done(Result<(), OutboxError>),
}

impl Commits {
    pub(super) fn new(outbox: Outbox, state: JourneyState, patience: Patience) -> Self {
        let backoff = Backoff::new(COMMIT_INTERVAL, Duration::from_secs(30), fastrand::Rng::new());
        Self {
            stats: outbox.stats(),
            outbox,
            patience,
            waiting: Vec::new(),
            state,
            running: None,
            pace: Clock::live(),
            due: Uptime::ZERO,
            backoff,
            given_up: 0,
            failing: false,
        }
    }

    /// How many records are not in the outbox yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.running.as_ref().map_or(0, |running| running.records.len())
    }

    /// The highest number that may be published.
    pub(super) fn reserved(&self) -> Seq {
        self.stats.borrow().reserved
    }

    /// Whether more may come: a source that can wait waits for the disk.
    pub(super) fn has_room(&self) -> bool {
        self.patience == Patience::GoesOn || self.waiting.len() < READ_AHEAD
    }

    pub(super) fn keep(&mut self, records: &mut Vec<Record>, state: JourneyState) {
        self.waiting.append(records);
        self.state = state;
        let surplus = self.waiting.len().saturating_sub(MAX_WAITING);
        if surplus > 0 && self.patience == Patience::GoesOn {
            if self.given_up == 0 {
                tracing::error!("outbox does not keep up, giving up the oldest records in memory");
            }
            self.waiting.drain(..surplus);
            self.given_up += surplus as u64;
        }
    }

    /// Waits for the running commit to end, or for the next one to be due. Cancelling it loses nothing.
    pub(super) async fn next_step(&mut self) -> Step {
        match (&mut self.running, self.waiting.is_empty()) {
            (Some(running), _) => Step::Done(joined((&mut running.commit).await)),
            (None, true) => std::future::pending().await,
            (None, false) => {
                if self.failing || self.waiting.len() < LARGE_COMMIT {
                    self.pace.reached(Some(self.due)).await;
                }
                Step::Start
            }
        }
    }

    pub(super) fn take(&mut self, step: Step) -> Result<(), OutboxError> {
        let now = self.pace.uptime();
        match step {
            Step::Start => {
                self.due = now + COMMIT_INTERVAL;
                self.start();
                Ok(())
            }
            Step::Done(result) => {
                let failed = self.settle(result)?;
                if failed {
                    self.due = now + self.backoff.next_wait();
                }
                Ok(())
            }
        }
    }

    fn start(&mut self) {
        let records = mem::take(&mut self.waiting);
        let (outbox, batch, state) = (self.outbox.clone(), records.clone(), self.state);
        let given_up = self.given_up;
        let commit = tokio::spawn(async move {
            if let Some(newest) = batch.last() {
                outbox.reserve(newest.seq).await?;
            }
            outbox.commit_and_count(batch, state, given_up).await
        });
        self.running = Some(Running { records, given_up, commit });
    }

    /// Notes how the running commit ended; whether it must be tried again.
    fn settle(&mut self, result: Result<(), OutboxError>) -> Result<bool, OutboxError> {
        let Some(Running { mut records, given_up, .. }) = self.running.take() else {
            return Ok(false);
        };
        match result {
            Ok(()) => {
                for record in &records {
                    tracing::debug!(seq = %record.seq, "record committed");
                }
                self.given_up -= given_up;
                if mem::take(&mut self.failing) {
                    tracing::info!(given_up, "outbox writes again");
                }
                self.backoff.reset();
                Ok(false)
            }
            Err(error @ OutboxError::Degraded { .. }) => {
                if !mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "outbox does not write, keeping records in memory");
                }
                records.append(&mut self.waiting);
                self.waiting = records;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Commits everything that is left, and does not give up: the caller's patience ends it.
    pub(super) async fn finish(&mut self) -> Result<(), OutboxError> {
        loop {
            if let Some(running) = &mut self.running {
                let result = joined((&mut running.commit).await);
                if self.settle(result)? {
                    tokio::time::sleep(LAST_RETRY).await;
                }
            } else if self.waiting.is_empty() {
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
        async fn new(patience: Patience) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let config = OutboxConfig::new(folder.path().join("outbox.db"));
            let outbox = Outbox::open(config).await.unwrap();
            let commits = Commits::new(outbox.clone(), JourneyState::default(), patience);
            Self { _folder: folder, outbox, commits, next: 1 }
        }

        fn keep(&mut self, count: u64) {
            let mut records: Vec<Record> =
                (0..count).map(|more| record(Seq::new(self.next + more), Motion::Moving)).collect();
            self.next += count;
            self.commits.keep(&mut records, JourneyState::default());
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
        let mut bench = Bench::new(Patience::GoesOn).await;
        let (mut transactions, mut newest) = (0, Seq::ZERO);
        for _ in 0..600 {
            bench.keep(1);
            bench.run_for(Duration::from_millis(100)).await;
            let committed = bench.outbox.stats().borrow().last_committed;
            transactions += u32::from(committed != newest);
            newest = committed;
        }
        assert!((55..=61).contains(&transactions), "{transactions} in a minute");
        bench.commits.finish().await.unwrap();
        assert_eq!(bench.outbox.stats().borrow().pending, 600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_fails_for_an_hour_costs_nothing_and_is_asked_seldom() {
        let mut bench = Bench::new(Patience::GoesOn).await;
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
        let mut bench = Bench::new(Patience::GoesOn).await;
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
        let mut bench = Bench::new(Patience::Waits).await;
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
