//! Events of a simulated day, and their JSON lines.

use serde::Serialize;
use std::time::Duration;

use super::EpochBytes;
use waypost_model::units::{Distance, Uptime, UtcTime};

/// The next event of the day, in time order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DayEvent {
    /// Output of the receiver.
    Epoch(EpochBytes),
    /// Output of a scanner.
    Scan(Scan),
    /// A ground-truth event, which no device reports.
    GroundTruth(GroundTruthEvent),
}

impl DayEvent {
    /// Returns the time since power-on.
    #[must_use]
    pub const fn at(&self) -> Uptime {
        match self {
            Self::Epoch(burst) => burst.at,
            Self::Scan(scan) => scan.at,
            Self::GroundTruth(fact) => fact.at,
        }
    }
}

/// A scanner of the van.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanner {
    /// The driver's bar-code scanner.
    Hand,
    /// RFID antennas around the cargo hold.
    Portal,
}

impl Scanner {
    /// Returns the name in the file of scans.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Portal => "portal",
        }
    }
}

/// One line from a scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Time of transmission, since power-on.
    pub at: Uptime,
    pub scanner: Scanner,
    /// The line without its terminator; ASCII, control characters included.
    pub line: String,
}

impl Scan {
    /// Returns the bytes on the wire: the line, CR and LF.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [self.line.as_bytes(), b"\r\n"].concat()
    }

    /// Renders `{"at_ms":…,"scanner":…,"line":…}`, without a line terminator.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { at, scanner, line } = self;
        to_json(&ScanLine { at_ms: at.since_start().as_millis(), scanner: scanner.as_str(), line })
    }
}

/// An event of the ground truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroundTruthEvent {
    /// Time since power-on. For an event with a scan, the time at which the last byte of the scan
    /// is due.
    pub at: Uptime,
    pub utc: UtcTime,
    pub kind: GroundTruthKind,
    /// Key of the parcel concerned.
    pub parcel: Option<String>,
    /// Manifest id of the stop where it happens.
    pub stop: Option<String>,
}

/// Kind of a ground-truth event. Names equal those of the agent's events where the agent has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroundTruthKind {
    /// Scanned at the station.
    Loaded,
    /// Left behind at the station.
    Forgotten,
    /// The van leaves the station.
    Departed,
    /// The van stops at a stop.
    Arrived,
    /// The van leaves a stop.
    Left,
    /// Handed over.
    Delivered,
    /// Delivery attempted without success.
    Attempted,
    /// Found damaged.
    Damaged,
    /// Removed from the van undetected.
    Lost,
    /// Scanned without a change of state.
    Seen(ScanAlert),
    /// The driver starts work, or resumes it after a break.
    OnDuty,
    /// The driver starts a break.
    OnBreak,
    /// The driver ends work.
    OffDuty,
    /// The van is back at the station.
    RouteReturned,
    /// Scanned at the station in the evening.
    Returned,
    /// The day is over.
    Completed(Summary),
}

impl GroundTruthKind {
    /// Returns the name in the truth file.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Loaded => "parcel.loaded",
            Self::Forgotten => "parcel.forgotten",
            Self::Departed => "route.departed",
            Self::Arrived => "stop.arrived",
            Self::Left => "stop.left",
            Self::Delivered => "parcel.delivered",
            Self::Attempted => "parcel.attempted",
            Self::Damaged => "parcel.damaged",
            Self::Lost => "parcel.lost",
            Self::Seen(_) => "parcel.seen",
            Self::OnDuty => "duty.on",
            Self::OnBreak => "duty.break",
            Self::OffDuty => "duty.off",
            Self::RouteReturned => "route.returned",
            Self::Returned => "parcel.returned",
            Self::Completed(_) => "route.completed",
        }
    }

    /// Returns whether this is the final state of a parcel.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Forgotten | Self::Delivered | Self::Lost | Self::Returned)
    }
}

/// Reason why a scan needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanAlert {
    /// Due at another stop.
    WrongStop,
    /// Not in the manifest.
    Unknown,
}

impl ScanAlert {
    /// Returns the name in the truth file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongStop => "wrong_stop",
            Self::Unknown => "unknown",
        }
    }
}

/// Ground-truth totals of the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Stops in the manifest.
    pub stops_total: usize,
    /// Stops that the van served.
    pub stops_served: usize,
    /// Parcels in the manifest.
    pub parcels: usize,
    pub delivered: usize,
    /// Attempted without success.
    pub attempted: usize,
    /// Found damaged.
    pub damaged: usize,
    /// Back at the station.
    pub returned: usize,
    /// Never loaded.
    pub forgotten: usize,
    /// Removed from the van undetected.
    pub lost: usize,
    /// Total time at stops.
    pub dwell: Duration,
    /// Total time of breaks.
    pub breaks: Duration,
    /// Total standstill elsewhere between departure and return.
    pub idle: Duration,
    /// Time from departure to return.
    pub duration: Duration,
    /// Distance from departure to return, by the odometer.
    pub distance: Distance,
}

impl GroundTruthEvent {
    /// Renders one line of JSON, without a line terminator.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { at, utc, kind: happening, parcel, stop } = self;
        let alert = match happening {
            GroundTruthKind::Seen(alert) => Some(alert.as_str()),
            _ => None,
        };
        let summary = match happening {
            GroundTruthKind::Completed(summary) => Some(SummaryLine::from(summary)),
            _ => None,
        };
        to_json(&GroundTruthLine {
            utc: utc.to_string(),
            at_ms: at.since_start().as_millis(),
            happening: happening.as_str(),
            parcel: parcel.as_deref(),
            stop: stop.as_deref(),
            alert,
            summary,
        })
    }
}

fn to_json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("text and numbers")
}

#[derive(Serialize)]
struct ScanLine<'a> {
    at_ms: u128,
    scanner: &'static str,
    line: &'a str,
}

#[derive(Serialize)]
struct GroundTruthLine<'a> {
    utc: String,
    at_ms: u128,
    happening: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parcel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<SummaryLine>,
}

#[derive(Serialize)]
struct SummaryLine {
    stops_total: usize,
    stops_served: usize,
    parcels: usize,
    delivered: usize,
    attempted: usize,
    damaged: usize,
    returned: usize,
    forgotten: usize,
    lost: usize,
    dwell_s: f64,
    breaks_s: f64,
    idle_s: f64,
    duration_s: f64,
    distance_m: f64,
}

impl From<&Summary> for SummaryLine {
    fn from(summary: &Summary) -> Self {
        Self {
            stops_total: summary.stops_total,
            stops_served: summary.stops_served,
            parcels: summary.parcels,
            delivered: summary.delivered,
            attempted: summary.attempted,
            damaged: summary.damaged,
            returned: summary.returned,
            forgotten: summary.forgotten,
            lost: summary.lost,
            dwell_s: summary.dwell.as_secs_f64(),
            breaks_s: summary.breaks.as_secs_f64(),
            idle_s: summary.idle.as_secs_f64(),
            duration_s: summary.duration.as_secs_f64(),
            distance_m: summary.distance.as_metres().round(),
        }
    }
}
