//! Delivery events: facts about parcels, stops and the route. The mapping to EPCIS is in
//! `wire::epcis`.
//!
//! An event is complete when it is created and never changes: the stored event is the published
//! one.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fix::Fix;
use crate::record::Seq;
use crate::units::{Course, Distance, Dop, Position, Speed, UtcTime};

/// Event id, deterministic for the same input log: a version 5 UUID (RFC 9562) of van, time, kind
/// and subject.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(pub [u8; 16]);

/// Formats the id as in RFC 9562 §4, without `urn:uuid:`.
impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

/// An event and its sequence number, which is unique among all
/// [`Record`](crate::record::Record)s of the van.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    pub seq: Seq,
    /// Sequence number of the previous event, also across restarts of the agent; `None` for the
    /// first event. A consumer that lacks the previous event has missed one.
    pub previous: Option<Seq>,
    pub event: Event,
}

/// Delivery event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    /// Time of the event.
    pub utc: UtcTime,
    pub time_source: TimeSource,
    /// Location of the van; `None` if unknown, or if the event takes place at the station.
    pub location: Option<EventLocation>,
    /// Id of the current route.
    pub route: Option<String>,
    /// Offset of local time at the place of the event, minutes; `None` if the manifest has none.
    pub utc_offset_min: Option<i16>,
    pub kind: EventKind,
}

/// Source of an event's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeSource {
    /// Receiver time, with a fix at most 5 s old.
    Gnss,
    /// Receiver time, extrapolated by the monotonic clock.
    Holdover,
    /// Extrapolated backwards from the first receiver time, because the time was unknown when the
    /// event occurred. After a restart in between, it is that first receiver time.
    Late,
}

impl TimeSource {
    /// Returns the value as in the MQTT contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gnss => "gnss",
            Self::Holdover => "holdover",
            Self::Late => "late",
        }
    }
}

/// Location of the van at its newest fix.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventLocation {
    /// WGS 84.
    pub position: Position,
    /// Time of the fix.
    pub utc: UtcTime,
    /// 68 % horizontal radius.
    pub accuracy: Option<Distance>,
    /// Over ground.
    pub speed: Option<Speed>,
    /// Over ground, true.
    pub course: Option<Course>,
    /// Horizontal dilution of precision.
    pub hdop: Option<Dop>,
}

impl From<&Fix> for EventLocation {
    fn from(fix: &Fix) -> Self {
        let Fix { position, utc, accuracy, speed, course, hdop, .. } = *fix;
        Self { position, utc, accuracy, speed, course, hdop }
    }
}

/// Reference to a parcel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Parcel {
    /// Normalised number of the parcel: its key in the manifest.
    pub key: String,
    /// EPC URI (docs/mqtt-contract.md, identifiers).
    pub epc: String,
}

/// Reference to a stop of the route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRef {
    /// Sequence number in the route.
    pub seq: u32,
    /// Id in the manifest; never an address.
    pub id: String,
}

/// Source of a scanned code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSource {
    pub reader: ReaderKind,
    /// Symbology as an AIM identifier (ISO/IEC 15424), such as `]C1`.
    pub symbology: Option<String>,
    /// Printable text from the scanner, up to 128 bytes; `None` if equal to the key.
    pub raw: Option<String>,
    /// Whether the check digit is valid; `None` if the code has none.
    pub check_ok: Option<bool>,
}

/// Kind of reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReaderKind {
    /// Barcode scanner.
    Barcode,
    /// RFID reader.
    Rfid,
    /// A person, by typing or by command.
    Manual,
}

impl ReaderKind {
    /// Returns the value as in the MQTT contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Barcode => "barcode",
            Self::Rfid => "rfid",
            Self::Manual => "manual",
        }
    }
}

