//! Writes chunks to one target: standard output, a file or a pty.

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};

use super::output::SentCounts;
use super::pty::{LineSpeed, PtyLine};
use super::route::Route;
use waypost_model::units::Uptime;
use waypost_service::clock::Clock;

/// Bytes, and the time at which the first of them is due.
pub(super) struct OutputChunk {
    pub(super) at: Uptime,
    pub(super) bytes: Vec<u8>,
}

/// Target of an output.
pub(super) enum OutputTarget {
    Stdout,
    /// A file with a header.
    Log(PathBuf),
    File(PathBuf),
    Pty(Option<PathBuf>, LineSpeed),
}

impl OutputTarget {
    /// Returns the name for messages.
    pub(super) fn display_name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::Log(path) | Self::File(path) | Self::Pty(Some(path), _) => {
                path.display().to_string()
            }
            Self::Pty(None, _) => "pty".to_owned(),
        }
    }
}

/// An open target.
pub(super) enum Sink {
    Stream(BufWriter<Box<dyn AsyncWrite + Unpin + Send>>),
    Pty(PtyLine),
}

impl Sink {
    pub(super) async fn open(place: OutputTarget, route: &Route) -> io::Result<Self> {
        let (file, header) = match place {
            OutputTarget::Stdout => {
                return Ok(Self::Stream(BufWriter::new(Box::new(tokio::io::stdout()))));
            }
            OutputTarget::Pty(link, speed) => {
                let line = PtyLine::open(link, speed)?;
                eprintln!("waypost: {}", line.path().display());
                return Ok(Self::Pty(line));
            }
            OutputTarget::Log(path) => (tokio::fs::File::create(path).await?, header(route)),
            OutputTarget::File(path) => (tokio::fs::File::create(path).await?, String::new()),
        };
        let mut stream: BufWriter<Box<dyn AsyncWrite + Unpin + Send>> =
            BufWriter::new(Box::new(file));
        stream.write_all(header.as_bytes()).await?;
        Ok(Self::Stream(stream))
    }

    pub(super) async fn send(
        &mut self,
        piece: &OutputChunk,
        clock: Option<&Clock>,
    ) -> io::Result<()> {
        match self {
            Self::Stream(stream) => {
                if let Some(clock) = clock {
                    clock.sleep_until(Some(piece.at)).await;
                }
                stream.write_all(&piece.bytes).await?;
                if clock.is_some() { stream.flush().await } else { Ok(()) }
            }
            Self::Pty(line) => line.send(&piece.bytes, piece.at, clock).await,
        }
    }

    pub(super) async fn finish(&mut self, sent: &mut SentCounts) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush().await,
            Self::Pty(line) => {
                (sent.unread, sent.overrun) = (line.unread, line.overrun);
                Ok(())
            }
        }
    }
}

/// Returns the header of a log, in the format of gpsd's collection of recordings.
fn header(route: &Route) -> String {
    let settings = &route.settings;
    format!(
        "# Name: simulated {}\n# Receiver: {} at {} Hz\n# Date: {}\n# Source: waypost-sim, seed {}\n",
        route.name,
        settings.receiver,
        settings.rate.as_hz(),
        settings.start.date(),
        settings.seed,
    )
}
