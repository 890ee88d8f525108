//! MQTT connections with rumqttc. Only this module and its submodules depend on it.
//!
//! Brokers are tried in order of preference. A failed attempt is followed by the next broker, and a
//! connection on which a message was accepted by the first one.
//!
//! Each connection has a new client and event loop, polled by a separate task because `poll` is not
//! cancel safe. The task ends with its first error, so the client never reconnects by itself and
//! its pending list is never used.

mod errors;
mod v4;
mod v5;

use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc::{NetworkOptions, TlsConfiguration};
use rustls::pki_types::ServerName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

#[cfg(feature = "proxy")]
use super::Credentials;
use super::config::bracketed;
use super::{
    Broker, CloseReason, ConnectionEvent, Connector, Delivery, MqttConnection, MqttVersion,
    Publication, QueueFull, ReasonCode, TlsConfig, TlsFailure, Transport, UplinkConfig,
};
use crate::transport::address_race;
use waypost_service::clock::Clock;
use waypost_service::pem::PemError;
use waypost_service::task::join;

/// Timeout in seconds for DNS, TCP, TLS and CONNACK together. A radio may need time to wake up.
const CONNECT_TIMEOUT_S: u64 = 20;

/// Time after which the next address of a broker with TLS is tried.
const TLS_ATTEMPT_DELAY: Duration = Duration::from_secs(3);

/// Minimum that rumqttc accepts.
const MIN_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Maximum of the protocol (16-bit number of seconds).
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(65_535);

/// Queue slots besides the window: one position, its OwnTracks copy, and DISCONNECT.
const EXTRA_QUEUE_SLOTS: usize = 3;

/// Maximum size of an incoming packet: a manifest with its topic and properties. It is announced in
/// CONNECT, and the broker discards larger messages (MQTT 5 §3.1.2.11.4).
const MAX_INCOMING_BYTES: u32 = 257 * 1024;

/// Maximum bytes of queued incoming messages. Limits the memory that a flood of messages can use.
const MAX_QUEUED_BYTES: usize = 512 * 1024;

/// Maximum number of queued events. If it is reached, the task stops reading and TCP throttles the
/// broker.
const EVENT_QUEUE_LEN: usize = 256;

/// Opens connections with MQTT 5 or 3.1.1.
#[derive(Debug)]
pub struct RumqttcConnector {
    config: UplinkConfig,
    /// Clock for the validation of certificates.
    clock: Clock,
    /// Index of the next broker.
    next_broker: usize,
    /// Known behaviour of each broker.
    quirks: Vec<Arc<BrokerQuirks>>,
}

/// Known behaviour of a broker.
#[derive(Debug, Default)]
struct BrokerQuirks {
    /// Whether it accepted a message in the last attempt.
    accepted_message: AtomicBool,
    /// Whether it does not support retained messages, so that the Will must not be retained.
    without_retain: AtomicBool,
    /// Address that answered last, which is tried first.
    address: Mutex<Option<IpAddr>>,
}

impl BrokerQuirks {
    /// Finds the address that answers first, if the host has several: rumqttc tries them one after
    /// the other, and a black hole keeps it until the timeout of the attempt. Returns `None` if
    /// rumqttc may look up the host itself.
    ///
    /// A broker with TLS is connected by name as long as its first address answers, because only
    /// then does the client send the name that some brokers require.
    async fn find_address(&self, broker: &Broker) -> Option<IpAddr> {
        let is_tls = match &broker.transport {
            Transport::Tcp => false,
            Transport::Tls(_) => true,
            #[cfg(feature = "websocket")]
            Transport::WebSocket { .. } => return None,
        };
        let mut addresses = address_race::lookup(&broker.host, broker.port).await.ok()?;
        if addresses.len() < 2 {
            return None;
        }
        let first = addresses[0].ip();
        let known = *self.address.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.sort_by_key(|address| Some(address.ip()) != known);
        let delay = if is_tls { TLS_ATTEMPT_DELAY } else { address_race::ATTEMPT_DELAY };
        let stream = address_race::connect(&addresses, delay).await.ok()?;
        let found = stream.peer_addr().ok()?.ip();
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Some(found).filter(|found| !is_tls || *found != first)
    }
}

