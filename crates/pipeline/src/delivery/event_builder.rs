//! Builds events with id, time, location and sequence number, and the snapshot of the delivery
//! state.

use std::time::Duration;

use super::event_clock::{EventTime, elapsed};
use super::parcel_states::ParcelStatus;
use super::route::Phase;
use super::snapshot::{DeliverySnapshot, NextStop, StopStatus};
use super::{DeliveryOutput, DeliveryTracker, route_tracking};
use waypost_model::driver_input::{Delay, DelayReason};
use waypost_model::duty::Duty;
use waypost_model::event::{Event, EventKind, EventLocation, EventRecord, Parcel};
use waypost_model::manifest::{Manifest, Stop};
use waypost_model::road;
use waypost_model::units::UtcTime;

/// The van is near a stop within this multiple of the stop's radius.
pub(super) const NEAR_RADII: f64 = 3.0;
/// A standstill away from stops is reported as a delay after this time.
const DELAYED_AFTER: Duration = Duration::from_mins(20);

/// Maximum number of parcels per event, so that the event fits into the outbox.
const MAX_PARCELS_PER_EVENT: usize = 1_000;
/// Maximum total size of parcel keys and URIs per event, in bytes.
const MAX_PARCEL_BYTES_PER_EVENT: usize = 128 * 1024;

/// Splits a list of parcels into chunks that fit into one event each, in order.
pub(super) fn chunk_parcels(parcels: Vec<Parcel>) -> Vec<Vec<Parcel>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for parcel in parcels {
        let more = parcel.key.len() + parcel.epc.len();
        if let Some(part) = parts.last_mut()
            && part.len() < MAX_PARCELS_PER_EVENT
            && bytes + more <= MAX_PARCEL_BYTES_PER_EVENT
        {
            bytes += more;
            part.push(parcel);
        } else {
            bytes = more;
            parts.push(vec![parcel]);
        }
    }
    parts
}

impl DeliveryTracker {
    /// Creates an event about `subject`, assigns its id and sequence number, and outputs it.
    pub(super) fn emit(
        &mut self,
        when: EventTime,
        place: Option<EventLocation>,
        subject: &str,
        happening: EventKind,
        out: &mut DeliveryOutput,
    ) -> EventRecord {
        let event = Event {
            id: self.event_ids.next_id(when.utc, happening.as_str(), subject),
            utc: when.utc,
            time_source: when.source,
            location: place,
            route: self.manifest.as_ref().map(|manifest| manifest.route.clone()),
            utc_offset_min: self.manifest.as_ref().and_then(|manifest| manifest.utc_offset_min),
            kind: happening,
        };
        let record = EventRecord { seq: out.next_seq, previous: self.last_event.0, event };
        self.last_event.0 = Some(record.seq);
        out.next_seq = out.next_seq.next();
        out.events.push(record.clone());
        record
    }

    /// Returns a snapshot of the delivery state.
    #[must_use]
    pub fn snapshot(&self) -> DeliverySnapshot {
        let manifest = self.manifest.as_deref();
        let next = manifest.and_then(|manifest| self.next_stop(manifest));
        let at = manifest.zip(self.route.visit);
        let at = at.and_then(|(manifest, visit)| {
            let stop = route_tracking::stop_by_seq(manifest, visit.seq)?;
            let status = self.status_in_visit(manifest, stop, visit.has_moved())?;
            Some((status, stop.seq))
        });
        let on_duty = self.duty.duty == Duty::On;
        let here = at.or_else(|| next.map(|next| (self.stop_status(next), next.seq)));
        let (stop_status, stop_seq) = here.unzip();
        DeliverySnapshot {
            duty: self.duty.duty,
            route: manifest.map(|manifest| manifest.route.clone()),
            manifest_rev: manifest.map(|manifest| manifest.rev),
            manifest_rejected: self.manifest_rejected.clone(),
            next_stop: next.map(|next| self.next_stop_eta(next)),
            stop_status: stop_status.filter(|_| on_duty),
            stop_seq: stop_seq.filter(|_| on_duty),
            stops_remaining: manifest.map(|manifest| self.stops_remaining(manifest, None)),
            delay: self.delay(),
            on_board: self.parcels.count(|state| state.status.is_on_board()),
            delivered: self.parcels.count(|state| state.status == ParcelStatus::Delivered),
            counters: self.counters,
        }
    }

