//! Detects the baud rate of a serial receiver by trying rates until sentences arrive (sans-I/O).
//!
//! - A rate is accepted after two sentences with a valid checksum: noise may produce one, but
//!   hardly two.
//! - Bytes that arrive during a trial are held back, up to [`HELD_BYTES`]. When the rate is
//!   accepted they are released with their original times, starting with the first of the two
//!   sentences. Bytes of a wrong rate are discarded.
//! - Silence alone never ends an accepted rate.
//! - Detection never stops: the receiver may start late, or be connected at any time.

use std::collections::VecDeque;
use std::time::Duration;

use super::Chunk;
use waypost_model::units::Uptime;
use waypost_pipeline::framing::Framer;
use waypost_pipeline::sentence::Sentence;

/// Common baud rates of receivers: the most frequent ones first, then in ascending order.
const COMMON_BAUD_RATES: [u32; 9] =
    [9_600, 115_200, 38_400, 4_800, 19_200, 57_600, 230_400, 460_800, 921_600];

/// Enough for the burst of one second with all satellites.
const MAX_HELD_BYTES: usize = 4096;

/// Dwell times without a sentence, while bytes arrive, after which an accepted rate is lost. Long
/// enough for slow receivers.
const LOST_AFTER_DWELLS: u32 = 2;

/// Dwell times granted for a second sentence after the first, since some receivers send rarely.
const SECOND_SENTENCE_DWELLS: u32 = 4;

/// Result of processing bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detection {
    None,
    /// The rate was accepted.
    Found,
    /// The accepted rate was lost.
    Lost,
}

/// Baud-rate detector of one port. It is kept when the port is reopened.
#[derive(Debug)]
pub(super) struct BaudDetector {
    /// Rates in the order of the trials; empty if the line has no baud rate.
    rates: Vec<u32>,
    current: usize,
    /// Duration of a trial.
    dwell: Duration,
    phase: Phase,
    framer: Framer,
    /// Failed trials since a rate was accepted or the port was opened.
    failed: usize,
}

#[derive(Debug)]
enum Phase {
    /// The rate is fixed, and all bytes are released.
    Fixed,
    Trying {
        until: Uptime,
        /// The first valid sentence, and when it began.
        first: Option<(Vec<u8>, Uptime)>,
        held: VecDeque<Chunk>,
    },
    Locked {
        last_byte_at: Uptime,
        /// Start of the period in which bytes arrived without a sentence.
        noise_since: Option<Uptime>,
    },
}

impl BaudDetector {
    /// Creates a detector with a fixed rate; `None` for a line without a baud rate.
    pub(super) fn fixed(baud: Option<u32>) -> Self {
        let rates = baud.into_iter().collect();
        let (framer, dwell) = (Framer::default(), Duration::ZERO);
        Self { rates, current: 0, dwell, phase: Phase::Fixed, framer, failed: 0 }
    }

    /// Creates a detector that tries the `first` rates and then the common ones, each for `dwell`.
    pub(super) fn new(first: impl IntoIterator<Item = u32>, dwell: Duration) -> Self {
        let mut rates: Vec<u32> = Vec::new();
        for speed in first.into_iter().chain(COMMON_BAUD_RATES) {
            if !rates.contains(&speed) {
                rates.push(speed);
            }
        }
        let phase = new_trial(Uptime::ZERO, dwell);
        Self { rates, current: 0, dwell, phase, framer: Framer::default(), failed: 0 }
    }

    /// Returns the rate to open the port with, before [`Self::begin`]; `None` for a line without a
    /// baud rate.
    pub(super) fn first_baud(&self) -> Option<u32> {
        let is_locked = matches!(self.phase, Phase::Locked { .. });
        self.rates.get(if is_locked { self.current } else { 0 }).copied()
    }

    /// Starts the trials after the port was opened, with the last accepted rate first.
    pub(super) fn on_open(&mut self, now: Uptime) {
        self.framer = Framer::default();
        if let Phase::Fixed = self.phase {
            return;
        }
        if let Phase::Locked { .. } = self.phase {
            let good = self.rates.remove(self.current);
            self.rates.insert(0, good);
        }
        (self.current, self.failed) = (0, 0);
        self.phase = new_trial(now, self.dwell);
    }

    /// Returns the current rate; `None` for a line without a baud rate.
    pub(super) fn baud(&self) -> Option<u32> {
        self.rates.get(self.current).copied()
    }

    /// Whether received bytes are released.
    pub(super) const fn is_locked(&self) -> bool {
        matches!(self.phase, Phase::Fixed | Phase::Locked { .. })
    }

    /// Number of failed trials since the port was opened or the rate was lost.
    pub(super) const fn failed(&self) -> usize {
        self.failed
    }

