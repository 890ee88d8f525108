//! Shared helpers of the integration tests.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq};
use waypost_model::units::Uptime;
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::trail_simplifier::Sampling;
use waypost_pipeline::trip_detector::TripConfig;
use waypost_pipeline::{Pipeline, PipelineConfig, PipelineOutput, ReceiverStats};

/// Collects the sources in a folder, recursively.
pub(crate) fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns the path of a file in this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    root().join(path)
}

/// Returns a folder beside the repository with data that cannot be redistributed. If it is absent,
/// reports a skip.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let shared = repository("../shared");
    if !shared.is_dir() {
        eprintln!("skipped: this test needs ../shared/{path}");
        return None;
    }
    Some(shared.join(path))
}

/// Returns the path of an installed program. Its absence is a failure where CI requires it, else a
/// reported skip.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must install {program}");
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Creates a pipeline that trusts the receiver's date.
pub(crate) fn pipeline(era: DateHint) -> Pipeline {
    let config =
        PipelineConfig { date_hint: era, trip: TripConfig::default(), sampling: Sampling::Raw };
    Pipeline::new(config, Seq::new(1), TripState::default())
}

/// Returns all records of the chunks, from the first to the end.
pub(crate) fn records<B: AsRef<[u8]>>(
    era: DateHint,
    chunks: impl IntoIterator<Item = (Uptime, B)>,
) -> (Vec<Record>, ReceiverStats) {
    let mut pipeline = pipeline(era);
    let mut output = PipelineOutput::default();
    for (at, bytes) in chunks {
        pipeline.push(bytes.as_ref(), at, &mut output);
    }
    pipeline.finish(&mut output);
    (output.records, pipeline.receiver_stats())
}

/// Returns a part of a simulated day as (uptime, bytes).
pub(crate) fn simulated(
    route: &str,
    receiver: waypost_sim::ReceiverType,
    seconds: u64,
) -> Vec<(Uptime, Vec<u8>)> {
    let mut route = waypost_sim::Route::load(&repository(route)).expect("a shipped route is valid");
    route.settings.receiver = receiver;
    route.settings.duration = Some(std::time::Duration::from_secs(seconds));
    waypost_sim::Simulation::new(route).map(|burst| (burst.at, burst.bytes)).collect()
}

/// A process that ends with the test, also when the test fails.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// Sends SIGTERM, and returns whether the process then exited with success.
    pub(crate) fn terminate(mut self) -> bool {
        Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        self.0.wait().unwrap().success()
    }
}

/// Marsaglia's xorshift: the same noise in each run.
pub(crate) fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// The root of this repository.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = package.ancestors();
    folders.find(|folder| folder.join("Cargo.lock").is_file()).expect("a workspace").to_owned()
}

/// The path of a program of this workspace, built in the profile of these tests.
///
/// Cargo builds only the programs of the package under test, so that the others are built here.
pub(crate) fn program(package: &str) -> PathBuf {
    static BUILT: OnceLock<std::sync::Mutex<std::collections::BTreeSet<String>>> = OnceLock::new();
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap().to_owned();
    let mut built = BUILT.get_or_init(Default::default).lock().unwrap();
    if built.insert(package.to_owned()) {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "--package", package, "--bins"]);
        build.arg("--target-dir").arg(folder.parent().unwrap()).current_dir(root());
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "{package} cannot be built");
    }
    folder.join(package)
}

/// The simulator: `waypost-sim`.
pub(crate) fn simulator() -> Command {
    Command::new(program("waypost-sim"))
}
