//! Everything that names a parcel → [`TraceView`]: where it was last, and what should have come next.

use super::concern::{astray_m, is_outside};
use super::desk::{Sighting, TraceView};
use super::fact::{Fact, WRONG_STOP, What, valid};
use super::known::{KnownParcel, KnownRoute};
use super::parcel::Stage;
use super::timeline::Timeline;
use crate::backend::event::Origin;
use crate::core::delivery::manifest::Stop;
use crate::units::{Position, UtcTime};

/// What else was handled there: at most so far away, and so much before or after.
const NEAR_M: f64 = 150.0;
/// See `NEAR_M`.
pub const AROUND_MS: i64 = 10 * 60_000;
/// A dispatcher does not read more numbers.
const MOST_HANDLED: usize = 100;

/// What a trace is made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The parcel.
    pub parcel: &'a KnownParcel,
    /// Everything that names it, in any order.
    pub facts: &'a [Fact],
    /// The route that lists it.
    pub route: Option<&'a KnownRoute>,
    /// What the van that last saw it said about that time.
    pub around: &'a [Fact],
    /// Where that van was about that time.
    pub trail: &'a [(i64, f64, f64, Option<f64>)],
}

/// The trace of a parcel.
#[must_use]
pub fn trace(inputs: &Inputs<'_>) -> TraceView {
    let Inputs { parcel, facts, route, around, trail } = *inputs;
    let station = route.map(|route| route.manifest.station.id.as_str());
    let timeline = Timeline::of(facts, &parcel.epc, station);
    let mut all: Vec<&Fact> = facts.iter().collect();
    all.sort_by(|one, other| {
        said_at(one).cmp(&said_at(other)).then_with(|| one.key().cmp(&other.key()))
    });
    all.dedup();
    let last = last_seen(facts, &parcel.epc);
    let due = route.and_then(|route| Some(&route.manifest.stops[route.stop_of(&parcel.epc)?]));
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
        handled_there: last.map(|last| handled(last, around, &parcel.epc)).unwrap_or_default(),
        suspicions: suspicions(&timeline, facts, inputs),
    }
}

/// The newest fact that somebody or something saw a parcel by: a scan, a tag, another's event. What a van concludes of
/// all that it has on board is none.
#[must_use]
pub fn last_seen<'a>(facts: &'a [Fact], epc: &str) -> Option<&'a Fact> {
    valid(facts).into_iter().rev().find(|fact| fact.names(epc) && !is_concluded(fact))
}

/// Whether a van concluded it of all that it has on board, so that nobody and nothing saw one parcel of it.
#[must_use]
pub fn is_concluded(fact: &Fact) -> bool {
    let of_all = matches!(
        fact.stage(),
        Some(Stage::Announced | Stage::OutForDelivery | Stage::Arrived | Stage::NotFound)
    );
    of_all && fact.origin == Origin::Van
        || fact.what == What::Completed
        || fact.kind == "route.assigned"
}

fn said_at(fact: &Fact) -> UtcTime {
    fact.declared.unwrap_or(fact.time)
}

fn sighting(fact: &Fact, route: Option<&KnownRoute>, due: Option<&Stop>) -> Sighting {
    let manifest = route.map(|route| &route.manifest);
    let manifest =
        manifest.filter(|manifest| fact.route.as_deref() == Some(manifest.route.as_str()));
    let stop = fact.stop_seq.map(|seq| {
        let stop = manifest.and_then(|manifest| manifest.stops.iter().find(|stop| stop.seq == seq));
        stop.map_or_else(|| seq.to_string(), |stop| stop.id.clone())
    });
    let kind = if fact.declared.is_some() { "event.retracted" } else { &fact.kind };
    Sighting {
        at: said_at(fact).to_string(),
        kind: kind.to_owned(),
        van: fact.van.clone(),
        stop,
        spot: fact.spot,
        acc_m: fact.acc_m,
        distance_m: due.and_then(|due| astray_m(fact.spot, due)),
        alert: fact.said.alert.clone(),
        reason: fact.said.reason.clone(),
        event_id: fact.event_id.clone(),
        token: fact.token.clone(),
    }
}

/// What comes next on the usual way; `None` once it is over.
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
        Some(Stage::Attempted | Stage::Damaged) => Stage::Returned,
        Some(Stage::Delivered | Stage::NotFound) => return None,
    })
}

/// Numbers of what else was scanned by the same van at that place and time.
fn handled(last: &Fact, around: &[Fact], epc: &str) -> Vec<String> {
    let here = last.spot.and_then(|spot| Position::from_degrees(spot.lat, spot.lon));
    let same_place = |fact: &Fact| {
        let there = fact.spot.and_then(|spot| Position::from_degrees(spot.lat, spot.lon));
        match here.zip(there) {
            Some((here, there)) => here.distance_to(there).as_metres() <= NEAR_M,
            None => fact.location.is_some() && fact.location == last.location,
        }
    };
    // Of a van's whole load nothing was handled.
    let scanned = |fact: &&Fact| {
        !matches!(fact.stage(), Some(Stage::OutForDelivery | Stage::Announced))
            && !matches!(fact.kind.as_str(), "van.inventory" | "route.completed")
    };
    let mut numbers = Vec::new();
    for fact in valid(around).into_iter().filter(scanned) {
        let close = fact.time.millis_since(last.time).abs() <= AROUND_MS && same_place(fact);
        for other in fact.epcs.iter().filter(|other| close && *other != epc) {
            let number = number_of(other);
            if numbers.len() < MOST_HANDLED && !numbers.contains(&number) {
                numbers.push(number);
            }
        }
    }
    numbers
}

fn suspicions(timeline: &Timeline<'_>, facts: &[Fact], inputs: &Inputs<'_>) -> Vec<String> {
    let epc = inputs.parcel.epc.as_str();
    let counts = valid(facts);
    let of_route = inputs.route.map(|route| valid(&route.facts)).unwrap_or_default();
    let silent = |fact: &&Fact| fact.said.missing.iter().any(|one| one == epc);
    let loaded = counts.iter().any(|fact| fact.names(epc) && fact.stage() == Some(Stage::Loaded));
    let left = of_route.iter().any(|fact| fact.stage() == Some(Stage::OutForDelivery));
    let found = [
        ("scan_outside", timeline.delivered.is_some_and(is_outside)),
        ("wrong_stop", counts.iter().any(|f| f.said.alert.as_deref() == Some(WRONG_STOP))),
        ("tag_fell_silent", of_route.iter().any(silent)),
        ("never_loaded", left && !loaded && timeline.delivered.is_none()),
    ];
    found.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect()
}

/// The number in a URI of ours or of GS1's.
#[must_use]
pub fn number_of(epc: &str) -> String {
    epc.rsplit('/').next().unwrap_or(epc).to_owned()
}
