//! Sends `event` messages, one event each, with priority over the track.

use super::{BrokerConnection, DisconnectReason, InFlightMessage};
use crate::uplink::connector::{Connector, Delivery, Publication};
use crate::uplink::event_queue::{Attempt, MAX_IN_FLIGHT, ReadyEvent};
use waypost_model::units::Uptime;
use waypost_wire::epcis;

/// Maximum number of oversized events that are tracked. Further ones are not logged.
const MAX_OVERSIZED: usize = 1000;

/// Whether track messages may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrackGate {
    Open,
    /// An event waits for space in the window and must not be overtaken.
    Blocked,
}

impl<L: Connector> BrokerConnection<'_, L> {
    pub(super) async fn send_events(&mut self, now: Uptime) -> Result<TrackGate, DisconnectReason> {
        while let Some(session) = &mut self.session {
            let under_way = session.events_in_flight();
            let may = under_way < MAX_IN_FLIGHT
                && self.uplink.event_rejections.allows(under_way, now)
                && session.in_flight.has_room(1)
                && self.uplink.backend_acks.has_room_for_events();
            if !may {
                break;
            }
            let Some(ready) = session.ready_event.take() else {
                if !self.load_next_event(under_way, now).await? {
                    break;
                }
                continue;
            };
            let ReadyEvent { attempt, payload } = &ready;
            if payload.len() > session.max_payload(&self.uplink.config.topics.event) {
                self.defer_oversized(*attempt, now);
                continue;
            }
            if let Some(until) = self.uplink.suspects.deferred_until(attempt.seq, now) {
                session.event_queue.defer_until(attempt.seq, attempt.rejections, until);
                continue;
            }
            if !session.in_flight.has_room(payload.len()) {
                session.ready_event = Some(ready);
                return Ok(TrackGate::Blocked);
            }
            let ReadyEvent { attempt, payload } = ready;
            let topic = self.uplink.config.topics.event.clone();
            let publication = Publication {
                topic,
                payload,
                delivery: Delivery::AtLeastOnce,
                content_type: Some(epcis::CONTENT_TYPE),
            };
            self.publish(InFlightMessage::Event(attempt), publication, now)?;
            if self.uplink.config.requires_backend_ack() {
                self.uplink.backend_acks.on_event_sent(attempt.seq, now);
            }
            self.uplink.reporter.update(|status| status.event_messages += 1);
        }
        Ok(TrackGate::Open)
    }

    /// Loads the next event from the queue. Returns false if none is due.
    async fn load_next_event(
        &mut self,
        under_way: usize,
        now: Uptime,
    ) -> Result<bool, DisconnectReason> {
        let Some(session) = &mut self.session else { return Ok(false) };
        if now < session.outbox_not_before {
            return Ok(false);
        }
        let under_way = under_way + self.uplink.backend_acks.events_awaiting();
        match session.event_queue.next(&self.uplink.inputs.outbox, under_way, now).await {
            Ok(Some((record, refused))) => {
                if let Some(lowest) = session.event_queue.lowest.take() {
                    self.uplink.oversized = self.uplink.oversized.split_off(&lowest);
                    let count = self.uplink.oversized.len() as u64;
                    self.uplink.reporter.update(|status| status.events_too_large = count);
                }
                let payload = epcis::encode(&record, &self.uplink.config.names);
                let attempt =
                    Attempt { seq: record.seq, rejections: refused, bytes: payload.len() };
                session.ready_event = Some(ReadyEvent { attempt, payload });
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => {
                self.on_outbox_error(error, now)?;
                Ok(false)
            }
        }
    }

    /// Defers an event that is larger than the broker accepts; the broker would close the
    /// connection each time. It is retried later, in case another broker accepts it.
    fn defer_oversized(&mut self, attempt: Attempt, now: Uptime) {
        let Some(session) = &mut self.session else { return };
        session.event_queue.defer(attempt, now);
        let is_full = self.uplink.oversized.len() >= MAX_OVERSIZED;
        if !is_full && self.uplink.oversized.insert(attempt.seq) {
            let Attempt { seq, bytes, .. } = attempt;
            let most = session.connack.max_packet_bytes;
            tracing::error!(%seq, bytes, most, "event larger than the broker's maximum packet size: keeping it");
            let count = self.uplink.oversized.len() as u64;
            self.uplink.reporter.update(|status| status.events_too_large = count);
        }
    }
}
