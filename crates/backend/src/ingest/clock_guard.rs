//! Tells a van with a wrong clock from a wrong clock of our own.
//!
//! - Messages of one van with implausible times, while others are right: the van is at fault. Its
//!   messages are stored, marked as [`ClockFault`](super::parse::ClockFault).
//! - Implausible times from several vans and none right: our clock is at fault. Nothing is stored
//!   or acknowledged until a van's time is plausible or our clock is set.

use std::collections::BTreeSet;
use std::time::Duration;

use waypost_model::units::{Uptime, UtcTime};

/// A plausible message is evidence for our clock for this time.
const EVIDENCE_FOR: Duration = Duration::from_mins(15);

/// The first implausible message waits this long for evidence from another van.
const DECISION_TIME: Duration = Duration::from_secs(10);

/// Number of vans with implausible times that show that our clock is wrong.
const WITNESSES: usize = 2;

/// A step of our clock of this size calls for a new evaluation of what was received.
const CLOCK_STEP: Duration = Duration::from_mins(1);

/// Evidence about our clock.
#[derive(Debug, Default)]
pub(super) struct ClockGuard {
    plausible_at: Option<Uptime>,
    implausible_vans: BTreeSet<String>,
    implausible_since: Option<Uptime>,
    /// Difference between our time and the uptime at the first implausible message, in ms.
    offset_ms: i64,
}

impl ClockGuard {
    /// Records a message whose time is, or is not, plausible.
    pub(super) fn observe(&mut self, van: &str, is_plausible: bool, now: UtcTime, uptime: Uptime) {
        if is_plausible {
            *self = Self { plausible_at: Some(uptime), ..Self::default() };
        } else if !self.has_evidence(uptime) {
            if self.implausible_since.is_none() {
                self.implausible_since = Some(uptime);
                self.offset_ms = offset_ms(now, uptime);
            }
            if self.implausible_vans.len() < WITNESSES {
                self.implausible_vans.insert(van.to_owned());
            }
        }
    }

    /// Whether messages must wait because our clock is wrong.
    pub(super) fn is_doubtful(&self) -> bool {
        self.implausible_vans.len() >= WITNESSES
    }

    /// Until when messages must wait for a decision; `None` if they need not.
    pub(super) fn undecided_until(&self) -> Option<Uptime> {
        self.implausible_since.map(|since| since + DECISION_TIME)
    }

    /// Whether our clock was set since the first implausible message.
    pub(super) fn was_clock_set(&self, now: UtcTime, uptime: Uptime) -> bool {
        let step = offset_ms(now, uptime).abs_diff(self.offset_ms);
        self.implausible_since.is_some() && Duration::from_millis(step) >= CLOCK_STEP
    }

    fn has_evidence(&self, uptime: Uptime) -> bool {
        self.plausible_at.is_some_and(|at| uptime.since(at) < EVIDENCE_FOR)
    }
}

fn offset_ms(now: UtcTime, uptime: Uptime) -> i64 {
    let uptime_ms = uptime.since(Uptime::ZERO).as_millis();
    now.as_unix_ms().saturating_sub(i64::try_from(uptime_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(seconds)
    }

    fn utc(seconds: u64) -> UtcTime {
        let start = UtcTime::parse("2026-11-22T10:00:00Z").unwrap();
        start.checked_add(Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn several_vans_with_implausible_times_show_that_our_clock_is_wrong() {
        let mut guard = ClockGuard::default();
        guard.observe("VAN-1", false, utc(0), at(0));
        assert!(!guard.is_doubtful());
        assert_eq!(guard.undecided_until(), Some(at(10)));
        guard.observe("VAN-1", false, utc(5), at(5));
        assert!(!guard.is_doubtful(), "the same van again");
        guard.observe("VAN-2", false, utc(6), at(6));
        assert!(guard.is_doubtful());
        assert!(!guard.was_clock_set(utc(3600), at(3600)));
        assert!(guard.was_clock_set(utc(172_800), at(3600)));
        guard.observe("VAN-3", true, utc(7), at(7));
        assert!(!guard.is_doubtful() && guard.undecided_until().is_none());
    }

    #[test]
    fn vans_with_wrong_clocks_beside_a_right_one_are_at_fault_themselves() {
        let mut guard = ClockGuard::default();
        guard.observe("VAN-3", true, utc(0), at(0));
        guard.observe("VAN-1", false, utc(1), at(1));
        guard.observe("VAN-2", false, utc(2), at(2));
        assert!(!guard.is_doubtful() && guard.undecided_until().is_none());
        // The evidence is too old after a quarter of an hour.
        guard.observe("VAN-1", false, utc(901), at(901));
        guard.observe("VAN-2", false, utc(902), at(902));
        assert!(guard.is_doubtful());
    }
}
