//! Benchmarks the time per sentence and per epoch, compared with the `nmea` crate and, if
//! installed, gpsd.
//!
//! `cargo bench --bench nmea`. The input is a simulated drive. The contestants alternate, and the
//! best of several rounds counts, because other load can only slow a round down.

#![expect(clippy::disallowed_methods, reason = "a bench measures the world's time")]

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use waypost_model::motion::TripState;
use waypost_model::record::Seq;
use waypost_model::units::Uptime;
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::framing::Framer;
use waypost_pipeline::sentence::Sentence;
use waypost_pipeline::trail_simplifier::Sampling;
use waypost_pipeline::trip_detector::TripConfig;
use waypost_pipeline::{Pipeline, PipelineConfig, PipelineOutput};
use waypost_sim::{EpochBytes, Route, Simulation};

const ROUNDS: u32 = 15;

/// Minimum duration of a round. A shorter one would measure the clock.
const ROUND_DURATION: Duration = Duration::from_millis(10);

/// Simulates an hour in the city with GPS and GLONASS: twelve sentences per second.
fn drive() -> Vec<EpochBytes> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/routes/city.toml");
    let mut route = Route::load(&path).expect("shipped routes are valid");
    route.settings.cold_start = Duration::ZERO;
    route.settings.duration = Some(Duration::from_hours(1));
    Simulation::new(route).collect()
}

fn lines(drive: &[EpochBytes]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut framer = Framer::default();
    for burst in drive {
        framer.push(&burst.bytes, burst.at, |line, _| {
            lines.push(String::from_utf8(line.to_vec()).expect("NMEA is ASCII"));
        });
    }
    lines
}

/// Nanoseconds per item for each contestant: the best of all rounds, run alternately.
fn best_ns<const N: usize>(count: usize, mut contestants: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [f64::INFINITY; N];
    for _ in 0..ROUNDS {
        for (best, work) in best.iter_mut().zip(&mut contestants) {
            let started = Instant::now();
            let mut times = 0_u32;
            while started.elapsed() < ROUND_DURATION {
                work();
                times += 1;
            }
            let ns = started.elapsed().as_secs_f64() * 1e9;
            *best = best.min(ns / f64::from(times) / count_f64(count));
        }
    }
    best
}

fn count_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("below 2^32"))
}

fn sentences(lines: &[String]) {
    println!("ns per sentence          count     ours   nmea::parse_str   ratio");
    let kinds = ["RMC", "GGA", "GSA", "GSV", "VTG", "GLL"].map(Some).into_iter().chain([None]);
    for kind in kinds {
        let of_kind = |line: &&String| kind.is_none_or(|kind| line[3..].starts_with(kind));
        let some: Vec<&str> = lines.iter().filter(of_kind).map(String::as_str).collect();
        // Limited to the size of the processor's caches, because a receiver's lines arrive one at a
        // time.
        let some = &some[..some.len().min(2000)];
        let mut ours = || {
            for line in some {
                black_box(Sentence::parse(black_box(line.as_bytes())).ok());
            }
        };
        let mut bare = || {
            for line in some {
                black_box(nmea::parse_str(black_box(line)).ok());
            }
        };
        let [ours, bare] = best_ns(some.len(), [&mut ours, &mut bare]);
        let name = kind.unwrap_or("all types");
        println!("{name:20} {:9} {ours:8.0} {bare:17.0} {:7.2}", some.len(), ours / bare);
    }
}

/// Runs the pipeline over a drive and returns the number of fixes.
fn pipeline(drive: &[(Uptime, &[u8])]) -> usize {
    let config = PipelineConfig {
        date_hint: DateHint::AsReported,
        trip: TripConfig::default(),
        sampling: Sampling::Raw,
    };
    let mut pipeline = Pipeline::new(config, Seq::new(1), TripState::default());
    let (mut output, mut fixes) = (PipelineOutput::default(), 0);
    for (at, bytes) in drive {
        pipeline.push(bytes, *at, &mut output);
        fixes += output.points.len();
        output.points.clear();
        output.records.clear();
    }
    pipeline.finish(&mut output);
    fixes + output.points.len()
}

fn epochs(drive: &[EpochBytes], sentences: usize) {
    let epochs: Vec<_> = drive.iter().map(|burst| (burst.at, burst.bytes.as_slice())).collect();
    let pieces: Vec<_> =
        epochs.iter().flat_map(|(at, bytes)| bytes.chunks(32).map(|piece| (*at, piece))).collect();
    let fixes = pipeline(&epochs);
    let mut whole = || assert_eq!(pipeline(black_box(&epochs)), fixes);
    let mut cut = || assert_eq!(pipeline(black_box(&pieces)), fixes);
    let [whole, cut] = best_ns(drive.len(), [&mut whole, &mut cut]);
    let each = count_f64(sentences) / count_f64(drive.len());
    println!(
        "\nns per epoch, bytes to record ({each:.1} sentences, {fixes} fixes of {} epochs)",
        drive.len()
    );
    println!("in one read          {whole:8.0}   {:6.0} per sentence", whole / each);
    println!("in reads of 32 bytes {cut:8.0}   {:6.0} per sentence", cut / each);
}

/// Benchmarks whole processes: start, read, process, write JSON.
fn processes(drive: &[EpochBytes], sentences: usize) {
    let folder = tempfile::tempdir().expect("the log is written");
    let log = folder.path().join("drive.nmea");
    let bytes: Vec<u8> = drive.iter().flat_map(|burst| burst.bytes.iter().copied()).collect();
    std::fs::write(&log, bytes).expect("the log is written");
    let ns = |command: &mut dyn FnMut() -> Command| {
        let once = |mut command: Command| {
            let started = Instant::now();
            let status = command.stdin(File::open(&log).ok()?).stdout(Stdio::null()).status();
            status.ok()?.success().then(|| started.elapsed().as_secs_f64() * 1e9)
        };
        let all = (0..5).map(|_| once(command())).collect::<Option<Vec<_>>>()?;
        Some(all.into_iter().fold(f64::INFINITY, f64::min) / count_f64(sentences))
    };
    println!("\nns per sentence, whole process with JSON output, {sentences} sentences");
    let ours = ns(&mut || {
        let mut replay = Command::new(env!("CARGO_BIN_EXE_waypost"));
        replay.args(["replay", "--emit", "fixes"]).arg(&log);
        replay
    });
    let ours = ours.expect("waypost runs");
    println!("waypost replay       {ours:8.0}");
    let Some(theirs) = ns(&mut || Command::new("gpsdecode")) else {
        println!("skipped: gpsdecode is not installed (apt-get install gpsd-clients)");
        return;
    };
    println!("gpsdecode            {theirs:8.0}   waypost / gpsdecode = {:.2}", ours / theirs);
}

fn main() {
    let drive = drive();
    let lines = lines(&drive);
    sentences(&lines);
    epochs(&drive, lines.len());
    processes(&drive, lines.len());
}
