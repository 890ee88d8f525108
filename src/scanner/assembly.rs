//! Bytes of a scanner → what it read, line by line (pure: time is an argument).
//!
//! A line ends at CR or LF, or when nothing came for [`IDLE`]: not every scanner is set up to end a code. STX and ETX
//! around it are the frame and no part of it; GS, RS, EOT and all else within are (ISO/IEC 15434, GS1 General
//! Specifications §7.8).

use std::time::Duration;

use crate::units::Uptime;

/// Between two codes is more time than this, and between two characters of one less.
const IDLE: Duration = Duration::from_millis(80);

/// PDF417 holds 1850 letters, Data Matrix 2335, QR 4296; what stands on labels is a tenth of that.
pub(super) const MAX_LINE: usize = 4096;

const STX: u8 = 0x02;
const ETX: u8 = 0x03;

/// A line, or something that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Assembled {
    /// 1..=[`MAX_LINE`] bytes without their ends.
    Line(Vec<u8>),
    /// Longer than that: thrown away to its end.
    TooLong,
}

/// Holds what came of a line so far: [`MAX_LINE`] bytes at the most.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    line: Vec<u8>,
    overlong: bool,
    /// When the newest byte of an open line came.
    newest_at: Option<Uptime>,
}

impl Assembler {
    /// Takes what came at `at`.
    pub(super) fn push(&mut self, bytes: &[u8], at: Uptime, mut take: impl FnMut(Assembled)) {
        if let Some(ended) = self.tick(at) {
            take(ended);
        }
        for byte in bytes {
            if matches!(byte, b'\r' | b'\n') {
                if let Some(ended) = self.end() {
                    take(ended);
                }
            } else if self.line.len() < MAX_LINE && !self.overlong {
                self.line.push(*byte);
                self.newest_at = Some(at);
            } else {
                self.overlong = true;
                self.line.clear();
                self.newest_at = Some(at);
            }
        }
    }

    /// When an open line ends by itself.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        self.newest_at.map(|at| at + IDLE)
    }

    /// The line that has ended because nothing came.
    pub(super) fn tick(&mut self, now: Uptime) -> Option<Assembled> {
        self.deadline().filter(|deadline| now >= *deadline)?;
        self.end()
    }

    /// The line that is open, as it is.
    pub(super) fn end(&mut self) -> Option<Assembled> {
        self.newest_at = None;
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.overlong) {
            return Some(Assembled::TooLong);
        }
        let is_frame = |byte: &u8| matches!(*byte, STX | ETX);
        let begin = line.iter().position(|byte| !is_frame(byte))?;
        let end = line.iter().rposition(|byte| !is_frame(byte))?;
        Some(Assembled::Line(line[begin..=end].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    /// What chunks at these times give, and what is open 80 ms later.
    fn assembled(chunks: &[(u64, &[u8])]) -> Vec<Assembled> {
        let (mut assembler, mut all) = (Assembler::default(), Vec::new());
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
            Assembled::Line(line) => line,
            Assembled::TooLong => panic!("too long"),
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
        let (longest, longer) = (vec![b'A'; MAX_LINE], vec![b'B'; 5 * MAX_LINE]);
        let bytes = [&longest, &b"\r"[..], &longer, b"\rC\r"].concat();
        let expected =
            [Assembled::Line(longest), Assembled::TooLong, Assembled::Line(b"C".to_vec())];
        assert_eq!(assembled(&[(0, &bytes)]), expected);
    }

    proptest! {
        #[test]
        fn no_flood_grows_and_no_chunking_matters(bytes: Vec<u8>, cut in 0_usize..64) {
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            let mut assembler = Assembler::default();
            assembler.push(&bytes, at(0), |one| whole.push(one));
            whole.extend(assembler.end());
            for part in bytes.chunks(cut + 1) {
                assembler.push(part, at(0), |one| parts.push(one));
                prop_assert!(assembler.line.len() <= MAX_LINE);
            }
            parts.extend(assembler.end());
            prop_assert_eq!(whole, parts);
        }
    }
}
