//! Scenarios of a delivery day, also with random restarts.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::snapshot::StopStatus;
use super::*;
use crate::trip_detector::{TripConfig, TripDetector};
use waypost_model::command::{CommandId, CommandStatus};
use waypost_model::driver_input::{DelayReason, ReportedOutcome};
use waypost_model::event::{self, Event};
use waypost_model::event::{
    Alert, EventKind, FailureReason, Outcome, Preferences, ProofMethod, ReaderKind, TimeSource,
};
use waypost_model::fix::Fix;
use waypost_model::fix::testing::fix;
use waypost_model::manifest;
use waypost_model::manifest::testing::{draft, stop};
use waypost_model::manifest::{RawManifest, RejectedManifest};
use waypost_model::motion::TripState;
use waypost_model::units::Speed;

/// Keys of parcels with operator-defined numbers.
const A: &str = "PARCEL-A";
const B: &str = "PARCEL-B";
const C: &str = "PARCEL-C";

/// Van on a road to the north. The station is at its start; the stops are at 1,000 m, 2,000 m and
/// 3,000 m.
struct Van {
    config: DeliveryConfig,
    delivery: DeliveryTracker,
    documents: BTreeMap<String, Vec<u8>>,
    journey: TripDetector,
    ms: u32,
    north_m: f64,
    out: DeliveryOutput,
    /// All events of the scenario.
    events: Vec<EventRecord>,
    has_fix: bool,
}

fn parsed(draft: RawManifest) -> Result<Option<Manifest>, RejectedManifest> {
    let (route, rev) = (Some(draft.route.clone()), Some(draft.rev));
    let manifest = Manifest::new(draft).map(Some);
    manifest.map_err(|error| RejectedManifest { route, rev, error })
}

fn three_stops() -> RawManifest {
    draft(1, vec![stop(1, 1000.0, &[A]), stop(2, 2000.0, &[B]), stop(3, 3000.0, &[C])])
}

impl Van {
    fn new(manifest: RawManifest) -> Self {
        let mut van = Self::without_route();
        assert_eq!(van.manifest(manifest), ManifestResult::Accepted);
        van.go(10, 0.0);
        van
    }

    fn without_route() -> Self {
        let config = DeliveryConfig::new("VAN-042", "id.example.com");
        Self {
            delivery: DeliveryTracker::new(config.clone(), &[]),
            config,
            documents: BTreeMap::new(),
            journey: TripDetector::new(TripConfig::default(), TripState::default()),
            ms: 0,
            north_m: 0.0,
            out: DeliveryOutput { next_seq: Seq::new(1), ..DeliveryOutput::default() },
            events: Vec::new(),
            has_fix: true,
        }
    }

    fn now(&self) -> Uptime {
        Uptime::from_millis(u64::from(self.ms))
    }

    /// Commits the output.
    fn commit(&mut self) {
        self.events.append(&mut self.out.events);
        for StateDocChange { key, value } in self.out.state_docs.drain(..) {
            assert!(value.as_ref().is_none_or(|value| value.len() <= MAX_STATE_DOC_BYTES), "{key}");
            match value {
                Some(value) => self.documents.insert(key, value),
                None => self.documents.remove(&key),
            };
        }
    }

    fn manifest(&mut self, draft: RawManifest) -> ManifestResult {
        let manifest = parsed(draft);
        let verdict = self.delivery.manifest(manifest, self.now(), &mut self.out);
        self.commit();
        verdict
    }

    fn fix(&mut self, mps: f64) {
        let fix = Fix { speed: Speed::from_mps(mps.abs()), ..fix(self.ms, self.north_m) };
        self.journey.observe(&fix);
        let TripState { motion, odometer, .. } = self.journey.state();
        let position = self.journey.anchor().unwrap_or(fix.position);
        match self.delivery.admission_for(position) {
            Admission::Keep => {
                let fix = Fix { position, ..fix };
                self.delivery.observe(&fix, motion, odometer, &mut self.out);
            }
            Admission::Withhold(_) => {
                self.delivery.observe_withheld(fix.utc, fix.read_at, &mut self.out);
            }
        }
    }

    /// Drives north at `mps` for `seconds`.
    fn go(&mut self, seconds: u32, mps: f64) {
        for _ in 0..seconds {
            self.ms += 1000;
            self.north_m += mps;
            if self.has_fix {
                self.fix(mps);
            }
            while self.delivery.deadline().is_some_and(|due| due <= self.now()) {
                let before = self.delivery.deadline();
                self.delivery.tick(self.now(), &mut self.out);
                assert_ne!(self.delivery.deadline(), before, "a passed deadline must advance");
            }
            self.commit();
        }
    }

    /// Drives to a position and stops there.
    fn drive_to(&mut self, north_m: f64, stand_s: u32) {
        let road_distance_m = north_m - self.north_m;
        let mut left_m = road_distance_m.abs();
        while left_m >= 5.0 {
            self.go(1, 10.0_f64.copysign(road_distance_m));
            left_m -= 10.0;
        }
        self.go(stand_s, 0.0);
    }

    fn scan_by(&mut self, source: &str, by: ReaderKind, text: &str) -> ScanResult {
        self.ms += 10;
        let scan = Scan {
            source: source.to_owned(),
            reader: by,
            bytes: text.as_bytes().to_vec(),
            at: self.now(),
            rssi: None,
            antenna: None,
        };
        let verdict = self.delivery.scan(&scan, &mut self.out);
        self.commit();
        verdict
    }

    fn scan(&mut self, text: &str) -> ScanResult {
        self.scan_by("hand", ReaderKind::Barcode, text)
    }

