//! Backoff for a topic whose messages the broker rejects. No record is deleted. No I/O.
//!
//! A rejection usually concerns the whole topic (ACL, quota), and sending the backlog would only
//! cost data. Until a message is accepted, one probe at a time is sent, each after a longer delay.
//! Each probe is another message, so a single rejected message does not block the others.

use std::time::Duration;

use super::connector::ReasonCode;
use waypost_model::units::Uptime;

/// Delay after the first rejection. It doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(5);

/// Time without a rejection after which the backoff ends.
const CLEAR_AFTER: Duration = Duration::from_secs(30);

/// Maximum delay.
const MAX_DELAY: Duration = Duration::from_secs(300);

/// Delay after rejection number `count`, from 1.
pub(super) fn rejection_delay(count: u32) -> Duration {
    FIRST_DELAY.saturating_mul(2_u32.saturating_pow(count.saturating_sub(1))).min(MAX_DELAY)
}

/// Rejection state of a topic. Outlives connections.
#[derive(Debug, Default)]
pub(super) struct RejectionBackoff {
    count: u32,
    until: Uptime,
    /// Time of the newest rejection.
    last_rejected_at: Uptime,
    last_reason: Option<ReasonCode>,
}

impl RejectionBackoff {
    /// Records a rejection. Returns whether it must be logged.
    pub(super) fn on_rejected(&mut self, reason: ReasonCode, now: Uptime) -> bool {
        // Rejections of messages that were in flight together count once.
        if self.count == 0 || now >= self.until {
            self.count = self.count.saturating_add(1);
            self.until = now + rejection_delay(self.count);
        }
        self.last_rejected_at = now;
        self.last_reason.replace(reason) != Some(reason)
    }

    /// Records an accepted message. Returns whether the backoff has ended. A quota accepts some
    /// messages and rejects others, so only a period without rejections ends it.
    pub(super) fn on_accepted(&mut self, now: Uptime) -> bool {
        if self.count == 0 {
            return false;
        }
        let free = now >= self.last_rejected_at + CLEAR_AFTER;
        self.count = if free { 0 } else { (self.count / 2).max(1) };
        if !free {
            self.until = self.until.min(now + rejection_delay(self.count));
            return false;
        }
        self.last_reason.take().is_some()
    }

    /// Whether another message may be sent while `in_flight` messages of the topic are in flight.
    pub(super) fn allows(&self, in_flight: usize, now: Uptime) -> bool {
        self.count == 0 || (in_flight == 0 && now >= self.until)
    }

    /// When the current delay ends.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        (self.count > 0).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_five_minutes_and_a_whole_window_counts_once() {
        let mut refusals = RejectionBackoff::default();
        let mut now = Uptime::ZERO;
        for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
            assert!(refusals.allows(0, now));
            for _ in 0..20 {
                refusals.on_rejected(ReasonCode::NOT_AUTHORIZED, now);
            }
            assert!(!refusals.allows(0, now));
            now = refusals.deadline().unwrap();
            assert!(now.since_start().as_secs() >= seconds);
            assert!(!refusals.allows(1, now), "one probe at a time");
        }
        assert!(refusals.on_accepted(now + CLEAR_AFTER));
        assert!(refusals.allows(19, now));
        assert!(!refusals.on_accepted(now), "already logged");
    }

    #[test]
    fn a_quota_that_lets_every_other_message_through_is_said_once_and_slows_the_topic_down() {
        let mut refusals = RejectionBackoff::default();
        let (mut news, mut sent, mut now) = (0, 0, Uptime::ZERO);
        while now < Uptime::new(Duration::from_hours(1)) {
            now = refusals.deadline().unwrap_or(now).max(now + Duration::from_millis(100));
            sent += 1;
            news += if sent % 2 == 0 {
                u32::from(refusals.on_rejected(ReasonCode(0x97), now))
            } else {
                u32::from(refusals.on_accepted(now))
            };
        }
        assert_eq!(news, 1);
        assert!(sent < 1500, "{sent} messages in an hour");
    }
}
