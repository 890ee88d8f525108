//! Motion model of the van in steps of 100 ms. It accelerates, brakes for bends, lights and stops,
//! waits, and returns to the depot.
//!
//! The steps do not depend on the receiver's rate, so neither does the drive.

use std::sync::Arc;

use super::leg::{RoadSegment, allowed_mps, plan_leg};
use super::random::{Random, Stream};
use super::road::{Point, Surroundings};
use super::route::Route;
use super::steps_of;

/// Length of a step, in seconds.
pub(super) const STEP_S: f64 = 0.1;
/// Minimum speed while driving, so that the van reaches the end of a leg.
const CREEP_MPS: f64 = 0.2;

/// State of the van after a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct DriveState {
    pub(super) point: Point,
    pub(super) speed_mps: f64,
    pub(super) course_deg: f64,
    pub(super) surroundings: Surroundings,
    /// Index of the stop where the van is parked for a delivery or a break.
    pub(super) stop: Option<usize>,
}

#[derive(Debug)]
enum Phase {
    /// At a stop or the depot; the number of steps left.
    Standing(u32),
    /// At a red light in the middle of a leg; the number of steps left.
    AtRedLight(u32),
    Driving,
    /// The day is over.
    Done,
}

/// The van's drive along its route.
#[derive(Debug)]
pub(super) struct Drive {
    route: Arc<Route>,
    random: Random,
    phase: Phase,
    state: DriveState,
    /// Segments of the leg to `next`, which is a stop's index, or the number of stops for the
    /// depot.
    segments: Vec<RoadSegment>,
    /// Index of the current segment, and the distance driven on it.
    index: usize,
    along_m: f64,
    /// Share of the speed limit that this driver uses on this leg.
    speed_factor: f64,
    next: usize,
}

impl Drive {
    pub(super) fn new(route: Arc<Route>) -> Self {
        let first = route.stops.first().and_then(|stop| stop.road.first());
        let state = DriveState {
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
        let (segments, index, along_m, speed_factor) = (Vec::new(), 0, 0.0, 1.0);
        Self { route, random, phase, state, segments, index, along_m, speed_factor, next: 0 }
    }

    pub(super) const fn state(&self) -> DriveState {
        self.state
    }

    /// Returns true from the departure at the depot until the return.
    pub(super) fn is_away(&self) -> bool {
        !self.segments.is_empty() || (1..=self.route.stops.len()).contains(&self.next)
    }

    /// Advances by 100 ms. Returns false when the day is over.
    pub(super) fn step(&mut self) -> bool {
        match &mut self.phase {
            Phase::Standing(left) if *left > 0 => *left -= 1,
            Phase::AtRedLight(left) if *left > 0 => *left -= 1,
            Phase::Standing(_) if self.next > self.route.stops.len() => self.phase = Phase::Done,
            Phase::Standing(_) => self.depart(),
            Phase::AtRedLight(_) => self.phase = Phase::Driving,
            Phase::Driving => self.advance(),
            Phase::Done => return false,
        }
        true
    }

    fn depart(&mut self) {
        let way = self.route.stops.get(self.next).map_or(&self.route.road_home, |stop| &stop.road);
        self.segments = plan_leg(self.state.point, way, &self.route.van, &mut self.random);
        self.speed_factor = self.random.between(0.85, 1.0);
        (self.index, self.along_m) = (0, 0.0);
        self.state.stop = None;
        self.phase = Phase::Driving;
        if self.segments.is_empty() {
            self.arrive();
        }
    }

    /// Moves the van by one step, over as many segments as necessary.
    fn advance(&mut self) {
        let piece = self.segments[self.index];
        let van = &self.route.van;
        let before = self.state.speed_mps;
        let rest_m = piece.length_m - self.along_m - before * STEP_S;
        let wanted = allowed_mps(&piece, rest_m, van).min(piece.limit_mps * self.speed_factor);
        let slowest = (before - van.braking_mps2 * STEP_S).max(0.0);
        let fastest = before + van.acceleration_mps2 * STEP_S;
        let speed = wanted.max(CREEP_MPS).clamp(slowest, fastest);
        self.state.speed_mps = speed;
        self.along_m += (before + speed) / 2.0 * STEP_S;
        while self.along_m >= self.segments[self.index].length_m {
            if self.next_segment() {
                return;
            }
        }
        let piece = self.segments[self.index];
        self.state.point = piece.from.interpolate(piece.to, self.along_m / piece.length_m);
        self.state.course_deg = piece.course_deg();
        self.state.surroundings = piece.surroundings;
    }

    /// Continues on the next segment. Returns true if the van stops instead.
    fn next_segment(&mut self) -> bool {
        let piece = self.segments[self.index];
        self.along_m -= piece.length_m;
        self.index += 1;
        let last = self.index == self.segments.len();
        if !last && piece.wait_steps == 0 {
            return false;
        }
        self.state.point = piece.to;
        self.state.speed_mps = 0.0;
        self.along_m = 0.0;
        if last {
            self.arrive();
        } else {
            self.phase = Phase::AtRedLight(piece.wait_steps);
        }
        true
    }

    fn arrive(&mut self) {
        self.segments.clear();
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
