//! How the agent is: [`Status`], as the socket says it. Every quantity has its unit in its name.
//!
//! Members may be added; a reader ignores those that it does not know. None of them says where the van is.

use serde::{Deserialize, Serialize};

/// How the agent is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The van's id.
    pub van: String,
    /// UTC by the receiver, or by the host before there was a fix; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
    /// How long the agent has run.
    pub uptime_s: u64,
    /// The receiver.
    pub receiver: ReceiverStatus,
    /// The newest fix; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<FixStatus>,
    /// Whether the receiver's time can be relied on: `unknown`, `tentative` or `trusted`.
    pub time: String,
    /// The drive.
    pub journey: JourneyStatus,
    /// The route.
    pub route: RouteStatus,
    /// The newest words for the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageStatus>,
    /// The outbox.
    pub outbox: OutboxStatus,
    /// What the outbox costs the card.
    pub card: CardStatus,
    /// The link to the broker.
    pub link: LinkStatus,
    /// The scanners, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scanners: Vec<ScannerStatus>,
}

/// The receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReceiverStatus {
    /// `connecting`, `open`, `hunting`, `silent` or `gone`.
    pub state: String,
    /// Why it is gone, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// 1 no fix, 2 2D, 3 3D: now.
    pub mode: u8,
    /// Satellites in view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sats_in_view: Option<u8>,
    /// Mean C/N0 of the four strongest satellites, dB-Hz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cn0_dbhz: Option<u8>,
    /// What it says of its antenna: `ok`, `open` or `short`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub antenna: Option<String>,
    /// Its newest error or warning, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The speed at which a serial receiver is understood, Bd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baud: Option<u32>,
    /// How much of what the serial line carries it says: 0..=100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_percent: Option<u8>,
    /// What came of setting a u-blox receiver up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    /// Good sentences since the agent started.
    #[serde(default)]
    pub sentences: u64,
    /// Seconds since the newest of them; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence_age_s: Option<f64>,
    /// Fixes come, and wait for the receiver to say the day.
    #[serde(default)]
    pub waits_for_date: bool,
    /// Sentences refused since the agent started.
    pub sentences_bad: u64,
    /// Epochs refused since the agent started.
    pub fixes_rejected: u64,
}

/// The newest fix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FixStatus {
    /// Seconds since it was read.
    pub age_s: f64,
    /// Its UTC, RFC 3339.
    pub ts: String,
    /// 2 or 3 dimensions.
    pub mode: u8,
    /// Satellites used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sats: Option<u8>,
    /// 68 % horizontal radius, metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acc_m: Option<f64>,
    /// Over ground, m/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f64>,
}

/// The drive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JourneyStatus {
    /// `unknown`, `moving` or `halted`.
    pub motion: String,
    /// Metres driven, from fixes, over the life of the outbox; absent before the first fix of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odo_m: Option<f64>,
}

/// The route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Whether the driver is `on` duty, `off`, or has a `break`.
    pub duty: String,
    /// Its name; absent without a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Revision of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_rev: Option<u64>,
    /// Why the newest manifest was not taken, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_error: Option<String>,
    /// Number of the next stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_stop: Option<u32>,
    /// Stops that are not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops_remaining: Option<u32>,
    /// By how much the van is late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_s: Option<i64>,
}

/// Words for the driver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageStatus {
    /// As the backend sent them.
    pub text: String,
    /// For how long they have been here.
    pub age_s: u64,
}

/// The outbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutboxStatus {
    /// Records that wait for their acknowledgement.
    pub pending: u64,
    /// Of them, events.
    #[serde(default)]
    pub events_pending: u64,
    /// UTC of the oldest of them, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ts: Option<String>,
    /// Its age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age_s: Option<u64>,
    /// Points given up so that the trail is coarser, over the life of the outbox.
    pub thinned: u64,
    /// Records given up, over the life of the outbox.
    pub dropped: u64,
    /// The disk does not write, and records wait in memory.
    #[serde(default)]
    pub failing: bool,
    /// Of the database.
    pub bytes: u64,
}

/// What is written to the card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CardStatus {
    /// Bytes that the agent caused to be written since midnight UTC or its start.
    pub written_bytes_today: u64,
    /// The same of the whole device, whoever wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_bytes_today: Option<u64>,
    /// Bytes that the device holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Years that a card of this size lasts if each day is as today was so far; absent while that says too little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_years: Option<f64>,
}

/// The link to the broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// `connecting`, `connected`, `no link` or `stopped`.
    pub state: String,
    /// For how long.
    pub for_s: u64,
    /// How long the next attempt waits in all, from the last one on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_s: Option<f64>,
    /// Why the last connection failed or ended; absent while all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The broker's reason code of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reason: Option<String>,
    /// How far the link came: it fails at `dns`, `tcp`, `tls` or `mqtt`, or what is said is refused (`publish`); absent
    /// while all is well, and where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// With `tls`: `files`, `unknown_authority`, `expired`, `not_yet_valid`, `wrong_name`, `refused` or `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why manifests or commands do not come; absent while all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downlink_error: Option<String>,
    /// Messages of the backend since the agent started.
    #[serde(default)]
    pub downlink_messages: u64,
    /// Of them, those that nobody took: a retained or a doubtful command, too large, or one too many.
    #[serde(default)]
    pub downlink_dropped: u64,
    /// Commands that did not count, for want of a right signature.
    #[serde(default)]
    pub commands_unsigned: u64,
    /// Words of the backend on `ack` that could not be read, or not be true.
    #[serde(default)]
    pub acks_unfit: u64,
    /// Answers to commands that the broker refused, or that were too many.
    #[serde(default)]
    pub answers_lost: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Messages on `position` since the agent started.
    pub positions: u64,
    /// Messages on `track` since the agent started, repetitions included.
    #[serde(default)]
    pub track_messages: u64,
    /// Points that the broker has acknowledged since the agent started.
    pub points_acked: u64,
    /// Messages on `event` since the agent started, repetitions included.
    #[serde(default)]
    pub event_messages: u64,
    /// Events that the broker has acknowledged since the agent started.
    #[serde(default)]
    pub events_acked: u64,
    /// Events that wait because they are larger than the broker takes.
    #[serde(default)]
    pub events_too_large: u64,
    /// Bytes of payload since the agent started, repetitions included.
    pub payload_bytes: u64,
    /// Bytes on the air today and this month by UTC, headers and TLS reckoned in.
    pub air_bytes_today: u64,
    /// See `air_bytes_today`.
    pub air_bytes_month: u64,
}

/// A scanner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScannerStatus {
    /// As in the configuration.
    pub name: String,
    /// `barcode` or `rfid`.
    pub kind: String,
    /// `connecting`, `open` or `gone`.
    pub state: String,
    /// Why it is gone, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Codes and tags that it has said since the agent started.
    pub scans: u64,
    /// Seconds since the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scan_age_s: Option<u64>,
    /// Lines that were no code and no tag, since the agent started.
    pub garbage: u64,
}
