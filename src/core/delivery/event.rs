//! What happened to parcel, stop or route, as a fact: [`Event`]. How EPCIS says it is the wire's matter.
//!
//! An event is made once, with everything that it says, and never changes: what is stored is what is sent.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::fix::Fix;
use crate::core::record::Seq;
use crate::units::{Course, Distance, Dop, Position, Speed, UtcTime};

/// Name of an event, the same each time that the same log is read: version 5 of RFC 9562 over van, time, kind and subject.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(pub [u8; 16]);

/// As RFC 9562 §4 writes it, without `urn:uuid:`.
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

/// An event and its number. Numbers are those of [`Record`](crate::core::record::Record): no two of a van are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its number.
    pub seq: Seq,
    /// That of the event before, whatever run of the agent told it; `None` of the first. Who gets an event and not the one
    /// before knows that something is missing.
    pub previous: Option<Seq>,
    /// What happened.
    pub event: Event,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its name.
    pub id: EventId,
    /// When.
    pub utc: UtcTime,
    /// How that time is known.
    pub time_source: TimeSource,
    /// Where the van was; `None` if it was not known, or where the station's own place says more.
    pub place: Option<Place>,
    /// Of which route.
    pub route: Option<String>,
    /// What.
    pub happening: Happening,
}

/// How the time of an event is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeSource {
    /// From the receiver, whose newest fix was at most a few seconds old.
    Gnss,
    /// From the receiver, carried on by the monotonic clock.
    Holdover,
    /// Nobody knew the time yet; it is counted back from when the receiver first told it. If the agent started again
    /// in between, it is that instant itself.
    Late,
}

impl TimeSource {
    /// As on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gnss => "gnss",
            Self::Holdover => "holdover",
            Self::Late => "late",
        }
    }
}

/// Where the van was, by its newest fix.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// WGS 84.
    pub position: Position,
    /// The instant of the fix.
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

impl From<&Fix> for Place {
    fn from(fix: &Fix) -> Self {
        let Fix { position, utc, accuracy, speed, course, hdop, .. } = *fix;
        Self { position, utc, accuracy, speed, course, hdop }
    }
}

/// A parcel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Parcel {
    /// The number that people type: normalised, the key in the manifest.
    pub key: String,
    /// Its URI (docs/contract.md, identifiers).
    pub epc: String,
}

/// A stop of the route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRef {
    /// Its number in the order of the route.
    pub seq: u32,
    /// Its name in the manifest; never an address.
    pub id: String,
}

/// What read a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// How.
    pub by: ReadBy,
    /// Symbology by its AIM identifier (ISO/IEC 15424), such as `]C1`.
    pub symbology: Option<String>,
    /// What the scanner sent, printable, bounded; `None` if it says no more than the key.
    pub raw: Option<String>,
    /// Whether the check digit fits; `None` where there is none.
    pub check_ok: Option<bool>,
}

/// What read a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadBy {
    /// A bar-code scanner.
    Barcode,
    /// A radio tag's reader.
    Rfid,
    /// A person: typed, or by command.
    Manual,
}

