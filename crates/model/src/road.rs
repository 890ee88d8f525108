//! Road distances and driving times, estimated from straight lines. Van and backend use the same
//! values, so that driver and recipient see the same arrival.

use std::time::Duration;

use crate::units::{Distance, Position};

/// Ratio of road distance to straight-line distance.
const DETOUR_FACTOR: f64 = 1.35;

/// Mean driving speed in metres per second, assumed before the day provides data.
pub const DEFAULT_SPEED_MPS: f64 = 6.0;

/// Estimates the road distance between two positions in metres.
#[must_use]
pub fn distance_m(from: Position, to: Position) -> f64 {
    from_straight_line_m(from.distance_to(to))
}

/// Estimates the time to a destination at a straight-line distance, at a mean speed of `mps` metres
/// per second; [`DEFAULT_SPEED_MPS`] if that is `None`. `None` if the speed is not positive.
#[must_use]
pub fn driving_time(straight_line: Distance, mps: Option<f64>) -> Option<Duration> {
    let mps = mps.unwrap_or(DEFAULT_SPEED_MPS);
    Duration::try_from_secs_f64(from_straight_line_m(straight_line) / mps).ok()
}

fn from_straight_line_m(straight_line: Distance) -> f64 {
    straight_line.as_metres() * DETOUR_FACTOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_road_is_longer_than_the_straight_line() {
        let at = |lat| Position::from_degrees(lat, 11.0).unwrap();
        let straight = at(48.0).distance_to(at(48.1));
        let road_m = distance_m(at(48.0), at(48.1));
        assert!((road_m / straight.as_metres() - 1.35).abs() < 1e-9);
        let time = driving_time(straight, Some(10.0)).unwrap();
        assert!((time.as_secs_f64() * 10.0 - road_m).abs() < 1e-3);
        assert!(driving_time(straight, None).unwrap() > time, "the default is 6 m/s");
        assert_eq!(driving_time(straight, Some(0.0)), None);
    }
}
