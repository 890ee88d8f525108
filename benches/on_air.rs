//! Benchmarks the data usage per fix: payload bytes plus the overhead of MQTT, TLS, TCP and IP, for
//! each encoding of the trail.
//!
//! `cargo bench --bench on_air`. Fixes are from simulated days and, if present, a recorded drive.
//! The agent's own code samples, batches and encodes them as the uplink does while connected, in
//! the time of the data. The overhead is calculated and printed. It agrees within 2 % with captures
//! from a broker.

mod days;

use std::path::Path;
use std::time::Duration;

use days::recorded;
use serde_json::json;
use waypost::uplink::{Broker, PositionCadence, ThrottleFactor, Transport, UplinkConfig};
use waypost_model::fix::Fix;
use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq, Subject, TrackPoint};
use waypost_model::units::{Distance, Uptime};
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::trail_simplifier::{Bounds, Sampling};
use waypost_pipeline::trip_detector::TripConfig;
use waypost_pipeline::{Pipeline, PipelineConfig, PipelineOutput};
use waypost_sim::{Route, Simulation};
use waypost_wire::payloads::{Point, Position, Track, TrackSource};
use waypost_wire::{VanId, compact_track};

const VAN: &str = "VAN-042";

/// 30 days of 8 hours at 1 Hz.
const FIXES_PER_MONTH: f64 = 864_000.0;

/// Bytes of TCP/IP headers: IPv4 20, TCP 20, timestamps 12.
const TCP_IP: usize = 52;
/// Payload bytes of a segment with an MTU of 1500.
const SEGMENT: usize = 1448;

/// Bytes around a TLS 1.3 record: header 5, content type 1, tag 16.
const TLS: usize = 22;
/// Maximum bytes of a record. A smaller message is written as one.
const TLS_RECORD: usize = 16_384;

/// PUBACK of MQTT 5 without reason code and properties.
const PUBACK: usize = 4;

/// Bytes of a message with this payload on `topic`, in both directions and with all overhead.
fn metered_bytes(topic: &str, payload: usize, acknowledged: bool) -> usize {
    // Topic length 2, property length 1, packet identifier 2, flags 1, remaining length 1 to 4.
    let packet_id = if acknowledged { 2 } else { 0 };
    let remaining = 2 + topic.len() + packet_id + 1 + payload;
    let packet = 1 + (1..4).find(|bytes| remaining < 1 << (7 * bytes)).unwrap_or(4) + remaining;
    let stream = packet + packet.div_ceil(TLS_RECORD) * TLS;
    let segments = stream.div_ceil(SEGMENT);
    // TCP acknowledges every second segment. PUBACK acknowledges the last ones and is acknowledged
    // itself.
    let acks = (segments - 1) / 2;
    let answer = if acknowledged { TCP_IP + TLS + PUBACK + TCP_IP } else { TCP_IP };
    stream + (segments + acks) * TCP_IP + answer
}

/// Records of a drive, with the time at which the pipeline emitted them.
type Drive = Vec<(Uptime, Record)>;

fn point(record: &Record) -> &TrackPoint {
    let Subject::Point(point) = &record.subject;
    point
}

fn drive(sampling: Sampling, chunks: &[(Uptime, Vec<u8>)]) -> Drive {
    let config =
        PipelineConfig { date_hint: DateHint::AsReported, trip: TripConfig::default(), sampling };
    let mut pipeline = Pipeline::new(config, Seq::new(1), TripState::default());
    let (mut output, mut drive) = (PipelineOutput::default(), Vec::new());
    for (at, bytes) in chunks {
        pipeline.push(bytes, *at, &mut output);
        drive.extend(output.records.drain(..).map(|record| (*at, record)));
    }
    pipeline.finish(&mut output);
    let end = chunks.last().map_or(Uptime::ZERO, |(at, _)| *at);
    drive.extend(output.records.drain(..).map(|record| (end, record)));
    drive
}

/// Batches new points as the uplink does: `interval` after the first one arrived, or when the batch
/// is full.
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

/// Encodes a batch as a payload.
type Encoder = fn(&[(Uptime, Record)], Option<Distance>) -> Vec<u8>;

