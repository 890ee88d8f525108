//! The agent: connects sources, engine, outbox and uplink, and runs them until a signal.
//!
//! A signal cancels only the sources. Their channel closes, the engine finishes the open epoch and
//! commits, and the uplink gets a grace period. A recording that ends takes the same path.

mod status_collector;

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::control::{AgentRequest, CHANNEL_REQUESTS};
use crate::engine::{Engine, EngineError, EngineInputs, EngineOutputs, SourceKind};
use crate::gnss_source::{self, CHANNEL_CHUNKS, SourceConfig, SourceEvent};
use crate::outbox::flash_wear::capacity_bytes;
use crate::outbox::{Outbox, OutboxError, OutboxStats};
use crate::scanner::{self, CHANNEL_EVENTS, ScannerConfig, ScannerRegistry, ScannerSummary};
use crate::uplink::{
    CommandResponse, Connector, DownlinkReceiver, Health, Inputs, LinkStatus, MAX_RESPONSES,
    ShutdownSignal, Uplink, UplinkError, downlink,
};
pub use status_collector::StatusCollector;
use waypost_model::record::Record;
use waypost_model::units::Uptime;
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::delivery::DeliveryTracker;
use waypost_pipeline::{Pipeline, PipelineConfig, ReceiverStats};
use waypost_service::clock::Clock;
use waypost_service::liveness::{Heartbeat, Liveness};
use waypost_service::task::{join, unwrap_join};
use waypost_wire::VanId;
use waypost_wire::command_signature::CommandKeys;

/// Time for the uplink to finish at shutdown. systemd kills the service after 10 s
/// (`TimeoutStopSec`), and a slow SD card may need most of that.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Time limit for closing the outbox, which checkpoints its write-ahead log.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Behaviour when all sources have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSourceEnd {
    /// Stop as on a signal: unsent records stay in the outbox.
    Stop,
    /// Run until the outbox is empty.
    Drain,
}

/// Watch channels with the state of the running agent.
#[derive(Clone, Debug)]
pub struct AgentWatches {
    /// Statistics of the receiver.
    pub reception: watch::Receiver<ReceiverStats>,
    /// State of the receiver and the route, as published on `state`.
    pub health: watch::Receiver<Health>,
    /// The newest accepted fix.
    pub live: watch::Receiver<Option<Record>>,
    /// Statistics of the outbox.
    pub outbox: watch::Receiver<OutboxStats>,
    /// State of the connection to the broker.
    pub link: watch::Receiver<LinkStatus>,
    /// State of each scanner, in the order of the configuration.
    pub scanners: watch::Receiver<Vec<ScannerSummary>>,
    /// Number of commands rejected because they have no valid signature.
    pub unsigned_commands: watch::Receiver<u64>,
    /// Liveness of the agent's loops.
    pub liveness: Liveness,
}

/// Reason why the agent ended before it was told to stop, or failed to finish.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The outbox cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The uplink failed.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// A recording cannot be read.
    #[error("source: {0}")]
    Source(io::Error),
}

/// The agent, ready to run.
#[derive(Debug)]
pub struct Agent<L> {
    van: VanId,
    pipeline: Pipeline,
    clock: Clock,
    outbox: Outbox,
    outputs: EngineOutputs,
    uplink: Uplink<L>,
    liveness: Liveness,
    engine_heartbeat: Heartbeat,
    scanners: ParcelInputs,
    capacity_bytes: Option<u64>,
}

/// Scanners and the other inputs that concern parcels.
#[derive(Debug)]
struct ParcelInputs {
    configs: Vec<ScannerConfig>,
    summaries: watch::Sender<Vec<ScannerSummary>>,
    requests: mpsc::Sender<AgentRequest>,
    pending_requests: mpsc::Receiver<AgentRequest>,
    downlink: DownlinkReceiver,
    answers: mpsc::Sender<CommandResponse>,
    command_keys: Option<CommandKeys>,
    unsigned_commands: watch::Sender<u64>,
}

impl ParcelInputs {
    fn new(
        configs: Vec<ScannerConfig>,
        command_keys: Option<CommandKeys>,
        downlink: DownlinkReceiver,
        answers: mpsc::Sender<CommandResponse>,
    ) -> Self {
        let summaries = watch::Sender::new(ScannerRegistry::new(&configs).summaries().to_vec());
        let (requests, pending_requests) = mpsc::channel(CHANNEL_REQUESTS);
        let unsigned_commands = watch::Sender::default();
        Self {
            configs,
            summaries,
            requests,
            pending_requests,
            downlink,
            answers,
            command_keys,
            unsigned_commands,
        }
    }

