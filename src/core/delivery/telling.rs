//! What happened → an [`Event`] with name, time, place and number; and the [`View`] of it all.

use std::time::Duration;

use super::board::Status;
use super::clock::{When, between};
use super::duty::Duty;
use super::event::{Event, EventRecord, Happening, Parcel, Place};
use super::manifest::{Manifest, Stop};
use super::route::Phase;
use super::saying::{Delay, DelayReason};
use super::view::{NextStop, StopStatus, View};
use super::{Delivery, Happenings, driving};
use crate::units::UtcTime;

/// The street is so much longer than the crow's way.
const DETOUR: f64 = 1.35;
/// Before the van has driven.
const USUAL_MPS: f64 = 8.0;
/// A stop is near at so many times its radius.
pub(super) const NEAR: f64 = 3.0;
/// Who stands elsewhere for so long is late.
const STANDS_LONG: Duration = Duration::from_mins(20);

/// Of an event, so that the outbox takes it …
const MAX_PARCELS_TOLD: usize = 1_000;
/// … and as many bytes of keys and URIs.
const MAX_BYTES_TOLD: usize = 128 * 1024;

/// Parts of a list that fit into an event each, in order.
pub(super) fn parts(parcels: Vec<Parcel>) -> Vec<Vec<Parcel>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for parcel in parcels {
        let more = parcel.key.len() + parcel.epc.len();
        if let Some(part) = parts.last_mut()
            && part.len() < MAX_PARCELS_TOLD
            && bytes + more <= MAX_BYTES_TOLD
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

impl Delivery {
    /// Makes an event of what happened to `subject`.
    pub(super) fn tell(
        &mut self,
        when: When,
        place: Option<Place>,
        subject: &str,
        happening: Happening,
        out: &mut Happenings,
    ) -> EventRecord {
        let event = Event {
            id: self.ids.give(when.utc, happening.name(), subject),
            utc: when.utc,
            time_source: when.source,
            place,
            route: self.manifest.as_ref().map(|manifest| manifest.route.clone()),
            happening,
        };
        let record = EventRecord { seq: out.next_seq, previous: self.last_event.0, event };
        self.last_event.0 = Some(record.seq);
        out.next_seq = out.next_seq.next();
        out.events.push(record.clone());
        record
    }

    /// The delivery as it is now.
    #[must_use]
    pub fn view(&self) -> View {
        let manifest = self.manifest.as_deref();
        let next = manifest.and_then(|manifest| self.next_stop(manifest));
        let at = manifest.zip(self.trip.visit);
        let at = at.and_then(|(manifest, visit)| driving::stop_of(manifest, visit.seq));
        let on_duty = self.duty.duty == Duty::On;
        let (stop_status, stop_seq) = match (at, next) {
            (Some(at), _) => (Some(StopStatus::StoppedAt), Some(at.seq)),
            (None, Some(next)) => (Some(self.status_to(next)), Some(next.seq)),
            (None, None) => (None, None),
        };
        View {
            duty: self.duty.duty,
            route: manifest.map(|manifest| manifest.route.clone()),
            manifest_rev: manifest.map(|manifest| manifest.rev),
            manifest_error: self.manifest_error.clone(),
            next_stop: next.map(|next| self.way_to(next)),
            stop_status: stop_status.filter(|_| on_duty),
            stop_seq: stop_seq.filter(|_| on_duty),
            stops_remaining: manifest.map(|manifest| self.remaining(manifest, None)),
            delay: self.delay(),
            on_board: self.board.count(|state| state.status.is_on_board()),
            delivered: self.board.count(|state| state.status == Status::Delivered),
            counters: self.counters,
        }
    }

    /// The first unfinished stop in the order of the route; those that were skipped come last, in the order of that.
    fn next_stop<'a>(&self, manifest: &'a Manifest) -> Option<&'a Stop> {
        let here = self.trip.visit.map(|visit| visit.seq);
        let state = |stop: &Stop| self.stops.of(stop.seq);
        let left =
            manifest.stops.iter().filter(|stop| !self.board.is_done(stop, state(stop).served));
        left.filter(|stop| Some(stop.seq) != here)
            .min_by_key(|stop| (state(stop).skipped, stop.seq))
    }

    fn status_to(&self, stop: &Stop) -> StopStatus {
        let near = self.here.newest().is_some_and(|fix| {
            let way_m = stop.position.distance_to(fix.position).as_metres();
            way_m <= stop.radius.as_metres() * NEAR
        });
        if near { StopStatus::IncomingAt } else { StopStatus::InTransitTo }
    }

    fn way_to(&self, stop: &Stop) -> NextStop {
        let fix = self.here.newest();
        let distance = fix.map(|fix| fix.position.distance_to(stop.position));
        let eta = distance.zip(self.clock.told()).and_then(|(way, utc)| {
            let mps = self.here.driving_mps.unwrap_or(USUAL_MPS);
            let eta = utc.checked_add(Duration::from_secs_f64(way.as_metres() * DETOUR / mps))?;
            Some(stop.window.map_or(eta, |(from, _)| eta.max(from)))
        });
        NextStop { seq: stop.seq, id: stop.id.clone(), distance, eta }
    }

    /// What a person said, else what the van sees: it stands, and not at a stop.
    fn delay(&self) -> Option<Delay> {
        let stands = |utc: UtcTime| {
            let since = self.trip.idle_since.filter(|_| self.trip.phase == Phase::Out)?;
            let by = between(since, utc);
            let left = self.manifest.as_deref().is_some_and(|m| self.remaining(m, None) > 0);
            let minutes = Duration::from_mins(by.as_secs() / 60);
            let seen = Delay { by: minutes, reason: DelayReason::Other };
            (left && by >= STANDS_LONG).then_some(seen)
        };
        self.trip.delay.or_else(|| self.clock.told().and_then(stands))
    }
}
