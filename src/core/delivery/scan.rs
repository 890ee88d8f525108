//! What was read, and what it meant.

use serde::{Deserialize, Serialize};

use super::event::{Alert, Outcome, ReadBy, Reason};
use super::saying::Fate;
use crate::units::Uptime;

/// Something that a scanner, a tag's reader or a person gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The name of the scanner in the configuration.
    pub source: String,
    /// What it is.
    pub by: ReadBy,
    /// What it said, without line ends; a tag's memory in hexadecimal.
    pub bytes: Vec<u8>,
    /// When its last byte was read.
    pub at: Uptime,
    /// Strength of a tag's answer, dBm.
    pub rssi: Option<i8>,
    /// Antenna that saw the tag.
    pub antenna: Option<u8>,
}

/// What a scan meant, for a local answer: a tone, a light, a line on the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanVerdict {
    /// It means something once the time is known; it is kept until then.
    Waits,
    /// As [`Self::Waits`], and there was no room left.
    GivenUp,
    /// The same code as just now.
    Repeat,
    /// No parcel and no control code.
    Garbage,
    /// Nothing is recorded off duty.
    OffDuty,
    /// A radio tag was counted.
    Tag,
    /// A control code that nobody understands.
    BadControl,
    /// The next scan gets this fate.
    Armed(Fate),
    /// The last scan was taken back.
    Undone,
    /// There was no scan to take back, or it is too long ago.
    NothingToUndo,
    /// Duty or delay were changed.
    Noted,
    /// Something about a parcel.
    Parcel {
        /// Its key.
        key: String,
        /// What became of it.
        became: Became,
    },
}

/// What became of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// It is in the van.
    Loaded,
    /// It is out of the van again, before departure.
    Unloaded,
    /// It was handed over.
    Delivered(Outcome),
    /// It could not be handed over.
    Attempted(Reason),
    /// It is damaged.
    Damaged,
    /// It is back at the station.
    Returned,
    /// It is not in the van.
    NotFound,
    /// It never left the station.
    Void,
    /// Nothing changes by it.
    Seen(Option<Alert>),
}
