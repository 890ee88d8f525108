//! ① IN: bytes, and the [`Uptime`] at which they were read.
//!
//! A receiver that is gone is a state and not an error: serial ports and connections are opened again for ever, with
//! capped backoff. A serial line whose speed is another one than was said is understood all the same. A recording and standard input end; then the channel closes, and the agent finishes its work.

mod address;
mod gpsd;
mod hunt;
mod line;
mod load;
pub mod log;
mod setup;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use crate::port::HostPort;
pub use address::{Address, InvalidAddress};
pub use setup::SetupResult;

use crate::clock::Clock;
use crate::core::ubx::Settings;
use crate::port::{Reopening, serial, tcp};
use crate::units::Uptime;
use hunt::Hunt;
use line::Line;

/// Bytes as they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// At least one.
    pub bytes: Vec<u8>,
    /// When.
    pub at: Uptime,
}

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes came.
    Bytes(Chunk),
    /// The source changed.
    Receiver(ReceiverState),
    /// Something else is known of the serial line than before. What was known ends with [`ReceiverState::Gone`].
    Line(LineState),
}

/// What is known of a serial line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineState {
    /// The speed at which the receiver is understood, in Bd.
    pub baud: Option<u32>,
    /// How much of what the line carries the receiver says, over the last 10 s: 0..=100.
    pub load_percent: Option<u8>,
    /// What came of setting the receiver up; `None` until it is over, or if it is not wanted.
    pub setup: Option<SetupResult>,
}

/// Whether bytes can come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReceiverState {
    /// Not opened yet.
    #[default]
    Connecting,
    /// Open, and bytes came lately.
    Open,
    /// Open, and what comes is understood at none of the speeds that were tried so far.
    Hunting,
    /// Open, and nothing has come for [`SourceConfig::silent_after`].
    Silent,
    /// Cannot be opened, or was pulled out. Why, for people.
    Gone(String),
}

/// One read. At 115,200 Bd a receiver fills it in 89 ms.
const READ_BYTES: usize = 1024;

/// A reader that comes late finds at most so many chunks; then the tty's own buffer fills.
pub const CHANNEL_CHUNKS: usize = 64;

/// A source and how to treat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Where the sentences come from.
    pub address: Address,
    /// How to treat a serial line.
    pub line: LineConfig,
    /// How long an open source may say nothing before it is called silent.
    pub silent_after: Duration,
}

/// A serial line and how to treat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineConfig {
    /// Its speed in Bd, or the one that the hunt begins with.
    pub baud: u32,
    /// Whether other speeds are tried.
    pub hunt: Hunting,
    /// The speed at which the receiver was understood in an earlier run; tried after [`Self::baud`].
    pub last_good_baud: Option<u32>,
    /// How long each speed is tried: a receiver says something in each second, and not at its beginning.
    pub dwell: Duration,
    /// What a u-blox receiver is told; `None`: nothing is ever written to the receiver.
    pub setup: Option<Settings>,
}

/// Whether other speeds than the given one are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hunting {
    /// The speed is what it is said to be.
    Off,
    /// Until sentences come.
    On,
}

impl LineConfig {
    /// What most receivers have when they leave the factory.
    pub const USUAL_BAUD: u32 = 9600;
    /// Two sentences of a receiver that sends one a second, whenever the first was.
    pub const DWELL: Duration = Duration::from_millis(2500);
}

impl Default for LineConfig {
    fn default() -> Self {
        let (baud, dwell) = (Self::USUAL_BAUD, Self::DWELL);
        Self { baud, hunt: Hunting::On, last_good_baud: None, dwell, setup: None }
    }
}

impl SourceConfig {
    /// A connection that says nothing for so long may be half open: the other end lost its power.
    const RECONNECT_AFTER: Duration = Duration::from_mins(1);
}

