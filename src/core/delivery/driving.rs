//! Fixes → departure, arrival, return: where the van is on its route.

use std::sync::Arc;
use std::time::Duration;

use super::board::Status;
use super::clock::{When, between};
use super::duty::Duty;
use super::event::{Happening, Parcel, Place};
use super::manifest::{Manifest, Stop};
use super::route::{Ending, Phase, Trip};
use super::site::{self, Pace, Sight, Speak, Stance, Visit};
use super::telling::parts;
use super::{Delivery, Happenings};
use crate::core::fix::Fix;
use crate::core::journey::Motion;
use crate::units::{Distance, Uptime, UtcTime};

/// What the newest fix says. A restart forgets it: the next fix says it again.
#[derive(Debug, Default)]
pub(super) struct Here {
    newest: Option<Fix>,
    pub(super) motion: Motion,
    pub(super) odometer: Distance,
    /// How fast it is, if that is known.
    pub(super) mps: Option<f64>,
    /// How fast it drives, on average.
    pub(super) driving_mps: Option<f64>,
    pace: Pace,
    stance: Stance,
}

impl Here {
    /// A fix says where the van is for so long.
    const USABLE_FOR: Duration = Duration::from_mins(1);
    /// How much a new speed weighs, at one fix a second about a minute's.
    const WEIGHT: f64 = 0.015;

    fn observe(&mut self, fix: &Fix, motion: Motion, odometer: Distance) {
        (self.newest, self.motion, self.odometer) = (Some(*fix), motion, odometer);
        self.mps = self.pace.observe(fix, motion);
        if let Some(mps) = self.mps.filter(|mps| *mps > 2.0) {
            let mean = self.driving_mps.get_or_insert(mps);
            *mean += (mps - *mean) * Self::WEIGHT;
        }
    }

    /// Nothing of where the van is may be told, now or by what comes next.
    pub(super) fn hide(&mut self) {
        (self.newest, self.mps, self.stance) = (None, None, Stance::default());
    }

    /// The newest fix.
    pub(super) const fn newest(&self) -> Option<&Fix> {
        self.newest.as_ref()
    }

    /// Whether the newest fix is of about `utc`.
    pub(super) fn was_seen_at(&self, utc: UtcTime) -> bool {
        let age_ms = |fix: &Fix| fix.utc.millis_since(utc).unsigned_abs();
        self.newest.as_ref().is_some_and(|fix| age_ms(fix) <= Self::USABLE_FOR.as_secs() * 1000)
    }

    /// For what happened where nobody knows: gives the newest fix and the speed, for [`Self::look_back`].
    pub(super) fn look_away(&mut self) -> (Option<Fix>, Option<f64>) {
        (self.newest.take(), self.mps.take())
    }

    pub(super) fn look_back(&mut self, (newest, mps): (Option<Fix>, Option<f64>)) {
        (self.newest, self.mps) = (newest, mps);
    }

    /// For an event at `utc`.
    pub(super) fn place(&self, utc: UtcTime) -> Option<Place> {
        self.seen_at(utc).map(Place::from)
    }

    /// The newest fix, if it is of about `utc`.
    pub(super) fn seen_at(&self, utc: UtcTime) -> Option<&Fix> {
        self.newest.as_ref().filter(|_| self.was_seen_at(utc))
    }

    /// A fix that says where the van was at `utc`.
    pub(super) fn usable(&self, utc: UtcTime) -> Option<&Fix> {
        self.seen_at(utc).filter(|fix| site::is_accurate(fix))
    }

    /// When the newest fix that counted was.
    pub(super) fn stance_seen(&self) -> Option<UtcTime> {
        self.stance.seen()
    }

    pub(super) fn is_slow(&self) -> bool {
        self.mps.is_none_or(|mps| mps < site::SLOW_MPS)
    }
}

impl Delivery {
    pub(super) fn drive(
        &mut self,
        fix: &Fix,
        motion: Motion,
        odometer: Distance,
        out: &mut Happenings,
    ) {
        self.learn_time(fix.utc, fix.read_at);
        if self.duty.duty == Duty::On {
            self.here.observe(fix, motion, odometer);
            if let Some(when) = self.clock.when(fix.read_at) {
                if site::is_accurate(fix) {
                    self.locate(fix, when, out);
                }
                self.idle(when);
            }
        }
        self.wake(fix.read_at, out);
        self.pass(fix.read_at, out);
    }

