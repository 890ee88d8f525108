//! A recorded log as (Uptime, bytes), timed by its own UTC.
//!
//! The bytes of one epoch come at one time. Lines that begin with `#` are comments, as in gpsd's recordings; of these
//! the header `# Date: YYYY-MM-DD` says when the recording was made.

use std::io::{self, BufRead};
use std::time::Duration;

use super::Chunk;
use crate::core::epoch::SAME_INSTANT_MS;
use crate::core::framing::Framer;
use crate::core::sentence::Sentence;
use crate::units::{Date, TimeOfDay, Uptime};

/// No sentence is as long; a binary log without line ends is read in pieces of this size.
const MAX_LINE_BYTES: usize = 4096;

/// An epoch is smaller; what is longer is handed on in pieces.
const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// A gap that is longer was no drive: the recording was stopped and went on later.
const MAX_GAP: Duration = Duration::from_hours(1);

/// Reads a recorded log.
#[derive(Debug)]
pub struct RecordedLog<R> {
    reader: R,
    line: Vec<u8>,
    /// The chunk that is being gathered.
    gathered: Vec<u8>,
    framer: Framer,
    at: Uptime,
    time: Option<TimeOfDay>,
}

impl<R: BufRead> RecordedLog<R> {
    /// Reads from the beginning, which is [`Uptime::ZERO`].
    pub fn new(reader: R) -> Self {
        let framer = Framer::default();
        Self {
            reader,
            line: Vec::new(),
            gathered: Vec::new(),
            framer,
            at: Uptime::ZERO,
            time: None,
        }
    }

    /// Reads the next chunk; `None` at the end.
    ///
    /// # Errors
    /// Whatever the reader gives; [`io::ErrorKind::UnexpectedEof`] never.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        loop {
            self.line.clear();
            if self.read_line()? == 0 {
                return Ok(self.take_chunk(self.at));
            }
            if self.line.starts_with(b"#") {
                continue;
            }
            let before = self.at;
            self.advance();
            let full = self.gathered.len() + self.line.len() > MAX_CHUNK_BYTES;
            let chunk = if self.at != before || full { self.take_chunk(before) } else { None };
            self.gathered.append(&mut self.line);
            if chunk.is_some() {
                return Ok(chunk);
            }
        }
    }

    /// Up to and with the next CR or LF: some old recordings have CR alone.
    fn read_line(&mut self) -> io::Result<usize> {
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            let some = &buffer[..buffer.len().min(MAX_LINE_BYTES - self.line.len())];
            let end = some.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let count = end.map_or(some.len(), |end| end + 1);
            self.line.extend_from_slice(&some[..count]);
            self.reader.consume(count);
            if end.is_some() || count == 0 {
                return Ok(self.line.len());
            }
        }
    }

    fn take_chunk(&mut self, at: Uptime) -> Option<Chunk> {
        (!self.gathered.is_empty()).then(|| Chunk { bytes: std::mem::take(&mut self.gathered), at })
    }

    /// Moves the time on to that of the line, if it has one.
    fn advance(&mut self) {
        let mut newest = None;
        self.framer.push(&self.line, self.at, |line, _| {
            newest =
                Sentence::parse(line).ok().and_then(|sentence| sentence.content.time()).or(newest);
        });
        let Some(time) = newest else { return };
        let passed_ms = self.time.map_or(0, |before| time.millis_since(before));
        if passed_ms.abs() <= SAME_INSTANT_MS && self.time.is_some() {
            return;
        }
        self.time = Some(time);
        let passed = u64::try_from(passed_ms).map(Duration::from_millis);
        self.at = self.at + passed.ok().filter(|passed| *passed <= MAX_GAP).unwrap_or_default();
    }
}

/// The `# Date:` in the comments before the first sentence.
///
/// # Errors
/// Whatever the reader gives.
pub fn header_date(reader: impl BufRead) -> io::Result<Option<Date>> {
    let mut lines = reader.take(MAX_LINE_BYTES as u64).split(b'\n');
    while let Some(line) = lines.next().transpose()?.filter(|line| line.starts_with(b"#")) {
        if let Some(date) = date_header(&line) {
            return Ok(Some(date));
        }
    }
    Ok(None)
}

/// `# Date: 2019-04-06`, with month and day optional, as gpsd's test driver reads it.
fn date_header(line: &[u8]) -> Option<Date> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("# Date:")?.trim_start();
    let text = text.split(|c: char| c != '-' && !c.is_ascii_digit()).next()?;
    let mut parts = text.split('-').map(str::parse::<u32>);
    let year = i32::try_from(parts.next()?.ok()?).ok()?;
    let mut part = || parts.next().map_or(Some(1), Result::ok);
    Date::new(year, part()?, part()?)
}
