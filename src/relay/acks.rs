//! The backend's `ack` → what may leave the outbox, where PUBACK does not say enough (pure).
//!
//! In MQTT 3.1.1 a broker says PUBACK also to what its ACL denies, so a record leaves only after the backend's word. That
//! word is a high-water mark for each topic, and concerns nothing but what was handed over on this connection before it
//! came, in the order of its numbers, and was acknowledged by the broker: what was not sent cannot have arrived by it, and
//! of what was refused and sent again behind higher numbers a mark says nothing. That is sent again, in order, on the
//! next connection. A mark that is lower than the last one of the connection, or higher than anything that was ever sent,
//! is ignored.

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

/// What stands under a mark: one number, or a range of them.
trait Numbered: Copy + PartialEq {
    fn first(self) -> Seq;
    fn last(self) -> Seq;
}

impl Numbered for Seq {
    fn first(self) -> Seq {
        self
    }

    fn last(self) -> Seq {
        self
    }
}

impl Numbered for Batch {
    fn first(self) -> Seq {
        self.first
    }

    fn last(self) -> Seq {
        self.last
    }
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Neither the broker nor the backend has said anything.
    Sent,
    /// PUBACK came.
    Accepted,
    /// The backend's mark came before PUBACK.
    Marked,
}

/// What waits on one topic.
#[derive(Debug)]
struct Line<T> {
    /// The highest number that was ever sent.
    sent: Seq,
    /// The last mark of this connection.
    acked: Seq,
    /// The highest number that the broker has accepted on this connection.
    accepted: Seq,
    awaited: Vec<(T, Stage)>,
    /// Since when the backend has said nothing.
    since: Option<Uptime>,
    /// Since when something waits for the next connection, as it was sent behind higher numbers.
    apart: Option<Uptime>,
    /// Connections in a row that ended without the backend's word.
    unheard: u32,
}

impl<T: Numbered> Line<T> {
    const fn new(sent: Seq) -> Self {
        let (acked, accepted) = (Seq::ZERO, Seq::ZERO);
        Self { sent, acked, accepted, awaited: Vec::new(), since: None, apart: None, unheard: 0 }
    }

    fn begin_again(&mut self) {
        *self = Self { unheard: self.unheard, ..Self::new(self.sent) };
    }

    fn sent(&mut self, message: T, now: Uptime) {
        self.sent = self.sent.max(message.last());
        let is_highest = self.awaited.iter().all(|(before, _)| before.last() < message.first());
        if is_highest && message.first() > self.accepted {
            self.awaited.push((message, Stage::Sent));
            self.since.get_or_insert(now);
        } else {
            self.apart.get_or_insert(now);
        }
    }

    fn refused(&mut self, message: T) {
        self.awaited.retain(|(awaited, _)| *awaited != message);
        self.rest();
    }

    /// PUBACK came; whether the backend has said already that it is stored.
    fn accepted(&mut self, message: T) -> bool {
        self.accepted = self.accepted.max(message.last());
        let Some(at) = self.awaited.iter().position(|(awaited, _)| *awaited == message) else {
            return false;
        };
        let is_stored = self.awaited[at].1 == Stage::Marked;
        if is_stored {
            self.awaited.remove(at);
            self.rest();
        } else {
            self.awaited[at].1 = Stage::Accepted;
        }
        is_stored
    }

    /// Who waits for nothing is not kept waiting.
    fn rest(&mut self) {
        if self.awaited.is_empty() {
            self.since = None;
        }
    }

    fn allows(&self, mark: Option<u64>) -> bool {
        mark.is_none_or(|mark| (self.acked..=self.sent).contains(&Seq::new(mark)))
    }

    fn hear(&mut self, mark: Option<u64>, now: Uptime) -> Vec<T> {
        let Some(mark) = mark.map(Seq::new) else { return Vec::new() };
        self.acked = mark;
        self.unheard = 0;
        self.since = Some(now);
        let mut stored = Vec::new();
        self.awaited.retain_mut(|(message, stage)| {
            if message.last() > mark {
                return true;
            }
            if *stage == Stage::Accepted {
                stored.push(*message);
                return false;
            }
            *stage = Stage::Marked;
            true
        });
        self.rest();
        stored
    }

    fn deadline(&self) -> Option<Uptime> {
        let patience =
            PATIENCE.saturating_mul(2_u32.saturating_pow(self.unheard)).min(MAX_PATIENCE);
        let unheard = self.since.map(|since| since + patience);
        let apart = self.apart.map(|since| since + MAX_PATIENCE);
        unheard.into_iter().chain(apart).min()
    }

    fn gave_up(&mut self, now: Uptime) {
        if self.since.is_some() && self.deadline().is_some_and(|due| now >= due) {
            self.unheard = self.unheard.saturating_add(1);
        }
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
    events: Line<Seq>,
    tracks: Line<Batch>,
}

impl Acks {
    /// What an earlier run of the agent sent may be acknowledged too: all below `first`.
    pub(super) const fn new(first: Seq) -> Self {
        let sent = Seq::new(first.get().saturating_sub(1));
        Self { events: Line::new(sent), tracks: Line::new(sent) }
    }

