//! Payload of `state`: state of the receiver, outbox, route and scanners.

use serde::{Deserialize, Serialize};

pub use waypost_model::driver_input::DelayReason;
pub use waypost_model::duty::Duty;

/// State of the agent, retained on `state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct State {
    /// Payload version: 1.
    pub v: u8,
    /// Van id.
    pub van: String,
    /// Time of the message, RFC 3339.
    pub ts: String,
    /// Duty status of the driver.
    pub duty: Duty,
    /// Manifest in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestRef>,
    /// Newest manifest, if it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_rejected: Option<ManifestRejected>,
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

impl State {
    /// Returns the id of the route in use.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.manifest.as_ref().map(|manifest| manifest.route.as_str())
    }
}

/// Manifest, identified by its route and revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ManifestRef {
    /// Route id.
    pub route: String,
    /// Revision.
    pub rev: u64,
}

/// Rejected manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ManifestRejected {
    /// Route id; absent if the payload has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Revision; absent if the payload has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<u64>,
    /// Validation errors: the first one.
    pub errors: Vec<ManifestErrorEntry>,
}

/// Validation error of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ManifestErrorEntry {
    /// JSON Pointer to the member (RFC 6901), such as `/stops/17/lat`; empty for the whole payload.
    pub pointer: String,
    /// Kind of error for programs, such as `out_of_range`.
    pub code: String,
    /// Value and remedy for people. The value is left out where it may be personal data.
    pub detail: String,
}

/// Estimated time of arrival as a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EtaWindow {
    /// Earliest time, RFC 3339.
    pub from: String,
    /// Latest time, RFC 3339.
    pub until: String,
}

/// Next stop of the route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NextStop {
    /// Sequence number in the manifest.
    pub seq: u32,
    /// Estimated time of arrival; absent without a fix or the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<EtaWindow>,
    /// Straight-line distance, m; absent without a fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
}

/// Delay of the van.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Delay {
    /// Delay against the manifest's windows, s; negative when early.
    pub by_s: i64,
    /// Reason, if reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<DelayReason>,
    /// Code of the reason in ASC X12, element 1651.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Barcode scanner or RFID reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ScannerKind {
    Barcode,
    Rfid,
}

/// State of a scanner's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GnssState {
    /// Connection to the receiver: `connecting`, `open`, `detecting_baud`, `silent` or `gone`.
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
    /// Result of the u-blox setup; absent if disabled or in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<ReceiverSetup>,
}

/// Result of the set-up of a u-blox receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiverSetup {
    /// `done`, `refused` if the receiver rejected a setting, or `no_answer`.
    pub status: String,
    /// Settings that the receiver rejected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// State of the outbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LinkUsage {
    /// Bytes since midnight UTC.
    pub bytes_today: u64,
    /// Bytes since the start of the month, UTC.
    pub bytes_month: u64,
    /// Factor by which a data budget multiplies the report intervals: 1, 2, 4 or 8.
    pub throttle_factor: u32,
}
