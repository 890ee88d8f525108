//! Compares methods of trail simplification: points stored and resulting error.
//!
//! `cargo bench --bench sampling`. The input is the agent's track points of simulated days and, if
//! present, of a recorded drive. Each method selects points. Linear interpolation between them,
//! rounded to 5 decimals as on the wire, is compared with every input point. The errors and the
//! other methods are calculated independently (sphere, f64). Only the rows named after waypost use
//! the agent's simplifier.

mod days;

use std::path::Path;

use days::recorded;
use waypost_model::motion::{Motion, TripState};
use waypost_model::record::{Record, Seq, Subject, TrackPoint};
use waypost_model::units::{Course, Distance, EARTH_RADIUS_M, Speed, Uptime};
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::trail_simplifier::{Bounds, Sampling};
use waypost_pipeline::trip_detector::TripConfig;
use waypost_pipeline::{Pipeline, PipelineConfig, PipelineOutput};
use waypost_sim::{ReceiverType, Route, Simulation};
use waypost_wire::payloads as wire;

/// A track point as plain numbers.
#[derive(Clone, Copy)]
struct Point {
    seq: u64,
    s: f64,
    lat: f64,
    lon: f64,
    mps: Option<f64>,
    course: Option<f64>,
    is_moving: bool,
    /// Latitude and longitude as published.
    sent_position: (f64, f64),
}

impl Point {
    fn new(record: &Record) -> Self {
        let Subject::Point(point) = &record.subject;
        let TrackPoint { fix, motion, .. } = point;
        let said = wire::Point::new(record.seq, point, wire::TrackSource::Live);
        Self {
            seq: record.seq.get(),
            s: f64::from(u32::try_from(fix.utc.as_unix_ms() % 1_000_000_000).expect("below 2^32"))
                / 1000.0,
            lat: fix.position.lat_deg(),
            lon: fix.position.lon_deg(),
            mps: fix.speed.map(Speed::as_mps),
            course: fix.course.map(Course::as_degrees),
            is_moving: *motion != Motion::Halted,
            sent_position: (said.lat, said.lon),
        }
    }

    /// Metres east and north of `origin`.
    fn metres_from(&self, origin: &Self) -> [f64; 2] {
        let north = (self.lat - origin.lat).to_radians() * EARTH_RADIUS_M;
        let east = (self.lon - origin.lon).to_radians() * EARTH_RADIUS_M;
        [east * ((self.lat + origin.lat) / 2.0).to_radians().cos(), north]
    }

    fn as_published(&self) -> Self {
        Self { lat: self.sent_position.0, lon: self.sent_position.1, ..*self }
    }

    fn distance_to(&self, other: &Self) -> f64 {
        let [east, north] = other.metres_from(self);
        east.hypot(north)
    }
}

/// Fraction of the segment's duration that has passed at the time of `at`.
fn time_fraction(from: &Point, to: &Point, at: &Point) -> f64 {
    if to.s > from.s { (at.s - from.s) / (to.s - from.s) } else { 0.0 }
}

/// Distance of `at` from the segment at the same time (synchronised Euclidean distance).
fn synchronised(from: &Point, to: &Point, at: &Point) -> f64 {
    let ([east, north], part) = (to.metres_from(from), time_fraction(from, to, at));
    let [x, y] = at.metres_from(from);
    (x - part * east).hypot(y - part * north)
}

/// Shortest distance of `at` from the segment, regardless of time.
fn perpendicular(from: &Point, to: &Point, at: &Point) -> f64 {
    let ([east, north], [x, y]) = (to.metres_from(from), at.metres_from(from));
    let length = east.hypot(north);
    if length < 1e-6 {
        return x.hypot(y);
    }
    let along = ((x * east + y * north) / length).clamp(0.0, length);
    (x - along / length * east).hypot(y - along / length * north)
}

