//! Snapshot of the delivery state, for the `state` message, the live position and the control
//! socket.

use waypost_model::units::{Distance, UtcTime};

use waypost_model::driver_input::Delay;
use waypost_model::duty::Duty;
use waypost_model::manifest::RejectedManifest;

/// Snapshot of the delivery state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeliverySnapshot {
    pub duty: Duty,
    /// Id of the route.
    pub route: Option<String>,
    /// Manifest revision in use.
    pub manifest_rev: Option<u64>,
    /// Newest manifest, if it was rejected; `None` once a valid one was received.
    pub manifest_rejected: Option<RejectedManifest>,
    pub next_stop: Option<NextStop>,
    /// Position relative to the stops; `None` without a route.
    pub stop_status: Option<StopStatus>,
    /// Stop that [`Self::stop_status`] refers to.
    pub stop_seq: Option<u32>,
    /// Number of unfinished stops.
    pub stops_remaining: Option<u32>,
    pub delay: Option<Delay>,
    /// Number of parcels on board.
    pub on_board: u32,
    /// Number of parcels delivered on this route.
    pub delivered: u32,
    pub counters: ScanCounters,
}

/// Next stop of the route.
#[derive(Clone, Debug, PartialEq)]
pub struct NextStop {
    /// Sequence number.
    pub seq: u32,
    /// Id in the manifest.
    pub id: String,
    /// Straight-line distance; `None` without a fix.
    pub distance: Option<Distance>,
    /// Estimated time of arrival; `None` without fix or time. Its accuracy is about ±10 min or 20
    /// %, whichever is larger.
    pub eta: Option<UtcTime>,
}

/// GTFS-Realtime `VehicleStopStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopStatus {
    /// On the way to the next stop.
    InTransitTo,
    /// Close to the next stop.
    IncomingAt,
    /// At a stop.
    StoppedAt,
}

/// Scan counters since the agent's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanCounters {
    /// Scanned codes, without RFID tags.
    pub scans: u64,
    /// Codes that contain neither a parcel nor a control code.
    pub unrecognized: u64,
    /// Parcels that are not in the manifest.
    pub unknown: u64,
    /// Parcels due at another stop.
    pub wrong_stop: u64,
    /// Parcels delivered without a loading scan.
    pub not_loaded: u64,
    /// Scans off duty.
    pub off_duty: u64,
    /// Repeated scans of the same code within two seconds.
    pub repeats: u64,
    /// Pending scans dropped for lack of space, and events dropped by the per-minute quota.
    pub dropped: u64,
    /// RFID tags that are not parcels.
    pub unknown_tags: u64,
    /// State documents that could not be decoded at the start.
    pub unreadable: u64,
}
