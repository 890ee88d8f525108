//! Truth → what is measured: a position error that wanders slowly, as the ionosphere and the houses make it.
//!
//! First-order Gauss-Markov: a standing receiver drifts some metres within minutes and jitters by centimetres, which
//! is what a parked van looks like. White noise would drive circles of that size every second.

use super::drive::STEP_S;
use super::random::{Random, Stream, Wander};
use super::sky::Dops;
use super::way::{Point, Surroundings};
use crate::units::{Course, Speed};

/// The error of the receiver in one instant.
#[derive(Debug)]
pub(super) struct PositionError {
    random: Random,
    /// East, north, up: unit vectors that wander.
    drift: [Wander; 3],
    /// East and north of the speed.
    speed: [Wander; 2],
    /// Under the open sky, 68 % of each axis.
    base_m: f64,
    /// What `scale` tends to.
    target: f64,
    /// Of the base: by geometry and houses.
    scale: f64,
    urban: bool,
}

/// Seconds in which an error is forgotten.
const DRIFT_S: f64 = 90.0;
const SPEED_S: f64 = 1.5;
/// Metres per second, 68 % of each axis: Doppler is far better than positions.
const SPEED_ERROR_MPS: f64 = 0.04;
/// Reflections of houses.
const URBAN: f64 = 2.5;
/// 68 % of a circle lie within 1.5 standard deviations of its axes.
const CIRCLE: f64 = 1.515;

impl PositionError {
    pub(super) fn new(seed: u64, radius_m: f64) -> Self {
        let mut random = Random::new(seed, Stream::Error);
        let drift = std::array::from_fn(|_| Wander::new(DRIFT_S / STEP_S, &mut random));
        let speed = std::array::from_fn(|_| Wander::new(SPEED_S / STEP_S, &mut random));
        let base_m = radius_m / CIRCLE;
        Self { random, drift, speed, base_m, target: 1.0, scale: 1.0, urban: false }
    }

    /// 100 ms go by. The scale follows within seconds, for no receiver jumps when it loses one satellite.
    pub(super) fn step(&mut self) {
        let wanders = self.drift.iter_mut().chain(&mut self.speed);
        wanders.for_each(|wander| wander.step(&mut self.random));
        self.scale += (self.target - self.scale) * 0.01;
    }

    pub(super) fn observe(&mut self, surroundings: Surroundings, dops: Option<Dops>) {
        let Some(Dops { hdop, .. }) = dops else { return };
        self.urban = surroundings == Surroundings::Urban;
        self.target = hdop.clamp(0.5, 5.0) * if self.urban { URBAN } else { 1.0 };
    }

    /// 68 % of each axis, in metres, as a receiver estimates it.
    pub(super) fn radius_m(&self) -> f64 {
        self.base_m * self.scale
    }

    pub(super) fn displace(&self, point: Point) -> Point {
        let [east, north, _] = &self.drift;
        Point {
            east_m: point.east_m + self.radius_m() * east.value(),
            north_m: point.north_m + self.radius_m() * north.value(),
        }
    }

    pub(super) fn height_m(&self) -> f64 {
        1.5 * self.radius_m() * self.drift[2].value()
    }

    /// The velocity with its error, as speed and course.
    pub(super) fn blur(&self, speed_mps: f64, course: Course) -> (Speed, Course) {
        let error_mps = SPEED_ERROR_MPS * if self.urban { URBAN } else { 1.0 };
        let (sin, cos) = course.as_degrees().to_radians().sin_cos();
        let east = speed_mps * sin + error_mps * self.speed[0].value();
        let north = speed_mps * cos + error_mps * self.speed[1].value();
        let speed = Speed::from_mps((east * east + north * north).sqrt());
        let course = Course::from_degrees(east.atan2(north).to_degrees().rem_euclid(360.0));
        (speed.expect("a van's"), course.expect("a remainder of 360"))
    }
}
