//! Builds the `state` message.

use super::BrokerConnection;
use crate::uplink::agent_health::{Health, RouteState};
use crate::uplink::connector::Connector;
use waypost_model::record::{Record, Subject};
use waypost_model::units::UtcTime;
use waypost_wire::VERSION;
use waypost_wire::payloads::{LinkUsage, OutboxState, State};

impl<L: Connector> BrokerConnection<'_, L> {
    /// The state of the agent at `utc`.
    pub(super) fn state(&self, health: &Health, utc: UtcTime) -> State {
        let uptime = self.uplink.inputs.clock.uptime();
        let age = health.newest_fix_at.map(|at| uptime.since(at));
        let mut gnss = health.gnss.clone();
        gnss.age_s = age.map(|age| (age.as_secs_f64() * 10.0).round() / 10.0);
        let RouteState { duty, manifest, manifest_rejected, .. } = health.route.clone();
        let RouteState { next_stop, delay, scanners, .. } = health.route.clone();
        State {
            v: VERSION,
            van: self.uplink.config.van.to_string(),
            ts: utc.to_string(),
            duty,
            manifest,
            manifest_rejected,
            next_stop,
            delay,
            scanners,
            gnss,
            outbox: self.outbox_state(),
            link: Some(self.link_use()),
        }
    }

    fn link_use(&self) -> LinkUsage {
        let status = self.uplink.status();
        let status = status.borrow();
        LinkUsage {
            bytes_today: status.data_usage.today,
            bytes_month: status.data_usage.month,
            throttle_factor: status.throttle.factor(),
        }
    }

    fn outbox_state(&self) -> OutboxState {
        let newest =
            self.newest_fix().map(|Record { subject: Subject::Point(point), .. }| point.fix.utc);
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
