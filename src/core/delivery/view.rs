//! What `state`, the live position and the local socket tell of the route.

use crate::units::{Distance, UtcTime};

use super::duty::Duty;
use super::saying::Delay;

/// The delivery as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Whether the driver is on duty.
    pub duty: Duty,
    /// The route's name.
    pub route: Option<String>,
    /// Which revision of its manifest is driven.
    pub manifest_rev: Option<u64>,
    /// Why the newest manifest was not taken, in words; `None` once one was.
    pub manifest_error: Option<String>,
    /// Where the van goes next.
    pub next_stop: Option<NextStop>,
    /// Where the van is with respect to the stops; `None` without a route.
    pub stop_status: Option<StopStatus>,
    /// The stop that [`Self::stop_status`] is about.
    pub stop_seq: Option<u32>,
    /// Stops that are not finished.
    pub stops_remaining: Option<u32>,
    /// How late the van is.
    pub delay: Option<Delay>,
    /// Parcels in the van.
    pub on_board: u32,
    /// Parcels handed over on this route.
    pub delivered: u32,
    /// What came in and meant nothing good.
    pub counters: Counters,
}

/// Where the van goes next.
#[derive(Clone, Debug, PartialEq)]
pub struct NextStop {
    /// Its number.
    pub seq: u32,
    /// Its name.
    pub id: String,
    /// As the crow flies; `None` without a fix.
    pub distance: Option<Distance>,
    /// About when; `None` without a fix or time. Nobody knows it better than ±10 min or 20 %.
    pub eta: Option<UtcTime>,
}

/// GTFS-Realtime `VehicleStopStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopStatus {
    /// On the way to the next stop.
    InTransitTo,
    /// Close to it.
    IncomingAt,
    /// At a stop.
    StoppedAt,
}

/// What was counted since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Codes that were read, tags not counted.
    pub scans: u64,
    /// Codes that name no parcel and no control, or nothing at all.
    pub garbage: u64,
    /// Parcels that the manifest does not know.
    pub unknown: u64,
    /// Parcels that are due elsewhere.
    pub wrong_stop: u64,
    /// Parcels that were delivered and never loaded.
    pub not_loaded: u64,
    /// Scans off duty.
    pub off_duty: u64,
    /// Scans of the same code within two seconds.
    pub repeats: u64,
    /// Scans that waited for the time, or events that came too fast, and were given up.
    pub dropped: u64,
    /// Radio tags that are no parcels of ours.
    pub strange_tags: u64,
    /// Documents that could not be read when the agent started.
    pub unreadable: u64,
}
