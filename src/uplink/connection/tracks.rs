//! Sends `track` batches, as far as window and flow control allow.

use std::time::Duration;

use super::{BrokerConnection, DisconnectReason, InFlightMessage};
use crate::outbox::OutboxError;
use crate::uplink::connector::{Connector, Delivery, Publication, ReasonCode};
use crate::uplink::track_queue::{Backlog, EncodedBatch};
use waypost_model::units::Uptime;
use waypost_wire::payloads::TrackSource;

/// Maximum payload of a batch. Large cloud brokers accept 128 KiB.
const MAX_PAYLOAD_BYTES: usize = 120 * 1024;

/// Delay before the outbox is accessed again after an error.
const RETRY_DELAY: Duration = Duration::from_secs(5);

impl<L: Connector> BrokerConnection<'_, L> {
    pub(super) async fn send_tracks(&mut self, now: Uptime) -> Result<(), DisconnectReason> {
        while let Some(session) = &mut self.session {
            let Self { uplink: relay, .. } = self;
            let may = relay.track_rejections.allows(session.tracks_in_flight(), now)
                && session.flow_control.has_rtt_sample();
            if !may || !session.in_flight.has_room(1) || !relay.backend_acks.has_room_for_tracks() {
                break;
            }
            let topic = &relay.config.topics.track;
            let most = session.max_payload(topic);
            let Some(ready) = session.ready_batch.take() else {
                // At least two batches fit into the window, so that the connection is not idle
                // while a PUBACK is on its way.
                let usual = MAX_PAYLOAD_BYTES.min(session.flow_control.window() / 2).min(most);
                if !self.next_batch(usual, now).await? {
                    break;
                }
                continue;
            };
            if ready.payload.len() > most {
                // Even a single point is too large, and the broker would close the connection each
                // time.
                self.on_puback(
                    InFlightMessage::Track(ready.batch),
                    ReasonCode::PACKET_TOO_LARGE,
                    now,
                );
                continue;
            }
            if !session.in_flight.has_room(ready.payload.len()) {
                session.ready_batch = Some(ready);
                break;
            }
            let EncodedBatch { batch, payload } = ready;
            let topic = topic.clone();
            let publication =
                Publication { topic, payload, delivery: Delivery::AtLeastOnce, content_type: None };
            let bytes = publication.payload.len();
            self.publish(InFlightMessage::Track(batch), publication, now)?;
            if self.uplink.config.requires_backend_ack() {
                self.uplink.backend_acks.on_track_sent(batch, now);
            }
            if let Some(session) =
                self.session.as_mut().filter(|_| batch.source == TrackSource::Backlog)
            {
                session.flow_control.on_backlog_sent(bytes, now);
            }
            self.uplink.reporter.update(|status| status.track_messages += 1);
        }
        Ok(())
    }

    /// Loads the next batch from the queue. Returns false if none is due.
    async fn next_batch(
        &mut self,
        max_bytes: usize,
        now: Uptime,
    ) -> Result<bool, DisconnectReason> {
        let Some(session) = &mut self.session else { return Ok(false) };
        if now < session.outbox_not_before {
            return Ok(false);
        }
        let (outbox, van) = (&self.uplink.inputs.outbox, self.uplink.config.van.as_str());
        let has_room = self.drained || self.uplink.throttle.allows_backlog();
        let may_go = has_room && now >= session.flow_control.backlog_due();
        let backlog = if may_go { Backlog::Allowed } else { Backlog::Held };
        match session.track_queue.next(outbox, van, (max_bytes, backlog), now).await {
            Ok(next) => {
                session.ready_batch = next;
                Ok(session.ready_batch.is_some())
            }
            Err(error) => {
                self.on_outbox_error(error, now)?;
                Ok(false)
            }
        }
    }

    pub(super) fn on_outbox_error(
        &mut self,
        error: OutboxError,
        now: Uptime,
    ) -> Result<(), DisconnectReason> {
        if let OutboxError::Closed { .. } = error {
            return Err(DisconnectReason::Outbox(error));
        }
        if let Some(session) = &mut self.session {
            session.outbox_not_before = now + RETRY_DELAY;
            let error = Some(error.to_string());
            if session.outbox_error != error {
                tracing::warn!(error = error.as_deref(), "outbox access failed: retrying");
                session.outbox_error = error;
            }
        }
        Ok(())
    }
}