    fn scan_effect(&mut self, text: &str) -> ScanEffect {
        match self.scan(text) {
            ScanResult::Parcel { effect: became, .. } => became,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn load(&mut self, keys: &[&str]) {
        for key in keys {
            assert_eq!(self.scan_effect(key), ScanEffect::Loaded, "{key}");
            self.go(3, 0.0);
        }
    }

    fn driver_input(
        &mut self,
        saying: &DriverInput,
    ) -> Result<DriverInputResult, DriverInputError> {
        let said = self.delivery.driver_input(saying, self.now(), &mut self.out);
        self.commit();
        said
    }

    /// Simulates a power cut: restarts the agent with the committed state.
    fn restart(&mut self) {
        let kept: Vec<_> = self.documents.clone().into_iter().collect();
        self.delivery = DeliveryTracker::new(self.config.clone(), &kept);
        assert_eq!(self.delivery.snapshot().counters.unreadable, 0);
    }

    /// Returns kind and parcels or stop of each event.
    fn event_log(&self) -> Vec<String> {
        self.events.iter().map(|record| describe(&record.event)).collect()
    }

    fn newest(&self) -> &Event {
        &self.events.last().expect("an event").event
    }
}

fn describe(event: &Event) -> String {
    let keys = |parcels: &[event::Parcel]| {
        let keys: Vec<_> =
            parcels.iter().map(|parcel| parcel.key.trim_start_matches("PARCEL-")).collect();
        keys.join("+")
    };
    let short = |parcel: &event::Parcel| keys(std::slice::from_ref(parcel));
    let subject = match &event.kind {
        EventKind::Loaded { parcel, .. }
        | EventKind::Delivered { parcel, .. }
        | EventKind::Attempted { parcel, .. }
        | EventKind::Returned { parcel, .. }
        | EventKind::NotFound { parcel, .. }
        | EventKind::Damaged { parcel, .. }
        | EventKind::Void { parcel, .. }
        | EventKind::Seen { parcel, .. } => short(parcel),
        EventKind::Departed { parcels, .. } => keys(parcels),
        EventKind::Arrived { stop, .. } => stop.seq.to_string(),
        EventKind::Inventory { present, missing, .. } => {
            format!("{} -{}", keys(present), keys(missing))
        }
        EventKind::Retracted { event, .. } => describe(event),
        EventKind::Completed { summary, .. } => {
            format!("{} of {}", summary.delivered, summary.stops_total)
        }
    };
    let (_, name) = event.kind.as_str().split_once('.').unwrap();
    format!("{name} {subject}")
}

#[test]
fn a_day_without_trouble_is_told_once_each_and_in_order() {
    let mut van = Van::new(three_stops());
    van.load(&[A, B, C]);
    van.drive_to(1000.0, 60);
    assert_eq!(van.scan_effect(A), ScanEffect::Delivered(Outcome::HandedOver));
    van.drive_to(2000.0, 60);
    assert_eq!(van.scan_effect(B), ScanEffect::Delivered(Outcome::HandedOver));
    van.drive_to(3000.0, 60);
    assert_eq!(van.scan_effect(C), ScanEffect::Delivered(Outcome::HandedOver));
    van.drive_to(0.0, 3600);
    assert_eq!(
        van.event_log(),
        [
            "loaded A",
            "loaded B",
            "loaded C",
            "departed A+B+C",
            "arrived 1",
            "delivered A",
            "arrived 2",
            "delivered B",
            "arrived 3",
            "delivered C",
            "completed 3 of 3",
        ]
    );
    let EventKind::Completed { summary, .. } = &van.newest().kind else { panic!() };
    assert_eq!((summary.stops_served, summary.attempted, summary.on_board), (3, 0, 0));
    assert!((5700.0..6100.0).contains(&summary.distance.as_metres()), "{summary:?}");
    assert!((175..=182).contains(&summary.dwell.as_secs()), "{summary:?}");
    assert!((700..800).contains(&summary.duration.as_secs()), "{summary:?}");
    assert_eq!(van.delivery.snapshot().duty, Duty::Off, "off duty ten minutes after the return");
    let numbers: Vec<_> = van.events.iter().map(|record| record.seq.get()).collect();
    assert_eq!(numbers, (1..=11).collect::<Vec<_>>());
}

#[test]
fn a_delivery_carries_its_proof() {
    let mut route = three_stops();
    let preferences = &mut route.stops[0].parcels[0].preferences;
    preferences.safe_place = Some("porch".to_owned());
    preferences.authority_to_leave = Some(true);
    let mut van = Van::new(route);
    van.load(&[A]);
    van.drive_to(1010.0, 60);
    van.scan_effect(A);
    let event = van.newest();
    let EventKind::Delivered { stop, outcome, proof, source: reading, .. } = &event.kind else {
        panic!()
    };
    assert_eq!(stop.as_ref().unwrap().seq, 1);
    assert_eq!((*outcome, proof.method), (Outcome::HandedOver, ProofMethod::ScanInGeofence));
    assert!((proof.distance_to_stop.unwrap().as_metres() - 10.0).abs() < 1.0);
    assert!((55..=61).contains(&proof.dwell.unwrap().as_secs()), "{:?}", proof.dwell);
    assert_eq!(proof.fix_age, Some(Duration::from_millis(10)));
    assert_eq!(proof.preferences.safe_place.as_deref(), Some("porch"));
    assert_eq!(proof.preferences.authority_to_leave, Some(true));
    assert_eq!((reading.reader, reading.raw.as_deref()), (ReaderKind::Barcode, None));
    assert_eq!(event.time_source, TimeSource::Gnss);
    assert_eq!(event.route.as_deref(), Some("R-1"));
    assert!(event.location.is_some());
}

#[test]
fn what_a_scan_means_depends_on_parcel_and_place() {
    let wrong = |seq: u32| {
        let due = event::StopRef { seq, id: format!("stop-{seq}") };
        ScanEffect::Seen(Some(Alert::WrongStop { due }))
    };
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    van.drive_to(1000.0, 60);
    assert_eq!(van.scan_effect(B), wrong(2));
    assert_eq!(van.scan_effect("STRANGER-1"), ScanEffect::Seen(Some(Alert::Unknown)));
    assert_eq!(van.scan_effect(A), ScanEffect::Delivered(Outcome::HandedOver));
    van.go(10, 0.0);
    assert_eq!(van.scan_effect(A), ScanEffect::Seen(Some(Alert::Finished)));
    van.drive_to(1850.0, 5);
    assert_eq!(
        van.scan_effect(B),
        ScanEffect::Delivered(Outcome::HandedOver),
        "near its stop, and at no other"
    );
    let EventKind::Delivered { proof, .. } = &van.newest().kind else { panic!() };
    assert_eq!(proof.method, ProofMethod::ScanOutside);
    assert_eq!(van.scan_effect(C), wrong(3));
    let counters = van.delivery.snapshot().counters;
    assert_eq!((counters.wrong_stop, counters.unknown, counters.not_loaded), (2, 1, 1));
}

#[test]
fn a_serial_number_in_lower_case_is_found_in_the_manifest() {
    let mut van = Van::new(draft(1, vec![stop(1, 1000.0, &["09521234567899abC1"])]));
    let verdict = van.scan("]C1010952123456789921abC1");
    let key = "09521234567899ABC1".to_owned();
    assert_eq!(verdict, ScanResult::Parcel { key, effect: ScanEffect::Loaded });
}

#[test]
fn a_second_scan_at_the_station_takes_a_parcel_out_and_a_third_puts_it_in_again() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    assert_eq!(van.scan_effect(A), ScanEffect::Loaded, "double scan");
    van.go(5, 0.0);
    assert_eq!(van.scan_effect(A), ScanEffect::Unloaded);
    van.go(5, 0.0);
    van.load(&[A]);
    assert_eq!(van.event_log(), ["loaded A", "retracted loaded A", "loaded A"]);
    let EventKind::Retracted { event, seq, .. } = &van.events[1].event.kind else { panic!() };
    assert_eq!((event.as_ref(), *seq), (&van.events[0].event, van.events[0].seq));
    let ids: std::collections::BTreeSet<_> =
        van.events.iter().map(|record| record.event.id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_second_trip_lists_only_what_is_new_and_ends_once_more() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    van.drive_to(1000.0, 60);
    van.scan_effect(A);
    van.drive_to(0.0, 120);
    van.load(&[B]);
    van.drive_to(2000.0, 60);
    van.scan_effect(B);
    van.drive_to(0.0, 120);
    assert_eq!(
        van.event_log(),
        [
            "loaded A",
            "departed A",
            "arrived 1",
            "delivered A",
            "completed 1 of 3",
            "loaded B",
            "departed B",
            "arrived 2",
            "delivered B",
            "completed 2 of 3",
        ]
    );
}

#[test]
fn cards_tell_what_became_of_the_next_parcel() {
    let mut van = Van::new(three_stops());
    van.load(&[A, B, C]);
    van.drive_to(1000.0, 60);
    assert_eq!(
        van.scan("VANCTL:ATTEMPT:AQ"),
        ScanResult::Armed(ReportedOutcome::Attempted(FailureReason::NoOneHome))
    );
    assert_eq!(van.scan_effect(A), ScanEffect::Attempted(FailureReason::NoOneHome));
    van.drive_to(2000.0, 60);
    van.scan("VANCTL:LEAVE:SAFE");
    assert_eq!(van.scan_effect(B), ScanEffect::Delivered(Outcome::SafePlace));
    van.drive_to(3000.0, 60);
    van.scan("VANCTL:DAMAGED");
    assert_eq!(van.scan_effect(C), ScanEffect::Damaged);
    van.scan("VANCTL:ATTEMPT:A7");
    van.go(61, 0.0);
    assert_eq!(
        van.scan_effect(C),
        ScanEffect::Delivered(Outcome::HandedOver),
        "a card is valid for a minute"
    );
    assert_eq!(van.scan("VANCTL:FLY"), ScanResult::UnknownControlCode);
    van.drive_to(0.0, 60);
    assert_eq!(van.scan_effect(A), ScanEffect::Returned);
    let EventKind::Returned { reason, .. } = &van.newest().kind else { panic!() };
    assert_eq!(*reason, Some(FailureReason::NoOneHome));
}

#[test]
fn a_card_is_about_the_parcel_that_is_scanned_again_at_once_and_not_about_the_next_one() {
    let mut van = Van::new(three_stops());
    van.load(&[A, B]);
    van.drive_to(2000.0, 60);
    assert!(matches!(van.scan_effect(A), ScanEffect::Seen(Some(Alert::WrongStop { .. }))));
    van.ms += 700;
    assert_eq!(van.scan("VANCTL:DAMAGED"), ScanResult::Armed(ReportedOutcome::Damaged));
    van.ms += 700;
    assert_eq!(van.scan_effect(A), ScanEffect::Damaged);
    van.ms += 7000;
    assert_eq!(van.scan_effect(B), ScanEffect::Delivered(Outcome::HandedOver));
}

#[test]
fn the_last_scan_can_be_taken_back_for_a_minute() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    van.drive_to(1000.0, 60);
    van.scan_effect(A);
    assert_eq!(van.delivery.snapshot().delivered, 1);
    assert_eq!(van.scan("VANCTL:UNDO"), ScanResult::Undone);
    assert_eq!((van.delivery.snapshot().delivered, van.delivery.snapshot().on_board), (0, 1));
    assert_eq!(van.scan("VANCTL:UNDO"), ScanResult::NothingToUndo);
    assert_eq!(van.scan_effect(A), ScanEffect::Delivered(Outcome::HandedOver));
    van.go(61, 0.0);
    assert_eq!(van.scan("VANCTL:UNDO"), ScanResult::NothingToUndo);
    let tail = van.event_log().split_off(3);
    assert_eq!(tail, ["delivered A", "retracted delivered A", "delivered A"]);
}

#[test]
fn what_is_taken_back_takes_neither_a_recall_along_nor_what_left_the_station() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    let order = CommandKind::RecallParcel { parcel: A.to_owned() };
    let command = Command { id: CommandId([7; 16]), expires: None, kind: order };
    van.delivery.command(&command, van.now(), &mut van.out);
    van.commit();
    assert_eq!(van.scan("VANCTL:UNDO"), ScanResult::Undone);
    assert_eq!(van.scan_effect(A), ScanEffect::Seen(Some(Alert::Recalled)));

