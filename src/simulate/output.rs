//! [`Simulation`] → standard output, a log file or a pty, as fast as the van drives or faster.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::signal::unix::{SignalKind, signal};

use super::pty::PtyLine;
use super::{Burst, Simulation};
use crate::clock::Clock;

/// Where the bytes go.
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

/// How fast a day goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// This many times as fast as the world; above 0.
    Times(f64),
    /// As fast as it can be written.
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

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Epochs, those included that a pty threw away.
    pub epochs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bursts that nobody read from the pty.
    pub unread: u64,
    /// Bursts that the pty's line was too slow for.
    pub crowded_out: u64,
}

/// Writes the whole day, or until SIGINT or SIGTERM, or until nobody reads standard output any more.
///
/// # Errors
///
/// If the output cannot be opened or written.
pub async fn run(simulation: Simulation, output: Output, pace: Pace) -> Result<Sent, OutputError> {
    let place = output.place();
    let failed = |doing, source| OutputError { place: place.clone(), doing, source };
    let clock = match pace {
        Pace::Times(factor) => Some(Clock::scaled(factor)),
        Pace::Max => None,
    };
    let sink = Sink::open(output, &simulation).await;
    let mut sink = sink.map_err(|source| failed("cannot be opened", source))?;
    let mut sent = Sent::default();
    let ended = send_all(simulation, &mut sink, clock.as_ref(), &mut sent).await;
    match ended.and(sink.finish(&mut sent).await) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(failed("cannot be written", source))
        }
        _ => Ok(sent),
    }
}

async fn send_all(
    simulation: Simulation,
    sink: &mut Sink,
    clock: Option<&Clock>,
    sent: &mut Sent,
) -> io::Result<()> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    for burst in simulation {
        tokio::select! {
            written = sink.send(&burst, clock) => written?,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
        sent.epochs += 1;
        sent.bytes += u64::try_from(burst.bytes.len()).expect("a burst is short");
    }
    Ok(())
}

impl Output {
    fn place(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File(path) | Self::Pty { link: Some(path), .. } => path.display().to_string(),
            Self::Pty { link: None, .. } => "pty".to_owned(),
        }
    }
}

enum Sink {
    Stream(BufWriter<Box<dyn AsyncWrite + Unpin>>),
    Pty(PtyLine),
}

impl Sink {
    async fn open(output: Output, simulation: &Simulation) -> io::Result<Self> {
        match output {
            Output::Stdout => Ok(Self::Stream(BufWriter::new(Box::new(tokio::io::stdout())))),
            Output::File(path) => {
                let file = tokio::fs::File::create(path).await?;
                let mut stream: BufWriter<Box<dyn AsyncWrite + Unpin>> =
                    BufWriter::new(Box::new(file));
                stream.write_all(header(simulation).as_bytes()).await?;
                Ok(Self::Stream(stream))
            }
            Output::Pty { link, baud } => {
                let line = PtyLine::open(link, baud)?;
                eprintln!("waypost: {}", line.path().display());
                Ok(Self::Pty(line))
            }
        }
    }

    async fn send(&mut self, burst: &Burst, clock: Option<&Clock>) -> io::Result<()> {
        match self {
            Self::Stream(stream) => {
                if let Some(clock) = clock {
                    clock.reached(Some(burst.at)).await;
                }
                stream.write_all(&burst.bytes).await?;
                if clock.is_some() { stream.flush().await } else { Ok(()) }
            }
            Self::Pty(line) => line.send(&burst.bytes, burst.at, clock).await,
        }
    }

    async fn finish(&mut self, sent: &mut Sent) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush().await,
            Self::Pty(line) => {
                (sent.unread, sent.crowded_out) = (line.unread, line.crowded_out);
                Ok(())
            }
        }
    }
}

/// The header of a log, as in gpsd's collection of recordings.
fn header(simulation: &Simulation) -> String {
    let route = simulation.route();
    let settings = &route.settings;
    format!(
        "# Name: simulated {}\n# Receiver: {} at {} Hz\n# Date: {}\n# Source: waypost simulate, seed {}\n",
        route.name,
        settings.receiver,
        settings.rate.as_hz(),
        settings.start.date(),
        settings.seed,
    )
}
