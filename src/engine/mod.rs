//! Drives the [`Pipeline`]: bytes and deadlines in, records for the outbox and the newest position out.
//!
//! The engine decides nothing. It never waits for the disk: the outbox takes records at once, and while a transaction
//! runs, the pipeline goes on and the live position with it. So there is at most one transaction a second, and a slow
//! disk makes larger transactions and not a slower agent.

mod commits;
mod desk;
mod flips;
mod health;

use std::mem;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::core::delivery::Delivery;
use crate::core::record::{Record, Subject};
use crate::core::trust::TimeTrust;
use crate::core::{Output, Pipeline, Reception};
use crate::outbox::{Outbox, OutboxError};
use crate::relay::Health;
use crate::rollcall::Pulse;
use crate::source::{Event, LineState, ReceiverState};
use crate::units::Uptime;
use commits::Commits;
use desk::Desk;
pub use desk::Inlets;
use flips::Flips;

/// How long the last commit may take, tries included, when the agent stops on a slow or failing disk. systemd kills
/// after 10 s, and the relay needs its grace.
const LAST_COMMIT: Duration = Duration::from_millis(2500);

/// A source that never pauses lets somebody else speak after so much.
const SOURCE_IN_A_ROW: u32 = 16;

/// How often the host's clock is looked at.
const HOST_CLOCK_EVERY: Duration = Duration::from_secs(10);