impl RumqttcConnector {
    /// Creates a connector for the configured brokers. `clock` is used to validate certificates.
    #[must_use]
    pub fn new(config: UplinkConfig, clock: Clock) -> Self {
        let quirks = config.brokers.iter().map(|_| Arc::default()).collect();
        Self { config, clock, next_broker: 0, quirks }
    }

    /// Selects the next broker.
    fn select_broker(&mut self) -> (Broker, Arc<BrokerQuirks>) {
        if self.quirks.iter().any(|quirks| quirks.accepted_message.swap(false, Ordering::Relaxed)) {
            self.next_broker = 0;
        }
        let turn = self.next_broker % self.config.brokers.len();
        self.next_broker += 1;
        (self.config.brokers[turn].clone(), self.quirks[turn].clone())
    }
}

impl Connector for RumqttcConnector {
    type Connection = RumqttcConnection;

    fn open(&mut self, will: &Publication) -> RumqttcConnection {
        let (broker, quirks) = self.select_broker();
        let (sender, events) = EventSender::channel();
        let (handle, client) = oneshot::channel();
        let capacity = usize::from(self.config.in_flight.max(1)) + EXTRA_QUEUE_SLOTS;
        let (config, clock) = (self.config.clone(), self.clock.clone());
        let mut attempt =
            ConnectOptions { broker: broker.clone(), config, will: will.clone(), address: None };
        let driver = tokio::spawn(async move {
            if !attempt.is_proxied() {
                let finding = quirks.find_address(&attempt.broker);
                let limit = Duration::from_secs(CONNECT_TIMEOUT_S);
                attempt.address = tokio::time::timeout(limit, finding).await.ok().flatten();
            }
            match rumqttc_transport(&attempt, clock).await {
                Ok(transport) => {
                    // If the receiver is dropped, the connection is dropped too.
                    match attempt.config.version {
                        MqttVersion::V5 => {
                            let options = v5::options(&attempt, &quirks, transport);
                            let (client, events) = v5::connection(options, capacity);
                            let _ = handle.send(Handle::V5(client));
                            drive(events, sender, &quirks).await;
                        }
                        MqttVersion::V3_1_1 => {
                            let options = v4::options(&attempt, transport);
                            let (client, events) = v4::connection(options, capacity);
                            let _ = handle.send(Handle::V4(client));
                            drive(events, sender, &quirks).await;
                        }
                    }
                }
                Err(error) => {
                    let (distrust, text) = (TlsFailure::Files, error.to_string());
                    send_closed(sender, CloseReason::Untrusted { failure: distrust, text }).await;
                }
            }
        });
        let several = self.config.brokers.len() > 1;
        RumqttcConnection {
            client: Client::Awaited(client),
            events,
            driver,
            retains: true,
            broker: several.then_some(broker),
        }
    }
}

/// Parameters of a connection attempt.
struct ConnectOptions {
    broker: Broker,
    config: UplinkConfig,
    will: Publication,
    /// Address of the broker, if it is not connected by name.
    address: Option<IpAddr>,
}

impl ConnectOptions {
    #[cfg(feature = "proxy")]
    const fn is_proxied(&self) -> bool {
        self.config.proxy.is_some()
    }

    #[cfg(not(feature = "proxy"))]
    #[expect(clippy::unused_self, reason = "the other build uses it")]
    const fn is_proxied(&self) -> bool {
        false
    }

    /// Address in rumqttc's format: a host, or the URL of a WebSocket.
    fn address(&self) -> String {
        if let Some(address) = self.address {
            bracketed(&address.to_string()).into_owned()
        } else if self.broker.transport.is_websocket() {
            self.broker.to_string()
        } else {
            bracketed(&self.broker.host).into_owned()
        }
    }

