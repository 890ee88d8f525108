//! Tags that are read → what is in the van by their evidence. They never prove a delivery.
//!
//! A tag that was read and is not read for twenty seconds is reported missing, unless its parcel is due at the stop
//! where the van stands: there it is being carried to the door. When several fall silent at once and nothing else is
//! read, the reader is silent, and nothing is said. A restart forgets when a tag was last read and gives it time.
//!
//! A tag that comes and goes is badly stuck: after its first time on a trip it is missed ever more rarely, and not at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::board::TagState;
use super::clock::When;
use super::duty::Duty;
use super::event::{Happening, Parcel};
use super::route::Phase;
use super::scan::{Scan, ScanVerdict};
use super::telling::parts;
use super::{Delivery, Happenings};
use crate::core::parcel::code::normalised;
use crate::core::parcel::epc;
use crate::units::Uptime;

/// What the reader gives.
#[derive(Debug, Default)]
pub(super) struct Tags {
    /// Parcels of ours, and when they were last read.
    ours: BTreeMap<String, Uptime>,
    /// Others that look like parcels.
    strangers: BTreeMap<String, Stranger>,
    /// How often each was missed on this trip, and when last.
    missed: BTreeMap<String, (u32, Uptime)>,
    /// Whose state the next report changes.
    changed: BTreeSet<String>,
    /// The newest tag, whatever it is.
    heard: Option<Uptime>,
    /// Since when tags are listened to.
    since: Option<Uptime>,
    checked: Option<Uptime>,
    /// The newest report, and whether something is to be reported.
    reported: Option<Uptime>,
    news: News,
}

/// A tag that is no parcel of ours.
#[derive(Debug)]
struct Stranger {
    parcel: Parcel,
    last: Uptime,
    /// When it was news.
    news: Uptime,
}

/// Whether there is something to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    #[default]
    None,
    /// With the next report.
    Some,
    /// At once.
    Missing,
}

impl Tags {
    /// A tag is there if it was read within.
    const PRESENT: Duration = Duration::from_secs(20);
    /// The reader works if it read something within.
    const HEARD: Duration = Duration::from_secs(10);
    const CHECKED_EVERY: Duration = Duration::from_secs(5);
    const REPORTED_EVERY: Duration = Duration::from_mins(1);
    const MAX_STRANGERS: usize = 100;
    /// A stranger that comes again is news again after so long.
    const STRANGER_EVERY: Duration = Duration::from_mins(10);
    /// A tag that was missed is missed again after so long, and then each time after four times as long.
    const MISSED_EVERY: Duration = Duration::from_mins(4);
    const MISSED_AT_MOST: u32 = 4;

    /// A van that departs says what is on board.
    pub(super) fn begin(&mut self) {
        (self.reported, self.news, self.checked) = (None, News::Some, None);
        self.strangers.clear();
        self.missed.clear();
        self.changed.clear();
    }

    /// Whether it may be missed now: for the first time at once.
    fn may_miss(&self, key: &str, now: Uptime) -> bool {
        self.missed.get(key).is_none_or(|(times, last)| {
            let longer = 4_u32.pow(times.saturating_sub(1).min(Self::MISSED_AT_MOST));
            now.since(*last) >= Self::MISSED_EVERY * longer
        })
    }

    /// Notes that one of ours came or went.
    fn note(&mut self, key: String, tag: TagState, now: Uptime) {
        let mut news = News::Some;
        if tag == TagState::Missing {
            let (times, last) = self.missed.entry(key.clone()).or_insert((0, now));
            (*times, *last) = (times.saturating_add(1), now);
            if *times == 1 {
                news = News::Missing;
            }
        }
        self.news = self.news.max(news);
        self.changed.insert(key);
    }

    /// Notes a tag that is not ours.
    fn meet(&mut self, parcel: Parcel, at: Uptime) {
        if let Some(known) = self.strangers.get_mut(&parcel.key) {
            let was_gone = !Self::is_present(Some(&known.last), at);
            known.last = at;
            if was_gone && at.since(known.news) >= Self::STRANGER_EVERY {
                known.news = at;
                self.news = self.news.max(News::Some);
            }
            return;
        }
        if self.strangers.len() >= Self::MAX_STRANGERS {
            self.strangers.retain(|_, stranger| Self::is_present(Some(&stranger.last), at));
        }
        if self.strangers.len() < Self::MAX_STRANGERS {
            self.news = self.news.max(News::Some);
            let key = parcel.key.clone();
            self.strangers.insert(key, Stranger { parcel, last: at, news: at });
        }
    }

    pub(super) fn deadline(&self) -> Option<Uptime> {
        self.heard?;
        self.checked.map(|checked| checked + Self::CHECKED_EVERY)
    }

    fn is_present(last: Option<&Uptime>, now: Uptime) -> bool {
        last.is_some_and(|last| now.since(*last) < Self::PRESENT)
    }
}

impl Delivery {
    /// Counts a tag: its event comes by time.
    pub(super) fn read_tag(&mut self, scan: &Scan) -> ScanVerdict {
        if self.duty.duty != Duty::On {
            return ScanVerdict::OffDuty;
        }
        let text = String::from_utf8_lossy(&scan.bytes);
        let hex = text.trim().to_ascii_uppercase();
        let Some(candidate) = epc::tag(&hex) else {
            self.counters.garbage += 1;
            return ScanVerdict::Garbage;
        };
        self.tags.heard = Some(scan.at);
        self.tags.since.get_or_insert(scan.at);
        let uri = candidate.uri(&self.config.domain);
        let ours = self.board.tagged(&hex).or_else(|| self.board.tagged(&candidate.key));
        let ours = ours.or_else(|| self.board.tagged(&uri)).map(str::to_owned);
        let key = normalised(&candidate.key);
        let ours = ours.or_else(|| self.board.knows(&key).then_some(key));
        match ours {
            Some(key) => {
                self.tags.ours.insert(key, scan.at);
            }
            None if candidate.kind.names_a_parcel() => {
                self.tags.meet(Parcel { key: candidate.key, epc: uri }, scan.at);
            }
            None => self.counters.strange_tags += 1,
        }
        ScanVerdict::Tag
    }

