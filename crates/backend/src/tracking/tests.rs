//! Views of simulated days compared with the ground truth, and the visibility policy with each
//! condition violated in turn.

mod exceptions;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::eta;
use super::inputs::{ParcelInput, RouteInput, VanInput};
use super::parcel::{DeliveryPreference, Stage, Status};
use super::progress::{LastStopState, Progress};
use super::timeline::Timeline;
use super::tracking_event::{EventDetails, EventEffect, TrackingEvent};
use super::tracking_page::{self, PageInput, RouteContext};
use super::visibility::{self, HiddenReason, VisibilityInput};
use crate::config::VisibilityPolicy;
use crate::event::Origin;
use waypost_model::units::UtcTime;
use waypost_sim::{Day, DayEvent, GroundTruthKind, Route};
use waypost_wire::manifest;
use waypost_wire::payloads::{ManifestRef, MotionState, Point, Position, State, StopStatus};

const STATE: &str = r#"{"v":1,"van":"VAN-042","ts":"2026-11-23T08:00:00.000Z","duty":"on",
    "gnss":{"receiver":"open","mode":3,"sentences_bad":0,"fixes_rejected":0},
    "outbox":{"pending":0,"dropped":0,"bytes":0}}"#;

fn utc(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

fn later(time: UtcTime, seconds: i64) -> UtcTime {
    UtcTime::from_unix_ms(time.as_unix_ms() + seconds * 1000).unwrap()
}

fn fact(stage: Stage, time: UtcTime, epcs: &[&str], stop_seq: Option<u32>) -> TrackingEvent {
    TrackingEvent {
        is_entitled: true,
        time,
        effect: EventEffect::Stage(stage),
        event_id: format!("{stage:?}/{time}/{}", epcs.first().unwrap_or(&"")),
        authority: "van".to_owned(),
        token: None,
        retracted_at: None,
        origin: Origin::Van,
        van: Some("VAN-042".to_owned()),
        route: Some("R".to_owned()),
        kind: String::new(),
        epcs: epcs.iter().map(|epc| (*epc).to_owned()).collect(),
        location: None,
        spot: None,
        acc_m: None,
        stop_seq,
        details: Arc::default(),
    }
}

fn retraction(of: &TrackingEvent, time: UtcTime) -> TrackingEvent {
    TrackingEvent { retracted_at: Some(time), effect: EventEffect::Seen, ..of.clone() }
}

/// A simulated day as the backend receives it.
struct Simulated {
    route: RouteInput,
    /// True arrival and departure, by index of the manifest's stops.
    visits: Vec<(UtcTime, UtcTime)>,
    numbers: Vec<Vec<String>>,
}

/// Standstill in seconds before the van reports an arrival.
const SURE_S: i64 = 10;

fn simulated(file: &str, seed: u64) -> Simulated {
    let path =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("config/routes").join(file);
    let mut route = Route::load(&path).unwrap();
    route.settings.seed = seed;
    let day = Day::new(route);
    let start = day.route().settings.start;
    let manifest = manifest::parse(day.manifest().as_bytes()).unwrap().unwrap();
    let at =
        |uptime: waypost_model::units::Uptime| start.checked_add(uptime.since_start()).unwrap();
    let indices = 0..day.route().stops.len();
    let due = indices.filter(|index| day.stop_id(*index).is_some());
    let visits =
        due.filter_map(|index| day.visit(index)).map(|(from, until)| (at(from), at(until)));
    let visits = visits.collect();
    let numbers =
        manifest.stops.iter().map(|stop| stop.parcels.iter().map(|p| p.key.clone()).collect());
    let numbers = numbers.collect();
    let mut route = RouteInput::new("VAN-042", manifest, start, "id.example.com");
    route.events = Arc::new(facts(day, &route));
    Simulated { route, visits, numbers }
}

fn facts(day: Day, route: &RouteInput) -> Vec<TrackingEvent> {
    let epcs = |key: &str| {
        let stops = route.manifest.stops.iter().zip(route.epcs.iter()).enumerate();
        let all = stops.flat_map(|(index, (stop, epcs))| {
            stop.parcels.iter().zip(epcs).map(move |(listed, epc)| (listed, epc.clone(), index))
        });
        all.filter(|(listed, ..)| listed.key == key).map(|(_, epc, index)| (epc, index)).next()
    };
    let mut loaded = Vec::new();
    let mut facts = Vec::new();
    for moment in day {
        let DayEvent::GroundTruth(truth) = moment else { continue };
        let stage = match truth.kind {
            GroundTruthKind::Loaded => Stage::Loaded,
            GroundTruthKind::Departed => Stage::OutForDelivery,
            GroundTruthKind::Arrived => Stage::Arrived,
            GroundTruthKind::Delivered => Stage::Delivered,
            GroundTruthKind::Attempted => Stage::Attempted,
            GroundTruthKind::Damaged => Stage::Damaged,
            GroundTruthKind::Returned => Stage::Returned,
            _ => continue,
        };
        let parcel = truth.parcel.as_deref().and_then(epcs);
        let named = truth
            .stop
            .as_ref()
            .and_then(|id| route.manifest.stops.iter().position(|stop| stop.id == *id));
        let stop = parcel.as_ref().map(|(_, stop)| *stop).or(named);
        let seq = stop.map(|stop| route.manifest.stops[stop].seq);
        let about: Vec<String> = match stage {
            Stage::OutForDelivery => loaded.clone(),
            Stage::Arrived => route.epcs[stop.unwrap()].clone(),
            _ => parcel.iter().map(|(epc, _)| epc.clone()).collect(),
        };
        if stage == Stage::Loaded {
            loaded.extend(about.clone());
        }
        let late_s = if stage == Stage::Arrived { SURE_S } else { 0 };
        let about: Vec<&str> = about.iter().map(String::as_str).collect();
        let seq = seq.filter(|_| !matches!(stage, Stage::Loaded | Stage::Returned));
        facts.push(fact(stage, later(truth.utc, late_s), &about, seq));
    }
    facts
}

fn until(route: &RouteInput, now: UtcTime) -> RouteInput {
    let facts = route.events.iter().filter(|fact| fact.time <= now).cloned().collect();
    RouteInput { events: Arc::new(facts), ..route.clone() }
}

fn position(route: &RouteInput, now: UtcTime, stop: usize, status: StopStatus) -> Position {
    let to = &route.manifest.stops[stop];
    let speed = if status == StopStatus::StoppedAt { 0.0 } else { 8.0 };
    let point = Point {
        seq: 1,
        ts: now.to_string(),
        lat: to.position.lat_deg(),
        lon: to.position.lon_deg(),
        alt_m: None,
        speed_mps: Some(speed),
        course_deg: None,
        acc_m: Some(4.0),
        hdop: None,
        sats: None,
        mode: 3,
        quality: None,
        motion: Some(match status {
            StopStatus::StoppedAt => MotionState::Halted,
            StopStatus::InTransitTo | StopStatus::IncomingAt => MotionState::Moving,
        }),
        odo_m: None,
        backlog: false,
    };
    Position {
        v: 1,
        van: "VAN-042".to_owned(),
        point,
        route: Some(route.manifest.route.clone()),
        stop_seq: Some(to.seq),
        stop_status: Some(status),
        stops_remaining: None,
    }
}

/// Position that the van reports.
fn reported_position(day: &Simulated, now: UtcTime) -> Option<Position> {
    let next = day.visits.iter().position(|(_, left)| *left > now)?;
    let there = later(day.visits[next].0, SURE_S) <= now;
    let status = if there { StopStatus::StoppedAt } else { StopStatus::InTransitTo };
    Some(position(&day.route, now, next, status))
}

#[test]
fn the_count_of_stops_is_the_truth_at_every_moment_of_a_day() {
    for seed in [1, 2, 3] {
        let day = simulated("deliveries_short.toml", seed);
        let departed =
            day.route.events.iter().find(|fact| fact.stage() == Some(Stage::OutForDelivery));
        let departed = departed.unwrap().time;
        let end = day.visits.last().unwrap().0;
        let mut now = departed;
        while now < end {
            let known = until(&day.route, now);
            let progress = Progress::now(&known, reported_position(&day, now).as_ref());
            for (stop, (arrives, _)) in day.visits.iter().enumerate() {
                if *arrives <= now {
                    continue;
                }
                let done = |other: usize| progress.stops[other].ahead.is_none();
                let before = (0..stop).filter(|other| day.visits[*other].1 > now && !done(*other));
                let truth = u32::try_from(before.count()).unwrap();
                assert_eq!(
                    progress.stops[stop].ahead,
                    Some(truth),
                    "seed {seed}, stop {stop}, {now}"
                );
                assert!(!progress.stops[stop].ahead_increased, "seed {seed}, stop {stop}, {now}");
            }
            now = later(now, 7);
        }
    }
}

/// Errors in seconds (estimate − truth) and the share of arrivals inside their window, `before`
/// stops ahead.
fn errors(file: &str, seeds: &[u64], before: usize) -> (Vec<i64>, f64) {
    let (mut errors, mut inside) = (Vec::new(), 0_usize);
    for seed in seeds {
        let day = simulated(file, *seed);
        for stop in before..day.visits.len() {
            let now = later(day.visits[stop - before].0, SURE_S);
            let known = until(&day.route, now);
            let progress = Progress::from_events(&known, LastStopState::Present);
            let Some(arrival) = eta::arrivals(&known, &progress, None, now)[stop] else { continue };
            let truth = day.visits[stop].0;
            errors.push(arrival.at.millis_since(truth) / 1000);
            inside += usize::from((arrival.from..=arrival.until).contains(&truth));
        }
    }
    errors.sort_by_key(|error| error.abs());
    let share =
        f64::from(u32::try_from(inside).unwrap()) / f64::from(u32::try_from(errors.len()).unwrap());
    (errors, share)
}

fn percentile(errors: &[i64], percent: usize) -> i64 {
    errors[(errors.len() - 1) * percent / 100].abs()
}

#[test]
fn an_arrival_is_within_its_window_nearly_always() {
    for before in [1, 5, 10] {
        let (errors, inside) = errors("deliveries_short.toml", &[1, 2], before);
        assert!(percentile(&errors, 90) <= 240, "{before} stops before: {errors:?}");
        assert!(inside >= 0.9, "{before} stops before: {inside}");
    }
}

/// Prints the arrival errors by number of stops ahead: `cargo test --lib eta_table -- --ignored
/// --nocapture`.
#[test]
#[ignore = "prints a table; asserts nothing"]
fn eta_table() {
    for file in ["deliveries_short.toml", "deliveries.toml"] {
        for before in [1, 3, 5, 10] {
            let (errors, inside) = errors(file, &[1, 2, 3, 4], before);
            let bias = errors.iter().sum::<i64>() / i64::try_from(errors.len()).unwrap();
            let (half, most) = (percentile(&errors, 50), percentile(&errors, 90));
            eprintln!(
                "{file} {before:2} stops before: p50 {half} s, p90 {most} s, bias {bias} s, inside {inside:.3}, n {}",
                errors.len()
            );
        }
    }
}

/// Each violation of the visibility policy, one at a time.
const BREAKS: [(&str, HiddenReason); 15] = [
    ("gift", HiddenReason::Gift),
    ("not loaded", HiddenReason::NotOut),
    ("not departed", HiddenReason::NotOut),
    ("delivered", HiddenReason::NotOut),
    ("delivered elsewhere", HiddenReason::NotOut),
    ("searched for", HiddenReason::Missing),
    ("yesterday's", HiddenReason::NotInService),
    ("withdrawn", HiddenReason::NotInService),
    ("far", HiddenReason::TooFar),
    ("delayed", HiddenReason::Delayed),
    ("break", HiddenReason::OffDuty),
    ("no state", HiddenReason::OffDuty),
    ("no fix", HiddenReason::NoFix),
    ("old fix", HiddenReason::NoFix),
    ("on another route", HiddenReason::NoFix),
];

#[expect(clippy::too_many_lines, reason = "each way to break the rule has a line or two")]
fn exposed(broken: impl Fn(&str) -> bool) -> Result<super::parcel::LiveView, HiddenReason> {
    let route = simulated_once();
    let (stop, epc) = (route.manifest.stops.len() - 1, &route.epcs.last().unwrap()[0].clone());
    let now = utc("2026-11-23T07:00:00Z");
    let far = if broken("far") { 0 } else { stop - 3 };
    let mut facts = vec![fact(Stage::OutForDelivery, later(now, -3600), &[epc], None)];
    if broken("yesterday's") {
        facts[0].time = later(now, -20 * 3600);
    }
    if !broken("not loaded") {
        facts.push(fact(Stage::Loaded, later(facts[0].time, -600), &[epc], None));
    } else {
        facts[0].epcs = vec!["another".to_owned()];
    }
    if broken("not departed") {
        facts.retain(|fact| fact.stage() != Some(Stage::OutForDelivery));
    }
    for (done, epcs) in route.epcs.iter().enumerate().take(far) {
        for epc in epcs {
            let seq = route.manifest.stops[done].seq;
            facts.push(fact(Stage::Delivered, later(now, -600), &[epc], Some(seq)));
        }
    }
    if broken("delivered") {
        let seq = route.manifest.stops[stop].seq;
        facts.push(fact(Stage::Delivered, now, &[epc], Some(seq)));
    }
    let mut route = RouteInput { events: Arc::new(facts), ..route };
    route.withdrawn = broken("withdrawn");
    let progress = Progress::from_events(&route, LastStopState::Present);
    let fix_age = if broken("old fix") { 91 } else { 90 };
    let newest = position(&route, later(now, -fix_age), far, StopStatus::InTransitTo);
    let mut state: State = serde_json::from_str(STATE).unwrap();
    if broken("break") {
        state.duty = waypost_wire::payloads::Duty::Break;
    }
    if broken("on another route") {
        state.manifest = Some(ManifestRef { route: "another".to_owned(), rev: 1 });
    }
    let van = VanInput {
        van: "VAN-042".to_owned(),
        position: (!broken("no fix")).then(|| Arc::new(newest)),
        state: (!broken("no state")).then_some(state),
        last_seen_at: Some(now),
        ..VanInput::default()
    };
    let case_state = if broken("searched for") { "open" } else { "none" };
    let parcel = ParcelInput {
        epc: epc.clone(),
        gift: broken("gift"),
        case_state: case_state.to_owned(),
        ..ParcelInput::default()
    };
    visibility::visible_position(&VisibilityInput {
        parcel: &parcel,
        is_out: !broken("delivered elsewhere"),
        route: &route,
        progress: &progress,
        stop,
        van: &van,
        delayed: broken("delayed"),
        policy: &VisibilityPolicy { max_stops_away: 5, ..VisibilityPolicy::default() },
        now,
    })
}

fn simulated_once() -> RouteInput {
    use std::sync::OnceLock;
    static ROUTE: OnceLock<RouteInput> = OnceLock::new();
    ROUTE
        .get_or_init(|| RouteInput {
            events: Arc::default(),
            ..simulated("deliveries_short.toml", 1).route
        })
        .clone()
}

#[test]
fn the_van_is_shown_when_all_conditions_hold_and_each_alone_hides_it() {
    let live = exposed(|_| false).unwrap();
    assert!(((live.lat * 1e3).round() / 1e3 - live.lat).abs() < 1e-12, "three decimals");
    for (name, why) in BREAKS {
        assert_eq!(exposed(|one| one == name), Err(why), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_shown_unless_everything_holds(broken in proptest::collection::vec(any::<bool>(), 15)) {
        let is = |name: &str| BREAKS.iter().zip(&broken).any(|((one, _), broken)| *one == name && *broken);
        prop_assert_eq!(exposed(is).is_ok(), broken.iter().all(|broken| !broken));
    }
}

#[test]
fn the_van_stands_still_on_the_map_while_it_stands_at_somebody_elses_door() {
    let day = simulated("deliveries_short.toml", 1);
    let stop = day.visits.len() - 1;
    let at = stop - 2;
    let now = later(day.visits[at].0, 20);
    let known = until(&day.route, now);
    let progress = Progress::from_events(&known, LastStopState::Present);
    let parcel = ParcelInput { epc: known.epcs[stop][0].clone(), ..ParcelInput::default() };
    let before = super::inputs::TimedPosition {
        time: later(now, -40),
        position: waypost_model::units::Position::from_degrees(48.2, 11.6).unwrap(),
    };
    for (status, mps, driving, expected) in [
        (StopStatus::StoppedAt, 0.0, Some(before), Ok((48.2, true))),
        (StopStatus::StoppedAt, 0.0, None, Err(HiddenReason::AtOtherStop)),
        // The van has halted but has not reported a stop yet.
        (StopStatus::IncomingAt, 0.3, Some(before), Ok((48.2, true))),
    ] {
        let mut newest = position(&known, now, at, status);
        newest.point.speed_mps = Some(mps);
        let van = VanInput {
            van: "VAN-042".to_owned(),
            position: Some(Arc::new(newest)),
            last_moving: driving,
            state: serde_json::from_str(STATE).unwrap(),
            last_seen_at: Some(now),
            ..VanInput::default()
        };
        let live = visibility::visible_position(&VisibilityInput {
            parcel: &parcel,
            is_out: true,
            route: &known,
            progress: &progress,
            stop,
            van: &van,
            delayed: false,
            policy: &VisibilityPolicy::default(),
            now,
        });
        assert_eq!(live.map(|live| (live.lat, live.frozen)), expected, "{status:?}");
    }
}

#[test]
fn nothing_of_another_recipient_is_ever_on_a_page() {
    let day = simulated("deliveries_short.toml", 2);
    let start = day.route.events[0].time;
    let mut shown = 0;
    for step in 0..60 {
        let now = later(start, step * 45);
        let known = until(&day.route, now);
        let newest = reported_position(&day, now);
        let progress = Progress::now(&known, newest.as_ref());
        let van = VanInput {
            van: "VAN-042".to_owned(),
            position: newest.map(Arc::new),
            state: serde_json::from_str(STATE).unwrap(),
            last_seen_at: Some(now),
            ..VanInput::default()
        };
        for (stop, numbers) in day.numbers.iter().enumerate() {
            let parcel = ParcelInput {
                epc: known.epcs[stop][0].clone(),
                number: numbers[0].clone(),
                ..ParcelInput::default()
            };
            let view = tracking_page::tracking_page(&PageInput {
                parcel: &parcel,
                events: &known.events,
                route_context: Some(RouteContext { route: &known, progress: &progress, van: &van }),
                policy: &VisibilityPolicy::default(),
                now,
            });
            shown += usize::from(view.live.is_some());
            let out = matches!(view.status, Status::OutForDelivery | Status::Arrived);
            assert!(view.live.is_none() || out, "{view:?}");
            let text = serde_json::to_string(&view).unwrap();
            let others = day.numbers.iter().flatten().filter(|number| **number != numbers[0]);
            for other in others {
                assert!(!text.contains(other.as_str()), "{other} in {text}");
            }
            for other in &known.manifest.stops {
                assert!(!text.contains(&format!("\"{}\"", other.id)), "{text}");
                for degrees in [other.position.lat_deg(), other.position.lon_deg()] {
                    let exact = format!("{degrees:.5}");
                    assert!(exact.ends_with("00") || !text.contains(&exact), "{exact} in {text}");
                }
            }
        }
    }
    assert!(shown > 20, "{shown} pages showed a van");
}

/// Tracking page of the route's first parcel, from the route's events `of_route` and the parcel's
/// events `of_parcel`.
fn page_with(
    of_route: &[TrackingEvent],
    of_parcel: &[TrackingEvent],
    gift: bool,
) -> super::parcel::ParcelView {
    let route = RouteInput { events: Arc::new(of_route.to_vec()), ..simulated_once() };
    let now = utc("2026-11-23T07:00:00Z");
    let progress = Progress::from_events(&route, LastStopState::Present);
    let van = VanInput {
        van: "VAN-042".to_owned(),
        position: Some(Arc::new(position(&route, now, 0, StopStatus::InTransitTo))),
        state: serde_json::from_str(STATE).unwrap(),
        last_seen_at: Some(now),
        ..VanInput::default()
    };
    let parcel = ParcelInput { epc: route.epcs[0][0].clone(), gift, ..ParcelInput::default() };
    tracking_page::tracking_page(&PageInput {
        parcel: &parcel,
        events: of_parcel,
        route_context: Some(RouteContext { route: &route, progress: &progress, van: &van }),
        policy: &VisibilityPolicy::default(),
        now,
    })
}

#[test]
fn the_page_of_a_parcel_that_another_van_has_shows_neither_van_nor_when_it_comes() {
    let route = simulated_once();
    let (first, second) = (route.epcs[0][0].as_str(), route.epcs[1][0].as_str());
    let now = utc("2026-11-23T07:00:00Z");
    let route = |minutes: i64, epc: &str| {
        let at = |minute: i64| later(now, -60 * (minutes + minute));
        [fact(Stage::Loaded, at(9), &[epc], None), fact(Stage::OutForDelivery, at(0), &[epc], None)]
    };
    let by_other = |minutes: i64| {
        route(minutes, first).map(|fact| TrackingEvent {
            van: Some("VAN-007".to_owned()),
            authority: "another".to_owned(),
            ..fact
        })
    };
    let ours = route(60, first);
    let alone = page_with(&ours, &ours, false);
    assert!(alone.live.is_some() && alone.eta.is_some() && alone.stops_away == Some(0));
    let taken_over = [ours.to_vec(), by_other(5).to_vec()].concat();
    let retracted = [by_other(90).to_vec(), ours.to_vec()].concat();
    for (name, of_route, of_parcel, shown) in [
        ("another van took it over", &ours[..], &taken_over[..], false),
        (
            "it was put on this route, and is in another van",
            &route(60, second),
            &by_other(5),
            false,
        ),
        ("it was taken back from another van", &ours, &retracted, true),
    ] {
        let view = page_with(of_route, of_parcel, false);
        assert_eq!(view.status, Status::OutForDelivery, "{name}");
        let what = (view.live.is_some(), view.eta.is_some(), view.stops_away.is_some());
        assert_eq!(what, (shown, shown, shown), "{name}");
    }
}

#[test]
fn the_page_of_a_gift_does_not_tell_where_it_comes_from() {
    let route = simulated_once();
    let time = utc("2026-11-22T07:00:00Z");
    let mut packed = fact(Stage::Packed, time, &[route.epcs[0][0].as_str()], None);
    (packed.origin, packed.van) = (Origin::Capture, None);
    let (place, carrier) = ("Toy Shop".to_owned(), "Toy Mail".to_owned());
    packed.details = Arc::new(EventDetails {
        place: Some(place),
        carrier: Some(carrier),
        ..EventDetails::default()
    });
    let told = |gift| {
        let step = page_with(&[], std::slice::from_ref(&packed), gift).timeline.remove(0);
        (step.place.is_some(), step.by.is_some())
    };
    assert_eq!((told(false), told(true)), ((true, true), (false, false)));
}

fn story() -> Vec<TrackingEvent> {
    let at = |minute: i64| later(utc("2026-11-23T06:00:00Z"), minute * 60);
    let mut of_others = [
        fact(Stage::Packed, at(-900), &["epc"], None),
        fact(Stage::Shipped, at(-800), &["epc"], None),
        fact(Stage::ArrivedAtHub, at(-500), &["epc"], None),
        fact(Stage::ArrivedAtHub, at(-490), &["epc"], None),
        fact(Stage::Sorted, at(-400), &["epc"], None),
        fact(Stage::ArrivedAtHub, at(-100), &["epc"], None),
    ];
    for fact in &mut of_others {
        (fact.origin, fact.authority) = (Origin::Capture, "others".to_owned());
        fact.location = Some("https://example.com/hub".to_owned());
    }
    of_others[5].location = Some("station".to_owned());
    let wrong = fact(Stage::Delivered, at(100), &["epc"], Some(4));
    let mut facts = of_others.to_vec();
    facts.extend([
        fact(Stage::Loaded, at(0), &["epc"], None),
        fact(Stage::OutForDelivery, at(30), &["other", "epc"], None),
        fact(Stage::Arrived, at(99), &["epc"], Some(4)),
        retraction(&wrong, at(101)),
        wrong,
        fact(Stage::Attempted, at(102), &["epc"], Some(4)),
        fact(Stage::Delivered, at(200), &["epc"], Some(4)),
        fact(Stage::Delivered, at(150), &["other"], Some(3)),
        // Ignored: it follows the delivery.
        fact(Stage::Returned, at(300), &["epc"], None),
    ]);
    facts
}

const EXPECTED: [Stage; 10] = [
    Stage::Packed,
    Stage::Shipped,
    Stage::ArrivedAtHub,
    Stage::Sorted,
    Stage::AtStation,
    Stage::Loaded,
    Stage::OutForDelivery,
    Stage::Arrived,
    Stage::Attempted,
    Stage::Delivered,
];

proptest! {
    #[test]
    fn whatever_comes_late_or_twice_the_timeline_is_the_same(
        order in Just((0..story().len()).collect::<Vec<_>>()).prop_shuffle(),
        twice in proptest::collection::vec(0..story().len(), 0..8),
    ) {
        let story = story();
        let facts: Vec<TrackingEvent> = order.iter().chain(&twice).map(|index| story[*index].clone()).collect();
        let timeline = Timeline::for_parcel(&facts, "epc", Some("station"));
        let steps = timeline.steps();
        let stages: Vec<Stage> = steps.iter().map(|step| step.stage).collect();
        prop_assert_eq!(&stages[..], &EXPECTED[..]);
        prop_assert_eq!(timeline.status(), Status::Delivered);
        prop_assert_eq!(&steps[9].at, "2026-11-23T09:20:00.000Z");
    }
}

#[test]
fn only_who_said_it_takes_it_back() {
    let story = story();
    let mut next_unlisted = retraction(&story[12], utc("2026-11-23T12:00:00Z"));
    assert_eq!(story[12].stage(), Some(Stage::Delivered));
    for (authority, expected) in [("others", Status::Delivered), ("van", Status::Returned)] {
        next_unlisted.authority = authority.to_owned();
        let mut facts = story.clone();
        facts.push(next_unlisted.clone());
        assert_eq!(Timeline::for_parcel(&facts, "epc", None).status(), expected, "{authority}");
    }
}

#[test]
fn a_stop_that_is_left_with_something_undone_goes_to_the_end_and_the_page_says_why_the_number_rose()
{
    let route = simulated_once();
    let start = utc("2026-11-23T07:00:00Z");
    let seq = |stop: usize| Some(route.manifest.stops[stop].seq);
    let first = |stop: usize| route.epcs[stop][0].as_str();
    let all: Vec<&str> = route.epcs.iter().flatten().map(String::as_str).collect();
    let mut facts = vec![
        fact(Stage::OutForDelivery, start, &all, None),
        fact(Stage::Arrived, later(start, 300), &[first(0)], seq(0)),
    ];
    let at_first = Progress::from_events(
        &RouteInput { events: Arc::new(facts.clone()), ..route.clone() },
        LastStopState::Present,
    );
    assert_eq!((at_first.current_stop, at_first.stops[0].ahead), (Some(0), Some(0)));
    facts.push(fact(Stage::Arrived, later(start, 500), &[first(1)], seq(1)));
    let put_at = later(start, -60);
    let known = RouteInput { events: Arc::new(facts), put_at, ..route.clone() };
    let progress = Progress::from_events(&known, LastStopState::Present);
    let last = u32::try_from(route.manifest.stops.len() - 1).unwrap();
    assert_eq!(progress.stops[0].ahead, Some(last));
    assert!(progress.stops[0].ahead_increased);
    assert_eq!((progress.stops[2].ahead, progress.stops[2].ahead_increased), (Some(1), false));
}

#[test]
fn a_retracted_delivery_raises_the_number_and_says_nothing_of_the_order() {
    let route = simulated_once();
    let start = utc("2026-11-23T07:00:00Z");
    let seq = Some(route.manifest.stops[0].seq);
    let all: Vec<&str> = route.epcs.iter().flatten().map(String::as_str).collect();
    let mut facts = vec![fact(Stage::OutForDelivery, start, &all, None)];
    for epc in &route.epcs[0] {
        facts.push(fact(Stage::Delivered, later(start, 300), &[epc], seq));
    }
    let put_at = later(start, -60);
    let known =
        |facts: Vec<TrackingEvent>| RouteInput { events: Arc::new(facts), put_at, ..route.clone() };
    let before = Progress::from_events(&known(facts.clone()), LastStopState::Present);
    assert_eq!((before.stops[2].ahead, before.stops[2].ahead_increased), (Some(1), false));
    // The retraction falls into the same second, later, or earlier by a clock that stepped back; it
    // arrives before its event.
    for seconds in [299, 300, 330] {
        let back = retraction(facts.last().unwrap(), later(start, seconds));
        let facts = [vec![back], facts.clone()].concat();
        let after = Progress::from_events(&known(facts), LastStopState::Present);
        assert_eq!((after.stops[2].ahead, after.stops[2].ahead_increased), (Some(2), false));
    }
}

#[test]
fn a_revision_says_that_the_order_changed_only_where_and_after_it_did() {
    let start = utc("2026-11-23T07:00:00Z");
    let route = simulated_once();
    let all: Vec<&str> = route.epcs.iter().flatten().map(String::as_str).collect();
    let facts = vec![fact(Stage::OutForDelivery, start, &all, None)];
    let id = route.manifest.stops[3].id.clone();
    let changed = |seconds: i64, changed: bool| {
        let order_changes = [(id.clone(), later(start, seconds))];
        let order_changes = order_changes.into_iter().filter(|_| changed).collect();
        let known = RouteInput {
            events: Arc::new(facts.clone()),
            put_at: later(start, seconds),
            order_changes: Arc::new(order_changes),
            ..route.clone()
        };
        let progress = Progress::from_events(&known, LastStopState::Present);
        progress.stops.iter().map(|stop| stop.ahead_increased).collect::<Vec<_>>()
    };
    let none = vec![false; route.manifest.stops.len()];
    assert_eq!(changed(60, false), none, "a new revision in the same order");
    assert_eq!(changed(-60, true), none, "before the departure");
    let mut expected = none;
    expected[3] = true;
    assert_eq!(changed(60, true), expected);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of preferences and their commands")]
fn preferences_are_checked_and_sent_to_the_van_as_the_contract_says() {
    use super::delivery_preferences;
    let today = utc("2026-11-23T07:00:00Z").date();
    let porch = DeliveryPreference {
        authority_to_leave: Some(true),
        safe_place: Some(" porch ".to_owned()),
        ..DeliveryPreference::default()
    };
    let kept = delivery_preferences::validate(&porch, today).unwrap();
    let id = "0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10";
    let expires = utc("2026-11-23T18:00:00Z");
    let (name, doc) =
        delivery_preferences::command(&kept, id, ("395212340000000014", "R"), expires);
    assert_eq!(name, "set_preferences");
    let command = waypost_wire::command::parse(doc.as_bytes()).unwrap().command;
    assert!(format!("{:?}", command.kind).contains("safe_place: Some(\"porch\")"), "{command:?}");
    let day = DeliveryPreference {
        other_day: Some("2026-11-25".to_owned()),
        ..DeliveryPreference::default()
    };
    let (name, doc) = delivery_preferences::command(&day, id, ("395212340000000014", "R"), expires);
    assert_eq!(name, "recall_parcel");
    waypost_wire::command::parse(doc.as_bytes()).unwrap();
    let nothing = delivery_preferences::validate(&DeliveryPreference::default(), today).unwrap();
    let (name, doc) =
        delivery_preferences::command(&nothing, id, ("395212340000000014", "R"), expires);
    assert_eq!(name, "set_preferences", "the whole set travels, so an empty one withdraws");
    waypost_wire::command::parse(doc.as_bytes()).unwrap();
    for (wrong, says) in [
        (
            DeliveryPreference {
                safe_place: Some("x".repeat(201)),
                ..DeliveryPreference::default()
            },
            "at most 200",
        ),
        (
            DeliveryPreference {
                neighbour: Some("<b>".to_owned()),
                ..DeliveryPreference::default()
            },
            "neighbour",
        ),
        (
            DeliveryPreference {
                safe_place: Some("a\u{202e}b".to_owned()),
                ..DeliveryPreference::default()
            },
            "safe_place",
        ),
        (
            DeliveryPreference { signature_required: Some(true), ..porch.clone() },
            "signature_required",
        ),
        (
            DeliveryPreference {
                other_day: Some("2026-11-23".to_owned()),
                ..DeliveryPreference::default()
            },
            "other_day",
        ),
        (
            DeliveryPreference {
                other_day: Some("soon".to_owned()),
                ..DeliveryPreference::default()
            },
            "other_day",
        ),
        (DeliveryPreference { other_day: Some("2026-11-25".to_owned()), ..porch }, "other_day"),
    ] {
        let problem = delivery_preferences::validate(&wrong, today).unwrap_err();
        assert!(problem.contains(says), "{problem}");
    }
}

#[test]
fn preferences_are_accepted_until_the_van_arrives_and_another_day_until_it_is_near() {
    use super::delivery_preferences::{PreferenceContext, rejection_reason};
    let day = DeliveryPreference {
        other_day: Some("2026-11-25".to_owned()),
        ..DeliveryPreference::default()
    };
    let leave =
        DeliveryPreference { authority_to_leave: Some(true), ..DeliveryPreference::default() };
    for (status, stops_away, of_day, of_leave) in [
        (Status::Announced, None, None, None),
        (Status::AtStation, None, None, None),
        (Status::OutForDelivery, Some(4), None, None),
        (Status::OutForDelivery, Some(3), Some("van_near"), None),
        (Status::Arrived, Some(0), Some("too_late"), Some("too_late")),
        (Status::Attempted, None, Some("too_late"), Some("too_late")),
        (Status::Delivered, None, Some("delivered"), Some("delivered")),
    ] {
        let stand = PreferenceContext { status, on_a_route: true, stops_away };
        assert_eq!(rejection_reason(&day, stand, None), of_day, "{stand:?}");
        assert_eq!(rejection_reason(&leave, stand, None), of_leave, "{stand:?}");
        let nowhere = PreferenceContext { on_a_route: false, ..stand };
        assert_eq!(
            rejection_reason(&leave, nowhere, None),
            Some(of_leave.unwrap_or("not_announced"))
        );
    }
}

#[test]
fn another_day_cannot_be_taken_back_and_every_reason_has_its_own_explanation() {
    use super::delivery_preferences::{PreferenceContext, explain, rejection_reason};
    let stand =
        PreferenceContext { status: Status::OutForDelivery, on_a_route: true, stops_away: Some(9) };
    let day = DeliveryPreference {
        other_day: Some("2026-11-25".to_owned()),
        ..DeliveryPreference::default()
    };
    let nothing = DeliveryPreference::default();
    assert_eq!(rejection_reason(&nothing, stand, Some(&day)), Some("recalled"));
    assert_eq!(rejection_reason(&day, stand, Some(&day)), None, "the same again");
    assert_eq!(rejection_reason(&nothing, stand, Some(&nothing)), None);
    let reasons = ["delivered", "too_late", "not_announced", "van_near", "recalled"];
    let texts: std::collections::BTreeSet<&str> = reasons.map(explain).into();
    assert_eq!(texts.len(), reasons.len());
}

#[test]
fn a_hand_over_in_person_neither_follows_nor_breaks_a_request_for_a_place() {
    use super::delivery_preferences::matches_outcome;
    let place =
        DeliveryPreference { safe_place: Some("shed".to_owned()), ..DeliveryPreference::default() };
    let neighbour =
        DeliveryPreference { neighbour: Some("Huber".to_owned()), ..DeliveryPreference::default() };
    let signature = DeliveryPreference {
        signature_required: Some(true),
        authority_to_leave: Some(false),
        ..DeliveryPreference::default()
    };
    for (asked, outcome, expected) in [
        (&place, "handed_over", None),
        (&place, "safe_place", Some(true)),
        (&place, "locker", Some(true)),
        (&place, "neighbour", Some(false)),
        (&neighbour, "handed_over", None),
        (&neighbour, "neighbour", Some(true)),
        (&neighbour, "safe_place", Some(false)),
        (&signature, "handed_over", Some(true)),
        (&signature, "safe_place", Some(false)),
        (&DeliveryPreference::default(), "handed_over", None),
    ] {
        assert_eq!(matches_outcome(asked, outcome), expected, "{asked:?} {outcome}");
    }
}
