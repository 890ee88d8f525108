//! Builds the [`Status`] of the control socket from the agent's watch channels.

use crate::control::VERSION;
use crate::control::status::{
    CardStatus, FixStatus, JourneyStatus, LinkStatus, MessageStatus, OutboxStatus, ReceiverStatus,
    RouteStatus, ScannerStatus, Status,
};
use crate::outbox::flash_wear::card_life_years;
use crate::scanner::{ScannerState, ScannerSummary};
use crate::uplink::{ConnectStage, LinkState};
use waypost_model::fix::Fix;
use waypost_model::motion::Motion;
use waypost_model::record::Subject;
use waypost_model::units::Uptime;
use waypost_pipeline::ReceiverStats;
use waypost_service::clock::Clock;
use waypost_wire::VanId;

use super::AgentWatches;

/// Minimum time of measurement for an estimate per day, in seconds.
const MIN_MEASURED_S: u64 = 3600;
const DAY_S: u64 = 86_400;

/// Collects the current values of all watch channels.
#[derive(Clone, Debug)]
pub struct StatusCollector {
    pub(super) van: VanId,
    pub(super) watches: AgentWatches,
    pub(super) clock: Clock,
    /// Capacity of the device that holds the outbox.
    pub(super) capacity_bytes: Option<u64>,
}

impl StatusCollector {
    /// Returns the current status.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = self.clock.uptime();
        let reception = *self.watches.reception.borrow();
        Status {
            version: VERSION.to_owned(),
            van: self.van.to_string(),
            ts: self.clock.utc().map(|utc| utc.to_string()),
            uptime_s: now.since_start().as_secs(),
            receiver: self.receiver(&reception, now),
            fix: reception.newest.map(|newest| fix(&newest, now)),
            time: reception.time_trust.as_str().to_owned(),
            journey: self.journey(),
            route: self.route(),
            message: self.message(now),
            outbox: self.outbox(),
            card: self.card(now),
            link: self.link(now),
            scanners: self.watches.scanners.borrow().iter().map(|one| scanner(one, now)).collect(),
        }
    }

    fn receiver(&self, reception: &ReceiverStats, now: Uptime) -> ReceiverStatus {
        let gnss = self.watches.health.borrow().gnss.clone();
        ReceiverStatus {
            state: gnss.receiver,
            error: gnss.error,
            mode: gnss.mode,
            sats_in_view: gnss.sats_in_view,
            cn0_dbhz: gnss.cn0_dbhz,
            antenna: gnss.antenna,
            warning: gnss.warning,
            baud: gnss.baud,
            line_percent: gnss.line_percent,
            setup: gnss.setup.map(|setup| match setup.refused.as_slice() {
                [] => setup.status,
                refused => format!("{}: {}", setup.status, refused.join(", ")),
            }),
            sentences: reception.sentences(),
            sentence_age_s: reception
                .sentence_at
                .map(|at| round_to_tenth(now.since(at).as_secs_f64())),
            waits_for_date: reception.is_waiting_for_date(),
            sentences_bad: gnss.sentences_bad,
            fixes_rejected: gnss.fixes_rejected,
        }
    }

    fn journey(&self) -> JourneyStatus {
        let newest = self.watches.live.borrow().map(|record| {
            let Subject::Point(point) = record.subject;
            point
        });
        let motion = match newest.map(|point| point.motion) {
            Some(Motion::Moving) => "moving",
            Some(Motion::Halted) => "halted",
            Some(Motion::Unknown) | None => "unknown",
        };
        let odo_m = newest.map(|point| point.odometer.as_metres().round());
        JourneyStatus { motion: motion.to_owned(), odo_m }
    }

    fn route(&self) -> RouteStatus {
        let health = self.watches.health.borrow();
        let route = &health.route;
        RouteStatus {
            duty: route.duty.as_str().to_owned(),
            name: route.manifest.as_ref().map(|manifest| manifest.route.clone()),
            manifest_rev: route.manifest.as_ref().map(|manifest| manifest.rev),
            manifest_error: route
                .manifest_rejected
                .as_ref()
                .and_then(|rejected| rejected.errors.first().map(|error| error.detail.clone())),
            next_stop: route.next_stop.as_ref().map(|next| next.seq),
            stops_remaining: route.stops_remaining,
            delay_s: route.delay.as_ref().map(|delay| delay.by_s),
        }
    }

    fn message(&self, now: Uptime) -> Option<MessageStatus> {
        let health = self.watches.health.borrow();
        let (text, at) = health.driver_message.as_ref()?;
        Some(MessageStatus { text: text.clone(), age_s: now.since(*at).as_secs() })
    }

    fn outbox(&self) -> OutboxStatus {
        let stats = *self.watches.outbox.borrow();
        let age_ms =
            stats.oldest.zip(self.clock.utc()).map(|(oldest, now)| now.millis_since(oldest));
        OutboxStatus {
            pending: stats.pending,
            events_pending: stats.events_pending,
            oldest_ts: stats.oldest.map(|utc| utc.to_string()),
            oldest_age_s: age_ms.and_then(|ms| u64::try_from(ms / 1000).ok()),
            thinned: stats.thinned,
            dropped: stats.dropped,
            failing: stats.failing,
            bytes: stats.bytes,
        }
    }

    fn card(&self, now: Uptime) -> CardStatus {
        let stats = *self.watches.outbox.borrow();
        let (written, device) = (stats.written_bytes_today, stats.device_bytes_today);
        // The counters start at midnight UTC or with the agent.
        let midnight_s = self.clock.utc().and_then(|utc| u64::try_from(utc.as_unix_ms()).ok());
        let midnight_s = midnight_s.map_or(DAY_S, |ms| ms / 1000 % DAY_S);
        let counted_s = now.since_start().as_secs().min(midnight_s);
        let per_day = (counted_s >= MIN_MEASURED_S)
            .then(|| device.unwrap_or(written).saturating_mul(DAY_S) / counted_s);
        let life = self.capacity_bytes.zip(per_day);
        CardStatus {
            written_bytes_today: written,
            device_bytes_today: device,
            capacity_bytes: self.capacity_bytes,
            life_years: life
                .map(|(capacity, per_day)| round_to_tenth(card_life_years(capacity, per_day))),
        }
    }

    fn link(&self, now: Uptime) -> LinkStatus {
        let link = self.watches.link.borrow();
        let backoff_s = match link.state {
            LinkState::BackingOff { wait } => Some(round_to_tenth(wait.as_secs_f64())),
            LinkState::Connecting | LinkState::Connected | LinkState::Stopped => None,
        };
        LinkStatus {
            state: link.state.to_string(),
            for_s: now.since(link.since).as_secs(),
            backoff_s,
            last_error: link.last_error.clone(),
            last_reason: link.last_reason.map(|reason| reason.to_string()),
            stage: link.stage.map(|stage| stage.as_str().to_owned()),
            cause: link.stage.and_then(ConnectStage::cause).map(str::to_owned),
            downlink_error: link.downlink_error.clone(),
            downlink_messages: link.downlink_messages,
            downlink_dropped: link.downlink_dropped,
            commands_unsigned: *self.watches.unsigned_commands.borrow(),
            acks_unfit: link.acks_invalid,
            answers_lost: link.responses_lost,
            reconnects: link.reconnects,
            positions: link.positions,
            track_messages: link.track_messages,
            points_acked: link.points_acked,
            event_messages: link.event_messages,
            events_acked: link.events_acked,
            events_too_large: link.events_too_large,
            payload_bytes: link.payload_bytes,
            air_bytes_today: link.data_usage.today,
            air_bytes_month: link.data_usage.month,
        }
    }
}

