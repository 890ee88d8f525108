//! Bytes of a scanner → what they say: a control card, a tag, a parcel, or nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::board::ParcelState;
use super::clock::{When, between};
use super::duty::Duty;
use super::event::{Alert, Error, EventRecord, Happening, Parcel, ReadBy, Reading};
use super::saying::{Control, Fate};
use super::scan::{Became, Scan, ScanVerdict};
use super::{Delivery, Happenings};
use crate::core::parcel::code::{Candidate, Code, Kind, normalised};
use crate::units::{Uptime, UtcTime};

/// The same code within so long is one scan.
const REPEATS: Duration = Duration::from_secs(2);
/// A control card is about the next scan, or the last one, within so long.
const CARD_HOLDS: Duration = Duration::from_mins(1);
/// Parcels that are only seen: more than so many events in a minute come from a broken scanner, or a label before it.
const SEEN_A_MINUTE: u32 = 30;
/// Of what the scanner sent, in bytes.
const MAX_RAW: usize = 128;
/// Of a number of the operator's own, in bytes.
const MAX_OWN_NUMBER: usize = 48;

/// What the next scan depends on, as the document `moment`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Moment {
    /// What the next scan means, and when a card said so.
    armed: Option<(Fate, UtcTime)>,
    /// The newest code, and when it was read. A broken scanner changes it many times a second.
    #[serde(skip)]
    last: Option<(String, UtcTime)>,
    /// The newest code of which something was told.
    told: Option<(String, UtcTime)>,
    /// What the newest scan did.
    undo: Option<Undo>,
    /// When the first of the unknown parcels of this minute was read, and how many there were.
    #[serde(skip)]
    unknown: Option<(UtcTime, u32)>,
    /// The same of known parcels that were only seen.
    #[serde(skip)]
    seen: Option<(UtcTime, u32)>,
}

/// What a scan did, and what was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Undo {
    record: EventRecord,
    before: Option<(String, ParcelState)>,
}

impl Moment {
    /// The same code may follow at once: it is a new scan.
    fn forget_last(&mut self) {
        (self.last, self.told) = (None, None);
    }

    /// After a restart.
    pub(super) fn resume(&mut self) {
        self.last.clone_from(&self.told);
    }
}

impl Delivery {
    pub(super) fn read(&mut self, scan: &Scan, out: &mut Happenings) -> ScanVerdict {
        if scan.by == ReadBy::Rfid {
            return self.read_tag(scan);
        }
        self.counters.scans += 1;
        let Some(code) = Code::read(&scan.bytes) else {
            self.counters.garbage += 1;
            return ScanVerdict::Garbage;
        };
        // Without duty there may be no time, and without time no duty: this card needs none.
        if let Some(Control::Duty(duty)) = code.control().and_then(Control::parse) {
            self.set_duty(duty, scan.at, out);
            return ScanVerdict::Noted;
        }
        if self.duty.duty != Duty::On {
            self.counters.off_duty += 1;
            return ScanVerdict::OffDuty;
        }
        match self.clock.when(scan.at) {
            Some(when) => self.understand(scan, &code, when, out),
            None if self.waiting.push(scan) => ScanVerdict::Waits,
            None => {
                self.counters.dropped += 1;
                ScanVerdict::GivenUp
            }
        }
    }

    /// Tells the scans that waited, if the time is known.
    pub(super) fn wake(&mut self, now: Uptime, out: &mut Happenings) {
        if self.clock.when(now).is_none() {
            return;
        }
        while let Some(waiter) = self.waiting.pop() {
            let when = self.clock.late(waiter.at.unwrap_or(now));
            let Some((code, when)) = Code::read(&waiter.scan.bytes).zip(when) else { continue };
            // Where the van is by now says nothing of where it was when the scan was made.
            let known = waiter.at.is_some() && self.here.was_seen_at(when.utc);
            let sight = (!known).then(|| self.here.look_away());
            self.understand(&waiter.scan, &code, when, out);
            if let Some(sight) = sight {
                self.here.look_back(sight);
            }
        }
    }

    fn understand(
        &mut self,
        scan: &Scan,
        code: &Code,
        when: When,
        out: &mut Happenings,
    ) -> ScanVerdict {
        if let Some(control) = code.control() {
            return self.control(control, when, out);
        }
        // Case matters in a serial number, and the manifest's keys have none.
        let known = code.known(|key| self.board.knows(&normalised(key)));
        let candidate = known.unwrap_or(code.best());
        if known.is_none() && !may_be_a_parcel(candidate) {
            self.counters.garbage += 1;
            return ScanVerdict::Garbage;
        }
        let key = if known.is_some() { normalised(&candidate.key) } else { candidate.key.clone() };
        let last = self.moment.last.replace((key.clone(), when.utc));
        let repeats = |(last, utc): (String, UtcTime)| {
            last == key && utc <= when.utc && between(utc, when.utc) < REPEATS
        };
        if last.is_some_and(repeats) {
            self.counters.repeats += 1;
            return ScanVerdict::Repeat;
        }
        let armed = self.moment.armed.take();
        let armed = armed.filter(|(_, said)| between(*said, when.utc) <= CARD_HOLDS);
        let reading = reading(scan.by, code, candidate);
        let became = if known.is_some() {
            let fixed = self.config.station_sources.contains(&scan.source);
            self.scan_parcel(&key, reading, (armed.map(|(fate, _)| fate), fixed), when, out)
        } else {
            let epc = candidate.uri(&self.config.domain);
            self.scan_unknown(Parcel { key: key.clone(), epc }, reading, when, out)
        };
        match became {
            Some(became) => {
                self.moment.told.clone_from(&self.moment.last);
                ScanVerdict::Parcel { key, became }
            }
            None => ScanVerdict::GivenUp,
        }
    }

