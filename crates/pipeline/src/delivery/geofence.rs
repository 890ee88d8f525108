//! Detects standstills from fixes and matches them to geofences.
//!
//! Only accurate fixes count. The van arrives at a stop after standing within the geofence for ten
//! seconds. It has left after driving and being well outside, or on arriving at another stop. A gap,
//! in a tunnel or during a power cut, is judged by the fixes at its ends: without movement between
//! them, the van was stationary.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event_clock::elapsed;
use waypost_model::fix::Fix;
use waypost_model::manifest::{Manifest, Stop};
use waypost_model::motion::Motion;
use waypost_model::units::{Distance, Position, Uptime, UtcTime};

/// Below this speed the van counts as stationary.
pub(super) const SLOW_MPS: f64 = 1.5;
/// Shorter standstills are ignored (traffic, junctions).
pub(super) const MIN_IDLE: Duration = Duration::from_secs(3);
/// Minimum standstill within a geofence for an arrival.
pub(super) const ARRIVAL_DWELL: Duration = Duration::from_secs(10);
/// Minimum time outside the station for a departure.
pub(super) const STATION_EXIT_AFTER: Duration = Duration::from_secs(20);
/// Distance beyond the station's radius that counts as outside.
pub(super) const STATION_MARGIN_M: f64 = 50.0;
/// Minimum time outside a stop before it is left.
const STOP_EXIT_AFTER: Duration = Duration::from_secs(15);
/// Distance beyond the stop's radius that counts as outside.
const STOP_MARGIN_M: f64 = 30.0;
/// Minimum driven distance before the van can leave a stop. Position drift of the receiver alone
/// never exceeds it.
const MIN_DRIVEN_M: f64 = 20.0;
/// Beyond this distance a stationary van has moved: the trip detector held its position while it
/// drove off unnoticed.
const JUMP_M: f64 = 75.0;
/// Beyond this distance outside the geofence drift is excluded: the van moved during a power cut.
const MAX_DRIFT_M: f64 = 100.0;
/// Two stops are ambiguous if their distances from the van differ by less than this. The nearer
/// stop is then matched after [`UNSURE_FOR`].
const AMBIGUOUS_M: f64 = 20.0;
const AMBIGUOUS_DWELL: Duration = Duration::from_secs(20);
/// Longer intervals between fixes count as a gap.
const MAX_FIX_GAP: Duration = Duration::from_secs(10);
/// After a gap in the fixes, the van counts as stationary if it moved less than this.
const MAX_GAP_MOVEMENT_M: f64 = 50.0;
/// Worst accuracy of a fix that counts.
const MAX_ACCURACY_M: f64 = 30.0;
/// Worst HDOP of a fix without an accuracy: 20 m at 5 m of range error, comparable to
/// `MAX_ACCURACY_M`.
const MAX_HDOP: f64 = 4.0;

/// Accurate fix.
#[derive(Clone, Copy, Debug)]
pub(super) struct GoodFix {
    pub(super) utc: UtcTime,
    pub(super) position: Position,
    pub(super) speed_mps: Option<f64>,
}

/// Returns whether a fix is accurate enough to locate the van.
pub(super) fn is_accurate(fix: &Fix) -> bool {
    match (fix.accuracy, fix.hdop) {
        (Some(accuracy), _) => accuracy.as_metres() <= MAX_ACCURACY_M,
        (None, Some(hdop)) => hdop.value() <= MAX_HDOP,
        (None, None) => true,
    }
}

/// Estimates the speed, also for receivers that report it rarely or never.
#[derive(Debug, Default)]
pub(super) struct SpeedEstimator {
    last_speed: Option<(f64, Uptime)>,
    measured_from: Option<(Position, Uptime)>,
}

impl SpeedEstimator {
    const VALID_FOR: Duration = Duration::from_secs(2);
    const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

