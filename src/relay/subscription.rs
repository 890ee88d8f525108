//! Whether the next connection subscribes (pure).
//!
//! What comes down must never cost what goes up: some brokers cut who subscribes to what they do not allow, and a retained
//! message that is too large would come again on each connection. Then the van connects without, and tries later.

use std::time::Duration;

use super::config::RelayConfig;
use crate::units::Uptime;

/// A broker that ends so many connections in a row before SUBACK does it because of SUBSCRIBE.
const TRIES: u32 = 3;

/// How long the van then connects without.
const WITHOUT_FOR: Duration = Duration::from_hours(1);

/// What a connection subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Manifests and commands; and the backend's word, if it is waited for.
    All,
    /// The backend's word, without which nothing leaves the outbox.
    AckAlone,
    /// Nothing.
    Nothing,
}

impl Wanted {
    /// The topics, in the order of SUBSCRIBE. Where PUBACK is enough, the backend's word would only cost data.
    pub(super) fn topics(self, config: &RelayConfig) -> Vec<&String> {
        let topics = &config.topics;
        let ack = config.waits_for_ack().then_some(&topics.ack);
        match self {
            Self::All => [&topics.manifest, &topics.command].into_iter().chain(ack).collect(),
            Self::AckAlone => ack.into_iter().collect(),
            Self::Nothing => Vec::new(),
        }
    }
}

/// What connections taught. It outlives them.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    unanswered: u32,
    not_before: Uptime,
    /// Not even to the backend's word.
    ack_not_before: Uptime,
}

impl Subscription {
    /// What to subscribe to now.
    pub(super) fn wanted(&self, waits_for_ack: bool, now: Uptime) -> Wanted {
        if now >= self.not_before {
            Wanted::All
        } else if waits_for_ack && now >= self.ack_not_before {
            Wanted::AckAlone
        } else {
            Wanted::Nothing
        }
    }

    /// SUBACK came.
    pub(super) const fn answered(&mut self) {
        self.unanswered = 0;
    }

    /// The connection ended before SUBACK; whether the van now goes without.
    pub(super) fn ended_unanswered(&mut self, wanted: Wanted, now: Uptime) -> bool {
        self.unanswered += 1;
        let gives_up = self.unanswered >= TRIES;
        if gives_up {
            self.give_up(wanted, now);
        }
        gives_up
    }

    /// What came was too large, and ended the connection.
    pub(super) fn give_up(&mut self, wanted: Wanted, now: Uptime) {
        self.unanswered = 0;
        match wanted {
            Wanted::All => self.not_before = now + WITHOUT_FOR,
            Wanted::AckAlone => self.ack_not_before = now + WITHOUT_FOR,
            Wanted::Nothing => {}
        }
    }
}
