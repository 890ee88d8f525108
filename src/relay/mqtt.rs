//! rumqttc as a [`Link`]: this, `v4` (MQTT 3.1.1), `v5` and `reasons` are the only files that know it.
//!
//! Brokers are tried in order of preference: the next one after an attempt that failed, the first one again after a
//! connection on which a message was accepted.
//!
//! A link is a fresh client with its own event loop, which a task of its own polls: `poll` is not safe to cancel. The
//! task ends with its first error, so the client never reconnects by itself, and its pending list is never used.

mod reasons;
mod v4;
mod v5;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rumqttc::{NetworkOptions, TlsConfiguration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

#[cfg(feature = "proxy")]
use super::Credentials;
use super::config::bracketed;
use super::{
    Broker, Closed, Delivery, Distrust, Link, LinkEvent, Links, MqttVersion, Overrun, Publication,
    ReasonCode, RelayConfig, TlsConfig, Transport,
};
use crate::clock::Clock;
use crate::pem::PemError;
use crate::tasks::joined;

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

/// Opens links over MQTT 5 or 3.1.1.
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
}

impl Links for MqttLinks {
    type Link = MqttLink;

    fn open(&mut self, will: &Publication) -> MqttLink {
        let (broker, taught) = self.turn();
        let (sender, events) = Sender::channel();
        let (handle, client) = oneshot::channel();
        let capacity = usize::from(self.config.in_flight.max(1)) + BESIDE_WINDOW;
        let (config, clock) = (self.config.clone(), self.clock.clone());
        let attempt = Attempt { broker: broker.clone(), config, will: will.clone() };
        let driver = tokio::spawn(async move {
            match ready(attempt.broker.transport.clone(), clock).await {
                Ok(transport) => {
                    // If nobody takes the client, nobody listens either.
                    match attempt.config.version {
                        MqttVersion::V5 => {
                            let options = v5::options(&attempt, &taught, transport);
                            let (client, events) = v5::connection(options, capacity);
                            let _ = handle.send(Handle::V5(client));
                            drive(events, sender, &taught).await;
                        }
                        MqttVersion::V3_1_1 => {
                            let options = v4::options(&attempt, transport);
                            let (client, events) = v4::connection(options, capacity);
                            let _ = handle.send(Handle::V4(client));
                            drive(events, sender, &taught).await;
                        }
                    }
                }
                Err(error) => {
                    let (distrust, text) = (Distrust::Files, error.to_string());
                    close(sender, Closed::Untrusted { distrust, text }).await;
                }
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

/// What a connection begins with.
struct Attempt {
    broker: Broker,
    config: RelayConfig,
    will: Publication,
}

impl Attempt {
    /// As rumqttc wants it: a host, or the whole URL of a WebSocket.
    fn address(&self) -> String {
        if self.broker.transport.is_websocket() {
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

fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    network
}

/// Certificates are on a card that may take its time.
async fn ready(transport: Transport, clock: Clock) -> Result<rumqttc::Transport, PemError> {
    Ok(match transport {
        Transport::Tcp => rumqttc::Transport::tcp(),
        Transport::Tls(tls) => rumqttc::Transport::tls_with_config(loaded(tls, clock).await?),
        #[cfg(feature = "websocket")]
        Transport::WebSocket { tls: None, .. } => rumqttc::Transport::ws(),
        #[cfg(feature = "websocket")]
        Transport::WebSocket { tls: Some(tls), .. } => {
            rumqttc::Transport::wss_with_config(loaded(tls, clock).await?)
        }
    })
}

async fn loaded(tls: TlsConfig, clock: Clock) -> Result<TlsConfiguration, PemError> {
    let loaded = tokio::task::spawn_blocking(move || tls.load(&clock)).await;
    Ok(TlsConfiguration::Rustls(joined(loaded)?))
}

/// One connection over MQTT.
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
    Awaited(oneshot::Receiver<Handle>),
    Ready(Handle),
}

/// The client of either version.
enum Handle {
    V5(rumqttc::v5::AsyncClient),
    V4(rumqttc::AsyncClient),
}

impl Handle {
    fn hand_over(&self, publication: Publication, retains: bool) -> bool {
        let Publication { topic, payload, delivery, content_type } = publication;
        let retain = delivery == Delivery::Retained && retains;
        match self {
            Self::V5(client) => {
                let qos = v5::qos(delivery);
                match content_type.map(v5::content) {
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
        let client = self.client.get().ok_or(Overrun)?;
        client.hand_over(publication, self.retains).then_some(()).ok_or(Overrun)
    }

    fn try_subscribe(&mut self, topics: Vec<String>) -> Result<(), Overrun> {
        let client = self.client.get().ok_or(Overrun)?;
        client.subscribe(topics).then_some(()).ok_or(Overrun)
    }

    fn disconnect(&mut self) {
        // If it does not take it, it has ended, or will be cut when the grace is over.
        let _ = self.client.get().map(Handle::disconnect);
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

/// What a client polls.
trait Polled: Send {
    /// The next event, if it is one for the relay.
    fn poll(&mut self) -> impl Future<Output = Result<Option<LinkEvent>, Closed>> + Send;

    /// What was read together with the error has happened all the same.
    fn rest(&mut self) -> Vec<LinkEvent>;
}

/// Polls until the first error. Ends also when nobody listens any more.
async fn drive(mut connection: impl Polled, sender: Sender, taught: &Taught) {
    let closed = loop {
        match connection.poll().await {
            Ok(event) => {
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
            Err(closed) => break closed,
        }
    };
    for event in connection.rest() {
        if !sender.send(event).await {
            return;
        }
    }
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
