//! Rules that derive the due alerts from a tracking page. Pure.
//!
//! A rule evaluates the current state only, never the history. Repeated, late or batched input
//! after an outage therefore gives the same result. The key of the table prevents a second
//! notification about the same occurrence: the route, or the event that reports an outcome.

use std::time::Duration;

use crate::queries::TrackingPage;
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

/// Kind of an alert. Each is sent once per subscriber and occurrence.
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
    /// The recipient refused the parcel.
    Refused,
    /// The parcel is back at the station.
    Returned,
    /// The parcel is damaged or missing.
    Problem,
    /// An earlier alert about an outcome was wrong: its event was retracted.
    Correction,
}

impl AlertKind {
    pub const ALL: [Self; 9] = [
        Self::OutForDelivery,
        Self::NextStops,
        Self::Delayed,
        Self::Delivered,
        Self::Attempted,
        Self::Refused,
        Self::Returned,
        Self::Problem,
        Self::Correction,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutForDelivery => "out_for_delivery",
            Self::NextStops => "next_stops",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Attempted => "attempted",
            Self::Refused => "refused",
            Self::Returned => "returned",
            Self::Problem => "problem",
            Self::Correction => "correction",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Reason of an attempt or a return: the recipient refused the parcel.
const REFUSED: &str = "refused";

/// An alert that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueAlert {
    pub kind: AlertKind,
    /// Route or event that the alert is about.
    pub occurrence: String,
    /// Time of the event; `None` for a state without a single moment.
    pub happened_at: Option<UtcTime>,
    /// The alert is dropped after this time.
    pub fresh_until: UtcTime,
}

/// Returns the alerts that are due at `now`.
#[must_use]
pub fn due_alerts(page: &TrackingPage, now: UtcTime) -> Vec<DueAlert> {
    let view = &page.view;
    let mut rules = Rules { page, now, due: Vec::new() };
    let known = |within: Duration| {
        page.data_as_of.and_then(|at| at.checked_add(within)).is_some_and(|until| until >= now)
    };
    match view.status {
        Status::OutForDelivery | Status::Arrived => {
            let left = last_time_of(view, Stage::OutForDelivery);
            let until = left.and_then(|at| at.checked_add(DEPARTED_VALID_FOR));
            rules.add_for_route(AlertKind::OutForDelivery, left, until);
            let near = view.stops_away.is_some_and(|stops| stops <= NEAR_STOPS);
            if near && view.delay.is_none() && known(NEAR_MAX_DATA_AGE) {
                let until = now.checked_add(NEAR_VALID_FOR);
                rules.add_for_route(AlertKind::NextStops, None, until);
            }
            if view.delay.is_some() && known(DELAY_MAX_DATA_AGE) {
                let until = now.checked_add(DELAY_VALID_FOR);
                rules.add_for_route(AlertKind::Delayed, None, until);
            }
        }
        Status::Delivered => rules.add_outcome(AlertKind::Delivered),
        Status::Attempted => {
            let refused =
                page.milestone.as_ref().is_some_and(|at| at.reason.as_deref() == Some(REFUSED));
            let kind = if refused { AlertKind::Refused } else { AlertKind::Attempted };
            rules.add_outcome(kind);
        }
        Status::Returned => rules.add_outcome(AlertKind::Returned),
        Status::Problem => {
            let occurrence = rules.event_id().or_else(|| page.route.clone());
            let until = now.checked_add(OUTCOME_VALID_FOR);
            rules.add(AlertKind::Problem, occurrence, None, until);
        }
        Status::Announced | Status::InTransit | Status::AtStation | Status::AvailableForPickup => {}
    }
    rules.due
}

/// Collects the due alerts of a page.
struct Rules<'a> {
    page: &'a TrackingPage,
    now: UtcTime,
    due: Vec<DueAlert>,
}

