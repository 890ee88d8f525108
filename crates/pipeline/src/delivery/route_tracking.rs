//! Tracks the van along its route: departure from the station, arrivals at stops, and return.

use std::sync::Arc;
use std::time::Duration;

use super::event_builder::chunk_parcels;
use super::event_clock::{EventTime, elapsed};
use super::geofence::{self, Confidence, GoodFix, SpeedEstimator, StandstillDetector, StopVisit};
use super::parcel_states::ParcelStatus;
use super::route::{CompletionState, Phase, RouteState};
use super::{DeliveryOutput, DeliveryTracker};
use waypost_model::duty::Duty;
use waypost_model::event::{EventKind, EventLocation, Parcel};
use waypost_model::fix::Fix;
use waypost_model::manifest::{Manifest, Stop};
use waypost_model::motion::Motion;
use waypost_model::units::{Distance, Uptime, UtcTime};

/// Speed in m/s from which the van is not at a stop any more. With a noise of 0.5 m/s on each axis,
/// 1 of 650 samples of a standing receiver is faster.
const DRIVING_MPS: f64 = 1.8;

/// Current position and motion, from the newest fix. Not persisted: the next fix after a restart
/// restores it.
#[derive(Debug, Default)]
pub(super) struct CurrentPosition {
    newest: Option<Fix>,
    pub(super) motion: Motion,
    pub(super) odometer: Distance,
    /// Current speed, if known.
    pub(super) speed_mps: Option<f64>,
    /// Mean speed while driving.
    pub(super) driving_mps: Option<f64>,
    speed_estimator: SpeedEstimator,
    standstill_detector: StandstillDetector,
}

impl CurrentPosition {
    /// Maximum time between a fix and an event that the fix may locate.
    const MAX_FIX_AGE: Duration = Duration::from_mins(1);
    /// Weight of a new speed in the mean: a time constant of about a minute at 1 Hz.
    const SPEED_SMOOTHING: f64 = 0.015;

    fn observe(&mut self, fix: &Fix, motion: Motion, odometer: Distance) {
        (self.newest, self.motion, self.odometer) = (Some(*fix), motion, odometer);
        self.speed_mps = self.speed_estimator.observe(fix, motion);
        if let Some(mps) = self.speed_mps.filter(|mps| *mps > 2.0) {
            let mean = self.driving_mps.get_or_insert(mps);
            *mean += (mps - *mean) * Self::SPEED_SMOOTHING;
        }
    }

    /// Clears the position, so that neither this nor a later event reveals it.
    pub(super) fn clear(&mut self) {
        (self.newest, self.speed_mps, self.standstill_detector) =
            (None, None, StandstillDetector::default());
    }

    pub(super) const fn newest(&self) -> Option<&Fix> {
        self.newest.as_ref()
    }

    /// Returns whether the newest fix is within a minute of `utc`.
    pub(super) fn is_current_at(&self, utc: UtcTime) -> bool {
        let age_ms = |fix: &Fix| fix.utc.millis_since(utc).unsigned_abs();
        self.newest.as_ref().is_some_and(|fix| age_ms(fix) <= Self::MAX_FIX_AGE.as_secs() * 1000)
    }

    /// Temporarily clears the current position, for events whose location is unknown. Returns the
    /// fix and the speed for [`Self::look_back`].
    pub(super) fn take_position(&mut self) -> (Option<Fix>, Option<f64>) {
        (self.newest.take(), self.speed_mps.take())
    }

    pub(super) fn restore_position(&mut self, (newest, mps): (Option<Fix>, Option<f64>)) {
        (self.newest, self.speed_mps) = (newest, mps);
    }

    /// Returns the location for an event at `utc`.
    pub(super) fn location_at(&self, utc: UtcTime) -> Option<EventLocation> {
        self.fix_at(utc).map(EventLocation::from)
    }

