//! Builds the status of a van and its route, with the conditions that need attention.

use super::dispatcher::{DeliveryException, RouteView, StopParcel, StopView, VanView};
use super::eta;
use super::exceptions::{NOT_ASSIGNED, OTHER_ROUTE, find_exceptions, unassigned_exceptions};
use super::inputs::{RouteInput, VanInput};
use super::parcel::{GeoPoint, Stage, Status, Window};
use super::progress::{ParcelLocation, Progress, StopState};
use super::visibility::{self, is_in_service};
use waypost_model::units::UtcTime;
use waypost_wire::payloads::{ConnectionState, Duty};

/// A van on duty counts as offline after this many milliseconds without a message.
const OFFLINE_AFTER_MS: i64 = 5 * 60_000;
/// Maximum age in milliseconds of a record in the van's outbox before `backlog` is raised.
const MAX_BACKLOG_AGE_MS: i64 = 5 * 60_000;
/// Up to this many pending records are no backlog: the newest track points of a halted van may wait
/// until it moves.
const MIN_BACKLOG: u64 = 10;
/// A stop is late if the van arrives this many milliseconds after the promised window.
const LATE_MS: i64 = 30 * 60_000;

/// A route with its progress.
pub type RouteWithProgress<'a> = (&'a RouteInput, &'a Progress);

/// Builds the status of a van. `gaps` is true if records are missing.
#[must_use]
pub fn van_view(
    van: &VanInput,
    driven: Option<RouteWithProgress<'_>>,
    gaps: bool,
    now: UtcTime,
) -> VanView {
    let duty = van.state.as_ref().map(|state| state.duty);
    let position = van.position.as_deref().filter(|_| duty.is_none_or(|duty| duty == Duty::On));
    let age_ms =
        position.and_then(visibility::timed_position).map(|fix| now.millis_since(fix.time));
    let route = driven.map(|driven| route_view(van, driven, now));
    let concerns = driven.map(|(route, progress)| find_exceptions(route, progress, now));
    let mut concerns = concerns.unwrap_or_default();
    concerns.extend(unassigned_exceptions(&van.unassigned));
    VanView {
        van: van.van.clone(),
        position: position.cloned(),
        position_age_s: age_ms.map(|ms| u64::try_from(ms / 1000).unwrap_or(0)),
        state: van.state.clone(),
        connection: van.connection,
        other_domain: van.other_domain.clone(),
        messages_rejected: van.rejected,
        heard_at: van.last_seen_at.map(|time| time.to_string()).unwrap_or_default(),
        attention: attention(van, driven, (route.as_ref(), &concerns), (gaps, now)),
        concerns,
        route,
    }
}

/// Builds the progress view of a route.
#[must_use]
pub fn route_view(
    van: &VanInput,
    (route, progress): RouteWithProgress<'_>,
    now: UtcTime,
) -> RouteView {
    let manifest = &route.manifest;
    let fix = van.position.as_deref().and_then(visibility::timed_position);
    let arrivals = eta::arrivals(route, progress, fix, now);
    let rest = (0..manifest.stops.len()).filter(|stop| progress.stops[*stop].ahead.is_none());
    let order = rest.chain(progress.order.iter().copied());
    let stops: Vec<StopView> = order
        .map(|index| {
            // An unfinished stop will be visited again, so its past visit is not shown.
            let was_there =
                matches!(progress.stops[index].state, StopState::Done | StopState::Arrived);
            let mut visits = progress.visits.iter().rev().filter(|_| was_there);
            let visit = visits.find(|visit| visit.stop == index);
            let was = visit.map(|visit| Window {
                from: visit.arrived.to_string(),
                until: visit.until.to_string(),
            });
            stop_view(route, progress, index, was.or(arrivals[index].map(|it| it.window())))
        })
        .collect();
    let state = van.state.as_ref().filter(|state| state.route() == Some(manifest.route.as_str()));
    let parcels = || progress.stops.iter().flat_map(|stop| &stop.parcels);
    let delivered = |it: &&ParcelLocation| **it == ParcelLocation::Ended(Stage::Delivered);
    RouteView {
        route: manifest.route.clone(),
        rev: manifest.rev,
        van_rev: state.and_then(|state| state.manifest.as_ref()).map(|manifest| manifest.rev),
        stops_done: saturating_u32(progress.stops_done()),
        stops_total: saturating_u32(manifest.stops.len()),
        delivered: saturating_u32(parcels().filter(delivered).count()),
        parcels: saturating_u32(parcels().count()),
        station: geo_point(manifest.station.position),
        stops,
    }
}

fn stop_view(
    route: &RouteInput,
    progress: &Progress,
    index: usize,
    eta: Option<Window>,
) -> StopView {
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
        at: geo_point(stop.position),
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

fn status(whereabouts: ParcelLocation, stop: StopState) -> Status {
    match whereabouts {
        ParcelLocation::Due => Status::Announced,
        ParcelLocation::Loaded | ParcelLocation::Ended(Stage::LeftBehind) => Status::AtStation,
        ParcelLocation::OutForDelivery if stop == StopState::Arrived => Status::Arrived,
        ParcelLocation::OutForDelivery => Status::OutForDelivery,
        ParcelLocation::Ended(Stage::Delivered) => Status::Delivered,
        ParcelLocation::Ended(Stage::Attempted) => Status::Attempted,
        ParcelLocation::Ended(Stage::Returned) => Status::Returned,
        ParcelLocation::Ended(_) => Status::Problem,
    }
}

/// Conditions that need attention, most severe first.
fn attention(
    van: &VanInput,
    driven: Option<RouteWithProgress<'_>>,
    (view, concerns): (Option<&RouteView>, &[DeliveryException]),
    (gaps, now): (bool, UtcTime),
) -> Vec<String> {
    let state = van.state.as_ref();
    let on_duty = state.is_some_and(|state| state.duty == Duty::On);
    let out = driven.is_some_and(|(route, progress)| is_in_service(route, progress, now));
    let silent = van.last_seen_at.is_none_or(|heard| now.millis_since(heard) > OFFLINE_AFTER_MS);
    let broken = van.connection == Some(ConnectionState::ConnectionBroken);
    let is_there = |kind: &str| concerns.iter().any(|concern| concern.kind == kind);
    let oldest = state.and_then(|state| UtcTime::parse(state.outbox.oldest_ts.as_deref()?));
    let waits = state.is_some_and(|state| state.outbox.pending > MIN_BACKLOG);
    let said_late = out && state.is_some_and(|state| state.delay.is_some());
    let found = [
        ("offline", (on_duty || out) && (broken || silent)),
        ("missing", is_there("missing")),
        ("scan_outside", is_there("scan_outside")),
        ("manifest_refused", state.is_some_and(|state| state.manifest_rejected.is_some())),
        ("messages_rejected", van.rejected > 0),
        ("other_domain", van.other_domain.is_some()),
        ("wrong_stop", is_there("wrong_stop")),
        (NOT_ASSIGNED, is_there(NOT_ASSIGNED)),
        (OTHER_ROUTE, is_there(OTHER_ROUTE)),
        ("no_fix", on_duty && state.is_some_and(|state| state.gnss.mode < 2)),
        ("gaps", gaps),
        (
            "backlog",
            waits && oldest.is_some_and(|oldest| now.millis_since(oldest) > MAX_BACKLOG_AGE_MS),
        ),
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

fn geo_point(position: waypost_model::units::Position) -> GeoPoint {
    GeoPoint { lat: position.lat_deg(), lon: position.lon_deg() }
}

fn saturating_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
