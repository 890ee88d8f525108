//! `track`: batches, as far as the window and the pace allow.

use std::time::Duration;

use super::{End, Epoch, Message};
use crate::outbox::OutboxError;
use crate::relay::lanes::{Backlog, Encoded};
use crate::relay::link::{Delivery, Links, Publication, ReasonCode};
use crate::units::Uptime;
use crate::wire::json::Lane;

/// A payload is never larger: the large clouds take 128 KiB.
const MAX_PAYLOAD_BYTES: usize = 120 * 1024;

/// After an error, the outbox is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

impl<L: Links> Epoch<'_, L> {
    pub(super) async fn send_tracks(&mut self, now: Uptime) -> Result<(), End> {
        while let Some(session) = &mut self.session {
            let Self { relay, .. } = self;
            let may = relay.refusals.allow(session.tracks(), now) && session.pace.has_heard();
            if !may || !session.in_flight.has_room(1) || !relay.acks.has_room_for_tracks() {
                break;
            }
            let topic = &relay.config.topics.track;
            let most = session.max_payload(topic);
            let Some(ready) = session.ready.take() else {
                // Two at a time at least: the link is not idle while a PUBACK travels.
                let usual = MAX_PAYLOAD_BYTES.min(session.pace.window() / 2).min(most);
                if !self.get_ready(usual, now).await? {
                    break;
                }
                continue;
            };
            if ready.payload.len() > most {
                // Not even a single point: the broker would cut the link, again and again.
                self.answered(Message::Track(ready.batch), ReasonCode::PACKET_TOO_LARGE, now);
                continue;
            }
            if !session.in_flight.has_room(ready.payload.len()) {
                session.ready = Some(ready);
                break;
            }
            let Encoded { batch, payload } = ready;
            let topic = topic.clone();
            let publication =
                Publication { topic, payload, delivery: Delivery::AtLeastOnce, content_type: None };
            let bytes = publication.payload.len();
            self.hand_over(Message::Track(batch), publication, now)?;
            if self.relay.config.waits_for_ack() {
                self.relay.acks.sent_track(batch, now);
            }
            if let Some(session) = self.session.as_mut().filter(|_| batch.lane == Lane::Backlog) {
                session.pace.spent(bytes, now);
            }
            self.relay.report.count(|status| status.track_messages += 1);
        }
        Ok(())
    }

    /// Takes the next batch out of the lanes; false if none is due.
    async fn get_ready(&mut self, max_bytes: usize, now: Uptime) -> Result<bool, End> {
        let Some(session) = &mut self.session else { return Ok(false) };
        if now < session.outbox_not_before {
            return Ok(false);
        }
        let (outbox, van) = (&self.relay.inputs.outbox, self.relay.config.van.as_str());
        let has_room = self.drained || self.relay.stretch.has_room_for_backlog();
        let may_go = has_room && now >= session.pace.backlog_due();
        let backlog = if may_go { Backlog::MayGo } else { Backlog::Waits };
        match session.lanes.next(outbox, van, (max_bytes, backlog), now).await {
            Ok(next) => {
                session.ready = next;
                Ok(session.ready.is_some())
            }
            Err(error) => {
                self.outbox_failed(error, now)?;
                Ok(false)
            }
        }
    }

    pub(super) fn outbox_failed(&mut self, error: OutboxError, now: Uptime) -> Result<(), End> {
        if let OutboxError::Closed { .. } = error {
            return Err(End::Outbox(error));
        }
        if let Some(session) = &mut self.session {
            session.outbox_not_before = now + TRY_AGAIN_AFTER;
            let error = Some(error.to_string());
            if session.outbox_error != error {
                tracing::warn!(error = error.as_deref(), "outbox cannot be used, trying again");
                session.outbox_error = error;
            }
        }
        Ok(())
    }
}
