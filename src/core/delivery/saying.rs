//! What a person says at the van: by a control card, at the local socket, or by command.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duty::Duty;
use super::event::{Outcome, Reason};
use super::manifest::MAX_KEY;

/// What a person says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    /// Something about a parcel.
    Parcel {
        /// The number that is typed; spaces and case do not matter.
        key: String,
        /// What became of it.
        fate: Fate,
    },
    /// The last scan was wrong.
    Undo,
    /// Work begins, ends, or pauses.
    Duty(Duty),
    /// The van is late; `None` = no longer.
    Delay(Option<Delay>),
}

/// What became of a parcel, by a person's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It was handed over.
    Delivered(Outcome),
    /// It could not be handed over.
    Attempted(Reason),
    /// It is damaged.
    Damaged,
    /// It is not in the van.
    NotFound,
    /// It never left the station.
    Void,
    /// It is back at the station.
    Returned,
}

/// Why the van is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DelayReason {
    /// Snow, ice, storm.
    Weather,
    /// A jam, a closed road.
    Traffic,
    /// The van does not drive.
    Breakdown,
    /// An accident.
    Accident,
    /// Anything else, also what the van saw by itself.
    Other,
}

impl DelayReason {
    const ALL: [Self; 5] =
        [Self::Weather, Self::Traffic, Self::Breakdown, Self::Accident, Self::Other];

    /// As on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weather => "weather",
            Self::Traffic => "traffic",
            Self::Breakdown => "breakdown",
            Self::Accident => "accident",
            Self::Other => "other",
        }
    }

    /// ASC X12, element 1651.
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

    /// Reads a name or a code, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| {
            reason.name().eq_ignore_ascii_case(text) || reason.code().eq_ignore_ascii_case(text)
        })
    }
}

/// How late the van is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// By so much.
    pub by: Duration,
    /// Why.
    pub reason: DelayReason,
}

impl Delay {
    /// What a control card means, which has no number on it.
    pub const UNSAID: Duration = Duration::from_mins(15);
}

/// What a control card says (docs/contract.md, control codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// Something about the parcel that is scanned next.
    Next(Fate),
    Undo,
    Duty(Duty),
    Delay(Option<Delay>),
}

impl Control {
    /// What stands after `VANCTL:`, upper case.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_KEY {
            return None;
        }
        let (verb, rest) =
            text.split_once(':').map_or((text, None), |(verb, rest)| (verb, Some(rest)));
        Some(match (verb, rest) {
            ("ATTEMPT", Some(code)) => Self::Next(Fate::Attempted(Reason::from_code(code)?)),
            ("ATTEMPT", None) => Self::Next(Fate::Attempted(Reason::Other)),
            ("DAMAGED", None) => Self::Next(Fate::Damaged),
            ("NOTFOUND", None) => Self::Next(Fate::NotFound),
            ("LEAVE", Some("SAFE")) => Self::Next(Fate::Delivered(Outcome::SafePlace)),
            ("LEAVE", Some("NEIGHBOUR")) => Self::Next(Fate::Delivered(Outcome::Neighbour)),
            ("LEAVE", Some("LOCKER")) => Self::Next(Fate::Delivered(Outcome::Locker)),
            ("UNDO", None) => Self::Undo,
            ("DUTY", Some(duty)) => Self::Duty(Duty::parse(duty)?),
            ("DELAY", Some("NONE")) => Self::Delay(None),
            ("DELAY", Some(code)) => {
                let reason = DelayReason::parse(code)?;
                Self::Delay(Some(Delay { by: Delay::UNSAID, reason }))
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
        let next = |fate| Some(Control::Next(fate));
        let late = Delay { by: Delay::UNSAID, reason: DelayReason::Weather };
        for (text, expected) in [
            ("ATTEMPT:AQ", next(Fate::Attempted(Reason::NoOneHome))),
            ("ATTEMPT:A7", next(Fate::Attempted(Reason::Refused))),
            ("ATTEMPT", next(Fate::Attempted(Reason::Other))),
            ("ATTEMPT:ZZ", None),
            ("DAMAGED", next(Fate::Damaged)),
            ("LEAVE:SAFE", next(Fate::Delivered(Outcome::SafePlace))),
            ("LEAVE:NEIGHBOUR", next(Fate::Delivered(Outcome::Neighbour))),
            ("LEAVE:LOCKER", next(Fate::Delivered(Outcome::Locker))),
            ("LEAVE:ROOF", None),
            ("NOTFOUND", next(Fate::NotFound)),
            ("UNDO", Some(Control::Undo)),
            ("DUTY:BREAK", Some(Control::Duty(Duty::Break))),
            ("DUTY:", None),
            ("DELAY:AO", Some(Control::Delay(Some(late)))),
            ("DELAY:NONE", Some(Control::Delay(None))),
            ("", None),
        ] {
            assert_eq!(Control::parse(text), expected, "{text}");
        }
    }
}