/// Reads until `stop`, or until a source that ends has ended. Then it drops `events`.
///
/// A recording begins at `begin`, and the time at which it ended is returned: there the next one begins.
///
/// # Errors
/// A recording or standard input cannot be read. Everything else is a [`ReceiverState`].
pub async fn run(
    config: SourceConfig,
    clock: Clock,
    begin: Uptime,
    events: mpsc::Sender<Event>,
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
    events: mpsc::Sender<Event>,
}

/// The engine is gone: nobody reads any more.
#[derive(Debug)]
struct Unheard;

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
                let mut hunt = self.hunt();
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

    /// The hunt for the speed of the port.
    fn hunt(&self) -> Hunt {
        let LineConfig { baud, hunt, last_good_baud, dwell, .. } = self.config.line;
        match hunt {
            Hunting::On => Hunt::new([Some(baud), last_good_baud].into_iter().flatten(), dwell),
            Hunting::Off => Hunt::given(Some(baud)),
        }
    }

    /// Opens the port or the connection, and reads until it is gone.
    async fn read_once(&self, port: Option<(&Path, &mut Hunt)>) -> Result<io::Result<()>, Unheard> {
        let Some((path, hunt)) = port else {
            return match self.connect().await {
                Ok(mut connection) => self.read(&mut connection).await,
                Err(error) => Ok(Err(error)),
            };
        };
        let baud = hunt.first_baud().unwrap_or(self.config.line.baud);
        match serial::open(path, baud) {
            // Another device may have the name now.
            Ok(port) if serial::has_speed(path) => Line::new(self, port, hunt).read().await,
            Ok(port) => Line::new(self, port, &mut Hunt::given(None)).read().await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// Opens, reads until it is gone, and opens again.
    async fn reopen(&self, mut port: Option<(&Path, &mut Hunt)>) {
        let mut reopening = Reopening::default();
        loop {
            let began = self.clock.uptime();
            let port_now = port.as_mut().map(|(path, hunt)| (*path, &mut **hunt));
            let reason = match self.read_once(port_now).await {
                // A tty that hangs up reads as ended, again and again (Ok(0)); it is gone and not idle.
                Ok(Ok(())) => "hung up".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(Unheard) => return,
            };
            let was_open = self.clock.uptime().since(began);
            if self.say(Event::Receiver(ReceiverState::Gone(reason))).await.is_err() {
                return;
            }
            let is_absent = port.as_ref().is_some_and(|(path, _)| !path.exists());
            tokio::time::sleep(reopening.next_wait(was_open, is_absent)).await;
        }
    }

    /// Reads what is no serial port until the end.
    async fn read(&self, reader: &mut (impl AsyncRead + Unpin)) -> Result<io::Result<()>, Unheard> {
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
                self.say(Event::Receiver(state)).await?;
            }
            let at = self.clock.uptime();
            if let Ok(Ok(count)) = read {
                heard_at = at;
                self.say(Event::Bytes(Chunk { bytes: buffer[..count].to_vec(), at })).await?;
            } else if self.config.address.is_network()
                && at.since(heard_at) >= SourceConfig::RECONNECT_AFTER
            {
                return Ok(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "said nothing for a minute: connecting again",
                )));
            }
        }
    }

    /// Plays a recording from `begin` on at its own pace, or faster; when it ended.
    async fn play(&self, path: &Path, begin: Uptime) -> io::Result<Uptime> {
        let file = std::fs::File::open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let mut log = log::RecordedLog::new(io::BufReader::new(file));
        let mut end = begin;
        if self.say(Event::Receiver(ReceiverState::Open)).await.is_err() {
            return Ok(end);
        }
        while let Some(Chunk { bytes, at }) = log.next_chunk()? {
            end = begin + at.since_start();
            if !self.clock.is_by_data() {
                self.clock.reached(Some(end)).await;
            }
            if self.say(Event::Bytes(Chunk { bytes, at: end })).await.is_err() {
                break;
            }
        }
        Ok(end)
    }

    async fn say(&self, event: Event) -> Result<(), Unheard> {
        self.events.send(event).await.map_err(|_| Unheard)
    }
}
