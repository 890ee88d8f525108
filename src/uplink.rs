//! Uplink: publishes the outbox and the live position over MQTT, one connection (`Link`) after
//! another.
//!
//! - Each connection has a new client and a clean session. Everything in the outbox is sent again
//!   from the lowest `Seq`. The client keeps no state across connections.
//! - A record leaves the outbox only after a PUBACK that accepts it. Where PUBACK has no reason
//!   code (MQTT 3.1.1) or is not sufficient, it also needs an `ack` from the backend. A rejected
//!   record stays. If client or broker contradict what was published, the record stays and the
//!   connection is closed.
//! - `position` has priority and is replaced, never queued. Events follow, one per message and in
//!   order, then fresh points, then the backlog.
//! - A lost connection is a state, not an error. The next attempt follows after a backoff with
//!   jitter.
//!
//! [`Uplink`] is the loop over connections, and `epoch` is one of them. `in_flight`, `backoff`,
//! `cadence` and `refusals` decide without I/O. Only `mqtt` depends on the client library.

mod agent_health;
mod backend_acks;
mod config;
mod connection;
mod connector;
mod data_budget;
mod data_usage;
mod downlink;
mod event_queue;
mod flow_control;
mod in_flight;
pub mod mqtt;
mod prune;
mod publish_rejections;
mod reconnect;
mod report_schedule;
mod status;
mod subscription;
#[cfg(test)]
mod tests;
mod tls;
mod track_queue;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::outbox::{Outbox, OutboxError, StoredDoc};
pub use agent_health::{Health, ReportingOverrides, RouteState};
use backend_acks::BackendAcks;
pub use config::{Broker, Credentials, MqttVersion, Proxy, Transport, UplinkConfig};
use connection::{BrokerConnection, DisconnectReason};
pub use connector::{
    CloseReason, ConnackInfo, ConnectStage, ConnectionEvent, Connector, Delivery, MqttConnection,
    Publication, QueueFull, ReasonCode, RetryTrigger, TlsFailure,
};
pub use data_budget::{Budget, ThrottleFactor};
pub use data_usage::DataUsage;
use data_usage::{DataMeter, TrafficKind};
use downlink::ResponseQueue;
pub use downlink::{
    CommandResponse, Downlink, DownlinkReceiver, DownlinkSender, MAX_COMMAND_BYTES, MAX_COMMANDS,
    MAX_MANIFEST_BYTES, MAX_RESPONSES, downlink,
};
use event_queue::DisconnectSuspects;
pub use in_flight::ProtocolViolation;
use prune::Pruner;
use publish_rejections::RejectionBackoff;
pub use reconnect::BackoffConfig;
use reconnect::ReconnectBackoff;
pub use report_schedule::PositionCadence;
use status::StatusReporter;
pub use status::{LinkState, LinkStatus};
use subscription::{Subscription, SubscriptionPlan};
pub use tls::{Identity, TlsConfig, own_certificate};
use waypost_model::record::{Record, Seq};
use waypost_model::units::Uptime;
use waypost_service::clock::Clock;
use waypost_service::liveness::Heartbeat;
use waypost_wire::VERSION;
use waypost_wire::payloads::{ConnectionState, ConnectionStatus};

/// Maximum wait for the broker to close the connection after everything was sent.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Key of the data usage among the outbox's documents.
const DATA_USAGE_DOCUMENT: &str = "air";

/// Interval for storing the data usage. It bounds the loss after a power cut.
const DATA_USAGE_INTERVAL: Duration = Duration::from_mins(15);

/// Inputs of the uplink.
#[derive(Debug)]
pub struct Inputs {
    /// Records to deliver.
    pub outbox: Outbox,
    /// The newest accepted fix.
    pub live: watch::Receiver<Option<Record>>,
    /// State of the receiver and the route.
    pub health: watch::Receiver<Health>,
    /// The agent's time and UTC. Timers of the connection use real time, even in a replay.
    pub clock: Clock,
    /// Destination of manifests and commands.
    pub downlink: DownlinkSender,
    /// Responses to commands.
    pub responses: mpsc::Receiver<CommandResponse>,
}

/// Shutdown request of the uplink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShutdownSignal {
    /// No shutdown.
    #[default]
    Running,
    /// Send nothing new, wait at most this long for acknowledgements, then disconnect.
    Grace(Duration),
    /// No further record will be accepted: disconnect when the outbox is empty. Records that the
    /// broker rejects keep it from being empty.
    Drained,
}

