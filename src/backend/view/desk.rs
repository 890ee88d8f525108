//! What a dispatcher sees: vans, a van's day, and the trace of a parcel that is missing.

use serde::{Deserialize, Serialize};

use super::parcel::{Spot, Step, Window};
use crate::wire::json::{ConnectionState, Position, State};

/// A van now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VanView {
    /// Its id.
    pub van: String,
    /// The newest position; absent off duty.
    pub position: Option<Position>,
    /// Age of that position, s.
    pub position_age_s: Option<u64>,
    /// What it last said of itself.
    pub state: Option<State>,
    /// Whether it is connected.
    pub connection: Option<ConnectionState>,
    /// When anything of it last came.
    pub heard_at: String,
    /// Its route.
    pub route: Option<RouteView>,
    /// What a dispatcher should look at, worst first: `offline`, `no_fix`, `backlog`, `delayed`, `off_duty`, `gaps`,
    /// `manifest_refused`, `scan_outside`, `missing`, `other_domain`, `wrong_stop`.
    pub attention: Vec<String>,
    /// The parcels of which somebody should ask the driver, newest first, at most 20.
    pub concerns: Vec<Concern>,
    /// The domain that it names parcels with, if that is not our `parcels.domain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_domain: Option<String>,
}

/// A parcel that is not where it should be, or may not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    /// `scan_outside` (handed over where it was not due), `missing` (not found, or its tag fell silent), `wrong_stop`
    /// (scanned at another's stop, and not seen since).
    pub kind: String,
    /// Its number.
    pub number: String,
    /// When that was said.
    pub at: String,
    /// When it was seen last; the same as `at` unless it is missing.
    pub seen_at: String,
    /// At which stop that was, if it was at one.
    pub stop: Option<String>,
    /// The stop where it is due.
    pub due: String,
    /// From where it was seen last to where it is due, m.
    pub distance_m: Option<u32>,
}

/// How far a route is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    /// Its name.
    pub route: String,
    /// The revision that was put.
    pub rev: u64,
    /// The revision that the van uses; absent if it has not said so.
    pub van_rev: Option<u64>,
    /// Stops that are finished.
    pub stops_done: u32,
    /// All stops.
    pub stops_total: u32,
    /// Parcels delivered.
    pub delivered: u32,
    /// Parcels in all.
    pub parcels: u32,
    /// Where it is loaded.
    pub station: Spot,
    /// In the order in which they are driven to now.
    pub stops: Vec<StopView>,
}

/// A stop of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopView {
    /// Its number in the manifest.
    pub seq: u32,
    /// Its name.
    pub id: String,
    /// Where.
    pub at: Spot,
    /// `open`, `arrived`, `done`, `skipped`.
    pub state: String,
    /// What was promised.
    pub promised: Option<Window>,
    /// When the van will be there, or was.
    pub eta: Option<Window>,
    /// What is due there.
    pub parcels: Vec<StopParcel>,
}

/// A parcel of a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopParcel {
    /// Its number.
    pub number: String,
    /// Where it stands.
    pub status: super::parcel::Status,
}

/// A van's trail over some hours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DayView {
    /// Its id.
    pub van: String,
    /// What is shown.
    pub span: Window,
    /// `[ms since 1970, latitude, longitude, m/s or null]`, oldest first; thinned evenly above 5,000.
    pub trail: Vec<(i64, f64, f64, Option<f64>)>,
    /// What it said happened.
    pub events: Vec<DayEvent>,
    /// Records that have not arrived.
    pub gaps: Vec<GapView>,
}

/// An event of a van's day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DayEvent {
    /// When.
    pub at: String,
    /// `stop.arrived` and the like.
    pub kind: String,
    /// Numbers of at most ten of its parcels.
    pub parcels: Vec<String>,
    /// How many there are.
    pub parcels_total: u32,
    /// Number of its stop in the manifest.
    pub stop_seq: Option<u32>,
    /// Why not, of an attempt, a return or a damage.
    pub reason: Option<String>,
    /// Why somebody should look at it: `wrong_stop`, `unknown`, `recalled`, `finished`, `not_loaded`.
    pub alert: Option<String>,
    /// Where.
    pub spot: Option<Spot>,
}

/// Numbers of records between which something is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapView {
    /// The first number that is missing.
    pub from_seq: u64,
    /// The last.
    pub to_seq: u64,
    /// When the record before it was made.
    pub after: String,
    /// When the record behind it was made.
    pub before: String,
    /// `event` (one that the van numbered never came) or `trail` (longer without a point than any van is silent).
    pub lane: String,
}

/// Where a parcel was last, and what should have come next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceView {
    /// Its number.
    pub number: String,
    /// Its URI.
    pub epc: String,
    /// `none`, `open`, `found`, `lost`.
    pub case_state: String,
    /// What somebody wrote to it.
    pub case_note: Option<String>,
    /// What happened to it.
    pub timeline: Vec<Step>,
    /// Every event that names it, also those that changed nothing.
    pub sightings: Vec<Sighting>,
    /// The last of them that somebody or something really saw it at.
    pub last_seen: Option<Sighting>,
    /// The stop where it is due, if a route lists it.
    pub due: Option<String>,
    /// What should have come next and did not: a stage.
    pub expected: Option<super::parcel::Stage>,
    /// Where the van was from five minutes before to five after: as in [`DayView::trail`].
    pub trail: Vec<(i64, f64, f64, Option<f64>)>,
    /// Numbers of what else was handled at that place within ten minutes.
    pub handled_there: Vec<String>,
    /// What is suspicious, in words of the contract: `scan_outside`, `wrong_stop`, `tag_fell_silent`, `never_loaded`.
    pub suspicions: Vec<String>,
}

/// An event that saw a parcel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// When.
    pub at: String,
    /// `parcel.seen` and the like, or the `bizStep` of others.
    pub kind: String,
    /// By which van.
    pub van: Option<String>,
    /// At which stop.
    pub stop: Option<String>,
    /// Where.
    pub spot: Option<Spot>,
    /// Radius of that, m.
    pub acc_m: Option<f64>,
    /// From there to the stop where it is due, m.
    pub distance_m: Option<u32>,
    /// As in [`DayEvent::alert`].
    pub alert: Option<String>,
    /// As in [`DayEvent::reason`].
    pub reason: Option<String>,
    /// EPCIS `eventID`.
    pub event_id: String,
    /// Name of the token by which it was captured or listed, if it was.
    pub token: Option<String>,
}
