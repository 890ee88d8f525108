//! Messages → bytes on the air, per UTC day and month (pure).
//!
//! A SIM card is charged for what IP carries, not for payload: TCP/IP headers, TLS records, acknowledgements and
//! handshakes are most of a small message. They are estimated by a model of a quiet connection, within 3 % of what was
//! measured on a link without loss; retransmissions are not in it.

use super::link::Closed;
use crate::units::{Date, UtcTime};

/// IPv4 and TCP with timestamps, of each segment and each pure acknowledgement.
const SEGMENT: u64 = 52;

/// What a segment carries at an MTU of 1500.
const SEGMENT_CARRIES: u64 = 1448;

/// TLS 1.3: header 5, content type 1, tag 16 (RFC 8446 §5.2).
const RECORD: u64 = 22;

/// What a record carries.
const RECORD_CARRIES: u64 = 16_384;

/// What a frame of a WebSocket from the van has more than the broker's (RFC 6455 §5.3).
const MASK: u64 = 4;

/// The request of HTTP that makes a WebSocket, and its answer, as of mosquitto.
const UPGRADE: (u64, u64) = (187, 159);

/// The same of a way through a proxy, which has no TLS of its own.
const DETOUR: (u64, u64) = (100, 60);

/// PUBACK with success (MQTT 5 §3.4.2.1).
const PUBACK: u64 = 4;

/// PINGREQ, and PINGRESP.
const PING: u64 = 2;

/// SUBACK without its reason codes, one for each topic (MQTT 5 §3.9).
const SUBACK: u64 = 5;

/// An attempt that got no answer.
const KNOCK: u64 = 3 * SEGMENT;

/// What protects MQTT's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// Nothing: TCP.
    Nothing,
    /// TLS without a certificate of the van.
    Tls,
    /// TLS with one.
    MutualTls,
}

/// What stands around them within that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Nothing.
    Bare,
    /// Frames of a WebSocket.
    WebSocket,
}

/// Who is between us and the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nobody.
    Straight,
    /// A proxy, which is asked first.
    Proxy,
}

/// What carries MQTT's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carrier {
    pub cover: Cover,
    pub framing: Framing,
    pub way: Way,
}

impl Carrier {
    pub(super) const fn plain(cover: Cover) -> Self {
        Self { cover, framing: Framing::Bare, way: Way::Straight }
    }

    /// From the first SYN to the last FIN with CONNECT, CONNACK and DISCONNECT, measured with short certificate chains.
    const fn setup(self) -> u64 {
        let bare = match self.cover {
            Cover::Nothing => 570,
            Cover::Tls => 2960,
            Cover::MutualTls => 4400,
        };
        let upgrade = match self.framing {
            Framing::Bare => 0,
            Framing::WebSocket => self.answered(UPGRADE.0, UPGRADE.1),
        };
        let detour = match self.way {
            Way::Straight => 0,
            Way::Proxy => Self::plain(Cover::Nothing).answered(DETOUR.0, DETOUR.1),
        };
        bare + upgrade + detour
    }

    /// Of what the van sends; of a packet and its answer, one is the van's.
    const fn mask(self) -> u64 {
        match self.framing {
            Framing::Bare => 0,
            Framing::WebSocket => MASK,
        }
    }

    /// Without the mask.
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

    const fn enveloped(self, bytes: u64) -> u64 {
        let bytes = self.framed(bytes);
        match self.cover {
            Cover::Nothing => bytes,
            Cover::Tls | Cover::MutualTls => bytes + bytes.div_ceil(RECORD_CARRIES) * RECORD,
        }
    }

    /// A packet without an answer: its segments, and an acknowledgement of TCP's for every second one.
    const fn alone(self, bytes: u64) -> u64 {
        let bytes = self.enveloped(bytes) + self.mask();
        let segments = bytes.div_ceil(SEGMENT_CARRIES);
        bytes + (segments + segments.div_ceil(2)) * SEGMENT
    }

    /// A packet and its answer, which carries TCP's last acknowledgement, and is acknowledged.
    const fn answered(self, bytes: u64, answer: u64) -> u64 {
        let bytes = self.enveloped(bytes) + self.mask();
        let segments = bytes.div_ceil(SEGMENT_CARRIES);
        bytes + self.enveloped(answer) + (segments + (segments - 1) / 2 + 2) * SEGMENT
    }
}

