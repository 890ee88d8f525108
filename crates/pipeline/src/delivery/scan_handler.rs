//! Handles scans: identifies the code and dispatches to control codes, RFID tags and parcels.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event_clock::{EventTime, elapsed};
use super::parcel_states::ParcelState;
use super::scan::{Scan, ScanEffect, ScanResult};
use super::{DeliveryOutput, DeliveryTracker};
use waypost_model::driver_input::{ControlCode, ReportedOutcome};
use waypost_model::duty::Duty;
use waypost_model::event::{
    Alert, ErrorReason, EventKind, EventRecord, Parcel, ReaderKind, ScanSource,
};
use waypost_model::parcel::code::{Candidate, Code, CodeKind, normalised};
use waypost_model::units::{Uptime, UtcTime};

/// A repeated code within this time counts as the same scan.
const REPEAT_WINDOW: Duration = Duration::from_secs(2);
/// A control card applies to the next scan, or undoes the last one, within this time.
const CARD_VALID_FOR: Duration = Duration::from_mins(1);
/// Maximum number of sighting events per minute, for known and unknown parcels each. More come from
/// a faulty scanner, or from a label left in front of it.
const MAX_SEEN_PER_MINUTE: u32 = 30;
/// Maximum length of the raw scan text in an event, in bytes.
const MAX_RAW: usize = 128;
/// Maximum length of an operator-defined parcel number, in bytes.
const MAX_OWN_NUMBER: usize = 48;

/// Context for the next scan, persisted as the state document `moment`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ScanContext {
    /// Outcome for the next scan, and the time of its control card.
    armed: Option<(ReportedOutcome, UtcTime)>,
    /// Newest code and its time. Not persisted: a faulty scanner changes it many times a second.
    #[serde(skip)]
    last_code: Option<(String, UtcTime)>,
    /// Newest code that caused an event, and its time.
    last_reported: Option<(String, UtcTime)>,
    /// Last undoable scan.
    undo: Option<Undo>,
    /// Start of the current minute, and number of scans of unknown parcels in it.
    #[serde(skip)]
    unknown_this_minute: Option<(UtcTime, u32)>,
    /// The same for sightings of known parcels.
    #[serde(skip)]
    seen_this_minute: Option<(UtcTime, u32)>,
}

/// Scan that can be undone: its event, and the parcel's state before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Undo {
    record: EventRecord,
    before: Option<(String, ParcelState)>,
}

impl ScanContext {
    /// Lets the same code follow at once as a new scan.
    fn allow_repeat(&mut self) {
        (self.last_code, self.last_reported) = (None, None);
    }

    /// Restores the newest code after a restart.
    pub(super) fn resume(&mut self) {
        self.last_code.clone_from(&self.last_reported);
    }
}

impl DeliveryTracker {
    pub(super) fn handle_scan(&mut self, scan: &Scan, out: &mut DeliveryOutput) -> ScanResult {
        if scan.reader == ReaderKind::Rfid {
            return self.handle_tag(scan);
        }
        self.counters.scans += 1;
        let Some(code) = Code::parse(&scan.bytes) else {
            self.counters.unrecognized += 1;
            return ScanResult::Unrecognized;
        };
        // Without time there may be no duty, and off duty there may be no time: this card requires
        // neither.
        if let Some(ControlCode::Duty(duty)) = code.control().and_then(ControlCode::parse) {
            self.set_duty(duty, scan.at, out);
            return ScanResult::Applied;
        }
        if self.duty.duty != Duty::On {
            self.counters.off_duty += 1;
            return ScanResult::OffDuty;
        }
        match self.clock.time_at(scan.at) {
            Some(when) => self.process_code(scan, &code, when, out),
            None if self.pending_scans.push(scan) => ScanResult::Deferred,
            None => {
                self.counters.dropped += 1;
                ScanResult::Dropped
            }
        }
    }

