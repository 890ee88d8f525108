//! Delivery exceptions: parcels on a route about which a dispatcher should ask the driver.
//!
//! Derived from the events of the route's van. Any later sighting at the expected place (delivery
//! at its stop, scan, RFID read) clears an exception automatically. Dispatchers never dismiss one
//! by hand.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::dispatcher::DeliveryException;
use super::inputs::RouteInput;
use super::parcel::{GeoPoint, Stage};
use super::progress::{ParcelLocation, Progress};
use super::tracking_event::is_inferred;
use super::tracking_event::{SCAN_OUTSIDE, TrackingEvent, WRONG_STOP, valid_events};
use crate::store::assignments::UnassignedEvent;
use waypost_model::manifest::Stop;
use waypost_model::units::{Position, UtcTime};

/// Exception for a parcel that the reporting van was not given.
pub const NOT_ASSIGNED: &str = "not_assigned";
/// Exception for the route of another van.
pub const OTHER_ROUTE: &str = "other_route";

/// Maximum number of exceptions per route; older ones are omitted.
const MAX_EXCEPTIONS: usize = 20;
/// A tag counts as silent after this time. Other parcels may shield it briefly; the van reports a
/// reappearing tag within a minute.
const TAG_SILENT_AFTER_MS: i64 = 3 * 60_000;
/// Time allowed for unloading after the route's end. A parcel not scanned by then counts as
/// missing.
const UNLOAD_TIME: Duration = Duration::from_mins(10);
/// Minimum matching radius around a stop, in metres; used if the stop's geofence is smaller.
const NEAR_M: f64 = 60.0;

/// Returns the exceptions of a route, newest first, at most 20.
#[must_use]
pub fn find_exceptions(
    route: &RouteInput,
    progress: &Progress,
    now: UtcTime,
) -> Vec<DeliveryException> {
    let facts = valid_events(&route.events);
    let mut named: HashMap<&str, &TrackingEvent> = HashMap::new();
    let mut last: HashMap<&str, &TrackingEvent> = HashMap::new();
    let mut outside: HashMap<&str, &TrackingEvent> = HashMap::new();
    let mut not_found: HashMap<&str, &TrackingEvent> = HashMap::new();
    for fact in &facts {
        let of = match fact.stage() {
            Some(Stage::Delivered) if is_delivered_outside(fact) => Some(&mut outside),
            Some(Stage::NotFound) => Some(&mut not_found),
            _ => None,
        };
        if let Some(of) = of {
            of.extend(fact.epcs.iter().map(|epc| (epc.as_str(), *fact)));
        }
        named.extend(fact.epcs.iter().map(|epc| (epc.as_str(), *fact)));
        if !is_inferred(fact) {
            last.extend(fact.epcs.iter().map(|epc| (epc.as_str(), *fact)));
        }
    }
    let silent = silent_tags(&facts, now);
    let unloaded = unload_deadline(progress).is_some_and(|at| now >= at);
    let mut found = Vec::new();
    for (index, (stop, epcs)) in route.manifest.stops.iter().zip(route.epcs.iter()).enumerate() {
        for (place, (listed, epc)) in stop.parcels.iter().zip(epcs).enumerate() {
            let epc = epc.as_str();
            let whereabouts = progress.stops[index].parcels[place];
            let lost = whereabouts == ParcelLocation::Ended(Stage::NotFound);
            let seen = last.get(epc).copied();
            let stayed_out = whereabouts == ParcelLocation::OutForDelivery && unloaded;
            let wrong = |fact: &&TrackingEvent| fact.details.alert.as_deref() == Some(WRONG_STOP);
            let (kind, fact) = if let Some(fact) = outside.get(epc) {
                (SCAN_OUTSIDE, *fact)
            } else if let Some(fact) = not_found.get(epc).filter(|_| lost) {
                ("missing", *fact)
            } else if let Some(fact) =
                silent.get(epc).or(named.get(epc).filter(|_| stayed_out)).copied()
            {
                ("missing", fact)
            } else if let Some(fact) = seen.filter(wrong) {
                (WRONG_STOP, fact)
            } else {
                continue;
            };
            found
                .push((fact.time, build_exception(kind, (fact, seen), &listed.key, (route, stop))));
        }
    }
    found.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| a.number.cmp(&b.number)));
    found.into_iter().map(|(_, concern)| concern).take(MAX_EXCEPTIONS).collect()
}

