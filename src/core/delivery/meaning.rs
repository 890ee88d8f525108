//! A parcel that was scanned, and where → what became of it.
//!
//! | parcel | at the station | at its stop | near its stop, or nobody knows where | elsewhere |
//! |---|---|---|---|---|
//! | due, void | loaded | delivered, and counted as not loaded | the same, outside | seen, wrong stop |
//! | loaded | taken out again | delivered | delivered, outside | seen, wrong stop |
//! | out, attempted, not found | returned | delivered | delivered, outside | seen, wrong stop |
//! | delivered, returned | seen, finished | seen, finished | seen, finished | seen, finished |
//!
//! Before the van first leaves and shortly after it came back, who does not know where it is takes it to be at the
//! station: the roof is why. Then nothing that is loaded is taken out. Only a fix of the last minute says where the van is.
//! Near is within three radii with no other stop's fence open. A recalled parcel is only returned.

use std::time::Duration;

use super::board::{ParcelState, Release, Status};
use super::clock::{When, between};
use super::event::{Alert, Happening, Method, Outcome, Proof, Reading};
use super::manifest::Stop;
use super::route::{Ending, Phase};
use super::saying::Fate;
use super::scan::Became;
use super::site::{self, Speak};
use super::telling::NEAR;
use super::{Delivery, Happenings};

/// A second scan at the station takes a parcel out of the van again, but not so soon.
const UNLOADS_AFTER: Duration = Duration::from_secs(5);
/// … nor by a scanner before which a label is left lying.
const FIXED_UNLOADS_AFTER: Duration = Duration::from_mins(10);

/// Where a parcel was scanned, with respect to where it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Station,
    /// At the station, as far as anybody can tell without a fix.
    Unseen,
    AtStop,
    NearStop,
    Elsewhere,
}

impl Delivery {
    /// A scan of a parcel that is known. `fate` is what a card said, and whether the scanner is the station's own.
    pub(super) fn scan_parcel(
        &mut self,
        key: &str,
        reading: Reading,
        (fate, fixed): (Option<Fate>, bool),
        when: When,
        out: &mut Happenings,
    ) -> Option<Became> {
        let before = self.board.state(key)?.clone();
        let place = self.place_of(key, when, out);
        let status = before.status;
        let became = match (fate, place) {
            (Some(Fate::Damaged), _) => Became::Damaged,
            (Some(Fate::Void), _) => Became::Void,
            (Some(Fate::Returned), _) => Became::Returned,
            _ if fixed && self.trip.phase == Phase::Out && status == Status::Out => Became::Void,
            _ if status.is_finished() => Became::Seen(Some(Alert::Finished)),
            (Some(Fate::NotFound), _) => Became::NotFound,
            _ if fixed && !matches!(place, Where::Station | Where::Unseen) => Became::Seen(None),
            (_, Where::Station | Where::Unseen) => {
                match self.at_station(&before, (place, fixed), when) {
                    Some(became) => became,
                    None => return Some(Became::Loaded),
                }
            }
            (Some(Fate::Attempted(reason)), _) => Became::Attempted(reason),
            _ if before.release == Release::Recalled => Became::Seen(Some(Alert::Recalled)),
            _ if self.board.stop_ref(key, self.manifest.as_deref()).is_none() => {
                Became::Seen(Some(Alert::Unknown))
            }
            (Some(Fate::Delivered(outcome)), Where::AtStop | Where::NearStop) => {
                Became::Delivered(outcome)
            }
            (None, Where::AtStop | Where::NearStop) => Became::Delivered(Outcome::HandedOver),
            (_, Where::Elsewhere) => self.wrong_stop(key),
        };
        if matches!(became, Became::Seen(_)) && !self.may_tell_seen(when) {
            return None;
        }
        let method = match place {
            Where::AtStop => Method::ScanInGeofence,
            _ => Method::ScanOutside,
        };
        self.apply(key, &became, (reading, method), when, out);
        Some(became)
    }

    /// `None` = it was loaded just now.
    fn at_station(
        &self,
        state: &ParcelState,
        (place, fixed): (Where, bool),
        when: When,
    ) -> Option<Became> {
        let unloads_after = if fixed { FIXED_UNLOADS_AFTER } else { UNLOADS_AFTER };
        Some(match state.status {
            Status::Loaded => match state.loaded_at() {
                Some(loaded) if between(loaded, when.utc) < unloads_after => return None,
                // Perhaps it is being handed over.
                _ if place == Where::Unseen => Became::Seen(None),
                _ => Became::Unloaded,
            },
            Status::Out | Status::Attempted => Became::Returned,
            Status::NotFound if self.trip.phase == Phase::Back => Became::Returned,
            _ if state.release == Release::Recalled => Became::Seen(Some(Alert::Recalled)),
            _ => Became::Loaded,
        })
    }

