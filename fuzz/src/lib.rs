//! What must hold for every input, as functions of its bytes: the bodies of the fuzz targets.
//!
//! `tests/it/fuzzed.rs` includes this file and runs the same bodies on mutated drives, so that the properties are
//! checked wherever the tests are, also without a fuzzer.

mod label;

pub use label::code;
use waypost::core::calendar::Era;
use waypost::core::fix::Fix;
use waypost::core::framing::{Framer, MAX_LINE};
use waypost::core::journey::{JourneyConfig, JourneyState};
use waypost::core::record::{Record, Seq, Subject, TrackPoint};
use waypost::core::sampling::Sampling;
use waypost::core::sentence::{Content, Sentence};
use waypost::core::{Output, Pipeline, PipelineConfig, Reception};
use waypost::units::{Course, Date, Distance, Dop, Height, Position, Speed, Uptime};

/// Whatever the bytes are and however they are cut, the lines are the same, and each is a line.
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
    assert_eq!(counters.lines + counters.broken, dollars, "each `$` begins a line or a broken one");
    for cut in [lines(data.chunks(1)), lines(pieces(data, dice(data)))] {
        assert!(cut == (whole.clone(), counters), "other lines when the bytes are cut");
    }
}

type Lines = (Vec<Vec<u8>>, waypost::core::framing::FramingCounters);

fn lines<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Lines {
    let mut framer = Framer::default();
    let mut lines = Vec::new();
    for chunk in chunks {
        framer.push(chunk, Uptime::ZERO, |line, _| lines.push(line.to_vec()));
    }
    framer.finish(|line, _| lines.push(line.to_vec()));
    (lines, framer.counters())
}

/// What a line says is in range, as it stands and with its checksum repaired.
pub fn sentence(data: &[u8]) {
    for line in data.split(|byte| matches!(byte, b'\r' | b'\n')) {
        let _ = Sentence::parse(line).map(|sentence| check_content(&sentence.content));
        let sentence = Sentence::parse(&repaired(line));
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

/// The line with the checksum that its text has; added if it has none.
fn repaired(line: &[u8]) -> Vec<u8> {
    let body = line.strip_prefix(b"$").unwrap_or(line);
    let body = match body {
        [body @ .., b'*', _, _] => body,
        body => body,
    };
    let checksum = body.iter().fold(0, |sum, byte| sum ^ byte);
    [b"$", body, format!("*{checksum:02X}").as_bytes()].concat()
}

/// One thing that happens to the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Bytes(Vec<u8>),
    Pause(u64),
    Interrupt,
}

/// From a pause within a burst to a night; what is most usual comes oftenest.
const PAUSES_MS: [u64; 16] =
    [0, 1, 5, 20, 50, 100, 200, 300, 400, 500, 1_000, 1_000, 1_000, 5_000, 60_000, 50_000_000];

/// The script that the bytes are. Those below `0x80` stand for themselves; `0x80..` is one of [`PAUSES_MS`], `0x90` a
/// receiver that is unplugged, `0x91` says that from here on checksums are left as they are, `0x92` that they are
/// repaired, as at the beginning. All others stand for themselves too.
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
        let gathered = std::mem::take(&mut bytes);
        steps.push(Step::Bytes(if repairing { with_checksums(&gathered) } else { gathered }));
        steps.extend(step);
        repairing = if repairing { byte != 0x91 } else { byte == 0x92 };
    }
    steps.push(Step::Bytes(if repairing { with_checksums(&bytes) } else { bytes }));
    steps
}

/// Lines that have a checksum get the right one.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        match text {
            [b'$', .., b'*', _, _] => all.extend(repaired(text)),
            _ => all.extend(text),
        }
        all.extend(&line[text.len()..]);
    }
    all
}