impl ReadBy {
    /// As on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Barcode => "barcode",
            Self::Rfid => "rfid",
            Self::Manual => "manual",
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Happening {
    /// A parcel was loaded at the station.
    Loaded {
        /// Which.
        parcel: Parcel,
        /// How that is known.
        reading: Reading,
        /// URI of the station.
        station: String,
    },
    /// The van has left the station with these: out for delivery. Once per load.
    Departed {
        /// URI of the station.
        station: String,
        /// What is on board and was not out for delivery before.
        parcels: Vec<Parcel>,
        /// Stops of the route.
        stops_total: u32,
    },
    /// The van stands at a stop.
    Arrived {
        /// Which.
        stop: StopRef,
        /// What is due there and on board.
        parcels: Vec<Parcel>,
        /// Stops that are not finished, this one not counted.
        stops_remaining: u32,
        /// Of its fence.
        radius: Distance,
    },
    /// A parcel was handed over.
    Delivered {
        /// Which.
        parcel: Parcel,
        /// Where it was due; `None` if the manifest does not know it.
        stop: Option<StopRef>,
        /// How.
        outcome: Outcome,
        /// Why one may believe it.
        proof: Box<Proof>,
        /// How that is known.
        reading: Reading,
    },
    /// A parcel could not be handed over.
    Attempted {
        /// Which.
        parcel: Parcel,
        /// Where it was due.
        stop: Option<StopRef>,
        /// Why not.
        reason: Reason,
        /// How often it was tried, this time included.
        attempt: u32,
        /// Where the van stood.
        proof: Box<Proof>,
    },
    /// A parcel came back to the station.
    Returned {
        /// Which.
        parcel: Parcel,
        /// URI of the station.
        station: String,
        /// Why it was not handed over.
        reason: Option<Reason>,
    },
    /// A parcel that should be on board is not.
    NotFound {
        /// Which.
        parcel: Parcel,
        /// Where it was due.
        stop: Option<StopRef>,
        /// The newest event that saw it.
        last_seen: Option<Sighting>,
    },
    /// What the radio tags in the van say.
    Inventory {
        /// Read.
        present: Vec<Parcel>,
        /// On board by the manifest, tagged, and not read.
        missing: Vec<Parcel>,
        /// Read, and not on board by the manifest.
        unexpected: Vec<Parcel>,
        /// Over which time.
        window: Duration,
    },
    /// A parcel is damaged.
    Damaged {
        /// Which.
        parcel: Parcel,
        /// Where it is due.
        stop: Option<StopRef>,
        /// URI of the station, if the van is there.
        station: Option<String>,
    },
    /// A parcel that was said to be out for delivery never left the station.
    Void {
        /// Which.
        parcel: Parcel,
        /// URI of the station.
        station: String,
    },
    /// An earlier event did not happen, or not so.
    Retracted {
        /// It, whole: EPCIS wants it said again (§7.4.1.4, error declaration).
        event: Box<Event>,
        /// The number that it had.
        seq: Seq,
        /// Why.
        error: Error,
        /// What happened instead.
        corrected_by: Vec<EventId>,
    },
    /// A code was read, and nothing changes by it.
    Seen {
        /// Which.
        parcel: Parcel,
        /// How that is known.
        reading: Reading,
        /// Why a person should look.
        alert: Option<Alert>,
    },
    /// The route is over.
    Completed {
        /// URI of the station.
        station: String,
        /// What it was.
        summary: Summary,
    },
}

impl Happening {
    /// The last parts of the event's type on the wire, such as `parcel.delivered`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
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

/// Why a person should look at a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alert {
    /// Due at another stop than the one where the van stands.
    WrongStop {
        /// Where it is due.
        due: StopRef,
    },
    /// Not in the manifest.
    Unknown,
    /// It should not be handed over: recalled.
    Recalled,
    /// It was handed over, or came back, before.
    Finished,
    /// It was not scanned when the van was loaded.
    NotLoaded,
}

impl Alert {
    /// As on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::WrongStop { .. } => "wrong_stop",
            Self::Unknown => "unknown",
            Self::Recalled => "recalled",
            Self::Finished => "finished",
            Self::NotLoaded => "not_loaded",
        }
    }
}

/// How a parcel was handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// To somebody at the stop.
    #[default]
    HandedOver,
    /// Left at the agreed safe place.
    SafePlace,
    /// To a neighbour.
    Neighbour,
    /// Into a locker or letter box.
    Locker,
}

impl Outcome {
    /// As on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HandedOver => "handed_to_resident",
            Self::SafePlace => "left_at_safe_place",
            Self::Neighbour => "handed_to_neighbour",
            Self::Locker => "left_in_locker",
        }
    }
}

/// Why a parcel was not handed over. On control cards and on the wire each has its code of ANSI X12, element 1651
/// (shipment status or appointment reason code, release 004010).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Nobody at home.
    NoOneHome,
    /// The recipient does not take it.
    Refused,
    /// The address is wrong or not found.
    BadAddress,
    /// No way to the door.
    NoAccess,
    /// Closed for business.
    Closed,
    /// The stop was not reached in time.
    NoTime,
    /// Asked for another day.
    Rescheduled,
    /// Age or identity could not be shown.
    NoIdentity,
    /// Too damaged to hand over.
    Damaged,
    /// Something else.
    Other,
}

