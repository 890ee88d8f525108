//! Estimates the arrival at each stop, and its uncertainty, from the progress of a route.
//!
//! The time between two arrivals is modelled as `r · service + w · distance`, with the
//! road distance of [`road`]. `r` and `w` are fitted to the past stops, recent ones
//! weighted more. Priors (90 s or the manifest's `service_s`, [`DEFAULT_SPEED_MPS`]) dominate while there are few
//! stops. Stop events are sufficient; the newest fix only shows how far the van has driven since.

use std::time::Duration;

use super::inputs::{RouteInput, TimedPosition};
use super::parcel::Window;
use super::progress::{Progress, Visit};
use waypost_model::manifest::Stop;
use waypost_model::road::{self, DEFAULT_SPEED_MPS};
use waypost_model::units::UtcTime;

/// Weight of the prior, in stops.
const PRIOR_STOPS: f64 = 1.0;
/// Decay of the fit: a stop this many stops ago weighs 1/e.
const MEMORY_STOPS: f64 = 25.0;
/// Minimum half-width of the arrival window.
const MIN_HALF_WINDOW: Duration = Duration::from_mins(10);
/// Half-width of the arrival window as a share of the remaining time.
const HALF_WINDOW_SHARE: f64 = 0.2;
/// A leg that exceeds its estimate by more than this was a break and is ignored by the fit.
const MAX_EXCESS_S: f64 = 600.0;
/// Maximum age in milliseconds of a fix that is used to estimate the remaining distance.
const MAX_FIX_AGE_MS: i64 = 180_000;

/// Estimated arrival at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Most likely time.
    pub at: UtcTime,
    /// Start of the arrival window.
    pub from: UtcTime,
    /// End of the arrival window.
    pub until: UtcTime,
}

impl Arrival {
    /// The window rounded outwards to full minutes, for display.
    #[must_use]
    pub fn window(&self) -> Window {
        Window {
            from: full_minute(self.from, 0).to_string(),
            until: full_minute(self.until, 1).to_string(),
        }
    }
}

/// Estimates the arrival at each stop of the manifest. `None` for stops that will not be visited,
/// and before departure.
#[must_use]
pub fn arrivals(
    route: &RouteInput,
    progress: &Progress,
    fix: Option<TimedPosition>,
    now: UtcTime,
) -> Vec<Option<Arrival>> {
    let stops = &route.manifest.stops;
    let mut arrivals = vec![None; stops.len()];
    let Some(departed) = progress.departed.filter(|_| progress.completed.is_none()) else {
        return arrivals;
    };
    let pace = EtaModel::fit(route, &progress.visits, departed);
    let mut order =
        progress.order.iter().copied().filter(|stop| progress.current_stop != Some(*stop));
    let Some(first) = order.next() else { return arrivals };
    let mut after_s = pace.first_arrival_s(route, progress, first, fix, (departed, now));
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
    let half = after.mul_f64(HALF_WINDOW_SHARE).max(MIN_HALF_WINDOW);
    let not_before = stop.window.map(|(from, _)| from);
    let at = now.checked_add(after)?.max(not_before.unwrap_or(now));
    let from = at.checked_sub(half)?.max(now).max(not_before.unwrap_or(now));
    Some(Arrival { at, from, until: at.checked_add(half)? })
}

/// Fitted coefficients of the arrival model.
#[derive(Clone, Copy, Debug, PartialEq)]
struct EtaModel {
    /// Factor on the service time that the manifest states.
    service_factor: f64,
    /// Driving time in seconds per metre.
    s_per_m: f64,
}

#[derive(Clone, Copy, Debug)]
struct RegressionSums {
    ss: f64,
    sw: f64,
    ww: f64,
    st: f64,
    wt: f64,
}

impl RegressionSums {
    /// Prior, weighted as if it had been observed at `PRIOR_STOPS` stops.
    fn prior() -> Self {
        let (service_s, road_distance_m) = (90.0_f64, 300.0_f64);
        let (ss, ww) = (PRIOR_STOPS * service_s.powi(2), PRIOR_STOPS * road_distance_m.powi(2));
        Self { ss, sw: 0.0, ww, st: ss, wt: ww / DEFAULT_SPEED_MPS }
    }

