//! Decides whether the next connection subscribes. No I/O.
//!
//! Receiving must never prevent sending. Some brokers close the connection when a client subscribes
//! to a denied topic. A retained message above the maximum size would be received again on each
//! connection. The van then connects without a subscription and retries later.

use std::time::Duration;

use super::config::UplinkConfig;
use waypost_model::units::Uptime;

/// Number of consecutive connections that end before SUBACK, after which the subscription is
/// disabled.
const MAX_FAILURES: u32 = 3;

/// Time for which the subscription is disabled.
const DISABLED_FOR: Duration = Duration::from_hours(1);

/// Topics to which a connection subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionPlan {
    /// Manifests and commands, and `ack` if it is required.
    All,
    /// Only `ack`, without which no record leaves the outbox.
    AckOnly,
    /// No topics.
    Nothing,
}

impl SubscriptionPlan {
    /// Topics in the order of SUBSCRIBE. `ack` is left out if PUBACK is sufficient, to save data.
    pub(super) fn topics(self, config: &UplinkConfig) -> Vec<&String> {
        let topics = &config.topics;
        let ack = config.requires_backend_ack().then_some(&topics.ack);
        match self {
            Self::All => [&topics.manifest, &topics.command].into_iter().chain(ack).collect(),
            Self::AckOnly => ack.into_iter().collect(),
            Self::Nothing => Vec::new(),
        }
    }
}

/// Experience of earlier connections. Outlives them.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    failures: u32,
    not_before: Uptime,
    /// Earliest subscription to `ack`.
    ack_not_before: Uptime,
}

impl Subscription {
    /// Returns the topics for a connection at `now`.
    pub(super) fn plan(&self, requires_backend_ack: bool, now: Uptime) -> SubscriptionPlan {
        if now >= self.not_before {
            SubscriptionPlan::All
        } else if requires_backend_ack && now >= self.ack_not_before {
            SubscriptionPlan::AckOnly
        } else {
            SubscriptionPlan::Nothing
        }
    }

    /// Handles SUBACK.
    pub(super) const fn on_suback(&mut self) {
        self.failures = 0;
    }

    /// The connection ended before SUBACK. Returns whether the subscription is now disabled.
    pub(super) fn on_closed_before_suback(
        &mut self,
        wanted: SubscriptionPlan,
        now: Uptime,
    ) -> bool {
        self.failures += 1;
        let gives_up = self.failures >= MAX_FAILURES;
        if gives_up {
            self.disable(wanted, now);
        }
        gives_up
    }

    /// Disables the subscription, for example after a message above the maximum size.
    pub(super) fn disable(&mut self, wanted: SubscriptionPlan, now: Uptime) {
        self.failures = 0;
        match wanted {
            SubscriptionPlan::All => self.not_before = now + DISABLED_FOR,
            SubscriptionPlan::AckOnly => self.ack_not_before = now + DISABLED_FOR,
            SubscriptionPlan::Nothing => {}
        }
    }
}
