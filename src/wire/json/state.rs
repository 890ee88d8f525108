//! Agent's health ↔ `state`: the receiver, the outbox, the route, and what reads parcels.

use serde::{Deserialize, Serialize};

pub use crate::core::delivery::{DelayReason, Duty};

/// Health, retained on `state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Payload version: 1.
    pub v: u8,
    /// The van's id.
    pub van: String,
    /// When it was said.
    pub ts: String,
    /// Whether the driver is on duty.
    pub duty: Duty,
    /// The route of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The manifest's revision that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_rev: Option<u64>,
    /// Why the newest manifest is not in use, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_error: Option<String>,
    /// Where the van goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_stop: Option<NextStop>,
    /// How late it is, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// What reads parcels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scanners: Vec<Scanner>,
    /// The receiver.
    pub gnss: GnssState,
    /// The outbox.
    pub outbox: OutboxState,
    /// What goes over the air.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkUse>,
}

/// The stop that the van goes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextStop {
    /// Its number in the manifest.
    pub seq: u32,
    /// When the van will be there: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<String>,
    /// Width of the window around `eta`, s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_window_s: Option<u32>,
    /// As the crow flies, m; absent without a fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
}

/// How late the van is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// Behind the manifest's windows; negative when it is ahead.
    pub seconds: i64,
    /// Why, as far as somebody said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<DelayReason>,
    /// The same by ASC X12, element 1651.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Something that reads parcels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanner {
    /// As in the configuration.
    pub name: String,
    /// What it reads.
    pub kind: ScannerKind,
    /// Whether it does.
    pub state: ScannerState,
    /// When it last read something: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scan: Option<String>,
}

/// What a scanner reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScannerKind {
    /// Bar codes.
    Barcode,
    /// Radio tags.
    Rfid,
}

/// Whether a scanner is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScannerState {
    /// It is.
    Open,
    /// It is not.
    Closed,
    /// It is, and does not work.
    Error,
}

/// The receiver in `state`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GnssState {
    /// Whether bytes come: `connecting`, `open`, `hunting`, `silent` or `gone`.
    pub receiver: String,
    /// Why the receiver is gone, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// 1 no fix, 2 2D, 3 3D.
    pub mode: u8,
    /// Whether the receiver's time can be relied on: `unknown`, `tentative` or `trusted`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// Seconds since the newest fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<f64>,
    /// Satellites used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sats: Option<u8>,
    /// Satellites in view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sats_in_view: Option<u8>,
    /// Mean C/N0 of the four strongest satellites, dB-Hz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cn0_dbhz: Option<u8>,
    /// Systems with a satellite in the solution: `gps`, `glonass`, `galileo`, `beidou`, `qzss`, `navic`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constellations: Vec<String>,
    /// What the receiver says of its antenna: `ok`, `open` or `short`; absent if it does not watch it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub antenna: Option<String>,
    /// The receiver's newest error or warning, in its own words: jamming, a line that is too slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Sentences refused since the agent started.
    pub sentences_bad: u64,
    /// Epochs refused since the agent started.
    pub fixes_rejected: u64,
    /// The speed at which a serial receiver is understood, Bd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baud: Option<u32>,
    /// How much of what the serial line carries the receiver says, over 10 s: 0..=100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_percent: Option<u8>,
    /// What came of setting a u-blox receiver up: `done` or `refused: ...`; absent if that is not wanted, or not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
}

/// The outbox in `state`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutboxState {
    /// Records that wait.
    pub pending: u64,
    /// UTC of the oldest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ts: Option<String>,
    /// All that was recorded before this time has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_until_ts: Option<String>,
    /// Points given up so that the trail is coarser, because the outbox was full, over its life.
    #[serde(default)]
    pub thinned: u64,
    /// Records given up because the outbox was full, they were too old, or the disk did not write, over its life.
    pub dropped: u64,
    /// Size of the database file.
    pub bytes: u64,
    /// Bytes that the agent caused to be written since midnight UTC or its start.
    #[serde(default)]
    pub written_bytes_today: u64,
    /// The same of the whole device that holds the outbox, whoever wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_bytes_today: Option<u64>,
}

/// The air in `state`: estimates, with headers, acknowledgements and handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkUse {
    /// Since midnight UTC.
    pub bytes_today: u64,
    /// Since the month began, UTC.
    pub bytes_month: u64,
    /// How many times as rarely as configured what can wait is sent, for a budget: 1, 2, 4 or 8.
    pub cadence: u32,
}