fn fix(fix: &Fix, now: Uptime) -> FixStatus {
    FixStatus {
        age_s: round_to_tenth(now.since(fix.read_at).as_secs_f64()),
        ts: fix.utc.to_string(),
        mode: fix.mode.dimensions(),
        sats: fix.satellites_used,
        acc_m: fix.accuracy.map(|accuracy| round_to_tenth(accuracy.as_metres())),
        speed_mps: fix.speed.map(|speed| round_to_tenth(speed.as_mps())),
    }
}

fn scanner(standing: &ScannerSummary, now: Uptime) -> ScannerStatus {
    let error = match &standing.state {
        ScannerState::Gone(error) => Some(error.clone()),
        ScannerState::Connecting | ScannerState::Open => None,
    };
    ScannerStatus {
        name: standing.name.clone(),
        kind: standing.by.as_str().to_owned(),
        state: standing.state.as_str().to_owned(),
        error,
        scans: standing.scans,
        last_scan_age_s: standing.newest_at.map(|at| now.since(at).as_secs()),
        garbage: standing.garbage,
    }
}

/// Rounds to one decimal for display.
fn round_to_tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::uplink::LinkStatus as Link;
    use waypost_service::liveness::Liveness;

    #[test]
    fn whatever_the_relay_counts_can_be_asked_for() {
        let mut link = Link::new(Uptime::ZERO);
        link.downlink_messages = 1;
        link.downlink_dropped = 2;
        link.acks_invalid = 3;
        link.responses_lost = 4;
        link.positions = 5;
        link.track_messages = 6;
        link.event_messages = 7;
        link.events_acked = 8;
        link.events_too_large = 9;
        link.points_acked = 10;
        link.payload_bytes = 11;
        link.reconnects = 12;
        let watches = AgentWatches {
            reception: watch::Sender::default().subscribe(),
            health: watch::Sender::default().subscribe(),
            live: watch::Sender::new(None).subscribe(),
            outbox: watch::Sender::default().subscribe(),
            link: watch::Sender::new(link).subscribe(),
            scanners: watch::Sender::default().subscribe(),
            unsigned_commands: watch::Sender::new(13).subscribe(),
            liveness: Liveness::default(),
        };
        let overview = StatusCollector {
            van: VanId::new("VAN-042").unwrap(),
            watches,
            clock: Clock::live(),
            capacity_bytes: None,
        };
        let said = serde_json::to_value(overview.status().link).unwrap();
        for (name, count) in [
            ("downlink_messages", 1),
            ("downlink_dropped", 2),
            ("acks_unfit", 3),
            ("answers_lost", 4),
            ("positions", 5),
            ("track_messages", 6),
            ("event_messages", 7),
            ("events_acked", 8),
            ("events_too_large", 9),
            ("points_acked", 10),
            ("payload_bytes", 11),
            ("reconnects", 12),
            ("commands_unsigned", 13),
        ] {
            assert_eq!(said[name], count, "{name}: {said}");
        }
    }
}
