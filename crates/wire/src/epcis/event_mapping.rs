//! Maps delivery events to the vocabulary of EPCIS 2.0 and CBV 2.0.

use std::slice;
use std::time::Duration;

use serde_json::Value;

use super::builder::EpcisEventBuilder;
use super::extensions;
use super::identifiers::{Identifiers, term};
use super::message::{Action, EpcisEvent, EpcisType};
use waypost_model::event::Event;
use waypost_model::event::{Alert, EventKind, Parcel, Proof, StopRef};
use waypost_model::record::Seq;

/// Codes of UN/CEFACT Recommendation 24 for trade and transport status.
mod status {
    pub(super) const ARRIVED: &str = "1";
    pub(super) const DAMAGED: &str = "18";
    pub(super) const DELIVERED: &str = "21";
    pub(super) const NOT_DELIVERED: &str = "23";
    pub(super) const DEPARTED: &str = "24";
    pub(super) const NOT_FOUND: &str = "36";
    pub(super) const NOT_SHIPPED: &str = "37";
}

/// Event to map, with its context.
#[derive(Clone, Copy)]
pub(super) struct EventMapper<'a> {
    pub(super) identifiers: &'a Identifiers,
    pub(super) event: &'a Event,
    pub(super) seq: Seq,
}

impl<'a> EventMapper<'a> {
    /// Maps the event; `None` for a retraction, which has no EPCIS event of its own.
    pub(super) fn map(self) -> Option<EpcisEvent> {
        use EventKind::{
            Arrived, Attempted, Completed, Damaged, Delivered, Departed, Inventory, Loaded,
            NotFound, Retracted, Returned, Seen, Void,
        };
        let draft = match &self.event.kind {
            Loaded { parcel, source: reading, station } => {
                self.loaded(parcel, station).extension("waypost:scan", extensions::scan(reading))
            }
            Departed { station, parcels, stops_total } => {
                self.departed(station, parcels).extension("waypost:stopsTotal", *stops_total)
            }
            Arrived { stop, parcels, stops_remaining, radius } => self
                .arrived(stop, parcels)
                .extension("waypost:stopsRemaining", *stops_remaining)
                .extension("waypost:geofenceRadiusM", radius.as_metres()),
            Delivered { parcel, stop, outcome, proof, source: reading } => self
                .delivered(parcel, stop.as_ref(), proof)
                .extension("waypost:outcome", outcome.as_str())
                .extension("waypost:scan", extensions::scan(reading)),
            Attempted { parcel, stop, reason, attempt, proof } => self
                .attempted(parcel, stop.as_ref(), proof)
                .reason(Some(*reason))
                .extension("waypost:attempt", *attempt),
            Returned { parcel, station, reason } => self.returned(parcel, station).reason(*reason),
            NotFound { parcel, stop, last_seen } => {
                let last_seen = last_seen.as_ref().map(extensions::last_seen);
                self.not_found(parcel, stop.as_ref()).extension_opt("waypost:lastSeen", last_seen)
            }
            Inventory { present, missing, unexpected, window } => self
                .inventory(present)
                .extension("waypost:scan", self.inventory_scan(missing, unexpected, *window)),
            Damaged { parcel, stop, station } => {
                self.damaged(parcel, stop.as_ref(), station.as_deref())
            }
            Void { parcel, station } => self.void(parcel, station),
            Seen { parcel, source: reading, alert } => self
                .seen(parcel, alert.as_ref())
                .extension("waypost:scan", extensions::scan(reading)),
            Completed { station, summary } => {
                self.completed(station).extension("waypost:summary", extensions::summary(summary))
            }
            Retracted { .. } => return None,
        };
        Some(draft.build())
    }

