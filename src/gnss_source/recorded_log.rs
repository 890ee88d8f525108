//! Reads a recorded NMEA log as timed chunks, with times from its own UTC.
//!
//! All bytes of an epoch have the same time. Lines that begin with `#` are comments, as in gpsd's
//! recordings; the header `# Date: YYYY-MM-DD` gives the date of the recording.

use std::io::{self, BufRead};
use std::time::Duration;

use super::Chunk;
use waypost_model::units::{Date, TimeOfDay, Uptime};
use waypost_pipeline::epoch::SAME_INSTANT_MS;
use waypost_pipeline::framing::Framer;
use waypost_pipeline::sentence::Sentence;

/// Maximum length of a line, longer than any sentence. Binary data without line ends are read in
/// pieces of this size.
const MAX_LINE_BYTES: usize = 4096;

/// Maximum length of a chunk, larger than any epoch; longer data are split.
const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// Maximum gap that counts as time. In a longer gap the recording was stopped.
const MAX_GAP: Duration = Duration::from_hours(1);

/// Reader of a recorded log.
#[derive(Debug)]
pub struct RecordedLog<R> {
    reader: R,
    line: Vec<u8>,
    /// The chunk being collected.
    pending: Vec<u8>,
    framer: Framer,
    at: Uptime,
    time: Option<TimeOfDay>,
}

impl<R: BufRead> RecordedLog<R> {
    /// Creates a reader that starts at [`Uptime::ZERO`].
    pub fn new(reader: R) -> Self {
        let framer = Framer::default();
        Self { reader, line: Vec::new(), pending: Vec::new(), framer, at: Uptime::ZERO, time: None }
    }

    /// Reads the next chunk; `None` at the end.
    ///
    /// # Errors
    /// The reader failed. [`io::ErrorKind::UnexpectedEof`] is never returned.
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
            let full = self.pending.len() + self.line.len() > MAX_CHUNK_BYTES;
            let chunk = if self.at != before || full { self.take_chunk(before) } else { None };
            self.pending.append(&mut self.line);
            if chunk.is_some() {
                return Ok(chunk);
            }
        }
    }

    /// Reads up to and including the next CR or LF. Some old recordings use CR alone.
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
        (!self.pending.is_empty()).then(|| Chunk { bytes: std::mem::take(&mut self.pending), at })
    }

    /// Advances the time to that of the line, if it has one.
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

/// Reads the `# Date:` header from the comments before the first sentence.
///
/// # Errors
/// The reader failed.
pub fn header_date(reader: impl BufRead) -> io::Result<Option<Date>> {
    let mut lines = reader.take(MAX_LINE_BYTES as u64).split(b'\n');
    while let Some(line) = lines.next().transpose()?.filter(|line| line.starts_with(b"#")) {
        if let Some(date) = date_header(&line) {
            return Ok(Some(date));
        }
    }
    Ok(None)
}

/// Parses `# Date: 2019-04-06`, with optional month and day, as gpsd's test driver does.
fn date_header(line: &[u8]) -> Option<Date> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("# Date:")?.trim_start();
    let text = text.split(|c: char| c != '-' && !c.is_ascii_digit()).next()?;
    let mut parts = text.split('-').map(str::parse::<u32>);
    let year = i32::try_from(parts.next()?.ok()?).ok()?;
    let mut part = || parts.next().map_or(Some(1), Result::ok);
    Date::new(year, part()?, part()?)
}
