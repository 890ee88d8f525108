//! Estimates the bytes sent over the mobile network, per UTC day and month. No I/O.
//!
//! Mobile data is charged by IP bytes, not by payload. TCP/IP headers, TLS records,
//! acknowledgements and handshakes make up most of a small message. The model of a quiet connection
//! is within 3 % of measurements on a lossless link. It does not include retransmissions.

use super::connector::CloseReason;
use waypost_model::units::{Date, UtcTime};

/// IPv4 and TCP headers with timestamps, for each segment and each pure acknowledgement.
const SEGMENT_HEADER_BYTES: u64 = 52;

/// TCP payload of a segment at an MTU of 1500.
const SEGMENT_PAYLOAD_BYTES: u64 = 1448;

/// Overhead of a TLS 1.3 record: header 5, content type 1, tag 16 (RFC 8446 §5.2).
const TLS_RECORD_OVERHEAD_BYTES: u64 = 22;

/// Maximum payload of a TLS record.
const TLS_RECORD_PAYLOAD_BYTES: u64 = 16_384;

/// Masking key in the WebSocket frames of a client (RFC 6455 §5.3).
const WEBSOCKET_MASK_BYTES: u64 = 4;

/// HTTP request and response of a WebSocket upgrade, measured with mosquitto.
const WEBSOCKET_UPGRADE_BYTES: (u64, u64) = (187, 159);

/// HTTP request and response of a proxy's CONNECT, which is not encrypted.
const PROXY_CONNECT_BYTES: (u64, u64) = (100, 60);

/// PUBACK with success (MQTT 5 §3.4.2.1).
const PUBACK_BYTES: u64 = 4;

/// PINGREQ or PINGRESP.
const PING_BYTES: u64 = 2;

/// SUBACK without its reason codes, one per topic (MQTT 5 §3.9).
const SUBACK_BASE_BYTES: u64 = 5;

/// A connection attempt without a response.
const FAILED_CONNECT_BYTES: u64 = 3 * SEGMENT_HEADER_BYTES;

/// Encryption of the MQTT connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Plain TCP.
    Plain,
    /// TLS without a client certificate.
    Tls,
    /// TLS with a client certificate.
    MutualTls,
}

/// Framing of MQTT within the encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No framing.
    Bare,
    /// WebSocket frames.
    WebSocket,
}

/// Network path to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NetworkPath {
    /// Direct connection.
    Direct,
    /// Connection through an HTTP proxy.
    Proxy,
}

/// Properties of the transport that determine its overhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TransportOverhead {
    pub encryption: Encryption,
    pub framing: Framing,
    pub path: NetworkPath,
}

impl TransportOverhead {
    pub(super) const fn plain(encryption: Encryption) -> Self {
        Self { encryption, framing: Framing::Bare, path: NetworkPath::Direct }
    }

    /// Bytes of a whole connection, from the first SYN to the last FIN, with CONNECT, CONNACK and
    /// DISCONNECT. Measured with short certificate chains.
    const fn connect_bytes(self) -> u64 {
        let bare = match self.encryption {
            Encryption::Plain => 570,
            Encryption::Tls => 2960,
            Encryption::MutualTls => 4400,
        };
        let upgrade = match self.framing {
            Framing::Bare => 0,
            Framing::WebSocket => {
                self.round_trip(WEBSOCKET_UPGRADE_BYTES.0, WEBSOCKET_UPGRADE_BYTES.1)
            }
        };
        let detour = match self.path {
            NetworkPath::Direct => 0,
            NetworkPath::Proxy => Self::plain(Encryption::Plain)
                .round_trip(PROXY_CONNECT_BYTES.0, PROXY_CONNECT_BYTES.1),
        };
        bare + upgrade + detour
    }

    /// Bytes of the masking key. Of a packet and its response, only the client's has one.
    const fn mask_bytes(self) -> u64 {
        match self.framing {
            Framing::Bare => 0,
            Framing::WebSocket => WEBSOCKET_MASK_BYTES,
        }
    }

