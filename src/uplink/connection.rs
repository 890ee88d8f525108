//! A single connection to a broker, from the attempt to its end.

mod acks;
mod deadlines;
mod events;
mod position;
mod send;
mod state;
mod tracks;

use std::time::Duration;

use tokio::sync::watch;

use super::connector::{
    CloseReason, ConnackInfo, ConnectStage, ConnectionEvent, Connector, MqttConnection, ReasonCode,
    RetryTrigger,
};
use super::event_queue::{Attempt, EventQueue, ReadyEvent};
use super::flow_control::FlowControl;
use super::in_flight::{InFlight, ProtocolViolation};
use super::report_schedule::{PositionCadence, StateCadence};
use super::subscription::SubscriptionPlan;
use super::track_queue::{Batch, Batching, EncodedBatch, TrackOrder, TrackQueue};
use super::{DISCONNECT_TIMEOUT, ShutdownSignal, TrafficKind, Uplink};
use crate::outbox::{OutboxError, OutboxStats};
use waypost_model::units::Uptime;
use waypost_wire::payloads::StopStatus;

/// Timeout for the connection, in case the client does not enforce its own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Overhead of a PUBLISH besides topic and payload (MQTT 5 §3.3): fixed header 5, topic length 2,
/// packet identifier 2, property length 1. The remainder is for properties that a client may add.
const PUBLISH_OVERHEAD_BYTES: usize = 64;

/// Time after SUBSCRIBE within which a disconnect counts as a rejected subscription. A later one is
/// attributed to the network.
const SUBSCRIBE_CUT_WINDOW: Duration = Duration::from_secs(5);

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum DisconnectReason {
    /// The shutdown signal was received.
    Stopped,
    /// The connection was lost or failed.
    Lost {
        error: String,
        reason: Option<ReasonCode>,
        stage: Option<ConnectStage>,
        retry_trigger: RetryTrigger,
    },
    /// The outbox is closed.
    Outbox(OutboxError),
}

impl From<CloseReason> for DisconnectReason {
    fn from(closed: CloseReason) -> Self {
        Self::Lost {
            error: closed.text().to_owned(),
            reason: closed.reason_code(),
            stage: closed.stage(),
            retry_trigger: closed.retry_trigger(),
        }
    }
}

impl From<ProtocolViolation> for DisconnectReason {
    fn from(fault: ProtocolViolation) -> Self {
        Self::lost(fault.to_string())
    }
}

impl DisconnectReason {
    fn lost(error: String) -> Self {
        Self::Lost { error, reason: None, stage: None, retry_trigger: RetryTrigger::Broker }
    }
}

/// Kinds of messages that await a PUBACK or SUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InFlightMessage {
    Subscription,
    Connection,
    State,
    /// Response to a command, by its number.
    Response(u64),
    Event(Attempt),
    Track(Batch),
}

/// Progress of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShutdownStage {
    /// `offline` is not published yet.
    SendOffline,
    /// `offline` is in flight or acknowledged.
    OfflineSent,
    /// DISCONNECT was sent.
    Disconnecting,
}

/// Progress of SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubscribeState {
    NotSent,
    Sent { since: Uptime },
    Acknowledged,
}

/// State of a connection after CONNACK.
#[derive(Debug)]
struct Session {
    since: Uptime,
    connack: ConnackInfo,
    in_flight: InFlight<InFlightMessage>,
    flow_control: FlowControl,
    event_queue: EventQueue,
    /// An event that waits for space in the window.
    ready_event: Option<ReadyEvent>,
    track_queue: TrackQueue,
    /// A batch that waits for space in the window.
    ready_batch: Option<EncodedBatch>,
    /// Topics to which this connection subscribes.
    plan: SubscriptionPlan,
    subscription: SubscribeState,
    online_sent: bool,
    /// QoS 0 messages that the client has accepted but not sent.
    unsent_positions: usize,
    position: PositionCadence,
    /// Stop status in the last sent position.
    stop_sent: Option<(Option<StopStatus>, Option<u32>)>,
    /// Number of report requests as of the last sent position.
    report_requests_sent: Option<u64>,
    state: StateCadence,
    /// Earliest time of the next access to the outbox after an error.
    outbox_not_before: Uptime,
    /// Last logged error of the outbox.
    outbox_error: Option<String>,
    /// Reason codes with which the broker rejected `connection`, `state` and `command/result`.
    control_rejections: [Option<ReasonCode>; 3],
}

impl Session {
    fn tracks_in_flight(&self) -> usize {
        self.in_flight.iter().filter(|message| matches!(message, InFlightMessage::Track(_))).count()
    }

    fn events_in_flight(&self) -> usize {
        self.in_flight.iter().filter(|message| matches!(message, InFlightMessage::Event(_))).count()
    }