    /// A new connection: everything is sent again.
    pub(super) fn begin_again(&mut self) {
        self.events.begin_again();
        self.tracks.begin_again();
    }

    /// It was handed over.
    pub(super) fn sent_track(&mut self, batch: Batch, now: Uptime) {
        self.tracks.sent(batch, now);
    }

    /// It was handed over.
    pub(super) fn sent_event(&mut self, seq: Seq, now: Uptime) {
        self.events.sent(seq, now);
    }

    /// The broker refused it: it waits for another try, and not for the backend.
    pub(super) fn refused_track(&mut self, batch: Batch) {
        self.tracks.refused(batch);
    }

    /// As [`Self::refused_track`].
    pub(super) fn refused_event(&mut self, seq: Seq) {
        self.events.refused(seq);
    }

    /// The broker accepted it; whether the backend has said already that it is stored.
    pub(super) fn accepted_track(&mut self, batch: Batch) -> bool {
        self.tracks.accepted(batch)
    }

    /// As [`Self::accepted_track`].
    pub(super) fn accepted_event(&mut self, seq: Seq) -> bool {
        self.events.accepted(seq)
    }

    /// Events that wait, for the backend or for the next connection.
    pub(super) fn events(&self) -> usize {
        self.events.awaited.len() + usize::from(self.events.apart.is_some())
    }

    /// Whether more may be sent.
    pub(super) const fn has_room_for_tracks(&self) -> bool {
        self.tracks.awaited.len() < MAX_AWAITED
    }

    /// Whether more may be sent.
    pub(super) const fn has_room_for_events(&self) -> bool {
        self.events.awaited.len() < MAX_AWAITED
    }

    /// The backend said something.
    pub(super) fn hear(&mut self, payload: &[u8], now: Uptime) -> Result<Stored, Unfit> {
        let ack: Ack = Some(payload)
            .filter(|payload| payload.len() <= MAX_ACK_BYTES)
            .and_then(|payload| serde_json::from_slice(payload).ok())
            .ok_or(Unfit)?;
        let says = ack.event_seq.or(ack.track_seq).is_some();
        let fits = self.events.allows(ack.event_seq) && self.tracks.allows(ack.track_seq);
        if ack.v != crate::wire::VERSION || !says || !fits {
            return Err(Unfit);
        }
        let events = self.events.hear(ack.event_seq, now);
        Ok(Stored { tracks: self.tracks.hear(ack.track_seq, now), events })
    }

    /// When the connection is given up, and everything sent again.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        self.events.deadline().into_iter().chain(self.tracks.deadline()).min()
    }

    /// It was, at `now`.
    pub(super) fn gave_up(&mut self, now: Uptime) {
        self.events.gave_up(now);
        self.tracks.gave_up(now);
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
        assert!(!acks.accepted_track(batch(101, 160)) && !acks.accepted_event(Seq::new(120)));
        let stored = acks.hear(br#"{"v":1,"event_seq":120,"track_seq":159}"#, now).unwrap();
        assert_eq!(stored, Stored { tracks: Vec::new(), events: vec![Seq::new(120)] });
        assert!(acks.deadline().is_some());
        let stored = acks.hear(br#"{"v":1,"track_seq":160}"#, now).unwrap();
        assert_eq!(stored.tracks, [batch(101, 160)]);
        assert_eq!(acks.deadline(), None, "nothing waits");
        // PUBACK may come after the backend's word.
        acks.sent_track(batch(161, 220), now);
        assert!(acks.hear(br#"{"v":1,"track_seq":220}"#, now).unwrap().tracks.is_empty());
        assert!(acks.accepted_track(batch(161, 220)));
        assert_eq!(acks.deadline(), None, "nothing waits");
    }

    #[test]
    fn a_mark_says_nothing_of_what_was_refused_and_sent_again_behind_higher_numbers() {
        let mut acks = Acks::new(Seq::new(1));
        let now = Uptime::ZERO;
        acks.sent_track(batch(1, 60), now);
        acks.sent_track(batch(61, 120), now);
        acks.refused_track(batch(1, 60));
        acks.accepted_track(batch(61, 120));
        acks.sent_track(batch(1, 60), now);
        assert!(!acks.accepted_track(batch(1, 60)));
        let mark = br#"{"v":1,"track_seq":120}"#;
        assert_eq!(acks.hear(mark, now).unwrap().tracks, [batch(61, 120)]);
        assert_eq!(acks.deadline(), Some(now + MAX_PATIENCE), "the next connection sends it");
        acks.begin_again();
        acks.sent_track(batch(1, 60), now);
        acks.refused_track(batch(1, 60));
        assert_eq!(acks.deadline(), None, "a refusal is no silence of the backend");
        acks.sent_track(batch(1, 60), now);
        acks.accepted_track(batch(1, 60));
        assert_eq!(acks.hear(mark, now).unwrap().tracks, [batch(1, 60)], "nothing overtook it");
    }

    #[test]
    fn words_that_cannot_be_true_are_ignored() {
        let mut acks = Acks::new(Seq::new(101));
        let now = Uptime::ZERO;
        acks.sent_track(batch(101, 160), now);
        acks.accepted_track(batch(101, 160));
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
