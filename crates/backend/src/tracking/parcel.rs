//! The recipient's view of a parcel.

use serde::{Deserialize, Serialize};

use waypost_wire::payloads::DelayReason;

/// Tracking page of one parcel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParcelView {
    /// Version of this format: 1.
    pub v: u8,
    /// Parcel number, as announced.
    pub number: String,
    /// Time of the evaluation.
    pub at: String,
    /// Current status.
    pub status: Status,
    /// Timeline, oldest first, without duplicates; never contains data of other parcels.
    pub timeline: Vec<Step>,
    /// Distinct unfinished stops ahead; absent if the parcel is not out for delivery or the number
    /// must stay hidden.
    pub stops_away: Option<u32>,
    /// Whether the order of stops changed since the departure, so that more of them are ahead.
    pub route_changed: bool,
    /// Expected arrival; absent if no reliable estimate exists.
    pub eta: Option<Window>,
    /// Time window promised to the recipient.
    pub promised: Option<Window>,
    /// Delay with its reason.
    pub delay: Option<DelayView>,
    /// Van position; absent unless the visibility policy allows it at this moment.
    pub live: Option<LiveView>,
    /// Proof of delivery.
    pub proof: Option<ProofView>,
    /// Delivery preferences and whether they can still change.
    pub manage: PreferenceState,
    /// Subscriptions to notifications.
    pub alerts: Vec<SubscriptionView>,
    /// Expiry of this page.
    pub expires_at: Option<String>,
    /// Language tag (BCP 47), as announced by the sender.
    pub language: Option<String>,
}

/// Status of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Announced by a route or a sender; not yet handled.
    Announced,
    /// In transit to the station.
    InTransit,
    /// At the station, or loaded into a van that has not departed.
    AtStation,
    /// Out for delivery.
    OutForDelivery,
    /// The van is at the parcel's stop.
    Arrived,
    /// Delivered.
    Delivered,
    /// Delivery was attempted and failed.
    Attempted,
    /// Ready for the recipient at a shop, locker or counter.
    AvailableForPickup,
    /// Returned to the station.
    Returned,
    /// Damaged or not found; a dispatcher handles it.
    Problem,
}

/// A step of the timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub stage: Stage,
    pub at: String,
    /// Place name from the event; absent if there is none. Never reveals other people.
    pub place: Option<String>,
    /// Carrier of another leg; absent for the vans of this backend.
    pub by: Option<String>,
    /// Reason of an attempt, a return or a damage, one of the contract's values (`nobody_home`,
    /// `refused`, …).
    pub reason: Option<String>,
}

/// Stages of a parcel, in their usual order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Listed on a route.
    Announced,
    /// CBV `packing`.
    Packed,
    /// CBV `shipping`, `departing` of other parties: left the sender or a hub.
    Shipped,
    /// Taken over by a partner carrier.
    PickedUp,
    /// CBV `receiving`, `arriving` of other parties: arrived at a hub.
    ArrivedAtHub,
    /// CBV `sorting` and similar steps.
    Sorted,
    /// Arrived at the station of its last leg.
    AtStation,
    /// Scanned into the van.
    Loaded,
    /// The van departed with it.
    OutForDelivery,
    /// The van arrived at its stop.
    Arrived,
    /// Delivered.
    Delivered,
    /// Delivery was attempted and failed.
    Attempted,
    /// Ready for the recipient at a shop, locker or counter.
    AvailableForPickup,
    /// Returned to the station.
    Returned,
    /// A carrier reports a problem without its kind.
    Exception,
    /// Found damaged.
    Damaged,
    /// Searched for and not found.
    NotFound,
    /// Reported as out for delivery, but never left the station.
    LeftBehind,
    /// The recipient changed the delivery preferences.
    PreferenceChanged,
}

/// A time window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Start, RFC 3339.
    pub from: String,
    /// End, RFC 3339.
    pub until: String,
}

/// A delay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayView {
    /// Reason given by the driver or a dispatcher.
    pub reason: Option<DelayReason>,
    /// Expected delay in seconds, rounded up to five minutes.
    pub seconds: Option<i64>,
}

/// Position of the van, for the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveView {
    /// Latitude in degrees with three decimals (110 m); frozen while the van is at another
    /// recipient's stop.
    pub lat: f64,
    /// Longitude in degrees; see `lat`.
    pub lon: f64,
    /// Time of the position.
    pub at: String,
    /// Whether `lat` and `lon` are frozen for privacy.
    pub frozen: bool,
    /// The recipient's own stop, three decimals.
    pub stop: GeoPoint,
    /// Station at which the van was loaded, three decimals.
    pub station: GeoPoint,
    /// Number of finished stops. Only counts are shown, since other recipients' addresses are
    /// private.
    pub stops_done: u32,
    /// Total number of stops.
    pub stops_total: u32,
}

/// A point in WGS 84 degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoPoint {
    /// Latitude in degrees.
    pub lat: f64,
    /// Longitude in degrees.
    pub lon: f64,
}

/// Proof of delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofView {
    pub at: String,
    /// `handed_over`, `safe_place`, `neighbour`, `locker`.
    pub outcome: String,
    /// Whether the scan was made at the recipient's stop; `None` if unknown.
    pub at_your_stop: Option<bool>,
    /// Whether the outcome matches the requested preferences; absent if none were requested.
    pub as_asked: Option<bool>,
}

/// Delivery preferences of the recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferenceState {
    /// Whether preferences are still accepted.
    pub open: bool,
    /// Why they are not: `too_late`, `delivered`, `not_announced`.
    pub closed_because: Option<String>,
    /// Requested preferences.
    pub asked: Option<DeliveryPreference>,
    /// Status of the request, or of its withdrawal if `asked` is absent: `waiting`, `sent`,
    /// `accepted` (known to the van), `rejected`.
    pub answer: Option<String>,
}

/// Delivery preferences requested by a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryPreference {
    /// Leave the parcel without a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_to_leave: Option<bool>,
    /// Safe place, at most 200 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe_place: Option<String>,
    /// Neighbour who may receive it, at most 200 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<String>,
    /// Deliver only against a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_required: Option<bool>,
    /// Requested delivery day, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_day: Option<String>,
}

/// A subscription to notifications, without personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionView {
    /// Secret id, used to unsubscribe.
    pub id: String,
    /// `email` or `webhook`.
    pub channel: String,
    /// Masked address, as in `m…@example.com`.
    pub address: String,
    /// Whether the owner of the address has confirmed the subscription.
    pub confirmed: bool,
    /// Signing secret of a webhook; only in the response that creates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}
