//! Which speed a serial receiver has: tries one after the other until sentences come (pure).
//!
//! - A speed is good when two sentences with a right checksum came: one of noise can be luck, but hardly two.
//! - What comes while a speed is tried is held back, at most [`HELD_BYTES`]. Once it is good, it is handed on with the
//!   times at which it was read, from the first of the two sentences on; of a wrong speed nothing is handed on.
//! - A line without bytes is no wrong line: silence alone never ends a good speed.
//! - It never gives up. A receiver may boot late, or be plugged in next week.

use std::collections::VecDeque;
use std::time::Duration;

use super::Chunk;
use crate::core::framing::Framer;
use crate::core::sentence::Sentence;
use crate::units::Uptime;

/// What receivers are set to: first what most of them are, then the rest from slow to fast.
const USUAL_BAUD: [u32; 9] =
    [9_600, 115_200, 38_400, 4_800, 19_200, 57_600, 230_400, 460_800, 921_600];

/// The burst of one second, with all its satellites.
const HELD_BYTES: usize = 4096;

/// Bytes without a sentence for so many times longer are another speed: then not even a slow receiver was understood.
const LOST_AFTER_DWELLS: u32 = 2;

/// A speed with one good sentence is given so many times longer for the second: some receivers speak rarely.
const PATIENCE: u32 = 4;

/// What became of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    /// The speed is good.
    Found,
    /// The speed was good, and is no more.
    Lost,
}

/// The hunt, over all openings of one port.
#[derive(Debug)]
pub(super) struct Hunt {
    /// In the order in which they are tried; none on a line that has no speed.
    speeds: Vec<u32>,
    current: usize,
    /// How long each is tried.
    dwell: Duration,
    phase: Phase,
    framer: Framer,
    /// Speeds that failed since one was good or the port was opened.
    failed: usize,
}

#[derive(Debug)]
enum Phase {
    /// The speed is given, and everything is handed on.
    Given,
    Trying {
        until: Uptime,
        /// The first good sentence, and when it began.
        first: Option<(Vec<u8>, Uptime)>,
        held: VecDeque<Chunk>,
    },
    Good {
        heard_at: Uptime,
        /// Since when bytes come without a sentence.
        noise_since: Option<Uptime>,
    },
}

impl Hunt {
    /// Takes the speed as it is given; `None` where a line has no speed.
    pub(super) fn given(baud: Option<u32>) -> Self {
        let speeds = baud.into_iter().collect();
        let (framer, dwell) = (Framer::default(), Duration::ZERO);
        Self { speeds, current: 0, dwell, phase: Phase::Given, framer, failed: 0 }
    }

    /// Hunts, from the `first` speeds on, each for `dwell`.
    pub(super) fn new(first: impl IntoIterator<Item = u32>, dwell: Duration) -> Self {
        let mut speeds: Vec<u32> = Vec::new();
        for speed in first.into_iter().chain(USUAL_BAUD) {
            if !speeds.contains(&speed) {
                speeds.push(speed);
            }
        }
        let phase = trying(Uptime::ZERO, dwell);
        Self { speeds, current: 0, dwell, phase, framer: Framer::default(), failed: 0 }
    }

    /// The speed at which the port is to be opened, before [`Self::begin`]; `None` where a line has none.
    pub(super) fn first_baud(&self) -> Option<u32> {
        let is_good = matches!(self.phase, Phase::Good { .. });
        self.speeds.get(if is_good { self.current } else { 0 }).copied()
    }

    /// The port has been opened: where the speed was good last, it is tried first.
    pub(super) fn begin(&mut self, now: Uptime) {
        self.framer = Framer::default();
        if let Phase::Given = self.phase {
            return;
        }
        if let Phase::Good { .. } = self.phase {
            let good = self.speeds.remove(self.current);
            self.speeds.insert(0, good);
        }
        (self.current, self.failed) = (0, 0);
        self.phase = trying(now, self.dwell);
    }

