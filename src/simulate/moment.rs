//! What a day is made of, in time order, and its line of JSON in a file.

use serde::Serialize;
use std::time::Duration;

use super::Burst;
use crate::units::{Distance, Uptime, UtcTime};

/// The next thing that somebody can read, or that is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// What the receiver sends.
    Burst(Burst),
    /// What a scanner sends.
    Scan(Scan),
    /// What happens, whether or not somebody reads it.
    Fact(Fact),
}

impl Moment {
    /// Since power-on.
    #[must_use]
    pub const fn at(&self) -> Uptime {
        match self {
            Self::Burst(burst) => burst.at,
            Self::Scan(scan) => scan.at,
            Self::Fact(fact) => fact.at,
        }
    }
}

/// Which scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanner {
    /// The driver's, for bar codes.
    Hand,
    /// Antennas about the hold, for radio tags.
    Portal,
}

impl Scanner {
    /// As in the file of scans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Portal => "portal",
        }
    }
}

/// One line of a scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// When it is sent, since power-on.
    pub at: Uptime,
    /// By which.
    pub scanner: Scanner,
    /// Without its end; ASCII, control characters included.
    pub line: String,
}

impl Scan {
    /// As on the wire: the line, CR and LF.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [self.line.as_bytes(), b"\r\n"].concat()
    }

    /// `{"at_ms":…,"scanner":…,"line":…}`, without an end of line.
    #[must_use]
    pub fn json(&self) -> String {
        let Self { at, scanner, line } = self;
        json(&ScanLine { at_ms: at.since_start().as_millis(), scanner: scanner.name(), line })
    }
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When, since power-on. Of what a scan tells, when its last byte is due.
    pub at: Uptime,
    /// When.
    pub utc: UtcTime,
    /// What.
    pub happening: Happening,
    /// The key of the parcel that it happens to.
    pub parcel: Option<String>,
    /// The name in the manifest of the stop at which it happens.
    pub stop: Option<String>,
}

/// What happens. The names are those of the agent's events, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Scanned at the station.
    Loaded,
    /// Left behind at the station.
    Forgotten,
    /// The van sets off.
    Departed,
    /// The van stands at a stop.
    Arrived,
    /// The van leaves a stop.
    Left,
    /// Handed over.
    Delivered,
    /// Not taken by anybody.
    Attempted,
    /// Found damaged.
    Damaged,
    /// Out of the van, and nobody saw it.
    Lost,
    /// Scanned, and nothing changes by it.
    Seen(Alert),
    /// The driver begins work, or goes on after a break.
    OnDuty,
    /// The driver has a break.
    OnBreak,
    /// The driver goes home.
    OffDuty,
    /// The van stands at the station again.
    CameBack,
    /// Scanned at the station in the evening.
    Returned,
    /// The day is over.
    Completed(Summary),
}

impl Happening {
    /// As in the file.
    #[must_use]
    pub const fn name(&self) -> &'static str {
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
            Self::CameBack => "route.returned",
            Self::Returned => "parcel.returned",
            Self::Completed(_) => "route.completed",
        }
    }

    /// Whether it is what becomes of the parcel in the end.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Forgotten | Self::Delivered | Self::Lost | Self::Returned)
    }
}

/// Why a person should look at a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// Due at another stop.
    WrongStop,
    /// Not in the manifest.
    Unknown,
}

impl Alert {
    /// As in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongStop => "wrong_stop",
            Self::Unknown => "unknown",
        }
    }
}

/// What the day was in truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Stops of the manifest.
    pub stops_total: usize,
    /// Stops at which the van stood.
    pub stops_served: usize,
    /// Parcels of the manifest.
    pub parcels: usize,
    /// Handed over.
    pub delivered: usize,
    /// Tried, and not handed over.
    pub attempted: usize,
    /// Found damaged.
    pub damaged: usize,
    /// Back at the station.
    pub returned: usize,
    /// Never loaded.
    pub forgotten: usize,
    /// Out of the van, and nobody saw it.
    pub lost: usize,
    /// Standing at stops, together.
    pub dwell: Duration,
    /// Standing for breaks, together.
    pub breaks: Duration,
    /// Standing anywhere else between departure and return.
    pub idle: Duration,
    /// From departure to return.
    pub duration: Duration,
    /// By the odometer, from departure to return.
    pub distance: Distance,
}

impl Fact {
    /// One line of JSON, without an end of line.
    #[must_use]
    pub fn json(&self) -> String {
        let Self { at, utc, happening, parcel, stop } = self;
        let alert = match happening {
            Happening::Seen(alert) => Some(alert.name()),
            _ => None,
        };
        let summary = match happening {
            Happening::Completed(summary) => Some(SummaryLine::from(summary)),
            _ => None,
        };
        json(&FactLine {
            utc: utc.to_string(),
            at_ms: at.since_start().as_millis(),
            happening: happening.name(),
            parcel: parcel.as_deref(),
            stop: stop.as_deref(),
            alert,
            summary,
        })
    }
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("text and numbers")
}

#[derive(Serialize)]
struct ScanLine<'a> {
    at_ms: u128,
    scanner: &'static str,
    line: &'a str,
}

#[derive(Serialize)]
struct FactLine<'a> {
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
