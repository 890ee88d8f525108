//! When the newest position and the health are due (pure).

use std::time::Duration;

use super::RelayConfig;
use crate::core::journey::Motion;
use crate::core::record::{Record, Seq, Subject};
use crate::units::Uptime;

/// `state` is said at most this often, however often the receiver comes and goes.
const STATE_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// When something that could not be said is looked at again.
pub(super) const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The cadence of `position` on one connection.
#[derive(Debug, Default)]
pub(super) struct PositionCadence {
    said: Option<(Uptime, Seq, Motion)>,
}

impl PositionCadence {
    /// When `newest` is due; `None` if it was said.
    pub(super) fn due(&self, newest: &Record, config: &RelayConfig) -> Option<Uptime> {
        let Subject::Point(point) = &newest.subject;
        let Some((at, seq, motion)) = self.said else { return Some(Uptime::ZERO) };
        if seq == newest.seq {
            return None;
        }
        if motion != point.motion {
            return Some(Uptime::ZERO);
        }
        Some(
            at + match motion {
                Motion::Moving | Motion::Unknown => config.position_interval_moving,
                Motion::Halted => config.position_interval_halted,
            },
        )
    }

    /// `record` was said.
    pub(super) fn said(&mut self, record: &Record, now: Uptime) {
        let Subject::Point(point) = &record.subject;
        self.said = Some((now, record.seq, point.motion));
    }
}

/// The cadence of `state` on one connection.
#[derive(Debug, Default)]
pub(super) struct StateCadence {
    said: Option<(Uptime, String, u8)>,
    not_before: Uptime,
}

impl StateCadence {
    /// When `state` is due, for a receiver in this state and mode.
    pub(super) fn due(&self, receiver: &str, mode: u8, interval: Duration) -> Uptime {
        let due = match &self.said {
            None => Uptime::ZERO,
            Some((at, said, said_mode)) if said == receiver && *said_mode == mode => {
                *at + interval.max(STATE_AT_MOST_EVERY)
            }
            Some((at, ..)) => *at + STATE_AT_MOST_EVERY,
        };
        due.max(self.not_before)
    }

    /// It was said.
    pub(super) fn said(&mut self, receiver: &str, mode: u8, now: Uptime) {
        self.said = Some((now, receiver.to_owned(), mode));
    }

    /// It cannot be said yet.
    pub(super) fn hold_back(&mut self, now: Uptime) {
        self.not_before = now + LOOK_AGAIN_AFTER;
    }
}
