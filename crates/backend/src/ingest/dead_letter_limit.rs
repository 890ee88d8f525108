//! Rate limit for dead letters, so that invalid messages cannot fill the disk.

use std::time::Duration;

use waypost_model::units::Uptime;

/// Maximum number of dead letters stored per minute; further ones are only counted.
const MAX_DEAD_LETTERS_PER_MINUTE: u32 = 1_000;

/// Number of dead letters that may still be stored in the current minute.
#[derive(Debug)]
pub(super) struct DeadLetterLimit {
    window_start: Uptime,
    remaining: u32,
}

impl DeadLetterLimit {
    pub(super) const fn new(now: Uptime) -> Self {
        Self { window_start: now, remaining: MAX_DEAD_LETTERS_PER_MINUTE }
    }

    /// Takes one from the budget; returns whether any was left.
    pub(super) fn try_acquire(&mut self, now: Uptime) -> bool {
        if now.since(self.window_start) >= Duration::from_mins(1) {
            *self = Self::new(now);
        }
        let admits = self.remaining > 0;
        self.remaining = self.remaining.saturating_sub(1);
        admits
    }
}
