//! What each way of thinning a trail keeps, and how wrong it is.
//!
//! `cargo bench --bench sampling`. The points are what the agent makes of simulated days and, where it is, of a recorded
//! drive. Each way takes them all and keeps some; who joins these, as they are sent with 5 decimals, by straight lines,
//! each at a steady pace, is then held against every point. How wrong that is is measured by arithmetic of its own (a sphere, f64), and so are the other
//! ways: nothing here calls `core::sampling` but for the row that is named after it.

mod days;

use std::path::Path;

use days::recorded;
use waypost::core::calendar::Era;
use waypost::core::journey::{JourneyConfig, JourneyState, Motion};
use waypost::core::record::{Record, Seq, Subject, TrackPoint};
use waypost::core::sampling::{Bounds, Sampling};
use waypost::core::{Output, Pipeline, PipelineConfig};
use waypost::simulate::{ReceiverType, Route, Simulation};
use waypost::units::{Course, Distance, Speed, Uptime};
use waypost::wire::json as wire;

const EARTH_M: f64 = 6_371_008.8;

/// A point of the trail in numbers.
#[derive(Clone, Copy)]
struct Point {
    seq: u64,
    s: f64,
    lat: f64,
    lon: f64,
    mps: Option<f64>,
    course: Option<f64>,
    moves: bool,
    /// Latitude and longitude as they are sent.
    said: (f64, f64),
}

impl Point {
    fn new(record: &Record) -> Self {
        let Subject::Point(point) = &record.subject else { panic!("the trail has points only") };
        let TrackPoint { fix, motion, .. } = point;
        let said = wire::Point::new(record.seq, point, wire::Lane::Live);
        Self {
            seq: record.seq.get(),
            s: f64::from(u32::try_from(fix.utc.as_unix_ms() % 1_000_000_000).expect("below 2^32"))
                / 1000.0,
            lat: fix.position.lat_deg(),
            lon: fix.position.lon_deg(),
            mps: fix.speed.map(Speed::as_mps),
            course: fix.course.map(Course::as_degrees),
            moves: *motion != Motion::Halted,
            said: (said.lat, said.lon),
        }
    }

    /// East and north of `origin`, metres.
    fn metres_from(&self, origin: &Self) -> [f64; 2] {
        let north = (self.lat - origin.lat).to_radians() * EARTH_M;
        let east = (self.lon - origin.lon).to_radians() * EARTH_M;
        [east * ((self.lat + origin.lat) / 2.0).to_radians().cos(), north]
    }

    fn sent(&self) -> Self {
        Self { lat: self.said.0, lon: self.said.1, ..*self }
    }

    fn distance_to(&self, other: &Self) -> f64 {
        let [east, north] = other.metres_from(self);
        east.hypot(north)
    }
}

/// Which share of the way from `from` to `to` is over at the time of `at`.
fn share(from: &Point, to: &Point, at: &Point) -> f64 {
    if to.s > from.s { (at.s - from.s) / (to.s - from.s) } else { 0.0 }
}

/// How far the line is from `at` at that moment (synchronised Euclidean distance).
fn synchronised(from: &Point, to: &Point, at: &Point) -> f64 {
    let ([east, north], part) = (to.metres_from(from), share(from, to, at));
    let [x, y] = at.metres_from(from);
    (x - part * east).hypot(y - part * north)
}

/// How far the line is from `at`, whenever.
fn perpendicular(from: &Point, to: &Point, at: &Point) -> f64 {
    let ([east, north], [x, y]) = (to.metres_from(from), at.metres_from(from));
    let length = east.hypot(north);
    if length < 1e-6 {
        return x.hypot(y);
    }
    let along = ((x * east + y * north) / length).clamp(0.0, length);
    (x - along / length * east).hypot(y - along / length * north)
}

/// Ramer, Douglas and Peucker's, for a distance from the line.
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

/// Keeps the first and the last, and between them what `wants`, which is asked with the last kept one and the newest.
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

/// Teltonika's defaults for a moving vehicle: 300 s, 100 m, 10 degrees above 10 km/h, 10 km/h; 3600 s while it stands.
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

