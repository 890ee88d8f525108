//! Reliability of the receiver's time: a single fix may be wrong by a week era, several consistent
//! ones are not.

use std::time::Duration;

use waypost_model::fix::Fix;
use waypost_model::units::{Uptime, UtcTime};

/// Reliability of the receiver's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeTrust {
    /// No fix has reported a time.
    #[default]
    Unknown,
    /// Too few consecutive fixes agree.
    Tentative,
    /// Four consecutive fixes agree with the agent's monotonic clock.
    Trusted,
}

impl TimeTrust {
    /// The value in the `state` message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Tentative => "tentative",
            Self::Trusted => "trusted",
        }
    }
}

/// Compares the time of consecutive fixes with the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct TimeValidator {
    newest: Option<(UtcTime, Uptime)>,
    consistent: u32,
}

impl TimeValidator {
    /// Required number of consistent fixes. gpsd uses the same number before it passes time to NTP.
    const MIN_CONSISTENT: u32 = 4;

    /// Allowed difference: covers a busy host and bursts of sentences, but not a leap second
    /// learned late by a cold receiver.
    const TOLERANCE: Duration = Duration::from_millis(900);

    pub(super) fn observe(&mut self, fix: &Fix) -> TimeTrust {
        self.observe_time(fix.utc, fix.read_at)
    }

    /// Processes the time of one fix.
    pub(super) fn observe_time(&mut self, said: UtcTime, read_at: Uptime) -> TimeTrust {
        let agrees = self.newest.is_some_and(|(utc, at)| {
            let by_utc = u64::try_from(said.millis_since(utc)).ok().map(Duration::from_millis);
            by_utc.is_some_and(|by_utc| by_utc.abs_diff(read_at.since(at)) <= Self::TOLERANCE)
        });
        self.newest = Some((said, read_at));
        self.consistent = if agrees { self.consistent.saturating_add(1) } else { 1 };
        if self.consistent >= Self::MIN_CONSISTENT {
            TimeTrust::Trusted
        } else {
            TimeTrust::Tentative
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_model::fix::testing::fix;

    /// Trust after each fix, given as (second of uptime, UTC offset in s).
    fn trust(script: &[(u32, i64)]) -> Vec<TimeTrust> {
        let mut witness = TimeValidator::default();
        let mut observe = |(second, ahead_s): &(u32, i64)| {
            let right = fix(second * 1000, 0.0);
            let utc = UtcTime::from_unix_ms(right.utc.as_unix_ms() + ahead_s * 1000).unwrap();
            witness.observe(&Fix { utc, ..right })
        };
        script.iter().map(&mut observe).collect()
    }

    #[test]
    fn four_fixes_that_agree_are_trusted_and_a_jump_begins_anew() {
        use TimeTrust::{Tentative as No, Trusted as Yes};
        let fixes: Vec<_> = (0..5).map(|n| (n, 0)).collect();
        assert_eq!(trust(&fixes), [No, No, No, Yes, Yes]);
        let era_s = 1024 * 7 * 86_400;
        let cold: Vec<_> = (0..8).map(|n| (n, if n < 2 { -era_s } else { 0 })).collect();
        assert_eq!(trust(&cold), [No, No, No, No, No, Yes, Yes, Yes]);
        let leap = [(0, 0), (1, 0), (2, 0), (3, 0), (4, -1), (5, -1)];
        assert_eq!(trust(&leap), [No, No, No, Yes, No, No]);
    }
}
