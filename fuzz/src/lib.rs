//! Invariants for arbitrary input, as functions of its bytes: the bodies of the fuzz targets.
//!
//! `tests/it/fuzzed.rs` includes this file and runs the same bodies on mutated drives. The tests
//! therefore check the invariants without a fuzzer.

mod label;

pub use label::code;
use waypost_model::fix::Fix;
use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq, Subject, TrackPoint};
use waypost_model::units::{Course, Date, Distance, Dop, Height, Position, Speed, Uptime};
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::framing::{Framer, MAX_LINE};
use waypost_pipeline::sentence::{Content, Sentence};
use waypost_pipeline::trail_simplifier::Sampling;
use waypost_pipeline::trip_detector::TripConfig;
use waypost_pipeline::{Pipeline, PipelineConfig, PipelineOutput, ReceiverStats};

/// Checks that framing yields valid lines that do not depend on how the bytes are split.
pub fn framing(data: &[u8]) {
    let (whole, counters) = lines(std::iter::once(data));
    for line in &whole {
        assert!(line.len() <= MAX_LINE, "{} bytes", line.len());
        assert_eq!(line.first(), Some(&b'$'));
        assert!(line[1..].iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'$'));
    }
    assert_eq!(counters.bytes, data.len() as u64);
    assert_eq!(counters.lines, whole.len() as u64);
    let dollars = data.iter().filter(|byte| **byte == b'$').count() as u64;
    assert_eq!(counters.lines + counters.broken, dollars, "each `$` starts a line");
    for cut in [lines(data.chunks(1)), lines(pieces(data, fnv1a(data)))] {
        assert!(cut == (whole.clone(), counters), "lines depend on how bytes are split");
    }
}

type Lines = (Vec<Vec<u8>>, waypost_pipeline::framing::FramingCounters);

fn lines<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Lines {
    let mut framer = Framer::default();
    let mut lines = Vec::new();
    for chunk in chunks {
        framer.push(chunk, Uptime::ZERO, |line, _| lines.push(line.to_vec()));
    }
    framer.finish(|line, _| lines.push(line.to_vec()));
    (lines, framer.counters())
}

/// Checks that parsed values are in range, for each line as it is and with a corrected checksum.
pub fn sentence(data: &[u8]) {
    for line in data.split(|byte| matches!(byte, b'\r' | b'\n')) {
        let _ = Sentence::parse(line).map(|sentence| check_content(&sentence.content));
        let sentence = Sentence::parse(&with_valid_checksum(line));
        let _ = sentence.map(|sentence| check_content(&sentence.content));
    }
}

fn check_content(content: &Content) {
    match content {
        Content::Rmc(rmc) => {
            rmc.position.iter().for_each(check_position);
            rmc.speed.iter().for_each(check_speed);
            rmc.course.iter().for_each(check_course);
            assert!(rmc.date.is_none_or(|date| (1..=12).contains(&date.month) && date.day <= 31));
        }
        Content::Gga(data) | Content::Gns(data) => {
            data.position.iter().for_each(check_position);
            data.hdop.iter().for_each(check_dop);
            data.altitude_msl.iter().for_each(check_height);
            data.geoid_separation.iter().for_each(check_height);
            assert!(data.satellites_used.is_none_or(|used| used <= 99));
        }
        Content::Gll(gll) => gll.position.iter().for_each(check_position),
        Content::Gsa(gsa) => {
            assert!(gsa.mode.is_none_or(|mode| (1..=3).contains(&mode)));
            gsa.hdop.iter().for_each(check_dop);
        }
        Content::Vtg(vtg) => {
            vtg.speed.iter().for_each(check_speed);
            vtg.course.iter().for_each(check_course);
        }
        Content::Gst(gst) => gst.accuracy.iter().for_each(check_distance),
        _ => {}
    }
    let day_and_leap_second = 86_401_000;
    assert!(content.time().is_none_or(|time| time.as_millis() < day_and_leap_second));
}

fn check_position(position: &Position) {
    let (lat, lon) = (position.lat_deg(), position.lon_deg());
    assert!(lat.abs() <= 90.0 && lon.abs() <= 180.0, "{lat} {lon}");
}