/// Whatever is sent and whenever: what comes out is in order and in range, bounded by what went in, and neither the
/// cutting of the bytes nor ticks at the right moment change it.
pub fn pipeline(data: &[u8]) {
    let script = script(data);
    let era = match data.len() % 3 {
        0 => Era::AsSaid,
        1 => Era::NotBefore(Date::new(2026, 11, 1).expect("a day")),
        _ => Era::NotAfter(Date::new(2026, 11, 23).expect("a day")),
    };
    let whole = run(era, &script, None);
    let cut = run(era, &script, Some(dice(data)));
    assert!(whole.0 == cut.0, "other points when the bytes are cut and the clock ticks");
    assert!(whole.1 == cut.1, "counted otherwise when the bytes are cut and the clock ticks");
}

type Outcome = (Vec<(Seq, TrackPoint)>, (Reception, JourneyState));

/// Runs the script: whole, or cut in pieces and with each deadline kept.
fn run(era: Era, script: &[Step], mut cut: Option<u64>) -> Outcome {
    let config = PipelineConfig { era, journey: JourneyConfig::default(), sampling: Sampling::Raw };
    let mut pipeline = Pipeline::new(config, Seq::new(1), JourneyState::default());
    let mut at_ms = 0;
    let mut fed = 0;
    let mut points = Vec::new();
    let mut output = Output::default();
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
                keep_deadlines(&mut pipeline, Uptime::from_millis(at_ms), &mut output);
            }
            (Step::Interrupt, _) => pipeline.interrupt(at, &mut output),
        }
        if let Step::Bytes(bytes) = step {
            fed += bytes.len() as u64;
        }
        drain(&mut output, &mut points);
        check_reception(&pipeline.reception(), fed, &points);
    }
    pipeline.finish(&mut output);
    drain(&mut output, &mut points);
    pipeline.finish(&mut output);
    assert_eq!(output, Output::default(), "what has ended says nothing more");
    check_reception(&pipeline.reception(), fed, &points);
    (points, (pipeline.reception(), pipeline.state()))
}

/// Ticks when it is due, as the engine does.
fn keep_deadlines(pipeline: &mut Pipeline, now: Uptime, output: &mut Output) {
    while let Some(due) = pipeline.deadline().filter(|due| *due <= now) {
        pipeline.tick(due, output);
        assert!(pipeline.deadline().is_none_or(|next| next > due), "a tick at {due:?} did nothing");
    }
}

fn drain(output: &mut Output, points: &mut Vec<(Seq, TrackPoint)>) {
    let kept = |record: &Record| match record.subject {
        Subject::Point(point) => (record.seq, point),
        _ => unreachable!("there is no other kind"),
    };
    let output = std::mem::take(output);
    let records: Vec<_> = output.records.iter().map(kept).collect();
    assert_eq!(records, output.points, "`raw` keeps every fix");
    for (seq, point) in output.points {
        let (expected, odometer) = points
            .last()
            .map_or((Seq::new(1), None), |(seq, point)| (Seq::next(*seq), Some(point.odometer)));
        assert_eq!(seq, expected);
        assert!(odometer.is_none_or(|before| before <= point.odometer), "it was driven backwards");
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

/// The counters count what was fed, and no fix comes from nothing.
fn check_reception(reception: &Reception, fed: u64, points: &[(Seq, TrackPoint)]) {
    let lines = reception.framing.lines;
    assert_eq!(reception.framing.bytes, fed);
    let refused = reception.bad_envelope + reception.bad_checksum;
    assert!(refused <= lines);
    let said = lines - refused;
    let judged = points.len() as u64 + reception.rejected.no_fix + reception.rejected.unbelieved();
    assert!(judged <= said, "{judged} epochs of {said} sentences");
    let newest = reception.newest.map(|fix| fix.utc);
    assert_eq!(newest, points.last().map(|(_, point)| point.fix.utc));
}

/// The bytes in pieces of 1 to 64.
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

/// A number that the input decides: FNV-1a.
fn dice(data: &[u8]) -> u64 {
    data.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
