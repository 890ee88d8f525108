//! Route → NMEA and scans: what a named receiver on the roof of a van would send during its day, and its scanners.
//!
//! A [`Route`] says where the van goes, how it drives and when. [`Simulation`] is that drive, epoch by epoch: the bytes of
//! all sentences of one instant, and beside them the [`Truth`] that a test holds the agent against. [`Day`] is the drive
//! with its parcels: bursts, lines of the scanners and [`Fact`]s in one time order, and the manifest. [`output`] writes
//! them to files, to standard output or to ptys.
//!
//! ```text
//! route ─ drive ─────────── truth ─┐
//!   │      └─ reception ─ fix? ────┼─ receiver ─ sentences ─ burst ─┐
//!   ├─ sky ─ view ─ error ─────────┘                                │
//!   ├─ drive ─ timetable ─┬─ plan ─ scans, facts ───────────────────┼─ day ─ output
//!   │                     │   └──── stays ─ tag reads ──────────────┘
//!   └─ parcels ───────────┴─ manifest
//! ```
//!
//! - **Same seed, same bytes.** Each part draws from a stream of its own, so another receiver or another rate is the
//!   same drive. Drive and noise use arithmetic that IEEE 754 defines to the last bit. Sines (map projection,
//!   satellites) and arc tangents (courses) come from the platform's libm, where x86-64 and aarch64 may differ in the
//!   last place: all results are rounded to what NMEA prints, ten orders of magnitude coarser, so that this practically
//!   never shows. It could show in one digit of one field; it cannot accumulate.
//! - **The rate changes nothing but the rate.** Van, error and reception move in steps of 100 ms, the sky in seconds.
//! - **Flat.** One leg of the route is planned at a time, and nothing is kept of what was sent.

mod command;
mod day;
mod delivery;
mod drive;
mod error;
mod keys;
mod leg;
mod manifest;
mod moment;
mod number;
pub mod output;
mod parcel;
mod plan;
mod profile;
mod pty;
mod random;
mod receiver;
pub mod route;
mod sentence;
mod sink;
mod sky;
mod slips;
mod tags;
#[cfg(test)]
mod tests;
mod timetable;
pub(crate) mod uart;
mod way;

use std::sync::Arc;
use std::time::Duration;

pub use command::{SimulateArgs, command};
pub use day::Day;
pub use delivery::Delivery;
pub use moment::{Alert, Fact, Happening, Moment, Scan, Scanner, Summary};
pub use parcel::{Fate, Parcel};
pub use profile::ReceiverType;
pub use route::{Purpose, Rate, Route, RouteError, Settings, Share};
pub use way::{Mark, Point, Surroundings};

use self::drive::{Drive, State};
use self::error::PositionError;
use self::receiver::{Instant, Receiver, Solution};
use self::sentence::SentenceWriter;
use self::sky::{Sky, View};
use crate::units::{Course, Position, Speed, Uptime, UtcTime};

/// What a receiver sends for one instant, and what was true then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    /// When the first byte leaves the receiver, since power-on: [`Simulation::LATENCY`] after the instant itself.
    pub at: Uptime,
    /// All sentences of the instant.
    pub bytes: Vec<u8>,
    /// What an errorless receiver would know.
    pub truth: Truth,
}

/// The van in one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// The instant.
    pub utc: UtcTime,
    /// Of the antenna.
    pub position: Position,
    /// Over ground.
    pub speed: Speed,
    /// Over ground; of a van that stands, the last one.
    pub course: Course,
    /// Not one millimetre a second.
    pub standing: bool,
    /// The stop at which it stands to deliver, as an index of [`Route::stops`].
    pub stop: Option<usize>,
    /// Between two portals.
    pub in_tunnel: bool,
    /// Whether the burst claims a position of this instant.
    pub has_fix: bool,
}

/// A day as its epochs, made when they are asked for.
#[derive(Debug)]
pub struct Simulation {
    route: Arc<Route>,
    drive: Drive,
    sky: Sky,
    view: View,
    error: PositionError,
    reception: Reception,
    receiver: Receiver,
    /// Steps of 100 ms since power-on.
    step: u32,
    over: bool,
}

const STEPS_PER_S: u32 = 10;

impl Simulation {
    /// What a receiver needs for its computation; usual are 30..150 ms.
    pub const LATENCY: Duration = Duration::from_millis(60);

