//! Sends `position` and its OwnTracks copy. Only the newest fix is sent; positions are never
//! queued.

use serde::Serialize;

use super::{BrokerConnection, DisconnectReason};
use crate::uplink::TrafficKind;
use crate::uplink::connector::{Connector, Delivery, MqttConnection, Publication};
use crate::uplink::in_flight::ProtocolViolation;
use waypost_model::record::{Record, Subject};
use waypost_model::units::Uptime;
use waypost_wire::owntracks::Location;
use waypost_wire::payloads::Position;

impl<L: Connector> BrokerConnection<'_, L> {
    pub(super) async fn send_position(&mut self, now: Uptime) -> Result<(), DisconnectReason> {
        let (Some(session), Some(newest)) = (&self.session, self.newest_fix()) else {
            return Ok(());
        };
        let due = self.position_due(session, &newest).is_some_and(|due| now >= due);
        if !due || session.unsent_positions > 0 || !self.is_publishable(&newest, now).await? {
            return Ok(());
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        let Subject::Point(point) = &newest.subject;
        let config = &self.uplink.config;
        let mut position = Position::new(config.van.as_str(), newest.seq, point);
        {
            let health = self.uplink.inputs.health.borrow();
            let route = &health.route;
            session.report_requests_sent = Some(health.overrides.report_requests);
            position.stop_status = route.stop_status.filter(|_| route.stop_seq.is_some());
            position.route = route.manifest.as_ref().map(|manifest| manifest.route.clone());
            (position.stop_seq, position.stops_remaining) = (route.stop_seq, route.stops_remaining);
            session.stop_sent = Some(route.stop());
        }
        session.position.record_sent(&newest, now);
        let mirror = config.owntracks.then(|| Location::new(&config.van, point));
        let topics = config.topics.clone();
        if self.send_qos0(topics.position, &position)? {
            self.uplink.reporter.update(|status| status.positions += 1);
        }
        if let Some(location) = mirror {
            self.send_qos0(topics.owntracks, &location)?;
        }
        Ok(())
    }

    /// Publishes with QoS 0. Returns false if the message is too large for the broker.
    fn send_qos0(
        &mut self,
        topic: String,
        said: &impl Serialize,
    ) -> Result<bool, DisconnectReason> {
        let Some(session) = &mut self.session else { return Ok(false) };
        let payload = serde_json::to_vec(said).expect("numbers and strings are valid JSON");
        let bytes = payload.len();
        if bytes > session.max_payload(&topic) {
            return Ok(false);
        }
        session.unsent_positions += 1;
        self.uplink.data_meter.count(TrafficKind::Qos0(topic.len(), bytes));
        let publication =
            Publication { topic, payload, delivery: Delivery::AtMostOnce, content_type: None };
        self.connection.try_publish(publication).map_err(|_| ProtocolViolation::QueueFull)?;
        self.uplink.reporter.update(|status| status.payload_bytes += bytes as u64);
        Ok(true)
    }

    /// Whether the `Seq` of the fix may be published. It must be reserved first, because it must
    /// never be used again.
    async fn is_publishable(
        &mut self,
        newest: &Record,
        now: Uptime,
    ) -> Result<bool, DisconnectReason> {
        let Some(session) = &mut self.session else { return Ok(false) };
        let reserved = |stats: &tokio::sync::watch::Receiver<_>| newest.seq <= reserved_seq(stats);
        if now < session.outbox_not_before {
            return Ok(reserved(&self.stats));
        }
        match self.uplink.inputs.outbox.reserve(newest.seq).await {
            Ok(()) => Ok(true),
            Err(error) => {
                self.on_outbox_error(error, now)?;
                Ok(reserved(&self.stats))
            }
        }
    }
}

fn reserved_seq(
    stats: &tokio::sync::watch::Receiver<crate::outbox::OutboxStats>,
) -> waypost_model::record::Seq {
    stats.borrow().reserved
}