/// PUBLISH of MQTT 5 without properties (§3.3), with a packet identifier or without.
const fn publish(topic: u64, payload: u64, identifier: u64) -> u64 {
    let remaining = 2 + topic + identifier + 1 + payload;
    let length = match remaining {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    };
    1 + length + remaining
}

/// What goes over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// A connection was made or refused.
    Connection,
    /// Nobody answered.
    Knock,
    /// A message of QoS 1 in either direction: lengths of topic and payload.
    Answered(usize, usize),
    /// A message of QoS 0.
    Unanswered(usize, usize),
    /// SUBSCRIBE: its topics, and their lengths together.
    Subscription(usize, usize),
    /// PINGREQ and PINGRESP.
    Ping,
}

impl Traffic {
    fn bytes(self, over: Carrier) -> u64 {
        match self {
            Self::Connection => over.setup(),
            Self::Knock => KNOCK,
            Self::Answered(topic, payload) => {
                over.answered(publish(topic as u64, payload as u64, 2), PUBACK)
            }
            Self::Unanswered(topic, payload) => {
                over.alone(publish(topic as u64, payload as u64, 0))
            }
            Self::Subscription(topics, length) => {
                // Length and options of each (§3.8.3).
                let topics = topics as u64;
                over.answered(5 + 3 * topics + length as u64, SUBACK + topics)
            }
            Self::Ping => over.answered(PING, PING),
        }
    }
}

/// What has gone over the air.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AirUse {
    /// Bytes since midnight UTC.
    pub today: u64,
    /// Bytes since the month began, UTC.
    pub month: u64,
}

/// Counts it.
#[derive(Debug)]
pub(super) struct AirMeter {
    carrier: Carrier,
    /// The day of which `used` is.
    day: Option<Date>,
    used: AirUse,
    /// Counted before anybody knew the day.
    undated: u64,
}

impl AirMeter {
    /// Goes on from what [`Self::document`] wrote; from nothing if there is none, or it cannot be read.
    pub(super) fn new(carrier: Carrier, document: Option<&[u8]>) -> Self {
        let (day, used) = document.and_then(read).unzip();
        Self { carrier, day, used: used.unwrap_or_default(), undated: 0 }
    }

    pub(super) fn count(&mut self, traffic: Traffic) {
        self.undated = self.undated.saturating_add(traffic.bytes(self.carrier));
    }

    /// A connection did not come about.
    pub(super) fn count_attempt(&mut self, closed: &Closed) {
        match closed {
            Closed::Offline { .. } => {}
            Closed::Unreached { .. } | Closed::Broken { .. } => self.count(Traffic::Knock),
            Closed::Untrusted { .. }
            | Closed::Oversized { .. }
            | Closed::Refused { .. }
            | Closed::Dismissed { .. } => self.count(Traffic::Connection),
        }
    }

    /// It is `utc` now, or nobody knows; returns what was used of its day and month.
    pub(super) fn turn(&mut self, utc: Option<UtcTime>) -> AirUse {
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
        AirUse {
            today: self.used.today.saturating_add(self.undated),
            month: self.used.month.saturating_add(self.undated),
        }
    }

    /// What is kept for the next start; `None` before the day is known.
    pub(super) fn document(&self) -> Option<Vec<u8>> {
        let AirUse { today, month } = self.used;
        Some(format!("{} {today} {month}", self.day?).into_bytes())
    }
}

