//! Queries of the dispatcher console: vans, history of a van, parcel traces.

use std::collections::HashMap;
use std::time::Duration;

use super::route_cache::CachedRoute;
use super::tracking_page::parcel_input;
use super::{load_route_with_van, with_live_positions};
use crate::AppState;
use crate::epc;
use crate::event::{Event, Role};
use crate::store::StoreError;
use crate::store::parcels::Parcel;
use crate::store::tracking_queries::{Revision, TrailPoint};
use crate::tracking::dispatcher::{HistoryEvent, HistoryView, TraceView, VanView};
use crate::tracking::inputs::{ParcelInput, VanInput};
use crate::tracking::parcel::Window;
use crate::tracking::tracking_event::TrackingEvent;
use crate::tracking::{trace as tracing_view, van as van_view};
use waypost_model::units::UtcTime;

/// Maximum number of track points in a response; longer tracks are downsampled evenly.
const MAX_TRACK_POINTS: usize = 5_000;
/// Maximum number of parcel numbers per event of a day.
const MAX_NUMBERS: usize = 10;
/// Time for which an event about a parcel of another van is shown.
const UNASSIGNED_SHOWN_FOR: Duration = Duration::from_hours(24);
/// Length of the track before and after the last sighting of a parcel.
const TRACK_MARGIN: Duration = Duration::from_mins(5);

/// Returns the current state of a van; `None` if the van is unknown.
pub async fn van(shared: &AppState, van: &str) -> Result<Option<VanView>, StoreError> {
    Ok(vans_by_id(shared, &[van]).await?.pop())
}

/// Returns the current state of the given vans; unknown ones are omitted.
pub async fn vans_by_id(shared: &AppState, vans: &[&str]) -> Result<Vec<VanView>, StoreError> {
    van_views(shared, shared.store.vans_by_id(vans).await?).await
}

/// Returns the current state of all vans, ordered by id.
pub async fn vans(shared: &AppState) -> Result<Vec<VanView>, StoreError> {
    van_views(shared, shared.store.vans().await?).await
}

/// Evaluates all vans with a constant number of queries.
async fn van_views(shared: &AppState, vans: Vec<VanInput>) -> Result<Vec<VanView>, StoreError> {
    let memory = &shared.change_feed.route_cache;
    let ids: Vec<String> = vans.iter().map(|van| van.van.clone()).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let gaps = memory.vans_with_gaps(shared, &names).await?;
    let driven = current_routes(shared, &vans).await?;
    let remembered = memory.load_revisions(shared, &driven).await?;
    let route_of: HashMap<&str, &CachedRoute> = driven
        .iter()
        .filter_map(|revision| Some((revision.van.as_str(), remembered.get(&revision.route)?)))
        .collect();
    let now = shared.now();
    let since = now.checked_sub(UNASSIGNED_SHOWN_FOR).unwrap_or(now);
    let mut unassigned = shared.store.unassigned_events(&names, since).await?;
    let mut vans = with_live_positions(shared, vans).await?;
    let rejected = shared.store.rejected_vans(since).await?;
    for van in &mut vans {
        van.rejected = rejected.get(&van.van).copied().unwrap_or(0);
        van.unassigned = unassigned.remove(&van.van).unwrap_or_default();
    }
    let view = |van: &VanInput| {
        let gaps = gaps.contains(&van.van);
        let Some(remembered) = route_of.get(van.van.as_str()) else {
            return van_view::van_view(van, None, gaps, now);
        };
        let progress = remembered.progress(van.position.as_deref());
        van_view::van_view(van, Some((&remembered.route, &progress)), gaps, now)
    };
    Ok(vans.iter().map(view).collect())
}

/// Returns for each van its reported route, else the current planned route, else the next one.
async fn current_routes(shared: &AppState, vans: &[VanInput]) -> Result<Vec<Revision>, StoreError> {
    let now = shared.now();
    let said =
        |van: &VanInput| van.state.as_ref().and_then(|state| state.route().map(str::to_owned));
    let said: HashMap<&str, String> =
        vans.iter().filter_map(|van| Some((van.van.as_str(), said(van)?))).collect();
    let names: Vec<_> = vans
        .iter()
        .map(|van| van.van.as_str())
        .map(|van| (van, said.get(van).map(String::as_str)))
        .collect();
    let mut best: HashMap<String, Revision> = HashMap::new();
    for revision in shared.store.revisions_for_vans(&names, now).await? {
        let rank =
            |one: &Revision| (said.get(one.van.as_str()) != Some(&one.route), one.span.0.max(now));
        // Equal ranks are ordered from the newest.
        match best.get_mut(&revision.van) {
            Some(known) if rank(known) <= rank(&revision) => {}
            Some(known) => *known = revision,
            None => drop(best.insert(revision.van.clone(), revision)),
        }
    }
    Ok(best.into_values().collect())
}

/// Returns track, events and gaps of a van in a period; `None` if the van is unknown.
pub async fn day(
    shared: &AppState,
    van: &str,
    from: UtcTime,
    until: UtcTime,
) -> Result<Option<HistoryView>, StoreError> {
    if shared.store.van(van).await?.is_none() {
        return Ok(None);
    }
    let (trail, events, gaps) = tokio::try_join!(
        shared.store.trail(van, from, until),
        shared.store.events_for_van(van, from, until),
        shared.store.gaps(van, from, until),
    )?;
    Ok(Some(HistoryView {
        van: van.to_owned(),
        span: Window { from: from.to_string(), until: until.to_string() },
        trail: downsample(trail),
        events: events.iter().map(day_event).collect(),
        gaps,
    }))
}

