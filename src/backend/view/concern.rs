//! What a van said of its route → [`Concern`]s: the parcels of which a dispatcher should ask the driver.
//!
//! A parcel is of no concern any more as soon as somebody or something saw it where it belongs: a hand-over at its stop, a
//! scan, its radio tag. So none of them has to be dismissed by hand, and none stays that has settled itself.

use std::collections::HashMap;
use std::time::Duration;

use super::desk::Concern;
use super::fact::{Fact, OUTSIDE, WRONG_STOP, valid};
use super::known::KnownRoute;
use super::parcel::{Spot, Stage};
use super::progress::{Progress, Whereabouts};
use super::trace::is_concluded;
use crate::core::delivery::manifest::Stop;
use crate::units::{Position, UtcTime};

/// A dispatcher looks at so many at once.
const MOST: usize = 20;
/// A tag that is not read for a moment is hidden behind other parcels: it says so itself within a minute.
const SILENT_MS: i64 = 3 * 60_000;
/// So long a van may be unloaded after its route; what was not scanned by then did not come back.
const UNLOADED: Duration = Duration::from_mins(10);
/// A van that scans so near a stop stands there, if that is more than its fence.
const NEAR_M: f64 = 60.0;

/// The parcels of a route that somebody should look at, newest first.
#[must_use]
pub fn concerns(route: &KnownRoute, progress: &Progress, now: UtcTime) -> Vec<Concern> {
    let facts = valid(&route.facts);
    let mut named: HashMap<&str, &Fact> = HashMap::new();
    let mut last: HashMap<&str, &Fact> = HashMap::new();
    let mut outside: HashMap<&str, &Fact> = HashMap::new();
    let mut not_found: HashMap<&str, &Fact> = HashMap::new();
    for fact in &facts {
        let of = match fact.stage() {
            Some(Stage::Delivered) if is_outside(fact) => Some(&mut outside),
            Some(Stage::NotFound) => Some(&mut not_found),
            _ => None,
        };
        if let Some(of) = of {
            of.extend(fact.epcs.iter().map(|epc| (epc.as_str(), *fact)));
        }
        named.extend(fact.epcs.iter().map(|epc| (epc.as_str(), *fact)));
        if !is_concluded(fact) {
            last.extend(fact.epcs.iter().map(|epc| (epc.as_str(), *fact)));
        }
    }
    let silent = silent(&facts, now);
    let unloaded = unloaded_at(progress).is_some_and(|at| now >= at);
    let mut found = Vec::new();
    for (index, (stop, epcs)) in route.manifest.stops.iter().zip(route.epcs.iter()).enumerate() {
        for (place, (listed, epc)) in stop.parcels.iter().zip(epcs).enumerate() {
            let epc = epc.as_str();
            let whereabouts = progress.stops[index].parcels[place];
            let lost = whereabouts == Whereabouts::Ended(Stage::NotFound);
            let seen = last.get(epc).copied();
            let stayed_out = whereabouts == Whereabouts::Out && unloaded;
            let wrong = |fact: &&Fact| fact.said.alert.as_deref() == Some(WRONG_STOP);
            let (kind, fact) = if let Some(fact) = outside.get(epc) {
                (OUTSIDE, *fact)
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
            found.push((fact.time, concern(kind, (fact, seen), &listed.key, (route, stop))));
        }
    }
    found.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| a.number.cmp(&b.number)));
    found.into_iter().map(|(_, concern)| concern).take(MOST).collect()
}

/// A parcel was handed over where it was not due.
#[must_use]
pub fn is_outside(fact: &Fact) -> bool {
    fact.stage() == Some(Stage::Delivered)
        && (fact.said.method.as_deref() == Some(OUTSIDE) || fact.said.inside == Some(false))
}

/// When nothing of this route is on board any more: what did not come back until then is lost.
#[must_use]
pub fn unloaded_at(progress: &Progress) -> Option<UtcTime> {
    progress.completed?.checked_add(UNLOADED)
}

/// Metres from where something was seen to the stop where it is due.
#[must_use]
pub fn astray_m(spot: Option<Spot>, due: &Stop) -> Option<u32> {
    let way_m = due.position.distance_to(position(spot?)?).as_metres();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "no two places are farther apart than half the Earth's circumference"
    )]
    Some(way_m.round() as u32)
}

/// Of a missing parcel it matters where it was seen last, of others where that was which should not have been.
fn concern(
    kind: &str,
    (fact, seen): (&Fact, Option<&Fact>),
    number: &str,
    (route, due): (&KnownRoute, &Stop),
) -> Concern {
    let at = if kind == "missing" { seen.unwrap_or(fact) } else { fact };
    Concern {
        kind: kind.to_owned(),
        number: number.to_owned(),
        at: fact.time.to_string(),
        seen_at: at.time.to_string(),
        stop: stop_at(route, at.spot).map(|stop| stop.id.clone()),
        due: due.id.clone(),
        distance_m: astray_m(at.spot, due),
    }
}

/// The parcels whose tags are silent by the newest inventory, which may be told in several events, and of which nothing
/// was said since.
fn silent<'a>(facts: &[&'a Fact], now: UtcTime) -> HashMap<&'a str, &'a Fact> {
    let newest = facts.iter().rev().find(|fact| fact.kind == "van.inventory");
    let Some(newest) = newest.filter(|fact| now.millis_since(fact.time) > SILENT_MS) else {
        return HashMap::new();
    };
    let of_it = facts.iter().filter(|fact| fact.kind == newest.kind && fact.time == newest.time);
    let mut silent: HashMap<&str, &Fact> =
        of_it.flat_map(|fact| fact.said.missing.iter().map(|epc| (epc.as_str(), *fact))).collect();
    for fact in facts.iter().filter(|fact| fact.time > newest.time) {
        for epc in &fact.epcs {
            silent.remove(epc.as_str());
        }
    }
    silent
}

/// The stop at which that was.
fn stop_at(route: &KnownRoute, spot: Option<Spot>) -> Option<&Stop> {
    let here = position(spot?)?;
    let stops = route.manifest.stops.iter();
    let ways = stops.map(|stop| (stop.position.distance_to(here).as_metres(), stop));
    let (way_m, stop) = ways.min_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (way_m <= stop.radius.as_metres().max(NEAR_M)).then_some(stop)
}

fn position(spot: Spot) -> Option<Position> {
    Position::from_degrees(spot.lat, spot.lon)
}
