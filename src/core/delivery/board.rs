//! Parcels and what became of them: those that the manifest lists, and those that it listed while they were on board.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::event::{EventRecord, Parcel, Preferences, Reason, Sighting, StopRef};
use super::kept::{self, Kept};
use super::manifest::{Listed, MAX_PARCELS, Manifest, Stop};
use crate::core::parcel::code::Code;
use crate::units::UtcTime;

/// What became of a parcel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Status {
    /// Listed, and nothing else.
    #[default]
    Due,
    /// In the van, which has not left.
    Loaded,
    /// Out for delivery.
    Out,
    /// Out, and tried.
    Attempted,
    /// Handed over.
    Delivered,
    /// Back at the station.
    Returned,
    /// Should be in the van and is not.
    NotFound,
    /// Never left the station.
    Void,
}

impl Status {
    /// Whether it is in the van.
    pub(super) const fn is_on_board(self) -> bool {
        matches!(self, Self::Loaded | Self::Out | Self::Attempted)
    }

    /// Whether nothing more is to be done at its stop.
    pub(super) const fn is_done_at_stop(self) -> bool {
        !matches!(self, Self::Due | Self::Loaded | Self::Out)
    }

    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Loaded => "loaded",
            Self::Out => "out for delivery",
            Self::Attempted => "attempted",
            Self::Delivered => "delivered",
            Self::Returned => "returned",
            Self::NotFound => "not found",
            Self::Void => "never left the station",
        }
    }

    /// Whether it is over.
    pub(super) const fn is_finished(self) -> bool {
        matches!(self, Self::Delivered | Self::Returned)
    }
}

/// What its radio tag says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TagState {
    /// It was never read.
    #[default]
    Unread,
    /// It is read.
    Present,
    /// It was reported missing.
    Missing,
}

/// Whether the operator wants it handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Release {
    /// It is to be handed over.
    #[default]
    Free,
    /// It must come back.
    Recalled,
}

/// What is kept of a parcel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ParcelState {
    pub(super) status: Status,
    /// Its URI: the manifest may be another one when it comes back.
    pub(super) epc: String,
    /// The event of its loading, until the van departs: a second scan takes it back.
    pub(super) loaded: Option<Box<EventRecord>>,
    pub(super) attempts: u32,
    /// Of the newest attempt.
    pub(super) reason: Option<Reason>,
    pub(super) release: Release,
    /// What the recipient asked for since the manifest.
    pub(super) preferences: Preferences,
    /// The newest event that saw it.
    pub(super) sighting: Option<Sighting>,
    pub(super) tag: TagState,
}

#[derive(Debug, Default)]
struct Entry {
    /// Where in the manifest: stop and parcel.
    due: Option<(usize, usize)>,
    state: ParcelState,
    document: Document,
}

/// Whether a parcel has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Document {
    #[default]
    None,
    Kept,
}

/// The parcels of a route.
#[derive(Debug, Default)]
pub(super) struct Board {
    entries: BTreeMap<String, Entry>,
    /// Memory of a tag, and URI → key.
    by_tag: HashMap<String, String>,
    changed: BTreeSet<String>,
}

impl Board {
    /// What begins the name of a parcel's document.
    pub(super) const DOCUMENT: &'static str = "parcel/";

    /// Takes a parcel's document; whether it could be read.
    pub(super) fn restore(&mut self, key: &str, bytes: &[u8]) -> bool {
        let Some(state) = kept::decode(bytes) else { return false };
        self.entries.insert(key.to_owned(), Entry { due: None, state, document: Document::Kept });
        true
    }

    /// So many that are no longer listed are remembered: what was handed over stays known to the end of the route.
    const MAX_UNLISTED: usize = MAX_PARCELS;

