//! What is known → [`ParcelView`]: the page of one parcel, and when time alone changes it.

use std::time::Duration;

use super::concern::unloaded_at;
use super::eta::{self, Arrival};
use super::exposure::{self, Look};
use super::fact::Fact;
use super::known::{KnownParcel, KnownRoute, KnownVan};
use super::parcel::{DelayView, ParcelView, ProofView, Stage, Status, Step, Window, Wish};
use super::progress::{Progress, Whereabouts};
use super::timeline::Timeline;
use super::wish::{self, Stand};
use crate::backend::config::ExposureRule;
use crate::units::UtcTime;

/// Who is later than promised by more than this is told so, and not when the van will come.
const LATE_MS: i64 = 30 * 60_000;
/// A delay is told in steps of that.
const STEP_S: i64 = 300;
/// Of a van that was silent for longer nobody can say when it will come.
const SILENT_MS: i64 = 30 * 60_000;
/// While an arrival is shown, time alone changes it.
const REFRESH: Duration = Duration::from_secs(30);

/// The route of a parcel, with how far it is.
#[derive(Clone, Copy, Debug)]
pub struct OnRoute<'a> {
    /// The route.
    pub route: &'a KnownRoute,
    /// How far it is.
    pub progress: &'a Progress,
    /// Its van.
    pub van: &'a KnownVan,
}

/// Everything that a page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The parcel.
    pub parcel: &'a KnownParcel,
    /// Everything that names it, in any order.
    pub facts: &'a [Fact],
    /// The route that lists it.
    pub on_route: Option<OnRoute<'a>>,
    /// When the van is shown.
    pub rule: &'a ExposureRule,
    /// Now.
    pub now: UtcTime,
}

/// The page of a parcel.
#[must_use]
pub fn parcel(inputs: &Inputs<'_>) -> ParcelView {
    let Inputs { parcel, facts, on_route, rule, now } = *inputs;
    let station = on_route.map(|on| on.route.manifest.station.id.as_str());
    let timeline = Timeline::of(facts, &parcel.epc, station);
    let due = on_route.and_then(|on| Due::of(on, parcel));
    let status = status(&timeline, parcel, due.as_ref(), now);
    let out = matches!(status, Status::OutForDelivery | Status::Arrived);
    let way = due.as_ref().filter(|due| {
        let today = exposure::is_today(due.on.route, due.on.progress, now);
        out && today && due.is_on_board(parcel, &timeline)
    });
    let arrival = way.and_then(|due| due.arrival(now));
    let delay = way.and_then(|due| due.delay(arrival));
    let live = way.and_then(|due| {
        let look = Look {
            parcel,
            is_out: out,
            route: due.on.route,
            progress: due.on.progress,
            stop: due.stop,
            van: due.on.van,
            delayed: delay.is_some(),
            rule,
            now,
        };
        exposure::live(&look).ok()
    });
    let stops_away = way.and_then(|due| due.on.progress.stops[due.stop].ahead);
    let known = arrival.filter(|_| delay.is_none() && status == Status::OutForDelivery);
    let stand = Stand { status, on_a_route: due.is_some(), stops_away };
    ParcelView {
        v: 1,
        number: parcel.number.clone(),
        at: now.to_string(),
        status,
        timeline: steps(&timeline, parcel),
        stops_away,
        route_changed: stops_away.is_some()
            && way.is_some_and(|due| due.on.progress.stops[due.stop].rose),
        eta: known.filter(|_| way.is_some_and(|due| due.is_heard(now))).map(|it| it.window()),
        promised: due.as_ref().and_then(Due::promised).filter(|_| timeline.delivered.is_none()),
        delay,
        live,
        proof: timeline.delivered.map(|fact| proof(fact, parcel.asked.as_ref())),
        manage: wish::manage(stand, parcel.asked.as_ref(), parcel.command.as_ref()),
        alerts: parcel.alerts.clone(),
        expires_at: parcel.expires_at.map(|time| time.to_string()),
        language: parcel.language.clone(),
    }
}

/// When time alone changes a page, at the soonest.
#[must_use]
pub fn changes_at(view: &ParcelView, inputs: &Inputs<'_>) -> Option<UtcTime> {
    let stale = inputs.on_route.filter(|_| view.live.is_some());
    let stale = stale.and_then(|on| exposure::stale_at(on.van, inputs.rule));
    // The moment after the last at which it is shown.
    let stale = stale.and_then(|time| time.checked_add(Duration::from_millis(1)));
    let over = inputs.on_route.and_then(|on| exposure::over_at(on.route, on.progress));
    let over = over.filter(|over| view.stops_away.is_some() && *over > inputs.now);
    let refresh = view.stops_away.and_then(|_| inputs.now.checked_add(REFRESH));
    let unloaded = inputs.on_route.and_then(|on| unloaded_at(on.progress));
    let unloaded = unloaded.filter(|at| view.status == Status::OutForDelivery && *at > inputs.now);
    [stale, over, refresh, unloaded, inputs.parcel.expires_at].into_iter().flatten().min()
}

