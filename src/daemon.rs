//! Sources → engine → outbox → relay, until SIGTERM.
//!
//! Stopping is the end of the data: the signal cancels only the sources. Their channel closes, the engine finishes its
//! open epoch and commits, the relay gets a grace period, and the agent returns. A log that ends takes the same path.

mod overview;

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::{CHANNEL_REQUESTS, Request};
use crate::core::calendar::Era;
use crate::core::delivery::Delivery;
use crate::core::record::Record;
use crate::core::{Pipeline, PipelineConfig, Reception};
use crate::engine::{Engine, EngineError, Inlets, Patience, Reports};
use crate::outbox::wear::capacity_bytes;
use crate::outbox::{Outbox, OutboxError, OutboxStats};
use crate::relay::{
    Answer, DownlinkReceiver, Health, Inputs, LinkStatus, Links, MAX_ANSWERS, Relay, RelayError,
    Stop, downlink,
};
use crate::rollcall::{Pulse, RollCall};
use crate::scanner::{self, CHANNEL_EVENTS, Roster, ScannerConfig, Standing};
use crate::source::{self, CHANNEL_CHUNKS, Event, SourceConfig};
use crate::tasks::joined;
use crate::units::Uptime;
use crate::wire::VanId;
use crate::wire::signed::CommandKey;
pub use overview::Overview;

/// systemd kills after 10 s (`TimeoutStopSec`), of which a slow card may need most.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long the outbox may take to write its log back.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What the agent does when its source has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// Stop as by a signal: what is left stays in the outbox.
    Stop,
    /// Go on until the outbox is empty.
    Drain,
}

/// What the agent can be watched by while it runs.
#[derive(Clone, Debug)]
pub struct Watches {
    /// What has been seen of the receiver.
    pub reception: watch::Receiver<Reception>,
    /// How the receiver is.
    pub health: watch::Receiver<Health>,
    /// The newest accepted fix.
    pub live: watch::Receiver<Option<Record>>,
    /// What the outbox holds.
    pub outbox: watch::Receiver<OutboxStats>,
    /// The link to the broker.
    pub link: watch::Receiver<LinkStatus>,
    /// How each scanner is, in the order of the configuration.
    pub scanners: watch::Receiver<Vec<Standing>>,
    /// How many commands did not count, for want of a right signature.
    pub unsigned_commands: watch::Receiver<u64>,
    /// Whether the agent's loops turn.
    pub roll_call: RollCall,
}

/// Why the agent ended, other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The outbox cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The engine cannot go on, or could not finish.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The relay cannot go on.
    #[error(transparent)]
    Relay(#[from] RelayError),
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
    reports: Reports,
    relay: Relay<L>,
    roll_call: RollCall,
    engines_pulse: Pulse,
    scanners: Scanners,
    capacity_bytes: Option<u64>,
}

/// The scanners, and what else concerns parcels.
#[derive(Debug)]
struct Scanners {
    configs: Vec<ScannerConfig>,
    standings: watch::Sender<Vec<Standing>>,
    requests: mpsc::Sender<Request>,
    asked: mpsc::Receiver<Request>,
    downlink: DownlinkReceiver,
    answers: mpsc::Sender<Answer>,
    command_key: Option<CommandKey>,
    unsigned_commands: watch::Sender<u64>,
}

impl Scanners {
    fn new(
        configs: Vec<ScannerConfig>,
        command_key: Option<CommandKey>,
        downlink: DownlinkReceiver,
        answers: mpsc::Sender<Answer>,
    ) -> Self {
        let standings = watch::Sender::new(Roster::new(&configs).standings().to_vec());
        let (requests, asked) = mpsc::channel(CHANNEL_REQUESTS);
        let unsigned_commands = watch::Sender::default();
        Self {
            configs,
            standings,
            requests,
            asked,
            downlink,
            answers,
            command_key,
            unsigned_commands,
        }
    }

