//! Code on a control card ↔ [`Reason`]: the two letters of ASC X12, element 1651 (1650 for a refusal).

use super::event::Reason;

impl Reason {
    /// The code that a control card carries.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoOneHome => "AQ",
            Self::Refused => "A7",
            Self::BadAddress => "A2",
            Self::NoAccess => "B8",
            Self::Closed => "B1",
            Self::NoTime => "BH",
            Self::Rescheduled => "AD",
            Self::NoIdentity => "BC",
            Self::Damaged => "AK",
            Self::Other => "BG",
        }
    }

    /// What a code means, upper case; `None` if it is no reason why a parcel is not handed over.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Some(match code {
            "AQ" | "A1" | "C4" => Self::NoOneHome,
            "A7" | "BS" => Self::Refused,
            "A2" | "A5" | "A6" => Self::BadAddress,
            "B8" | "AG" => Self::NoAccess,
            "B1" | "AN" | "B9" => Self::Closed,
            "BH" | "AW" | "AV" => Self::NoTime,
            "AD" | "BK" | "C1" | "C3" => Self::Rescheduled,
            "BC" => Self::NoIdentity,
            "AK" => Self::Damaged,
            "BG" => Self::Other,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_read_from_the_code_that_it_has() {
        for reason in [
            Reason::NoOneHome,
            Reason::Refused,
            Reason::BadAddress,
            Reason::NoAccess,
            Reason::Closed,
            Reason::NoTime,
            Reason::Rescheduled,
            Reason::NoIdentity,
            Reason::Damaged,
            Reason::Other,
        ] {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(Reason::from_code("AO"), None, "the weather delays a van and refuses no parcel");
    }
}