fn read(document: &[u8]) -> Option<(Date, AirUse)> {
    let mut words = std::str::from_utf8(document).ok()?.split(' ');
    let day = Date::parse(words.next()?)?;
    let today = words.next()?.parse().ok()?;
    Some((day, AirUse { today, month: words.next()?.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payload bytes of a message, messages a fix, what protects them, and bytes on the air per fix as measured with
    /// tshark on a quiet link (topic of 23 bytes, QoS 1).
    const MEASURED: &[(&str, f64, f64, Cover, f64)] = &[
        ("OwnTracks JSON, one a message", 134.4, 1.0, Cover::Tls, 369.9),
        ("the same without TLS", 134.4, 1.0, Cover::Nothing, 325.9),
        ("compact delta, one a message", 42.8, 1.0, Cover::Tls, 276.2),
        ("JSON, 60 a message", 127.9 * 60.0, 60.0, Cover::Tls, 138.3),
        ("JSON deflated, 60 a message", 21.2 * 60.0, 60.0, Cover::Tls, 25.6),
        ("CBOR, 60 a message", 17.2 * 60.0, 60.0, Cover::Tls, 21.5),
        ("packed, 60 a message", 13.9 * 60.0, 60.0, Cover::Tls, 18.0),
        ("delta, 60 a message", 6.4 * 60.0, 60.0, Cover::Tls, 10.3),
        ("delta, 10 a message", 9.6 * 10.0, 10.0, Cover::Tls, 33.1),
    ];

    #[test]
    fn the_model_is_within_three_per_cent_of_what_was_measured() {
        for (name, payload, fixes, cover, measured) in MEASURED {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes")]
            let payload = payload.round() as usize;
            let bytes = Traffic::Answered(23, payload).bytes(Carrier::plain(*cover));
            let per_fix = f64::from(u32::try_from(bytes).unwrap()) / fixes;
            assert!((per_fix / measured - 1.0).abs() < 0.03, "{name}: {per_fix}, not {measured}");
        }
        assert_eq!(Traffic::Ping.bytes(Carrier::plain(Cover::Tls)), 204);
        for (cover, bytes) in [(Cover::Nothing, 570), (Cover::Tls, 2960), (Cover::MutualTls, 4400)]
        {
            assert_eq!(Traffic::Connection.bytes(Carrier::plain(cover)), bytes);
        }
    }

    #[test]
    fn a_websocket_costs_as_many_bytes_more_as_were_counted_in_a_proxy() {
        let more = |cover, traffic: Traffic| {
            let plain = Carrier::plain(cover);
            let websocket = Carrier { framing: Framing::WebSocket, ..plain };
            traffic.bytes(websocket) - traffic.bytes(plain)
        };
        // The topic has 27 bytes; counted were 10 bytes a message of 100 or 1,000, whatever protects it.
        for cover in [Cover::Nothing, Cover::Tls] {
            for payload in [100, 1000] {
                assert_eq!(more(cover, Traffic::Answered(27, payload)), 10);
            }
        }
        assert_eq!(more(Cover::Nothing, Traffic::Answered(27, 70_000)), 16);
        assert_eq!(more(Cover::Nothing, Traffic::Unanswered(27, 70)), 6);
        assert_eq!(more(Cover::Nothing, Traffic::Ping), 8);
        // Counted were 361 and 376; three segments carry them.
        for (cover, counted) in [(Cover::Nothing, 361_u64), (Cover::Tls, 376)] {
            let off = more(cover, Traffic::Connection).abs_diff(counted + 3 * SEGMENT);
            assert!(off <= 30, "{off}");
        }
    }

    #[test]
    fn days_and_months_end_at_midnight_utc_and_a_restart_goes_on() {
        let at = |text| UtcTime::parse(text);
        let ping = |meter: &mut AirMeter, text| {
            meter.count(Traffic::Ping);
            let AirUse { today, month } = meter.turn(at(text));
            (today / 204, month / 204)
        };
        let mut meter = AirMeter::new(Carrier::plain(Cover::Tls), None);
        meter.count(Traffic::Ping);
        assert_eq!((meter.turn(None).today, meter.document()), (204, None), "nobody knows the day");
        assert_eq!(ping(&mut meter, "2026-11-29T23:59:59.000Z"), (2, 2));
        assert_eq!(ping(&mut meter, "2026-11-30T00:00:00.000Z"), (1, 3));
        let mut meter = AirMeter::new(Carrier::plain(Cover::Tls), meter.document().as_deref());
        assert_eq!(ping(&mut meter, "2026-11-30T23:59:59.000Z"), (2, 4));
        assert_eq!(ping(&mut meter, "2026-12-01T00:00:00.000Z"), (1, 1));
        assert_eq!(ping(&mut meter, "2027-12-01T00:00:00.000Z"), (1, 1), "another year's December");
    }

    #[test]
    fn a_document_that_cannot_be_read_counts_as_none() {
        for bad in [&b""[..], b"2026-11-31 1 2", b"2026-11-30", b"2026-11-30 1 -2", b"\xFF"] {
            let mut meter = AirMeter::new(Carrier::plain(Cover::Nothing), Some(bad));
            assert_eq!(meter.turn(None), AirUse::default());
        }
    }
}