    pub(super) fn observe(&mut self, fix: &Fix, motion: Motion) -> Option<f64> {
        if let Some(speed) = fix.speed {
            self.measured_from = None;
            self.last_speed = Some((speed.as_mps(), fix.read_at));
        } else if self.last_speed.is_none_or(|(_, at)| fix.read_at.since(at) > Self::VALID_FOR) {
            let (from, since) = *self.measured_from.get_or_insert((fix.position, fix.read_at));
            let time = fix.read_at.since(since);
            if time >= Self::MEASURE_INTERVAL {
                let road_distance_m = from.distance_to(fix.position).as_metres();
                self.last_speed = Some((road_distance_m / time.as_secs_f64(), fix.read_at));
                self.measured_from = Some((fix.position, fix.read_at));
            }
        }
        let lasts = |at: Uptime| fix.read_at.since(at) <= Self::VALID_FOR + Self::MEASURE_INTERVAL;
        let said = self.last_speed.filter(|(_, at)| lasts(*at)).map(|(mps, _)| mps);
        said.or((motion == Motion::Halted).then_some(0.0))
    }
}

/// Current standstill.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Standstill {
    pub(super) since: UtcTime,
    /// First position of the standstill.
    at: Position,
    /// Mean position in metres east and north of `at`, and its number of fixes. Not persisted:
    /// recomputed after a restart.
    #[serde(skip)]
    mean: ([f64; 2], u32),
}

impl Standstill {
    /// Maximum number of fixes in the mean, so that the influence of the first ones, perhaps taken
    /// while still moving, fades.
    const MAX_WEIGHT: u32 = 60;

    const fn new(since: UtcTime, at: Position) -> Self {
        Self { since, at, mean: ([0.0; 2], 0) }
    }

    fn observe(&mut self, position: Position) {
        let (mean, count) = &mut self.mean;
        *count = (*count + 1).min(Self::MAX_WEIGHT);
        for (mean, offset) in mean.iter_mut().zip(self.at.offset_m(position)) {
            *mean += (offset - *mean) / f64::from(*count);
        }
    }

    /// Returns whether the standstill began within 30 m of the geofence of the station or a stop.
    pub(super) fn is_at_fence(&self, manifest: &Manifest) -> bool {
        let stops = manifest.stops.iter().map(|stop| (stop.position, stop.radius));
        let mut fences = stops.chain([(manifest.station.position, manifest.station.radius)]);
        fences.any(|(position, radius)| {
            is_near(position, self.at)
                && position.distance_to(self.at).as_metres() <= radius.as_metres() + STOP_MARGIN_M
        })
    }

    /// Returns the distance from the mean position to `position`.
    pub(super) fn distance_m(&self, position: Position) -> f64 {
        let [east, north] = self.at.offset_m(position);
        let ([mean_east, mean_north], _) = self.mean;
        (east - mean_east).hypot(north - mean_north)
    }
}

/// Detects standstills.
#[derive(Debug, Default)]
pub(super) struct StandstillDetector {
    last_fix: Option<GoodFix>,
}

impl StandstillDetector {
    /// Returns the time of the newest accurate fix.
    pub(super) fn last_utc(&self) -> Option<UtcTime> {
        self.last_fix.map(|line_of_sight| line_of_sight.utc)
    }

    /// Observes an accurate fix and updates `still`. Returns the distance driven since the previous
    /// fix, in metres, as far as the speed shows it.
    pub(super) fn observe(
        &mut self,
        line_of_sight: GoodFix,
        still: &mut Option<Standstill>,
    ) -> f64 {
        let GoodFix { utc, position, speed_mps } = line_of_sight;
        let before = self.last_fix.replace(line_of_sight);
        // After a restart, the persisted standstill provides the previous position.
        let from = before.map(|seen| (seen.utc, seen.position));
        let from = from.or(still.map(|still| (still.since, still.at)));
        let Some((since, place)) = from else {
            *still = (speed_mps.is_some_and(|mps| mps < SLOW_MPS))
                .then(|| Standstill::new(utc, position));
            return 0.0;
        };
        if utc < since {
            *still = None;
        }
        let time = elapsed(since, utc);
        let road_distance_m = place.distance_to(position).as_metres();
        if time > MAX_FIX_GAP || before.is_none() {
            if road_distance_m > MAX_GAP_MOVEMENT_M {
                *still = None;
            } else if time > MAX_FIX_GAP {
                still.get_or_insert(Standstill::new(since, place)).observe(position);
                return 0.0;
            }
        }
        let unseen_m = if time > MAX_FIX_GAP { road_distance_m } else { 0.0 };
        let Some(mps) = speed_mps else { return unseen_m };
        if mps < SLOW_MPS {
            let moved = still.is_some_and(|still| still.distance_m(position) > JUMP_M);
            if moved {
                *still = None;
            }
            still.get_or_insert(Standstill::new(utc, position)).observe(position);
            return if moved { road_distance_m } else { unseen_m };
        }
        *still = None;
        if time > MAX_FIX_GAP { road_distance_m } else { mps * time.as_secs_f64() }
    }
}

