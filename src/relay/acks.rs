//! The backend's `ack` → what may leave the outbox, where PUBACK does not say enough (pure).
//!
//! In MQTT 3.1.1 a broker says PUBACK also to what its ACL denies, so a record leaves only after the backend's word. That
//! word is a high-water mark for each topic, and concerns nothing but what was handed over on this connection before it
//! came: what was not sent cannot have arrived by it. A mark that is lower than the last one of the connection, or higher
//! than anything that was ever sent, is ignored.

use std::time::Duration;

use super::lanes::Batch;
use crate::core::record::Seq;
use crate::units::Uptime;
use crate::wire::json::Ack;

/// How long a connection waits for the backend at first; it doubles while nothing comes.
const PATIENCE: Duration = Duration::from_mins(5);

/// A backend that is away costs one repetition of what is unacknowledged in this time.
const MAX_PATIENCE: Duration = Duration::from_hours(1);

/// Messages of one topic that wait for the backend at most; then no more are sent on this connection.
const MAX_AWAITED: usize = 4096;

/// A message on `ack` is never larger.
const MAX_ACK_BYTES: usize = 1024;

/// What wears the marks of one topic.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// The highest number that was ever sent.
    sent: Seq,
    /// The last mark of this connection.
    acked: Seq,
}

impl Mark {
    fn allows(self, mark: Seq) -> bool {
        (self.acked..=self.sent).contains(&mark)
    }
}

/// The backend's word is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfit;

/// What the backend has stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub tracks: Vec<Batch>,
    pub events: Vec<Seq>,
}

/// What waits for the backend's word.
#[derive(Debug)]
pub(super) struct Acks {
    event: Mark,
    track: Mark,
    tracks: Vec<Batch>,
    events: Vec<Seq>,
    /// Since when the backend has said nothing.
    since: Option<Uptime>,
    /// Connections in a row that ended without its word.
    unheard: u32,
}

impl Acks {
    /// What an earlier run of the agent sent may be acknowledged too: all below `first`.
    pub(super) fn new(first: Seq) -> Self {
        let mark = Mark { sent: Seq::new(first.get().saturating_sub(1)), acked: Seq::ZERO };
        let (tracks, events) = (Vec::new(), Vec::new());
        Self { event: mark, track: mark, tracks, events, since: None, unheard: 0 }
    }

    /// A new connection: everything is sent again.
    pub(super) fn begin_again(&mut self) {
        (self.event.acked, self.track.acked) = (Seq::ZERO, Seq::ZERO);
        self.tracks.clear();
        self.events.clear();
        self.since = None;
    }

    /// It was handed over.
    pub(super) fn sent_track(&mut self, batch: Batch, now: Uptime) {
        self.track.sent = self.track.sent.max(batch.last);
        self.tracks.push(batch);
        self.since.get_or_insert(now);
    }

    /// It was handed over.
    pub(super) fn sent_event(&mut self, seq: Seq, now: Uptime) {
        self.event.sent = self.event.sent.max(seq);
        self.events.push(seq);
        self.since.get_or_insert(now);
    }

    /// The broker refused it: it waits for another try, and not for the backend.
    pub(super) fn refused_track(&mut self, batch: Batch) {
        self.tracks.retain(|awaited| *awaited != batch);
    }

    /// As [`Self::refused_track`].
    pub(super) fn refused_event(&mut self, seq: Seq) {
        self.events.retain(|awaited| *awaited != seq);
    }

    /// Events that wait.
    pub(super) fn events(&self) -> usize {
        self.events.len()
    }

