//! What the broker says: PUBACK, SUBACK, and messages for the van.

use super::{Epoch, Message, Subscribed};
use crate::core::record::Seq;
use crate::relay::acks::{Stored, Unfit};
use crate::relay::downlink::{MAX_COMMAND_BYTES, MAX_MANIFEST_BYTES};
use crate::relay::events::Attempt;
use crate::relay::lanes::Batch;
use crate::relay::link::{Links, ReasonCode, Stage};
use crate::relay::refusals::Refusals;
use crate::relay::status::Report;
use crate::relay::subscription::Wanted;
use crate::relay::{Relay, Traffic};
use crate::units::Uptime;

impl<L: Links> Epoch<'_, L> {
    /// A PUBACK came.
    pub(super) fn answered(&mut self, message: Message, reason: ReasonCode, now: Uptime) {
        match message {
            Message::Subscription => {}
            Message::Track(batch) => self.track_answered(batch, reason, now),
            Message::Event(attempt) => self.event_answered(attempt, reason, now),
            Message::Connection | Message::State | Message::Answer(_) => {
                self.control_answered(message, reason);
            }
        }
    }

    /// Whether the backend may not have it.
    fn is_refused(&self, reason: ReasonCode) -> bool {
        let unheard = reason == ReasonCode::NO_MATCHING_SUBSCRIBERS;
        reason.is_failure() || unheard && self.relay.config.require_subscriber
    }

    fn track_answered(&mut self, batch: Batch, reason: ReasonCode, now: Uptime) {
        let is_refused = self.is_refused(reason);
        let Relay { config, acks, refusals, report, .. } = &mut *self.relay;
        let Some(session) = &mut self.session else { return };
        let topic = &config.topics.track;
        if is_refused {
            session.lanes.park(batch, now);
            acks.refused_track(batch, now);
            refuse(refusals, report, (topic, reason), now);
            return;
        }
        accept(refusals, report, topic, now);
        if !config.waits_for_ack() || acks.accepted_track(batch, now) {
            self.track_stored(batch, now);
        }
    }

    fn track_stored(&mut self, batch: Batch, now: Uptime) {
        let Relay { inputs, removals, report, .. } = &mut *self.relay;
        inputs.outbox.acknowledge(&(batch.first..=batch.last));
        removals.note(&inputs.outbox, batch.points, now);
        report.count(|status| status.points_acked += batch.points);
    }

    fn event_answered(&mut self, attempt: Attempt, reason: ReasonCode, now: Uptime) {
        let is_refused = self.is_refused(reason);
        let Relay { config, acks, suspects, event_refusals, report, .. } = &mut *self.relay;
        let Some(session) = &mut self.session else { return };
        let topic = &config.topics.event;
        if is_refused {
            session.event_lane.park(attempt, now);
            acks.refused_event(attempt.seq, now);
            refuse(event_refusals, report, (topic, reason), now);
            return;
        }
        accept(event_refusals, report, topic, now);
        suspects.acquit(attempt.seq);
        if !config.waits_for_ack() || acks.accepted_event(attempt.seq, now) {
            self.event_stored(attempt.seq, now);
        }
    }

    fn event_stored(&mut self, seq: Seq, now: Uptime) {
        let Relay { inputs, removals, oversized, report, .. } = &mut *self.relay;
        inputs.outbox.acknowledge_events(&[seq]);
        removals.note(&inputs.outbox, 1, now);
        oversized.remove(&seq);
        let too_large = oversized.len() as u64;
        report.count(|status| {
            status.events_acked += 1;
            status.events_too_large = too_large;
        });
    }

    /// The backend has stored something. Where its word is not asked for, nobody looks at it.
    fn acked(&mut self, payload: &[u8], now: Uptime) {
        if !self.relay.config.waits_for_ack() {
            return;
        }
        match self.relay.acks.hear(payload, now) {
            Ok(Stored { tracks, events }) => {
                tracks.into_iter().for_each(|batch| self.track_stored(batch, now));
                events.into_iter().for_each(|seq| self.event_stored(seq, now));
            }
            Err(Unfit) => self.relay.report.count(|status| status.acks_unfit += 1),
        }
    }

    fn control_answered(&mut self, message: Message, reason: ReasonCode) {
        let Relay { answers, report, .. } = &mut *self.relay;
        let Some(session) = &mut self.session else { return };
        if let Message::Answer(number) = message {
            answers.done(number);
            let lost = u64::from(reason.is_failure());
            report.count(|status| status.answers_lost += lost);
        }
        let refused = reason.is_failure().then_some(reason);
        let kind = match message {
            Message::Connection => 0,
            Message::State => 1,
            _ => 2,
        };
        let before = std::mem::replace(&mut session.control_refused[kind], refused);
        if let Some(reason) = refused.filter(|_| before != refused) {
            tracing::warn!(?message, %reason, "broker refuses a message about the agent");
        }
    }

    /// SUBACK came.
    pub(super) fn subscribed(&mut self, reasons: &[ReasonCode]) {
        let Some(session) = &mut self.session else { return };
        session.subscription = Subscribed::Answered;
        let wanted = session.wanted;
        self.relay.subscription.answered();
        if wanted != Wanted::All {
            // It is known already that manifests and commands do not come.
            return;
        }
        let topics = wanted.topics(&self.relay.config);
        let refused = topics.iter().zip(reasons).filter(|(_, reason)| reason.is_failure());
        let refused: Vec<_> =
            refused.map(|(topic, reason)| format!("{topic} refused with {reason}")).collect();
        self.relay.report.downlink((!refused.is_empty()).then(|| refused.join(", ")));
    }

    /// A message came.
    pub(super) fn heard_of(&mut self, topic: &str, payload: Vec<u8>, retained: bool, now: Uptime) {
        let is_ack = topic == self.relay.config.topics.ack;
        // A retained one was said before anything of this connection was sent.
        if is_ack && !retained {
            self.acked(&payload, now);
        }
        let Relay { config, inputs, report, air, .. } = &mut *self.relay;
        air.count(Traffic::Answered(topic.len(), payload.len()));
        let taken = if topic == config.topics.manifest {
            let fits = payload.len() <= MAX_MANIFEST_BYTES;
            if fits {
                inputs.downlink.manifest(payload);
            }
            fits
        } else if topic == config.topics.command {
            // A retained one would run again with each connection.
            !retained && payload.len() <= MAX_COMMAND_BYTES && inputs.downlink.command(payload)
        } else {
            !(is_ack && retained)
        };
        report.count(|status| {
            status.downlink_messages += 1;
            status.downlink_dropped += u64::from(!taken);
        });
    }
}

/// The broker refuses a topic: said when it is news.
fn refuse(
    refusals: &mut Refusals,
    report: &Report,
    (topic, reason): (&str, ReasonCode),
    now: Uptime,
) {
    if refusals.refused(reason, now) {
        tracing::warn!(%topic, %reason, "broker refuses records, keeping them");
    }
    report.count(|status| {
        (status.last_reason, status.stage) = (Some(reason), Some(Stage::Publish));
    });
}

/// It accepts something; if that ends a refusal, it is said.
fn accept(refusals: &mut Refusals, report: &Report, topic: &str, now: Uptime) {
    if refusals.accepted(now) {
        tracing::info!(%topic, "broker accepts records again");
        report.count(|status| (status.last_reason, status.stage) = (None, None));
    }
}
