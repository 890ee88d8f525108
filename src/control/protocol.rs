//! What goes over the socket: one line of JSON each way.

use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::wire::json::Duty;

/// What a client asks. A connection may ask several, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// How the agent is.
    Status(Nothing),
    /// The same, each second until the client goes.
    Watch(Nothing),
    /// A code, as if it had been scanned.
    Scan(ScanAsked),
    /// What became of a parcel.
    Outcome(OutcomeAsked),
    /// Whether the driver is on duty.
    Duty(Duty),
    /// Why the van is late.
    Delay(DelayAsked),
    /// How much is logged from now on, until the agent starts anew.
    Log(LogAsked),
}

/// No particulars: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A code that a person typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanAsked {
    /// As it stands on the label.
    pub code: String,
}

/// An outcome that a person says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeAsked {
    /// The parcel's number, as it stands on the label.
    pub parcel: String,
    /// What became of it.
    pub outcome: ParcelOutcome,
    /// Why, for an attempt: the code on the control card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How, for a delivery; to somebody at the stop if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<HandOver>,
}

/// What became of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParcelOutcome {
    /// It was handed over, or left where that was agreed.
    Delivered,
    /// It could not be handed over.
    Attempt,
    /// It is damaged.
    Damaged,
    /// It should be in the van and is not.
    NotFound,
    /// It is back at the station.
    Returned,
    /// The last outcome of it did not happen.
    Undo,
}

/// How a parcel was handed over, if not to somebody at the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandOver {
    /// Left at the agreed place.
    SafePlace,
    /// To a neighbour.
    Neighbour,
    /// Into a locker or letter box.
    Locker,
}

/// A delay that a person says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelayAsked {
    /// UN/EDIFACT 4221, such as `AO` for weather; empty when it is over.
    pub code: String,
}

/// A level of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogAsked {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How it is.
    Status(Box<Status>),
    /// It was done; what, in words.
    Done(String),
    /// It was understood and not done; why, in words.
    Refused(String),
    /// It was not understood.
    Error(NotUnderstood),
}

/// A question that this agent does not understand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotUnderstood {
    /// Why, in words.
    pub text: String,
    /// The agent's version.
    pub version: String,
}

impl Answer {
    /// The question was not understood.
    #[must_use]
    pub fn error(text: impl Into<String>) -> Self {
        Self::Error(NotUnderstood { text: text.into(), version: VERSION.to_owned() })
    }

    /// As it goes over the socket, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("its keys are names");
        line.push('\n');
        line
    }
}

/// Of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Bytes of a line at most, its end included.
pub const MAX_LINE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_as_they_are_documented() {
        let scan = ScanAsked { code: "1Z999".to_owned() };
        let attempt = OutcomeAsked {
            parcel: "1Z999".to_owned(),
            outcome: ParcelOutcome::Attempt,
            code: Some("AQ".to_owned()),
            how: None,
        };
        let left = OutcomeAsked {
            outcome: ParcelOutcome::Delivered,
            code: None,
            how: Some(HandOver::SafePlace),
            ..attempt.clone()
        };
        for (text, expected) in [
            (r#"{"status":{}}"#, Question::Status(Nothing {})),
            (r#"{"watch":{}}"#, Question::Watch(Nothing {})),
            (r#"{"scan":{"code":"1Z999"}}"#, Question::Scan(scan)),
            (
                r#"{"outcome":{"parcel":"1Z999","outcome":"attempt","code":"AQ"}}"#,
                Question::Outcome(attempt),
            ),
            (
                r#"{"outcome":{"parcel":"1Z999","outcome":"delivered","how":"safe_place"}}"#,
                Question::Outcome(left),
            ),
            (r#"{"duty":"break"}"#, Question::Duty(Duty::Break)),
            (r#"{"delay":{"code":"AO"}}"#, Question::Delay(DelayAsked { code: "AO".to_owned() })),
            (r#"{"log":{"level":"debug"}}"#, Question::Log(LogAsked { level: "debug".to_owned() })),
        ] {
            assert_eq!(serde_json::from_str::<Question>(text).unwrap(), expected);
            assert_eq!(serde_json::to_string(&expected).unwrap(), text);
        }
        for text in
            ["{}", "[]", "{\"stop\":{}}", "{\"status\":{\"x\":1}}", "{\"duty\":\"off\",\"log\":{}}"]
        {
            assert!(serde_json::from_str::<Question>(text).is_err(), "{text}");
        }
    }
}
