//! Lines of one scanner → what is worth saying: each code once (pure: time is an argument).
//!
//! A code that is held before the scanner is read again and again; it is one scan until it was away for
//! [`SAME_SCAN`]. A tag that lies in the van is read many times a second; it is said once for each [`WINDOW`], at its end.

use std::collections::VecDeque;
use std::time::Duration;

use super::ScannerKind;
use super::assembly::{Assembled, Assembler};
use super::pattern::{TagPattern, TagRead};
use crate::units::Uptime;

/// The same code within this time of its last reading is the same scan.
const SAME_SCAN: Duration = Duration::from_secs(2);

/// A tag is said once in this time. Four of them fit into the time after which a tag that is not said is missed.
const WINDOW: Duration = Duration::from_secs(5);

/// How many different codes are remembered: nobody scans more in two seconds.
const MAX_RECENT: usize = 16;

/// How many tags may be read in a window; with one more, the oldest window ends early.
const MAX_TAGS: usize = 512;

/// Something that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The code as the scanner sent it; of a tag, its EPC in upper-case hexadecimal.
    pub(super) bytes: Vec<u8>,
    /// The strongest of the window, dBm.
    pub(super) rssi: Option<i8>,
    /// Of the strongest.
    pub(super) antenna: Option<u8>,
    /// How often it was read.
    pub(super) reads: u32,
}

/// What comes from one scanner, whether it is plugged in or not.
#[derive(Debug)]
pub(super) struct Readings {
    assembler: Assembler,
    sort: Sort,
    garbage: u64,
}

#[derive(Debug)]
enum Sort {
    Barcodes(Recent),
    Tags(TagPattern, Windows),
}

impl Readings {
    pub(super) fn new(kind: &ScannerKind) -> Self {
        let sort = match kind {
            ScannerKind::Barcode => Sort::Barcodes(Recent::default()),
            ScannerKind::Rfid(pattern) => Sort::Tags(pattern.clone(), Windows::default()),
        };
        Self { assembler: Assembler::default(), sort, garbage: 0 }
    }

    /// Lines so far that were no code and no tag.
    pub(super) fn garbage(&self) -> u64 {
        self.garbage
    }

    /// What is to be said after these bytes.
    pub(super) fn push(&mut self, bytes: &[u8], at: Uptime) -> Vec<Reading> {
        let mut said = self.tick(at);
        let Self { assembler, sort, garbage } = self;
        assembler.push(bytes, at, |one| sort.take(one, at, garbage, &mut said));
        said
    }

    /// When [`Self::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        let window = match &self.sort {
            Sort::Barcodes(_) => None,
            Sort::Tags(_, windows) => windows.deadline(),
        };
        [self.assembler.deadline(), window].into_iter().flatten().min()
    }

    /// What is to be said because time has passed.
    pub(super) fn tick(&mut self, now: Uptime) -> Vec<Reading> {
        let mut said = Vec::new();
        if let Some(ended) = self.assembler.tick(now) {
            self.sort.take(ended, now, &mut self.garbage, &mut said);
        }
        if let Sort::Tags(_, windows) = &mut self.sort {
            windows.close(Some(now), &mut said);
        }
        said
    }

    /// The scanner is gone. A line that had not ended may be cut, and half a number is another number.
    pub(super) fn interrupt(&mut self) -> Vec<Reading> {
        let mut said = Vec::new();
        self.garbage += u64::from(self.assembler.end().is_some());
        if let Sort::Tags(_, windows) = &mut self.sort {
            windows.close(None, &mut said);
        }
        said
    }
}

impl Sort {
    fn take(&mut self, one: Assembled, at: Uptime, garbage: &mut u64, said: &mut Vec<Reading>) {
        match (self, one) {
            (Self::Barcodes(recent), Assembled::Line(line)) if is_code(&line) => {
                if recent.is_new(&line, at) {
                    said.push(Reading { bytes: line, rssi: None, antenna: None, reads: 1 });
                }
            }
            (Self::Tags(pattern, windows), Assembled::Line(line)) => match pattern.read(&line) {
                Some(tag) => windows.take(tag, at, said),
                None => *garbage += 1,
            },
            (_, Assembled::TooLong | Assembled::Line(_)) => *garbage += 1,
        }
    }
}

/// Noise of a line at a wrong speed is printable for a third at the most. A code may have letters of any alphabet, and
/// the separators of ISO/IEC 15434.
fn is_code(line: &[u8]) -> bool {
    let (text, all) = match std::str::from_utf8(line) {
        Ok(line) => {
            let is_text = |c: &char| !c.is_control() || matches!(c, '\u{4}' | '\u{1C}'..='\u{1F}');
            (line.chars().filter(is_text).count(), line.chars().count())
        }
        Err(_) => (line.iter().filter(|byte| matches!(byte, b' '..=b'~')).count(), line.len()),
    };
    line.iter().any(u8::is_ascii_graphic) && text * 4 >= all * 3
}

/// The codes that were read lately.
#[derive(Debug, Default)]
struct Recent {
    codes: VecDeque<(Vec<u8>, Uptime)>,
}

impl Recent {
    fn is_new(&mut self, code: &[u8], at: Uptime) -> bool {
        self.codes.retain(|(_, read_at)| at.since(*read_at) < SAME_SCAN);
        if let Some((_, read_at)) = self.codes.iter_mut().find(|(known, _)| known == code) {
            *read_at = at;
            return false;
        }
        if self.codes.len() == MAX_RECENT {
            self.codes.pop_front();
        }
        self.codes.push_back((code.to_vec(), at));
        true
    }
}

