//! Deadlines of reports and of the connection watchdog.

use std::time::Duration;

use super::{BrokerConnection, CONNECT_TIMEOUT, DisconnectReason, Session};
use crate::uplink::connector::Connector;
use crate::uplink::publish_rejections::RejectionBackoff;
use crate::uplink::report_schedule::throttled;
use waypost_model::record::Record;
use waypost_model::units::Uptime;

impl<L: Connector> BrokerConnection<'_, L> {
    /// Handles expired deadlines, except those that sending handles.
    pub(super) fn on_deadline(&mut self, now: Uptime) -> Result<(), DisconnectReason> {
        if self.shutdown.is_some_and(|(_, until)| now >= until) {
            return Err(DisconnectReason::Stopped);
        }
        if self.uplink.backend_acks.deadline().is_some_and(|due| now >= due) {
            self.uplink.backend_acks.on_timeout(now);
            return Err(DisconnectReason::lost(
                "no ack from the backend in time: sending again".to_owned(),
            ));
        }
        match self.watchdog() {
            Some((due, error)) if now >= due => Err(DisconnectReason::lost(error.to_owned())),
            _ => Ok(()),
        }
    }

    /// Returns when the connection counts as dead, and why.
    fn watchdog(&self) -> Option<(Uptime, &'static str)> {
        let Some(session) = &self.session else {
            return Some((self.opened + CONNECT_TIMEOUT, "no response from the broker to CONNECT"));
        };
        let acks = session.in_flight.oldest().map(|oldest| {
            (oldest + self.uplink.config.ack_timeout, "no PUBACK from the broker in time")
        });
        // PINGRESP is received once per keep alive. Zero disables it.
        let keep_alive = session.connack.keep_alive;
        let silence = (!keep_alive.is_zero()).then(|| {
            (
                self.last_received_at + keep_alive * 7 / 4,
                "no packet from the broker for nearly two keep-alive intervals",
            )
        });
        [acks, silence].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// Returns the next deadline. A deadline that is past after sending waits for another wakeup.
    pub(super) fn deadline(&self, now: Uptime) -> Option<Uptime> {
        let ends = [
            self.watchdog().map(|(due, _)| due),
            self.shutdown.map(|(_, until)| until),
            self.uplink.backend_acks.deadline(),
        ];
        let removals = self.uplink.pruner.deadline();
        let refusals = [&self.uplink.track_rejections, &self.uplink.event_rejections]
            .map(RejectionBackoff::deadline);
        let mut chores = vec![removals, refusals[0], refusals[1]];
        if let Some(session) = &self.session {
            chores.push(Some(session.outbox_not_before));
            chores.push(session.track_queue.deadline(now));
            chores.push(session.event_queue.deadline(now));
            chores.push(Some(session.flow_control.backlog_due()));
            chores.push(Some(self.state_due(session)));
            chores.push(self.newest_fix().and_then(|newest| self.position_due(session, &newest)));
        }
        let chores = chores.into_iter().flatten().filter(|due| *due > now);
        ends.into_iter().flatten().chain(chores).min()
    }

    pub(super) fn newest_fix(&self) -> Option<Record> {
        *self.uplink.inputs.live.borrow()
    }

    pub(super) fn position_due(&self, session: &Session, newest: &Record) -> Option<Uptime> {
        let health = self.uplink.inputs.health.borrow();
        if session.report_requests_sent.is_some_and(|said| said != health.overrides.report_requests)
        {
            return Some(Uptime::ZERO);
        }
        let mut due =
            session.position.next_due(newest, &self.uplink.config, self.uplink.throttle)?;
        let wished = health
            .overrides
            .position_interval
            .filter(|(_, until)| self.uplink.inputs.clock.uptime() < *until);
        if let Some((interval, at)) =
            wished.map(|(interval, _)| interval).zip(session.position.last_sent_at())
        {
            due = due.min(at + interval);
        }
        // The last position of a recording has no successor to wait for.
        let elsewhere = session.stop_sent.is_some_and(|said| said != health.route.stop());
        Some(if self.drained || elsewhere { Uptime::ZERO } else { due })
    }

    pub(super) fn state_interval(&self) -> Duration {
        throttled(self.uplink.config.state_interval, self.uplink.throttle)
    }

    pub(super) fn state_due(&self, session: &Session) -> Uptime {
        let health = self.uplink.inputs.health.borrow();
        session.state.next_due(&health, self.state_interval())
    }
}
