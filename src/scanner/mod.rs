//! ① IN: lines of bar-code scanners and radio-tag readers → [`Scan`](Event::Scan)s, each code once.
//!
//! A scanner that is gone is a state and not an error, as with the receiver: it is opened again for ever, with capped
//! backoff. What it sends is foreign: memory is bounded, nothing of it is logged, and what is no code is counted. Nobody
//! who does not read makes it grow: then the scanner waits.

mod address;
mod assembly;
#[cfg(feature = "hid")]
mod keyboard;
mod pattern;
mod reading;
mod roster;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::core::delivery::event::ReadBy;
use crate::port::{Reopening, serial, tcp};
use crate::units::Uptime;
pub use address::{Address, InvalidAddress};
pub use pattern::TagPattern;
use reading::{Reading, Readings};
pub use roster::{Roster, Standing};

/// Somebody who comes late finds at most so many events; then the scanner's own buffer fills.
pub const CHANNEL_EVENTS: usize = 64;

/// One read.
const READ_BYTES: usize = 1024;

/// How often garbage is told of while it goes on.
const GARBAGE_EVERY: Duration = Duration::from_secs(1);

/// A scanner and how to treat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannerConfig {
    /// Its name in messages to people and to the backend.
    pub name: String,
    /// Where its lines come from.
    pub address: Address,
    /// What it reads.
    pub kind: ScannerKind,
}

/// What a scanner reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannerKind {
    /// Bar codes of one or two dimensions.
    Barcode,
    /// Radio tags; how the reader writes them.
    Rfid(TagPattern),
}

impl ScannerKind {
    /// As in events.
    #[must_use]
    pub const fn read_by(&self) -> ReadBy {
        match self {
            Self::Barcode => ReadBy::Barcode,
            Self::Rfid(_) => ReadBy::Rfid,
        }
    }
}

/// A code or a tag that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanLine {
    /// Which scanner, by its place in the configuration, from 0.
    pub scanner: usize,
    /// What it reads.
    pub by: ReadBy,
    /// 1..=4096 bytes: the code as the scanner sent it, without its end; of a tag its EPC in upper-case hexadecimal.
    pub bytes: Vec<u8>,
    /// When it is said. A code was read just then, a tag in the 5 s before. Never earlier than that of the line before.
    pub at: Uptime,
    /// The strongest that a tag was received at, dBm.
    pub rssi: Option<i8>,
    /// The antenna of that.
    pub antenna: Option<u8>,
    /// How often a tag was read in its window; 1 for a code.
    pub reads: u32,
}

/// Whether a scanner can send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScannerState {
    /// Not opened yet.
    #[default]
    Connecting,
    /// Open. It may say nothing for hours.
    Open,
    /// Cannot be opened, or was pulled out. Why, for people.
    Gone(String),
}

impl ScannerState {
    /// As in `state` on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Gone(_) => "gone",
        }
    }
}

/// What scanners say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something was read.
    Scan(ScanLine),
    /// The scanner of this number changed.
    State(usize, ScannerState),
    /// The scanner of this number has sent so many lines since the agent started that are no code and no tag. Said once a
    /// second at the most.
    Garbage(usize, u64),
}

/// Reads the scanner of this `index` until `stop`, or until nobody hears any more.
pub async fn run(
    config: ScannerConfig,
    index: usize,
    clock: Clock,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) {
    let readings = Readings::new(&config.kind);
    let mut scanner =
        Scanner { config, index, clock, events, readings, said_garbage: (Uptime::ZERO, 0) };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        Unheard = scanner.reopen() => {}
    }
}

#[derive(Debug)]
struct Scanner {
    config: ScannerConfig,
    index: usize,
    clock: Clock,
    events: mpsc::Sender<Event>,
    readings: Readings,
    /// When garbage was told of last, and how much.
    said_garbage: (Uptime, u64),
}

/// Nobody reads any more.
#[derive(Debug)]
struct Unheard;