/// Why the uplink cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// Fatal: the outbox is closed.
    #[error("uplink: {0}")]
    Outbox(#[source] OutboxError),
}

/// The loop over connections.
#[derive(Debug)]
pub struct Uplink<L> {
    config: UplinkConfig,
    inputs: Inputs,
    connector: L,
    /// Real time, for timers of the connection.
    live_clock: Clock,
    reconnect: ReconnectBackoff,
    pruner: Pruner,
    track_rejections: RejectionBackoff,
    event_rejections: RejectionBackoff,
    suspects: DisconnectSuspects,
    backend_acks: BackendAcks,
    /// Events above the maximum packet size of all brokers. Each is logged once.
    oversized: BTreeSet<Seq>,
    subscription: Subscription,
    responses: ResponseQueue,
    responses_open: bool,
    data_meter: DataMeter,
    throttle: ThrottleFactor,
    stored_data_usage: Option<Vec<u8>>,
    /// Next time at which the data usage is stored.
    store_data_usage_at: Uptime,
    reporter: StatusReporter,
    heartbeat: Heartbeat,
    /// Number of CONNECT packets since the start. It distinguishes the Will of an earlier
    /// connection from the state of a later one.
    connections: u64,
}

impl<L: Connector> Uplink<L> {
    /// Creates an uplink. [`Self::run`] starts it.
    #[must_use]
    pub fn new(config: UplinkConfig, inputs: Inputs, connector: L) -> Self {
        let documents = inputs.outbox.documents();
        let stored_data_usage =
            documents.into_iter().find(|(key, _)| key == DATA_USAGE_DOCUMENT).map(|(_, air)| air);
        let live_clock = Clock::live();
        Self {
            backend_acks: BackendAcks::new(inputs.outbox.first_seq()),
            data_meter: DataMeter::new(config.transport_overhead(), stored_data_usage.as_deref()),
            stored_data_usage,
            throttle: ThrottleFactor::NONE,
            store_data_usage_at: live_clock.uptime() + DATA_USAGE_INTERVAL,
            reconnect: ReconnectBackoff::new(config.backoff, fastrand::Rng::new()),
            reporter: StatusReporter::new(inputs.clock.clone()),
            config,
            inputs,
            connector,
            live_clock,
            pruner: Pruner::default(),
            track_rejections: RejectionBackoff::default(),
            event_rejections: RejectionBackoff::default(),
            suspects: DisconnectSuspects::default(),
            oversized: BTreeSet::new(),
            subscription: Subscription::default(),
            responses: ResponseQueue::default(),
            responses_open: true,
            heartbeat: Heartbeat::default(),
            connections: 0,
        }
    }

    /// Sets the heartbeat for the liveness check.
    #[must_use]
    pub fn with_heartbeat(mut self, pulse: Heartbeat) -> Self {
        self.heartbeat = pulse;
        self
    }

