//! Acknowledgements of stored messages: PUBACK to the broker and `ack` to vans.

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;

use super::Consumer;
use waypost_wire::{VERSION, VanId};

impl Consumer {
    /// Sends PUBACK for stored messages of the current connection. If the request channel is full,
    /// the rest is sent later; a missing PUBACK would occupy Receive Maximum until the connection
    /// ends.
    pub(super) fn send_pubacks(&mut self, client: &AsyncClient) {
        while let Some((connection, pkid)) = self.pending_pubacks.front() {
            if self.is_connected && *connection == self.connection_number {
                let of = Publish { qos: QoS::AtLeastOnce, pkid: *pkid, ..Publish::default() };
                if client.try_ack(&of).is_err() {
                    return;
                }
            }
            self.pending_pubacks.pop_front();
        }
    }

    /// Publishes to each van the ranges stored since its last `ack`.
    pub(super) fn publish_acks(&mut self, client: &AsyncClient) {
        while self.is_connected && self.pending_pubacks.is_empty() && !self.acks.is_empty() {
            let Some((van, ack)) = self.acks.next_ack(self.shared.now()) else { return };
            let root = &self.shared.config.mqtt.topic_root;
            let topic = format!("{root}/v{VERSION}/{van}/ack");
            debug_assert!(VanId::new(&van).is_ok(), "the van id was parsed from a topic");
            let payload = serde_json::to_vec(&ack).expect("numbers and strings serialize");
            if client.try_publish(topic, QoS::AtLeastOnce, false, payload).is_err() {
                // The van resends unacknowledged messages.
                return;
            }
        }
    }
}
