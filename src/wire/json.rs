//! The JSON payloads of version 1.

mod state;

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::core::fix::FixQuality;
use crate::core::journey::Motion;
use crate::core::record::{Seq, TrackPoint};
use crate::units::{Course, Distance};
pub use state::{
    Delay, DelayReason, Duty, GnssState, LinkUse, NextStop, OutboxState, Scanner, ScannerKind,
    ScannerState, State,
};

/// Course means nothing when the van hardly moves; below this it is left out.
pub(super) const COURSE_FROM_MPS: f64 = 0.5;

/// The newest fix, on `position`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Payload version: 1.
    pub v: u8,
    /// The van's id.
    pub van: String,
    /// The fix.
    #[serde(flatten)]
    pub point: Point,
    /// The route of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The stop that `stop_status` is about, by its number in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_seq: Option<u32>,
    /// Stops that are not finished, this one not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops_remaining: Option<u32>,
}

impl Position {
    /// A live position, without a route.
    #[must_use]
    pub fn new(van: &str, seq: Seq, point: &TrackPoint) -> Self {
        let point = Point::new(seq, point, Lane::Live);
        let van = van.to_owned();
        Self { v: VERSION, van, point, route: None, stop_seq: None, stops_remaining: None }
    }
}

/// A batch of stored fixes in order of `seq`, on `track`: 1..=500 points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Payload version: 1.
    pub v: u8,
    /// The van's id.
    pub van: String,
    /// Who joins the points by straight lines, each at a steady pace, is never so many metres from where the van was at
    /// that moment; absent when every fix is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_error_m: Option<f64>,
    /// The fixes.
    pub points: Vec<Point>,
}

impl Track {
    /// The bound of the contract on `points`.
    pub const MAX_POINTS: usize = 500;

    /// A batch.
    #[must_use]
    pub fn new(van: &str, max_error: Option<Distance>, points: Vec<Point>) -> Self {
        let max_error_m = max_error.map(|error| decimals(error.as_metres(), 1));
        Self { v: VERSION, van: van.to_owned(), max_error_m, points }
    }
}

/// Whether a point was sent as it happened, or stored while the link was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Recorded while connected.
    Live,
    /// Recorded before the connection was made.
    Backlog,
}

/// One fix: the members that `position` and `track` share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// With the van's id the key of the fix: strictly increasing, never reused.
    pub seq: u64,
    /// UTC of the fix, from the receiver; RFC 3339 with milliseconds.
    pub ts: String,
    /// Degrees north, WGS 84, 5 decimals (1 m): finer would be data that nobody needs (GDPR, data minimisation).
    pub lat: f64,
    /// Degrees east, as `lat`.
    pub lon: f64,
    /// Metres above mean sea level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alt_m: Option<f64>,
    /// Speed over ground, m/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f64>,
    /// Course over ground, degrees true, 0..360; absent below 0.5 m/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course_deg: Option<f64>,
    /// 68 % horizontal radius, metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acc_m: Option<f64>,
    /// Horizontal dilution of precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdop: Option<f64>,
    /// Satellites used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sats: Option<u8>,
    /// 2 or 3 dimensions.
    pub mode: u8,
    /// Absent for plain satellite positioning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<FixQuality>,
    /// GTFS-Realtime VehicleStopStatus; absent until the van has stood or driven long enough to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_status: Option<StopStatus>,
    /// Metres driven, from fixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odo_m: Option<f64>,
    /// True when the fix was stored while the link was away; absent means false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub backlog: bool,
}

