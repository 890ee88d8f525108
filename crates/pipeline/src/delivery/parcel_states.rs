//! States of the parcels that the manifest lists, and of those that it listed while they were on
//! board.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::state_docs::{self, StateDocChange};
use waypost_model::event::{EventRecord, FailureReason, Parcel, Preferences, Sighting, StopRef};
use waypost_model::manifest::{MAX_PARCELS, Manifest, ManifestParcel, Stop};
use waypost_model::parcel::code::Code;
use waypost_model::units::UtcTime;

/// Delivery status of a parcel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ParcelStatus {
    /// Listed in the manifest, not scanned yet.
    #[default]
    Due,
    /// In the van before departure.
    Loaded,
    Out,
    /// Out for delivery, with at least one failed attempt.
    Attempted,
    Delivered,
    Returned,
    /// Expected in the van, but missing.
    NotFound,
    Void,
}

impl ParcelStatus {
    /// Returns whether the parcel is in the van.
    pub(super) const fn is_on_board(self) -> bool {
        matches!(self, Self::Loaded | Self::Out | Self::Attempted)
    }

    /// Returns whether no work is left for the parcel at its stop.
    pub(super) const fn is_done_at_stop(self) -> bool {
        !matches!(self, Self::Due | Self::Loaded | Self::Out)
    }

    /// Returns the status as in the MQTT contract.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Loaded => "loaded",
            Self::Out => "out_for_delivery",
            Self::Attempted => "attempted",
            Self::Delivered => "delivered",
            Self::Returned => "returned",
            Self::NotFound => "not_found",
            Self::Void => "void",
        }
    }

    /// Returns whether the parcel was delivered or returned.
    pub(super) const fn is_finished(self) -> bool {
        matches!(self, Self::Delivered | Self::Returned)
    }
}

/// Last reported state of a parcel's RFID tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RfidState {
    /// Never read.
    #[default]
    Unread,
    /// Currently read.
    Present,
    /// Reported missing.
    Missing,
}

/// Whether the operator allows the delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HoldState {
    /// The parcel may be delivered.
    #[default]
    Released,
    /// The parcel must be returned to the station.
    Recalled,
}

/// Persisted state of a parcel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ParcelState {
    pub(super) status: ParcelStatus,
    /// URI of the parcel. Stored because the parcel may return under another manifest.
    pub(super) epc: String,
    /// The `loaded` event, until departure. A second scan at the station retracts it.
    pub(super) load_event: Option<Box<EventRecord>>,
    pub(super) attempts: u32,
    /// Reason of the newest failed attempt.
    pub(super) reason: Option<FailureReason>,
    pub(super) hold: HoldState,
    /// Preferences set by command; they replace those of the manifest.
    pub(super) preferences: Option<Preferences>,
    /// Newest event in which the parcel was seen.
    pub(super) sighting: Option<Sighting>,
    pub(super) rfid: RfidState,
}

#[derive(Debug, Default)]
struct ParcelEntry {
    /// Indices of stop and parcel in the manifest.
    manifest_index: Option<(usize, usize)>,
    state: ParcelState,
    document: DocState,
}

/// Whether a state document exists for the parcel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum DocState {
    #[default]
    Absent,
    Stored,
}

/// Parcel states of the current route, by parcel key.
#[derive(Debug, Default)]
pub(super) struct ParcelStates {
    entries: BTreeMap<String, ParcelEntry>,
    /// Maps tag memory (hexadecimal) and URIs to parcel keys.
    by_tag: HashMap<String, String>,
    changed: BTreeSet<String>,
}

impl ParcelStates {
    /// Key prefix of a parcel's state document.
    pub(super) const DOC_PREFIX: &'static str = "parcel/";

    /// Restores a parcel from its state document. Returns whether the document could be decoded.
    pub(super) fn restore(&mut self, key: &str, bytes: &[u8]) -> bool {
        let Some(state) = state_docs::decode(bytes) else { return false };
        self.entries.insert(
            key.to_owned(),
            ParcelEntry { manifest_index: None, state, document: DocState::Stored },
        );
        true
    }

    /// Maximum number of parcels kept after the manifest stopped listing them. Delivered parcels
    /// stay known until the route ends.
    const MAX_UNLISTED: usize = MAX_PARCELS;

    /// Adopts the parcels of `manifest`. Removes parcels that it does not list and that were never
    /// scanned.
    pub(super) fn apply_manifest(&mut self, manifest: &Manifest, domain: &str) {
        for entry in self.entries.values_mut() {
            entry.manifest_index = None;
        }
        self.by_tag.clear();
        for (stop_index, stop) in manifest.stops.iter().enumerate() {
            for (index, listed) in stop.parcels.iter().enumerate() {
                let entry = self.entries.entry(listed.key.clone()).or_default();
                entry.manifest_index = Some((stop_index, index));
                let epc = listed.epc.clone().unwrap_or_else(|| derive_uri(&listed.key, domain));
                if entry.state.epc != epc {
                    if entry.document == DocState::Stored {
                        self.changed.insert(listed.key.clone());
                    }
                    entry.state.epc.clone_from(&epc);
                }
                self.by_tag.insert(epc, listed.key.clone());
                for tag in &listed.tags {
                    self.by_tag.insert(tag.clone(), listed.key.clone());
                }
            }
        }
        self.remove_where(|entry| {
            entry.manifest_index.is_none() && entry.state.status == ParcelStatus::Due
        });
        if self.entries.len() > manifest.parcel_count() + Self::MAX_UNLISTED {
            self.remove_where(|entry| {
                entry.manifest_index.is_none() && !entry.state.status.is_on_board()
            });
        }
    }

