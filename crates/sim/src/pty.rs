//! Simulated serial line: writes epochs to a pty, byte by byte at the line's speed, with or without
//! a reader.
//!
//! - The line never waits for its reader. If the last burst is still unread, no program is reading,
//!   and the burst is discarded for the next one. A new reader therefore gets only the newest
//!   burst.
//! - The far end stays open here, so that readers can come and go without a hang-up. Bytes that
//!   they write are discarded.
//! - A reader at another baud rate receives the bytes that a UART at that rate would produce.
//! - If the receiver produces more than the line carries, whole bursts are dropped once the line is
//!   1 s behind.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{self, OptionalActions, QueueSelector};

use super::uart::sample_at_baud;
use waypost_model::units::Uptime;
use waypost_service::clock::Clock;

/// A serial line whose other end is a file in `/dev/pts`.
#[derive(Debug)]
pub(super) struct PtyLine {
    near: OwnedFd,
    far: File,
    path: PathBuf,
    link: Option<PathBuf>,
    speed: LineSpeed,
    byte_time: Duration,
    /// Time at which the last byte of the last burst has been sent.
    free_at: Uptime,
    /// Number of bytes of the last burst.
    last_bytes: usize,
    reader: ReaderState,
    /// Bursts that were not read.
    pub(super) unread: u64,
    /// Bursts dropped because the line was too slow.
    pub(super) overrun: u64,
}

/// Speed of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineSpeed {
    /// A UART with this many bits per second, above 0; a byte takes ten bits.
    Baud(u32),
    /// USB, where the configured baud rate has no effect.
    Usb,
}

#[derive(Debug, PartialEq, Eq)]
enum ReaderState {
    Present,
    Absent,
}

/// Bytes per write: less than the FIFO of a typical USB adapter, so that a reader sees sentences in
/// parts.
const CHUNK_BYTES: usize = 16;
/// Baud rate of a tty before it is configured.
const DEFAULT_BAUD: u32 = 9600;
/// Maximum delay of a reader on a busy host, by the host's clock.
const READ_TIMEOUT: Duration = Duration::from_millis(250);
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Capacity of a receiver's output buffer, as time.
const MAX_LAG: Duration = Duration::from_secs(1);

impl PtyLine {
    /// Opens a pty and links to it. An existing symbolic link is replaced; any other file is not.
    pub(super) fn open(link: Option<PathBuf>, speed: LineSpeed) -> io::Result<Self> {
        let (near, far, path) = pair(match speed {
            LineSpeed::Baud(baud) => baud,
            LineSpeed::Usb => DEFAULT_BAUD,
        })?;
        if let Some(link) = &link {
            if link.is_symlink() {
                std::fs::remove_file(link)?;
            }
            std::os::unix::fs::symlink(&path, link)?;
        }
        let byte_time = match speed {
            // A start bit, eight bits and a stop bit.
            LineSpeed::Baud(baud) => Duration::from_secs(10) / baud,
            LineSpeed::Usb => Duration::ZERO,
        };
        let (free_at, last_bytes, reader) = (Uptime::ZERO, 0, ReaderState::Present);
        let (unread, overrun) = (0, 0);
        Ok(Self {
            near,
            far,
            path,
            link,
            speed,
            byte_time,
            free_at,
            last_bytes,
            reader,
            unread,
            overrun,
        })
    }

    /// Returns the path for readers: the link, or else the device.
    pub(super) fn path(&self) -> &Path {
        self.link.as_deref().unwrap_or(&self.path)
    }

