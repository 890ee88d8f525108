//! Splits a serial byte stream into NMEA lines and skips everything else.
//!
//! A line starts at any `$` and ends before CR, LF or the next `$` (NMEA 0183 v4.11 §5.3). Partial
//! lines, noise from a wrong baud rate and binary frames of mixed receivers therefore damage only
//! themselves. Memory use is one buffer of [`MAX_LINE`] bytes, allocated once.

use waypost_model::units::Uptime;

/// Maximum line length in bytes; longer lines are dropped. NMEA 0183 allows 82, and real receivers
/// send up to 120.
pub const MAX_LINE: usize = 256;

/// Splits bytes into lines.
#[derive(Debug)]
pub struct Framer {
    line: Vec<u8>,
    /// Read time of the current line's `$`; `None` between lines.
    started_at: Option<Uptime>,
    counters: FramingCounters,
}

/// Counters of received bytes and lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramingCounters {
    /// Bytes received.
    pub bytes: u64,
    /// Complete lines.
    pub lines: u64,
    /// Lines dropped because they were too long or contained a byte outside printable ASCII.
    pub broken: u64,
}

impl Default for Framer {
    fn default() -> Self {
        Self {
            line: Vec::with_capacity(MAX_LINE),
            started_at: None,
            counters: FramingCounters::default(),
        }
    }
}

impl Framer {
    /// Processes received bytes and passes each complete line to `line`, with the read time of its
    /// first byte. A line has at most [`MAX_LINE`] bytes of printable ASCII, including `$`, without
    /// the terminator.
    pub fn push(&mut self, bytes: &[u8], at: Uptime, mut line: impl FnMut(&[u8], Uptime)) {
        self.counters.bytes += bytes.len() as u64;
        for &byte in bytes {
            match byte {
                b'$' => {
                    self.end_line(&mut line);
                    self.line.push(byte);
                    self.started_at = Some(at);
                }
                b'\r' | b'\n' => self.end_line(&mut line),
                b' '..=b'~' if self.started_at.is_none() => {}
                b' '..=b'~' if self.line.len() < MAX_LINE => self.line.push(byte),
                _ => self.abandon_line(),
            }
        }
    }

    /// Passes on the unterminated line at the end of the input or when the device disconnects.
    pub fn finish(&mut self, mut line: impl FnMut(&[u8], Uptime)) {
        self.end_line(&mut line);
    }

    #[must_use]
    pub const fn counters(&self) -> FramingCounters {
        self.counters
    }

    fn end_line(&mut self, line: &mut impl FnMut(&[u8], Uptime)) {
        if let Some(began) = self.started_at.take() {
            self.counters.lines += 1;
            line(&self.line, began);
        }
        self.line.clear();
    }

    fn abandon_line(&mut self) {
        if self.started_at.take().is_some() {
            self.counters.broken += 1;
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut framer = Framer::default();
        let mut lines = Vec::new();
        let mut keep = |line: &[u8], _| lines.push(String::from_utf8(line.to_vec()).unwrap());
        framer.push(bytes, Uptime::ZERO, &mut keep);
        framer.finish(&mut keep);
        lines
    }

    #[test]
    fn a_sentence_is_found_between_whatever_surrounds_it() {
        let cases: &[(&[u8], &[&str])] = &[
            (b"$A*00\r\n$B*00\r\n", &["$A*00", "$B*00"]),
            (b"$A*00\n$B*00\r\r\n", &["$A*00", "$B*00"]),
            (b"noise$A*00$B*00", &["$A*00", "$B*00"]),
            (b"half of a senten$A*00\r\n", &["$A*00"]),
            (b"$A*00\r\n\xb5\x62\x01\x07$B*00\r\n", &["$A*00", "$B*00"]),
            (b"$A\xff\xfe broken\r\n$B*00\r\n", &["$B*00"]),
            (b"\r\n\r\n", &[]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(lines(bytes), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_line_without_end_costs_a_fixed_buffer_and_is_counted() {
        let mut framer = Framer::default();
        let flood = [b"$".as_slice(), &[b'A'; 100_000]].concat();
        framer.push(&flood, Uptime::ZERO, |_, _| panic!("not a line"));
        assert_eq!(framer.counters().broken, 1);
        assert_eq!(framer.line.capacity(), MAX_LINE);
    }
}
