//! Scans and their results.

use serde::{Deserialize, Serialize};

use waypost_model::driver_input::ReportedOutcome;
use waypost_model::event::{Alert, FailureReason, Outcome, ReaderKind};
use waypost_model::units::Uptime;

/// Input from a scanner, an RFID reader or a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// Name of the scanner in the configuration.
    pub source: String,
    pub reader: ReaderKind,
    /// Scanned data without line ends. For an RFID tag, its memory in hexadecimal.
    pub bytes: Vec<u8>,
    /// Time of the last byte.
    pub at: Uptime,
    /// Signal strength of the tag, dBm.
    pub rssi: Option<i8>,
    /// Antenna that read the tag.
    pub antenna: Option<u8>,
}

/// Result of a scan, for local feedback: a tone, a light, a response on the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanResult {
    /// Stored until the time is known.
    Deferred,
    /// Dropped: too many pending scans, or too many events per minute.
    Dropped,
    /// Repeated scan of the same code within two seconds.
    Repeat,
    /// Neither a parcel nor a control code.
    Unrecognized,
    /// Ignored: nothing is recorded off duty.
    OffDuty,
    /// An RFID tag was read.
    Tag,
    /// Unknown control code.
    UnknownControlCode,
    /// The outcome applies to the next scan.
    Armed(ReportedOutcome),
    /// The last scan was undone.
    Undone,
    /// There is no scan to undo within the last minute.
    NothingToUndo,
    /// Duty or delay was set.
    Applied,
    /// A parcel was scanned.
    Parcel {
        /// Key of the parcel.
        key: String,
        /// Effect on the parcel.
        effect: ScanEffect,
    },
}

/// Effect of a scan or a reported outcome on a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanEffect {
    Loaded,
    /// The parcel was taken out of the van before departure.
    Unloaded,
    Delivered(Outcome),
    /// A delivery attempt failed.
    Attempted(FailureReason),
    Damaged,
    /// The parcel was returned to the station.
    Returned,
    /// The parcel is missing in the van.
    NotFound,
    /// The parcel never left the station.
    Void,
    /// A sighting without any change of state.
    Seen(Option<Alert>),
}
