//! Tracks the backend's `ack` messages, where PUBACK is not sufficient. No I/O.
//!
//! MQTT 3.1.1 brokers also send PUBACK for publishes that their ACL rejects. With 3.1.1, a record
//! is therefore removed only after an application-level `ack` from the backend. An `ack` applies
//! only to messages that were sent on the current connection before it arrived and that the broker
//! has acknowledged.
//!
//! - A *watermark* confirms everything up to it that was sent in ascending order. It does not
//!   confirm messages that were rejected and sent again after higher numbers. A watermark below the
//!   last one of the connection, or above the highest number ever sent, is ignored.
//! - A *range* confirms the numbers in it, regardless of the order, and nothing below it. Ranges
//!   thus reveal messages that a broker acknowledged and then dropped. Messages below a higher
//!   range, and messages that no `ack` can confirm, are sent again on the next connection.

mod ack_message;

use std::time::Duration;

use super::track_queue::Batch;
pub(super) use ack_message::InvalidAck;
use ack_message::{AckedRanges, parse_ack};
use waypost_model::record::Seq;
use waypost_model::units::Uptime;

/// Initial wait for an `ack` on a connection. It doubles with each connection that ends without
/// one.
const ACK_TIMEOUT: Duration = Duration::from_mins(5);

/// Maximum wait for an `ack`. While the backend is down, unacknowledged messages are repeated once
/// per this interval.
const MAX_ACK_TIMEOUT: Duration = Duration::from_hours(1);

/// Maximum number of messages per topic that await an `ack`. Beyond it, no more are sent on this
/// connection.
const MAX_AWAITING: usize = 4096;

/// The sequence numbers of a message: one, or several in ascending order.
trait SeqSpan: Copy + PartialEq {
    fn first(self) -> Seq;
    fn last(self) -> Seq;
}

impl SeqSpan for Seq {
    fn first(self) -> Seq {
        self
    }

    fn last(self) -> Seq {
        self
    }
}

impl SeqSpan for Batch {
    fn first(self) -> Seq {
        self.first
    }

    fn last(self) -> Seq {
        self.last
    }
}

/// Acknowledgement state of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckState {
    /// Neither PUBACK nor `ack` was received.
    Sent,
    /// PUBACK was received.
    Accepted,
    /// The `ack` was received before PUBACK.
    Confirmed,
}

/// Whether a watermark can confirm a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendOrder {
    /// No higher number was sent before it on this connection.
    InOrder,
    /// The message was sent again after higher numbers.
    OutOfOrder,
}

/// A message that awaits the backend's `ack`.
#[derive(Debug)]
struct AwaitingAck<T> {
    message: T,
    state: AckState,
    order: SendOrder,
}

/// Messages of one topic that await an `ack`.
#[derive(Debug)]
struct TopicAcks<T> {
    /// Highest number ever sent.
    highest_sent: Seq,
    /// Last watermark on this connection.
    last_watermark: Seq,
    /// Highest number on this connection that a range has confirmed.
    highest_in_range: Seq,
    /// Highest number on this connection that the broker has accepted.
    highest_accepted: Seq,
    awaiting: Vec<AwaitingAck<T>>,
    /// Time since which no `ack` was received.
    waiting_since: Option<Uptime>,
    /// Time since which a message is pending that no watermark can confirm.
    out_of_order_since: Option<Uptime>,
    /// Lowest pending message below a confirmed range, and since when it is the lowest.
    gap: Option<(Seq, Uptime)>,
    /// Consecutive connections that ended without an `ack`.
    timeouts: u32,
    /// Consecutive connections that ended because of a gap.
    gap_timeouts: u32,
}

impl<T: SeqSpan> TopicAcks<T> {
    const fn new(highest_sent: Seq) -> Self {
        Self {
            highest_sent,
            last_watermark: Seq::ZERO,
            highest_in_range: Seq::ZERO,
            highest_accepted: Seq::ZERO,
            awaiting: Vec::new(),
            waiting_since: None,
            out_of_order_since: None,
            gap: None,
            timeouts: 0,
            gap_timeouts: 0,
        }
    }

    fn reset_for_connection(&mut self) {
        let repeated = if self.gap.is_some() { self.gap_timeouts } else { 0 };
        *self = Self {
            timeouts: self.timeouts,
            gap_timeouts: repeated,
            ..Self::new(self.highest_sent)
        };
    }

