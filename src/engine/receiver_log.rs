//! Limits log lines about changes of the receiver state, so that a loose plug does not fill the
//! log.

use std::mem;
use std::time::Duration;

use crate::gnss_source::ReceiverState;
use waypost_model::units::Uptime;

/// Throttle with a window of one minute.
#[derive(Debug, Default)]
pub(super) struct ReceiverLogThrottle {
    /// Start of the window, number of lines logged in it, and number suppressed since the last
    /// logged line.
    window_start: Option<Uptime>,
    logged: u32,
    suppressed: u32,
}

impl ReceiverLogThrottle {
    const WINDOW: Duration = Duration::from_mins(1);
    const MAX_LINES: u32 = 6;

    pub(super) fn log(&mut self, state: &ReceiverState, now: Uptime) {
        if self.window_start.is_none_or(|began| now.since(began) >= Self::WINDOW) {
            *self = Self { window_start: Some(now), logged: 0, suppressed: self.suppressed };
        }
        if self.logged == Self::MAX_LINES {
            self.suppressed += 1;
            return;
        }
        self.logged += 1;
        let suppressed = mem::take(&mut self.suppressed);
        if suppressed > 0 {
            tracing::warn!(suppressed, "receiver state unstable, messages suppressed");
        }
        match state {
            ReceiverState::Connecting => {}
            ReceiverState::Open => tracing::info!("receiver open"),
            ReceiverState::DetectingBaud => {
                tracing::warn!("receiver not understood, trying other baud rates");
            }
            ReceiverState::Silent => tracing::warn!("receiver silent"),
            ReceiverState::Gone(error) => {
                tracing::warn!(error, "receiver lost, reconnecting");
            }
        }
    }
}