    pub(super) fn withheld(&mut self, utc: UtcTime, read_at: Uptime, out: &mut Happenings) {
        self.learn_time(utc, read_at);
        self.lose_sight();
        self.wake(read_at, out);
        self.pass(read_at, out);
    }

    /// The next run believes a receiver that goes on from the time that this one knew.
    fn learn_time(&mut self, utc: UtcTime, read_at: Uptime) {
        let was_known = self.clock.told().is_some();
        if self.clock.observe(utc, read_at) && !was_known {
            self.trip.touched = self.clock.told();
        }
    }

    fn locate(&mut self, fix: &Fix, when: When, out: &mut Happenings) {
        let sight = Sight { utc: when.utc, position: fix.position, speed_mps: self.here.mps };
        let stood = |trip: &Trip| (trip.still.map(|still| still.since), trip.phase);
        let before = stood(&self.trip);
        let seen = self.here.stance.seen();
        let driven_m = self.here.stance.observe(sight, &mut self.trip.still);
        if let Some(since) = before.0.filter(|_| stood(&self.trip).0 != before.0) {
            self.stood(since, seen.unwrap_or(since));
        }
        let Some(manifest) = self.manifest.clone() else { return };
        self.leave_or_reach_station(&manifest, sight, when, out);
        if stood(&self.trip) != before {
            self.keep_still(&manifest);
        }
        if let Some(visit) = &mut self.trip.visit {
            let stop = manifest.stops.iter().find(|stop| stop.seq == visit.seq);
            if stop.is_none_or(|stop| visit.observe(stop, sight, driven_m)) {
                self.leave_stop();
            }
        }
        self.reach_stop(&manifest, when, Speak::WhenSure, out);
    }

    /// A standstill is kept if it matters.
    pub(super) fn keep_still(&mut self, manifest: &Manifest) {
        let out = self.trip.phase == Phase::Out;
        let fenced = self.trip.still.filter(|still| out && still.is_at_fence(manifest));
        self.trip.still_at_fence = fenced;
    }

    fn leave_or_reach_station(
        &mut self,
        manifest: &Manifest,
        sight: Sight,
        when: When,
        out: &mut Happenings,
    ) {
        let station = &manifest.station;
        if self.trip.phase == Phase::Out {
            let Some(still) = self.trip.still else { return };
            let inside = still.distance_m(station.position) <= station.radius.as_metres();
            if inside && between(still.since, when.utc) >= site::DWELL {
                self.come_back(still.since);
            }
            return;
        }
        let way_m = station.position.distance_to(sight.position).as_metres();
        if way_m <= station.radius.as_metres() + site::STATION_MARGIN_M {
            self.trip.outside_since = None;
            return;
        }
        let odometer = self.here.odometer;
        let (since, left_at) = *self.trip.outside_since.get_or_insert((sight.utc, odometer));
        let fast = sight.speed_mps.is_some_and(|mps| mps >= 2.0);
        let moving = fast || self.here.motion == Motion::Moving;
        if moving && between(since, sight.utc) >= site::STATION_AWAY {
            self.depart((since, left_at), when, out);
        }
    }

    /// The van is out, and with it what was loaded.
    fn depart(&mut self, left: (UtcTime, Distance), when: When, out: &mut Happenings) {
        let Some(manifest) = self.manifest.clone() else { return };
        let trip = &mut self.trip;
        // It left when it drove off, and not when it was well outside.
        let left = trip.drove_off.take().filter(|(utc, _)| *utc <= left.0).unwrap_or(left);
        (trip.phase, trip.left, trip.outside_since) = (Phase::Out, Some(left), None);
        trip.back_since = None;
        trip.departed.get_or_insert(left.0);
        let loaded = self.board.iter().filter(|(_, state)| state.status == Status::Loaded);
        let keys: Vec<String> = loaded.map(|(key, _)| key.to_owned()).collect();
        if !keys.is_empty() {
            self.trip.ending = Ending::Due;
            let parcels = keys.iter().map(|key| self.board.parcel(key)).collect();
            for part in parts(parcels) {
                self.tell_departed(&manifest, part, when, out);
            }
        }
        self.tags.begin();
    }

    fn tell_departed(
        &mut self,
        manifest: &Manifest,
        parcels: Vec<Parcel>,
        when: When,
        out: &mut Happenings,
    ) {
        let keys: Vec<String> = parcels.iter().map(|parcel| parcel.key.clone()).collect();
        let happening = Happening::Departed {
            station: manifest.station.id.clone(),
            parcels,
            stops_total: count(manifest.stops.len()),
        };
        let record = self.tell(when, self.here.place(when.utc), &manifest.route, happening, out);
        for key in &keys {
            if let Some(state) = self.board.change(key) {
                (state.status, state.loaded) = (Status::Out, None);
                state.saw(&record);
            }
        }
    }