    /// Sends a burst from `at` on at the line's speed, or at once without a clock.
    pub(super) async fn send(
        &mut self,
        burst: &[u8],
        at: Uptime,
        clock: Option<&Clock>,
    ) -> io::Result<()> {
        let start = at.max(self.free_at);
        if clock.is_some() && start.since(at) > MAX_LAG {
            self.overrun += 1;
            self.warn_once(
                self.overrun,
                "the line is slower than the receiver; bursts are dropped",
            );
            return Ok(());
        }
        if let Some(clock) = clock {
            clock.sleep_until(Some(start)).await;
        }
        self.drain_input();
        self.discard_unread().await?;
        (self.free_at, self.last_bytes) = (start, 0);
        for chunk in burst.chunks(CHUNK_BYTES) {
            // A late writer does not wait for the next timer tick with every chunk.
            if let Some(clock) = clock.filter(|clock| clock.uptime() < self.free_at) {
                clock.sleep_until(Some(self.free_at)).await;
            }
            let heard = self.sample(chunk)?;
            if !self.write(&heard)? {
                break;
            }
            let bytes = u32::try_from(chunk.len()).expect("16 at most");
            self.free_at = self.free_at + self.byte_time * bytes;
            self.last_bytes += heard.len();
        }
        if clock.is_none() {
            // The kernel delivers after the write returns; only then is it known whether a program
            // reads.
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Returns the bytes that the reader's UART receives for a chunk.
    fn sample(&self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        let LineSpeed::Baud(baud) = self.speed else { return Ok(chunk.to_vec()) };
        // A tty has one speed for both ends: the one that the reader has set.
        let heard_baud = termios::tcgetattr(&self.far)?.output_speed().max(1);
        Ok(sample_at_baud(chunk, baud, heard_baud))
    }

    /// Returns false if the pty is full. One unread burst is too short for that.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.near, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Waits for the reader to read the last burst, and discards the burst if there is no reader.
    async fn discard_unread(&mut self) -> io::Result<()> {
        let mut waited = Duration::ZERO;
        while self.is_unread()? {
            if self.reader == ReaderState::Present && waited < READ_TIMEOUT {
                tokio::time::sleep(POLL_INTERVAL).await;
                waited += POLL_INTERVAL;
                continue;
            }
            self.reader = ReaderState::Absent;
            self.unread += 1;
            self.warn_once(self.unread, "no program reads the pty; output is discarded");
            termios::tcflush(&self.far, QueueSelector::IFlush)?;
            // TIOCEXCL of a previous reader persists and would lock it out when it returns.
            termios::ioctl_tiocnxcl(&self.far)?;
            return Ok(());
        }
        self.reader = ReaderState::Present;
        Ok(())
    }

    fn is_unread(&self) -> io::Result<bool> {
        let waiting = usize::try_from(rustix::io::ioctl_fionread(&self.far)?).unwrap_or(usize::MAX);
        Ok(self.last_bytes > 0 && waiting >= self.last_bytes)
    }

    fn drain_input(&mut self) {
        let mut scratch = [0; 256];
        // The limit keeps a reader that writes without pause from blocking the loop.
        for _ in 0..16 {
            if !matches!(rustix::io::read(&self.near, &mut scratch), Ok(1..)) {
                return;
            }
        }
    }

    fn warn_once(&self, count: u64, message: &str) {
        if count == 1 {
            eprintln!("waypost: {}: {message}", self.path().display());
        }
    }
}

/// Opens both ends of a raw pty at `baud`, and returns the far end's path. Neither end blocks or
/// becomes the controlling terminal.
fn pair(baud: u32) -> io::Result<(OwnedFd, File, PathBuf)> {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&near)?;
    unlockpt(&near)?;
    fcntl_setfl(&near, OFlags::NONBLOCK)?;
    let name = ptsname(&near, Vec::new())?.into_bytes();
    let path = PathBuf::from(OsString::from_vec(name));
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed();
    let far = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path)?;
    let mut raw = termios::tcgetattr(&far)?;
    raw.make_raw();
    raw.set_speed(baud)?;
    termios::tcsetattr(&far, OptionalActions::Now, &raw)?;
    Ok((near, far, path))
}

