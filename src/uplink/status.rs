//! Connection status for `status`, systemd's status line and the log.

use std::time::Duration;

use tokio::sync::watch;

use super::connector::{ConnectStage, ReasonCode};
use super::data_budget::ThrottleFactor;
use super::data_usage::DataUsage;
use waypost_model::units::Uptime;
use waypost_service::clock::Clock;

/// State of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// A connection attempt is in progress.
    Connecting,
    /// The broker has accepted the connection.
    Connected,
    /// Waiting for the next attempt.
    BackingOff {
        /// Delay until the next attempt, in real time.
        wait: Duration,
    },
    /// The uplink has ended.
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

/// Connection status, and counters since the start of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// State of the connection.
    pub state: LinkState,
    /// Time of the last state change, by the agent's clock.
    pub since: Uptime,
    /// Why the last connection failed or ended. `None` without a failure.
    pub last_error: Option<String>,
    /// Reason code of the last rejection: CONNACK, DISCONNECT, or PUBACK of `track` or `event`.
    /// `None` without a failure.
    pub last_reason: Option<ReasonCode>,
    /// Stage that failed. `None` without a failure, or if unknown.
    pub stage: Option<ConnectStage>,
    /// Why manifests or commands are not received. `None` without a failure.
    pub downlink_error: Option<String>,
    /// Messages received from the backend.
    pub downlink_messages: u64,
    /// Received messages that were dropped: a retained or invalid command, too large, or above the
    /// queue limit.
    pub downlink_dropped: u64,
    /// Invalid `ack` messages: malformed or implausible.
    pub acks_invalid: u64,
    /// Command responses that the broker rejected, or that were dropped from the queue.
    pub responses_lost: u64,
    /// Sent `position` messages.
    pub positions: u64,
    /// Sent `track` messages, including repetitions.
    pub track_messages: u64,
    /// Sent `event` messages, including repetitions.
    pub event_messages: u64,
    /// Acknowledged events.
    pub events_acked: u64,
    /// Events above the broker's maximum packet size.
    pub events_too_large: u64,
    /// Acknowledged points.
    pub points_acked: u64,
    /// Published payload bytes, including repetitions.
    pub payload_bytes: u64,
    /// Estimated data usage, including headers and handshakes.
    pub data_usage: DataUsage,
    /// Factor by which the data budget increases report intervals.
    pub throttle: ThrottleFactor,
    /// Number of reconnects.
    pub reconnects: u64,
}

impl LinkStatus {
    /// Status before the first attempt, at `since`.
    pub const fn new(since: Uptime) -> Self {
        Self {
            state: LinkState::Connecting,
            since,
            last_error: None,
            last_reason: None,
            stage: None,
            downlink_error: None,
            downlink_messages: 0,
            downlink_dropped: 0,
            acks_invalid: 0,
            responses_lost: 0,
            positions: 0,
            track_messages: 0,
            event_messages: 0,
            events_acked: 0,
            events_too_large: 0,
            points_acked: 0,
            payload_bytes: 0,
            data_usage: DataUsage { today: 0, month: 0 },
            throttle: ThrottleFactor::NONE,
            reconnects: 0,
        }
    }
}

/// Minimum interval between two logged failures. A network with changing errors must not fill the
/// log.
const MIN_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Minimum interval between two logged changes of the throttle factor.
const MIN_THROTTLE_LOG_INTERVAL: Duration = Duration::from_hours(1);

/// Updates [`LinkStatus`] and logs changes.
#[derive(Debug)]
pub(super) struct StatusReporter {
    status: watch::Sender<LinkStatus>,
    clock: Clock,
    connected_before: bool,
    /// Last logged failure, and when.
    last_logged: Option<(Uptime, String)>,
    /// Last logged throttle factor, and when.
    throttle_logged: (Option<Uptime>, ThrottleFactor),
}

