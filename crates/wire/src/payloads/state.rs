//! Payload of `state`: state of the receiver, outbox, route and scanners.

use serde::{Deserialize, Serialize};

pub use waypost_model::driver_input::DelayReason;
pub use waypost_model::duty::Duty;

/// State of the agent, retained on `state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Payload version: 1.
    pub v: u8,
    /// Van id.
    pub van: String,
    /// Time of the message, RFC 3339.
    pub ts: String,
    /// Duty status of the driver.
    pub duty: Duty,
    /// Route id from the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Manifest revision in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_rev: Option<u64>,
    /// Reason why the newest manifest was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_stop: Option<NextStop>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Barcode scanners and RFID readers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scanners: Vec<Scanner>,
    pub gnss: GnssState,
    pub outbox: OutboxState,
    /// Metered data usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkUsage>,
}

/// Next stop of the route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextStop {
    /// Sequence number in the manifest.
    pub seq: u32,
    /// Estimated time of arrival, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<String>,
    /// Width of the window around `eta`, s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_window_s: Option<u32>,
    /// Straight-line distance, m; absent without a fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
}

/// Delay of the van.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// Delay against the manifest's windows, s; negative when early.
    pub seconds: i64,
    /// Reason, if reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<DelayReason>,
    /// Code of the reason in ASC X12, element 1651.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Barcode scanner or RFID reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanner {
    /// Name in the configuration.
    pub name: String,
    pub kind: ScannerKind,
    pub state: ScannerState,
    /// Time of the last scan, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scan: Option<String>,
}

/// Kind of codes that a scanner reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScannerKind {
    Barcode,
    Rfid,
}

/// State of a scanner's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScannerState {
    /// Open and ready.
    Open,
    /// Not connected.
    Closed,
    /// Connected but failing.
    Error,
}

/// State of the receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GnssState {
    /// Connection to the receiver: `connecting`, `open`, `hunting`, `silent` or `gone`.
    pub receiver: String,
    /// Reason why the receiver is `gone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Fix mode: 1 no fix, 2 2D, 3 3D.
    pub mode: u8,
    /// Trust in the receiver's time: `unknown`, `tentative` or `trusted`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// Age of the newest fix, s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<f64>,
    /// Number of satellites used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sats: Option<u8>,
    /// Number of satellites in view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sats_in_view: Option<u8>,
    /// Mean C/N0 of the four strongest satellites, dB-Hz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cn0_dbhz: Option<u8>,
    /// Constellations with a satellite in the solution: `gps`, `glonass`, `galileo`, `beidou`,
    /// `qzss`, `navic`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constellations: Vec<String>,
    /// Antenna status reported by the receiver: `ok`, `open` or `short`; absent without antenna
    /// supervision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub antenna: Option<String>,
    /// Newest error or warning of the receiver, verbatim: jamming, or a serial line that is too
    /// slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Number of sentences rejected since the agent's start.
    pub sentences_bad: u64,
    /// Number of epochs rejected since the agent's start.
    pub fixes_rejected: u64,
    /// Baud rate of a serial receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baud: Option<u32>,
    /// Utilisation of the serial line over the last 10 s, in percent: 0..=100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_percent: Option<u8>,
    /// Result of the u-blox setup: `done` or `refused: ...`; absent if disabled or in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
}

/// State of the outbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutboxState {
    /// Number of pending records.
    pub pending: u64,
    /// UTC of the oldest pending record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ts: Option<String>,
    /// All records from before this time have been delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_until_ts: Option<String>,
    /// Track points removed to thin the track because the outbox was full, over the life of the
    /// outbox.
    #[serde(default)]
    pub thinned: u64,
    /// Records dropped because the outbox was full, they were too old, or the disk failed, over the
    /// life of the outbox.
    pub dropped: u64,
    /// Size of the database file in bytes.
    pub bytes: u64,
    /// Bytes written because of the agent since midnight UTC or its start.
    #[serde(default)]
    pub written_bytes_today: u64,
    /// Bytes written by all processes to the device that holds the outbox, in the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_bytes_today: Option<u64>,
}

/// Estimated data usage, including headers, acknowledgements and handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkUsage {
    /// Bytes since midnight UTC.
    pub bytes_today: u64,
    /// Bytes since the start of the month, UTC.
    pub bytes_month: u64,
    /// Factor by which a data budget multiplies the report intervals: 1, 2, 4 or 8.
    pub cadence: u32,
}