fn as_json(batch: &[(Uptime, Record)], max_error: Option<Distance>) -> Vec<u8> {
    let points =
        batch.iter().map(|(_, record)| Point::new(record.seq, point(record), TrackSource::Live));
    serde_json::to_vec(&Track::new(VAN, max_error, points.collect())).expect("valid JSON")
}

fn as_compact(batch: &[(Uptime, Record)], max_error: Option<Distance>) -> Vec<u8> {
    let points = batch.iter().map(|(_, record)| (record.seq, point(record)));
    compact_track::encode(TrackSource::Live, max_error, points)
}

/// Encodes one fix in the format of the OwnTracks apps.
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
    serde_json::to_vec(&said).expect("valid JSON")
}

/// Prints a row for messages of these sizes, from a drive with this number of fixes.
fn row(name: &str, topic: &str, sizes: &[usize], fixes: usize) {
    let all = |of: &dyn Fn(usize) -> usize| sizes.iter().map(|size| of(*size)).sum::<usize>();
    let per_fix = |bytes: usize| as_f64(bytes) / as_f64(fixes);
    let (payload, air) =
        (per_fix(all(&|size| size)), per_fix(all(&|size| metered_bytes(topic, size, true))));
    println!(
        "  {name:<34}{:>9}{payload:>10.2}{air:>10.2}{:>10.1}",
        sizes.len(),
        air * FIXES_PER_MONTH / 1e6
    );
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("below 2^32"))
}

/// Prints the number of live positions per hour and their data usage.
fn live_lane(raw: &Drive) {
    let tcp = Broker { host: "broker".to_owned(), port: 1883, transport: Transport::Tcp };
    let van = VanId::new(VAN).expect("valid id");
    let mut config = UplinkConfig::new(tcp, "fleet", van);
    config.live_error = Distance::from_metres(25.0);
    config.position_interval_moving = Duration::from_secs(30);
    let (mut cadence, mut sizes) = (PositionCadence::default(), Vec::new());
    for (at, record) in raw {
        if cadence.next_due(record, &config, ThrottleFactor::NONE).is_some_and(|due| *at >= due) {
            cadence.record_sent(record, *at);
            let said = Position::new(VAN, record.seq, point(record));
            sizes.push(serde_json::to_vec(&said).expect("valid JSON").len());
        }
    }
    let air: usize =
        sizes.iter().map(|size| metered_bytes(&config.topics.position, *size, false)).sum();
    let (from, to) = (raw.first().map(|first| first.0), raw.last().map(|last| last.0));
    let hours = to.zip(from).map_or(1.0, |(to, from)| to.since(from).as_secs_f64() / 3600.0);
    println!(
        "  live position, 25 m: {:.0} messages per hour, {:.2} metered bytes per fix, {:.1} MB per van-month",
        as_f64(sizes.len()) / hours,
        as_f64(air) / as_f64(raw.len()),
        as_f64(air) / as_f64(raw.len()) * FIXES_PER_MONTH / 1e6,
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
        "\n{name}: {} fixes, {:.0} % of them moving; {} points stored within 5 m",
        raw.len(),
        100.0 * as_f64(moving.count()) / as_f64(raw.len()),
        kept.len()
    );
    println!("  {:<34}{:>9}{:>10}{:>10}{:>10}", "", "messages", "payload", "metered", "MB/month");
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
    let route = Route::load(&path).expect("shipped routes are valid");
    Simulation::new(route).map(|burst| (burst.at, burst.bytes)).collect()
}

fn main() {
    println!(
        "Bytes per fix of the receiver, in both directions. Overhead: PUBLISH 8 + topic of 22, a TLS 1.3 record of\n\
         {TLS}, {TCP_IP} of TCP/IP per segment (MTU 1500, timestamps) and an ACK per two segments; PUBACK {PUBACK}, its\n\
         record, its segment and its ACK. A small message costs {} besides its payload. Not counted: handshakes, pings,\n\
         `state`, lower layers. A month is 30 days of 8 hours at 1 Hz. MQTT's content type would add 32 per message.",
        metered_bytes("fleet/v1/VAN-042/track", 100, true) - 100
    );
    for name in ["city.toml", "rural.toml"] {
        report(name, &simulated(name));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tracks/sbn.nmea");
    match recorded(&path) {
        Some(drive) => report("sbn.nmea (recorded)", &drive),
        None => println!("\nskipped: ../shared/tracks/sbn.nmea does not exist"),
    }
}
