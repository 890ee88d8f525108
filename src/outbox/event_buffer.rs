//! In-memory buffer for events and documents, before and after their transaction. No I/O.
//!
//! - Everything from one call is committed in one transaction. Several calls may share one.
//! - An event can be read only after it is on flash. If the disk fails, buffered events can be read
//!   too.
//! - Events and points share their numbers only. An operation on events never affects points, and
//!   vice versa.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use super::state_docs::{self, MAX_ALL_BYTES, MAX_DOCUMENTS, StoredDoc};
use super::write_batch::WriteBatch;
use crate::outbox::record_codec;
use waypost_model::event::EventRecord;
use waypost_model::record::Seq;
use waypost_model::units::{Uptime, UtcTime};

/// Maximum number of uncommitted events while the disk fails. Beyond it, the oldest are evicted and
/// counted.
const MAX_UNSAVED: usize = 10_000;

/// Maximum size of uncommitted events in bytes. Some events list every parcel on board.
const MAX_UNSAVED_BYTES: usize = 2 * 1024 * 1024;

/// Maximum size of one stored event: a departure with 3,000 parcels.
const MAX_EVENT_BYTES: usize = 256 * 1024;

/// An event in its stored form.
#[derive(Clone, Debug)]
pub(super) struct EncodedEvent {
    pub seq: Seq,
    pub utc: UtcTime,
    pub bytes: Arc<[u8]>,
}

impl EncodedEvent {
    fn from_record(record: &EventRecord) -> Self {
        let bytes = record_codec::encode_event(record).into();
        Self { seq: record.seq, utc: record.event.utc, bytes }
    }

    fn decode(&self) -> Option<EventRecord> {
        record_codec::decode_event(&self.bytes).ok()
    }
}

/// Events in order and the newest version of each changed document, committed together.
#[derive(Clone, Debug, Default)]
pub(super) struct EventGroup {
    pub events: VecDeque<EncodedEvent>,
    pub documents: BTreeMap<String, Option<Arc<[u8]>>>,
}

impl EventGroup {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.documents.is_empty()
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.bytes.len()).sum()
    }

    /// Removes an event. Returns false if it was not there.
    fn remove(&mut self, seq: Seq) -> bool {
        let found = self.events.binary_search_by_key(&seq, |event| event.seq);
        found.is_ok_and(|at| self.events.remove(at).is_some())
    }

    /// Prepends an earlier group. Documents of this group win.
    fn prepend(&mut self, mut earlier: Self) {
        earlier.events.append(&mut self.events);
        self.events = earlier.events;
        for (key, value) in earlier.documents {
            self.documents.entry(key).or_insert(value);
        }
    }
}

/// Statistics of the events in the database.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoredEvents {
    /// Includes acknowledged events that are not deleted yet.
    pub count: u64,
    /// Highest number ever stored.
    pub newest: Seq,
    pub oldest: Option<(Seq, UtcTime)>,
}

/// Size limits, scaled down for a small outbox.
#[derive(Clone, Copy, Debug)]
struct Limits {
    event_bytes: usize,
    documents_bytes: usize,
}

#[derive(Debug)]
pub(super) struct EventBuffer {
    unsaved: EventGroup,
    unsaved_since: Uptime,
    /// Group in the running transaction.
    committing: Option<EventGroup>,
    /// Acknowledged events that are still in the database.
    acked: BTreeSet<Seq>,
    /// Acknowledged events that the running transaction deletes.
    deleting: BTreeSet<Seq>,
    newest: Seq,
    /// Events up to this number may be in the database although their transaction failed.
    uncertain_to: Seq,
    failing: bool,
    stored: StoredEvents,
    reserved: Seq,
    limits: Limits,
    /// Size in bytes of each document that is stored or about to be.
    sizes: BTreeMap<String, usize>,
    rejection_logged: bool,
}

