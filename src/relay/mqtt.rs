//! rumqttc as a [`Link`]: this and `reasons` are the only files that know it.
//!
//! Brokers are tried in order of preference: the next one after an attempt that failed, the first one again after a
//! connection on which a message was accepted.
//!
//! A link is a fresh client with its own event loop, which a task of its own polls: `poll` is not safe to cancel. The
//! task ends with its first error, so the client never reconnects by itself, and its pending list is never used.

mod reasons;

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter, LastWill, Packet};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing, TlsConfiguration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{
    Broker, Closed, Delivery, Link, LinkEvent, Links, Overrun, Publication, ReasonCode,
    RelayConfig, TlsError, Transport, Welcome,
};
use crate::clock::Clock;
use crate::tasks::joined;
use reasons::{closed, puback_reason, suback_reason};

/// DNS, TCP, TLS and CONNACK together; a radio that wakes up takes its time.
const CONNECT_TIMEOUT_S: u64 = 20;

/// What rumqttc accepts at least.
const MIN_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What the protocol can say at most (a 16 bit number of seconds).
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(65_535);

/// Beside the window, the client holds one position, its mirror, and DISCONNECT.
const BESIDE_WINDOW: usize = 3;

/// The largest packet that we take: a manifest, and its topic and properties. The broker is told in CONNECT, and keeps
/// what is larger (MQTT 5 §3.1.2.11.4).
const MAX_INCOMING_BYTES: u32 = 257 * 1024;

/// Bytes of messages that wait for the relay, so that a flood of them does not fill the memory.
const MAX_WAITING_BYTES: usize = 512 * 1024;

/// Events that wait for the relay. When it is full the task stops reading, and TCP slows the broker down.
const EVENTS: usize = 256;

/// Opens links over MQTT 5.
#[derive(Debug)]
pub struct MqttLinks {
    config: RelayConfig,
    /// By which certificates are judged.
    clock: Clock,
    /// Which broker is next.
    next: usize,
    /// What attempts taught of each.
    taught: Vec<Arc<Taught>>,
}

/// What attempts taught of a broker.
#[derive(Debug, Default)]
struct Taught {
    /// It accepted a message in the last attempt.
    stood: AtomicBool,
    /// It keeps no message for later, so the Will must not ask for it.
    without_retain: AtomicBool,
}

impl MqttLinks {
    /// For these brokers. Certificates are judged by `clock`.
    #[must_use]
    pub fn new(config: RelayConfig, clock: Clock) -> Self {
        let taught = config.brokers.iter().map(|_| Arc::default()).collect();
        Self { config, clock, next: 0, taught }
    }

    /// Whose turn it is.
    fn turn(&mut self) -> (Broker, Arc<Taught>) {
        if self.taught.iter().any(|taught| taught.stood.swap(false, Ordering::Relaxed)) {
            self.next = 0;
        }
        let turn = self.next % self.config.brokers.len();
        self.next += 1;
        (self.config.brokers[turn].clone(), self.taught[turn].clone())
    }

    /// All but the transport.
    fn options(&self, broker: &Broker, taught: &Taught, will: &Publication) -> MqttOptions {
        let RelayConfig { client_id, keep_alive, in_flight, credentials, .. } = &self.config;
        // An IPv6 address needs its brackets before the port.
        let host = match broker.host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => broker.host.clone(),
        };
        let mut options = MqttOptions::new(client_id, host, broker.port);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        // Without a delay: one that came after our next `online` would stay as the retained word.
        let will = LastWill::new(
            will.topic.clone(),
            will.payload.clone(),
            QoS::AtLeastOnce,
            will.delivery == Delivery::Retained && !taught.without_retain.load(Ordering::Relaxed),
            None,
        );
        options
            .set_network_options(network)
            .set_connection_timeout(CONNECT_TIMEOUT_S)
            .set_keep_alive((*keep_alive).clamp(MIN_KEEP_ALIVE, MAX_KEEP_ALIVE))
            .set_clean_start(true)
            .set_max_packet_size(Some(MAX_INCOMING_BYTES))
            .set_outgoing_inflight_upper_limit((*in_flight).max(1))
            .set_last_will(will);
        if let Some(credentials) = credentials {
            options.set_credentials(&credentials.username, &credentials.password);
        }
        options
    }
}

impl Links for MqttLinks {
    type Link = MqttLink;