    /// Seeds the random delays, for reproducible tests.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.reconnect = ReconnectBackoff::new(self.config.backoff, fastrand::Rng::with_seed(seed));
        self
    }

    /// Subscribes to the connection status.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.reporter.subscribe()
    }

    /// Connects, sends and reconnects until `stop` requests a shutdown or its sender is dropped.
    ///
    /// # Errors
    /// [`UplinkError`] if the outbox was closed. A connection failure is not an error.
    pub async fn run(
        mut self,
        mut stop: watch::Receiver<ShutdownSignal>,
    ) -> Result<(), UplinkError> {
        while !self.should_stop(&stop) {
            self.reporter.set_state(LinkState::Connecting);
            let began = self.live_clock.uptime();
            self.connections += 1;
            let link =
                self.connector.open(&self.connection_message(ConnectionState::ConnectionBroken));
            let (end, lived) = BrokerConnection::new(&mut self, link).run(&mut stop).await;
            self.heartbeat.clone().beat_while(self.prune_outbox()).await?;
            self.reconnect.on_disconnected(lived);
            match end {
                DisconnectReason::Stopped => break,
                DisconnectReason::Outbox(error) => return Err(UplinkError::Outbox(error)),
                DisconnectReason::Lost { error, reason, stage, retry_trigger } => {
                    let attempts = self.live_clock.uptime().since(began + lived);
                    let wait = self.reconnect.next_delay(retry_trigger, attempts);
                    self.reporter.on_disconnected(error, (stage, reason), wait);
                    self.wait_to_reconnect(wait, &mut stop).await;
                }
            }
        }
        self.update_data_usage();
        self.store_data_usage();
        self.reporter.set_state(LinkState::Stopped);
        Ok(())
    }

    /// Whether nothing is left that needs no connection.
    fn should_stop(&self, stop: &watch::Receiver<ShutdownSignal>) -> bool {
        match *stop.borrow() {
            ShutdownSignal::Grace(_) => true,
            ShutdownSignal::Drained => self.inputs.outbox.stats().borrow().pending == 0,
            ShutdownSignal::Running => stop.has_changed().is_err(),
        }
    }

    async fn wait_to_reconnect(
        &mut self,
        wait: Duration,
        stop: &mut watch::Receiver<ShutdownSignal>,
    ) {
        let mut stats = self.inputs.outbox.stats();
        let until = self.live_clock.uptime() + wait;
        while !self.should_stop(stop) {
            tokio::select! {
                changed = stop.changed() => if changed.is_err() { return },
                Ok(()) = stats.changed() => {}
                () = self.heartbeat.beat() => {}
                answer = self.inputs.responses.recv(), if self.responses_open => self.queue_response(answer),
                _ = self.live_clock.sleep_until(Some(until)) => return,
            }
        }
    }

    /// Queues a command response of the engine. `None` means that the engine has stopped.
    fn queue_response(&mut self, answer: Option<CommandResponse>) {
        match answer.map(|answer| self.responses.push(answer)) {
            None => self.responses_open = false,
            Some(true) => {}
            Some(false) => self.reporter.update(|status| status.responses_lost += 1),
        }
    }

    fn on_closed_before_suback(&mut self, wanted: SubscriptionPlan, error: &str, now: Uptime) {
        if self.subscription.on_closed_before_suback(wanted, now) {
            self.reporter.set_downlink_error(Some(format!(
                "the broker closes the connection after SUBSCRIBE: {error}"
            )));
        }
    }

    fn disable_subscription(&mut self, wanted: SubscriptionPlan, error: &str, now: Uptime) {
        self.subscription.disable(wanted, now);
        self.reporter.set_downlink_error(Some(error.to_owned()));
    }

    /// Updates the data usage and the throttle factor.
    fn update_data_usage(&mut self) {
        let utc = self.inputs.clock.utc();
        let used = self.data_meter.roll_over(utc);
        self.throttle = self.config.budget.throttle_factor(used.month, utc, self.throttle);
        self.reporter.set_data_usage(used, self.throttle);
        if self.live_clock.uptime() >= self.store_data_usage_at {
            self.store_data_usage();
        }
    }

    /// Stores the data usage with the next commit of the engine.
    fn store_data_usage(&mut self) {
        let now = self.live_clock.uptime();
        self.store_data_usage_at = now + DATA_USAGE_INTERVAL;
        if let Some(document) =
            self.data_meter.document().filter(|air| self.stored_data_usage.as_ref() != Some(air))
        {
            self.stored_data_usage = Some(document.clone());
            let document = StoredDoc { key: DATA_USAGE_DOCUMENT.to_owned(), value: Some(document) };
            self.inputs.outbox.accept_events(Vec::new(), vec![document], now);
        }
    }

    /// Deletes acknowledged records from the outbox. A failure does not affect the connection and
    /// is retried.
    async fn prune_outbox(&mut self) -> Result<(), UplinkError> {
        let (now, failed_before) = (self.live_clock.uptime(), self.pruner.has_failed());
        match self.pruner.prune(&self.inputs.outbox, now).await {
            Err(error @ OutboxError::Closed { .. }) => return Err(UplinkError::Outbox(error)),
            Err(error) if !failed_before => {
                tracing::warn!(%error, "acknowledged records not deleted: retrying");
            }
            Ok(()) if failed_before => tracing::info!("acknowledged records deleted"),
            Ok(()) | Err(_) => {}
        }
        Ok(())
    }

    fn connection_message(&self, state: ConnectionState) -> Publication {
        // The time at which the broker publishes the Will is unknown when it is created.
        let now = (state != ConnectionState::ConnectionBroken).then(|| self.inputs.clock.utc());
        let connection = ConnectionStatus {
            v: VERSION,
            van: self.config.van.to_string(),
            state,
            ts: now.flatten().map(|utc| utc.to_string()),
            session: self.inputs.outbox.session(),
            connection: self.connections,
            agent: now.is_some().then(|| concat!("waypost/", env!("CARGO_PKG_VERSION")).to_owned()),
        };
        Publication {
            topic: self.config.topics.connection.clone(),
            payload: serde_json::to_vec(&connection).expect("numbers and strings are valid JSON"),
            delivery: Delivery::Retained,
            content_type: None,
        }
    }
}