    /// Returns the newest fix if it is within a minute of `utc`.
    pub(super) fn fix_at(&self, utc: UtcTime) -> Option<&Fix> {
        self.newest.as_ref().filter(|_| self.is_current_at(utc))
    }

    /// Returns the newest fix if it is within a minute of `utc` and accurate.
    pub(super) fn accurate_fix_at(&self, utc: UtcTime) -> Option<&Fix> {
        self.fix_at(utc).filter(|fix| geofence::is_accurate(fix))
    }

    /// Returns the time of the newest accurate fix.
    pub(super) fn last_good_fix_at(&self) -> Option<UtcTime> {
        self.standstill_detector.last_utc()
    }

    /// Returns whether the van drives at this moment. Without a speed, it does not.
    pub(super) fn is_driving(&self) -> bool {
        self.speed_mps.is_some_and(|mps| mps >= DRIVING_MPS)
    }

    pub(super) fn is_slow(&self) -> bool {
        self.speed_mps.is_none_or(|mps| mps < geofence::SLOW_MPS)
    }
}

impl DeliveryTracker {
    pub(super) fn on_fix(
        &mut self,
        fix: &Fix,
        motion: Motion,
        odometer: Distance,
        out: &mut DeliveryOutput,
    ) {
        self.observe_time(fix.utc, fix.read_at);
        if self.duty.duty == Duty::On {
            self.position.observe(fix, motion, odometer);
            if let Some(when) = self.clock.time_at(fix.read_at) {
                if geofence::is_accurate(fix) {
                    self.locate(fix, when, out);
                }
                self.update_idle(when);
            }
        }
        self.process_pending(fix.read_at, out);
        self.on_tick(fix.read_at, out);
    }

    pub(super) fn on_withheld_fix(
        &mut self,
        utc: UtcTime,
        read_at: Uptime,
        out: &mut DeliveryOutput,
    ) {
        self.observe_time(utc, read_at);
        self.forget_position();
        self.process_pending(read_at, out);
        self.on_tick(read_at, out);
    }

    /// Updates the clock. Stores the first known time, so that after a restart a receiver that
    /// continues from it is trusted at once.
    fn observe_time(&mut self, utc: UtcTime, read_at: Uptime) {
        let was_known = self.clock.last_utc().is_some();
        if self.clock.observe(utc, read_at) && !was_known {
            self.route.updated_at = self.clock.last_utc();
        }
    }

    fn locate(&mut self, fix: &Fix, when: EventTime, out: &mut DeliveryOutput) {
        let line_of_sight =
            GoodFix { utc: when.utc, position: fix.position, speed_mps: self.position.speed_mps };
        let stood = |route: &RouteState| (route.standstill.map(|still| still.since), route.phase);
        let before = stood(&self.route);
        let seen = self.position.standstill_detector.last_utc();
        let driven_m =
            self.position.standstill_detector.observe(line_of_sight, &mut self.route.standstill);
        if let Some(since) = before.0.filter(|_| stood(&self.route).0 != before.0) {
            self.close_standstill(since, seen.unwrap_or(since));
        }
        let Some(manifest) = self.manifest.clone() else { return };
        self.leave_or_reach_station(&manifest, line_of_sight, when, out);
        if stood(&self.route) != before {
            self.persist_standstill(&manifest);
        }
        if let Some(visit) = &mut self.route.visit {
            let stop = manifest.stops.iter().find(|stop| stop.seq == visit.seq);
            if stop.is_none_or(|stop| visit.observe(stop, line_of_sight, driven_m)) {
                self.leave_stop();
            }
        }
        self.reach_stop(&manifest, when, Confidence::Confirmed, out);
    }

    /// Marks the standstill for persistence if it is at the station or a stop.
    pub(super) fn persist_standstill(&mut self, manifest: &Manifest) {
        let out = self.route.phase == Phase::Out;
        let fenced = self.route.standstill.filter(|still| out && still.is_at_fence(manifest));
        self.route.standstill_at_fence = fenced;
    }

