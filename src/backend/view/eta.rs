//! Progress of a route → when the van will be at each stop, and how sure that is.
//!
//! From one arrival to the next passes the service at the stop and the way to the next one: `r · service + w · way`, where
//! the way is the crow's, times 1.35. `r` and `w` are fitted to the stops behind, the newer the more, and held by what is
//! usual (90 s or the manifest's `service_s`, 6 m/s) as long as there are few. What happened at the stops is enough: the
//! newest fix only says how far the van has come since.

use std::time::Duration;

use super::known::{KnownRoute, Moment};
use super::parcel::Window;
use super::progress::{Progress, Visit};
use crate::core::delivery::manifest::Stop;
use crate::units::UtcTime;

/// The street is so much longer than the crow's way.
const DETOUR: f64 = 1.35;
/// Before anything is known of the day.
const USUAL_MPS: f64 = 6.0;
/// So many stops weigh what is usual, and a stop so many stops ago weighs 1/e.
const PRIOR_STOPS: f64 = 1.0;
const MEMORY_STOPS: f64 = 25.0;
/// Half the window's width: at least so long, and so much of the time until then.
const LEAST: Duration = Duration::from_mins(10);
const PART: f64 = 0.2;
/// Longer than expected by so much was no stop but a pause, which says nothing of the next one.
const PAUSE_S: f64 = 600.0;
/// A fix tells how far the van has come for so long.
const FIX_FOR_MS: i64 = 180_000;

/// When the van will be at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Most likely.
    pub at: UtcTime,
    /// Not sooner, as far as anybody can say.
    pub from: UtcTime,
    /// Not later.
    pub until: UtcTime,
}

impl Arrival {
    /// As it is shown: on full minutes.
    #[must_use]
    pub fn window(&self) -> Window {
        Window { from: minute(self.from, 0).to_string(), until: minute(self.until, 1).to_string() }
    }
}

/// When the van will be at each stop of the manifest; `None` where it will not come, and before it has left.
#[must_use]
pub fn arrivals(
    route: &KnownRoute,
    progress: &Progress,
    fix: Option<Moment>,
    now: UtcTime,
) -> Vec<Option<Arrival>> {
    let stops = &route.manifest.stops;
    let mut arrivals = vec![None; stops.len()];
    let Some(departed) = progress.departed.filter(|_| progress.completed.is_none()) else {
        return arrivals;
    };
    let pace = Pace::of(route, &progress.visits, departed);
    let mut order = progress.order.iter().copied().filter(|stop| progress.at != Some(*stop));
    let Some(first) = order.next() else { return arrivals };
    let mut after_s = pace.to_first(route, progress, first, fix, (departed, now));
    let mut last = first;
    for (nth, stop) in std::iter::once(first).chain(order).enumerate() {
        if nth > 0 {
            after_s += pace.cycle_s(&stops[last], &stops[stop]);
        }
        arrivals[stop] = arrival(&stops[stop], after_s, now);
        last = stop;
    }
    arrivals
}

fn arrival(stop: &Stop, after_s: f64, now: UtcTime) -> Option<Arrival> {
    let after = Duration::try_from_secs_f64(after_s).ok()?;
    let half = after.mul_f64(PART).max(LEAST);
    let not_before = stop.window.map(|(from, _)| from);
    let at = now.checked_add(after)?.max(not_before.unwrap_or(now));
    let from = at.checked_sub(half)?.max(now).max(not_before.unwrap_or(now));
    Some(Arrival { at, from, until: at.checked_add(half)? })
}

/// How fast the day goes: a least-squares fit of two numbers, kept as its sums.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    /// Of the service that the manifest expects.
    service: f64,
    /// Seconds a metre.
    way: f64,
}

#[derive(Clone, Copy, Debug)]
struct Sums {
    ss: f64,
    sw: f64,
    ww: f64,
    st: f64,
    wt: f64,
}

impl Sums {
    /// What is usual, as if it had been seen at some stops.
    fn usual() -> Self {
        let (service_s, way_m) = (90.0_f64, 300.0_f64);
        let (ss, ww) = (PRIOR_STOPS * service_s.powi(2), PRIOR_STOPS * way_m.powi(2));
        Self { ss, sw: 0.0, ww, st: ss, wt: ww / USUAL_MPS }
    }

