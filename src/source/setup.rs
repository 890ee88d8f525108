//! Sets a u-blox receiver up, if that is wanted: one message at a time, each acknowledged (pure).
//!
//! ```text
//! version? ── answer: its generation is known ──▶ setting ──▶ ACK: next
//!     └────── none in 1 s: keys, then legacy        └───────▶ NAK, or twice no answer: refused, next
//! ```

use std::fmt;
use std::time::Duration;

use crate::core::ubx::{Answer, Generation, Message, MessageId, Scanner, Setting, Settings};
use crate::units::Uptime;

/// How long a receiver that talks NMEA meanwhile may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A boot so soon after the last message is the one that the set-up found, or one that a setting caused.
const SAME_BOOT: Duration = Duration::from_secs(3);

/// Between set-ups, from the third in a row on, and twice as long each time: a setting that makes the receiver boot does
/// not make it boot for ever.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
const MAX_PAUSE: Duration = Duration::from_hours(1);

/// How often a message is sent that is not answered.
const TRIES: u32 = 2;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupResult {
    /// Every setting was acknowledged.
    Done,
    /// These were refused, the others made.
    Refused(Vec<Setting>),
    /// The receiver answers nothing: it is no u-blox, or the line to it is cut.
    Unanswered,
}

impl fmt::Display for SetupResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Unanswered => f.write_str("refused: no answer"),
            Self::Refused(settings) => {
                let names: Vec<String> = settings.iter().map(ToString::to_string).collect();
                write!(f, "refused: {}", names.join(", "))
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Setup {
    settings: Settings,
    scanner: Scanner,
    phase: Phase,
    /// As it is known, or was guessed and acknowledged.
    generation: Option<Generation>,
    refused: Vec<Setting>,
    answered: bool,
    /// When the last message was sent.
    sent_at: Uptime,
    /// When the last set-up began, and how many there were in a row.
    began: Uptime,
    in_a_row: u32,
}

#[derive(Debug)]
enum Phase {
    /// To be done when sentences come.
    Due,
    Asking {
        until: Uptime,
    },
    Making {
        left: Vec<Setting>,
        form: Generation,
        sent: MessageId,
        tries: u32,
        until: Uptime,
    },
    Over,
}

impl Setup {
    pub(super) fn new(settings: Settings) -> Self {
        let (scanner, phase) = (Scanner::default(), Phase::Due);
        Self {
            settings,
            scanner,
            phase,
            generation: None,
            refused: Vec::new(),
            answered: false,
            sent_at: Uptime::ZERO,
            began: Uptime::ZERO,
            in_a_row: 0,
        }
    }

    /// The receiver may have lost what it was told: it was silent, or is hunted for again.
    pub(super) fn restart(&mut self) {
        self.phase = Phase::Due;
    }

    /// The receiver has said that it booted.
    pub(super) fn booted(&mut self, now: Uptime) {
        if now.since(self.sent_at) >= SAME_BOOT {
            self.restart();
        }
    }

    /// What came, and the message that is to be sent now. `understood`: the line's speed is good and a sentence came.
    pub(super) fn push(&mut self, bytes: &[u8], understood: bool, now: Uptime) -> Option<Message> {
        if let Phase::Due = self.phase {
            if !understood || now.since(self.began) < self.pause() {
                return None;
            }
            let in_a_row = now.since(self.began) <= MAX_PAUSE;
            self.in_a_row = if in_a_row { self.in_a_row.saturating_add(1) } else { 1 };
            self.began = now;
            (self.generation, self.answered) = (None, false);
            self.refused.clear();
            self.sent_at = now;
            self.phase = Phase::Asking { until: now + ANSWER_WITHIN };
            return Some(Message::poll_version());
        }
        let mut answers = Vec::new();
        self.scanner.push(bytes, |answer| answers.push(answer));
        answers.into_iter().fold(None, |message, answer| self.answer(answer, now).or(message))
    }

    /// How long the next set-up waits.
    fn pause(&self) -> Duration {
        match self.in_a_row {
            0..=2 => Duration::ZERO,
            many => (FIRST_PAUSE * (1 << (many - 3).min(6))).min(MAX_PAUSE),
        }
    }

    /// When [`Self::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        match self.phase {
            Phase::Asking { until } | Phase::Making { until, .. } => Some(until),
            Phase::Due | Phase::Over => None,
        }
    }

    /// No answer came: the message that is to be sent now.
    pub(super) fn tick(&mut self, now: Uptime) -> Option<Message> {
        self.deadline().filter(|deadline| now >= *deadline)?;
        match &mut self.phase {
            Phase::Asking { .. } => self.make(self.settings.to_make(), None, now),
            Phase::Making { left, form, tries, until, .. } if *tries < TRIES => {
                *tries += 1;
                *until = now + ANSWER_WITHIN;
                self.sent_at = now;
                Some(self.settings.message(*left.first()?, *form))
            }
            Phase::Making { .. } => self.not_made(now),
            Phase::Due | Phase::Over => None,
        }
    }

    /// `None` until it is over.
    pub(super) fn result(&self) -> Option<SetupResult> {
        match (&self.phase, self.refused.as_slice()) {
            (Phase::Over, []) => Some(SetupResult::Done),
            (Phase::Over, _) if !self.answered => Some(SetupResult::Unanswered),
            (Phase::Over, refused) => Some(SetupResult::Refused(refused.to_vec())),
            _ => None,
        }
    }

    fn answer(&mut self, answer: Answer, now: Uptime) -> Option<Message> {
        match (&mut self.phase, answer) {
            (Phase::Asking { .. }, Answer::Version(generation)) => {
                (self.generation, self.answered) = (Some(generation), true);
                self.make(self.settings.to_make(), None, now)
            }
            (Phase::Making { left, form, sent, .. }, Answer::Ack(id)) if *sent == id => {
                (self.generation, self.answered) = (Some(*form), true);
                let left = left.split_off(1);
                self.make(left, None, now)
            }
            (Phase::Making { sent, .. }, Answer::Nak(id)) if *sent == id => {
                self.answered = true;
                self.not_made(now)
            }
            _ => None,
        }
    }

    /// The first of `left` in `form`, or in the one that is known or more likely.
    fn make(
        &mut self,
        left: Vec<Setting>,
        form: Option<Generation>,
        now: Uptime,
    ) -> Option<Message> {
        let Some(setting) = left.first() else {
            self.phase = Phase::Over;
            return None;
        };
        let form = form.or(self.generation).unwrap_or(Generation::Keys);
        self.sent_at = now;
        let message = self.settings.message(*setting, form);
        let (sent, until) = (message.id, now + ANSWER_WITHIN);
        self.phase = Phase::Making { left, form, sent, tries: 1, until };
        Some(message)
    }

    fn not_made(&mut self, now: Uptime) -> Option<Message> {
        let Phase::Making { left, form, .. } = &mut self.phase else { return None };
        let (mut left, form) = (std::mem::take(left), *form);
        if self.generation.is_none() && form == Generation::Keys {
            return self.make(left, Some(Generation::Legacy), now);
        }
        if !self.answered {
            // Who answers neither question nor setting does not answer the next one.
            self.refused = left;
            self.phase = Phase::Over;
            return None;
        }
        self.refused.push(left.remove(0));
        self.make(left, None, now)
    }
}

