//! How many rows of poison may be written: a stranger who says nonsense fills no disk.

use std::time::Duration;

use crate::units::Uptime;

/// Rows a minute; the rest is counted.
const MAX_POISON_A_MINUTE: u32 = 1_000;

/// Rows of poison that may still be written in this minute.
#[derive(Debug)]
pub(super) struct PoisonBudget {
    since: Uptime,
    left: u32,
}

impl PoisonBudget {
    pub(super) const fn new(now: Uptime) -> Self {
        Self { since: now, left: MAX_POISON_A_MINUTE }
    }

    /// Whether there is room for one more, which is taken then.
    pub(super) fn admits(&mut self, now: Uptime) -> bool {
        if now.since(self.since) >= Duration::from_mins(1) {
            *self = Self::new(now);
        }
        let admits = self.left > 0;
        self.left = self.left.saturating_sub(1);
        admits
    }
}
