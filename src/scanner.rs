//! Reads barcode scanners and RFID readers, and emits each code once as `Scan`.
//!
//! A lost scanner is a state, not an error: it is reopened without limit, with capped backoff.
//! Scanner input is untrusted: memory is bounded, content is not logged, and invalid lines are only
//! counted. If events are not consumed, reading pauses.

mod address;
mod dedup;
#[cfg(feature = "hid")]
mod evdev_keyboard;
mod line_assembler;
mod registry;
mod rfid_pattern;
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

use crate::transport::{ReconnectPolicy, serial, tcp};
pub use address::{Address, InvalidAddress};
use dedup::{DedupedRead, ScanDedup};
pub use registry::{ScannerRegistry, ScannerSummary};
pub use rfid_pattern::TagPattern;
use waypost_model::event::ReaderKind;
use waypost_model::units::Uptime;
use waypost_service::clock::Clock;

/// Capacity of the event channel. If it is full, the scanner's own buffer fills.
pub const CHANNEL_EVENTS: usize = 64;

/// Size of the read buffer.
const READ_BYTES: usize = 1024;

/// Minimum interval of reports about invalid lines.
const GARBAGE_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Configuration of a scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannerConfig {
    /// Name in messages to people and to the backend.
    pub name: String,
    /// Address of the scanner.
    pub address: Address,
    pub kind: ScannerKind,
}

/// Type of a scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannerKind {
    /// Barcodes of one or two dimensions.
    Barcode,
    /// RFID tags, with the line format of the reader.
    Rfid(TagPattern),
}

impl ScannerKind {
    /// Returns the type as recorded in events.
    #[must_use]
    pub const fn read_by(&self) -> ReaderKind {
        match self {
            Self::Barcode => ReaderKind::Barcode,
            Self::Rfid(_) => ReaderKind::Rfid,
        }
    }
}

/// A code or tag that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanLine {
    /// Index of the scanner in the configuration, from 0.
    pub scanner: usize,
    pub by: ReaderKind,
    /// 1 to 4096 bytes: the code without its terminator, or the EPC of a tag in upper-case
    /// hexadecimal.
    pub bytes: Vec<u8>,
    /// Time of the event, not before that of the previous one. A code was read just before it, a
    /// tag within the 5 s before it.
    pub at: Uptime,
    /// Strongest signal of a tag, dBm.
    pub rssi: Option<i8>,
    /// Antenna of the strongest signal.
    pub antenna: Option<u8>,
    /// Number of reads of a tag in its window; 1 for a code.
    pub reads: u32,
}

/// Connection state of a scanner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScannerState {
    /// Not opened yet.
    #[default]
    Connecting,
    /// Open. Hours without a scan are normal.
    Open,
    /// Cannot be opened, or was unplugged; with the reason for people.
    Gone(String),
}

impl ScannerState {
    /// Returns the name of the state in the control protocol.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Gone(_) => "gone",
        }
    }
}

/// Event of a scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannerEvent {
    /// A code or tag was read.
    Scan(ScanLine),
    /// The state of the scanner with this index changed.
    State(usize, ScannerState),
    /// Number of invalid lines from the scanner with this index since the agent started. Reported
    /// at most once per second.
    Garbage(usize, u64),
}

/// Reads the scanner `index` until `stop`, or until the receiver of `events` is dropped.
pub async fn run(
    config: ScannerConfig,
    index: usize,
    clock: Clock,
    events: mpsc::Sender<ScannerEvent>,
    stop: CancellationToken,
) {
    let dedup = ScanDedup::new(&config.kind);
    let mut scanner =
        Scanner { config, index, clock, events, dedup, reported_garbage: (Uptime::ZERO, 0) };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        ReceiverDropped = scanner.reopen() => {}
    }
}

#[derive(Debug)]
struct Scanner {
    config: ScannerConfig,
    index: usize,
    clock: Clock,
    events: mpsc::Sender<ScannerEvent>,
    dedup: ScanDedup,
    /// Time and count of the last report about invalid lines.
    reported_garbage: (Uptime, u64),
}

/// The receiver of the events was dropped.
#[derive(Debug)]
struct ReceiverDropped;

