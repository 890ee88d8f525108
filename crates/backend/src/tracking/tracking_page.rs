//! Builds the tracking page of one parcel, and computes when it changes by time alone.

use std::time::Duration;

use super::delivery_preferences::{self, PreferenceContext};
use super::eta::{self, Arrival};
use super::exceptions::unload_deadline;
use super::inputs::{ParcelInput, RouteInput, VanInput};
use super::parcel::{
    DelayView, DeliveryPreference, ParcelView, ProofView, Stage, Status, Step, Window,
};
use super::progress::{ParcelLocation, Progress};
use super::timeline::Timeline;
use super::tracking_event::TrackingEvent;
use super::visibility::{self, VisibilityInput};
use crate::config::VisibilityPolicy;
use waypost_model::units::UtcTime;

/// A van that misses the promised window by more than this is reported as delayed, without an
/// arrival time. In milliseconds.
const LATE_MS: i64 = 30 * 60_000;
/// Delays are rounded up to this step, in seconds.
const DELAY_STEP_S: i64 = 300;
/// No arrival is shown for a van that has been silent for longer than this, in milliseconds.
const MAX_SILENCE_MS: i64 = 30 * 60_000;
/// Interval for re-evaluating a page while an arrival is shown.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// A parcel's route with its progress and van.
#[derive(Clone, Copy, Debug)]
pub struct RouteContext<'a> {
    pub route: &'a RouteInput,
    pub progress: &'a Progress,
    pub van: &'a VanInput,
}

/// Input of a tracking page.
#[derive(Clone, Copy, Debug)]
pub struct PageInput<'a> {
    pub parcel: &'a ParcelInput,
    /// Every event that names the parcel, in any order.
    pub events: &'a [TrackingEvent],
    /// Route that lists the parcel, if any.
    pub route_context: Option<RouteContext<'a>>,
    pub policy: &'a VisibilityPolicy,
    pub now: UtcTime,
}

/// Builds the tracking page of a parcel.
#[must_use]
pub fn tracking_page(inputs: &PageInput<'_>) -> ParcelView {
    let PageInput { parcel, events: facts, route_context, policy: rule, now } = *inputs;
    let station = route_context.map(|on| on.route.manifest.station.id.as_str());
    let timeline = Timeline::for_parcel(facts, &parcel.epc, station);
    let due = route_context.and_then(|on| DueStop::find(on, parcel));
    let status = status(&timeline, parcel, due.as_ref(), now);
    let out = matches!(status, Status::OutForDelivery | Status::Arrived);
    let way = due.as_ref().filter(|due| {
        let today = visibility::is_in_service(due.context.route, due.context.progress, now);
        out && today && due.is_on_board(parcel, &timeline)
    });
    let arrival = way.and_then(|due| due.arrival(now));
    let delay = way.and_then(|due| due.delay(arrival));
    let live = way.and_then(|due| {
        let look = VisibilityInput {
            parcel,
            is_out: out,
            route: due.context.route,
            progress: due.context.progress,
            stop: due.stop,
            van: due.context.van,
            delayed: delay.is_some(),
            policy: rule,
            now,
        };
        visibility::visible_position(&look).ok()
    });
    let stops_away = way.and_then(|due| due.context.progress.stops[due.stop].ahead);
    let known = arrival.filter(|_| delay.is_none() && status == Status::OutForDelivery);
    let stand = PreferenceContext { status, on_a_route: due.is_some(), stops_away };
    ParcelView {
        v: 1,
        number: parcel.number.clone(),
        at: now.to_string(),
        status,
        timeline: steps(&timeline, parcel),
        stops_away,
        route_changed: stops_away.is_some()
            && way.is_some_and(|due| due.context.progress.stops[due.stop].ahead_increased),
        eta: known.filter(|_| way.is_some_and(|due| due.is_reporting(now))).map(|it| it.window()),
        promised: due.as_ref().and_then(DueStop::promised).filter(|_| timeline.delivered.is_none()),
        delay,
        live,
        proof: timeline.delivered.map(|fact| proof(fact, parcel.preferences.as_ref())),
        manage: delivery_preferences::preference_state(
            stand,
            parcel.preferences.as_ref(),
            parcel.command.as_ref(),
        ),
        alerts: parcel.alerts.clone(),
        expires_at: parcel.expires_at.map(|time| time.to_string()),
        language: parcel.language.clone(),
    }
}

