//! Completes the route and ends the duty when their deadlines pass.

use std::time::Duration;

use super::duty::DutyEndedByRoute;
use super::event_clock::{EventTime, elapsed};
use super::parcel_states::ParcelStatus;
use super::route::{CompletionState, Phase};
use super::route_tracking::saturating_u32;
use super::{DeliveryOutput, DeliveryTracker};
use waypost_model::duty::Duty;
use waypost_model::event::{EventKind, RouteSummary};
use waypost_model::units::{Uptime, UtcTime};

/// Time from the return until an empty van completes its route.
const COMPLETE_EMPTY_AFTER: Duration = Duration::from_mins(1);
/// Time from the return until a van with parcels on board completes its route. The driver may still
/// unload them.
const COMPLETE_LOADED_AFTER: Duration = Duration::from_mins(5);

impl DeliveryTracker {
    /// Returns the deadlines of all automatic changes.
    pub(super) fn deadlines(&self) -> [Option<UtcTime>; 4] {
        [self.completes_at(), self.duty_ends_at(), self.validity_ends_at(), self.duty_begins_at()]
    }

    pub(super) fn on_tick(&mut self, now: Uptime, out: &mut DeliveryOutput) {
        self.ticked_until = self.ticked_until.max(Some(now));
        let Some(when) = self.clock.time_at(now) else { return };
        let due = |at: Option<UtcTime>| at.filter(|at| *at <= when.utc);
        if due(self.completes_at()).is_some() {
            self.complete(when, out);
        }
        if let Some(by) = due(self.validity_ends_at()) {
            self.complete(when, out);
            self.end_duty(by);
        }
        if due(self.duty_ends_at()).is_some()
            && let Some(by) = self.route.back_since
        {
            self.end_duty(by);
        }
        if due(self.duty_begins_at()).is_some() {
            self.duty.ended = None;
            self.change_duty(self.config.duty_at_start);
        }
        self.check_inventory(now, when, out);
    }

    fn completes_at(&self) -> Option<UtcTime> {
        let back = self.route.back_since.filter(|_| self.route.phase == Phase::Back)?;
        if self.route.completion == CompletionState::Reported {
            return None;
        }
        let empty = self.parcels.count(|state| state.status.is_on_board()) == 0;
        back.checked_add(if empty { COMPLETE_EMPTY_AFTER } else { COMPLETE_LOADED_AFTER })
    }

    /// Returns the end of duty after a return. A van that is being loaded again stays on duty.
    fn duty_ends_at(&self) -> Option<UtcTime> {
        let back = self.route.back_since.filter(|_| self.route.phase == Phase::Back)?;
        let loading = self.parcels.iter().any(|(_, state)| state.status == ParcelStatus::Loaded);
        if self.duty.duty != Duty::On || loading || self.has_ended(back) {
            return None;
        }
        back.checked_add(self.config.off_duty_after_return)
    }

    fn validity_ends_at(&self) -> Option<UtcTime> {
        let until = self.manifest.as_ref()?.valid_until?;
        (!self.has_ended(until)).then_some(until)
    }

    /// Returns the start of duty for a new route, if the end of the old route ended the duty.
    fn duty_begins_at(&self) -> Option<UtcTime> {
        let ended = self.duty.ended.as_ref().filter(|ended| ended.in_effect)?;
        let manifest = self.manifest.as_ref().filter(|manifest| manifest.route != ended.route)?;
        Some(manifest.valid_from.unwrap_or(ended.at))
    }

    fn has_ended(&self, by: UtcTime) -> bool {
        self.duty.ended.as_ref().is_some_and(|ended| ended.at >= by)
    }

    fn end_duty(&mut self, by: UtcTime) {
        let route = self.manifest.as_ref().map(|manifest| manifest.route.clone());
        let stands = self.duty.duty == Duty::On;
        self.duty.ended =
            Some(DutyEndedByRoute { route: route.unwrap_or_default(), at: by, in_effect: stands });
        if stands {
            self.change_duty(Duty::Off);
        }
    }

    /// Sets the duty on request of a person.
    pub(super) fn set_duty(&mut self, duty: Duty, at: Uptime, out: &mut DeliveryOutput) {
        if let Some(ended) = &mut self.duty.ended {
            ended.in_effect = false;
        }
        if duty == Duty::Off
            && self.route.phase == Phase::Back
            && let Some(when) = self.clock.time_at(at)
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
        self.forget_position();
        if duty == Duty::Off {
            self.route.delay = None;
        }
    }

    /// Reports the end of the route unless already reported.
    pub(super) fn complete(&mut self, when: EventTime, out: &mut DeliveryOutput) {
        if self.route.completion == CompletionState::Reported {
            return;
        }
        self.route.completion = CompletionState::Reported;
        let Some(manifest) = self.manifest.clone() else { return };
        let station = manifest.station.id.clone();
        let summary = self.summary(when.utc);
        let happening = EventKind::Completed { station, summary };
        self.emit(when, None, &manifest.route, happening, out);
    }

    fn summary(&self, utc: UtcTime) -> RouteSummary {
        let route = &self.route;
        let stops = self.manifest.as_ref().map_or(0, |manifest| manifest.stops.len());
        let stands = route.standstill.filter(|_| route.phase == Phase::Out);
        let stands = stands.map_or(Duration::ZERO, |still| elapsed(still.since, utc));
        let (visit, idle) = match route.visit {
            Some(_) => (stands, Duration::ZERO),
            None => (Duration::ZERO, stands),
        };
        let (out_for, road_distance_m) =
            route.left.map_or((Duration::ZERO, 0.0), |(left, left_at)| {
                let road_distance_m = self.position.odometer.as_metres() - left_at.as_metres();
                (elapsed(left, utc), road_distance_m)
            });
        RouteSummary {
            departed: route.departed,
            stops_total: saturating_u32(stops),
            stops_served: self.stops.served_count(),
            delivered: self.parcels.count(|state| state.status == ParcelStatus::Delivered),
            attempted: self.parcels.count(|state| {
                state.reason.is_some()
                    && matches!(state.status, ParcelStatus::Attempted | ParcelStatus::Returned)
            }),
            on_board: self.parcels.count(|state| state.status.is_on_board()),
            dwell: route.dwell + visit,
            idle: route.idle + idle,
            duration: route.duration + out_for,
            distance: route.distance.saturating_add(super::geofence::metres(road_distance_m)),
        }
    }
}
