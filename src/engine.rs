//! Drives the [`Pipeline`]: bytes and deadlines in, commits to the outbox and the newest position out.
//!
//! The engine decides nothing. It never waits for the disk: while a commit runs, the pipeline goes on and the live
//! position with it, and what comes meanwhile is the next commit. So there is at most one transaction a second, and a
//! slow disk makes larger transactions and not a slower agent.

use std::mem;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::core::journey::JourneyState;
use crate::core::record::{Record, Subject};
use crate::core::{Output, Pipeline, Reception};
use crate::outbox::{Outbox, OutboxError};
use crate::relay::Health;
use crate::source::{Event, ReceiverState};
use crate::units::Uptime;
use crate::wire::json::GnssState;

/// Flash wears out by writing: no more than one transaction in this time.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// What a failing disk may keep waiting: 2.7 hours at 1 Hz, 2 MB. Then the oldest are given up, and it is said.
const MAX_WAITING: usize = 10_000;

/// A commit of so many records is worth its write at any time; no receiver gives as many in a second.
const LARGE_COMMIT: usize = 500;

/// How long the last commit may take, tries included, when the agent stops on a slow or failing disk. systemd kills
/// after 5 s, and the relay needs its grace.
const LAST_COMMIT: Duration = Duration::from_millis(1500);

/// Between the tries of the last commit.
const LAST_RETRY: Duration = Duration::from_millis(300);

/// Why the engine ended before its source did, or without having committed everything.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The outbox cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The disk did not take the last records.
    #[error(
        "the outbox did not take the last {waiting} records and more: look at the disk's free space and health"
    )]
    NotCommitted {
        /// How many waited when the agent was stopped.
        waiting: usize,
    },
}

/// Where the engine tells what it knows.
#[derive(Clone, Debug)]
pub struct Reports {
    /// The newest accepted fix.
    pub live: watch::Sender<Option<Record>>,
    /// For `state` on the wire.
    pub health: watch::Sender<Health>,
    /// All that is counted, for people.
    pub reception: watch::Sender<Reception>,
}

impl Default for Reports {
    fn default() -> Self {
        let (live, health, reception) =
            (watch::Sender::new(None), watch::Sender::default(), watch::Sender::default());
        Self { live, health, reception }
    }
}

/// Whether the source waits when nobody reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// A recording, or a pipe: what is not read now is read later.
    Waits,
    /// A receiver goes on talking, and the live position with it.
    GoesOn,
}

/// The pipeline and its shell.
#[derive(Debug)]
pub struct Engine {
    pipeline: Pipeline,
    clock: Clock,
    output: Output,
    receiver: ReceiverState,
    flips: Flips,
    reports: Reports,
    commits: Commits,
}

/// Changes of the receiver in the log: a loose plug must not fill it.
#[derive(Debug, Default)]
struct Flips {
    /// When the minute began, and what was logged and not logged in it.
    began: Option<Uptime>,
    logged: u32,
    unlogged: u32,
}

impl Flips {
    const MINUTE: Duration = Duration::from_mins(1);
    const LOGGED: u32 = 6;

    fn log(&mut self, state: &ReceiverState, now: Uptime) {
        if self.began.is_none_or(|began| now.since(began) >= Self::MINUTE) {
            *self = Self { began: Some(now), logged: 0, unlogged: self.unlogged };
        }
        if self.logged == Self::LOGGED {
            self.unlogged += 1;
            return;
        }
        self.logged += 1;
        let unlogged = mem::take(&mut self.unlogged);
        match state {
            ReceiverState::Connecting => {}
            ReceiverState::Open => tracing::info!(unlogged, "receiver open"),
            ReceiverState::Silent => tracing::warn!(unlogged, "receiver silent"),
            ReceiverState::Gone(error) => {
                tracing::warn!(unlogged, error, "receiver gone, trying again");
            }
        }
    }
}

impl Engine {
    /// An engine that has seen nothing yet.
    #[must_use]
    pub fn new(
        pipeline: Pipeline,
        outbox: Outbox,
        clock: Clock,
        patience: Patience,
        reports: Reports,
    ) -> Self {
        let commits = Commits::new(outbox, pipeline.state(), patience);
        let (output, receiver) = (Output::default(), ReceiverState::default());
        Self { pipeline, clock, output, receiver, flips: Flips::default(), reports, commits }
    }

