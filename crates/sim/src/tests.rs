//! Properties of the whole simulation, checked over the shipped routes.

use std::path::Path;

use nmea::sentences::{GgaData, RmcData};
use nmea::{ParseResult, parse_str};

use super::*;
use waypost_model::units::Date;

fn shipped(name: &str) -> Route {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    Route::load(&root.join("config/routes").join(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// A quarter of an hour: two stops, a bend, a light and a tunnel.
fn short() -> Route {
    let text = r#"
        name = "short"
        cold_start_s = 20
        depot = { lat_deg = 48.0, lon_deg = 9.0, loading_s = 40 }
        way_home = "300,900 0,0"
        stops = [
            { name = "first", way = "urban 0,300 200,300", dwell_s = 60 },
            { name = "second", way = "open 80km/h 900,320 tunnel 1500,400 open 2000,900", dwell_s = 90 },
        ]
    "#;
    Route::parse(Path::new("short.toml"), text).unwrap_or_else(|error| panic!("{error}"))
}

fn with(mut route: Route, state_mut: impl FnOnce(&mut Settings)) -> Simulation {
    state_mut(&mut route.settings);
    Simulation::new(route)
}

fn bytes(simulation: Simulation) -> Vec<u8> {
    simulation.flat_map(|burst| burst.bytes).collect()
}

fn sentences(burst: &EpochBytes) -> Vec<&str> {
    std::str::from_utf8(&burst.bytes).unwrap().lines().collect()
}

fn is_intact(sentence: &str) -> bool {
    let (body, checksum) = sentence.strip_prefix('$').unwrap().split_once('*').unwrap();
    let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
    checksum == format!("{sum:02X}")
}

fn claims_fix(sentence: &str) -> bool {
    match parse_str(sentence) {
        Ok(ParseResult::RMC(RmcData { status_of_fix, .. })) => {
            status_of_fix == nmea::sentences::rmc::RmcStatusOfFix::Autonomous
        }
        Ok(ParseResult::GGA(GgaData { fix_type, .. })) => {
            fix_type.is_some_and(|kind| kind != nmea::sentences::FixType::Invalid)
        }
        _ => false,
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let day = |seed| bytes(with(short(), |settings| settings.seed = seed));
    assert_eq!(day(1), day(1));
    assert_ne!(day(1), day(2));
}

#[test]
fn the_bytes_of_a_seed_are_known() {
    let hash = |bytes: Vec<u8>| {
        let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
    };
    let found = ReceiverType::ALL.map(|receiver| {
        format!("{:016x}", hash(bytes(with(short(), |settings| settings.receiver = receiver))))
    });
    // FNV-1a. The values change with the output of the simulator, never with a platform or
    // compiler.
    assert_eq!(found, KNOWN);
}

const KNOWN: [&str; 6] = [
    "b126effcc577f224",
    "6c4d1bf33f59ffd9",
    "7e3119c4874bbf6b",
    "01f8221d1da01553",
    "52bba9592d56d5c9",
    "d1858bf9353d8582",
];

#[test]
fn every_checksum_is_right_unless_the_line_spoils_it() {
    for receiver in ReceiverType::ALL {
        for burst in with(short(), |settings| settings.receiver = receiver) {
            let sentences = sentences(&burst);
            assert!(!sentences.is_empty());
            assert!(sentences.iter().all(|one| is_intact(one) && one.len() <= 80), "{sentences:?}");
        }
    }
}

#[test]
fn the_line_spoils_the_share_that_was_asked_for() {
    let spoilt = with(short(), |settings| {
        settings.bad_checksum_rate = Fraction::new(0.05).unwrap();
        settings.rate = Rate::from_hz(10).unwrap();
    });
    let (mut all, mut bad) = (0, 0);
    for burst in spoilt {
        for sentence in sentences(&burst) {
            all += 1;
            bad += u32::from(!is_intact(sentence));
        }
    }
    let share = f64::from(bad) / f64::from(all);
    assert!((0.045..0.055).contains(&share), "{bad} of {all}");
}

#[test]
fn the_rate_does_not_change_the_drive() {
    let truths = |hz| -> Vec<Truth> {
        let at_rate = with(short(), |settings| settings.rate = Rate::from_hz(hz).unwrap());
        at_rate.map(|burst| burst.truth).collect()
    };
    let seconds = truths(1);
    for hz in [2, 5, 10] {
        let step = usize::try_from(hz).unwrap();
        let same: Vec<Truth> = truths(hz).into_iter().step_by(step).collect();
        assert_eq!(same, seconds, "{hz} Hz");
    }
}

#[test]
fn the_receiver_does_not_change_the_drive() {
    let places = |receiver| -> Vec<Position> {
        let day = with(short(), |settings| settings.receiver = receiver);
        day.map(|burst| burst.truth.position).collect()
    };
    assert_eq!(places(ReceiverType::UbloxM10), places(ReceiverType::RmcOnly));
}

/// Drives a shipped day at 10 Hz with a cheap receiver type, and checks it against physics.
fn is_driven_as_a_van_would(name: &str, least_km: f64) {
    let route = shipped(name);
    let limit_mps = route.stops.iter().flat_map(|stop| &stop.road).map(|mark| mark.limit_mps);
    let limit_mps = limit_mps.fold(0.0, f64::max);
    let mut stood_steps = vec![0_u32; route.stops.len()];
    let (van, stops) = (route.van, route.stops.clone());
    let depot = route.depot.position;
    let mut last: Option<Truth> = None;
    let (mut driven_m, mut expected_m) = (0.0, 0.0);
    let day = with(route, |settings| {
        settings.receiver = ReceiverType::RmcOnly;
        settings.rate = Rate::from_hz(10).unwrap();
    });
    for EpochBytes { truth, .. } in day {
        let speed = truth.speed.as_mps();
        assert!(speed <= limit_mps + 0.001, "{speed} m/s at {}", truth.utc);
        if let Some(before) = last {
            let gained = (speed - before.speed.as_mps()) * 10.0;
            let bounds = -van.braking_mps2 - 0.05..=van.acceleration_mps2 + 0.05;
            assert!(bounds.contains(&gained), "{gained} m/s² at {}", truth.utc);
            let moved = before.position.distance_to(truth.position).as_metres();
            let expected = (before.speed.as_mps() + speed) / 20.0;
            // The van reaches the end of a leg within a step; where it turns back, it leaves by the
            // same road.
            assert!(moved < expected + 0.12, "{moved} m, {expected} at {}", truth.utc);
            (driven_m, expected_m) = (driven_m + moved, expected_m + expected);
        }
        if let Some(stop) = truth.stop {
            assert!(truth.standing);
            stood_steps[stop] += 1;
        }
        last = Some(truth);
    }
    for (index, (steps, stop)) in stood_steps.iter().zip(&stops).enumerate() {
        let part = f64::from(*steps) / 10.0 / stop.dwell.as_secs_f64();
        assert!((0.69..1.31).contains(&part), "stop {index}: stood for {part} of its dwell");
    }
    let end = last.unwrap();
    assert!(end.standing && end.position.distance_to(depot).as_metres() < 0.1);
    assert!(driven_m > least_km * 1000.0, "{driven_m} m");
    assert!((driven_m / expected_m - 1.0).abs() < 0.005, "{driven_m} m, {expected_m} m");
}

#[test]
fn the_city_is_driven_as_a_van_would() {
    is_driven_as_a_van_would("city.toml", 25.0);
}

#[test]
fn the_country_is_driven_as_a_van_would() {
    is_driven_as_a_van_would("rural.toml", 120.0);
}

/// Returns the distance of the sentence's position from the truth, if it has one.
fn compare(sentence: &str, truth: &Truth) -> Option<f64> {
    let (time, lat, lon) = match parse_str(sentence) {
        Ok(ParseResult::RMC(rmc)) => {
            assert_eq!(
                rmc.fix_date.map(|date| date.to_string()),
                Some(truth.utc.date().to_string())
            );
            let knots = f64::from(rmc.speed_over_ground.unwrap());
            let error = knots * 1852.0 / 3600.0 - truth.speed.as_mps();
            assert!(error.abs() < 0.6, "speed {error} m/s off");
            (rmc.fix_time, rmc.lat, rmc.lon)
        }
        Ok(ParseResult::GGA(gga)) => {
            assert!(gga.fix_satellites.unwrap() >= 4 && gga.hdop.unwrap() > 0.3, "{sentence}");
            (gga.fix_time, gga.latitude, gga.longitude)
        }
        Err(error) if ["RMC,", "GGA,"].contains(&&sentence[3..7]) => panic!("{sentence}: {error}"),
        _ => return None,
    };
    let time = time.unwrap().format("%H:%M:%S").to_string();
    assert_eq!(time, truth.utc.to_string()[11..19]);
    let position = Position::from_degrees(lat.unwrap(), lon.unwrap()).unwrap();
    Some(position.distance_to(truth.position).as_metres())
}

#[test]
fn another_parser_reads_what_is_true_within_the_noise() {
    for receiver in ReceiverType::ALL {
        let mut route = shipped("city.toml");
        route.settings.receiver = receiver;
        route.settings.duration = Some(Duration::from_secs(7200));
        let (mut squares, mut count) = (0.0, 0);
        for burst in Simulation::new(route).filter(|burst| burst.truth.has_fix) {
            for error_m in sentences(&burst).iter().filter_map(|one| compare(one, &burst.truth)) {
                assert!(error_m < 60.0, "{error_m} m at {}", burst.truth.utc);
                squares += error_m * error_m;
                count += 1;
            }
        }
        assert!(count > 6500, "{receiver}: {count}");
        let mean_m = (squares / f64::from(count)).sqrt();
        assert!((1.0..12.0).contains(&mean_m), "{receiver}: {mean_m} m");
    }
}

#[test]
fn a_cold_start_and_a_tunnel_have_no_valid_fix() {
    for receiver in ReceiverType::ALL {
        let mut tunnel = 0;
        let mut last_gga = String::new();
        for burst in with(short(), |settings| settings.receiver = receiver) {
            let dark = burst.truth.in_tunnel || burst.at < Uptime::from_millis(20_000);
            assert!(!(dark && burst.truth.has_fix));
            tunnel += u32::from(burst.truth.in_tunnel);
            for sentence in sentences(&burst).into_iter().filter(|one| claims_fix(one)) {
                let repeated = receiver == ReceiverType::GgaOnly && sentence == last_gga;
                assert!(burst.truth.has_fix || repeated, "{receiver}: {sentence}");
                sentence.clone_into(&mut last_gga);
            }
        }
        assert!(tunnel > 20, "{tunnel} s in the tunnel");
    }
}

#[test]
fn a_cold_receiver_sends_what_the_recordings_show() {
    let first = |receiver| {
        let mut day = with(short(), |settings| settings.receiver = receiver);
        String::from_utf8(day.next().unwrap().bytes).unwrap().replace("\r\n", " ")
    };
    let dops = "99.99,99.99,99.99";
    assert_eq!(
        first(ReceiverType::UbloxM8),
        format!(
            "$GNRMC,,V,,,,,,,,,,N*4D $GNVTG,,,,,,,,,N*2E $GNGGA,,,,,,0,00,99.99,,,,,,*56 \
             $GNGSA,A,1,,,,,,,,,,,,,{dops}*2E $GNGSA,A,1,,,,,,,,,,,,,{dops}*2E \
             $GPGSV,1,1,00*79 $GLGSV,1,1,00*65 $GNGLL,,,,,,V,N*7A "
        )
    );
    assert!(first(ReceiverType::Mtk3339).contains("$GPRMC,000000.000,V,,,,,,,060180,,,N*"));
    let day = Date::new(1980, 1, 6).unwrap();
    assert_eq!(sentence::date(day), "060180");
}

#[test]
fn a_standing_van_drifts_by_metres_and_jitters_by_centimetres() {
    let mut route = short();
    route.depot.loading = Duration::from_secs(3600);
    route.settings.duration = Some(Duration::from_secs(3600));
    let positions: Vec<Position> = Simulation::new(route)
        .filter(|burst| burst.truth.has_fix)
        .filter_map(|burst| match parse_str(sentences(&burst)[0]) {
            Ok(ParseResult::RMC(rmc)) => Position::from_degrees(rmc.lat?, rmc.lon?),
            _ => None,
        })
        .collect();
    let farthest = positions.iter().map(|one| one.distance_to(positions[0]).as_metres());
    let farthest_m = farthest.fold(0.0, f64::max);
    let steps = positions.windows(2).map(|pair| pair[0].distance_to(pair[1]).as_metres());
    let mean_step_m = steps.sum::<f64>() / 3560.0;
    assert!((1.0..30.0).contains(&farthest_m), "{farthest_m} m");
    assert!((0.02..0.8).contains(&mean_step_m), "{mean_step_m} m/s");
}

#[test]
fn the_day_ends_when_it_was_told_to() {
    let day = with(short(), |settings| settings.duration = Some(Duration::from_secs(30)));
    assert_eq!(day.count(), 30);
}

#[test]
fn one_report_names_every_mistake_of_a_route() {
    let text = r#"
        name = "bad"
        start_utc = "yesterday"
        receiver = "sextant"
        rate_hz = 3
        speed = 9
        depot = { lat_deg = 91.0, lon_deg = 9.0 }
        way_home = "0,0"
        stops = [{ name = "a", way = "10,10 fast 20", dwell_s = 1 }, { way = "5,5", naem = "b" }]
    "#;
    let report = Route::parse(Path::new("bad.toml"), text).unwrap_err().to_string();
    let expected = [
        "bad.toml: invalid route file",
        "  start_utc: `yesterday` is not a UTC time in 2000..2068, such as 2026-11-23T06:30:00Z",
        "  receiver: `sextant` is unknown: write one of ublox-m8, ublox-m10, sirf-star, \
         mtk-3339, gga-only, rmc-only",
        "  rate_hz: 3 is not one of 1, 2, 5, 10",
        "  depot.lat_deg: 91 is not a number in -80..=80",
        "  stops[0].way: `fast` is neither a point (`EAST,NORTH` in whole metres from the depot, \
         as in `120,-340`) nor a sign (`50km/h`, `open`, `urban`, `tunnel`)",
        "  stops[0].way: `20` is neither a point (`EAST,NORTH` in whole metres from the depot, \
         as in `120,-340`) nor a sign (`50km/h`, `open`, `urban`, `tunnel`)",
        "  stops[0].dwell_s: 1 is not a whole number in 5..=7200",
        "  stops[1].name: is missing: write `name = \"Mill Lane 3\"`",
        "  stops[1].naem: is unknown: remove it, or write one of name, way, dwell_s, purpose",
        "  speed: is unknown: remove it, or write one of name, start_utc, seed, receiver, \
         rate_hz, cold_start_s, bad_checksum_rate, depot, van, error_m, stops, way_home, \
         delivery",
    ];
    assert_eq!(report.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_log_file_has_a_header_and_then_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.nmea");
    let outputs = output::Outputs::nmea(output::Output::File(path.clone()));
    let sent = output::run(Day::new(short()), outputs, output::PlaybackSpeed::Max).await.unwrap();
    let expected = bytes(Simulation::new(short()));
    let written = std::fs::read_to_string(path).unwrap();
    let header: String = written.lines().take(4).map(|line| format!("{line}\n")).collect();
    assert_eq!(
        header,
        "# Name: simulated short\n# Receiver: ublox-m8 at 1 Hz\n# Date: 2026-11-23\n\
         # Source: waypost-sim, seed 1\n"
    );
    assert!(written.as_bytes()[header.len()..] == expected);
    assert_eq!(sent.nmea.bytes, u64::try_from(expected.len()).unwrap());
}
