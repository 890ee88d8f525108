//! Facts of a parcel → its timeline and where it stands.
//!
//! - The same facts give the same timeline in whatever order they came, and however often.
//! - Each stage is there once for each place: what two systems say of one hub is said once, at the earlier time.
//! - After the hand-over nothing is added: a later scan is the operator's business.

use std::collections::HashSet;

use super::fact::{self, Fact};
use super::parcel::{Stage, Status, Step};
use crate::backend::event::Origin;

/// What happened to a parcel.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline<'a> {
    /// What counts, oldest first.
    pub facts: Vec<&'a Fact>,
    /// How it was handed over.
    pub delivered: Option<&'a Fact>,
    /// The newest of [`Self::facts`] that says where it stands.
    pub newest: Option<&'a Fact>,
    /// URI of the station of its route.
    station: Option<String>,
}

impl<'a> Timeline<'a> {
    /// The timeline of `epc`, of facts that may be of other things too. `station` is the URI of its route's station.
    #[must_use]
    pub fn of(facts: &'a [Fact], epc: &str, station: Option<&str>) -> Self {
        let mut facts = fact::valid(facts);
        facts.retain(|fact| fact.names(epc));
        let delivered = facts.iter().find(|fact| is(fact, Stage::Delivered)).copied();
        if let Some(end) = delivered {
            let past = facts.iter().position(|fact| fact.event_id == end.event_id);
            facts.truncate(past.map_or(facts.len(), |index| index + 1));
        }
        let newest = facts.iter().rev().find(|fact| fact.stage().is_some_and(tells)).copied();
        Self { facts, delivered, newest, station: station.map(str::to_owned) }
    }

    /// Its steps.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut known = HashSet::new();
        let steps = self.facts.iter().filter_map(|fact| {
            let stage = self.stage(fact)?;
            known.insert((stage, place_of(fact))).then(|| step(fact, stage))
        });
        steps.collect()
    }

    /// Where it stands by what happened to it.
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
            Some(Stage::Damaged | Stage::NotFound) => Status::Problem,
        }
    }

    /// The stage of a fact: what comes to the station of the last leg came to no hub.
    #[must_use]
    pub fn stage(&self, fact: &Fact) -> Option<Stage> {
        let stage = fact.stage()?;
        let here = self.station.is_some() && fact.location == self.station;
        Some(if stage == Stage::ArrivedAtHub && here { Stage::AtStation } else { stage })
    }
}

/// Whether a stage says where a parcel stands. That a route lists it says nothing of where it is.
fn tells(stage: Stage) -> bool {
    !matches!(stage, Stage::Announced | Stage::PreferenceChanged)
}

fn is(fact: &Fact, stage: Stage) -> bool {
    fact.stage() == Some(stage)
}

/// What makes two facts of one stage two: the place, else who had it. Of a van's it is the route, and which try it was.
fn place_of(fact: &Fact) -> (Option<&str>, Option<u64>) {
    match fact.origin {
        Origin::Van | Origin::Backend => (fact.route.as_deref(), fact.said.attempt),
        Origin::Capture | Origin::Import => {
            let place = fact.said.place.as_deref().or(fact.location.as_deref());
            (place.or(fact.said.carrier.as_deref()), None)
        }
    }
}

fn step(fact: &Fact, stage: Stage) -> Step {
    let ours = matches!(fact.origin, Origin::Van | Origin::Backend);
    let why = matches!(stage, Stage::Attempted | Stage::Returned | Stage::Damaged);
    Step {
        stage,
        at: fact.time.to_string(),
        place: fact.said.place.clone().filter(|_| !ours),
        by: fact.said.carrier.clone().filter(|_| !ours),
        reason: fact.said.reason.clone().filter(|_| why),
    }
}
