//! Time → the end of a route, and of the duty with it.

use std::time::Duration;

use super::board::Status;
use super::clock::{When, between};
use super::driving::count;
use super::duty::{Duty, Ended};
use super::event::{Happening, Summary};
use super::route::{Ending, Phase};
use super::{Delivery, Happenings};
use crate::units::{Uptime, UtcTime};

/// A route is over so long after the van is back with nothing on board …
const EMPTY_AFTER: Duration = Duration::from_mins(1);
/// … or with something, which is then perhaps taken out.
const UNLOADED_AFTER: Duration = Duration::from_mins(5);

impl Delivery {
    /// When something ends by itself.
    pub(super) fn endings(&self) -> [Option<UtcTime>; 4] {
        [self.completes_at(), self.duty_ends_at(), self.validity_ends_at(), self.duty_begins_at()]
    }

    pub(super) fn pass(&mut self, now: Uptime, out: &mut Happenings) {
        self.passed = self.passed.max(Some(now));
        let Some(when) = self.clock.when(now) else { return };
        let due = |at: Option<UtcTime>| at.filter(|at| *at <= when.utc);
        if due(self.completes_at()).is_some() {
            self.complete(when, out);
        }
        if let Some(by) = due(self.validity_ends_at()) {
            self.complete(when, out);
            self.end_duty(by);
        }
        if due(self.duty_ends_at()).is_some()
            && let Some(by) = self.trip.back_since
        {
            self.end_duty(by);
        }
        if due(self.duty_begins_at()).is_some() {
            self.duty.ended = None;
            self.change_duty(self.config.duty_at_start);
        }
        self.inventory(now, when, out);
    }

    fn completes_at(&self) -> Option<UtcTime> {
        let back = self.trip.back_since.filter(|_| self.trip.phase == Phase::Back)?;
        if self.trip.ending == Ending::Told {
            return None;
        }
        let empty = self.board.count(|state| state.status.is_on_board()) == 0;
        back.checked_add(if empty { EMPTY_AFTER } else { UNLOADED_AFTER })
    }

    /// After the return, unless the van is being loaded again.
    fn duty_ends_at(&self) -> Option<UtcTime> {
        let back = self.trip.back_since.filter(|_| self.trip.phase == Phase::Back)?;
        let loading = self.board.iter().any(|(_, state)| state.status == Status::Loaded);
        if self.duty.duty != Duty::On || loading || self.has_ended(back) {
            return None;
        }
        back.checked_add(self.config.off_duty_after_return)
    }

    fn validity_ends_at(&self) -> Option<UtcTime> {
        let until = self.manifest.as_ref()?.valid_until?;
        (!self.has_ended(until)).then_some(until)
    }

    /// A new route begins where the end of the old one ended the duty.
    fn duty_begins_at(&self) -> Option<UtcTime> {
        let ended = self.duty.ended.as_ref().filter(|ended| ended.stands)?;
        let manifest = self.manifest.as_ref().filter(|manifest| manifest.route != ended.route)?;
        Some(manifest.valid_from.unwrap_or(ended.by))
    }

    fn has_ended(&self, by: UtcTime) -> bool {
        self.duty.ended.as_ref().is_some_and(|ended| ended.by >= by)
    }

    fn end_duty(&mut self, by: UtcTime) {
        let route = self.manifest.as_ref().map(|manifest| manifest.route.clone());
        let stands = self.duty.duty == Duty::On;
        self.duty.ended = Some(Ended { route: route.unwrap_or_default(), by, stands });
        if stands {
            self.change_duty(Duty::Off);
        }
    }

    /// A person begins or ends the duty.
    pub(super) fn set_duty(&mut self, duty: Duty, at: Uptime, out: &mut Happenings) {
        if let Some(ended) = &mut self.duty.ended {
            ended.stands = false;
        }
        if duty == Duty::Off
            && self.trip.phase == Phase::Back
            && let Some(when) = self.clock.when(at)
        {
            self.complete(when, out);
        }
        self.change_duty(duty);
    }

    fn change_duty(&mut self, duty: Duty) {
        if self.duty.duty == duty {
            return;
        }
        self.duty.duty = duty;
        self.lose_sight();
        if duty == Duty::Off {
            self.trip.delay = None;
        }
    }

    /// Tells the end of the route, if it was not told.
    pub(super) fn complete(&mut self, when: When, out: &mut Happenings) {
        if self.trip.ending == Ending::Told {
            return;
        }
        self.trip.ending = Ending::Told;
        let Some(manifest) = self.manifest.clone() else { return };
        let station = manifest.station.id.clone();
        let summary = self.summary(when.utc);
        let happening = Happening::Completed { station, summary };
        self.tell(when, None, &manifest.route, happening, out);
    }

    fn summary(&self, utc: UtcTime) -> Summary {
        let trip = &self.trip;
        let stops = self.manifest.as_ref().map_or(0, |manifest| manifest.stops.len());
        let stands = trip.still.filter(|_| trip.phase == Phase::Out);
        let stands = stands.map_or(Duration::ZERO, |still| between(still.since, utc));
        let (visit, idle) = match trip.visit {
            Some(_) => (stands, Duration::ZERO),
            None => (Duration::ZERO, stands),
        };
        let (out_for, way_m) = trip.left.map_or((Duration::ZERO, 0.0), |(left, left_at)| {
            let way_m = self.here.odometer.as_metres() - left_at.as_metres();
            (between(left, utc), way_m)
        });
        Summary {
            departed: trip.departed,
            stops_total: count(stops),
            stops_served: self.stops.served(),
            delivered: self.board.count(|state| state.status == Status::Delivered),
            attempted: self.board.count(|state| {
                state.reason.is_some()
                    && matches!(state.status, Status::Attempted | Status::Returned)
            }),
            on_board: self.board.count(|state| state.status.is_on_board()),
            dwell: trip.dwell + visit,
            idle: trip.idle + idle,
            duration: trip.duration + out_for,
            distance: trip.distance.saturating_add(super::site::metres(way_m)),
        }
    }
}