/// Whether this is what a u-blox receiver says when it has booted: `$GNTXT,01,01,02,u-blox AG - www.u-blox.com*4E`.
pub(super) fn is_boot(sentence: &[u8]) -> bool {
    sentence.get(3..7) == Some(b"TXT,")
        && sentence.to_ascii_lowercase().windows(14).any(|part| part == b"www.u-blox.com")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sentence::Sentence;

    const BOOT: &[u8] = b"$GNTXT,01,01,02,u-blox AG - www.u-blox.com*4E";

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    #[test]
    fn a_receiver_that_boots_or_was_silent_is_set_up_again_and_its_first_boot_does_not_count_twice()
    {
        let settings = Settings {
            rate_hz: 1,
            constellations: Vec::new(),
            nmea_version: None,
            dynamic_model: None,
        };
        let mut setup = Setup::new(settings);
        assert_eq!(
            setup.push(b"", false, at(0)),
            None,
            "nothing is written before the speed is known"
        );
        assert_eq!(setup.push(b"", true, at(100)), Some(Message::poll_version()));
        setup.booted(at(150));
        assert_eq!(setup.push(b"", true, at(160)), None);
        let rate = setup.tick(at(1100)).unwrap();
        let ack = [0xb5, 0x62, 0x05, 0x01, 0x02, 0x00, 0x06, 0x8a, 0x98, 0xc1];
        assert_eq!(setup.push(&ack, true, at(1200)), None);
        assert_eq!((setup.result(), setup.deadline()), (Some(SetupResult::Done), None));
        setup.booted(at(60_000));
        assert_eq!(setup.result(), None);
        assert_eq!(setup.push(b"", true, at(60_100)), Some(Message::poll_version()));
        assert_eq!(setup.tick(at(61_100)), Some(rate));
        setup.restart();
        assert_eq!(setup.push(b"", true, at(70_000)), Some(Message::poll_version()));
        setup.restart();
        assert_eq!(setup.push(b"", true, at(120_000)), None, "not again and again");
        assert_eq!(setup.push(b"", true, at(130_000)), Some(Message::poll_version()));
    }

    #[test]
    fn a_boot_is_told_by_its_text() {
        assert!(Sentence::parse(BOOT).is_ok() && is_boot(BOOT));
        assert!(!is_boot(b"$GNTXT,01,01,02,ANTSTATUS=OK*25"));
        assert!(!is_boot(b"$GP"));
    }
}