    let mut van = Van::new(three_stops());
    van.load(&[A, B]);
    van.go(40, 10.0);
    assert_eq!(van.scan("VANCTL:UNDO"), ScanResult::NothingToUndo);
    assert_eq!(van.event_log(), ["loaded A", "loaded B", "departed A+B"]);
    assert_eq!(van.delivery.snapshot().on_board, 2);
}

#[test]
fn a_person_can_say_what_no_scanner_reads() {
    let mut van = Van::new(three_stops());
    van.load(&[A, B]);
    van.drive_to(1000.0, 60);
    let parcel = |key: &str, outcome| DriverInput::Parcel { key: key.to_owned(), outcome };
    let said =
        van.driver_input(&parcel(" parcel-a", ReportedOutcome::Delivered(Outcome::Neighbour)));
    assert!(matches!(said, Ok(DriverInputResult::Parcel { key, .. }) if key == A));
    let EventKind::Delivered { proof, .. } = &van.newest().kind else { panic!() };
    assert_eq!(proof.method, ProofMethod::Manual);
    let again = van.driver_input(&parcel(A, ReportedOutcome::NotFound));
    assert_eq!(again, Err(DriverInputError::Finished(A.to_owned())));
    assert!(matches!(
        van.driver_input(&parcel("X", ReportedOutcome::Damaged)),
        Err(DriverInputError::Unknown(_))
    ));
    assert!(matches!(
        van.driver_input(&parcel(C, ReportedOutcome::Void)),
        Err(DriverInputError::NotOnBoard(_))
    ));
    van.driver_input(&parcel(B, ReportedOutcome::NotFound)).unwrap();
    let EventKind::NotFound { last_seen, stop, .. } = &van.newest().kind else { panic!() };
    assert_eq!(last_seen.unwrap().id, van.events[2].event.id, "last seen in the departure event");
    assert_eq!(stop.as_ref().unwrap().seq, 2);
    assert_eq!(van.driver_input(&DriverInput::Undo), Ok(DriverInputResult::Undone));
}

#[test]
fn the_stations_own_scanner_finds_what_never_left() {
    let mut van = Van::new(three_stops());
    van.config.station_sources.push("dock".to_owned());
    van.restart();
    van.go(1, 0.0);
    van.load(&[A, B]);
    van.drive_to(1000.0, 60);
    let verdict = van.scan_by("dock", ReaderKind::Barcode, B);
    assert!(matches!(verdict, ScanResult::Parcel { effect: ScanEffect::Void, .. }), "{verdict:?}");
    assert_eq!(van.delivery.snapshot().on_board, 1);
}

#[test]
fn off_duty_nothing_is_recorded_and_a_card_begins_the_duty() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    assert_eq!(van.scan("VANCTL:DUTY:BREAK"), ScanResult::Applied);
    assert_eq!(
        van.delivery.admission_for(fix(0, 0.0).position),
        Admission::Withhold(Withheld::OffDuty)
    );
    assert_eq!(van.scan(B), ScanResult::OffDuty);
    van.drive_to(1000.0, 60);
    assert_eq!(van.event_log(), ["loaded A"]);
    van.scan("VANCTL:DUTY:ON");
    van.go(60, 0.0);
    assert_eq!(van.scan_effect(A), ScanEffect::Delivered(Outcome::HandedOver), "at the stop");
    van.drive_to(2000.0, 30);
    assert_eq!(van.event_log().split_off(1), ["delivered A", "arrived 2"]);
}

