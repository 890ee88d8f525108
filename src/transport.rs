//! Serial ports and TCP connections of devices that may disappear at any time, and when to reopen
//! them.
//!
//! Serial ports are opened raw and exclusively: no byte is interpreted by the tty driver.

pub(crate) mod address_race;
mod host;
mod port_owner;
pub(crate) mod serial;
pub(crate) mod tcp;

use std::time::Duration;

pub use host::HostPort;
use waypost_service::backoff::Backoff;

/// Interval of checks for a missing port. A check is one directory look-up.
const ABSENT_POLL_INTERVAL: Duration = Duration::from_millis(500);
const INITIAL_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(5);
/// After being open for this time, a disconnect is not counted as a failure.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Delays between attempts to open a port or connection.
#[derive(Debug)]
pub(crate) struct ReconnectPolicy {
    backoff: Backoff,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self { backoff: Backoff::new(INITIAL_DELAY, MAX_DELAY, fastrand::Rng::new()) }
    }
}

impl ReconnectPolicy {
    /// Returns the delay after a port was open for `was_open`, or could not be opened. An `absent`
    /// port is checked often.
    pub(crate) fn next_delay(&mut self, was_open: Duration, absent: bool) -> Duration {
        if absent || was_open >= STABLE_AFTER {
            self.backoff.reset();
        }
        if absent { ABSENT_POLL_INTERVAL } else { self.backoff.next_delay() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_looked_for_often_and_what_fails_is_left_alone_for_longer() {
        let mut reopening = ReconnectPolicy::default();
        assert_eq!(reopening.next_delay(Duration::ZERO, true), ABSENT_POLL_INTERVAL);
        let waits: Vec<_> = (0..50).map(|_| reopening.next_delay(Duration::ZERO, false)).collect();
        assert!(waits.iter().all(|wait| (INITIAL_DELAY..=MAX_DELAY).contains(wait)));
        assert!(waits.iter().max() > Some(&(MAX_DELAY / 2)));
        assert!(reopening.next_delay(STABLE_AFTER, false) <= 2 * INITIAL_DELAY);
    }
}
