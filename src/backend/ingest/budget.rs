//! How many rows of poison may be written: a stranger who says nonsense fills no disk.

use std::time::Duration;

use tokio::time::Instant;

/// Rows a minute; the rest is counted.
const MAX_POISON_A_MINUTE: u32 = 1_000;

/// Rows of poison that may still be written in this minute.
#[derive(Debug)]
pub(super) struct PoisonBudget {
    since: Instant,
    left: u32,
}

impl PoisonBudget {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), left: MAX_POISON_A_MINUTE }
    }

    /// Whether there is room for one more, which is taken then.
    pub(super) fn admits(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_mins(1) {
            *self = Self::new();
        }
        let admits = self.left > 0;
        self.left = self.left.saturating_sub(1);
        admits
    }
}