#[test]
fn a_route_that_follows_begins_the_duty_that_the_end_of_the_old_one_ended() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    van.drive_to(1000.0, 60);
    van.scan_effect(A);
    van.drive_to(0.0, 700);
    assert_eq!(van.delivery.snapshot().duty, Duty::Off);
    let mut next = draft(1, vec![stop(1, 1000.0, &[B])]);
    next.route = "R-2".to_owned();
    van.manifest(next);
    van.go(2, 0.0);
    assert_eq!(van.delivery.snapshot().duty, Duty::On);
    assert!(
        !van.documents.contains_key("parcel/PARCEL-A"),
        "documents of the old route are deleted"
    );
}

#[test]
fn a_private_place_is_in_no_event() {
    let mut van = Van::new(three_stops());
    let centre = fix(0, 2000.0).position;
    van.config.privacy_zones =
        vec![PrivacyZone { centre, radius: Distance::from_metres(300.0).unwrap() }];
    van.restart();
    van.go(1, 0.0);
    van.load(&[A, B]);
    van.drive_to(2000.0, 60);
    assert_eq!(van.scan_effect(B), ScanEffect::Delivered(Outcome::HandedOver));
    let event = van.newest();
    assert_eq!(event.location, None);
    let EventKind::Delivered { proof, .. } = &event.kind else { panic!() };
    assert_eq!((proof.distance_to_stop, proof.method), (None, ProofMethod::ScanOutside));
}

#[test]
fn a_private_place_and_a_break_end_the_stay_at_a_stop() {
    let mut van = Van::new(three_stops());
    let centre = fix(0, 1600.0).position;
    van.config.privacy_zones =
        vec![PrivacyZone { centre, radius: Distance::from_metres(520.0).unwrap() }];
    van.restart();
    van.go(1, 0.0);
    van.load(&[A, B]);
    van.drive_to(1000.0, 60);
    van.drive_to(1600.0, 600);
    assert_eq!(van.delivery.snapshot().stop_status, Some(StopStatus::InTransitTo));
    let mut on_break = Van::new(three_stops());
    on_break.load(&[A, B]);
    on_break.drive_to(1000.0, 60);
    on_break.scan("VANCTL:DUTY:BREAK");
    on_break.drive_to(1500.0, 600);
    on_break.scan("VANCTL:DUTY:ON");
    for mut van in [van, on_break] {
        assert_eq!(van.scan_effect(A), ScanEffect::Delivered(Outcome::HandedOver));
        assert_eq!(van.newest().location, None);
        let EventKind::Delivered { proof, .. } = &van.newest().kind else { panic!() };
        assert_eq!((proof.method, proof.dwell), (ProofMethod::ScanOutside, None));
        van.scan("VANCTL:DUTY:ON");
        van.drive_to(0.0, 400);
        let EventKind::Completed { summary, .. } = &van.newest().kind else { panic!() };
        assert!((50..=65).contains(&summary.dwell.as_secs()), "{summary:?}");
        assert!(summary.idle.as_secs() < 5, "{summary:?}");
    }
}

#[test]
fn scans_wait_for_the_time_also_over_a_power_cut() {
    let mut van = Van::without_route();
    van.manifest(three_stops());
    van.has_fix = false;
    van.go(10, 0.0);
    assert_eq!(van.scan(A), ScanResult::Deferred);
    van.restart();
    van.go(20, 0.0);
    assert_eq!(van.scan(B), ScanResult::Deferred);
    van.go(20, 0.0);
    assert!(van.events.is_empty());
    van.has_fix = true;
    van.go(4, 0.0);
    assert_eq!(van.event_log(), ["loaded A", "loaded B"]);
    let (first, second) = (&van.events[0].event, &van.events[1].event);
    assert_eq!((first.time_source, second.time_source), (TimeSource::Late, TimeSource::Late));
    assert_eq!(second.utc, fix(30_020, 0.0).utc, "extrapolated backwards");
    assert_eq!(first.utc, fix(54_020, 0.0).utc, "scan of an earlier run gets the first known time");
    assert!(!van.documents.keys().any(|key| key.starts_with("waiting/")));
}

#[test]
fn a_scan_that_waited_is_not_where_the_van_is_when_the_time_comes() {
    let mut van = Van::without_route();
    van.manifest(three_stops());
    van.has_fix = false;
    van.go(10, 0.0);
    assert_eq!(van.scan(A), ScanResult::Deferred);
    van.go(40, 0.0);
    van.go(40, 10.0);
    van.has_fix = true;
    van.drive_to(1000.0, 60);
    assert_eq!(van.event_log(), ["loaded A", "departed A", "arrived 1"], "loaded under the roof");

    let mut van = Van::new(three_stops());
    van.load(&[A, B]);
    van.go(40, 10.0);
    van.restart();
    van.has_fix = false;
    van.go(60, 10.0);
    assert_eq!(van.scan(A), ScanResult::Deferred);
    van.go(70, 10.0);
    van.has_fix = true;
    van.go(10, 10.0);
    assert_eq!(van.event_log().split_off(2), ["departed A+B", "delivered A"], "at the door");
    assert_eq!(van.newest().location, None);
    let EventKind::Delivered { proof, .. } = &van.newest().kind else { panic!() };
    let evidence = (proof.method, proof.fix_age, proof.distance_to_stop, proof.dwell);
    assert_eq!(evidence, (ProofMethod::ScanOutside, None, None, None));
}

#[test]
fn a_receiver_that_died_says_nothing_of_where_the_van_is_an_hour_later() {
    let mut van = Van::new(three_stops());
    van.load(&[A, B]);
    van.has_fix = false;
    van.go(3600, 1.0);
    assert_eq!(van.scan_effect(A), ScanEffect::Seen(None), "loaded, location unknown");
    assert_eq!((van.newest().location, van.delivery.snapshot().on_board), (None, 2));

    let mut van = Van::new(three_stops());
    van.load(&[A, B]);
    van.drive_to(1000.0, 60);
    van.has_fix = false;
    van.go(3600, 1.0);
    for key in [A, B] {
        assert_eq!(van.scan_effect(key), ScanEffect::Delivered(Outcome::HandedOver));
        let EventKind::Delivered { proof, .. } = &van.newest().kind else { panic!() };
        let evidence = (proof.method, proof.fix_age, proof.distance_to_stop, proof.dwell);
        assert_eq!(evidence, (ProofMethod::ScanOutside, None, None, None), "{key}");
        assert_eq!(van.newest().location, None);
    }
}

