//! Timeline and status of a parcel, derived from its events.
//!
//! - The result depends neither on the order of arrival nor on duplicates.
//! - Each stage appears once per place: two reports about the same hub become one step, at the
//!   earlier time.
//! - Events after the delivery are ignored; a later scan is internal to the operator.

use std::collections::HashSet;

use super::parcel::{Stage, Status, Step};
use super::tracking_event::{self, TrackingEvent};
use crate::event::Origin;

/// Events of a parcel, evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline<'a> {
    /// Valid events up to the delivery, oldest first.
    pub events: Vec<&'a TrackingEvent>,
    /// The delivery, if any.
    pub delivered: Option<&'a TrackingEvent>,
    /// Newest of `events` with a stage that implies a location.
    pub newest: Option<&'a TrackingEvent>,
    /// URI of the station of its route.
    station: Option<String>,
}

impl<'a> Timeline<'a> {
    /// Builds the timeline of `epc` from events that may also be about other parcels. `station` is
    /// the URI of its route's station.
    #[must_use]
    pub fn for_parcel(facts: &'a [TrackingEvent], epc: &str, station: Option<&str>) -> Self {
        let mut events = tracking_event::valid_events(facts);
        events.retain(|fact| fact.mentions(epc));
        let delivered = events.iter().find(|fact| has_stage(fact, Stage::Delivered)).copied();
        if let Some(end) = delivered {
            let past = events.iter().position(|fact| fact.event_id == end.event_id);
            events.truncate(past.map_or(events.len(), |index| index + 1));
        }
        let newest =
            events.iter().rev().find(|fact| fact.stage().is_some_and(is_location)).copied();
        Self { events, delivered, newest, station: station.map(str::to_owned) }
    }

    /// Steps of the timeline.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut known = HashSet::new();
        let steps = self.events.iter().filter_map(|fact| {
            let stage = self.stage(fact)?;
            known.insert((stage, dedup_key(fact))).then(|| step(fact, stage))
        });
        steps.collect()
    }

    /// Current status.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.newest.and_then(|fact| self.stage(fact)) {
            None | Some(Stage::Announced | Stage::Packed | Stage::PreferenceChanged) => {
                Status::Announced
            }
            Some(Stage::Shipped | Stage::PickedUp | Stage::ArrivedAtHub | Stage::Sorted) => {
                Status::InTransit
            }
            Some(Stage::AtStation | Stage::Loaded | Stage::LeftBehind) => Status::AtStation,
            Some(Stage::OutForDelivery | Stage::Arrived) => Status::OutForDelivery,
            Some(Stage::Delivered) => Status::Delivered,
            Some(Stage::Attempted) => Status::Attempted,
            Some(Stage::Returned) => Status::Returned,
            Some(Stage::AvailableForPickup) => Status::AvailableForPickup,
            Some(Stage::Damaged | Stage::NotFound | Stage::Exception) => Status::Problem,
        }
    }

    /// Stage of an event. An arrival at the station of the last leg is not a hub arrival.
    #[must_use]
    pub fn stage(&self, fact: &TrackingEvent) -> Option<Stage> {
        let stage = fact.stage()?;
        let here = self.station.is_some() && fact.location == self.station;
        Some(if stage == Stage::ArrivedAtHub && here { Stage::AtStation } else { stage })
    }
}

/// Whether a stage implies a location. A listing on a route does not.
fn is_location(stage: Stage) -> bool {
    !matches!(stage, Stage::Announced | Stage::PreferenceChanged)
}

fn has_stage(fact: &TrackingEvent, stage: Stage) -> bool {
    fact.stage() == Some(stage)
}

/// Key that separates two events of one stage: the place or else the carrier; for van events the
/// route and the attempt.
fn dedup_key(fact: &TrackingEvent) -> (Option<&str>, Option<u64>) {
    match fact.origin {
        Origin::Van | Origin::Backend => (fact.route.as_deref(), fact.details.attempt),
        Origin::Capture | Origin::Import => {
            let place = fact.details.place.as_deref().or(fact.location.as_deref());
            (place.or(fact.details.carrier.as_deref()), None)
        }
    }
}

fn step(fact: &TrackingEvent, stage: Stage) -> Step {
    let ours = matches!(fact.origin, Origin::Van | Origin::Backend);
    let why =
        matches!(stage, Stage::Attempted | Stage::Returned | Stage::Damaged | Stage::Exception);
    Step {
        stage,
        at: fact.time.to_string(),
        place: fact.details.place.clone().filter(|_| !ours),
        by: fact.details.carrier.clone().filter(|_| !ours),
        reason: fact.details.reason.clone().filter(|_| why),
    }
}
