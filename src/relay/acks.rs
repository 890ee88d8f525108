//! The backend's `ack` → what may leave the outbox, where PUBACK does not say enough (pure).
//!
//! In MQTT 3.1.1 a broker says PUBACK also to what its ACL denies, so a record leaves only after the backend's word. That
//! word is of numbers, and concerns nothing but what was handed over on this connection before it came and was
//! acknowledged by the broker: what was not sent cannot have arrived by it.
//!
//! - A *mark* has everything up to it that was sent in the order of its numbers. Of what was refused and sent again behind
//!   higher numbers it says nothing. A mark that is lower than the last one of the connection, or higher than anything that
//!   was ever sent, is ignored.
//! - A *range* has what is in it, whatever the order, and nothing below it. So it tells what a broker has acknowledged and
//!   dropped: what a higher range has passed over is sent again on the next connection, as is what no word can reach.

mod word;

use std::time::Duration;

use super::lanes::Batch;
use crate::core::record::Seq;
use crate::units::Uptime;
pub(super) use word::Unfit;
use word::{Word, words};

/// How long a connection waits for the backend at first; it doubles while nothing comes.
const PATIENCE: Duration = Duration::from_mins(5);

/// A backend that is away costs one repetition of what is unacknowledged in this time.
const MAX_PATIENCE: Duration = Duration::from_hours(1);

/// Messages of one topic that wait for the backend at most; then no more are sent on this connection.
const MAX_AWAITED: usize = 4096;

/// What a message carries: one number, or several in order.
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
    /// The backend's word came before PUBACK.
    Stored,
}

/// Whether a mark can speak of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing with higher numbers was sent before it on this connection.
    InOrder,
    /// It was sent again behind higher numbers.
    Behind,
}

/// A message that waits for the backend.
#[derive(Debug)]
struct Awaited<T> {
    message: T,
    stage: Stage,
    place: Place,
}

/// What waits on one topic.
#[derive(Debug)]
struct Line<T> {
    /// The highest number that was ever sent.
    sent: Seq,
    /// The last mark of this connection.
    marked: Seq,
    /// The highest number of a message of this connection that a range has.
    ranged: Seq,
    /// The highest number that the broker has accepted on this connection.
    accepted: Seq,
    awaited: Vec<Awaited<T>>,
    /// Since when the backend has said nothing.
    since: Option<Uptime>,
    /// Since when something waits that no mark can speak of.
    behind: Option<Uptime>,
    /// The lowest message that waits although a range has a higher one, and since when it is the lowest.
    passed_over: Option<(Seq, Uptime)>,
    /// Connections in a row that ended without the backend's word.
    unheard: u32,
    /// Connections in a row that ended because of what was passed over.
    repeated: u32,
}

impl<T: Numbered> Line<T> {
    const fn new(sent: Seq) -> Self {
        Self {
            sent,
            marked: Seq::ZERO,
            ranged: Seq::ZERO,
            accepted: Seq::ZERO,
            awaited: Vec::new(),
            since: None,
            behind: None,
            passed_over: None,
            unheard: 0,
            repeated: 0,
        }
    }

    fn begin_again(&mut self) {
        let repeated = if self.passed_over.is_some() { self.repeated } else { 0 };
        *self = Self { unheard: self.unheard, repeated, ..Self::new(self.sent) };
    }

    fn sent(&mut self, message: T, now: Uptime) {
        self.sent = self.sent.max(message.last());
        let first = message.first();
        let is_highest = self.awaited.iter().all(|before| before.message.last() < first);
        let is_in_order = is_highest && first > self.accepted;
        let place = if is_in_order { Place::InOrder } else { Place::Behind };
        self.awaited.push(Awaited { message, stage: Stage::Sent, place });
        self.look_at_what_waits(now);
    }

    fn refused(&mut self, message: T, now: Uptime) {
        self.awaited.retain(|awaited| awaited.message != message);
        self.look_at_what_waits(now);
    }

