//! TOML → [`Route`]: read, parsed and checked once; every problem in one report.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::{Table, Value};

use super::delivery::{self, Delivery};
use super::keys::{Problems, Section, shown};
use super::profile::ReceiverType;
use super::way::{Mark, Point, Signs};
use crate::units::{Position, UtcTime};

/// A van's day: where it goes, how it drives, and what listens to the sky on its roof.
#[derive(Clone, Debug)]
pub struct Route {
    /// For people; one line.
    pub name: String,
    /// What the command line may change.
    pub settings: Settings,
    /// Where it starts and ends: the origin of all [`Mark`]s.
    pub depot: Depot,
    /// How it drives.
    pub van: Van,
    /// The stops in their order, 1..=500.
    pub stops: Vec<Stop>,
    /// The way back to the depot; its last mark is the depot.
    pub way_home: Vec<Mark>,
    /// The parcels and what becomes of them; `None` if the van only drives.
    pub delivery: Option<Delivery>,
    /// 68 % horizontal radius of the receiver's error under the open sky, in metres.
    pub error_m: f64,
}

/// What can be changed without another route.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// When the receiver is switched on.
    pub start: UtcTime,
    /// Same seed, same bytes.
    pub seed: u64,
    /// Which van of a fleet, 1..=999: no two of them have a route's name or a parcel's number in common.
    pub van: u32,
    /// Whose NMEA it is.
    pub receiver: ReceiverType,
    /// Epochs a second.
    pub rate: Rate,
    /// How long the receiver has no fix after power-on.
    pub cold_start: Duration,
    /// The part of the sentences that the line spoils, 0..=1.
    pub bad_checksum_rate: Share,
    /// Ends sooner than the day does.
    pub duration: Option<Duration>,
}

/// Epochs a second: a divisor of 10, for the van moves in steps of 100 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// `None` unless 1, 2, 5 or 10 Hz.
    #[must_use]
    pub const fn from_hz(hz: u64) -> Option<Self> {
        if matches!(hz, 1 | 2 | 5 | 10) { Some(Self(hz)) } else { None }
    }

    /// Epochs a second.
    #[must_use]
    pub const fn as_hz(self) -> u64 {
        self.0
    }
}

/// A part of a whole, 0..=1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(f64);

impl Share {
    /// `None` unless 0..=1.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// 0..=1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// Where the van is at home.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Depot {
    /// WGS 84; at most 80° north or south, where metres east still mean something.
    pub position: Position,
    /// Metres above mean sea level; the whole route lies on this height.
    pub altitude_msl_m: f64,
    /// Standing there in the morning, switched on.
    pub loading: Duration,
    /// Standing there in the evening, before it is switched off.
    pub unloading: Duration,
}

/// How the van is driven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Van {
    /// Metres per second squared.
    pub acceleration_mps2: f64,
    /// Metres per second squared.
    pub braking_mps2: f64,
    /// Sideways, in bends: metres per second squared.
    pub cornering_mps2: f64,
    /// How often it must wait at a corner in town.
    pub light_chance: Share,
    /// How long at most.
    pub light: Duration,
    /// By how much a dwell differs from the file's, at most.
    pub dwell_spread: Share,
}

/// One address.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// For people.
    pub name: String,
    /// From the stop before; its last mark is the stop.
    pub way: Vec<Mark>,
    /// How long the van stands.
    pub dwell: Duration,
    /// Why it stands.
    pub purpose: Purpose,
}

/// Why the van stands at a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To hand parcels over.
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

/// Why a route cannot be driven. There is one reaction: mend the file.
#[derive(Debug)]
pub struct RouteError {
    path: PathBuf,
    problems: Vec<String>,
}

impl RouteError {
    /// One line each: key, value and remedy.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not usable", self.path.display())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for RouteError {}

impl Route {
    /// A day of 500 stops with every bend of its roads is a tenth of this.
    const MAX_FILE_BYTES: u64 = 1 << 20;
    const MAX_STOPS: usize = 500;

