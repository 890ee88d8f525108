//! Trace of a parcel from every event that names it: the last known place and the expected next
//! stage.

use super::dispatcher::{Sighting, TraceView};
use super::exceptions::{NOT_ASSIGNED, distance_from_due_stop_m, is_delivered_outside};
use super::inputs::{ParcelInput, RouteInput};
use super::parcel::Stage;
use super::timeline::Timeline;
use super::tracking_event::{TrackingEvent, WRONG_STOP, is_inferred, valid_events};
use waypost_model::manifest::Stop;
use waypost_model::units::{Position, UtcTime};

/// Maximum distance in metres for parcels handled at the same place.
const NEAR_M: f64 = 150.0;
/// Maximum time difference in milliseconds for parcels handled at the same time.
pub const AROUND_MS: i64 = 10 * 60_000;
/// Maximum number of such parcels in a trace.
const MAX_HANDLED: usize = 100;

/// Input of a trace.
#[derive(Clone, Copy, Debug)]
pub struct TraceInput<'a> {
    pub parcel: &'a ParcelInput,
    /// Every event that names the parcel, in any order.
    pub events: &'a [TrackingEvent],
    /// Route that lists the parcel, if any.
    pub route: Option<&'a RouteInput>,
    /// Events around the last sighting, of the van that made it.
    pub nearby_events: &'a [TrackingEvent],
    /// Track of that van around that time.
    pub trail: &'a [(i64, f64, f64, Option<f64>)],
}

/// Builds the trace of a parcel.
#[must_use]
pub fn trace(inputs: &TraceInput<'_>) -> TraceView {
    let TraceInput { parcel, events: facts, route, nearby_events: around, trail } = *inputs;
    let station = route.map(|route| route.manifest.station.id.as_str());
    let timeline = Timeline::for_parcel(facts, &parcel.epc, station);
    let mut all: Vec<&TrackingEvent> = facts.iter().collect();
    all.sort_by(|one, other| {
        reported_at(one)
            .cmp(&reported_at(other))
            .then_with(|| one.sort_key().cmp(&other.sort_key()))
    });
    all.dedup();
    let last = last_seen(facts, &parcel.epc);
    let due = route.and_then(|route| Some(&route.manifest.stops[route.stop_index(&parcel.epc)?]));
    TraceView {
        number: parcel.number.clone(),
        epc: parcel.epc.clone(),
        case_state: parcel.case_state.clone(),
        case_note: parcel.case_note.clone(),
        timeline: timeline.steps(),
        sightings: all.into_iter().map(|fact| sighting(fact, route, due)).collect(),
        last_seen: last.map(|fact| sighting(fact, route, due)),
        due: due.map(|stop| stop.id.clone()),
        expected: expected(&timeline, route.is_some()),
        trail: trail.to_vec(),
        handled_there: last
            .map(|last| handled_nearby(last, around, &parcel.epc))
            .unwrap_or_default(),
        suspicions: suspicions(&timeline, facts, inputs),
        others: Vec::new(),
    }
}

/// Newest physical sighting of a parcel: a scan, a tag read or another party's event. Events that a
/// van infers for its whole load do not count.
#[must_use]
pub fn last_seen<'a>(facts: &'a [TrackingEvent], epc: &str) -> Option<&'a TrackingEvent> {
    valid_events(facts).into_iter().rev().find(|fact| fact.mentions(epc) && !is_inferred(fact))
}

fn reported_at(fact: &TrackingEvent) -> UtcTime {
    fact.retracted_at.unwrap_or(fact.time)
}

fn sighting(fact: &TrackingEvent, route: Option<&RouteInput>, due: Option<&Stop>) -> Sighting {
    let manifest = route.map(|route| &route.manifest);
    let manifest =
        manifest.filter(|manifest| fact.route.as_deref() == Some(manifest.route.as_str()));
    let stop = fact.stop_seq.map(|seq| {
        let stop = manifest.and_then(|manifest| manifest.stops.iter().find(|stop| stop.seq == seq));
        stop.map_or_else(|| seq.to_string(), |stop| stop.id.clone())
    });
    let kind = if fact.retracted_at.is_some() { "event.retracted" } else { &fact.kind };
    Sighting {
        at: reported_at(fact).to_string(),
        kind: kind.to_owned(),
        van: fact.van.clone(),
        stop,
        spot: fact.spot,
        acc_m: fact.acc_m,
        distance_m: due.and_then(|due| distance_from_due_stop_m(fact.spot, due)),
        alert: match fact.is_entitled {
            true => fact.details.alert.clone(),
            false => Some(NOT_ASSIGNED.to_owned()),
        },
        reason: fact.details.reason.clone(),
        event_id: fact.event_id.clone(),
        token: fact.token.clone(),
    }
}

