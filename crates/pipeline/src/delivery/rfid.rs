//! RFID inventory: reports which tagged parcels are in the van. A tag never proves a delivery.
//!
//! A tag that has been read and then not for 20 s is reported missing. The exception is a parcel
//! due at the current stop, which is being carried to the door. If several tags disappear at once
//! and nothing else is read, the reader has failed and nothing is reported. After a restart every
//! tag gets another 20 s.
//!
//! A tag that appears and disappears repeatedly is badly attached. It is reported missing at once
//! the first time on a trip, and then at increasing intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event_builder::chunk_parcels;
use super::event_clock::EventTime;
use super::parcel_states::RfidState;
use super::route::Phase;
use super::scan::{Scan, ScanResult};
use super::{DeliveryOutput, DeliveryTracker};
use waypost_model::duty::Duty;
use waypost_model::event::{EventKind, Parcel};
use waypost_model::parcel::code::normalised;
use waypost_model::parcel::epc;
use waypost_model::units::Uptime;

/// Tags read by the RFID reader.
#[derive(Debug, Default)]
pub(super) struct RfidInventory {
    /// Known parcels, and the time of their last read.
    known: BTreeMap<String, Uptime>,
    /// Other tags that look like parcels.
    unknown: BTreeMap<String, UnknownTag>,
    /// Number of missing reports per parcel on this trip, and time of the newest.
    missing_reports: BTreeMap<String, (u32, Uptime)>,
    /// Parcels whose state the next report changes.
    changed: BTreeSet<String>,
    /// Time of the newest read of any tag.
    last_read: Option<Uptime>,
    /// Time of the first read.
    reading_since: Option<Uptime>,
    last_check: Option<Uptime>,
    /// Time of the newest report.
    last_report: Option<Uptime>,
    change: InventoryChange,
}

/// Tag that belongs to no known parcel.
#[derive(Debug)]
struct UnknownTag {
    parcel: Parcel,
    last_read: Uptime,
    /// Time of the newest report of this tag.
    reported_at: Uptime,
}

/// Whether there is a change to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum InventoryChange {
    #[default]
    Unchanged,
    /// Report with the next regular inventory.
    Changed,
    /// Report at once.
    Missing,
}

impl RfidInventory {
    /// A tag counts as present for this time after its last read.
    const PRESENT_FOR: Duration = Duration::from_secs(20);
    /// The reader counts as working for this time after reading any tag.
    const READER_ALIVE_FOR: Duration = Duration::from_secs(10);
    const CHECK_INTERVAL: Duration = Duration::from_secs(5);
    const REPORT_INTERVAL: Duration = Duration::from_mins(1);
    const MAX_UNKNOWN_TAGS: usize = 100;
    /// Minimum interval between two reports of the same unknown tag.
    const UNKNOWN_TAG_INTERVAL: Duration = Duration::from_mins(10);
    /// Interval after the first missing report of a tag. It grows by a factor of four with each
    /// further one, up to `MAX_MISSING_BACKOFF` times.
    const MISSING_INTERVAL: Duration = Duration::from_mins(4);
    const MAX_MISSING_BACKOFF: u32 = 4;

    /// Starts a trip: the first inventory lists all parcels on board.
    pub(super) fn start_trip(&mut self) {
        (self.last_report, self.change, self.last_check) = (None, InventoryChange::Changed, None);
        self.unknown.clear();
        self.missing_reports.clear();
        self.changed.clear();
    }

    /// Returns whether the parcel may be reported missing now: at once the first time, later with
    /// backoff.
    fn may_report_missing(&self, key: &str, now: Uptime) -> bool {
        self.missing_reports.get(key).is_none_or(|(times, last)| {
            let longer = 4_u32.pow(times.saturating_sub(1).min(Self::MAX_MISSING_BACKOFF));
            now.since(*last) >= Self::MISSING_INTERVAL * longer
        })
    }

    /// Records that a known tag appeared or disappeared.
    fn record_change(&mut self, key: String, tag: RfidState, now: Uptime) {
        let mut news = InventoryChange::Changed;
        if tag == RfidState::Missing {
            let (times, last) = self.missing_reports.entry(key.clone()).or_insert((0, now));
            (*times, *last) = (times.saturating_add(1), now);
            if *times == 1 {
                news = InventoryChange::Missing;
            }
        }
        self.change = self.change.max(news);
        self.changed.insert(key);
    }