impl Drop for PtyLine {
    fn drop(&mut self) {
        if let Some(link) = &self.link
            && std::fs::read_link(link).is_ok_and(|target| target == self.path)
        {
            // Ignored: the link may already have been removed.
            let _ = std::fs::remove_file(link);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio_serial::{SerialPort as _, SerialPortBuilderExt, SerialStream};

    use super::*;

    fn open(baud: u32) -> PtyLine {
        PtyLine::open(None, LineSpeed::Baud(baud)).unwrap()
    }

    fn reader(line: &PtyLine) -> SerialStream {
        let LineSpeed::Baud(baud) = line.speed else { panic!("a UART") };
        reader_at(line, baud)
    }

    fn reader_at(line: &PtyLine, baud: u32) -> SerialStream {
        tokio_serial::new(line.path().to_str().unwrap(), baud).open_native_async().unwrap()
    }

    /// Sends a burst that is not read, and waits until the kernel has delivered it.
    async fn send_unread(line: &mut PtyLine, burst: &str) {
        line.send(burst.as_bytes(), Uptime::ZERO, None).await.unwrap();
        while !line.is_unread().unwrap() {
            std::thread::yield_now();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_at_the_speed_of_the_line() {
        let mut line = open(9600);
        let mut reader = reader(&line);
        let clock = Clock::live();
        let burst = vec![b'x'; 960];
        let mut read = vec![0; 960];
        let (sent, arrived) = tokio::join!(
            line.send(&burst, Uptime::from_millis(500), Some(&clock)),
            reader.read_exact(&mut read)
        );
        sent.unwrap();
        arrived.unwrap();
        assert_eq!(read, burst);
        let ms = clock.uptime().since_start().as_millis();
        assert!((1450..=1550).contains(&ms), "960 bytes take a second from 500 ms on: {ms} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_nobody_reads_goes_on_and_keeps_only_the_newest_burst() {
        let mut line = open(9600);
        for number in 0..500 {
            let burst = format!("${number:03}{}\r\n", "x".repeat(500));
            send_unread(&mut line, &burst).await;
        }
        assert_eq!(line.unread, 499);
        let mut read = vec![0; 506];
        reader(&line).read_exact(&mut read).await.unwrap();
        assert!(read.starts_with(b"$499x"), "{}", String::from_utf8_lossy(&read));
        for burst in ["$500\r\n", "$501\r\n"] {
            send_unread(&mut line, burst).await;
        }
        let mut read = [0; 6];
        let mut returned = reader(&line);
        returned.read_exact(&mut read).await.unwrap();
        assert_eq!((&read, line.unread), (b"$501\r\n", 500), "a reader may leave and return");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_of_another_speed_hears_noise_until_it_sets_the_right_one() {
        let mut line = open(38_400);
        let mut reader = reader_at(&line, 9600);
        let sentence = b"$GPGGA,1*00\r\n";
        line.send(sentence, Uptime::ZERO, None).await.unwrap();
        let mut read = [0; 256];
        let noise = reader.read(&mut read).await.unwrap();
        assert!(!read[..noise].contains(&b'$'), "{}", read[..noise].escape_ascii());
        reader.set_baud_rate(38_400).unwrap();
        line.send(sentence, Uptime::ZERO, None).await.unwrap();
        let clean = reader.read(&mut read).await.unwrap();
        assert_eq!(&read[..clean], sentence);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_usb_may_set_any_speed() {
        let mut line = PtyLine::open(None, LineSpeed::Usb).unwrap();
        let mut reader = reader_at(&line, 115_200);
        line.send(b"]C0TBA502000000001\r\n", Uptime::ZERO, None).await.unwrap();
        let mut read = [0; 64];
        let clean = reader.read(&mut read).await.unwrap();
        assert_eq!(&read[..clean], b"]C0TBA502000000001\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_says_more_than_the_line_carries_leaves_whole_bursts_out() {
        let mut line = open(4800);
        let clock = Clock::live();
        for number in 0..50 {
            let at = Uptime::from_millis(number * 100);
            line.send(&[b'x'; 240], at, Some(&clock)).await.unwrap();
        }
        assert!((25..45).contains(&line.overrun), "{} of 50", line.overrun);
    }

    #[tokio::test]
    async fn the_link_is_replaced_at_the_start_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("receiver");
        std::os::unix::fs::symlink("/dev/pts/of-an-earlier-run", &link).unwrap();
        let line = PtyLine::open(Some(link.clone()), LineSpeed::Usb).unwrap();
        assert_eq!(std::fs::read_link(&link).unwrap(), line.path);
        drop(line);
        assert!(!link.is_symlink());
        std::fs::write(&link, "another program's file").unwrap();
        assert!(PtyLine::open(Some(link.clone()), LineSpeed::Usb).is_err());
        assert_eq!(std::fs::read(&link).unwrap(), b"another program's file");
    }
}
