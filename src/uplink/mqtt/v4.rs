//! MQTT 3.1.1. Its PUBACK has no reason code: a broker also sends it for messages that its ACL
//! denies.

use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS, SubscribeFilter,
    SubscribeReasonCode,
};

use super::errors::close_reason_v4;
use super::{ConnectOptions, MAX_INCOMING_BYTES, MqttEventLoop, network_options};
use crate::uplink::{CloseReason, ConnackInfo, ConnectionEvent, Delivery, ReasonCode};

/// Maximum size of an outgoing packet, because the broker cannot announce its own. Packets above
/// the limit of large cloud brokers are tried, and deferred if the broker closes the connection.
const MAX_OUTGOING_BYTES: u32 = 1024 * 1024;

pub(super) fn options(attempt: &ConnectOptions, transport: rumqttc::Transport) -> MqttOptions {
    let ConnectOptions { broker, config, will, .. } = attempt;
    let mut options = MqttOptions::new(&config.client_id, attempt.address(), broker.port);
    let retain = will.delivery == Delivery::Retained;
    let will = LastWill::new(&will.topic, will.payload.clone(), QoS::AtLeastOnce, retain);
    options
        .set_transport(transport)
        .set_keep_alive(attempt.keep_alive())
        .set_clean_session(true)
        .set_max_packet_size(MAX_INCOMING_BYTES as usize, MAX_OUTGOING_BYTES as usize)
        .set_inflight(config.in_flight.max(1))
        .set_last_will(will);
    if let Some(credentials) = &config.credentials {
        options.set_credentials(&credentials.username, &credentials.password);
    }
    #[cfg(feature = "proxy")]
    if let Some(proxy) = attempt.proxy() {
        options.set_proxy(proxy);
    }
    options
}

pub(super) fn connection(options: MqttOptions, capacity: usize) -> (AsyncClient, Connection) {
    let (client, mut event_loop) = AsyncClient::new(options, capacity);
    event_loop.set_network_options(network_options());
    (client, Connection(event_loop))
}

pub(super) const fn qos(delivery: Delivery) -> QoS {
    match delivery {
        Delivery::AtMostOnce => QoS::AtMostOnce,
        Delivery::AtLeastOnce | Delivery::Retained => QoS::AtLeastOnce,
    }
}

pub(super) fn filters(topics: Vec<String>) -> impl Iterator<Item = SubscribeFilter> {
    topics.into_iter().map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce))
}

pub(super) struct Connection(EventLoop);

impl MqttEventLoop for Connection {
    async fn poll(&mut self) -> Result<Option<ConnectionEvent>, CloseReason> {
        match self.0.poll().await {
            Ok(event) => Ok(self.translate(event)),
            Err(error) => Err(close_reason_v4(&error)),
        }
    }

    fn drain_after_error(&mut self) -> Vec<ConnectionEvent> {
        let last: Vec<Event> = self.0.state.events.drain(..).collect();
        last.into_iter().filter_map(|event| self.translate(event)).collect()
    }
}

impl Connection {
    fn translate(&self, event: Event) -> Option<ConnectionEvent> {
        Some(match event {
            Event::Outgoing(Outgoing::Publish(packet_id) | Outgoing::Subscribe(packet_id)) => {
                ConnectionEvent::Sent(packet_id)
            }
            Event::Outgoing(_) => return None,
            Event::Incoming(Packet::ConnAck(_)) => ConnectionEvent::Connected(ConnackInfo {
                receive_max: u16::MAX,
                max_packet_bytes: MAX_OUTGOING_BYTES,
                keep_alive: self.0.mqtt_options.keep_alive(),
                retains: true,
            }),
            Event::Incoming(Packet::PubAck(ack)) => {
                ConnectionEvent::Acked { packet_id: ack.pkid, reason: ReasonCode::SUCCESS }
            }
            Event::Incoming(Packet::SubAck(ack)) => ConnectionEvent::Subscribed {
                packet_id: ack.pkid,
                reasons: ack.return_codes.into_iter().map(suback_reason).collect(),
            },
            Event::Incoming(Packet::Publish(message)) => ConnectionEvent::Message {
                topic: message.topic,
                payload: message.payload.to_vec(),
                retained: message.retain,
            },
            Event::Incoming(_) => ConnectionEvent::OtherPacket,
        })
    }
}

/// MQTT 3.1.1 §3.9.3.
const fn suback_reason(code: SubscribeReasonCode) -> ReasonCode {
    ReasonCode(match code {
        SubscribeReasonCode::Success(qos) => qos as u8,
        SubscribeReasonCode::Failure => 0x80,
    })
}