    /// Runs until the source ends; that is also how the agent is stopped. Then everything is committed. `stop` is
    /// looked at only while the source must wait for the disk.
    ///
    /// # Errors
    /// The outbox says stop, or a failing disk did not take the last records.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        stop: CancellationToken,
    ) -> Result<(), EngineError> {
        loop {
            let room = self.commits.has_room();
            let deadline = self.pipeline.deadline();
            // Data before deadlines: a deadline that passed while data waited is for the pipeline to judge.
            tokio::select! {
                biased;
                step = self.commits.next_step() => self.commits.take(step)?,
                event = events.recv(), if room => match event {
                    Some(event) => self.observe(event),
                    None => break,
                },
                () = stop.cancelled(), if !room => break,
                now = self.clock.reached(deadline) => self.pipeline.tick(now, &mut self.output),
            }
            self.report();
        }
        self.pipeline.finish(&mut self.output);
        self.report();
        let waiting = self.commits.waiting.len();
        match tokio::time::timeout(LAST_COMMIT, self.commits.finish()).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(EngineError::NotCommitted { waiting }),
        }
    }

    fn observe(&mut self, event: Event) {
        match event {
            Event::Bytes(chunk) => self.pipeline.push(&chunk.bytes, chunk.at, &mut self.output),
            Event::Receiver(state) => self.receiver_became(state),
        }
    }

    fn receiver_became(&mut self, state: ReceiverState) {
        if state == self.receiver {
            return;
        }
        self.flips.log(&state, self.clock.uptime());
        if let ReceiverState::Gone(_) = state {
            self.pipeline.interrupt(self.clock.uptime(), &mut self.output);
        }
        self.receiver = state;
    }

    /// Hands on what the pipeline has put out.
    fn report(&mut self) {
        self.commits.keep(&mut self.output.records, self.pipeline.state());
        if let Some((seq, point)) = self.output.points.last() {
            self.clock.learn_utc(point.fix.utc, point.fix.read_at);
            // A number that is not reserved could be given out once more after a power cut.
            if *seq <= self.commits.outbox.stats().borrow().reserved {
                let newest = Record { seq: *seq, subject: Subject::Point(*point) };
                self.reports.live.send_replace(Some(newest));
            }
        }
        self.output.points.clear();
        let reception = self.pipeline.reception();
        let health = health(&reception, &self.receiver);
        self.reports
            .reception
            .send_if_modified(|known| mem::replace(known, reception) != reception);
        self.reports.health.send_if_modified(|known| {
            *known != health && {
                *known = health;
                true
            }
        });
    }
}

fn health(reception: &Reception, receiver: &ReceiverState) -> Health {
    let (receiver, error) = match receiver {
        ReceiverState::Connecting => ("connecting", None),
        ReceiverState::Open => ("open", None),
        ReceiverState::Silent => ("silent", None),
        ReceiverState::Gone(error) => ("gone", Some(error.clone())),
    };
    let fix = reception.newest.filter(|_| reception.has_fix);
    Health {
        gnss: GnssState {
            receiver: receiver.to_owned(),
            error,
            mode: fix.map_or(1, |fix| fix.mode.dimensions()),
            age_s: None,
            sats: fix.and_then(|fix| fix.satellites_used),
            sentences_bad: reception.sentences_bad(),
            fixes_rejected: reception.rejected.unbelieved(),
        },
        newest_fix_at: reception.newest.map(|fix| fix.read_at),
    }
}

/// What waits for the outbox, and the commit that runs.
#[derive(Debug)]
struct Commits {
    outbox: Outbox,
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
enum Step {
    Start,
    Done(Result<(), OutboxError>),
}

impl Commits {
    fn new(outbox: Outbox, state: JourneyState, patience: Patience) -> Self {
        let backoff = Backoff::new(COMMIT_INTERVAL, Duration::from_secs(30), fastrand::Rng::new());
        Self {
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

    /// Whether more may come: a source that can wait waits for the disk.
    fn has_room(&self) -> bool {
        self.patience == Patience::GoesOn || self.waiting.len() < MAX_WAITING
    }

    fn keep(&mut self, records: &mut Vec<Record>, state: JourneyState) {
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
    async fn next_step(&mut self) -> Step {
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

    fn take(&mut self, step: Step) -> Result<(), OutboxError> {
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
            outbox.commit(batch, state).await?;
            outbox.count_dropped(given_up).await
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
    async fn finish(&mut self) -> Result<(), OutboxError> {
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

/// A commit that panicked takes the agent with it: the outbox on disk is in order, this process may not be.
fn joined(
    result: Result<Result<(), OutboxError>, tokio::task::JoinError>,
) -> Result<(), OutboxError> {
    match result {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("nobody aborts a commit"),
        },
    }
}