impl EventBuffer {
    /// `documents` are those in the database. `max_bytes` is the maximum size of the database.
    pub(super) fn new(
        stored: StoredEvents,
        reserved: Seq,
        documents: &[(String, Vec<u8>)],
        max_bytes: u64,
    ) -> Self {
        let quarter = usize::try_from(max_bytes / 4).unwrap_or(usize::MAX);
        let limits = Limits {
            event_bytes: MAX_EVENT_BYTES.min(quarter),
            documents_bytes: quarter.min(MAX_ALL_BYTES),
        };
        Self {
            unsaved: EventGroup::default(),
            unsaved_since: Uptime::ZERO,
            committing: None,
            acked: BTreeSet::new(),
            deleting: BTreeSet::new(),
            newest: stored.newest,
            uncertain_to: Seq::ZERO,
            failing: false,
            stored,
            reserved,
            limits,
            sizes: documents.iter().map(|(key, value)| (key.clone(), value.len())).collect(),
            rejection_logged: false,
        }
    }

    /// Buffers new events and documents. Returns how many events were evicted for lack of space.
    pub(super) fn accept(
        &mut self,
        events: Vec<EventRecord>,
        documents: Vec<StoredDoc>,
        now: Uptime,
    ) -> u64 {
        if self.unsaved.is_empty() {
            self.unsaved_since = now;
        }
        let mut given_up = 0;
        for record in events {
            if record.seq <= self.newest {
                continue;
            }
            self.newest = record.seq;
            let event = EncodedEvent::from_record(&record);
            if event.bytes.len() > self.limits.event_bytes {
                self.reject("event", event.bytes.len());
                given_up += 1;
            } else {
                self.unsaved.events.push_back(event);
            }
        }
        for document in documents {
            self.put_document(document);
        }
        given_up + self.enforce_limits()
    }

    fn put_document(&mut self, StoredDoc { key, value }: StoredDoc) {
        let waiting = &self.unsaved.documents;
        if waiting.len() >= 2 * MAX_DOCUMENTS && !waiting.contains_key(&key) {
            return self.reject("document", key.len());
        }
        let Some(value) = value else {
            if self.sizes.remove(&key).is_some() {
                self.unsaved.documents.insert(key, None);
            }
            return;
        };
        let others = self.sizes.iter().filter(|(other, _)| **other != key);
        let all: usize = others.map(|(_, bytes)| bytes).sum();
        let fits = state_docs::fits(&key, &value)
            && all + value.len() <= self.limits.documents_bytes
            && (self.sizes.len() < MAX_DOCUMENTS || self.sizes.contains_key(&key));
        if !fits {
            return self.reject("document", value.len());
        }
        self.sizes.insert(key.clone(), value.len());
        let encoded = state_docs::encode(&key, &value);
        self.unsaved.documents.insert(key, Some(encoded));
    }

    fn reject(&mut self, what: &str, bytes: usize) {
        if !mem::replace(&mut self.rejection_logged, true) {
            tracing::error!(what, bytes, "outbox rejected an entry: too large");
        }
    }

    /// Evicts the oldest events above the limits.
    fn enforce_limits(&mut self) -> u64 {
        let mut bytes = self.unsaved.bytes();
        let mut given_up = 0;
        while self.unsaved.events.len() > MAX_UNSAVED || bytes > MAX_UNSAVED_BYTES {
            let Some(event) = self.unsaved.events.pop_front() else { break };
            bytes -= event.bytes.len();
            given_up += 1;
        }
        given_up
    }

    /// Marks events as acknowledged.
    pub(super) fn acknowledge(&mut self, seqs: &[Seq]) {
        for &seq in seqs {
            let waited = self.unsaved.remove(seq);
            let on_its_way = self.committing.as_mut().is_some_and(|group| group.remove(seq));
            let in_file = seq <= self.stored.newest && !self.deleting.contains(&seq);
            if on_its_way || in_file && !waited || seq <= self.uncertain_to {
                self.acked.insert(seq);
            }
        }
    }

    /// Number of events that are not on flash.
    pub(super) fn unsaved_count(&self) -> usize {
        let committing = self.committing.as_ref().map_or(0, |group| group.events.len());
        self.unsaved.events.len() + committing
    }

