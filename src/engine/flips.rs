//! Changes of the receiver → the log: a loose plug must not fill it.

use std::mem;
use std::time::Duration;

use crate::source::ReceiverState;
use crate::units::Uptime;

/// What was said of it lately.
#[derive(Debug, Default)]
pub(super) struct Flips {
    /// When the minute began, and what was logged and not logged in it.
    began: Option<Uptime>,
    logged: u32,
    unlogged: u32,
}

impl Flips {
    const MINUTE: Duration = Duration::from_mins(1);
    const LOGGED: u32 = 6;

    pub(super) fn log(&mut self, state: &ReceiverState, now: Uptime) {
        if self.began.is_none_or(|began| now.since(began) >= Self::MINUTE) {
            *self = Self { began: Some(now), logged: 0, unlogged: self.unlogged };
        }
        if self.logged == Self::LOGGED {
            self.unlogged += 1;
            return;
        }
        self.logged += 1;
        let unlogged = mem::take(&mut self.unlogged);
        if unlogged > 0 {
            tracing::warn!(unlogged, "receiver comes and goes");
        }
        match state {
            ReceiverState::Connecting => {}
            ReceiverState::Open => tracing::info!("receiver open"),
            ReceiverState::Hunting => {
                tracing::warn!("receiver not understood, trying other speeds");
            }
            ReceiverState::Silent => tracing::warn!("receiver silent"),
            ReceiverState::Gone(error) => {
                tracing::warn!(error, "receiver gone, trying again");
            }
        }
    }
}
