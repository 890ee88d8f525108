//! Events and documents in memory: what waits for its transaction, and what has arrived (pure).
//!
//! - What came in one call goes in one transaction; several calls may share one.
//! - Nobody sees an event that is not on flash, unless the disk fails: then what waits here may be sent too.
//! - Events and points share their numbers and nothing else: what is said of the ones never touches the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use super::documents::{self, Document, MAX_ALL_BYTES, MAX_DOCUMENTS};
use super::transaction::Pending;
use crate::core::delivery::EventRecord;
use crate::core::record::Seq;
use crate::units::{Uptime, UtcTime};
use crate::wire::stored;

/// What a failing disk may keep waiting. Then the oldest are given up, and counted.
const MAX_WAITING: usize = 10_000;

/// The same in bytes: some events name every parcel on board.
const MAX_WAITING_BYTES: usize = 2 * 1024 * 1024;

/// Of one event as it is stored: a departure with 3,000 parcels.
const MAX_EVENT_BYTES: usize = 256 * 1024;

/// An event as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub seq: Seq,
    pub utc: UtcTime,
    pub bytes: Arc<[u8]>,
}

impl Encoded {
    fn of(record: &EventRecord) -> Self {
        let bytes = stored::encode_event(record).into();
        Self { seq: record.seq, utc: record.event.utc, bytes }
    }

    fn decoded(&self) -> Option<EventRecord> {
        stored::decode_event(&self.bytes).ok()
    }
}

/// What goes together: events in order, and of each document the newest.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub events: VecDeque<Encoded>,
    pub documents: BTreeMap<String, Option<Arc<[u8]>>>,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.documents.is_empty()
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.bytes.len()).sum()
    }

    /// Takes an event out; whether it was there.
    fn remove(&mut self, seq: Seq) -> bool {
        let found = self.events.binary_search_by_key(&seq, |event| event.seq);
        found.is_ok_and(|at| self.events.remove(at).is_some())
    }

    /// What came before this.
    fn precede(&mut self, mut earlier: Self) {
        earlier.events.append(&mut self.events);
        self.events = earlier.events;
        for (key, value) in earlier.documents {
            self.documents.entry(key).or_insert(value);
        }
    }
}

/// What the file holds of events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoredEvents {
    /// Also those that are acknowledged and not deleted yet.
    pub count: u64,
    /// The highest number that was ever there.
    pub newest: Seq,
    pub oldest: Option<(Seq, UtcTime)>,
}