/// Why the engine ended before its source did, or without having committed everything.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The outbox cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The disk did not take the last records.
    #[error(
        "the outbox did not take the last {waiting} records in time: look at the disk's free space and health"
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
    line: LineState,
    flips: Flips,
    reports: Reports,
    commits: Commits,
    desk: Desk,
    patience: Patience,
    pulse: Pulse,
    /// When the host's clock is looked at again.
    host_clock_due: Uptime,
    /// What the source said since somebody else was asked.
    in_a_row: u32,
    /// What was last reported of the pipeline, of the receiver and of its line.
    reported: Option<(u64, ReceiverState, LineState)>,
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
        let commits = Commits::new(outbox, patience);
        let desk = Desk::new(None, clock.clone());
        Self {
            pipeline,
            clock,
            output: Output::default(),
            receiver: ReceiverState::default(),
            line: LineState::default(),
            flips: Flips::default(),
            reports,
            commits,
            desk,
            patience,
            pulse: Pulse::default(),
            host_clock_due: Uptime::ZERO,
            in_a_row: 0,
            reported: None,
        }
    }

    /// Also takes what comes in here.
    #[must_use]
    pub fn with_inlets(mut self, inlets: Inlets) -> Self {
        self.desk = Desk::new(Some(inlets), self.clock.clone());
        self
    }

    /// Answers with this pulse.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulse = pulse;
        self
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
            if self.in_a_row >= SOURCE_IN_A_ROW {
                self.in_a_row = 0;
                if let Some(inlet) = self.desk.left() {
                    self.desk.take(inlet, &mut self.pipeline, &mut self.output);
                    self.report();
                }
            }
            let room = self.commits.has_room();
            let deadline = self.pipeline.deadline();
            // Data before deadlines: a deadline that passed while data waited is for the pipeline to judge.
            tokio::select! {
                biased;
                () = self.pulse.answer() => continue,
                step = self.commits.next_step() => self.commits.take(step)?,
                event = events.recv(), if room => match event {
                    Some(event) => {
                        self.in_a_row += 1;
                        self.observe(event);
                    }
                    None => break,
                },
                inlet = self.desk.next(), if room => {
                    self.in_a_row = 0;
                    self.desk.take(inlet, &mut self.pipeline, &mut self.output);
                }
                () = stop.cancelled(), if !room => break,
                now = self.clock.reached(deadline), if room => {
                    self.pipeline.tick(now, &mut self.output);
                }
            }
            self.report();
        }
        while let Some(inlet) = self.desk.left() {
            self.desk.take(inlet, &mut self.pipeline, &mut self.output);
        }
        self.pipeline.finish(&mut self.output);
        self.report();
        // A recording that has ended waits for a slow disk; somebody who stops the agent does not.
        let patience_ends = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_COMMIT).await;
        };
        tokio::select! {
            biased;
            result = self.commits.finish() => return Ok(result?),
            () = patience_ends => {}
        }
        Err(EngineError::NotCommitted { waiting: self.commits.waiting() })
    }

    fn observe(&mut self, event: Event) {
        match event {
            Event::Bytes(chunk) => {
                self.look_at_host_clock(chunk.at);
                self.pipeline.push(&chunk.bytes, chunk.at, &mut self.output);
            }
            Event::Receiver(state) => self.receiver_became(state),
            Event::Line(state) => self.line = state,
        }
    }

    /// The network may set it at any time. A recording is of another day.
    fn look_at_host_clock(&mut self, now: Uptime) {
        if self.patience == Patience::Waits || now < self.host_clock_due {
            return;
        }
        self.host_clock_due = now + HOST_CLOCK_EVERY;
        if let Some((utc, at)) = self.clock.host() {
            self.pipeline.observe_host_clock(utc, at);
        }
    }

    fn receiver_became(&mut self, state: ReceiverState) {
        if state == self.receiver {
            return;
        }
        self.flips.log(&state, self.clock.uptime());
        if let ReceiverState::Gone(_) | ReceiverState::Hunting = state {
            self.line = LineState::default();
            self.pipeline.interrupt(self.clock.uptime(), &mut self.output);
        }
        self.receiver = state;
    }

    /// Hands on what the pipeline has put out.
    fn report(&mut self) {
        let revision = self.pipeline.revision() + self.desk.revision();
        // The journey changes with an epoch only; most reads of a tty are part of a line.
        let reported = self.reported.as_ref().map(|(at, ..)| *at);
        if reported != Some(revision) || !self.output.records.is_empty() {
            self.commits.keep(&mut self.output.records, &self.pipeline.state());
        }
        self.commits.keep_happenings(&mut self.output.happenings);
        self.desk.answer(&mut self.output.happenings.answers);
        self.desk.heed(&mut self.output.happenings.orders);
        let known = |(at, receiver, line): &(u64, ReceiverState, LineState)| {
            *at == revision && *receiver == self.receiver && *line == self.line
        };
        if self.reported.as_ref().is_some_and(known) {
            return;
        }
        let reception = self.pipeline.reception();
        if let Some(newest) = reception.newest.filter(|_| reception.time == TimeTrust::Trusted) {
            self.clock.learn_utc(newest.utc, newest.read_at);
        }
        self.report_position();
        self.output.fixes.clear();
        let view = self.pipeline.delivery().map(Delivery::view);
        let route = health::route(view.as_ref(), self.desk.standings(), &self.clock);
        let health = Health {
            wishes: self.desk.wishes(),
            message: self.desk.message().cloned(),
            ..health::health(&reception, &self.receiver, &self.line, route)
        };
        self.reports
            .reception
            .send_if_modified(|known| mem::replace(known, reception) != reception);
        self.reports.health.send_if_modified(|known| {
            *known != health && {
                *known = health;
                true
            }
        });
        self.reported = Some((revision, self.receiver.clone(), self.line.clone()));
    }

    /// Hands on the newest point, unless nobody may know where the van is.
    fn report_position(&mut self) {
        let newest = self.output.points.drain(..).next_back();
        if self.pipeline.withholds() {
            self.reports.live.send_if_modified(|live| live.take().is_some());
            return;
        }
        // A number that is not reserved could be given out once more after a power cut.
        let newest = newest.filter(|(seq, _)| *seq <= self.commits.reserved());
        if let Some((seq, point)) = newest {
            self.reports.live.send_replace(Some(Record { seq, subject: Subject::Point(point) }));
        }
    }
}
