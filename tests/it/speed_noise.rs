//! A round through a city with receivers whose speed is noisy: halts found, halts that are none, and
//! the odometer. The truth is the simulator's; the noise is added to its speed and position.

use waypost_model::fix::{Fix, FixMode, FixQuality};
use waypost_model::motion::TripState;
use waypost_model::units::{Distance, Position, Speed, Uptime};
use waypost_pipeline::trip_detector::{Transition, TripConfig, TripDetector};
use waypost_sim::{Random, Route, Simulation, Truth};

use crate::support::repository;

/// Noise of the speed on each axis, m/s.
#[derive(Clone, Copy, Debug)]
enum Noise {
    White(f64),
    /// First-order Gauss-Markov with a time constant of ten seconds.
    Correlated(f64),
    /// 0.1 m/s, and for three seconds of each 40 this.
    Bursts(f64),
    /// None but one sample of this speed each 25 s while the van stands.
    Peaks(f64),
}

/// Error of the noisy speed and of the position, which wanders slowly.
struct NoisyReceiver {
    random: Random,
    noise: Noise,
    speed_error: [f64; 2],
    drift_m: [f64; 2],
}

impl NoisyReceiver {
    const DRIFT_M: f64 = 1.5;

    fn new(noise: Noise) -> Self {
        Self { random: Random::from_seed(42), noise, speed_error: [0.0; 2], drift_m: [0.0; 2] }
    }

    fn markov(random: &mut Random, value: &mut f64, sigma: f64, time_s: f64) {
        let keeps = (-1.0 / time_s).exp();
        *value = *value * keeps + sigma * (1.0 - keeps * keeps).sqrt() * random.normal();
    }

    /// The fix of the epoch number `second`.
    fn fix(&mut self, truth: &Truth, at: Uptime, second: u32) -> Fix {
        let Self { random, noise, speed_error, drift_m } = self;
        for (speed, metres) in speed_error.iter_mut().zip(drift_m.iter_mut()) {
            Self::markov(random, metres, Self::DRIFT_M, 60.0);
            match *noise {
                Noise::White(sigma) => *speed = sigma * random.normal(),
                Noise::Correlated(sigma) => Self::markov(random, speed, sigma, 10.0),
                Noise::Bursts(sigma) => {
                    let sigma = if second % 40 < 3 { sigma } else { 0.1 };
                    *speed = sigma * random.normal();
                }
                Noise::Peaks(_) => *speed = 0.0,
            }
        }
        let [along, across] = *speed_error;
        let mut mps = (truth.speed.as_mps() + along).hypot(across);
        if let Noise::Peaks(peak) = *noise
            && second.is_multiple_of(25)
        {
            mps = mps.max(peak);
        }
        let (lat, lon) = (truth.position.lat_deg(), truth.position.lon_deg());
        let [east_m, north_m] = *drift_m;
        let metres_per_degree = 111_195.0;
        let position = Position::from_degrees(
            lat + north_m / metres_per_degree,
            lon + east_m / (metres_per_degree * lat.to_radians().cos()),
        );
        Fix {
            utc: truth.utc,
            read_at: at,
            position: position.unwrap(),
            mode: FixMode::ThreeD,
            quality: FixQuality::Gps,
            altitude_msl: None,
            height_hae: None,
            speed: Speed::from_mps(mps),
            course: None,
            hdop: None,
            satellites_used: None,
            accuracy: Distance::from_metres(4.0),
        }
    }
}

/// What the trip detector made of a day.
#[derive(Debug, Default)]
struct Score {
    stops: u32,
    found: u32,
    /// Seconds from the standstill to the halt.
    late_s: Vec<f64>,
    /// Halts of a van that has made more than 30 m in the last 30 s.
    false_halts: u32,
    odometer_error: f64,
    /// The same if every difference between fixes counted.
    raw_odometer_error: f64,
}