    /// The speed that is tried, or good; `None` on a line that has none.
    pub(super) fn baud(&self) -> Option<u32> {
        self.speeds.get(self.current).copied()
    }

    /// Whether what comes is handed on.
    pub(super) const fn is_good(&self) -> bool {
        matches!(self.phase, Phase::Given | Phase::Good { .. })
    }

    /// Speeds that were tried in vain since the port was opened, or since the speed was lost.
    pub(super) const fn failed(&self) -> usize {
        self.failed
    }

    /// Whether every speed was tried just once now.
    pub(super) fn has_tried_all(&self) -> bool {
        self.failed == self.speeds.len()
    }

    /// Takes bytes, puts what may be handed on at the end of `out`, and shows each sentence to `sentence`.
    pub(super) fn push(
        &mut self,
        chunk: Chunk,
        out: &mut Vec<Chunk>,
        mut sentence: impl FnMut(&[u8]),
    ) -> Turn {
        let at = chunk.at;
        let is_trying = matches!(self.phase, Phase::Trying { .. });
        let (mut sentences, mut first) = (0, None);
        self.framer.push(&chunk.bytes, at, |line, began| {
            if Sentence::parse(line).is_ok() {
                sentences += 1;
                if is_trying && first.is_none() {
                    first = Some((line.to_vec(), began));
                }
                sentence(line);
            }
        });
        if is_trying {
            return self.judge(chunk, sentences, first, out);
        }
        let turn = self.doubt(sentences, at);
        if turn != Turn::Lost {
            out.push(chunk);
        }
        turn
    }

    /// Takes what came while a speed is tried: `sentences`, of which `new` was the first.
    fn judge(
        &mut self,
        chunk: Chunk,
        sentences: usize,
        new: Option<(Vec<u8>, Uptime)>,
        out: &mut Vec<Chunk>,
    ) -> Turn {
        let Phase::Trying { until, first, held } = &mut self.phase else { return Turn::None };
        let at = chunk.at;
        hold(held, chunk);
        let enough = sentences + usize::from(first.is_some()) >= 2;
        let Some(begin) = first.take().or(new) else { return Turn::None };
        if !enough {
            *until = (*until).max(begin.1 + self.dwell * PATIENCE);
            *first = Some(begin);
            return Turn::None;
        }
        hand_on(held, &begin.0, begin.1, out);
        self.phase = Phase::Good { heard_at: at, noise_since: None };
        Turn::Found
    }

    /// Whether a good speed still is, when so many sentences came with what was read at `at`.
    fn doubt(&mut self, sentences: usize, at: Uptime) -> Turn {
        let Phase::Good { heard_at, noise_since } = &mut self.phase else { return Turn::None };
        let lost_after = self.dwell * LOST_AFTER_DWELLS;
        let paused = at.since(std::mem::replace(heard_at, at)) >= lost_after;
        if sentences > 0 {
            *noise_since = None;
            return Turn::None;
        }
        let since = noise_since.filter(|_| !paused).unwrap_or(at);
        *noise_since = Some(since);
        if at.since(since) < lost_after {
            return Turn::None;
        }
        self.lose(at);
        Turn::Lost
    }

    /// When [`Self::tick`] is due.
    pub(super) const fn deadline(&self) -> Option<Uptime> {
        match self.phase {
            Phase::Trying { until, .. } => Some(until),
            Phase::Given | Phase::Good { .. } => None,
        }
    }

    /// The speed to be set, if the one that is tried has had its time. What the port still holds is of the old speed.
    pub(super) fn tick(&mut self, now: Uptime) -> Option<u32> {
        self.deadline().filter(|deadline| now >= *deadline)?;
        self.failed = self.failed.saturating_add(1);
        self.try_speed((self.current + 1) % self.speeds.len(), now);
        self.baud()
    }