    fn add(&mut self, (service_s, road_distance_m): (f64, f64), took_s: f64) {
        let usual = Self::prior();
        let keep = 1.0 - 1.0 / MEMORY_STOPS;
        // The prior does not decay.
        let fade =
            |sum: &mut f64, floor: f64, more: f64| *sum = floor + (*sum - floor) * keep + more;
        fade(&mut self.ss, usual.ss, service_s.powi(2));
        fade(&mut self.sw, usual.sw, service_s * road_distance_m);
        fade(&mut self.ww, usual.ww, road_distance_m.powi(2));
        fade(&mut self.st, usual.st, service_s * took_s);
        fade(&mut self.wt, usual.wt, road_distance_m * took_s);
    }

    fn solve(&self) -> EtaModel {
        let determinant = self.ss * self.ww - self.sw * self.sw;
        let service = (self.st * self.ww - self.wt * self.sw) / determinant;
        let way = (self.ss * self.wt - self.sw * self.st) / determinant;
        // Bounds implausible coefficients and replaces NaN.
        let within = |value: f64, usual: f64| {
            if value.is_finite() { value.clamp(usual / 8.0, usual * 8.0) } else { usual }
        };
        EtaModel {
            service_factor: within(service, 1.0),
            s_per_m: within(way, 1.0 / DEFAULT_SPEED_MPS),
        }
    }
}

impl EtaModel {
    /// Fits the model to the past visits.
    fn fit(route: &RouteInput, visits: &[Visit], departed: UtcTime) -> Self {
        let stops = &route.manifest.stops;
        let mut sums = RegressionSums::prior();
        if let Some(first) = visits.first() {
            let road_distance_m =
                road::distance_m(route.manifest.station.position, stops[first.stop].position);
            sums.observe((0.0, road_distance_m), seconds(departed, first.arrived));
        }
        for pair in visits.windows(2) {
            let [here, next] = [&stops[pair[0].stop], &stops[pair[1].stop]];
            let road_distance_m = road::distance_m(here.position, next.position);
            sums.observe(
                (service_s(here), road_distance_m),
                seconds(pair[0].arrived, pair[1].arrived),
            );
        }
        sums.solve()
    }

    /// Time from the arrival at one stop to the arrival at the next, in seconds.
    fn cycle_s(&self, here: &Stop, next: &Stop) -> f64 {
        self.service_factor * service_s(here)
            + self.s_per_m * road::distance_m(here.position, next.position)
    }

    /// Time until the arrival at the next stop, in seconds.
    fn first_arrival_s(
        self,
        route: &RouteInput,
        progress: &Progress,
        first: usize,
        fix: Option<TimedPosition>,
        (departed, now): (UtcTime, UtcTime),
    ) -> f64 {
        let stops = &route.manifest.stops;
        let last = progress.visits.last();
        let since = last.map_or(departed, |visit| visit.until);
        let fresh =
            |fix: &TimedPosition| fix.time > since && now.millis_since(fix.time) <= MAX_FIX_AGE_MS;
        if progress.current_stop.is_none()
            && let Some(fix) = fix.filter(fresh)
        {
            let way_s = self.s_per_m * road::distance_m(fix.position, stops[first].position);
            return (way_s - seconds(fix.time, now)).max(0.0);
        }
        let whole_s = match last {
            Some(visit) => self.cycle_s(&stops[visit.stop], &stops[first]),
            None => {
                self.s_per_m
                    * road::distance_m(route.manifest.station.position, stops[first].position)
            }
        };
        // While the van is at a stop, the whole leg remains, however long the stop takes.
        let least_s = match last {
            Some(visit) if progress.current_stop.is_some() => {
                self.s_per_m * road::distance_m(stops[visit.stop].position, stops[first].position)
            }
            _ => 0.0,
        };
        let started = last.map_or(departed, |visit| visit.arrived);
        (whole_s - seconds(started, now)).max(least_s)
    }
}

impl RegressionSums {
    fn observe(&mut self, (service_s, road_distance_m): (f64, f64), took_s: f64) {
        let EtaModel { service_factor: service, s_per_m: way } = self.solve();
        if took_s <= service * service_s + way * road_distance_m + MAX_EXCESS_S {
            self.add((service_s, road_distance_m), took_s);
        }
    }
}

fn service_s(stop: &Stop) -> f64 {
    stop.service.as_secs_f64().max(10.0)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a day")]
fn seconds(from: UtcTime, until: UtcTime) -> f64 {
    (until.millis_since(from) as f64 / 1000.0).max(0.0)
}

/// Start of the current minute, plus `later` minutes.
fn full_minute(time: UtcTime, later: i64) -> UtcTime {
    const MINUTE_MS: i64 = 60_000;
    let minute = time.as_unix_ms().div_euclid(MINUTE_MS) + later;
    UtcTime::from_unix_ms(minute * MINUTE_MS).unwrap_or(time)
}