impl Rules<'_> {
    fn event_id(&self) -> Option<String> {
        self.page.milestone.as_ref().map(|milestone| milestone.event_id.clone())
    }

    fn add(
        &mut self,
        kind: AlertKind,
        occurrence: Option<String>,
        happened_at: Option<UtcTime>,
        fresh_until: Option<UtcTime>,
    ) {
        let fresh_until = fresh_until.filter(|until| *until >= self.now);
        self.due.extend(fresh_until.map(|fresh_until| DueAlert {
            kind,
            occurrence: occurrence.unwrap_or_default(),
            happened_at,
            fresh_until,
        }));
    }

    /// Adds an alert about the van, once per route.
    fn add_for_route(
        &mut self,
        kind: AlertKind,
        happened_at: Option<UtcTime>,
        fresh_until: Option<UtcTime>,
    ) {
        let occurrence = self.page.route.clone().or_else(|| self.event_id());
        self.add(kind, occurrence, happened_at, fresh_until);
    }

    /// Adds an alert about an outcome, once per event.
    fn add_outcome(&mut self, kind: AlertKind) {
        let at = self.page.milestone.as_ref().map(|milestone| milestone.at);
        let until = at.and_then(|at| at.checked_add(OUTCOME_VALID_FOR));
        self.add(kind, self.event_id(), at, until);
    }
}

/// Returns the time until which a correction that is enqueued at `now` is sent.
#[must_use]
pub fn correction_fresh_until(now: UtcTime) -> UtcTime {
    now.checked_add(OUTCOME_VALID_FOR).unwrap_or(now)
}

/// Returns the time of the last step of a stage.
fn last_time_of(view: &ParcelView, stage: Stage) -> Option<UtcTime> {
    let step = view.timeline.iter().rev().find(|step| step.stage == stage)?;
    UtcTime::parse(&step.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::Milestone;
    use crate::tracking::parcel::{DelayView, PreferenceState, Step};

    fn utc(text: &str) -> UtcTime {
        UtcTime::parse(text).unwrap()
    }

    fn page(status: Status, stage: Stage, at: &str, reason: Option<&str>) -> TrackingPage {
        let view = ParcelView {
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
        };
        TrackingPage {
            view,
            epc: "urn:x:1".to_owned(),
            route: Some("R".to_owned()),
            van: None,
            next_change_at: None,
            data_as_of: None,
            milestone: Some(Milestone {
                at: utc(at),
                event_id: "urn:uuid:1".to_owned(),
                event_kind: String::new(),
                reason: reason.map(str::to_owned),
            }),
            retracted: Vec::new(),
            time_zone: None,
            utc_offset_min: None,
        }
    }

    fn due_kinds(page: &TrackingPage, known_min_ago: u64, now: &str) -> Vec<&'static str> {
        let now = utc(now);
        let mut page = page.clone();
        page.data_as_of = now.checked_sub(Duration::from_mins(known_min_ago));
        due_alerts(&page, now).into_iter().map(|due| due.kind.as_str()).collect()
    }

    #[test]
    fn an_outcome_is_one_occurrence_per_event_and_the_van_one_per_route() {
        let now = utc("2026-11-23T08:00:00Z");
        for (status, stage, reason, kind, occurrence) in [
            (Status::OutForDelivery, Stage::OutForDelivery, None, "out_for_delivery", "R"),
            (Status::Delivered, Stage::Delivered, None, "delivered", "urn:uuid:1"),
            (Status::Attempted, Stage::Attempted, Some("no_one_home"), "attempted", "urn:uuid:1"),
            (Status::Attempted, Stage::Attempted, Some("refused"), "refused", "urn:uuid:1"),
            (Status::Returned, Stage::Returned, None, "returned", "urn:uuid:1"),
            (Status::Problem, Stage::Damaged, None, "problem", "urn:uuid:1"),
        ] {
            let page = page(status, stage, "2026-11-23T07:00:00Z", reason);
            let due = due_alerts(&page, now);
            let told: Vec<_> =
                due.iter().map(|due| (due.kind.as_str(), due.occurrence.as_str())).collect();
            assert_eq!(told, [(kind, occurrence)]);
        }
    }

    #[test]
    fn what_is_old_is_not_told_and_what_has_ended_is() {
        let out = |stops_away, delayed: bool| {
            let left = "2026-11-23T07:00:00Z";
            let mut page = page(Status::OutForDelivery, Stage::OutForDelivery, left, None);
            page.view.stops_away = stops_away;
            page.view.delay = delayed.then_some(DelayView { reason: None, seconds: None });
            page
        };
        let delivered = page(Status::Delivered, Stage::Delivered, "2026-11-23T09:00:00Z", None);
        for (page, known_min_ago, now, expected) in [
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
            assert_eq!(due_kinds(&page, known_min_ago, now), expected, "{now} {known_min_ago}");
        }
    }
}
