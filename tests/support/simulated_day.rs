//! A simulated day through the production pipeline: the reported events and the ground truth.

#![allow(dead_code, reason = "each test program uses a part of it")]

use waypost_model::event::{Event, EventKind, ReaderKind};
use waypost_model::event::{EventId, EventRecord};
use waypost_model::record::Record;
use waypost_model::units::RELEASE_DATE;
use waypost_model::units::Uptime;
use waypost_pipeline::PipelineOutput;
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::delivery::{DeliveryConfig, DeliveryTracker, ManifestResult, Scan};
use waypost_sim::{Day, DayEvent, GroundTruthEvent, Route, Scanner};
use waypost_wire::manifest;

use super::{pipeline, repository};

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
pub(crate) fn play(route: Route) -> (Vec<Event>, Vec<GroundTruthEvent>) {
    let Played { events, facts, .. } = record(route);
    (events.into_iter().map(|record| record.event).collect(), facts)
}

fn record(route: Route) -> Played {
    let day = Day::new(route);
    let delivery = DeliveryTracker::new(DeliveryConfig::new("VAN-042", "id.example.com"), &[]);
    let mut pipeline = pipeline(DateHint::NotBefore(RELEASE_DATE)).with_delivery(delivery);
    let mut out = PipelineOutput::default();
    let orders = manifest::parse(day.manifest().as_bytes());
    let taken = pipeline
        .update_delivery(&mut out, |delivery, out| delivery.manifest(orders, Uptime::ZERO, out));
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
    use waypost_sim::GroundTruthKind as True;
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
