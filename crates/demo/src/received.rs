//! Messages received by the subscriber; the source of everything that the view shows of the van.

use crate::braille_map::Trail;
use crate::parcel_status::ParcelStatuses;
use crate::seq_set::{SeqSet, total};
use waypost_model::units::Uptime;
use waypost_wire::Topics;
use waypost_wire::epcis;
use waypost_wire::payloads::{ConnectionState, ConnectionStatus, Point, Position, Track};

/// State collected from the messages received so far.
#[derive(Clone, Debug)]
pub(super) struct ReceivedMessages {
    topics: Topics,
    /// First sequence number that the agent could assign in this run.
    first_seq: u64,
    /// The newest live position, and its time of arrival.
    pub(super) newest: Option<(Point, Uptime)>,
    /// Sequence number in the manifest of the stop that the position refers to.
    pub(super) stop: Option<u32>,
    /// Messages on `position`.
    pub(super) positions: u64,
    /// Messages on `track`.
    pub(super) track_messages: u64,
    /// Points on `track`, duplicates included.
    pub(super) points: u64,
    /// Points that were recorded before the connection was established.
    pub(super) backlog: u64,
    /// Points received more than once.
    pub(super) duplicates: u64,
    /// Sequence numbers of points and events.
    pub(super) seqs: SeqSet,
    /// Highest sequence number of a point.
    last_point: u64,
    /// Parcel states from the messages on `event`.
    pub(super) parcel_statuses: ParcelStatuses,
    /// Last state published on `connection`.
    pub(super) connection: Option<ConnectionState>,
    /// Bytes of all payloads.
    pub(super) payload_bytes: u64,
    /// Payloads that violate the contract.
    pub(super) unreadable: u64,
    /// Path of the van, from its points on `track`.
    pub(super) trail: Trail,
}

impl ReceivedMessages {
    pub(super) fn new(topics: Topics) -> Self {
        Self {
            topics,
            first_seq: 1,
            newest: None,
            stop: None,
            positions: 0,
            track_messages: 0,
            points: 0,
            backlog: 0,
            duplicates: 0,
            seqs: SeqSet::default(),
            last_point: 0,
            parcel_statuses: ParcelStatuses::default(),
            connection: None,
            payload_bytes: 0,
            unreadable: 0,
            trail: Trail::default(),
        }
    }

    /// Sets the first sequence number of this run; lower ones are ignored.
    pub(super) const fn set_first_seq(&mut self, seq: u64) {
        self.first_seq = seq;
    }

    /// Processes a message.
    pub(super) fn observe(&mut self, topic: &[u8], payload: &[u8], at: Uptime) {
        self.payload_bytes += payload.len() as u64;
        let Topics { position, track, event, connection, .. } = &self.topics;
        let read = if topic == position.as_bytes() {
            serde_json::from_slice(payload).map(|position| self.on_position(position, at)).ok()
        } else if topic == track.as_bytes() {
            serde_json::from_slice(payload).map(|track: Track| self.on_track(&track)).ok()
        } else if topic == event.as_bytes() {
            self.on_event(payload)
        } else if topic == connection.as_bytes() {
            serde_json::from_slice(payload)
                .map(|connection: ConnectionStatus| self.connection = Some(connection.state))
                .ok()
        } else {
            Some(())
        };
        self.unreadable += u64::from(read.is_none());
    }

    fn on_event(&mut self, payload: &[u8]) -> Option<()> {
        let event = epcis::decode(payload).ok()?;
        let seq = event.sequence.parse().ok()?;
        self.seqs.insert(seq);
        self.parcel_statuses.observe(seq, &event);
        Some(())
    }

    fn on_position(&mut self, position: Position, at: Uptime) {
        self.positions += 1;
        self.stop = position.stop_seq;
        self.newest = Some((position.point, at));
    }

    fn on_track(&mut self, track: &Track) {
        self.track_messages += 1;
        for point in &track.points {
            self.points += 1;
            self.backlog += u64::from(point.backlog);
            self.last_point = self.last_point.max(point.seq);
            if self.seqs.insert(point.seq) {
                self.trail.push(point.seq, point.lat, point.lon, point.backlog);
            } else {
                self.duplicates += 1;
            }
        }
    }