    /// The day of `route`, from power-on.
    #[must_use]
    pub fn new(route: Route) -> Self {
        let route = Arc::new(route);
        let Settings { seed, receiver, bad_checksum_rate, cold_start, .. } = route.settings;
        let profile = receiver.profile();
        let writer = SentenceWriter::new(seed, bad_checksum_rate.get());
        let mut simulation = Self {
            drive: Drive::new(Arc::clone(&route)),
            sky: Sky::new(seed, profile.systems, route.depot.position),
            view: View::default(),
            error: PositionError::new(seed, route.error_m),
            reception: Reception::new(cold_start),
            receiver: Receiver::new(profile, writer),
            step: 0,
            over: false,
            route,
        };
        simulation.listen();
        simulation
    }

    fn uptime(&self) -> Uptime {
        Uptime::from_millis(u64::from(self.step) * 100)
    }

    /// One step of everything that moves. False when the day is over.
    fn advance(&mut self) -> bool {
        let going = self.drive.step();
        self.step += 1;
        self.error.step();
        self.listen();
        let ended =
            self.route.settings.duration.is_some_and(|end| self.uptime().since_start() >= end);
        going && !ended
    }

    fn listen(&mut self) {
        let State { surroundings, .. } = self.drive.state();
        let uptime = self.uptime();
        if self.step.is_multiple_of(STEPS_PER_S) {
            let unix_s = f64::from(self.step / STEPS_PER_S) + self.start_unix_s();
            self.view = if self.reception.knows_time(uptime) {
                self.sky.observe(unix_s, surroundings)
            } else {
                View::default()
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
        let State { point, speed_mps, course_deg, surroundings, stop } = self.drive.state();
        let start = self.route.settings.start;
        let utc = start.checked_add(self.uptime().since_start());
        let speed = Speed::from_mps(speed_mps).expect("the limit is a speed");
        let in_tunnel = surroundings == Surroundings::Tunnel;
        let heard = self.reception.has_fix(self.uptime(), self.step);
        Truth {
            utc: utc.expect("the year was checked"),
            position: self.route.place(point),
            speed,
            course: Course::from_degrees(course_deg).expect("a remainder of 360"),
            standing: speed == Speed::default(),
            stop,
            in_tunnel,
            has_fix: heard && !in_tunnel && self.view.dops.is_some(),
        }
    }

    /// What the receiver makes of the truth.
    fn solution(&self, truth: &Truth) -> Option<Solution> {
        let dops = self.view.dops.filter(|_| truth.has_fix)?;
        let State { point, speed_mps, .. } = self.drive.state();
        let point = self.error.displace(point);
        let (speed, course) = self.error.blur(speed_mps, truth.course);
        Some(Solution {
            position: self.route.place(point),
            altitude_msl_m: self.route.depot.altitude_msl_m + self.error.height_m(),
            speed,
            course,
            dops,
            error_m: self.error.radius_m(),
        })
    }

    fn burst(&mut self) -> Burst {
        let truth = self.truth();
        let uptime = self.uptime();
        let now = Instant {
            uptime,
            utc: Some(truth.utc).filter(|_| self.reception.knows_time(uptime)),
            view: &self.view,
            solution: self.solution(&truth),
        };
        let bytes = self.receiver.burst(&now);
        Burst { at: uptime + Self::LATENCY, bytes, truth }
    }

    /// The route, as it is driven.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }
}

impl Iterator for Simulation {
    type Item = Burst;

    fn next(&mut self) -> Option<Burst> {
        if self.over {
            return None;
        }
        let burst = self.burst();
        let hz = u32::try_from(self.route.settings.rate.as_hz()).expect("at most 10");
        self.over = !(0..STEPS_PER_S / hz).all(|_| self.advance());
        Some(burst)
    }
}

/// Whether the receiver has found the satellites: after power-on, and again after each tunnel.
#[derive(Debug)]
struct Reception {
    cold_start: Duration,
    /// Since which step it is under a roof.
    covered_since: Option<u32>,
    /// From which step it has a fix.
    fix_from: u32,
}

impl Reception {
    fn new(cold_start: Duration) -> Self {
        Self { cold_start, covered_since: None, fix_from: 0 }
    }

    /// The first satellite tells the time; a position takes four, and the other half of the cold start.
    fn knows_time(&self, at: Uptime) -> bool {
        at.since_start() >= self.cold_start / 2
    }

    /// It takes 1 s to find the satellites again, and up to 5 s after a long tunnel.
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

/// The nearest number of steps to a duration of at most some hours.
fn steps_of(seconds: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the route's ranges end at 7,200 s, twice as much at most"
    )]
    let steps = (seconds / drive::STEP_S).round() as u32;
    steps
}
