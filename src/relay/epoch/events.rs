//! `event`: one message each, ahead of the trail.

use super::{End, Epoch, Message};
use crate::relay::events::{Attempt, MAX_IN_FLIGHT, ReadyEvent};
use crate::relay::link::{Delivery, Links, Publication};
use crate::units::Uptime;
use crate::wire::epcis;

/// Events that are too large and are remembered; of more nobody is told.
const MAX_OVERSIZED: usize = 1000;

/// Whether the trail may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trail {
    MayGo,
    /// An event waits for room in the window, and nothing overtakes it.
    Waits,
}

impl<L: Links> Epoch<'_, L> {
    pub(super) async fn send_events(&mut self, now: Uptime) -> Result<Trail, End> {
        while let Some(session) = &mut self.session {
            let under_way = session.events();
            let may = under_way < MAX_IN_FLIGHT
                && self.relay.event_refusals.allow(under_way, now)
                && session.in_flight.has_room(1)
                && self.relay.acks.has_room_for_events();
            if !may {
                break;
            }
            let Some(ready) = session.ready_event.take() else {
                if !self.get_event_ready(under_way, now).await? {
                    break;
                }
                continue;
            };
            let ReadyEvent { attempt, payload } = &ready;
            if payload.len() > session.max_payload(&self.relay.config.topics.event) {
                self.too_large(*attempt, now);
                continue;
            }
            if let Some(until) = self.relay.suspects.wait_until(attempt.seq, now) {
                session.event_lane.wait(attempt.seq, attempt.refused, until);
                continue;
            }
            if !session.in_flight.has_room(payload.len()) {
                session.ready_event = Some(ready);
                return Ok(Trail::Waits);
            }
            let ReadyEvent { attempt, payload } = ready;
            let topic = self.relay.config.topics.event.clone();
            let publication = Publication {
                topic,
                payload,
                delivery: Delivery::AtLeastOnce,
                content_type: Some(epcis::CONTENT_TYPE),
            };
            self.hand_over(Message::Event(attempt), publication, now)?;
            if self.relay.config.waits_for_ack() {
                self.relay.acks.sent_event(attempt.seq, now);
            }
            self.relay.report.count(|status| status.event_messages += 1);
        }
        Ok(Trail::MayGo)
    }

    /// Takes the next event out of the lane; false if none is due.
    async fn get_event_ready(&mut self, under_way: usize, now: Uptime) -> Result<bool, End> {
        let Some(session) = &mut self.session else { return Ok(false) };
        if now < session.outbox_not_before {
            return Ok(false);
        }
        let under_way = under_way + self.relay.acks.events();
        match session.event_lane.next(&self.relay.inputs.outbox, under_way, now).await {
            Ok(Some((record, refused))) => {
                if let Some(lowest) = session.event_lane.lowest.take() {
                    self.relay.oversized = self.relay.oversized.split_off(&lowest);
                    let count = self.relay.oversized.len() as u64;
                    self.relay.report.count(|status| status.events_too_large = count);
                }
                let payload = epcis::encode(&record, &self.relay.config.names);
                let attempt = Attempt { seq: record.seq, refused, bytes: payload.len() };
                session.ready_event = Some(ReadyEvent { attempt, payload });
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => {
                self.outbox_failed(error, now)?;
                Ok(false)
            }
        }
    }

    /// The broker would cut the link, again and again. It is looked at again in case another broker takes more.
    fn too_large(&mut self, attempt: Attempt, now: Uptime) {
        let Some(session) = &mut self.session else { return };
        session.event_lane.park(attempt, now);
        let is_full = self.relay.oversized.len() >= MAX_OVERSIZED;
        if !is_full && self.relay.oversized.insert(attempt.seq) {
            let Attempt { seq, bytes, .. } = attempt;
            let most = session.welcome.max_packet_bytes;
            tracing::error!(%seq, bytes, most, "event is larger than the broker takes, keeping it");
            let count = self.relay.oversized.len() as u64;
            self.relay.report.count(|status| status.events_too_large = count);
        }
    }
}