    fn wrong_stop(&mut self, key: &str) -> Became {
        self.counters.wrong_stop += 1;
        let due = self.board.stop_ref(key, self.manifest.as_deref());
        Became::Seen(due.map(|due| Alert::WrongStop { due }))
    }

    /// Where the van is for a parcel. Who scans stands there: that opens a fence at once.
    fn place_of(&mut self, key: &str, when: When, out: &mut Happenings) -> Where {
        let Some(manifest) = self.manifest.clone() else { return Where::Elsewhere };
        let station = &manifest.station;
        let Some(position) = self.here.usable(when.utc).map(|fix| fix.position) else {
            return self.place_unseen(key, when);
        };
        let from_station_m =
            station.position.distance_to(position).as_metres() - station.radius.as_metres();
        if self.trip.phase == Phase::Out && from_station_m <= 0.0 && self.here.is_slow() {
            self.come_back(when.utc);
        }
        if self.trip.phase != Phase::Out && from_station_m <= site::STATION_MARGIN_M {
            return Where::Station;
        }
        let Some(stop) = self.board.stop(key, &manifest) else { return Where::Elsewhere };
        let way_m = stop.position.distance_to(position).as_metres();
        let in_fence = way_m <= stop.radius.as_metres();
        if in_fence && self.here.is_slow() && self.trip.visit.is_none_or(|visit| visit.has_driven())
        {
            self.reach_stop(&manifest, when, Speak::Now, out);
        }
        let visited = self.trip.visit.map(|visit| visit.seq);
        match visited {
            Some(seq) if seq == stop.seq => Where::AtStop,
            _ if in_fence && self.here.is_slow() => Where::AtStop,
            None if way_m <= stop.radius.as_metres() * NEAR => Where::NearStop,
            _ => Where::Elsewhere,
        }
    }

    /// Where the van is for a parcel if no fix says it: where it came back to as long as parcels are taken out there,
    /// and what is not on board was certainly not brought anywhere.
    fn place_unseen(&self, key: &str, when: When) -> Where {
        let unloads_for = self.config.off_duty_after_return;
        let just_back =
            self.trip.back_since.is_some_and(|back| between(back, when.utc) < unloads_for);
        let on_board = self.board.state(key).is_some_and(|state| state.status.is_on_board());
        let loaded = self.board.state(key).is_some_and(|state| state.status == Status::Loaded);
        match self.trip.phase {
            Phase::Fresh => Where::Unseen,
            Phase::Back if just_back || loaded || !on_board => Where::Unseen,
            Phase::Back | Phase::Out => Where::NearStop,
        }
    }

    /// Tells what became of a parcel, and keeps it.
    pub(super) fn apply(
        &mut self,
        key: &str,
        became: &Became,
        (reading, method): (Reading, Method),
        when: When,
        out: &mut Happenings,
    ) {
        let Some(before) = self.board.state(key).cloned() else { return };
        if *became == Became::Unloaded {
            self.unload(key, when, out);
            return;
        }
        let happening = self.happening(key, became, (reading, method), &before, when);
        let at_station = matches!(became, Became::Loaded | Became::Returned | Became::Void);
        let place = if at_station { None } else { self.here.place(when.utc) };
        let record = self.tell(when, place, key, happening, out);
        if let Some(state) = self.board.change(key) {
            state.saw(&record);
            match became {
                Became::Loaded => {
                    (state.status, state.loaded) = (Status::Loaded, Some(Box::new(record.clone())));
                }
                Became::Delivered(_) => state.status = Status::Delivered,
                Became::Attempted(reason) => {
                    (state.status, state.reason) = (Status::Attempted, Some(*reason));
                    state.attempts = state.attempts.saturating_add(1);
                }
                Became::Returned => state.status = Status::Returned,
                Became::NotFound => state.status = Status::NotFound,
                Became::Void => state.status = Status::Void,
                Became::Damaged | Became::Seen(_) | Became::Unloaded => {}
            }
            if !matches!(state.status, Status::Loaded) {
                state.loaded = None;
            }
        }
        if let Became::Delivered(_) | Became::Attempted(_) = became {
            self.count_outcome(key, &before);
        }
        self.may_undo(record, key, before);
    }