    /// What was good comes second: it may have been a minute of noise, but most likely it is another speed.
    fn lose(&mut self, now: Uptime) {
        let lost = self.speeds.remove(self.current);
        self.speeds.insert(1, lost);
        self.failed = 0;
        self.try_speed(0, now);
    }

    fn try_speed(&mut self, speed: usize, now: Uptime) {
        self.current = speed;
        self.framer = Framer::default();
        self.phase = trying(now, self.dwell);
    }
}

fn trying(now: Uptime, dwell: Duration) -> Phase {
    Phase::Trying { until: now + dwell, first: None, held: VecDeque::new() }
}

fn hold(held: &mut VecDeque<Chunk>, chunk: Chunk) {
    let mut bytes: usize = held.iter().map(|chunk| chunk.bytes.len()).sum();
    held.push_back(chunk);
    bytes += held.back().map_or(0, |chunk| chunk.bytes.len());
    while bytes > HELD_BYTES && held.len() > 1 {
        bytes -= held.pop_front().map_or(0, |chunk| chunk.bytes.len());
    }
}

/// Everything from `sentence` on, which began in the chunk that was read at `began`.
fn hand_on(held: &mut VecDeque<Chunk>, sentence: &[u8], began: Uptime, out: &mut Vec<Chunk>) {
    held.retain(|chunk| chunk.at >= began);
    if let Some(first) = held.front_mut() {
        let begins = |at: &usize| {
            let rest = &first.bytes[*at..];
            let common = rest.len().min(sentence.len());
            rest[..common] == sentence[..common]
        };
        let at = (0..first.bytes.len()).find(begins).unwrap_or(0);
        first.bytes.drain(..at);
    }
    out.extend(held.drain(..).filter(|chunk| !chunk.bytes.is_empty()));
}

#[cfg(test)]
mod tests {
    use super::*;

    const RMC: &[u8] = b"$GPRMC,081836,A,3751.65,S,14507.36,E,000.0,360.0,130998,011.3,E*62\r\n";
    const GSA: &[u8] = b"$GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1*39\r\n";
    const DWELL: Duration = Duration::from_millis(2500);

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    fn hunt(first: &[u32]) -> Hunt {
        let mut hunt = Hunt::new(first.iter().copied(), DWELL);
        hunt.begin(at(0));
        hunt
    }

    fn push(hunt: &mut Hunt, bytes: &[u8], ms: u64) -> (Turn, Vec<Chunk>) {
        let mut out = Vec::new();
        let turn = hunt.push(Chunk { bytes: bytes.to_vec(), at: at(ms) }, &mut out, |_| {});
        (turn, out)
    }

    fn found(hunt: &mut Hunt, ms: u64) {
        assert_eq!(push(hunt, &[RMC, GSA].concat(), ms).0, Turn::Found);
    }

    #[test]
    fn every_speed_has_its_time_and_then_they_go_round() {
        let mut hunt = hunt(&[9600, 38_400]);
        let mut order = vec![hunt.baud().unwrap()];
        for step in 1..=20 {
            let due = step * 2500;
            assert_eq!(hunt.tick(at(due - 1)), None);
            order.push(hunt.tick(at(due)).unwrap());
        }
        let round =
            [9_600, 38_400, 115_200, 4_800, 19_200, 57_600, 230_400, 460_800, 921_600, 9_600];
        assert_eq!(order[..10], round);
        assert_eq!(order[9..19], [&round[..9], &[9_600]].concat());
    }

