//! What is read from and may go at any time: ttys and connections, and when to open them again.
//!
//! A tty is raw and ours alone: no byte of it has a meaning for the driver.

mod holder;
mod host;
pub(crate) mod serial;
pub(crate) mod tcp;

use std::time::Duration;

use crate::backoff::Backoff;
pub use host::HostPort;

/// How often somebody looks whether a port that is not there has come back; it costs a look into a directory.
const ABSENT_WAIT: Duration = Duration::from_millis(500);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const MAX_WAIT: Duration = Duration::from_secs(5);
/// What was there for so long was no loose plug.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// When something that is gone is opened again.
#[derive(Debug)]
pub(crate) struct Reopening {
    backoff: Backoff,
}

impl Default for Reopening {
    fn default() -> Self {
        Self { backoff: Backoff::new(FIRST_WAIT, MAX_WAIT, fastrand::Rng::new()) }
    }
}

impl Reopening {
    /// The wait after it was open for so long, or could not be opened. What is `absent` is looked for often.
    pub(crate) fn next_wait(&mut self, was_open: Duration, absent: bool) -> Duration {
        if absent || was_open >= GOOD_AFTER {
            self.backoff.reset();
        }
        if absent { ABSENT_WAIT } else { self.backoff.next_wait() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_looked_for_often_and_what_fails_is_left_alone_for_longer() {
        let mut reopening = Reopening::default();
        assert_eq!(reopening.next_wait(Duration::ZERO, true), ABSENT_WAIT);
        let waits: Vec<_> = (0..50).map(|_| reopening.next_wait(Duration::ZERO, false)).collect();
        assert!(waits.iter().all(|wait| (FIRST_WAIT..=MAX_WAIT).contains(wait)));
        assert!(waits.iter().max() > Some(&(MAX_WAIT / 2)));
        assert!(reopening.next_wait(GOOD_AFTER, false) <= 2 * FIRST_WAIT);
    }
}
