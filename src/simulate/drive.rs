//! [`Route`] → where the van is, every 100 ms: it accelerates, brakes for bends, lights and stops, stands, and goes home.
//!
//! The steps do not depend on the receiver's rate, so neither does the drive.

use std::sync::Arc;

use super::leg::{Piece, allowed_mps, plan};
use super::random::{Random, Stream};
use super::route::Route;
use super::steps_of;
use super::way::{Point, Surroundings};

/// Seconds.
pub(super) const STEP_S: f64 = 0.1;
/// The last metre is rolled, not waited for.
const CREEP_MPS: f64 = 0.2;

/// What the van does in one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) point: Point,
    pub(super) speed_mps: f64,
    pub(super) course_deg: f64,
    pub(super) surroundings: Surroundings,
    /// The stop at which it stands to deliver.
    pub(super) stop: Option<usize>,
}

#[derive(Debug)]
enum Phase {
    /// Stands for so many more steps.
    Standing(u32),
    /// Stands at a red light in the middle of a leg.
    Waiting(u32),
    /// Rolls.
    Driving,
    /// The day is over.
    Done,
}

/// The van on its way.
#[derive(Debug)]
pub(super) struct Drive {
    route: Arc<Route>,
    random: Random,
    phase: Phase,
    state: State,
    /// The leg to `next`: a stop's index, or the number of stops for the depot.
    pieces: Vec<Piece>,
    /// The piece on which the van is, and how far on it.
    index: usize,
    along_m: f64,
    /// This driver, on this leg: a part of the limit.
    zeal: f64,
    next: usize,
}

impl Drive {
    pub(super) fn new(route: Arc<Route>) -> Self {
        let first = route.stops.first().and_then(|stop| stop.way.first());
        let state = State {
            point: Point::default(),
            speed_mps: 0.0,
            course_deg: 0.0,
            surroundings: first.map_or(Surroundings::Open, |mark| match mark.surroundings {
                Surroundings::Tunnel => Surroundings::Open,
                other => other,
            }),
            stop: None,
        };
        let random = Random::new(route.settings.seed, Stream::Drive);
        let phase = Phase::Standing(steps_of(route.depot.loading.as_secs_f64()));
        let (pieces, index, along_m, zeal) = (Vec::new(), 0, 0.0, 1.0);
        Self { route, random, phase, state, pieces, index, along_m, zeal, next: 0 }
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// From when it leaves the depot until it is back.
    pub(super) fn is_away(&self) -> bool {
        !self.pieces.is_empty() || (1..=self.route.stops.len()).contains(&self.next)
    }

    /// 100 ms go by. False when the day is over.
    pub(super) fn step(&mut self) -> bool {
        match &mut self.phase {
            Phase::Standing(left) if *left > 0 => *left -= 1,
            Phase::Waiting(left) if *left > 0 => *left -= 1,
            Phase::Standing(_) if self.next > self.route.stops.len() => self.phase = Phase::Done,
            Phase::Standing(_) => self.set_off(),
            Phase::Waiting(_) => self.phase = Phase::Driving,
            Phase::Driving => self.roll(),
            Phase::Done => return false,
        }
        true
    }

    fn set_off(&mut self) {
        let way = self.route.stops.get(self.next).map_or(&self.route.way_home, |stop| &stop.way);
        self.pieces = plan(self.state.point, way, &self.route.van, &mut self.random);
        self.zeal = self.random.between(0.85, 1.0);
        (self.index, self.along_m) = (0, 0.0);
        self.state.stop = None;
        self.phase = Phase::Driving;
        if self.pieces.is_empty() {
            self.arrive();
        }
    }

    /// Moves by one step, over as many pieces as that takes.
    fn roll(&mut self) {
        let piece = self.pieces[self.index];
        let van = &self.route.van;
        let before = self.state.speed_mps;
        let rest_m = piece.length_m - self.along_m - before * STEP_S;
        let wanted = allowed_mps(&piece, rest_m, van).min(piece.limit_mps * self.zeal);
        let slowest = (before - van.braking_mps2 * STEP_S).max(0.0);
        let fastest = before + van.acceleration_mps2 * STEP_S;
        let speed = wanted.max(CREEP_MPS).clamp(slowest, fastest);
        self.state.speed_mps = speed;
        self.along_m += (before + speed) / 2.0 * STEP_S;
        while self.along_m >= self.pieces[self.index].length_m {
            if self.pass_end() {
                return;
            }
        }
        let piece = self.pieces[self.index];
        self.state.point = piece.from.towards(piece.to, self.along_m / piece.length_m);
        self.state.course_deg = piece.course_deg();
        self.state.surroundings = piece.surroundings;
    }

    /// Goes over to the next piece. True if the van stands instead.
    fn pass_end(&mut self) -> bool {
        let piece = self.pieces[self.index];
        self.along_m -= piece.length_m;
        self.index += 1;
        let last = self.index == self.pieces.len();
        if !last && piece.wait_steps == 0 {
            return false;
        }
        self.state.point = piece.to;
        self.state.speed_mps = 0.0;
        self.along_m = 0.0;
        if last {
            self.arrive();
        } else {
            self.phase = Phase::Waiting(piece.wait_steps);
        }
        true
    }

    fn arrive(&mut self) {
        self.pieces.clear();
        self.state.speed_mps = 0.0;
        let seconds = if let Some(stop) = self.route.stops.get(self.next) {
            self.state.stop = Some(self.next);
            let spread = self.route.van.dwell_spread.get();
            stop.dwell.as_secs_f64() * self.random.between(1.0 - spread, 1.0 + spread)
        } else {
            self.route.depot.unloading.as_secs_f64()
        };
        self.next += 1;
        self.phase = Phase::Standing(steps_of(seconds));
    }
}
