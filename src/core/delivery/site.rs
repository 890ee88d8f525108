//! Fixes → where the van stands: [`Still`], and [`Visit`] of a stop.
//!
//! A fix counts only if it is accurate. The van is at a stop when it stands within the fence for ten seconds; it has
//! left when it drove and is well outside, or stands at another stop. What is lost in a tunnel or a power cut is judged
//! by its two ends: who is where he was has stood there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::between;
use super::manifest::{Manifest, Stop};
use crate::core::fix::Fix;
use crate::core::journey::Motion;
use crate::units::{Distance, Position, Uptime, UtcTime};

/// Whoever is slower stands, or looks for the door.
pub(super) const SLOW_MPS: f64 = 1.5;
/// Who stands for less looked both ways.
pub(super) const IDLE: Duration = Duration::from_secs(3);
/// A fence is entered by standing in it for so long.
pub(super) const DWELL: Duration = Duration::from_secs(10);
/// A station is left for good after so long outside …
pub(super) const STATION_AWAY: Duration = Duration::from_secs(20);
/// … by so much.
pub(super) const STATION_MARGIN_M: f64 = 50.0;
/// A stop is left after so long outside …
const STOP_AWAY: Duration = Duration::from_secs(15);
/// … by so much.
const STOP_MARGIN_M: f64 = 30.0;
/// A van that has not driven so far still stands where it stood, whatever its receiver says.
const DRIVEN_M: f64 = 20.0;
/// A van that stands and is seen so far away stands elsewhere: the journey held it to a place that it had left unseen.
const JUMP_M: f64 = 75.0;
/// Nobody drifts so far outside: the power was away while the van drove.
const CARRIED_M: f64 = 100.0;
/// Two stops are told apart at once if one is nearer by so much, else after [`UNSURE_FOR`].
const UNSURE_M: f64 = 20.0;
const UNSURE_FOR: Duration = Duration::from_secs(20);
/// What is longer was seen by nobody.
const GAP: Duration = Duration::from_secs(10);
/// Who is no farther away after a gap has stood.
const STOOD_M: f64 = 50.0;
/// A fix says where the van stands if it is at least so accurate.
const MAX_ACCURACY_M: f64 = 30.0;
/// Where the receiver says nothing of its accuracy: at 5 m of range error the same within a factor.
const MAX_HDOP: f64 = 4.0;

/// A fix that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) utc: UtcTime,
    pub(super) position: Position,
    pub(super) speed_mps: Option<f64>,
}

/// Whether a fix says well enough where the van is.
pub(super) fn is_accurate(fix: &Fix) -> bool {
    match (fix.accuracy, fix.hdop) {
        (Some(accuracy), _) => accuracy.as_metres() <= MAX_ACCURACY_M,
        (None, Some(hdop)) => hdop.value() <= MAX_HDOP,
        (None, None) => true,
    }
}

/// How fast the van is, also by a receiver that says it once a second, or never.
#[derive(Debug, Default)]
pub(super) struct Pace {
    said: Option<(f64, Uptime)>,
    measured_from: Option<(Position, Uptime)>,
}

impl Pace {
    const HOLDS: Duration = Duration::from_secs(2);
    const MEASURED_OVER: Duration = Duration::from_secs(5);

    pub(super) fn observe(&mut self, fix: &Fix, motion: Motion) -> Option<f64> {
        if let Some(speed) = fix.speed {
            self.measured_from = None;
            self.said = Some((speed.as_mps(), fix.read_at));
        } else if self.said.is_none_or(|(_, at)| fix.read_at.since(at) > Self::HOLDS) {
            let (from, since) = *self.measured_from.get_or_insert((fix.position, fix.read_at));
            let time = fix.read_at.since(since);
            if time >= Self::MEASURED_OVER {
                let way_m = from.distance_to(fix.position).as_metres();
                self.said = Some((way_m / time.as_secs_f64(), fix.read_at));
                self.measured_from = Some((fix.position, fix.read_at));
            }
        }
        let lasts = |at: Uptime| fix.read_at.since(at) <= Self::HOLDS + Self::MEASURED_OVER;
        let said = self.said.filter(|(_, at)| lasts(*at)).map(|(mps, _)| mps);
        said.or((motion == Motion::Halted).then_some(0.0))
    }
}

/// The van stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Still {
    pub(super) since: UtcTime,
    /// Where it was seen standing first.
    at: Position,
    /// Where it stands on average: metres east and north of `at`, and of how many fixes. It is found again.
    #[serde(skip)]
    mean: ([f64; 2], u32),
}

impl Still {
    /// So many fixes weigh: the first ones were perhaps still on their way.
    const WEIGHT: u32 = 60;

    const fn new(since: UtcTime, at: Position) -> Self {
        Self { since, at, mean: ([0.0; 2], 0) }
    }

    fn observe(&mut self, position: Position) {
        let (mean, count) = &mut self.mean;
        *count = (*count + 1).min(Self::WEIGHT);
        for (mean, offset) in mean.iter_mut().zip(self.at.metres_to(position)) {
            *mean += (offset - *mean) / f64::from(*count);
        }
    }