    /// They end with the set that is returned, or at `stop`.
    fn start(self, clock: &Clock, stop: &CancellationToken) -> (JoinSet<()>, Inlets) {
        let Self { configs, standings, asked, downlink, answers, command_key, .. } = self;
        let unsigned_commands = self.unsigned_commands;
        let mut tasks = JoinSet::new();
        let (events, scans) = mpsc::channel(CHANNEL_EVENTS);
        let roster = Roster::new(&configs);
        for (index, config) in configs.into_iter().enumerate() {
            let (events, stop) = (events.clone(), stop.clone());
            tasks.spawn(scanner::run(config, index, clock.clone(), events, stop));
        }
        let inlets = Inlets {
            scans,
            roster,
            standings,
            requests: asked,
            downlink,
            answers,
            command_key,
            unsigned_commands,
        };
        (tasks, inlets)
    }
}

impl<L: Links + 'static> Agent<L> {
    /// Opens the outbox. `era` is what is known of the date beforehand.
    ///
    /// # Errors
    /// The outbox cannot be used.
    pub async fn open(
        config: Config,
        era: Era,
        clock: Clock,
        links: L,
    ) -> Result<Self, OutboxError> {
        let Config { van, journey, sampling, outbox, relay, scanners, delivery, .. } = config;
        let command_key = config.command_key;
        let path = outbox.path.clone();
        let outbox = Outbox::open(outbox).await?;
        outbox.claim(&van).await?;
        let capacity_bytes = capacity_bytes(&path);
        let pipeline = PipelineConfig { era, journey, sampling };
        let delivery = Delivery::new(delivery, &outbox.documents());
        let pipeline =
            Pipeline::new(pipeline, outbox.first_seq(), outbox.restored()).with_delivery(delivery);
        let reports = Reports::default();
        let (downlink, from_backend) = downlink();
        let (to_backend, answers) = mpsc::channel(MAX_ANSWERS);
        let scanners = Scanners::new(scanners, command_key, from_backend, to_backend);
        let inputs = Inputs {
            outbox: outbox.clone(),
            live: reports.live.subscribe(),
            health: reports.health.subscribe(),
            clock: clock.clone(),
            downlink,
            answers,
        };
        let mut roll_call = RollCall::default();
        let engines_pulse = roll_call.pulse("engine");
        let relay = Relay::new(relay, inputs, links).with_pulse(roll_call.pulse("relay"));
        Ok(Self {
            van,
            pipeline,
            clock,
            outbox,
            reports,
            relay,
            roll_call,
            engines_pulse,
            scanners,
            capacity_bytes,
        })
    }

    /// By what it can be watched.
    #[must_use]
    pub fn watches(&self) -> Watches {
        Watches {
            reception: self.reports.reception.subscribe(),
            health: self.reports.health.subscribe(),
            live: self.reports.live.subscribe(),
            outbox: self.outbox.stats(),
            link: self.relay.status(),
            scanners: self.scanners.standings.subscribe(),
            unsigned_commands: self.scanners.unsigned_commands.subscribe(),
            roll_call: self.roll_call.clone(),
        }
    }

    /// All of that for somebody who asks now and then.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let (van, watches, clock) = (self.van.clone(), self.watches(), self.clock.clone());
        Overview { van, watches, clock, capacity_bytes: self.capacity_bytes }
    }

    /// Where requests from the local socket go.
    #[must_use]
    pub fn requests(&self) -> mpsc::Sender<Request> {
        self.scanners.requests.clone()
    }

    /// Reads `sources` one after the other until they end or `shutdown` completes, and then finishes in order.
    ///
    /// # Errors
    /// Something that the agent cannot mend by waiting.
    pub async fn run(
        self,
        mut sources: Vec<SourceConfig>,
        at_end: AtEnd,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), AgentError> {
        let Self { van, pipeline, clock, outbox, reports, relay, engines_pulse, scanners, .. } =
            self;
        for source in &mut sources {
            source.line.last_good_baud = outbox.receiver_baud();
        }
        let remember = tokio::spawn(remember_speed(outbox.clone(), reports.health.subscribe()));
        let stop = CancellationToken::new();
        let (_scanners, inlets) = scanners.start(&clock, &stop);
        let all_wait = sources.iter().all(|source| source.address.waits());
        let patience = if all_wait { Patience::Waits } else { Patience::GoesOn };
        let (events, heard) = mpsc::channel(CHANNEL_CHUNKS);
        let source = tokio::spawn(read_all(sources, clock.clone(), events, stop.clone()));
        let engine = Engine::new(pipeline, outbox.clone(), clock, patience, reports)
            .with_pulse(engines_pulse)
            .with_inlets(inlets);
        let engine = tokio::spawn(engine.run(heard, stop.clone()));
        let (stop_relay, relay_stopped) = watch::channel(Stop::Running);
        let relay = tokio::spawn(relay.run(relay_stopped));
        let tasks = Tasks { source, engine, relay, stop, stop_relay };
        tracing::info!(%van, "agent running");
        let result = tasks.run(at_end, shutdown).await;
        remember.abort();
        // It holds the outbox, which the next agent of this process may want.
        remember.await.ok();
        // Whatever the disk does: what was committed is safe without it.
        let closed = tokio::time::timeout(CLOSE_WITHIN, outbox.close()).await.unwrap_or(Ok(()));
        tracing::info!("agent stopped");
        result.and(closed.map_err(AgentError::from))
    }
}