    fn open(&mut self, will: &Publication) -> MqttLink {
        let (broker, taught) = self.turn();
        let options = self.options(&broker, &taught, will);
        let (sender, events) = Sender::channel();
        let (handle, client) = oneshot::channel();
        let capacity = usize::from(self.config.in_flight.max(1)) + BESIDE_WINDOW;
        let (transport, clock) = (broker.transport.clone(), self.clock.clone());
        let driver = tokio::spawn(async move {
            match ready(options, transport, clock).await {
                Ok(options) => {
                    let (client, event_loop) = AsyncClient::new(options, capacity);
                    // If nobody takes it, nobody listens either.
                    let _ = handle.send(client);
                    drive(event_loop, sender, &taught).await;
                }
                Err(error) => close(sender, Closed::Untrusted { text: error.to_string() }).await,
            }
        });
        let several = self.config.brokers.len() > 1;
        MqttLink {
            client: Client::Awaited(client),
            events,
            driver,
            retains: true,
            broker: several.then_some(broker),
        }
    }
}

/// Certificates are on a card that may take its time.
async fn ready(
    mut options: MqttOptions,
    transport: Transport,
    clock: Clock,
) -> Result<MqttOptions, TlsError> {
    options.set_transport(match transport {
        Transport::Tcp => rumqttc::Transport::tcp(),
        Transport::Tls(tls) => {
            let loaded = joined(tokio::task::spawn_blocking(move || tls.load(&clock)).await)?;
            rumqttc::Transport::tls_with_config(TlsConfiguration::Rustls(loaded))
        }
    });
    Ok(options)
}

/// One connection over MQTT 5.
pub struct MqttLink {
    client: Client,
    events: mpsc::Receiver<Waiting>,
    driver: JoinHandle<()>,
    /// The broker keeps messages for later.
    retains: bool,
    /// Which one it is, if there are several.
    broker: Option<Broker>,
}

/// There is one as soon as the certificates are read, and that is before the broker says anything.
enum Client {
    Awaited(oneshot::Receiver<AsyncClient>),
    Ready(AsyncClient),
}

impl Client {
    fn get(&mut self) -> Option<&AsyncClient> {
        if let Self::Awaited(client) = self
            && let Ok(client) = client.try_recv()
        {
            *self = Self::Ready(client);
        }
        match self {
            Self::Ready(client) => Some(client),
            Self::Awaited(_) => None,
        }
    }
}

impl std::fmt::Debug for MqttLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttLink").finish_non_exhaustive()
    }
}

impl Drop for MqttLink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link for MqttLink {
    fn try_publish(&mut self, publication: Publication) -> Result<(), Overrun> {
        let Publication { topic, payload, delivery } = publication;
        let (qos, retain) = match delivery {
            Delivery::AtMostOnce => (QoS::AtMostOnce, false),
            Delivery::AtLeastOnce => (QoS::AtLeastOnce, false),
            Delivery::Retained => (QoS::AtLeastOnce, self.retains),
        };
        let client = self.client.get().ok_or(Overrun)?;
        client.try_publish(topic, qos, retain, payload).map_err(|_| Overrun)
    }

    fn try_subscribe(&mut self, topics: Vec<String>) -> Result<(), Overrun> {
        let client = self.client.get().ok_or(Overrun)?;
        let filters = topics.into_iter().map(|topic| Filter::new(topic, QoS::AtLeastOnce));
        client.try_subscribe_many(filters).map_err(|_| Overrun)
    }

    fn disconnect(&mut self) {
        // If it does not take it, it has ended, or will be cut when the grace is over.
        let _ = self.client.get().map(AsyncClient::try_disconnect);
    }

    async fn event(&mut self) -> LinkEvent {
        match (self.events.recv().await.map(|(event, _)| event), &self.broker) {
            (Some(LinkEvent::Connected(welcome)), broker) => {
                self.retains = welcome.retains;
                if let Some(broker) = broker {
                    tracing::info!(%broker, "this broker accepts");
                }
                LinkEvent::Connected(welcome)
            }
            (Some(LinkEvent::Closed(closed)), Some(broker)) => {
                LinkEvent::Closed(closed.by(&broker.to_string()))
            }
            (Some(event), _) => event,
            (None, _) => std::future::pending().await,
        }
    }
}