    /// Starts the scanner tasks. They end at `stop`, or when the returned set is dropped.
    fn start(self, clock: &Clock, stop: &CancellationToken) -> (JoinSet<()>, EngineInputs) {
        let Self {
            configs,
            summaries: standings,
            pending_requests: asked,
            downlink,
            answers,
            command_keys,
            ..
        } = self;
        let unsigned_commands = self.unsigned_commands;
        let mut tasks = JoinSet::new();
        let (events, scans) = mpsc::channel(CHANNEL_EVENTS);
        let roster = ScannerRegistry::new(&configs);
        for (index, config) in configs.into_iter().enumerate() {
            let (events, stop) = (events.clone(), stop.clone());
            tasks.spawn(scanner::run(config, index, clock.clone(), events, stop));
        }
        let inputs = EngineInputs {
            scans,
            scanners: roster,
            scanner_summaries: standings,
            requests: asked,
            downlink,
            answers,
            command_keys,
            unsigned_commands,
        };
        (tasks, inputs)
    }
}

impl<L: Connector + 'static> Agent<L> {
    /// Opens the outbox and creates the agent. `era` is a hint for the date.
    ///
    /// # Errors
    /// The outbox cannot be used, or belongs to another van.
    pub async fn open(
        config: Config,
        era: DateHint,
        clock: Clock,
        links: L,
    ) -> Result<Self, OutboxError> {
        let Config { van, journey, sampling, outbox, uplink: relay, scanners, delivery, .. } =
            config;
        let command_keys = config.command_keys;
        let path = outbox.path.clone();
        let outbox = Outbox::open(outbox).await?;
        outbox.claim(&van).await?;
        let capacity_bytes = capacity_bytes(&path);
        let pipeline = PipelineConfig { date_hint: era, trip: journey, sampling };
        let delivery = DeliveryTracker::new(delivery, &outbox.documents());
        let pipeline = Pipeline::new(pipeline, outbox.first_seq(), outbox.restored_state())
            .with_delivery(delivery);
        let reports = EngineOutputs::default();
        let (downlink, from_backend) = downlink();
        let (to_backend, answers) = mpsc::channel(MAX_RESPONSES);
        let scanners = ParcelInputs::new(scanners, command_keys, from_backend, to_backend);
        let inputs = Inputs {
            outbox: outbox.clone(),
            live: reports.live.subscribe(),
            health: reports.health.subscribe(),
            clock: clock.clone(),
            downlink,
            responses: answers,
        };
        let mut liveness = Liveness::default();
        let engine_heartbeat = liveness.register("engine");
        let relay = Uplink::new(relay, inputs, links).with_heartbeat(liveness.register("relay"));
        Ok(Self {
            van,
            pipeline,
            clock,
            outbox,
            outputs: reports,
            uplink: relay,
            liveness,
            engine_heartbeat,
            scanners,
            capacity_bytes,
        })
    }

    /// Returns receivers of the agent's state.
    #[must_use]
    pub fn watches(&self) -> AgentWatches {
        AgentWatches {
            reception: self.outputs.reception.subscribe(),
            health: self.outputs.health.subscribe(),
            live: self.outputs.live.subscribe(),
            outbox: self.outbox.stats(),
            link: self.uplink.status(),
            scanners: self.scanners.summaries.subscribe(),
            unsigned_commands: self.scanners.unsigned_commands.subscribe(),
            liveness: self.liveness.clone(),
        }
    }

    /// Returns a collector that builds a [`Status`](crate::control::status::Status) on request.
    #[must_use]
    pub fn status_collector(&self) -> StatusCollector {
        let (van, watches, clock) = (self.van.clone(), self.watches(), self.clock.clone());
        StatusCollector { van, watches, clock, capacity_bytes: self.capacity_bytes }
    }

    /// Returns the sender for requests of the control socket.
    #[must_use]
    pub fn requests(&self) -> mpsc::Sender<AgentRequest> {
        self.scanners.requests.clone()
    }

    /// Reads `sources` in their order until they end or `shutdown` completes, and then shuts down.
    ///
    /// # Errors
    /// A failure that a retry cannot repair.
    pub async fn run(
        self,
        mut sources: Vec<SourceConfig>,
        at_end: OnSourceEnd,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), AgentError> {
        let Self {
            van,
            pipeline,
            clock,
            outbox,
            outputs: reports,
            uplink: relay,
            engine_heartbeat,
            scanners,
            ..
        } = self;
        for source in &mut sources {
            source.line.last_good_baud = outbox.receiver_baud();
        }
        let record = tokio::spawn(persist_baud(outbox.clone(), reports.health.subscribe()));
        let stop = CancellationToken::new();
        let (_scanners, inputs) = scanners.start(&clock, &stop);
        let all_wait = sources.iter().all(|source| source.address.is_recorded());
        let source_kind = if all_wait { SourceKind::Recorded } else { SourceKind::Live };
        let (events, heard) = mpsc::channel(CHANNEL_CHUNKS);
        let source = tokio::spawn(run_sources(sources, clock.clone(), events, stop.clone()));
        let engine = Engine::new(pipeline, outbox.clone(), clock, source_kind, reports)
            .with_heartbeat(engine_heartbeat)
            .with_inputs(inputs);
        let engine = tokio::spawn(engine.run(heard, stop.clone()));
        let (stop_uplink, relay_stopped) = watch::channel(ShutdownSignal::Running);
        let relay = tokio::spawn(relay.run(relay_stopped));
        let tasks = Tasks { source, engine, uplink: relay, stop, stop_uplink };
        tracing::info!(%van, "agent running");
        let result = tasks.run(at_end, shutdown).await;
        record.abort();
        // The task holds the outbox, which the next agent in this process may open.
        record.await.ok();
        // Committed records are safe even if closing fails or times out.
        let closed = tokio::time::timeout(CLOSE_TIMEOUT, outbox.close()).await.unwrap_or(Ok(()));
        tracing::info!("agent stopped");
        result.and(closed.map_err(AgentError::from))
    }
}

