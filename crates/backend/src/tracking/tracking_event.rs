//! `TrackingEvent`: the part of an event that the views use, parsed once. A route's tracking events
//! stay in memory, its full events do not.
//!
//! Events of other parties use the business steps of CBV 2.0 §7.1. They may have three extension
//! members: place name (`PLACE_MEMBER`), carrier (`CARRIER_MEMBER`) and reason (`REASON_MEMBER`).

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::parcel::{GeoPoint, Stage};
use crate::event::{Event, Origin, RETRACTS_OTHERS, Role, token_name};
use waypost_model::units::UtcTime;

/// Member with the display name of a place.
pub const PLACE_MEMBER: &str = "waypost:place";
/// Member with the display name of a carrier.
pub const CARRIER_MEMBER: &str = "waypost:carrier";
/// Member with the reason, one of the contract's values.
pub const REASON_MEMBER: &str = "waypost:reason";

/// Proof method of a delivery away from the parcel's stop.
pub const SCAN_OUTSIDE: &str = "scan_outside";

/// Alert of a scan away from the parcel's due stop.
pub const WRONG_STOP: &str = "wrong_stop";

/// Prefix of the kind of an imported event, as in `import.collected`.
pub const IMPORT_PREFIX: &str = "import.";

/// Authority of a retraction that applies to the events of every token.
pub const ANY_TOKEN: &str = "*";

/// Status values in carrier imports, with the stage of each.
pub const IMPORT_STATUSES: &[(&str, Stage)] = &[
    ("announced", Stage::Announced),
    ("packed", Stage::Packed),
    ("shipped", Stage::Shipped),
    ("collected", Stage::PickedUp),
    ("in_transit", Stage::Shipped),
    ("departed_hub", Stage::Shipped),
    ("arrived_at_hub", Stage::ArrivedAtHub),
    ("sorted", Stage::Sorted),
    ("handed_over", Stage::PickedUp),
    ("at_station", Stage::AtStation),
    ("out_for_delivery", Stage::OutForDelivery),
    ("delivered", Stage::Delivered),
    ("attempted", Stage::Attempted),
    ("available_for_pickup", Stage::AvailableForPickup),
    ("returned", Stage::Returned),
    ("exception", Stage::Exception),
];

/// CBV 2.0 §7.1: business steps of other parties, without their URI prefix.
const BIZ_STEPS: &[(&str, Stage)] = &[
    ("packing", Stage::Packed),
    ("staging_outbound", Stage::Packed),
    ("shipping", Stage::Shipped),
    ("departing", Stage::Shipped),
    ("transporting", Stage::Shipped),
    ("accepting", Stage::PickedUp),
    ("collecting", Stage::PickedUp),
    ("receiving", Stage::ArrivedAtHub),
    ("arriving", Stage::ArrivedAtHub),
    ("storing", Stage::ArrivedAtHub),
    ("unloading", Stage::ArrivedAtHub),
    ("void_shipping", Stage::LeftBehind),
];

/// Kinds of van and backend events, with the stage of each.
const VAN_EVENT_KINDS: &[(&str, Stage)] = &[
    ("route.assigned", Stage::Announced),
    ("parcel.loaded", Stage::Loaded),
    ("route.departed", Stage::OutForDelivery),
    ("stop.arrived", Stage::Arrived),
    ("parcel.delivered", Stage::Delivered),
    ("parcel.attempted", Stage::Attempted),
    ("parcel.returned", Stage::Returned),
    ("parcel.damaged", Stage::Damaged),
    ("parcel.not_found", Stage::NotFound),
    ("parcel.void", Stage::LeftBehind),
];

/// Effect of an event on a parcel or route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventEffect {
    /// Changes the parcel's stage.
    Stage(Stage),
    /// The route is completed.
    Completed,
    /// A sighting, or a report of a missing parcel, without a change of stage.
    Seen,
}

/// The part of an event that the views use. Events are ordered by time, then by their texts, so any
/// arrival order gives the same list.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackingEvent {
    pub time: UtcTime,
    pub effect: EventEffect,
    /// EPCIS `eventID`.
    pub event_id: String,
    /// Authority that may retract the event: the van's URI, the capturing token, or the backend
    /// itself. A retraction that applies to all tokens has `ANY_TOKEN`.
    pub authority: String,
    /// Name of the API token that sent the event, if any.
    pub token: Option<String>,
    /// Time of the retraction; set only on retractions.
    pub retracted_at: Option<UtcTime>,
    pub origin: Origin,
    /// Whether the sender may speak about the parcel. Events of a van that was not given the parcel
    /// are shown to dispatchers, and change nothing.
    pub is_entitled: bool,
    pub van: Option<String>,
    pub route: Option<String>,
    /// Event kind, for example `parcel.seen`; for other parties the business step.
    pub kind: String,
    /// URIs of the parcels that the event is about, without parents.
    pub epcs: Vec<String>,
    /// URI of the location after the event, or of the read point.
    pub location: Option<String>,
    pub spot: Option<GeoPoint>,
    /// Accuracy radius of the position in metres.
    pub acc_m: Option<f64>,
    /// Stop number in the manifest.
    pub stop_seq: Option<u32>,
    /// Rare members. Most events have none and share one empty value.
    pub details: Arc<EventDetails>,
}