    fn leave_or_reach_station(
        &mut self,
        manifest: &Manifest,
        line_of_sight: GoodFix,
        when: EventTime,
        out: &mut DeliveryOutput,
    ) {
        let station = &manifest.station;
        if self.route.phase == Phase::Out {
            let Some(still) = self.route.standstill else { return };
            let inside = still.distance_m(station.position) <= station.radius.as_metres();
            if inside && elapsed(still.since, when.utc) >= geofence::ARRIVAL_DWELL {
                self.return_to_station(still.since);
            }
            return;
        }
        let road_distance_m = station.position.distance_to(line_of_sight.position).as_metres();
        if road_distance_m <= station.radius.as_metres() + geofence::STATION_MARGIN_M {
            self.route.outside_since = None;
            return;
        }
        let odometer = self.position.odometer;
        let (since, left_at) =
            *self.route.outside_since.get_or_insert((line_of_sight.utc, odometer));
        let fast = line_of_sight.speed_mps.is_some_and(|mps| mps >= 2.0);
        let moving = fast || self.position.motion == Motion::Moving;
        if moving && elapsed(since, line_of_sight.utc) >= geofence::STATION_EXIT_AFTER {
            self.depart((since, left_at), when, out);
        }
    }

    /// Marks the van and all loaded parcels as out for delivery.
    fn depart(&mut self, left: (UtcTime, Distance), when: EventTime, out: &mut DeliveryOutput) {
        let Some(manifest) = self.manifest.clone() else { return };
        let route = &mut self.route;
        // The departure time is when the van drove off, before it left the geofence margin.
        let left = route.drove_off.take().filter(|(utc, _)| *utc <= left.0).unwrap_or(left);
        (route.phase, route.left, route.outside_since) = (Phase::Out, Some(left), None);
        route.back_since = None;
        route.departed.get_or_insert(left.0);
        let loaded = self.parcels.iter().filter(|(_, state)| state.status == ParcelStatus::Loaded);
        let keys: Vec<String> = loaded.map(|(key, _)| key.to_owned()).collect();
        if !keys.is_empty() {
            self.route.completion = CompletionState::Pending;
            let parcels = keys.iter().map(|key| self.parcels.parcel(key)).collect();
            for part in chunk_parcels(parcels) {
                self.emit_departed(&manifest, part, when, out);
            }
        }
        self.rfid.start_trip();
    }

    fn emit_departed(
        &mut self,
        manifest: &Manifest,
        parcels: Vec<Parcel>,
        when: EventTime,
        out: &mut DeliveryOutput,
    ) {
        let keys: Vec<String> = parcels.iter().map(|parcel| parcel.key.clone()).collect();
        let happening = EventKind::Departed {
            station: manifest.station.id.clone(),
            parcels,
            stops_total: saturating_u32(manifest.stops.len()),
        };
        let record =
            self.emit(when, self.position.location_at(when.utc), &manifest.route, happening, out);
        for key in &keys {
            if let Some(state) = self.parcels.state_mut(key) {
                (state.status, state.load_event) = (ParcelStatus::Out, None);
                state.record_sighting(&record);
            }
        }
    }

    /// Records the return to the station, where the van has been standing since `since`.
    pub(super) fn return_to_station(&mut self, since: UtcTime) {
        self.leave_stop();
        let odometer = self.position.odometer;
        let route = &mut self.route;
        (route.phase, route.back_since, route.delay) = (Phase::Back, Some(since), None);
        if let Some((left, left_at)) = route.left.take() {
            route.duration += elapsed(left, since);
            let road_distance_m = odometer.as_metres() - left_at.as_metres();
            route.distance = route.distance.saturating_add(geofence::metres(road_distance_m));
        }
    }

