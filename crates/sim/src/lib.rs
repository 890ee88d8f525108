//! Simulator: the NMEA output of a GNSS receiver on a van, and the output of its scanners, for a
//! whole day.
//!
//! A [`Route`] describes the stops, the roads, the vehicle and the times. [`Simulation`] drives it
//! epoch by epoch: it yields all sentences of one instant and the [`Truth`] that tests compare the
//! agent with. [`Day`] adds the parcels: it yields epochs, scanner lines and ground-truth events in
//! one time order, and provides the manifest. [`output`] writes them to files, standard output or
//! ptys.
//!
//! ```text
//! route ─ drive ─────────── truth ─┐
//!   │      └─ reception ─ fix? ────┼─ receiver ─ sentences ─ epochs ─┐
//!   ├─ sky ─ view ─ error ─────────┘                                 │
//!   ├─ drive ─ timetable ─┬─ plan ─ scans, ground truth ─────────────┼─ day ─ output
//!   │                     │   └──── tag presences ─ tag reads ───────┘
//!   └─ parcels ───────────┴─ manifest
//! ```
//!
//! - **Same seed, same bytes.** Each part draws from its own random stream, so another receiver or
//!   rate gives the same drive. Drive and noise use arithmetic that IEEE 754 defines to the last
//!   bit. Sines (map projection, satellites) and arc tangents (courses) come from the platform's
//!   libm, where x86-64 and aarch64 may differ in the last place. NMEA rounds all results ten
//!   orders of magnitude coarser, so a difference is very unlikely. It could affect one digit of
//!   one field; it cannot accumulate.
//! - **The rate affects only the sampling.** Van, error and reception advance in steps of 100 ms,
//!   the sky in steps of 1 s.
//! - **Constant memory.** One leg of the route is planned at a time, and output is not retained.

mod anomalies;
pub mod cli;
mod command;
mod day;
mod delivery;
mod drive;
mod error;
mod keys;
mod labels;
mod leg;
mod manifest;
pub mod output;
mod parcel;
mod plan;
mod profile;
mod pty;
mod random;
mod receiver;
mod road;
pub mod route;
mod sentence;
mod sink;
mod sky;
mod tags;
#[cfg(test)]
mod tests;
mod timeline;
mod timetable;
pub mod uart;

use std::sync::Arc;
use std::time::Duration;

pub use command::{SimulateArgs, command};
pub use day::Day;
pub use delivery::Delivery;
pub use parcel::{Parcel, ParcelOutcome};
pub use profile::ReceiverType;
pub use random::Random;
pub use road::{Point, RoadPoint, Surroundings};
pub use route::{Fraction, Purpose, Rate, Route, RouteError, Settings};
pub use timeline::{
    DayEvent, GroundTruthEvent, GroundTruthKind, Scan, ScanAlert, Scanner, Summary,
};

use self::drive::{Drive, DriveState};
use self::error::PositionError;
use self::receiver::{Receiver, ReceiverInput, Solution};
use self::sentence::SentenceWriter;
use self::sky::{Sky, SkyView};
use waypost_model::units::{Course, Position, Speed, Uptime, UtcTime};

/// All sentences of one epoch, with the ground truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochBytes {
    /// Time at which the first byte leaves the receiver, since power-on: [`Simulation::LATENCY`]
    /// after the epoch.
    pub at: Uptime,
    /// All sentences of the epoch.
    pub bytes: Vec<u8>,
    /// The values that a receiver without errors would report.
    pub truth: Truth,
}

/// Ground truth of the van at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    pub utc: UtcTime,
    /// Position of the antenna.
    pub position: Position,
    /// Speed over ground.
    pub speed: Speed,
    /// Course over ground; at a standstill, the last one.
    pub course: Course,
    /// True below 1 mm/s.
    pub standing: bool,
    /// Index of the stop in [`Route::stops`] where the van is parked (delivery or break).
    pub stop: Option<usize>,
    pub in_tunnel: bool,
    /// Whether the sentences report a position of this epoch.
    pub has_fix: bool,
}

/// The epochs of a day, generated on demand.
#[derive(Debug)]
pub struct Simulation {
    route: Arc<Route>,
    drive: Drive,
    sky: Sky,
    view: SkyView,
    error: PositionError,
    reception: Reception,
    receiver: Receiver,
    /// Steps of 100 ms since power-on.
    step: u32,
    finished: bool,
}

const STEPS_PER_S: u32 = 10;

impl Simulation {
    /// Processing time of the receiver; 30..150 ms are typical.
    pub const LATENCY: Duration = Duration::from_millis(60);

    /// Starts the day of `route` at power-on.
    #[must_use]
    pub fn new(route: Route) -> Self {
        let route = Arc::new(route);
        let Settings { seed, receiver, bad_checksum_rate, cold_start, .. } = route.settings;
        let profile = receiver.profile();
        let writer = SentenceWriter::new(seed, bad_checksum_rate.get());
        let mut simulation = Self {
            drive: Drive::new(Arc::clone(&route)),
            sky: Sky::new(seed, profile.systems, route.depot.position),
            view: SkyView::default(),
            error: PositionError::new(seed, route.error_m),
            reception: Reception::new(cold_start),
            receiver: Receiver::new(profile, writer),
            step: 0,
            finished: false,
            route,
        };
        simulation.update_reception();
        simulation
    }

