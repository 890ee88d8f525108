//! What a fix costs on the air: bytes of payload, and of MQTT, TLS, TCP and IP around it, for each encoding of the trail.
//!
//! `cargo bench --bench on_air`. Fixes come from simulated days and, where it is, a recorded drive; they are sampled,
//! batched by time and encoded by the agent's own code as the relay does it while the link holds, in the data's time.
//! What stands around a payload is arithmetic, and printed; it agrees within 2 % with what was captured from a broker.

mod days;

use std::path::Path;
use std::time::Duration;

use days::recorded;
use serde_json::json;
use waypost::core::calendar::Era;
use waypost::core::fix::Fix;
use waypost::core::journey::{JourneyConfig, JourneyState};
use waypost::core::record::{Record, Seq, Subject, TrackPoint};
use waypost::core::sampling::{Bounds, Sampling};
use waypost::core::{Output, Pipeline, PipelineConfig};
use waypost::relay::{Broker, PositionCadence, RelayConfig, Stretch, Transport};
use waypost::simulate::{Route, Simulation};
use waypost::units::{Distance, Uptime};
use waypost::wire::json::{Lane, Point, Position, Track};
use waypost::wire::{VanId, compact};

const VAN: &str = "VAN-042";

/// 30 days of 8 hours at 1 Hz.
const FIXES_OF_A_MONTH: f64 = 864_000.0;

/// IPv4 20, TCP 20, timestamps 12; what remains of an MTU of 1500.
const TCP_IP: usize = 52;
const SEGMENT: usize = 1448;

/// A TLS 1.3 record: header 5, content type 1, tag 16; a message is written as one, up to 16 KiB.
const TLS: usize = 22;
const TLS_RECORD: usize = 16_384;

/// PUBACK of MQTT 5 without reason code and properties.
const PUBACK: usize = 4;

/// Bytes of a payload on `topic`, both ways, with everything around it.
fn on_air(topic: &str, payload: usize, acknowledged: bool) -> usize {
    // Topic length 2, property length 1, packet identifier 2, flags 1, and 1 to 4 of remaining length.
    let packet_id = if acknowledged { 2 } else { 0 };
    let remaining = 2 + topic.len() + packet_id + 1 + payload;
    let packet = 1 + (1..4).find(|bytes| remaining < 1 << (7 * bytes)).unwrap_or(4) + remaining;
    let stream = packet + packet.div_ceil(TLS_RECORD) * TLS;
    let segments = stream.div_ceil(SEGMENT);
    // TCP acknowledges every second segment; the last of them with PUBACK, which is acknowledged itself.
    let acks = (segments - 1) / 2;
    let answer = if acknowledged { TCP_IP + TLS + PUBACK + TCP_IP } else { TCP_IP };
    stream + (segments + acks) * TCP_IP + answer
}

/// What a drive gives: when each record came out of the pipeline.
type Drive = Vec<(Uptime, Record)>;

fn point(record: &Record) -> &TrackPoint {
    let Subject::Point(point) = &record.subject else { panic!("the trail has points only") };
    point
}

fn drive(sampling: Sampling, chunks: &[(Uptime, Vec<u8>)]) -> Drive {
    let config = PipelineConfig { era: Era::AsSaid, journey: JourneyConfig::default(), sampling };
    let mut pipeline = Pipeline::new(config, Seq::new(1), JourneyState::default());
    let (mut output, mut drive) = (Output::default(), Vec::new());
    for (at, bytes) in chunks {
        pipeline.push(bytes, *at, &mut output);
        drive.extend(output.records.drain(..).map(|record| (*at, record)));
    }
    pipeline.finish(&mut output);
    let end = chunks.last().map_or(Uptime::ZERO, |(at, _)| *at);
    drive.extend(output.records.drain(..).map(|record| (end, record)));
    drive
}

/// Batches as the relay makes them of fresh points: `interval` after the first of them came, or when it is full.
fn batches(drive: &Drive, interval: Duration, points: usize) -> Vec<&[(Uptime, Record)]> {
    let (mut batches, mut begin) = (Vec::new(), 0);
    for (number, (at, _)) in drive.iter().enumerate() {
        if number > begin && (*at >= drive[begin].0 + interval || number - begin == points) {
            batches.push(&drive[begin..number]);
            begin = number;
        }
    }
    batches.push(&drive[begin..]);
    batches
}

/// How a batch becomes a payload.
type Encoder = fn(&[(Uptime, Record)], Option<Distance>) -> Vec<u8>;

fn as_json(batch: &[(Uptime, Record)], max_error: Option<Distance>) -> Vec<u8> {
    let points = batch.iter().map(|(_, record)| Point::new(record.seq, point(record), Lane::Live));
    serde_json::to_vec(&Track::new(VAN, max_error, points.collect())).expect("it is JSON")
}

fn as_compact(batch: &[(Uptime, Record)], max_error: Option<Distance>) -> Vec<u8> {
    let points = batch.iter().map(|(_, record)| (record.seq, point(record)));
    compact::encode(Lane::Live, max_error, points)
}

/// One fix as the OwnTracks apps say it.
fn as_owntracks(record: &Record) -> Vec<u8> {
    let Fix { utc, position, altitude_msl, speed, course, accuracy, .. } = &point(record).fix;
    let said = json!({
        "_type": "location",
        "tid": "42",
        "tst": utc.as_unix_ms() / 1000,
        "lat": position.lat_deg(),
        "lon": position.lon_deg(),
        "alt": altitude_msl.map(|height| height.as_metres().round()),
        "vel": speed.map(|speed| (speed.as_mps() * 3.6).round()),
        "cog": course.map(|course| course.as_degrees().round()),
        "acc": accuracy.map(|accuracy| accuracy.as_metres().round()),
        "t": "u",
    });
    serde_json::to_vec(&said).expect("it is JSON")
}