    /// Ends the current standstill and clears the position, since the following fixes are private.
    pub(super) fn forget_position(&mut self) {
        if let Some((still, end)) = self.route.standstill.zip(self.position.last_good_fix_at()) {
            self.close_standstill(still.since, end);
        }
        (self.route.standstill, self.route.standstill_at_fence, self.route.idle_since) =
            (None, None, None);
        self.leave_stop();
        self.position.clear();
    }

    fn leave_stop(&mut self) {
        let Some(visit) = self.route.visit.take() else { return };
        let manifest = self.manifest.as_deref();
        let stop = manifest.and_then(|manifest| stop_by_seq(manifest, visit.seq));
        if stop.is_some_and(|stop| !self.parcels.is_done(stop, true)) {
            self.stops.mark_skipped(visit.seq);
        }
    }

    /// Records an arrival if the van is stationary at a stop where it was not before.
    pub(super) fn reach_stop(
        &mut self,
        manifest: &Arc<Manifest>,
        when: EventTime,
        speak: Confidence,
        out: &mut DeliveryOutput,
    ) {
        let Some(still) = self.route.standstill.filter(|_| self.route.phase == Phase::Out) else {
            return;
        };
        let Some(stop) = geofence::match_stop(manifest, &still, when.utc, speak) else { return };
        match self.route.visit {
            Some(visit) if visit.seq == stop.seq || !visit.has_moved() => return,
            Some(_) => self.leave_stop(),
            None => {}
        }
        let matches_outcome = self.parcels.is_done(stop, self.stops.get(stop.seq).served);
        self.route.visit = Some(StopVisit::new(stop.seq, still.since));
        self.stops.mark_served(stop.seq);
        if matches_outcome {
            return;
        }
        let due = stop.parcels.iter().map(|listed| listed.key.as_str());
        let on_board = due
            .filter(|key| self.parcels.state(key).is_some_and(|state| state.status.is_on_board()));
        let happening = EventKind::Arrived {
            stop: stop.stop_ref(),
            parcels: on_board.map(|key| self.parcels.parcel(key)).collect(),
            stops_remaining: self.stops_remaining(manifest, Some(stop.seq)),
            radius: stop.radius,
        };
        self.emit(when, self.position.location_at(when.utc), &stop.id, happening, out);
    }

    /// Adds a finished standstill to the dwell time of the stop, or to the idle time. Before the
    /// departure, records when the van drove off.
    pub(super) fn close_standstill(&mut self, since: UtcTime, end: UtcTime) {
        let (odometer, route) = (self.position.odometer, &mut self.route);
        let stood = elapsed(since, end);
        match (route.phase, route.visit) {
            (Phase::Out, Some(_)) => route.dwell += stood,
            (Phase::Out, None) if stood >= geofence::MIN_IDLE => route.idle += stood,
            (Phase::Out, None) => {}
            _ => route.drove_off = Some((end, odometer)),
        }
    }

    /// Tracks since when the van has been halted away from stops and station. Long idle times are
    /// reported as a delay.
    fn update_idle(&mut self, when: EventTime) {
        let route = &mut self.route;
        let elsewhere = route.phase == Phase::Out && route.visit.is_none();
        if elsewhere && self.position.motion == Motion::Halted {
            route.idle_since.get_or_insert(when.utc);
        } else {
            route.idle_since = None;
        }
    }

    /// Returns the number of unfinished stops, not counting the stop with sequence number `but`.
    pub(super) fn stops_remaining(&self, manifest: &Manifest, but: Option<u32>) -> u32 {
        let left = manifest.stops.iter().filter(|stop| {
            Some(stop.seq) != but && !self.parcels.is_done(stop, self.stops.get(stop.seq).served)
        });
        saturating_u32(left.count())
    }
}

pub(super) fn stop_by_seq(manifest: &Manifest, seq: u32) -> Option<&Stop> {
    manifest.stops.iter().find(|stop| stop.seq == seq)
}

/// Converts a count to `u32`, saturating. All counts are bounded at their source.
pub(super) fn saturating_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