    fn on_sent(&mut self, message: T, now: Uptime) {
        self.highest_sent = self.highest_sent.max(message.last());
        let first = message.first();
        let is_highest = self.awaiting.iter().all(|before| before.message.last() < first);
        let is_in_order = is_highest && first > self.highest_accepted;
        let place = if is_in_order { SendOrder::InOrder } else { SendOrder::OutOfOrder };
        self.awaiting.push(AwaitingAck { message, state: AckState::Sent, order: place });
        self.restart_timeout(now);
    }

    fn on_rejected(&mut self, message: T, now: Uptime) {
        self.awaiting.retain(|awaited| awaited.message != message);
        self.restart_timeout(now);
    }

    /// Handles PUBACK. Returns whether the `ack` was received already.
    fn on_accepted(&mut self, message: T, now: Uptime) -> bool {
        self.highest_accepted = self.highest_accepted.max(message.last());
        let Some(at) = self.awaiting.iter().position(|awaited| awaited.message == message) else {
            return false;
        };
        let is_stored = self.awaiting[at].state == AckState::Confirmed;
        if is_stored {
            self.awaiting.remove(at);
            self.restart_timeout(now);
        } else {
            self.awaiting[at].state = AckState::Accepted;
        }
        is_stored
    }

    /// Restarts or stops the timeouts after a change of the pending messages.
    fn restart_timeout(&mut self, now: Uptime) {
        let highest_in_range = self.highest_in_range;
        let is_passed_over = |one: &AwaitingAck<T>| {
            one.state != AckState::Confirmed && one.message.last() < highest_in_range
        };
        let is_expected =
            |one: &AwaitingAck<T>| one.order == SendOrder::InOrder && !is_passed_over(one);
        let in_order = self.awaiting.iter().any(is_expected);
        let behind = self.awaiting.iter().any(|one| one.order == SendOrder::OutOfOrder);
        let gap = self.awaiting.iter().filter(|one| is_passed_over(one));
        let lowest = gap.map(|one| one.message.first()).min();
        self.gap = lowest.map(|lowest| match self.gap {
            Some((before, since)) if before == lowest => (before, since),
            // Parallel backend instances leave gaps all the time and close them soon.
            _ => (lowest, now),
        });
        for (since, waits) in
            [(&mut self.waiting_since, in_order), (&mut self.out_of_order_since, behind)]
        {
            *since = waits.then(|| since.unwrap_or(now));
        }
    }

    fn allows(&self, word: &AckedRanges) -> bool {
        word.watermark.is_none_or(|mark| (self.last_watermark..=self.highest_sent).contains(&mark))
            && word.is_valid(self.highest_sent)
    }

    fn on_ack(&mut self, word: &AckedRanges, now: Uptime) -> Vec<T> {
        if word.is_empty() {
            return Vec::new();
        }
        self.last_watermark = word.watermark.unwrap_or(self.last_watermark);
        self.timeouts = 0;
        self.waiting_since = Some(now);
        let (mut stored, highest_in_range) = (Vec::new(), &mut self.highest_in_range);
        self.awaiting.retain_mut(|AwaitingAck { message, state: stage, order: place }| {
            let is_marked = *place == SendOrder::InOrder
                && word.watermark.is_some_and(|mark| message.last() <= mark);
            let is_ranged = word.contains(message.first(), message.last());
            if is_ranged {
                *highest_in_range = message.last().max(*highest_in_range);
            }
            if !is_marked && !is_ranged {
                return true;
            }
            if *stage == AckState::Accepted {
                stored.push(*message);
                return false;
            }
            *stage = AckState::Confirmed;
            true
        });
        self.restart_timeout(now);
        stored
    }

    fn deadlines(&self) -> [Option<Uptime>; 3] {
        let duplicates = |times: u32| {
            ACK_TIMEOUT.saturating_mul(2_u32.saturating_pow(times)).min(MAX_ACK_TIMEOUT)
        };
        [
            self.waiting_since.map(|since| since + duplicates(self.timeouts)),
            self.gap.map(|(_, since)| since + duplicates(self.gap_timeouts)),
            self.out_of_order_since.map(|since| since + MAX_ACK_TIMEOUT),
        ]
    }

    fn deadline(&self) -> Option<Uptime> {
        self.deadlines().into_iter().flatten().min()
    }

    fn on_timeout(&mut self, now: Uptime) {
        let [timeouts, gap, _] =
            self.deadlines().map(|due| u32::from(due.is_some_and(|due| now >= due)));
        self.timeouts = self.timeouts.saturating_add(timeouts);
        self.gap_timeouts = self.gap_timeouts.saturating_add(gap);
    }
}