    /// Processes the pending scans once the time is known.
    pub(super) fn process_pending(&mut self, now: Uptime, out: &mut DeliveryOutput) {
        if self.clock.time_at(now).is_none() {
            return;
        }
        while let Some(waiter) = self.pending_scans.pop() {
            let when = self.clock.backdate(waiter.at.unwrap_or(now));
            let Some((code, when)) = Code::parse(&waiter.scan.bytes).zip(when) else { continue };
            // The current position may differ from the position at the time of the scan.
            let known = waiter.at.is_some() && self.position.is_current_at(when.utc);
            let good_fix = (!known).then(|| self.position.take_position());
            self.process_code(&waiter.scan, &code, when, out);
            if let Some(good_fix) = good_fix {
                self.position.restore_position(good_fix);
            }
        }
    }

    fn process_code(
        &mut self,
        scan: &Scan,
        code: &Code,
        when: EventTime,
        out: &mut DeliveryOutput,
    ) -> ScanResult {
        if let Some(control) = code.control() {
            return self.apply_control_code(control, when, out);
        }
        // Serial numbers are case-sensitive, but the keys of the manifest are normalised.
        let known = code.match_manifest(|key| self.parcels.contains(&normalised(key)));
        let candidate = known.unwrap_or(code.most_likely());
        if known.is_none() && !is_parcel_candidate(candidate) {
            self.counters.unrecognized += 1;
            return ScanResult::Unrecognized;
        }
        let key = if known.is_some() { normalised(&candidate.key) } else { candidate.key.clone() };
        let last = self.scan_context.last_code.replace((key.clone(), when.utc));
        let repeats = |(last, utc): (String, UtcTime)| {
            last == key && utc <= when.utc && elapsed(utc, when.utc) < REPEAT_WINDOW
        };
        if last.is_some_and(repeats) {
            self.counters.repeats += 1;
            return ScanResult::Repeat;
        }
        let armed = self.scan_context.armed.take();
        let armed = armed.filter(|(_, said)| elapsed(*said, when.utc) <= CARD_VALID_FOR);
        let reading = scan_source(scan.reader, code, candidate);
        let became = if known.is_some() {
            let fixed = self.config.station_sources.contains(&scan.source);
            self.interpret_scan(
                &key,
                reading,
                (armed.map(|(outcome, _)| outcome), fixed),
                when,
                out,
            )
        } else {
            let epc = candidate.uri(&self.config.domain);
            self.scan_unknown(Parcel { key: key.clone(), epc }, reading, when, out)
        };
        match became {
            Some(became) => {
                self.scan_context.last_reported.clone_from(&self.scan_context.last_code);
                ScanResult::Parcel { key, effect: became }
            }
            None => ScanResult::Dropped,
        }
    }

    fn scan_unknown(
        &mut self,
        parcel: Parcel,
        reading: ScanSource,
        when: EventTime,
        out: &mut DeliveryOutput,
    ) -> Option<ScanEffect> {
        self.counters.unknown += 1;
        if !within_quota(&mut self.scan_context.unknown_this_minute, when.utc) {
            self.counters.dropped += 1;
            return None;
        }
        let subject = parcel.key.clone();
        let happening = EventKind::Seen { parcel, source: reading, alert: Some(Alert::Unknown) };
        let record = self.emit(when, self.position.location_at(when.utc), &subject, happening, out);
        self.scan_context.undo = Some(Undo { record, before: None });
        Some(ScanEffect::Seen(Some(Alert::Unknown)))
    }

    /// Takes one sighting of a known parcel from the per-minute quota. Returns whether it may be
    /// emitted.
    pub(super) fn take_seen_quota(&mut self, when: EventTime) -> bool {
        let may = within_quota(&mut self.scan_context.seen_this_minute, when.utc);
        self.counters.dropped += u64::from(!may);
        may
    }