/// Plays the day with this noise.
fn score(day: &[(Uptime, Truth)], noise: Noise) -> Score {
    let mut receiver = NoisyReceiver::new(noise);
    let mut detector = TripDetector::new(TripConfig::default(), TripState::default());
    let mut score = Score::default();
    let (mut true_m, mut raw_m) = (0.0, 0.0);
    let mut last: Option<(Position, Position)> = None;
    // Start of the visit, and whether it was found.
    let mut visit: Option<(usize, f64, bool)> = None;
    let lasts_s = |stop: usize| {
        day.iter().filter(|(_, truth)| truth.stop == Some(stop) && truth.standing).count()
    };
    let mut is_halted = false;
    for ((at, truth), (index, second)) in day.iter().zip((0_usize..).zip(0_u32..)) {
        let now_s = at.since_start().as_secs_f64();
        let began = truth.stop.filter(|_| truth.standing);
        if visit.is_none_or(|(stop, ..)| began != Some(stop)) {
            if let Some((_, _, found)) = visit.take() {
                score.found += u32::from(found);
            }
            if let Some(stop) = began.filter(|stop| lasts_s(*stop) >= 60) {
                score.stops += 1;
                visit = Some((stop, now_s, false));
            }
        }
        if !truth.has_fix {
            continue;
        }
        let fix = receiver.fix(truth, *at, second);
        if let Some((place, seen)) = last {
            true_m += place.distance_to(truth.position).as_metres();
            raw_m += seen.distance_to(fix.position).as_metres();
        }
        last = Some((truth.position, fix.position));
        match detector.observe(&fix) {
            Some(Transition::Halted) => {
                is_halted = true;
                let before = &day[index.saturating_sub(30)].1;
                let way_m = before.position.distance_to(truth.position).as_metres();
                score.false_halts += u32::from(way_m > 30.0);
            }
            Some(Transition::Departed) => is_halted = false,
            None => {}
        }
        if let Some((_, since_s, found)) = &mut visit
            && is_halted
            && !*found
        {
            *found = true;
            score.late_s.push(now_s - *since_s);
        }
    }
    score.found += u32::from(visit.is_some_and(|(_, _, found)| found));
    let odometer_m = detector.state().odometer.as_metres();
    score.odometer_error = odometer_m / true_m - 1.0;
    score.raw_odometer_error = raw_m / true_m - 1.0;
    score
}

#[test]
fn a_noisy_speed_hides_no_stop_and_invents_none() {
    let mut route = Route::load(&repository("config/routes/city.toml")).unwrap();
    route.settings.seed = 1;
    let day: Vec<(Uptime, Truth)> =
        Simulation::new(route).map(|burst| (burst.at, burst.truth)).collect();
    let white = [0.1, 0.3, 0.5, 0.6, 0.8].map(Noise::White);
    let correlated = [0.1, 0.3, 0.5, 0.8].map(Noise::Correlated);
    let bursts = [0.5, 0.8, 2.0].map(Noise::Bursts);
    let all = white.into_iter().chain(correlated).chain(bursts).chain([Noise::Peaks(0.9)]);
    for noise in all {
        let mut score = score(&day, noise);
        score.late_s.sort_by(f64::total_cmp);
        let late_s = |share: usize| score.late_s.get(score.late_s.len() * share / 100).copied();
        eprintln!(
            "{noise:?}: {} of {} stops, late by {:.0?} s (p50) {:.0?} s (p99), {} false halts, odometer {:+.2} %, \
             raw {:+.1} %",
            score.found,
            score.stops,
            late_s(50),
            late_s(99),
            score.false_halts,
            score.odometer_error * 100.0,
            score.raw_odometer_error * 100.0,
        );
        let is_hard =
            matches!(noise, Noise::White(sigma) | Noise::Correlated(sigma) if sigma > 0.5);
        assert_eq!(score.false_halts, 0, "{noise:?}");
        if !is_hard {
            assert_eq!(score.found, score.stops, "{noise:?}");
            assert!(score.odometer_error.abs() < 0.01, "{noise:?}: {}", score.odometer_error);
        }
    }
}
