//! Fixes and [`Uptime`] → when an event was: UTC of the receiver, carried on by the monotonic clock.
//!
//! A cold receiver may be wrong by an era. So its time is believed once several fixes agree, or at once if it goes on
//! where the agent's memory of UTC ended.

use std::time::Duration;

use super::event::TimeSource;
use crate::core::trust::{TimeTrust, TimeWitness};
use crate::units::{Uptime, UtcTime};

/// An instant of an event, and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When {
    pub(super) utc: UtcTime,
    pub(super) source: TimeSource,
}

/// What time it is, as far as the receiver said.
#[derive(Debug, Default)]
pub(super) struct EventClock {
    anchor: Option<(UtcTime, Uptime)>,
    witness: TimeWitness,
    /// UTC as of an earlier run: a receiver that goes on from there is right.
    remembered: Option<UtcTime>,
}

impl EventClock {
    /// A fix this young is the time.
    const FRESH: Duration = Duration::from_secs(5);
    /// So long the monotonic clock carries the time on: at 100 ppm it errs by 9 s then.
    const HOLDOVER: Duration = Duration::from_hours(24);
    /// Nobody parks a van for longer between two runs of one route.
    const REMEMBERED_FOR_MS: i64 = 36 * 3_600_000;
    const REMEMBERED_ERROR_MS: i64 = 5_000;
    /// A busy host; and one part in so many of the time since, which a cheap quartz errs by.
    const ERROR_MS: u128 = 900;
    const DRIFT: u128 = 5_000;

    pub(super) fn new(remembered: Option<UtcTime>) -> Self {
        Self { remembered, ..Self::default() }
    }

    /// Takes what a fix says of the time; whether the time is known by it.
    pub(super) fn observe(&mut self, utc: UtcTime, read_at: Uptime) -> bool {
        let trust = self.witness.observe_time(utc, read_at);
        let goes_on = self.anchor.is_none()
            && self.remembered.is_some_and(|before| {
                let ms = utc.millis_since(before);
                (-Self::REMEMBERED_ERROR_MS..=Self::REMEMBERED_FOR_MS).contains(&ms)
            });
        // After a gap the witness begins anew, and the monotonic clock has gone on.
        let agrees = self.when(read_at).is_some_and(|when| {
            let age = self.anchor.map_or(Duration::ZERO, |(_, at)| read_at.since(at));
            let error_ms = Self::ERROR_MS + age.as_millis() / Self::DRIFT;
            u128::from(when.utc.millis_since(utc).unsigned_abs()) <= error_ms
        });
        if trust == TimeTrust::Trusted || goes_on || agrees {
            self.anchor = Some((utc, read_at));
        }
        self.anchor.is_some()
    }

    /// When `at` was; `None` before any time is known, and once it is too old.
    pub(super) fn when(&self, at: Uptime) -> Option<When> {
        let (utc, read_at) = self.anchor?;
        let age = at.since(read_at);
        let source = match age {
            age if age <= Self::FRESH => TimeSource::Gnss,
            age if age <= Self::HOLDOVER => TimeSource::Holdover,
            _ => return None,
        };
        Some(When { utc: self.counted(utc, read_at, at)?, source })
    }

    /// When `at` was, before anybody knew the time; `None` without a time.
    pub(super) fn late(&self, at: Uptime) -> Option<When> {
        let (utc, read_at) = self.anchor?;
        Some(When { utc: self.counted(utc, read_at, at)?, source: TimeSource::Late })
    }

    /// The newest time that the receiver gave.
    pub(super) fn told(&self) -> Option<UtcTime> {
        self.anchor.map(|(utc, _)| utc)
    }

    /// When the monotonic clock will show `utc`.
    pub(super) fn uptime_of(&self, utc: UtcTime) -> Option<Uptime> {
        let (anchor, read_at) = self.anchor?;
        let ms = u64::try_from(utc.millis_since(anchor)).unwrap_or(0);
        Some(read_at + Duration::from_millis(ms))
    }

    fn counted(&self, utc: UtcTime, read_at: Uptime, at: Uptime) -> Option<UtcTime> {
        if at >= read_at {
            utc.checked_add(at.since(read_at))
        } else {
            utc.checked_sub(read_at.since(at))
        }
    }
}

/// Time from `earlier` to `later`; zero if it is the other way round.
pub(super) fn between(earlier: UtcTime, later: UtcTime) -> Duration {
    Duration::from_millis(u64::try_from(later.millis_since(earlier)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fix::tests::fix;

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
            let when = clock.when(at(ms)).unwrap();
            assert_eq!((when.source, when.utc.as_unix_ms()), (source, said + ms as i64 - 3000));
        }
        assert_eq!(clock.when(at(87_000_000)), None, "a day without a fix");
        assert_eq!(clock.late(at(1_000)).unwrap().utc.as_unix_ms(), said - 2000);
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