fn check_speed(speed: &Speed) {
    assert!((0.0..=9999.9).contains(&speed.as_mps()), "{speed:?}");
}

fn check_course(course: &Course) {
    assert!((0.0..360.0).contains(&course.as_degrees()), "{course:?}");
}

fn check_dop(dop: &Dop) {
    assert!((0.01..90.0).contains(&dop.value()), "{dop:?}");
}

fn check_height(height: &Height) {
    assert!((-100_000.0..=1_000_000.0).contains(&height.as_metres()), "{height:?}");
}

fn check_distance(distance: &Distance) {
    assert!((0.0..=1e12).contains(&distance.as_metres()), "{distance:?}");
}

/// Returns the line with the correct checksum, appended if absent.
fn with_valid_checksum(line: &[u8]) -> Vec<u8> {
    let body = line.strip_prefix(b"$").unwrap_or(line);
    let body = match body {
        [body @ .., b'*', _, _] => body,
        body => body,
    };
    let checksum = body.iter().fold(0, |sum, byte| sum ^ byte);
    [b"$", body, format!("*{checksum:02X}").as_bytes()].concat()
}

/// One step of a pipeline script.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Bytes(Vec<u8>),
    Pause(u64),
    Interrupt,
}

/// Pauses from within a burst to overnight. Common ones are repeated.
const PAUSES_MS: [u64; 16] =
    [0, 1, 5, 20, 50, 100, 200, 300, 400, 500, 1_000, 1_000, 1_000, 5_000, 60_000, 50_000_000];

/// Decodes bytes into a script. `0x80..=0x8F` selects one of [`PAUSES_MS`], and `0x90` disconnects
/// the receiver. `0x91` leaves the following checksums unchanged, and `0x92` corrects them, which
/// is the default. All other bytes are receiver output.
fn script(data: &[u8]) -> Vec<Step> {
    let (mut steps, mut bytes, mut repairing) = (Vec::new(), Vec::new(), true);
    for &byte in data {
        let step = match byte {
            0x80..=0x8F => Some(Step::Pause(PAUSES_MS[usize::from(byte & 0x0F)])),
            0x90 => Some(Step::Interrupt),
            0x91 | 0x92 => None,
            _ => {
                bytes.push(byte);
                continue;
            }
        };
        let pending = std::mem::take(&mut bytes);
        steps.push(Step::Bytes(if repairing { with_checksums(&pending) } else { pending }));
        steps.extend(step);
        repairing = if repairing { byte != 0x91 } else { byte == 0x92 };
    }
    steps.push(Step::Bytes(if repairing { with_checksums(&bytes) } else { bytes }));
    steps
}

/// Corrects the checksums of lines that have one.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        match text {
            [b'$', .., b'*', _, _] => all.extend(with_valid_checksum(text)),
            _ => all.extend(text),
        }
        all.extend(&line[text.len()..]);
    }
    all
}

/// Checks that the output of the pipeline is ordered, in range and bounded by its input. Splitting
/// the bytes and ticking at deadlines must not change it.
pub fn pipeline(data: &[u8]) {
    let script = script(data);
    let era = match data.len() % 3 {
        0 => DateHint::AsReported,
        1 => DateHint::NotBefore(Date::new(2026, 11, 1).expect("valid date")),
        _ => DateHint::NotAfter(Date::new(2026, 11, 23).expect("valid date")),
    };
    let whole = run(era, &script, None);
    let cut = run(era, &script, Some(fnv1a(data)));
    assert!(whole.0 == cut.0, "points depend on how bytes are split and on ticks");
    assert!(whole.1 == cut.1, "counters depend on how bytes are split and on ticks");
}

type Outcome = (Vec<(Seq, TrackPoint)>, (ReceiverStats, TripState));