/// The event that the parcel's status is derived from: the delivery, or else the newest one that
/// implies a location.
#[must_use]
pub fn milestone<'a>(inputs: &PageInput<'a>) -> Option<&'a TrackingEvent> {
    let station = inputs.route_context.map(|on| on.route.manifest.station.id.as_str());
    let timeline = Timeline::for_parcel(inputs.events, &inputs.parcel.epc, station);
    timeline.delivered.or(timeline.newest)
}

/// Earliest time at which a page changes without new data.
#[must_use]
pub fn next_change_at(view: &ParcelView, inputs: &PageInput<'_>) -> Option<UtcTime> {
    let stale = inputs.route_context.filter(|_| view.live.is_some());
    let stale = stale.and_then(|on| visibility::fix_expires_at(on.van, inputs.policy));
    // The first moment at which the position is no longer shown.
    let stale = stale.and_then(|time| time.checked_add(Duration::from_millis(1)));
    let over =
        inputs.route_context.and_then(|on| visibility::service_day_end(on.route, on.progress));
    let over = over.filter(|over| view.stops_away.is_some() && *over > inputs.now);
    let refresh = view.stops_away.and_then(|_| inputs.now.checked_add(REFRESH_INTERVAL));
    let unloaded = inputs.route_context.and_then(|on| unload_deadline(on.progress));
    let unloaded = unloaded.filter(|at| view.status == Status::OutForDelivery && *at > inputs.now);
    [stale, over, refresh, unloaded, inputs.parcel.expires_at].into_iter().flatten().min()
}

/// Time of the newest data about a route and its van.
#[must_use]
pub fn data_as_of(on: &RouteContext<'_>) -> Option<UtcTime> {
    let fix =
        on.van.position.as_deref().and_then(visibility::timed_position).map(|moment| moment.time);
    let said = on.route.events.iter().map(|fact| fact.time).max();
    fix.max(said)
}

/// A parcel's stop on its route.
struct DueStop<'a> {
    context: RouteContext<'a>,
    stop: usize,
}

impl<'a> DueStop<'a> {
    fn find(on: RouteContext<'a>, parcel: &ParcelInput) -> Option<Self> {
        (!on.route.withdrawn).then_some(())?;
        Some(Self { stop: on.route.stop_index(&parcel.epc)?, context: on })
    }

    /// Whether this van carries the parcel, by the newest event: neither taken over by another van
    /// nor left behind.
    fn is_on_board(&self, parcel: &ParcelInput, timeline: &Timeline<'_>) -> bool {
        let by = timeline.newest.and_then(|fact| fact.van.as_deref());
        let listed = self.context.route.epcs[self.stop].iter();
        let here = listed.zip(&self.context.progress.stops[self.stop].parcels);
        let out = |(epc, is): (&String, &ParcelLocation)| {
            *epc == parcel.epc && *is == ParcelLocation::OutForDelivery
        };
        by == Some(self.context.route.van.as_str()) && { here }.any(out)
    }

    /// Whether the unload deadline has passed and the parcel was neither delivered nor returned.
    fn is_lost(&self, parcel: &ParcelInput, timeline: &Timeline<'_>, now: UtcTime) -> bool {
        let unloaded = unload_deadline(self.context.progress).is_some_and(|at| now >= at);
        unloaded && self.is_on_board(parcel, timeline)
    }

    fn promised(&self) -> Option<Window> {
        let (from, until) = self.context.route.manifest.stops[self.stop].window?;
        Some(Window { from: from.to_string(), until: until.to_string() })
    }