    /// PUBACK came; whether the backend has said already that it is stored.
    fn accepted(&mut self, message: T, now: Uptime) -> bool {
        self.accepted = self.accepted.max(message.last());
        let Some(at) = self.awaited.iter().position(|awaited| awaited.message == message) else {
            return false;
        };
        let is_stored = self.awaited[at].stage == Stage::Stored;
        if is_stored {
            self.awaited.remove(at);
            self.look_at_what_waits(now);
        } else {
            self.awaited[at].stage = Stage::Accepted;
        }
        is_stored
    }

    /// Who waits for nothing is not kept waiting.
    fn look_at_what_waits(&mut self, now: Uptime) {
        let ranged = self.ranged;
        let is_passed_over =
            |one: &Awaited<T>| one.stage != Stage::Stored && one.message.last() < ranged;
        let is_expected = |one: &Awaited<T>| one.place == Place::InOrder && !is_passed_over(one);
        let in_order = self.awaited.iter().any(is_expected);
        let behind = self.awaited.iter().any(|one| one.place == Place::Behind);
        let passed_over = self.awaited.iter().filter(|one| is_passed_over(one));
        let lowest = passed_over.map(|one| one.message.first()).min();
        self.passed_over = lowest.map(|lowest| match self.passed_over {
            Some((before, since)) if before == lowest => (before, since),
            // Backends that work side by side pass over something all the time, and soon have it.
            _ => (lowest, now),
        });
        for (since, waits) in [(&mut self.since, in_order), (&mut self.behind, behind)] {
            *since = waits.then(|| since.unwrap_or(now));
        }
    }

    fn allows(&self, word: &Word) -> bool {
        word.mark.is_none_or(|mark| (self.marked..=self.sent).contains(&mark))
            && word.is_fit(self.sent)
    }

    fn hear(&mut self, word: &Word, now: Uptime) -> Vec<T> {
        if word.is_silent() {
            return Vec::new();
        }
        self.marked = word.mark.unwrap_or(self.marked);
        self.unheard = 0;
        self.since = Some(now);
        let (mut stored, ranged) = (Vec::new(), &mut self.ranged);
        self.awaited.retain_mut(|Awaited { message, stage, place }| {
            let is_marked =
                *place == Place::InOrder && word.mark.is_some_and(|mark| message.last() <= mark);
            let is_ranged = word.has(message.first(), message.last());
            if is_ranged {
                *ranged = message.last().max(*ranged);
            }
            if !is_marked && !is_ranged {
                return true;
            }
            if *stage == Stage::Accepted {
                stored.push(*message);
                return false;
            }
            *stage = Stage::Stored;
            true
        });
        self.look_at_what_waits(now);
        stored
    }

    fn deadlines(&self) -> [Option<Uptime>; 3] {
        let doubled =
            |times: u32| PATIENCE.saturating_mul(2_u32.saturating_pow(times)).min(MAX_PATIENCE);
        [
            self.since.map(|since| since + doubled(self.unheard)),
            self.passed_over.map(|(_, since)| since + doubled(self.repeated)),
            self.behind.map(|since| since + MAX_PATIENCE),
        ]
    }

    fn deadline(&self) -> Option<Uptime> {
        self.deadlines().into_iter().flatten().min()
    }

