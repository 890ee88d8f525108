//! What several files of tests need.

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

use waypost::core::calendar::Era;
use waypost::core::journey::{JourneyConfig, JourneyState};
use waypost::core::record::{Record, Seq};
use waypost::core::sampling::Sampling;
use waypost::core::{Output, Pipeline, PipelineConfig, Reception};
use waypost::units::Uptime;

/// The binary that cargo built for these tests.
pub(crate) const WAYPOST: &str = env!("CARGO_BIN_EXE_waypost");

/// Sources in a folder, and in the folders in it.
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

/// A file of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A folder beside the repository with data that is not ours to publish. Where it is not, the test says so and skips.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let shared = repository("../shared");
    if !shared.is_dir() {
        eprintln!("skipped: ../shared is not here, and this test reads {path} from it");
        return None;
    }
    Some(shared.join(path))
}

/// Whether a program is installed. Where CI needs it, its absence is a failure; elsewhere the test says that it skips.
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

/// A pipeline that believes the receiver's date.
pub(crate) fn pipeline(era: Era) -> Pipeline {
    let config = PipelineConfig { era, journey: JourneyConfig::default(), sampling: Sampling::Raw };
    Pipeline::new(config, Seq::new(1), JourneyState::default())
}

/// Everything that chunks give, from the first to the end.
pub(crate) fn records<B: AsRef<[u8]>>(
    era: Era,
    chunks: impl IntoIterator<Item = (Uptime, B)>,
) -> (Vec<Record>, Reception) {
    let mut pipeline = pipeline(era);
    let mut output = Output::default();
    for (at, bytes) in chunks {
        pipeline.push(bytes.as_ref(), at, &mut output);
    }
    pipeline.finish(&mut output);
    (output.records, pipeline.reception())
}

/// A part of a simulated day as (uptime, bytes).
pub(crate) fn simulated(
    route: &str,
    receiver: waypost::simulate::ReceiverType,
    seconds: u64,
) -> Vec<(Uptime, Vec<u8>)> {
    let mut route =
        waypost::simulate::Route::load(&repository(route)).expect("a shipped route is in order");
    route.settings.receiver = receiver;
    route.settings.duration = Some(std::time::Duration::from_secs(seconds));
    waypost::simulate::Simulation::new(route).map(|burst| (burst.at, burst.bytes)).collect()
}

/// Ends with the test, whatever happens.
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

    /// SIGTERM, and whether it then ended well.
    pub(crate) fn terminate(mut self) -> bool {
        Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        self.0.wait().unwrap().success()
    }
}

/// Marsaglia's xorshift: the same noise each time.
pub(crate) fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