impl Scanner {
    /// Opens, reads until it is gone, and opens again.
    async fn reopen(&mut self) -> Unheard {
        let mut reopening = Reopening::default();
        let mut said = ScannerState::Connecting;
        loop {
            let began = self.clock.uptime();
            let reason = match self.read_once(&mut said).await {
                // A tty that hangs up reads as ended, again and again (Ok(0)); it is gone and not idle.
                Ok(Ok(())) => "hung up".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(Unheard) => return Unheard,
            };
            let was_open = self.clock.uptime().since(began);
            let left = self.readings.interrupt();
            let gone = ScannerState::Gone(reason);
            if self.say(left).await.is_err() || self.enter(gone, &mut said).await.is_err() {
                return Unheard;
            }
            let is_absent = self.config.address.path().is_some_and(|path| !path.exists());
            tokio::time::sleep(reopening.next_wait(was_open, is_absent)).await;
        }
    }

    /// Opens the scanner and reads until it is gone.
    async fn read_once(&mut self, said: &mut ScannerState) -> Result<io::Result<()>, Unheard> {
        let mut opened = match open(&self.config.address).await {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        self.enter(ScannerState::Open, said).await?;
        self.read(&mut opened).await
    }

    async fn read(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> Result<io::Result<()>, Unheard> {
        let mut buffer = [0; READ_BYTES];
        loop {
            let deadline = self.readings.deadline();
            let readings = tokio::select! {
                biased;
                read = reader.read(&mut buffer) => match read {
                    Ok(0) => return Ok(Ok(())),
                    Ok(count) => self.readings.push(&buffer[..count], self.clock.uptime()),
                    Err(error) => return Ok(Err(error)),
                },
                now = self.clock.reached(deadline) => self.readings.tick(now),
            };
            self.say(readings).await?;
        }
    }

    /// Says what was read, and now and then what was not understood.
    async fn say(&mut self, readings: Vec<Reading>) -> Result<(), Unheard> {
        let (scanner, by, at) = (self.index, self.config.kind.read_by(), self.clock.uptime());
        for Reading { bytes, rssi, antenna, reads } in readings {
            let line = ScanLine { scanner, by, bytes, at, rssi, antenna, reads };
            self.send(Event::Scan(line)).await?;
        }
        let (said_at, said) = self.said_garbage;
        let garbage = self.readings.garbage();
        if garbage > said && (said == 0 || at.since(said_at) >= GARBAGE_EVERY) {
            self.said_garbage = (at, garbage);
            self.send(Event::Garbage(scanner, garbage)).await?;
        }
        Ok(())
    }

    async fn enter(&self, state: ScannerState, said: &mut ScannerState) -> Result<(), Unheard> {
        if *said == state {
            return Ok(());
        }
        *said = state.clone();
        self.send(Event::State(self.index, state)).await
    }

    async fn send(&self, event: Event) -> Result<(), Unheard> {
        self.events.send(event).await.map_err(|_| Unheard)
    }
}

async fn open(address: &Address) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
    let named = |path: &Path, error: io::Error| {
        let remedy = if path.exists() { "cannot be opened" } else { "not there" };
        io::Error::new(error.kind(), format!("{}: {remedy} ({error})", path.display()))
    };
    Ok(match address {
        Address::Serial { path, baud } => {
            Box::new(serial::open(path, baud.unwrap_or(Address::USUAL_BAUD))?)
        }
        Address::Tcp(host) => Box::new(tcp::connect_for_long(host).await?),
        Address::Unix(path) => {
            Box::new(UnixStream::connect(path).await.map_err(|error| named(path, error))?)
        }
        #[cfg(feature = "hid")]
        Address::Evdev(path) => {
            Box::new(keyboard::Held::open(path).map_err(|error| named(path, error))?)
        }
        Address::Fifo(path) => {
            // Opened for both, it does not end when its last writer goes.
            let opened = pipe::OpenOptions::new().read_write(true).open_receiver(path);
            Box::new(opened.map_err(|error| named(path, error))?)
        }
    })
}
