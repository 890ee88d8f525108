//! Scan rules: the effect of scanning a known parcel, by parcel status and location.
//!
//! | parcel | at the station | at its stop | near its stop, or unknown | elsewhere |
//! |---|---|---|---|---|
//! | due, void | loaded | delivered, counted as not loaded | same, outside | seen, wrong stop |
//! | loaded | taken out again | delivered | delivered, outside | seen, wrong stop |
//! | out, attempted, not found | returned | delivered | delivered, outside | seen, wrong stop |
//! | delivered, returned | seen, finished | seen, finished | seen, finished | seen, finished |
//!
//! Without a fix of the last minute the location is unknown. Before departure and shortly after the
//! return, an unknown location counts as the station, where a roof may hide the sky. A loaded
//! parcel is then not unloaded by a scan. "Near" is within three radii of the stop while the van is
//! at no other stop. A recalled parcel can only be returned.

use std::time::Duration;

use super::event_builder::NEAR_RADII;
use super::event_clock::{EventTime, elapsed};
use super::geofence::{self, Confidence};
use super::parcel_states::{HoldState, ParcelState, ParcelStatus};
use super::route::{CompletionState, Phase};
use super::scan::ScanEffect;
use super::{DeliveryOutput, DeliveryTracker};
use waypost_model::driver_input::ReportedOutcome;
use waypost_model::event::{Alert, EventKind, Outcome, Proof, ProofMethod, ScanSource};
use waypost_model::manifest::Stop;

/// Minimum time after loading before a second scan at the station unloads the parcel.
const UNLOAD_DELAY: Duration = Duration::from_secs(5);
/// The same for a fixed scanner of the station, in front of which a label may be left lying.
const FIXED_UNLOAD_DELAY: Duration = Duration::from_mins(10);

/// Location of a scan relative to the station and to the stop where the parcel is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanLocation {
    Station,
    /// Assumed to be the station, because there is no usable fix.
    AssumedStation,
    AtStop,
    NearStop,
    Elsewhere,
}

impl DeliveryTracker {
    /// Handles the scan of a known parcel. `fate` is the outcome armed by a control card, and
    /// whether the scanner is a fixed one of the station.
    pub(super) fn interpret_scan(
        &mut self,
        key: &str,
        reading: ScanSource,
        (outcome, fixed): (Option<ReportedOutcome>, bool),
        when: EventTime,
        out: &mut DeliveryOutput,
    ) -> Option<ScanEffect> {
        let before = self.parcels.state(key)?.clone();
        let place = self.scan_location(key, when, out);
        let status = before.status;
        let became = match (outcome, place) {
            (Some(ReportedOutcome::Damaged), _) => ScanEffect::Damaged,
            (Some(ReportedOutcome::Void), _) => ScanEffect::Void,
            (Some(ReportedOutcome::Returned), _) => ScanEffect::Returned,
            _ if fixed && self.route.phase == Phase::Out && status == ParcelStatus::Out => {
                ScanEffect::Void
            }
            _ if status.is_finished() => ScanEffect::Seen(Some(Alert::Finished)),
            (Some(ReportedOutcome::NotFound), _) => ScanEffect::NotFound,
            _ if fixed
                && !matches!(place, ScanLocation::Station | ScanLocation::AssumedStation) =>
            {
                ScanEffect::Seen(None)
            }
            (_, ScanLocation::Station | ScanLocation::AssumedStation) => {
                match self.effect_at_station(&before, (place, fixed), when) {
                    Some(became) => became,
                    None => return Some(ScanEffect::Loaded),
                }
            }
            (Some(ReportedOutcome::Attempted(reason)), _) => ScanEffect::Attempted(reason),
            _ if before.hold == HoldState::Recalled => ScanEffect::Seen(Some(Alert::Recalled)),
            _ if self.parcels.stop_ref(key, self.manifest.as_deref()).is_none() => {
                ScanEffect::Seen(Some(Alert::Unknown))
            }
            (
                Some(ReportedOutcome::Delivered(outcome)),
                ScanLocation::AtStop | ScanLocation::NearStop,
            ) => ScanEffect::Delivered(outcome),
            (None, ScanLocation::AtStop | ScanLocation::NearStop) => {
                ScanEffect::Delivered(Outcome::HandedOver)
            }
            (_, ScanLocation::Elsewhere) => self.wrong_stop_effect(key),
        };
        if matches!(became, ScanEffect::Seen(_)) && !self.take_seen_quota(when) {
            return None;
        }
        let method = match place {
            ScanLocation::AtStop => ProofMethod::ScanInGeofence,
            _ => ProofMethod::ScanOutside,
        };
        self.apply_effect(key, &became, (reading, method), when, out);
        Some(became)
    }