    fn oldest_event(&self) -> Option<Attempt> {
        self.in_flight.iter().find_map(|message| match message {
            InFlightMessage::Event(attempt) => Some(*attempt),
            _ => None,
        })
    }

    /// Maximum payload that the broker accepts on `topic`.
    fn max_payload(&self, topic: &str) -> usize {
        let packet = usize::try_from(self.connack.max_packet_bytes).unwrap_or(usize::MAX);
        packet.saturating_sub(topic.len() + PUBLISH_OVERHEAD_BYTES)
    }
}

/// Reason for a wakeup of the loop.
enum Wakeup {
    Shutdown { closed: bool },
    Connection(ConnectionEvent),
    Input,
    Probe,
    Deadline(Uptime),
}

/// The connection and its link to the uplink.
pub(super) struct BrokerConnection<'a, L: Connector> {
    uplink: &'a mut Uplink<L>,
    connection: L::Connection,
    opened: Uptime,
    /// Time of the last packet from the broker.
    last_received_at: Uptime,
    session: Option<Session>,
    stats: watch::Receiver<OutboxStats>,
    drained: bool,
    /// Progress of the shutdown, and its deadline.
    shutdown: Option<(ShutdownStage, Uptime)>,
    stop_open: bool,
    live_open: bool,
    health_open: bool,
}

impl<'a, L: Connector> BrokerConnection<'a, L> {
    pub(super) fn new(uplink: &'a mut Uplink<L>, connection: L::Connection) -> Self {
        let now = uplink.live_clock.uptime();
        let stats = uplink.inputs.outbox.stats();
        // Messages of an earlier connection do not await an `ack` on this one.
        uplink.backend_acks.reset_for_connection();
        Self {
            uplink,
            connection,
            opened: now,
            last_received_at: now,
            session: None,
            stats,
            drained: false,
            shutdown: None,
            stop_open: true,
            live_open: true,
            health_open: true,
        }
    }

    /// Runs the connection to its end. Returns the reason, and how long it was up.
    pub(super) async fn run(
        mut self,
        stop: &mut watch::Receiver<ShutdownSignal>,
    ) -> (DisconnectReason, Duration) {
        let now = self.uplink.live_clock.uptime();
        let first = *stop.borrow_and_update();
        let end = match self.on_shutdown_signal(first, now) {
            Err(end) => end,
            Ok(()) => loop {
                if let Err(end) = self.step(stop).await {
                    break end;
                }
            },
        };
        let now = self.uplink.live_clock.uptime();
        if let DisconnectReason::Lost { .. } = &end
            && let Some(oldest) = self.session.as_ref().and_then(Session::oldest_event)
        {
            self.uplink.suspects.record_disconnect(oldest, now);
        }
        (end, self.session.map_or(Duration::ZERO, |session| now.since(session.since)))
    }

    /// Sends what is due, then waits for the next wakeup. Every branch is cancel safe.
    async fn step(
        &mut self,
        stop: &mut watch::Receiver<ShutdownSignal>,
    ) -> Result<(), DisconnectReason> {
        let now = self.uplink.live_clock.uptime();
        // The outbox may be slow.
        self.uplink.heartbeat.clone().beat_while(self.send_due(now)).await?;
        let deadline = self.deadline(now);
        let Self {
            uplink: relay, connection: link, stats, stop_open, live_open, health_open, ..
        } = self;
        let happened = tokio::select! {
            biased;
            changed = stop.changed(), if *stop_open => Wakeup::Shutdown { closed: changed.is_err() },
            () = relay.heartbeat.beat() => Wakeup::Probe,
            event = link.next_event() => Wakeup::Connection(event),
            answer = relay.inputs.responses.recv(), if relay.responses_open => {
                relay.queue_response(answer);
                Wakeup::Input
            }
            changed = relay.inputs.live.changed(), if *live_open => {
                *live_open = changed.is_ok();
                Wakeup::Input
            }
            changed = relay.inputs.health.changed(), if *health_open => {
                *health_open = changed.is_ok();
                Wakeup::Input
            }
            Ok(()) = stats.changed() => Wakeup::Input,
            now = relay.live_clock.sleep_until(deadline) => Wakeup::Deadline(now),
        };
        let now = self.uplink.live_clock.uptime();
        match happened {
            Wakeup::Shutdown { closed: false } => {
                let stop = *stop.borrow_and_update();
                self.on_shutdown_signal(stop, now)
            }
            Wakeup::Shutdown { closed: true } => {
                self.stop_open = false;
                if self.drained { Ok(()) } else { self.begin_shutdown(now + DISCONNECT_TIMEOUT) }
            }
            Wakeup::Connection(event) => self.on_event(event, now),
            Wakeup::Input | Wakeup::Probe => Ok(()),
            Wakeup::Deadline(now) => self.on_deadline(now),
        }
    }

