//! What the link does, for people: `status`, systemd's status line, the log.

use std::time::Duration;

use tokio::sync::watch;

use super::air::AirUse;
use super::budget::Stretch;
use super::link::{ReasonCode, Stage};
use crate::clock::Clock;
use crate::units::Uptime;

/// What the link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// An attempt is under way.
    Connecting,
    /// The broker has accepted us.
    Connected,
    /// The next attempt waits.
    BackingOff {
        /// How long, in the world's time.
        wait: Duration,
    },
    /// The relay has ended.
    Stopped,
}

impl std::fmt::Display for LinkState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::BackingOff { .. } => "no link",
            Self::Stopped => "stopped",
        })
    }
}

/// The link, and what went over it since the agent started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// What it does.
    pub state: LinkState,
    /// Since when, by the agent's clock.
    pub since: Uptime,
    /// Why the last connection failed or ended; `None` while all is well.
    pub last_error: Option<String>,
    /// The reason code of the last refusal: CONNACK, DISCONNECT, or PUBACK of `track` or `event`; `None` while all is well.
    pub last_reason: Option<ReasonCode>,
    /// How far the link came, or that what we say is refused; `None` while all is well, or if nobody knows.
    pub stage: Option<Stage>,
    /// Why manifests or commands do not come; `None` while all is well.
    pub downlink_error: Option<String>,
    /// Messages from the backend.
    pub downlink_messages: u64,
    /// Of them, those that nobody took: a retained or a doubtful command, too large, or one too many.
    pub downlink_dropped: u64,
    /// Words of the backend on `ack` that could not be read, or not be true.
    pub acks_unfit: u64,
    /// Answers to commands that the broker refused, or that were too many.
    pub answers_lost: u64,
    /// Messages on `position`.
    pub positions: u64,
    /// Messages on `track`, repetitions included.
    pub track_messages: u64,
    /// Messages on `event`, repetitions included.
    pub event_messages: u64,
    /// Events that the broker has acknowledged.
    pub events_acked: u64,
    /// Events that are larger than the broker takes.
    pub events_too_large: u64,
    /// Points that the broker has acknowledged.
    pub points_acked: u64,
    /// Bytes of payload that were handed over, repetitions included.
    pub payload_bytes: u64,
    /// Estimated bytes on the air, headers and handshakes included.
    pub air: AirUse,
    /// How far a budget stretches what can wait.
    pub stretch: Stretch,
    /// Connections after the first.
    pub reconnects: u64,
}

impl LinkStatus {
    /// A first attempt, at `since`.
    pub(crate) const fn new(since: Uptime) -> Self {
        Self {
            state: LinkState::Connecting,
            since,
            last_error: None,
            last_reason: None,
            stage: None,
            downlink_error: None,
            downlink_messages: 0,
            downlink_dropped: 0,
            acks_unfit: 0,
            answers_lost: 0,
            positions: 0,
            track_messages: 0,
            event_messages: 0,
            events_acked: 0,
            events_too_large: 0,
            points_acked: 0,
            payload_bytes: 0,
            air: AirUse { today: 0, month: 0 },
            stretch: Stretch::NONE,
            reconnects: 0,
        }
    }
}

/// A network that fails now in one way and now in another does not fill the log.
const LOGGED_AT_MOST_EVERY: Duration = Duration::from_mins(1);

/// Nor does a budget.
const STRETCH_AT_MOST_EVERY: Duration = Duration::from_hours(1);

/// Keeps [`LinkStatus`], and logs its changes.
#[derive(Debug)]
pub(super) struct Report {
    status: watch::Sender<LinkStatus>,
    clock: Clock,
    connected_before: bool,
    /// The loss that was logged last, and when.
    logged: Option<(Uptime, String)>,
    /// When a stretch was logged, and which.
    stretch_logged: (Option<Uptime>, Stretch),
}

impl Report {
    pub(super) fn new(clock: Clock) -> Self {
        let status = LinkStatus::new(clock.uptime());
        Self {
            status: watch::Sender::new(status),
            clock,
            connected_before: false,
            logged: None,
            stretch_logged: (None, Stretch::NONE),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<LinkStatus> {
        self.status.subscribe()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut LinkStatus)) {
        self.status.send_modify(change);
    }

    /// A change of the stretch is logged, once an hour at most.
    pub(super) fn air(&mut self, air: AirUse, stretch: Stretch) {
        let now = self.clock.uptime();
        if self.stretch_logged.1 != stretch
            && self.stretch_logged.0.is_none_or(|at| now.since(at) >= STRETCH_AT_MOST_EVERY)
        {
            self.stretch_logged = (Some(now), stretch);
            let (cadence, month_bytes) = (stretch.factor(), air.month);
            tracing::info!(cadence, month_bytes, "what can wait is sent so many times as rarely");
        }
        self.status.send_if_modified(|status| {
            let is_news = (status.air, status.stretch) != (air, stretch);
            (status.air, status.stretch) = (air, stretch);
            is_news
        });
    }

    pub(super) fn enter(&self, state: LinkState) {
        let now = self.clock.uptime();
        self.status.send_modify(|status| {
            if status.state != state {
                status.state = state;
                status.since = now;
            }
        });
    }

    pub(super) fn connected(&mut self) {
        let again = std::mem::replace(&mut self.connected_before, true);
        self.count(|status| {
            status.reconnects += u64::from(again);
            status.last_error = None;
            status.last_reason = None;
            status.stage = None;
        });
        self.enter(LinkState::Connected);
        tracing::info!("connected to the broker");
    }

    /// Why nothing comes down, or that it does again: logged when it changes.
    pub(super) fn downlink(&self, error: Option<String>) {
        if self.status.borrow().downlink_error == error {
            return;
        }
        match &error {
            Some(error) => tracing::warn!(%error, "manifests and commands do not come"),
            None => tracing::info!("manifests and commands come again"),
        }
        self.count(|status| status.downlink_error = error);
    }

    /// The link ended or was refused: logged when it was up, or fails for another reason than before.
    pub(super) fn lost(
        &mut self,
        error: String,
        (stage, reason): (Option<Stage>, Option<ReasonCode>),
        wait: Duration,
    ) {
        let backoff_ms = wait.as_millis();
        if self.is_worth_a_line(&error) {
            self.logged = Some((self.clock.uptime(), error.clone()));
            let reason = reason.map(tracing::field::display);
            tracing::info!(%error, reason, backoff_ms, "no link to the broker, trying again");
        }
        self.count(|status| {
            status.last_error = Some(error);
            status.last_reason = reason;
            status.stage = stage;
        });
        self.enter(LinkState::BackingOff { wait });
    }

    /// What is not logged for being too soon is still news a minute later.
    fn is_worth_a_line(&self, error: &str) -> bool {
        let was_up = self.status.borrow().state == LinkState::Connected;
        let now = self.clock.uptime();
        was_up
            || self.logged.as_ref().is_none_or(|(at, logged)| {
                logged != error && now.since(*at) >= LOGGED_AT_MOST_EVERY
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reason_that_stays_is_logged_even_if_it_began_right_after_another() {
        let mut report = Report::new(Clock::live());
        let mut fails = async |seconds, error: &str| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let line = report.is_worth_a_line(error);
            report.lost(error.to_owned(), (None, None), Duration::from_secs(60));
            line
        };
        assert!(fails(0, "connection reset").await);
        assert!(!fails(2, "certificate expired").await, "a minute has one line");
        assert!(fails(60, "certificate expired").await);
        assert!(!fails(600, "certificate expired").await, "no news");
    }
}
