//! Drives the [`Pipeline`]: passes bytes and deadlines in, and records and the newest position out.
//!
//! The engine makes no decisions and never waits for the disk. The outbox accepts records at once,
//! and the pipeline and live positions continue during a transaction. A slow disk therefore causes
//! larger transactions, at most one per second, and does not slow the agent down.

mod commit_scheduler;
mod health;
mod inputs;
mod receiver_log;

use std::mem;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::gnss_source::{LineState, ReceiverState, SourceEvent};
use crate::outbox::{Outbox, OutboxError};
use crate::uplink::Health;
use commit_scheduler::CommitScheduler;
pub use inputs::EngineInputs;
use inputs::InputHandler;
use receiver_log::ReceiverLogThrottle;
use waypost_model::record::{Record, Subject};
use waypost_model::units::Uptime;
use waypost_pipeline::delivery::DeliveryTracker;
use waypost_pipeline::time_trust::TimeTrust;
use waypost_pipeline::{Pipeline, PipelineOutput, ReceiverStats};
use waypost_service::clock::Clock;
use waypost_service::liveness::Heartbeat;

/// Time limit for the final commit, including retries. systemd kills the service after 10 s, and
/// the uplink needs its grace period.
const FINAL_COMMIT_TIMEOUT: Duration = Duration::from_millis(2500);

/// After this many consecutive source events, another input is served.
const MAX_CONSECUTIVE_SOURCE_EVENTS: u32 = 16;

/// Interval of host clock samples.
const HOST_CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// Failure of the engine, or of its final commit.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The outbox cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The disk did not accept the final records in time.
    #[error(
        "outbox: the last {waiting} records were not committed in time: check the disk's free space and health"
    )]
    NotCommitted {
        /// Number of records that were not committed.
        waiting: usize,
    },
}

/// Watch channels that the engine publishes to.
#[derive(Clone, Debug)]
pub struct EngineOutputs {
    /// The newest accepted fix.
    pub live: watch::Sender<Option<Record>>,
    /// Payload of `state`.
    pub health: watch::Sender<Health>,
    /// Statistics of the receiver.
    pub reception: watch::Sender<ReceiverStats>,
}

impl Default for EngineOutputs {
    fn default() -> Self {
        let (live, health, reception) =
            (watch::Sender::new(None), watch::Sender::default(), watch::Sender::default());
        Self { live, health, reception }
    }
}

/// Whether the source can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A recording or a pipe: unread data are read later.
    Recorded,
    /// A live receiver: it sends continuously, and live positions must not be delayed.
    Live,
}

/// Drives the pipeline, the outbox and the outputs.
#[derive(Debug)]
pub struct Engine {
    pipeline: Pipeline,
    clock: Clock,
    pipeline_output: PipelineOutput,
    receiver: ReceiverState,
    line: LineState,
    receiver_log: ReceiverLogThrottle,
    outputs: EngineOutputs,
    commits: CommitScheduler,
    inputs: InputHandler,
    source_kind: SourceKind,
    heartbeat: Heartbeat,
    /// Time of the next host clock sample.
    host_clock_due: Uptime,
    /// Source events since another input was served.
    consecutive_source_events: u32,
    /// Last published revision of the pipeline, receiver state and line state.
    reported: Option<(u64, ReceiverState, LineState)>,
}

impl Engine {
    /// Creates an engine without inputs besides the source.
    #[must_use]
    pub fn new(
        pipeline: Pipeline,
        outbox: Outbox,
        clock: Clock,
        source_kind: SourceKind,
        outputs: EngineOutputs,
    ) -> Self {
        let commits = CommitScheduler::new(outbox, source_kind);
        let inputs = InputHandler::new(None, clock.clone());
        Self {
            pipeline,
            clock,
            pipeline_output: PipelineOutput::default(),
            receiver: ReceiverState::default(),
            line: LineState::default(),
            receiver_log: ReceiverLogThrottle::default(),
            outputs,
            commits,
            inputs,
            source_kind,
            heartbeat: Heartbeat::default(),
            host_clock_due: Uptime::ZERO,
            consecutive_source_events: 0,
            reported: None,
        }
    }

    /// Adds the inputs for scans, requests and commands.
    #[must_use]
    pub fn with_inputs(mut self, inputs: EngineInputs) -> Self {
        self.inputs = InputHandler::new(Some(inputs), self.clock.clone());
        self
    }

    /// Sets the heartbeat that answers liveness probes.
    #[must_use]
    pub fn with_heartbeat(mut self, pulse: Heartbeat) -> Self {
        self.heartbeat = pulse;
        self
    }

