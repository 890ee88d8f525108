//! A scanner that types: key presses of an event device (`linux/input.h`) → the bytes that they type.
//!
//! The layout is the US one, in which scanners type unless they are told otherwise. GS has no key: scanners send Ctrl+],
//! F8, F12, or Alt with 029 on the keypad. Held for ourselves, what is typed reaches no console.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;

/// `struct input_event`: two words of time, type and code of two bytes, value of four.
const EVENT_BYTES: usize = 2 * size_of::<usize>() + 8;

/// Events in one read; a scanner makes six of each character.
const READ_EVENTS: usize = 32;

/// `EAGAIN` instead of waiting (`O_NONBLOCK` of every Linux architecture that Rust knows but MIPS and SPARC).
const NONBLOCKING: i32 = 0o4000;

const EV_SYN: u16 = 0;
const SYN_DROPPED: u16 = 3;
const EV_KEY: u16 = 1;

const GS: u8 = 0x1D;

/// What keys 2 to 57 type, without and with Shift; 0 for nothing.
const PLAIN: &[u8; 56] = b"1234567890-=\x08\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
const SHIFTED: &[u8; 56] = b"!@#$%^&*()_+\x08\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

/// What keys 71 to 83 type: the keypad.
const KEYPAD: &[u8; 13] = b"789-456+1230.";

/// The device, opened and held: nobody else hears it any more.
#[derive(Debug)]
pub(super) struct Held {
    keyboard: Keyboard<pipe::Receiver>,
    /// Lets go when it is dropped.
    _device: evdev::Device,
}

impl Held {
    /// Opens the event device at `path` for ourselves alone.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).custom_flags(NONBLOCKING).open(path)?;
        let mut device = evdev::Device::from_fd(file.try_clone()?.into())?;
        device.grab()?;
        // It is no pipe, and is waited for in the same way.
        let keyboard = Keyboard::new(pipe::Receiver::from_file_unchecked(file)?);
        Ok(Self { keyboard, _device: device })
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.keyboard).poll_read(context, buffer)
    }
}

/// Reads events and gives what they type.
#[derive(Debug)]
pub(super) struct Keyboard<R> {
    events: R,
    keys: Keys,
    /// An event of which the rest is to come.
    part: Vec<u8>,
    /// Typed, and not taken yet.
    typed: Vec<u8>,
}

impl<R> Keyboard<R> {
    pub(super) fn new(events: R) -> Self {
        Self { events, keys: Keys::default(), part: Vec::new(), typed: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.part.extend_from_slice(bytes);
        let whole = self.part.len() / EVENT_BYTES * EVENT_BYTES;
        for event in self.part.drain(..whole).as_slice().chunks_exact(EVENT_BYTES) {
            let [.., t0, t1, c0, c1, v0, v1, v2, v3] = *event else { continue };
            let (kind, code) = (u16::from_ne_bytes([t0, t1]), u16::from_ne_bytes([c0, c1]));
            match (kind, code, i32::from_ne_bytes([v0, v1, v2, v3])) {
                // Of the code that is being typed, a part is missing.
                (EV_SYN, SYN_DROPPED, _) => return Err(io::Error::other("keys were lost")),
                (EV_KEY, code, value) => self.typed.extend(self.keys.turn(code, value)),
                _ => {}
            }
        }
        Ok(())
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Keyboard<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.typed.is_empty() {
            let mut bytes = [0; READ_EVENTS * EVENT_BYTES];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.events).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.take(read.filled())?;
        }
        let count = self.typed.len().min(buffer.remaining());
        buffer.put_slice(&self.typed[..count]);
        self.typed.drain(..count);
        Poll::Ready(Ok(()))
    }
}

/// Which keys are held.
#[derive(Debug, Default)]
struct Keys {
    shift: u8,
    control: u8,
    capitals: bool,
    /// The number that is being typed while Alt is held.
    alt: Option<u8>,
}

impl Keys {
    /// What a key types when it is pressed (1), held (2) or let go (0).
    fn turn(&mut self, code: u16, value: i32) -> Option<u8> {
        let pressed = value == 1;
        match code {
            _ if value == 2 => None,
            42 | 54 => held(&mut self.shift, code == 54, pressed),
            29 | 97 => held(&mut self.control, code == 97, pressed),
            56 | 100 => {
                let typed = self.alt.take().filter(|typed| *typed != 0);
                self.alt = pressed.then_some(0);
                typed
            }
            58 if pressed => {
                self.capitals = !self.capitals;
                None
            }
            _ if !pressed => None,
            66 | 88 => Some(GS),
            96 => Some(b'\r'),
            71..=83 => self.keypad(KEYPAD[usize::from(code - 71)]),
            2..=57 => self.character(usize::from(code - 2)),
            _ => None,
        }
    }

    fn keypad(&mut self, character: u8) -> Option<u8> {
        match (&mut self.alt, character) {
            (Some(number), digit @ b'0'..=b'9') => {
                *number = number.wrapping_mul(10).wrapping_add(digit - b'0');
                None
            }
            _ => Some(character),
        }
    }