/// Members that only few events have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventDetails {
    /// Reason of a failed delivery.
    pub reason: Option<String>,
    /// Number of the delivery attempt.
    pub attempt: Option<u64>,
    /// Delivery outcome, as in the contract.
    pub outcome: Option<String>,
    /// `scan_in_geofence`, `scan_outside`, `manual`.
    pub method: Option<String>,
    /// Whether the scan was inside the stop's geofence.
    pub inside: Option<bool>,
    /// Delivery preferences that the van knew.
    pub preferences: super::parcel::DeliveryPreference,
    /// Why a dispatcher should check the event.
    pub alert: Option<String>,
    /// Canonical URIs of the parcels whose tags fell silent.
    pub missing: Vec<String>,
    pub place: Option<String>,
    pub carrier: Option<String>,
}

impl TrackingEvent {
    /// Parses an event.
    #[must_use]
    pub fn from_event(event: &Event) -> Self {
        let step = event.member("bizStep").map(local_name);
        let declared = event.data.get("errorDeclaration");
        let declared = declared.and_then(|it| it.get("declarationTime")?.as_str());
        let declared = declared.and_then(UtcTime::parse).unwrap_or(event.captured_at);
        let (spot, acc_m) = event.location_id("readPoint").and_then(geo_point).unzip();
        let location = event.location_id("bizLocation").or_else(|| event.location_id("readPoint"));
        let about = event.epcs.iter().filter(|(_, role)| *role != Role::Parent);
        Self {
            time: event.time,
            effect: effect_of(event, step),
            event_id: event.event_id.clone(),
            authority: authority(event),
            token: token_name(&event.source).map(str::to_owned),
            retracted_at: event.retracts.then_some(declared),
            origin: event.origin,
            is_entitled: true,
            van: event.van.clone(),
            route: event.route.clone(),
            kind: if event.kind.is_empty() { step.unwrap_or("") } else { &event.kind }.to_owned(),
            epcs: about.map(|(epc, _)| epc.clone()).collect(),
            location: location.filter(|uri| !uri.starts_with("geo:")).map(str::to_owned),
            spot,
            acc_m: acc_m.flatten(),
            stop_seq: number(&event.data, "waypost:stopSeq"),
            details: EventDetails::from_data(&event.data).shared(),
        }
    }

    /// Parses an event of a parcel that was given to `vans`.
    #[must_use]
    pub fn from_parcel_event(event: &Event, vans: &HashSet<String>) -> Self {
        let foreign = event.origin == Origin::Van
            && !event.van.as_ref().is_some_and(|van| vans.contains(van));
        Self { is_entitled: !foreign, ..Self::from_event(event) }
    }

    /// Parses an event for a route's cache. A route has many events, so only the members needed by
    /// route views are stored.
    #[must_use]
    pub fn from_route_event(event: &Event) -> Self {
        let fact = Self::from_event(event);
        let said = &fact.details;
        let counts = |method: &&String| method.as_str() == SCAN_OUTSIDE;
        let said = EventDetails {
            method: said.method.as_ref().filter(counts).cloned(),
            inside: said.inside.filter(|inside| !inside),
            missing: said.missing.clone(),
            alert: said.alert.as_ref().filter(|alert| alert.as_str() == WRONG_STOP).cloned(),
            ..EventDetails::default()
        };
        let said = said.shared();
        Self {
            token: None,
            van: None,
            route: None,
            location: None,
            acc_m: None,
            details: said,
            ..fact
        }
    }

    /// Whether the event is about `epc`.
    #[must_use]
    pub fn mentions(&self, epc: &str) -> bool {
        self.epcs.iter().any(|one| one == epc)
    }

    /// The stage, if the event has one.
    #[must_use]
    pub const fn stage(&self) -> Option<Stage> {
        match self.effect {
            EventEffect::Stage(stage) => Some(stage),
            EventEffect::Completed | EventEffect::Seen => None,
        }
    }

    /// Sort key of events.
    pub(super) fn sort_key(&self) -> (UtcTime, EventEffect, &str, &str, Option<UtcTime>) {
        (self.time, self.effect, &self.event_id, &self.authority, self.retracted_at)
    }
}