    pub(super) fn is_durable(&self) -> bool {
        self.unsaved.is_empty() && self.committing.is_none()
    }

    /// Time since which data waits for a transaction.
    pub(super) fn due(&self) -> Option<Uptime> {
        (!self.unsaved.is_empty()).then_some(self.unsaved_since)
    }

    pub(super) fn has_acked(&self) -> bool {
        !self.acked.is_empty()
    }

    /// Moves the buffered data into a transaction.
    pub(super) fn begin_commit(&mut self, pending: &mut WriteBatch) {
        let group = mem::take(&mut self.unsaved);
        self.committing = (!group.is_empty()).then(|| group.clone());
        pending.newest = pending.newest.max(self.newest);
        pending.group = group;
        self.deleting = mem::take(&mut self.acked);
        pending.acked_events.clone_from(&self.deleting);
    }

    pub(super) fn commit_done(&mut self) {
        self.committing = None;
        self.deleting.clear();
        self.uncertain_to = Seq::ZERO;
        self.failing = false;
    }

    /// The transaction failed, or its outcome is unknown. Returns how many events were evicted for
    /// lack of space.
    pub(super) fn commit_failed(&mut self) -> u64 {
        if let Some(group) = self.committing.take() {
            self.uncertain_to = group.events.back().map_or(self.uncertain_to, |last| last.seq);
            self.unsaved.prepend(group);
        }
        self.acked.append(&mut self.deleting);
        self.failing = true;
        self.enforce_limits()
    }

    /// Marks the disk as unresponsive.
    pub(super) const fn mark_stalled(&mut self) {
        self.failing = true;
    }

    pub(super) const fn sync_from_file(&mut self, stored: StoredEvents, reserved: Seq) {
        self.stored = stored;
        self.reserved = reserved;
    }

    /// Highest number to read from the database for events above `seq`. `None` if it has none.
    pub(super) fn in_file(&self, seq: Seq) -> Option<Seq> {
        (self.stored.count > 0 && seq < self.stored.newest).then_some(self.stored.newest)
    }

    pub(super) const fn stored_newest(&self) -> Seq {
        self.stored.newest
    }

    /// Uncommitted events above `seq`, if the disk is failing.
    pub(super) fn unsaved_after(&self, seq: Seq, limit: usize) -> Vec<EventRecord> {
        if !self.failing {
            return Vec::new();
        }
        let committing = self.committing.iter().flat_map(|group| &group.events);
        committing
            .chain(&self.unsaved.events)
            .filter(|event| event.seq > seq && event.seq <= self.reserved)
            .filter_map(EncodedEvent::decode)
            .take(limit)
            .collect()
    }

    /// Acknowledged events that may still be in the database.
    pub(super) fn acked_seqs(&self) -> BTreeSet<Seq> {
        self.acked.union(&self.deleting).copied().collect()
    }

    /// Number of unacknowledged events.
    pub(super) fn pending(&self) -> u64 {
        self.in_file_pending() + self.unsaved_count() as u64
    }

    fn in_file_pending(&self) -> u64 {
        let arrived = self.acked.iter().chain(&self.deleting);
        // An event that was acknowledged before it was stored is subtracted once it is stored.
        let gone = arrived.filter(|seq| **seq <= self.stored.newest).count();
        self.stored.count.saturating_sub(gone as u64)
    }

    pub(super) fn oldest(&self) -> Option<(Seq, UtcTime)> {
        let committing = self.committing.iter().flat_map(|group| &group.events);
        let first = committing.chain(&self.unsaved.events).next();
        let stored = self.stored.oldest.filter(|_| self.in_file_pending() > 0);
        stored.or(first.map(|event| (event.seq, event.utc)))
    }

    /// Highest number up to which events can be read.
    pub(super) fn readable(&self) -> Seq {
        if self.failing {
            self.stored.newest.max(self.newest.min(self.reserved))
        } else {
            self.stored.newest
        }
    }

    /// Clears the sizes: the stored documents belonged to another van.
    pub(super) fn clear_documents(&mut self) {
        self.sizes.clear();
    }
}