/// Messages that the backend has stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Confirmed {
    pub tracks: Vec<Batch>,
    pub events: Vec<Seq>,
}

/// Messages of all topics that await the backend's `ack`.
#[derive(Debug)]
pub(super) struct BackendAcks {
    events: TopicAcks<Seq>,
    tracks: TopicAcks<Batch>,
}

impl BackendAcks {
    /// Numbers below `first` may be acknowledged too: an earlier run of the agent may have sent
    /// them.
    pub(super) const fn new(first: Seq) -> Self {
        let sent = Seq::new(first.get().saturating_sub(1));
        Self { events: TopicAcks::new(sent), tracks: TopicAcks::new(sent) }
    }

    /// Resets the state for a new connection, on which everything is sent again.
    pub(super) fn reset_for_connection(&mut self) {
        self.events.reset_for_connection();
        self.tracks.reset_for_connection();
    }

    pub(super) fn on_track_sent(&mut self, batch: Batch, now: Uptime) {
        self.tracks.on_sent(batch, now);
    }

    pub(super) fn on_event_sent(&mut self, seq: Seq, now: Uptime) {
        self.events.on_sent(seq, now);
    }

    /// The broker rejected the message. It is retried and no longer awaits an `ack`.
    pub(super) fn on_track_rejected(&mut self, batch: Batch, now: Uptime) {
        self.tracks.on_rejected(batch, now);
    }

    /// Like [`Self::refused_track`].
    pub(super) fn on_event_rejected(&mut self, seq: Seq, now: Uptime) {
        self.events.on_rejected(seq, now);
    }

    /// The broker accepted the message. Returns whether the `ack` was received already.
    pub(super) fn on_track_accepted(&mut self, batch: Batch, now: Uptime) -> bool {
        self.tracks.on_accepted(batch, now)
    }

    /// Like [`Self::accepted_track`].
    pub(super) fn on_event_accepted(&mut self, seq: Seq, now: Uptime) -> bool {
        self.events.on_accepted(seq, now)
    }

    /// Number of events that await an `ack` or the next connection.
    pub(super) const fn events_awaiting(&self) -> usize {
        self.events.awaiting.len()
    }

    /// Whether more track messages may be sent.
    pub(super) const fn has_room_for_tracks(&self) -> bool {
        self.tracks.awaiting.len() < MAX_AWAITING
    }

    /// Whether more events may be sent.
    pub(super) const fn has_room_for_events(&self) -> bool {
        self.events.awaiting.len() < MAX_AWAITING
    }

    /// Handles an `ack` message and returns the messages that may be removed.
    pub(super) fn on_ack(&mut self, payload: &[u8], now: Uptime) -> Result<Confirmed, InvalidAck> {
        let [events, tracks] = parse_ack(payload)?;
        if !self.events.allows(&events) || !self.tracks.allows(&tracks) {
            return Err(InvalidAck);
        }
        let events = self.events.on_ack(&events, now);
        Ok(Confirmed { tracks: self.tracks.on_ack(&tracks, now), events })
    }