impl StatusReporter {
    pub(super) fn new(clock: Clock) -> Self {
        let status = LinkStatus::new(clock.uptime());
        Self {
            status: watch::Sender::new(status),
            clock,
            connected_before: false,
            last_logged: None,
            throttle_logged: (None, ThrottleFactor::NONE),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<LinkStatus> {
        self.status.subscribe()
    }

    pub(super) fn update(&self, state_mut: impl FnOnce(&mut LinkStatus)) {
        self.status.send_modify(state_mut);
    }

    /// Sets data usage and throttle factor. Logs a change of the factor, at most once per hour.
    pub(super) fn set_data_usage(&mut self, air: DataUsage, stretch: ThrottleFactor) {
        let now = self.clock.uptime();
        if self.throttle_logged.1 != stretch
            && self.throttle_logged.0.is_none_or(|at| now.since(at) >= MIN_THROTTLE_LOG_INTERVAL)
        {
            self.throttle_logged = (Some(now), stretch);
            let (cadence, month_bytes) = (stretch.factor(), air.month);
            tracing::info!(cadence, month_bytes, "data budget: report intervals multiplied");
        }
        self.status.send_if_modified(|status| {
            let is_news = (status.data_usage, status.throttle) != (air, stretch);
            (status.data_usage, status.throttle) = (air, stretch);
            is_news
        });
    }

    pub(super) fn set_state(&self, state: LinkState) {
        let now = self.clock.uptime();
        self.status.send_modify(|status| {
            if status.state != state {
                status.state = state;
                status.since = now;
            }
        });
    }

    pub(super) fn on_connected(&mut self) {
        let again = std::mem::replace(&mut self.connected_before, true);
        self.update(|status| {
            status.reconnects += u64::from(again);
            status.last_error = None;
            status.last_reason = None;
            status.stage = None;
        });
        self.set_state(LinkState::Connected);
        tracing::info!("connected to the broker");
    }

    /// Sets the downlink error. Logs a change.
    pub(super) fn set_downlink_error(&self, error: Option<String>) {
        if self.status.borrow().downlink_error == error {
            return;
        }
        match &error {
            Some(error) => tracing::warn!(%error, "downlink subscription lost"),
            None => tracing::info!("downlink subscription restored"),
        }
        self.update(|status| status.downlink_error = error);
    }

    /// Records a lost or refused connection. Logs it if it was up, or if the reason is new.
    pub(super) fn on_disconnected(
        &mut self,
        error: String,
        (stage, reason): (Option<ConnectStage>, Option<ReasonCode>),
        wait: Duration,
    ) {
        let backoff_ms = wait.as_millis();
        if self.should_log(&error) {
            self.last_logged = Some((self.clock.uptime(), error.clone()));
            let reason = reason.map(tracing::field::display);
            tracing::info!(%error, reason, backoff_ms, "no connection to the broker: retrying");
        }
        self.update(|status| {
            status.last_error = Some(error);
            status.last_reason = reason;
            status.stage = stage;
        });
        self.set_state(LinkState::BackingOff { wait });
    }

    /// Whether the failure must be logged. A reason that was suppressed by the interval is logged
    /// after it.
    fn should_log(&self, error: &str) -> bool {
        let was_up = self.status.borrow().state == LinkState::Connected;
        let now = self.clock.uptime();
        was_up
            || self
                .last_logged
                .as_ref()
                .is_none_or(|(at, logged)| logged != error && now.since(*at) >= MIN_LOG_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reason_that_stays_is_logged_even_if_it_began_right_after_another() {
        let mut report = StatusReporter::new(Clock::live());
        let mut fails = async |seconds, error: &str| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let line = report.should_log(error);
            report.on_disconnected(error.to_owned(), (None, None), Duration::from_secs(60));
            line
        };
        assert!(fails(0, "connection reset").await);
        assert!(!fails(2, "certificate expired").await, "one line per minute");
        assert!(fails(60, "certificate expired").await);
        assert!(!fails(600, "certificate expired").await, "already logged");
    }
}
