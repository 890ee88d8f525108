//! Scanners that act as keyboards: translates key events of an event device (`linux/input.h`) into
//! text.
//!
//! The layout is US, the factory setting of scanners. GS has no key: scanners send Ctrl+], F8, F12,
//! or Alt with 029 on the keypad. The device is grabbed, so that the input does not reach a
//! console.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;

/// Size of `struct input_event`: two words of time, two bytes each of type and code, four bytes of
/// value.
const EVENT_BYTES: usize = 2 * size_of::<usize>() + 8;

/// Maximum events per read. A scanner produces six per character.
const READ_EVENTS: usize = 32;

/// `O_NONBLOCK` on every Linux architecture that Rust supports except MIPS and SPARC.
const NONBLOCKING: i32 = 0o4000;

const EV_SYN: u16 = 0;
const SYN_DROPPED: u16 = 3;
const EV_KEY: u16 = 1;

const GS: u8 = 0x1D;

/// Characters of the keys 2 to 57, without and with Shift; 0 for none.
const PLAIN: &[u8; 56] = b"1234567890-=\x08\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
const SHIFTED: &[u8; 56] = b"!@#$%^&*()_+\x08\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

/// Characters of the keypad, keys 71 to 83.
const KEYPAD: &[u8; 13] = b"789-456+1230.";

/// A grabbed event device; no other program receives its events.
#[derive(Debug)]
pub(super) struct GrabbedKeyboard {
    keyboard: Keyboard<pipe::Receiver>,
    /// Releases the device when dropped.
    _device: evdev::Device,
}

impl GrabbedKeyboard {
    /// Opens and grabs the event device at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).custom_flags(NONBLOCKING).open(path)?;
        let mut device = evdev::Device::from_fd(file.try_clone()?.into())?;
        device.grab()?;
        // The device is not a pipe, but is polled in the same way.
        let keyboard = Keyboard::new(pipe::Receiver::from_file_unchecked(file)?);
        Ok(Self { keyboard, _device: device })
    }
}

impl AsyncRead for GrabbedKeyboard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.keyboard).poll_read(context, buffer)
    }
}

/// Reads events and returns the characters that they produce.
#[derive(Debug)]
pub(super) struct Keyboard<R> {
    events: R,
    keys: KeyState,
    /// Incomplete event.
    partial: Vec<u8>,
    /// Characters not read yet.
    typed: Vec<u8>,
}

impl<R> Keyboard<R> {
    pub(super) fn new(events: R) -> Self {
        Self { events, keys: KeyState::default(), partial: Vec::new(), typed: Vec::new() }
    }

    fn decode_events(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.partial.extend_from_slice(bytes);
        let whole = self.partial.len() / EVENT_BYTES * EVENT_BYTES;
        for event in self.partial.drain(..whole).as_slice().chunks_exact(EVENT_BYTES) {
            let [.., t0, t1, c0, c1, v0, v1, v2, v3] = *event else { continue };
            let (kind, code) = (u16::from_ne_bytes([t0, t1]), u16::from_ne_bytes([c0, c1]));
            match (kind, code, i32::from_ne_bytes([v0, v1, v2, v3])) {
                // A part of the current code is missing.
                (EV_SYN, SYN_DROPPED, _) => return Err(io::Error::other("key events were lost")),
                (EV_KEY, code, value) => self.typed.extend(self.keys.on_key(code, value)),
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
            self.decode_events(read.filled())?;
        }
        let count = self.typed.len().min(buffer.remaining());
        buffer.put_slice(&self.typed[..count]);
        self.typed.drain(..count);
        Poll::Ready(Ok(()))
    }
}

/// State of the modifier keys.
#[derive(Debug, Default)]
struct KeyState {
    shift: u8,
    control: u8,
    caps_lock: bool,
    /// The number entered on the keypad while Alt is pressed.
    alt: Option<u8>,
}

impl KeyState {
    /// Returns the character of a key event. `value` is 1 for press, 2 for repeat, 0 for release.
    fn on_key(&mut self, code: u16, value: i32) -> Option<u8> {
        let pressed = value == 1;
        match code {
            _ if value == 2 => None,
            42 | 54 => set_modifier(&mut self.shift, code == 54, pressed),
            29 | 97 => set_modifier(&mut self.control, code == 97, pressed),
            56 | 100 => {
                let typed = self.alt.take().filter(|typed| *typed != 0);
                self.alt = pressed.then_some(0);
                typed
            }
            58 if pressed => {
                self.caps_lock = !self.caps_lock;
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
        let shift = (self.shift != 0) != (self.caps_lock && plain.is_ascii_lowercase());
        let typed = match (self.control != 0, plain) {
            // Ctrl+6 is RS and Ctrl+- is US, from the shifted characters ^ and _.
            (true, b'6' | b'-') => shifted & 0x1F,
            (true, b'a'..=b'z' | b'[' | b']' | b'\\') => plain & 0x1F,
            _ if shift => shifted,
            _ => plain,
        };
        (typed != 0).then_some(typed)
    }
}

/// Updates a modifier that has a left and a right key.
fn set_modifier(keys: &mut u8, right: bool, pressed: bool) -> Option<u8> {
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
        // As sent by the kernel: a scan code, the key, a report.
        [event(4, 4, 0x7001E), event(EV_KEY, code, value), event(EV_SYN, 0, 0)].concat()
    }

    /// Presses and releases each key; `(key, modifiers pressed meanwhile)`.
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
        // Caps lock affects letters but not digits; Shift inverts it.
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
        let mut keys = KeyState::default();
        for _ in 0..100_000 {
            keys.on_key(noise.u16(..200), noise.i32(-1..4));
        }
    }
}
