//! Read models for dispatchers: vans, a van's history and the trace of a missing parcel.

use serde::{Deserialize, Serialize};

use super::parcel::{GeoPoint, Step, Window};
use waypost_wire::payloads::{ConnectionState, Position, State};

/// Current status of a van.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VanView {
    pub van: String,
    /// Newest position; absent while off duty.
    pub position: Option<Position>,
    /// Age of the position in seconds.
    pub position_age_s: Option<u64>,
    /// Newest reported state.
    pub state: Option<State>,
    pub connection: Option<ConnectionState>,
    /// Time of the last message from the van.
    pub heard_at: String,
    pub route: Option<RouteView>,
    /// Conditions that need a dispatcher's attention, most severe first: `offline`, `no_fix`,
    /// `backlog`, `delayed`, `off_duty`, `gaps`, `manifest_refused`, `scan_outside`, `missing`,
    /// `other_domain`, `wrong_stop`, `not_assigned`, `other_route`.
    pub attention: Vec<String>,
    /// Delivery exceptions, newest first, at most 20.
    pub concerns: Vec<DeliveryException>,
    /// Domain in the van's parcel URIs, if it differs from our `parcels.domain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_domain: Option<String>,
    /// Number of its messages that were rejected in the last day; absent if none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub messages_rejected: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A parcel that is, or may be, in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryException {
    /// `scan_outside` (handed over away from its stop), `missing` (not found, or its tag is silent),
    /// `wrong_stop` (scanned at another stop and not seen since), `not_assigned` (the van reports a
    /// parcel that it was not given) or `other_route` (the van reports the route of another van).
    /// The last two change nothing else.
    pub kind: String,
    /// Parcel number; empty for `other_route`.
    pub number: String,
    /// Time of the report.
    pub at: String,
    /// Time of the last sighting; equals `at` unless the parcel is missing.
    pub seen_at: String,
    /// Stop at the place of the sighting, if any.
    pub stop: Option<String>,
    /// Stop where the parcel is due; for `not_assigned` and `other_route` the route in the event.
    pub due: String,
    /// Distance in metres from the last sighting to the due stop.
    pub distance_m: Option<u32>,
    /// Kind of the reported event, for `not_assigned` and `other_route`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<String>,
}

/// Progress of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    pub route: String,
    /// Stored revision.
    pub rev: u64,
    /// Revision in use on the van; absent if the van has not reported it.
    pub van_rev: Option<u64>,
    pub stops_done: u32,
    pub stops_total: u32,
    pub delivered: u32,
    /// Total number of parcels.
    pub parcels: u32,
    /// Station at which the van is loaded.
    pub station: GeoPoint,
    /// Stops in the current driving order; finished stops first.
    pub stops: Vec<StopView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopView {
    /// Stop number in the manifest.
    pub seq: u32,
    pub id: String,
    /// Position of the stop.
    pub at: GeoPoint,
    /// `open`, `arrived`, `done`, `skipped`.
    pub state: String,
    /// Promised time window.
    pub promised: Option<Window>,
    /// Expected arrival, or the actual visit.
    pub eta: Option<Window>,
    /// Parcels due at the stop.
    pub parcels: Vec<StopParcel>,
}

/// A parcel due at a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopParcel {
    pub number: String,
    pub status: super::parcel::Status,
}

/// A van's track, events and gaps over a time span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryView {
    pub van: String,
    /// Time span of the data.
    pub span: Window,
    /// Points as `[ms since 1970, latitude, longitude, m/s or null]`, oldest first; thinned evenly
    /// above 5,000 points.
    pub trail: Vec<(i64, f64, f64, Option<f64>)>,
    /// Events reported by the van.
    pub events: Vec<HistoryEvent>,
    /// Records that have not arrived.
    pub gaps: Vec<GapView>,
}

/// An event in a van's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEvent {
    pub at: String,
    /// Event kind, for example `stop.arrived`.
    pub kind: String,
    /// Numbers of at most ten of its parcels.
    pub parcels: Vec<String>,
    /// Total number of its parcels.
    pub parcels_total: u32,
    /// Stop number in the manifest.
    pub stop_seq: Option<u32>,
    /// Reason for an attempt, a return or a damage.
    pub reason: Option<String>,
    /// Why a dispatcher should check it: `wrong_stop`, `unknown`, `recalled`, `finished`,
    /// `not_loaded`.
    pub alert: Option<String>,
    pub spot: Option<GeoPoint>,
}

/// A range of missing record numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapView {
    /// First missing number.
    pub from_seq: u64,
    /// Last missing number.
    pub to_seq: u64,
    /// Time of the record before the gap.
    pub after: String,
    /// Time of the record after the gap.
    pub before: String,
    /// `event` (a numbered event never arrived) or `trail` (longer without a point than any van
    /// stays silent).
    pub lane: String,
}

/// Trace of a parcel: all sightings, the last known place and the expected next stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceView {
    pub number: String,
    pub epc: String,
    /// `none`, `open`, `found`, `lost`.
    pub case_state: String,
    /// Note of the dispatcher.
    pub case_note: Option<String>,
    pub timeline: Vec<Step>,
    /// Every event that names the parcel, including those that changed nothing.
    pub sightings: Vec<Sighting>,
    /// Last physical sighting; inferred events do not count.
    pub last_seen: Option<Sighting>,
    /// Stop where it is due, if a route lists it.
    pub due: Option<String>,
    /// Stage that should have come next.
    pub expected: Option<super::parcel::Stage>,
    /// Track of the van from five minutes before to five minutes after the last sighting; format as
    /// in `HistoryView::trail`.
    pub trail: Vec<(i64, f64, f64, Option<f64>)>,
    /// Numbers of other parcels handled at that place within ten minutes.
    pub handled_there: Vec<String>,
    /// Suspicious circumstances, in the contract's terms: `scan_outside`, `wrong_stop`,
    /// `tag_fell_silent`, `never_loaded`.
    pub suspicions: Vec<String>,
    /// URIs of other parcels that match the same number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
}

/// An event that names a parcel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    pub at: String,
    /// Event kind, for example `parcel.seen`; for other parties the `bizStep`.
    pub kind: String,
    pub van: Option<String>,
    pub stop: Option<String>,
    pub spot: Option<GeoPoint>,
    /// Accuracy radius of the position in metres.
    pub acc_m: Option<f64>,
    /// Distance in metres from that position to the due stop.
    pub distance_m: Option<u32>,
    /// Same values as `HistoryEvent::alert`.
    pub alert: Option<String>,
    /// Same values as `HistoryEvent::reason`.
    pub reason: Option<String>,
    /// EPCIS `eventID`.
    pub event_id: String,
    /// Name of the API token that captured or imported the event; absent for van events.
    pub token: Option<String>,
}
