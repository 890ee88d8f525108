//! A simulated day through the van's production code: the reported events match the ground truth.

use waypost::core::PipelineOutput;
use waypost::core::calendar::{DateHint, RELEASE_DATE};
use waypost::core::delivery::event::{Event, EventKind, ReaderKind};
use waypost::core::delivery::{
    DeliveryTracker, DeliveryConfig, EventId, EventRecord, ManifestResult, Scan,
};
use waypost::core::record::Record;
use waypost::simulate::{Day, GroundTruthEvent, DayEvent, Route, Scanner};
use waypost::units::Uptime;
use waypost::wire::manifest;

use crate::support::{pipeline, repository};

/// Events and points recorded by the van, and the ground truth.
pub(crate) struct Played {
    pub(crate) events: Vec<EventRecord>,
    pub(crate) points: Vec<Record>,
    pub(crate) facts: Vec<GroundTruthEvent>,
}

/// Plays the short round of deliveries, drawn from this seed.
pub(crate) fn short_day(seed: u64) -> Played {
    let mut route = Route::load(&repository("config/routes/deliveries_short.toml")).unwrap();
    route.settings.seed = seed;
    record(route)
}

/// Returns the reported events, and the ground truth.
fn play(route: Route) -> (Vec<Event>, Vec<GroundTruthEvent>) {
    let Played { events, facts, .. } = record(route);
    (events.into_iter().map(|record| record.event).collect(), facts)
}

fn record(route: Route) -> Played {
    let day = Day::new(route);
    let delivery = DeliveryTracker::new(DeliveryConfig::new("VAN-042", "id.example.com"), &[]);
    let mut pipeline = pipeline(DateHint::NotBefore(RELEASE_DATE)).with_delivery(delivery);
    let mut out = PipelineOutput::default();
    let orders = manifest::parse(day.manifest().as_bytes());
    let taken =
        pipeline.update_delivery(&mut out, |delivery, out| delivery.manifest(orders, Uptime::ZERO, out));
    assert_eq!(taken, Some(ManifestResult::Accepted));
    let mut facts = Vec::new();
    for moment in day {
        match moment {
            DayEvent::Epoch(burst) => pipeline.push(&burst.bytes, burst.at, &mut out),
            DayEvent::GroundTruth(fact) => facts.push(fact),
            DayEvent::Scan(scan) => {
                let by = match scan.scanner {
                    Scanner::Hand => ReaderKind::Barcode,
                    Scanner::Portal => ReaderKind::Rfid,
                };
                let source = scan.scanner.as_str().to_owned();
                let (bytes, at) = (scan.line.into_bytes(), scan.at);
                let scan = Scan { source, reader: by, bytes, at, rssi: None, antenna: None };
                pipeline.update_delivery(&mut out, |delivery, out| delivery.scan(&scan, out));
            }
        }
    }
    Played { events: out.delivery.events, points: out.records, facts }
}

/// Event type, parcel or stop, and time in milliseconds since 1970.
pub(crate) type EventKey = (&'static str, String, i64);

/// Returns the reported and not retracted events, ordered by type and subject.
pub(crate) fn reported_events(events: &[Event]) -> Vec<EventKey> {
    let retracted: Vec<EventId> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Retracted { event, .. } => Some(event.id),
            _ => None,
        })
        .collect();
    let kept = events.iter().filter(|event| !retracted.contains(&event.id));
    let told = kept.filter_map(|event| {
        let subject = match &event.kind {
            EventKind::Loaded { parcel, .. }
            | EventKind::Delivered { parcel, .. }
            | EventKind::Attempted { parcel, .. }
            | EventKind::Damaged { parcel, .. }
            | EventKind::Returned { parcel, .. }
            | EventKind::Seen { parcel, .. } => parcel.key.clone(),
            EventKind::Arrived { stop, .. } => stop.id.clone(),
            EventKind::Departed { .. } => String::new(),
            _ => return None,
        };
        Some((event.kind.as_str(), subject, event.utc.as_unix_ms()))
    });
    sorted(told)
}

fn sorted(told: impl Iterator<Item = EventKey>) -> Vec<EventKey> {
    let mut told: Vec<EventKey> = told.collect();
    told.sort();
    told
}

/// Returns the same for the ground truth, without facts that no device can detect.
pub(crate) fn truth(facts: &[GroundTruthEvent]) -> Vec<EventKey> {
    use waypost::simulate::GroundTruthKind as True;
    let known = facts.iter().filter(|fact| {
        matches!(
            fact.kind,
            True::Loaded
                | True::Departed
                | True::Arrived
                | True::Delivered
                | True::Attempted
                | True::Damaged
                | True::Returned
                | True::Seen(_)
        )
    });
    sorted(known.map(|fact| {
        let subject = fact.parcel.as_ref().or(fact.stop.as_ref()).cloned().unwrap_or_default();
        (fact.kind.as_str(), subject, fact.utc.as_unix_ms())
    }))
}

/// Compares both summaries of the day: counts exactly, times and the odometer within a receiver's
/// accuracy.
fn compare(events: &[Event], facts: &[GroundTruthEvent]) {
    let said = events.iter().find_map(|event| match &event.kind {
        EventKind::Completed { summary, .. } => Some(*summary),
        _ => None,
    });
    let truth = facts.iter().find_map(|fact| match fact.kind {
        waypost::simulate::GroundTruthKind::Completed(summary) => Some(summary),
        _ => None,
    });
    let (said, truth) = (said.unwrap(), truth.unwrap());
    let counts = [said.stops_total, said.stops_served, said.delivered, said.attempted];
    let counts = counts.map(|count| usize::try_from(count).unwrap());
    let expected = [truth.stops_total, truth.stops_served, truth.delivered, truth.attempted];
    assert_eq!(counts, expected);
    let late_s = said.duration.as_secs_f64() - truth.duration.as_secs_f64();
    assert!(late_s.abs() < 60.0, "the route took {late_s} s longer");
    let (said_m, true_m) = (said.distance.as_metres(), truth.distance.as_metres());
    assert!((said_m / true_m - 1.0).abs() < 0.02, "{said_m} m, {true_m} m");
}

#[test]
fn what_the_van_says_of_its_day_is_what_truly_happened() {
    for seed in [1, 2] {
        let mut route = Route::load(&repository("config/routes/deliveries_short.toml")).unwrap();
        route.settings.seed = seed;
        let (events, facts) = play(route);
        let (said, truth) = (reported_events(&events), truth(&facts));
        let what = |told: &[EventKey]| -> Vec<(&str, String)> {
            told.iter().map(|(name, subject, _)| (*name, subject.clone())).collect()
        };
        assert_eq!(what(&said), what(&truth), "seed {seed}");
        for ((name, subject, said_ms), (_, _, true_ms)) in said.iter().zip(&truth) {
            // A scan is reported at once; a standstill or departure must last before it is
            // reported.
            let within_ms = match *name {
                "route.departed" => 180_000,
                "stop.arrived" => 15_000,
                _ => 1_500,
            };
            let late_ms = said_ms - true_ms;
            assert!(late_ms.abs() <= within_ms, "{name} {subject}: {late_ms} ms late");
        }
        let missing = events.iter().any(|event| match &event.kind {
            EventKind::Inventory { missing, .. } => {
                let lost = facts.iter().find(|fact| fact.kind.as_str() == "parcel.lost");
                let lost = lost.unwrap().parcel.as_deref();
                missing.iter().any(|parcel| Some(parcel.key.as_str()) == lost)
            }
            _ => false,
        });
        assert!(missing, "the RFID tags reveal the lost parcel");
        compare(&events, &facts);
    }
}