/// The last kept point's speed and course, drawn on, are more than 10 m wrong.
fn dead_reckoning(from: &Point, newest: &Point) -> bool {
    let way = from.mps.unwrap_or(0.0) * (newest.s - from.s);
    let course = from.course.unwrap_or(0.0).to_radians();
    let [east, north] = newest.metres_from(from);
    (east - way * course.sin()).hypot(north - way * course.cos()) > 10.0
}

/// The largest errors of the lines between the kept points: metres, and m/s while the van moves.
fn errors(points: &[Point], kept: &[usize]) -> (f64, f64) {
    let (mut metres, mut mps) = (0.0_f64, 0.0_f64);
    for pair in kept.windows(2) {
        let (from, to) = (&points[pair[0]].sent(), &points[pair[1]].sent());
        for at in &points[pair[0]..=pair[1]] {
            metres = metres.max(synchronised(from, to, at));
            if let (Some(before), Some(after), Some(said), true) =
                (from.mps, to.mps, at.mps, at.moves)
            {
                let drawn = before + share(from, to, at) * (after - before);
                mps = mps.max((drawn - said).abs());
            }
        }
    }
    (metres, mps)
}

/// The points of a drive.
fn trail(sampling: Sampling, chunks: &[(Uptime, Vec<u8>)]) -> Vec<Point> {
    let config = PipelineConfig { era: Era::AsSaid, journey: JourneyConfig::default(), sampling };
    let mut pipeline = Pipeline::new(config, Seq::new(1), JourneyState::default());
    let (mut output, mut points) = (Output::default(), Vec::new());
    for (at, bytes) in chunks {
        pipeline.push(bytes, *at, &mut output);
        points.extend(output.records.drain(..).map(|record| Point::new(&record)));
    }
    pipeline.finish(&mut output);
    points.extend(output.records.drain(..).map(|record| Point::new(&record)));
    points
}

/// Of several trails, one after the other: points, kept, largest errors.
#[derive(Default)]
struct Row {
    points: usize,
    kept: usize,
    metres: f64,
    mps: f64,
}

impl Row {
    fn take(&mut self, points: &[Point], kept: &[usize]) {
        let (metres, mps) = errors(points, kept);
        self.points += points.len();
        self.kept += kept.len();
        self.metres = self.metres.max(metres);
        self.mps = self.mps.max(mps);
    }
}

fn ours(points: &[Point], chunks: &[(Uptime, Vec<u8>)], metres: f64, mps: f64) -> Vec<usize> {
    let bounds = Bounds {
        max_error: Distance::from_metres(metres).expect("a distance"),
        max_speed_error: Speed::from_mps(mps).expect("a speed"),
    };
    let kept = trail(Sampling::Bounded(bounds), chunks);
    let place = |point: &Point| points.binary_search_by_key(&point.seq, |one| one.seq);
    kept.iter().map(|point| place(point).expect("it is one of all")).collect()
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
            ours(&points, chunks, 5.0, 2.0),
            ours(&points, chunks, 10.0, 2.0),
            ours(&points, chunks, 10.0, 100.0),
            kept_if(&points, |from, newest| newest.s - from.s >= 10.0),
            kept_if(&points, |from, newest| newest.s - from.s >= 30.0),
            kept_if(&points, teltonika),
            douglas_peucker(&points, 5.0, synchronised),
            douglas_peucker(&points, 5.0, perpendicular),
            kept_if(&points, dead_reckoning),
        ];
        for (row, kept) in rows.iter_mut().zip(&all) {
            row.take(&points, kept);
        }
    }
    println!("\n{name}: {} fixes\n", rows[0].points);
    println!("| way | kept | points : kept | SED, max | speed, max error |");
    println!("|---|---|---|---|---|");
    for (name, Row { points, kept, metres, mps }) in names.iter().zip(&rows) {
        let ratio = count(*points) / count(*kept);
        println!("| {name} | {kept} | {ratio:.1} | {metres:.1} m | {mps:.1} m/s |");
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("a day's points"))
}

fn simulated(route: &str, receiver: ReceiverType, seed: u64) -> Vec<(Uptime, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/routes").join(route);
    let mut route = Route::load(&path).expect("a shipped route is in order");
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
        None => println!("\nskipped: ../shared/tracks/sbn.nmea is not here"),
    }
}
