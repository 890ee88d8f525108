//! The edge to the MQTT client: one [`Link`] is one connection, from the attempt to its end, and is never used again.

use std::future::Future;
use std::time::Duration;

/// Opens links. The tests' one is scripted, and [`MqttLinks`](super::mqtt::MqttLinks) speaks MQTT 5.
pub trait Links: Send {
    /// What it opens.
    type Link: Link;

    /// Begins to connect, with `will` as the Will; the outcome is the link's first event.
    fn open(&mut self, will: &Publication) -> Self::Link;
}

/// One connection. Dropping it cuts it, and the broker publishes the Will.
pub trait Link: Send {
    /// Takes a message for sending, in the order of the calls, and never waits.
    ///
    /// # Errors
    /// [`Overrun`], when it already holds all that it can, or has ended: more was handed over than its window.
    fn try_publish(&mut self, publication: Publication) -> Result<(), Overrun>;

    /// Sends one SUBSCRIBE with QoS 1 for these topics, under the same rules as a message: [`LinkEvent::Sent`] gives its
    /// packet identifier, and [`LinkEvent::Subscribed`] answers it.
    ///
    /// # Errors
    /// As [`Self::try_publish`].
    fn try_subscribe(&mut self, topics: Vec<String>) -> Result<(), Overrun>;

    /// Sends DISCONNECT after all that was taken, so that the Will is not published; [`LinkEvent::Closed`] follows.
    fn disconnect(&mut self);

    /// The next event. Nothing is lost if the future is dropped. After [`LinkEvent::Closed`] it waits for ever.
    fn event(&mut self) -> impl Future<Output = LinkEvent> + Send;
}

/// The link cannot take another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Topic name.
    pub topic: String,
    /// JSON, or a compact message on `track`.
    pub payload: Vec<u8>,
    /// How.
    pub delivery: Delivery,
    /// What the payload is, where the protocol can say it (MQTT 5 §3.3.2.3.9).
    pub content_type: Option<&'static str>,
}

/// How a message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// QoS 0: a newer one replaces it anyway.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 1, and the broker keeps it for who subscribes later.
    Retained,
}

/// What happened on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// CONNACK with success: messages may be handed over.
    Connected(Welcome),
    /// The oldest message or SUBSCRIBE that was handed over and not yet sent is being sent, under this packet identifier;
    /// 0 for QoS 0.
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
        /// A reason code for each topic (MQTT 5 §3.9.3).
        reasons: Vec<ReasonCode>,
    },
    /// A message came; the client has acknowledged it.
    Message {
        /// Topic name.
        topic: String,
        /// As it came.
        payload: Vec<u8>,
        /// The broker had kept it for who subscribes later.
        retained: bool,
    },
    /// The broker said something else: it is there.
    Alive,
    /// The connection failed or ended; nothing follows.
    Closed(Closed),
}

/// What the broker asks for in CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Receive Maximum: QoS 1 messages without PUBACK at most.
    pub receive_max: u16,
    /// Maximum Packet Size, bytes.
    pub max_packet_bytes: u32,
    /// The keep alive that holds.
    pub keep_alive: Duration,
    /// The broker keeps retained messages.
    pub retains: bool,
}

/// An MQTT 5 reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonCode(pub u8);

impl ReasonCode {
    /// Accepted.
    pub const SUCCESS: Self = Self(0x00);
    /// Accepted, and nobody has subscribed.
    pub const NO_MATCHING_SUBSCRIBERS: Self = Self(0x10);
    /// The ACL says no.
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    /// Another client came with our client identifier.
    pub const SESSION_TAKEN_OVER: Self = Self(0x8E);
    /// The broker keeps no retained messages.
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9A);
    /// The broker does not know QoS 1.
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9B);
    /// The packet is larger than the receiver allows.
    pub const PACKET_TOO_LARGE: Self = Self(0x95);

    /// Whether the packet that it answers was refused (0x80 and above).
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

/// How far a link came before it failed, in the order in which it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The broker's name was not found.
    Dns,
    /// Nobody answered there.
    Tcp,
    /// The two do not trust each other.
    Tls(Distrust),
    /// The broker did not want us, or the connection was lost.
    Mqtt,
    /// We are connected, and what we say is refused.
    Publish,
}

impl Stage {
    /// As it is written in `status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::Mqtt => "mqtt",
            Self::Publish => "publish",
        }
    }

    /// Why not, where more is known; as it is written in `status`.
    #[must_use]
    pub const fn cause(self) -> Option<&'static str> {
        match self {
            Self::Tls(distrust) => Some(distrust.name()),
            Self::Dns | Self::Tcp | Self::Mqtt | Self::Publish => None,
        }
    }
}