/// Runs the script: whole, or split into pieces and with a tick at each deadline.
fn run(era: DateHint, script: &[Step], mut cut: Option<u64>) -> Outcome {
    let config =
        PipelineConfig { date_hint: era, trip: TripConfig::default(), sampling: Sampling::Raw };
    let mut pipeline = Pipeline::new(config, Seq::new(1), TripState::default());
    let mut at_ms = 0;
    let mut fed = 0;
    let mut points = Vec::new();
    let mut output = PipelineOutput::default();
    for step in script {
        let at = Uptime::from_millis(at_ms);
        match (step, &mut cut) {
            (Step::Bytes(bytes), None) => pipeline.push(bytes, at, &mut output),
            (Step::Bytes(bytes), Some(seed)) => {
                *seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                pieces(bytes, *seed).for_each(|piece| pipeline.push(piece, at, &mut output));
            }
            (Step::Pause(ms), None) => at_ms += ms,
            (Step::Pause(ms), Some(_)) => {
                at_ms += ms;
                tick_deadlines(&mut pipeline, Uptime::from_millis(at_ms), &mut output);
            }
            (Step::Interrupt, _) => pipeline.source_lost(at, &mut output),
        }
        if let Step::Bytes(bytes) = step {
            fed += bytes.len() as u64;
        }
        drain(&mut output, &mut points);
        check_reception(&pipeline.receiver_stats(), fed, &points);
    }
    pipeline.finish(&mut output);
    drain(&mut output, &mut points);
    pipeline.finish(&mut output);
    assert_eq!(output, PipelineOutput::default(), "output after the end of the input");
    check_reception(&pipeline.receiver_stats(), fed, &points);
    (points, (pipeline.receiver_stats(), pipeline.state()))
}

/// Ticks at each deadline, as the engine does.
fn tick_deadlines(pipeline: &mut Pipeline, now: Uptime, output: &mut PipelineOutput) {
    while let Some(due) = pipeline.deadline().filter(|due| *due <= now) {
        pipeline.tick(due, output);
        assert!(pipeline.deadline().is_none_or(|next| next > due), "idle tick at {due:?}");
    }
}

fn drain(output: &mut PipelineOutput, points: &mut Vec<(Seq, TrackPoint)>) {
    let kept = |record: &Record| match record.subject {
        Subject::Point(point) => (record.seq, point),
    };
    let output = std::mem::take(output);
    let records: Vec<_> = output.records.iter().map(kept).collect();
    assert_eq!(records, output.points, "`raw` stores every fix");
    for (seq, point) in output.points {
        let (expected, odometer) = points
            .last()
            .map_or((Seq::new(1), None), |(seq, point)| (Seq::next(*seq), Some(point.odometer)));
        assert_eq!(seq, expected);
        assert!(odometer.is_none_or(|before| before <= point.odometer), "the odometer decreased");
        check_fix(&point.fix);
        points.push((seq, point));
    }
}

fn check_fix(fix: &Fix) {
    check_position(&fix.position);
    assert!(!fix.position.is_null_island());
    fix.speed.iter().for_each(check_speed);
    fix.course.iter().for_each(check_course);
    fix.hdop.iter().for_each(check_dop);
    fix.altitude_msl.iter().for_each(check_height);
    fix.height_hae.iter().for_each(check_height);
    fix.accuracy.iter().for_each(check_distance);
    assert!(fix.satellites_used.is_none_or(|used| used <= 99));
}

/// Checks that the counters match the input and that no fix lacks a source sentence.
fn check_reception(reception: &ReceiverStats, fed: u64, points: &[(Seq, TrackPoint)]) {
    let lines = reception.framing.lines;
    assert_eq!(reception.framing.bytes, fed);
    let refused = reception.bad_envelope + reception.bad_checksum;
    assert!(refused <= lines);
    let said = lines - refused;
    let judged =
        points.len() as u64 + reception.rejected.no_fix + reception.rejected.rejected_positions();
    assert!(judged <= said, "{judged} epochs of {said} sentences");
    let newest = reception.newest.map(|fix| fix.utc);
    assert_eq!(newest, points.last().map(|(_, point)| point.fix.utc));
}

/// Splits the bytes into pieces of 1 to 64 bytes.
fn pieces(bytes: &[u8], seed: u64) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (bytes, seed | 1);
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let size = usize::try_from(state % 64).expect("below 64") + 1;
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// FNV-1a hash of the input, a deterministic seed.
fn fnv1a(data: &[u8]) -> u64 {
    data.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
