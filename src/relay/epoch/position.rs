//! `position`, and its mirror for OwnTracks: the newest fix, replaced and never queued.

use serde::Serialize;

use super::{End, Epoch};
use crate::core::record::{Record, Subject};
use crate::relay::Traffic;
use crate::relay::in_flight::Fault;
use crate::relay::link::{Delivery, Link, Links, Publication};
use crate::units::Uptime;
use crate::wire::json::Position;
use crate::wire::owntracks::Location;

impl<L: Links> Epoch<'_, L> {
    pub(super) async fn say_position(&mut self, now: Uptime) -> Result<(), End> {
        let (Some(session), Some(newest)) = (&self.session, self.newest()) else { return Ok(()) };
        let due = self.position_due(session, &newest).is_some_and(|due| now >= due);
        if !due || session.positions_under_way > 0 || !self.may_be_known(&newest, now).await? {
            return Ok(());
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        let Subject::Point(point) = &newest.subject;
        let config = &self.relay.config;
        let mut position = Position::new(config.van.as_str(), newest.seq, point);
        {
            let health = self.relay.inputs.health.borrow();
            let route = &health.route;
            session.reports_said = Some(health.wishes.reports);
            position.point.stop_status = route.stop_status.or(position.point.stop_status);
            position.route.clone_from(&route.route);
            (position.stop_seq, position.stops_remaining) = (route.stop_seq, route.stops_remaining);
            session.place_said = Some(route.place());
        }
        session.position.said(&newest, now);
        let mirror = config.owntracks.then(|| Location::new(&config.van, point));
        let topics = config.topics.clone();
        if self.say_once(topics.position, &position)? {
            self.relay.report.count(|status| status.positions += 1);
        }
        if let Some(location) = mirror {
            self.say_once(topics.owntracks, &location)?;
        }
        Ok(())
    }

    /// With QoS 0; false if the broker does not take it.
    fn say_once(&mut self, topic: String, said: &impl Serialize) -> Result<bool, End> {
        let Some(session) = &mut self.session else { return Ok(false) };
        let payload = serde_json::to_vec(said).expect("numbers and strings are JSON");
        let bytes = payload.len();
        if bytes > session.max_payload(&topic) {
            return Ok(false);
        }
        session.positions_under_way += 1;
        self.relay.air.count(Traffic::Unanswered(topic.len(), bytes));
        let publication =
            Publication { topic, payload, delivery: Delivery::AtMostOnce, content_type: None };
        self.link.try_publish(publication).map_err(|_| Fault::Overrun)?;
        self.relay.report.count(|status| status.payload_bytes += bytes as u64);
        Ok(true)
    }

    /// A `Seq` that is published must never be used again: it has to be reserved first.
    async fn may_be_known(&mut self, newest: &Record, now: Uptime) -> Result<bool, End> {
        let Some(session) = &mut self.session else { return Ok(false) };
        let reserved = |stats: &tokio::sync::watch::Receiver<_>| newest.seq <= reserved_of(stats);
        if now < session.outbox_not_before {
            return Ok(reserved(&self.stats));
        }
        match self.relay.inputs.outbox.reserve(newest.seq).await {
            Ok(()) => Ok(true),
            Err(error) => {
                self.outbox_failed(error, now)?;
                Ok(reserved(&self.stats))
            }
        }
    }
}

fn reserved_of(
    stats: &tokio::sync::watch::Receiver<crate::outbox::OutboxStats>,
) -> crate::core::record::Seq {
    stats.borrow().reserved
}