    fn add(&mut self, (service_s, way_m): (f64, f64), took_s: f64) {
        let usual = Self::usual();
        let keep = 1.0 - 1.0 / MEMORY_STOPS;
        // What is usual is not forgotten.
        let fade =
            |sum: &mut f64, floor: f64, more: f64| *sum = floor + (*sum - floor) * keep + more;
        fade(&mut self.ss, usual.ss, service_s.powi(2));
        fade(&mut self.sw, usual.sw, service_s * way_m);
        fade(&mut self.ww, usual.ww, way_m.powi(2));
        fade(&mut self.st, usual.st, service_s * took_s);
        fade(&mut self.wt, usual.wt, way_m * took_s);
    }

    fn pace(&self) -> Pace {
        let determinant = self.ss * self.ww - self.sw * self.sw;
        let service = (self.st * self.ww - self.wt * self.sw) / determinant;
        let way = (self.ss * self.wt - self.sw * self.st) / determinant;
        // No day is so quick or slow; a number that is none is neither.
        let within = |value: f64, usual: f64| {
            if value.is_finite() { value.clamp(usual / 8.0, usual * 8.0) } else { usual }
        };
        Pace { service: within(service, 1.0), way: within(way, 1.0 / USUAL_MPS) }
    }
}

impl Pace {
    /// Fitted to what was driven.
    fn of(route: &KnownRoute, visits: &[Visit], departed: UtcTime) -> Self {
        let stops = &route.manifest.stops;
        let mut sums = Sums::usual();
        if let Some(first) = visits.first() {
            let way_m = way_m(route.manifest.station.position, stops[first.stop].position);
            sums.observe((0.0, way_m), seconds(departed, first.arrived));
        }
        for pair in visits.windows(2) {
            let [here, next] = [&stops[pair[0].stop], &stops[pair[1].stop]];
            let way_m = way_m(here.position, next.position);
            sums.observe((service_s(here), way_m), seconds(pair[0].arrived, pair[1].arrived));
        }
        sums.pace()
    }

    /// From the arrival at one stop to that at the next, s.
    fn cycle_s(&self, here: &Stop, next: &Stop) -> f64 {
        self.service * service_s(here) + self.way * way_m(here.position, next.position)
    }

    /// Until the van is at the stop to which it goes, s.
    fn to_first(
        self,
        route: &KnownRoute,
        progress: &Progress,
        first: usize,
        fix: Option<Moment>,
        (departed, now): (UtcTime, UtcTime),
    ) -> f64 {
        let stops = &route.manifest.stops;
        let last = progress.visits.last();
        let since = last.map_or(departed, |visit| visit.until);
        let fresh = |fix: &Moment| fix.time > since && now.millis_since(fix.time) <= FIX_FOR_MS;
        if progress.at.is_none()
            && let Some(fix) = fix.filter(fresh)
        {
            let way_s = self.way * way_m(fix.position, stops[first].position);
            return (way_s - seconds(fix.time, now)).max(0.0);
        }
        let whole_s = match last {
            Some(visit) => self.cycle_s(&stops[visit.stop], &stops[first]),
            None => self.way * way_m(route.manifest.station.position, stops[first].position),
        };
        // Who stands at a stop has the whole way to go, however long it takes there.
        let least_s = match last {
            Some(visit) if progress.at.is_some() => {
                self.way * way_m(stops[visit.stop].position, stops[first].position)
            }
            _ => 0.0,
        };
        let begun = last.map_or(departed, |visit| visit.arrived);
        (whole_s - seconds(begun, now)).max(least_s)
    }
}

impl Sums {
    fn observe(&mut self, (service_s, way_m): (f64, f64), took_s: f64) {
        let Pace { service, way } = self.pace();
        if took_s <= service * service_s + way * way_m + PAUSE_S {
            self.add((service_s, way_m), took_s);
        }
    }
}

fn service_s(stop: &Stop) -> f64 {
    stop.service.as_secs_f64().max(10.0)
}

fn way_m(from: crate::units::Position, to: crate::units::Position) -> f64 {
    from.distance_to(to).as_metres() * DETOUR
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a day")]
fn seconds(from: UtcTime, until: UtcTime) -> f64 {
    (until.millis_since(from) as f64 / 1000.0).max(0.0)
}

/// The full minute that has begun, or so many later.
fn minute(time: UtcTime, later: i64) -> UtcTime {
    const MINUTE_MS: i64 = 60_000;
    let minute = time.as_unix_ms().div_euclid(MINUTE_MS) + later;
    UtcTime::from_unix_ms(minute * MINUTE_MS).unwrap_or(time)
}