/// Reads each source in turn. Dropping `events` marks the end of the data.
async fn run_sources(
    sources: Vec<SourceConfig>,
    clock: Clock,
    events: mpsc::Sender<SourceEvent>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut begin = Uptime::ZERO;
    for config in sources {
        begin =
            gnss_source::run(config, clock.clone(), begin, events.clone(), stop.clone()).await?;
    }
    Ok(())
}

/// Stores the receiver's baud rate for the next start. If that fails, the next detection takes
/// longer.
async fn persist_baud(outbox: Outbox, mut health: watch::Receiver<Health>) {
    let mut kept = outbox.receiver_baud();
    while health.changed().await.is_ok() {
        let baud = health.borrow_and_update().gnss.baud;
        if let Some(new) = baud.filter(|_| baud != kept) {
            match outbox.store_receiver_baud(new).await {
                Ok(()) => kept = baud,
                Err(error) => tracing::debug!(%error, "receiver baud rate not saved"),
            }
        }
    }
}

#[derive(Debug)]
struct Tasks {
    source: JoinHandle<io::Result<()>>,
    engine: JoinHandle<Result<(), EngineError>>,
    uplink: JoinHandle<Result<(), UplinkError>>,
    stop: CancellationToken,
    stop_uplink: watch::Sender<ShutdownSignal>,
}

impl Tasks {
    async fn run(
        mut self,
        at_end: OnSourceEnd,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), AgentError> {
        tokio::pin!(shutdown);
        let mut told_to_stop = false;
        let engine = loop {
            tokio::select! {
                () = &mut shutdown, if !told_to_stop => {
                    told_to_stop = true;
                    self.stop.cancel();
                }
                ended = &mut self.engine => break unwrap_join(ended).await,
                ended = &mut self.uplink => {
                    // The uplink ends early only if it cannot continue. Records in the engine are
                    // committed.
                    self.stop.cancel();
                    let (engine, relay) = (join(self.engine).await, unwrap_join(ended).await);
                    return engine.map_err(AgentError::from).and(relay.map_err(AgentError::from));
                }
            }
        };
        // The engine may have ended because the outbox failed while the source is still reading.
        self.stop.cancel();
        let source = join(self.source).await.map_err(AgentError::Source);
        let drain = at_end == OnSourceEnd::Drain && !told_to_stop && engine.is_ok();
        self.stop_uplink.send_replace(if drain {
            ShutdownSignal::Drained
        } else {
            ShutdownSignal::Grace(SHUTDOWN_GRACE)
        });
        let relay = loop {
            tokio::select! {
                () = &mut shutdown, if !told_to_stop => {
                    told_to_stop = true;
                    self.stop_uplink.send_replace(ShutdownSignal::Grace(SHUTDOWN_GRACE));
                }
                ended = &mut self.uplink => break unwrap_join(ended).await,
            }
        };
        engine.map_err(AgentError::from).and(source).and(relay.map_err(AgentError::from))
    }
}

/// Completes at SIGTERM or SIGINT.
///
/// # Errors
/// The handlers cannot be installed.
pub fn signals() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