#[test]
fn under_the_roof_after_the_return_parcels_come_back_and_new_ones_are_loaded_and_on_the_road_neither()
 {
    let mut van = Van::new(three_stops());
    van.load(&[A, B]);
    van.drive_to(1000.0, 60);
    van.scan_effect(A);
    van.drive_to(0.0, 100);
    van.has_fix = false;
    van.go(120, 0.0);
    assert_eq!(van.scan_effect(B), ScanEffect::Returned);
    van.go(10, 0.0);
    assert_eq!(van.scan_effect(C), ScanEffect::Loaded);

    let mut van = Van::new(three_stops());
    van.load(&[A, B]);
    van.drive_to(1000.0, 60);
    van.scan_effect(A);
    van.drive_to(0.0, 100);
    van.load(&[C]);
    van.has_fix = false;
    van.go(1800, 1.0);
    assert_eq!(van.scan_effect(B), ScanEffect::Delivered(Outcome::HandedOver));
    assert_eq!(van.scan_effect(C), ScanEffect::Seen(None));
}

#[test]
fn only_so_many_scans_wait() {
    let mut van = Van::without_route();
    van.has_fix = false;
    let verdicts: Vec<_> = (0..1100).map(|n| van.scan(&format!("STRANGER-{n}"))).collect();
    let waits = verdicts.iter().filter(|verdict| **verdict == ScanResult::Deferred).count();
    assert_eq!((waits, van.delivery.snapshot().counters.dropped), (1000, 100));
    van.has_fix = true;
    van.go(10, 0.0);
    assert!(van.events.len() <= 60, "{} events of a faulty scanner", van.events.len());
}

#[test]
fn a_power_cut_at_a_stop_neither_doubles_nor_loses_the_arrival() {
    for stood_s in [1, 5, 9, 11, 40] {
        let mut van = Van::new(three_stops());
        van.load(&[A, B]);
        van.drive_to(1000.0, stood_s);
        van.restart();
        van.has_fix = false;
        van.go(180, 0.0);
        van.has_fix = true;
        van.go(60, 0.0);
        van.drive_to(2000.0, 60);
        let arrivals = van.event_log().iter().filter(|told| told.starts_with("arrived")).count();
        assert_eq!(arrivals, 2, "after {stood_s} s: {:?}", van.event_log());
    }
}

#[test]
fn a_van_that_wakes_at_the_next_stop_is_there_and_no_longer_at_the_last() {
    for next_m in [1130.0, 1300.0] {
        let mut van = Van::new(draft(1, vec![stop(1, 1000.0, &[A]), stop(2, next_m, &[B])]));
        van.load(&[A, B]);
        van.drive_to(1000.0, 60);
        van.restart();
        van.has_fix = false;
        van.drive_to(next_m, 5);
        van.has_fix = true;
        van.go(60, 0.0);
        assert_eq!(van.event_log().split_off(3), ["arrived 1", "arrived 2"], "{next_m} m");
    }
}

#[test]
fn a_jam_writes_nothing_and_a_drive_hardly_anything() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    van.drive_to(500.0, 1);
    van.out.state_docs.clear();
    let mut kept = 0;
    for _ in 0..100 {
        for mps in [0.0, 0.0, 0.0, 2.5, 2.5] {
            van.ms += 1000;
            van.north_m += mps * 0.2;
            van.fix(mps);
            kept += van.out.state_docs.len();
            van.commit();
        }
    }
    assert!(kept <= 2, "{kept} documents");
}

#[test]
fn two_doors_of_one_parking_place_are_two_stops() {
    let mut van = Van::new(draft(1, vec![stop(1, 1000.0, &[A]), stop(2, 1035.0, &[B])]));
    van.load(&[A, B]);
    van.drive_to(1010.0, 60);
    assert_eq!(van.scan_effect(A), ScanEffect::Delivered(Outcome::HandedOver));
    van.go(30, 0.0);
    assert_eq!(van.scan_effect(B), ScanEffect::Delivered(Outcome::HandedOver));
    let EventKind::Delivered { proof, .. } = &van.newest().kind else { panic!() };
    assert_eq!(proof.method, ProofMethod::ScanInGeofence);
    assert_eq!(van.delivery.snapshot().stops_remaining, Some(0));
    assert_eq!(van.event_log().split_off(3), ["arrived 1", "delivered A", "delivered B"]);
}

#[test]
fn the_first_departure_is_seen_though_the_van_was_off_duty_or_blind_at_the_station() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    van.has_fix = false;
    van.drive_to(600.0, 0);
    van.has_fix = true;
    van.go(25, 5.0);
    assert_eq!(van.event_log(), ["loaded A", "departed A"]);
}

#[test]
fn a_day_without_a_fix_does_not_make_the_agent_spin() {
    let mut route = three_stops();
    route.valid_until = Some("2027-01-17T08:00:00Z".to_owned());
    let mut van = Van::new(route);
    van.load(&[A]);
    van.drive_to(1000.0, 30);
    van.scan_by("roof", ReaderKind::Rfid, "3034257BF468D480000003EC");
    van.has_fix = false;
    for hours in [1_u32, 25, 60] {
        van.ms += hours * 3_600_000;
        van.delivery.tick(van.now(), &mut van.out);
        let due = van.delivery.deadline();
        assert!(due.is_none_or(|due| due > van.now()), "after {hours} h: {due:?}");
    }
}

#[test]
fn a_van_that_waits_in_a_jam_is_delayed_until_it_moves_on() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    van.drive_to(500.0, 1300);
    let delay = van.delivery.snapshot().delay.expect("long standstill");
    assert_eq!((delay.reason, delay.by.as_secs() / 60), (DelayReason::Other, 21));
    van.drive_to(1000.0, 20);
    assert_eq!(van.delivery.snapshot().delay, None);
    van.scan("VANCTL:DELAY:AO");
    assert_eq!(van.delivery.snapshot().delay.unwrap().reason, DelayReason::Weather);
    van.scan("VANCTL:DELAY:NONE");
    assert_eq!(van.delivery.snapshot().delay, None);
}

#[test]
fn the_view_tells_where_the_van_goes_next() {
    let mut van = Van::new(three_stops());
    van.load(&[A, B, C]);
    van.drive_to(700.0, 1);
    let view = van.delivery.snapshot();
    assert_eq!((view.stop_status, view.stop_seq), (Some(StopStatus::InTransitTo), Some(1)));
    let next = view.next_stop.unwrap();
    assert!((next.distance.unwrap().as_metres() - 300.0).abs() < 2.0);
    assert!(next.eta.is_some());
    van.drive_to(850.0, 1);
    assert_eq!(van.delivery.snapshot().stop_status, Some(StopStatus::IncomingAt));
    van.drive_to(1000.0, 20);
    assert_eq!(van.delivery.snapshot().stop_status, Some(StopStatus::StoppedAt));
    assert_eq!(van.delivery.snapshot().stops_remaining, Some(3));
    van.drive_to(2000.0, 20);
    van.scan_effect(B);
    let view = van.delivery.snapshot();
    assert_eq!((view.stops_remaining, view.on_board, view.delivered), (Some(2), 2, 1));
    assert_eq!(view.next_stop.unwrap().seq, 3, "skipped stops come last");
}