/// Why there is no trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Our own files cannot be used.
    Files,
    /// Nobody whom we know vouches for the broker.
    UnknownAuthority,
    /// The broker's certificate has expired.
    Expired,
    /// The broker's certificate is not valid yet by our clock.
    NotYetValid,
    /// The broker's certificate is for another name.
    WrongName,
    /// The broker does not accept us: our certificate is not good enough, or there is none.
    Refused,
    /// Something else: mostly that no TLS is spoken there.
    Other,
}

impl Distrust {
    /// As it is written in `status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
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

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// There is no network: nothing left this host.
    Offline {
        /// Where that was noticed.
        stage: Stage,
        /// In words.
        text: String,
    },
    /// The broker was not reached.
    Unreached {
        /// How far we came.
        stage: Stage,
        /// In words.
        text: String,
    },
    /// The connection broke, or nobody knows how far it came.
    Broken {
        /// In words.
        text: String,
    },
    /// A certificate or a key is not good: ours, or the broker's.
    Untrusted {
        /// Which.
        distrust: Distrust,
        /// In words.
        text: String,
    },
    /// Something came that is larger than we take.
    Oversized {
        /// In words.
        text: String,
    },
    /// CONNACK with a refusal.
    Refused {
        /// Reason code.
        reason: ReasonCode,
        /// In words.
        text: String,
    },
    /// The broker sent DISCONNECT.
    Dismissed {
        /// Reason code.
        reason: ReasonCode,
        /// In words.
        text: String,
    },
}

impl Closed {
    /// The broker's reason code, if it gave one.
    #[must_use]
    pub const fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Offline { .. }
            | Self::Unreached { .. }
            | Self::Broken { .. }
            | Self::Untrusted { .. }
            | Self::Oversized { .. } => None,
            Self::Refused { reason, .. } | Self::Dismissed { reason, .. } => Some(*reason),
        }
    }

    /// How far it came, as far as that is known.
    #[must_use]
    pub const fn stage(&self) -> Option<Stage> {
        match self {
            Self::Offline { stage, .. } | Self::Unreached { stage, .. } => Some(*stage),
            Self::Untrusted { distrust, .. } => Some(Stage::Tls(*distrust)),
            Self::Oversized { .. } | Self::Refused { .. } | Self::Dismissed { .. } => {
                Some(Stage::Mqtt)
            }
            Self::Broken { .. } => None,
        }
    }

    /// In words.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Offline { text, .. }
            | Self::Unreached { text, .. }
            | Self::Broken { text }
            | Self::Untrusted { text, .. }
            | Self::Oversized { text }
            | Self::Refused { text, .. }
            | Self::Dismissed { text, .. } => text,
        }
    }

    /// The same, with the name of the broker.
    #[must_use]
    pub(super) fn by(mut self, broker: &str) -> Self {
        match &mut self {
            Self::Offline { text, .. }
            | Self::Unreached { text, .. }
            | Self::Broken { text }
            | Self::Untrusted { text, .. }
            | Self::Oversized { text }
            | Self::Refused { text, .. }
            | Self::Dismissed { text, .. } => *text = format!("{broker}: {text}"),
        }
        self
    }

    /// What must change before another attempt makes sense.
    #[must_use]
    pub const fn waits_for(&self) -> WaitsFor {
        match self {
            Self::Offline { .. } => WaitsFor::Network,
            Self::Untrusted { .. } => WaitsFor::Person,
            // Unsupported version, client identifier, user name or password, not authorized, banned, bad method.
            Self::Refused {
                reason: ReasonCode(0x84 | 0x85 | 0x86 | 0x87 | 0x8A | 0x8C | 0x9B),
                ..
            } => WaitsFor::Person,
            Self::Dismissed { reason, .. } if reason.0 == ReasonCode::SESSION_TAKEN_OVER.0 => {
                WaitsFor::Person
            }
            Self::Unreached { .. }
            | Self::Broken { .. }
            | Self::Oversized { .. }
            | Self::Refused { .. }
            | Self::Dismissed { .. } => WaitsFor::Broker,
        }
    }
}

/// What must change before another attempt makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// The network, and an attempt costs nobody anything.
    Network,
    /// The broker, or the way to it.
    Broker,
    /// Somebody, who changes credentials or a client identifier; trying again soon would do harm.
    Person,
}