    fn apply_control_code(
        &mut self,
        text: &str,
        when: EventTime,
        out: &mut DeliveryOutput,
    ) -> ScanResult {
        match ControlCode::parse(text) {
            None => {
                self.counters.unrecognized += 1;
                ScanResult::UnknownControlCode
            }
            Some(ControlCode::Next(outcome)) => {
                // Allow the last parcel to be scanned again, now with the outcome of the card.
                self.scan_context.allow_repeat();
                self.scan_context.armed = Some((outcome, when.utc));
                ScanResult::Armed(outcome)
            }
            Some(ControlCode::Undo) if self.undo(when, out) => ScanResult::Undone,
            Some(ControlCode::Undo) => ScanResult::NothingToUndo,
            Some(ControlCode::Delay(delay)) => {
                self.route.delay = delay;
                ScanResult::Applied
            }
            // Duty codes are applied before a scan is queued.
            Some(ControlCode::Duty(_)) => ScanResult::Applied,
        }
    }

    /// Remembers the newest scan for undo.
    pub(super) fn remember_undo(&mut self, record: EventRecord, key: &str, before: ParcelState) {
        self.scan_context.undo = Some(Undo { record, before: Some((key.to_owned(), before)) });
    }

    /// Forgets the last undoable scan.
    pub(super) fn clear_undo(&mut self) {
        self.scan_context.undo = None;
    }

    /// Undoes the newest scan. Returns whether there was one within a minute.
    pub(super) fn undo(&mut self, when: EventTime, out: &mut DeliveryOutput) -> bool {
        self.scan_context.armed = None;
        let Some(Undo { record, before }) = self.scan_context.undo.take() else { return false };
        if elapsed(record.event.utc, when.utc) > CARD_VALID_FOR {
            return false;
        }
        self.scan_context.allow_repeat();
        if let Some((key, before)) = before {
            let newest = self.parcels.state(&key).and_then(|state| state.sighting);
            if newest.is_none_or(|sighting| sighting.id != record.event.id) {
                return false;
            }
            if let Some(state) = self.parcels.state_mut(&key) {
                state.merge_scan(before);
            }
        }
        self.retract(record, when, out);
        true
    }

    pub(super) fn retract(
        &mut self,
        record: EventRecord,
        when: EventTime,
        out: &mut DeliveryOutput,
    ) {
        let subject = record.event.id.to_string();
        let happening = EventKind::Retracted {
            event: Box::new(record.event),
            seq: record.seq,
            error: ErrorReason::DidNotOccur,
            corrected_by: Vec::new(),
        };
        self.emit(when, self.position.location_at(when.utc), &subject, happening, out);
    }
}

/// Counts an event in the current minute. Returns whether it is within the quota.
fn within_quota(minute: &mut Option<(UtcTime, u32)>, utc: UtcTime) -> bool {
    let same = minute.filter(|(since, _)| since.millis_since(utc).unsigned_abs() < 60_000);
    let (since, count) = same.unwrap_or((utc, 0));
    *minute = Some((since, (count + 1).min(MAX_SEEN_PER_MINUTE)));
    count < MAX_SEEN_PER_MINUTE
}

/// Returns whether an unlisted number may be a parcel: not a trade item and not a location.
fn is_parcel_candidate(candidate: &Candidate) -> bool {
    let own = || {
        let key = candidate.key.as_bytes();
        let fits = (6..=MAX_OWN_NUMBER).contains(&key.len());
        fits && key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(byte))
    };
    candidate.kind.identifies_parcel() || candidate.kind == CodeKind::Unknown && own()
}

fn scan_source(by: ReaderKind, code: &Code, candidate: &Candidate) -> ScanSource {
    let mut raw = code.text.clone();
    raw.truncate(raw.floor_char_boundary(MAX_RAW));
    ScanSource {
        reader: by,
        symbology: code.symbology.map(waypost_model::parcel::code::Symbology::aim),
        raw: (raw != candidate.key).then_some(raw),
        check_ok: candidate.check_ok,
    }
}
