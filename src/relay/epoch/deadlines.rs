//! When something is due, and when the link counts as dead.

use std::time::Duration;

use super::{CONNECT_AT_MOST, End, Epoch, Session};
use crate::core::record::Record;
use crate::relay::cadence::stretched;
use crate::relay::link::Links;
use crate::relay::refusals::Refusals;
use crate::units::Uptime;

impl<L: Links> Epoch<'_, L> {
    /// A deadline has passed: of those that `fill` does not see to.
    pub(super) fn overdue(&mut self, now: Uptime) -> Result<(), End> {
        if self.leave.is_some_and(|(_, until)| now >= until) {
            return Err(End::Stopped);
        }
        if self.relay.acks.deadline().is_some_and(|due| now >= due) {
            self.relay.acks.gave_up(now);
            return Err(End::lost("no ack from the backend in time, sending again".to_owned()));
        }
        match self.watchdog() {
            Some((due, error)) if now >= due => Err(End::lost(error.to_owned())),
            _ => Ok(()),
        }
    }

    /// When the link counts as dead, and why.
    fn watchdog(&self) -> Option<(Uptime, &'static str)> {
        let Some(session) = &self.session else {
            return Some((self.opened + CONNECT_AT_MOST, "no answer from the broker to CONNECT"));
        };
        let acks = session.in_flight.oldest().map(|oldest| {
            (oldest + self.relay.config.ack_timeout, "no PUBACK from the broker in time")
        });
        // PINGRESP comes once in each keep alive; zero turns it off.
        let keep_alive = session.welcome.keep_alive;
        let silence = (!keep_alive.is_zero()).then(|| {
            (self.heard + keep_alive * 7 / 4, "nothing from the broker for nearly two keep alives")
        });
        [acks, silence].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// When something is due. What is due already, and still there after `fill`, waits for something else.
    pub(super) fn deadline(&self, now: Uptime) -> Option<Uptime> {
        let ends = [
            self.watchdog().map(|(due, _)| due),
            self.leave.map(|(_, until)| until),
            self.relay.acks.deadline(),
        ];
        let removals = self.relay.removals.deadline();
        let refusals = [&self.relay.refusals, &self.relay.event_refusals].map(Refusals::deadline);
        let mut chores = vec![removals, refusals[0], refusals[1]];
        if let Some(session) = &self.session {
            chores.push(Some(session.outbox_not_before));
            chores.push(session.lanes.deadline(now));
            chores.push(session.event_lane.deadline(now));
            chores.push(Some(session.pace.backlog_due()));
            chores.push(Some(self.state_due(session)));
            chores.push(self.newest().and_then(|newest| self.position_due(session, &newest)));
        }
        let chores = chores.into_iter().flatten().filter(|due| *due > now);
        ends.into_iter().flatten().chain(chores).min()
    }

    pub(super) fn newest(&self) -> Option<Record> {
        *self.relay.inputs.live.borrow()
    }

    pub(super) fn position_due(&self, session: &Session, newest: &Record) -> Option<Uptime> {
        let health = self.relay.inputs.health.borrow();
        if session.reports_said.is_some_and(|said| said != health.wishes.reports) {
            return Some(Uptime::ZERO);
        }
        let mut due = session.position.due(newest, &self.relay.config, self.relay.stretch)?;
        let wished =
            health.wishes.rate.filter(|(_, until)| self.relay.inputs.clock.uptime() < *until);
        if let Some((every, at)) = wished.map(|(every, _)| every).zip(session.position.said_at()) {
            due = due.min(at + every);
        }
        // The last one of a recording has no successor to wait for.
        let elsewhere = session.place_said.is_some_and(|said| said != health.route.place());
        Some(if self.drained || elsewhere { Uptime::ZERO } else { due })
    }

    pub(super) fn state_interval(&self) -> Duration {
        stretched(self.relay.config.state_interval, self.relay.stretch)
    }

    pub(super) fn state_due(&self, session: &Session) -> Uptime {
        let health = self.relay.inputs.health.borrow();
        session.state.due(&health, self.state_interval())
    }
}
