//! What the relay is told: brokers, topics, cadences and windows.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::air::{Carrier, Cover, Framing, Way};
use super::backoff::BackoffConfig;
use super::budget::Budget;
use super::tls::TlsConfig;
use crate::units::Distance;
use crate::wire::epcis::Names;
use crate::wire::{Encoding, Topics, VanId};

/// Leads nowhere (RFC 2606 §2), until the operator's own is known.
const NOBODYS_DOMAIN: &str = "waypost.invalid";

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Host name or IP address.
    pub host: String,
    /// TCP port, mostly 1883.
    pub port: u16,
    /// What carries the bytes.
    pub transport: Transport,
}

/// As in the configuration.
impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, transport, .. } = self;
        let host = bracketed(&self.host);
        match transport {
            Transport::Tcp => write!(f, "mqtt://{host}:{port}"),
            Transport::Tls(_) => write!(f, "mqtts://{host}:{port}"),
            #[cfg(feature = "websocket")]
            Transport::WebSocket { path, tls: None } => write!(f, "ws://{host}:{port}{path}"),
            #[cfg(feature = "websocket")]
            Transport::WebSocket { path, tls: Some(_) } => write!(f, "wss://{host}:{port}{path}"),
        }
    }
}

/// An IPv6 address needs its brackets before the port.
pub(super) fn bracketed(host: &str) -> Cow<'_, str> {
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}

/// What carries MQTT's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// TCP, not encrypted.
    #[default]
    Tcp,
    /// TLS 1.2 or 1.3.
    Tls(TlsConfig),
    /// A WebSocket (RFC 6455; MQTT 5 §6).
    #[cfg(feature = "websocket")]
    WebSocket {
        /// Where on the broker, from the first `/`.
        path: String,
        /// What it goes over, if it is encrypted.
        tls: Option<TlsConfig>,
    },
}

impl Transport {
    /// What is asked of the broker's certificate, if it must have one.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsConfig> {
        match self {
            Self::Tcp => None,
            Self::Tls(tls) => Some(tls),
            #[cfg(feature = "websocket")]
            Self::WebSocket { tls, .. } => tls.as_ref(),
        }
    }

    /// Whether MQTT goes through a WebSocket.
    #[must_use]
    pub const fn is_websocket(&self) -> bool {
        !matches!(self, Self::Tcp | Self::Tls(_))
    }
}

/// Who makes the way to the broker by HTTP CONNECT (RFC 9110 §9.3.6). Counts only with the feature `proxy`; without it,
/// the configuration takes none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// If it wants them: the scheme Basic (RFC 7617).
    pub credentials: Option<Credentials>,
}

/// As in the configuration.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", bracketed(&self.host), self.port)
    }
}

/// Which MQTT is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// 5: PUBACK says whether the broker has taken a message.
    #[default]
    V5,
    /// 3.1.1: PUBACK says nothing, and the backend must.
    V3_1_1,
}

/// How the agent proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name: by convention the van's id.
    pub username: String,
    /// Never shown.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How the relay works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Where to, in order of preference; at least one.
    pub brokers: Vec<Broker>,
    /// Through what, if not straight.
    pub proxy: Option<Proxy>,
    /// The van, as in the payloads.
    pub van: VanId,
    /// Its topics.
    pub topics: Topics,
    /// The operator's names for things, in events.
    pub names: Names,
    /// Client identifier, unique at the broker.
    pub client_id: String,
    /// If the broker wants them.
    pub credentials: Option<Credentials>,
    /// How often an idle link is tried: 5 s..=18 h.
    pub keep_alive: Duration,
    /// Which MQTT the broker speaks.
    pub version: MqttVersion,
    /// Keep what the backend has not acknowledged on `ack`, whatever the broker says; always so with MQTT 3.1.1.
    pub require_ack: bool,
    /// Keep what nobody has subscribed to.
    pub require_subscriber: bool,
    /// `position` is said when who knows the last one, its speed and its course would draw the van so far off; `None`
    /// for intervals alone.
    pub live_error: Option<Distance>,
    /// `position` while driving, at the latest; zero is each fix. A change of motion is said at once.
    pub position_interval_moving: Duration,
    /// `position` while standing, at the latest; zero is each fix.
    pub position_interval_halted: Duration,
    /// How wrong the lines between the points of the trail are at most, as `track` says it; `None` if it has every fix.
    pub track_error: Option<Distance>,
    /// How a `track` message is written.
    pub track_encoding: Encoding,
    /// Points in a `track` message at most, 1..=500.
    pub track_batch: usize,
    /// How long a fresh point waits for others.
    pub track_interval: Duration,
    /// `state`, beside its changes; at least 1 s.
    pub state_interval: Duration,
    /// Messages without PUBACK at most, 1..=1000.
    pub in_flight: u16,
    /// Bytes of payload without PUBACK at most; fewer where the link is thin.
    pub in_flight_bytes: usize,
    /// Bytes of backlog a second at most, if there is a bound; positions and fresh points go ahead of it anyway.
    pub backlog_bytes_per_s: Option<u32>,
    /// Points of backlog in a `track` message at most, 1..=500.
    pub backlog_batch: usize,
    /// A PUBACK that takes longer means that the link is dead.
    pub ack_timeout: Duration,
    /// Whether the live position is mirrored for OwnTracks.
    pub owntracks: bool,
    /// What a month may cost.
    pub budget: Budget,
    /// Between connections.
    pub backoff: BackoffConfig,
}

impl RelayConfig {
    /// The defaults, for `van` with its topics below `root`.
    #[must_use]
    pub fn new(broker: Broker, root: &str, van: VanId) -> Self {
        Self {
            brokers: vec![broker],
            proxy: None,
            topics: Topics::new(root, &van),
            names: Names::new(NOBODYS_DOMAIN, &van).expect("it is a host name"),
            client_id: van.to_string(),
            van,
            credentials: None,
            keep_alive: Duration::from_secs(120),
            version: MqttVersion::V5,
            require_ack: false,
            require_subscriber: false,
            live_error: None,
            position_interval_moving: Duration::from_secs(5),
            position_interval_halted: Duration::from_secs(60),
            track_error: None,
            track_encoding: Encoding::Json,
            track_batch: 60,
            track_interval: Duration::from_secs(3),
            state_interval: Duration::from_secs(60),
            in_flight: 20,
            in_flight_bytes: 256 * 1024,
            backlog_bytes_per_s: None,
            backlog_batch: 60,
            ack_timeout: Duration::from_secs(30),
            owntracks: false,
            budget: Budget::default(),
            backoff: BackoffConfig::default(),
        }
    }

    /// Whether PUBACK is not enough.
    pub(super) fn waits_for_ack(&self) -> bool {
        self.require_ack || self.version == MqttVersion::V3_1_1
    }

    /// What the first broker's bytes cost.
    pub(super) fn carrier(&self) -> Carrier {
        let transport = self.brokers.first().map(|broker| &broker.transport);
        let cover = match transport.and_then(Transport::tls) {
            None => Cover::Nothing,
            Some(tls) if tls.identity.is_some() => Cover::MutualTls,
            Some(_) => Cover::Tls,
        };
        let is_websocket = transport.is_some_and(Transport::is_websocket);
        Carrier {
            cover,
            framing: if is_websocket { Framing::WebSocket } else { Framing::Bare },
            way: if self.proxy.is_some() { Way::Proxy } else { Way::Straight },
        }
    }
}