/// Ramer-Douglas-Peucker algorithm with a given distance function.
fn douglas_peucker(
    points: &[Point],
    error_m: f64,
    distance: fn(&Point, &Point, &Point) -> f64,
) -> Vec<usize> {
    let mut kept = vec![false; points.len()];
    let mut open = vec![(0, points.len() - 1)];
    kept[0] = true;
    kept[points.len() - 1] = true;
    while let Some((first, last)) = open.pop() {
        let farthest = (first + 1..last)
            .map(|at| (at, distance(&points[first], &points[last], &points[at])))
            .max_by(|one, other| one.1.total_cmp(&other.1));
        if let Some((at, far)) = farthest
            && far > error_m
        {
            kept[at] = true;
            open.extend([(first, at), (at, last)]);
        }
    }
    (0..points.len()).filter(|at| kept[*at]).collect()
}

/// Selects the first point, the last, and each point for which `wants(last selected, point)` is
/// true.
fn kept_if(points: &[Point], wants: impl Fn(&Point, &Point) -> bool) -> Vec<usize> {
    let mut kept = vec![0];
    for at in 1..points.len() {
        let from = &points[kept[kept.len() - 1]];
        if at + 1 == points.len() || wants(from, &points[at]) {
            kept.push(at);
        }
    }
    kept
}

/// Teltonika's defaults for a moving vehicle: 300 s, 100 m, 10 degrees above 10 km/h, 10 km/h.
/// While stationary: 3600 s.
fn teltonika(from: &Point, newest: &Point) -> bool {
    let speed = newest.mps.unwrap_or(0.0);
    let turned = match (from.course, newest.course) {
        (Some(before), Some(now)) => ((now - before + 540.0) % 360.0 - 180.0).abs(),
        _ => 0.0,
    };
    let seconds = newest.s - from.s;
    if speed < 5.0 / 3.6 && from.mps.unwrap_or(0.0) < 5.0 / 3.6 {
        return seconds >= 3600.0;
    }
    seconds >= 300.0
        || from.distance_to(newest) >= 100.0
        || (speed > 10.0 / 3.6 && turned >= 10.0)
        || (speed - from.mps.unwrap_or(0.0)).abs() >= 10.0 / 3.6
}

/// Whether dead reckoning from the last selected point is off by more than 10 m.
fn dead_reckoning(from: &Point, newest: &Point) -> bool {
    let way = from.mps.unwrap_or(0.0) * (newest.s - from.s);
    let course = from.course.unwrap_or(0.0).to_radians();
    let [east, north] = newest.metres_from(from);
    (east - way * course.sin()).hypot(north - way * course.cos()) > 10.0
}

/// Largest errors between the selected points: metres, and m/s while the van moves.
fn errors(points: &[Point], kept: &[usize]) -> (f64, f64) {
    let (mut metres, mut mps) = (0.0_f64, 0.0_f64);
    for pair in kept.windows(2) {
        let (from, to) = (&points[pair[0]].as_published(), &points[pair[1]].as_published());
        for at in &points[pair[0]..=pair[1]] {
            metres = metres.max(synchronised(from, to, at));
            if let (Some(before), Some(after), Some(said), true) =
                (from.mps, to.mps, at.mps, at.is_moving)
            {
                let drawn = before + time_fraction(from, to, at) * (after - before);
                mps = mps.max((drawn - said).abs());
            }
        }
    }
    (metres, mps)
}

/// Track points of a drive.
fn trail(sampling: Sampling, chunks: &[(Uptime, Vec<u8>)]) -> Vec<Point> {
    let config =
        PipelineConfig { date_hint: DateHint::AsReported, trip: TripConfig::default(), sampling };
    let mut pipeline = Pipeline::new(config, Seq::new(1), TripState::default());
    let (mut output, mut points) = (PipelineOutput::default(), Vec::new());
    for (at, bytes) in chunks {
        pipeline.push(bytes, *at, &mut output);
        points.extend(output.records.drain(..).map(|record| Point::new(&record)));
    }
    pipeline.finish(&mut output);
    points.extend(output.records.drain(..).map(|record| Point::new(&record)));
    points
}

