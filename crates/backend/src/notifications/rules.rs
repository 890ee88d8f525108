//! Rules that derive the due alerts from a tracking page. Pure.
//!
//! A rule evaluates the current state only, never the history. Repeated, late or batched input
//! after an outage therefore gives the same result. The key of the table prevents a second
//! notification.

use std::time::Duration;

use crate::tracking::parcel::{ParcelView, Stage, Status};
use waypost_model::units::UtcTime;

/// The van is near from this number of stops before the recipient's own.
const NEAR_STOPS: u32 = 3;
/// Maximum age of the position behind a "van is near" alert.
const NEAR_MAX_DATA_AGE: Duration = Duration::from_mins(5);
/// A "van is near" alert is dropped if not sent within this time.
const NEAR_VALID_FOR: Duration = Duration::from_mins(5);
/// Maximum age of the position behind a delay alert.
const DELAY_MAX_DATA_AGE: Duration = Duration::from_mins(15);
/// A delay alert is dropped if not sent within this time.
const DELAY_VALID_FOR: Duration = Duration::from_mins(30);
/// An "out for delivery" alert is dropped this long after the departure.
const DEPARTED_VALID_FOR: Duration = Duration::from_hours(3);
/// An alert about an outcome is dropped after this time.
const OUTCOME_VALID_FOR: Duration = Duration::from_hours(24);

/// Kind of an alert. Each is sent once per subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertKind {
    /// The parcel is out for delivery.
    OutForDelivery,
    /// The van is at most `NEAR_STOPS` stops away.
    NextStops,
    /// The delivery is late.
    Delayed,
    /// The parcel was delivered.
    Delivered,
    /// The delivery attempt failed.
    Attempted,
    /// The parcel is damaged or missing.
    Problem,
}

impl AlertKind {
    pub const ALL: [Self; 6] = [
        Self::OutForDelivery,
        Self::NextStops,
        Self::Delayed,
        Self::Delivered,
        Self::Attempted,
        Self::Problem,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutForDelivery => "out_for_delivery",
            Self::NextStops => "next_stops",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Attempted => "attempted",
            Self::Problem => "problem",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// An alert that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueAlert {
    pub kind: AlertKind,
    /// Time of the event; `None` for a state without a single moment.
    pub happened_at: Option<UtcTime>,
    /// The alert is dropped after this time.
    pub fresh_until: UtcTime,
}

/// Returns the alerts that are due at `now`. `known_at` is the time of the newest information about
/// the van.
#[must_use]
pub fn due_alerts(view: &ParcelView, data_as_of: Option<UtcTime>, now: UtcTime) -> Vec<DueAlert> {
    let mut due = Vec::new();
    let mut say = |kind: AlertKind, since: Option<UtcTime>, fresh_until: Option<UtcTime>| {
        let fresh_until = fresh_until.filter(|until| *until >= now);
        due.extend(fresh_until.map(|fresh_until| DueAlert {
            kind,
            happened_at: since,
            fresh_until,
        }));
    };
    let known = |within: Duration| {
        data_as_of.and_then(|at| at.checked_add(within)).is_some_and(|until| until >= now)
    };
    match view.status {
        Status::OutForDelivery | Status::Arrived => {
            let left = last_time_of(view, Stage::OutForDelivery);
            say(
                AlertKind::OutForDelivery,
                left,
                left.and_then(|at| at.checked_add(DEPARTED_VALID_FOR)),
            );
            let near = view.stops_away.is_some_and(|stops| stops <= NEAR_STOPS);
            if near && view.delay.is_none() && known(NEAR_MAX_DATA_AGE) {
                say(AlertKind::NextStops, None, now.checked_add(NEAR_VALID_FOR));
            }
            if view.delay.is_some() && known(DELAY_MAX_DATA_AGE) {
                say(AlertKind::Delayed, None, now.checked_add(DELAY_VALID_FOR));
            }
        }
        Status::Delivered => push_outcome(view, AlertKind::Delivered, Stage::Delivered, &mut say),
        Status::Attempted => push_outcome(view, AlertKind::Attempted, Stage::Attempted, &mut say),
        Status::Problem => say(AlertKind::Problem, None, now.checked_add(OUTCOME_VALID_FOR)),
        Status::Announced
        | Status::InTransit
        | Status::AtStation
        | Status::AvailableForPickup
        | Status::Returned => {}
    }
    due
}

fn push_outcome(
    view: &ParcelView,
    kind: AlertKind,
    stage: Stage,
    say: &mut impl FnMut(AlertKind, Option<UtcTime>, Option<UtcTime>),
) {
    let at = last_time_of(view, stage);
    say(kind, at, at.and_then(|at| at.checked_add(OUTCOME_VALID_FOR)));
}

/// Returns the time of the last step of a stage.
fn last_time_of(view: &ParcelView, stage: Stage) -> Option<UtcTime> {
    let step = view.timeline.iter().rev().find(|step| step.stage == stage)?;
    UtcTime::parse(&step.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracking::parcel::{DelayView, PreferenceState, Step};

    fn utc(text: &str) -> UtcTime {
        UtcTime::parse(text).unwrap()
    }

    fn view(status: Status, stage: Stage, at: &str) -> ParcelView {
        ParcelView {
            v: 1,
            number: "1".to_owned(),
            at: at.to_owned(),
            status,
            timeline: vec![Step { stage, at: at.to_owned(), place: None, by: None, reason: None }],
            stops_away: None,
            route_changed: false,
            eta: None,
            promised: None,
            delay: None,
            live: None,
            proof: None,
            manage: PreferenceState::default(),
            alerts: Vec::new(),
            expires_at: None,
            language: None,
        }
    }

    fn due_kinds(view: &ParcelView, known_min_ago: u64, now: &str) -> Vec<&'static str> {
        let now = utc(now);
        let known = now.checked_sub(Duration::from_mins(known_min_ago));
        due_alerts(view, known, now).into_iter().map(|due| due.kind.as_str()).collect()
    }

    #[test]
    fn what_is_old_is_not_told_and_what_has_ended_is() {
        let out = |stops_away, delayed: bool| {
            let mut view =
                view(Status::OutForDelivery, Stage::OutForDelivery, "2026-11-23T07:00:00Z");
            view.stops_away = stops_away;
            view.delay = delayed.then_some(DelayView { reason: None, seconds: None });
            view
        };
        let delivered = view(Status::Delivered, Stage::Delivered, "2026-11-23T09:00:00Z");
        for (view, known_min_ago, now, expected) in [
            (out(Some(9), false), 0, "2026-11-23T08:00:00Z", &["out_for_delivery"][..]),
            (out(Some(3), false), 0, "2026-11-23T08:00:00Z", &["out_for_delivery", "next_stops"]),
            (out(Some(3), false), 6, "2026-11-23T08:00:00Z", &["out_for_delivery"]),
            (out(Some(3), false), 1, "2026-11-23T11:00:00Z", &["next_stops"]),
            (out(Some(3), true), 1, "2026-11-23T11:00:00Z", &["delayed"]),
            (out(Some(3), true), 16, "2026-11-23T11:00:00Z", &[]),
            // After eight hours offline everything arrives at once: only the outcome is sent.
            (delivered.clone(), 480, "2026-11-23T17:00:00Z", &["delivered"]),
            (delivered, 0, "2026-11-24T17:00:00Z", &[]),
        ] {
            assert_eq!(due_kinds(&view, known_min_ago, now), expected, "{now} {known_min_ago}");
        }
    }
}