    /// Lists what `manifest` lists.
    pub(super) fn list(&mut self, manifest: &Manifest, domain: &str) {
        for entry in self.entries.values_mut() {
            entry.due = None;
        }
        self.by_tag.clear();
        for (stop_index, stop) in manifest.stops.iter().enumerate() {
            for (index, listed) in stop.parcels.iter().enumerate() {
                let entry = self.entries.entry(listed.key.clone()).or_default();
                entry.due = Some((stop_index, index));
                let epc = listed.epc.clone().unwrap_or_else(|| uri(&listed.key, domain));
                if entry.state.epc != epc {
                    if entry.document == Document::Kept {
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
        self.forget(|entry| entry.due.is_none() && entry.state.status == Status::Due);
        if self.entries.len() > manifest.parcels() + Self::MAX_UNLISTED {
            self.forget(|entry| entry.due.is_none() && !entry.state.status.is_on_board());
        }
    }

    fn forget(&mut self, goes: impl Fn(&Entry) -> bool) {
        let forgotten = self.entries.extract_if(.., |_, entry| goes(entry));
        let documents = forgotten.filter(|(_, entry)| entry.document == Document::Kept);
        self.changed.extend(documents.map(|(key, _)| key));
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.forget(|_| true);
        self.by_tag.clear();
    }

    pub(super) fn knows(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn state(&self, key: &str) -> Option<&ParcelState> {
        self.entries.get(key).map(|entry| &entry.state)
    }

    /// The state of a parcel that is known, to be changed.
    pub(super) fn change(&mut self, key: &str) -> Option<&mut ParcelState> {
        let entry = self.entries.get_mut(key)?;
        entry.document = Document::Kept;
        self.changed.insert(key.to_owned());
        Some(&mut entry.state)
    }

    /// As events name it.
    pub(super) fn parcel(&self, key: &str) -> Parcel {
        let epc = self.state(key).map(|state| state.epc.clone()).unwrap_or_default();
        Parcel { key: key.to_owned(), epc }
    }

    /// Where it is due.
    pub(super) fn stop<'a>(&self, key: &str, manifest: &'a Manifest) -> Option<&'a Stop> {
        manifest.stops.get(self.entries.get(key)?.due?.0)
    }

    /// Where it is due, as events name it.
    pub(super) fn stop_ref(&self, key: &str, manifest: Option<&Manifest>) -> Option<StopRef> {
        self.stop(key, manifest?).map(Stop::as_ref)
    }

    fn listed<'a>(&self, key: &str, manifest: &'a Manifest) -> Option<&'a Listed> {
        let (stop, parcel) = self.entries.get(key)?.due?;
        manifest.stops.get(stop)?.parcels.get(parcel)
    }

    /// What the recipient asks for now.
    pub(super) fn preferences(&self, key: &str, manifest: Option<&Manifest>) -> Preferences {
        let listed = manifest.and_then(|manifest| self.listed(key, manifest));
        let listed = listed.map(|listed| listed.preferences.clone()).unwrap_or_default();
        let Some(state) = self.state(key) else { return listed };
        merged(listed, &state.preferences)
    }

    /// Which parcel a tag's memory or a URI belongs to.
    pub(super) fn tagged(&self, tag: &str) -> Option<&str> {
        self.by_tag.get(tag).map(String::as_str)
    }

    /// Whether the manifest gives it a tag, or one was read.
    pub(super) fn has_tag(&self, key: &str, manifest: Option<&Manifest>) -> bool {
        let listed = manifest.and_then(|manifest| self.listed(key, manifest));
        listed.is_some_and(|listed| !listed.tags.is_empty())
            || self.state(key).is_some_and(|state| state.tag != TagState::Unread)
    }

    /// Keys and states, in the order of keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &ParcelState)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), &entry.state))
    }

    pub(super) fn count(&self, is: impl Fn(&ParcelState) -> bool) -> u32 {
        let count = self.iter().filter(|(_, state)| is(state)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Whether nothing more is to be done at `stop`; `served` = the van has stood there.
    pub(super) fn is_done(&self, stop: &Stop, served: bool) -> bool {
        let done = |listed: &Listed| {
            self.state(&listed.key).is_some_and(|state| state.status.is_done_at_stop())
        };
        if stop.parcels.is_empty() { served } else { stop.parcels.iter().all(done) }
    }

    /// The documents that changed since the last call.
    pub(super) fn changed(&mut self) -> Vec<Kept> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|key| Kept {
                value: self.state(&key).map(kept::encode),
                key: format!("{}{key}", Self::DOCUMENT),
            })
            .collect()
    }
}

impl ParcelState {
    /// Notes an event that saw it.
    pub(super) fn saw(&mut self, record: &EventRecord) {
        let event = &record.event;
        self.sighting = Some(Sighting { id: event.id, utc: event.utc, place: event.place });
    }

    /// Takes what a scan changes from `other`. What the operator and the recipient asked for stays.
    pub(super) fn scanned_as(&mut self, other: Self) {
        let Self { status, loaded, attempts, reason, sighting, .. } = other;
        (self.status, self.loaded, self.attempts) = (status, loaded, attempts);
        (self.reason, self.sighting) = (reason, sighting);
    }

    /// Whether its loading is at least so long ago that a scan takes it out again.
    pub(super) fn loaded_at(&self) -> Option<UtcTime> {
        self.loaded.as_ref().map(|record| record.event.utc)
    }
}

/// What is newer goes before.
pub(super) fn merged(old: Preferences, new: &Preferences) -> Preferences {
    Preferences {
        authority_to_leave: new.authority_to_leave.or(old.authority_to_leave),
        safe_place: new.safe_place.clone().or(old.safe_place),
        neighbour: new.neighbour.clone().or(old.neighbour),
        signature_required: new.signature_required.or(old.signature_required),
    }
}

fn uri(key: &str, domain: &str) -> String {
    Code::read(key.as_bytes()).map_or_else(String::new, |code| code.best().uri(domain))
}
