//! A simulated day through the code that runs in the van: what it says happened is what truly happened.

use waypost::core::Output;
use waypost::core::calendar::{Era, RELEASED};
use waypost::core::delivery::event::{Event, Happening, ReadBy};
use waypost::core::delivery::{
    Delivery, DeliveryConfig, EventId, EventRecord, ManifestVerdict, Scan,
};
use waypost::core::record::Record;
use waypost::simulate::{Day, Fact, Moment, Route, Scanner};
use waypost::units::Uptime;
use waypost::wire::manifest;

use crate::support::{pipeline, repository};

/// A day as the van records it, and what is true.
pub(crate) struct Played {
    pub(crate) events: Vec<EventRecord>,
    pub(crate) points: Vec<Record>,
    pub(crate) facts: Vec<Fact>,
}

/// The short round of deliveries, with what is drawn from this seed.
pub(crate) fn short_day(seed: u64) -> Played {
    let mut route = Route::load(&repository("config/routes/deliveries_short.toml")).unwrap();
    route.settings.seed = seed;
    record(route)
}

/// What the van says, and what is true.
fn play(route: Route) -> (Vec<Event>, Vec<Fact>) {
    let Played { events, facts, .. } = record(route);
    (events.into_iter().map(|record| record.event).collect(), facts)
}

fn record(route: Route) -> Played {
    let day = Day::new(route);
    let delivery = Delivery::new(DeliveryConfig::new("VAN-042", "id.example.com"), &[]);
    let mut pipeline = pipeline(Era::NotBefore(RELEASED)).with_delivery(delivery);
    let mut out = Output::default();
    let orders = manifest::read(day.manifest().as_bytes());
    let taken =
        pipeline.deliver(&mut out, |delivery, out| delivery.manifest(orders, Uptime::ZERO, out));
    assert_eq!(taken, Some(ManifestVerdict::Taken));
    let mut facts = Vec::new();
    for moment in day {
        match moment {
            Moment::Burst(burst) => pipeline.push(&burst.bytes, burst.at, &mut out),
            Moment::Fact(fact) => facts.push(fact),
            Moment::Scan(scan) => {
                let by = match scan.scanner {
                    Scanner::Hand => ReadBy::Barcode,
                    Scanner::Portal => ReadBy::Rfid,
                };
                let source = scan.scanner.name().to_owned();
                let (bytes, at) = (scan.line.into_bytes(), scan.at);
                let scan = Scan { source, by, bytes, at, rssi: None, antenna: None };
                pipeline.deliver(&mut out, |delivery, out| delivery.scan(&scan, out));
            }
        }
    }
    Played { events: out.happenings.events, points: out.records, facts }
}

/// What happened to which parcel, or at which stop, and when in milliseconds since 1970.
pub(crate) type Told = (&'static str, String, i64);

/// What the van says and did not take back, in the order of names and subjects.
pub(crate) fn said(events: &[Event]) -> Vec<Told> {
    let retracted: Vec<EventId> = events
        .iter()
        .filter_map(|event| match &event.happening {
            Happening::Retracted { event, .. } => Some(event.id),
            _ => None,
        })
        .collect();
    let kept = events.iter().filter(|event| !retracted.contains(&event.id));
    let told = kept.filter_map(|event| {
        let subject = match &event.happening {
            Happening::Loaded { parcel, .. }
            | Happening::Delivered { parcel, .. }
            | Happening::Attempted { parcel, .. }
            | Happening::Damaged { parcel, .. }
            | Happening::Returned { parcel, .. }
            | Happening::Seen { parcel, .. } => parcel.key.clone(),
            Happening::Arrived { stop, .. } => stop.id.clone(),
            Happening::Departed { .. } => String::new(),
            _ => return None,
        };
        Some((event.happening.name(), subject, event.utc.as_unix_ms()))
    });
    sorted(told)
}

fn sorted(told: impl Iterator<Item = Told>) -> Vec<Told> {
    let mut told: Vec<Told> = told.collect();
    told.sort();
    told
}

/// The same of what is true; what only a person could know is left out.
pub(crate) fn truth(facts: &[Fact]) -> Vec<Told> {
    use waypost::simulate::Happening as True;
    let known = facts.iter().filter(|fact| {
        matches!(
            fact.happening,
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
        (fact.happening.name(), subject, fact.utc.as_unix_ms())
    }))
}

/// Both summaries of the day: counts are exact, times and the odometer as a receiver can tell them.
fn compare(events: &[Event], facts: &[Fact]) {
    let said = events.iter().find_map(|event| match &event.happening {
        Happening::Completed { summary, .. } => Some(*summary),
        _ => None,
    });
    let truth = facts.iter().find_map(|fact| match fact.happening {
        waypost::simulate::Happening::Completed(summary) => Some(summary),
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
        let (said, truth) = (said(&events), truth(&facts));
        let what = |told: &[Told]| -> Vec<(&str, String)> {
            told.iter().map(|(name, subject, _)| (*name, subject.clone())).collect()
        };
        assert_eq!(what(&said), what(&truth), "seed {seed}");
        for ((name, subject, said_ms), (_, _, true_ms)) in said.iter().zip(&truth) {
            // A scan is told at once; a standstill and a departure must last before they are believed.
            let within_ms = match *name {
                "route.departed" => 180_000,
                "stop.arrived" => 15_000,
                _ => 1_500,
            };
            let late_ms = said_ms - true_ms;
            assert!(late_ms.abs() <= within_ms, "{name} {subject}: {late_ms} ms late");
        }
        let missing = events.iter().any(|event| match &event.happening {
            Happening::Inventory { missing, .. } => {
                let lost = facts.iter().find(|fact| fact.happening.name() == "parcel.lost");
                let lost = lost.unwrap().parcel.as_deref();
                missing.iter().any(|parcel| Some(parcel.key.as_str()) == lost)
            }
            _ => false,
        });
        assert!(missing, "the radio tags tell of the lost parcel");
        compare(&events, &facts);
    }
}
