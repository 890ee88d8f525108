//! What is known of a van and its route → [`VanView`]: where it is, how far it is, and what somebody should look at.

use super::concern::concerns;
use super::desk::{Concern, RouteView, StopParcel, StopView, VanView};
use super::eta;
use super::exposure::{self, is_today};
use super::known::{KnownRoute, KnownVan};
use super::parcel::{Spot, Stage, Status, Window};
use super::progress::{Progress, StopState, Whereabouts};
use crate::units::UtcTime;
use crate::wire::json::{ConnectionState, Duty};

/// A van on duty that was silent for longer is offline.
const SILENT_MS: i64 = 5 * 60_000;
/// As old may be what waits in a van's outbox.
const BACKLOG_MS: i64 = 5 * 60_000;
/// So many records are no backlog: of a van that stands the newest of its trail may wait until it moves.
const FEW: u64 = 10;
/// Who is later than promised by more than this is late.
const LATE_MS: i64 = 30 * 60_000;

/// A route with how far it is.
pub type Driven<'a> = (&'a KnownRoute, &'a Progress);

/// A van now. `gaps` says whether something that it said never came.
#[must_use]
pub fn van(van: &KnownVan, driven: Option<Driven<'_>>, gaps: bool, now: UtcTime) -> VanView {
    let duty = van.state.as_ref().map(|state| state.duty);
    let position = van.position.as_deref().filter(|_| duty.is_none_or(|duty| duty == Duty::On));
    let age_ms = position.and_then(exposure::moment).map(|fix| now.millis_since(fix.time));
    let route = driven.map(|driven| route(van, driven, now));
    let concerns = driven.map(|(route, progress)| concerns(route, progress, now));
    let concerns = concerns.unwrap_or_default();
    VanView {
        van: van.van.clone(),
        position: position.cloned(),
        position_age_s: age_ms.map(|ms| u64::try_from(ms / 1000).unwrap_or(0)),
        state: van.state.clone(),
        connection: van.connection,
        other_domain: van.other_domain.clone(),
        heard_at: van.heard_at.map(|time| time.to_string()).unwrap_or_default(),
        attention: attention(van, driven, (route.as_ref(), &concerns), (gaps, now)),
        concerns,
        route,
    }
}

/// How far a route is.
#[must_use]
pub fn route(van: &KnownVan, (route, progress): Driven<'_>, now: UtcTime) -> RouteView {
    let manifest = &route.manifest;
    let fix = van.position.as_deref().and_then(exposure::moment);
    let arrivals = eta::arrivals(route, progress, fix, now);
    let rest = (0..manifest.stops.len()).filter(|stop| progress.stops[*stop].ahead.is_none());
    let order = rest.chain(progress.order.iter().copied());
    let stops: Vec<StopView> = order
        .map(|index| {
            // To a stop that was left with something undone the van comes again.
            let was_there =
                matches!(progress.stops[index].state, StopState::Done | StopState::Arrived);
            let mut visits = progress.visits.iter().rev().filter(|_| was_there);
            let visit = visits.find(|visit| visit.stop == index);
            let was = visit.map(|visit| Window {
                from: visit.arrived.to_string(),
                until: visit.until.to_string(),
            });
            stop(route, progress, index, was.or(arrivals[index].map(|it| it.window())))
        })
        .collect();
    let state = van.state.as_ref().filter(|state| state.route.as_ref() == Some(&manifest.route));
    let parcels = || progress.stops.iter().flat_map(|stop| &stop.parcels);
    let delivered = |it: &&Whereabouts| **it == Whereabouts::Ended(Stage::Delivered);
    RouteView {
        route: manifest.route.clone(),
        rev: manifest.rev,
        van_rev: state.and_then(|state| state.manifest_rev),
        stops_done: count(progress.done()),
        stops_total: count(manifest.stops.len()),
        delivered: count(parcels().filter(delivered).count()),
        parcels: count(parcels().count()),
        station: spot(manifest.station.position),
        stops,
    }
}

