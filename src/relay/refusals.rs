//! What the broker refuses: nothing is deleted, and the topic `track` slows down until something is accepted (pure).
//!
//! A refusal mostly concerns the topic (ACL, quota), so that sending the whole backlog into it would only cost money.
//! While it lasts, one message at a time goes out as a probe, each after a longer pause. Each probe is another one, so a
//! single message that the broker dislikes does not hold up the others.

use std::time::Duration;

use super::link::ReasonCode;
use crate::units::Uptime;

/// The first pause; it doubles.
const FIRST: Duration = Duration::from_secs(5);

/// The longest pause.
const MAX: Duration = Duration::from_secs(300);

/// Pause after refusal number `count`, from 1.
pub(super) fn pause(count: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(count.saturating_sub(1))).min(MAX)
}

/// The state of the topic `track`. It outlives the connection.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    count: u32,
    until: Uptime,
    last: Option<ReasonCode>,
}

impl Refusals {
    /// A message was refused. Returns whether that is news.
    pub(super) fn refused(&mut self, reason: ReasonCode, now: Uptime) -> bool {
        // A window of messages that were on their way already counts once.
        if self.count == 0 || now >= self.until {
            self.count = self.count.saturating_add(1);
            self.until = now + pause(self.count);
        }
        self.last.replace(reason) != Some(reason)
    }

    /// A message was accepted. Returns whether that is news.
    pub(super) fn accepted(&mut self) -> bool {
        self.count = 0;
        self.last.take().is_some()
    }

    /// Whether another message may go out while `in_flight` of the topic are under way.
    pub(super) fn allow(&self, in_flight: usize, now: Uptime) -> bool {
        self.count == 0 || (in_flight == 0 && now >= self.until)
    }

    /// When a pause ends.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        (self.count > 0).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_five_minutes_and_a_whole_window_counts_once() {
        let mut refusals = Refusals::default();
        let mut now = Uptime::ZERO;
        for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
            assert!(refusals.allow(0, now));
            for _ in 0..20 {
                refusals.refused(ReasonCode::NOT_AUTHORIZED, now);
            }
            assert!(!refusals.allow(0, now));
            now = refusals.deadline().unwrap();
            assert!(now.since_start().as_secs() >= seconds);
            assert!(!refusals.allow(1, now), "one probe at a time");
        }
        assert!(refusals.accepted());
        assert!(refusals.allow(19, now));
        assert!(!refusals.accepted(), "no news");
    }
}
