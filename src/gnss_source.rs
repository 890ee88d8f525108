//! GNSS sources: deliver bytes with the [`Uptime`] at which they were read.
//!
//! A lost receiver is a state, not an error: serial ports and connections are reopened without
//! limit, with capped backoff. The baud rate of a serial line is detected if the configured one is
//! wrong. Recordings and standard input end; the channel is then closed, and the agent shuts down.

mod address;
mod autobaud;
mod gpsd;
mod line_load;
pub mod recorded_log;
mod serial_line;
#[cfg(test)]
mod tests;
mod ublox_setup;

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use crate::transport::HostPort;
pub use address::{Address, InvalidAddress};
pub use ublox_setup::SetupResult;

use crate::transport::{ReconnectPolicy, serial, tcp};
use autobaud::BaudDetector;
use serial_line::SerialLine;
use waypost_model::units::Uptime;
use waypost_pipeline::ubx::Settings;
use waypost_service::clock::Clock;

/// Bytes of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// At least one byte.
    pub bytes: Vec<u8>,
    /// Time of the read.
    pub at: Uptime,
}

/// Event of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// Bytes were read.
    Bytes(Chunk),
    /// The receiver state changed.
    Receiver(ReceiverState),
    /// The state of the serial line changed. [`ReceiverState::Gone`] resets it.
    Line(LineState),
}

/// State of a serial line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineState {
    /// Detected baud rate, Bd.
    pub baud: Option<u32>,
    /// Utilisation of the line over the last 10 s, 0 to 100 %.
    pub load_percent: Option<u8>,
    /// Result of the u-blox setup; `None` until it is complete, or if it is disabled.
    pub setup: Option<SetupResult>,
}

/// State of the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReceiverState {
    /// Not opened yet.
    #[default]
    Connecting,
    /// Open, and bytes arrive.
    Open,
    /// Open, but no sentence could be decoded at any rate tried so far.
    DetectingBaud,
    /// Open, but nothing arrived for [`SourceConfig::silent_after`].
    Silent,
    /// Cannot be opened, or was unplugged; with the reason for people.
    Gone(String),
}

/// Size of the read buffer. At 115,200 Bd a receiver fills it in 89 ms.
const READ_BYTES: usize = 1024;

/// Capacity of the event channel. If it is full, the tty's own buffer fills.
pub const CHANNEL_CHUNKS: usize = 64;

/// Configuration of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Address of the receiver.
    pub address: Address,
    /// Settings of a serial line.
    pub line: LineConfig,
    /// Time without a byte after which an open source is reported as silent.
    pub silent_after: Duration,
}

/// Settings of a serial line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineConfig {
    /// Baud rate, or the first one to try.
    pub baud: u32,
    /// Whether other rates are tried.
    pub auto_baud: AutoBaud,
    /// Rate detected in an earlier run; tried after [`Self::baud`].
    pub last_good_baud: Option<u32>,
    /// Duration of a trial. A receiver sends every second, at an unknown moment.
    pub dwell: Duration,
    /// Settings for a u-blox receiver; `None`: nothing is written to the receiver.
    pub setup: Option<Settings>,
}

/// Automatic baud-rate detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoBaud {
    /// The configured rate is used as it is.
    Off,
    /// Other rates are tried until sentences arrive.
    On,
}

impl LineConfig {
    /// Factory setting of most receivers.
    pub const DEFAULT_BAUD: u32 = 9600;
    /// Long enough for two sentences of a receiver that sends one per second.
    pub const DWELL: Duration = Duration::from_millis(2500);
}

impl Default for LineConfig {
    fn default() -> Self {
        let (baud, dwell) = (Self::DEFAULT_BAUD, Self::DWELL);
        Self { baud, auto_baud: AutoBaud::On, last_good_baud: None, dwell, setup: None }
    }
}

impl SourceConfig {
    /// Silence after which a connection is reopened, because the other end may have lost its power.
    const RECONNECT_AFTER: Duration = Duration::from_mins(1);
}

/// Reads until `stop`, or until a finite source has ended. Then drops `events`.
///
/// A recording starts at `begin`. Returns the time at which it ended, where the next one starts.
///
/// # Errors
/// A recording or standard input cannot be read. Other failures are reported as [`ReceiverState`].
pub async fn run(
    config: SourceConfig,
    clock: Clock,
    begin: Uptime,
    events: mpsc::Sender<SourceEvent>,
    stop: CancellationToken,
) -> io::Result<Uptime> {
    let source = Source { config, clock, events };
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(begin),
        result = source.run(begin) => result,
    }
}

#[derive(Debug)]
struct Source {
    config: SourceConfig,
    clock: Clock,
    events: mpsc::Sender<SourceEvent>,
}

/// The engine has dropped the receiving end of the channel.
#[derive(Debug)]
struct ReceiverDropped;