fn stop(route: &KnownRoute, progress: &Progress, index: usize, eta: Option<Window>) -> StopView {
    let stop = &route.manifest.stops[index];
    let here = &progress.stops[index];
    let parcels = stop.parcels.iter().zip(&here.parcels);
    let state = match here.state {
        StopState::Open => "open",
        StopState::Arrived => "arrived",
        StopState::Done => "done",
        StopState::Skipped => "skipped",
    };
    StopView {
        seq: stop.seq,
        id: stop.id.clone(),
        at: spot(stop.position),
        state: state.to_owned(),
        promised: stop
            .window
            .map(|(from, until)| Window { from: from.to_string(), until: until.to_string() }),
        eta,
        parcels: parcels
            .map(|(listed, whereabouts)| StopParcel {
                number: listed.key.clone(),
                status: status(*whereabouts, here.state),
            })
            .collect(),
    }
}

fn status(whereabouts: Whereabouts, stop: StopState) -> Status {
    match whereabouts {
        Whereabouts::Due => Status::Announced,
        Whereabouts::Loaded | Whereabouts::Ended(Stage::LeftBehind) => Status::AtStation,
        Whereabouts::Out if stop == StopState::Arrived => Status::Arrived,
        Whereabouts::Out => Status::OutForDelivery,
        Whereabouts::Ended(Stage::Delivered) => Status::Delivered,
        Whereabouts::Ended(Stage::Attempted) => Status::Attempted,
        Whereabouts::Ended(Stage::Returned) => Status::Returned,
        Whereabouts::Ended(_) => Status::Problem,
    }
}

/// What a dispatcher should look at, worst first.
fn attention(
    van: &KnownVan,
    driven: Option<Driven<'_>>,
    (view, concerns): (Option<&RouteView>, &[Concern]),
    (gaps, now): (bool, UtcTime),
) -> Vec<String> {
    let state = van.state.as_ref();
    let on_duty = state.is_some_and(|state| state.duty == Duty::On);
    let out = driven.is_some_and(|(route, progress)| is_today(route, progress, now));
    let silent = van.heard_at.is_none_or(|heard| now.millis_since(heard) > SILENT_MS);
    let broken = van.connection == Some(ConnectionState::ConnectionBroken);
    let is_there = |kind: &str| concerns.iter().any(|concern| concern.kind == kind);
    let oldest = state.and_then(|state| UtcTime::parse(state.outbox.oldest_ts.as_deref()?));
    let waits = state.is_some_and(|state| state.outbox.pending > FEW);
    let said_late = out && state.is_some_and(|state| state.delay.is_some());
    let found = [
        ("offline", (on_duty || out) && (broken || silent)),
        ("missing", is_there("missing")),
        ("scan_outside", is_there("scan_outside")),
        ("manifest_refused", state.is_some_and(|state| state.manifest_error.is_some())),
        ("other_domain", van.other_domain.is_some()),
        ("wrong_stop", is_there("wrong_stop")),
        ("no_fix", on_duty && state.is_some_and(|state| state.gnss.mode < 2)),
        ("gaps", gaps),
        ("backlog", waits && oldest.is_some_and(|oldest| now.millis_since(oldest) > BACKLOG_MS)),
        ("delayed", said_late || (out && view.is_some_and(is_late))),
        ("off_duty", out && state.is_some() && !on_duty),
    ];
    found.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect()
}

fn is_late(view: &RouteView) -> bool {
    view.stops.iter().filter(|stop| stop.state == "open").any(|stop| {
        let late = stop.eta.as_ref().zip(stop.promised.as_ref());
        let times =
            late.map(|(eta, promised)| [&eta.from, &promised.until].map(|t| UtcTime::parse(t)));
        matches!(times, Some([Some(from), Some(until)]) if from.millis_since(until) > LATE_MS)
    })
}

fn spot(position: crate::units::Position) -> Spot {
    Spot { lat: position.lat_deg(), lon: position.lon_deg() }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