    /// Returns the first unfinished stop in route order. Skipped stops come last, in the order in
    /// which they were skipped.
    fn next_stop<'a>(&self, manifest: &'a Manifest) -> Option<&'a Stop> {
        let here = self.route.visit.map(|visit| visit.seq);
        let state = |stop: &Stop| self.stops.get(stop.seq);
        let left =
            manifest.stops.iter().filter(|stop| !self.parcels.is_done(stop, state(stop).served));
        left.filter(|stop| Some(stop.seq) != here)
            .min_by_key(|stop| (state(stop).skipped, stop.seq))
    }

    /// Returns the status towards the visited stop; `None` if the van is on its way to the next one.
    /// A visit ends well after the van has driven off: if it `has_moved`, it may stand at a traffic
    /// light, or at the next stop. While work is left, it may still look for the door.
    fn status_in_visit(
        &self,
        manifest: &Manifest,
        stop: &Stop,
        has_moved: bool,
    ) -> Option<StopStatus> {
        let Some(fix) = self.position.newest() else { return Some(StopStatus::StoppedAt) };
        let distance_m = |stop: &Stop| stop.position.distance_to(fix.position).as_metres();
        let here_m = distance_m(stop);
        let is_here = here_m <= stop.radius.as_metres()
            && manifest.stops.iter().all(|other| distance_m(other) >= here_m);
        let has_work = !self.parcels.is_done(stop, self.stops.get(stop.seq).served);
        match (self.position.is_driving(), has_moved) {
            (false, false) => Some(StopStatus::StoppedAt),
            (false, true) => (is_here && has_work).then_some(StopStatus::StoppedAt),
            (true, _) => (is_here && has_work).then_some(StopStatus::IncomingAt),
        }
    }

    fn stop_status(&self, stop: &Stop) -> StopStatus {
        let near = self.position.newest().is_some_and(|fix| {
            let road_distance_m = stop.position.distance_to(fix.position).as_metres();
            road_distance_m <= stop.radius.as_metres() * NEAR_RADII
        });
        if near { StopStatus::IncomingAt } else { StopStatus::InTransitTo }
    }

    fn next_stop_eta(&self, stop: &Stop) -> NextStop {
        let fix = self.position.newest();
        let distance = fix.map(|fix| fix.position.distance_to(stop.position));
        let eta = distance.zip(self.clock.last_utc()).and_then(|(way, utc)| {
            let eta = utc.checked_add(road::driving_time(way, self.position.driving_mps)?)?;
            Some(stop.window.map_or(eta, |(from, _)| eta.max(from)))
        });
        NextStop { seq: stop.seq, id: stop.id.clone(), distance, eta }
    }

    /// Returns the delay reported by a person, or else the one detected from a standstill away from
    /// the stops.
    fn delay(&self) -> Option<Delay> {
        let stands = |utc: UtcTime| {
            let since = self.route.idle_since.filter(|_| self.route.phase == Phase::Out)?;
            let by = elapsed(since, utc);
            let left = self.manifest.as_deref().is_some_and(|m| self.stops_remaining(m, None) > 0);
            let minutes = Duration::from_mins(by.as_secs() / 60);
            let seen = Delay { by: minutes, reason: DelayReason::Other };
            (left && by >= DELAYED_AFTER).then_some(seen)
        };
        self.route.delay.or_else(|| self.clock.last_utc().and_then(stands))
    }
}