#[test]
fn a_manifest_is_replaced_by_a_higher_revision_and_by_nothing_else() {
    let mut van = Van::new(three_stops());
    van.load(&[A, B]);
    van.drive_to(1000.0, 60);
    van.scan_effect(A);
    assert_eq!(van.manifest(three_stops()), ManifestResult::Stale);
    let refusal = van.delivery.manifest(
        parsed(draft(9, vec![stop(1, f64::NAN, &[])])),
        Uptime::ZERO,
        &mut van.out,
    );
    assert_eq!(refusal, ManifestResult::Rejected);
    let view = van.delivery.snapshot();
    assert_eq!(view.manifest_rev, Some(1));
    let rejected = view.manifest_rejected.unwrap();
    assert_eq!((rejected.rev, rejected.error.pointer().as_str()), (Some(9), "/stops/0/lat"));
    let mut new = draft(2, vec![stop(7, 2000.0, &[B]), stop(8, 4000.0, &["PARCEL-D"])]);
    new.stops[0].id = "stop-2".to_owned();
    assert_eq!(van.manifest(new), ManifestResult::Accepted);
    let view = van.delivery.snapshot();
    assert_eq!((view.manifest_rev, view.manifest_rejected), (Some(2), None));
    assert_eq!((view.delivered, view.on_board), (1, 1));
    van.drive_to(2000.0, 20);
    assert_eq!(
        van.scan_effect(A),
        ScanEffect::Seen(Some(Alert::Finished)),
        "no longer listed, but still known"
    );
    assert_eq!(van.scan_effect(B), ScanEffect::Delivered(Outcome::HandedOver));
    let withdrawn = van.delivery.manifest(Ok(None), van.now(), &mut van.out);
    assert_eq!(withdrawn, ManifestResult::Withdrawn);
    van.commit();
    assert!(van.event_log().last().unwrap().starts_with("completed"));
    assert!(
        !van.documents.keys().any(|key| key.starts_with("parcel/") || key.starts_with("manifest/"))
    );
}

#[test]
fn a_manifest_whose_time_is_over_ends_the_duty_also_without_a_fix() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    let mut next = three_stops();
    next.rev = 2;
    next.valid_until = Some(fix(400_000, 0.0).utc.to_string());
    van.has_fix = false;
    van.go(500, 0.0);
    van.delivery.tick(van.now(), &mut van.out);
    assert_eq!(van.manifest(next), ManifestResult::Accepted);
    van.go(1, 0.0);
    assert_eq!(van.delivery.snapshot().duty, Duty::Off);
}

#[test]
fn between_close_stops_the_van_is_under_way_and_never_at_a_stop() {
    for spacing_m in [40.0, 90.0, 160.0] {
        let keys: Vec<String> = (1..=6).map(|stop| format!("PARCEL-{stop}")).collect();
        let stops = (1_u32..)
            .zip(&keys)
            .map(|(seq, key)| stop(seq, 1000.0 + f64::from(seq) * spacing_m, &[key]));
        let mut van = Van::new(draft(1, stops.collect()));
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        van.load(&keys);
        let drive = |van: &mut Van, to_m: f64| {
            while van.north_m + 8.0 < to_m {
                van.go(1, 8.0);
                let view = van.delivery.snapshot();
                assert_ne!(view.stop_status, Some(StopStatus::StoppedAt), "{spacing_m} {to_m}");
            }
            van.go(1, to_m - van.north_m);
        };
        for (index, key) in (1_u32..).zip(&keys) {
            drive(&mut van, 1000.0 + f64::from(index) * spacing_m);
            van.go(60, 0.0);
            let view = van.delivery.snapshot();
            let at = (view.stop_status, view.stop_seq);
            assert_eq!(at, (Some(StopStatus::StoppedAt), Some(index)), "{spacing_m} m");
            van.scan_effect(key);
        }
    }
}

#[test]
fn a_command_is_run_once_and_answered_each_time() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    let id = |n: u8| CommandId([n; 16]);
    let send = |van: &mut Van, n: u8, order: CommandKind, expires| {
        van.delivery.command(&Command { id: id(n), expires, kind: order }, van.now(), &mut van.out);
        let answer = van.out.command_results.pop().unwrap();
        van.commit();
        answer.status
    };
    let duty = || CommandKind::SetDuty(Duty::Break);
    assert_eq!(send(&mut van, 1, duty(), None), CommandStatus::Succeeded);
    van.scan("VANCTL:DUTY:ON");
    van.restart();
    van.go(1, 0.0);
    assert_eq!(send(&mut van, 1, duty(), None), CommandStatus::Succeeded);
    assert_eq!(van.delivery.snapshot().duty, Duty::On, "not executed again");
    assert_eq!(send(&mut van, 2, duty(), Some(fix(0, 0.0).utc)), CommandStatus::Expired);
    let recall = |key: &str| CommandKind::RecallParcel { parcel: key.to_owned() };
    assert_eq!(send(&mut van, 3, recall("X"), None), CommandStatus::Rejected);
    assert_eq!(send(&mut van, 4, recall(A), None), CommandStatus::Succeeded);
    let wishes = CommandKind::SetPreferences {
        route: None,
        stop: Some("stop-2".to_owned()),
        parcel: None,
        preferences: Preferences { neighbour: Some("No. 5".to_owned()), ..Preferences::default() },
    };
    assert_eq!(send(&mut van, 5, wishes, None), CommandStatus::Succeeded);
    assert_eq!(send(&mut van, 6, CommandKind::FlushOutbox, None), CommandStatus::Accepted);
    assert_eq!(van.out.forwarded_commands, [CommandKind::FlushOutbox]);
    let fly = CommandKind::Unsupported { name: "fly".to_owned() };
    assert_eq!(send(&mut van, 7, fly, None), CommandStatus::Rejected);
    let set = |preferences| CommandKind::SetPreferences {
        route: None,
        stop: None,
        parcel: Some(C.to_owned()),
        preferences,
    };
    let shed = Preferences { safe_place: Some("shed".to_owned()), ..Preferences::default() };
    let neighbour = Preferences { neighbour: Some("No. 5".to_owned()), ..Preferences::default() };
    let asked = |van: &Van| van.delivery.parcels.preferences(C, van.delivery.manifest.as_deref());
    assert_eq!(send(&mut van, 8, set(shed), None), CommandStatus::Succeeded);
    assert_eq!(send(&mut van, 9, set(neighbour.clone()), None), CommandStatus::Succeeded);
    assert_eq!(asked(&van), neighbour, "a later set replaces the earlier one");
    assert_eq!(send(&mut van, 10, set(Preferences::default()), None), CommandStatus::Succeeded);
    assert_eq!(asked(&van), Preferences::default(), "an empty set withdraws all");
    van.load(&[B]);
    van.drive_to(1000.0, 30);
    assert_eq!(van.scan_effect(A), ScanEffect::Seen(Some(Alert::Recalled)));
    van.drive_to(2000.0, 30);
    van.scan_effect(B);
    let EventKind::Delivered { proof, .. } = &van.newest().kind else { panic!() };
    assert_eq!(proof.preferences.neighbour.as_deref(), Some("No. 5"));
}

