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

/// So long without a refusal, and the topic is free again.
const FREE_AFTER: Duration = Duration::from_secs(30);

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
    /// The newest refusal.
    refused_at: Uptime,
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
        self.refused_at = now;
        self.last.replace(reason) != Some(reason)
    }

    /// A message was accepted. Returns whether the topic is now free again: a quota lets one message through and
    /// refuses the next, so that only a while without refusal is the end of them.
    pub(super) fn accepted(&mut self, now: Uptime) -> bool {
        if self.count == 0 {
            return false;
        }
        let free = now >= self.refused_at + FREE_AFTER;
        self.count = if free { 0 } else { (self.count / 2).max(1) };
        if !free {
            self.until = self.until.min(now + pause(self.count));
            return false;
        }
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
        assert!(refusals.accepted(now + FREE_AFTER));
        assert!(refusals.allow(19, now));
        assert!(!refusals.accepted(now), "no news");
    }

    #[test]
    fn a_quota_that_lets_every_other_message_through_is_said_once_and_slows_the_topic_down() {
        let mut refusals = Refusals::default();
        let (mut news, mut sent, mut now) = (0, 0, Uptime::ZERO);
        while now < Uptime::new(Duration::from_hours(1)) {
            now = refusals.deadline().unwrap_or(now).max(now + Duration::from_millis(100));
            sent += 1;
            news += if sent % 2 == 0 {
                u32::from(refusals.refused(ReasonCode(0x97), now))
            } else {
                u32::from(refusals.accepted(now))
            };
        }
        assert_eq!(news, 1);
        assert!(sent < 1500, "{sent} messages in an hour");
    }
}
