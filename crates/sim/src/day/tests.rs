//! Properties of the whole day, checked over the shipped routes and many seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::parcel::ParcelOutcome;
use crate::plan::{FIRST_SCAN_DELAY, LAST_SCAN_MARGIN};
use crate::timeline::{GroundTruthEvent, GroundTruthKind, Scan, ScanAlert, Scanner};
use crate::{Purpose, Rate, ReceiverType, Truth};

fn shipped(name: &str) -> Route {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    Route::load(&root.join("config/routes").join(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// Half an hour with a receiver type that is cheap to simulate.
fn short(seed: u64) -> Day {
    let mut route = shipped("deliveries_short.toml");
    route.settings.receiver = ReceiverType::RmcOnly;
    route.settings.seed = seed;
    Day::new(route)
}

/// The day of one seed: its plan, its events and its scans, without the receiver's epochs.
struct Played {
    day: Day,
    facts: Vec<GroundTruthEvent>,
    scans: Vec<Scan>,
}

/// Skips the epochs, which take most of the time.
fn played(mut day: Day) -> Played {
    let (mut facts, mut scans) = (Vec::new(), Vec::new());
    for moment in day.planned.by_ref() {
        match moment {
            DayEvent::GroundTruth(fact) => facts.push(fact),
            DayEvent::Scan(scan) => scans.push(scan),
            DayEvent::Epoch(_) => panic!("epochs are not planned"),
        }
    }
    scans.extend(day.tags.by_ref());
    scans.sort_by_key(|scan| scan.at);
    Played { day, facts, scans }
}

impl Played {
    fn facts_of(&self, key: &str) -> Vec<&GroundTruthEvent> {
        self.facts.iter().filter(|fact| fact.parcel.as_deref() == Some(key)).collect()
    }

    fn by_hand(&self) -> impl Iterator<Item = &Scan> {
        self.scans.iter().filter(|scan| scan.scanner == Scanner::Hand)
    }
}

fn seeds() -> impl Iterator<Item = Played> {
    (1..=12).map(|seed| played(short(seed)))
}

#[test]
fn the_same_seed_is_the_same_day_and_another_seed_another() {
    let day = |seed| short(seed).collect::<Vec<_>>();
    let first = day(1);
    assert!(first == day(1) && first != day(2));
    assert!(first.is_sorted_by_key(DayEvent::at));
    assert!(matches!(
        first.last(),
        Some(DayEvent::GroundTruth(GroundTruthEvent { kind: GroundTruthKind::Completed(_), .. }))
    ));
}

#[test]
fn neither_receiver_nor_rate_changes_what_is_scanned_and_what_is_true() {
    let others = |receiver, hz| {
        let mut route = shipped("deliveries_short.toml");
        route.settings.receiver = receiver;
        route.settings.rate = Rate::from_hz(hz).unwrap();
        let day = played(Day::new(route));
        (day.facts, day.scans)
    };
    assert!(others(ReceiverType::RmcOnly, 1) == others(ReceiverType::UbloxM10, 5));
}

#[test]
fn every_parcel_has_one_end_and_it_is_its_fate() {
    for Played { day, facts, .. } in seeds() {
        let mut ends: BTreeMap<&str, Vec<&GroundTruthKind>> = BTreeMap::new();
        for fact in facts.iter().filter(|fact| fact.kind.is_final()) {
            ends.entry(fact.parcel.as_deref().unwrap()).or_default().push(&fact.kind);
        }
        assert_eq!(ends.len(), day.parcels().len());
        for parcel in day.parcels() {
            let expected = match parcel.outcome {
                ParcelOutcome::Delivered => GroundTruthKind::Delivered,
                ParcelOutcome::Attempted | ParcelOutcome::Damaged => GroundTruthKind::Returned,
                ParcelOutcome::Forgotten => GroundTruthKind::Forgotten,
                ParcelOutcome::Lost(_) => GroundTruthKind::Lost,
            };
            assert_eq!(ends[parcel.key.as_str()], [&expected], "{parcel:?}");
        }
    }
}

#[test]
fn a_parcel_is_loaded_then_out_and_what_is_tried_comes_back() {
    for day in seeds() {
        for parcel in day.day.parcels() {
            let names: Vec<&str> = day
                .facts_of(&parcel.key)
                .into_iter()
                .filter(|fact| fact.kind != GroundTruthKind::Seen(ScanAlert::WrongStop))
                .map(|fact| fact.kind.as_str())
                .collect();
            let expected: &[&str] = match parcel.outcome {
                ParcelOutcome::Delivered => &["parcel.loaded", "parcel.delivered"],
                ParcelOutcome::Attempted => {
                    &["parcel.loaded", "parcel.attempted", "parcel.returned"]
                }
                ParcelOutcome::Damaged => &["parcel.loaded", "parcel.damaged", "parcel.returned"],
                ParcelOutcome::Forgotten => &["parcel.forgotten"],
                ParcelOutcome::Lost(_) => &["parcel.loaded", "parcel.lost"],
            };
            assert_eq!(names, expected, "{parcel:?}");
        }
    }
}

#[test]
fn the_summary_is_what_the_facts_add_up_to() {
    for Played { day, facts, .. } in seeds() {
        let count = |name| facts.iter().filter(|fact| fact.kind.as_str() == name).count();
        let summary = *day.summary();
        assert_eq!(facts.last().unwrap().kind, GroundTruthKind::Completed(summary));
        let expected = [
            (summary.delivered, "parcel.delivered"),
            (summary.attempted, "parcel.attempted"),
            (summary.damaged, "parcel.damaged"),
            (summary.returned, "parcel.returned"),
            (summary.forgotten, "parcel.forgotten"),
            (summary.lost, "parcel.lost"),
            (summary.stops_served, "stop.arrived"),
            (summary.stops_total, "stop.left"),
        ];
        for (number, name) in expected {
            assert_eq!(count(name), number, "{name}");
        }
        let ends = summary.delivered + summary.returned + summary.forgotten + summary.lost;
        assert_eq!(ends, summary.parcels);
        assert_eq!((summary.attempted, summary.damaged, summary.forgotten), (2, 1, 1));
    }
}

#[test]
fn what_is_scanned_at_a_stop_is_scanned_while_the_van_stands_there() {
    for day in seeds() {
        let windows: Vec<(Uptime, Uptime)> = (0..day.day.route().stops.len())
            .map(|stop| day.day.visit(stop).unwrap())
            .map(|(arrived, left)| (arrived + FIRST_SCAN_DELAY, left))
            .collect();
        let departed = Uptime::new(day.day.table.departed);
        let returned = Uptime::new(day.day.table.returned);
        for scan in day.by_hand() {
            let standing = |(from, left): &(Uptime, Uptime)| {
                *from <= scan.at && left.since(scan.at) >= LAST_SCAN_MARGIN.saturating_sub(TICK)
            };
            let at_station = scan.at < departed || scan.at > returned;
            assert!(at_station || windows.iter().any(standing), "{scan:?}");
        }
        for fact in &day.facts {
            let Some(parcel) = day.day.parcels().iter().find(|one| {
                fact.kind == GroundTruthKind::Delivered && Some(&one.key) == fact.parcel.as_ref()
            }) else {
                continue;
            };
            let (from, left) = windows[parcel.stop];
            assert!(from <= fact.at && fact.at < left, "{fact:?}");
            assert_eq!(fact.stop, day.day.stop_id(parcel.stop));
        }
    }
}

/// Resolution to which times are rounded.
const TICK: Duration = Duration::from_millis(1);

#[test]
fn every_fact_of_a_scan_has_its_scan_at_the_same_time() {
    for day in seeds() {
        let at: BTreeSet<(Uptime, &str)> =
            day.by_hand().map(|scan| (scan.at, scan.line.as_str())).collect();
        let told = ["parcel.loaded", "parcel.delivered", "parcel.attempted", "parcel.returned"];
        for fact in &day.facts {
            let key = fact.parcel.as_deref().unwrap_or_default();
            if told.contains(&fact.kind.as_str()) {
                let line = &day.day.parcels().iter().find(|one| one.key == key).unwrap().line;
                assert!(at.contains(&(fact.at, line.as_str())), "{fact:?}");
            }
        }
    }
}

#[test]
fn slips_are_scanned_where_they_were_promised() {
    for day in seeds() {
        let wrong =
            day.facts.iter().find(|f| f.kind == GroundTruthKind::Seen(ScanAlert::WrongStop));
        let wrong = wrong.expect("the route asks for one");
        let key = wrong.parcel.as_deref().unwrap();
        let parcel = day.day.parcels().iter().find(|one| one.key == key).unwrap();
        assert_ne!(wrong.stop, day.day.stop_id(parcel.stop));
        assert!(wrong.at < day.facts_of(key).last().unwrap().at, "it is due later");
        let unknown =
            day.facts.iter().find(|f| f.kind == GroundTruthKind::Seen(ScanAlert::Unknown));
        let key = unknown.expect("the route asks for one").parcel.as_deref().unwrap();
        assert!(day.day.parcels().iter().all(|one| one.key != key));
        let control = |what: &str| day.by_hand().filter(|scan| scan.line.ends_with(what)).count();
        assert_eq!(control("]C0VANCTL:ATTEMPT:AQ"), 2);
        assert_eq!([control("VANCTL:UNDO"), control("VANCTL:DAMAGED")], [1, 1]);
        assert_eq!([control("VANCTL:DUTY:BREAK"), control("VANCTL:DUTY:ON")], [1, 2]);
    }
}

#[test]
fn repeats_come_within_two_seconds_and_anything_else_not() {
    for day in seeds() {
        let scans: Vec<&Scan> = day.by_hand().collect();
        let mut repeats = 0;
        for (index, scan) in scans.iter().enumerate() {
            let again = scans[index + 1..].iter().find(|later| later.line == scan.line);
            if again.is_some_and(|later| later.at.since(scan.at) <= Duration::from_secs(2)) {
                repeats += 1;
            } else if let Some(later) = again {
                assert!(later.at.since(scan.at) > Duration::from_secs(3), "{scan:?} {later:?}");
            }
        }
        assert!((1..=2).contains(&repeats), "{repeats}");
    }
}

#[test]
fn a_tag_is_read_while_it_is_in_the_van_and_not_after() {
    for day in seeds() {
        let mut tagged = 0;
        for parcel in day.day.parcels() {
            let Some(tag) = &parcel.tag else { continue };
            tagged += 1;
            let reads: Vec<Uptime> = day
                .scans
                .iter()
                .filter(|scan| scan.line == *tag)
                .inspect(|scan| assert_eq!(scan.scanner, Scanner::Portal))
                .map(|scan| scan.at)
                .collect();
            let facts = day.facts_of(&parcel.key);
            if parcel.outcome == ParcelOutcome::Forgotten {
                assert!(reads.is_empty());
                continue;
            }
            let (loaded, end) = (facts[0].at, facts.last().unwrap().at);
            let inside = reads.iter().all(|read| *read > loaded && *read <= end);
            assert!(inside, "{parcel:?}");
            // Three quarters of the reads of an antenna that misses none. Time away at a stop
            // counts as well.
            let usual = end.since(loaded).as_secs_f64() / 3.0 * 0.85;
            let part = f64::from(u32::try_from(reads.len()).unwrap()) / usual;
            let few = end.since(loaded) < Duration::from_secs(300);
            assert!(few || (0.7..1.3).contains(&part), "{part} of the reads of {parcel:?}");
        }
        assert!(tagged > 0);
    }
}

#[test]
fn the_plan_is_what_the_van_then_does() {
    let mut route = shipped("deliveries_short.toml");
    route.settings.receiver = ReceiverType::RmcOnly;
    route.settings.rate = Rate::from_hz(10).unwrap();
    let day = Day::new(route.clone());
    let truths: Vec<Truth> = Simulation::new(route.clone()).map(|burst| burst.truth).collect();
    let at = |uptime: Uptime| route.settings.start.checked_add(uptime.since_start()).unwrap();
    for stop in 0..route.stops.len() {
        let mut there = truths.iter().filter(|truth| truth.stop == Some(stop));
        let (arrived, left) = day.visit(stop).unwrap();
        assert_eq!(there.next().unwrap().utc, at(arrived));
        assert_eq!(there.next_back().unwrap().utc.millis_since(at(left)), -100);
    }
    let moved = truths.windows(2).map(|pair| pair[0].position.distance_to(pair[1].position));
    let moved_m: f64 = moved.map(|distance| distance.as_metres()).sum();
    let distance_m = day.summary().distance.as_metres();
    assert!((moved_m / distance_m - 1.0).abs() < 0.005, "{moved_m} m, {distance_m} m");
    let summary = day.summary();
    let standing = truths.iter().filter(|truth| truth.standing).count();
    let stood = summary.dwell + summary.breaks + summary.idle;
    let at_station = day.table.departed + (day.table.end - day.table.returned);
    let difference =
        (stood + at_station).as_secs_f64() * 10.0 - f64::from(u32::try_from(standing).unwrap());
    // The van takes one step to start moving.
    assert!(difference.abs() < 60.0, "{difference} steps");
}

#[test]
fn the_shipped_days_are_as_long_as_they_say() {
    for (name, stops, hours) in
        [("deliveries.toml", 100, 7.5..8.5), ("deliveries_short.toml", 12, 0.4..0.6)]
    {
        let day = Day::new(shipped(name));
        let length_h = day.table.end.as_secs_f64() / 3600.0;
        assert!(hours.contains(&length_h), "{name}: {length_h} h");
        assert_eq!(day.summary().stops_total, stops, "{name}");
        let per_stop = day.parcels().len() / stops;
        assert!((1..=2).contains(&per_stop), "{name}: {per_stop} parcels a stop");
        let carriers: BTreeSet<_> = day.parcels().iter().map(|parcel| parcel.carrier).collect();
        assert!(carriers.len() >= 4, "{name}: {carriers:?}");
    }
}

#[test]
fn stops_are_far_enough_apart_to_tell_them_by_their_fences() {
    for name in ["deliveries.toml", "deliveries_short.toml"] {
        let route = shipped(name);
        for (index, stop) in route.stops.iter().enumerate() {
            for other in &route.stops[..index] {
                let apart_m = stop.point().distance_m(other.point());
                assert!(apart_m > 65.0, "{name}: {} and {}", stop.name, other.name);
            }
        }
    }
}

#[test]
fn a_day_that_is_ended_sooner_says_nothing_of_the_rest() {
    let mut route = shipped("deliveries_short.toml");
    route.settings.duration = Some(Duration::from_secs(400));
    let events: Vec<DayEvent> = Day::new(route).collect();
    assert!(events.iter().all(|moment| moment.at() <= Uptime::from_millis(400_000)));
    let happens = |name| {
        let facts = events.iter().filter_map(|moment| match moment {
            DayEvent::GroundTruth(fact) => Some(fact),
            _ => None,
        });
        facts.filter(|fact| fact.kind.as_str() == name).count()
    };
    assert!(happens("parcel.delivered") > 0);
    assert_eq!(happens("route.completed"), 0);
}

#[test]
fn without_parcels_there_is_the_drive_and_its_truth() {
    let mut route = shipped("deliveries_short.toml");
    route.delivery = None;
    let bare = played(Day::new(route));
    assert!(bare.scans.is_empty() && bare.day.parcels().is_empty());
    let with = played(Day::new(shipped("deliveries_short.toml")));
    assert_eq!(bare.day.summary().duration, with.day.summary().duration);
    assert_eq!(bare.day.summary().stops_served, 12);
}

#[test]
fn the_manifest_lists_every_stop_and_parcel_and_no_name() {
    let day = Day::new(shipped("deliveries.toml"));
    let text = day.manifest();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let stops = manifest["stops"].as_array().unwrap();
    let listed: Vec<(&str, &str, Option<&str>)> = stops
        .iter()
        .flat_map(|stop| {
            let id = stop["id"].as_str().unwrap();
            let parcels = stop["parcels"].as_array().unwrap().iter();
            parcels.map(move |one| (id, one["number"].as_str().unwrap(), one["rfid"][0].as_str()))
        })
        .collect();
    let ids: Vec<String> =
        day.parcels().iter().map(|parcel| day.stop_id(parcel.stop).unwrap()).collect();
    let expected: Vec<(&str, &str, Option<&str>)> = day
        .parcels()
        .iter()
        .zip(&ids)
        .map(|(parcel, id)| (id.as_str(), parcel.key.as_str(), parcel.tag.as_deref()))
        .collect();
    assert_eq!(listed, expected);
    let seqs = stops.iter().map(|stop| stop["seq"].as_u64().unwrap());
    assert!(seqs.eq(1..=100));
    assert!(day.route().stops.iter().all(|stop| !text.contains(&stop.name)));
    let breaks = day.route().stops.iter().position(|stop| stop.purpose == Purpose::Break);
    assert_eq!(day.stop_id(breaks.unwrap()), None);
}

#[test]
fn a_day_too_short_for_its_parcels_is_refused() {
    let text = r#"
        name = "hasty"
        depot = { lat_deg = 48.0, lon_deg = 9.0, loading_s = 30, unloading_s = 20 }
        way_home = "0,0"
        stops = [
            { name = "a", way = "0,90", dwell_s = 20 },
            { name = "b", way = "0,300", dwell_s = 20, purpose = "nap" },
            { name = "c", way = "0,400", dwell_s = 20, purpose = "break" },
        ]
        [delivery]
        parcels = 3
        rfid_share = 2
    "#;
    let report = Route::parse(Path::new("hasty.toml"), text).unwrap_err().to_string();
    let expected = [
        "hasty.toml: invalid route file",
        "  stops[1].purpose: `nap` is neither `delivery` nor `break`",
        "  delivery.rfid_share: 2 is not a number in 0..=1",
        "  delivery.parcels: is unknown: remove it, or write one of attempts, undone_scans, damaged, \
         forgotten, lost, wrong_stop_scans, unknown_scans, garbage, repeated_reads, \
         max_parcels_per_stop, rfid_share, tag_read_s",
        "  depot.loading_s: 30 s is too short to load 9 parcels: set 69 s or more",
        "  depot.unloading_s: 20 s is too short to scan returns: set 36 s or more",
        "  stops[0].dwell_s: 20 s is too short to hand over 3 parcels: set 50 s or more",
        "  stops[1].dwell_s: 20 s is too short to hand over 3 parcels: set 50 s or more",
    ];
    assert_eq!(report.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_line_of_each_file_reads_as_the_manual_says() {
    let day = played(short(1));
    let tag = day.scans.iter().find(|scan| scan.scanner == Scanner::Portal).unwrap();
    let (ms, line) = (tag.at.since_start().as_millis(), &tag.line);
    assert_eq!(tag.to_json(), format!(r#"{{"at_ms":{ms},"scanner":"portal","line":"{line}"}}"#));
    assert_eq!(tag.bytes(), format!("{line}\r\n").as_bytes());
    let seen = day.facts.iter().find(|fact| matches!(fact.kind, GroundTruthKind::Seen(_))).unwrap();
    let (ms, utc) = (seen.at.since_start().as_millis(), seen.utc);
    let (key, stop) = (seen.parcel.as_ref().unwrap(), seen.stop.as_ref().unwrap());
    let alert = if day.facts_of(key).len() > 1 { "wrong_stop" } else { "unknown" };
    assert_eq!(
        seen.to_json(),
        format!(
            r#"{{"utc":"{utc}","at_ms":{ms},"happening":"parcel.seen","parcel":"{key}","stop":"{stop}","alert":"{alert}"}}"#
        )
    );
}