/// Polls until the first error. Ends also when nobody listens any more.
async fn drive(mut event_loop: EventLoop, sender: Sender, taught: &Taught) {
    let error = loop {
        match event_loop.poll().await {
            Ok(event) => {
                let event = translate(event, &mut event_loop);
                let ends = matches!(event, Some(LinkEvent::Closed(_)));
                match &event {
                    Some(LinkEvent::Connected(welcome)) => {
                        taught.without_retain.store(!welcome.retains, Ordering::Relaxed);
                    }
                    Some(LinkEvent::Acked { reason, .. }) if !reason.is_failure() => {
                        taught.stood.store(true, Ordering::Relaxed);
                    }
                    _ => {}
                }
                if let Some(event) = event
                    && (!sender.send(event).await || ends)
                {
                    return;
                }
            }
            Err(error) => break error,
        }
    };
    // What was read together with the error has happened all the same.
    let last: Vec<Event> = event_loop.state.events.drain(..).collect();
    for event in last {
        if let Some(event) = translate(event, &mut event_loop)
            && !sender.send(event).await
        {
            return;
        }
    }
    let closed = closed(&error);
    if closed.reason() == Some(ReasonCode::RETAIN_NOT_SUPPORTED) {
        taught.without_retain.store(true, Ordering::Relaxed);
    }
    close(sender, closed).await;
}

async fn close(sender: Sender, closed: Closed) {
    sender.send(LinkEvent::Closed(closed)).await;
}

/// An event, and the room that a message takes.
type Waiting = (LinkEvent, Option<OwnedSemaphorePermit>);

/// Where events wait for the relay.
struct Sender {
    events: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

impl Sender {
    fn channel() -> (Self, mpsc::Receiver<Waiting>) {
        let (events, waiting) = mpsc::channel(EVENTS);
        (Self { events, room: Arc::new(Semaphore::new(MAX_WAITING_BYTES)) }, waiting)
    }

    /// False if nobody listens any more.
    async fn send(&self, event: LinkEvent) -> bool {
        let room = match &event {
            LinkEvent::Message { payload, .. } => {
                let bytes = u32::try_from(payload.len()).unwrap_or(MAX_INCOMING_BYTES);
                let room = self.room.clone().acquire_many_owned(bytes.min(MAX_INCOMING_BYTES));
                tokio::select! {
                    room = room => room.ok(),
                    () = self.events.closed() => return false,
                }
            }
            _ => None,
        };
        self.events.send((event, room)).await.is_ok()
    }
}

fn translate(event: Event, event_loop: &mut EventLoop) -> Option<LinkEvent> {
    match event {
        Event::Outgoing(Outgoing::Publish(packet_id) | Outgoing::Subscribe(packet_id)) => {
            Some(LinkEvent::Sent(packet_id))
        }
        Event::Outgoing(_) => None,
        Event::Incoming(Packet::ConnAck(connack)) => {
            let max_qos = connack.properties.as_ref().and_then(|properties| properties.max_qos);
            if max_qos == Some(0) {
                let text = "the broker takes QoS 0 only: it would acknowledge nothing".to_owned();
                let reason = ReasonCode::QOS_NOT_SUPPORTED;
                return Some(LinkEvent::Closed(Closed::Refused { reason, text }));
            }
            Some(LinkEvent::Connected(welcome(&connack, event_loop)))
        }
        Event::Incoming(Packet::PubAck(ack)) => {
            Some(LinkEvent::Acked { packet_id: ack.pkid, reason: puback_reason(ack.reason) })
        }
        Event::Incoming(Packet::SubAck(ack)) => Some(LinkEvent::Subscribed {
            packet_id: ack.pkid,
            reasons: ack.return_codes.into_iter().map(suback_reason).collect(),
        }),
        Event::Incoming(Packet::Publish(message)) => Some(LinkEvent::Message {
            topic: String::from_utf8_lossy(&message.topic).into_owned(),
            payload: message.payload.to_vec(),
            retained: message.retain,
        }),
        Event::Incoming(_) => Some(LinkEvent::Alive),
    }
}

fn welcome(connack: &ConnAck, event_loop: &mut EventLoop) -> Welcome {
    let options = &mut event_loop.options;
    let mut keep_alive = options.keep_alive();
    if keep_alive.is_zero() {
        // The broker turned it off (MQTT 5 §3.2.2.3.14), which rumqttc would take for "ping all the time".
        options.set_keep_alive(MAX_KEEP_ALIVE);
        keep_alive = MAX_KEEP_ALIVE;
    }
    let properties = connack.properties.as_ref();
    Welcome {
        receive_max: properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
        max_packet_bytes: properties.and_then(|p| p.max_packet_size).unwrap_or(u32::MAX),
        keep_alive,
        retains: properties.and_then(|p| p.retain_available) != Some(0),
    }
}