    /// Whether it began to stand at the station, at a stop, or a little outside.
    pub(super) fn is_at_fence(&self, manifest: &Manifest) -> bool {
        let stops = manifest.stops.iter().map(|stop| (stop.position, stop.radius));
        let mut fences = stops.chain([(manifest.station.position, manifest.station.radius)]);
        fences.any(|(position, radius)| {
            is_near(position, self.at)
                && position.distance_to(self.at).as_metres() <= radius.as_metres() + STOP_MARGIN_M
        })
    }

    /// From where it stands to `position`.
    pub(super) fn distance_m(&self, position: Position) -> f64 {
        let [east, north] = self.at.metres_to(position);
        let ([mean_east, mean_north], _) = self.mean;
        (east - mean_east).hypot(north - mean_north)
    }
}

/// Follows whether the van stands.
#[derive(Debug, Default)]
pub(super) struct Stance {
    seen: Option<Sight>,
}

impl Stance {
    /// When the newest fix that counted was.
    pub(super) fn seen(&self) -> Option<UtcTime> {
        self.seen.map(|sight| sight.utc)
    }

    /// Takes a fix that counts; how far the van has driven since the one before, as far as its speed shows it.
    pub(super) fn observe(&mut self, sight: Sight, still: &mut Option<Still>) -> f64 {
        let Sight { utc, position, speed_mps } = sight;
        let before = self.seen.replace(sight);
        // After a restart the kept standstill tells where the van was.
        let from = before.map(|seen| (seen.utc, seen.position));
        let from = from.or(still.map(|still| (still.since, still.at)));
        let Some((since, place)) = from else {
            *still =
                (speed_mps.is_some_and(|mps| mps < SLOW_MPS)).then(|| Still::new(utc, position));
            return 0.0;
        };
        if utc < since {
            *still = None;
        }
        let time = between(since, utc);
        let way_m = place.distance_to(position).as_metres();
        if time > GAP || before.is_none() {
            if way_m > STOOD_M {
                *still = None;
            } else if time > GAP {
                still.get_or_insert(Still::new(since, place)).observe(position);
                return 0.0;
            }
        }
        let unseen_m = if time > GAP { way_m } else { 0.0 };
        let Some(mps) = speed_mps else { return unseen_m };
        if mps < SLOW_MPS {
            let moved = still.is_some_and(|still| still.distance_m(position) > JUMP_M);
            if moved {
                *still = None;
            }
            still.get_or_insert(Still::new(utc, position)).observe(position);
            return if moved { way_m } else { unseen_m };
        }
        *still = None;
        if time > GAP { way_m } else { mps * time.as_secs_f64() }
    }
}

/// The van is at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Visit {
    /// The stop's number.
    pub(super) seq: u32,
    /// Since when the van stands there.
    pub(super) since: UtcTime,
    /// Since when it is outside.
    outside_since: Option<UtcTime>,
    moved: Moved,
    /// How far it has driven since then. A restart forgets these metres.
    #[serde(skip)]
    driven_m: f64,
}

/// Whether the van has driven since it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Moved {
    No,
    Yes,
}

impl Visit {
    pub(super) const fn new(seq: u32, since: UtcTime) -> Self {
        Self { seq, since, outside_since: None, moved: Moved::No, driven_m: 0.0 }
    }

    /// Whether the van may stand at another stop by now.
    pub(super) fn has_driven(&self) -> bool {
        self.moved == Moved::Yes
    }

    /// Takes a fix and how far the van drove to it; whether the van has left.
    pub(super) fn observe(&mut self, stop: &Stop, sight: Sight, driven_m: f64) -> bool {
        self.driven_m += driven_m;
        let way_m = stop.position.distance_to(sight.position).as_metres();
        let beyond_m = way_m - stop.radius.as_metres() - STOP_MARGIN_M;
        if self.driven_m >= DRIVEN_M || beyond_m > CARRIED_M {
            self.moved = Moved::Yes;
        }
        if beyond_m <= 0.0 {
            self.outside_since = None;
            return false;
        }
        let since = *self.outside_since.get_or_insert(sight.utc);
        if sight.utc < since {
            self.outside_since = Some(sight.utc);
        }
        self.has_driven() && between(since, sight.utc) >= STOP_AWAY
    }
}

/// The stop at which the van stands since `still`; `None` if it is none, or not sure yet.
pub(super) fn stop_at<'a>(
    manifest: &'a Manifest,
    still: &Still,
    now: UtcTime,
    speak: Speak,
) -> Option<&'a Stop> {
    let stood = between(still.since, now);
    if stood < DWELL && speak == Speak::WhenSure {
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
    let (way_m, stop) = near.first()?;
    if *way_m > stop.radius.as_metres() {
        return None;
    }
    let unsure = near.get(1).is_some_and(|(other_m, _)| other_m - way_m < UNSURE_M);
    let waits = unsure && stood < UNSURE_FOR && speak == Speak::WhenSure;
    (!waits).then_some(*stop)
}

/// Whether a standstill must be long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speak {
    /// As the rules say.
    WhenSure,
    /// Somebody scans a parcel: he is there.
    Now,
}

/// Rules out at little cost what is more than 6 km to the north or to the south.
fn is_near(one: Position, other: Position) -> bool {
    const ABOUT_6_KM_E9: u64 = 54_000_000;
    one.lat_e9().abs_diff(other.lat_e9()) < ABOUT_6_KM_E9
}

/// A length that is known to be one.
pub(super) fn metres(metres: f64) -> Distance {
    Distance::from_metres(metres).unwrap_or_default()
}