impl Point {
    /// A point with the precision of the contract.
    #[must_use]
    pub fn new(seq: Seq, point: &TrackPoint, lane: Lane) -> Self {
        let TrackPoint { fix, motion, odometer } = point;
        // As the sampler took it to be said. With 4 decimals of a minute, one in six is in the middle between two.
        let position = fix.position.rounded_to_1e5();
        Self {
            seq: seq.get(),
            ts: fix.utc.to_string(),
            lat: decimals(position.lat_deg(), 5),
            lon: decimals(position.lon_deg(), 5),
            alt_m: fix.altitude_msl.map(|altitude| decimals(altitude.as_metres(), 1)),
            speed_mps: fix.speed.map(|speed| decimals(speed.as_mps(), 2)),
            course_deg: said_course(point).map(|course| decimals(course.as_degrees(), 1) % 360.0),
            acc_m: fix.accuracy.map(|accuracy| decimals(accuracy.as_metres(), 1)),
            hdop: fix.hdop.map(|dop| decimals(dop.value(), 2)),
            sats: fix.satellites_used,
            mode: fix.mode.dimensions(),
            quality: (fix.quality != FixQuality::Gps).then_some(fix.quality),
            stop_status: StopStatus::of(*motion),
            odo_m: Some(decimals(odometer.as_metres(), 1)),
            backlog: lane == Lane::Backlog,
        }
    }
}

/// The course that a message carries: none of a van that stands or hardly moves, where it means nothing.
#[must_use]
pub fn said_course(point: &TrackPoint) -> Option<Course> {
    let TrackPoint { fix, motion, .. } = point;
    let fast = fix.speed.is_none_or(|speed| speed.as_mps() >= COURSE_FROM_MPS);
    fix.course.filter(|_| fast && *motion != Motion::Halted)
}

/// GTFS-Realtime `VehicleStopStatus`, spelled as in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopStatus {
    /// Under way.
    InTransitTo,
    /// Close to the next stop.
    IncomingAt,
    /// Standing.
    StoppedAt,
}

impl StopStatus {
    fn of(motion: Motion) -> Option<Self> {
        match motion {
            Motion::Unknown => None,
            Motion::Moving => Some(Self::InTransitTo),
            Motion::Halted => Some(Self::StoppedAt),
        }
    }
}

/// Whether the agent is there, retained on `connection`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Payload version: 1.
    pub v: u8,
    /// The van's id.
    pub van: String,
    /// VDA 5050 connectionState.
    pub state: ConnectionState,
    /// When it was said; absent in the Will, which is written beforehand, and before the agent knows the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
    /// Counts agent starts: a Will of an older session is ignored.
    pub session: u64,
    /// The agent's version; absent in the Will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// VDA 5050 `connectionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Connected.
    Online,
    /// Stopped in order.
    Offline,
    /// Said by the broker: the link broke.
    ConnectionBroken,
}

/// What the backend has stored, on `ack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Payload version: 1.
    pub v: u8,
    /// Every event that this connection sent, up to this `sequence`, is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_seq: Option<u64>,
    /// Every point of `track` that this connection sent, up to this `seq`, is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track_seq: Option<u64>,
    /// Every event in these ranges of `sequence` is stored: at most [`Self::MAX_RANGES`], ascending, none touched twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<SeqRange>,
    /// Every point of `track` in these ranges of `seq` is stored; as `events`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub track: Vec<SeqRange>,
    /// When it was said: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
}

impl Ack {
    /// The bound of the contract on `events`, and on `track`.
    pub const MAX_RANGES: usize = 64;
}

/// Numbers from `first` to `last`, both included; `[first, last]` in JSON. Whoever says it has all that was sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct SeqRange {
    /// The lowest.
    pub first: u64,
    /// The highest, not below `first`.
    pub last: u64,
}

impl From<(u64, u64)> for SeqRange {
    fn from((first, last): (u64, u64)) -> Self {
        Self { first, last }
    }
}

impl From<SeqRange> for (u64, u64) {
    fn from(range: SeqRange) -> Self {
        (range.first, range.last)
    }
}

/// A number with so many places after the point, and never −0.
pub(super) fn decimals(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    // Adding 0.0 turns −0.0 into 0.0, which JSON would write as `-0.0`.
    (value * scale).round() / scale + 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}
