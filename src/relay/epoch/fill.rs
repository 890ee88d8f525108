//! What goes out, in its order: `connection`, `state`, `position`, then `track` as far as the window allows.

use super::events::Trail;
use super::{End, Epoch, Leave, Message, Subscribed};
use crate::relay::in_flight::Fault;
use crate::relay::link::{Delivery, Link, Links, Publication};
use crate::relay::{FAREWELL, MqttVersion, RelayError, Traffic};
use crate::units::Uptime;
use crate::wire::json::ConnectionState;

impl<L: Links> Epoch<'_, L> {
    /// Hands over all that may go now. Who calls again at once finds nothing to do.
    pub(super) async fn fill(&mut self, now: Uptime) -> Result<(), End> {
        self.relay.look_at_air();
        let Some(session) = &mut self.session else { return Ok(()) };
        session.lanes.stretch(self.relay.stretch);
        let wishes = self.relay.inputs.health.borrow().wishes;
        session.lanes.at_once =
            self.drained || self.relay.inputs.clock.uptime() < wishes.flush_until;
        let the_end = self.drained && session.in_flight.is_empty();
        if self.relay.removals.are_due(the_end, now) {
            self.flush().await?;
        }
        if self.leave.is_none() {
            self.subscribe(now)?;
            self.say_online(now)?;
            self.say_state(now)?;
            self.say_answers(now)?;
            self.say_position(now).await?;
            if self.send_events(now).await? == Trail::MayGo {
                self.send_tracks(now).await?;
            }
            if self.has_drained() {
                self.take_leave(now + FAREWELL)?;
            }
        }
        self.go_on_leaving(now).await
    }

    async fn flush(&mut self) -> Result<(), End> {
        self.relay.flush().await.map_err(|RelayError::Outbox(error)| End::Outbox(error))
    }

    /// Nothing is left, and nothing more will come.
    fn has_drained(&self) -> bool {
        self.drained
            && self.session.as_ref().is_some_and(|session| {
                session.online_said && session.tracks() + session.events() == 0
            })
            && self.relay.answers.is_empty()
            && self.stats.borrow().pending == 0
    }

    async fn go_on_leaving(&mut self, now: Uptime) -> Result<(), End> {
        let (Some((stage, until)), Some(session)) = (self.leave, &self.session) else {
            return Ok(());
        };
        let stage = match stage {
            Leave::ToSay => {
                let offline = self.relay.connection(ConnectionState::Offline);
                if !self.hand_over(Message::Connection, offline, now)? {
                    return Ok(());
                }
                Leave::Said
            }
            Leave::Said if session.in_flight.is_empty() => {
                self.flush().await?;
                self.link.disconnect();
                Leave::Disconnecting
            }
            Leave::Said | Leave::Disconnecting => return Ok(()),
        };
        self.leave = Some((stage, until));
        Ok(())
    }

    /// Gives a message to the client; false if the window has no room for it now.
    pub(super) fn hand_over(
        &mut self,
        message: Message,
        publication: Publication,
        now: Uptime,
    ) -> Result<bool, End> {
        let Some(session) = &mut self.session else { return Ok(false) };
        let bytes = publication.payload.len();
        if !session.in_flight.has_room(bytes) {
            return Ok(false);
        }
        // First here, then there: whatever the client sends finds its message.
        session.in_flight.hand_over(message, bytes, now);
        // Property identifier and length (MQTT 5 §3.3.2.3.9); 3.1.1 has none.
        let content_type = publication
            .content_type
            .filter(|_| self.relay.config.version == MqttVersion::V5)
            .map_or(0, |content_type| 3 + content_type.len());
        let topic = publication.topic.len();
        self.relay.air.count(Traffic::Answered(topic, bytes + content_type));
        self.link.try_publish(publication).map_err(|_| Fault::Overrun)?;
        self.relay.report.count(|status| status.payload_bytes += bytes as u64);
        Ok(true)
    }

    /// First of all: a manifest is on its way while the rest is said.
    fn subscribe(&mut self, now: Uptime) -> Result<(), End> {
        let Some(session) = &mut self.session else { return Ok(()) };
        if session.subscription != Subscribed::ToDo {
            return Ok(());
        }
        let topics = session.wanted.topics(&self.relay.config);
        if topics.is_empty() {
            return Ok(());
        }
        let topics: Vec<String> = topics.into_iter().cloned().collect();
        session.in_flight.hand_over(Message::Subscription, 0, now);
        let length = topics.iter().map(String::len).sum();
        self.relay.air.count(Traffic::Subscription(topics.len(), length));
        session.subscription = Subscribed::UnderWay { since: now };
        self.link.try_subscribe(topics).map_err(|_| Fault::Overrun.into())
    }

    fn say_answers(&mut self, now: Uptime) -> Result<(), End> {
        while let Some((number, payload)) = self.relay.answers.to_send() {
            let Some(session) = &self.session else { return Ok(()) };
            let topic = self.relay.config.topics.command_result.clone();
            if payload.len() > session.max_payload(&topic) {
                self.relay.answers.done(number);
                self.relay.report.count(|status| status.answers_lost += 1);
                continue;
            }
            let payload = payload.to_vec();
            let delivery = Delivery::AtLeastOnce;
            let publication = Publication { topic, payload, delivery, content_type: None };
            if !self.hand_over(Message::Answer(number), publication, now)? {
                return Ok(());
            }
            self.relay.answers.sent(number);
        }
        Ok(())
    }

    fn say_online(&mut self, now: Uptime) -> Result<(), End> {
        if self.session.as_ref().is_some_and(|session| !session.online_said) {
            let online = self.relay.connection(ConnectionState::Online);
            let said = self.hand_over(Message::Connection, online, now)?;
            if let Some(session) = &mut self.session {
                session.online_said = said;
            }
        }
        Ok(())
    }

    fn say_state(&mut self, now: Uptime) -> Result<(), End> {
        let interval = self.state_interval();
        let Some(session) = &mut self.session else { return Ok(()) };
        let health = self.relay.inputs.health.borrow().clone();
        if now < session.state.due(&health, interval) {
            return Ok(());
        }
        let Some(utc) = self.relay.inputs.clock.utc() else {
            session.state.hold_back(now);
            return Ok(());
        };
        let state = self.state(&health, utc);
        let publication = Publication {
            topic: self.relay.config.topics.state.clone(),
            payload: serde_json::to_vec(&state).expect("numbers and strings are JSON"),
            delivery: Delivery::Retained,
            content_type: None,
        };
        let Some(session) = &self.session else { return Ok(()) };
        let too_large = publication.payload.len() > session.max_payload(&publication.topic);
        let said = too_large || self.hand_over(Message::State, publication, now)?;
        if let Some(session) = self.session.as_mut().filter(|_| said) {
            session.state.said(health, now);
        }
        Ok(())
    }
}
