//! [`Day`] → standard output, files and ptys, as fast as the van drives or faster.
//!
//! Each output is a task of its own with the one clock, so that a scanner does not wait for the receiver's slow line.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Day;
use super::moment::{Moment, Scanner};
use super::pty::LineSpeed;
use super::sink::{Piece, Place, Sink};
use crate::clock::Clock;

/// Where the receiver's bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output, bytes only.
    Stdout,
    /// A log file with a header, as in `tests/fixtures/nmea`.
    File(PathBuf),
    /// A serial line.
    Pty {
        /// A symbolic link to it, removed at the end.
        link: Option<PathBuf>,
        /// Bits a second; a byte has ten. Above 0.
        baud: u32,
    },
}

/// Where everything goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// The receiver's sentences.
    pub nmea: Output,
    /// A file of JSON lines for the lines of all scanners.
    pub scans: Option<PathBuf>,
    /// A link to the pty of the scanner in the driver's hand.
    pub hand: Option<PathBuf>,
    /// A link to the pty of the reader of radio tags.
    pub portal: Option<PathBuf>,
    /// A file of JSON lines for what happens in truth.
    pub truth: Option<PathBuf>,
}

impl Outputs {
    /// The receiver's sentences alone.
    #[must_use]
    pub const fn nmea(nmea: Output) -> Self {
        Self { nmea, scans: None, hand: None, portal: None, truth: None }
    }

    /// Whether somebody may read as it happens.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.nmea, Output::Pty { .. }) || self.hand.is_some() || self.portal.is_some()
    }
}

/// How fast a day goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// This many times as fast as the world; above 0.
    Times(f64),
    /// As fast as it can be written; then the outputs do not wait for each other.
    Max,
}

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.parse().ok().filter(|times| (0.01..=10_000.0).contains(times));
        times
            .map(Self::Times)
            .ok_or_else(|| "neither a number in 0.01..=10000 nor `max`".to_owned())
    }
}

/// Why a simulation ended early. There is one reaction: stop, and say where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {doing}: {source}")]
pub struct OutputError {
    place: String,
    doing: &'static str,
    source: io::Error,
}

/// What was sent over one line or into one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Epochs or lines, those included that a pty threw away.
    pub pieces: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Pieces that nobody read from the pty.
    pub unread: u64,
    /// Pieces that the pty's line was too slow for.
    pub crowded_out: u64,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllSent {
    /// The receiver's epochs.
    pub nmea: Sent,
    /// Lines of both scanners over their ptys.
    pub scanners: Sent,
}