    /// Returns the effect of a scan at the station; `None` if the parcel was loaded just now.
    fn effect_at_station(
        &self,
        state: &ParcelState,
        (place, fixed): (ScanLocation, bool),
        when: EventTime,
    ) -> Option<ScanEffect> {
        let unloads_after = if fixed { FIXED_UNLOAD_DELAY } else { UNLOAD_DELAY };
        Some(match state.status {
            ParcelStatus::Loaded => match state.loaded_at() {
                Some(loaded) if elapsed(loaded, when.utc) < unloads_after => return None,
                // The parcel may be on its way to the recipient.
                _ if place == ScanLocation::AssumedStation => ScanEffect::Seen(None),
                _ => ScanEffect::Unloaded,
            },
            ParcelStatus::Out | ParcelStatus::Attempted => ScanEffect::Returned,
            ParcelStatus::NotFound if self.route.phase == Phase::Back => ScanEffect::Returned,
            _ if state.hold == HoldState::Recalled => ScanEffect::Seen(Some(Alert::Recalled)),
            _ => ScanEffect::Loaded,
        })
    }

    fn wrong_stop_effect(&mut self, key: &str) -> ScanEffect {
        self.counters.wrong_stop += 1;
        let due = self.parcels.stop_ref(key, self.manifest.as_deref());
        ScanEffect::Seen(due.map(|due| Alert::WrongStop { due }))
    }

    /// Returns the location of a scan. A scan inside a geofence counts as an arrival at once.
    fn scan_location(
        &mut self,
        key: &str,
        when: EventTime,
        out: &mut DeliveryOutput,
    ) -> ScanLocation {
        let Some(manifest) = self.manifest.clone() else { return ScanLocation::Elsewhere };
        let station = &manifest.station;
        let Some(position) = self.position.accurate_fix_at(when.utc).map(|fix| fix.position) else {
            return self.infer_location(key, when);
        };
        let from_station_m =
            station.position.distance_to(position).as_metres() - station.radius.as_metres();
        if self.route.phase == Phase::Out && from_station_m <= 0.0 && self.position.is_slow() {
            self.return_to_station(when.utc);
        }
        if self.route.phase != Phase::Out && from_station_m <= geofence::STATION_MARGIN_M {
            return ScanLocation::Station;
        }
        let Some(stop) = self.parcels.stop(key, &manifest) else { return ScanLocation::Elsewhere };
        let road_distance_m = stop.position.distance_to(position).as_metres();
        let in_fence = road_distance_m <= stop.radius.as_metres();
        if in_fence
            && self.position.is_slow()
            && self.route.visit.is_none_or(|visit| visit.has_moved())
        {
            self.reach_stop(&manifest, when, Confidence::Immediate, out);
        }
        let visited = self.route.visit.map(|visit| visit.seq);
        match visited {
            Some(seq) if seq == stop.seq => ScanLocation::AtStop,
            _ if in_fence && self.position.is_slow() => ScanLocation::AtStop,
            None if road_distance_m <= stop.radius.as_metres() * NEAR_RADII => {
                ScanLocation::NearStop
            }
            _ => ScanLocation::Elsewhere,
        }
    }