/// Usual next stage; `None` after the last one.
fn expected(timeline: &Timeline<'_>, on_a_route: bool) -> Option<Stage> {
    let newest = timeline.newest.and_then(|fact| timeline.stage(fact));
    Some(match newest {
        None | Some(Stage::Announced | Stage::PreferenceChanged) if on_a_route => Stage::Loaded,
        None | Some(Stage::Announced | Stage::PreferenceChanged | Stage::Packed) => Stage::Shipped,
        Some(Stage::Shipped | Stage::PickedUp) => Stage::ArrivedAtHub,
        Some(Stage::ArrivedAtHub) => Stage::Sorted,
        Some(Stage::Sorted) if on_a_route => Stage::AtStation,
        Some(Stage::Sorted) => Stage::Shipped,
        Some(Stage::AtStation | Stage::LeftBehind | Stage::Returned) => Stage::Loaded,
        Some(Stage::Loaded) => Stage::OutForDelivery,
        Some(Stage::OutForDelivery) => Stage::Arrived,
        Some(Stage::Arrived) => Stage::Delivered,
        Some(Stage::AvailableForPickup) => Stage::Delivered,
        Some(Stage::Attempted | Stage::Damaged | Stage::Exception) => Stage::Returned,
        Some(Stage::Delivered | Stage::NotFound) => return None,
    })
}

/// Numbers of the other parcels that the same van scanned at that place and time.
fn handled_nearby(last: &TrackingEvent, around: &[TrackingEvent], epc: &str) -> Vec<String> {
    let here = last.spot.and_then(|spot| Position::from_degrees(spot.lat, spot.lon));
    let same_place = |fact: &TrackingEvent| {
        let there = fact.spot.and_then(|spot| Position::from_degrees(spot.lat, spot.lon));
        match here.zip(there) {
            Some((here, there)) => here.distance_to(there).as_metres() <= NEAR_M,
            None => fact.location.is_some() && fact.location == last.location,
        }
    };
    // Events about a van's whole load do not show that a parcel was handled.
    let scanned = |fact: &&TrackingEvent| {
        !matches!(fact.stage(), Some(Stage::OutForDelivery | Stage::Announced))
            && !matches!(fact.kind.as_str(), "van.inventory" | "route.completed")
    };
    let mut numbers = Vec::new();
    for fact in valid_events(around).into_iter().filter(scanned) {
        let close = fact.time.millis_since(last.time).abs() <= AROUND_MS && same_place(fact);
        for other in fact.epcs.iter().filter(|other| close && *other != epc) {
            let number = number_from_uri(other);
            if numbers.len() < MAX_HANDLED && !numbers.contains(&number) {
                numbers.push(number);
            }
        }
    }
    numbers
}

fn suspicions(
    timeline: &Timeline<'_>,
    facts: &[TrackingEvent],
    inputs: &TraceInput<'_>,
) -> Vec<String> {
    let epc = inputs.parcel.epc.as_str();
    let counts = valid_events(facts);
    let of_route = inputs.route.map(|route| valid_events(&route.events)).unwrap_or_default();
    let silent = |fact: &&TrackingEvent| fact.details.missing.iter().any(|one| one == epc);
    let loaded =
        counts.iter().any(|fact| fact.mentions(epc) && fact.stage() == Some(Stage::Loaded));
    let left = of_route.iter().any(|fact| fact.stage() == Some(Stage::OutForDelivery));
    let found = [
        ("scan_outside", timeline.delivered.is_some_and(is_delivered_outside)),
        ("wrong_stop", counts.iter().any(|f| f.details.alert.as_deref() == Some(WRONG_STOP))),
        ("tag_fell_silent", of_route.iter().any(silent)),
        ("never_loaded", left && !loaded && timeline.delivered.is_none()),
    ];
    found.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect()
}

/// The parcel number in a GS1 URI or in one of ours.
#[must_use]
pub fn number_from_uri(epc: &str) -> String {
    epc.rsplit('/').next().unwrap_or(epc).to_owned()
}