    fn on_shutdown_signal(
        &mut self,
        stop: ShutdownSignal,
        now: Uptime,
    ) -> Result<(), DisconnectReason> {
        match stop {
            ShutdownSignal::Running => Ok(()),
            ShutdownSignal::Grace(grace) => self.begin_shutdown(now + grace),
            ShutdownSignal::Drained => {
                self.drained = true;
                Ok(())
            }
        }
    }

    fn begin_shutdown(&mut self, until: Uptime) -> Result<(), DisconnectReason> {
        if self.session.is_none() {
            return Err(DisconnectReason::Stopped);
        }
        let stage = self.shutdown.map_or(ShutdownStage::SendOffline, |(stage, _)| stage);
        self.shutdown = Some((stage, until));
        Ok(())
    }

    fn on_event(&mut self, event: ConnectionEvent, now: Uptime) -> Result<(), DisconnectReason> {
        if let ConnectionEvent::Closed(closed) = event {
            if self.session.is_none() {
                self.uplink.data_meter.count_attempt(&closed);
            }
            self.record_subscription_failure(&closed, now);
            return Err(if self.shutdown.is_some() {
                DisconnectReason::Stopped
            } else {
                closed.into()
            });
        }
        if !matches!(event, ConnectionEvent::Sent(_)) {
            self.last_received_at = now;
        }
        if let ConnectionEvent::Connected(welcome) = event {
            self.on_connack(welcome, now);
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        match event {
            ConnectionEvent::Sent(0) => {
                session.unsent_positions = session.unsent_positions.saturating_sub(1);
            }
            ConnectionEvent::Sent(packet_id) => session.in_flight.mark_sent(packet_id)?,
            ConnectionEvent::Acked { packet_id, reason } => {
                let under_way = session.in_flight.bytes();
                let (message, bytes, since) = session.in_flight.acknowledge(packet_id)?;
                session.flow_control.on_ack((bytes, under_way), now.since(since), now);
                session.in_flight.set_max_bytes(session.flow_control.window());
                self.on_puback(message, reason, now);
            }
            ConnectionEvent::Subscribed { packet_id, reasons } => {
                if session.in_flight.acknowledge(packet_id)?.0 != InFlightMessage::Subscription {
                    return Err(ProtocolViolation::NotInFlight(packet_id).into());
                }
                self.on_suback(&reasons);
            }
            ConnectionEvent::Message { topic, payload, retained } => {
                self.on_message(&topic, payload, retained, now);
            }
            ConnectionEvent::OtherPacket => self.uplink.data_meter.count(TrafficKind::Ping),
            ConnectionEvent::Connected(_) | ConnectionEvent::Closed(_) => {}
        }
        Ok(())
    }

    /// Records a failed subscription, if an incoming message or SUBSCRIBE made the broker close the
    /// connection.
    fn record_subscription_failure(&mut self, closed: &CloseReason, now: Uptime) {
        let Some(session) = &self.session else { return };
        if let CloseReason::Oversized { .. } = closed {
            self.uplink.disable_subscription(session.plan, closed.text(), now);
        } else if let SubscribeState::Sent { since } = session.subscription
            && now.since(since) <= SUBSCRIBE_CUT_WINDOW
        {
            self.uplink.on_closed_before_suback(session.plan, closed.text(), now);
        }
    }

    fn on_connack(&mut self, welcome: ConnackInfo, now: Uptime) {
        let config = &self.uplink.config;
        let batching = Batching {
            points: config.track_batch,
            backlog_points: config.backlog_batch,
            interval: config.track_interval,
            max_error: config.track_error,
            encoding: config.track_encoding,
        };
        let order = if config.requires_backend_ack() {
            TrackOrder::Ascending
        } else {
            TrackOrder::FreshFirst
        };
        let lanes = TrackQueue::new(batching, order, self.stats.borrow().newest);
        let wanted = self.uplink.subscription.plan(config.requires_backend_ack(), now);
        let window = config.in_flight.min(welcome.receive_max);
        let pace = FlowControl::new(config.in_flight_bytes, config.backlog_bytes_per_s, now);
        self.session = Some(Session {
            since: now,
            connack: welcome,
            in_flight: InFlight::new(window, pace.window()),
            flow_control: pace,
            event_queue: EventQueue::default(),
            ready_event: None,
            track_queue: lanes,
            ready_batch: None,
            plan: wanted,
            subscription: SubscribeState::NotSent,
            online_sent: false,
            unsent_positions: 0,
            position: PositionCadence::default(),
            stop_sent: None,
            report_requests_sent: None,
            state: StateCadence::default(),
            outbox_not_before: Uptime::ZERO,
            outbox_error: None,
            control_rejections: [None; 3],
        });
        self.uplink.responses.reset_for_connection();
        self.uplink.data_meter.count(TrafficKind::Connection);
        self.uplink.reporter.on_connected();
    }
}