/// Prints a row: messages of these sizes, of a drive with so many fixes.
fn row(name: &str, topic: &str, sizes: &[usize], fixes: usize) {
    let all = |of: &dyn Fn(usize) -> usize| sizes.iter().map(|size| of(*size)).sum::<usize>();
    let per_fix = |bytes: usize| as_f64(bytes) / as_f64(fixes);
    let (payload, air) =
        (per_fix(all(&|size| size)), per_fix(all(&|size| on_air(topic, size, true))));
    println!(
        "  {name:<34}{:>9}{payload:>10.2}{air:>10.2}{:>10.1}",
        sizes.len(),
        air * FIXES_OF_A_MONTH / 1e6
    );
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a day's bytes"))
}

/// The live lane: messages an hour, and what they cost.
fn live_lane(raw: &Drive) {
    let tcp = Broker { host: "broker".to_owned(), port: 1883, transport: Transport::Tcp };
    let van = VanId::new(VAN).expect("it is one");
    let mut config = RelayConfig::new(tcp, "fleet", van);
    config.live_error = Distance::from_metres(25.0);
    config.position_interval_moving = Duration::from_secs(30);
    let (mut cadence, mut sizes) = (PositionCadence::default(), Vec::new());
    for (at, record) in raw {
        if cadence.due(record, &config, Stretch::NONE).is_some_and(|due| *at >= due) {
            cadence.said(record, *at);
            let said = Position::new(VAN, record.seq, point(record));
            sizes.push(serde_json::to_vec(&said).expect("it is JSON").len());
        }
    }
    let air: usize = sizes.iter().map(|size| on_air(&config.topics.position, *size, false)).sum();
    let (from, to) = (raw.first().map(|first| first.0), raw.last().map(|last| last.0));
    let hours = to.zip(from).map_or(1.0, |(to, from)| to.since(from).as_secs_f64() / 3600.0);
    println!(
        "  live lane, 25 m: {:.0} positions an hour, {:.2} bytes on the air per fix, {:.1} MB a van-month",
        as_f64(sizes.len()) / hours,
        as_f64(air) / as_f64(raw.len()),
        as_f64(air) / as_f64(raw.len()) * FIXES_OF_A_MONTH / 1e6,
    );
}

fn report(name: &str, chunks: &[(Uptime, Vec<u8>)]) {
    let raw = drive(Sampling::Raw, chunks);
    let bounds = Bounds::default();
    let kept = drive(Sampling::Bounded(bounds), chunks);
    let bounded = Some(bounds.max_error);
    let moving = raw
        .iter()
        .filter(|(_, record)| point(record).fix.speed.is_some_and(|speed| speed.as_mps() >= 0.5));
    println!(
        "\n{name}: {} fixes, {:.0} % of them moving; {} points are kept to 5 m",
        raw.len(),
        100.0 * as_f64(moving.count()) / as_f64(raw.len()),
        kept.len()
    );
    println!("  {:<34}{:>9}{:>10}{:>10}{:>10}", "", "messages", "payload", "on air", "MB/month");
    let owntracks: Vec<usize> = raw.iter().map(|(_, record)| as_owntracks(record).len()).collect();
    row("OwnTracks JSON, one a message", "owntracks/fleet/VAN-042", &owntracks, raw.len());
    for (interval, points) in [(3, 60), (60, 60), (300, 500)] {
        let made = |of: &Drive, how: Encoder, max_error: Option<Distance>| -> Vec<usize> {
            let all = batches(of, Duration::from_secs(interval), points);
            all.into_iter().map(|batch| how(batch, max_error).len()).collect()
        };
        let batched = format!("{interval} s or {points} points");
        for (name, sizes) in [
            ("JSON raw", made(&raw, as_json, None)),
            ("JSON 5 m", made(&kept, as_json, bounded)),
            ("compact raw", made(&raw, as_compact, None)),
            ("compact 5 m", made(&kept, as_compact, bounded)),
        ] {
            row(&format!("{name}, {batched}"), "fleet/v1/VAN-042/track", &sizes, raw.len());
        }
    }
    let backlog = |how: Encoder| -> Vec<usize> {
        kept.chunks(Track::MAX_POINTS).map(|batch| how(batch, bounded).len()).collect()
    };
    row("JSON 5 m, backlog by 500", "fleet/v1/VAN-042/track", &backlog(as_json), raw.len());
    row("compact 5 m, backlog by 500", "fleet/v1/VAN-042/track", &backlog(as_compact), raw.len());
    live_lane(&raw);
}

fn simulated(name: &str) -> Vec<(Uptime, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/routes").join(name);
    let route = Route::load(&path).expect("a shipped route is in order");
    Simulation::new(route).map(|burst| (burst.at, burst.bytes)).collect()
}

fn main() {
    println!(
        "Bytes per fix that the receiver gave, both ways. Around a payload: PUBLISH 8 + topic of 22, a TLS 1.3 record of\n\
         {TLS}, {TCP_IP} of TCP/IP a segment (MTU 1500, timestamps) and an ACK for every second one; PUBACK {PUBACK}, its\n\
         record, its segment and its ACK. A small message costs {} besides its payload. Not counted: handshakes, pings,\n\
         `state`, lower layers. A month is 30 days of 8 hours at 1 Hz. MQTT's content type would add 32 a message.",
        on_air("fleet/v1/VAN-042/track", 100, true) - 100
    );
    for name in ["city.toml", "rural.toml"] {
        report(name, &simulated(name));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tracks/sbn.nmea");
    match recorded(&path) {
        Some(drive) => report("sbn.nmea (recorded)", &drive),
        None => println!("\nskipped: ../shared/tracks/sbn.nmea is not here"),
    }
}