    fn uptime(&self) -> Uptime {
        Uptime::from_millis(u64::from(self.step) * 100)
    }

    /// Advances all models by one step. Returns false when the day is over.
    fn advance(&mut self) -> bool {
        let going = self.drive.step();
        self.step += 1;
        self.error.step();
        self.update_reception();
        let ended =
            self.route.settings.duration.is_some_and(|end| self.uptime().since_start() >= end);
        going && !ended
    }

    fn update_reception(&mut self) {
        let DriveState { surroundings, .. } = self.drive.state();
        let uptime = self.uptime();
        if self.step.is_multiple_of(STEPS_PER_S) {
            let unix_s = f64::from(self.step / STEPS_PER_S) + self.start_unix_s();
            self.view = if self.reception.has_time(uptime) {
                self.sky.observe(unix_s, surroundings)
            } else {
                SkyView::default()
            };
            self.error.observe(surroundings, self.view.dops);
        }
        self.reception.step(surroundings, self.step);
    }

    fn start_unix_s(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "the year is below 2068: 42 bits")]
        let ms = self.route.settings.start.as_unix_ms() as f64;
        ms / 1000.0
    }

    fn truth(&self) -> Truth {
        let DriveState { point, speed_mps, course_deg, surroundings, stop } = self.drive.state();
        let start = self.route.settings.start;
        let utc = start.checked_add(self.uptime().since_start());
        let speed = Speed::from_mps(speed_mps).expect("a speed limit is a valid speed");
        let in_tunnel = surroundings == Surroundings::Tunnel;
        let heard = self.reception.has_fix(self.uptime(), self.step);
        Truth {
            utc: utc.expect("the year was checked"),
            position: self.route.position_of(point),
            speed,
            course: Course::from_degrees(course_deg).expect("the course is below 360°"),
            standing: speed == Speed::default(),
            stop,
            in_tunnel,
            has_fix: heard && !in_tunnel && self.view.dops.is_some(),
        }
    }

    /// Returns the receiver's position and velocity with their errors; `None` without a fix.
    fn solution(&self, truth: &Truth) -> Option<Solution> {
        let dops = self.view.dops.filter(|_| truth.has_fix)?;
        let DriveState { point, speed_mps, .. } = self.drive.state();
        let point = self.error.displace(point);
        let (speed, course) = self.error.add_velocity_error(speed_mps, truth.course);
        Some(Solution {
            position: self.route.position_of(point),
            altitude_msl_m: self.route.depot.altitude_msl_m + self.error.height_m(),
            speed,
            course,
            dops,
            error_m: self.error.radius_m(),
        })
    }

    fn epoch_bytes(&mut self) -> EpochBytes {
        let truth = self.truth();
        let uptime = self.uptime();
        let now = ReceiverInput {
            uptime,
            utc: Some(truth.utc).filter(|_| self.reception.has_time(uptime)),
            view: &self.view,
            solution: self.solution(&truth),
        };
        let bytes = self.receiver.encode_epoch(&now);
        EpochBytes { at: uptime + Self::LATENCY, bytes, truth }
    }

    /// Returns the route with the settings in use.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }
}

impl Iterator for Simulation {
    type Item = EpochBytes;

    fn next(&mut self) -> Option<EpochBytes> {
        if self.finished {
            return None;
        }
        let burst = self.epoch_bytes();
        let hz = u32::try_from(self.route.settings.rate.as_hz()).expect("at most 10");
        self.finished = !(0..STEPS_PER_S / hz).all(|_| self.advance());
        Some(burst)
    }
}

/// Signal acquisition: after power-on, and again after each tunnel.
#[derive(Debug)]
struct Reception {
    cold_start: Duration,
    /// Step at which the van entered the current tunnel.
    covered_since: Option<u32>,
    /// First step with a fix.
    fix_from: u32,
}

impl Reception {
    fn new(cold_start: Duration) -> Self {
        Self { cold_start, covered_since: None, fix_from: 0 }
    }

    /// Returns whether the time is known. The first satellite gives the time; a position needs four
    /// and takes until the end of the cold start.
    fn has_time(&self, at: Uptime) -> bool {
        at.since_start() >= self.cold_start / 2
    }

    /// Advances by one step. Reacquisition takes 1 s, and up to 5 s after a long tunnel.
    fn step(&mut self, surroundings: Surroundings, step: u32) {
        if surroundings == Surroundings::Tunnel {
            self.covered_since.get_or_insert(step);
        } else if let Some(since) = self.covered_since.take() {
            let covered = step - since;
            self.fix_from = step + (STEPS_PER_S + covered / 8).min(5 * STEPS_PER_S);
        }
    }

    fn has_fix(&self, at: Uptime, step: u32) -> bool {
        at.since_start() >= self.cold_start && step >= self.fix_from
    }
}

/// Returns the nearest number of steps for a duration of up to some hours.
fn steps_of(seconds: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the route's ranges end at 7,200 s, twice as much at most"
    )]
    let steps = (seconds / drive::STEP_S).round() as u32;
    steps
}