    /// Bytes including the frame header, without the masking key.
    const fn framed(self, bytes: u64) -> u64 {
        // RFC 6455 §5.2.
        let header = match (self.framing, bytes) {
            (Framing::Bare, _) => 0,
            (Framing::WebSocket, 0..126) => 2,
            (Framing::WebSocket, 126..0x1_0000) => 4,
            (Framing::WebSocket, _) => 10,
        };
        bytes + header
    }

    const fn encrypted(self, bytes: u64) -> u64 {
        let bytes = self.framed(bytes);
        match self.encryption {
            Encryption::Plain => bytes,
            Encryption::Tls | Encryption::MutualTls => {
                bytes + bytes.div_ceil(TLS_RECORD_PAYLOAD_BYTES) * TLS_RECORD_OVERHEAD_BYTES
            }
        }
    }

    /// Bytes of a packet without a response: its segments, and a TCP acknowledgement for every
    /// second one.
    const fn one_way(self, bytes: u64) -> u64 {
        let bytes = self.encrypted(bytes) + self.mask_bytes();
        let segments = bytes.div_ceil(SEGMENT_PAYLOAD_BYTES);
        bytes + (segments + segments.div_ceil(2)) * SEGMENT_HEADER_BYTES
    }

    /// Bytes of a packet and its response. The response carries TCP's last acknowledgement and is
    /// acknowledged itself.
    const fn round_trip(self, bytes: u64, answer: u64) -> u64 {
        let bytes = self.encrypted(bytes) + self.mask_bytes();
        let segments = bytes.div_ceil(SEGMENT_PAYLOAD_BYTES);
        bytes + self.encrypted(answer) + (segments + (segments - 1) / 2 + 2) * SEGMENT_HEADER_BYTES
    }
}

/// Bytes of an MQTT 5 PUBLISH without properties (§3.3), with or without a packet identifier.
const fn publish_bytes(topic: u64, payload: u64, identifier: u64) -> u64 {
    let remaining = 2 + topic + identifier + 1 + payload;
    let length = match remaining {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    };
    1 + length + remaining
}

/// Kinds of traffic on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrafficKind {
    /// A connection that was accepted or refused.
    Connection,
    /// A connection attempt without a response.
    FailedConnect,
    /// A QoS 1 message in either direction: lengths of topic and payload.
    Qos1(usize, usize),
    /// A QoS 0 message: lengths of topic and payload.
    Qos0(usize, usize),
    /// SUBSCRIBE: number of topics, and their total length.
    Subscription(usize, usize),
    /// PINGREQ and PINGRESP.
    Ping,
}

impl TrafficKind {
    fn bytes(self, over: TransportOverhead) -> u64 {
        match self {
            Self::Connection => over.connect_bytes(),
            Self::FailedConnect => FAILED_CONNECT_BYTES,
            Self::Qos1(topic, payload) => {
                over.round_trip(publish_bytes(topic as u64, payload as u64, 2), PUBACK_BYTES)
            }
            Self::Qos0(topic, payload) => {
                over.one_way(publish_bytes(topic as u64, payload as u64, 0))
            }
            Self::Subscription(topics, length) => {
                // Length and options of each topic (§3.8.3).
                let topics = topics as u64;
                over.round_trip(5 + 3 * topics + length as u64, SUBACK_BASE_BYTES + topics)
            }
            Self::Ping => over.round_trip(PING_BYTES, PING_BYTES),
        }
    }
}

/// Estimated data usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataUsage {
    /// Bytes since midnight UTC.
    pub today: u64,
    /// Bytes since the start of the UTC month.
    pub month: u64,
}

/// Counts the data usage.
#[derive(Debug)]
pub(super) struct DataMeter {
    overhead: TransportOverhead,
    /// The day to which `used` applies.
    day: Option<Date>,
    used: DataUsage,
    /// Bytes counted before the date was known.
    undated: u64,
}