    /// Records a tag that belongs to no known parcel.
    fn observe_unknown(&mut self, parcel: Parcel, at: Uptime) {
        if let Some(known) = self.unknown.get_mut(&parcel.key) {
            let was_gone = !Self::is_present(Some(&known.last_read), at);
            known.last_read = at;
            if was_gone && at.since(known.reported_at) >= Self::UNKNOWN_TAG_INTERVAL {
                known.reported_at = at;
                self.change = self.change.max(InventoryChange::Changed);
            }
            return;
        }
        if self.unknown.len() >= Self::MAX_UNKNOWN_TAGS {
            self.unknown.retain(|_, other| Self::is_present(Some(&other.last_read), at));
        }
        if self.unknown.len() < Self::MAX_UNKNOWN_TAGS {
            self.change = self.change.max(InventoryChange::Changed);
            let key = parcel.key.clone();
            self.unknown.insert(key, UnknownTag { parcel, last_read: at, reported_at: at });
        }
    }

    pub(super) fn deadline(&self) -> Option<Uptime> {
        self.last_read?;
        self.last_check.map(|checked| checked + Self::CHECK_INTERVAL)
    }

    fn is_present(last: Option<&Uptime>, now: Uptime) -> bool {
        last.is_some_and(|last| now.since(*last) < Self::PRESENT_FOR)
    }
}

impl DeliveryTracker {
    /// Records a read of a tag. Its event is emitted later, by [`Self::inventory`].
    pub(super) fn handle_tag(&mut self, scan: &Scan) -> ScanResult {
        if self.duty.duty != Duty::On {
            return ScanResult::OffDuty;
        }
        let text = String::from_utf8_lossy(&scan.bytes);
        let hex = text.trim().to_ascii_uppercase();
        let Some(candidate) = epc::parse_tag(&hex) else {
            self.counters.unrecognized += 1;
            return ScanResult::Unrecognized;
        };
        self.rfid.last_read = Some(scan.at);
        self.rfid.reading_since.get_or_insert(scan.at);
        let uri = candidate.uri(&self.config.domain);
        let ours =
            self.parcels.key_for_tag(&hex).or_else(|| self.parcels.key_for_tag(&candidate.key));
        let ours = ours.or_else(|| self.parcels.key_for_tag(&uri)).map(str::to_owned);
        let key = normalised(&candidate.key);
        let ours = ours.or_else(|| self.parcels.contains(&key).then_some(key));
        match ours {
            Some(key) => {
                self.rfid.known.insert(key, scan.at);
            }
            None if candidate.kind.identifies_parcel() => {
                self.rfid.observe_unknown(Parcel { key: candidate.key, epc: uri }, scan.at);
            }
            None => self.counters.unknown_tags += 1,
        }
        ScanResult::Tag
    }

    /// Checks the inventory at most every 5 s and reports changes.
    pub(super) fn check_inventory(
        &mut self,
        now: Uptime,
        when: EventTime,
        out: &mut DeliveryOutput,
    ) {
        let tags = &self.rfid;
        let checked =
            tags.last_check.is_some_and(|at| now.since(at) < RfidInventory::CHECK_INTERVAL);
        if tags.last_read.is_none() || checked || self.duty.duty != Duty::On {
            return;
        }
        self.rfid.last_check = Some(now);
        if self.route.phase != Phase::Out || self.manifest.is_none() {
            self.rfid.known.retain(|_, last| now.since(*last) < RfidInventory::PRESENT_FOR);
            return;
        }
        self.compare_inventory(now);
        let late =
            self.rfid.last_report.is_none_or(|at| now.since(at) >= RfidInventory::REPORT_INTERVAL);
        let receives =
            self.rfid.last_read.is_some_and(|heard| now.since(heard) < RfidInventory::PRESENT_FOR);
        let due = match self.rfid.change {
            InventoryChange::Missing => true,
            InventoryChange::Changed => late && receives,
            InventoryChange::Unchanged => false,
        };
        if due {
            self.report_inventory(now, when, out);
        }
    }

