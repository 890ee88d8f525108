//! [`Status`], the agent's status on the control socket. Each quantity has its unit in its name.
//!
//! Members may be added; readers ignore unknown ones. No member contains the van's position.

use serde::{Deserialize, Serialize};

/// Status of the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Id of the van.
    pub van: String,
    /// UTC in RFC 3339, from the receiver; before the first fix from the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
    /// Time since the agent started.
    pub uptime_s: u64,
    pub receiver: ReceiverStatus,
    /// The newest fix; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<FixStatus>,
    /// Trust in the receiver's time: `unknown`, `tentative` or `trusted`.
    pub time: String,
    /// The van's movement.
    pub journey: JourneyStatus,
    pub route: RouteStatus,
    /// Newest message for the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageStatus>,
    pub outbox: OutboxStatus,
    /// Writes to the SD card.
    pub card: CardStatus,
    /// The connection to the broker.
    pub link: LinkStatus,
    /// The scanners, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scanners: Vec<ScannerStatus>,
}

/// Status of the receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReceiverStatus {
    /// `connecting`, `open`, `detecting_baud`, `silent` or `gone`.
    pub state: String,
    /// Reason for the state `gone`, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Current fix mode: 1 no fix, 2 two-dimensional, 3 three-dimensional.
    pub mode: u8,
    /// Satellites in view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sats_in_view: Option<u8>,
    /// Mean C/N0 of the four strongest satellites, dB-Hz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cn0_dbhz: Option<u8>,
    /// Antenna state reported by the receiver: `ok`, `open` or `short`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub antenna: Option<String>,
    /// Newest error or warning reported by the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Detected baud rate of a serial receiver, Bd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baud: Option<u32>,
    /// Utilisation of the serial line, 0 to 100 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_percent: Option<u8>,
    /// Result of the u-blox configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    /// Valid sentences since the agent started.
    #[serde(default)]
    pub sentences: u64,
    /// Age of the newest of them, seconds; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence_age_s: Option<f64>,
    /// Fixes arrive but cannot be used until the receiver reports the date.
    #[serde(default)]
    pub waits_for_date: bool,
    /// Invalid sentences since the agent started.
    pub sentences_bad: u64,
    /// Rejected epochs since the agent started.
    pub fixes_rejected: u64,
}

/// The newest fix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FixStatus {
    /// Seconds since it was read.
    pub age_s: f64,
    /// UTC of the fix, RFC 3339.
    pub ts: String,
    /// 2 or 3 dimensions.
    pub mode: u8,
    /// Satellites used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sats: Option<u8>,
    /// Horizontal accuracy, 68 % radius, metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acc_m: Option<f64>,
    /// Speed over ground, m/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f64>,
}

/// Movement of the van.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JourneyStatus {
    /// `unknown`, `moving` or `halted`.
    pub motion: String,
    /// Distance driven in metres, from fixes, over the lifetime of the outbox; absent before the
    /// first fix of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odo_m: Option<f64>,
}

/// Status of the route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Duty state of the driver: `on`, `off` or `break`.
    pub duty: String,
    /// Name of the route; absent without a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Revision of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_rev: Option<u64>,
    /// Reason why the newest manifest was rejected, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_error: Option<String>,
    /// Number of the next stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_stop: Option<u32>,
    /// Stops not completed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops_remaining: Option<u32>,
    /// Current delay of the van, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_s: Option<i64>,
}

/// Message for the driver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageStatus {
    /// The text as sent by the backend.
    pub text: String,
    /// Seconds since it arrived.
    pub age_s: u64,
}

/// Status of the outbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutboxStatus {
    /// Records not acknowledged yet.
    pub pending: u64,
    /// Events among them.
    #[serde(default)]
    pub events_pending: u64,
    /// UTC of the oldest pending record, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ts: Option<String>,
    /// Age of that record, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age_s: Option<u64>,
    /// Points removed to thin the stored track, over the lifetime of the outbox.
    pub thinned: u64,
    /// Records evicted without acknowledgement, over the lifetime of the outbox.
    pub dropped: u64,
    /// The disk rejects writes, and records are kept in memory.
    #[serde(default)]
    pub failing: bool,
    /// Size of the database.
    pub bytes: u64,
}

/// Writes to the SD card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CardStatus {
    /// Bytes written on behalf of the agent since midnight UTC, or since it started.
    pub written_bytes_today: u64,
    /// Bytes written to the whole device by all programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_bytes_today: Option<u64>,
    /// Capacity of the device in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Estimated lifetime of a card of this size in years, if every day is like today; absent
    /// during the first hour of measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_years: Option<f64>,
}

/// Status of the connection to the broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// `connecting`, `connected`, `no link` or `stopped`.
    pub state: String,
    /// Seconds in this state.
    pub for_s: u64,
    /// Delay between the last and the next attempt, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_s: Option<f64>,
    /// Reason why the last connection failed or ended; absent while there is no error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Reason code of the broker for that error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reason: Option<String>,
    /// Stage at which the connection fails: `dns`, `tcp`, `tls` or `mqtt`, or `publish` if the
    /// broker rejects messages. Absent while there is no error, and if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// With `tls`: `files`, `unknown_authority`, `expired`, `not_yet_valid`, `wrong_name`,
    /// `refused` or `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Reason why manifests or commands cannot be received; absent while there is no error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downlink_error: Option<String>,
    /// Messages received from the backend since the agent started.
    #[serde(default)]
    pub downlink_messages: u64,
    /// Messages from the backend that were dropped: retained or malformed commands, oversized
    /// messages, and those beyond the queue limit.
    #[serde(default)]
    pub downlink_dropped: u64,
    /// Commands rejected because they have no valid signature.
    #[serde(default)]
    pub commands_unsigned: u64,
    /// Invalid acknowledgements received on `ack`.
    #[serde(default)]
    pub acks_unfit: u64,
    /// Command results that the broker rejected, or that exceeded the queue.
    #[serde(default)]
    pub answers_lost: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Messages published on `position` since the agent started.
    pub positions: u64,
    /// Messages published on `track` since the agent started, including retransmissions.
    #[serde(default)]
    pub track_messages: u64,
    /// Track points acknowledged by the broker since the agent started.
    pub points_acked: u64,
    /// Messages published on `event` since the agent started, including retransmissions.
    #[serde(default)]
    pub event_messages: u64,
    /// Events acknowledged by the broker since the agent started.
    #[serde(default)]
    pub events_acked: u64,
    /// Events held back because they exceed the broker's packet limit.
    #[serde(default)]
    pub events_too_large: u64,
    /// Payload bytes published since the agent started, including retransmissions.
    pub payload_bytes: u64,
    /// Bytes transferred today (UTC), including headers and TLS.
    pub air_bytes_today: u64,
    /// The same for the calendar month.
    pub air_bytes_month: u64,
}

/// Status of a scanner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScannerStatus {
    /// Name of the scanner in the configuration.
    pub name: String,
    /// `barcode` or `rfid`.
    pub kind: String,
    /// `connecting`, `open` or `gone`.
    pub state: String,
    /// Reason for the state `gone`, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Codes and tags read since the agent started.
    pub scans: u64,
    /// Seconds since the newest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scan_age_s: Option<u64>,
    /// Lines without a valid code or tag since the agent started.
    pub garbage: u64,
}
