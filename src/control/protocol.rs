//! Messages of the control socket, one JSON object per line.

use serde::{Deserialize, Serialize};

use super::status::Status;
use waypost_wire::payloads::Duty;

/// Request of a client. A connection may send several, one after another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Return the status.
    Status(Empty),
    /// Return the status every second until the client disconnects.
    Watch(Empty),
    /// Process a code as if it had been scanned.
    Scan(ScanRequest),
    /// Record the delivery outcome of a parcel.
    Outcome(OutcomeRequest),
    /// Set the driver's duty state.
    Duty(Duty),
    /// Report a delay of the van.
    Delay(DelayRequest),
    /// Set the log level until the agent restarts.
    Log(LogLevelRequest),
}

/// Empty parameters: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// A code entered by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanRequest {
    /// The code as printed on the label.
    pub code: String,
}

/// A delivery outcome entered by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRequest {
    /// Number of the parcel as printed on the label.
    pub parcel: String,
    pub outcome: ParcelOutcome,
    /// Reason of a failed attempt: the code on the control card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Place of a delivery; absent if the parcel was handed to a person at the stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<Disposition>,
}

/// Delivery outcome of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParcelOutcome {
    /// Handed over, or left at an agreed place.
    Delivered,
    /// Not delivered; it stays in the van.
    Attempt,
    /// Damaged.
    Damaged,
    /// Missing from the van.
    NotFound,
    /// Returned to the station.
    Returned,
    /// Revokes the last outcome of the parcel.
    Undo,
}

/// Place of a delivery, if not to a person at the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Left at the agreed place.
    SafePlace,
    /// Handed to a neighbour.
    Neighbour,
    /// Put into a locker or letter box.
    Locker,
}

/// A delay entered by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelayRequest {
    /// Code of X12 data element 1651, such as `AO` for weather. Empty: the delay is over.
    pub code: String,
}

/// A log level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevelRequest {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// Response of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The status.
    Status(Box<Status>),
    /// The request was executed; the text describes the effect.
    Done(String),
    /// The request was rejected; the text has the reason.
    Refused(String),
    /// The request could not be parsed.
    Error(UnknownRequest),
}

/// Error for a request that this agent does not understand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownRequest {
    /// The reason, for people.
    pub text: String,
    /// The agent's version.
    pub version: String,
}

impl Response {
    /// Creates an error response.
    #[must_use]
    pub fn error(text: impl Into<String>) -> Self {
        Self::Error(UnknownRequest { text: text.into(), version: VERSION.to_owned() })
    }

    /// Serializes the response as a line with its line feed.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("a response serializes to JSON");
        line.push('\n');
        line
    }
}

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Maximum length of a line in bytes, including the line feed.
pub const MAX_LINE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_as_they_are_documented() {
        let scan = ScanRequest { code: "1Z999".to_owned() };
        let attempt = OutcomeRequest {
            parcel: "1Z999".to_owned(),
            outcome: ParcelOutcome::Attempt,
            code: Some("AQ".to_owned()),
            how: None,
        };
        let left = OutcomeRequest {
            outcome: ParcelOutcome::Delivered,
            code: None,
            how: Some(Disposition::SafePlace),
            ..attempt.clone()
        };
        for (text, expected) in [
            (r#"{"status":{}}"#, Request::Status(Empty {})),
            (r#"{"watch":{}}"#, Request::Watch(Empty {})),
            (r#"{"scan":{"code":"1Z999"}}"#, Request::Scan(scan)),
            (
                r#"{"outcome":{"parcel":"1Z999","outcome":"attempt","code":"AQ"}}"#,
                Request::Outcome(attempt),
            ),
            (
                r#"{"outcome":{"parcel":"1Z999","outcome":"delivered","how":"safe_place"}}"#,
                Request::Outcome(left),
            ),
            (r#"{"duty":"break"}"#, Request::Duty(Duty::Break)),
            (r#"{"delay":{"code":"AO"}}"#, Request::Delay(DelayRequest { code: "AO".to_owned() })),
            (
                r#"{"log":{"level":"debug"}}"#,
                Request::Log(LogLevelRequest { level: "debug".to_owned() }),
            ),
        ] {
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), expected);
            assert_eq!(serde_json::to_string(&expected).unwrap(), text);
        }
        for text in
            ["{}", "[]", "{\"stop\":{}}", "{\"status\":{\"x\":1}}", "{\"duty\":\"off\",\"log\":{}}"]
        {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
