//! What is stored → PUBACK to the broker, and `ack` to vans.

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;

use super::Consumer;
use crate::wire::{VERSION, VanId};

impl Consumer {
    /// Says PUBACK for what is stored and came on this connection. One that finds no room is said when there is some: unsaid it
    /// would keep its place in Receive Maximum as long as the connection lasts.
    pub(super) fn acknowledge(&mut self, client: &AsyncClient) {
        while let Some((connection, pkid)) = self.unsaid.front() {
            if self.is_connected && *connection == self.connection {
                let of = Publish { qos: QoS::AtLeastOnce, pkid: *pkid, ..Publish::default() };
                if client.try_ack(&of).is_err() {
                    return;
                }
            }
            self.unsaid.pop_front();
        }
    }

    /// To each van what was stored of it since the last word.
    pub(super) fn say_acks(&mut self, client: &AsyncClient) {
        while self.is_connected && self.unsaid.is_empty() && !self.acks.is_empty() {
            let Some((van, ack)) = self.acks.next(self.shared.now()) else { return };
            let root = &self.shared.config.mqtt.topic_root;
            let topic = format!("{root}/v{VERSION}/{van}/ack");
            debug_assert!(VanId::new(&van).is_ok(), "a topic was read");
            let payload = serde_json::to_vec(&ack).expect("numbers and texts");
            if client.try_publish(topic, QoS::AtLeastOnce, false, payload).is_err() {
                // The van sends again what it hears nothing of.
                return;
            }
        }
    }
}