impl Reason {
    /// Each of them, its name on the wire and its code: the one that X12 words like it, or the nearest that it has.
    const TABLE: [(Self, &'static str, &'static str); 10] = [
        // Recipient unavailable, delivery delayed.
        (Self::NoOneHome, "no_one_home", "AQ"),
        // Refused by customer.
        (Self::Refused, "refused", "BS"),
        // Incorrect address.
        (Self::BadAddress, "bad_address", "A2"),
        // Consignee related: X12 has no word for a closed gate.
        (Self::NoAccess, "no_access", "AG"),
        // Consignee closed.
        (Self::Closed, "closed", "B1"),
        // Insufficient time to complete delivery.
        (Self::NoTime, "no_time", "BH"),
        // Customer requested future delivery.
        (Self::Rescheduled, "rescheduled", "AD"),
        // Missing documents.
        (Self::NoIdentity, "no_identity", "BC"),
        // Damaged, rewrapped in hub: the only damage that X12 knows here.
        (Self::Damaged, "damaged", "AK"),
        (Self::Other, "other", "BG"),
    ];

    /// As on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The two characters of X12 element 1651.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().2
    }

    /// The reason that a code means, also one of those that X12 has for nearly the same; `None` for a code that says no
    /// reason why a parcel is not handed over. Upper case.
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
        row.expect("a test holds that each reason has a row")
    }
}

/// What was wrong with an event (EPCIS 2.0 §7.4.1.4, CBV 2.0 §7.5 error reasons).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Error {
    /// It did not happen.
    DidNotOccur,
    /// It happened otherwise.
    IncorrectData,
}

impl Error {
    /// As CBV 2.0 spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DidNotOccur => "did_not_occur",
            Self::IncorrectData => "incorrect_data",
        }
    }
}

/// The newest event that saw a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Its name.
    pub id: EventId,
    /// When.
    pub utc: UtcTime,
    /// Where, if known.
    pub place: Option<Place>,
}

/// Why one may believe that a parcel was handed over where it was due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// How it was said, and whether the van stood at the stop.
    pub method: Method,
    /// Age of the fix that tells the place.
    pub fix_age: Option<Duration>,
    /// From the van to the stop.
    pub distance_to_stop: Option<Distance>,
    /// Of the stop's fence.
    pub radius: Option<Distance>,
    /// For how long the van had stood there.
    pub dwell: Option<Duration>,
    /// What the recipient had asked for when it was handed over.
    pub preferences: Preferences,
}

/// How an outcome was said, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Scanned while the van stood at the stop.
    ScanInGeofence,
    /// Scanned elsewhere, or where nobody knows.
    ScanOutside,
    /// Said by a person without a scan.
    Manual,
}

impl Method {
    /// As on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScanInGeofence => "scan_in_geofence",
            Self::ScanOutside => "scan_outside",
            Self::Manual => "manual",
        }
    }
}

/// What the recipient asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// It may be left without anybody there.
    pub authority_to_leave: Option<bool>,
    /// Where to leave it.
    pub safe_place: Option<String>,
    /// A neighbour may take it.
    pub neighbour: Option<String>,
    /// A signature is wanted.
    pub signature_required: Option<bool>,
}

/// What a route was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// When the van left the station first.
    pub departed: Option<UtcTime>,
    /// Stops of the route.
    pub stops_total: u32,
    /// Stops at which the van stood.
    pub stops_served: u32,
    /// Handed over.
    pub delivered: u32,
    /// Tried, and not handed over in the end.
    pub attempted: u32,
    /// On board at the end.
    pub on_board: u32,
    /// Standing at stops, together.
    pub dwell: Duration,
    /// Standing anywhere else between departure and return.
    pub idle: Duration,
    /// From departure to return.
    pub duration: Duration,
    /// By the odometer.
    pub distance: Distance,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_one_code_that_leads_back_to_it() {
        use Reason::*;
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
            assert_eq!(Reason::from_code(reason.code()), Some(reason), "{}", reason.name());
            assert_eq!(reason.code().len(), 2);
        }
        for bad in ["", "aq", "AO", "AQ ", "ZZ"] {
            assert_eq!(Reason::from_code(bad), None, "{bad:?}");
        }
    }
}
