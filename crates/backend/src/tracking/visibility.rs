//! Visibility policy: decides whether a recipient sees the van, and how exactly.
//!
//! The van is shown only if no `HiddenReason` applies, so no page can forget to hide it. The
//! position is rounded to three decimals (110 m). It is frozen while the van is at another
//! recipient's stop.

use std::time::Duration;

use super::inputs::{ParcelInput, RouteInput, TimedPosition, VanInput};
use super::parcel::{GeoPoint, LiveView};
use super::progress::{ParcelLocation, Progress};
use crate::config::VisibilityPolicy;
use waypost_model::units::{Position, UtcTime};
use waypost_wire::payloads::{self, Duty, MotionState, State, StopStatus};

/// Length of a service day; a departure longer ago belongs to another day. No driver's shift is
/// longer, with nine hours of rest in each 24 h (EC 561/2006, article 8). A calendar date would not
/// do: UTC midnight falls into working hours in some time zones.
const SERVICE_DAY: Duration = Duration::from_hours(15);
/// Maximum clock difference between two hosts, in milliseconds; a fix further in the future is
/// ignored.
const MAX_CLOCK_SKEW_MS: i64 = 30_000;
/// Below this speed the van counts as stationary, regardless of its reported state.
const HALT_SPEED_MPS: f64 = 1.5;
/// Margin around a stop's geofence, in metres; a stationary van inside it counts as being at that
/// stop.
const FENCE_MARGIN_M: f64 = 30.0;

/// Why the van is hidden. Each reason alone is sufficient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HiddenReason {
    /// The recipient must not learn the sender's address.
    Gift,
    /// The parcel is not out for delivery on this route: not loaded, not departed, or already
    /// finished.
    NotOut,
    /// A dispatcher is searching for the parcel.
    Missing,
    /// The route was withdrawn, is completed, or belongs to another service day.
    NotInService,
    /// More stops are ahead than the policy allows.
    TooFar,
    /// The van reported a delay.
    Delayed,
    /// The driver is off duty, or the duty state is unknown.
    OffDuty,
    /// There is no fix, it is too old, or the van is on another route.
    NoFix,
    /// The van is at another recipient's stop and its previous moving position is unknown.
    AtOtherStop,
}

/// Input of the visibility decision.
#[derive(Clone, Copy, Debug)]
pub struct VisibilityInput<'a> {
    pub parcel: &'a ParcelInput,
    /// Whether the parcel is out for delivery according to all its events, on any route.
    pub is_out: bool,
    pub route: &'a RouteInput,
    pub progress: &'a Progress,
    /// Index of the due stop in the manifest.
    pub stop: usize,
    pub van: &'a VanInput,
    /// Whether a delay is shown.
    pub delayed: bool,
    /// Maximum distance in stops and maximum age of the fix.
    pub policy: &'a VisibilityPolicy,
    pub now: UtcTime,
}

/// Returns the position of the van that the recipient may see.
///
/// # Errors
/// Returns the first reason for hiding the van.
pub fn visible_position(look: &VisibilityInput<'_>) -> Result<LiveView, HiddenReason> {
    let VisibilityInput { parcel, route, progress, now, .. } = look;
    let own = &route.manifest.stops[look.stop];
    let whereabouts = route.epcs[look.stop]
        .iter()
        .position(|epc| *epc == parcel.epc)
        .and_then(|index| progress.stops[look.stop].parcels.get(index));
    let hidden_if = |is: bool, why: HiddenReason| if is { Err(why) } else { Ok(()) };
    hidden_if(parcel.gift, HiddenReason::Gift)?;
    hidden_if(
        !look.is_out || whereabouts != Some(&ParcelLocation::OutForDelivery),
        HiddenReason::NotOut,
    )?;
    hidden_if(matches!(parcel.case_state.as_str(), "open" | "lost"), HiddenReason::Missing)?;
    hidden_if(!is_in_service(route, progress, *now), HiddenReason::NotInService)?;
    let ahead = progress.stops[look.stop].ahead;
    hidden_if(ahead.is_none_or(|ahead| ahead > look.policy.max_stops_away), HiddenReason::TooFar)?;
    hidden_if(look.delayed, HiddenReason::Delayed)?;
    let duty = look.van.state.as_ref().map(|state| state.duty);
    hidden_if(duty != Some(Duty::On), HiddenReason::OffDuty)?;
    let (fix, newest) = fresh_fix(look).ok_or(HiddenReason::NoFix)?;
    let frozen = is_at_other_stop(look, newest, fix.position);
    let shown = if frozen { look.van.last_moving.ok_or(HiddenReason::AtOtherStop)? } else { fix };
    let spot = round_position(shown.position);
    Ok(LiveView {
        lat: spot.lat,
        lon: spot.lon,
        at: shown.time.to_string(),
        frozen,
        stop: round_position(own.position),
        station: round_position(route.manifest.station.position),
        stops_done: u32::try_from(progress.stops_done()).unwrap_or(u32::MAX),
        stops_total: u32::try_from(progress.stops.len()).unwrap_or(u32::MAX),
    })
}

