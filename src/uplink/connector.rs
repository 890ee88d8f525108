//! Interface to the MQTT client. One [`Link`] is one connection, from the attempt to its end, and
//! is never reused.

use std::future::Future;
use std::time::Duration;

/// Opens connections. Implemented by [`MqttLinks`](super::mqtt::RumqttcConnector), and by a scripted fake
/// in tests.
pub trait Connector: Send {
    /// Connection type.
    type Connection: MqttConnection;

    /// Starts to connect, with `will` as the Will. The connection's first event is the outcome.
    fn open(&mut self, will: &Publication) -> Self::Connection;
}

/// One connection. Dropping it closes the socket, and the broker publishes the Will.
pub trait MqttConnection: Send {
    /// Queues a message for sending, in the order of the calls. Never waits.
    ///
    /// # Errors
    /// [`QueueFull`] if the queue is full or the connection has ended.
    fn try_publish(&mut self, publication: Publication) -> Result<(), QueueFull>;

    /// Queues one SUBSCRIBE with QoS 1 for these topics, like a message. `SentCounts`
    /// returns its packet identifier, and [`ConnectionEvent::Subscribed`] acknowledges it.
    ///
    /// # Errors
    /// The same as for [`Self::try_publish`].
    fn try_subscribe(&mut self, topics: Vec<String>) -> Result<(), QueueFull>;

    /// Queues a DISCONNECT behind all messages, so that the Will is not published.
    /// `CloseReason` follows.
    fn disconnect(&mut self);

    /// Returns the next event. Cancel safe. Pending forever after `CloseReason`.
    fn next_event(&mut self) -> impl Future<Output = ConnectionEvent> + Send;
}

/// The connection cannot queue another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Topic name.
    pub topic: String,
    /// JSON, or a compact message on `track`.
    pub payload: Vec<u8>,
    /// Delivery guarantee.
    pub delivery: Delivery,
    /// Content type of the payload, sent with MQTT 5 only (MQTT 5 §3.3.2.3.9).
    pub content_type: Option<&'static str>,
}

/// Delivery guarantee of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// QoS 0, for messages that are replaced by a newer one.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 1, and the broker retains it for later subscribers.
    Retained,
}

/// Events of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// CONNACK with success: messages may be published.
    Connected(ConnackInfo),
    /// The oldest unsent message or SUBSCRIBE is being sent under this packet identifier; 0 for QoS
    /// 0.
    Sent(u16),
    /// PUBACK.
    Acked {
        /// Packet identifier.
        packet_id: u16,
        /// Reason code (MQTT 5 §3.4.2.1).
        reason: ReasonCode,
    },
    /// SUBACK.
    Subscribed {
        /// Packet identifier.
        packet_id: u16,
        /// Reason code per topic (MQTT 5 §3.9.3).
        reasons: Vec<ReasonCode>,
    },
    /// A message was received. The client has acknowledged it.
    Message {
        /// Topic name.
        topic: String,
        /// Received payload.
        payload: Vec<u8>,
        /// Whether the broker had retained it.
        retained: bool,
    },
    /// Another packet was received, which shows that the broker is alive.
    OtherPacket,
    /// The connection failed or ended. No event follows.
    Closed(CloseReason),
}

/// Limits and capabilities of the broker from CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnackInfo {
    /// Receive Maximum: maximum number of QoS 1 messages without PUBACK.
    pub receive_max: u16,
    /// Maximum Packet Size in bytes.
    pub max_packet_bytes: u32,
    /// Effective keep alive.
    pub keep_alive: Duration,
    /// Whether the broker supports retained messages.
    pub retains: bool,
}

/// An MQTT 5 reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonCode(pub u8);

impl ReasonCode {
    /// Accepted.
    pub const SUCCESS: Self = Self(0x00);
    /// Accepted, but no client has subscribed.
    pub const NO_MATCHING_SUBSCRIBERS: Self = Self(0x10);
    /// Rejected by the ACL.
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    /// Another client connected with the same client identifier.
    pub const SESSION_TAKEN_OVER: Self = Self(0x8E);
    /// The broker does not support retained messages.
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9A);
    /// The broker does not support QoS 1.
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9B);
    /// The packet is larger than the receiver allows.
    pub const PACKET_TOO_LARGE: Self = Self(0x95);

    /// Whether the acknowledged packet was rejected (0x80 and above).
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.0 >= 0x80
    }
}

impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:02X}", self.0)
    }
}

/// Stage at which a connection failed, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectStage {
    /// Name resolution failed.
    Dns,
    /// The TCP connection failed.
    Tcp,
    /// TLS authentication failed.
    Tls(TlsFailure),
    /// The broker refused the connection, or it was lost.
    Mqtt,
    /// The broker rejects published messages.
    Publish,
}