    /// Returns the count of missing sequence numbers below the highest point. Events are sent ahead
    /// of points and do not count.
    pub(super) fn gaps(&self) -> u64 {
        total(&self.seqs.missing(self.first_seq..=self.last_point))
    }

    /// Returns the number of points without duplicates.
    pub(super) const fn distinct_points(&self) -> u64 {
        self.points - self.duplicates
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::parcel_status::tests::event;
    use waypost_wire::VanId;

    pub(crate) fn point(seq: u64, backlog: bool) -> Point {
        let text = format!(
            r#"{{"seq":{seq},"ts":"2026-11-23T06:41:07.000Z","lat":48.37042,"lon":10.90261,
                 "speed_mps":10.5,"course_deg":48.3,"mode":3,"motion":"moving","backlog":{backlog}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn arrivals() -> ReceivedMessages {
        ReceivedMessages::new(Topics::new("fleet", &VanId::new("VAN-1").unwrap()))
    }

    pub(crate) fn position(seq: u64) -> Position {
        let (van, point) = ("VAN-1".to_owned(), point(seq, false));
        Position {
            v: 1,
            van,
            point,
            route: None,
            stop_seq: None,
            stop_status: None,
            stops_remaining: None,
        }
    }

    pub(crate) fn track(arrivals: &mut ReceivedMessages, seqs: &[u64], backlog: bool) {
        let points = seqs.iter().map(|seq| point(*seq, backlog)).collect();
        let payload = serde_json::to_vec(&Track::new("VAN-1", None, points)).unwrap();
        arrivals.observe(b"fleet/v1/VAN-1/track", &payload, Uptime::ZERO);
    }

    #[test]
    fn gaps_close_when_the_backlog_comes_and_repetitions_are_counted_once_each() {
        let mut arrivals = arrivals();
        track(&mut arrivals, &[1, 2, 3], false);
        assert_eq!((arrivals.gaps(), arrivals.duplicates), (0, 0));
        track(&mut arrivals, &[8, 9], false);
        assert_eq!(arrivals.gaps(), 4);
        track(&mut arrivals, &[3, 4, 5], true);
        track(&mut arrivals, &[6, 7], true);
        assert_eq!((arrivals.gaps(), arrivals.duplicates), (0, 1));
        assert_eq!((arrivals.points, arrivals.backlog, arrivals.track_messages), (10, 5, 4));
        assert_eq!(arrivals.distinct_points(), 9);
    }

    #[test]
    fn what_the_agent_gave_first_and_never_came_is_a_gap() {
        let mut arrivals = arrivals();
        arrivals.set_first_seq(100);
        assert_eq!(arrivals.gaps(), 0);
        track(&mut arrivals, &[103], false);
        assert_eq!(arrivals.gaps(), 3);
    }

    #[test]
    fn events_go_ahead_and_share_the_numbers_of_points() {
        let mut arrivals = arrivals();
        track(&mut arrivals, &[1, 2], false);
        let event = event(5, "a", "parcel.loaded", &["7"]).to_string();
        arrivals.observe(b"fleet/v1/VAN-1/event", event.as_bytes(), Uptime::ZERO);
        assert_eq!(arrivals.gaps(), 0);
        track(&mut arrivals, &[3, 6], false);
        assert_eq!((arrivals.gaps(), arrivals.distinct_points()), (1, 4));
        assert_eq!(arrivals.parcel_statuses.received, 1);
        arrivals.observe(b"fleet/v1/VAN-1/event", b"{}", Uptime::ZERO);
        assert_eq!(arrivals.unreadable, 1);
    }

    #[test]
    fn a_payload_that_breaks_the_contract_is_counted_and_other_topics_are_let_be() {
        let mut arrivals = arrivals();
        arrivals.observe(b"fleet/v1/VAN-1/track", b"{", Uptime::ZERO);
        arrivals.observe(b"fleet/v1/VAN-1/position", b"[]", Uptime::ZERO);
        arrivals.observe(b"fleet/v1/VAN-1/state", b"?", Uptime::ZERO);
        assert_eq!((arrivals.unreadable, arrivals.payload_bytes), (2, 4));
        let position = position(7);
        let payload = serde_json::to_vec(&position).unwrap();
        arrivals.observe(b"fleet/v1/VAN-1/position", &payload, Uptime::from_millis(5));
        assert_eq!(arrivals.newest, Some((point(7, false), Uptime::from_millis(5))));
    }
}
