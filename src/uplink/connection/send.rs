//! Sends due messages in order of priority: `connection`, `state`, responses, `position`, `event`,
//! then `track` as far as the window allows.

use super::events::TrackGate;
use super::{BrokerConnection, DisconnectReason, InFlightMessage, ShutdownStage, SubscribeState};
use crate::uplink::connector::{Connector, Delivery, MqttConnection, Publication};
use crate::uplink::in_flight::ProtocolViolation;
use crate::uplink::{DISCONNECT_TIMEOUT, MqttVersion, TrafficKind, UplinkError};
use waypost_model::units::Uptime;
use waypost_wire::payloads::ConnectionState;

impl<L: Connector> BrokerConnection<'_, L> {
    /// Sends all due messages. Idempotent until the next wakeup.
    pub(super) async fn send_due(&mut self, now: Uptime) -> Result<(), DisconnectReason> {
        self.uplink.update_data_usage();
        let Some(session) = &mut self.session else { return Ok(()) };
        session.track_queue.set_throttle(self.uplink.throttle);
        let wishes = self.uplink.inputs.health.borrow().overrides;
        session.track_queue.flush =
            self.drained || self.uplink.inputs.clock.uptime() < wishes.flush_until;
        let the_end = self.drained && session.in_flight.is_empty();
        if self.uplink.pruner.is_due(the_end, now) {
            self.prune_outbox().await?;
        }
        if self.shutdown.is_none() {
            self.subscribe(now)?;
            self.send_online(now)?;
            self.send_state(now)?;
            self.send_responses(now)?;
            self.send_position(now).await?;
            if self.send_events(now).await? == TrackGate::Open {
                self.send_tracks(now).await?;
            }
            if self.has_drained() {
                self.begin_shutdown(now + DISCONNECT_TIMEOUT)?;
            }
        }
        self.continue_shutdown(now).await
    }

    async fn prune_outbox(&mut self) -> Result<(), DisconnectReason> {
        self.uplink
            .prune_outbox()
            .await
            .map_err(|UplinkError::Outbox(error)| DisconnectReason::Outbox(error))
    }

    /// Whether everything was sent and nothing more will follow.
    fn has_drained(&self) -> bool {
        self.drained
            && self.session.as_ref().is_some_and(|session| {
                session.online_sent && session.tracks_in_flight() + session.events_in_flight() == 0
            })
            && self.uplink.responses.is_empty()
            && self.stats.borrow().pending == 0
    }

    async fn continue_shutdown(&mut self, now: Uptime) -> Result<(), DisconnectReason> {
        let (Some((stage, until)), Some(session)) = (self.shutdown, &self.session) else {
            return Ok(());
        };
        let stage = match stage {
            ShutdownStage::SendOffline => {
                let offline = self.uplink.connection_message(ConnectionState::Offline);
                if !self.publish(InFlightMessage::Connection, offline, now)? {
                    return Ok(());
                }
                ShutdownStage::OfflineSent
            }
            ShutdownStage::OfflineSent if session.in_flight.is_empty() => {
                self.prune_outbox().await?;
                self.connection.disconnect();
                ShutdownStage::Disconnecting
            }
            ShutdownStage::OfflineSent | ShutdownStage::Disconnecting => return Ok(()),
        };
        self.shutdown = Some((stage, until));
        Ok(())
    }

    /// Publishes a message. Returns false if the window has no space.
    pub(super) fn publish(
        &mut self,
        message: InFlightMessage,
        publication: Publication,
        now: Uptime,
    ) -> Result<bool, DisconnectReason> {
        let Some(session) = &mut self.session else { return Ok(false) };
        let bytes = publication.payload.len();
        if !session.in_flight.has_room(bytes) {
            return Ok(false);
        }
        // Register the message first, so that the client's events find it.
        session.in_flight.push(message, bytes, now);
        // Property identifier and length (MQTT 5 §3.3.2.3.9). MQTT 3.1.1 has none.
        let content_type = publication
            .content_type
            .filter(|_| self.uplink.config.version == MqttVersion::V5)
            .map_or(0, |content_type| 3 + content_type.len());
        let topic = publication.topic.len();
        self.uplink.data_meter.count(TrafficKind::Qos1(topic, bytes + content_type));
        self.connection.try_publish(publication).map_err(|_| ProtocolViolation::QueueFull)?;
        self.uplink.reporter.update(|status| status.payload_bytes += bytes as u64);
        Ok(true)
    }

    /// Subscribes first, so that a manifest arrives while the other messages are sent.
    fn subscribe(&mut self, now: Uptime) -> Result<(), DisconnectReason> {
        let Some(session) = &mut self.session else { return Ok(()) };
        if session.subscription != SubscribeState::NotSent {
            return Ok(());
        }
        let topics = session.plan.topics(&self.uplink.config);
        if topics.is_empty() {
            return Ok(());
        }
        let topics: Vec<String> = topics.into_iter().cloned().collect();
        session.in_flight.push(InFlightMessage::Subscription, 0, now);
        let length = topics.iter().map(String::len).sum();
        self.uplink.data_meter.count(TrafficKind::Subscription(topics.len(), length));
        session.subscription = SubscribeState::Sent { since: now };
        self.connection.try_subscribe(topics).map_err(|_| ProtocolViolation::QueueFull.into())
    }

    fn send_responses(&mut self, now: Uptime) -> Result<(), DisconnectReason> {
        while let Some((number, payload)) = self.uplink.responses.next_to_send() {
            let Some(session) = &self.session else { return Ok(()) };
            let topic = self.uplink.config.topics.command_result.clone();
            if payload.len() > session.max_payload(&topic) {
                self.uplink.responses.remove(number);
                self.uplink.reporter.update(|status| status.responses_lost += 1);
                continue;
            }
            let payload = payload.to_vec();
            let delivery = Delivery::AtLeastOnce;
            let publication = Publication { topic, payload, delivery, content_type: None };
            if !self.publish(InFlightMessage::Response(number), publication, now)? {
                return Ok(());
            }
            self.uplink.responses.mark_sent(number);
        }
        Ok(())
    }

    fn send_online(&mut self, now: Uptime) -> Result<(), DisconnectReason> {
        if self.session.as_ref().is_some_and(|session| !session.online_sent) {
            let online = self.uplink.connection_message(ConnectionState::Online);
            let said = self.publish(InFlightMessage::Connection, online, now)?;
            if let Some(session) = &mut self.session {
                session.online_sent = said;
            }
        }
        Ok(())
    }

    fn send_state(&mut self, now: Uptime) -> Result<(), DisconnectReason> {
        let interval = self.state_interval();
        let Some(session) = &mut self.session else { return Ok(()) };
        let health = self.uplink.inputs.health.borrow().clone();
        if now < session.state.next_due(&health, interval) {
            return Ok(());
        }
        let Some(utc) = self.uplink.inputs.clock.utc() else {
            session.state.defer(now);
            return Ok(());
        };
        let state = self.state(&health, utc);
        let publication = Publication {
            topic: self.uplink.config.topics.state.clone(),
            payload: serde_json::to_vec(&state).expect("numbers and strings are valid JSON"),
            delivery: Delivery::Retained,
            content_type: None,
        };
        let Some(session) = &self.session else { return Ok(()) };
        let too_large = publication.payload.len() > session.max_payload(&publication.topic);
        let said = too_large || self.publish(InFlightMessage::State, publication, now)?;
        if let Some(session) = self.session.as_mut().filter(|_| said) {
            session.state.record_sent(health, now);
        }
        Ok(())
    }
}
