//! The rule of exposure: when somebody who waits sees the van, and how exactly.
//!
//! The van is shown if nothing of [`Hidden`] holds, and else it is not: no page can forget to hide it. What is shown is
//! rounded to three decimals (110 m), and stands still while the van stands at somebody else's door.

use std::time::Duration;

use super::known::{KnownParcel, KnownRoute, KnownVan, Moment};
use super::parcel::{LiveView, Spot};
use super::progress::{Progress, Whereabouts};
use crate::backend::config::ExposureRule;
use crate::units::{Position, UtcTime};
use crate::wire::json::{self, Duty, StopStatus};

/// A day of service: who left longer ago is out on another day. No driver's is longer, with nine hours of rest in each 24 (EC
/// 561/2006, article 8). It is no date, for midnight in UTC is in the middle of somebody's working day.
const SERVICE_DAY: Duration = Duration::from_hours(15);
/// Clocks of two hosts differ; a fix of a later time than that is none.
const AHEAD_MS: i64 = 30_000;
/// Who is slower stands, whatever was said of it yet.
const STANDS_MPS: f64 = 1.5;
/// Around a stop's fence: there a van that stands, stands at that door.
const MARGIN_M: f64 = 30.0;

/// Why the van is not shown. Each alone is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// The recipient must not know where it comes from.
    Gift,
    /// It is not out for delivery on this route: not loaded, not departed, or something final happened to it.
    NotOut,
    /// Somebody at the desk looks for it.
    Missing,
    /// The route was taken back, is over, or is of another day.
    NotToday,
    /// Too many stops are before it.
    TooFar,
    /// The van said that it is late.
    Delayed,
    /// The driver is not on duty, or nobody knows.
    OffDuty,
    /// No fix, or none that is young enough, or the van is on another route.
    NoFix,
    /// The van stands at somebody's door, and nobody knows where it was before.
    AtADoor,
}

/// What the rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The parcel.
    pub parcel: &'a KnownParcel,
    /// Whether all that is known of it, on whatever route, says that it is out for delivery.
    pub is_out: bool,
    /// Its route.
    pub route: &'a KnownRoute,
    /// How far that is.
    pub progress: &'a Progress,
    /// The stop where it is due, an index of the manifest's.
    pub stop: usize,
    /// The van of that route.
    pub van: &'a KnownVan,
    /// Whether it is late.
    pub delayed: bool,
    /// How far and how old.
    pub rule: &'a ExposureRule,
    /// Now.
    pub now: UtcTime,
}

/// The van as it may be shown at this moment.
///
/// # Errors
/// Why it may not.
pub fn live(look: &Look<'_>) -> Result<LiveView, Hidden> {
    let Look { parcel, route, progress, now, .. } = look;
    let own = &route.manifest.stops[look.stop];
    let whereabouts = route.epcs[look.stop]
        .iter()
        .position(|epc| *epc == parcel.epc)
        .and_then(|index| progress.stops[look.stop].parcels.get(index));
    let hidden_if = |is: bool, why: Hidden| if is { Err(why) } else { Ok(()) };
    hidden_if(parcel.gift, Hidden::Gift)?;
    hidden_if(!look.is_out || whereabouts != Some(&Whereabouts::Out), Hidden::NotOut)?;
    hidden_if(matches!(parcel.case_state.as_str(), "open" | "lost"), Hidden::Missing)?;
    hidden_if(!is_today(route, progress, *now), Hidden::NotToday)?;
    let ahead = progress.stops[look.stop].ahead;
    hidden_if(ahead.is_none_or(|ahead| ahead > look.rule.max_stops_away), Hidden::TooFar)?;
    hidden_if(look.delayed, Hidden::Delayed)?;
    let duty = look.van.state.as_ref().map(|state| state.duty);
    hidden_if(duty != Some(Duty::On), Hidden::OffDuty)?;
    let (fix, newest) = fresh(look).ok_or(Hidden::NoFix)?;
    let frozen = stands_at_a_door(look, newest, fix.position);
    let shown = if frozen { look.van.driving.ok_or(Hidden::AtADoor)? } else { fix };
    let spot = rounded(shown.position);
    Ok(LiveView {
        lat: spot.lat,
        lon: spot.lon,
        at: shown.time.to_string(),
        frozen,
        stop: rounded(own.position),
        station: rounded(route.manifest.station.position),
        stops_done: u32::try_from(progress.done()).unwrap_or(u32::MAX),
        stops_total: u32::try_from(progress.stops.len()).unwrap_or(u32::MAX),
    })
}