    fn scan_unknown(
        &mut self,
        parcel: Parcel,
        reading: Reading,
        when: When,
        out: &mut Happenings,
    ) -> Option<Became> {
        self.counters.unknown += 1;
        if !counts(&mut self.moment.unknown, when.utc) {
            self.counters.dropped += 1;
            return None;
        }
        let subject = parcel.key.clone();
        let happening = Happening::Seen { parcel, reading, alert: Some(Alert::Unknown) };
        let record = self.tell(when, self.here.place(when.utc), &subject, happening, out);
        self.moment.undo = Some(Undo { record, before: None });
        Some(Became::Seen(Some(Alert::Unknown)))
    }

    /// Whether a known parcel that is only seen may be told.
    pub(super) fn may_tell_seen(&mut self, when: When) -> bool {
        let may = counts(&mut self.moment.seen, when.utc);
        self.counters.dropped += u64::from(!may);
        may
    }

    fn control(&mut self, text: &str, when: When, out: &mut Happenings) -> ScanVerdict {
        match Control::parse(text) {
            None => {
                self.counters.garbage += 1;
                ScanVerdict::BadControl
            }
            Some(Control::Next(fate)) => {
                // The parcel that was scanned just before is scanned again because of the card.
                self.moment.forget_last();
                self.moment.armed = Some((fate, when.utc));
                ScanVerdict::Armed(fate)
            }
            Some(Control::Undo) if self.undo(when, out) => ScanVerdict::Undone,
            Some(Control::Undo) => ScanVerdict::NothingToUndo,
            Some(Control::Delay(delay)) => {
                self.trip.delay = delay;
                ScanVerdict::Noted
            }
            // It was heard before it waited.
            Some(Control::Duty(_)) => ScanVerdict::Noted,
        }
    }

    /// Notes what the newest scan did.
    pub(super) fn may_undo(&mut self, record: EventRecord, key: &str, before: ParcelState) {
        self.moment.undo = Some(Undo { record, before: Some((key.to_owned(), before)) });
    }

    /// The newest scan is nothing that could be undone.
    pub(super) fn forget_undo(&mut self) {
        self.moment.undo = None;
    }

    /// Takes the newest scan back; whether there was one within a minute.
    pub(super) fn undo(&mut self, when: When, out: &mut Happenings) -> bool {
        self.moment.armed = None;
        let Some(Undo { record, before }) = self.moment.undo.take() else { return false };
        if between(record.event.utc, when.utc) > CARD_HOLDS {
            return false;
        }
        self.moment.forget_last();
        if let Some((key, before)) = before {
            let newest = self.board.state(&key).and_then(|state| state.sighting);
            if newest.is_none_or(|sighting| sighting.id != record.event.id) {
                return false;
            }
            if let Some(state) = self.board.change(&key) {
                state.scanned_as(before);
            }
        }
        self.retract(record, when, out);
        true
    }

    pub(super) fn retract(&mut self, record: EventRecord, when: When, out: &mut Happenings) {
        let subject = record.event.id.to_string();
        let happening = Happening::Retracted {
            event: Box::new(record.event),
            seq: record.seq,
            error: Error::DidNotOccur,
            corrected_by: Vec::new(),
        };
        self.tell(when, self.here.place(when.utc), &subject, happening, out);
    }
}

/// Counts an event of this minute; whether it is not too many.
fn counts(minute: &mut Option<(UtcTime, u32)>, utc: UtcTime) -> bool {
    let same = minute.filter(|(since, _)| since.millis_since(utc).unsigned_abs() < 60_000);
    let (since, count) = same.unwrap_or((utc, 0));
    *minute = Some((since, (count + 1).min(SEEN_A_MINUTE)));
    count < SEEN_A_MINUTE
}

/// A number that the manifest does not know, and that is no trade item or place all the same.
fn may_be_a_parcel(candidate: &Candidate) -> bool {
    let own = || {
        let key = candidate.key.as_bytes();
        let fits = (6..=MAX_OWN_NUMBER).contains(&key.len());
        fits && key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(byte))
    };
    candidate.kind.names_a_parcel() || candidate.kind == Kind::Unknown && own()
}

fn reading(by: ReadBy, code: &Code, candidate: &Candidate) -> Reading {
    let mut raw = code.text.clone();
    raw.truncate(raw.floor_char_boundary(MAX_RAW));
    Reading {
        by,
        symbology: code.symbology.map(crate::core::parcel::code::Symbology::aim),
        raw: (raw != candidate.key).then_some(raw),
        check_ok: candidate.check_ok,
    }
}
