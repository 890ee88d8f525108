//! Recordings of real receivers, which this repository cannot redistribute. Skipped if they are not
//! beside the repository.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tokio_serial::{SerialPort as _, SerialStream};
use tokio_util::sync::CancellationToken;
use waypost::config::{Config, Override};
use waypost::gnss_source::recorded_log::RecordedLog;
use waypost::gnss_source::{self, SourceEvent};
use waypost::replay::{self, Emit};
use waypost_model::fix::Fix;
use waypost_model::units::{Course, Height, Position, Speed, TimeOfDay, Uptime};
use waypost_pipeline::PipelineOutput;
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::framing::Framer;
use waypost_pipeline::sentence::{Content, Sentence};
use waypost_pipeline::trail_simplifier::Sampling;
use waypost_service::clock::Clock;

use crate::support::{fastrand_like, pipeline, records, shared};

fn logs() -> Vec<PathBuf> {
    let Some(folder) = shared("nmea/logs") else { return Vec::new() };
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect()
}

#[test]
fn wherever_the_crate_reads_a_sentence_of_a_fix_both_readers_agree() {
    let mut compared = 0;
    for log in logs() {
        let bytes = fs::read(&log).unwrap();
        Framer::default().push(&bytes, Uptime::ZERO, |line, _| {
            let text = std::str::from_utf8(line).unwrap();
            let (Ok(ours), Ok(theirs)) = (Sentence::parse(line), nmea::parse_str(text)) else {
                return;
            };
            if let Some(agree) = agree(&ours.content, &theirs) {
                compared += 1;
                assert!(agree, "{}: {text}\n{ours:?}\n{theirs:?}", log.display());
            }
        });
    }
    assert!(compared == 0 || compared > 8000, "only {compared} sentences were compared");
}

/// Compares the two parsers; `None` if the crate's result contains nothing that we parse.
fn agree(ours: &Content, theirs: &nmea::ParseResult) -> Option<bool> {
    use nmea::ParseResult as Theirs;
    let position = |lat: Option<f64>, lon: Option<f64>| Position::from_degrees(lat?, lon?);
    let knots = |knots: Option<f32>| knots.and_then(|knots| Speed::from_knots(f64::from(knots)));
    let near = |a: Option<Speed>, b: Option<Speed>| match (a, b) {
        (Some(a), Some(b)) => a.as_mmps().abs_diff(b.as_mmps()) <= 1,
        (a, b) => a == b,
    };
    // The crate adds degrees and minutes in the other order, so the last of nine decimals may
    // differ.
    let at = |a: Option<Position>, b: Option<Position>| match (a, b) {
        (Some(a), Some(b)) => {
            (a.lat_deg() - b.lat_deg()).abs() < 2e-9 && (a.lon_deg() - b.lon_deg()).abs() < 2e-9
        }
        // Our parser drops values that are out of range.
        (None, _) => true,
        (Some(_), None) => false,
    };
    Some(match (ours, theirs) {
        (Content::Rmc(ours), Theirs::RMC(theirs)) => {
            at(ours.position, position(theirs.lat, theirs.lon))
                && near(ours.speed, knots(theirs.speed_over_ground))
        }
        (Content::Gga(ours), Theirs::GGA(theirs)) => {
            let altitude = theirs.altitude.map(f64::from);
            let same = |ours: f64| {
                altitude.is_some_and(|theirs| (ours - theirs).abs() <= 0.01 + theirs.abs() * 1e-6)
            };
            at(ours.position, position(theirs.latitude, theirs.longitude))
                && ours.altitude_msl.is_none_or(|ours| same(ours.as_metres()))
        }
        (Content::Gll(ours), Theirs::GLL(theirs)) => {
            at(ours.position, position(theirs.latitude, theirs.longitude))
        }
        (Content::Gns(ours), Theirs::GNS(theirs)) => {
            at(ours.position, position(theirs.lat, theirs.lon))
        }
        (Content::Vtg(ours), Theirs::VTG(theirs)) => {
            near(ours.speed, knots(theirs.speed_over_ground))
        }
        (Content::Zda(ours), Theirs::ZDA(theirs)) => {
            let date = theirs.utc_date().map(|date| date.to_string());
            ours.date.map(|date| date.to_string()) == date
        }
        (Content::Gst(ours), Theirs::GST(theirs)) => {
            let radius_m = theirs.lat_sd.zip(theirs.long_sd).map(|(lat, lon)| lat.hypot(lon));
            match (ours.accuracy.map(|accuracy| accuracy.as_metres()), radius_m.map(f64::from)) {
                (Some(ours), Some(theirs)) => (ours - theirs).abs() <= 0.01 + theirs * 1e-3,
                (ours, theirs) => ours.is_none() && theirs.is_none(),
            }
        }
        (Content::Gsv(ours), Theirs::GSV(theirs)) => {
            ours.in_view.map(u16::from) == Some(theirs.sats_in_view)
        }
        (Content::Gsa(ours), Theirs::GSA(theirs)) => {
            // The crate does not export the type, so it is compared by its name.
            let mode = format!("{:?}", theirs.mode2);
            let modes = [(1, "NoFix"), (2, "Fix2D"), (3, "Fix3D")];
            ours.mode == modes.into_iter().find(|(_, name)| *name == mode).map(|(mode, _)| mode)
        }
        _ => return None,
    })
}