    /// Runs until the source ends, which is also how the agent stops, and then commits all records.
    /// `stop` applies only while a paused source waits for the disk.
    ///
    /// # Errors
    /// The outbox failed permanently, or the disk did not accept the final records in time.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<SourceEvent>,
        stop: CancellationToken,
    ) -> Result<(), EngineError> {
        loop {
            if self.consecutive_source_events >= MAX_CONSECUTIVE_SOURCE_EVENTS {
                self.consecutive_source_events = 0;
                if let Some(inlet) = self.inputs.drain_next() {
                    self.inputs.handle(inlet, &mut self.pipeline, &mut self.pipeline_output);
                    self.publish();
                }
            }
            let room = self.commits.has_room();
            let deadline = self.pipeline.deadline();
            // Data before deadlines: the pipeline itself judges deadlines that expired while data
            // were queued.
            tokio::select! {
                biased;
                () = self.heartbeat.beat() => continue,
                step = self.commits.next_step() => self.commits.run_step(step)?,
                event = events.recv(), if room => match event {
                    Some(event) => {
                        self.consecutive_source_events += 1;
                        self.observe(event);
                    }
                    None => break,
                },
                inlet = self.inputs.next(), if room => {
                    self.consecutive_source_events = 0;
                    self.inputs.handle(inlet, &mut self.pipeline, &mut self.pipeline_output);
                }
                () = stop.cancelled(), if !room => break,
                now = self.clock.sleep_until(deadline), if room => {
                    self.pipeline.tick(now, &mut self.pipeline_output);
                }
            }
            self.publish();
        }
        while let Some(inlet) = self.inputs.drain_next() {
            self.inputs.handle(inlet, &mut self.pipeline, &mut self.pipeline_output);
        }
        self.pipeline.finish(&mut self.pipeline_output);
        self.publish();
        // Wait for a slow disk at the end of a recording, but not when the agent is being stopped.
        let patience_ends = async {
            stop.cancelled().await;
            tokio::time::sleep(FINAL_COMMIT_TIMEOUT).await;
        };
        tokio::select! {
            biased;
            result = self.commits.finish() => return Ok(result?),
            () = patience_ends => {}
        }
        Err(EngineError::NotCommitted { waiting: self.commits.pending() })
    }

    fn observe(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Bytes(chunk) => {
                self.sample_host_clock(chunk.at);
                self.pipeline.push(&chunk.bytes, chunk.at, &mut self.pipeline_output);
            }
            SourceEvent::Receiver(state) => self.set_receiver_state(state),
            SourceEvent::Line(state) => self.line = state,
        }
    }

    /// Samples the host's clock, which network time may set at any moment. Recordings are of
    /// another day.
    fn sample_host_clock(&mut self, now: Uptime) {
        if self.source_kind == SourceKind::Recorded || now < self.host_clock_due {
            return;
        }
        self.host_clock_due = now + HOST_CLOCK_INTERVAL;
        if let Some((utc, at)) = self.clock.host_clock() {
            self.pipeline.observe_host_clock(utc, at);
        }
    }

    fn set_receiver_state(&mut self, state: ReceiverState) {
        if state == self.receiver {
            return;
        }
        self.receiver_log.log(&state, self.clock.uptime());
        if let ReceiverState::Gone(_) | ReceiverState::DetectingBaud = state {
            self.line = LineState::default();
            self.pipeline.source_lost(self.clock.uptime(), &mut self.pipeline_output);
        }
        self.receiver = state;
    }

    /// Publishes the output of the pipeline.
    fn publish(&mut self) {
        let revision = self.pipeline.revision() + self.inputs.revision();
        // The trip changes only with an epoch; most reads of a tty contain a part of a line.
        let reported = self.reported.as_ref().map(|(at, ..)| *at);
        if reported != Some(revision) || !self.pipeline_output.records.is_empty() {
            self.commits.enqueue(&mut self.pipeline_output.records, &self.pipeline.state());
        }
        self.commits.enqueue_delivery(&mut self.pipeline_output.delivery);
        self.inputs.publish_results(&mut self.pipeline_output.delivery.command_results);
        self.inputs.apply_commands(&mut self.pipeline_output.delivery.forwarded_commands);
        let known = |(at, receiver, line): &(u64, ReceiverState, LineState)| {
            *at == revision && *receiver == self.receiver && *line == self.line
        };
        if self.reported.as_ref().is_some_and(known) {
            return;
        }
        let reception = self.pipeline.receiver_stats();
        if let Some(newest) =
            reception.newest.filter(|_| reception.time_trust == TimeTrust::Trusted)
        {
            self.clock.set_utc(newest.utc, newest.read_at);
        }
        self.publish_position();
        self.pipeline_output.fixes.clear();
        let view = self.pipeline.delivery().map(DeliveryTracker::snapshot);
        let route = health::route(view.as_ref(), self.inputs.scanner_summaries(), &self.clock);
        let health = Health {
            overrides: self.inputs.overrides(),
            driver_message: self.inputs.message().cloned(),
            ..health::health(&reception, &self.receiver, &self.line, route)
        };
        self.outputs
            .reception
            .send_if_modified(|known| mem::replace(known, reception) != reception);
        self.outputs.health.send_if_modified(|known| {
            *known != health && {
                *known = health;
                true
            }
        });
        self.reported = Some((revision, self.receiver.clone(), self.line.clone()));
    }

    /// Publishes the newest point, unless the position is withheld for privacy.
    fn publish_position(&mut self) {
        let newest = self.pipeline_output.points.drain(..).next_back();
        if self.pipeline.is_withheld() {
            self.outputs.live.send_if_modified(|live| live.take().is_some());
            return;
        }
        // An unreserved sequence number could be assigned twice after a power cut.
        let newest = newest.filter(|(seq, _)| *seq <= self.commits.max_publishable_seq());
        if let Some((seq, point)) = newest {
            self.outputs.live.send_replace(Some(Record { seq, subject: Subject::Point(point) }));
        }
    }
}