/// Kind of event, with its details.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EventKind {
    /// A parcel was loaded at the station.
    Loaded {
        parcel: Parcel,
        source: ScanSource,
        /// URI of the station.
        station: String,
    },
    /// The van left the station with parcels for delivery. Emitted once per load.
    Departed {
        /// URI of the station.
        station: String,
        /// Parcels on board that were not out for delivery before.
        parcels: Vec<Parcel>,
        /// Number of stops of the route.
        stops_total: u32,
    },
    /// The van arrived at a stop.
    Arrived {
        stop: StopRef,
        /// Parcels due there and on board.
        parcels: Vec<Parcel>,
        /// Number of unfinished stops, not counting this one.
        stops_remaining: u32,
        /// Radius of the stop's geofence.
        radius: Distance,
    },
    /// A parcel was delivered.
    Delivered {
        parcel: Parcel,
        /// Stop where the parcel was due; `None` if the manifest does not list it.
        stop: Option<StopRef>,
        outcome: Outcome,
        /// Evidence of the delivery.
        proof: Box<Proof>,
        source: ScanSource,
    },
    /// A delivery attempt failed.
    Attempted {
        parcel: Parcel,
        /// Stop where the parcel was due.
        stop: Option<StopRef>,
        reason: FailureReason,
        /// Number of attempts, including this one.
        attempt: u32,
        /// Evidence of the attempt.
        proof: Box<Proof>,
    },
    /// A parcel was returned to the station.
    Returned {
        parcel: Parcel,
        /// URI of the station.
        station: String,
        /// Reason of the failed delivery attempt.
        reason: Option<FailureReason>,
    },
    /// A parcel expected on board is missing.
    NotFound {
        parcel: Parcel,
        /// Stop where the parcel was due.
        stop: Option<StopRef>,
        /// Newest event in which the parcel was seen.
        last_seen: Option<Sighting>,
    },
    /// Inventory of the RFID tags in the van.
    Inventory {
        /// Parcels on board whose tag was read.
        present: Vec<Parcel>,
        /// Tagged parcels that should be on board and whose tag was not read.
        missing: Vec<Parcel>,
        /// Parcels whose tag was read though they should not be on board.
        unexpected: Vec<Parcel>,
        /// Observation window of the reader.
        window: Duration,
    },
    /// A parcel is damaged.
    Damaged {
        parcel: Parcel,
        /// Stop where the parcel is due.
        stop: Option<StopRef>,
        /// URI of the station, if the van is there.
        station: Option<String>,
    },
    /// A parcel reported as out for delivery never left the station.
    Void {
        parcel: Parcel,
        /// URI of the station.
        station: String,
    },
    /// Retracts an earlier event.
    Retracted {
        /// The retracted event. EPCIS requires the complete event in an error declaration
        /// (§7.4.1.4).
        event: Box<Event>,
        /// Sequence number of the retracted event.
        seq: Seq,
        error: ErrorReason,
        /// Ids of the events that replace it.
        corrected_by: Vec<EventId>,
    },
    /// A code was scanned without any effect on the parcel's state.
    Seen {
        parcel: Parcel,
        source: ScanSource,
        /// Reason why a person should check the parcel.
        alert: Option<Alert>,
    },
    /// The route is completed.
    Completed {
        /// URI of the station.
        station: String,
        summary: RouteSummary,
    },
}

impl EventKind {
    /// Returns the event type's suffix in the MQTT contract, such as `parcel.delivered`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Loaded { .. } => "parcel.loaded",
            Self::Departed { .. } => "route.departed",
            Self::Arrived { .. } => "stop.arrived",
            Self::Delivered { .. } => "parcel.delivered",
            Self::Attempted { .. } => "parcel.attempted",
            Self::Returned { .. } => "parcel.returned",
            Self::NotFound { .. } => "parcel.not_found",
            Self::Inventory { .. } => "van.inventory",
            Self::Damaged { .. } => "parcel.damaged",
            Self::Void { .. } => "parcel.void",
            Self::Retracted { .. } => "event.retracted",
            Self::Seen { .. } => "parcel.seen",
            Self::Completed { .. } => "route.completed",
        }
    }
}

/// Reason why a person should check a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alert {
    /// The parcel is due at another stop than the current one.
    WrongStop {
        /// Stop where the parcel is due.
        due: StopRef,
    },
    /// Not in the manifest.
    Unknown,
    /// Recalled: must not be delivered.
    Recalled,
    /// Already delivered or returned.
    Finished,
    /// Not scanned during loading.
    NotLoaded,
}

impl Alert {
    /// Returns the value as in the MQTT contract.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::WrongStop { .. } => "wrong_stop",
            Self::Unknown => "unknown",
            Self::Recalled => "recalled",
            Self::Finished => "finished",
            Self::NotLoaded => "not_loaded",
        }
    }
}

/// Outcome of a successful delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// To a person at the stop.
    #[default]
    HandedOver,
    /// Left at the agreed safe place.
    SafePlace,
    /// Handed to a neighbour.
    Neighbour,
    /// Left in a locker or letter box.
    Locker,
}

impl Outcome {
    /// Returns the value as in the MQTT contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HandedOver => "handed_to_resident",
            Self::SafePlace => "left_at_safe_place",
            Self::Neighbour => "handed_to_neighbour",
            Self::Locker => "left_in_locker",
        }
    }
}

/// Reason for a failed delivery attempt. Control cards and the MQTT contract use the codes of ANSI
/// X12, element 1651 (shipment status or appointment reason code, release 004010).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureReason {
    /// No person at the address.
    NoOneHome,
    /// The recipient refused the parcel.
    Refused,
    /// The address is wrong or was not found.
    BadAddress,
    /// The door is not accessible.
    NoAccess,
    /// The business is closed.
    Closed,
    /// The stop was not reached in time.
    NoTime,
    /// The recipient asked for another day.
    Rescheduled,
    /// The recipient could not prove age or identity.
    NoIdentity,
    /// Too damaged to deliver.
    Damaged,
    /// Any other reason.
    Other,
}

