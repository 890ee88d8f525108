//! Assembles lines from the bytes of a scanner (sans-I/O).
//!
//! A line ends at CR or LF, or after [`IDLE`] without a byte, since not every scanner is set up to
//! terminate its codes. Enclosing STX and ETX are removed; GS, RS, EOT and other characters within
//! a code are kept (ISO/IEC 15434, GS1 General Specifications §7.8).

use std::time::Duration;

use waypost_model::units::Uptime;

/// Silence that ends a line: longer than the gap between two characters, shorter than between two
/// codes.
const IDLE_TIMEOUT: Duration = Duration::from_millis(80);

/// Maximum length of a line in bytes. PDF417 holds 1850 letters, Data Matrix 2335, QR 4296; labels
/// use about a tenth of that.
pub(super) const MAX_LINE_BYTES: usize = 4096;

const STX: u8 = 0x02;
const ETX: u8 = 0x03;

/// Result of assembling a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AssembledLine {
    /// A line of 1 to [`MAX_LINE`] bytes, without its terminator.
    Line(Vec<u8>),
    /// A longer line, discarded up to its end.
    TooLong,
}

/// Assembler of one scanner. It buffers at most [`MAX_LINE`] bytes.
#[derive(Debug, Default)]
pub(super) struct LineAssembler {
    line: Vec<u8>,
    overlong: bool,
    /// Time of the newest byte of an unfinished line.
    newest_at: Option<Uptime>,
}

impl LineAssembler {
    /// Processes bytes that were read at `at`.
    pub(super) fn push(&mut self, bytes: &[u8], at: Uptime, mut take: impl FnMut(AssembledLine)) {
        if let Some(ended) = self.tick(at) {
            take(ended);
        }
        for byte in bytes {
            if matches!(byte, b'\r' | b'\n') {
                if let Some(ended) = self.finish_line() {
                    take(ended);
                }
            } else if self.line.len() < MAX_LINE_BYTES && !self.overlong {
                self.line.push(*byte);
                self.newest_at = Some(at);
            } else {
                self.overlong = true;
                self.line.clear();
                self.newest_at = Some(at);
            }
        }
    }

    /// Time at which an unfinished line ends.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        self.newest_at.map(|at| at + IDLE_TIMEOUT)
    }

    /// Returns the line that ends because no byte followed.
    pub(super) fn tick(&mut self, now: Uptime) -> Option<AssembledLine> {
        self.deadline().filter(|deadline| now >= *deadline)?;
        self.finish_line()
    }

    /// Ends the current line and returns it.
    pub(super) fn finish_line(&mut self) -> Option<AssembledLine> {
        self.newest_at = None;
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.overlong) {
            return Some(AssembledLine::TooLong);
        }
        let is_frame = |byte: &u8| matches!(*byte, STX | ETX);
        let begin = line.iter().position(|byte| !is_frame(byte))?;
        let end = line.iter().rposition(|byte| !is_frame(byte))?;
        Some(AssembledLine::Line(line[begin..=end].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    /// Lines assembled from chunks at these times, including a line that ends 80 ms after the last.
    fn assembled(chunks: &[(u64, &[u8])]) -> Vec<AssembledLine> {
        let (mut assembler, mut all) = (LineAssembler::default(), Vec::new());
        for (ms, bytes) in chunks {
            assembler.push(bytes, at(*ms), |one| all.push(one));
        }
        let end = chunks.last().map_or(0, |(ms, _)| ms + 80);
        all.extend(assembler.tick(at(end)));
        assert_eq!(assembler.deadline(), None);
        all
    }

    fn lines(chunks: &[(u64, &[u8])]) -> Vec<Vec<u8>> {
        let line = |one| match one {
            AssembledLine::Line(line) => line,
            AssembledLine::TooLong => panic!("too long"),
        };
        assembled(chunks).into_iter().map(line).collect()
    }

    #[test]
    fn a_code_ends_at_cr_at_lf_at_both_or_when_nothing_comes() {
        for (chunks, expected) in [
            (&[(0, &b"ABC\rDEF\r"[..])][..], &[&b"ABC"[..], b"DEF"][..]),
            (&[(0, b"ABC\nDEF\n")], &[b"ABC", b"DEF"]),
            (&[(0, b"ABC\r\nDEF\r\n")], &[b"ABC", b"DEF"]),
            (&[(0, b"ABC\r"), (5, b"\nDEF\r\n")], &[b"ABC", b"DEF"]),
            (&[(0, b"AB"), (79, b"C\r")], &[b"ABC"]),
            (&[(0, b"ABC"), (80, b"DEF")], &[b"ABC", b"DEF"]),
            (&[(0, b"\r\n\r\n")], &[]),
            (&[(0, b"\x02ABC\x03"), (100, b"\x02DEF\x03")], &[b"ABC", b"DEF"]),
            (&[(0, b"\x02ABC\r\n\x03\x02DEF\r\n\x03")], &[b"ABC", b"DEF"]),
        ] {
            assert_eq!(lines(chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn separators_and_controls_within_a_code_stay() {
        let code = b"]d2\x1d1C\x1c1E\x1e\x04\x03\x11\x13Z";
        assert_eq!(lines(&[(0, &[code, &b"\r\n"[..]].concat())]), [code.to_vec()]);
    }

    #[test]
    fn a_line_without_end_is_thrown_away_to_its_end_and_counts_once() {
        let (longest, longer) = (vec![b'A'; MAX_LINE_BYTES], vec![b'B'; 5 * MAX_LINE_BYTES]);
        let bytes = [&longest, &b"\r"[..], &longer, b"\rC\r"].concat();
        let expected = [
            AssembledLine::Line(longest),
            AssembledLine::TooLong,
            AssembledLine::Line(b"C".to_vec()),
        ];
        assert_eq!(assembled(&[(0, &bytes)]), expected);
    }

    proptest! {
        #[test]
        fn no_flood_grows_and_no_chunking_matters(bytes: Vec<u8>, cut in 0_usize..64) {
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            let mut assembler = LineAssembler::default();
            assembler.push(&bytes, at(0), |one| whole.push(one));
            whole.extend(assembler.finish_line());
            for part in bytes.chunks(cut + 1) {
                assembler.push(part, at(0), |one| parts.push(one));
                prop_assert!(assembler.line.len() <= MAX_LINE_BYTES);
            }
            parts.extend(assembler.finish_line());
            prop_assert_eq!(whole, parts);
        }
    }
}