    /// Whether more may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.tracks.len() < MAX_AWAITED && self.events.len() < MAX_AWAITED
    }

    /// The backend said something.
    pub(super) fn hear(&mut self, payload: &[u8], now: Uptime) -> Result<Stored, Unfit> {
        let ack: Ack = Some(payload)
            .filter(|payload| payload.len() <= MAX_ACK_BYTES)
            .and_then(|payload| serde_json::from_slice(payload).ok())
            .ok_or(Unfit)?;
        let marks = [(ack.event_seq, self.event), (ack.track_seq, self.track)];
        let fits =
            |(seq, mark): &(Option<u64>, Mark)| seq.is_none_or(|seq| mark.allows(Seq::new(seq)));
        let says = ack.event_seq.or(ack.track_seq).is_some();
        if ack.v != crate::wire::VERSION || !says || !marks.iter().all(fits) {
            return Err(Unfit);
        }
        let mut stored = Stored::default();
        if let Some(mark) = ack.event_seq.map(Seq::new) {
            self.event.acked = mark;
            stored.events = self.events.extract_if(.., |seq| *seq <= mark).collect();
        }
        if let Some(mark) = ack.track_seq.map(Seq::new) {
            self.track.acked = mark;
            stored.tracks = self.tracks.extract_if(.., |batch| batch.last <= mark).collect();
        }
        let waits = !self.tracks.is_empty() || !self.events.is_empty();
        self.since = waits.then_some(now);
        self.unheard = 0;
        Ok(stored)
    }

    /// When the connection is given up, and everything sent again.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        let waits = !self.tracks.is_empty() || !self.events.is_empty();
        let patience =
            PATIENCE.saturating_mul(2_u32.saturating_pow(self.unheard)).min(MAX_PATIENCE);
        self.since.filter(|_| waits).map(|since| since + patience)
    }

    /// It was.
    pub(super) const fn gave_up(&mut self) {
        self.unheard = self.unheard.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::Lane;

    fn batch(first: u64, last: u64) -> Batch {
        let (first, last, points) = (Seq::new(first), Seq::new(last), last - first + 1);
        Batch { first, last, points, lane: Lane::Live, refused: 0 }
    }

    #[test]
    fn a_mark_concerns_what_was_sent_before_it_and_nothing_else() {
        let mut acks = Acks::new(Seq::new(1));
        let now = Uptime::ZERO;
        acks.sent_track(batch(101, 160), now);
        acks.sent_event(Seq::new(120), now);
        let stored = acks.hear(br#"{"v":1,"event_seq":120,"track_seq":159}"#, now).unwrap();
        assert_eq!(stored, Stored { tracks: Vec::new(), events: vec![Seq::new(120)] });
        assert!(acks.deadline().is_some());
        let stored = acks.hear(br#"{"v":1,"track_seq":160}"#, now).unwrap();
        assert_eq!(stored.tracks, [batch(101, 160)]);
        assert_eq!(acks.deadline(), None, "nothing waits");
        // The backlog goes later, and the mark that came before does not know of it.
        acks.sent_track(batch(1, 60), now);
        assert!(acks.deadline().is_some());
        assert_eq!(acks.hear(br#"{"v":1,"track_seq":160}"#, now).unwrap().tracks, [batch(1, 60)]);
    }

    #[test]
    fn words_that_cannot_be_true_are_ignored() {
        let mut acks = Acks::new(Seq::new(101));
        let now = Uptime::ZERO;
        acks.sent_track(batch(101, 160), now);
        acks.hear(br#"{"v":1,"track_seq":130}"#, now).unwrap();
        let large = vec![b' '; 2000];
        for unfit in [
            &b"{}"[..],
            b"",
            br#"{"v":1}"#,
            br#"{"v":2,"track_seq":150}"#,
            br#"{"v":1,"track_seq":-1}"#,
            br#"{"v":1,"track_seq":"150"}"#,
            br#"{"v":1,"track_seq":129}"#,
            br#"{"v":1,"track_seq":161}"#,
            br#"{"v":1,"event_seq":101}"#,
            br#"{"v":1,"track_seq":160,"event_seq":18446744073709551615}"#,
            &large,
        ] {
            assert_eq!(acks.hear(unfit, now), Err(Unfit), "{}", String::from_utf8_lossy(unfit));
        }
        assert!(acks.hear(br#"{"v":1,"event_seq":100,"new":true}"#, now).is_ok());
        assert_eq!(acks.hear(br#"{"v":1,"track_seq":160}"#, now).unwrap().tracks.len(), 1);
        acks.begin_again();
        assert!(acks.hear(br#"{"v":1,"track_seq":90}"#, now).is_ok(), "a backend from a backup");
    }
}