    fn builder(self, kind: EpcisType, action: Action) -> EpcisEventBuilder<'a> {
        EpcisEventBuilder::new(self, kind, action)
    }

    /// Starts an aggregation event: a parcel enters or leaves the van.
    fn aggregation(self, action: Action, parcel: &Parcel) -> EpcisEventBuilder<'a> {
        self.builder(EpcisType::Aggregation, action).child_epcs(slice::from_ref(parcel))
    }

    /// Starts an observation of parcels, or of the van itself if there are none.
    fn observation(self, parcels: &[Parcel]) -> EpcisEventBuilder<'a> {
        self.builder(EpcisType::Object, Action::Observe).epc_list(parcels)
    }

    fn loaded(self, parcel: &Parcel, station: &str) -> EpcisEventBuilder<'a> {
        self.aggregation(Action::Add, parcel).biz_step("loading").at_station(station)
    }

    fn departed(self, station: &str, parcels: &[Parcel]) -> EpcisEventBuilder<'a> {
        self.observation(parcels)
            .biz_step("departing")
            .disposition("in_transit")
            .read_point_geo()
            .sensor_element()
            .departing_from(station)
            .extension("waypost:statusCode", status::DEPARTED)
            .extension("waypost:trigger", "station_geofence_exit")
            .extension("waypost:parcelsOnBoard", self.identifiers.parcels(parcels).len())
    }

    fn arrived(self, stop: &StopRef, parcels: &[Parcel]) -> EpcisEventBuilder<'a> {
        self.observation(parcels)
            .biz_step("arriving")
            .disposition("in_transit")
            .read_point_geo()
            .at_stop(Some(stop))
            .sensor_element()
            .extension("waypost:statusCode", status::ARRIVED)
    }

    fn delivered(
        self,
        parcel: &Parcel,
        stop: Option<&StopRef>,
        proof: &Proof,
    ) -> EpcisEventBuilder<'a> {
        self.aggregation(Action::Delete, parcel)
            .biz_step("accepting")
            // A disposition holds until another event contradicts it (CBV 2.0 §7.2): without one, a
            // delivered parcel would stay `in_transit`.
            .disposition(&term("disp/delivered"))
            .read_point_geo()
            .at_stop(stop)
            .sensor_element()
            .extension("waypost:statusCode", status::DELIVERED)
            .extension("waypost:proof", extensions::proof(proof, self.event))
    }

    /// CBV has no business step for a failed attempt. EPCIS allows observing that an expected step
    /// failed.
    fn attempted(
        self,
        parcel: &Parcel,
        stop: Option<&StopRef>,
        proof: &Proof,
    ) -> EpcisEventBuilder<'a> {
        self.observation(slice::from_ref(parcel))
            .biz_step(&term("bizstep/delivery_attempted"))
            .disposition("in_transit")
            .read_point_geo()
            .at_stop(stop)
            .sensor_element()
            .extension("waypost:statusCode", status::NOT_DELIVERED)
            .extension("waypost:proof", extensions::proof(proof, self.event))
    }

    fn returned(self, parcel: &Parcel, station: &str) -> EpcisEventBuilder<'a> {
        self.aggregation(Action::Delete, parcel)
            .biz_step("unloading")
            .disposition("returned")
            .at_station(station)
            .extension("waypost:statusCode", status::NOT_DELIVERED)
    }

    fn not_found(self, parcel: &Parcel, stop: Option<&StopRef>) -> EpcisEventBuilder<'a> {
        self.observation(slice::from_ref(parcel))
            .biz_step("inspecting")
            .disposition("unknown")
            .read_point_geo()
            .at_stop(stop)
            .extension("waypost:statusCode", status::NOT_FOUND)
    }

    fn void(self, parcel: &Parcel, station: &str) -> EpcisEventBuilder<'a> {
        self.observation(slice::from_ref(parcel))
            .biz_step("void_shipping")
            .at_station(station)
            .extension("waypost:statusCode", status::NOT_SHIPPED)
    }

    /// An aggregation must have children, so an empty van is an observation of the van.
    fn inventory(self, present: &[Parcel]) -> EpcisEventBuilder<'a> {
        let draft = if present.is_empty() {
            self.observation(&[])
        } else {
            self.builder(EpcisType::Aggregation, Action::Observe).child_epcs(present)
        };
        draft.biz_step("cycle_counting").disposition("in_transit").read_point_geo()
    }

    fn inventory_scan(self, missing: &[Parcel], unexpected: &[Parcel], window: Duration) -> Value {
        let names = self.identifiers;
        let (missing, unexpected) = (names.parcels(missing), names.parcels(unexpected));
        extensions::inventory(names.gateway.as_deref(), window, missing, unexpected)
    }

    /// The stop is where the parcel is due, not where the damage was found.
    fn damaged(
        self,
        parcel: &Parcel,
        stop: Option<&StopRef>,
        station: Option<&str>,
    ) -> EpcisEventBuilder<'a> {
        let draft = self
            .observation(slice::from_ref(parcel))
            .biz_step("inspecting")
            .disposition("damaged")
            .extension("waypost:statusCode", status::DAMAGED)
            .extension_opt("waypost:stopSeq", stop.map(|stop| stop.seq));
        match station {
            Some(station) => draft.at_station(station),
            None => draft.read_point_geo(),
        }
    }

    /// Unknown and already delivered parcels have no disposition.
    fn seen(self, parcel: &Parcel, alert: Option<&Alert>) -> EpcisEventBuilder<'a> {
        let draft = self.observation(slice::from_ref(parcel)).read_point_geo();
        let draft = match alert {
            Some(Alert::Unknown | Alert::Finished) => draft,
            None | Some(Alert::WrongStop { .. } | Alert::Recalled | Alert::NotLoaded) => {
                draft.disposition("in_transit")
            }
        };
        let draft = draft.extension_opt("waypost:alert", alert.map(Alert::as_str));
        match alert {
            Some(Alert::WrongStop { due }) => draft.extension("waypost:dueStopSeq", due.seq),
            _ => draft,
        }
    }

    /// Ends the transaction of van and route. Without a route it is an observation of the van.
    fn completed(self, station: &str) -> EpcisEventBuilder<'a> {
        let draft = match self.event.route {
            Some(_) => self.builder(EpcisType::Transaction, Action::Delete).epc_list(&[]),
            None => self.observation(&[]),
        };
        draft.biz_step("arriving").at_station(station)
    }
}