    fn remove_where(&mut self, goes: impl Fn(&ParcelEntry) -> bool) {
        let forgotten = self.entries.extract_if(.., |_, entry| goes(entry));
        let documents = forgotten.filter(|(_, entry)| entry.document == DocState::Stored);
        self.changed.extend(documents.map(|(key, _)| key));
    }

    /// Removes all parcels.
    pub(super) fn clear(&mut self) {
        self.remove_where(|_| true);
        self.by_tag.clear();
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn state(&self, key: &str) -> Option<&ParcelState> {
        self.entries.get(key).map(|entry| &entry.state)
    }

    /// Returns the mutable state of a known parcel and marks its document as changed.
    pub(super) fn state_mut(&mut self, key: &str) -> Option<&mut ParcelState> {
        let entry = self.entries.get_mut(key)?;
        entry.document = DocState::Stored;
        self.changed.insert(key.to_owned());
        Some(&mut entry.state)
    }

    /// Returns the parcel reference for events.
    pub(super) fn parcel(&self, key: &str) -> Parcel {
        let epc = self.state(key).map(|state| state.epc.clone()).unwrap_or_default();
        Parcel { key: key.to_owned(), epc }
    }

    /// Returns the stop where the parcel is due.
    pub(super) fn stop<'a>(&self, key: &str, manifest: &'a Manifest) -> Option<&'a Stop> {
        manifest.stops.get(self.entries.get(key)?.manifest_index?.0)
    }

    /// Returns the reference of the due stop for events.
    pub(super) fn stop_ref(&self, key: &str, manifest: Option<&Manifest>) -> Option<StopRef> {
        self.stop(key, manifest?).map(Stop::stop_ref)
    }

    fn manifest_parcel<'a>(&self, key: &str, manifest: &'a Manifest) -> Option<&'a ManifestParcel> {
        let (stop, parcel) = self.entries.get(key)?.manifest_index?;
        manifest.stops.get(stop)?.parcels.get(parcel)
    }

    /// Returns the recipient's current preferences: the set of the newest command, else that of the
    /// manifest.
    pub(super) fn preferences(&self, key: &str, manifest: Option<&Manifest>) -> Preferences {
        if let Some(set) = self.state(key).and_then(|state| state.preferences.clone()) {
            return set;
        }
        let listed = manifest.and_then(|manifest| self.manifest_parcel(key, manifest));
        listed.map(|listed| listed.preferences.clone()).unwrap_or_default()
    }

    /// Returns the key of the parcel that a tag memory or URI belongs to.
    pub(super) fn key_for_tag(&self, tag: &str) -> Option<&str> {
        self.by_tag.get(tag).map(String::as_str)
    }

    /// Returns whether the manifest lists a tag for the parcel, or one has been read.
    pub(super) fn has_tag(&self, key: &str, manifest: Option<&Manifest>) -> bool {
        let listed = manifest.and_then(|manifest| self.manifest_parcel(key, manifest));
        listed.is_some_and(|listed| !listed.tags.is_empty())
            || self.state(key).is_some_and(|state| state.rfid != RfidState::Unread)
    }

    /// Iterates over keys and states in key order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &ParcelState)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), &entry.state))
    }

    pub(super) fn count(&self, is: impl Fn(&ParcelState) -> bool) -> u32 {
        let count = self.iter().filter(|(_, state)| is(state)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Returns whether no work is left at `stop`. `served` is whether the van has stopped there.
    pub(super) fn is_done(&self, stop: &Stop, served: bool) -> bool {
        let done = |listed: &ManifestParcel| {
            self.state(&listed.key).is_some_and(|state| state.status.is_done_at_stop())
        };
        if stop.parcels.is_empty() { served } else { stop.parcels.iter().all(done) }
    }

    /// Returns the state documents changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<StateDocChange> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|key| StateDocChange {
                value: self.state(&key).map(state_docs::encode),
                key: format!("{}{key}", Self::DOC_PREFIX),
            })
            .collect()
    }
}

impl ParcelState {
    /// Records an event in which the parcel was seen.
    pub(super) fn record_sighting(&mut self, record: &EventRecord) {
        let event = &record.event;
        self.sighting = Some(Sighting { id: event.id, utc: event.utc, location: event.location });
    }

    /// Adopts from `other` what a scan changes. Recall and preferences stay.
    pub(super) fn merge_scan(&mut self, other: Self) {
        let Self { status, load_event: loaded, attempts, reason, sighting, .. } = other;
        (self.status, self.load_event, self.attempts) = (status, loaded, attempts);
        (self.reason, self.sighting) = (reason, sighting);
    }

    /// Returns the time of the `loaded` event.
    pub(super) fn loaded_at(&self) -> Option<UtcTime> {
        self.load_event.as_ref().map(|record| record.event.utc)
    }
}

fn derive_uri(key: &str, domain: &str) -> String {
    Code::parse(key.as_bytes()).map_or_else(String::new, |code| code.most_likely().uri(domain))
}
