//! What a page says now → what its subscribers should have been told. Pure.
//!
//! A rule looks at how things are, never at how they came to be: what comes twice, late or all at once after an outage is
//! the same. What was told once is told never again, which the table's key sees to.

use std::time::Duration;

use crate::backend::view::parcel::{ParcelView, Stage, Status};
use crate::units::UtcTime;

/// Stops before one's own at which the van is near.
const NEAR_STOPS: u32 = 3;
/// Who is told that the van is near, is told by what was known so long ago at most …
const NEAR_KNOWN: Duration = Duration::from_mins(5);
/// … and within so long.
const NEAR_FRESH: Duration = Duration::from_mins(5);
/// A delay, likewise.
const DELAY_KNOWN: Duration = Duration::from_mins(15);
const DELAY_FRESH: Duration = Duration::from_mins(30);
/// A van that left longer ago is no news.
const DEPARTED_FRESH: Duration = Duration::from_hours(3);
/// What has ended stays true; after a day nobody waits for the letter.
const END_FRESH: Duration = Duration::from_hours(24);

/// What somebody is told, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The van is out with it.
    OutForDelivery,
    /// It is `NEAR_STOPS` away.
    NextStops,
    /// It is late.
    Delayed,
    /// It was handed over.
    Delivered,
    /// Nobody took it.
    Attempted,
    /// It is damaged or not to be found.
    Problem,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::OutForDelivery,
        Self::NextStops,
        Self::Delayed,
        Self::Delivered,
        Self::Attempted,
        Self::Problem,
    ];

    /// As it is stored and sent.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutForDelivery => "out_for_delivery",
            Self::NextStops => "next_stops",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Attempted => "attempted",
            Self::Problem => "problem",
        }
    }

    /// Of a stored name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// What.
    pub kind: Kind,
    /// When it happened, as far as it happened at a moment.
    pub since: Option<UtcTime>,
    /// After this it is not sent any more.
    pub fresh_until: UtcTime,
}

/// What follows from a page at `now`. `known_at` is when the newest thing that is known of the van was true.
#[must_use]
pub fn due(view: &ParcelView, known_at: Option<UtcTime>, now: UtcTime) -> Vec<Due> {
    let mut due = Vec::new();
    let mut say = |kind: Kind, since: Option<UtcTime>, fresh_until: Option<UtcTime>| {
        let fresh_until = fresh_until.filter(|until| *until >= now);
        due.extend(fresh_until.map(|fresh_until| Due { kind, since, fresh_until }));
    };
    let known = |within: Duration| {
        known_at.and_then(|at| at.checked_add(within)).is_some_and(|until| until >= now)
    };
    match view.status {
        Status::OutForDelivery | Status::Arrived => {
            let left = when(view, Stage::OutForDelivery);
            say(Kind::OutForDelivery, left, left.and_then(|at| at.checked_add(DEPARTED_FRESH)));
            let near = view.stops_away.is_some_and(|stops| stops <= NEAR_STOPS);
            if near && view.delay.is_none() && known(NEAR_KNOWN) {
                say(Kind::NextStops, None, now.checked_add(NEAR_FRESH));
            }
            if view.delay.is_some() && known(DELAY_KNOWN) {
                say(Kind::Delayed, None, now.checked_add(DELAY_FRESH));
            }
        }
        Status::Delivered => end(view, Kind::Delivered, Stage::Delivered, &mut say),
        Status::Attempted => end(view, Kind::Attempted, Stage::Attempted, &mut say),
        Status::Problem => say(Kind::Problem, None, now.checked_add(END_FRESH)),
        Status::Announced | Status::InTransit | Status::AtStation | Status::Returned => {}
    }
    due
}

fn end(
    view: &ParcelView,
    kind: Kind,
    stage: Stage,
    say: &mut impl FnMut(Kind, Option<UtcTime>, Option<UtcTime>),
) {
    let at = when(view, stage);
    say(kind, at, at.and_then(|at| at.checked_add(END_FRESH)));
}

/// When a stage was last.
fn when(view: &ParcelView, stage: Stage) -> Option<UtcTime> {
    let step = view.timeline.iter().rev().find(|step| step.stage == stage)?;
    UtcTime::parse(&step.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::view::parcel::{DelayView, Manage, Step};

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
            manage: Manage::default(),
            alerts: Vec::new(),
            expires_at: None,
            language: None,
        }
    }

    fn told(view: &ParcelView, known_min_ago: u64, now: &str) -> Vec<&'static str> {
        let now = utc(now);
        let known = now.checked_sub(Duration::from_mins(known_min_ago));
        due(view, known, now).into_iter().map(|due| due.kind.name()).collect()
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
            // Eight hours without a link, and all of it comes at once: only the end is told.
            (delivered.clone(), 480, "2026-11-23T17:00:00Z", &["delivered"]),
            (delivered, 0, "2026-11-24T17:00:00Z", &[]),
        ] {
            assert_eq!(told(&view, known_min_ago, now), expected, "{now} {known_min_ago}");
        }
    }
}