impl DataMeter {
    /// Continues from what [`Self::document`] returned. Starts at zero if it is missing or
    /// unreadable.
    pub(super) fn new(overhead: TransportOverhead, document: Option<&[u8]>) -> Self {
        let (day, used) = document.and_then(parse_document).unzip();
        Self { overhead, day, used: used.unwrap_or_default(), undated: 0 }
    }

    pub(super) fn count(&mut self, traffic: TrafficKind) {
        self.undated = self.undated.saturating_add(traffic.bytes(self.overhead));
    }

    /// Counts a failed connection attempt.
    pub(super) fn count_attempt(&mut self, closed: &CloseReason) {
        match closed {
            CloseReason::Offline { .. } => {}
            CloseReason::Unreachable { .. } | CloseReason::Broken { .. } => {
                self.count(TrafficKind::FailedConnect);
            }
            CloseReason::Untrusted { .. }
            | CloseReason::Oversized { .. }
            | CloseReason::Refused { .. }
            | CloseReason::Disconnected { .. } => self.count(TrafficKind::Connection),
        }
    }

    /// Starts a new day or month if `utc` is in one. Returns the usage of the current day and
    /// month.
    pub(super) fn roll_over(&mut self, utc: Option<UtcTime>) -> DataUsage {
        if let Some(today) = utc.map(UtcTime::date) {
            let month = |day: Date| (day.year(), day.month());
            if self.day.is_some_and(|day| day != today) {
                self.used.today = 0;
            }
            if self.day.is_some_and(|day| month(day) != month(today)) {
                self.used.month = 0;
            }
            self.day = Some(today);
            let undated = std::mem::take(&mut self.undated);
            self.used.today = self.used.today.saturating_add(undated);
            self.used.month = self.used.month.saturating_add(undated);
        }
        DataUsage {
            today: self.used.today.saturating_add(self.undated),
            month: self.used.month.saturating_add(self.undated),
        }
    }

    /// Encodes the usage for the next start. `None` before the date is known.
    pub(super) fn document(&self) -> Option<Vec<u8>> {
        let DataUsage { today, month } = self.used;
        Some(format!("{} {today} {month}", self.day?).into_bytes())
    }
}

