//! Clock for events: UTC from the receiver, extrapolated by the monotonic clock.
//!
//! A cold receiver may be wrong by a GPS week-number era. Its time is trusted once several fixes
//! agree, or at once if it continues from the UTC that the agent stored last.

use std::time::Duration;

use crate::time_trust::{TimeTrust, TimeValidator};
use waypost_model::event::TimeSource;
use waypost_model::units::{Uptime, UtcTime};

/// Time of an event and the source of that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventTime {
    pub(super) utc: UtcTime,
    pub(super) source: TimeSource,
}

/// Derives event times from the times of fixes.
#[derive(Debug, Default)]
pub(super) struct EventClock {
    anchor: Option<(UtcTime, Uptime)>,
    validator: TimeValidator,
    /// UTC stored by an earlier run. A receiver that continues from it is trusted at once.
    resume_from: Option<UtcTime>,
}

impl EventClock {
    /// Maximum age of a fix whose time counts as [`TimeSource::Gnss`].
    const FRESH_FOR: Duration = Duration::from_secs(5);
    /// Maximum extrapolation by the monotonic clock: at 100 ppm the error is then 9 s.
    const HOLDOVER: Duration = Duration::from_hours(24);
    /// Maximum time between two runs on the same route.
    const MAX_RESUME_GAP_MS: i64 = 36 * 3_600_000;
    const MAX_RESUME_STEP_BACK_MS: i64 = 5_000;
    /// Tolerance against the extrapolated time: 900 ms for a busy host, plus 1/`DRIFT_DIVISOR` of
    /// the elapsed time (200 ppm, a cheap quartz).
    const BASE_TOLERANCE_MS: u128 = 900;
    const DRIFT_DIVISOR: u128 = 5_000;

    pub(super) fn new(resume_from: Option<UtcTime>) -> Self {
        Self { resume_from, ..Self::default() }
    }

    /// Observes the time of a fix. Returns whether the time is known.
    pub(super) fn observe(&mut self, utc: UtcTime, read_at: Uptime) -> bool {
        let trust = self.validator.observe_time(utc, read_at);
        let goes_on = self.anchor.is_none()
            && self.resume_from.is_some_and(|before| {
                let ms = utc.millis_since(before);
                (-Self::MAX_RESUME_STEP_BACK_MS..=Self::MAX_RESUME_GAP_MS).contains(&ms)
            });
        // After a gap the validator starts over, but the monotonic clock kept running.
        let agrees = self.time_at(read_at).is_some_and(|when| {
            let age = self.anchor.map_or(Duration::ZERO, |(_, at)| read_at.since(at));
            let error_ms = Self::BASE_TOLERANCE_MS + age.as_millis() / Self::DRIFT_DIVISOR;
            u128::from(when.utc.millis_since(utc).unsigned_abs()) <= error_ms
        });
        if trust == TimeTrust::Trusted || goes_on || agrees {
            self.anchor = Some((utc, read_at));
        }
        self.anchor.is_some()
    }

    /// Returns the time at `at`; `None` before any time is known, and 24 h after the last one.
    pub(super) fn time_at(&self, at: Uptime) -> Option<EventTime> {
        let (utc, read_at) = self.anchor?;
        let age = at.since(read_at);
        let source = match age {
            age if age <= Self::FRESH_FOR => TimeSource::Gnss,
            age if age <= Self::HOLDOVER => TimeSource::Holdover,
            _ => return None,
        };
        Some(EventTime { utc: self.extrapolate(utc, read_at, at)?, source })
    }

    /// Returns the time at `at` from before the first known time; `None` without a known time.
    pub(super) fn backdate(&self, at: Uptime) -> Option<EventTime> {
        let (utc, read_at) = self.anchor?;
        Some(EventTime { utc: self.extrapolate(utc, read_at, at)?, source: TimeSource::Late })
    }

    /// Returns the newest trusted time of the receiver.
    pub(super) fn last_utc(&self) -> Option<UtcTime> {
        self.anchor.map(|(utc, _)| utc)
    }

    /// Returns the monotonic time at which it will be `utc`.
    pub(super) fn uptime_of(&self, utc: UtcTime) -> Option<Uptime> {
        let (anchor, read_at) = self.anchor?;
        let ms = u64::try_from(utc.millis_since(anchor)).unwrap_or(0);
        Some(read_at + Duration::from_millis(ms))
    }

    fn extrapolate(&self, utc: UtcTime, read_at: Uptime, at: Uptime) -> Option<UtcTime> {
        if at >= read_at {
            utc.checked_add(at.since(read_at))
        } else {
            utc.checked_sub(read_at.since(at))
        }
    }
}

/// Returns the time from `earlier` to `later`, or zero if `later` is before `earlier`.
pub(super) fn elapsed(earlier: UtcTime, later: UtcTime) -> Duration {
    Duration::from_millis(u64::try_from(later.millis_since(earlier)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_model::fix::testing::fix;

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    fn observe(clock: &mut EventClock, ms: u32) -> bool {
        let fix = fix(ms, 0.0);
        clock.observe(fix.utc, fix.read_at)
    }

    #[test]
    fn the_time_is_believed_once_fixes_agree_and_says_how_it_is_known() {
        let mut clock = EventClock::default();
        for second in 0..3 {
            assert!(!observe(&mut clock, second * 1000));
        }
        assert!(observe(&mut clock, 3000));
        let said = fix(3000, 0.0).utc.as_unix_ms();
        for (ms, source) in [
            (3_500, TimeSource::Gnss),
            (8_000, TimeSource::Gnss),
            (8_001, TimeSource::Holdover),
            (80_000_000, TimeSource::Holdover),
        ] {
            let when = clock.time_at(at(ms)).unwrap();
            assert_eq!((when.source, when.utc.as_unix_ms()), (source, said + ms as i64 - 3000));
        }
        assert_eq!(clock.time_at(at(87_000_000)), None, "24 h without a fix");
        assert_eq!(clock.backdate(at(1_000)).unwrap().utc.as_unix_ms(), said - 2000);
    }

    #[test]
    fn a_receiver_that_goes_on_where_the_memory_ended_is_believed_at_once_and_an_era_is_not() {
        let first = fix(0, 0.0);
        for (before_ms, believed) in
            [(600_000_i64, true), (0, true), (-3_600_000, false), (1024 * 7 * 86_400_000, false)]
        {
            let remembered = UtcTime::from_unix_ms(first.utc.as_unix_ms() - before_ms);
            assert_eq!(
                EventClock::new(remembered).observe(first.utc, first.read_at),
                believed,
                "{before_ms} ms"
            );
        }
    }
}