/// Returns the recording as the replay reads it: the bytes of each epoch at one time.
fn chunks(bytes: &[u8]) -> Vec<(Uptime, Vec<u8>)> {
    let mut log = RecordedLog::new(BufReader::new(bytes));
    let mut chunks = Vec::new();
    while let Some(chunk) = log.next_chunk().unwrap() {
        chunks.push((chunk.at, chunk.bytes));
    }
    chunks
}

/// Returns the lines of `replay --emit fixes`.
fn fixes(bytes: &[u8]) -> String {
    let mut lines = Vec::new();
    replay::emit(bytes, DateHint::AsReported, Sampling::Raw, Emit::Fixes, &mut lines).unwrap();
    String::from_utf8(lines).unwrap()
}

/// Replaces each line end after `$...*hh` with `end`. Binary frames between the lines are
/// unchanged.
fn with_line_ends(bytes: &[u8], end: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len() * 9 / 8);
    let mut within = false;
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let ends = matches!(byte, b'\r' | b'\n');
        if within && ends {
            all.extend(end);
            while rest.next_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
        } else {
            all.push(byte);
        }
        within = byte == b'$' || within && !ends && (b' '..=b'~').contains(&byte);
    }
    all
}

#[test]
fn every_log_gives_the_same_records_however_its_bytes_are_cut() {
    let mut fnv1a = fastrand_like(11);
    for log in logs() {
        let chunks = chunks(&fs::read(&log).unwrap());
        let (whole, reception) = records(DateHint::AsReported, chunks.iter().cloned());
        let mut cut = Vec::new();
        for (at, bytes) in &chunks {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let size = usize::try_from(1 + fnv1a() % 64).unwrap().min(rest.len());
                let (piece, after) = rest.split_at(size);
                cut.push((*at, piece));
                rest = after;
            }
        }
        let bytes = chunks.iter().flat_map(|(at, bytes)| bytes.chunks(1).map(|byte| (*at, byte)));
        assert!(
            records(DateHint::AsReported, bytes) == (whole.clone(), reception),
            "{}",
            log.display()
        );
        assert!(
            records(DateHint::AsReported, cut) == (whole.clone(), reception),
            "{}",
            log.display()
        );
        let bare = chunks.iter().map(|(at, bytes)| (*at, with_line_ends(bytes, b"\r")));
        assert!(records(DateHint::AsReported, bare).0 == whole, "{} with CR", log.display());
    }
}

