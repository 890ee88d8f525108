//! Real receivers' recordings, which are not ours to publish: they are beside the repository, or these tests skip.

use std::fs;
use std::io::BufReader;
use std::path::PathBuf;

use waypost::core::calendar::Era;
use waypost::core::framing::Framer;
use waypost::core::sampling::Sampling;
use waypost::core::sentence::{Content, Sentence};
use waypost::replay::{self, Emit};
use waypost::source::log::RecordedLog;
use waypost::units::{Position, Speed, Uptime};

use crate::support::{records, shared};

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

/// `None` if the crate's reading has nothing that we read.
fn agree(ours: &Content, theirs: &nmea::ParseResult) -> Option<bool> {
    use nmea::ParseResult as Theirs;
    let position = |lat: Option<f64>, lon: Option<f64>| Position::from_degrees(lat?, lon?);
    let knots = |knots: Option<f32>| knots.and_then(|knots| Speed::from_knots(f64::from(knots)));
    let near = |a: Option<Speed>, b: Option<Speed>| match (a, b) {
        (Some(a), Some(b)) => a.as_mmps().abs_diff(b.as_mmps()) <= 1,
        (a, b) => a == b,
    };
    // The crate adds degrees and minutes the other way round: the last of nine decimals may differ.
    let at = |a: Option<Position>, b: Option<Position>| match (a, b) {
        (Some(a), Some(b)) => {
            (a.lat_deg() - b.lat_deg()).abs() < 2e-9 && (a.lon_deg() - b.lon_deg()).abs() < 2e-9
        }
        // What is out of range reaches nobody here.
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

#[test]
fn every_log_gives_the_same_fixes_however_its_bytes_are_cut_and_its_lines_end() {
    for log in logs() {
        let chunks = |bytes: &[u8]| {
            let mut log = RecordedLog::new(BufReader::new(bytes));
            let mut chunks = Vec::new();
            while let Some(chunk) = log.next_chunk().unwrap() {
                chunks.push((chunk.at, chunk.bytes));
            }
            chunks
        };
        let bytes = fs::read(&log).unwrap();
        let chunks = chunks(&bytes);
        let (whole, _) = records(Era::AsSaid, chunks.iter().cloned());
        for size in [1, 7, 64] {
            let cut =
                chunks.iter().flat_map(|(at, bytes)| bytes.chunks(size).map(|piece| (*at, piece)));
            assert!(records(Era::AsSaid, cut).0 == whole, "{} in pieces of {size}", log.display());
        }
        for (from, to) in [("\r\n", "\n"), ("\r\n", "\r"), ("\n", "\r\r\n")] {
            let ended = chunks.iter().map(|(at, bytes)| {
                let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
                let text = text.replace(from, to);
                (
                    *at,
                    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect::<Vec<u8>>(),
                )
            });
            assert!(records(Era::AsSaid, ended).0 == whole, "{} with {to:?}", log.display());
        }
        let garbage = [(Uptime::ZERO, b"\xb5b half a senten\x00\xff$GP".to_vec())];
        let surrounded =
            garbage.iter().cloned().chain(chunks.iter().cloned()).chain(garbage.iter().cloned());
        assert!(records(Era::AsSaid, surrounded).0 == whole, "{} between garbage", log.display());
    }
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
            Era::AsSaid,
            Sampling::Raw,
            Emit::Fixes,
            &mut lines,
        )
        .unwrap();
        assert_eq!(lines, b"", "{name}");
    }
}
