//! Configuration of the uplink: brokers, topics, intervals and windows.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::data_budget::Budget;
use super::data_usage::{Encryption, Framing, NetworkPath, TransportOverhead};
use super::reconnect::BackoffConfig;
use super::tls::TlsConfig;
use waypost_model::units::Distance;
use waypost_wire::epcis::Identifiers;
use waypost_wire::{Encoding, Topics, VanId};

/// Placeholder that never resolves (RFC 2606 §2), until the operator's domain is configured.
const PLACEHOLDER_DOMAIN: &str = "waypost.invalid";

/// Address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Host name or IP address.
    pub host: String,
    /// TCP port, usually 1883.
    pub port: u16,
    /// Transport to the broker.
    pub transport: Transport,
}

/// Formats the URL as in the configuration.
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

/// Adds the brackets that an IPv6 address needs before a port.
pub(super) fn bracketed(host: &str) -> Cow<'_, str> {
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}

/// Transport of the MQTT connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// Plain TCP.
    #[default]
    Tcp,
    /// TLS 1.2 or 1.3.
    Tls(TlsConfig),
    /// WebSocket (RFC 6455; MQTT 5 §6).
    #[cfg(feature = "websocket")]
    WebSocket {
        /// Path on the broker, starting with `/`.
        path: String,
        /// TLS settings, if it is encrypted.
        tls: Option<TlsConfig>,
    },
}

impl Transport {
    /// TLS settings, if the connection is encrypted.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsConfig> {
        match self {
            Self::Tcp => None,
            Self::Tls(tls) => Some(tls),
            #[cfg(feature = "websocket")]
            Self::WebSocket { tls, .. } => tls.as_ref(),
        }
    }

    /// Whether MQTT is transported over a WebSocket.
    #[must_use]
    pub const fn is_websocket(&self) -> bool {
        !matches!(self, Self::Tcp | Self::Tls(_))
    }
}

/// HTTP CONNECT proxy (RFC 9110 §9.3.6). Requires the feature `proxy`; without it, the
/// configuration rejects a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Credentials for the scheme Basic (RFC 7617), if required.
    pub credentials: Option<Credentials>,
}

/// Formats the URL as in the configuration.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", bracketed(&self.host), self.port)
    }
}

/// MQTT protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 5: PUBACK reports whether the broker accepted a message.
    #[default]
    V5,
    /// MQTT 3.1.1: PUBACK has no reason code, so the backend must acknowledge messages.
    V3_1_1,
}

/// User name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name, by convention the van's id.
    pub username: String,
    /// Password. Never logged or displayed.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Configuration of the uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkConfig {
    /// Brokers in order of preference; at least one.
    pub brokers: Vec<Broker>,
    /// Proxy, if any.
    pub proxy: Option<Proxy>,
    /// Van id in the payloads.
    pub van: VanId,
    /// Topics of the van.
    pub topics: Topics,
    /// URI scheme of the operator for events.
    pub names: Identifiers,
    /// Client identifier, unique on the broker.
    pub client_id: String,
    /// Credentials, if the broker requires them.
    pub credentials: Option<Credentials>,
    /// Keep alive of an idle connection: 5 s to 18 h.
    pub keep_alive: Duration,
    /// Protocol version of the broker.
    pub version: MqttVersion,
    /// Whether records stay until the backend acknowledges them on `ack`, regardless of PUBACK.
    /// Always true with MQTT 3.1.1.
    pub require_ack: bool,
    /// Whether records stay if the topic has no subscriber.
    pub require_subscriber: bool,
    /// Maximum error in metres of a dead-reckoned position. A larger error triggers a `position`.
    /// `None` disables it, so that only the intervals apply.
    pub live_error: Option<Distance>,
    /// Maximum interval of `position` while moving. Zero sends every fix. A change of motion is
    /// sent at once.
    pub position_interval_moving: Duration,
    /// Maximum interval of `position` while halted. Zero sends every fix.
    pub position_interval_halted: Duration,
    /// Maximum error of the lines between track points, as published in `track`. `None` if the
    /// track contains every fix.
    pub track_error: Option<Distance>,
    /// Encoding of `track` messages.
    pub track_encoding: Encoding,
    /// Maximum number of points in a `track` message, 1 to 500.
    pub track_batch: usize,
    /// Maximum time that a fresh point waits for others.
    pub track_interval: Duration,
    /// Interval of `state` without changes, at least 1 s.
    pub state_interval: Duration,
    /// Maximum number of messages without PUBACK, 1 to 1000.
    pub in_flight: u16,
    /// Maximum number of payload bytes without PUBACK. Flow control lowers it on a slow connection.
    pub in_flight_bytes: usize,
    /// Maximum rate of the backlog in bytes per second. Positions and fresh points have priority
    /// over the backlog anyway.
    pub backlog_bytes_per_s: Option<u32>,
    /// Maximum number of backlog points in a `track` message, 1 to 500.
    pub backlog_batch: usize,
    /// Maximum wait for a PUBACK. After it, the connection counts as dead.
    pub ack_timeout: Duration,
    /// Whether the live position is also published for OwnTracks.
    pub owntracks: bool,
    /// Monthly data budget.
    pub budget: Budget,
    /// Delays between connections.
    pub backoff: BackoffConfig,
}

impl UplinkConfig {
    /// Uses the defaults, with the topics of `van` below `root`.
    #[must_use]
    pub fn new(broker: Broker, root: &str, van: VanId) -> Self {
        Self {
            brokers: vec![broker],
            proxy: None,
            topics: Topics::new(root, &van),
            names: Identifiers::new(PLACEHOLDER_DOMAIN, &van)
                .expect("the domain is a valid host name"),
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

    /// Whether a record needs the backend's `ack` in addition to PUBACK.
    pub(super) fn requires_backend_ack(&self) -> bool {
        self.require_ack || self.version == MqttVersion::V3_1_1
    }

    /// Transport overhead of the first broker.
    pub(super) fn transport_overhead(&self) -> TransportOverhead {
        let transport = self.brokers.first().map(|broker| &broker.transport);
        let encryption = match transport.and_then(Transport::tls) {
            None => Encryption::Plain,
            Some(tls) if tls.identity.is_some() => Encryption::MutualTls,
            Some(_) => Encryption::Tls,
        };
        let is_websocket = transport.is_some_and(Transport::is_websocket);
        TransportOverhead {
            encryption,
            framing: if is_websocket { Framing::WebSocket } else { Framing::Bare },
            path: if self.proxy.is_some() { NetworkPath::Proxy } else { NetworkPath::Direct },
        }
    }
}
