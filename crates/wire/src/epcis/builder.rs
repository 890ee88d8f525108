//! Builder of EPCIS events.

use serde_json::{Map, Value, json};

use super::event_mapping::EventMapper;
use super::identifiers::{NAMESPACE, term};
use super::message::{Action, BizTransaction, EpcisEvent, EpcisType, Location, Source};
use super::{GS1_CONTEXT, geo, urn};
use waypost_model::event::{FailureReason, Parcel, StopRef, TimeSource};

/// EPCIS event under construction.
pub(super) struct EpcisEventBuilder<'a> {
    mapper: EventMapper<'a>,
    event: EpcisEvent,
}

impl<'a> EpcisEventBuilder<'a> {
    /// Starts an event with the members that all events have.
    pub(super) fn new(writer: EventMapper<'a>, kind: EpcisType, action: Action) -> Self {
        let EventMapper { identifiers: names, event, seq } = writer;
        let route = event.route.as_ref().map(|route| BizTransaction {
            kind: Some(term("btt/delivery_route")),
            biz_transaction: names.route(route),
        });
        let said = EpcisEvent {
            context: json!([GS1_CONTEXT, { "waypost": NAMESPACE }]),
            kind,
            event_id: urn(event.id),
            event_time: event.utc.to_string(),
            event_time_zone_offset: zone_offset(event.utc_offset_min),
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
        // Omitted for the usual source.
        let source = Some(event.time_source).filter(|source| *source != TimeSource::Gnss);
        Self { mapper: writer, event: said }
            .extension("waypost:seq", seq.get())
            .extension_opt("waypost:timeSource", source.map(TimeSource::as_str))
    }

    /// Sets the van as parent and the parcels as children of an aggregation.
    pub(super) fn child_epcs(mut self, parcels: &[Parcel]) -> Self {
        let names = self.mapper.identifiers;
        self.event.parent_id = Some(names.van.clone());
        self.event.child_epcs = Some(names.parcels(parcels));
        self
    }

    /// Sets the subject: parcels in the van, or the van itself if there are none.
    pub(super) fn epc_list(mut self, parcels: &[Parcel]) -> Self {
        let names = self.mapper.identifiers;
        if parcels.is_empty() {
            self.event.epc_list = Some(vec![names.van.clone()]);
            return self;
        }
        self.event.epc_list = Some(names.parcels(parcels));
        self.extension("waypost:vehicle", names.van.clone())
    }

    pub(super) fn biz_step(mut self, step: &str) -> Self {
        self.event.biz_step = Some(step.to_owned());
        self
    }

    pub(super) fn disposition(mut self, disposition: &str) -> Self {
        self.event.disposition = Some(disposition.to_owned());
        self
    }

    /// Sets the station as read point and as location afterwards.
    pub(super) fn at_station(mut self, station: &str) -> Self {
        let station = Location::new(self.mapper.identifiers.station(station));
        self.event.read_point = Some(station.clone());
        self.event.biz_location = Some(station);
        self
    }

    /// Adds the station as source.
    pub(super) fn departing_from(mut self, station: &str) -> Self {
        let source = self.mapper.identifiers.station(station);
        self.event.source_list.push(Source { kind: "location".to_owned(), source });
        self
    }

    /// Sets the location of the van as read point, if known.
    pub(super) fn read_point_geo(mut self) -> Self {
        let place = self.mapper.event.location.as_ref();
        self.event.read_point = place.map(|place| Location::new(geo::geo_uri(place)));
        self
    }

    /// Sets the stop as location afterwards. A stop id is unique only within its route.
    pub(super) fn at_stop(mut self, stop: Option<&StopRef>) -> Self {
        let Some(stop) = stop else { return self };
        if let Some(route) = &self.mapper.event.route {
            let uri = self.mapper.identifiers.stop(route, &stop.id);
            self.event.biz_location = Some(Location::new(uri));
        }
        self.extension("waypost:stopSeq", stop.seq)
    }

    /// Adds the fix as sensor element.
    pub(super) fn sensor_element(mut self) -> Self {
        let device = self.mapper.identifiers.gateway.as_deref();
        let place = self.mapper.event.location.as_ref();
        let element = place.map(|place| geo::sensor_element(place, device));
        self.event.sensor_element_list = element.into_iter().collect();
        self
    }

    pub(super) fn reason(self, reason: Option<FailureReason>) -> Self {
        self.extension_opt("waypost:reason", reason.map(FailureReason::as_str))
            .extension_opt("waypost:reasonCode", reason.map(FailureReason::code))
    }

    pub(super) fn extension(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.event.extensions.insert(key.to_owned(), value.into());
        self
    }

    pub(super) fn extension_opt(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.extension(key, value),
            None => self,
        }
    }

    pub(super) fn build(self) -> EpcisEvent {
        self.event
    }
}

/// Formats an offset in minutes, such as `+01:00`. EPCIS requires one; UTC stands for unknown.
fn zone_offset(minutes: Option<i16>) -> String {
    let minutes = minutes.unwrap_or(0);
    let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.unsigned_abs());
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::zone_offset;

    #[test]
    fn an_offset_has_a_sign_hours_and_minutes() {
        let texts = [None, Some(60), Some(-570), Some(840)].map(zone_offset);
        assert_eq!(texts, ["+00:00", "+01:00", "-09:30", "+14:00"]);
    }
}