/// Time at which the van's newest fix becomes too old to show.
#[must_use]
pub fn fix_expires_at(van: &VanInput, rule: &VisibilityPolicy) -> Option<UtcTime> {
    let fix = van.position.as_ref()?;
    UtcTime::parse(&fix.point.ts)?.checked_add(rule.max_fix_age)
}

/// Whether the van is out on this route and in the current service day.
#[must_use]
pub fn is_in_service(route: &RouteInput, progress: &Progress, now: UtcTime) -> bool {
    let left = progress.departed.map(|departed| now.millis_since(departed));
    !route.withdrawn
        && progress.completed.is_none()
        && left.is_some_and(|ms| ms >= -MAX_CLOCK_SKEW_MS)
        && service_day_end(route, progress).is_some_and(|over| now < over)
}

/// End of the service day, counted from the departure. The route may be completed earlier.
#[must_use]
pub fn service_day_end(route: &RouteInput, progress: &Progress) -> Option<UtcTime> {
    let last = progress.departed?.checked_add(SERVICE_DAY)?;
    let last = route.manifest.valid_until.map_or(last, |until| until.min(last));
    last.checked_add(Duration::from_millis(1))
}

/// Time and coordinates of a position message.
#[must_use]
pub fn timed_position(position: &payloads::Position) -> Option<TimedPosition> {
    Some(TimedPosition {
        time: UtcTime::parse(&position.point.ts)?,
        position: Position::from_degrees(position.point.lat, position.point.lon)?,
    })
}

/// Whether the van is moving according to this position.
#[must_use]
pub fn is_moving(position: &payloads::Position) -> bool {
    position.stop_status != Some(StopStatus::StoppedAt)
        && position.point.motion != Some(MotionState::Halted)
        && position.point.speed_mps.is_some_and(|mps| mps >= HALT_SPEED_MPS)
}

fn fresh_fix<'a>(look: &VisibilityInput<'a>) -> Option<(TimedPosition, &'a payloads::Position)> {
    let newest = look.van.position.as_deref()?;
    let fix = timed_position(newest)?;
    let age_ms = look.now.millis_since(fix.time);
    let oldest_ms = i64::try_from(look.policy.max_fix_age.as_millis()).unwrap_or(i64::MAX);
    let same_van = newest.van == look.route.van && look.van.van == look.route.van;
    let state = look.van.state.as_ref();
    let said = [newest.route.as_deref(), state.and_then(State::route)];
    let same_route = said.into_iter().flatten().all(|route| route == look.route.manifest.route);
    let fresh = (-MAX_CLOCK_SKEW_MS..=oldest_ms).contains(&age_ms) && same_van && same_route;
    fresh.then_some((fix, newest))
}

/// Whether the van is stationary at a stop of other recipients.
fn is_at_other_stop(
    look: &VisibilityInput<'_>,
    newest: &payloads::Position,
    place: Position,
) -> bool {
    let stops = &look.route.manifest.stops;
    if is_moving(newest) {
        return false;
    }
    let said = newest.stop_status == Some(StopStatus::StoppedAt);
    let at_own = newest.stop_seq == Some(stops[look.stop].seq) && said;
    let named = said && newest.stop_seq.is_some() && !at_own;
    let near = stops.iter().enumerate().any(|(index, stop)| {
        let within_m = stop.radius.as_metres() + FENCE_MARGIN_M;
        index != look.stop && stop.position.distance_to(place).as_metres() <= within_m
    });
    named || (near && !at_own)
}

fn round_position(position: Position) -> GeoPoint {
    let round = |deg: f64| (deg * 1e3).round() / 1e3 + 0.0;
    GeoPoint { lat: round(position.lat_deg()), lon: round(position.lon_deg()) }
}