/// Whether the parcel was handed over away from its stop.
#[must_use]
pub fn is_delivered_outside(fact: &TrackingEvent) -> bool {
    fact.stage() == Some(Stage::Delivered)
        && (fact.details.method.as_deref() == Some(SCAN_OUTSIDE)
            || fact.details.inside == Some(false))
}

/// Deadline for unloading: a parcel that is neither delivered nor returned by then is missing.
#[must_use]
pub fn unload_deadline(progress: &Progress) -> Option<UtcTime> {
    progress.completed?.checked_add(UNLOAD_TIME)
}

/// Distance in metres from a sighting to the stop where the parcel is due.
#[must_use]
pub fn distance_from_due_stop_m(spot: Option<GeoPoint>, due: &Stop) -> Option<u32> {
    let road_distance_m = due.position.distance_to(position(spot?)?).as_metres();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "no two places are farther apart than half the Earth's circumference"
    )]
    Some(road_distance_m.round() as u32)
}

/// Builds an exception. For a missing parcel the place is that of its last sighting; otherwise it
/// is that of the reported event.
fn build_exception(
    kind: &str,
    (fact, seen): (&TrackingEvent, Option<&TrackingEvent>),
    number: &str,
    (route, due): (&RouteInput, &Stop),
) -> DeliveryException {
    let at = if kind == "missing" { seen.unwrap_or(fact) } else { fact };
    DeliveryException {
        kind: kind.to_owned(),
        number: number.to_owned(),
        at: fact.time.to_string(),
        seen_at: at.time.to_string(),
        stop: nearest_stop(route, at.spot).map(|stop| stop.id.clone()),
        due: due.id.clone(),
        distance_m: distance_from_due_stop_m(at.spot, due),
        reported: None,
    }
}

/// Exceptions for events about parcels and routes that a van was not given: the newest one of each
/// parcel and route.
#[must_use]
pub fn unassigned_exceptions(events: &[UnassignedEvent]) -> Vec<DeliveryException> {
    let mut known = HashSet::new();
    let newest = events.iter().filter(|event| {
        known.insert((&event.number, event.route.as_ref().filter(|_| event.number.is_none())))
    });
    let build = |event: &UnassignedEvent| DeliveryException {
        kind: if event.number.is_some() { NOT_ASSIGNED } else { OTHER_ROUTE }.to_owned(),
        number: event.number.clone().unwrap_or_default(),
        at: event.time.to_string(),
        seen_at: event.time.to_string(),
        stop: None,
        due: event.route.clone().unwrap_or_default(),
        distance_m: None,
        reported: Some(event.kind.clone()),
    };
    newest.map(build).collect()
}

/// Parcels whose tags are silent in the newest inventory and that no later event names. One
/// inventory may span several events.
fn silent_tags<'a>(
    facts: &[&'a TrackingEvent],
    now: UtcTime,
) -> HashMap<&'a str, &'a TrackingEvent> {
    let newest = facts.iter().rev().find(|fact| fact.kind == "van.inventory");
    let Some(newest) = newest.filter(|fact| now.millis_since(fact.time) > TAG_SILENT_AFTER_MS)
    else {
        return HashMap::new();
    };
    let of_it = facts.iter().filter(|fact| fact.kind == newest.kind && fact.time == newest.time);
    let mut silent: HashMap<&str, &TrackingEvent> = of_it
        .flat_map(|fact| fact.details.missing.iter().map(|epc| (epc.as_str(), *fact)))
        .collect();
    for fact in facts.iter().filter(|fact| fact.time > newest.time) {
        for epc in &fact.epcs {
            silent.remove(epc.as_str());
        }
    }
    silent
}

/// The stop at this position, if any.
fn nearest_stop(route: &RouteInput, spot: Option<GeoPoint>) -> Option<&Stop> {
    let here = position(spot?)?;
    let stops = route.manifest.stops.iter();
    let ways = stops.map(|stop| (stop.position.distance_to(here).as_metres(), stop));
    let (road_distance_m, stop) = ways.min_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (road_distance_m <= stop.radius.as_metres().max(NEAR_M)).then_some(stop)
}

fn position(spot: GeoPoint) -> Option<Position> {
    Position::from_degrees(spot.lat, spot.lon)
}