    #[cfg(feature = "proxy")]
    fn proxy(&self) -> Option<rumqttc::Proxy> {
        use rumqttc::{Proxy, ProxyAuth, ProxyType};
        let super::Proxy { host, port, credentials } = self.config.proxy.clone()?;
        let auth = credentials.map_or(ProxyAuth::None, |Credentials { username, password }| {
            ProxyAuth::Basic { username, password }
        });
        Some(Proxy { ty: ProxyType::Http, auth, addr: bracketed(&host).into_owned(), port })
    }

    fn keep_alive(&self) -> Duration {
        self.config.keep_alive.clamp(MIN_KEEP_ALIVE, MAX_KEEP_ALIVE)
    }
}

fn network_options() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    network
}

/// Loads certificates, which may take some time from a card.
async fn rumqttc_transport(
    attempt: &ConnectOptions,
    clock: Clock,
) -> Result<rumqttc::Transport, PemError> {
    // An invalid name is reported by rumqttc, which is then given the host itself.
    let name = attempt.address.and_then(|_| ServerName::try_from(attempt.broker.host.clone()).ok());
    Ok(match attempt.broker.transport.clone() {
        Transport::Tcp => rumqttc::Transport::tcp(),
        Transport::Tls(tls) => {
            rumqttc::Transport::tls_with_config(load_tls(tls, clock, name).await?)
        }
        #[cfg(feature = "websocket")]
        Transport::WebSocket { tls: None, .. } => rumqttc::Transport::ws(),
        #[cfg(feature = "websocket")]
        Transport::WebSocket { tls: Some(tls), .. } => {
            rumqttc::Transport::wss_with_config(load_tls(tls, clock, None).await?)
        }
    })
}

async fn load_tls(
    tls: TlsConfig,
    clock: Clock,
    name: Option<ServerName<'static>>,
) -> Result<TlsConfiguration, PemError> {
    let loaded = tokio::task::spawn_blocking(move || tls.load_for(&clock, name));
    Ok(TlsConfiguration::Rustls(join(loaded).await?))
}

/// A single MQTT connection.
pub struct RumqttcConnection {
    client: Client,
    events: mpsc::Receiver<QueuedEvent>,
    driver: JoinHandle<()>,
    /// Whether the broker supports retained messages.
    retains: bool,
    /// The broker, if several are configured.
    broker: Option<Broker>,
}

/// The client is available once the certificates are loaded, which is before any packet from the
/// broker.
enum Client {
    Awaited(oneshot::Receiver<Handle>),
    Ready(Handle),
}

/// Client of either protocol version.
enum Handle {
    V5(rumqttc::v5::AsyncClient),
    V4(rumqttc::AsyncClient),
}

impl Handle {
    fn try_send(&self, publication: Publication, retains: bool) -> bool {
        let Publication { topic, payload, delivery, content_type } = publication;
        let retain = delivery == Delivery::Retained && retains;
        match self {
            Self::V5(client) => {
                let qos = v5::qos(delivery);
                match content_type.map(v5::content_properties) {
                    None => client.try_publish(topic, qos, retain, payload).is_ok(),
                    Some(properties) => client
                        .try_publish_with_properties(topic, qos, retain, payload, properties)
                        .is_ok(),
                }
            }
            Self::V4(client) => {
                client.try_publish(topic, v4::qos(delivery), retain, payload).is_ok()
            }
        }
    }

    fn subscribe(&self, topics: Vec<String>) -> bool {
        match self {
            Self::V5(client) => client.try_subscribe_many(v5::filters(topics)).is_ok(),
            Self::V4(client) => client.try_subscribe_many(v4::filters(topics)).is_ok(),
        }
    }

    fn disconnect(&self) -> bool {
        match self {
            Self::V5(client) => client.try_disconnect().is_ok(),
            Self::V4(client) => client.try_disconnect().is_ok(),
        }
    }
}

impl Client {
    fn get(&mut self) -> Option<&Handle> {
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

impl std::fmt::Debug for RumqttcConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttLink").finish_non_exhaustive()
    }
}

