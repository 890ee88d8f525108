//! Whether the receiver's time can be relied on: one fix may be wrong by an era, several that agree are not.

use std::time::Duration;

use super::fix::Fix;
use crate::units::{Uptime, UtcTime};

/// How far the receiver's time can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeTrust {
    /// No fix has said what time it is.
    #[default]
    Unknown,
    /// Too few fixes in a row agree.
    Tentative,
    /// Four fixes in a row agree with the agent's own monotonic clock.
    Trusted,
}

impl TimeTrust {
    /// As it is written in `state`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Tentative => "tentative",
            Self::Trusted => "trusted",
        }
    }
}

/// Compares fix with fix.
#[derive(Debug, Default)]
pub(super) struct TimeWitness {
    newest: Option<(UtcTime, Uptime)>,
    agreeing: u32,
}

impl TimeWitness {
    /// gpsd's number before it gives the time to NTP.
    const AGREEING: u32 = 4;

    /// A busy host and a burst of sentences; less than a leap second that a cold receiver learns late.
    const TOLERANCE: Duration = Duration::from_millis(900);

    pub(super) fn observe(&mut self, fix: &Fix) -> TimeTrust {
        self.observe_time(fix.utc, fix.read_at)
    }

    /// Takes what a fix says of the time.
    pub(super) fn observe_time(&mut self, said: UtcTime, read_at: Uptime) -> TimeTrust {
        let agrees = self.newest.is_some_and(|(utc, at)| {
            let by_utc = u64::try_from(said.millis_since(utc)).ok().map(Duration::from_millis);
            by_utc.is_some_and(|by_utc| by_utc.abs_diff(read_at.since(at)) <= Self::TOLERANCE)
        });
        self.newest = Some((said, read_at));
        self.agreeing = if agrees { self.agreeing.saturating_add(1) } else { 1 };
        if self.agreeing >= Self::AGREEING { TimeTrust::Trusted } else { TimeTrust::Tentative }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fix::tests::fix;
    use super::*;

    /// What is thought after fixes at these seconds of uptime, UTC being so many seconds ahead.
    fn trust(script: &[(u32, i64)]) -> Vec<TimeTrust> {
        let mut witness = TimeWitness::default();
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