/// When the newest of what is known of a route and its van was true.
#[must_use]
pub fn known_at(on: &OnRoute<'_>) -> Option<UtcTime> {
    let fix = on.van.position.as_deref().and_then(exposure::moment).map(|moment| moment.time);
    let said = on.route.facts.iter().map(|fact| fact.time).max();
    fix.max(said)
}

/// A parcel's stop.
struct Due<'a> {
    on: OnRoute<'a>,
    stop: usize,
}

impl<'a> Due<'a> {
    fn of(on: OnRoute<'a>, parcel: &KnownParcel) -> Option<Self> {
        (!on.route.withdrawn).then_some(())?;
        Some(Self { stop: on.route.stop_of(&parcel.epc)?, on })
    }

    /// Whether this van has it, by what was said last: not if another one took it over, nor if it stayed behind.
    fn is_on_board(&self, parcel: &KnownParcel, timeline: &Timeline<'_>) -> bool {
        let by = timeline.newest.and_then(|fact| fact.van.as_deref());
        let listed = self.on.route.epcs[self.stop].iter();
        let here = listed.zip(&self.on.progress.stops[self.stop].parcels);
        let out =
            |(epc, is): (&String, &Whereabouts)| *epc == parcel.epc && *is == Whereabouts::Out;
        by == Some(self.on.route.van.as_str()) && { here }.any(out)
    }

    /// The van came back, and it neither was handed over nor came back.
    fn lost(&self, parcel: &KnownParcel, timeline: &Timeline<'_>, now: UtcTime) -> bool {
        let unloaded = unloaded_at(self.on.progress).is_some_and(|at| now >= at);
        unloaded && self.is_on_board(parcel, timeline)
    }

    fn promised(&self) -> Option<Window> {
        let (from, until) = self.on.route.manifest.stops[self.stop].window?;
        Some(Window { from: from.to_string(), until: until.to_string() })
    }

    fn arrival(&self, now: UtcTime) -> Option<Arrival> {
        let fix = self.on.van.position.as_deref().and_then(exposure::moment);
        eta::arrivals(self.on.route, self.on.progress, fix, now)[self.stop]
    }

    fn is_heard(&self, now: UtcTime) -> bool {
        self.on.van.heard_at.is_some_and(|heard| now.millis_since(heard) <= SILENT_MS)
    }

    /// What the van said, else by how much it will miss what was promised.
    fn delay(&self, arrival: Option<Arrival>) -> Option<DelayView> {
        let state = self.on.van.state.as_ref();
        let route = Some(self.on.route.manifest.route.as_str());
        let said = state.filter(|state| state.route.as_deref() == route);
        let said = said.and_then(|state| state.delay.as_ref());
        let promised = self.on.route.manifest.stops[self.stop].window;
        let slip_ms = arrival.zip(promised).map(|(at, (_, until))| at.at.millis_since(until));
        let slip_ms = slip_ms.filter(|slip| *slip > LATE_MS);
        if said.is_none() && slip_ms.is_none() {
            return None;
        }
        let seconds = said.map(|delay| delay.seconds).max(slip_ms.map(|ms| ms / 1000));
        let seconds = seconds.filter(|seconds| *seconds > 0);
        Some(DelayView {
            reason: said.and_then(|delay| delay.reason),
            seconds: seconds.map(|seconds| (seconds + STEP_S - 1) / STEP_S * STEP_S),
        })
    }
}

fn status(
    timeline: &Timeline<'_>,
    parcel: &KnownParcel,
    due: Option<&Due<'_>>,
    now: UtcTime,
) -> Status {
    match timeline.status() {
        Status::Delivered => Status::Delivered,
        _ if matches!(parcel.case_state.as_str(), "open" | "lost") => Status::Problem,
        Status::OutForDelivery if due.is_some_and(|due| due.on.progress.at == Some(due.stop)) => {
            Status::Arrived
        }
        Status::OutForDelivery if due.is_some_and(|due| due.lost(parcel, timeline, now)) => {
            Status::Problem
        }
        status => status,
    }
}

/// What happened, and when something was asked for. Of a gift not where, nor who had it: that may tell who sends it.
fn steps(timeline: &Timeline<'_>, parcel: &KnownParcel) -> Vec<Step> {
    let mut steps = timeline.steps();
    for step in steps.iter_mut().filter(|_| parcel.gift) {
        (step.place, step.by) = (None, None);
    }
    let asked = parcel.command.as_ref().filter(|_| parcel.asked.is_some());
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

fn proof(fact: &Fact, asked: Option<&Wish>) -> ProofView {
    let outcome = match fact.said.outcome.as_deref() {
        Some("left_at_safe_place") => "safe_place",
        Some("handed_to_neighbour") => "neighbour",
        Some("left_in_locker") => "locker",
        _ => "handed_over",
    };
    // What the van knew at the door goes before what was asked since the manifest was made.
    let known = &fact.said.asked;
    let asked = if *known == Wish::default() { asked } else { Some(known) };
    ProofView {
        at: fact.time.to_string(),
        outcome: outcome.to_owned(),
        at_your_stop: fact.said.inside,
        as_asked: asked.and_then(|asked| wish::was_done(asked, outcome)),
    }
}
