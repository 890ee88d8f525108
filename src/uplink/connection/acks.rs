//! Handlers for PUBACK, SUBACK and incoming messages.

use super::{BrokerConnection, InFlightMessage, SubscribeState};
use crate::uplink::backend_acks::{Confirmed, InvalidAck};
use crate::uplink::connector::{ConnectStage, Connector, ReasonCode};
use crate::uplink::downlink::{MAX_COMMAND_BYTES, MAX_MANIFEST_BYTES};
use crate::uplink::event_queue::Attempt;
use crate::uplink::publish_rejections::RejectionBackoff;
use crate::uplink::status::StatusReporter;
use crate::uplink::subscription::SubscriptionPlan;
use crate::uplink::track_queue::Batch;
use crate::uplink::{TrafficKind, Uplink};
use waypost_model::record::Seq;
use waypost_model::units::Uptime;

impl<L: Connector> BrokerConnection<'_, L> {
    pub(super) fn on_puback(&mut self, message: InFlightMessage, reason: ReasonCode, now: Uptime) {
        match message {
            InFlightMessage::Subscription => {}
            InFlightMessage::Track(batch) => self.on_track_puback(batch, reason, now),
            InFlightMessage::Event(attempt) => self.on_event_puback(attempt, reason, now),
            InFlightMessage::Connection | InFlightMessage::State | InFlightMessage::Response(_) => {
                self.on_control_puback(message, reason);
            }
        }
    }

    /// Whether the message may not have reached the backend.
    fn is_rejected(&self, reason: ReasonCode) -> bool {
        let unanswered = reason == ReasonCode::NO_MATCHING_SUBSCRIBERS;
        reason.is_failure() || unanswered && self.uplink.config.require_subscriber
    }

    fn on_track_puback(&mut self, batch: Batch, reason: ReasonCode, now: Uptime) {
        let is_rejected = self.is_rejected(reason);
        let Uplink { config, backend_acks: acks, track_rejections: refusals, reporter, .. } =
            &mut *self.uplink;
        let Some(session) = &mut self.session else { return };
        let topic = &config.topics.track;
        if is_rejected {
            session.track_queue.defer(batch, now);
            acks.on_track_rejected(batch, now);
            record_rejection(refusals, reporter, (topic, reason), now);
            return;
        }
        record_success(refusals, reporter, topic, now);
        if !config.requires_backend_ack() || acks.on_track_accepted(batch, now) {
            self.on_track_stored(batch, now);
        }
    }

    fn on_track_stored(&mut self, batch: Batch, now: Uptime) {
        let Uplink { inputs, pruner: removals, reporter, .. } = &mut *self.uplink;
        inputs.outbox.acknowledge(&(batch.first..=batch.last));
        removals.record_acked(&inputs.outbox, batch.points, now);
        reporter.update(|status| status.points_acked += batch.points);
    }

    fn on_event_puback(&mut self, attempt: Attempt, reason: ReasonCode, now: Uptime) {
        let is_rejected = self.is_rejected(reason);
        let Uplink { config, backend_acks: acks, suspects, event_rejections, reporter, .. } =
            &mut *self.uplink;
        let Some(session) = &mut self.session else { return };
        let topic = &config.topics.event;
        if is_rejected {
            session.event_queue.defer(attempt, now);
            acks.on_event_rejected(attempt.seq, now);
            record_rejection(event_rejections, reporter, (topic, reason), now);
            return;
        }
        record_success(event_rejections, reporter, topic, now);
        suspects.clear(attempt.seq);
        if !config.requires_backend_ack() || acks.on_event_accepted(attempt.seq, now) {
            self.on_event_stored(attempt.seq, now);
        }
    }

    fn on_event_stored(&mut self, seq: Seq, now: Uptime) {
        let Uplink { inputs, pruner: removals, oversized, reporter, .. } = &mut *self.uplink;
        inputs.outbox.acknowledge_events(&[seq]);
        removals.record_acked(&inputs.outbox, 1, now);
        oversized.remove(&seq);
        let too_large = oversized.len() as u64;
        reporter.update(|status| {
            status.events_acked += 1;
            status.events_too_large = too_large;
        });
    }

    /// Handles an `ack` of the backend, if the configuration requires it.
    fn on_backend_ack(&mut self, payload: &[u8], now: Uptime) {
        if !self.uplink.config.requires_backend_ack() {
            return;
        }
        match self.uplink.backend_acks.on_ack(payload, now) {
            Ok(Confirmed { tracks, events }) => {
                tracks.into_iter().for_each(|batch| self.on_track_stored(batch, now));
                events.into_iter().for_each(|seq| self.on_event_stored(seq, now));
            }
            Err(InvalidAck) => self.uplink.reporter.update(|status| status.acks_invalid += 1),
        }
    }

    fn on_control_puback(&mut self, message: InFlightMessage, reason: ReasonCode) {
        let Uplink { responses: answers, reporter, .. } = &mut *self.uplink;
        let Some(session) = &mut self.session else { return };
        if let InFlightMessage::Response(number) = message {
            answers.remove(number);
            let lost = u64::from(reason.is_failure());
            reporter.update(|status| status.responses_lost += lost);
        }
        let refused = reason.is_failure().then_some(reason);
        let kind = match message {
            InFlightMessage::Connection => 0,
            InFlightMessage::State => 1,
            _ => 2,
        };
        let before = std::mem::replace(&mut session.control_rejections[kind], refused);
        if let Some(reason) = refused.filter(|_| before != refused) {
            tracing::warn!(?message, %reason, "broker rejects an agent message");
        }
    }

    pub(super) fn on_suback(&mut self, reasons: &[ReasonCode]) {
        let Some(session) = &mut self.session else { return };
        session.subscription = SubscribeState::Acknowledged;
        let wanted = session.plan;
        self.uplink.subscription.on_suback();
        if wanted != SubscriptionPlan::All {
            // The missing downlink is reported already.
            return;
        }
        let topics = wanted.topics(&self.uplink.config);
        let refused = topics.iter().zip(reasons).filter(|(_, reason)| reason.is_failure());
        let refused: Vec<_> =
            refused.map(|(topic, reason)| format!("{topic} rejected with {reason}")).collect();
        self.uplink.reporter.set_downlink_error((!refused.is_empty()).then(|| refused.join(", ")));
    }

    /// Handles an incoming message.
    pub(super) fn on_message(
        &mut self,
        topic: &str,
        payload: Vec<u8>,
        retained: bool,
        now: Uptime,
    ) {
        let is_ack = topic == self.uplink.config.topics.ack;
        // Ignore a retained `ack`: it is older than all messages of this connection.
        if is_ack && !retained {
            self.on_backend_ack(&payload, now);
        }
        let Uplink { config, inputs, reporter, data_meter: air, .. } = &mut *self.uplink;
        air.count(TrafficKind::Qos1(topic.len(), payload.len()));
        let taken = if topic == config.topics.manifest {
            let fits = payload.len() <= MAX_MANIFEST_BYTES;
            if fits {
                inputs.downlink.manifest(payload);
            }
            fits
        } else if topic == config.topics.command {
            // Ignore a retained command: it would run again on each connection.
            !retained && payload.len() <= MAX_COMMAND_BYTES && inputs.downlink.command(payload)
        } else {
            !(is_ack && retained)
        };
        reporter.update(|status| {
            status.downlink_messages += 1;
            status.downlink_dropped += u64::from(!taken);
        });
    }
}

/// Records that the broker rejected a message. Logs the first rejection with each reason.
fn record_rejection(
    refusals: &mut RejectionBackoff,
    reporter: &StatusReporter,
    (topic, reason): (&str, ReasonCode),
    now: Uptime,
) {
    if refusals.on_rejected(reason, now) {
        tracing::warn!(%topic, %reason, "broker rejects records: keeping them");
    }
    reporter.update(|status| {
        (status.last_reason, status.stage) = (Some(reason), Some(ConnectStage::Publish));
    });
}

/// Records that the broker accepted a message. Logs the end of a rejection.
fn record_success(
    refusals: &mut RejectionBackoff,
    reporter: &StatusReporter,
    topic: &str,
    now: Uptime,
) {
    if refusals.on_accepted(now) {
        tracing::info!(%topic, "broker accepts records again");
        reporter.update(|status| (status.last_reason, status.stage) = (None, None));
    }
}
