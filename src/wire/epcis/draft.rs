//! An EPCIS event, sentence by sentence.

use serde_json::{Map, Value, json};

use super::happenings::Writer;
use super::message::{Action, BizTransaction, EpcisEvent, EpcisType, Location, Source};
use super::{place, urn};
use crate::core::delivery::event::{Parcel, Reason, StopRef, TimeSource};

/// The JSON-LD context that GS1 publishes; the schema wants it in each event.
const GS1_CONTEXT: &str = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld";

/// What has been said of an event up to now.
pub(super) struct Draft<'a> {
    writer: Writer<'a>,
    said: EpcisEvent,
}

impl<'a> Draft<'a> {
    /// What each event says.
    pub(super) fn new(writer: Writer<'a>, kind: EpcisType, action: Action) -> Self {
        let Writer { names, event, seq } = writer;
        let route = event.route.as_ref().map(|route| BizTransaction {
            kind: Some(names.term("btt/delivery_route")),
            biz_transaction: names.route(route),
        });
        let said = EpcisEvent {
            context: json!([GS1_CONTEXT, { "van": names.namespace }]),
            kind,
            event_id: urn(event.id),
            event_time: event.utc.to_string(),
            event_time_zone_offset: "+00:00".to_owned(),
            action,
            parent_id: None,
            child_epcs: None,
            epc_list: None,
            biz_step: None,
            disposition: None,
            read_point: None,
            biz_location: None,
            source_list: Vec::new(),
            biz_transaction_list: route.into_iter().collect(),
            sensor_element_list: Vec::new(),
            error_declaration: None,
            extensions: Map::new(),
        };
        // Absent for what is so nearly always.
        let source = Some(event.time_source).filter(|source| *source != TimeSource::Gnss);
        Self { writer, said }
            .say("van:seq", seq.get())
            .say_if("van:timeSource", source.map(TimeSource::name))
    }

    /// The van holds these, or did.
    pub(super) fn children(mut self, parcels: &[Parcel]) -> Self {
        let names = self.writer.names;
        self.said.parent_id = Some(names.van.clone());
        self.said.child_epcs = Some(names.parcels(parcels));
        self
    }

    /// It is about these parcels in the van, or about the van itself if there are none.
    pub(super) fn about(mut self, parcels: &[Parcel]) -> Self {
        let names = self.writer.names;
        if parcels.is_empty() {
            self.said.epc_list = Some(vec![names.van.clone()]);
            return self;
        }
        self.said.epc_list = Some(names.parcels(parcels));
        self.say("van:vehicle", names.van.clone())
    }

    pub(super) fn step(mut self, step: &str) -> Self {
        self.said.biz_step = Some(step.to_owned());
        self
    }

    pub(super) fn disposition(mut self, disposition: &str) -> Self {
        self.said.disposition = Some(disposition.to_owned());
        self
    }

    /// It happened at the station, and things are there now.
    pub(super) fn at_station(mut self, station: &str) -> Self {
        let station = Location::new(self.writer.names.station(station));
        self.said.read_point = Some(station.clone());
        self.said.biz_location = Some(station);
        self
    }

    /// Things come from the station.
    pub(super) fn leaving(mut self, station: &str) -> Self {
        let source = self.writer.names.station(station);
        self.said.source_list.push(Source { kind: "location".to_owned(), source });
        self
    }

    /// It happened where the van was, if that is known.
    pub(super) fn where_the_van_was(mut self) -> Self {
        let place = self.writer.event.place.as_ref();
        self.said.read_point = place.map(|place| Location::new(place::geo(place)));
        self
    }

    /// Things are at the stop now. Its id says where only together with the route's.
    pub(super) fn at_stop(mut self, stop: Option<&StopRef>) -> Self {
        let Some(stop) = stop else { return self };
        if let Some(route) = &self.writer.event.route {
            let uri = self.writer.names.stop(route, &stop.id);
            self.said.biz_location = Some(Location::new(uri));
        }
        self.say("van:stopSequence", stop.seq)
    }

    /// The fix that tells where the van was.
    pub(super) fn fix(mut self) -> Self {
        let device = self.writer.names.gateway.as_deref();
        let place = self.writer.event.place.as_ref();
        let element = place.map(|place| place::sensor_element(place, device));
        self.said.sensor_element_list = element.into_iter().collect();
        self
    }

    pub(super) fn reason(self, reason: Option<Reason>) -> Self {
        self.say_if("van:reason", reason.map(Reason::name))
            .say_if("van:reasonCode", reason.map(Reason::code))
    }

    pub(super) fn say(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.said.extensions.insert(key.to_owned(), value.into());
        self
    }

    pub(super) fn say_if(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.say(key, value),
            None => self,
        }
    }

    pub(super) fn done(self) -> EpcisEvent {
        self.said
    }
}