/// Writes the whole day, or until SIGINT or SIGTERM, or until nobody reads standard output any more.
///
/// # Errors
///
/// If an output cannot be opened or written.
pub async fn run(day: Day, outputs: Outputs, pace: Pace) -> Result<AllSent, OutputError> {
    let clock = match pace {
        Pace::Times(factor) => Some(Clock::scaled(factor)),
        Pace::Max => None,
    };
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut lanes = Vec::new();
    for (kind, output) in outputs.by_kind() {
        let place = output.name();
        let sink = Sink::open(output, day.route()).await.map_err(|source| OutputError {
            place: place.clone(),
            doing: "cannot be opened",
            source,
        })?;
        let (to, pieces) = mpsc::channel(AHEAD);
        lanes.push((kind, to));
        let lane = Lane { kind, place, sink, pieces, clock: clock.clone(), stop: stop.clone() };
        tasks.spawn(lane.run());
    }
    let stopped = interrupted().map_err(|source| OutputError {
        place: "signals".to_owned(),
        doing: "cannot be awaited",
        source,
    })?;
    let all = async {
        tokio::select! {
            () = hand_out(day, lanes) => {}
            () = stop.cancelled() => {}
        }
        gather(tasks, &stop).await
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

/// Pieces that wait for their time in front of each output: the one with the most does not hold up the others.
const AHEAD: usize = 64;

/// Gives each output what it is for, until the day is over or one of them is.
async fn hand_out(day: Day, lanes: Vec<(Kind, mpsc::Sender<Piece>)>) {
    for moment in day {
        for (kind, to) in &lanes {
            let Some(bytes) = kind.of(&moment) else { continue };
            if to.send(Piece { at: moment.at(), bytes }).await.is_err() {
                return;
            }
        }
    }
}

/// Waits for all outputs. The first that ends early ends them all.
async fn gather(
    mut tasks: JoinSet<Result<(Kind, Sent), OutputError>>,
    stop: &CancellationToken,
) -> Result<AllSent, OutputError> {
    let mut all = AllSent::default();
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        match ended.expect("no output panics, and none is aborted") {
            Ok((Kind::Nmea, sent)) => all.nmea = sent,
            Ok((Kind::Scanner(_), sent)) => all.scanners.add(sent),
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

fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// What an output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The receiver's bytes.
    Nmea,
    /// One scanner's bytes.
    Scanner(Scanner),
    /// All scanners' lines as JSON.
    Scans,
    /// Facts as JSON.
    Truth,
}

impl Kind {
    fn of(self, moment: &Moment) -> Option<Vec<u8>> {
        match (self, moment) {
            (Self::Nmea, Moment::Burst(burst)) => Some(burst.bytes.clone()),
            (Self::Scanner(which), Moment::Scan(scan)) if scan.scanner == which => {
                Some(scan.bytes())
            }
            (Self::Scans, Moment::Scan(scan)) => Some((scan.json() + "\n").into_bytes()),
            (Self::Truth, Moment::Fact(fact)) => Some((fact.json() + "\n").into_bytes()),
            _ => None,
        }
    }
}

impl Outputs {
    fn by_kind(self) -> Vec<(Kind, Place)> {
        let usb = |link| Place::Pty(Some(link), LineSpeed::Usb);
        let nmea = match self.nmea {
            Output::Stdout => Place::Stdout,
            Output::File(path) => Place::Log(path),
            Output::Pty { link, baud } => Place::Pty(link, LineSpeed::Baud(baud)),
        };
        let others = [
            (Kind::Scans, self.scans.map(Place::File)),
            (Kind::Scanner(Scanner::Hand), self.hand.map(usb)),
            (Kind::Scanner(Scanner::Portal), self.portal.map(usb)),
            (Kind::Truth, self.truth.map(Place::File)),
        ];
        let others = others.into_iter().filter_map(|(kind, place)| Some((kind, place?)));
        std::iter::once((Kind::Nmea, nmea)).chain(others).collect()
    }
}

impl Sent {
    const fn add(&mut self, other: Self) {
        self.pieces += other.pieces;
        self.bytes += other.bytes;
        self.unread += other.unread;
        self.crowded_out += other.crowded_out;
    }
}

/// One output at work.
struct Lane {
    kind: Kind,
    place: String,
    sink: Sink,
    pieces: mpsc::Receiver<Piece>,
    clock: Option<Clock>,
    stop: CancellationToken,
}

impl Lane {
    async fn run(mut self) -> Result<(Kind, Sent), OutputError> {
        let mut sent = Sent::default();
        let written = self.write(&mut sent).await;
        match written.and(self.sink.finish(&mut sent).await) {
            Ok(()) => Ok((self.kind, sent)),
            Err(source) => {
                Err(OutputError { place: self.place, doing: "cannot be written", source })
            }
        }
    }

    async fn write(&mut self, sent: &mut Sent) -> io::Result<()> {
        while let Some(piece) = self.pieces.recv().await {
            tokio::select! {
                written = self.sink.send(&piece, self.clock.as_ref()) => written?,
                () = self.stop.cancelled() => break,
            }
            sent.pieces += 1;
            sent.bytes += u64::try_from(piece.bytes.len()).expect("a piece is short");
        }
        Ok(())
    }
}