#[test]
fn every_log_gives_the_same_fixes_with_any_line_ends_and_between_garbage() {
    // Text, binary data with the start of a u-blox and of a SiRF frame, half a sentence, and whole
    // invalid lines.
    let garbage: [&[u8]; 4] = [
        b"login: \r\nAT+GMM\r\nOK\r\n",
        b"\xb5\x62\x01\x07\x5c\x00\xa0\xa2\x00\x00\xff\xfe",
        b"$GPRMC,120000.00,A,4807.038,N,011",
        b"$GPRMC,120000.00,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*00\r\n$\r\n$*00\r\n",
    ];
    for log in logs() {
        let bytes = fs::read(&log).unwrap();
        let clean = fixes(&bytes);
        for end in ["\n", "\r", "\r\n", "\r\r\n", "\r\n\r\n"] {
            let ended = with_line_ends(&bytes, end.as_bytes());
            assert!(fixes(&ended) == clean, "{} with {end:?}", log.display());
        }
        for garbage in garbage {
            let surrounded = [garbage, b"\n", &bytes, garbage].concat();
            assert!(
                fixes(&surrounded) == clean,
                "{} between {}",
                log.display(),
                garbage.escape_ascii()
            );
        }
    }
}

/// Binary frames contain every byte value, so a driver that interprets control bytes would change
/// the result.
#[tokio::test]
async fn every_log_gives_the_same_records_through_a_pty() {
    let logs = logs();
    let (mut receiver, device) = SerialStream::pair().unwrap();
    let path = device.name().unwrap();
    drop(device);
    let set = |key, value: &str| Override { key, value: value.to_owned() };
    let overrides = [
        set("van.id", "VAN"),
        set("mqtt.broker", "mqtt://nowhere"),
        set("gnss.source", &format!("serial:{path}")),
        // The test compares bytes, not sentences.
        set("gnss.hunt", "false"),
    ];
    let source = Config::parse("", "test", &overrides).unwrap().source;
    let (sender, mut events) = tokio::sync::mpsc::channel(gnss_source::CHANNEL_CHUNKS);
    let stop = CancellationToken::new();
    let reading =
        tokio::spawn(gnss_source::run(source, Clock::live(), Uptime::ZERO, sender, stop.clone()));
    for log in logs {
        let chunks = chunks(&fs::read(&log).unwrap());
        let whole = records(DateHint::AsReported, chunks.iter().cloned());
        let mut read = Vec::new();
        // A tty's buffer has 4096 bytes.
        for (at, piece) in
            chunks.iter().flat_map(|(at, bytes)| bytes.chunks(2048).map(|piece| (*at, piece)))
        {
            receiver.write_all(piece).await.unwrap();
            let mut rest = piece.len();
            while rest > 0 {
                let event = timeout(Duration::from_secs(20), events.recv()).await;
                let event = event.expect("the bytes come").expect("the port stays open");
                if let SourceEvent::Bytes(chunk) = event {
                    rest = rest.checked_sub(chunk.bytes.len()).expect("no byte is delivered twice");
                    read.push((at, chunk.bytes));
                }
            }
        }
        assert!(records(DateHint::AsReported, read) == whole, "{} through a pty", log.display());
    }
    stop.cancel();
    reading.await.unwrap().unwrap();
}

/// Valid field values of a recording at one time, from all sentences.
#[derive(Default)]
struct ParsedFields {
    times: Vec<TimeOfDay>,
    positions: Vec<Position>,
    speeds: Vec<Speed>,
    courses: Vec<Course>,
    altitudes: Vec<Height>,
}

impl ParsedFields {
    fn add(&mut self, line: &[u8]) {
        let Ok(Sentence { content, .. }) = Sentence::parse(line) else { return };
        self.times.extend(content.time());
        match content {
            Content::Rmc(rmc) => {
                self.positions.extend(rmc.position);
                self.speeds.extend(rmc.speed);
                self.courses.extend(rmc.course);
            }
            Content::Gga(data) | Content::Gns(data) => {
                self.positions.extend(data.position);
                self.altitudes.extend(data.altitude_msl);
            }
            Content::Gll(gll) => self.positions.extend(gll.position),
            Content::Vtg(vtg) => {
                self.speeds.extend(vtg.speed);
                self.courses.extend(vtg.course);
            }
            _ => {}
        }
    }
}

fn parse_recording(chunks: &[(Uptime, Vec<u8>)]) -> BTreeMap<Uptime, ParsedFields> {
    let mut said = BTreeMap::<_, ParsedFields>::new();
    let mut framer = Framer::default();
    for (at, bytes) in chunks {
        framer.push(bytes, *at, |line, began| said.entry(began).or_default().add(line));
    }
    said
}

