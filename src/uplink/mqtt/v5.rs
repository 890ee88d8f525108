//! MQTT 5.

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter, LastWill, Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use super::errors::{close_reason, puback_reason, suback_reason};
use super::{
    BrokerQuirks, CONNECT_TIMEOUT_S, ConnectOptions, MAX_INCOMING_BYTES, MAX_KEEP_ALIVE,
    MqttEventLoop, Ordering, network_options,
};
use crate::uplink::{CloseReason, ConnackInfo, ConnectionEvent, Delivery, ReasonCode};

pub(super) fn options(
    attempt: &ConnectOptions,
    quirks: &BrokerQuirks,
    transport: rumqttc::Transport,
) -> MqttOptions {
    let ConnectOptions { broker, config, will, .. } = attempt;
    let mut options = MqttOptions::new(&config.client_id, attempt.address(), broker.port);
    // No Will Delay: a Will that is published after the next `online` would remain as the retained
    // state.
    let will = LastWill::new(
        will.topic.clone(),
        will.payload.clone(),
        QoS::AtLeastOnce,
        will.delivery == Delivery::Retained && !quirks.without_retain.load(Ordering::Relaxed),
        None,
    );
    options
        .set_transport(transport)
        .set_network_options(network_options())
        .set_connection_timeout(CONNECT_TIMEOUT_S)
        .set_keep_alive(attempt.keep_alive())
        .set_clean_start(true)
        .set_max_packet_size(Some(MAX_INCOMING_BYTES))
        .set_outgoing_inflight_upper_limit(config.in_flight.max(1))
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
    let (client, event_loop) = AsyncClient::new(options, capacity);
    (client, Connection(event_loop))
}

pub(super) const fn qos(delivery: Delivery) -> QoS {
    match delivery {
        Delivery::AtMostOnce => QoS::AtMostOnce,
        Delivery::AtLeastOnce | Delivery::Retained => QoS::AtLeastOnce,
    }
}

pub(super) fn content_properties(content_type: &str) -> PublishProperties {
    PublishProperties { content_type: Some(content_type.to_owned()), ..Default::default() }
}

pub(super) fn filters(topics: Vec<String>) -> impl Iterator<Item = Filter> {
    topics.into_iter().map(|topic| Filter::new(topic, QoS::AtLeastOnce))
}

pub(super) struct Connection(EventLoop);

impl MqttEventLoop for Connection {
    async fn poll(&mut self) -> Result<Option<ConnectionEvent>, CloseReason> {
        match self.0.poll().await {
            Ok(event) => Ok(translate(event, &mut self.0)),
            Err(error) => Err(close_reason(&error)),
        }
    }

    fn drain_after_error(&mut self) -> Vec<ConnectionEvent> {
        let last: Vec<Event> = self.0.state.events.drain(..).collect();
        last.into_iter().filter_map(|event| translate(event, &mut self.0)).collect()
    }
}

fn translate(event: Event, event_loop: &mut EventLoop) -> Option<ConnectionEvent> {
    match event {
        Event::Outgoing(Outgoing::Publish(packet_id) | Outgoing::Subscribe(packet_id)) => {
            Some(ConnectionEvent::Sent(packet_id))
        }
        Event::Outgoing(_) => None,
        Event::Incoming(Packet::ConnAck(connack)) => {
            let max_qos = connack.properties.as_ref().and_then(|properties| properties.max_qos);
            if max_qos == Some(0) {
                let text =
                    "the broker supports QoS 0 only: it would acknowledge no message".to_owned();
                let reason = ReasonCode::QOS_NOT_SUPPORTED;
                return Some(ConnectionEvent::Closed(CloseReason::Refused { reason, text }));
            }
            Some(ConnectionEvent::Connected(connack_info(&connack, event_loop)))
        }
        Event::Incoming(Packet::PubAck(ack)) => {
            Some(ConnectionEvent::Acked { packet_id: ack.pkid, reason: puback_reason(ack.reason) })
        }
        Event::Incoming(Packet::SubAck(ack)) => Some(ConnectionEvent::Subscribed {
            packet_id: ack.pkid,
            reasons: ack.return_codes.into_iter().map(suback_reason).collect(),
        }),
        Event::Incoming(Packet::Publish(message)) => Some(ConnectionEvent::Message {
            topic: String::from_utf8_lossy(&message.topic).into_owned(),
            payload: message.payload.to_vec(),
            retained: message.retain,
        }),
        Event::Incoming(_) => Some(ConnectionEvent::OtherPacket),
    }
}

fn connack_info(connack: &ConnAck, event_loop: &mut EventLoop) -> ConnackInfo {
    let options = &mut event_loop.options;
    let mut keep_alive = options.keep_alive();
    if keep_alive.is_zero() {
        // The broker disabled the keep alive (MQTT 5 §3.2.2.3.14). rumqttc would treat zero as
        // "ping continuously".
        options.set_keep_alive(MAX_KEEP_ALIVE);
        keep_alive = MAX_KEEP_ALIVE;
    }
    let properties = connack.properties.as_ref();
    ConnackInfo {
        receive_max: properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
        max_packet_bytes: properties.and_then(|p| p.max_packet_size).unwrap_or(u32::MAX),
        keep_alive,
        retains: properties.and_then(|p| p.retain_available) != Some(0),
    }
}