#[test]
fn a_thousand_commands_write_only_what_changes_something_and_the_newest_are_known_after_a_restart()
{
    let mut van = Van::new(three_stops());
    let order = |changes: bool| {
        let name = "x".repeat(64);
        if changes { CommandKind::ClearDelay } else { CommandKind::Unsupported { name } }
    };
    let send = |van: &mut Van, n: u16, changes: bool| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        id[2] = u8::from(changes);
        let command = Command { id: CommandId(id), expires: None, kind: order(changes) };
        van.delivery.command(&command, van.now(), &mut van.out);
        let written = van.out.state_docs.len();
        van.commit();
        (van.out.command_results.pop().unwrap().utc, written)
    };
    let mut first = Vec::new();
    for n in 0..500 {
        assert_eq!(send(&mut van, n, false).1, 0);
        let (utc, written) = send(&mut van, n, true);
        assert_eq!(written, 1);
        first.push(utc);
        van.go(1, 0.0);
    }
    assert_eq!(van.documents.keys().filter(|key| key.starts_with("command/")).count(), 256);
    van.restart();
    van.go(1, 0.0);
    for n in 244..500 {
        assert_eq!(send(&mut van, n, true), (first[usize::from(n)], 0), "{n}");
    }
    assert_ne!(send(&mut van, 0, true).0, first[0]);
}

#[test]
fn a_tag_that_falls_silent_is_reported_within_half_a_minute_and_once() {
    let mut route = three_stops();
    let tags = ["3034257BF468D480000003EC", "3034257BF468D480000003ED", "3034257BF468D480000003EE"];
    for (stop, tag) in route.stops.iter_mut().zip(tags) {
        stop.parcels[0].rfid = vec![tag.to_owned()];
    }
    let mut van = Van::new(route);
    van.load(&[A, B, C]);
    let read = |van: &mut Van, seconds: u32, mps: f64, tags: &[&str]| {
        for second in 0..seconds {
            for tag in tags.iter().filter(|_| second % 5 == 0) {
                assert_eq!(van.scan_by("roof", ReaderKind::Rfid, tag), ScanResult::Tag);
            }
            van.go(1, mps);
        }
    };
    read(&mut van, 30, 10.0, &tags);
    read(&mut van, 60, 5.0, &tags);
    assert_eq!(van.event_log().split_off(3), ["departed A+B+C", "inventory A+B+C -"]);
    let gone_at = van.now();
    read(&mut van, 200, 0.5, &tags[..2]);
    assert_eq!(van.event_log().split_off(5), ["inventory A+B -C"]);
    let reported = van.newest().utc;
    let late_ms = reported
        .millis_since(fix(u32::try_from(gone_at.since_start().as_millis()).unwrap(), 0.0).utc);
    assert!((10_000..=30_000).contains(&late_ms), "{late_ms} ms");
    read(&mut van, 30, 0.5, &tags);
    assert_eq!(van.event_log().split_off(6), ["inventory A+B+C -"], "the tag is present again");
    van.go(120, 0.5);
    assert_eq!(van.event_log().len(), 7, "no report while the reader is silent");
}

