//! Route files: parsed and validated once, with every problem in one report.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::{Table, Value};

use super::delivery::{self, Delivery};
use super::keys::{Problems, Section, display_value};
use super::profile::ReceiverType;
use super::road::{Point, RoadPoint, RoadSigns};
use waypost_model::units::{METRES_PER_DEGREE, Position, UtcTime};

/// A van's day: its stops and roads, its vehicle and its receiver.
#[derive(Clone, Debug)]
pub struct Route {
    /// Display name; one line.
    pub name: String,
    /// Values that the command line can override.
    pub settings: Settings,
    /// Start and end of the route, and the origin of all road points.
    pub depot: Depot,
    pub van: Van,
    /// The stops in driving order, 1..=500.
    pub stops: Vec<Stop>,
    /// The road back to the depot; its last point is the depot.
    pub road_home: Vec<RoadPoint>,
    /// The parcels and their mishaps; `None` for a drive without parcels.
    pub delivery: Option<Delivery>,
    /// Horizontal 68 % radius of the receiver's error under the open sky, in metres.
    pub error_m: f64,
}

/// Values that can change without another route.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Time at which the receiver is switched on.
    pub start: UtcTime,
    /// Seed of the random numbers; the same seed gives the same bytes.
    pub seed: u64,
    /// Number of the van in a fleet, 1..=999; makes its route name and its parcel numbers unique.
    pub van: u32,
    /// Type of the receiver.
    pub receiver: ReceiverType,
    /// Epochs per second.
    pub rate: Rate,
    /// Time without a fix after power-on.
    pub cold_start: Duration,
    /// Share of the sentences that are corrupted on the line, 0..=1.
    pub bad_checksum_rate: Fraction,
    /// End before the day is over.
    pub duration: Option<Duration>,
}

/// Epochs per second: a divisor of 10, because the van moves in steps of 100 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// Returns `None` unless `hz` is 1, 2, 5 or 10.
    #[must_use]
    pub const fn from_hz(hz: u64) -> Option<Self> {
        if matches!(hz, 1 | 2 | 5 | 10) { Some(Self(hz)) } else { None }
    }

    #[must_use]
    pub const fn as_hz(self) -> u64 {
        self.0
    }
}

/// A fraction, 0..=1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fraction(f64);

impl Fraction {
    /// Returns `None` outside 0..=1.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// The van's base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Depot {
    /// WGS 84; at most 80° north or south, because the projection degenerates towards the poles.
    pub position: Position,
    /// Metres above mean sea level, used for the whole route.
    pub altitude_msl_m: f64,
    /// Time at the depot in the morning, with the receiver on.
    pub loading: Duration,
    /// Time at the depot in the evening, until the receiver is switched off.
    pub unloading: Duration,
}

/// Driving characteristics of the van.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Van {
    pub acceleration_mps2: f64,
    pub braking_mps2: f64,
    /// Lateral acceleration in bends, in metres per second squared.
    pub cornering_mps2: f64,
    /// Probability of a red light at a corner in town.
    pub light_chance: Fraction,
    /// Maximum duration of a red light.
    pub light: Duration,
    /// Maximum relative deviation of a dwell time from the file's value.
    pub dwell_spread: Fraction,
}

/// One stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// Display name.
    pub name: String,
    /// Road from the stop before; its last point is the stop.
    pub road: Vec<RoadPoint>,
    pub dwell: Duration,
    pub purpose: Purpose,
}

/// Purpose of a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Handing over parcels.
    #[default]
    Delivery,
    /// The driver is off duty.
    Break,
}

impl FromStr for Purpose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "delivery" => Ok(Self::Delivery),
            "break" => Ok(Self::Break),
            _ => Err("is neither `delivery` nor `break`".to_owned()),
        }
    }
}

/// Problems of a route file.
#[derive(Debug)]
pub struct RouteError {
    path: PathBuf,
    problems: Vec<String>,
}

impl RouteError {
    /// Returns one line per problem: key, value and remedy.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: invalid route file", self.path.display())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for RouteError {}

impl Route {
    /// Maximum file size. A day of 500 stops with every bend of its roads takes a tenth of it.
    const MAX_FILE_BYTES: u64 = 1 << 20;
    const MAX_STOPS: usize = 500;

