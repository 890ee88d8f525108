//! When the newest position and the health are due (pure).

use std::time::Duration;

use super::{Health, RelayConfig, Stretch};
use crate::core::journey::Motion;
use crate::core::record::{Record, Seq, Subject, TrackPoint};
use crate::units::{Distance, Speed, Uptime};
use crate::wire::json::said_course;

/// `state` is said at most this often, however often the receiver comes and goes.
const STATE_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// When something that could not be said is looked at again.
pub(super) const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The cadence of `position` on one connection.
///
/// Who knows a position, its speed and its course can draw the van driving on. As long as that picture is right nothing
/// is said, up to a maximum age.
#[derive(Debug, Default)]
pub struct PositionCadence {
    said: Option<(Uptime, Seq, TrackPoint)>,
}

impl PositionCadence {
    /// When `newest` is due; `None` if it was said. A change of motion is due at once however far things are stretched.
    #[must_use]
    pub fn due(&self, newest: &Record, config: &RelayConfig, stretch: Stretch) -> Option<Uptime> {
        let Subject::Point(point) = &newest.subject;
        let Some((at, seq, said)) = &self.said else { return Some(Uptime::ZERO) };
        if *seq == newest.seq {
            return None;
        }
        let factor = f64::from(stretch.factor());
        let surprises = config
            .live_error
            .is_some_and(|error| surprise(said, point).as_metres() > error.as_metres() * factor);
        if said.motion != point.motion || surprises {
            return Some(Uptime::ZERO);
        }
        let interval = match said.motion {
            Motion::Moving | Motion::Unknown => config.position_interval_moving,
            Motion::Halted => config.position_interval_halted,
        };
        Some(*at + stretched(interval, stretch))
    }

    /// When the newest was said.
    pub(super) fn said_at(&self) -> Option<Uptime> {
        self.said.as_ref().map(|(at, ..)| *at)
    }

    /// `record` was said.
    pub fn said(&mut self, record: &Record, now: Uptime) {
        let Subject::Point(point) = &record.subject;
        self.said = Some((now, record.seq, *point));
    }
}

/// Each fix is one a second where things are stretched.
pub(super) fn stretched(interval: Duration, stretch: Stretch) -> Duration {
    if stretch == Stretch::NONE {
        return interval;
    }
    interval.max(Duration::from_secs(1)) * stretch.factor()
}

/// How far the van is from where somebody draws it who knows only `said`.
fn surprise(said: &TrackPoint, now: &TrackPoint) -> Distance {
    let ms = u32::try_from(now.fix.utc.millis_since(said.fix.utc)).unwrap_or(0);
    let metres = said.fix.speed.map_or(0.0, Speed::as_mps) * f64::from(ms) / 1000.0;
    // Without a course on the wire it stays where it is.
    let (east, north) = said_course(said).map_or((0.0, 0.0), |course| {
        let (sine, cosine) = course.as_degrees().to_radians().sin_cos();
        (metres * sine, metres * cosine)
    });
    let way = said.fix.position.metres_to(now.fix.position);
    Distance::from_metres((way[0] - east).hypot(way[1] - north)).unwrap_or_default()
}

/// The cadence of `state` on one connection.
#[derive(Debug, Default)]
pub(super) struct StateCadence {
    said: Option<(Uptime, Health)>,
    not_before: Uptime,
}

impl StateCadence {
    /// When `state` is due, if this is how things are.
    pub(super) fn due(&self, health: &Health, interval: Duration) -> Uptime {
        let due = match &self.said {
            None => Uptime::ZERO,
            Some((at, said)) if health.is_news(said) => *at + STATE_AT_MOST_EVERY,
            Some((at, _)) => *at + interval.max(STATE_AT_MOST_EVERY),
        };
        due.max(self.not_before)
    }

    /// It was said.
    pub(super) fn said(&mut self, health: Health, now: Uptime) {
        self.said = Some((now, health));
    }

    /// It cannot be said yet.
    pub(super) fn hold_back(&mut self, now: Uptime) {
        self.not_before = now + LOOK_AGAIN_AFTER;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;
    use crate::core::fix::Fix;
    use crate::core::fix::tests::fix;
    use crate::units::Course;

    /// Seconds at which a position is due, of a van that is so many metres to the north each second.
    fn said(north_m: impl Fn(u32) -> f64, mps: f64) -> Vec<u32> {
        let config = RelayConfig {
            live_error: Distance::from_metres(25.0),
            position_interval_moving: Duration::from_secs(30),
            ..config()
        };
        let (mut cadence, mut said) = (PositionCadence::default(), Vec::new());
        for second in 0..120 {
            let fix = Fix {
                speed: Speed::from_mps(mps),
                course: Course::from_degrees(0.0),
                ..fix(second * 1000, north_m(second))
            };
            let point = TrackPoint { fix, motion: Motion::Moving, odometer: Distance::default() };
            let record =
                Record { seq: Seq::new(u64::from(second)), subject: Subject::Point(point) };
            let now = Uptime::from_millis(u64::from(second) * 1000);
            if cadence.due(&record, &config, Stretch::NONE).is_some_and(|due| now >= due) {
                cadence.said(&record, now);
                said.push(second);
            }
        }
        said
    }

    #[test]
    fn a_van_that_drives_as_it_was_said_to_is_heard_of_at_its_maximum_age_only() {
        assert_eq!(said(|second| f64::from(second) * 20.0, 20.0), [0, 30, 60, 90]);
        assert_eq!(said(|_| 0.0, 0.0), [0, 30, 60, 90]);
    }

    #[test]
    fn a_van_that_does_not_is_heard_of_when_the_picture_is_wrong() {
        // It brakes to a stop after 40 s, and its speed is still said to be 20 m/s.
        let stops = said(|second| f64::from(second.min(40)) * 20.0, 20.0);
        assert_eq!(stops[..3], [0, 30, 42], "40 m beyond where it is");
        assert!(stops.windows(2).skip(2).all(|pair| pair[1] - pair[0] == 2), "{stops:?}");
    }
}
