//! What somebody who waits for a parcel may see of it.

use serde::{Deserialize, Serialize};

use crate::wire::json::DelayReason;

/// The page of one parcel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParcelView {
    /// Of this shape: 1.
    pub v: u8,
    /// The number, as it was announced.
    pub number: String,
    /// When this was true.
    pub at: String,
    /// Where it stands now.
    pub status: Status,
    /// What happened, oldest first, each once; nothing of it is ever of another parcel.
    pub timeline: Vec<Step>,
    /// Distinct stops before this one that are not finished; absent if it is not out for delivery or must not be said.
    pub stops_away: Option<u32>,
    /// The order of the stops changed since the last revision of the route: a number that rises says why.
    pub route_changed: bool,
    /// When the van will come; absent when nobody can say it honestly.
    pub eta: Option<Window>,
    /// What was promised to the recipient.
    pub promised: Option<Window>,
    /// That it is late, and why.
    pub delay: Option<DelayView>,
    /// The van on the map; absent unless the rule of exposure holds at this moment.
    pub live: Option<LiveView>,
    /// How it was handed over.
    pub proof: Option<ProofView>,
    /// What may be asked for, and what was.
    pub manage: Manage,
    /// Who is told of it.
    pub alerts: Vec<AlertView>,
    /// When this page is gone.
    pub expires_at: Option<String>,
    /// BCP 47, as the sender announced it.
    pub language: Option<String>,
}

/// Where a parcel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A route or a sender has named it, and nobody has had it in hands.
    Announced,
    /// On its way to the station.
    InTransit,
    /// At the station, or loaded into the van that has not left.
    AtStation,
    /// The van is out with it.
    OutForDelivery,
    /// The van stands at its stop.
    Arrived,
    /// Handed over.
    Delivered,
    /// Nobody took it.
    Attempted,
    /// Back at the station.
    Returned,
    /// Damaged, or not to be found: somebody at the desk has it.
    Problem,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub stage: Stage,
    /// When.
    pub at: String,
    /// Where, in words that say nothing of other people: a name that came with the event, or absent.
    pub place: Option<String>,
    /// Who had it: the carrier of another leg; absent for the vans of this backend.
    pub by: Option<String>,
    /// Why, of an attempt, a return or a damage: a word of the contract (`nobody_home`, `refused`, …).
    pub reason: Option<String>,
}

/// The things that happen to parcels, in the order in which they usually do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A route lists it.
    Announced,
    /// CBV `packing`.
    Packed,
    /// CBV `shipping`, `departing` of others: it left the sender or a hub.
    Shipped,
    /// A partner carrier took it over.
    PickedUp,
    /// CBV `receiving`, `arriving` of others: it came to a hub.
    ArrivedAtHub,
    /// CBV `sorting` and the like.
    Sorted,
    /// It came to the station of its last leg.
    AtStation,
    /// Scanned into the van.
    Loaded,
    /// The van left with it.
    OutForDelivery,
    /// The van stands at its stop.
    Arrived,
    /// Handed over.
    Delivered,
    /// Nobody took it.
    Attempted,
    /// Back at the station.
    Returned,
    /// Found damaged.
    Damaged,
    /// Looked for and not found.
    NotFound,
    /// Said to be out for delivery, and never left the station.
    LeftBehind,
    /// The recipient asked for something else.
    PreferenceChanged,
}

/// From when to when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// RFC 3339.
    pub from: String,
    /// RFC 3339.
    pub until: String,
}

/// That it is late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayView {
    /// Why, if the driver or the desk said so.
    pub reason: Option<DelayReason>,
    /// By how much, s; rounded up to five minutes.
    pub seconds: Option<i64>,
}

/// The van on the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveView {
    /// Where it is, degrees with three decimals (110 m); frozen while it stands at somebody else's door.
    pub lat: f64,
    /// See `lat`.
    pub lon: f64,
    /// When it was there.
    pub at: String,
    /// Whether `lat` and `lon` stand still on purpose.
    pub frozen: bool,
    /// Of one's own stop, three decimals.
    pub stop: Spot,
    /// Where the van was loaded, three decimals.
    pub station: Spot,
    /// Stops of the route that are finished, and all of them: where others live is nobody's business.
    pub stops_done: u32,
    /// See `stops_done`.
    pub stops_total: u32,
}

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spot {
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
}

/// How it was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofView {
    /// When.
    pub at: String,
    /// `handed_over`, `safe_place`, `neighbour`, `locker`.
    pub outcome: String,
    /// Whether the scan was made at the recipient's stop; `None` if nobody knows.
    pub at_your_stop: Option<bool>,
    /// Whether what the recipient had asked for was done; absent if nothing was asked.
    pub as_asked: Option<bool>,
}

/// What the recipient may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manage {
    /// Whether a wish is still taken.
    pub open: bool,
    /// Why not: `too_late`, `delivered`, `not_announced`.
    pub closed_because: Option<String>,
    /// What was asked for.
    pub asked: Option<Wish>,
    /// What became of it: `waiting`, `sent`, `accepted` (the van knows), `rejected`.
    pub answer: Option<String>,
}

/// What a recipient asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// It may be left without a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_to_leave: Option<bool>,
    /// Where to leave it, at most 200 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe_place: Option<String>,
    /// With whom, at most 200 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<String>,
    /// Only against a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_required: Option<bool>,
    /// Not today: `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_day: Option<String>,
}

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertView {
    /// By which it is ended.
    pub id: String,
    /// `email` or `webhook`.
    pub channel: String,
    /// Where, mostly hidden: `m…@example.com`.
    pub address: String,
}