impl Drop for RumqttcConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl MqttConnection for RumqttcConnection {
    fn try_publish(&mut self, publication: Publication) -> Result<(), QueueFull> {
        let client = self.client.get().ok_or(QueueFull)?;
        client.try_send(publication, self.retains).then_some(()).ok_or(QueueFull)
    }

    fn try_subscribe(&mut self, topics: Vec<String>) -> Result<(), QueueFull> {
        let client = self.client.get().ok_or(QueueFull)?;
        client.subscribe(topics).then_some(()).ok_or(QueueFull)
    }

    fn disconnect(&mut self) {
        // A failure means that the connection has ended or will be closed after the grace period.
        let _ = self.client.get().map(Handle::disconnect);
    }

    async fn next_event(&mut self) -> ConnectionEvent {
        match (self.events.recv().await.map(|(next_event, _)| next_event), &self.broker) {
            (Some(ConnectionEvent::Connected(welcome)), broker) => {
                self.retains = welcome.retains;
                if let Some(broker) = broker {
                    tracing::info!(%broker, "broker accepted the connection");
                }
                ConnectionEvent::Connected(welcome)
            }
            (Some(ConnectionEvent::Closed(closed)), Some(broker)) => {
                ConnectionEvent::Closed(closed.with_broker(&broker.to_string()))
            }
            (Some(next_event), _) => next_event,
            (None, _) => std::future::pending().await,
        }
    }
}

/// Event loop of either protocol version.
trait MqttEventLoop: Send {
    /// Returns the next event, or `None` if the event is irrelevant.
    fn poll(&mut self)
    -> impl Future<Output = Result<Option<ConnectionEvent>, CloseReason>> + Send;

    /// Returns the events that were read together with the error.
    fn drain_after_error(&mut self) -> Vec<ConnectionEvent>;
}

/// Polls until the first error, or until the receiver is dropped.
async fn drive(mut connection: impl MqttEventLoop, sender: EventSender, quirks: &BrokerQuirks) {
    let closed = loop {
        match connection.poll().await {
            Ok(event) => {
                let ends = matches!(event, Some(ConnectionEvent::Closed(_)));
                match &event {
                    Some(ConnectionEvent::Connected(welcome)) => {
                        quirks.without_retain.store(!welcome.retains, Ordering::Relaxed);
                    }
                    Some(ConnectionEvent::Acked { reason, .. }) if !reason.is_failure() => {
                        quirks.accepted_message.store(true, Ordering::Relaxed);
                    }
                    _ => {}
                }
                if let Some(event) = event
                    && (!sender.send(event).await || ends)
                {
                    return;
                }
            }
            Err(closed) => break closed,
        }
    };
    for event in connection.drain_after_error() {
        if !sender.send(event).await {
            return;
        }
    }
    if closed.reason_code() == Some(ReasonCode::RETAIN_NOT_SUPPORTED) {
        quirks.without_retain.store(true, Ordering::Relaxed);
    }
    send_closed(sender, closed).await;
}

async fn send_closed(sender: EventSender, closed: CloseReason) {
    sender.send(ConnectionEvent::Closed(closed)).await;
}

/// An event, and the permit for the memory of its message.
type QueuedEvent = (ConnectionEvent, Option<OwnedSemaphorePermit>);

/// Sends events to the uplink.
struct EventSender {
    events: mpsc::Sender<QueuedEvent>,
    room: Arc<Semaphore>,
}

impl EventSender {
    fn channel() -> (Self, mpsc::Receiver<QueuedEvent>) {
        let (events, waiting) = mpsc::channel(EVENT_QUEUE_LEN);
        (Self { events, room: Arc::new(Semaphore::new(MAX_QUEUED_BYTES)) }, waiting)
    }

    /// Returns false if the receiver was dropped.
    async fn send(&self, event: ConnectionEvent) -> bool {
        let room = match &event {
            ConnectionEvent::Message { payload, .. } => {
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
