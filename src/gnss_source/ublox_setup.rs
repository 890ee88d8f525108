//! Configures a u-blox receiver if enabled: one message at a time, each acknowledged (sans-I/O).
//!
//! ```text
//! version? ── response: generation known ──▶ setting ──▶ ACK: next
//!     └────── none in 1 s: keys, then legacy     └───────▶ NAK, or no response: rejected, next
//! ```

use std::fmt;
use std::time::Duration;

use waypost_model::units::Uptime;
use waypost_pipeline::ubx::{
    Generation, Message, MessageId, Response, ResponseParser, Setting, Settings,
};

/// Time limit for a response, while the receiver also sends NMEA.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A boot message within this time after the last message belongs to the current setup, or was
/// caused by a setting.
const BOOT_DEBOUNCE: Duration = Duration::from_secs(3);

/// Pause before a setup from the third consecutive one on, doubled each time up to the maximum. A
/// setting that reboots the receiver therefore does not cause an endless loop.
const INITIAL_PAUSE: Duration = Duration::from_mins(1);
const MAX_PAUSE: Duration = Duration::from_hours(1);

/// Number of times that an unanswered message is sent.
const MAX_TRIES: u32 = 2;

/// Result of the setup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupResult {
    /// All settings were acknowledged.
    Done,
    /// These settings were rejected; the others were applied.
    Rejected(Vec<Setting>),
    /// The receiver does not respond: it is not a u-blox, or the line to it is broken.
    NoResponse,
}

impl fmt::Display for SetupResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::NoResponse => f.write_str("refused: no answer"),
            Self::Rejected(settings) => {
                let names: Vec<String> = settings.iter().map(ToString::to_string).collect();
                write!(f, "refused: {}", names.join(", "))
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct UbloxSetup {
    settings: Settings,
    scanner: ResponseParser,
    phase: Phase,
    /// The protocol generation as reported, or as guessed and acknowledged.
    generation: Option<Generation>,
    rejected: Vec<Setting>,
    has_responded: bool,
    /// Time of the last message.
    sent_at: Uptime,
    /// Start of the last setup, and the number of consecutive setups.
    started_at: Uptime,
    consecutive_runs: u32,
}

#[derive(Debug)]
enum Phase {
    /// Waits for the next sentence.
    Pending,
    PollingVersion {
        until: Uptime,
    },
    Configuring {
        remaining: Vec<Setting>,
        encoding: Generation,
        sent: MessageId,
        tries: u32,
        until: Uptime,
    },
    Done,
}

impl UbloxSetup {
    pub(super) fn new(settings: Settings) -> Self {
        let (scanner, phase) = (ResponseParser::default(), Phase::Pending);
        Self {
            settings,
            scanner,
            phase,
            generation: None,
            rejected: Vec::new(),
            has_responded: false,
            sent_at: Uptime::ZERO,
            started_at: Uptime::ZERO,
            consecutive_runs: 0,
        }
    }

    /// Schedules a new setup, because the receiver may have lost its settings.
    pub(super) fn restart(&mut self) {
        self.phase = Phase::Pending;
    }

    /// Handles a boot message of the receiver.
    pub(super) fn on_boot(&mut self, now: Uptime) {
        if now.since(self.sent_at) >= BOOT_DEBOUNCE {
            self.restart();
        }
    }

    /// Processes received bytes and returns the next message to send. `understood`: the baud rate
    /// is accepted and a sentence was read.
    pub(super) fn push(&mut self, bytes: &[u8], understood: bool, now: Uptime) -> Option<Message> {
        if let Phase::Pending = self.phase {
            if !understood || now.since(self.started_at) < self.pause() {
                return None;
            }
            let in_a_row = now.since(self.started_at) <= MAX_PAUSE;
            self.consecutive_runs =
                if in_a_row { self.consecutive_runs.saturating_add(1) } else { 1 };
            self.started_at = now;
            (self.generation, self.has_responded) = (None, false);
            self.rejected.clear();
            self.sent_at = now;
            self.phase = Phase::PollingVersion { until: now + RESPONSE_TIMEOUT };
            return Some(Message::poll_version());
        }
        let mut answers = Vec::new();
        self.scanner.push(bytes, |answer| answers.push(answer));
        answers.into_iter().fold(None, |message, answer| self.on_response(answer, now).or(message))
    }

    /// Pause before the next setup.
    fn pause(&self) -> Duration {
        match self.consecutive_runs {
            0..=2 => Duration::ZERO,
            many => (INITIAL_PAUSE * (1 << (many - 3).min(6))).min(MAX_PAUSE),
        }
    }

    /// Time at which [`Self::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        match self.phase {
            Phase::PollingVersion { until } | Phase::Configuring { until, .. } => Some(until),
            Phase::Pending | Phase::Done => None,
        }
    }

    /// Handles a missing response and returns the next message to send.
    pub(super) fn tick(&mut self, now: Uptime) -> Option<Message> {
        self.deadline().filter(|deadline| now >= *deadline)?;
        match &mut self.phase {
            Phase::PollingVersion { .. } => self.send_setting(self.settings.requested(), None, now),
            Phase::Configuring { remaining: left, encoding: form, tries, until, .. }
                if *tries < MAX_TRIES =>
            {
                *tries += 1;
                *until = now + RESPONSE_TIMEOUT;
                self.sent_at = now;
                Some(self.settings.message_for(*left.first()?, *form))
            }
            Phase::Configuring { .. } => self.on_setting_rejected(now),
            Phase::Pending | Phase::Done => None,
        }
    }

    /// Result of the setup; `None` until it is complete.
    pub(super) fn result(&self) -> Option<SetupResult> {
        match (&self.phase, self.rejected.as_slice()) {
            (Phase::Done, []) => Some(SetupResult::Done),
            (Phase::Done, _) if !self.has_responded => Some(SetupResult::NoResponse),
            (Phase::Done, refused) => Some(SetupResult::Rejected(refused.to_vec())),
            _ => None,
        }
    }

    fn on_response(&mut self, answer: Response, now: Uptime) -> Option<Message> {
        match (&mut self.phase, answer) {
            (Phase::PollingVersion { .. }, Response::Version(generation)) => {
                (self.generation, self.has_responded) = (Some(generation), true);
                self.send_setting(self.settings.requested(), None, now)
            }
            (
                Phase::Configuring { remaining: left, encoding: form, sent, .. },
                Response::Ack(id),
            ) if *sent == id => {
                (self.generation, self.has_responded) = (Some(*form), true);
                let left = left.split_off(1);
                self.send_setting(left, None, now)
            }
            (Phase::Configuring { sent, .. }, Response::Nak(id)) if *sent == id => {
                self.has_responded = true;
                self.on_setting_rejected(now)
            }
            _ => None,
        }
    }

    /// Sends the first setting of `left`, encoded for `form`, the known generation, or the more
    /// likely one.
    fn send_setting(
        &mut self,
        left: Vec<Setting>,
        form: Option<Generation>,
        now: Uptime,
    ) -> Option<Message> {
        let Some(setting) = left.first() else {
            self.phase = Phase::Done;
            return None;
        };
        let form = form.or(self.generation).unwrap_or(Generation::Keys);
        self.sent_at = now;
        let message = self.settings.message_for(*setting, form);
        let (sent, until) = (message.id, now + RESPONSE_TIMEOUT);
        self.phase = Phase::Configuring { remaining: left, encoding: form, sent, tries: 1, until };
        Some(message)
    }

    fn on_setting_rejected(&mut self, now: Uptime) -> Option<Message> {
        let Phase::Configuring { remaining: left, encoding: form, .. } = &mut self.phase else {
            return None;
        };
        let (mut left, form) = (std::mem::take(left), *form);
        if self.generation.is_none() && form == Generation::Keys {
            return self.send_setting(left, Some(Generation::Legacy), now);
        }
        if !self.has_responded {
            // A receiver that answered neither the query nor a setting will not answer the others.
            self.rejected = left;
            self.phase = Phase::Done;
            return None;
        }
        self.rejected.push(left.remove(0));
        self.send_setting(left, None, now)
    }
}