impl Scanner {
    /// Opens the scanner, reads until it is lost, and reopens it.
    async fn reopen(&mut self) -> ReceiverDropped {
        let mut reopening = ReconnectPolicy::default();
        let mut said = ScannerState::Connecting;
        loop {
            let began = self.clock.uptime();
            let reason = match self.read_once(&mut said).await {
                // A hung-up tty returns Ok(0) repeatedly; the device is lost and not idle.
                Ok(Ok(())) => "hung up".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(ReceiverDropped) => return ReceiverDropped,
            };
            let was_open = self.clock.uptime().since(began);
            let left = self.dedup.on_disconnect();
            let gone = ScannerState::Gone(reason);
            if self.send_reads(left).await.is_err()
                || self.send_state(gone, &mut said).await.is_err()
            {
                return ReceiverDropped;
            }
            let is_absent = self.config.address.path().is_some_and(|path| !path.exists());
            tokio::time::sleep(reopening.next_delay(was_open, is_absent)).await;
        }
    }

    /// Opens the scanner and reads until it is lost.
    async fn read_once(
        &mut self,
        said: &mut ScannerState,
    ) -> Result<io::Result<()>, ReceiverDropped> {
        let mut opened = match open(&self.config.address).await {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        self.send_state(ScannerState::Open, said).await?;
        self.read(&mut opened).await
    }

    async fn read(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> Result<io::Result<()>, ReceiverDropped> {
        let mut buffer = [0; READ_BYTES];
        loop {
            let deadline = self.dedup.deadline();
            let dedup = tokio::select! {
                biased;
                read = reader.read(&mut buffer) => match read {
                    Ok(0) => return Ok(Ok(())),
                    Ok(count) => self.dedup.push(&buffer[..count], self.clock.uptime()),
                    Err(error) => return Ok(Err(error)),
                },
                now = self.clock.sleep_until(deadline) => self.dedup.tick(now),
            };
            self.send_reads(dedup).await?;
        }
    }

    /// Sends the reads, and the count of invalid lines at most once per second.
    async fn send_reads(&mut self, dedup: Vec<DedupedRead>) -> Result<(), ReceiverDropped> {
        let (scanner, by, at) = (self.index, self.config.kind.read_by(), self.clock.uptime());
        for DedupedRead { bytes, rssi, antenna, reads } in dedup {
            let line = ScanLine { scanner, by, bytes, at, rssi, antenna, reads };
            self.send(ScannerEvent::Scan(line)).await?;
        }
        let (said_at, said) = self.reported_garbage;
        let garbage = self.dedup.garbage();
        if garbage > said && (said == 0 || at.since(said_at) >= GARBAGE_REPORT_INTERVAL) {
            self.reported_garbage = (at, garbage);
            self.send(ScannerEvent::Garbage(scanner, garbage)).await?;
        }
        Ok(())
    }

    async fn send_state(
        &self,
        state: ScannerState,
        said: &mut ScannerState,
    ) -> Result<(), ReceiverDropped> {
        if *said == state {
            return Ok(());
        }
        *said = state.clone();
        self.send(ScannerEvent::State(self.index, state)).await
    }

    async fn send(&self, event: ScannerEvent) -> Result<(), ReceiverDropped> {
        self.events.send(event).await.map_err(|_| ReceiverDropped)
    }
}

async fn open(address: &Address) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
    let named = |path: &Path, error: io::Error| {
        let remedy = if path.exists() { "cannot be opened" } else { "not found" };
        io::Error::new(error.kind(), format!("{}: {remedy} ({error})", path.display()))
    };
    Ok(match address {
        Address::Serial { path, baud } => {
            Box::new(serial::open(path, baud.unwrap_or(Address::DEFAULT_BAUD))?)
        }
        Address::Tcp(host) => Box::new(tcp::connect_keepalive(host).await?),
        Address::Unix(path) => {
            Box::new(UnixStream::connect(path).await.map_err(|error| named(path, error))?)
        }
        #[cfg(feature = "hid")]
        Address::Evdev(path) => Box::new(
            evdev_keyboard::GrabbedKeyboard::open(path).map_err(|error| named(path, error))?,
        ),
        Address::Fifo(path) => {
            // Opened for reading and writing, the pipe does not end with its last writer.
            let opened = pipe::OpenOptions::new().read_write(true).open_receiver(path);
            Box::new(opened.map_err(|error| named(path, error))?)
        }
    })
}
