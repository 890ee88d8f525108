//! Bursts → a pty, byte by byte at the speed of a serial line, whether or not somebody listens.
//!
//! - A line never waits for its reader: when the last burst is still there untouched, nobody listens, and it is thrown
//!   away for the next. So a reader that comes finds the newest burst and no old ones.
//! - The far end stays open here, so that readers may come and go without a hang-up; what they write is read and
//!   forgotten.
//! - A reader of another speed reads what a UART of that speed would: it is the line's speed that the reader set.
//! - A receiver that has more to say than the line carries drops whole bursts, once it is a second behind.

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

use super::uart::as_heard;
use crate::clock::Clock;
use crate::units::Uptime;

/// A serial line, of which the other end is a file in `/dev/pts`.
#[derive(Debug)]
pub(super) struct PtyLine {
    near: OwnedFd,
    far: File,
    path: PathBuf,
    link: Option<PathBuf>,
    speed: LineSpeed,
    byte_time: Duration,
    /// When the last byte of the last burst has left.
    free_at: Uptime,
    /// Bytes of the last burst.
    last_bytes: usize,
    reader: Reader,
    /// Bursts that nobody read.
    pub(super) unread: u64,
    /// Bursts for which the line was too slow.
    pub(super) crowded_out: u64,
}

/// How fast bytes go over a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineSpeed {
    /// A UART at so many bits a second; a byte has ten. Above 0.
    Baud(u32),
    /// USB: whatever speed the reader sets means nothing.
    Usb,
}

#[derive(Debug, PartialEq, Eq)]
enum Reader {
    Listens,
    Away,
}

/// Written at once: less than the FIFO of a usual USB adapter, so that a reader sees sentences in parts.
const CHUNK_BYTES: usize = 16;
/// What a tty has before anybody sets it.
const USUAL_BAUD: u32 = 9600;
/// A reader of a busy host may be this late, by the host's clock.
const PATIENCE: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// What a receiver's own buffer holds, in time.
const BACKLOG: Duration = Duration::from_secs(1);

impl PtyLine {
    /// Opens a pty and links to it. A link that another run left is replaced; another kind of file is not.
    pub(super) fn open(link: Option<PathBuf>, speed: LineSpeed) -> io::Result<Self> {
        let (near, far, path) = pair(match speed {
            LineSpeed::Baud(baud) => baud,
            LineSpeed::Usb => USUAL_BAUD,
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
        let (free_at, last_bytes, reader) = (Uptime::ZERO, 0, Reader::Listens);
        let (unread, crowded_out) = (0, 0);
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
            crowded_out,
        })
    }

    /// Where a reader finds it.
    pub(super) fn path(&self) -> &Path {
        self.link.as_deref().unwrap_or(&self.path)
    }

    /// Sends a burst from `at` on as fast as the line is, or at once without a clock.
    pub(super) async fn send(
        &mut self,
        burst: &[u8],
        at: Uptime,
        clock: Option<&Clock>,
    ) -> io::Result<()> {
        let start = at.max(self.free_at);
        if clock.is_some() && start.since(at) > BACKLOG {
            self.crowded_out += 1;
            self.say_once(
                self.crowded_out,
                "the line is slower than the receiver: bursts are left out",
            );
            return Ok(());
        }
        if let Some(clock) = clock {
            clock.reached(Some(start)).await;
        }
        self.forget_what_readers_write();
        self.clear_unread().await?;
        (self.free_at, self.last_bytes) = (start, 0);
        for chunk in burst.chunks(CHUNK_BYTES) {
            // Whoever is late does not wait for the next tick of a timer with every chunk.
            if let Some(clock) = clock.filter(|clock| clock.uptime() < self.free_at) {
                clock.reached(Some(self.free_at)).await;
            }
            let heard = self.heard(chunk)?;
            if !self.write(&heard)? {
                break;
            }
            let bytes = u32::try_from(chunk.len()).expect("16 at most");
            self.free_at = self.free_at + self.byte_time * bytes;
            self.last_bytes += heard.len();
        }
        if clock.is_none() {
            // The kernel delivers later than it takes: only then is it known whether somebody reads.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// What the reader's UART makes of a chunk.
    fn heard(&self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        let LineSpeed::Baud(baud) = self.speed else { return Ok(chunk.to_vec()) };
        // A tty has one speed for both ends: this is what the reader has set.
        let heard_baud = termios::tcgetattr(&self.far)?.output_speed().max(1);
        Ok(as_heard(chunk, baud, heard_baud))
    }

    /// False if the pty is full, which a burst that nobody reads is too short for.
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

    /// Gives a reader time to take the last burst, and throws it away if there is none.
    async fn clear_unread(&mut self) -> io::Result<()> {
        let mut waited = Duration::ZERO;
        while self.untouched()? {
            if self.reader == Reader::Listens && waited < PATIENCE {
                tokio::time::sleep(LOOK_AGAIN).await;
                waited += LOOK_AGAIN;
                continue;
            }
            self.reader = Reader::Away;
            self.unread += 1;
            self.say_once(self.unread, "nobody reads the pty: what is sent is thrown away");
            termios::tcflush(&self.far, QueueSelector::IFlush)?;
            // The TIOCEXCL of a reader that left stays, and would keep it out when it returns.
            termios::ioctl_tiocnxcl(&self.far)?;
            return Ok(());
        }
        self.reader = Reader::Listens;
        Ok(())
    }

    fn untouched(&self) -> io::Result<bool> {
        let waiting = usize::try_from(rustix::io::ioctl_fionread(&self.far)?).unwrap_or(usize::MAX);
        Ok(self.last_bytes > 0 && waiting >= self.last_bytes)
    }

    fn forget_what_readers_write(&mut self) {
        let mut scratch = [0; 256];
        // More than a burst of commands each time would be a loop that a stranger controls.
        for _ in 0..16 {
            if !matches!(rustix::io::read(&self.near, &mut scratch), Ok(1..)) {
                return;
            }
        }
    }

    fn say_once(&self, count: u64, message: &str) {
        if count == 1 {
            eprintln!("waypost: {}: {message}", self.path().display());
        }
    }
}

/// Both ends of a raw pty at `baud`, and the far one's name. Neither blocks, nor becomes the terminal that controls us.
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
            // Whoever removed it meanwhile did our work.
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

    /// Sends a burst that nobody takes, and waits until the kernel has delivered it.
    async fn send_unread(line: &mut PtyLine, burst: &str) {
        line.send(burst.as_bytes(), Uptime::ZERO, None).await.unwrap();
        while !line.untouched().unwrap() {
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
        assert_eq!((&read, line.unread), (b"$501\r\n", 500), "a reader may go and come back");
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
        assert!((25..45).contains(&line.crowded_out), "{} of 50", line.crowded_out);
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
        std::fs::write(&link, "somebody's file").unwrap();
        assert!(PtyLine::open(Some(link.clone()), LineSpeed::Usb).is_err());
        assert_eq!(std::fs::read(&link).unwrap(), b"somebody's file");
    }
}
