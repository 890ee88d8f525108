//! [`Command`] → [`Answer`]: what the backend asks of the van, once.
//!
//! A command that comes again is answered as before and not run again: the newest 256 are remembered, and also over a
//! power cut those 256 that change something.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::duty::Duty;
use super::event::Preferences;
use super::kept::{self, Kept};
use super::saying::DelayReason;
use crate::units::UtcTime;

/// The number of a command (RFC 9562), as the backend made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub [u8; 16]);

impl CommandId {
    /// Reads `0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10`, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 36 || [8, 13, 18, 23].iter().any(|index| text[*index] != b'-') {
            return None;
        }
        let mut digits = text
            .iter()
            .filter(|byte| **byte != b'-')
            .map(|byte| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
        let mut id = [0; 16];
        for byte in &mut id {
            *byte = digits.next()?? << 4 | digits.next()??;
        }
        digits.next().is_none().then_some(Self(id))
    }
}

/// As RFC 9562 §4 writes it.
impl std::fmt::Display for CommandId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        super::event::EventId(self.0).fmt(f)
    }
}

impl std::fmt::Debug for CommandId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommandId({self})")
    }
}

/// What the backend asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Its number: a command that comes twice is run once.
    pub id: CommandId,
    /// After this it is not run; `None` = never too late.
    pub expires: Option<UtcTime>,
    /// What is to be done.
    pub order: Order,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Say the position now; with a parcel, also what became of it.
    ReportNow {
        /// Its key.
        parcel: Option<String>,
    },
    /// Say positions at another rate for a while.
    SetRate {
        /// Seconds between two, 1..=3600.
        interval_s: u32,
        /// For so long, seconds.
        for_s: u32,
    },
    /// Send what waits.
    Flush,
    /// The recipient wants something else.
    UpdatePreferences {
        /// Of this route only.
        route: Option<String>,
        /// All parcels of this stop, if no parcel is named.
        stop: Option<String>,
        /// This parcel.
        parcel: Option<String>,
        /// Members that are absent stay as they are.
        preferences: Preferences,
    },
    /// Do not hand this over.
    Recall {
        /// Its key.
        parcel: String,
    },
    /// Words for the driver.
    Message {
        /// At most 200 characters.
        text: String,
    },
    /// Begin or end the duty, or a break.
    Duty(Duty),
    /// The van is late; `None` = no longer.
    Delay(Option<(DelayReason, u32)>),
    /// Begin a new file of the agent's log.
    RotateLog,
    /// Not known to this version.
    Unsupported {
        /// Its name.
        name: String,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerStatus {
    /// Others do it: an [`Order`] was handed on.
    Accepted,
    /// Done.
    Done,
    /// Not done, and it will not be.
    Rejected,
    /// It came too late.
    Expired,
    /// About something that is no longer so.
    Stale,
}

impl AnswerStatus {
    /// As on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Stale => "stale",
        }
    }
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its number.
    pub id: CommandId,
    /// How it ended.
    pub status: AnswerStatus,
    /// Why, in words; at most 200 characters.
    pub detail: Option<String>,
    /// When; `None` if the time was not known.
    pub utc: Option<UtcTime>,
}

/// The newest answers, oldest first: a ring of documents, one an answer.
#[derive(Debug, Default)]
pub(super) struct Answers {
    kept: VecDeque<Numbered>,
    /// To what may run again after a restart.
    passing: VecDeque<Answer>,
    next: u64,
    /// The documents that changed.
    pub(super) changed: Vec<Kept>,
}

/// The document of an answer.
#[derive(Debug, Serialize, Deserialize)]
struct Numbered {
    number: u64,
    answer: Answer,
}

impl Answers {
    const REMEMBERED: usize = 256;
    const MAX_DETAIL: usize = 200;

    /// Takes a document; whether it could be read.
    pub(super) fn restore(&mut self, bytes: &[u8]) -> bool {
        let Some(document) = kept::decode::<Numbered>(bytes) else { return false };
        self.next = self.next.max(document.number.saturating_add(1));
        let after = self.kept.partition_point(|one| one.number < document.number);
        self.kept.insert(after, document);
        if self.kept.len() > Self::REMEMBERED {
            self.kept.pop_front();
        }
        true
    }

    pub(super) fn to(&self, id: CommandId) -> Option<&Answer> {
        let kept = self.kept.iter().map(|one| &one.answer);
        kept.chain(&self.passing).find(|answer| answer.id == id)
    }

    /// Keeps `answer` to `order`, shortened, and returns it.
    pub(super) fn remember(&mut self, order: &Order, mut answer: Answer) -> Answer {
        if let Some(detail) = &mut answer.detail {
            detail.truncate(detail.floor_char_boundary(Self::MAX_DETAIL));
        }
        if order.may_run_twice() {
            if self.passing.len() >= Self::REMEMBERED {
                self.passing.pop_front();
            }
            self.passing.push_back(answer.clone());
            return answer;
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let document = Numbered { number, answer: answer.clone() };
        let key = format!("command/{:03}", number % Self::REMEMBERED as u64);
        self.changed.push(Kept { key, value: Some(kept::encode(&document)) });
        if self.kept.len() >= Self::REMEMBERED {
            self.kept.pop_front();
        }
        self.kept.push_back(document);
        answer
    }
}

impl Order {
    /// Whether it changes nothing that lasts: then a restart may forget that it was run.
    const fn may_run_twice(&self) -> bool {
        match self {
            Self::ReportNow { .. }
            | Self::SetRate { .. }
            | Self::Flush
            | Self::Message { .. }
            | Self::RotateLog
            | Self::Unsupported { .. } => true,
            Self::UpdatePreferences { .. }
            | Self::Recall { .. }
            | Self::Duty(_)
            | Self::Delay(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_is_written_and_nothing_else_is_one() {
        let text = "0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10";
        let id = CommandId::parse(text).unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(CommandId::parse(&text.to_uppercase()), Some(id));
        for bad in
            ["", "0b6f6f0e8a3c4a0e9b610a2f4b1b8f10", &text[1..], "ä", &text.replace('0', "g")]
        {
            assert_eq!(CommandId::parse(bad), None, "{bad}");
        }
    }
}