impl FailureReason {
    /// All reasons with their names in the MQTT contract and their X12 codes: the equivalent code,
    /// or the closest one.
    const TABLE: [(Self, &'static str, &'static str); 10] = [
        // Recipient unavailable, delivery delayed.
        (Self::NoOneHome, "no_one_home", "AQ"),
        // Refused by customer.
        (Self::Refused, "refused", "BS"),
        // Incorrect address.
        (Self::BadAddress, "bad_address", "A2"),
        // Consignee related: X12 has no code for a closed gate.
        (Self::NoAccess, "no_access", "AG"),
        // Consignee closed.
        (Self::Closed, "closed", "B1"),
        // Insufficient time to complete delivery.
        (Self::NoTime, "no_time", "BH"),
        // Customer requested future delivery.
        (Self::Rescheduled, "rescheduled", "AD"),
        // Missing documents.
        (Self::NoIdentity, "no_identity", "BC"),
        // Damaged, rewrapped in hub: the only damage code of this element.
        (Self::Damaged, "damaged", "AK"),
        (Self::Other, "other", "BG"),
    ];

    /// Returns the value as in the MQTT contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// Returns the two-character code of X12 element 1651.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().2
    }

    /// Returns the reason for an upper-case code, including codes of X12 with nearly the same
    /// meaning; `None` if the code is not a delivery failure.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        let exact = Self::TABLE.iter().find(|(_, _, its)| *its == code);
        exact.map(|(reason, ..)| *reason).or(match code {
            "A1" | "C4" => Some(Self::NoOneHome),
            "A7" => Some(Self::Refused),
            "A5" | "A6" => Some(Self::BadAddress),
            "B8" => Some(Self::NoAccess),
            "AN" | "B9" => Some(Self::Closed),
            "AW" | "AV" => Some(Self::NoTime),
            "BK" | "C1" | "C3" => Some(Self::Rescheduled),
            _ => None,
        })
    }

    fn row(self) -> &'static (Self, &'static str, &'static str) {
        let row = Self::TABLE.iter().find(|(reason, ..)| *reason == self);
        row.expect("each reason has a row (covered by a test)")
    }
}

/// Reason for retracting an event (EPCIS 2.0 §7.4.1.4, CBV 2.0 §7.5 error reasons).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorReason {
    /// The event did not occur.
    DidNotOccur,
    /// The event occurred with other details.
    IncorrectData,
}

impl ErrorReason {
    /// Returns the value as in CBV 2.0.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DidNotOccur => "did_not_occur",
            Self::IncorrectData => "incorrect_data",
        }
    }
}

/// Newest event in which a parcel was seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    pub id: EventId,
    pub utc: UtcTime,
    /// Location of the van, if known.
    pub location: Option<EventLocation>,
}

/// Evidence that a parcel was delivered where it was due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// How the outcome was captured.
    pub method: ProofMethod,
    /// Age of the fix used for the location.
    pub fix_age: Option<Duration>,
    /// Distance from the van to the stop.
    pub distance_to_stop: Option<Distance>,
    /// Radius of the stop's geofence.
    pub radius: Option<Distance>,
    /// Time that the van had been at the stop.
    pub dwell: Option<Duration>,
    /// The recipient's preferences at the time of delivery.
    pub preferences: Preferences,
}

/// How a delivery outcome was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProofMethod {
    /// Scanned while the van was at the stop.
    ScanInGeofence,
    /// Scanned elsewhere, or at an unknown location.
    ScanOutside,
    /// Entered by a person without a scan.
    Manual,
}

impl ProofMethod {
    /// Returns the value as in the MQTT contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScanInGeofence => "scan_in_geofence",
            Self::ScanOutside => "scan_outside",
            Self::Manual => "manual",
        }
    }
}

/// Delivery preferences of the recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// The parcel may be left unattended.
    pub authority_to_leave: Option<bool>,
    /// Safe place where to leave the parcel.
    pub safe_place: Option<String>,
    /// Neighbour who may accept the parcel.
    pub neighbour: Option<String>,
    pub signature_required: Option<bool>,
}

/// Summary of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSummary {
    /// First departure from the station.
    pub departed: Option<UtcTime>,
    /// Number of stops of the route.
    pub stops_total: u32,
    /// Number of stops where the van has stopped.
    pub stops_served: u32,
    /// Number of parcels delivered.
    pub delivered: u32,
    /// Number of parcels with a failed attempt that were not delivered later.
    pub attempted: u32,
    /// Number of parcels on board at the end.
    pub on_board: u32,
    /// Total time at stops.
    pub dwell: Duration,
    /// Total standstill elsewhere between departure and return.
    pub idle: Duration,
    /// Total time from departure to return.
    pub duration: Duration,
    /// Distance driven from departure to return, by the odometer.
    pub distance: Distance,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_one_code_that_leads_back_to_it() {
        use FailureReason::*;
        let all = [
            NoOneHome,
            Refused,
            BadAddress,
            NoAccess,
            Closed,
            NoTime,
            Rescheduled,
            NoIdentity,
            Damaged,
            Other,
        ];
        for reason in all {
            assert_eq!(
                FailureReason::from_code(reason.code()),
                Some(reason),
                "{}",
                reason.as_str()
            );
            assert_eq!(reason.code().len(), 2);
        }
        for bad in ["", "aq", "AO", "AQ ", "ZZ"] {
            assert_eq!(FailureReason::from_code(bad), None, "{bad:?}");
        }
    }
}
