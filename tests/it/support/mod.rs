//! Shared helpers of the integration tests.

#[cfg(feature = "backend")]
pub(crate) mod backend;
pub(crate) mod broker;
pub(crate) mod happenings;
#[cfg(feature = "backend")]
pub(crate) mod post_office;
#[cfg(feature = "backend")]
pub(crate) mod postgres;
pub(crate) mod schema;
pub(crate) mod van;
pub(crate) mod webdriver;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use waypost::core::calendar::DateHint;
use waypost::core::journey::{TripConfig, TripState};
use waypost::core::record::{Record, Seq};
use waypost::core::sampling::Sampling;
use waypost::core::{PipelineOutput, Pipeline, PipelineConfig, ReceiverStats};
use waypost::units::Uptime;

/// The binary that cargo built for these tests.
pub(crate) const WAYPOST: &str = env!("CARGO_BIN_EXE_waypost");

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
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
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
    let config = PipelineConfig { date_hint: era, trip: TripConfig::default(), sampling: Sampling::Raw };
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
    receiver: waypost::simulate::ReceiverType,
    seconds: u64,
) -> Vec<(Uptime, Vec<u8>)> {
    let mut route =
        waypost::simulate::Route::load(&repository(route)).expect("a shipped route is valid");
    route.settings.receiver = receiver;
    route.settings.duration = Some(std::time::Duration::from_secs(seconds));
    waypost::simulate::Simulation::new(route).map(|burst| (burst.at, burst.bytes)).collect()
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