impl ConnectStage {
    /// Name of the stage in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::Mqtt => "mqtt",
            Self::Publish => "publish",
        }
    }

    /// Details of the failure, if known, as in `status`.
    #[must_use]
    pub const fn cause(self) -> Option<&'static str> {
        match self {
            Self::Tls(distrust) => Some(distrust.as_str()),
            Self::Dns | Self::Tcp | Self::Mqtt | Self::Publish => None,
        }
    }
}

/// Why TLS authentication failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// The agent's own files are not usable.
    Files,
    /// The broker's certificate was issued by an unknown authority.
    UnknownAuthority,
    /// The broker's certificate has expired.
    Expired,
    /// The broker's certificate is not valid yet according to the agent's clock.
    NotYetValid,
    /// The broker's certificate was issued for another name.
    WrongName,
    /// The broker rejected the client certificate, or there is none.
    Refused,
    /// Any other failure, usually a peer that does not speak TLS.
    Other,
}

impl TlsFailure {
    /// Name of the failure in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::UnknownAuthority => "unknown_authority",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongName => "wrong_name",
            Self::Refused => "refused",
            Self::Other => "other",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// No network: no packet left this host.
    Offline {
        /// Stage at which it was detected.
        stage: ConnectStage,
        /// Description.
        text: String,
    },
    /// The broker was not reached.
    Unreachable {
        /// Stage that failed.
        stage: ConnectStage,
        /// Description.
        text: String,
    },
    /// The connection broke, at an unknown stage.
    Broken {
        /// Description.
        text: String,
    },
    /// A certificate or key is invalid, on either side.
    Untrusted {
        /// Kind of failure.
        failure: TlsFailure,
        /// Description.
        text: String,
    },
    /// The broker sent a packet above the maximum size.
    Oversized {
        /// Description.
        text: String,
    },
    /// CONNACK with a failure.
    Refused {
        /// Reason code.
        reason: ReasonCode,
        /// Description.
        text: String,
    },
    /// The broker sent DISCONNECT.
    Disconnected {
        /// Reason code.
        reason: ReasonCode,
        /// Description.
        text: String,
    },
}

impl CloseReason {
    /// Reason code of the broker, if it sent one.
    #[must_use]
    pub const fn reason_code(&self) -> Option<ReasonCode> {
        match self {
            Self::Offline { .. }
            | Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::Untrusted { .. }
            | Self::Oversized { .. } => None,
            Self::Refused { reason, .. } | Self::Disconnected { reason, .. } => Some(*reason),
        }
    }

    /// Stage that failed, if known.
    #[must_use]
    pub const fn stage(&self) -> Option<ConnectStage> {
        match self {
            Self::Offline { stage, .. } | Self::Unreachable { stage, .. } => Some(*stage),
            Self::Untrusted { failure: distrust, .. } => Some(ConnectStage::Tls(*distrust)),
            Self::Oversized { .. } | Self::Refused { .. } | Self::Disconnected { .. } => {
                Some(ConnectStage::Mqtt)
            }
            Self::Broken { .. } => None,
        }
    }

    /// Description.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Offline { text, .. }
            | Self::Unreachable { text, .. }
            | Self::Broken { text }
            | Self::Untrusted { text, .. }
            | Self::Oversized { text }
            | Self::Refused { text, .. }
            | Self::Disconnected { text, .. } => text,
        }
    }

    /// Adds the broker's name to the description.
    #[must_use]
    pub(super) fn with_broker(mut self, broker: &str) -> Self {
        match &mut self {
            Self::Offline { text, .. }
            | Self::Unreachable { text, .. }
            | Self::Broken { text }
            | Self::Untrusted { text, .. }
            | Self::Oversized { text }
            | Self::Refused { text, .. }
            | Self::Disconnected { text, .. } => *text = format!("{broker}: {text}"),
        }
        self
    }

    /// Returns what must change before a retry makes sense.
    #[must_use]
    pub const fn retry_trigger(&self) -> RetryTrigger {
        match self {
            Self::Offline { .. } => RetryTrigger::Network,
            Self::Untrusted { .. } => RetryTrigger::Operator,
            // Unsupported version, client identifier, user name or password, not authorized,
            // banned, bad method.
            Self::Refused {
                reason: ReasonCode(0x84 | 0x85 | 0x86 | 0x87 | 0x8A | 0x8C | 0x9B),
                ..
            } => RetryTrigger::Operator,
            Self::Disconnected { reason, .. } if reason.0 == ReasonCode::SESSION_TAKEN_OVER.0 => {
                RetryTrigger::Operator
            }
            Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::Oversized { .. }
            | Self::Refused { .. }
            | Self::Disconnected { .. } => RetryTrigger::Broker,
        }
    }
}

/// Condition for a retry after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryTrigger {
    /// The network must be back. An attempt has no cost.
    Network,
    /// The broker or the path to it must be back.
    Broker,
    /// An operator must change credentials or a client identifier. An early retry would cause harm.
    Operator,
}