/// Returns the events in order, without duplicates, retracted ones and those of senders that are
/// not entitled. Retractions may arrive before or after the event.
#[must_use]
pub fn valid_events(facts: &[TrackingEvent]) -> Vec<&TrackingEvent> {
    fn name(fact: &TrackingEvent) -> (&str, &str) {
        (&fact.authority, &fact.event_id)
    }
    let entitled = facts.iter().filter(|fact| fact.is_entitled);
    let wrong: HashSet<_> =
        entitled.clone().filter(|fact| fact.retracted_at.is_some()).map(name).collect();
    // Van events are forwarded to partners and may come back in their captures.
    let from_vans = entitled.clone().filter(|fact| fact.origin == Origin::Van);
    let vans: HashSet<&str> = from_vans.map(|fact| fact.event_id.as_str()).collect();
    let by_token = |fact: &TrackingEvent| matches!(fact.origin, Origin::Capture | Origin::Import);
    let retracted = |fact: &TrackingEvent| {
        let by_anybody = by_token(fact) && wrong.contains(&(ANY_TOKEN, fact.event_id.as_str()));
        by_anybody || wrong.contains(&name(fact))
    };
    let copied =
        |fact: &TrackingEvent| fact.origin != Origin::Van && vans.contains(fact.event_id.as_str());
    let right = |fact: &&TrackingEvent| !retracted(fact) && !copied(fact);
    let mut valid: Vec<&TrackingEvent> = entitled.filter(right).collect();
    valid.sort_by(|one, other| one.sort_key().cmp(&other.sort_key()));
    let mut known = HashSet::new();
    // The same eventID from several tokens is one event.
    valid.retain(|fact| {
        known.insert(if by_token(fact) { (ANY_TOKEN, fact.event_id.as_str()) } else { name(fact) })
    });
    valid
}

/// Authority that may retract the event: the van itself, the token, or any token with the right to
/// retract others' events.
fn authority(event: &Event) -> String {
    match event.origin {
        Origin::Van => event.source.clone(),
        Origin::Capture | Origin::Import if event.kind == RETRACTS_OTHERS => ANY_TOKEN.to_owned(),
        // The prefix keeps token names apart from van URIs and from `backend`.
        Origin::Capture | Origin::Import => {
            format!("token:{}", token_name(&event.source).unwrap_or_default())
        }
        Origin::Backend => "backend".to_owned(),
    }
}

fn effect_of(event: &Event, step: Option<&str>) -> EventEffect {
    let of = |table: &[(&str, Stage)], name: &str| {
        let row = table.iter().find(|(word, _)| *word == name);
        row.map_or(EventEffect::Seen, |(_, stage)| EventEffect::Stage(*stage))
    };
    if let Some(word) = event.kind.strip_prefix(IMPORT_PREFIX) {
        return of(IMPORT_STATUSES, word);
    }
    match (event.kind.as_str(), step) {
        ("route.completed", _) => EventEffect::Completed,
        ("", Some(step)) if stage_by_disposition(event, step).is_some() => {
            stage_by_disposition(event, step).map_or(EventEffect::Seen, EventEffect::Stage)
        }
        ("", step) => step.map_or(EventEffect::Seen, |step| of(BIZ_STEPS, step)),
        (kind, _) => of(VAN_EVENT_KINDS, kind),
    }
}

/// Stage of an event whose business step has several meanings, by its disposition. Events of other
/// operators' vans mean the same here as there: `accepting` with the disposition `delivered` is a
/// delivery, and a pick-up without it.
fn stage_by_disposition(event: &Event, step: &str) -> Option<Stage> {
    let disposition = event.member("disposition").map(local_name);
    Some(match (step, disposition) {
        ("accepting", Some("delivered")) => Stage::Delivered,
        ("delivery_attempted", _) => Stage::Attempted,
        ("unloading", Some("returned")) => Stage::Returned,
        ("inspecting", Some("damaged")) => Stage::Damaged,
        ("inspecting", Some("unknown")) => Stage::NotFound,
        _ => return None,
    })
}

impl EventDetails {
    fn shared(self) -> Arc<Self> {
        static NOTHING: LazyLock<Arc<EventDetails>> = LazyLock::new(Arc::default);
        if self == **NOTHING { Arc::clone(&NOTHING) } else { Arc::new(self) }
    }