impl Source {
    async fn run(&self, begin: Uptime) -> io::Result<Uptime> {
        match &self.config.address {
            Address::Log(path) => return self.play(path, begin).await,
            Address::Stdin => {
                if let Ok(Err(error)) = self.read(&mut tokio::io::stdin()).await {
                    return Err(error);
                }
            }
            Address::Serial(path) => {
                let mut hunt = self.baud_detector();
                self.reopen(Some((path, &mut hunt))).await;
            }
            Address::Tcp(_) | Address::Gpsd(_) => self.reopen(None).await,
        }
        Ok(self.clock.uptime())
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        match &self.config.address {
            Address::Tcp(host) => tcp::connect(host).await,
            Address::Gpsd(host) => gpsd::watch(host).await,
            Address::Serial(_) | Address::Log(_) | Address::Stdin => {
                Err(io::ErrorKind::Unsupported.into())
            }
        }
    }

    /// Creates the baud-rate detector of the port.
    fn baud_detector(&self) -> BaudDetector {
        let LineConfig { baud, auto_baud: hunt, last_good_baud, dwell, .. } = self.config.line;
        match hunt {
            AutoBaud::On => {
                BaudDetector::new([Some(baud), last_good_baud].into_iter().flatten(), dwell)
            }
            AutoBaud::Off => BaudDetector::fixed(Some(baud)),
        }
    }

    /// Opens the port or connection and reads until it is lost.
    async fn read_once(
        &self,
        port: Option<(&Path, &mut BaudDetector)>,
    ) -> Result<io::Result<()>, ReceiverDropped> {
        let Some((path, hunt)) = port else {
            return match self.connect().await {
                Ok(mut connection) => self.read(&mut connection).await,
                Err(error) => Ok(Err(error)),
            };
        };
        let baud = hunt.first_baud().unwrap_or(self.config.line.baud);
        match serial::open(path, baud) {
            // The name may refer to another device than before.
            Ok(port) if serial::has_baud_rate(path) => {
                SerialLine::new(self, port, hunt).read().await
            }
            Ok(port) => SerialLine::new(self, port, &mut BaudDetector::fixed(None)).read().await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// Opens the source, reads until it is lost, and reopens it.
    async fn reopen(&self, mut port: Option<(&Path, &mut BaudDetector)>) {
        let mut reopening = ReconnectPolicy::default();
        loop {
            let began = self.clock.uptime();
            let port_now = port.as_mut().map(|(path, hunt)| (*path, &mut **hunt));
            let reason = match self.read_once(port_now).await {
                // A hung-up tty returns Ok(0) repeatedly; the device is lost and not idle.
                Ok(Ok(())) => "hung up".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(ReceiverDropped) => return,
            };
            let was_open = self.clock.uptime().since(began);
            if self.send(SourceEvent::Receiver(ReceiverState::Gone(reason))).await.is_err() {
                return;
            }
            let is_absent = port.as_ref().is_some_and(|(path, _)| !path.exists());
            tokio::time::sleep(reopening.next_delay(was_open, is_absent)).await;
        }
    }

    /// Reads a source other than a serial port until its end.
    async fn read(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> Result<io::Result<()>, ReceiverDropped> {
        let mut buffer = [0; READ_BYTES];
        let mut said = None;
        let mut heard_at = self.clock.uptime();
        loop {
            let read =
                tokio::time::timeout(self.config.silent_after, reader.read(&mut buffer)).await;
            let state = match read {
                Ok(Ok(0)) => return Ok(Ok(())),
                Ok(Ok(_)) => ReceiverState::Open,
                Ok(Err(error)) => return Ok(Err(error)),
                Err(_) => ReceiverState::Silent,
            };
            if said.as_ref() != Some(&state) {
                said = Some(state.clone());
                self.send(SourceEvent::Receiver(state)).await?;
            }
            let at = self.clock.uptime();
            if let Ok(Ok(count)) = read {
                heard_at = at;
                self.send(SourceEvent::Bytes(Chunk { bytes: buffer[..count].to_vec(), at }))
                    .await?;
            } else if self.config.address.is_network()
                && at.since(heard_at) >= SourceConfig::RECONNECT_AFTER
            {
                return Ok(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no data for a minute: reconnecting",
                )));
            }
        }
    }

    /// Plays a recording from `begin`, in real time or faster. Returns the time of its end.
    async fn play(&self, path: &Path, begin: Uptime) -> io::Result<Uptime> {
        let file = std::fs::File::open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let mut log = recorded_log::RecordedLog::new(io::BufReader::new(file));
        let mut end = begin;
        if self.send(SourceEvent::Receiver(ReceiverState::Open)).await.is_err() {
            return Ok(end);
        }
        while let Some(Chunk { bytes, at }) = log.next_chunk()? {
            end = begin + at.since_start();
            if !self.clock.is_driven_by_data() {
                self.clock.sleep_until(Some(end)).await;
            }
            if self.send(SourceEvent::Bytes(Chunk { bytes, at: end })).await.is_err() {
                break;
            }
        }
        Ok(end)
    }

    async fn send(&self, event: SourceEvent) -> Result<(), ReceiverDropped> {
        self.events.send(event).await.map_err(|_| ReceiverDropped)
    }
}