    fn arrival(&self, now: UtcTime) -> Option<Arrival> {
        let fix = self.context.van.position.as_deref().and_then(visibility::timed_position);
        eta::arrivals(self.context.route, self.context.progress, fix, now)[self.stop]
    }

    fn is_reporting(&self, now: UtcTime) -> bool {
        self.context.van.last_seen_at.is_some_and(|heard| now.millis_since(heard) <= MAX_SILENCE_MS)
    }

    /// The reported delay, or else the expected miss of the promised window.
    fn delay(&self, arrival: Option<Arrival>) -> Option<DelayView> {
        let state = self.context.van.state.as_ref();
        let route = Some(self.context.route.manifest.route.as_str());
        let said = state.filter(|state| state.route() == route);
        let said = said.and_then(|state| state.delay.as_ref());
        let promised = self.context.route.manifest.stops[self.stop].window;
        let slip_ms = arrival.zip(promised).map(|(at, (_, until))| at.at.millis_since(until));
        let slip_ms = slip_ms.filter(|slip| *slip > LATE_MS);
        if said.is_none() && slip_ms.is_none() {
            return None;
        }
        let seconds = said.map(|delay| delay.by_s).max(slip_ms.map(|ms| ms / 1000));
        let seconds = seconds.filter(|seconds| *seconds > 0);
        Some(DelayView {
            reason: said.and_then(|delay| delay.reason),
            seconds: seconds
                .map(|seconds| (seconds + DELAY_STEP_S - 1) / DELAY_STEP_S * DELAY_STEP_S),
        })
    }
}

fn status(
    timeline: &Timeline<'_>,
    parcel: &ParcelInput,
    due: Option<&DueStop<'_>>,
    now: UtcTime,
) -> Status {
    match timeline.status() {
        Status::Delivered => Status::Delivered,
        _ if matches!(parcel.case_state.as_str(), "open" | "lost") => Status::Problem,
        Status::OutForDelivery
            if due.is_some_and(|due| due.context.progress.current_stop == Some(due.stop)) =>
        {
            Status::Arrived
        }
        Status::OutForDelivery if due.is_some_and(|due| due.is_lost(parcel, timeline, now)) => {
            Status::Problem
        }
        status => status,
    }
}

/// Timeline with the request for preferences. A gift's steps show neither place nor carrier, which
/// might reveal the sender.
fn steps(timeline: &Timeline<'_>, parcel: &ParcelInput) -> Vec<Step> {
    let mut steps = timeline.steps();
    for step in steps.iter_mut().filter(|_| parcel.gift) {
        (step.place, step.by) = (None, None);
    }
    let asked = parcel.command.as_ref().filter(|_| parcel.preferences.is_some());
    if let Some(command) = asked {
        let at = command.made_at.to_string();
        let index = steps.iter().position(|step| step.at > at).unwrap_or(steps.len());
        let over = timeline.delivered.is_some_and(|end| end.time < command.made_at);
        if !over {
            let stage = Stage::PreferenceChanged;
            steps.insert(index, Step { stage, at, place: None, by: None, reason: None });
        }
    }
    steps
}

fn proof(fact: &TrackingEvent, asked: Option<&DeliveryPreference>) -> ProofView {
    let outcome = match fact.details.outcome.as_deref() {
        Some("left_at_safe_place") => "safe_place",
        Some("handed_to_neighbour") => "neighbour",
        Some("left_in_locker") => "locker",
        _ => "handed_over",
    };
    // Preferences known to the van at the door take precedence over those requested after the
    // manifest was created.
    let known = &fact.details.preferences;
    let asked = if *known == DeliveryPreference::default() { asked } else { Some(known) };
    ProofView {
        at: fact.time.to_string(),
        outcome: outcome.to_owned(),
        at_your_stop: fact.details.inside,
        as_asked: asked.and_then(|asked| delivery_preferences::matches_outcome(asked, outcome)),
    }
}
