//! Writes a day to standard output, files and ptys, in real time or faster.
//!
//! Each output is a task of its own with a shared clock, so that a scanner does not wait for the
//! receiver's slow line.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Day;
use super::pty::LineSpeed;
use super::sink::{OutputChunk, OutputTarget, Sink};
use super::timeline::{DayEvent, Scanner};
use waypost_service::clock::Clock;

/// Destination of the receiver's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output, bytes only.
    Stdout,
    /// A log file with a header, as in `tests/fixtures/nmea`.
    File(PathBuf),
    /// A serial line.
    Pty {
        /// Symbolic link to the pty, removed at the end.
        link: Option<PathBuf>,
        /// Bits per second, above 0; a byte takes ten bits.
        baud: u32,
    },
}

/// Destinations of all outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// The receiver's sentences.
    pub nmea: Output,
    /// JSON lines file for the lines of all scanners.
    pub scans: Option<PathBuf>,
    /// Link to the pty of the hand scanner.
    pub hand: Option<PathBuf>,
    /// Link to the pty of the RFID reader.
    pub portal: Option<PathBuf>,
    /// JSON lines file for the ground truth.
    pub truth: Option<PathBuf>,
}

impl Outputs {
    /// Creates outputs for the receiver's sentences alone.
    #[must_use]
    pub const fn nmea(nmea: Output) -> Self {
        Self { nmea, scans: None, hand: None, portal: None, truth: None }
    }

    /// Returns whether a program may read an output live.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.nmea, Output::Pty { .. }) || self.hand.is_some() || self.portal.is_some()
    }
}

/// Speed of the simulated day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PlaybackSpeed {
    /// Multiple of real time; above 0.
    Times(f64),
    /// As fast as the outputs accept it; the outputs are then not synchronised with each other.
    Max,
}

impl FromStr for PlaybackSpeed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.parse().ok().filter(|times| (0.01..=10_000.0).contains(times));
        times.map(Self::Times).ok_or_else(|| "must be a number in 0.01..=10000 or `max`".to_owned())
    }
}

/// Failure of an output, which ends the simulation.
#[derive(Debug, thiserror::Error)]
#[error("{target}: {failure}: {source}")]
pub struct OutputError {
    target: String,
    failure: &'static str,
    source: io::Error,
}

/// Counters of one line or file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentCounts {
    /// Epochs or lines, including those that a pty discarded.
    pub chunks: u64,
    pub bytes: u64,
    /// Chunks that were not read from the pty.
    pub unread: u64,
    /// Chunks dropped because the pty's line was too slow.
    pub overrun: u64,
}

/// Counters of all outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentSummary {
    /// The receiver's epochs.
    pub nmea: SentCounts,
    /// Lines of both scanners on their ptys.
    pub scanners: SentCounts,
}

/// Writes the whole day. Ends early on SIGINT or SIGTERM, or when the reader of standard output
/// closes it.
///
/// # Errors
///
/// Fails if an output cannot be opened or written.
pub async fn run(
    day: Day,
    outputs: Outputs,
    pace: PlaybackSpeed,
) -> Result<SentSummary, OutputError> {
    let clock = match pace {
        PlaybackSpeed::Times(factor) => Some(Clock::scaled(factor)),
        PlaybackSpeed::Max => None,
    };
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut lanes = Vec::new();
    for (kind, output) in outputs.by_kind() {
        let place = output.display_name();
        let sink = Sink::open(output, day.route()).await.map_err(|source| OutputError {
            target: place.clone(),
            failure: "cannot be opened",
            source,
        })?;
        let (to, pieces) = mpsc::channel(CHANNEL_CAPACITY);
        lanes.push((kind, to));
        let lane = OutputTask {
            kind,
            target: place,
            sink,
            chunks: pieces,
            clock: clock.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(lane.run());
    }
    let stopped = shutdown_signal().map_err(|source| OutputError {
        target: "signals".to_owned(),
        failure: "cannot be registered",
        source,
    })?;
    let all = async {
        tokio::select! {
            () = distribute(day, lanes) => {}
            () = stop.cancelled() => {}
        }
        collect_results(tasks, &stop).await
    };
    let stopped = async {
        stopped.await;
        stop.cancel();
        std::future::pending().await
    };
    tokio::select! {
        all = all => all,
        all = stopped => all,
    }
}

/// Chunks queued per output; lets the outputs run independently of the busiest one.
const CHANNEL_CAPACITY: usize = 64;

/// Distributes the events to the outputs until the day ends or an output closes.
async fn distribute(day: Day, lanes: Vec<(OutputKind, mpsc::Sender<OutputChunk>)>) {
    for moment in day {
        for (kind, to) in &lanes {
            let Some(bytes) = kind.encode(&moment) else { continue };
            if to.send(OutputChunk { at: moment.at(), bytes }).await.is_err() {
                return;
            }
        }
    }
}

/// Waits for all outputs. The first one that fails stops the others.
async fn collect_results(
    mut tasks: JoinSet<Result<(OutputKind, SentCounts), OutputError>>,
    stop: &CancellationToken,
) -> Result<SentSummary, OutputError> {
    let mut all = SentSummary::default();
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        match ended.expect("no output panics, and none is aborted") {
            Ok((OutputKind::Nmea, sent)) => all.nmea = sent,
            Ok((OutputKind::Scanner(_), sent)) => all.scanners.add(sent),
            Ok(_) => {}
            Err(error) => {
                stop.cancel();
                failed.get_or_insert(error);
            }
        }
    }
    match failed {
        Some(error) if error.source.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(all),
    }
}

fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Content of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputKind {
    /// The receiver's bytes.
    Nmea,
    /// One scanner's bytes.
    Scanner(Scanner),
    /// All scanners' lines as JSON.
    Scans,
    /// Ground truth as JSON.
    Truth,
}

impl OutputKind {
    fn encode(self, moment: &DayEvent) -> Option<Vec<u8>> {
        match (self, moment) {
            (Self::Nmea, DayEvent::Epoch(burst)) => Some(burst.bytes.clone()),
            (Self::Scanner(which), DayEvent::Scan(scan)) if scan.scanner == which => {
                Some(scan.bytes())
            }
            (Self::Scans, DayEvent::Scan(scan)) => Some((scan.to_json() + "\n").into_bytes()),
            (Self::Truth, DayEvent::GroundTruth(fact)) => {
                Some((fact.to_json() + "\n").into_bytes())
            }
            _ => None,
        }
    }
}

impl Outputs {
    fn by_kind(self) -> Vec<(OutputKind, OutputTarget)> {
        let usb = |link| OutputTarget::Pty(Some(link), LineSpeed::Usb);
        let nmea = match self.nmea {
            Output::Stdout => OutputTarget::Stdout,
            Output::File(path) => OutputTarget::Log(path),
            Output::Pty { link, baud } => OutputTarget::Pty(link, LineSpeed::Baud(baud)),
        };
        let others = [
            (OutputKind::Scans, self.scans.map(OutputTarget::File)),
            (OutputKind::Scanner(Scanner::Hand), self.hand.map(usb)),
            (OutputKind::Scanner(Scanner::Portal), self.portal.map(usb)),
            (OutputKind::Truth, self.truth.map(OutputTarget::File)),
        ];
        let others = others.into_iter().filter_map(|(kind, place)| Some((kind, place?)));
        std::iter::once((OutputKind::Nmea, nmea)).chain(others).collect()
    }
}

impl SentCounts {
    const fn add(&mut self, other: Self) {
        self.chunks += other.chunks;
        self.bytes += other.bytes;
        self.unread += other.unread;
        self.overrun += other.overrun;
    }
}

/// The task of one output.
struct OutputTask {
    kind: OutputKind,
    target: String,
    sink: Sink,
    chunks: mpsc::Receiver<OutputChunk>,
    clock: Option<Clock>,
    stop: CancellationToken,
}

impl OutputTask {
    async fn run(mut self) -> Result<(OutputKind, SentCounts), OutputError> {
        let mut sent = SentCounts::default();
        let written = self.write(&mut sent).await;
        match written.and(self.sink.finish(&mut sent).await) {
            Ok(()) => Ok((self.kind, sent)),
            Err(source) => {
                Err(OutputError { target: self.target, failure: "cannot be written", source })
            }
        }
    }

    async fn write(&mut self, sent: &mut SentCounts) -> io::Result<()> {
        while let Some(piece) = self.chunks.recv().await {
            tokio::select! {
                written = self.sink.send(&piece, self.clock.as_ref()) => written?,
                () = self.stop.cancelled() => break,
            }
            sent.chunks += 1;
            sent.bytes += u64::try_from(piece.bytes.len()).expect("a piece is short");
        }
        Ok(())
    }
}