    fn character(&self, key: usize) -> Option<u8> {
        let (plain, shifted) = (PLAIN[key], SHIFTED[key]);
        let shift = (self.shift != 0) != (self.capitals && plain.is_ascii_lowercase());
        let typed = match (self.control != 0, plain) {
            // Ctrl+6 is RS and Ctrl+- is US: with Shift they are ^ and _.
            (true, b'6' | b'-') => shifted & 0x1F,
            (true, b'a'..=b'z' | b'[' | b']' | b'\\') => plain & 0x1F,
            _ if shift => shifted,
            _ => plain,
        };
        (typed != 0).then_some(typed)
    }
}

/// There are two of each, left and right.
fn held(keys: &mut u8, right: bool, pressed: bool) -> Option<u8> {
    let key = if right { 2 } else { 1 };
    *keys = if pressed { *keys | key } else { *keys & !key };
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut event = vec![0xEE; EVENT_BYTES - 8];
        event.extend(kind.to_ne_bytes());
        event.extend(code.to_ne_bytes());
        event.extend(value.to_ne_bytes());
        event
    }

    fn key(code: u16, value: i32) -> Vec<u8> {
        // As the kernel sends it: the scan code before, the report after.
        [event(4, 4, 0x7001E), event(EV_KEY, code, value), event(EV_SYN, 0, 0)].concat()
    }

    /// Presses and lets go of each; `(key, held while it is pressed)`.
    fn typing(keys: &[(u16, &[u16])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, modifiers) in keys {
            modifiers.iter().for_each(|modifier| bytes.extend(key(*modifier, 1)));
            bytes.extend([key(*code, 1), key(*code, 2), key(*code, 0)].concat());
            modifiers.iter().for_each(|modifier| bytes.extend(key(*modifier, 0)));
        }
        bytes
    }

    async fn typed(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        Keyboard::new(bytes).read_to_end(&mut all).await.map(|_| all)
    }

    const SHIFT: &[u16] = &[42];

    #[tokio::test]
    async fn keys_type_what_a_us_keyboard_types() {
        // ]C1 01 aZ, then Enter.
        let bytes = typing(&[
            (27, &[]),
            (46, SHIFT),
            (2, &[]),
            (11, &[]),
            (2, &[]),
            (30, &[]),
            (44, &[54]),
            (28, &[]),
        ]);
        assert_eq!(typed(&bytes).await.unwrap(), b"]C101aZ\r");
        // With caps lock, letters change and digits do not; Shift turns it round.
        let bytes = typing(&[(58, &[]), (30, &[]), (2, &[]), (30, SHIFT), (58, &[]), (30, &[])]);
        assert_eq!(typed(&bytes).await.unwrap(), b"A1aa");
        let bytes =
            typing(&[(12, SHIFT), (43, SHIFT), (53, SHIFT), (79, &[]), (82, &[]), (96, &[])]);
        assert_eq!(typed(&bytes).await.unwrap(), b"_|?10\r");
    }

    #[tokio::test]
    async fn the_separators_are_typed_in_the_ways_of_scanners() {
        let control: &[u16] = &[29];
        let bytes = typing(&[
            (27, control),
            (66, &[]),
            (88, &[]),
            (7, &[29, 42]),
            (43, control),
            (32, control),
        ]);
        assert_eq!(typed(&bytes).await.unwrap(), b"\x1d\x1d\x1d\x1e\x1c\x04");
        let digits = [typing(&[(82, &[]), (80, &[]), (73, &[])])].concat();
        let alt = [key(56, 1), digits, key(56, 0), typing(&[(2, &[])])].concat();
        assert_eq!(typed(&alt).await.unwrap(), b"\x1d1");
    }

    #[tokio::test]
    async fn events_may_come_in_pieces_and_lost_ones_are_an_error() {
        let bytes = typing(&[(30, &[]), (48, &[]), (28, &[])]);
        let (mut near, far) = tokio::io::duplex(7);
        let feed = async move {
            tokio::io::AsyncWriteExt::write_all(&mut near, &bytes).await.unwrap();
        };
        let mut all = Vec::new();
        let mut keyboard = Keyboard::new(far);
        let (read, ()) = tokio::join!(keyboard.read_to_end(&mut all), feed);
        assert_eq!((read.unwrap(), all.as_slice()), (3, &b"ab\r"[..]));

        let lost = [typing(&[(30, &[])]), event(EV_SYN, SYN_DROPPED, 0)].concat();
        assert!(typed(&lost).await.is_err());
    }

    #[test]
    fn no_events_make_it_fail() {
        let mut noise = fastrand::Rng::with_seed(7);
        let mut keys = Keys::default();
        for _ in 0..100_000 {
            keys.turn(noise.u16(..200), noise.i32(-1..4));
        }
    }
}
