//! What the broker says: PUBACK, SUBACK, and messages for the van.

use super::{Epoch, Message, Subscribed};
use crate::relay::Relay;
use crate::relay::downlink::{MAX_COMMAND_BYTES, MAX_MANIFEST_BYTES};
use crate::relay::link::{Links, ReasonCode};
use crate::units::Uptime;

impl<L: Links> Epoch<'_, L> {
    /// A PUBACK came.
    pub(super) fn answered(&mut self, message: Message, reason: ReasonCode, now: Uptime) {
        let Relay { config, inputs, removals, refusals, answers, report, .. } = &mut *self.relay;
        let Some(session) = &mut self.session else { return };
        let unheard = reason == ReasonCode::NO_MATCHING_SUBSCRIBERS && config.require_subscriber;
        match message {
            Message::Track(batch) if reason.is_failure() || unheard => {
                session.lanes.park(batch, now);
                if refusals.refused(reason, now) {
                    let topic = &config.topics.track;
                    tracing::warn!(%topic, %reason, "broker refuses records, keeping them");
                }
                report.count(|status| status.last_reason = Some(reason));
            }
            Message::Track(batch) => {
                inputs.outbox.acknowledge(&(batch.first..=batch.last));
                removals.note(&inputs.outbox, batch.points, now);
                if refusals.accepted(now) {
                    tracing::info!(topic = %config.topics.track, "broker accepts records again");
                    report.count(|status| status.last_reason = None);
                }
                report.count(|status| status.points_acked += batch.points);
            }
            Message::Subscription => {}
            Message::Connection | Message::State | Message::Answer(_) => {
                if let Message::Answer(number) = message {
                    answers.done(number);
                    let lost = u64::from(reason.is_failure());
                    report.count(|status| status.answers_lost += lost);
                }
                let refused = reason.is_failure().then_some(reason);
                if let Some(reason) = refused
                    && session.control_refused != refused
                {
                    tracing::warn!(?message, %reason, "broker refuses a message about the agent");
                }
                session.control_refused = refused;
            }
        }
    }

    /// SUBACK came.
    pub(super) fn subscribed(&mut self, reasons: &[ReasonCode]) {
        if let Some(session) = &mut self.session {
            session.subscription = Subscribed::Answered;
        }
        self.relay.subscription.answered();
        let topics = &self.relay.config.topics;
        let topics = [&topics.manifest, &topics.command, &topics.ack];
        let refused = topics.iter().zip(reasons).filter(|(_, reason)| reason.is_failure());
        let refused: Vec<_> =
            refused.map(|(topic, reason)| format!("{topic} refused with {reason}")).collect();
        self.relay.report.downlink((!refused.is_empty()).then(|| refused.join(", ")));
    }

    /// A message came.
    pub(super) fn heard_of(&mut self, topic: &str, payload: Vec<u8>, retained: bool) {
        let Relay { config, inputs, report, .. } = &mut *self.relay;
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
            true
        };
        report.count(|status| {
            status.downlink_messages += 1;
            status.downlink_dropped += u64::from(!taken);
        });
    }
}
