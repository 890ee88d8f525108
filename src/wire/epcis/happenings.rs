//! [`Happening`] → [`EpcisEvent`]: which words of EPCIS 2.0 and CBV 2.0 say what happened.

use std::slice;
use std::time::Duration;

use serde_json::Value;

use super::draft::Draft;
use super::evidence;
use super::message::{Action, EpcisEvent, EpcisType};
use super::names::Names;
use crate::core::delivery::Event;
use crate::core::delivery::event::{Alert, Happening, Parcel, Proof, StopRef};
use crate::core::record::Seq;

/// UN/CEFACT Recommendation 24, codes for trade and transport status.
mod status {
    pub(super) const ARRIVED: &str = "1";
    pub(super) const DAMAGED: &str = "18";
    pub(super) const DELIVERED: &str = "21";
    pub(super) const NOT_DELIVERED: &str = "23";
    pub(super) const DEPARTED: &str = "24";
    pub(super) const NOT_FOUND: &str = "36";
    pub(super) const NOT_SHIPPED: &str = "37";
}

/// One event, and what is needed to say it.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) names: &'a Names,
    pub(super) event: &'a Event,
    pub(super) seq: Seq,
}

impl<'a> Writer<'a> {
    /// `None` for a retraction, which has no words of its own.
    pub(super) fn write(self) -> Option<EpcisEvent> {
        use Happening::{
            Arrived, Attempted, Completed, Damaged, Delivered, Departed, Inventory, Loaded,
            NotFound, Retracted, Returned, Seen, Void,
        };
        let draft = match &self.event.happening {
            Loaded { parcel, reading, station } => {
                self.loaded(parcel, station).say("van:scan", evidence::scan(reading))
            }
            Departed { station, parcels, stops_total } => {
                self.departed(station, parcels).say("van:stopsTotal", *stops_total)
            }
            Arrived { stop, parcels, stops_remaining, radius } => self
                .arrived(stop, parcels)
                .say("van:stopsRemaining", *stops_remaining)
                .say("van:geofenceRadiusM", radius.as_metres()),
            Delivered { parcel, stop, outcome, proof, reading } => self
                .delivered(parcel, stop.as_ref(), proof)
                .say("van:outcome", outcome.name())
                .say("van:scan", evidence::scan(reading)),
            Attempted { parcel, stop, reason, attempt, proof } => self
                .attempted(parcel, stop.as_ref(), proof)
                .reason(Some(*reason))
                .say("van:attempt", *attempt),
            Returned { parcel, station, reason } => self.returned(parcel, station).reason(*reason),
            NotFound { parcel, stop, last_seen } => {
                let last_seen = last_seen.as_ref().map(evidence::last_seen);
                self.not_found(parcel, stop.as_ref()).say_if("van:lastSeen", last_seen)
            }
            Inventory { present, missing, unexpected, window } => {
                self.inventory(present).say("van:scan", self.tags(missing, unexpected, *window))
            }
            Damaged { parcel, stop, station } => {
                self.damaged(parcel, stop.as_ref(), station.as_deref())
            }
            Void { parcel, station } => self.void(parcel, station),
            Seen { parcel, reading, alert } => {
                self.seen(parcel, alert.as_ref()).say("van:scan", evidence::scan(reading))
            }
            Completed { station, summary } => {
                self.completed(station).say("van:summary", evidence::summary(summary))
            }
            Retracted { .. } => return None,
        };
        Some(draft.done())
    }