/// When a fix of the van becomes too old to be shown.
#[must_use]
pub fn stale_at(van: &KnownVan, rule: &ExposureRule) -> Option<UtcTime> {
    let fix = van.position.as_ref()?;
    UtcTime::parse(&fix.point.ts)?.checked_add(rule.max_fix_age)
}

/// Whether the van is out on this route on this day.
#[must_use]
pub fn is_today(route: &KnownRoute, progress: &Progress, now: UtcTime) -> bool {
    let left = progress.departed.map(|departed| now.millis_since(departed));
    !route.withdrawn
        && progress.completed.is_none()
        && left.is_some_and(|ms| ms >= -AHEAD_MS)
        && over_at(route, progress).is_some_and(|over| now < over)
}

/// From when on a route is of another day, as far as the van has left; it may be over sooner.
#[must_use]
pub fn over_at(route: &KnownRoute, progress: &Progress) -> Option<UtcTime> {
    let last = progress.departed?.checked_add(SERVICE_DAY)?;
    let last = route.manifest.valid_until.map_or(last, |until| until.min(last));
    last.checked_add(Duration::from_millis(1))
}

/// Where a position says the van is.
#[must_use]
pub fn moment(position: &json::Position) -> Option<Moment> {
    Some(Moment {
        time: UtcTime::parse(&position.point.ts)?,
        position: Position::from_degrees(position.point.lat, position.point.lon)?,
    })
}

/// Whether a position is that of a van under way, and not at anybody's door.
#[must_use]
pub fn is_under_way(position: &json::Position) -> bool {
    position.point.stop_status != Some(StopStatus::StoppedAt)
        && position.point.speed_mps.is_some_and(|mps| mps >= STANDS_MPS)
}

fn fresh<'a>(look: &Look<'a>) -> Option<(Moment, &'a json::Position)> {
    let newest = look.van.position.as_deref()?;
    let fix = moment(newest)?;
    let age_ms = look.now.millis_since(fix.time);
    let oldest_ms = i64::try_from(look.rule.max_fix_age.as_millis()).unwrap_or(i64::MAX);
    let same_van = newest.van == look.route.van && look.van.van == look.route.van;
    let state = look.van.state.as_ref();
    let said = [newest.route.as_deref(), state.and_then(|state| state.route.as_deref())];
    let same_route = said.into_iter().flatten().all(|route| route == look.route.manifest.route);
    let fresh = (-AHEAD_MS..=oldest_ms).contains(&age_ms) && same_van && same_route;
    fresh.then_some((fix, newest))
}

/// Whether the van stands where somebody else's parcels are due.
fn stands_at_a_door(look: &Look<'_>, newest: &json::Position, place: Position) -> bool {
    let stops = &look.route.manifest.stops;
    if is_under_way(newest) {
        return false;
    }
    let said = newest.point.stop_status == Some(StopStatus::StoppedAt);
    let at_own = newest.stop_seq == Some(stops[look.stop].seq) && said;
    let named = said && newest.stop_seq.is_some() && !at_own;
    let near = stops.iter().enumerate().any(|(index, stop)| {
        let within_m = stop.radius.as_metres() + MARGIN_M;
        index != look.stop && stop.position.distance_to(place).as_metres() <= within_m
    });
    named || (near && !at_own)
}

fn rounded(position: Position) -> Spot {
    let round = |deg: f64| (deg * 1e3).round() / 1e3 + 0.0;
    Spot { lat: round(position.lat_deg()), lon: round(position.lon_deg()) }
}
