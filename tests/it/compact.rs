//! Compact messages decode to the same data as JSON, with our decoder and with the one in the docs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use waypost_model::motion::TripState;
use waypost_model::record::{Seq, Subject, TrackPoint};
use waypost_model::units::{Distance, Uptime};
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::trail_simplifier::{Bounds, Sampling};
use waypost_pipeline::trip_detector::TripConfig;
use waypost_pipeline::{Pipeline, PipelineConfig, PipelineOutput};
use waypost_sim::ReceiverType;
use waypost_wire::compact_track;
use waypost_wire::payloads::{Point, Track, TrackSource};

use crate::support::{WAYPOST, installed, repository, shared, simulated};

type Points = Vec<(Seq, TrackPoint)>;

fn points(sampling: Sampling, chunks: Vec<(Uptime, Vec<u8>)>) -> Points {
    let config =
        PipelineConfig { date_hint: DateHint::AsReported, trip: TripConfig::default(), sampling };
    let mut pipeline = Pipeline::new(config, Seq::new(1), TripState::default());
    let mut output = PipelineOutput::default();
    for (at, bytes) in chunks {
        pipeline.push(&bytes, at, &mut output);
    }
    pipeline.finish(&mut output);
    let records = output.records.into_iter();
    let points = records.map(|record| match record.subject {
        Subject::Point(point) => (record.seq, point),
    });
    points.collect()
}

fn recorded(path: &Path) -> Vec<(Uptime, Vec<u8>)> {
    let log = std::fs::read(path).unwrap();
    let lines = log.split_inclusive(|byte| *byte == b'\n').enumerate();
    lines
        .map(|(line, bytes)| {
            (Uptime::new(Duration::from_millis(500 * line as u64)), bytes.to_vec())
        })
        .collect()
}

/// Encodes `points` as JSON, and as compact messages with the same content.
fn messages(points: &[(Seq, TrackPoint)], size: usize) -> Vec<(Track, Vec<u8>)> {
    let max_error = |number| (number % 4 != 0).then(|| Distance::from_metres(5.0)).flatten();
    let batches = points.chunks(size).enumerate();
    batches
        .map(|(number, batch)| {
            let lane = if number % 2 == 0 { TrackSource::Live } else { TrackSource::Backlog };
            let json = batch.iter().map(|(seq, point)| Point::new(*seq, point, lane)).collect();
            let compact = batch.iter().map(|(seq, point)| (*seq, point));
            let track = Track::new("VAN-042", max_error(number), json);
            (track, compact_track::encode(lane, max_error(number), compact))
        })
        .collect()
}

/// Returns the tracks that a program decodes from messages on its standard input.
fn tracks(program: &mut Command, input: Vec<u8>) -> Vec<Value> {
    let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_decoded_is_the_json_that_would_have_been_sent() {
    let mut drives =
        vec![("errand", recorded(&repository("tests/fixtures/nmea/errand-ublox-m8.nmea")))];
    for (name, receiver) in [
        ("city", ReceiverType::UbloxM8),
        ("city", ReceiverType::SirfStar),
        ("rural", ReceiverType::Mtk3339),
    ] {
        drives.push((name, simulated(&format!("config/routes/{name}.toml"), receiver, 3600)));
    }
    if let Some(track) = shared("tracks/sbn.nmea") {
        drives.push(("sbn", recorded(&track)));
    }
    for (name, drive) in drives {
        for sampling in [Sampling::Raw, Sampling::Bounded(Bounds::default())] {
            let points = points(sampling, drive.clone());
            assert!(points.len() > 10, "{name}: {}", points.len());
            for size in [1, 3, 60, 500] {
                for (track, bytes) in messages(&points, size) {
                    assert_eq!(
                        compact_track::decode(&bytes).unwrap().track("VAN-042"),
                        track,
                        "{name}"
                    );
                }
            }
        }
    }
}

/// Returns the first block of this kind in `docs/compact.md`.
fn documented(kind: &str) -> String {
    let text = std::fs::read_to_string(repository("docs/compact.md")).unwrap();
    let (_, block) = text.split_once(&format!("```{kind}\n")).unwrap();
    block.split("```").next().unwrap().to_owned()
}

#[test]
fn the_documented_example_is_what_the_agent_writes() {
    let drive = simulated("config/routes/city.toml", ReceiverType::UbloxM8, 900);
    let points = points(Sampling::Raw, drive);
    let batch = &points[points.len() - 3..];
    let max_error = Distance::from_metres(5.0);
    let bytes = compact_track::encode(
        TrackSource::Backlog,
        max_error,
        batch.iter().map(|(seq, at)| (*seq, at)),
    );
    let hex: String = documented("hex").split_whitespace().collect();
    let written = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex, written);
    let track = compact_track::decode(&bytes).unwrap().track("VAN-042");
    let json = serde_json::to_value(&track).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&documented("json")).unwrap(), json, "{json}");
}

#[test]
fn the_decoder_of_the_docs_and_waypost_decode_say_the_same() {
    let drive = simulated("config/routes/city.toml", ReceiverType::UbloxM8, 1800);
    let mut all = Vec::new();
    for sampling in [Sampling::Raw, Sampling::Bounded(Bounds::default())] {
        all.extend(messages(&points(sampling, drive.clone()), 250));
    }
    let expected: Vec<Value> =
        all.iter().map(|(track, _)| serde_json::to_value(track).unwrap()).collect();
    let binary: Vec<u8> = all.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let mut hex = String::new();
    for (_, bytes) in &all {
        bytes.iter().for_each(|byte| write!(hex, "{byte:02x}").unwrap());
        hex.push('\n');
    }
    let ours = || {
        let mut ours = Command::new(WAYPOST);
        ours.args(["decode", "--van", "VAN-042"]);
        ours
    };
    assert_eq!(tracks(&mut ours(), binary.clone()), expected);
    assert_eq!(tracks(&mut ours(), hex.clone().into_bytes()), expected);
    let Some(python) = installed("python3") else { return };
    let reference = || {
        let mut reference = Command::new(&python);
        reference.arg(repository("docs/decode_track.py")).arg("VAN-042");
        reference
    };
    assert_eq!(tracks(&mut reference(), binary), expected);
    assert_eq!(tracks(&mut reference(), hex.into_bytes()), expected);
}