    /// The van stands at the station again since `since`.
    pub(super) fn come_back(&mut self, since: UtcTime) {
        self.leave_stop();
        let odometer = self.here.odometer;
        let trip = &mut self.trip;
        (trip.phase, trip.back_since, trip.delay) = (Phase::Back, Some(since), None);
        if let Some((left, left_at)) = trip.left.take() {
            trip.duration += between(left, since);
            let way_m = odometer.as_metres() - left_at.as_metres();
            trip.distance = trip.distance.saturating_add(site::metres(way_m));
        }
    }

    /// What follows is nobody's business: where the van stood ends with what was seen of it.
    pub(super) fn lose_sight(&mut self) {
        if let Some((still, end)) = self.trip.still.zip(self.here.stance_seen()) {
            self.stood(still.since, end);
        }
        (self.trip.still, self.trip.still_at_fence, self.trip.idle_since) = (None, None, None);
        self.leave_stop();
        self.here.hide();
    }

    fn leave_stop(&mut self) {
        let Some(visit) = self.trip.visit.take() else { return };
        let manifest = self.manifest.as_deref();
        let stop = manifest.and_then(|manifest| stop_of(manifest, visit.seq));
        if stop.is_some_and(|stop| !self.board.is_done(stop, true)) {
            self.stops.skip(visit.seq);
        }
    }

    /// Whether the van stands at a stop by now where it did not stand before.
    pub(super) fn reach_stop(
        &mut self,
        manifest: &Arc<Manifest>,
        when: When,
        speak: Speak,
        out: &mut Happenings,
    ) {
        let Some(still) = self.trip.still.filter(|_| self.trip.phase == Phase::Out) else { return };
        let Some(stop) = site::stop_at(manifest, &still, when.utc, speak) else { return };
        match self.trip.visit {
            Some(visit) if visit.seq == stop.seq || !visit.has_driven() => return,
            Some(_) => self.leave_stop(),
            None => {}
        }
        let was_done = self.board.is_done(stop, self.stops.of(stop.seq).served);
        self.trip.visit = Some(Visit::new(stop.seq, still.since));
        self.stops.serve(stop.seq);
        if was_done {
            return;
        }
        let due = stop.parcels.iter().map(|listed| listed.key.as_str());
        let on_board =
            due.filter(|key| self.board.state(key).is_some_and(|state| state.status.is_on_board()));
        let happening = Happening::Arrived {
            stop: stop.as_ref(),
            parcels: on_board.map(|key| self.board.parcel(key)).collect(),
            stops_remaining: self.remaining(manifest, Some(stop.seq)),
            radius: stop.radius,
        };
        self.tell(when, self.here.place(when.utc), &stop.id, happening, out);
    }

    /// The van stood from `since` to `end`: at the stop where it is, or idle.
    pub(super) fn stood(&mut self, since: UtcTime, end: UtcTime) {
        let (odometer, trip) = (self.here.odometer, &mut self.trip);
        let stood = between(since, end);
        match (trip.phase, trip.visit) {
            (Phase::Out, Some(_)) => trip.dwell += stood,
            (Phase::Out, None) if stood >= site::IDLE => trip.idle += stood,
            (Phase::Out, None) => {}
            _ => trip.drove_off = Some((end, odometer)),
        }
    }

    /// Follows for how long it has stood where it has nothing to do: that is a delay some day.
    fn idle(&mut self, when: When) {
        let trip = &mut self.trip;
        let elsewhere = trip.phase == Phase::Out && trip.visit.is_none();
        if elsewhere && self.here.motion == Motion::Halted {
            trip.idle_since.get_or_insert(when.utc);
        } else {
            trip.idle_since = None;
        }
    }

    /// Stops of which something is left to do, but for the one with the number `but`.
    pub(super) fn remaining(&self, manifest: &Manifest, but: Option<u32>) -> u32 {
        let left = manifest.stops.iter().filter(|stop| {
            Some(stop.seq) != but && !self.board.is_done(stop, self.stops.of(stop.seq).served)
        });
        count(left.count())
    }
}

/// The stop with the number `seq`.
pub(super) fn stop_of(manifest: &Manifest, seq: u32) -> Option<&Stop> {
    manifest.stops.iter().find(|stop| stop.seq == seq)
}

/// A count that was bounded where it began.
pub(super) fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
