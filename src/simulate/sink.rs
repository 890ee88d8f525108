//! Pieces → one place: standard output, a file or a pty.

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};

use super::output::Sent;
use super::pty::{LineSpeed, PtyLine};
use super::route::Route;
use crate::clock::Clock;
use crate::units::Uptime;

/// Bytes, and when the first of them is due.
pub(super) struct Piece {
    pub(super) at: Uptime,
    pub(super) bytes: Vec<u8>,
}

/// Where pieces go.
pub(super) enum Place {
    Stdout,
    /// With a header.
    Log(PathBuf),
    File(PathBuf),
    Pty(Option<PathBuf>, LineSpeed),
}

impl Place {
    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::Log(path) | Self::File(path) | Self::Pty(Some(path), _) => {
                path.display().to_string()
            }
            Self::Pty(None, _) => "pty".to_owned(),
        }
    }
}

/// A place that is open.
pub(super) enum Sink {
    Stream(BufWriter<Box<dyn AsyncWrite + Unpin + Send>>),
    Pty(PtyLine),
}

impl Sink {
    pub(super) async fn open(place: Place, route: &Route) -> io::Result<Self> {
        let (file, header) = match place {
            Place::Stdout => {
                return Ok(Self::Stream(BufWriter::new(Box::new(tokio::io::stdout()))));
            }
            Place::Pty(link, speed) => {
                let line = PtyLine::open(link, speed)?;
                eprintln!("waypost: {}", line.path().display());
                return Ok(Self::Pty(line));
            }
            Place::Log(path) => (tokio::fs::File::create(path).await?, header(route)),
            Place::File(path) => (tokio::fs::File::create(path).await?, String::new()),
        };
        let mut stream: BufWriter<Box<dyn AsyncWrite + Unpin + Send>> =
            BufWriter::new(Box::new(file));
        stream.write_all(header.as_bytes()).await?;
        Ok(Self::Stream(stream))
    }

    pub(super) async fn send(&mut self, piece: &Piece, clock: Option<&Clock>) -> io::Result<()> {
        match self {
            Self::Stream(stream) => {
                if let Some(clock) = clock {
                    clock.reached(Some(piece.at)).await;
                }
                stream.write_all(&piece.bytes).await?;
                if clock.is_some() { stream.flush().await } else { Ok(()) }
            }
            Self::Pty(line) => line.send(&piece.bytes, piece.at, clock).await,
        }
    }

    pub(super) async fn finish(&mut self, sent: &mut Sent) -> io::Result<()> {
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
fn header(route: &Route) -> String {
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
