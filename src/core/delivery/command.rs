//! Backend commands and their results. Each command is executed at most once.
//!
//! A repeated command gets its first result again. The newest 256 results are kept in memory.
//! Results of commands with a lasting effect are also persisted, so that they survive a power cut.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::duty::Duty;
use super::event::Preferences;
use super::kept::{self, StateDocChange};
use super::saying::DelayReason;
use crate::units::UtcTime;

/// UUID of a command (RFC 9562), assigned by the backend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub [u8; 16]);

impl CommandId {
    /// Parses the hyphenated form, such as `0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10`, in any case.
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

/// Formats the id as in RFC 9562 §4.
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

/// Command of the backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Idempotency key: a repeated command is executed once.
    pub id: CommandId,
    /// The command is not executed after this time; `None` for no limit.
    pub expires: Option<UtcTime>,
    /// Requested action.
    pub kind: CommandKind,
}

/// Action that a command requests.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandKind {
    /// Publish the position now and, with a parcel, report the state of that parcel.
    ReportNow {
        /// Key of the parcel.
        parcel: Option<String>,
    },
    /// Publish positions at another interval for a limited time.
    SetRate {
        /// Interval in seconds, 1..=3600.
        interval_s: u32,
        /// Duration in seconds.
        for_s: u32,
    },
    /// Send all pending records.
    Flush,
    /// Change the recipient's delivery preferences.
    UpdatePreferences {
        /// Only if this is the current route.
        route: Option<String>,
        /// All parcels of this stop, if `parcel` is `None`.
        stop: Option<String>,
        /// Key of the parcel.
        parcel: Option<String>,
        /// Fields that are `None` stay unchanged.
        preferences: Preferences,
    },
    /// Recall a parcel: it must not be delivered.
    Recall {
        /// Key of the parcel.
        parcel: String,
    },
    /// Show a message to the driver.
    Message {
        /// Up to 200 bytes.
        text: String,
    },
    /// Set the duty status.
    Duty(Duty),
    /// Set the delay (reason and seconds); `None` clears it.
    Delay(Option<(DelayReason, u32)>),
    /// Rotate the agent's log file.
    RotateLog,
    /// Not supported by this version.
    Unsupported {
        /// Name of the command.
        name: String,
    },
}

/// Status of a command's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandStatus {
    /// Forwarded for execution outside the delivery tracker.
    Accepted,
    /// Executed.
    Done,
    /// Not executed; the command is invalid.
    Rejected,
    /// Received after its expiry time.
    Expired,
    /// Refers to a route or parcel state that has passed.
    Stale,
}

impl CommandStatus {
    /// Returns the status as in the MQTT contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Stale => "stale",
        }
    }
}

/// Result of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandResult {
    /// Id of the command.
    pub id: CommandId,
    pub status: CommandStatus,
    /// Human-readable reason, up to 200 bytes.
    pub detail: Option<String>,
    /// Time of the result; `None` if the time was unknown.
    pub utc: Option<UtcTime>,
}

/// Newest results, oldest first: a ring of state documents, one per result.
#[derive(Debug, Default)]
pub(super) struct CommandLog {
    durable: VecDeque<ResultDoc>,
    /// Results of idempotent commands, which a restart may execute again.
    transient: VecDeque<CommandResult>,
    next_number: u64,
    /// Changed state documents, not committed yet.
    pub(super) changed_docs: Vec<StateDocChange>,
}

/// State document of a result.
#[derive(Debug, Serialize, Deserialize)]
struct ResultDoc {
    number: u64,
    result: CommandResult,
}

impl CommandLog {
    const CAPACITY: usize = 256;
    const MAX_DETAIL: usize = 200;

    /// Restores a result from its state document. Returns whether the document could be decoded.
    pub(super) fn restore(&mut self, bytes: &[u8]) -> bool {
        let Some(document) = kept::decode::<ResultDoc>(bytes) else { return false };
        self.next_number = self.next_number.max(document.number.saturating_add(1));
        let after = self.durable.partition_point(|one| one.number < document.number);
        self.durable.insert(after, document);
        if self.durable.len() > Self::CAPACITY {
            self.durable.pop_front();
        }
        true
    }

    pub(super) fn previous_result(&self, id: CommandId) -> Option<&CommandResult> {
        let kept = self.durable.iter().map(|one| &one.result);
        kept.chain(&self.transient).find(|answer| answer.id == id)
    }

    /// Records the result of a command, truncates its detail, and returns it.
    pub(super) fn record(&mut self, order: &CommandKind, mut answer: CommandResult) -> CommandResult {
        if let Some(detail) = &mut answer.detail {
            detail.truncate(detail.floor_char_boundary(Self::MAX_DETAIL));
        }
        if order.is_idempotent() {
            if self.transient.len() >= Self::CAPACITY {
                self.transient.pop_front();
            }
            self.transient.push_back(answer.clone());
            return answer;
        }
        let number = self.next_number;
        self.next_number = self.next_number.saturating_add(1);
        let document = ResultDoc { number, result: answer.clone() };
        let key = format!("command/{:03}", number % Self::CAPACITY as u64);
        self.changed_docs.push(StateDocChange { key, value: Some(kept::encode(&document)) });
        if self.durable.len() >= Self::CAPACITY {
            self.durable.pop_front();
        }
        self.durable.push_back(document);
        answer
    }
}

impl CommandKind {
    /// Returns whether the command has no lasting effect. A restart may then execute it again.
    const fn is_idempotent(&self) -> bool {
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