fn day_event(event: &Event) -> HistoryEvent {
    let fact = TrackingEvent::from_event(event);
    let about = event.epcs.iter().filter(|(_, role)| *role != Role::Parent);
    // An event without parcels concerns the van itself.
    let parcels = about.filter(|(epc, _)| *epc != event.source);
    HistoryEvent {
        at: event.time.to_string(),
        kind: event.kind.clone(),
        parcels_total: u32::try_from(parcels.clone().count()).unwrap_or(u32::MAX),
        stop_seq: fact.stop_seq,
        reason: fact.details.reason.clone(),
        alert: fact.details.alert.clone(),
        parcels: parcels
            .take(MAX_NUMBERS)
            .map(|(epc, _)| tracing_view::number_from_uri(epc))
            .collect(),
        spot: fact.spot,
    }
}

/// Downsamples a track evenly; keeps the first and the last point.
fn downsample(trail: Vec<TrailPoint>) -> Vec<TrailPoint> {
    if trail.len() <= MAX_TRACK_POINTS {
        return trail;
    }
    let last = trail.len() - 1;
    (0..MAX_TRACK_POINTS).map(|index| trail[index * last / (MAX_TRACK_POINTS - 1)]).collect()
}

/// Returns everything about the parcel with a number as typed by a user; `None` if the parcel is
/// unknown.
pub async fn trace(shared: &AppState, number: &str) -> Result<Option<TraceView>, StoreError> {
    let domain = &shared.config.domain;
    let mut found = shared.store.find_parcels(number, domain).await?.into_iter();
    let row = found.next();
    let others: Vec<String> = found.map(|parcel| parcel.epc).collect();
    let mut events = Vec::new();
    // A warehouse may report a parcel that no route lists.
    let mut epcs = row.as_ref().map(|row| vec![row.epc.clone()]);
    for epc in epcs.get_or_insert_with(|| epc::uris_for_number(number, domain)) {
        events = shared.store.events_for_epc(epc).await?;
        if row.is_some() || !events.is_empty() {
            let known = row
                .as_ref()
                .map_or_else(|| unlisted_parcel(number, epc), |row| parcel_input(row, &[], vec![]));
            let mut view = build_trace(shared, row.as_ref(), &known, &events).await?;
            view.others = others;
            return Ok(Some(view));
        }
    }
    drop(events);
    Ok(None)
}

/// Names the parcels that match one number, for a request that must name one of them.
#[must_use]
pub fn ambiguous_number(found: &[Parcel]) -> String {
    let epcs: Vec<&str> = found.iter().map(|parcel| parcel.epc.as_str()).collect();
    format!(
        "the number matches {} parcels; send the epc of one of them: {}",
        found.len(),
        epcs.join(", ")
    )
}

fn unlisted_parcel(number: &str, epc: &str) -> ParcelInput {
    ParcelInput {
        epc: epc.to_owned(),
        number: epc::normalize_number(number),
        case_state: "none".to_owned(),
        ..ParcelInput::default()
    }
}

async fn build_trace(
    shared: &AppState,
    row: Option<&Parcel>,
    parcel: &ParcelInput,
    events: &[Event],
) -> Result<TraceView, StoreError> {
    let vans = shared.store.assigned_vans(&parcel.epc).await?;
    let parse = |event: &Event| match row {
        Some(_) => TrackingEvent::from_parcel_event(event, &vans),
        // Nobody was given a parcel that no route lists.
        None => TrackingEvent::from_event(event),
    };
    let facts: Vec<TrackingEvent> = events.iter().map(parse).collect();
    // The listing route, else the last route of an event.
    let listed = row.and_then(|row| row.route.clone());
    let route = listed.or_else(|| facts.iter().rev().find_map(|fact| fact.route.clone()));
    let driven = match &route {
        Some(route) => load_route_with_van(shared, route).await?,
        None => None,
    };
    let last = tracing_view::last_seen(&facts, &parcel.epc);
    let seen_by = last.and_then(|last| Some((last.van.clone()?, last.time)));
    let (around, trail) = match &seen_by {
        Some((van, time)) => van_context(shared, van, *time).await?,
        None => (Vec::new(), Vec::new()),
    };
    Ok(tracing_view::trace(&tracing_view::TraceInput {
        parcel,
        events: &facts,
        route: driven.as_ref().map(|driven| &*driven.route),
        nearby_events: &around,
        trail: &trail,
    }))
}

/// Returns events and track of a van around a time.
async fn van_context(
    shared: &AppState,
    van: &str,
    time: UtcTime,
) -> Result<(Vec<TrackingEvent>, Vec<TrailPoint>), StoreError> {
    let span =
        |by: Duration| (time.checked_sub(by).unwrap_or(time), time.checked_add(by).unwrap_or(time));
    let ms = u64::try_from(tracing_view::AROUND_MS).unwrap_or(0);
    let ((from, until), (start, end)) = (span(Duration::from_millis(ms)), span(TRACK_MARGIN));
    let (events, trail) = tokio::try_join!(
        shared.store.events_for_van(van, from, until),
        shared.store.trail(van, start, end),
    )?;
    Ok((events.iter().map(TrackingEvent::from_event).collect(), downsample(trail)))
}
