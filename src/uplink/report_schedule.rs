//! Schedule of `position` and `state` reports. No I/O.

use std::time::Duration;

use super::{Health, ThrottleFactor, UplinkConfig};
use waypost_model::motion::Motion;
use waypost_model::record::{Record, Seq, Subject, TrackPoint};
use waypost_model::units::{Distance, Speed, Uptime};
use waypost_wire::payloads::published_course;

/// Minimum interval between `state` messages, even if the receiver state changes faster.
const MIN_STATE_INTERVAL: Duration = Duration::from_secs(1);

/// Delay before a retry of a report that could not be sent.
pub(super) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Schedule of `position` on one connection.
///
/// A client can extrapolate the last position by its speed and course. As long as this dead
/// reckoning is accurate, nothing is sent, up to a maximum age.
#[derive(Debug, Default)]
pub struct PositionCadence {
    last_sent: Option<(Uptime, Seq, TrackPoint)>,
}

impl PositionCadence {
    /// Returns when `newest` is due, or `None` if it was sent. A change of motion is due at once,
    /// regardless of throttling.
    #[must_use]
    pub fn next_due(
        &self,
        newest: &Record,
        config: &UplinkConfig,
        stretch: ThrottleFactor,
    ) -> Option<Uptime> {
        let Subject::Point(point) = &newest.subject;
        let Some((at, seq, said)) = &self.last_sent else { return Some(Uptime::ZERO) };
        if *seq == newest.seq {
            return None;
        }
        let factor = f64::from(stretch.factor());
        let surprises = config.live_error.is_some_and(|error| {
            dead_reckoning_error(said, point).as_metres() > error.as_metres() * factor
        });
        if said.motion != point.motion || surprises {
            return Some(Uptime::ZERO);
        }
        let interval = match said.motion {
            Motion::Moving | Motion::Unknown => config.position_interval_moving,
            Motion::Halted => config.position_interval_halted,
        };
        Some(*at + throttled(interval, stretch))
    }

    /// Time of the last sent position.
    pub(super) fn last_sent_at(&self) -> Option<Uptime> {
        self.last_sent.as_ref().map(|(at, ..)| *at)
    }

    /// Records that `record` was sent.
    pub fn record_sent(&mut self, record: &Record, now: Uptime) {
        let Subject::Point(point) = &record.subject;
        self.last_sent = Some((now, record.seq, *point));
    }
}

/// Applies the throttle factor. A throttled interval is at least 1 s, because zero means every fix.
pub(super) fn throttled(interval: Duration, stretch: ThrottleFactor) -> Duration {
    if stretch == ThrottleFactor::NONE {
        return interval;
    }
    interval.max(Duration::from_secs(1)) * stretch.factor()
}

/// Distance between the van and its dead-reckoned position based on the last sent point.
fn dead_reckoning_error(said: &TrackPoint, now: &TrackPoint) -> Distance {
    let ms = u32::try_from(now.fix.utc.millis_since(said.fix.utc)).unwrap_or(0);
    let metres = said.fix.speed.map_or(0.0, Speed::as_mps) * f64::from(ms) / 1000.0;
    // Without a published course, the dead-reckoned position does not move.
    let (east, north) = published_course(said).map_or((0.0, 0.0), |course| {
        let (sine, cosine) = course.as_degrees().to_radians().sin_cos();
        (metres * sine, metres * cosine)
    });
    let way = said.fix.position.offset_m(now.fix.position);
    Distance::from_metres((way[0] - east).hypot(way[1] - north)).unwrap_or_default()
}

/// Schedule of `state` on one connection.
#[derive(Debug, Default)]
pub(super) struct StateCadence {
    last_sent: Option<(Uptime, Health)>,
    not_before: Uptime,
}

impl StateCadence {
    /// Returns when `state` is due for this health.
    pub(super) fn next_due(&self, health: &Health, interval: Duration) -> Uptime {
        let due = match &self.last_sent {
            None => Uptime::ZERO,
            Some((at, said)) if health.changed_since(said) => *at + MIN_STATE_INTERVAL,
            Some((at, _)) => *at + interval.max(MIN_STATE_INTERVAL),
        };
        due.max(self.not_before)
    }

    /// Records that the state was sent.
    pub(super) fn record_sent(&mut self, health: Health, now: Uptime) {
        self.last_sent = Some((now, health));
    }

    /// Postpones a state that cannot be sent yet.
    pub(super) fn defer(&mut self, now: Uptime) {
        self.not_before = now + RETRY_DELAY;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;
    use waypost_model::fix::Fix;
    use waypost_model::fix::testing::fix;
    use waypost_model::units::Course;

    /// Returns the seconds at which a position is due, for a van whose northing in metres is a
    /// function of the second.
    fn due_seconds(north_m: impl Fn(u32) -> f64, mps: f64) -> Vec<u32> {
        let config = UplinkConfig {
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
            if cadence
                .next_due(&record, &config, ThrottleFactor::NONE)
                .is_some_and(|due| now >= due)
            {
                cadence.record_sent(&record, now);
                said.push(second);
            }
        }
        said
    }

    #[test]
    fn a_van_that_drives_as_it_was_said_to_is_heard_of_at_its_maximum_age_only() {
        assert_eq!(due_seconds(|second| f64::from(second) * 20.0, 20.0), [0, 30, 60, 90]);
        assert_eq!(due_seconds(|_| 0.0, 0.0), [0, 30, 60, 90]);
    }

    #[test]
    fn a_van_that_does_not_is_heard_of_when_the_picture_is_wrong() {
        // The van stops after 40 s but still reports a speed of 20 m/s.
        let stops = due_seconds(|second| f64::from(second.min(40)) * 20.0, 20.0);
        assert_eq!(stops[..3], [0, 30, 42], "40 m beyond the van");
        assert!(stops.windows(2).skip(2).all(|pair| pair[1] - pair[0] == 2), "{stops:?}");
    }
}