/// Totals and largest errors over several trails.
#[derive(Default)]
struct Row {
    points: usize,
    kept: usize,
    metres: f64,
    mps: f64,
}

impl Row {
    fn add(&mut self, points: &[Point], kept: &[usize]) {
        let (metres, mps) = errors(points, kept);
        self.points += points.len();
        self.kept += kept.len();
        self.metres = self.metres.max(metres);
        self.mps = self.mps.max(mps);
    }
}

fn waypost_sampler(
    points: &[Point],
    chunks: &[(Uptime, Vec<u8>)],
    metres: f64,
    mps: f64,
) -> Vec<usize> {
    let bounds = Bounds {
        max_error: Distance::from_metres(metres).expect("valid distance"),
        max_speed_error: Speed::from_mps(mps).expect("valid speed"),
    };
    let kept = trail(Sampling::Bounded(bounds), chunks);
    let place = |point: &Point| points.binary_search_by_key(&point.seq, |one| one.seq);
    kept.iter().map(|point| place(point).expect("a known point")).collect()
}

fn report(name: &str, drives: &[Vec<(Uptime, Vec<u8>)>]) {
    let names = [
        "waypost 5 m, 2 m/s (default)",
        "waypost 10 m, 2 m/s",
        "waypost 10 m, any speed",
        "every 10 s",
        "every 30 s",
        "Teltonika's defaults",
        "Douglas-Peucker, synchronised, 5 m",
        "Douglas-Peucker, perpendicular, 5 m",
        "dead reckoning, 10 m",
    ];
    let mut rows: Vec<Row> = names.iter().map(|_| Row::default()).collect();
    for chunks in drives {
        let points = trail(Sampling::Raw, chunks);
        let all = [
            waypost_sampler(&points, chunks, 5.0, 2.0),
            waypost_sampler(&points, chunks, 10.0, 2.0),
            waypost_sampler(&points, chunks, 10.0, 100.0),
            kept_if(&points, |from, newest| newest.s - from.s >= 10.0),
            kept_if(&points, |from, newest| newest.s - from.s >= 30.0),
            kept_if(&points, teltonika),
            douglas_peucker(&points, 5.0, synchronised),
            douglas_peucker(&points, 5.0, perpendicular),
            kept_if(&points, dead_reckoning),
        ];
        for (row, kept) in rows.iter_mut().zip(&all) {
            row.add(&points, kept);
        }
    }
    println!("\n{name}: {} fixes\n", rows[0].points);
    println!("| method | kept | points : kept | SED, max | speed, max error |");
    println!("|---|---|---|---|---|");
    for (name, Row { points, kept, metres, mps }) in names.iter().zip(&rows) {
        let ratio = count(*points) / count(*kept);
        println!("| {name} | {kept} | {ratio:.1} | {metres:.1} m | {mps:.1} m/s |");
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("below 2^32"))
}

fn simulated(route: &str, receiver: ReceiverType, seed: u64) -> Vec<(Uptime, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/routes").join(route);
    let mut route = Route::load(&path).expect("shipped routes are valid");
    route.settings.seed = seed;
    route.settings.receiver = receiver;
    Simulation::new(route).map(|burst| (burst.at, burst.bytes)).collect()
}

fn main() {
    for route in ["city.toml", "rural.toml"] {
        for receiver in [ReceiverType::UbloxM8, ReceiverType::Mtk3339] {
            let days: Vec<_> = (1..=3).map(|seed| simulated(route, receiver, seed)).collect();
            report(&format!("{route}, {receiver:?}, three seeds"), &days);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tracks/sbn.nmea");
    match recorded(&path) {
        Some(drive) => report("sbn.nmea (recorded)", &[drive]),
        None => println!("\nskipped: ../shared/tracks/sbn.nmea does not exist"),
    }
}
