//! Error model of the receiver: a slowly varying position error, as caused by the ionosphere and by
//! reflections.
//!
//! The error is a first-order Gauss-Markov process. A standing receiver drifts by metres within
//! minutes and jitters by centimetres, like a parked van. White noise would move it by the full
//! error every second.

use super::drive::STEP_S;
use super::random::{GaussMarkov, Random, Stream};
use super::road::{Point, Surroundings};
use super::sky::Dops;
use waypost_model::units::{Course, Speed};

/// Position and velocity error of the receiver.
#[derive(Debug)]
pub(super) struct PositionError {
    random: Random,
    /// East, north and up, each with a standard deviation of 1.
    drift: [GaussMarkov; 3],
    /// East and north components of the velocity error.
    speed: [GaussMarkov; 2],
    /// Error of each axis under the open sky, in metres (68 %).
    base_m: f64,
    /// Value that `scale` approaches.
    target: f64,
    /// Factor on `base_m` from satellite geometry and buildings.
    scale: f64,
    urban: bool,
}

/// Correlation time of an error, in seconds.
const DRIFT_MEMORY_S: f64 = 90.0;
const SPEED_MEMORY_S: f64 = 1.5;
/// Velocity error of each axis in metres per second (68 %). Doppler is far better than positions.
const SPEED_ERROR_MPS: f64 = 0.04;
/// Factor for reflections from buildings.
const URBAN_FACTOR: f64 = 2.5;
/// The 68 % radius of a circle, in standard deviations of its axes.
const CIRCLE_68_PERCENT: f64 = 1.515;

impl PositionError {
    pub(super) fn new(seed: u64, radius_m: f64) -> Self {
        let mut random = Random::new(seed, Stream::Error);
        let drift = std::array::from_fn(|_| GaussMarkov::new(DRIFT_MEMORY_S / STEP_S, &mut random));
        let speed = std::array::from_fn(|_| GaussMarkov::new(SPEED_MEMORY_S / STEP_S, &mut random));
        let base_m = radius_m / CIRCLE_68_PERCENT;
        Self { random, drift, speed, base_m, target: 1.0, scale: 1.0, urban: false }
    }

    /// Advances by 100 ms. The scale changes over seconds, because no receiver jumps when it loses
    /// one satellite.
    pub(super) fn step(&mut self) {
        let wanders = self.drift.iter_mut().chain(&mut self.speed);
        wanders.for_each(|wander| wander.step(&mut self.random));
        self.scale += (self.target - self.scale) * 0.01;
    }

    pub(super) fn observe(&mut self, surroundings: Surroundings, dops: Option<Dops>) {
        let Some(Dops { hdop, .. }) = dops else { return };
        self.urban = surroundings == Surroundings::Urban;
        self.target = hdop.clamp(0.5, 5.0) * if self.urban { URBAN_FACTOR } else { 1.0 };
    }

    /// Returns the error of each axis in metres (68 %), as a receiver estimates it.
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

    /// Returns the velocity with its error, as speed and course.
    pub(super) fn add_velocity_error(&self, speed_mps: f64, course: Course) -> (Speed, Course) {
        let error_mps = SPEED_ERROR_MPS * if self.urban { URBAN_FACTOR } else { 1.0 };
        let (sin, cos) = course.as_degrees().to_radians().sin_cos();
        let east = speed_mps * sin + error_mps * self.speed[0].value();
        let north = speed_mps * cos + error_mps * self.speed[1].value();
        let speed = Speed::from_mps((east * east + north * north).sqrt());
        let course = Course::from_degrees(east.atan2(north).to_degrees().rem_euclid(360.0));
        (speed.expect("a van's"), course.expect("the course is below 360°"))
    }
}