    /// Infers the location of a scan without a usable fix. The station is assumed before departure,
    /// and after the return while parcels are being unloaded. After the return it is also assumed
    /// for parcels that are loaded or not on board.
    fn infer_location(&self, key: &str, when: EventTime) -> ScanLocation {
        let unloads_for = self.config.off_duty_after_return;
        let just_back =
            self.route.back_since.is_some_and(|back| elapsed(back, when.utc) < unloads_for);
        let on_board = self.parcels.state(key).is_some_and(|state| state.status.is_on_board());
        let loaded =
            self.parcels.state(key).is_some_and(|state| state.status == ParcelStatus::Loaded);
        match self.route.phase {
            Phase::Fresh => ScanLocation::AssumedStation,
            Phase::Back if just_back || loaded || !on_board => ScanLocation::AssumedStation,
            Phase::Back | Phase::Out => ScanLocation::NearStop,
        }
    }

    /// Emits the event for an effect and updates the state of the parcel.
    pub(super) fn apply_effect(
        &mut self,
        key: &str,
        became: &ScanEffect,
        (reading, method): (ScanSource, ProofMethod),
        when: EventTime,
        out: &mut DeliveryOutput,
    ) {
        let Some(before) = self.parcels.state(key).cloned() else { return };
        if *became == ScanEffect::Unloaded {
            self.unload(key, when, out);
            return;
        }
        let happening = self.event_kind(key, became, (reading, method), &before, when);
        let at_station =
            matches!(became, ScanEffect::Loaded | ScanEffect::Returned | ScanEffect::Void);
        let place = if at_station { None } else { self.position.location_at(when.utc) };
        let record = self.emit(when, place, key, happening, out);
        if let Some(state) = self.parcels.state_mut(key) {
            state.record_sighting(&record);
            match became {
                ScanEffect::Loaded => {
                    (state.status, state.load_event) =
                        (ParcelStatus::Loaded, Some(Box::new(record.clone())));
                }
                ScanEffect::Delivered(_) => state.status = ParcelStatus::Delivered,
                ScanEffect::Attempted(reason) => {
                    (state.status, state.reason) = (ParcelStatus::Attempted, Some(*reason));
                    state.attempts = state.attempts.saturating_add(1);
                }
                ScanEffect::Returned => state.status = ParcelStatus::Returned,
                ScanEffect::NotFound => state.status = ParcelStatus::NotFound,
                ScanEffect::Void => state.status = ParcelStatus::Void,
                ScanEffect::Damaged | ScanEffect::Seen(_) | ScanEffect::Unloaded => {}
            }
            if !matches!(state.status, ParcelStatus::Loaded) {
                state.load_event = None;
            }
        }
        if let ScanEffect::Delivered(_) | ScanEffect::Attempted(_) = became {
            self.count_outcome(key, &before);
        }
        self.remember_undo(record, key, before);
    }

    fn count_outcome(&mut self, key: &str, before: &ParcelState) {
        self.counters.not_loaded += u64::from(before.status == ParcelStatus::Due);
        if self.route.phase == Phase::Out {
            self.route.completion = CompletionState::Pending;
        }
        if let Some(stop) = self.parcels.stop_ref(key, self.manifest.as_deref()) {
            self.stops.mark_served(stop.seq);
        }
    }

    fn unload(&mut self, key: &str, when: EventTime, out: &mut DeliveryOutput) {
        let Some(state) = self.parcels.state_mut(key) else { return };
        state.status = ParcelStatus::Due;
        if let Some(record) = state.load_event.take() {
            self.retract(*record, when, out);
        }
        self.clear_undo();
    }