/// Returns whether the recording has the fix at that time. The speed may be in the bytes before,
/// because VTG carries no time.
fn is_in_recording(fix: &Fix, said: &BTreeMap<Uptime, ParsedFields>) -> bool {
    let Some(now) = said.get(&fix.read_at) else { return false };
    let before = said.range(..fix.read_at).next_back().map(|(_, before)| before);
    let moved = |there: &dyn Fn(&ParsedFields) -> bool| there(now) || before.is_some_and(there);
    now.times.contains(&fix.utc.time_of_day())
        && now.positions.contains(&fix.position)
        && fix.altitude_msl.is_none_or(|altitude| now.altitudes.contains(&altitude))
        && fix.speed.is_none_or(|speed| moved(&|said| said.speeds.contains(&speed)))
        && fix.course.is_none_or(|course| moved(&|said| said.courses.contains(&course)))
}

/// Returns the fixes as measured, each when it is the newest, because a record may freeze a parked
/// van's position.
fn measured(chunks: &[(Uptime, Vec<u8>)]) -> Vec<Fix> {
    let mut pipeline = pipeline(DateHint::AsReported);
    let mut output = PipelineOutput::default();
    let mut fixes = Vec::new();
    for (at, bytes) in chunks {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            pipeline.push(line, *at, &mut output);
            fixes.extend(pipeline.receiver_stats().newest);
        }
    }
    pipeline.finish(&mut output);
    fixes.extend(pipeline.receiver_stats().newest);
    fixes.dedup();
    fixes
}

/// Replaces one byte in `one_in`.
fn corrupted(
    chunks: &[(Uptime, Vec<u8>)],
    one_in: u64,
    fnv1a: &mut impl FnMut() -> u64,
) -> Vec<(Uptime, Vec<u8>)> {
    let mut spoil = |byte: &u8| match fnv1a().is_multiple_of(one_in) {
        true => byte ^ u8::try_from(1 + fnv1a() % 255).unwrap(),
        false => *byte,
    };
    chunks.iter().map(|(at, bytes)| (*at, bytes.iter().map(&mut spoil).collect())).collect()
}

#[test]
fn damaged_bytes_give_no_wrong_epoch() {
    let (mut compared, mut wrong) = (0, Vec::new());
    for log in logs() {
        let chunks = chunks(&fs::read(&log).unwrap());
        let said = parse_recording(&chunks);
        let days: Vec<_> = measured(&chunks).iter().map(|fix| fix.utc.date()).collect();
        for (one_in, seeds) in [(1000, 1..=4), (100, 5..=6)] {
            for seed in seeds {
                let noisy = corrupted(&chunks, one_in, &mut fastrand_like(seed));
                for fix in measured(&noisy) {
                    compared += 1;
                    // At one byte in a hundred, a field may pass an eight-bit checksum; a position
                    // must not.
                    let right = match one_in {
                        1000 => is_in_recording(&fix, &said) && days.contains(&fix.utc.date()),
                        _ => said[&fix.read_at].positions.contains(&fix.position),
                    };
                    if !right {
                        let name = log.file_name().unwrap().to_string_lossy();
                        wrong.push(format!("{name} 1/{one_in} seed {seed}: {fix:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} epochs:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared == 0 || compared > 8500, "only {compared} epochs were compared");
}

#[test]
fn a_recording_of_a_simulator_or_without_fix_gives_no_fix() {
    for name in [
        "eXplorist110",
        "garmin-geko201",
        "GPSmap-76S",
        "holux-gm-210",
        "skytraq",
        "tn200",
        "ublox-lea-5q",
    ] {
        let Some(log) = shared(&format!("nmea/logs/{name}.log")) else { return };
        let mut lines = Vec::new();
        replay::emit(
            BufReader::new(fs::File::open(log).unwrap()),
            DateHint::AsReported,
            Sampling::Raw,
            Emit::Fixes,
            &mut lines,
        )
        .unwrap();
        assert_eq!(lines, b"", "{name}");
    }
}
