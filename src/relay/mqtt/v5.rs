//! MQTT 5.

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter, LastWill, Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use super::reasons::{closed, puback_reason, suback_reason};
use super::{
    Attempt, CONNECT_TIMEOUT_S, MAX_INCOMING_BYTES, MAX_KEEP_ALIVE, Ordering, Polled, Taught,
    network,
};
use crate::relay::{Closed, Delivery, LinkEvent, ReasonCode, Welcome};

pub(super) fn options(
    attempt: &Attempt,
    taught: &Taught,
    transport: rumqttc::Transport,
) -> MqttOptions {
    let Attempt { broker, config, will } = attempt;
    let mut options = MqttOptions::new(&config.client_id, attempt.address(), broker.port);
    // Without a delay: one that came after our next `online` would stay as the retained word.
    let will = LastWill::new(
        will.topic.clone(),
        will.payload.clone(),
        QoS::AtLeastOnce,
        will.delivery == Delivery::Retained && !taught.without_retain.load(Ordering::Relaxed),
        None,
    );
    options
        .set_transport(transport)
        .set_network_options(network())
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

pub(super) fn content(content_type: &str) -> PublishProperties {
    PublishProperties { content_type: Some(content_type.to_owned()), ..Default::default() }
}

pub(super) fn filters(topics: Vec<String>) -> impl Iterator<Item = Filter> {
    topics.into_iter().map(|topic| Filter::new(topic, QoS::AtLeastOnce))
}

pub(super) struct Connection(EventLoop);

impl Polled for Connection {
    async fn poll(&mut self) -> Result<Option<LinkEvent>, Closed> {
        match self.0.poll().await {
            Ok(event) => Ok(translate(event, &mut self.0)),
            Err(error) => Err(closed(&error)),
        }
    }

    fn rest(&mut self) -> Vec<LinkEvent> {
        let last: Vec<Event> = self.0.state.events.drain(..).collect();
        last.into_iter().filter_map(|event| translate(event, &mut self.0)).collect()
    }
}

fn translate(event: Event, event_loop: &mut EventLoop) -> Option<LinkEvent> {
    match event {
        Event::Outgoing(Outgoing::Publish(packet_id) | Outgoing::Subscribe(packet_id)) => {
            Some(LinkEvent::Sent(packet_id))
        }
        Event::Outgoing(_) => None,
        Event::Incoming(Packet::ConnAck(connack)) => {
            let max_qos = connack.properties.as_ref().and_then(|properties| properties.max_qos);
            if max_qos == Some(0) {
                let text = "the broker takes QoS 0 only: it would acknowledge nothing".to_owned();
                let reason = ReasonCode::QOS_NOT_SUPPORTED;
                return Some(LinkEvent::Closed(Closed::Refused { reason, text }));
            }
            Some(LinkEvent::Connected(welcome(&connack, event_loop)))
        }
        Event::Incoming(Packet::PubAck(ack)) => {
            Some(LinkEvent::Acked { packet_id: ack.pkid, reason: puback_reason(ack.reason) })
        }
        Event::Incoming(Packet::SubAck(ack)) => Some(LinkEvent::Subscribed {
            packet_id: ack.pkid,
            reasons: ack.return_codes.into_iter().map(suback_reason).collect(),
        }),
        Event::Incoming(Packet::Publish(message)) => Some(LinkEvent::Message {
            topic: String::from_utf8_lossy(&message.topic).into_owned(),
            payload: message.payload.to_vec(),
            retained: message.retain,
        }),
        Event::Incoming(_) => Some(LinkEvent::Alive),
    }
}

fn welcome(connack: &ConnAck, event_loop: &mut EventLoop) -> Welcome {
    let options = &mut event_loop.options;
    let mut keep_alive = options.keep_alive();
    if keep_alive.is_zero() {
        // The broker turned it off (MQTT 5 §3.2.2.3.14), which rumqttc would take for "ping all the time".
        options.set_keep_alive(MAX_KEEP_ALIVE);
        keep_alive = MAX_KEEP_ALIVE;
    }
    let properties = connack.properties.as_ref();
    Welcome {
        receive_max: properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
        max_packet_bytes: properties.and_then(|p| p.max_packet_size).unwrap_or(u32::MAX),
        keep_alive,
        retains: properties.and_then(|p| p.retain_available) != Some(0),
    }
}