/// The tags that are being read, in the order in which their windows began.
#[derive(Debug, Default)]
struct Windows {
    open: VecDeque<(Uptime, Reading)>,
}

impl Windows {
    fn take(&mut self, tag: TagRead, at: Uptime, said: &mut Vec<Reading>) {
        let TagRead { epc, rssi, antenna, count } = tag;
        let same = |(_, reading): &&mut (Uptime, Reading)| reading.bytes == epc.as_bytes();
        if let Some((_, reading)) = self.open.iter_mut().find(same) {
            reading.reads = reading.reads.saturating_add(count);
            if rssi > reading.rssi {
                (reading.rssi, reading.antenna) = (rssi, antenna);
            }
            return;
        }
        if self.open.len() == MAX_TAGS {
            said.extend(self.open.pop_front().map(|(_, reading)| reading));
        }
        let reading = Reading { bytes: epc.into_bytes(), rssi, antenna, reads: count };
        self.open.push_back((at, reading));
    }

    fn deadline(&self) -> Option<Uptime> {
        self.open.front().map(|(began, _)| *began + WINDOW)
    }

    /// Ends the windows that are over at `now`, or all.
    fn close(&mut self, now: Option<Uptime>, said: &mut Vec<Reading>) {
        let is_over = |began: Uptime| now.is_none_or(|now| now.since(began) >= WINDOW);
        while self.open.front().is_some_and(|(began, _)| is_over(*began)) {
            said.extend(self.open.pop_front().map(|(_, reading)| reading));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    fn barcodes() -> Readings {
        Readings::new(&ScannerKind::Barcode)
    }

    fn tags(pattern: &str) -> Readings {
        Readings::new(&ScannerKind::Rfid(TagPattern::new(pattern).unwrap()))
    }

    fn texts(readings: &[Reading]) -> Vec<&str> {
        readings.iter().map(|reading| std::str::from_utf8(&reading.bytes).unwrap()).collect()
    }

    #[test]
    fn a_code_that_is_held_before_the_scanner_is_one_scan_until_it_was_away_for_two_seconds() {
        let mut readings = barcodes();
        for (ms, code, is_said) in [
            (0, "A", true),
            (300, "A", false),
            (400, "B", true),
            (2200, "A", false),
            (4100, "A", false),
            (6100, "A", true),
            (6200, "B", true),
        ] {
            let said = readings.push(format!("{code}\r").as_bytes(), at(ms));
            assert_eq!(said.len(), usize::from(is_said), "{code} at {ms}");
        }
    }

    #[test]
    fn a_code_without_end_is_said_when_nothing_comes_and_half_a_code_never() {
        let mut readings = barcodes();
        assert_eq!(readings.push(b"JD01", at(0)), []);
        assert_eq!(readings.deadline(), Some(at(80)));
        assert_eq!(texts(&readings.tick(at(80))), ["JD01"]);
        readings.push(b"JD0200", at(1000));
        assert_eq!(readings.interrupt(), []);
        assert_eq!((readings.deadline(), readings.garbage()), (None, 1));
    }

    #[test]
    fn noise_is_counted_and_not_said() {
        let mut readings = barcodes();
        let said = readings.push(b"\xe7\x80\xff\x00\x86A\r\x1d\x1d\r\x00\x00\r", at(0));
        assert_eq!((said, readings.garbage()), (Vec::new(), 3));
        assert_eq!(readings.push("STRASSE ÄÖ\r".as_bytes(), at(10)).len(), 1);
        let garbage = vec![0xA5; 1 << 20];
        assert_eq!((readings.push(&garbage, at(20)).len(), readings.garbage()), (0, 3));
    }

    #[test]
    fn a_tag_is_said_once_a_window_with_its_count_and_its_strongest_reading() {
        let mut readings = tags("key-value");
        let epc = "3174257BF4499602D2000000";
        for (ms, rssi, antenna) in [(0, -70, 1), (3000, -48, 2), (4999, -60, 1)] {
            let line = format!("EPC:{epc},RSSI:{rssi},ANT:{antenna}\r\n");
            assert_eq!(readings.push(line.as_bytes(), at(ms)), [], "{ms}");
        }
        assert_eq!(readings.deadline(), Some(at(5000)));
        let bytes = epc.as_bytes().to_vec();
        let strongest = Reading { bytes, rssi: Some(-48), antenna: Some(2), reads: 3 };
        assert_eq!(readings.tick(at(5000)), [strongest]);
        assert_eq!(readings.deadline(), None);
        readings.push(format!("EPC:{epc}\r\n").as_bytes(), at(11_000));
        let again = readings.interrupt();
        assert_eq!((texts(&again), again[0].reads), (vec![epc], 1), "what was read is not lost");
    }

    #[test]
    fn the_readers_own_count_counts() {
        let mut readings = tags("count");
        readings
            .push(b"3174257BF4499602D2000000;4;-61\r\n3174257BF4499602D2000000;3;-65\r\n", at(0));
        let said = readings.tick(at(5000));
        assert_eq!((said[0].reads, said[0].rssi), (7, Some(-61)));
    }

    #[test]
    fn more_tags_than_a_van_holds_end_the_oldest_window_and_take_no_more_memory() {
        let mut readings = tags("bare");
        let mut said = 0;
        for tag in 0..5000_u64 {
            said += readings.push(format!("30{tag:022X}\r\n").as_bytes(), at(tag / 10)).len();
        }
        assert_eq!(said, 5000 - MAX_TAGS);
        assert_eq!(readings.tick(at(60_000)).len(), MAX_TAGS);
        assert_eq!(readings.push(b"noise\r\n", at(60_000)), []);
        assert_eq!(readings.garbage(), 1);
    }
}