/// How large things may be: a small outbox has room for small ones.
#[derive(Clone, Copy, Debug)]
struct Limits {
    event_bytes: usize,
    documents_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Events {
    waiting: Group,
    since: Uptime,
    /// What the running transaction takes along.
    committing: Option<Group>,
    /// Arrived, and still in the file.
    acked: BTreeSet<Seq>,
    /// Of these, what the running transaction deletes.
    settling: BTreeSet<Seq>,
    newest: Seq,
    /// Up to here a transaction that failed may be in the file all the same.
    doubtful: Seq,
    failing: bool,
    stored: StoredEvents,
    reserved: Seq,
    limits: Limits,
    /// Bytes of each document that is in the file or on its way there.
    sizes: BTreeMap<String, usize>,
    refused: bool,
}

impl Events {
    /// `documents` are those in the file, `max_bytes` is what the file may have.
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
            waiting: Group::default(),
            since: Uptime::ZERO,
            committing: None,
            acked: BTreeSet::new(),
            settling: BTreeSet::new(),
            newest: stored.newest,
            doubtful: Seq::ZERO,
            failing: false,
            stored,
            reserved,
            limits,
            sizes: documents.iter().map(|(key, value)| (key.clone(), value.len())).collect(),
            refused: false,
        }
    }

    /// Takes what is new; returns how many events were given up for want of room.
    pub(super) fn accept(
        &mut self,
        events: Vec<EventRecord>,
        documents: Vec<Document>,
        now: Uptime,
    ) -> u64 {
        if self.waiting.is_empty() {
            self.since = now;
        }
        let mut given_up = 0;
        for record in events {
            if record.seq <= self.newest {
                continue;
            }
            self.newest = record.seq;
            let event = Encoded::of(&record);
            if event.bytes.len() > self.limits.event_bytes {
                self.refuse("an event", event.bytes.len());
                given_up += 1;
            } else {
                self.waiting.events.push_back(event);
            }
        }
        for document in documents {
            self.keep(document);
        }
        given_up + self.bound()
    }

    fn keep(&mut self, Document { key, value }: Document) {
        let waiting = &self.waiting.documents;
        if waiting.len() >= 2 * MAX_DOCUMENTS && !waiting.contains_key(&key) {
            return self.refuse("a document", key.len());
        }
        let Some(value) = value else {
            if self.sizes.remove(&key).is_some() {
                self.waiting.documents.insert(key, None);
            }
            return;
        };
        let others = self.sizes.iter().filter(|(other, _)| **other != key);
        let all: usize = others.map(|(_, bytes)| bytes).sum();
        let fits = documents::fits(&key, &value)
            && all + value.len() <= self.limits.documents_bytes
            && (self.sizes.len() < MAX_DOCUMENTS || self.sizes.contains_key(&key));
        if !fits {
            return self.refuse("a document", value.len());
        }
        self.sizes.insert(key.clone(), value.len());
        let encoded = documents::encode(&key, &value);
        self.waiting.documents.insert(key, Some(encoded));
    }

    fn refuse(&mut self, what: &str, bytes: usize) {
        if !mem::replace(&mut self.refused, true) {
            tracing::error!(what, bytes, "outbox refuses what is larger than it keeps");
        }
    }

    /// Gives up the oldest of what is too much.
    fn bound(&mut self) -> u64 {
        let mut bytes = self.waiting.bytes();
        let mut given_up = 0;
        while self.waiting.events.len() > MAX_WAITING || bytes > MAX_WAITING_BYTES {
            let Some(event) = self.waiting.events.pop_front() else { break };
            bytes -= event.bytes.len();
            given_up += 1;
        }
        given_up
    }

    /// These have arrived.
    pub(super) fn acknowledge(&mut self, seqs: &[Seq]) {
        for &seq in seqs {
            let waited = self.waiting.remove(seq);
            let on_its_way = self.committing.as_mut().is_some_and(|group| group.remove(seq));
            let in_file = seq <= self.stored.newest && !self.settling.contains(&seq);
            if on_its_way || in_file && !waited || seq <= self.doubtful {
                self.acked.insert(seq);
            }
        }
    }

    /// Events that are not on flash.
    pub(super) fn waiting(&self) -> usize {
        let committing = self.committing.as_ref().map_or(0, |group| group.events.len());
        self.waiting.events.len() + committing
    }

    pub(super) fn is_safe(&self) -> bool {
        self.waiting.is_empty() && self.committing.is_none()
    }

    /// Since when something waits for a transaction.
    pub(super) fn due(&self) -> Option<Uptime> {
        (!self.waiting.is_empty()).then_some(self.since)
    }

    pub(super) fn has_acked(&self) -> bool {
        !self.acked.is_empty()
    }

    /// Adds to a transaction what waits here.
    pub(super) fn begin(&mut self, pending: &mut Pending) {
        let group = mem::take(&mut self.waiting);
        self.committing = (!group.is_empty()).then(|| group.clone());
        pending.newest = pending.newest.max(self.newest);
        pending.group = group;
        self.settling = mem::take(&mut self.acked);
        pending.settled.clone_from(&self.settling);
    }

    pub(super) fn done(&mut self) {
        self.committing = None;
        self.settling.clear();
        self.doubtful = Seq::ZERO;
        self.failing = false;
    }

    /// It is not in the file, or nobody knows; returns how many events were given up for want of room.
    pub(super) fn failed(&mut self) -> u64 {
        if let Some(group) = self.committing.take() {
            self.doubtful = group.events.back().map_or(self.doubtful, |last| last.seq);
            self.waiting.precede(group);
        }
        self.acked.append(&mut self.settling);
        self.failing = true;
        self.bound()
    }

    /// The disk does not answer.
    pub(super) const fn hang(&mut self) {
        self.failing = true;
    }

    pub(super) const fn learn(&mut self, stored: StoredEvents, reserved: Seq) {
        self.stored = stored;
        self.reserved = reserved;
    }

    /// Whether the file may have events above `seq`; up to which number it is known.
    pub(super) fn in_file(&self, seq: Seq) -> Option<Seq> {
        (self.stored.count > 0 && seq < self.stored.newest).then_some(self.stored.newest)
    }

    pub(super) const fn stored_newest(&self) -> Seq {
        self.stored.newest
    }

    /// What waits above `seq`, if the disk fails.
    pub(super) fn waiting_after(&self, seq: Seq, limit: usize) -> Vec<EventRecord> {
        if !self.failing {
            return Vec::new();
        }
        let committing = self.committing.iter().flat_map(|group| &group.events);
        committing
            .chain(&self.waiting.events)
            .filter(|event| event.seq > seq && event.seq <= self.reserved)
            .filter_map(Encoded::decoded)
            .take(limit)
            .collect()
    }

    /// What has arrived and may still be in the file.
    pub(super) fn arrived(&self) -> BTreeSet<Seq> {
        self.acked.union(&self.settling).copied().collect()
    }

    /// How many have not arrived.
    pub(super) fn pending(&self) -> u64 {
        self.in_file_pending() + self.waiting() as u64
    }

    fn in_file_pending(&self) -> u64 {
        let arrived = self.acked.iter().chain(&self.settling);
        // What arrived before it was in the file is counted off when it is there.
        let gone = arrived.filter(|seq| **seq <= self.stored.newest).count();
        self.stored.count.saturating_sub(gone as u64)
    }

    pub(super) fn oldest(&self) -> Option<(Seq, UtcTime)> {
        let committing = self.committing.iter().flat_map(|group| &group.events);
        let first = committing.chain(&self.waiting.events).next();
        let stored = self.stored.oldest.filter(|_| self.in_file_pending() > 0);
        stored.or(first.map(|event| (event.seq, event.utc)))
    }

    /// Up to which number there may be something to read.
    pub(super) fn readable(&self) -> Seq {
        if self.failing {
            self.stored.newest.max(self.newest.min(self.reserved))
        } else {
            self.stored.newest
        }
    }

    /// The documents in the file were another van's.
    pub(super) fn forget_documents(&mut self) {
        self.sizes.clear();
    }
}