    fn gave_up(&mut self, now: Uptime) {
        let [unheard, passed_over, _] =
            self.deadlines().map(|due| u32::from(due.is_some_and(|due| now >= due)));
        self.unheard = self.unheard.saturating_add(unheard);
        self.repeated = self.repeated.saturating_add(passed_over);
    }
}

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
    pub(super) fn refused_track(&mut self, batch: Batch, now: Uptime) {
        self.tracks.refused(batch, now);
    }

    /// As [`Self::refused_track`].
    pub(super) fn refused_event(&mut self, seq: Seq, now: Uptime) {
        self.events.refused(seq, now);
    }

    /// The broker accepted it; whether the backend has said already that it is stored.
    pub(super) fn accepted_track(&mut self, batch: Batch, now: Uptime) -> bool {
        self.tracks.accepted(batch, now)
    }

    /// As [`Self::accepted_track`].
    pub(super) fn accepted_event(&mut self, seq: Seq, now: Uptime) -> bool {
        self.events.accepted(seq, now)
    }

    /// Events that wait, for the backend or for the next connection.
    pub(super) const fn events(&self) -> usize {
        self.events.awaited.len()
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
        let [events, tracks] = words(payload)?;
        if !self.events.allows(&events) || !self.tracks.allows(&tracks) {
            return Err(Unfit);
        }
        let events = self.events.hear(&events, now);
        Ok(Stored { tracks: self.tracks.hear(&tracks, now), events })
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
        assert!(
            !acks.accepted_track(batch(101, 160), now) && !acks.accepted_event(Seq::new(120), now)
        );
        let stored = acks.hear(br#"{"v":1,"event_seq":120,"track_seq":159}"#, now).unwrap();
        assert_eq!(stored, Stored { tracks: Vec::new(), events: vec![Seq::new(120)] });
        assert!(acks.deadline().is_some());
        let stored = acks.hear(br#"{"v":1,"track_seq":160}"#, now).unwrap();
        assert_eq!(stored.tracks, [batch(101, 160)]);
        assert_eq!(acks.deadline(), None, "nothing waits");
        // PUBACK may come after the backend's word.
        acks.sent_track(batch(161, 220), now);
        assert!(acks.hear(br#"{"v":1,"track_seq":220}"#, now).unwrap().tracks.is_empty());
        assert!(acks.accepted_track(batch(161, 220), now));
        assert_eq!(acks.deadline(), None, "nothing waits");
    }

    #[test]
    fn a_mark_says_nothing_of_what_was_refused_and_sent_again_behind_higher_numbers() {
        let mut acks = Acks::new(Seq::new(1));
        let now = Uptime::ZERO;
        acks.sent_track(batch(1, 60), now);
        acks.sent_track(batch(61, 120), now);
        acks.refused_track(batch(1, 60), now);
        acks.accepted_track(batch(61, 120), now);
        acks.sent_track(batch(1, 60), now);
        assert!(!acks.accepted_track(batch(1, 60), now));
        let mark = br#"{"v":1,"track_seq":120}"#;
        assert_eq!(acks.hear(mark, now).unwrap().tracks, [batch(61, 120)]);
        assert_eq!(acks.deadline(), Some(now + MAX_PATIENCE), "the next connection sends it");
        acks.begin_again();
        acks.sent_track(batch(1, 60), now);
        acks.refused_track(batch(1, 60), now);
        assert_eq!(acks.deadline(), None, "a refusal is no silence of the backend");
        acks.sent_track(batch(1, 60), now);
        acks.accepted_track(batch(1, 60), now);
        assert_eq!(acks.hear(mark, now).unwrap().tracks, [batch(1, 60)], "nothing overtook it");
    }

    #[test]
    fn a_range_concerns_what_is_in_it_whatever_the_order_and_nothing_below() {
        let mut acks = Acks::new(Seq::new(1));
        let now = Uptime::ZERO;
        for first in [1, 61, 121] {
            acks.sent_track(batch(first, first + 59), now);
            acks.accepted_track(batch(first, first + 59), now);
        }
        // The broker has dropped the one in the middle.
        let word = br#"{"v":1,"track":[[1,60],[121,180]]}"#;
        assert_eq!(acks.hear(word, now).unwrap().tracks, [batch(1, 60), batch(121, 180)]);
        assert_eq!(acks.deadline(), Some(now + PATIENCE), "the next connection sends it");
        acks.refused_track(batch(61, 120), now);
        acks.sent_track(batch(61, 120), now);
        acks.accepted_track(batch(61, 120), now);
        assert!(acks.hear(br#"{"v":1,"track_seq":180}"#, now).unwrap().tracks.is_empty());
        let word = br#"{"v":1,"track":[[61,120]]}"#;
        assert_eq!(acks.hear(word, now).unwrap().tracks, [batch(61, 120)]);
        assert_eq!(acks.deadline(), None, "nothing waits");
        // PUBACK may come after the backend's word; and a part is not the whole.
        acks.sent_event(Seq::new(200), now);
        acks.sent_track(batch(201, 260), now);
        let word = br#"{"v":1,"events":[[200,200]],"track":[[201,259]]}"#;
        assert_eq!(acks.hear(word, now), Ok(Stored::default()));
        assert!(acks.accepted_event(Seq::new(200), now));
        assert!(!acks.accepted_track(batch(201, 260), now));
    }

    #[test]
    fn what_is_passed_over_again_and_again_costs_a_connection_an_hour_at_last() {
        let mut acks = Acks::new(Seq::new(1));
        let mut now = Uptime::ZERO;
        let mut waits = Vec::new();
        for _ in 0..6 {
            acks.begin_again();
            for first in [1, 61] {
                acks.sent_track(batch(first, first + 59), now);
                acks.accepted_track(batch(first, first + 59), now);
            }
            acks.hear(br#"{"v":1,"track":[[61,120]]}"#, now).unwrap();
            let due = acks.deadline().unwrap();
            waits.push(due.since(now).as_secs() / 60);
            now = due;
            acks.gave_up(now);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        acks.begin_again();
        acks.begin_again();
        acks.sent_track(batch(1, 60), now);
        acks.sent_track(batch(61, 120), now);
        acks.hear(br#"{"v":1,"track":[[61,120]]}"#, now).unwrap();
        assert_eq!(acks.deadline(), Some(now + PATIENCE), "a connection without it is in between");
    }

    #[test]
    fn a_backend_that_works_side_by_side_and_one_that_is_late_are_not_given_up() {
        let mut acks = Acks::new(Seq::new(1));
        let mut now = Uptime::ZERO;
        let word = |first: u64| format!(r#"{{"v":1,"track":[[{first},{}]]}}"#, first + 59);
        // At any time there is a message that a later one's word has overtaken.
        let mut late = None;
        for first in (1..3000).step_by(120) {
            for first in [first, first + 60] {
                acks.sent_track(batch(first, first + 59), now);
                acks.accepted_track(batch(first, first + 59), now);
            }
            acks.hear(word(first + 60).as_bytes(), now).unwrap();
            now = now + Duration::from_mins(1);
            if let Some(late) = late.replace(first) {
                assert_eq!(acks.hear(word(late).as_bytes(), now).unwrap().tracks.len(), 1);
            }
            assert!(acks.deadline().is_some_and(|due| due > now), "{now:?}");
        }
        // What the connection before had sent passes over nothing of this one.
        acks.begin_again();
        acks.hear(word(2941).as_bytes(), now).unwrap();
        acks.sent_track(batch(1, 60), now);
        now = now + Duration::from_mins(4);
        acks.hear(word(2941).as_bytes(), now).unwrap();
        assert_eq!(acks.deadline(), Some(now + PATIENCE));
    }

    #[test]
    fn words_that_cannot_be_true_are_ignored() {
        let mut acks = Acks::new(Seq::new(101));
        let now = Uptime::ZERO;
        acks.sent_track(batch(101, 160), now);
        acks.accepted_track(batch(101, 160), now);
        acks.hear(br#"{"v":1,"track_seq":130}"#, now).unwrap();
        let large = vec![b' '; 9000];
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
            br#"{"v":1,"track":[]}"#,
            br#"{"v":1,"track":[[101,161]]}"#,
            br#"{"v":1,"track":[[160,101]]}"#,
            br#"{"v":1,"track":[[101,120],[120,160]]}"#,
            br#"{"v":1,"track":[[121,160],[101,120]]}"#,
            br#"{"v":1,"track":[[101]]}"#,
            br#"{"v":1,"track":[[101,120,160]]}"#,
            br#"{"v":1,"track":[101,160]}"#,
            br#"{"v":1,"track":[[-1,160]]}"#,
            br#"{"v":1,"track":[[101,160]],"events":[[161,161]]}"#,
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