    fn from_data(data: &Value) -> Self {
        let proof = data.get("waypost:proof");
        let inside = proof.and_then(|proof| proof.get("waypost:insideGeofence")?.as_bool());
        let asked = proof.and_then(|proof| proof.get("waypost:preferences"));
        let flag = |name: &str| asked.and_then(|asked| asked.get(name)?.as_bool());
        let words = |name: &str| asked.and_then(|asked| text(asked, name));
        let missing =
            data.get("waypost:scan").and_then(|scan| scan.get("waypost:missing")?.as_array());
        let missing = missing.into_iter().flatten().filter_map(Value::as_str);
        Self {
            reason: text(data, "waypost:reason").or_else(|| text(data, REASON_MEMBER)),
            attempt: number(data, "waypost:attempt").map(u64::from),
            outcome: text(data, "waypost:outcome"),
            method: proof.and_then(|proof| text(proof, "waypost:method")),
            inside,
            preferences: super::parcel::DeliveryPreference {
                authority_to_leave: flag("waypost:authorityToLeave"),
                safe_place: words("waypost:safePlace"),
                neighbour: words("waypost:neighbour"),
                signature_required: flag("waypost:signatureRequired"),
                other_day: None,
            },
            alert: text(data, "waypost:alert"),
            missing: missing.map(crate::epc::canonical).collect(),
            place: text(data, PLACE_MEMBER),
            carrier: text(data, CARRIER_MEMBER),
        }
    }
}

/// Bounded text without control characters; input from other parties may be long.
fn text(data: &Value, name: &str) -> Option<String> {
    let text = data.get(name)?.as_str()?;
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}

fn number(data: &Value, name: &str) -> Option<u32> {
    u32::try_from(data.get(name)?.as_u64()?).ok()
}

/// Last part of a GS1 or operator vocabulary URI: `https://ref.gs1.org/cbv/BizStep-packing`,
/// `urn:epcglobal:cbv:bizstep:packing`.
fn local_name(uri: &str) -> &str {
    let last = uri.rsplit(['/', ':', '#']).next().unwrap_or(uri);
    last.strip_prefix("BizStep-").or_else(|| last.strip_prefix("Disp-")).unwrap_or(last)
}

/// Parses an RFC 5870 URI such as `geo:48.13792,11.57550;u=5`.
fn geo_point(uri: &str) -> Option<(GeoPoint, Option<f64>)> {
    let rest = uri.strip_prefix("geo:")?;
    let mut parts = rest.split(';');
    let mut numbers = parts.next()?.split(',').map(str::parse::<f64>);
    let (lat, lon) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    waypost_model::units::Position::from_degrees(lat, lon)?;
    let radius = parts.find_map(|part| part.strip_prefix("u=")?.parse::<f64>().ok());
    Some((GeoPoint { lat, lon }, radius.filter(|radius| radius.is_finite() && *radius >= 0.0)))
}

/// Whether a van inferred the event for its whole load, without a sighting of the single parcel.
#[must_use]
pub fn is_inferred(fact: &TrackingEvent) -> bool {
    let of_all = matches!(
        fact.stage(),
        Some(Stage::Announced | Stage::OutForDelivery | Stage::Arrived | Stage::NotFound)
    );
    of_all && fact.origin == Origin::Van
        || fact.effect == EventEffect::Completed
        || fact.kind == "route.assigned"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_business_step_of_another_party_means_what_its_disposition_says() {
        let at = UtcTime::parse("2026-11-22T10:00:00Z").unwrap();
        let own = "https://w3id.org/waypost/v1/";
        for (step, disposition, stage) in [
            ("accepting", None, Some(Stage::PickedUp)),
            ("accepting", Some("in_transit".to_owned()), Some(Stage::PickedUp)),
            ("accepting", Some(format!("{own}disp/delivered")), Some(Stage::Delivered)),
            ("https://ref.gs1.org/cbv/BizStep-accepting", None, Some(Stage::PickedUp)),
            ("unloading", None, Some(Stage::ArrivedAtHub)),
            ("unloading", Some("returned".to_owned()), Some(Stage::Returned)),
            ("inspecting", None, None),
            ("inspecting", Some("damaged".to_owned()), Some(Stage::Damaged)),
            ("inspecting", Some("unknown".to_owned()), Some(Stage::NotFound)),
            (
                "https://w3id.org/waypost/v1/bizstep/delivery_attempted",
                None,
                Some(Stage::Attempted),
            ),
        ] {
            let data = json!({"bizStep": step, "disposition": disposition});
            let event = Event {
                n: 0,
                source: "capture:partner".to_owned(),
                id: "1".to_owned(),
                event_id: "1".to_owned(),
                kind: String::new(),
                origin: Origin::Capture,
                van: None,
                seq: None,
                route: None,
                time: at,
                captured_at: at,
                retracts: false,
                epcs: Vec::new(),
                job: None,
                data,
            };
            assert_eq!(TrackingEvent::from_event(&event).stage(), stage, "{step} {disposition:?}");
        }
    }

    #[test]
    fn each_bare_business_step_is_one_of_cbv() {
        for (step, _) in BIZ_STEPS {
            let is_known = crate::integrations::is_cbv_business_step(step);
            assert!(is_known, "{step} is no word of CBV 2.0");
        }
    }
}