fn parse_document(document: &[u8]) -> Option<(Date, DataUsage)> {
    let mut words = std::str::from_utf8(document).ok()?.split(' ');
    let day = Date::parse(words.next()?)?;
    let today = words.next()?.parse().ok()?;
    Some((day, DataUsage { today, month: words.next()?.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payload bytes of a message, fixes per message, encryption, and bytes per fix as measured
    /// with tshark on a quiet link (topic of 23 bytes, QoS 1).
    const MEASURED: &[(&str, f64, f64, Encryption, f64)] = &[
        ("OwnTracks JSON, one per message", 134.4, 1.0, Encryption::Tls, 369.9),
        ("the same without TLS", 134.4, 1.0, Encryption::Plain, 325.9),
        ("compact delta, one per message", 42.8, 1.0, Encryption::Tls, 276.2),
        ("JSON, 60 per message", 127.9 * 60.0, 60.0, Encryption::Tls, 138.3),
        ("JSON deflated, 60 per message", 21.2 * 60.0, 60.0, Encryption::Tls, 25.6),
        ("CBOR, 60 per message", 17.2 * 60.0, 60.0, Encryption::Tls, 21.5),
        ("packed, 60 per message", 13.9 * 60.0, 60.0, Encryption::Tls, 18.0),
        ("delta, 60 per message", 6.4 * 60.0, 60.0, Encryption::Tls, 10.3),
        ("delta, 10 per message", 9.6 * 10.0, 10.0, Encryption::Tls, 33.1),
    ];

    #[test]
    fn the_model_is_within_three_per_cent_of_what_was_measured() {
        for (name, payload, fixes, encryption, measured) in MEASURED {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes")]
            let payload = payload.round() as usize;
            let bytes = TrafficKind::Qos1(23, payload).bytes(TransportOverhead::plain(*encryption));
            let per_fix = f64::from(u32::try_from(bytes).unwrap()) / fixes;
            assert!((per_fix / measured - 1.0).abs() < 0.03, "{name}: {per_fix}, not {measured}");
        }
        assert_eq!(TrafficKind::Ping.bytes(TransportOverhead::plain(Encryption::Tls)), 204);
        for (encryption, bytes) in
            [(Encryption::Plain, 570), (Encryption::Tls, 2960), (Encryption::MutualTls, 4400)]
        {
            assert_eq!(TrafficKind::Connection.bytes(TransportOverhead::plain(encryption)), bytes);
        }
    }

    #[test]
    fn a_websocket_costs_as_many_bytes_more_as_were_counted_in_a_proxy() {
        let more = |encryption, traffic: TrafficKind| {
            let plain = TransportOverhead::plain(encryption);
            let websocket = TransportOverhead { framing: Framing::WebSocket, ..plain };
            traffic.bytes(websocket) - traffic.bytes(plain)
        };
        // The topic has 27 bytes. A proxy counted 10 bytes per message of 100 or 1,000 bytes, with
        // and without TLS.
        for encryption in [Encryption::Plain, Encryption::Tls] {
            for payload in [100, 1000] {
                assert_eq!(more(encryption, TrafficKind::Qos1(27, payload)), 10);
            }
        }
        assert_eq!(more(Encryption::Plain, TrafficKind::Qos1(27, 70_000)), 16);
        assert_eq!(more(Encryption::Plain, TrafficKind::Qos0(27, 70)), 6);
        assert_eq!(more(Encryption::Plain, TrafficKind::Ping), 8);
        // A proxy counted 361 and 376 bytes, in three segments.
        for (encryption, counted) in [(Encryption::Plain, 361_u64), (Encryption::Tls, 376)] {
            let off = more(encryption, TrafficKind::Connection)
                .abs_diff(counted + 3 * SEGMENT_HEADER_BYTES);
            assert!(off <= 30, "{off}");
        }
    }

    #[test]
    fn days_and_months_end_at_midnight_utc_and_a_restart_goes_on() {
        let at = |text| UtcTime::parse(text);
        let ping = |meter: &mut DataMeter, text| {
            meter.count(TrafficKind::Ping);
            let DataUsage { today, month } = meter.roll_over(at(text));
            (today / 204, month / 204)
        };
        let mut meter = DataMeter::new(TransportOverhead::plain(Encryption::Tls), None);
        meter.count(TrafficKind::Ping);
        assert_eq!(
            (meter.roll_over(None).today, meter.document()),
            (204, None),
            "the date is unknown"
        );
        assert_eq!(ping(&mut meter, "2026-11-29T23:59:59.000Z"), (2, 2));
        assert_eq!(ping(&mut meter, "2026-11-30T00:00:00.000Z"), (1, 3));
        let mut meter =
            DataMeter::new(TransportOverhead::plain(Encryption::Tls), meter.document().as_deref());
        assert_eq!(ping(&mut meter, "2026-11-30T23:59:59.000Z"), (2, 4));
        assert_eq!(ping(&mut meter, "2026-12-01T00:00:00.000Z"), (1, 1));
        assert_eq!(
            ping(&mut meter, "2027-12-01T00:00:00.000Z"),
            (1, 1),
            "December of another year"
        );
    }

    #[test]
    fn a_document_that_cannot_be_read_counts_as_none() {
        for bad in [&b""[..], b"2026-11-31 1 2", b"2026-11-30", b"2026-11-30 1 -2", b"\xFF"] {
            let mut meter = DataMeter::new(TransportOverhead::plain(Encryption::Plain), Some(bad));
            assert_eq!(meter.roll_over(None), DataUsage::default());
        }
    }
}
