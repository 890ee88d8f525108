//! Deduplicates the codes and tags of one scanner (sans-I/O).
//!
//! A code in front of a scanner is read repeatedly; it counts as one scan until it was absent for
//! [`SAME_SCAN`]. A tag in the van is read many times per second; it is reported once per
//! [`WINDOW`], at its end.

use std::collections::VecDeque;
use std::time::Duration;

use super::ScannerKind;
use super::line_assembler::{AssembledLine, LineAssembler};
use super::rfid_pattern::{TagPattern, TagRead};
use waypost_model::units::Uptime;

/// A code that is read again within this time is a repetition of the same scan.
const REPEAT_WINDOW: Duration = Duration::from_secs(2);

/// Reporting interval of a tag. A quarter of the time after which a tag without a report counts as
/// missing.
const TAG_WINDOW: Duration = Duration::from_secs(5);

/// Maximum number of recent codes, more than a person scans in two seconds.
const MAX_RECENT: usize = 16;

/// Maximum number of open windows. One more ends the oldest early.
const MAX_TAGS: usize = 512;

/// A deduplicated read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DedupedRead {
    /// The code as sent by the scanner, or the EPC of a tag in upper-case hexadecimal.
    pub(super) bytes: Vec<u8>,
    /// Strongest signal of the window, dBm.
    pub(super) rssi: Option<i8>,
    /// Antenna of the strongest signal.
    pub(super) antenna: Option<u8>,
    /// Number of reads.
    pub(super) reads: u32,
}

/// Deduplication state of one scanner. It is kept while the scanner is disconnected.
#[derive(Debug)]
pub(super) struct ScanDedup {
    assembler: LineAssembler,
    kind: LineKind,
    garbage: u64,
}

#[derive(Debug)]
enum LineKind {
    Barcodes(RecentScans),
    Tags(TagPattern, TagWindows),
}

impl ScanDedup {
    pub(super) fn new(kind: &ScannerKind) -> Self {
        let kind = match kind {
            ScannerKind::Barcode => LineKind::Barcodes(RecentScans::default()),
            ScannerKind::Rfid(pattern) => LineKind::Tags(pattern.clone(), TagWindows::default()),
        };
        Self { assembler: LineAssembler::default(), kind, garbage: 0 }
    }

    /// Number of invalid lines.
    pub(super) fn garbage(&self) -> u64 {
        self.garbage
    }

    /// Processes bytes and returns the reads to report.
    pub(super) fn push(&mut self, bytes: &[u8], at: Uptime) -> Vec<DedupedRead> {
        let mut said = self.tick(at);
        let Self { assembler, kind: sort, garbage } = self;
        assembler.push(bytes, at, |one| sort.handle_line(one, at, garbage, &mut said));
        said
    }

    /// Time at which [`Self::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        let window = match &self.kind {
            LineKind::Barcodes(_) => None,
            LineKind::Tags(_, windows) => windows.deadline(),
        };
        [self.assembler.deadline(), window].into_iter().flatten().min()
    }

    /// Returns the reads that are due because time has passed.
    pub(super) fn tick(&mut self, now: Uptime) -> Vec<DedupedRead> {
        let mut said = Vec::new();
        if let Some(ended) = self.assembler.tick(now) {
            self.kind.handle_line(ended, now, &mut self.garbage, &mut said);
        }
        if let LineKind::Tags(_, windows) = &mut self.kind {
            windows.close(Some(now), &mut said);
        }
        said
    }

    /// Handles a disconnect. An unfinished line is discarded, because a truncated code would be
    /// another number.
    pub(super) fn on_disconnect(&mut self) -> Vec<DedupedRead> {
        let mut said = Vec::new();
        self.garbage += u64::from(self.assembler.finish_line().is_some());
        if let LineKind::Tags(_, windows) = &mut self.kind {
            windows.close(None, &mut said);
        }
        said
    }
}

impl LineKind {
    fn handle_line(
        &mut self,
        one: AssembledLine,
        at: Uptime,
        garbage: &mut u64,
        said: &mut Vec<DedupedRead>,
    ) {
        match (self, one) {
            (Self::Barcodes(sent_this_tick), AssembledLine::Line(line)) if is_code(&line) => {
                if sent_this_tick.is_new(&line, at) {
                    said.push(DedupedRead { bytes: line, rssi: None, antenna: None, reads: 1 });
                }
            }
            (Self::Tags(pattern, windows), AssembledLine::Line(line)) => {
                match pattern.read(&line) {
                    Some(tag) => windows.record(tag, at, said),
                    None => *garbage += 1,
                }
            }
            (_, AssembledLine::TooLong | AssembledLine::Line(_)) => *garbage += 1,
        }
    }
}

/// Whether a line is text. At most a third of the noise at a wrong baud rate is printable. Codes
/// may contain letters of any alphabet and the separators of ISO/IEC 15434.
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

/// Recently read codes.
#[derive(Debug, Default)]
struct RecentScans {
    codes: VecDeque<(Vec<u8>, Uptime)>,
}