    /// Whether all rates have been tried exactly once.
    pub(super) fn has_tried_all(&self) -> bool {
        self.failed == self.rates.len()
    }

    /// Processes bytes. Appends releasable chunks to `out` and passes each valid sentence to
    /// `sentence`.
    pub(super) fn push(
        &mut self,
        chunk: Chunk,
        out: &mut Vec<Chunk>,
        mut sentence: impl FnMut(&[u8]),
    ) -> Detection {
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
            return self.evaluate(chunk, sentences, first, out);
        }
        let turn = self.check_lock(sentences, at);
        if turn != Detection::Lost {
            out.push(chunk);
        }
        turn
    }

    /// Processes bytes of a trial that contain `sentences` sentences, the first of which is `new`.
    fn evaluate(
        &mut self,
        chunk: Chunk,
        sentences: usize,
        new: Option<(Vec<u8>, Uptime)>,
        out: &mut Vec<Chunk>,
    ) -> Detection {
        let Phase::Trying { until, first, held } = &mut self.phase else { return Detection::None };
        let at = chunk.at;
        hold_back(held, chunk);
        let enough = sentences + usize::from(first.is_some()) >= 2;
        let Some(begin) = first.take().or(new) else { return Detection::None };
        if !enough {
            *until = (*until).max(begin.1 + self.dwell * SECOND_SENTENCE_DWELLS);
            *first = Some(begin);
            return Detection::None;
        }
        release_held(held, &begin.0, begin.1, out);
        self.phase = Phase::Locked { last_byte_at: at, noise_since: None };
        Detection::Found
    }

    /// Checks whether an accepted rate is still valid, after `sentences` sentences were read at
    /// `at`.
    fn check_lock(&mut self, sentences: usize, at: Uptime) -> Detection {
        let Phase::Locked { last_byte_at: heard_at, noise_since } = &mut self.phase else {
            return Detection::None;
        };
        let lost_after = self.dwell * LOST_AFTER_DWELLS;
        let paused = at.since(std::mem::replace(heard_at, at)) >= lost_after;
        if sentences > 0 {
            *noise_since = None;
            return Detection::None;
        }
        let since = noise_since.filter(|_| !paused).unwrap_or(at);
        *noise_since = Some(since);
        if at.since(since) < lost_after {
            return Detection::None;
        }
        self.on_lost(at);
        Detection::Lost
    }

    /// Time at which [`Self::tick`] is due.
    pub(super) const fn deadline(&self) -> Option<Uptime> {
        match self.phase {
            Phase::Trying { until, .. } => Some(until),
            Phase::Fixed | Phase::Locked { .. } => None,
        }
    }

    /// Returns the next rate to set if the current trial is over. Bytes still in the port belong to
    /// the old rate.
    pub(super) fn tick(&mut self, now: Uptime) -> Option<u32> {
        self.deadline().filter(|deadline| now >= *deadline)?;
        self.failed = self.failed.saturating_add(1);
        self.try_rate((self.current + 1) % self.rates.len(), now);
        self.baud()
    }

    /// Makes the lost rate the second to be tried: a minute of noise is possible, but another rate
    /// is more likely.
    fn on_lost(&mut self, now: Uptime) {
        let lost = self.rates.remove(self.current);
        self.rates.insert(1, lost);
        self.failed = 0;
        self.try_rate(0, now);
    }

    fn try_rate(&mut self, speed: usize, now: Uptime) {
        self.current = speed;
        self.framer = Framer::default();
        self.phase = new_trial(now, self.dwell);
    }
}

fn new_trial(now: Uptime, dwell: Duration) -> Phase {
    Phase::Trying { until: now + dwell, first: None, held: VecDeque::new() }
}

fn hold_back(held: &mut VecDeque<Chunk>, chunk: Chunk) {
    let mut bytes: usize = held.iter().map(|chunk| chunk.bytes.len()).sum();
    held.push_back(chunk);
    bytes += held.back().map_or(0, |chunk| chunk.bytes.len());
    while bytes > MAX_HELD_BYTES && held.len() > 1 {
        bytes -= held.pop_front().map_or(0, |chunk| chunk.bytes.len());
    }
}