    /// Compares the tags that are read with the reported states.
    fn compare_inventory(&mut self, now: Uptime) {
        let since = self.rfid.reading_since.unwrap_or(now);
        let first = self.rfid.last_report.is_none();
        let here = self.route.visit.map(|visit| visit.seq);
        let manifest = self.manifest.clone();
        let mut changes = Vec::new();
        for (key, state) in self.parcels.iter().filter(|(_, state)| state.status.is_on_board()) {
            let last = self.rfid.known.get(key);
            let grace = Some(&since).filter(|_| last.is_none() && state.rfid == RfidState::Present);
            let stop = manifest.as_deref().and_then(|manifest| self.parcels.stop(key, manifest));
            let carried = here.is_some() && stop.map(|stop| stop.seq) == here;
            match (state.rfid, RfidInventory::is_present(last.or(grace), now)) {
                (RfidState::Unread | RfidState::Missing, true) => {
                    changes.push((key.to_owned(), RfidState::Present));
                }
                (RfidState::Present, false)
                    if !carried && self.rfid.may_report_missing(key, now) =>
                {
                    changes.push((key.to_owned(), RfidState::Missing));
                }
                (RfidState::Unread, false)
                    if first && self.parcels.has_tag(key, manifest.as_deref()) =>
                {
                    changes.push((key.to_owned(), RfidState::Missing));
                }
                _ => {}
            }
        }
        let gone = changes.iter().filter(|(_, tag)| *tag == RfidState::Missing).count();
        let silent = self
            .rfid
            .last_read
            .is_none_or(|heard| now.since(heard) >= RfidInventory::READER_ALIVE_FOR);
        for (key, tag) in changes {
            let missing = tag == RfidState::Missing;
            if missing && silent && gone > 1 {
                continue;
            }
            if let Some(state) = self.parcels.state_mut(&key) {
                state.rfid = tag;
            }
            self.rfid.record_change(key, tag, now);
        }
    }

    fn report_inventory(&mut self, now: Uptime, when: EventTime, out: &mut DeliveryOutput) {
        let mut present = Vec::new();
        let mut missing = Vec::new();
        let mut unexpected = Vec::new();
        for (key, state) in self.parcels.iter() {
            match (state.status.is_on_board(), state.rfid) {
                (true, RfidState::Present) => present.push(self.parcels.parcel(key)),
                (true, RfidState::Missing) => missing.push(self.parcels.parcel(key)),
                (true, RfidState::Unread) => {}
                (false, _) => {
                    let read = RfidInventory::is_present(self.rfid.known.get(key), now);
                    if read
                        && self.route.visit.is_none()
                        && unexpected.len() < RfidInventory::MAX_UNKNOWN_TAGS
                    {
                        unexpected.push(self.parcels.parcel(key));
                    }
                }
            }
        }
        self.rfid
            .unknown
            .retain(|_, other| now.since(other.last_read) < RfidInventory::UNKNOWN_TAG_INTERVAL);
        let unknown = self.rfid.unknown.values();
        let there = unknown.filter(|other| RfidInventory::is_present(Some(&other.last_read), now));
        let room = RfidInventory::MAX_UNKNOWN_TAGS.saturating_sub(unexpected.len());
        unexpected.extend(there.take(room).map(|other| other.parcel.clone()));
        (self.rfid.last_report, self.rfid.change) = (Some(now), InventoryChange::Unchanged);
        let mut changed = std::mem::take(&mut self.rfid.changed);
        // Missing parcels come first, so that a consumer interested only in them needs one event.
        let mut left = missing.len();
        let mut unexpected = Some(unexpected);
        for mut missing in chunk_parcels([missing, present].concat()) {
            let present = missing.split_off(left.min(missing.len()));
            left -= missing.len();
            let lists = (missing, present, unexpected.take().unwrap_or_default());
            self.emit_inventory(lists, &mut changed, when, out);
        }
    }

    fn emit_inventory(
        &mut self,
        (missing, present, unexpected): (Vec<Parcel>, Vec<Parcel>, Vec<Parcel>),
        changed: &mut BTreeSet<String>,
        when: EventTime,
        out: &mut DeliveryOutput,
    ) {
        let there: Vec<String> = present.iter().map(|parcel| parcel.key.clone()).collect();
        let window = RfidInventory::PRESENT_FOR;
        let happening = EventKind::Inventory { present, missing, unexpected, window };
        let van = self.config.van.clone();
        let record = self.emit(when, self.position.location_at(when.utc), &van, happening, out);
        for key in there.iter().filter(|key| changed.remove(*key)) {
            if let Some(state) = self.parcels.state_mut(key) {
                state.record_sighting(&record);
            }
        }
    }
}