/// Every source in its turn. Dropping `events` is the end of the data.
async fn read_all(
    sources: Vec<SourceConfig>,
    clock: Clock,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut begin = Uptime::ZERO;
    for config in sources {
        begin = source::run(config, clock.clone(), begin, events.clone(), stop.clone()).await?;
    }
    Ok(())
}

/// Keeps the receiver's speed for the next start. If the disk does not take it, that start hunts a little longer.
async fn remember_speed(outbox: Outbox, mut health: watch::Receiver<Health>) {
    let mut kept = outbox.receiver_baud();
    while health.changed().await.is_ok() {
        let baud = health.borrow_and_update().gnss.baud;
        if let Some(new) = baud.filter(|_| baud != kept) {
            match outbox.remember_receiver_baud(new).await {
                Ok(()) => kept = baud,
                Err(error) => tracing::debug!(%error, "receiver's speed not kept"),
            }
        }
    }
}

#[derive(Debug)]
struct Tasks {
    source: JoinHandle<io::Result<()>>,
    engine: JoinHandle<Result<(), EngineError>>,
    relay: JoinHandle<Result<(), RelayError>>,
    stop: CancellationToken,
    stop_relay: watch::Sender<Stop>,
}

impl Tasks {
    async fn run(
        mut self,
        at_end: AtEnd,
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
                ended = &mut self.engine => break joined(ended),
                ended = &mut self.relay => {
                    // A relay ends only when it is told to, or when it cannot go on. What the engine has is committed.
                    self.stop.cancel();
                    let (engine, relay) = (joined(self.engine.await), joined(ended));
                    return engine.map_err(AgentError::from).and(relay.map_err(AgentError::from));
                }
            }
        };
        // The engine may have ended because the outbox failed, while the source still reads.
        self.stop.cancel();
        let source = joined(self.source.await).map_err(AgentError::Source);
        let drain = at_end == AtEnd::Drain && !told_to_stop && engine.is_ok();
        self.stop_relay.send_replace(if drain { Stop::Drained } else { Stop::Grace(GRACE) });
        let relay = loop {
            tokio::select! {
                () = &mut shutdown, if !told_to_stop => {
                    told_to_stop = true;
                    self.stop_relay.send_replace(Stop::Grace(GRACE));
                }
                ended = &mut self.relay => break joined(ended),
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