    fn event_kind(
        &self,
        key: &str,
        became: &ScanEffect,
        (reading, method): (ScanSource, ProofMethod),
        before: &ParcelState,
        when: EventTime,
    ) -> EventKind {
        let parcel = self.parcels.parcel(key);
        let manifest = self.manifest.as_deref();
        let stop = self.parcels.stop_ref(key, manifest);
        let station = manifest.map(|manifest| manifest.station.id.clone()).unwrap_or_default();
        match became {
            ScanEffect::Loaded | ScanEffect::Unloaded => {
                EventKind::Loaded { parcel, source: reading, station }
            }
            ScanEffect::Delivered(outcome) => {
                let proof = Box::new(self.proof(key, method, when));
                EventKind::Delivered { parcel, stop, outcome: *outcome, proof, source: reading }
            }
            ScanEffect::Attempted(reason) => {
                let proof = Box::new(self.proof(key, method, when));
                let attempt = before.attempts.saturating_add(1);
                EventKind::Attempted { parcel, stop, reason: *reason, attempt, proof }
            }
            ScanEffect::Damaged => {
                let there = self.route.phase != Phase::Out;
                EventKind::Damaged { parcel, stop, station: there.then_some(station) }
            }
            ScanEffect::Returned => {
                let reason = before.reason.filter(|_| before.status == ParcelStatus::Attempted);
                EventKind::Returned { parcel, station, reason }
            }
            ScanEffect::NotFound => {
                EventKind::NotFound { parcel, stop, last_seen: before.sighting }
            }
            ScanEffect::Void => EventKind::Void { parcel, station },
            ScanEffect::Seen(alert) => {
                EventKind::Seen { parcel, source: reading, alert: alert.clone() }
            }
        }
    }

    fn proof(&self, key: &str, method: ProofMethod, when: EventTime) -> Proof {
        let manifest = self.manifest.as_deref();
        let stop: Option<&Stop> = manifest.and_then(|manifest| self.parcels.stop(key, manifest));
        let fix = self.position.fix_at(when.utc);
        let fix_age =
            fix.map(|fix| Duration::from_millis(fix.utc.millis_since(when.utc).unsigned_abs()));
        let visit = self.route.visit.filter(|_| self.position.accurate_fix_at(when.utc).is_some());
        let visit = visit.filter(|visit| stop.is_some_and(|stop| stop.seq == visit.seq));
        Proof {
            method,
            fix_age,
            distance_to_stop: fix
                .zip(stop)
                .map(|(fix, stop)| stop.position.distance_to(fix.position)),
            radius: stop.map(|stop| stop.radius),
            dwell: visit.map(|visit| elapsed(visit.since, when.utc)),
            preferences: self.parcels.preferences(key, manifest),
        }
    }

    /// Validates an outcome reported by a person and returns its effect.
    pub(super) fn check_driver_outcome(
        &self,
        key: &str,
        outcome: ReportedOutcome,
    ) -> Result<ScanEffect, super::DriverInputError> {
        use super::DriverInputError;
        let Some(state) = self.parcels.state(key) else {
            return Err(DriverInputError::Unknown(key.to_owned()));
        };
        match outcome {
            ReportedOutcome::Damaged => return Ok(ScanEffect::Damaged),
            _ if state.status.is_finished() => {
                return Err(DriverInputError::Finished(key.to_owned()));
            }
            ReportedOutcome::Delivered(_) if state.hold == HoldState::Recalled => {
                return Err(DriverInputError::Recalled(key.to_owned()));
            }
            ReportedOutcome::Void | ReportedOutcome::Returned if !state.status.is_on_board() => {
                return Err(DriverInputError::NotOnBoard(key.to_owned()));
            }
            _ => {}
        }
        Ok(match outcome {
            ReportedOutcome::Delivered(outcome) => ScanEffect::Delivered(outcome),
            ReportedOutcome::Attempted(reason) => ScanEffect::Attempted(reason),
            ReportedOutcome::Damaged => ScanEffect::Damaged,
            ReportedOutcome::NotFound => ScanEffect::NotFound,
            ReportedOutcome::Void => ScanEffect::Void,
            ReportedOutcome::Returned => ScanEffect::Returned,
        })
    }
}
