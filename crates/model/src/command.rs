//! Backend commands and their results. Each command is executed at most once.
//!
//! A repeated command gets its first result again. The newest 256 results are kept in memory.
//! Results of commands with a lasting effect are also persisted, so that they survive a power cut.

use serde::{Deserialize, Serialize};

use crate::driver_input::Delay;
use crate::duty::Duty;
use crate::event::{EventId, Preferences};
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
        EventId(self.0).fmt(f)
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
    SetReportInterval {
        /// Interval in seconds, 1..=3600.
        interval_s: u32,
        /// Duration in seconds, up to a day.
        duration_s: u32,
    },
    /// Send all pending records.
    FlushOutbox,
    /// Replace the recipient's delivery preferences.
    SetPreferences {
        /// Only if this is the current route.
        route: Option<String>,
        /// All parcels of this stop, if `parcel` is `None`.
        stop: Option<String>,
        /// Key of the parcel.
        parcel: Option<String>,
        /// The whole set: what is `None` is not asked for.
        preferences: Preferences,
    },
    /// Recall a parcel: it must not be delivered.
    RecallParcel {
        /// Key of the parcel.
        parcel: String,
    },
    /// Show a message to the driver.
    ShowMessage {
        /// Up to 200 bytes.
        text: String,
    },
    /// Set the duty status.
    SetDuty(Duty),
    /// Set the delay of the van.
    SetDelay(Delay),
    /// The van is no longer late.
    ClearDelay,
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
    Succeeded,
    /// Valid, but could not be executed.
    Failed,
    /// Not executed: the command is invalid, or its parcel or route does not allow it.
    Rejected,
    /// Received after its expiry time.
    Expired,
}

impl CommandStatus {
    /// Returns the status as in the MQTT contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

/// Reason of a result, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResultCode {
    /// An argument is missing, unknown to the command or out of range.
    InvalidArgument,
    /// The agent does not support the command.
    Unsupported,
    /// The command expires, and the van does not know the time.
    ClockUnknown,
    /// The manifest does not list the parcel.
    UnknownParcel,
    /// The manifest has no such stop.
    UnknownStop,
    /// The parcel was delivered or returned.
    ParcelFinished,
    /// The van has no route.
    NoRoute,
    /// The van has another route than the command names.
    OtherRoute,
}

impl ResultCode {
    /// All codes.
    pub const ALL: [Self; 8] = [
        Self::InvalidArgument,
        Self::Unsupported,
        Self::ClockUnknown,
        Self::UnknownParcel,
        Self::UnknownStop,
        Self::ParcelFinished,
        Self::NoRoute,
        Self::OtherRoute,
    ];

    /// Returns the code as in the MQTT contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::Unsupported => "unsupported",
            Self::ClockUnknown => "clock_unknown",
            Self::UnknownParcel => "unknown_parcel",
            Self::UnknownStop => "unknown_stop",
            Self::ParcelFinished => "parcel_finished",
            Self::NoRoute => "no_route",
            Self::OtherRoute => "other_route",
        }
    }
}

/// State of a parcel in the van's own records, the answer to [`CommandKind::ReportNow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParcelReport {
    /// Key of the parcel.
    pub parcel: String,
    /// `due`, `loaded`, `out_for_delivery`, `attempted`, `delivered`, `returned`, `not_found` or
    /// `void`.
    pub state: String,
    /// Newest event in which the parcel was seen.
    pub last_seen: Option<(EventId, UtcTime)>,
}

/// Result of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandResult {
    /// Id of the command.
    pub id: CommandId,
    pub status: CommandStatus,
    /// Reason for programs; `None` for an executed command.
    pub code: Option<ResultCode>,
    /// Reason for people, up to 200 bytes.
    pub detail: Option<String>,
    /// Answer of a command that asks for something.
    pub report: Option<ParcelReport>,
    /// Time of the result; `None` if the time was unknown.
    pub utc: Option<UtcTime>,
}

impl CommandKind {
    /// Returns whether the command has no lasting effect. A restart may then execute it again.
    pub const fn is_idempotent(&self) -> bool {
        match self {
            Self::ReportNow { .. }
            | Self::SetReportInterval { .. }
            | Self::FlushOutbox
            | Self::ShowMessage { .. }
            | Self::Unsupported { .. } => true,
            Self::SetPreferences { .. }
            | Self::RecallParcel { .. }
            | Self::SetDuty(_)
            | Self::SetDelay(_)
            | Self::ClearDelay => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::*;

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