/// Whether a sentence is the boot message of a u-blox receiver: `$GNTXT,01,01,02,u-blox AG -
/// www.u-blox.com*4E`.
pub(super) fn is_boot_message(sentence: &[u8]) -> bool {
    sentence.get(3..7) == Some(b"TXT,")
        && sentence.to_ascii_lowercase().windows(14).any(|part| part == b"www.u-blox.com")
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_pipeline::sentence::Sentence;

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
        let mut setup = UbloxSetup::new(settings);
        assert_eq!(
            setup.push(b"", false, at(0)),
            None,
            "nothing is written before the baud rate is known"
        );
        assert_eq!(setup.push(b"", true, at(100)), Some(Message::poll_version()));
        setup.on_boot(at(150));
        assert_eq!(setup.push(b"", true, at(160)), None);
        let rate = setup.tick(at(1100)).unwrap();
        let ack = [0xb5, 0x62, 0x05, 0x01, 0x02, 0x00, 0x06, 0x8a, 0x98, 0xc1];
        assert_eq!(setup.push(&ack, true, at(1200)), None);
        assert_eq!((setup.result(), setup.deadline()), (Some(SetupResult::Done), None));
        setup.on_boot(at(60_000));
        assert_eq!(setup.result(), None);
        assert_eq!(setup.push(b"", true, at(60_100)), Some(Message::poll_version()));
        assert_eq!(setup.tick(at(61_100)), Some(rate));
        setup.restart();
        assert_eq!(setup.push(b"", true, at(70_000)), Some(Message::poll_version()));
        setup.restart();
        assert_eq!(setup.push(b"", true, at(120_000)), None, "the setup is delayed");
        assert_eq!(setup.push(b"", true, at(130_000)), Some(Message::poll_version()));
    }

    #[test]
    fn a_boot_is_told_by_its_text() {
        assert!(Sentence::parse(BOOT).is_ok() && is_boot_message(BOOT));
        assert!(!is_boot_message(b"$GNTXT,01,01,02,ANTSTATUS=OK*25"));
        assert!(!is_boot_message(b"$GP"));
    }
}