    /// Looks, now and then, at what is there and what is not.
    pub(super) fn inventory(&mut self, now: Uptime, when: When, out: &mut Happenings) {
        let tags = &self.tags;
        let checked = tags.checked.is_some_and(|at| now.since(at) < Tags::CHECKED_EVERY);
        if tags.heard.is_none() || checked || self.duty.duty != Duty::On {
            return;
        }
        self.tags.checked = Some(now);
        if self.trip.phase != Phase::Out || self.manifest.is_none() {
            self.tags.ours.retain(|_, last| now.since(*last) < Tags::PRESENT);
            return;
        }
        self.compare(now);
        let late = self.tags.reported.is_none_or(|at| now.since(at) >= Tags::REPORTED_EVERY);
        let hears = self.tags.heard.is_some_and(|heard| now.since(heard) < Tags::PRESENT);
        let due = match self.tags.news {
            News::Missing => true,
            News::Some => late && hears,
            News::None => false,
        };
        if due {
            self.report_tags(now, when, out);
        }
    }

    /// Compares what is read with what was reported.
    fn compare(&mut self, now: Uptime) {
        let since = self.tags.since.unwrap_or(now);
        let first = self.tags.reported.is_none();
        let here = self.trip.visit.map(|visit| visit.seq);
        let manifest = self.manifest.clone();
        let mut changes = Vec::new();
        for (key, state) in self.board.iter().filter(|(_, state)| state.status.is_on_board()) {
            let last = self.tags.ours.get(key);
            let grace = Some(&since).filter(|_| last.is_none() && state.tag == TagState::Present);
            let stop = manifest.as_deref().and_then(|manifest| self.board.stop(key, manifest));
            let carried = here.is_some() && stop.map(|stop| stop.seq) == here;
            match (state.tag, Tags::is_present(last.or(grace), now)) {
                (TagState::Unread | TagState::Missing, true) => {
                    changes.push((key.to_owned(), TagState::Present));
                }
                (TagState::Present, false) if !carried && self.tags.may_miss(key, now) => {
                    changes.push((key.to_owned(), TagState::Missing));
                }
                (TagState::Unread, false)
                    if first && self.board.has_tag(key, manifest.as_deref()) =>
                {
                    changes.push((key.to_owned(), TagState::Missing));
                }
                _ => {}
            }
        }
        let gone = changes.iter().filter(|(_, tag)| *tag == TagState::Missing).count();
        let silent = self.tags.heard.is_none_or(|heard| now.since(heard) >= Tags::HEARD);
        for (key, tag) in changes {
            let missing = tag == TagState::Missing;
            if missing && silent && gone > 1 {
                continue;
            }
            if let Some(state) = self.board.change(&key) {
                state.tag = tag;
            }
            self.tags.note(key, tag, now);
        }
    }

    fn report_tags(&mut self, now: Uptime, when: When, out: &mut Happenings) {
        let mut present = Vec::new();
        let mut missing = Vec::new();
        let mut unexpected = Vec::new();
        for (key, state) in self.board.iter() {
            match (state.status.is_on_board(), state.tag) {
                (true, TagState::Present) => present.push(self.board.parcel(key)),
                (true, TagState::Missing) => missing.push(self.board.parcel(key)),
                (true, TagState::Unread) => {}
                (false, _) => {
                    let read = Tags::is_present(self.tags.ours.get(key), now);
                    if read && self.trip.visit.is_none() && unexpected.len() < Tags::MAX_STRANGERS {
                        unexpected.push(self.board.parcel(key));
                    }
                }
            }
        }
        self.tags.strangers.retain(|_, stranger| now.since(stranger.last) < Tags::STRANGER_EVERY);
        let strangers = self.tags.strangers.values();
        let there = strangers.filter(|stranger| Tags::is_present(Some(&stranger.last), now));
        let room = Tags::MAX_STRANGERS.saturating_sub(unexpected.len());
        unexpected.extend(there.take(room).map(|stranger| stranger.parcel.clone()));
        (self.tags.reported, self.tags.news) = (Some(now), News::None);
        let mut changed = std::mem::take(&mut self.tags.changed);
        // What is wrong comes first: who reads only that reads one event.
        let mut left = missing.len();
        let mut unexpected = Some(unexpected);
        for mut missing in parts([missing, present].concat()) {
            let present = missing.split_off(left.min(missing.len()));
            left -= missing.len();
            let lists = (missing, present, unexpected.take().unwrap_or_default());
            self.tell_inventory(lists, &mut changed, when, out);
        }
    }

    fn tell_inventory(
        &mut self,
        (missing, present, unexpected): (Vec<Parcel>, Vec<Parcel>, Vec<Parcel>),
        changed: &mut BTreeSet<String>,
        when: When,
        out: &mut Happenings,
    ) {
        let there: Vec<String> = present.iter().map(|parcel| parcel.key.clone()).collect();
        let window = Tags::PRESENT;
        let happening = Happening::Inventory { present, missing, unexpected, window };
        let van = self.config.van.clone();
        let record = self.tell(when, self.here.place(when.utc), &van, happening, out);
        for key in there.iter().filter(|key| changed.remove(*key)) {
            if let Some(state) = self.board.change(key) {
                state.saw(&record);
            }
        }
    }
}