    /// Loads and validates a route file.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, is not TOML, or describes an impossible drive.
    pub fn load(path: &Path) -> Result<Self, RouteError> {
        let refused = |problem: String| RouteError { path: path.into(), problems: vec![problem] };
        let unreadable = |error: std::io::Error| refused(format!("cannot be read: {error}"));
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > Self::MAX_FILE_BYTES {
            return Err(refused(format!("{size} bytes, maximum is {}", Self::MAX_FILE_BYTES)));
        }
        Self::parse(path, &std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// Parses and validates the text of a route file; `path` is used for the report only.
    ///
    /// # Errors
    ///
    /// Fails if the text is not TOML or describes an impossible drive.
    pub fn parse(path: &Path, text: &str) -> Result<Self, RouteError> {
        let mut problems = Problems::default();
        let route = match text.parse::<Table>() {
            Ok(table) => parse_route(table, &mut problems),
            Err(error) => {
                problems.add("TOML", error.to_string().trim_end());
                None
            }
        };
        let problems = problems.into_lines();
        match route {
            Some(route) if problems.is_empty() => Ok(route),
            _ => Err(RouteError { path: path.into(), problems }),
        }
    }

    /// Rotates the route about its depot, so that the vans of a fleet leave in different
    /// directions.
    #[must_use]
    pub fn rotated(mut self, clockwise_deg: f64) -> Self {
        let (sin, cos) = clockwise_deg.to_radians().sin_cos();
        let ways = self.stops.iter_mut().map(|stop| &mut stop.road).chain([&mut self.road_home]);
        for Point { east_m, north_m } in ways.flatten().map(|mark| &mut mark.point) {
            (*east_m, *north_m) = (*east_m * cos + *north_m * sin, *north_m * cos - *east_m * sin);
        }
        self
    }

    /// Projects a point (sinusoidal projection about the depot). Distances east and the lengths of
    /// roads are preserved.
    pub(super) fn position_of(&self, point: Point) -> Position {
        let depot = self.depot.position;
        let lat_deg = depot.lat_deg() + point.north_m / METRES_PER_DEGREE;
        let east_deg = point.east_m / (METRES_PER_DEGREE * lat_deg.to_radians().cos());
        let lon_deg = (depot.lon_deg() + east_deg + 180.0).rem_euclid(360.0) - 180.0;
        Position::from_degrees(lat_deg, lon_deg).expect("within 100 km of 80° at most")
    }
}

impl Stop {
    /// Returns the position where the van stops.
    pub(super) fn point(&self) -> Point {
        self.road.last().expect("a road without a point was rejected").point
    }
}

fn parse_route(table: Table, problems: &mut Problems) -> Option<Route> {
    let mut file = Section::new("", table, problems);
    let name = file.required("name", "\"City round\"");
    let name = name.and_then(|value| single_line(&mut file, "name", &value));
    let settings = settings(&mut file);
    let depot = depot(file.table("depot"));
    let van = van(file.table("van"));
    let error_m = file.number("error_m", 0.0..=50.0, 1.5);
    let mut signs = RoadSigns::default();
    let stops = stops(&mut file, &mut signs);
    let road_home = parse_road(&mut file, "way_home", &mut signs);
    if road_home.last().is_some_and(|mark| mark.point != Point::default()) {
        file.add_problem("way_home", "does not end at the depot: let `0,0` be its last point");
    }
    let delivery = file.optional_table("delivery").map(delivery::parse_delivery);
    if let (Some(delivery), Some(depot)) = (&delivery, &depot) {
        delivery::check_times(&mut file, delivery, depot, &van, &stops);
    }
    file.finish();
    let (name, depot) = (name?, depot?);
    Some(Route { name, settings, depot, van, stops, road_home, delivery, error_m })
}

fn settings(file: &mut Section<'_>) -> Settings {
    let default_start = UtcTime::from_unix_ms(1_795_415_400_000).expect("2026-11-23T06:30:00Z");
    let start = file.parse("start_utc", default_start, parse_start);
    let seed = file.whole_number("seed", 0..=i64::MAX.unsigned_abs(), 1);
    let receiver = file.parse("receiver", ReceiverType::UbloxM8, str::parse);
    let hz = file.whole_number("rate_hz", 1..=10, 1);
    let rate = Rate::from_hz(hz).unwrap_or_else(|| {
        file.add_problem("rate_hz", &format!("{hz} is not one of 1, 2, 5, 10"));
        Rate(1)
    });
    let cold_start = Duration::from_secs(file.whole_number("cold_start_s", 0..=3600, 30));
    let bad_checksum_rate = Fraction(file.number("bad_checksum_rate", 0.0..=1.0, 0.0));
    Settings { start, seed, van: 1, receiver, rate, cold_start, bad_checksum_rate, duration: None }
}

/// Parses the start time. The years are those that an RMC's two digits can express, with a margin
/// for the day.
pub(super) fn parse_start(text: &str) -> Result<UtcTime, String> {
    let utc = UtcTime::parse(text).filter(|utc| (2000..2068).contains(&utc.date().year()));
    utc.ok_or_else(|| "is not a UTC time in 2000..2068, such as 2026-11-23T06:30:00Z".to_owned())
}

fn depot(mut table: Section<'_>) -> Option<Depot> {
    let lat_deg = table.required_number("lat_deg", -80.0..=80.0, "48.35");
    let lon_deg = table.required_number("lon_deg", -180.0..=180.0, "10.83");
    let altitude_msl_m = table.number("altitude_msl_m", -430.0..=5000.0, 100.0);
    let loading = Duration::from_secs(table.whole_number("loading_s", 0..=7200, 300));
    let unloading = Duration::from_secs(table.whole_number("unloading_s", 10..=7200, 60));
    table.finish();
    let position = Position::from_degrees(lat_deg?, lon_deg?)?;
    Some(Depot { position, altitude_msl_m, loading, unloading })
}

fn van(mut table: Section<'_>) -> Van {
    let van = Van {
        acceleration_mps2: table.number("acceleration_mps2", 0.5..=4.0, 1.8),
        braking_mps2: table.number("braking_mps2", 0.5..=6.0, 2.2),
        cornering_mps2: table.number("cornering_mps2", 0.5..=4.0, 2.0),
        light_chance: Fraction(table.number("light_chance", 0.0..=1.0, 0.25)),
        light: Duration::from_secs(table.whole_number("light_s", 1..=300, 40)),
        dwell_spread: Fraction(table.number("dwell_spread", 0.0..=0.9, 0.3)),
    };
    table.finish();
    van
}

fn stops(file: &mut Section<'_>, signs: &mut RoadSigns) -> Vec<Stop> {
    let list = match file
        .required("stops", "[{ name = \"Mill Lane 3\", way = \"0,90\", dwell_s = 60 }]")
    {
        Some(Value::Array(list)) => list,
        Some(_) => {
            file.add_problem("stops", "is not a list of tables");
            return Vec::new();
        }
        None => return Vec::new(),
    };
    if list.is_empty() || list.len() > Route::MAX_STOPS {
        let text = format!("{} stops: the limit is 1..={}", list.len(), Route::MAX_STOPS);
        file.add_problem("stops", &text);
    }
    let numbered = list.into_iter().take(Route::MAX_STOPS).enumerate();
    numbered.filter_map(|(index, value)| stop(file, index, value, signs)).collect()
}

fn stop(file: &mut Section<'_>, index: usize, value: Value, signs: &mut RoadSigns) -> Option<Stop> {
    let path = format!("stops[{index}]");
    let Value::Table(table) = value else {
        let text =
            format!("{} is not a table: write `{{ name = …, way = … }}`", display_value(&value));
        file.add_problem(&path, &text);
        return None;
    };
    let mut table = Section::new(&path, table, file.problems());
    let name = table.required("name", "\"Mill Lane 3\"");
    let name = name.and_then(|value| single_line(&mut table, "name", &value));
    let way = parse_road(&mut table, "way", signs);
    let dwell = Duration::from_secs(table.whole_number("dwell_s", 5..=7200, 60));
    let purpose = table.parse("purpose", Purpose::default(), str::parse);
    table.finish();
    Some(Stop { name: name?, road: way, dwell, purpose })
}

fn parse_road(table: &mut Section<'_>, key: &'static str, signs: &mut RoadSigns) -> Vec<RoadPoint> {
    let Some(value) = table.required(key, "\"0,90 250,90\"") else { return Vec::new() };
    let Some(text) = value.as_str() else {
        table.add_problem(
            key,
            &format!("{} is not text: write \"0,90 250,90\"", display_value(&value)),
        );
        return Vec::new();
    };
    let mut unreadable = false;
    let marks = signs.parse(text, |problem| {
        unreadable = true;
        table.add_problem(key, &problem);
    });
    if marks.is_empty() && !unreadable {
        table.add_problem(key, "has no point: end it at the stop, as in \"0,90 250,90\"");
    }
    marks
}

/// Parses a single line of text, because the name is written to a log header.
fn single_line(table: &mut Section<'_>, key: &'static str, value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| {
        (1..=100).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    });
    if text.is_none() {
        table.add_problem(
            key,
            &format!("{} is not one line of 1..=100 characters", display_value(value)),
        );
    }
    text.map(str::to_owned)
}