    #[test]
    fn nothing_of_the_first_good_epoch_is_lost_and_no_noise_is_handed_on() {
        let mut hunt = hunt(&[9600]);
        assert_eq!(push(&mut hunt, b"\xff\x00$GP\x80noise", 10), (Turn::None, vec![]));
        assert_eq!(hunt.tick(at(2500)), Some(115_200));
        let whole = [b"C,,,*00\r\n$GPG", RMC, GSA].concat();
        let (first, second) = whole.split_at(30);
        assert_eq!(push(&mut hunt, first, 2600), (Turn::None, vec![]));
        let (turn, handed_on) = push(&mut hunt, second, 2650);
        assert_eq!((turn, hunt.baud()), (Turn::Found, Some(115_200)));
        let times: Vec<Uptime> = handed_on.iter().map(|chunk| chunk.at).collect();
        assert_eq!(times, [at(2600), at(2650)], "with the times at which they were read");
        let bytes: Vec<u8> = handed_on.into_iter().flat_map(|chunk| chunk.bytes).collect();
        assert_eq!(bytes, [RMC, GSA].concat());
        let garbage = push(&mut hunt, b"\xff\xff", 2700).1;
        assert_eq!(garbage[0].bytes, b"\xff\xff", "what is wrong later is for the core to count");
    }

    #[test]
    fn one_sentence_may_be_luck_and_earns_only_time() {
        let mut hunt = hunt(&[9600]);
        assert_eq!(push(&mut hunt, RMC, 2000), (Turn::None, vec![]));
        assert_eq!(hunt.tick(at(2500)), None);
        assert_eq!(hunt.tick(at(11_999)), None);
        let mut rare = (push(&mut hunt, RMC, 7000), 0).0;
        assert_eq!((rare.0, rare.1.len()), (Turn::Found, 2), "a receiver that speaks each 5 s");
        rare = push(&mut hunt, RMC, 12_000);
        assert_eq!((rare.0, rare.1.len()), (Turn::None, 1));

        let mut lucky = self::hunt(&[9600]);
        push(&mut lucky, RMC, 2000);
        assert_eq!(lucky.tick(at(12_000)), Some(115_200));
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut hunt = hunt(&[9600]);
        for ms in 0..2499 {
            assert_eq!(push(&mut hunt, &[b'x'; 1024], ms), (Turn::None, vec![]));
            let Phase::Trying { held, .. } = &hunt.phase else { unreachable!() };
            assert!(held.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() <= HELD_BYTES);
        }
    }

    #[test]
    fn bytes_without_sentences_end_a_good_speed_and_silence_does_not() {
        let mut hunt = hunt(&[115_200]);
        found(&mut hunt, 100);
        assert_eq!(push(&mut hunt, b"\x00", 1_000).0, Turn::None);
        assert_eq!(push(&mut hunt, RMC, 3_600_000).0, Turn::None, "an hour of silence is none");
        assert_eq!(hunt.deadline(), None);
        let mut turn = Turn::None;
        let mut ms = 3_600_000;
        while turn == Turn::None {
            ms += 500;
            turn = push(&mut hunt, b"\xe6\x00\x9e$GP", ms).0;
        }
        assert_eq!((turn, ms), (Turn::Lost, 3_605_500));
        assert_eq!(hunt.baud(), Some(9600), "most likely it fell back");
        assert_eq!(hunt.tick(at(ms + 2500)), Some(115_200), "or it was noise");
        found(&mut hunt, ms + 2600);
    }

    #[test]
    fn a_port_that_is_opened_again_begins_with_the_speed_that_was_good() {
        let mut hunt = hunt(&[9600]);
        hunt.tick(at(2500));
        hunt.tick(at(5000));
        found(&mut hunt, 5100);
        hunt.begin(at(60_000));
        assert_eq!((hunt.baud(), hunt.is_good()), (Some(38_400), false));
        assert_eq!(hunt.tick(at(62_500)), Some(9600));
    }

    #[test]
    fn a_given_speed_is_not_judged() {
        let mut hunt = Hunt::given(Some(4800));
        hunt.begin(at(0));
        for ms in (0..60_000).step_by(100) {
            let (turn, handed_on) = push(&mut hunt, b"\xff", ms);
            assert_eq!((turn, handed_on.len()), (Turn::None, 1));
        }
        assert_eq!((hunt.baud(), hunt.deadline()), (Some(4800), None));
    }
}
