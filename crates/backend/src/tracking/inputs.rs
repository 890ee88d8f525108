//! Inputs of all views, from the store and the newest messages, before any evaluation.

use std::collections::HashMap;
use std::sync::Arc;

use super::parcel::{DeliveryPreference, SubscriptionView};
use super::tracking_event::TrackingEvent;
use crate::store::assignments::UnassignedEvent;
use waypost_model::manifest::{Manifest, Stop};
use waypost_model::units::UtcTime;
use waypost_wire::payloads::{ConnectionState, Position, State};

/// A parcel as announced, with the recipient's preferences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParcelInput {
    pub epc: String,
    /// Parcel number, as announced.
    pub number: String,
    /// Name of its stop on the route.
    pub stop_id: Option<String>,
    /// Whether the origin, and so the van's position, must stay hidden from the recipient.
    pub gift: bool,
    /// Language tag (BCP 47).
    pub language: Option<String>,
    /// Requested delivery preferences.
    pub preferences: Option<DeliveryPreference>,
    /// Command that carries the preferences to the van.
    pub command: Option<CommandInput>,
    /// Expiry of the tracking page.
    pub expires_at: Option<UtcTime>,
    /// `none`, `open`, `found`, `lost`.
    pub case_state: String,
    /// Note of the dispatcher.
    pub case_note: Option<String>,
    /// Subscriptions to notifications about the parcel.
    pub alerts: Vec<SubscriptionView>,
}

/// A command to a van about a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandInput {
    /// Command name, for example `set_preferences`.
    pub name: String,
    /// `waiting`, `sent`, or the van's result.
    pub status: String,
    pub made_at: UtcTime,
    /// Whether it withdraws all preferences.
    pub withdraws: bool,
}

/// A stored route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteInput {
    /// Id of its van.
    pub van: String,
    pub manifest: Arc<Manifest>,
    /// Canonical URI of each parcel of each stop, in the order of [`Manifest::stops`].
    pub epcs: Arc<Vec<Vec<String>>>,
    /// Time at which this revision was stored.
    pub put_at: UtcTime,
    pub withdrawn: bool,
    /// Time zone of the manifest (IANA).
    pub time_zone: Option<String>,
    /// When a revision last put other stops before a stop, by the stop's id.
    pub order_changes: Arc<HashMap<String, UtcTime>>,
    /// Events of its van, reduced by `TrackingEvent::from_route_event`, unordered and with
    /// duplicates.
    pub events: Arc<Vec<TrackingEvent>>,
}

impl RouteInput {
    /// Creates a route; parcel URIs are formed with `domain`.
    #[must_use]
    pub fn new(van: &str, manifest: Manifest, put_at: UtcTime, domain: &str) -> Self {
        let epcs = manifest.stops.iter().map(|stop| epcs_of(stop, domain)).collect();
        Self {
            van: van.to_owned(),
            manifest: Arc::new(manifest),
            epcs: Arc::new(epcs),
            put_at,
            withdrawn: false,
            time_zone: None,
            order_changes: Arc::default(),
            events: Arc::default(),
        }
    }

    /// Index of the stop where a parcel is due.
    #[must_use]
    pub fn stop_index(&self, epc: &str) -> Option<usize> {
        self.epcs.iter().position(|epcs| epcs.iter().any(|one| one == epc))
    }
}

fn epcs_of(stop: &Stop, domain: &str) -> Vec<String> {
    stop.parcels.iter().map(|listed| crate::epc::uri_for_manifest_parcel(listed, domain)).collect()
}

/// Newest data reported by a van.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VanInput {
    pub van: String,
    pub position: Option<Arc<Position>>,
    /// Last position while moving, shown while the van is at another recipient's stop.
    pub last_moving: Option<TimedPosition>,
    pub state: Option<State>,
    pub connection: Option<ConnectionState>,
    /// Domain in its URIs, if it differs from ours.
    pub other_domain: Option<String>,
    /// Recent events about parcels and routes that the van was not given, newest first.
    pub unassigned: Vec<UnassignedEvent>,
    /// Number of its recent messages that were rejected.
    pub rejected: u64,
    /// Time of the last message from the van.
    pub last_seen_at: Option<UtcTime>,
}

/// A position with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimedPosition {
    pub time: UtcTime,
    pub position: waypost_model::units::Position,
}
