//! How long a sentence takes, and an epoch: ours beside the bare crate `nmea`, and beside gpsd where it is installed.
//!
//! `cargo bench --bench nmea`. The input is a simulated drive. Contestants take turns, and the best of several rounds
//! counts: other work on this machine makes a round slower and never faster.

#![expect(clippy::disallowed_methods, reason = "a bench measures the world's time")]

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use waypost::core::calendar::Era;
use waypost::core::framing::Framer;
use waypost::core::journey::{JourneyConfig, JourneyState};
use waypost::core::record::Seq;
use waypost::core::sampling::Sampling;
use waypost::core::sentence::Sentence;
use waypost::core::{Output, Pipeline, PipelineConfig};
use waypost::simulate::{Burst, Route, Simulation};
use waypost::units::Uptime;

const ROUNDS: u32 = 15;

/// A round shorter than this would measure the clock.
const ROUND: Duration = Duration::from_millis(10);

/// An hour in the city with GPS and GLONASS: twelve sentences a second.
fn drive() -> Vec<Burst> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/routes/city.toml");
    let mut route = Route::load(&path).expect("a shipped route is in order");
    route.settings.cold_start = Duration::ZERO;
    route.settings.duration = Some(Duration::from_hours(1));
    Simulation::new(route).collect()
}

fn lines(drive: &[Burst]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut framer = Framer::default();
    for burst in drive {
        framer.push(&burst.bytes, burst.at, |line, _| {
            lines.push(String::from_utf8(line.to_vec()).expect("NMEA is ASCII"));
        });
    }
    lines
}

/// Nanoseconds of one of `count` things that `work` does: the best of the rounds of each contestant in turn.
fn best_ns<const N: usize>(count: usize, mut contestants: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [f64::INFINITY; N];
    for _ in 0..ROUNDS {
        for (best, work) in best.iter_mut().zip(&mut contestants) {
            let started = Instant::now();
            let mut times = 0_u32;
            while started.elapsed() < ROUND {
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
    f64::from(u32::try_from(count).expect("an hour has not so many"))
}

fn sentences(lines: &[String]) {
    println!("ns per sentence          count     ours   nmea::parse_str   ratio");
    let kinds = ["RMC", "GGA", "GSA", "GSV", "VTG", "GLL"].map(Some).into_iter().chain([None]);
    for kind in kinds {
        let of_kind = |line: &&String| kind.is_none_or(|kind| line[3..].starts_with(kind));
        let some: Vec<&str> = lines.iter().filter(of_kind).map(String::as_str).collect();
        // No more than the processor's caches hold: a receiver's lines come one by one.
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
        let name = kind.unwrap_or("as they come");
        println!("{name:20} {:9} {ours:8.0} {bare:17.0} {:7.2}", some.len(), ours / bare);
    }
}

/// Runs the pipeline over a drive; how many fixes came out.
fn pipeline(drive: &[(Uptime, &[u8])]) -> usize {
    let config = PipelineConfig {
        era: Era::AsSaid,
        journey: JourneyConfig::default(),
        sampling: Sampling::Raw,
    };
    let mut pipeline = Pipeline::new(config, Seq::new(1), JourneyState::default());
    let (mut output, mut fixes) = (Output::default(), 0);
    for (at, bytes) in drive {
        pipeline.push(bytes, *at, &mut output);
        fixes += output.points.len();
        output.points.clear();
        output.records.clear();
    }
    pipeline.finish(&mut output);
    fixes + output.points.len()
}

fn epochs(drive: &[Burst], sentences: usize) {
    let bursts: Vec<_> = drive.iter().map(|burst| (burst.at, burst.bytes.as_slice())).collect();
    let pieces: Vec<_> =
        bursts.iter().flat_map(|(at, bytes)| bytes.chunks(32).map(|piece| (*at, piece))).collect();
    let fixes = pipeline(&bursts);
    let mut whole = || assert_eq!(pipeline(black_box(&bursts)), fixes);
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

/// Whole processes: start, read, think, write JSON.
fn processes(drive: &[Burst], sentences: usize) {
    let folder = tempfile::tempdir().expect("there is room for a log");
    let log = folder.path().join("drive.nmea");
    let bytes: Vec<u8> = drive.iter().flat_map(|burst| burst.bytes.iter().copied()).collect();
    std::fs::write(&log, bytes).expect("there is room for a log");
    let ns = |command: &mut dyn FnMut() -> Command| {
        let once = |mut command: Command| {
            let started = Instant::now();
            let status = command.stdin(File::open(&log).ok()?).stdout(Stdio::null()).status();
            status.ok()?.success().then(|| started.elapsed().as_secs_f64() * 1e9)
        };
        let all = (0..5).map(|_| once(command())).collect::<Option<Vec<_>>>()?;
        Some(all.into_iter().fold(f64::INFINITY, f64::min) / count_f64(sentences))
    };
    println!("\nns per sentence, the whole process with its JSON, {sentences} sentences");
    let ours = ns(&mut || {
        let mut replay = Command::new(env!("CARGO_BIN_EXE_waypost"));
        replay.args(["replay", "--emit", "fixes"]).arg(&log);
        replay
    });
    let ours = ours.expect("our binary runs");
    println!("waypost replay       {ours:8.0}");
    let Some(theirs) = ns(&mut || Command::new("gpsdecode")) else {
        println!("skipped: gpsdecode is not installed (apt-get install gpsd-clients)");
        return;
    };
    println!("gpsdecode            {theirs:8.0}   ours takes {:.2} of it", ours / theirs);
}

fn main() {
    let drive = drive();
    let lines = lines(&drive);
    sentences(&lines);
    epochs(&drive, lines.len());
    processes(&drive, lines.len());
}