    fn count_outcome(&mut self, key: &str, before: &ParcelState) {
        self.counters.not_loaded += u64::from(before.status == Status::Due);
        if self.trip.phase == Phase::Out {
            self.trip.ending = Ending::Due;
        }
        if let Some(stop) = self.board.stop_ref(key, self.manifest.as_deref()) {
            self.stops.serve(stop.seq);
        }
    }

    fn unload(&mut self, key: &str, when: When, out: &mut Happenings) {
        let Some(state) = self.board.change(key) else { return };
        state.status = Status::Due;
        if let Some(record) = state.loaded.take() {
            self.retract(*record, when, out);
        }
        self.forget_undo();
    }

    fn happening(
        &self,
        key: &str,
        became: &Became,
        (reading, method): (Reading, Method),
        before: &ParcelState,
        when: When,
    ) -> Happening {
        let parcel = self.board.parcel(key);
        let manifest = self.manifest.as_deref();
        let stop = self.board.stop_ref(key, manifest);
        let station = manifest.map(|manifest| manifest.station.id.clone()).unwrap_or_default();
        match became {
            Became::Loaded | Became::Unloaded => Happening::Loaded { parcel, reading, station },
            Became::Delivered(outcome) => {
                let proof = Box::new(self.proof(key, method, when));
                Happening::Delivered { parcel, stop, outcome: *outcome, proof, reading }
            }
            Became::Attempted(reason) => {
                let proof = Box::new(self.proof(key, method, when));
                let attempt = before.attempts.saturating_add(1);
                Happening::Attempted { parcel, stop, reason: *reason, attempt, proof }
            }
            Became::Damaged => {
                let there = self.trip.phase != Phase::Out;
                Happening::Damaged { parcel, stop, station: there.then_some(station) }
            }
            Became::Returned => {
                let reason = before.reason.filter(|_| before.status == Status::Attempted);
                Happening::Returned { parcel, station, reason }
            }
            Became::NotFound => Happening::NotFound { parcel, stop, last_seen: before.sighting },
            Became::Void => Happening::Void { parcel, station },
            Became::Seen(alert) => Happening::Seen { parcel, reading, alert: alert.clone() },
        }
    }

    fn proof(&self, key: &str, method: Method, when: When) -> Proof {
        let manifest = self.manifest.as_deref();
        let stop: Option<&Stop> = manifest.and_then(|manifest| self.board.stop(key, manifest));
        let fix = self.here.seen_at(when.utc);
        let fix_age =
            fix.map(|fix| Duration::from_millis(fix.utc.millis_since(when.utc).unsigned_abs()));
        let visit = self.trip.visit.filter(|_| self.here.usable(when.utc).is_some());
        let visit = visit.filter(|visit| stop.is_some_and(|stop| stop.seq == visit.seq));
        Proof {
            method,
            fix_age,
            distance_to_stop: fix
                .zip(stop)
                .map(|(fix, stop)| stop.position.distance_to(fix.position)),
            radius: stop.map(|stop| stop.radius),
            dwell: visit.map(|visit| between(visit.since, when.utc)),
            preferences: self.board.preferences(key, manifest),
        }
    }

    /// What a person says of a parcel: whether it makes sense.
    pub(super) fn fate_of(&self, key: &str, fate: Fate) -> Result<Became, super::Refusal> {
        use super::Refusal;
        let Some(state) = self.board.state(key) else {
            return Err(Refusal::Unknown(key.to_owned()));
        };
        match fate {
            Fate::Damaged => return Ok(Became::Damaged),
            _ if state.status.is_finished() => return Err(Refusal::Finished(key.to_owned())),
            Fate::Delivered(_) if state.release == Release::Recalled => {
                return Err(Refusal::Recalled(key.to_owned()));
            }
            Fate::Void | Fate::Returned if !state.status.is_on_board() => {
                return Err(Refusal::NotOnBoard(key.to_owned()));
            }
            _ => {}
        }
        Ok(match fate {
            Fate::Delivered(outcome) => Became::Delivered(outcome),
            Fate::Attempted(reason) => Became::Attempted(reason),
            Fate::Damaged => Became::Damaged,
            Fate::NotFound => Became::NotFound,
            Fate::Void => Became::Void,
            Fate::Returned => Became::Returned,
        })
    }
}
