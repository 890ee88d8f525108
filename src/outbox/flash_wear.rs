//! Flash wear caused by the outbox: the kernel's write counters, and the expected lifetime of a
//! card.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use waypost_model::units::{Date, UtcTime};

/// Erase cycles of TLC flash according to its manufacturers.
pub const TLC_CYCLES: f64 = 3000.0;

/// Bytes that a card writes internally per byte received, with small flushes. Cards do not report
/// it; 4 is a cautious value for 4 KiB into pages of 16 KiB.
pub const WRITE_AMPLIFICATION: f64 = 4.0;

const SECTOR_BYTES: u64 = 512;

/// Expected lifetime in years of a card of `capacity_bytes` with wear levelling, at
/// `bytes_per_day`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub fn card_life_years(capacity_bytes: u64, bytes_per_day: u64) -> f64 {
    let endurance = capacity_bytes as f64 * TLC_CYCLES / WRITE_AMPLIFICATION;
    endurance / bytes_per_day.max(1) as f64 / 365.25
}

/// Size in bytes of the whole device that holds `path`, including all partitions. `None` if `path`
/// is not on a block device.
#[must_use]
pub fn capacity_bytes(path: &Path) -> Option<u64> {
    let device = block_device(fs::metadata(path).ok()?.dev());
    let folder = device.parent()?;
    // The directory of a partition lies in that of its disk.
    let disk =
        if folder.join("partition").exists() { folder.join("..") } else { folder.to_owned() };
    let sectors: u64 = fs::read_to_string(disk.join("size")).ok()?.trim().parse().ok()?;
    sectors.checked_mul(SECTOR_BYTES)
}

/// Write counters of this process and of the device that holds the outbox.
#[derive(Debug)]
pub(super) struct FlashWear {
    /// Path of `/sys/dev/block/MAJ:MIN/stat`. `None` if the file is not on such a device.
    device: Option<PathBuf>,
    /// Current day, and the counters at its start or at the start of the agent.
    day: Option<Date>,
    process_before: u64,
    device_before: Option<u64>,
}

impl FlashWear {
    pub(super) fn for_path(path: &Path) -> Self {
        let device = fs::metadata(path).ok().map(|file| block_device(file.dev()));
        let mut wear = Self { device, day: None, process_before: 0, device_before: None };
        (wear.process_before, wear.device_before) = (process_bytes(), wear.device_bytes());
        wear
    }

    /// Returns the bytes written by this process, and those written to the device by all processes.
    /// Both count from the start of `newest`'s UTC day or of the agent, whichever is later.
    pub(super) fn written_today(&mut self, newest: Option<UtcTime>) -> (u64, Option<u64>) {
        let (process, device) = (process_bytes(), self.device_bytes());
        let day = newest.map(UtcTime::date);
        if day.is_some() && self.day.is_some() && day != self.day {
            (self.process_before, self.device_before) = (process, device);
        }
        self.day = day.or(self.day);
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let device = device.zip(self.device_before).map(|(now, before)| since(now, before));
        (since(process, self.process_before), device)
    }

    fn device_bytes(&self) -> Option<u64> {
        let stat = fs::read_to_string(self.device.as_ref()?).ok()?;
        sectors_written(&stat)?.checked_mul(SECTOR_BYTES)
    }
}

/// Path of the kernel's counters for a device number (Linux `gnu_dev_major`, `gnu_dev_minor`).
fn block_device(dev: u64) -> PathBuf {
    let major = (dev >> 8 & 0xFFF) | (dev >> 32 & !0xFFF);
    let minor = (dev & 0xFF) | (dev >> 12 & !0xFF & 0xFFFF_FFFF);
    PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"))
}

/// Parses the seventh field of a block device's `stat` (Documentation/block/stat.rst).
fn sectors_written(stat: &str) -> Option<u64> {
    stat.split_ascii_whitespace().nth(6)?.parse().ok()
}

fn process_bytes() -> u64 {
    fs::read_to_string("/proc/self/io").ok().as_deref().and_then(write_bytes).unwrap_or(0)
}

/// Parses the bytes that were, or will be, written to a device (proc(5): `write_bytes`).
fn write_bytes(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_as_they_are() {
        let io = "rchar: 4292\nwchar: 0\nsyscr: 13\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
        assert_eq!(write_bytes(io), Some(8192));
        let stat = "     446       42     9264      301     1024       77    12345      980        0      600     1281";
        assert_eq!(sectors_written(stat), Some(12_345));
        assert_eq!(block_device(0xB302), PathBuf::from("/sys/dev/block/179:2/stat"));
        assert_eq!((write_bytes(""), sectors_written("")), (None, None));
    }

    #[test]
    fn a_card_has_a_size_and_what_is_in_memory_has_none() {
        assert_eq!(capacity_bytes(Path::new("/proc/self")), None);
        let here = capacity_bytes(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(here.is_none_or(|bytes| bytes > 1 << 20), "{here:?}");
    }

    #[test]
    fn a_day_begins_at_midnight_utc() {
        let folder = tempfile::tempdir().unwrap();
        let mut wear = FlashWear::for_path(folder.path());
        wear.device = None;
        let at = |text| UtcTime::parse(text);
        wear.process_before = 0;
        let (first, _) = wear.written_today(at("2026-11-22T23:59:59.000Z"));
        let (same, _) = wear.written_today(at("2026-11-22T23:59:59.500Z"));
        assert!(same >= first);
        wear.process_before = 0;
        let (next, _) = wear.written_today(at("2026-11-23T00:00:00.000Z"));
        assert_eq!(next, 0);
    }

    #[test]
    fn a_card_of_32_gib_outlives_the_van_at_1_gb_a_day_and_not_at_100() {
        let capacity = 32 * 1024 * 1024 * 1024;
        assert!(card_life_years(capacity, 1_000_000_000) > 60.0);
        assert!(card_life_years(capacity, 100_000_000_000) < 1.0);
        assert!(card_life_years(capacity, 0).is_finite());
    }
}
