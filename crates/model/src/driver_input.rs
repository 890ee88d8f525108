//! Input from a person at the van: by control card, control socket or command.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duty::Duty;
use super::event::{FailureReason, Outcome};
use super::manifest::MAX_KEY;

/// Input from the driver or another person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverInput {
    /// Outcome for a parcel.
    Parcel {
        /// Number of the parcel; spaces and case are ignored.
        key: String,
        outcome: ReportedOutcome,
    },
    /// Undo the last scan.
    Undo,
    /// Set the duty status.
    Duty(Duty),
    /// Set the delay; `None` clears it.
    Delay(Option<Delay>),
}

/// Outcome of a parcel as reported by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportedOutcome {
    Delivered(Outcome),
    /// A delivery attempt failed.
    Attempted(FailureReason),
    Damaged,
    /// The parcel is missing in the van.
    NotFound,
    /// The parcel never left the station.
    Void,
    /// The parcel is back at the station.
    Returned,
}

/// Reason of a delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DelayReason {
    /// Snow, ice, storm.
    Weather,
    /// Traffic jam or road closure.
    Traffic,
    /// Breakdown of the van.
    Breakdown,
    Accident,
    /// Any other reason; also used for a delay that the agent detects.
    Other,
}

impl DelayReason {
    const ALL: [Self; 5] =
        [Self::Weather, Self::Traffic, Self::Breakdown, Self::Accident, Self::Other];

    /// Returns the value as in the MQTT contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weather => "weather",
            Self::Traffic => "traffic",
            Self::Breakdown => "breakdown",
            Self::Accident => "accident",
            Self::Other => "other",
        }
    }

    /// Returns the code of ASC X12, element 1651.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Weather => "AO",
            Self::Traffic => "BE",
            Self::Breakdown => "AI",
            Self::Accident => "AF",
            Self::Other => "BG",
        }
    }

    /// Parses a name or a code, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| {
            reason.as_str().eq_ignore_ascii_case(text) || reason.code().eq_ignore_ascii_case(text)
        })
    }
}

/// Reported delay of the van.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// Duration of the delay.
    pub by: Duration,
    pub reason: DelayReason,
}

impl Delay {
    /// Default for control cards, which contain no duration.
    pub const DEFAULT_DELAY: Duration = Duration::from_mins(15);
}

/// Command of a control card (docs/mqtt-contract.md, control codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlCode {
    /// Outcome for the parcel scanned next.
    Next(ReportedOutcome),
    Undo,
    Duty(Duty),
    Delay(Option<Delay>),
}

impl ControlCode {
    /// Parses the upper-case text after `VANCTL:`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_KEY {
            return None;
        }
        let (verb, rest) =
            text.split_once(':').map_or((text, None), |(verb, rest)| (verb, Some(rest)));
        Some(match (verb, rest) {
            ("ATTEMPT", Some(code)) => {
                Self::Next(ReportedOutcome::Attempted(FailureReason::from_code(code)?))
            }
            ("ATTEMPT", None) => Self::Next(ReportedOutcome::Attempted(FailureReason::Other)),
            ("DAMAGED", None) => Self::Next(ReportedOutcome::Damaged),
            ("NOTFOUND", None) => Self::Next(ReportedOutcome::NotFound),
            ("LEAVE", Some("SAFE")) => Self::Next(ReportedOutcome::Delivered(Outcome::SafePlace)),
            ("LEAVE", Some("NEIGHBOUR")) => {
                Self::Next(ReportedOutcome::Delivered(Outcome::Neighbour))
            }
            ("LEAVE", Some("LOCKER")) => Self::Next(ReportedOutcome::Delivered(Outcome::Locker)),
            ("UNDO", None) => Self::Undo,
            ("DUTY", Some(duty)) => Self::Duty(Duty::parse(duty)?),
            ("DELAY", Some("NONE")) => Self::Delay(None),
            ("DELAY", Some(code)) => {
                let reason = DelayReason::parse(code)?;
                Self::Delay(Some(Delay { by: Delay::DEFAULT_DELAY, reason }))
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_read_and_a_stranger_is_none() {
        let next = |outcome| Some(ControlCode::Next(outcome));
        let late = Delay { by: Delay::DEFAULT_DELAY, reason: DelayReason::Weather };
        for (text, expected) in [
            ("ATTEMPT:AQ", next(ReportedOutcome::Attempted(FailureReason::NoOneHome))),
            ("ATTEMPT:A7", next(ReportedOutcome::Attempted(FailureReason::Refused))),
            ("ATTEMPT", next(ReportedOutcome::Attempted(FailureReason::Other))),
            ("ATTEMPT:ZZ", None),
            ("DAMAGED", next(ReportedOutcome::Damaged)),
            ("LEAVE:SAFE", next(ReportedOutcome::Delivered(Outcome::SafePlace))),
            ("LEAVE:NEIGHBOUR", next(ReportedOutcome::Delivered(Outcome::Neighbour))),
            ("LEAVE:LOCKER", next(ReportedOutcome::Delivered(Outcome::Locker))),
            ("LEAVE:ROOF", None),
            ("NOTFOUND", next(ReportedOutcome::NotFound)),
            ("UNDO", Some(ControlCode::Undo)),
            ("DUTY:BREAK", Some(ControlCode::Duty(Duty::Break))),
            ("DUTY:", None),
            ("DELAY:AO", Some(ControlCode::Delay(Some(late)))),
            ("DELAY:NONE", Some(ControlCode::Delay(None))),
            ("", None),
        ] {
            assert_eq!(ControlCode::parse(text), expected, "{text}");
        }
    }
}