    /// Reads and checks a route file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is no TOML, or says something that cannot be driven.
    pub fn load(path: &Path) -> Result<Self, RouteError> {
        let refused = |problem: String| RouteError { path: path.into(), problems: vec![problem] };
        let unreadable = |error: std::io::Error| refused(format!("cannot be read: {error}"));
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > Self::MAX_FILE_BYTES {
            return Err(refused(format!("{size} bytes, more than {}", Self::MAX_FILE_BYTES)));
        }
        Self::parse(path, &std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// Checks the text of a route file; `path` is for the report only.
    ///
    /// # Errors
    ///
    /// If it is no TOML, or says something that cannot be driven.
    pub fn parse(path: &Path, text: &str) -> Result<Self, RouteError> {
        let mut problems = Problems::default();
        let route = match text.parse::<Table>() {
            Ok(table) => read(table, &mut problems),
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

    /// The same route, turned about its depot: a fleet that leaves one station in all directions.
    #[must_use]
    pub fn turned(mut self, clockwise_deg: f64) -> Self {
        let (sin, cos) = clockwise_deg.to_radians().sin_cos();
        let ways = self.stops.iter_mut().map(|stop| &mut stop.way).chain([&mut self.way_home]);
        for Point { east_m, north_m } in ways.flatten().map(|mark| &mut mark.point) {
            (*east_m, *north_m) = (*east_m * cos + *north_m * sin, *north_m * cos - *east_m * sin);
        }
        self
    }

    /// Sinusoidal projection about the depot: distances east and the lengths of roads are kept.
    pub(super) fn place(&self, point: Point) -> Position {
        const METRES_PER_DEGREE: f64 = 6_371_008.8 * std::f64::consts::PI / 180.0;
        let depot = self.depot.position;
        let lat_deg = depot.lat_deg() + point.north_m / METRES_PER_DEGREE;
        let east_deg = point.east_m / (METRES_PER_DEGREE * lat_deg.to_radians().cos());
        let lon_deg = (depot.lon_deg() + east_deg + 180.0).rem_euclid(360.0) - 180.0;
        Position::from_degrees(lat_deg, lon_deg).expect("within 100 km of 80° at most")
    }
}

impl Stop {
    /// Where the van stands.
    pub(super) fn point(&self) -> Point {
        self.way.last().expect("a way without a point was refused").point
    }
}

fn read(table: Table, problems: &mut Problems) -> Option<Route> {
    let mut file = Section::new("", table, problems);
    let name = file.need("name", "\"City round\"");
    let name = name.and_then(|value| line_of_text(&mut file, "name", &value));
    let settings = settings(&mut file);
    let depot = depot(file.table("depot"));
    let van = van(file.table("van"));
    let error_m = file.number("error_m", 0.0..=50.0, 1.5);
    let mut signs = Signs::default();
    let stops = stops(&mut file, &mut signs);
    let way_home = way(&mut file, "way_home", &mut signs);
    if way_home.last().is_some_and(|mark| mark.point != Point::default()) {
        file.problem("way_home", "does not end at the depot: let `0,0` be its last point");
    }
    let delivery = file.optional_table("delivery").map(delivery::read);
    if let (Some(delivery), Some(depot)) = (&delivery, &depot) {
        delivery::check_times(&mut file, delivery, depot, &van, &stops);
    }
    file.finish();
    let (name, depot) = (name?, depot?);
    Some(Route { name, settings, depot, van, stops, way_home, delivery, error_m })
}

fn settings(file: &mut Section<'_>) -> Settings {
    let default_start = UtcTime::from_unix_ms(1_795_415_400_000).expect("2026-11-23T06:30:00Z");
    let start = file.read("start_utc", default_start, parse_start);
    let seed = file.whole("seed", 0..=i64::MAX.unsigned_abs(), 1);
    let receiver = file.read("receiver", ReceiverType::UbloxM8, str::parse);
    let hz = file.whole("rate_hz", 1..=10, 1);
    let rate = Rate::from_hz(hz).unwrap_or_else(|| {
        file.problem("rate_hz", &format!("{hz} is none of 1, 2, 5 and 10"));
        Rate(1)
    });
    let cold_start = Duration::from_secs(file.whole("cold_start_s", 0..=3600, 30));
    let bad_checksum_rate = Share(file.number("bad_checksum_rate", 0.0..=1.0, 0.0));
    Settings { start, seed, van: 1, receiver, rate, cold_start, bad_checksum_rate, duration: None }
}

/// Years that two digits of an RMC mean, with room for the day.
pub(super) fn parse_start(text: &str) -> Result<UtcTime, String> {
    let utc = UtcTime::parse(text).filter(|utc| (2000..2068).contains(&utc.date().year()));
    utc.ok_or_else(|| "is no UTC in the years 2000..2068, as in 2026-11-23T06:30:00Z".to_owned())
}

fn depot(mut table: Section<'_>) -> Option<Depot> {
    let lat_deg = table.needed_number("lat_deg", -80.0..=80.0, "48.35");
    let lon_deg = table.needed_number("lon_deg", -180.0..=180.0, "10.83");
    let altitude_msl_m = table.number("altitude_msl_m", -430.0..=5000.0, 100.0);
    let loading = Duration::from_secs(table.whole("loading_s", 0..=7200, 300));
    let unloading = Duration::from_secs(table.whole("unloading_s", 10..=7200, 60));
    table.finish();
    let position = Position::from_degrees(lat_deg?, lon_deg?)?;
    Some(Depot { position, altitude_msl_m, loading, unloading })
}

fn van(mut table: Section<'_>) -> Van {
    let van = Van {
        acceleration_mps2: table.number("acceleration_mps2", 0.5..=4.0, 1.8),
        braking_mps2: table.number("braking_mps2", 0.5..=6.0, 2.2),
        cornering_mps2: table.number("cornering_mps2", 0.5..=4.0, 2.0),
        light_chance: Share(table.number("light_chance", 0.0..=1.0, 0.25)),
        light: Duration::from_secs(table.whole("light_s", 1..=300, 40)),
        dwell_spread: Share(table.number("dwell_spread", 0.0..=0.9, 0.3)),
    };
    table.finish();
    van
}

fn stops(file: &mut Section<'_>, signs: &mut Signs) -> Vec<Stop> {
    let list =
        match file.need("stops", "[{ name = \"Mill Lane 3\", way = \"0,90\", dwell_s = 60 }]") {
            Some(Value::Array(list)) => list,
            Some(_) => {
                file.problem("stops", "is not a list of tables");
                return Vec::new();
            }
            None => return Vec::new(),
        };
    if list.is_empty() || list.len() > Route::MAX_STOPS {
        let text = format!("{} stops, not 1..={}", list.len(), Route::MAX_STOPS);
        file.problem("stops", &text);
    }
    let numbered = list.into_iter().take(Route::MAX_STOPS).enumerate();
    numbered.filter_map(|(index, value)| stop(file, index, value, signs)).collect()
}

fn stop(file: &mut Section<'_>, index: usize, value: Value, signs: &mut Signs) -> Option<Stop> {
    let path = format!("stops[{index}]");
    let Value::Table(table) = value else {
        let text = format!("{} is not a table: write `{{ name = …, way = … }}`", shown(&value));
        file.problem(&path, &text);
        return None;
    };
    let mut table = Section::new(&path, table, file.problems());
    let name = table.need("name", "\"Mill Lane 3\"");
    let name = name.and_then(|value| line_of_text(&mut table, "name", &value));
    let way = way(&mut table, "way", signs);
    let dwell = Duration::from_secs(table.whole("dwell_s", 5..=7200, 60));
    let purpose = table.read("purpose", Purpose::default(), str::parse);
    table.finish();
    Some(Stop { name: name?, way, dwell, purpose })
}

fn way(table: &mut Section<'_>, key: &'static str, signs: &mut Signs) -> Vec<Mark> {
    let Some(value) = table.need(key, "\"0,90 250,90\"") else { return Vec::new() };
    let Some(text) = value.as_str() else {
        table.problem(key, &format!("{} is not text: write \"0,90 250,90\"", shown(&value)));
        return Vec::new();
    };
    let mut unreadable = false;
    let marks = signs.read(text, |problem| {
        unreadable = true;
        table.problem(key, &problem);
    });
    if marks.is_empty() && !unreadable {
        table.problem(key, "has no point: end it at the stop, as in \"0,90 250,90\"");
    }
    marks
}

/// A name stands in a log's header, so it is one line.
fn line_of_text(table: &mut Section<'_>, key: &'static str, value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| {
        (1..=100).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    });
    if text.is_none() {
        table.problem(key, &format!("{} is not one line of 1..=100 characters", shown(value)));
    }
    text.map(str::to_owned)
}