    fn draft(self, kind: EpcisType, action: Action) -> Draft<'a> {
        Draft::new(self, kind, action)
    }

    /// A parcel gets into the van, or out of it.
    fn aggregation(self, action: Action, parcel: &Parcel) -> Draft<'a> {
        self.draft(EpcisType::Aggregation, action).children(slice::from_ref(parcel))
    }

    /// Parcels were seen, or the van itself if there are none.
    fn observation(self, parcels: &[Parcel]) -> Draft<'a> {
        self.draft(EpcisType::Object, Action::Observe).about(parcels)
    }

    fn loaded(self, parcel: &Parcel, station: &str) -> Draft<'a> {
        self.aggregation(Action::Add, parcel).step("loading").at_station(station)
    }

    fn departed(self, station: &str, parcels: &[Parcel]) -> Draft<'a> {
        self.observation(parcels)
            .step("departing")
            .disposition("in_transit")
            .where_the_van_was()
            .fix()
            .leaving(station)
            .say("van:statusCode", status::DEPARTED)
            .say("van:trigger", "station_geofence_exit")
            .say("van:parcelsOnBoard", self.names.parcels(parcels).len())
    }

    fn arrived(self, stop: &StopRef, parcels: &[Parcel]) -> Draft<'a> {
        self.observation(parcels)
            .step("arriving")
            .disposition("in_transit")
            .where_the_van_was()
            .at_stop(Some(stop))
            .fix()
            .say("van:statusCode", status::ARRIVED)
    }

    fn delivered(self, parcel: &Parcel, stop: Option<&StopRef>, proof: &Proof) -> Draft<'a> {
        self.aggregation(Action::Delete, parcel)
            .step("accepting")
            .where_the_van_was()
            .at_stop(stop)
            .fix()
            .say("van:statusCode", status::DELIVERED)
            .say("van:proof", evidence::proof(proof, self.event))
    }

    /// CBV has no word for it; EPCIS lets one say that what was expected failed to occur.
    fn attempted(self, parcel: &Parcel, stop: Option<&StopRef>, proof: &Proof) -> Draft<'a> {
        self.observation(slice::from_ref(parcel))
            .step(&self.names.term("bizstep/delivery_attempted"))
            .disposition("in_transit")
            .where_the_van_was()
            .at_stop(stop)
            .fix()
            .say("van:statusCode", status::NOT_DELIVERED)
            .say("van:proof", evidence::proof(proof, self.event))
    }

    fn returned(self, parcel: &Parcel, station: &str) -> Draft<'a> {
        self.aggregation(Action::Delete, parcel)
            .step("unloading")
            .disposition("returned")
            .at_station(station)
            .say("van:statusCode", status::NOT_DELIVERED)
    }

    fn not_found(self, parcel: &Parcel, stop: Option<&StopRef>) -> Draft<'a> {
        self.observation(slice::from_ref(parcel))
            .step("inspecting")
            .disposition("unknown")
            .where_the_van_was()
            .at_stop(stop)
            .say("van:statusCode", status::NOT_FOUND)
    }

    fn void(self, parcel: &Parcel, station: &str) -> Draft<'a> {
        self.observation(slice::from_ref(parcel))
            .step("void_shipping")
            .at_station(station)
            .say("van:statusCode", status::NOT_SHIPPED)
    }

    /// An aggregation must have children: an empty van is an observation of the van.
    fn inventory(self, present: &[Parcel]) -> Draft<'a> {
        let draft = if present.is_empty() {
            self.observation(&[])
        } else {
            self.draft(EpcisType::Aggregation, Action::Observe).children(present)
        };
        draft.step("cycle_counting").disposition("in_transit").where_the_van_was()
    }

    fn tags(self, missing: &[Parcel], unexpected: &[Parcel], window: Duration) -> Value {
        let names = self.names;
        let (missing, unexpected) = (names.parcels(missing), names.parcels(unexpected));
        evidence::inventory(names.gateway.as_deref(), window, missing, unexpected)
    }

    /// The stop is where the parcel is due, which is not where it was seen.
    fn damaged(self, parcel: &Parcel, stop: Option<&StopRef>, station: Option<&str>) -> Draft<'a> {
        let draft = self
            .observation(slice::from_ref(parcel))
            .step("inspecting")
            .disposition("damaged")
            .say("van:statusCode", status::DAMAGED)
            .say_if("van:stopSequence", stop.map(|stop| stop.seq));
        match station {
            Some(station) => draft.at_station(station),
            None => draft.where_the_van_was(),
        }
    }

    /// Nothing is said to be under way that nobody knows, or that was handed over before.
    fn seen(self, parcel: &Parcel, alert: Option<&Alert>) -> Draft<'a> {
        let draft = self.observation(slice::from_ref(parcel)).where_the_van_was();
        let draft = match alert {
            Some(Alert::Unknown | Alert::Finished) => draft,
            None | Some(Alert::WrongStop { .. } | Alert::Recalled | Alert::NotLoaded) => {
                draft.disposition("in_transit")
            }
        };
        let draft = draft.say_if("van:alert", alert.map(Alert::name));
        match alert {
            Some(Alert::WrongStop { due }) => draft.say("van:dueStopSequence", due.seq),
            _ => draft,
        }
    }

    /// The van and its route belong together no longer. Without a route there is only the van that arrives.
    fn completed(self, station: &str) -> Draft<'a> {
        let draft = match self.event.route {
            Some(_) => self.draft(EpcisType::Transaction, Action::Delete).about(&[]),
            None => self.observation(&[]),
        };
        draft.step("arriving").at_station(station)
    }
}