    /// When the connection must be closed, so that everything is sent again.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        self.events.deadline().into_iter().chain(self.tracks.deadline()).min()
    }

    /// Counts the timeouts that have expired at `now`.
    pub(super) fn on_timeout(&mut self, now: Uptime) {
        self.events.on_timeout(now);
        self.tracks.on_timeout(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_wire::payloads::TrackSource;

    fn batch(first: u64, last: u64) -> Batch {
        let (first, last, points) = (Seq::new(first), Seq::new(last), last - first + 1);
        Batch { first, last, points, source: TrackSource::Live, rejections: 0 }
    }

    #[test]
    fn a_mark_concerns_what_was_sent_before_it_and_nothing_else() {
        let mut acks = BackendAcks::new(Seq::new(1));
        let now = Uptime::ZERO;
        acks.on_track_sent(batch(101, 160), now);
        acks.on_event_sent(Seq::new(120), now);
        assert!(
            !acks.on_track_accepted(batch(101, 160), now)
                && !acks.on_event_accepted(Seq::new(120), now)
        );
        let stored =
            acks.on_ack(br#"{"v":1,"event":{"up_to":120},"track":{"up_to":159}}"#, now).unwrap();
        assert_eq!(stored, Confirmed { tracks: Vec::new(), events: vec![Seq::new(120)] });
        assert!(acks.deadline().is_some());
        let stored = acks.on_ack(br#"{"v":1,"track":{"up_to":160}}"#, now).unwrap();
        assert_eq!(stored.tracks, [batch(101, 160)]);
        assert_eq!(acks.deadline(), None, "nothing is pending");
        // PUBACK may arrive after the `ack`.
        acks.on_track_sent(batch(161, 220), now);
        assert!(acks.on_ack(br#"{"v":1,"track":{"up_to":220}}"#, now).unwrap().tracks.is_empty());
        assert!(acks.on_track_accepted(batch(161, 220), now));
        assert_eq!(acks.deadline(), None, "nothing is pending");
    }

    #[test]
    fn a_mark_says_nothing_of_what_was_refused_and_sent_again_behind_higher_numbers() {
        let mut acks = BackendAcks::new(Seq::new(1));
        let now = Uptime::ZERO;
        acks.on_track_sent(batch(1, 60), now);
        acks.on_track_sent(batch(61, 120), now);
        acks.on_track_rejected(batch(1, 60), now);
        acks.on_track_accepted(batch(61, 120), now);
        acks.on_track_sent(batch(1, 60), now);
        assert!(!acks.on_track_accepted(batch(1, 60), now));
        let mark = br#"{"v":1,"track":{"up_to":120}}"#;
        assert_eq!(acks.on_ack(mark, now).unwrap().tracks, [batch(61, 120)]);
        assert_eq!(acks.deadline(), Some(now + MAX_ACK_TIMEOUT), "the next connection sends it");
        acks.reset_for_connection();
        acks.on_track_sent(batch(1, 60), now);
        acks.on_track_rejected(batch(1, 60), now);
        assert_eq!(acks.deadline(), None, "a rejection is no timeout of the backend");
        acks.on_track_sent(batch(1, 60), now);
        acks.on_track_accepted(batch(1, 60), now);
        assert_eq!(
            acks.on_ack(mark, now).unwrap().tracks,
            [batch(1, 60)],
            "no higher number was sent before it"
        );
    }

    #[test]
    fn a_range_concerns_what_is_in_it_whatever_the_order_and_nothing_below() {
        let mut acks = BackendAcks::new(Seq::new(1));
        let now = Uptime::ZERO;
        for first in [1, 61, 121] {
            acks.on_track_sent(batch(first, first + 59), now);
            acks.on_track_accepted(batch(first, first + 59), now);
        }
        // The broker has dropped the second batch.
        let word = br#"{"v":1,"track":{"ranges":[[1,60],[121,180]]}}"#;
        assert_eq!(acks.on_ack(word, now).unwrap().tracks, [batch(1, 60), batch(121, 180)]);
        assert_eq!(acks.deadline(), Some(now + ACK_TIMEOUT), "the next connection sends it");
        acks.on_track_rejected(batch(61, 120), now);
        acks.on_track_sent(batch(61, 120), now);
        acks.on_track_accepted(batch(61, 120), now);
        assert!(acks.on_ack(br#"{"v":1,"track":{"up_to":180}}"#, now).unwrap().tracks.is_empty());
        let word = br#"{"v":1,"track":{"ranges":[[61,120]]}}"#;
        assert_eq!(acks.on_ack(word, now).unwrap().tracks, [batch(61, 120)]);
        assert_eq!(acks.deadline(), None, "nothing is pending");
        // PUBACK may arrive after the `ack`; and a range must cover the whole batch.
        acks.on_event_sent(Seq::new(200), now);
        acks.on_track_sent(batch(201, 260), now);
        let word = br#"{"v":1,"event":{"ranges":[[200,200]]},"track":{"ranges":[[201,259]]}}"#;
        assert_eq!(acks.on_ack(word, now), Ok(Confirmed::default()));
        assert!(acks.on_event_accepted(Seq::new(200), now));
        assert!(!acks.on_track_accepted(batch(201, 260), now));
    }

    #[test]
    fn what_is_passed_over_again_and_again_costs_a_connection_an_hour_at_last() {
        let mut acks = BackendAcks::new(Seq::new(1));
        let mut now = Uptime::ZERO;
        let mut waits = Vec::new();
        for _ in 0..6 {
            acks.reset_for_connection();
            for first in [1, 61] {
                acks.on_track_sent(batch(first, first + 59), now);
                acks.on_track_accepted(batch(first, first + 59), now);
            }
            acks.on_ack(br#"{"v":1,"track":{"ranges":[[61,120]]}}"#, now).unwrap();
            let due = acks.deadline().unwrap();
            waits.push(due.since(now).as_secs() / 60);
            now = due;
            acks.on_timeout(now);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        acks.reset_for_connection();
        acks.reset_for_connection();
        acks.on_track_sent(batch(1, 60), now);
        acks.on_track_sent(batch(61, 120), now);
        acks.on_ack(br#"{"v":1,"track":{"ranges":[[61,120]]}}"#, now).unwrap();
        assert_eq!(
            acks.deadline(),
            Some(now + ACK_TIMEOUT),
            "a connection without a gap is in between"
        );
    }

    #[test]
    fn a_backend_that_works_side_by_side_and_one_that_is_late_are_not_given_up() {
        let mut acks = BackendAcks::new(Seq::new(1));
        let mut now = Uptime::ZERO;
        let word =
            |first: u64| format!(r#"{{"v":1,"track":{{"ranges":[[{first},{}]]}}}}"#, first + 59);
        // At any time, one message is overtaken by the `ack` of a later one.
        let mut late = None;
        for first in (1..3000).step_by(120) {
            for first in [first, first + 60] {
                acks.on_track_sent(batch(first, first + 59), now);
                acks.on_track_accepted(batch(first, first + 59), now);
            }
            acks.on_ack(word(first + 60).as_bytes(), now).unwrap();
            now = now + Duration::from_mins(1);
            if let Some(late) = late.replace(first) {
                assert_eq!(acks.on_ack(word(late).as_bytes(), now).unwrap().tracks.len(), 1);
            }
            assert!(acks.deadline().is_some_and(|due| due > now), "{now:?}");
        }
        // Messages of the previous connection cause no gap on this one.
        acks.reset_for_connection();
        acks.on_ack(word(2941).as_bytes(), now).unwrap();
        acks.on_track_sent(batch(1, 60), now);
        now = now + Duration::from_mins(4);
        acks.on_ack(word(2941).as_bytes(), now).unwrap();
        assert_eq!(acks.deadline(), Some(now + ACK_TIMEOUT));
    }

    #[test]
    fn words_that_cannot_be_true_are_ignored() {
        let mut acks = BackendAcks::new(Seq::new(101));
        let now = Uptime::ZERO;
        acks.on_track_sent(batch(101, 160), now);
        acks.on_track_accepted(batch(101, 160), now);
        acks.on_ack(br#"{"v":1,"track":{"up_to":130}}"#, now).unwrap();
        let large = vec![b' '; 9000];
        for unfit in [
            &b"{}"[..],
            b"",
            br#"{"v":1}"#,
            br#"{"v":2,"track":{"up_to":150}}"#,
            br#"{"v":1,"track":{"up_to":-1}}"#,
            br#"{"v":1,"track":{"up_to":"150"}}"#,
            br#"{"v":1,"track":{"up_to":129}}"#,
            br#"{"v":1,"track":{"up_to":161}}"#,
            br#"{"v":1,"event":{"up_to":101}}"#,
            br#"{"v":1,"track":{"up_to":160},"event":{"up_to":18446744073709551615}}"#,
            br#"{"v":1,"track":{"ranges":[]}}"#,
            br#"{"v":1,"track":{"ranges":[[101,161]]}}"#,
            br#"{"v":1,"track":{"ranges":[[160,101]]}}"#,
            br#"{"v":1,"track":{"ranges":[[101,120],[120,160]]}}"#,
            br#"{"v":1,"track":{"ranges":[[121,160],[101,120]]}}"#,
            br#"{"v":1,"track":{"ranges":[[101]]}}"#,
            br#"{"v":1,"track":{"ranges":[[101,120,160]]}}"#,
            br#"{"v":1,"track":{"ranges":[101,160]}}"#,
            br#"{"v":1,"track":{"ranges":[[-1,160]]}}"#,
            br#"{"v":1,"track":{"ranges":[[101,160]]},"event":{"ranges":[[161,161]]}}"#,
            &large,
        ] {
            assert_eq!(
                acks.on_ack(unfit, now),
                Err(InvalidAck),
                "{}",
                String::from_utf8_lossy(unfit)
            );
        }
        assert!(acks.on_ack(br#"{"v":1,"event":{"up_to":100},"new":true}"#, now).is_ok());
        assert_eq!(acks.on_ack(br#"{"v":1,"track":{"up_to":160}}"#, now).unwrap().tracks.len(), 1);
        acks.reset_for_connection();
        assert!(
            acks.on_ack(br#"{"v":1,"track":{"up_to":90}}"#, now).is_ok(),
            "a backend restored from a backup"
        );
    }
}
