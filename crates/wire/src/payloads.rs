//! JSON payloads, version 1.

mod state;

use serde::{Deserialize, Serialize};

use super::VERSION;
pub use state::{
    Delay, DelayReason, Duty, EtaWindow, GnssState, LinkUsage, ManifestErrorEntry, ManifestRef,
    ManifestRejected, NextStop, OutboxState, ReceiverSetup, Scanner, ScannerKind, ScannerState,
    State,
};
use waypost_model::fix::FixQuality;
use waypost_model::motion::Motion;
use waypost_model::record::{Seq, TrackPoint};
use waypost_model::units::{Course, Distance};

/// Minimum speed for a course: at lower speeds the course is not meaningful.
pub(super) const COURSE_FROM_MPS: f64 = 0.5;

/// Payload of `position`: the newest fix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Position {
    /// Payload version: 1.
    pub v: u8,
    /// Van id.
    pub van: String,
    #[serde(flatten)]
    pub point: Point,
    /// Route id from the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Sequence number of the stop that `stop_status` refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_seq: Option<u32>,
    /// GTFS-Realtime VehicleStopStatus towards the stop `stop_seq`; absent without a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_status: Option<StopStatus>,
    /// Number of unfinished stops, not counting the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops_remaining: Option<u32>,
}

impl Position {
    /// Creates a live position without a route.
    #[must_use]
    pub fn new(van: &str, seq: Seq, point: &TrackPoint) -> Self {
        let point = Point::new(seq, point, TrackSource::Live);
        let van = van.to_owned();
        Self {
            v: VERSION,
            van,
            point,
            route: None,
            stop_seq: None,
            stop_status: None,
            stops_remaining: None,
        }
    }
}

/// Payload of `track`: a batch of stored fixes in the order of `seq`, 1..=500 points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Track {
    /// Payload version: 1.
    pub v: u8,
    /// Van id.
    pub van: String,
    /// Maximum error, in metres, of linear interpolation in time between the points. Absent if the
    /// batch contains every fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_error_m: Option<f64>,
    pub points: Vec<Point>,
}

impl Track {
    /// Maximum number of points in the contract.
    pub const MAX_POINTS: usize = 500;

    #[must_use]
    pub fn new(van: &str, max_error: Option<Distance>, points: Vec<Point>) -> Self {
        let max_error_m = max_error.map(|error| decimals(error.as_metres(), 1));
        Self { v: VERSION, van: van.to_owned(), max_error_m, points }
    }
}

/// Whether a point was recorded while connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackSource {
    /// Recorded while connected.
    Live,
    /// Recorded before the connection was established.
    Backlog,
}

/// One fix: the members shared by `position` and `track`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Point {
    /// Key of the fix together with the van id: strictly increasing, never reused.
    pub seq: u64,
    /// UTC of the fix, from the receiver; RFC 3339 with milliseconds.
    pub ts: String,
    /// Degrees north, WGS 84, 5 decimals (1 m). A finer resolution would violate data minimisation
    /// (GDPR).
    pub lat: f64,
    /// Degrees east, as `lat`.
    pub lon: f64,
    /// Altitude above mean sea level, m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alt_m: Option<f64>,
    /// Speed over ground, m/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f64>,
    /// Course over ground, degrees true, 0..360; absent below 0.5 m/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course_deg: Option<f64>,
    /// 68 % horizontal radius, m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acc_m: Option<f64>,
    /// Horizontal dilution of precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdop: Option<f64>,
    /// Number of satellites used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sats: Option<u8>,
    /// Number of dimensions: 2 or 3.
    pub mode: u8,
    /// Absent for a plain GPS fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<FixQuality>,
    /// Whether the van moves; absent until enough fixes determine it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub motion: Option<MotionState>,
    /// Odometer: metres driven, computed from fixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odo_m: Option<f64>,
    /// True if the fix was stored while disconnected; absent means false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub backlog: bool,
}