#[test]
fn tags_that_come_and_go_and_strangers_are_told_ever_more_rarely() {
    let keys: Vec<String> = (0..100).map(|n| format!("PARCEL-N{n:03}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut last = stop(1, 50_000.0, &keys);
    for (n, parcel) in last.parcels.iter_mut().enumerate() {
        parcel.rfid = vec![format!("3034257BF468D4800000{n:04X}")];
    }
    let tags: Vec<String> = last.parcels.iter().map(|parcel| parcel.rfid[0].clone()).collect();
    let mut van = Van::new(draft(1, vec![last]));
    van.load(&keys);
    let (events, mut documents) = (van.events.len(), 0);
    for second in 0..3600_u32 {
        if second % 5 == 0 {
            for (n, tag) in (0_u32..).zip(&tags) {
                let reads = n >= 10 || (second + 6 * n) % 60 < 30;
                if reads {
                    van.scan_by("roof", ReaderKind::Rfid, tag);
                    van.ms -= 10;
                }
            }
            // An unknown tag at each traffic light.
            if second % 60 < 30 {
                let sscc = "3114257BF4499602D2000000";
                assert_eq!(van.scan_by("roof", ReaderKind::Rfid, sscc), ScanResult::Tag);
                van.ms -= 10;
            }
        }
        van.ms += 1000;
        van.north_m += 5.0;
        van.fix(5.0);
        while van.delivery.deadline().is_some_and(|due| due <= van.now()) {
            van.delivery.tick(van.now(), &mut van.out);
        }
        documents += van.out.state_docs.len();
        van.commit();
    }
    let inventories = van.events.len() - events - 1;
    assert!((10..=60).contains(&inventories), "{inventories} inventories in an hour");
    assert!(documents <= 600, "{documents} documents in an hour");
}

#[test]
fn a_broken_scanner_and_a_label_before_it_write_little() {
    let mut van = Van::new(three_stops());
    van.load(&[A]);
    let (mut documents, events) = (0, van.events.len());
    for n in 0..3000 {
        van.ms += 10;
        let bytes = format!("NOISE-{n}").into_bytes();
        let (source, at) = ("hand".to_owned(), van.now());
        let scan =
            Scan { source, reader: ReaderKind::Barcode, bytes, at, rssi: None, antenna: None };
        van.delivery.scan(&scan, &mut van.out);
        documents += van.out.state_docs.len();
        van.commit();
    }
    assert!(van.events.len() - events <= 30 && documents <= 60, "{documents} documents");
}

#[test]
fn what_five_thousand_parcels_tell_fits_into_the_outbox() {
    let mut keys = Vec::new();
    let stops: Vec<_> = (0..5_u32)
        .map(|s| {
            let here: Vec<_> = (0..1000).map(|n| format!("1Z999AA1{:010}", s * 1000 + n)).collect();
            let mut stop = stop(s + 1, 50_000.0 + f64::from(s), &[]);
            let here_keys: Vec<&str> = here.iter().map(String::as_str).collect();
            stop.parcels = manifest::testing::stop(1, 0.0, &here_keys).parcels;
            for (n, parcel) in (0_u32..).zip(&mut stop.parcels) {
                parcel.rfid = vec![format!("3034257BF468D48{s:04X}{n:05X}")];
            }
            keys.extend(here);
            stop
        })
        .collect();
    let tags: Vec<String> =
        stops.iter().flat_map(|s| &s.parcels).map(|p| p.rfid[0].clone()).collect();
    let mut van = Van::new(draft(1, stops));
    for key in &keys {
        van.scan(key);
        van.ms += 90;
        if van.ms % 1000 < 100 {
            van.fix(0.0);
        }
    }
    van.go(5, 0.0);
    van.go(30, 10.0);
    let at = van.now();
    for tag in &tags {
        let bytes = tag.clone().into_bytes();
        let source = "roof".to_owned();
        let scan = Scan { source, reader: ReaderKind::Rfid, bytes, at, rssi: None, antenna: None };
        assert_eq!(van.delivery.scan(&scan, &mut van.out), ScanResult::Tag);
    }
    van.go(90, 10.0);
    let (mut departed, mut present) = (Vec::new(), 0);
    for record in &van.events {
        match &record.event.kind {
            EventKind::Departed { parcels, .. } => {
                departed.push((record.event.utc, parcels.len()));
            }
            EventKind::Inventory { present: there, .. } => present = present.max(there.len()),
            _ => continue,
        }
        assert!(postcard::to_allocvec(record).unwrap().len() < 128 * 1024);
    }
    assert_eq!(departed, [(departed[0].0, 1000); 5]);
    assert_eq!(present, 1000);
    let ids: std::collections::BTreeSet<_> = van.events.iter().map(|r| r.event.id).collect();
    assert_eq!(ids.len(), van.events.len());
}

#[test]
fn a_label_that_lies_before_the_stations_scanner_is_told_a_few_times_an_hour() {
    let mut van = Van::new(three_stops());
    van.config.station_sources.push("dock".to_owned());
    van.restart();
    van.go(1, 0.0);
    for _ in 0..600 {
        van.go(6, 0.0);
        van.scan_by("dock", ReaderKind::Barcode, A);
    }
    assert!(van.events.len() <= 12, "{} events", van.events.len());

    let mut van = Van::new(three_stops());
    van.load(&[A]);
    van.drive_to(2000.0, 60);
    let events = van.events.len();
    for _ in 0..600 {
        van.ms += 60;
        van.scan(A);
        van.scan(C);
    }
    assert_eq!(van.events.len() - events, 30, "in a minute");
}

/// Step of a random day.
#[derive(Clone, Debug)]
enum Step {
    Go(u32, f64),
    DriveTo(f64, u32),
    Scan(&'static str),
    Blind(u32),
    DriverInput(DriverInput),
    Recall,
    Revise(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let codes = prop::sample::select(vec![
        A,
        B,
        C,
        "STRANGER-7",
        "VANCTL:UNDO",
        "VANCTL:ATTEMPT:AQ",
        "VANCTL:DAMAGED",
        "VANCTL:LEAVE:SAFE",
        "VANCTL:NOTFOUND",
        "VANCTL:DUTY:ON",
        "VANCTL:DUTY:BREAK",
        "VANCTL:DUTY:OFF",
        "VANCTL:DELAY:AO",
        "VANCTL:",
        "4006381333931",
        "]C1",
        "\u{1d}",
    ]);
    let says = prop::sample::select(vec![
        DriverInput::Undo,
        DriverInput::Duty(Duty::On),
        DriverInput::Parcel { key: B.to_owned(), outcome: ReportedOutcome::Void },
        DriverInput::Parcel { key: A.to_owned(), outcome: ReportedOutcome::NotFound },
    ]);
    let places = prop::sample::select(vec![0.0, 500.0, 1000.0, 1900.0, 2000.0, 3000.0]);
    prop_oneof![
        // Below 1.5 m/s the van counts as stationary, and a restart loses the mean position of a
        // standstill.
        2 => (1..90_u32, 2.0..8.0, any::<bool>()).prop_map(|(seconds, mps, north)| {
            Step::Go(seconds, if north { mps } else { -mps })
        }),
        6 => (places, 1..90_u32).prop_map(|(place, seconds)| Step::DriveTo(place, seconds)),
        8 => codes.prop_map(Step::Scan),
        1 => (1..400_u32).prop_map(Step::Blind),
        1 => says.prop_map(Step::DriverInput),
        1 => Just(Step::Recall),
        1 => (1..4_u64).prop_map(Step::Revise),
    ]
}

fn live(van: &mut Van, step: &Step) {
    match step {
        Step::Go(seconds, mps) => van.go(*seconds, *mps),
        Step::DriveTo(place, seconds) => van.drive_to(*place, *seconds),
        Step::Scan(text) => {
            van.scan(text);
        }
        Step::Blind(seconds) => {
            van.has_fix = false;
            van.go(*seconds, 0.0);
            van.has_fix = true;
            van.go(1, 0.0);
        }
        Step::DriverInput(saying) => {
            let _ = van.driver_input(saying);
        }
        Step::Recall => {
            let order = CommandKind::RecallParcel { parcel: C.to_owned() };
            let command = Command { id: CommandId([3; 16]), expires: None, kind: order };
            van.delivery.command(&command, van.now(), &mut van.out);
            van.commit();
        }
        Step::Revise(rev) => {
            let stops = vec![stop(1, 1000.0, &[A]), stop(5, 2000.0, &[B, C])];
            van.manifest(draft(*rev, stops));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A power cut between any two steps does not change the events.
    #[test]
    fn a_restart_at_any_point_gives_the_same_events(
        steps in prop::collection::vec((step(), any::<bool>()), 1..40),
    ) {
        let (mut one, mut other) = (Van::new(three_stops()), Van::new(three_stops()));
        for (step, restarts) in &steps {
            if *restarts {
                other.restart();
            }
            // The first fix restores the position.
            one.go(1, 0.0);
            other.go(1, 0.0);
            live(&mut one, step);
            live(&mut other, step);
            prop_assert_eq!(one.event_log(), other.event_log());
        }
        // Standstills in a jam are not all persisted, so a restart may lose some idle time. It may
        // also lose the seconds of a visit since the newest document.
        for record in one.events.iter_mut().chain(&mut other.events) {
            if let EventKind::Completed { summary, .. } = &mut record.event.kind {
                (summary.idle, summary.dwell) = (Duration::ZERO, Duration::ZERO);
            }
        }
        prop_assert_eq!(&one.events, &other.events);
        let ids: std::collections::BTreeSet<_> = one.events.iter().map(|r| r.event.id).collect();
        prop_assert_eq!(ids.len(), one.events.len());
        for pair in one.events.windows(2) {
            prop_assert!(pair[0].seq < pair[1].seq && pair[0].event.utc <= pair[1].event.utc);
            prop_assert_eq!(pair[1].previous, Some(pair[0].seq));
        }
        prop_assert!(one.events.first().is_none_or(|first| first.previous.is_none()));
    }

    /// Any bytes from any scanner, and any state documents.
    #[test]
    fn no_bytes_can_panic(
        scans in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), any::<bool>()), 0..40),
        kept in prop::collection::vec(("(parcel/|waiting/|manifest/|route|stops|duty|moment|last_event|command/|)[0-9]{0,3}",
            prop::collection::vec(any::<u8>(), 0..80)), 0..20),
    ) {
        let mut van = Van::new(three_stops());
        van.delivery = DeliveryTracker::new(van.config.clone(), &kept);
        van.manifest(three_stops());
        for (bytes, radio) in scans {
            let reader = if radio { ReaderKind::Rfid } else { ReaderKind::Barcode };
            let scan = Scan { source: "x".to_owned(), reader, bytes, at: van.now(), rssi: None, antenna: None };
            van.delivery.scan(&scan, &mut van.out);
            van.go(1, 3.0);
        }
        let _ = van.delivery.snapshot();
    }
}
