//! What `state` says.

use super::Epoch;
use crate::core::record::{Record, Subject};
use crate::relay::health::{Health, RouteState};
use crate::relay::link::Links;
use crate::units::UtcTime;
use crate::wire::VERSION;
use crate::wire::json::{LinkUse, OutboxState, State};

impl<L: Links> Epoch<'_, L> {
    /// The agent as it is at `utc`.
    pub(super) fn state(&self, health: &Health, utc: UtcTime) -> State {
        let uptime = self.relay.inputs.clock.uptime();
        let age = health.newest_fix_at.map(|at| uptime.since(at));
        let mut gnss = health.gnss.clone();
        gnss.age_s = age.map(|age| (age.as_secs_f64() * 10.0).round() / 10.0);
        let RouteState { duty, route, manifest_rev, manifest_error, .. } = health.route.clone();
        let RouteState { next_stop, delay, scanners, .. } = health.route.clone();
        State {
            v: VERSION,
            van: self.relay.config.van.to_string(),
            ts: utc.to_string(),
            duty,
            route,
            manifest_rev,
            manifest_error,
            next_stop,
            delay,
            scanners,
            gnss,
            outbox: self.outbox_state(),
            link: Some(self.link_use()),
        }
    }

    fn link_use(&self) -> LinkUse {
        let status = self.relay.status();
        let status = status.borrow();
        LinkUse {
            bytes_today: status.air.today,
            bytes_month: status.air.month,
            cadence: status.stretch.factor(),
        }
    }

    fn outbox_state(&self) -> OutboxState {
        let newest =
            self.newest().map(|Record { subject: Subject::Point(point), .. }| point.fix.utc);
        let stats = *self.stats.borrow();
        let complete_until = if stats.pending == 0 { newest } else { stats.oldest };
        OutboxState {
            pending: stats.pending,
            oldest_ts: stats.oldest.map(|utc| utc.to_string()),
            complete_until_ts: complete_until.map(|utc| utc.to_string()),
            thinned: stats.thinned,
            dropped: stats.dropped,
            bytes: stats.bytes,
            written_bytes_today: stats.written_bytes_today,
            device_bytes_today: stats.device_bytes_today,
        }
    }
}