impl RecentScans {
    fn is_new(&mut self, code: &[u8], at: Uptime) -> bool {
        self.codes.retain(|(_, read_at)| at.since(*read_at) < REPEAT_WINDOW);
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

/// Open windows of tags, in the order in which they began.
#[derive(Debug, Default)]
struct TagWindows {
    open: VecDeque<(Uptime, DedupedRead)>,
}

impl TagWindows {
    fn record(&mut self, tag: TagRead, at: Uptime, said: &mut Vec<DedupedRead>) {
        let TagRead { epc, rssi, antenna, count } = tag;
        let same = |(_, reading): &&mut (Uptime, DedupedRead)| reading.bytes == epc.as_bytes();
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
        let reading = DedupedRead { bytes: epc.into_bytes(), rssi, antenna, reads: count };
        self.open.push_back((at, reading));
    }

    fn deadline(&self) -> Option<Uptime> {
        self.open.front().map(|(began, _)| *began + TAG_WINDOW)
    }

    /// Ends the windows that have expired at `now`, or all.
    fn close(&mut self, now: Option<Uptime>, said: &mut Vec<DedupedRead>) {
        let is_over = |began: Uptime| now.is_none_or(|now| now.since(began) >= TAG_WINDOW);
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

    fn barcodes() -> ScanDedup {
        ScanDedup::new(&ScannerKind::Barcode)
    }

    fn tags(pattern: &str) -> ScanDedup {
        ScanDedup::new(&ScannerKind::Rfid(TagPattern::new(pattern).unwrap()))
    }

    fn texts(dedup: &[DedupedRead]) -> Vec<&str> {
        dedup.iter().map(|reading| std::str::from_utf8(&reading.bytes).unwrap()).collect()
    }

    #[test]
    fn a_code_that_is_held_before_the_scanner_is_one_scan_until_it_was_away_for_two_seconds() {
        let mut dedup = barcodes();
        for (ms, code, is_in_recording) in [
            (0, "A", true),
            (300, "A", false),
            (400, "B", true),
            (2200, "A", false),
            (4100, "A", false),
            (6100, "A", true),
            (6200, "B", true),
        ] {
            let said = dedup.push(format!("{code}\r").as_bytes(), at(ms));
            assert_eq!(said.len(), usize::from(is_in_recording), "{code} at {ms}");
        }
    }

    #[test]
    fn a_code_without_end_is_said_when_nothing_comes_and_half_a_code_never() {
        let mut dedup = barcodes();
        assert_eq!(dedup.push(b"JD01", at(0)), []);
        assert_eq!(dedup.deadline(), Some(at(80)));
        assert_eq!(texts(&dedup.tick(at(80))), ["JD01"]);
        dedup.push(b"JD0200", at(1000));
        assert_eq!(dedup.on_disconnect(), []);
        assert_eq!((dedup.deadline(), dedup.garbage()), (None, 1));
    }

    #[test]
    fn noise_is_counted_and_not_said() {
        let mut dedup = barcodes();
        let said = dedup.push(b"\xe7\x80\xff\x00\x86A\r\x1d\x1d\r\x00\x00\r", at(0));
        assert_eq!((said, dedup.garbage()), (Vec::new(), 3));
        assert_eq!(dedup.push("STRASSE ÄÖ\r".as_bytes(), at(10)).len(), 1);
        let garbage = vec![0xA5; 1 << 20];
        assert_eq!((dedup.push(&garbage, at(20)).len(), dedup.garbage()), (0, 3));
    }

    #[test]
    fn a_tag_is_said_once_a_window_with_its_count_and_its_strongest_reading() {
        let mut dedup = tags("key-value");
        let epc = "3174257BF4499602D2000000";
        for (ms, rssi, antenna) in [(0, -70, 1), (3000, -48, 2), (4999, -60, 1)] {
            let line = format!("EPC:{epc},RSSI:{rssi},ANT:{antenna}\r\n");
            assert_eq!(dedup.push(line.as_bytes(), at(ms)), [], "{ms}");
        }
        assert_eq!(dedup.deadline(), Some(at(5000)));
        let bytes = epc.as_bytes().to_vec();
        let strongest = DedupedRead { bytes, rssi: Some(-48), antenna: Some(2), reads: 3 };
        assert_eq!(dedup.tick(at(5000)), [strongest]);
        assert_eq!(dedup.deadline(), None);
        dedup.push(format!("EPC:{epc}\r\n").as_bytes(), at(11_000));
        let again = dedup.on_disconnect();
        assert_eq!((texts(&again), again[0].reads), (vec![epc], 1), "what was read is not lost");
    }

    #[test]
    fn the_readers_own_count_counts() {
        let mut dedup = tags("count");
        dedup.push(b"3174257BF4499602D2000000;4;-61\r\n3174257BF4499602D2000000;3;-65\r\n", at(0));
        let said = dedup.tick(at(5000));
        assert_eq!((said[0].reads, said[0].rssi), (7, Some(-61)));
    }

    #[test]
    fn more_tags_than_a_van_holds_end_the_oldest_window_and_take_no_more_memory() {
        let mut dedup = tags("bare");
        let mut said = 0;
        for tag in 0..5000_u64 {
            said += dedup.push(format!("30{tag:022X}\r\n").as_bytes(), at(tag / 10)).len();
        }
        assert_eq!(said, 5000 - MAX_TAGS);
        assert_eq!(dedup.tick(at(60_000)).len(), MAX_TAGS);
        assert_eq!(dedup.push(b"noise\r\n", at(60_000)), []);
        assert_eq!(dedup.garbage(), 1);
    }
}
