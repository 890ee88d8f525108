//! Rate limit for dead letters, so that invalid messages cannot fill the disk.

use std::collections::HashMap;
use std::time::Duration;

use waypost_model::units::Uptime;

/// Maximum number of dead letters stored per van and minute; further ones are only counted.
const MAX_PER_MINUTE: u32 = 1_000;

/// Maximum number of vans with dead letters in one minute; those of further vans are only counted.
const MAX_VANS: usize = 10_000;

/// Numbers of dead letters in the current minute, by van.
#[derive(Debug)]
pub(super) struct DeadLetterLimit {
    window_start: Uptime,
    by_van: HashMap<String, u32>,
}

impl DeadLetterLimit {
    pub(super) fn new(now: Uptime) -> Self {
        Self { window_start: now, by_van: HashMap::new() }
    }

    /// Takes one from the budget of a van; returns whether any was left.
    pub(super) fn try_acquire(&mut self, van: &str, now: Uptime) -> bool {
        if now.since(self.window_start) >= Duration::from_mins(1) {
            *self = Self::new(now);
        }
        if !self.by_van.contains_key(van) {
            if self.by_van.len() >= MAX_VANS {
                return false;
            }
            self.by_van.insert(van.to_owned(), 0);
        }
        let Some(count) = self.by_van.get_mut(van) else { return false };
        *count += 1;
        *count <= MAX_PER_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_junk_of_one_van_takes_nothing_from_the_budget_of_another() {
        let mut limit = DeadLetterLimit::new(Uptime::ZERO);
        let taken = (0..5_000).filter(|_| limit.try_acquire("VAN-1", Uptime::ZERO)).count();
        assert_eq!(taken, 1_000);
        assert!(limit.try_acquire("VAN-2", Uptime::ZERO));
        assert!(limit.try_acquire("VAN-1", Uptime::ZERO + Duration::from_mins(1)));
    }
}