impl Point {
    /// Creates a point with the precision of the contract.
    #[must_use]
    pub fn new(seq: Seq, point: &TrackPoint, lane: TrackSource) -> Self {
        let TrackPoint { fix, motion, odometer } = point;
        // Rounded as the trail simplifier assumes. With 4 decimals of a minute, one position in six
        // lies exactly between two values.
        let position = fix.position.rounded_to_1e5();
        Self {
            seq: seq.get(),
            ts: fix.utc.to_string(),
            lat: decimals(position.lat_deg(), 5),
            lon: decimals(position.lon_deg(), 5),
            alt_m: fix.altitude_msl.map(|altitude| decimals(altitude.as_metres(), 1)),
            speed_mps: fix.speed.map(|speed| decimals(speed.as_mps(), 2)),
            course_deg: published_course(point)
                .map(|course| decimals(course.as_degrees(), 1) % 360.0),
            acc_m: fix.accuracy.map(|accuracy| decimals(accuracy.as_metres(), 1)),
            hdop: fix.hdop.map(|dop| decimals(dop.value(), 2)),
            sats: fix.satellites_used,
            mode: fix.mode.dimensions(),
            quality: (fix.quality != FixQuality::Gps).then_some(fix.quality),
            motion: MotionState::from_motion(*motion),
            odo_m: Some(decimals(odometer.as_metres(), 1)),
            backlog: lane == TrackSource::Backlog,
        }
    }
}

/// Returns the course to publish: none if the van is halted or below 0.5 m/s.
#[must_use]
pub fn published_course(point: &TrackPoint) -> Option<Course> {
    let TrackPoint { fix, motion, .. } = point;
    let fast = fix.speed.is_none_or(|speed| speed.as_mps() >= COURSE_FROM_MPS);
    fix.course.filter(|_| fast && *motion != Motion::Halted)
}

/// GTFS-Realtime `VehicleStopStatus`, as in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StopStatus {
    InTransitTo,
    /// Close to the next stop.
    IncomingAt,
    StoppedAt,
}

/// Whether the van moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MotionState {
    /// Driving.
    Moving,
    /// Stationary for at least the dwell time, at a stop or elsewhere.
    Halted,
}

impl MotionState {
    const fn from_motion(motion: Motion) -> Option<Self> {
        match motion {
            Motion::Unknown => None,
            Motion::Moving => Some(Self::Moving),
            Motion::Halted => Some(Self::Halted),
        }
    }
}

/// Payload of `connection`: the connection state of the agent, retained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectionStatus {
    /// Payload version: 1.
    pub v: u8,
    /// Van id.
    pub van: String,
    /// VDA 5050 connectionState.
    pub state: ConnectionState,
    /// Time of the message. Absent in the Will, which is created in advance, and while the time is
    /// unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
    /// Number of agent starts.
    pub session: u64,
    /// Number of CONNECT packets in this session. Consumers compare (`session`, `connection`): the
    /// Will of an earlier connection says nothing about a later one.
    pub connection: u64,
    /// Program and version, such as `waypost/0.1.0`; absent in the Will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// VDA 5050 `connectionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    Online,
    /// Shut down normally.
    Offline,
    /// Published by the broker as the Will: the connection was lost.
    ConnectionBroken,
}

/// Payload of `ack`: records that the backend has stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ack {
    /// Payload version: 1.
    pub v: u8,
    /// Stored events, by `sequence`.
    #[serde(default, skip_serializing_if = "StoredSeqs::is_empty")]
    pub event: StoredSeqs,
    /// Stored track points, by `seq`.
    #[serde(default, skip_serializing_if = "StoredSeqs::is_empty")]
    pub track: StoredSeqs,
    /// Time of the message, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
}

impl Ack {
    /// Maximum number of ranges in `event`, and in `track`.
    pub const MAX_RANGES: usize = 64;
}

/// Sequence numbers that the backend has stored on one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoredSeqs {
    /// Everything sent on this connection up to this number is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u64>,
    /// Stored ranges: up to [`Ack::MAX_RANGES`], ascending and disjoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<SeqRange>,
}

impl StoredSeqs {
    /// Returns whether nothing is acknowledged.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.up_to.is_none() && self.ranges.is_empty()
    }
}

/// Inclusive range of sequence numbers; `[first, last]` in JSON. It acknowledges all records sent
/// in that range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
#[cfg_attr(feature = "schema", schemars(with = "(u64, u64)"))]
pub struct SeqRange {
    pub first: u64,
    /// At least `first`.
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

/// Rounds to `places` decimals and never returns −0.
pub(super) fn decimals(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    // Adding 0.0 turns −0.0 into 0.0, which JSON would write as `-0.0`.
    (value * scale).round() / scale + 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