/// Visit of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StopVisit {
    /// Sequence number of the stop.
    pub(super) seq: u32,
    /// Start of the standstill at the stop.
    pub(super) since: UtcTime,
    /// First time outside the geofence.
    outside_since: Option<UtcTime>,
    movement: MovementSince,
    /// Distance driven since the arrival. Not persisted: a restart resets it.
    #[serde(skip)]
    driven_m: f64,
}

/// Whether the van has driven since its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum MovementSince {
    No,
    Yes,
}

impl StopVisit {
    pub(super) const fn new(seq: u32, since: UtcTime) -> Self {
        Self { seq, since, outside_since: None, movement: MovementSince::No, driven_m: 0.0 }
    }

    /// Returns whether the van has driven since its arrival, so that it may arrive at another stop.
    pub(super) fn has_moved(&self) -> bool {
        self.movement == MovementSince::Yes
    }

    /// Observes a fix and the distance driven since the previous one. Returns whether the van has
    /// left the stop.
    pub(super) fn observe(&mut self, stop: &Stop, line_of_sight: GoodFix, driven_m: f64) -> bool {
        self.driven_m += driven_m;
        let road_distance_m = stop.position.distance_to(line_of_sight.position).as_metres();
        let beyond_m = road_distance_m - stop.radius.as_metres() - STOP_MARGIN_M;
        if self.driven_m >= MIN_DRIVEN_M || beyond_m > MAX_DRIFT_M {
            self.movement = MovementSince::Yes;
        }
        if beyond_m <= 0.0 {
            self.outside_since = None;
            return false;
        }
        let since = *self.outside_since.get_or_insert(line_of_sight.utc);
        if line_of_sight.utc < since {
            self.outside_since = Some(line_of_sight.utc);
        }
        self.has_moved() && elapsed(since, line_of_sight.utc) >= STOP_EXIT_AFTER
    }
}

/// Returns the stop that the standstill `still` is at; `None` if there is none, or it is not
/// certain yet.
pub(super) fn match_stop<'a>(
    manifest: &'a Manifest,
    still: &Standstill,
    now: UtcTime,
    speak: Confidence,
) -> Option<&'a Stop> {
    let stood = elapsed(still.since, now);
    if stood < ARRIVAL_DWELL && speak == Confidence::Confirmed {
        return None;
    }
    let mut near: Vec<(f64, &Stop)> = manifest
        .stops
        .iter()
        .filter(|stop| is_near(stop.position, still.at))
        .map(|stop| (still.distance_m(stop.position), stop))
        .collect();
    near.sort_by(|(one, first), (other, second)| {
        one.total_cmp(other).then(first.seq.cmp(&second.seq))
    });
    let (road_distance_m, stop) = near.first()?;
    if *road_distance_m > stop.radius.as_metres() {
        return None;
    }
    let unsure = near.get(1).is_some_and(|(other_m, _)| other_m - road_distance_m < AMBIGUOUS_M);
    let waits = unsure && stood < AMBIGUOUS_DWELL && speak == Confidence::Confirmed;
    (!waits).then_some(*stop)
}

/// Required confidence of a stop match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confidence {
    /// The standstill must have lasted long enough.
    Confirmed,
    /// A parcel is scanned: the van is at the stop.
    Immediate,
}

/// Cheap pre-filter: excludes positions more than 6 km further north or south.
fn is_near(one: Position, other: Position) -> bool {
    const ABOUT_6_KM_E9: u64 = 54_000_000;
    one.lat_e9().abs_diff(other.lat_e9()) < ABOUT_6_KM_E9
}

/// Converts a computed length in metres; an invalid one gives zero.
pub(super) fn metres(metres: f64) -> Distance {
    Distance::from_metres(metres).unwrap_or_default()
}