/// Releases all bytes starting with `sentence`, which began in the chunk read at `began`.
fn release_held(held: &mut VecDeque<Chunk>, sentence: &[u8], began: Uptime, out: &mut Vec<Chunk>) {
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

    fn detector(first: &[u32]) -> BaudDetector {
        let mut hunt = BaudDetector::new(first.iter().copied(), DWELL);
        hunt.on_open(at(0));
        hunt
    }

    fn push(hunt: &mut BaudDetector, bytes: &[u8], ms: u64) -> (Detection, Vec<Chunk>) {
        let mut out = Vec::new();
        let turn = hunt.push(Chunk { bytes: bytes.to_vec(), at: at(ms) }, &mut out, |_| {});
        (turn, out)
    }

    fn found(hunt: &mut BaudDetector, ms: u64) {
        assert_eq!(push(hunt, &[RMC, GSA].concat(), ms).0, Detection::Found);
    }

    #[test]
    fn every_speed_has_its_time_and_then_they_go_round() {
        let mut hunt = detector(&[9600, 38_400]);
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
        let mut hunt = detector(&[9600]);
        assert_eq!(push(&mut hunt, b"\xff\x00$GP\x80noise", 10), (Detection::None, vec![]));
        assert_eq!(hunt.tick(at(2500)), Some(115_200));
        let whole = [b"C,,,*00\r\n$GPG", RMC, GSA].concat();
        let (first, second) = whole.split_at(30);
        assert_eq!(push(&mut hunt, first, 2600), (Detection::None, vec![]));
        let (turn, handed_on) = push(&mut hunt, second, 2650);
        assert_eq!((turn, hunt.baud()), (Detection::Found, Some(115_200)));
        let times: Vec<Uptime> = handed_on.iter().map(|chunk| chunk.at).collect();
        assert_eq!(times, [at(2600), at(2650)], "with the times at which they were read");
        let bytes: Vec<u8> = handed_on.into_iter().flat_map(|chunk| chunk.bytes).collect();
        assert_eq!(bytes, [RMC, GSA].concat());
        let garbage = push(&mut hunt, b"\xff\xff", 2700).1;
        assert_eq!(garbage[0].bytes, b"\xff\xff", "later errors are counted by the core");
    }

    #[test]
    fn one_sentence_may_be_luck_and_earns_only_time() {
        let mut hunt = detector(&[9600]);
        assert_eq!(push(&mut hunt, RMC, 2000), (Detection::None, vec![]));
        assert_eq!(hunt.tick(at(2500)), None);
        assert_eq!(hunt.tick(at(11_999)), None);
        let mut rare = (push(&mut hunt, RMC, 7000), 0).0;
        assert_eq!(
            (rare.0, rare.1.len()),
            (Detection::Found, 2),
            "a receiver that sends every 5 s"
        );
        rare = push(&mut hunt, RMC, 12_000);
        assert_eq!((rare.0, rare.1.len()), (Detection::None, 1));

        let mut lucky = detector(&[9600]);
        push(&mut lucky, RMC, 2000);
        assert_eq!(lucky.tick(at(12_000)), Some(115_200));
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut hunt = detector(&[9600]);
        for ms in 0..2499 {
            assert_eq!(push(&mut hunt, &[b'x'; 1024], ms), (Detection::None, vec![]));
            let Phase::Trying { held, .. } = &hunt.phase else { unreachable!() };
            assert!(held.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() <= MAX_HELD_BYTES);
        }
    }

    #[test]
    fn bytes_without_sentences_end_a_good_speed_and_silence_does_not() {
        let mut hunt = detector(&[115_200]);
        found(&mut hunt, 100);
        assert_eq!(push(&mut hunt, b"\x00", 1_000).0, Detection::None);
        assert_eq!(
            push(&mut hunt, RMC, 3_600_000).0,
            Detection::None,
            "silence does not end the rate"
        );
        assert_eq!(hunt.deadline(), None);
        let mut turn = Detection::None;
        let mut ms = 3_600_000;
        while turn == Detection::None {
            ms += 500;
            turn = push(&mut hunt, b"\xe6\x00\x9e$GP", ms).0;
        }
        assert_eq!((turn, ms), (Detection::Lost, 3_605_500));
        assert_eq!(hunt.baud(), Some(9600), "the receiver most likely fell back");
        assert_eq!(hunt.tick(at(ms + 2500)), Some(115_200), "or it was noise");
        found(&mut hunt, ms + 2600);
    }

    #[test]
    fn a_port_that_is_opened_again_begins_with_the_speed_that_was_good() {
        let mut hunt = detector(&[9600]);
        hunt.tick(at(2500));
        hunt.tick(at(5000));
        found(&mut hunt, 5100);
        hunt.on_open(at(60_000));
        assert_eq!((hunt.baud(), hunt.is_locked()), (Some(38_400), false));
        assert_eq!(hunt.tick(at(62_500)), Some(9600));
    }

    #[test]
    fn a_given_speed_is_not_judged() {
        let mut hunt = BaudDetector::fixed(Some(4800));
        hunt.on_open(at(0));
        for ms in (0..60_000).step_by(100) {
            let (turn, handed_on) = push(&mut hunt, b"\xff", ms);
            assert_eq!((turn, handed_on.len()), (Detection::None, 1));
        }
        assert_eq!((hunt.baud(), hunt.deadline()), (Some(4800), None));
    }
}
