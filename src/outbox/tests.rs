//! Tests of the outbox on real files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use waypost_model::event::{Event, EventId, EventRecord};
use waypost_model::event::{EventKind, Parcel, TimeSource};
use waypost_model::fix::{Fix, FixMode, FixQuality};
use waypost_model::motion::Motion;
use waypost_model::record::{Subject, TrackPoint};
use waypost_model::units::{Distance, Position, Speed, UtcTime};

/// A track point that depends on its number alone.
pub(crate) fn record(seq: Seq, motion: Motion) -> Record {
    let number = i64::try_from(seq.get()).unwrap();
    let noise = f64::from(u32::try_from(number * 7919 % 1009).unwrap());
    let far = f64::from(u32::try_from(number % 1_000_000).unwrap());
    let fix = Fix {
        utc: UtcTime::from_unix_ms(1_800_000_000_000 + number * 1000).unwrap(),
        read_at: Uptime::ZERO,
        position: Position::from_degrees(48.1 + far * 1e-6 + noise * 1e-7, 11.5 + noise * 2e-7)
            .unwrap(),
        mode: FixMode::ThreeD,
        quality: FixQuality::Gps,
        altitude_msl: None,
        height_hae: None,
        speed: Speed::from_mps(10.0 + noise / 200.0),
        course: None,
        hdop: None,
        satellites_used: Some(9),
        accuracy: None,
    };
    let odometer = Distance::from_metres(far * 11.0).unwrap();
    Record { seq, subject: Subject::Point(TrackPoint { fix, motion, odometer }.rounded()) }
}

impl Outbox {
    /// Simulates a disk that rejects writes.
    pub(crate) async fn forbid_writes(&self, forbidden: bool) {
        self.run(move |store| store.forbid_writes(forbidden)).await.unwrap();
    }

    /// Simulates a slow disk.
    pub(crate) async fn busy(&self) -> impl Sized + use<> {
        self.database.clone().lock_owned().await
    }

    /// Acknowledges points and deletes them.
    async fn remove(&self, ranges: &[RangeInclusive<Seq>]) -> Result<(), OutboxError> {
        ranges.iter().for_each(|range| self.acknowledge(range));
        self.delete_acked().await
    }
}

/// An event that depends on its number alone.
pub(crate) fn event(seq: Seq) -> EventRecord {
    let number = i64::try_from(seq.get()).unwrap();
    let parcel = Parcel { key: format!("PARCEL-{seq}"), epc: format!("urn:epc:id:test:{seq}") };
    let event = Event {
        id: EventId([seq.get().to_le_bytes(); 2].concat().try_into().unwrap()),
        utc: UtcTime::from_unix_ms(1_800_000_000_000 + number * 1000).unwrap(),
        time_source: TimeSource::Gnss,
        location: None,
        route: Some("ROUTE-7".to_owned()),
        utc_offset_min: Some(60),
        kind: EventKind::Damaged { parcel, stop: None, station: None },
    };
    EventRecord { seq, previous: None, event }
}

fn document(key: &str, value: &str) -> StoredDoc {
    StoredDoc { key: key.to_owned(), value: Some(value.as_bytes().to_vec()) }
}

async fn event_seqs(outbox: &Outbox) -> Vec<u64> {
    let events = outbox.events_after(Seq::ZERO, usize::MAX >> 1).await.unwrap();
    assert!(events.iter().all(|is| *is == event(is.seq)), "another content");
    events.iter().map(|event| event.seq.get()).collect()
}

fn records(from: Seq, count: u64) -> Vec<Record> {
    (0..count).map(|i| record(Seq::new(from.get() + i), Motion::Moving)).collect()
}

fn config(directory: &Path) -> OutboxConfig {
    OutboxConfig::new(directory.join("outbox.db"))
}

async fn open(directory: &Path) -> Outbox {
    Outbox::open(config(directory)).await.unwrap()
}

async fn seqs(outbox: &Outbox) -> Vec<u64> {
    let records = outbox.records_after(Seq::ZERO, None, usize::MAX >> 1).await.unwrap();
    records.iter().map(|record| record.seq.get()).collect()
}

pub(crate) fn state(metres: f64) -> TripState {
    TripState { odometer: Distance::from_metres(metres).unwrap(), ..TripState::default() }
}

/// Waits until the last handle's lock is released. A dropped handle closes at once, because no call
/// is running.
fn damage(path: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len().min(to);
    bytes[from..end].fill(0xA5);
    fs::write(path, bytes).unwrap();
    // The content of the WAL would hide the damage.
    fs::remove_file(seq_file::with_suffix(path, "-wal")).unwrap();
}

#[tokio::test]
async fn records_and_state_come_back_after_a_stop_and_after_a_power_cut() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    assert_eq!((outbox.session(), outbox.first_seq()), (1, Seq::new(1)));
    assert_eq!(outbox.restored_state(), TripState::default());
    outbox.commit(records(Seq::new(1), 3), state(7.0)).await.unwrap();
    drop(outbox);
    let outbox = open(directory.path()).await;
    assert_eq!(outbox.session(), 2);
    assert_eq!(outbox.restored_state(), state(7.0));
    assert_eq!(seqs(&outbox).await, [1, 2, 3]);
    outbox.commit(Vec::new(), state(8.0)).await.unwrap();
    outbox.close().await.unwrap();
    let error = outbox.records_after(Seq::ZERO, None, 1).await.unwrap_err();
    assert!(matches!(error, OutboxError::Closed { .. }), "{error}");
    assert_eq!(open(directory.path()).await.restored_state(), state(8.0));
}

#[tokio::test]
async fn a_seq_is_never_used_twice_even_if_the_run_before_committed_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut used = Seq::ZERO;
    for _ in 0..3 {
        let outbox = open(directory.path()).await;
        assert!(outbox.first_seq() > used);
        // Published but never committed, up to the highest number that may be published.
        used = outbox.stats().borrow().reserved;
        assert_eq!(used.get(), outbox.first_seq().get() + database::SEQ_BLOCK - 1);
    }
    let outbox = open(directory.path()).await;
    let first = outbox.first_seq();
    outbox.commit(records(Seq::new(first.get() + 60_000), 1), state(0.0)).await.unwrap();
    let reserved = outbox.stats().borrow().reserved;
    assert_eq!(reserved.get(), first.get() + 60_000 + database::SEQ_BLOCK);
    outbox.reserve(Seq::new(reserved.get() - 100)).await.unwrap();
    let reserved = outbox.stats().borrow().reserved;
    drop(outbox);
    assert!(open(directory.path()).await.first_seq() > reserved);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_what_can_be_read_is_kept_and_its_numbers_are_not_used_again() {
    // Damage to the header and first pages, to one page in the middle, and to everything from there
    // on.
    for (from, to, kept_at_least) in
        [(0, 4096, 4500), (30_000, 31_000, 4500), (30_000, 1 << 20, 1500)]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = config(directory.path()).path;
        let outbox = open(directory.path()).await;
        outbox.commit(records(Seq::new(1), 5000), state(1.0)).await.unwrap();
        let reserved = outbox.stats().borrow().reserved;
        outbox.run(|store| store.vacuum()).await.unwrap();
        outbox.close().await.unwrap();
        damage(&path, from, to);
        let outbox = open(directory.path()).await;
        assert!(outbox.first_seq() > reserved);
        assert_eq!(outbox.session(), 2);
        let kept = seqs(&outbox).await;
        assert!(kept.len() >= kept_at_least, "{} salvaged after {from}..{to}", kept.len());
        assert_eq!(outbox.stats().borrow().pending, kept.len() as u64);
        assert!(seq_file::with_suffix(&path, ".corrupt-1").exists());
        outbox.commit(records(outbox.first_seq(), 1), state(1.0)).await.unwrap();
        let all = Seq::ZERO..=Seq::new(1 << 40);
        outbox.remove(&[all]).await.unwrap();
        assert_eq!(outbox.stats().borrow().pending, 0, "salvaged records can be deleted");
        outbox.close().await.unwrap();
        damage(&path, 0, 4096);
        open(directory.path()).await;
        assert!(seq_file::with_suffix(&path, ".corrupt-2").exists());
        assert!(!seq_file::with_suffix(&path, ".corrupt-1").exists(), "only the newest is kept");
    }
}

#[tokio::test]
async fn damage_that_is_met_while_running_costs_the_file_and_not_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path()).path;
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 20_000), state(1.0)).await.unwrap();
    outbox.run(|store| store.checkpoint()).await.unwrap();
    // Written through another descriptor, which stays open: closing it would drop the locks.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    let garbage = vec![0xA5; usize::try_from(length).unwrap() - 4096];
    std::os::unix::fs::FileExt::write_all_at(&file, &garbage, 4096).unwrap();
    let session = outbox.session();
    let newest = outbox.records_after(Seq::ZERO, None, usize::MAX >> 1).await.unwrap();
    assert!(newest.len() >= 1000, "records in memory are not lost: {}", newest.len());
    outbox.commit(records(Seq::new(20_001), 2), state(2.0)).await.unwrap();
    let kept = seqs(&outbox).await;
    assert!(kept.ends_with(&[19_999, 20_000, 20_001, 20_002]) && kept.len() >= 1002);
    assert_eq!(outbox.stats().borrow().pending, kept.len() as u64);
    assert!(seq_file::with_suffix(&path, ".corrupt-1").exists());
    drop((outbox, file));
    let outbox = open(directory.path()).await;
    assert_eq!((outbox.session(), outbox.restored_state()), (session + 1, state(2.0)));
    assert_eq!(seqs(&outbox).await, kept, "they are on flash again");
}

#[tokio::test]
async fn a_new_file_that_cannot_be_made_while_running_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path()).path;
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 5000), state(1.0)).await.unwrap();
    outbox.run(|store| store.checkpoint()).await.unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xA5; length - 4096], 4096).unwrap();
    // A directory in its place prevents the copy of the reservation from being written.
    let copy = seq_file::with_suffix(&path, ".seq");
    fs::remove_file(&copy).unwrap();
    fs::create_dir_all(copy.join("in the way")).unwrap();
    let fresh = records(Seq::new(5001), 2);
    let error = outbox.commit(fresh, state(2.0)).await.unwrap_err();
    assert!(matches!(error, OutboxError::Degraded { .. }), "{error}");
    fs::remove_dir_all(&copy).unwrap();
    outbox.flush().await.unwrap();
    assert!(seqs(&outbox).await.ends_with(&[4999, 5000, 5001, 5002]));
}

#[tokio::test]
async fn a_damaged_file_that_says_it_is_ours_is_set_aside_without_a_copy_of_the_reservation() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path()).path;
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 500), state(1.0)).await.unwrap();
    let reserved = outbox.stats().borrow().reserved;
    outbox.close().await.unwrap();
    fs::remove_file(seq_file::with_suffix(&path, ".seq")).unwrap();
    damage(&path, 1024, 4096);
    let outbox = open(directory.path()).await;
    assert!(outbox.first_seq() > reserved, "published numbers are not reused");
    assert!(seq_file::with_suffix(&path, ".corrupt-1").exists());
    outbox.commit(records(outbox.first_seq(), 1), state(1.0)).await.unwrap();
}

#[tokio::test]
async fn a_power_cut_while_a_damaged_file_is_replaced_costs_nothing() {
    // Files that were renamed before the power cut: the WAL, then the database.
    for renamed in [&["-wal"][..], &["-wal", ""], &[""]] {
        let directory = tempfile::tempdir().unwrap();
        let path = config(directory.path()).path;
        let outbox = open(directory.path()).await;
        outbox.commit(records(Seq::new(1), 5000), state(1.0)).await.unwrap();
        outbox.close().await.unwrap();
        let aside = seq_file::with_suffix(&path, ".salvage-1");
        for suffix in renamed {
            fs::rename(seq_file::with_suffix(&path, suffix), seq_file::with_suffix(&aside, suffix))
                .unwrap();
        }
        if *renamed == [""] {
            fs::remove_file(seq_file::with_suffix(&path, "-wal")).unwrap();
        }
        let outbox = open(directory.path()).await;
        let kept = seqs(&outbox).await.len();
        assert!(kept >= 5000);
        assert_eq!(outbox.stats().borrow().pending, kept as u64);
        assert!(!seq_file::with_suffix(&aside, renamed[0]).exists());
        assert!(seq_file::with_suffix(&path, &format!(".corrupt-1{}", renamed[0])).exists());
    }
}

#[tokio::test]
async fn a_file_that_is_not_ours_to_use_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path()).path;
    let outbox = open(directory.path()).await;
    let error = Outbox::open(config(directory.path())).await.unwrap_err();
    assert!(matches!(error, OutboxError::InUse { .. }), "{error}");
    outbox.close().await.unwrap();

    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let error = Outbox::open(config(directory.path())).await.unwrap_err();
    assert!(matches!(error, OutboxError::Newer { found: 99, known: 1, .. }), "{error}");

    let other = OutboxConfig::new(directory.path().join("other.db"));
    let raw = rusqlite::Connection::open(&other.path).unwrap();
    raw.execute_batch("CREATE TABLE songs(title TEXT)").unwrap();
    drop(raw);
    let text = OutboxConfig::new(directory.path().join("notes.txt"));
    fs::write(&text.path, "not a database, but a text file\n".repeat(100)).unwrap();
    for config in [other, text] {
        let before = fs::read(&config.path).unwrap();
        let error = Outbox::open(config.clone()).await.unwrap_err();
        assert!(matches!(error, OutboxError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(&config.path).unwrap(), before);
    }
    let error = Outbox::open(config(&directory.path().join("none"))).await.unwrap_err();
    assert!(matches!(error, OutboxError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("none/outbox.db"), "{error}");
}

#[tokio::test]
async fn the_speed_of_the_receiver_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    assert_eq!(outbox.receiver_baud(), None);
    outbox.store_receiver_baud(38_400).await.unwrap();
    outbox.close().await.unwrap();
    assert_eq!(open(folder.path()).await.receiver_baud(), Some(38_400));
}

#[tokio::test]
async fn a_full_outbox_makes_the_oldest_coarser_counts_it_and_stays_within_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let config = OutboxConfig { max_bytes: 128 * 1024, ..config(directory.path()) };
    let outbox = Outbox::open(config.clone()).await.unwrap();
    let (mut from, mut dropped_before) = (1, 0);
    for batch in
        [1, 3000, 10, 9000, 1, 9000, 60, 9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000]
    {
        outbox.commit(records(Seq::new(from), batch), state(0.0)).await.unwrap();
        from += batch;
        let stats = *outbox.stats().borrow();
        assert!(stats.bytes <= config.max_bytes, "{stats:?}");
        assert_eq!(stats.pending + stats.dropped + stats.thinned, from - 1);
        let kept = seqs(&outbox).await;
        assert_eq!(kept.len() as u64, stats.pending);
        let newest = from.saturating_sub(500).max(1)..from;
        assert!(newest.clone().eq(kept.iter().copied().filter(|seq| newest.contains(seq))));
        let gaps: Vec<u64> = kept.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap <= 24), "a continuous track");
        if stats.dropped == dropped_before {
            assert_eq!(kept[0], 1, "it is thinned before any point is evicted");
        }
        dropped_before = stats.dropped;
    }
    let stats = *outbox.stats().borrow();
    assert!(stats.dropped > 1000 && stats.thinned > 20_000, "{stats:?}");
    drop(outbox);
    let outbox = Outbox::open(config).await.unwrap();
    let again = *outbox.stats().borrow();
    assert_eq!(
        (again.dropped, again.thinned, again.pending),
        (stats.dropped, stats.thinned, stats.pending)
    );
}

#[tokio::test]
async fn points_go_by_their_own_age_and_one_wrong_date_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = OutboxConfig { max_age: Duration::from_secs(4000), ..config(directory.path()) };
    let outbox = Outbox::open(config).await.unwrap();
    outbox.commit(records(Seq::new(1), 3000), state(0.0)).await.unwrap();
    let mut astray = record(Seq::new(3001), Motion::Moving);
    let Subject::Point(point) = &mut astray.subject;
    point.fix.utc = UtcTime::parse("2045-01-01T00:00:00.000Z").unwrap();
    outbox.commit(vec![astray], state(0.0)).await.unwrap();
    outbox.commit(records(Seq::new(3002), 900), state(0.0)).await.unwrap();
    assert_eq!(outbox.stats().borrow().dropped, 0);
    outbox.commit(records(Seq::new(3902), 4000), state(0.0)).await.unwrap();
    let stats = *outbox.stats().borrow();
    let kept = seqs(&outbox).await;
    assert_eq!(stats.dropped + stats.pending, 7901);
    assert!((3400..=3900).contains(&kept[0]), "{} is the oldest", kept[0]);
}

#[tokio::test]
async fn a_wrong_date_at_any_place_of_a_row_drops_nothing_and_keeps_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 800), state(0.0)).await.unwrap();
    outbox.close().await.unwrap();
    let raw = rusqlite::Connection::open(config(directory.path()).path).unwrap();
    let first: u32 = raw
        .query_row("SELECT first FROM batch ORDER BY first LIMIT 1 OFFSET 1", [], |row| row.get(0))
        .unwrap();
    let first = usize::try_from(first).unwrap();
    // The positions around the first point of a row, and some others.
    let places: Vec<_> = (0..3).chain(first - 4..first + 2).chain((9..300).step_by(41)).collect();
    for date in ["2047-01-01T00:00:00.000Z", "1980-01-06T00:00:00.000Z"] {
        for at in places.iter().copied() {
            let directory = tempfile::tempdir().unwrap();
            let max_age = Duration::from_secs(1000);
            let config = OutboxConfig { max_age, ..config(directory.path()) };
            let outbox = Outbox::open(config).await.unwrap();
            let mut drive = records(Seq::new(1), 2600);
            let Subject::Point(point) = &mut drive[at].subject;
            point.fix.utc = UtcTime::parse(date).unwrap();
            outbox.commit(drive[..800].to_vec(), state(0.0)).await.unwrap();
            assert_eq!(outbox.stats().borrow().dropped, 0, "{date} at {at}");
            outbox.commit(drive[800..].to_vec(), state(0.0)).await.unwrap();
            let dropped = outbox.stats().borrow().dropped;
            assert!((1100..=1600).contains(&dropped), "{dropped} of 1600, {date} at {at}");
        }
    }
}

#[tokio::test]
async fn a_disk_without_room_degrades_the_outbox_and_leaves_nothing_half_written() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 10), state(1.0)).await.unwrap();
    outbox.run(|store| store.vacuum().and_then(|()| store.limit_pages(1))).await.unwrap();
    let ballast = seq_file::with_suffix(&config(directory.path()).path, ".ballast");
    assert!(ballast.exists());
    let batch = records(Seq::new(11), 9000);
    let error = outbox.commit(batch.clone(), state(2.0)).await.unwrap_err();
    assert!(matches!(error, OutboxError::Degraded { .. }), "{error}");
    assert!(!ballast.exists(), "released for deletions");
    let stats = *outbox.stats().borrow();
    assert_eq!((stats.pending, stats.durable), (9010, Seq::new(10)));
    assert_eq!(seqs(&outbox).await.len(), 9010, "the uplink reads from memory");
    outbox.run(|store| store.limit_pages(100_000)).await.unwrap();
    outbox.commit(batch.clone(), state(2.0)).await.unwrap();
    outbox.commit(batch, state(2.0)).await.unwrap();
    let stats = *outbox.stats().borrow();
    assert_eq!(
        (stats.pending, stats.durable),
        (9010, Seq::new(9010)),
        "stored once, despite repetitions"
    );
}

#[tokio::test]
async fn points_that_cannot_be_read_do_not_stop_those_behind_them_and_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path()).path;
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 5000), state(1.0)).await.unwrap();
    outbox.close().await.unwrap();
    let raw = rusqlite::Connection::open(&path).unwrap();
    // One flipped bit each, as on a failing card.
    let rows = "(SELECT first FROM batch ORDER BY first LIMIT 2 OFFSET 1)";
    let count: u32 = raw
        .query_row(&format!("SELECT sum(n) FROM batch WHERE first IN {rows}"), [], |row| row.get(0))
        .unwrap();
    raw.execute(
        &format!(
            "UPDATE batch SET p = CAST(substr(p, 1, 99) || x'A5' || substr(p, 101) AS BLOB) WHERE first IN {rows}"
        ),
        [],
    )
    .unwrap();
    drop(raw);
    for _ in 0..2 {
        let outbox = open(directory.path()).await;
        let kept = seqs(&outbox).await;
        assert_eq!(kept.len() as u64, 5000 - u64::from(count));
        assert_eq!(outbox.stats().borrow().pending, 5000 - u64::from(count));
        outbox.close().await.unwrap();
    }
    let raw = rusqlite::Connection::open(&path).unwrap();
    let aside: u32 =
        raw.query_row("SELECT count(*) FROM unreadable", [], |row| row.get(0)).unwrap();
    assert_eq!(aside, 2, "kept for a newer agent");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_abandoned_is_finished_before_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    for round in 0..20_u64 {
        let abandoned = outbox.commit(records(Seq::new(1 + 2 * round), 1), state(1.0));
        let _ = tokio::time::timeout(Duration::ZERO, abandoned).await;
        outbox.commit(records(Seq::new(2 + 2 * round), 1), state(2.0)).await.unwrap();
        assert!(seqs(&outbox).await.contains(&(2 + 2 * round)));
    }
    drop(outbox);
    assert_eq!(open(directory.path()).await.restored_state(), state(2.0));
}

#[tokio::test]
async fn wherever_the_log_is_cut_records_and_state_agree_and_no_seq_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    for commit in 0..8_u32 {
        let from = Seq::new(u64::from(3 * commit + 1));
        outbox.commit(records(from, 3), state(f64::from(3 * (commit + 1)))).await.unwrap();
    }
    let reserved = outbox.stats().borrow().reserved;
    let wal = fs::read(directory.path().join("outbox.db-wal")).unwrap();
    let mut outcomes = std::collections::BTreeSet::new();
    for length in (0..=wal.len()).step_by(509).chain([wal.len()]) {
        let copy = tempfile::tempdir().unwrap();
        for name in ["outbox.db", "outbox.db.seq"] {
            fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
        }
        fs::write(copy.path().join("outbox.db-wal"), &wal[..length]).unwrap();
        let outbox = open(copy.path()).await;
        let count = seqs(&outbox).await.len() as u64;
        assert!(seqs(&outbox).await.into_iter().eq(1..=count));
        let metres = outbox.restored_state().odometer.as_metres();
        assert!(
            (metres - f64::from(u32::try_from(count).unwrap())).abs() < 0.1,
            "{count}, {metres} m"
        );
        assert!(outbox.first_seq() > reserved);
        assert_eq!(outbox.session(), 2);
        outcomes.insert(count);
    }
    assert!(outcomes.iter().copied().eq((0..=24).step_by(3)), "each commit is all or nothing");
}

#[tokio::test]
async fn a_kill_costs_nothing_and_a_power_cut_what_was_not_committed() {
    for tail_survives in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let tail = directory.path().join("tail");
        let config = OutboxConfig { journal_path: Some(tail.clone()), ..config(directory.path()) };
        let outbox = Outbox::open(config.clone()).await.unwrap();
        outbox.claim(&VanId::new("VAN-1").unwrap()).await.unwrap();
        outbox.commit(records(Seq::new(1), 10), state(10.0)).await.unwrap();
        outbox.accept(&records(Seq::new(11), 5), &state(15.0), Uptime::ZERO);
        outbox.acknowledge(&(Seq::new(11)..=Seq::new(12)));
        assert_eq!(outbox.stats().borrow().pending, 13);
        drop(outbox);
        if !tail_survives {
            fs::remove_file(&tail).unwrap();
        }
        let outbox = Outbox::open(config).await.unwrap();
        let kept = seqs(&outbox).await;
        let expected: Vec<u64> =
            if tail_survives { (1..=15).collect() } else { (1..=10).collect() };
        assert_eq!(kept, expected, "acknowledged points may be repeated");
        assert_eq!(outbox.restored_state(), state(if tail_survives { 15.0 } else { 10.0 }));
        outbox.flush().await.unwrap();
        assert_eq!(outbox.stats().borrow().pending, kept.len() as u64);
        let error = outbox.claim(&VanId::new("VAN-2").unwrap()).await.unwrap_err();
        assert!(matches!(error, OutboxError::OtherVan { .. }), "{error}");
    }
}

/// Flipped bits in the integers of a row in the middle, and of the open row. No unsent point is
/// deleted, and every acknowledged one is.
#[tokio::test]
async fn a_flipped_bit_in_a_column_costs_no_point() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 500), state(1.0)).await.unwrap();
    outbox.close().await.unwrap();
    for (column, bits) in
        [("first", 0..8), ("last", 0..63), ("n", 0..63), ("level", 0..63), ("utc_ms", 0..63)]
    {
        for (bit, offset) in bits.step_by(3).flat_map(|bit| [(bit, 1), (bit, 100)]) {
            let copy = tempfile::tempdir().unwrap();
            for name in ["outbox.db", "outbox.db.seq"] {
                fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
            }
            let raw = rusqlite::Connection::open(config(copy.path()).path).unwrap();
            let flip = format!(
                "UPDATE OR IGNORE batch SET {column} = ({column} | ?1) - ({column} & ?1) WHERE first =
                 (SELECT first FROM batch ORDER BY first LIMIT 1 OFFSET min(?2, (SELECT count(*) FROM batch) - 1))"
            );
            raw.execute(&flip, [1_i64 << bit, offset]).unwrap();
            drop(raw);
            let outbox = open(copy.path()).await;
            assert!(outbox.first_seq().get() < 1_000_000, "{column} {bit}");
            assert_eq!(seqs(&outbox).await, (1..=500).collect::<Vec<_>>(), "{column} {bit}");
            outbox.remove(&[Seq::new(50)..=Seq::new(199)]).await.unwrap();
            let expected: Vec<u64> = (1..50).chain(200..=500).collect();
            assert_eq!(seqs(&outbox).await, expected, "{column} {bit}");
            outbox.remove(&[Seq::ZERO..=Seq::new(500)]).await.unwrap();
            assert!(seqs(&outbox).await.is_empty(), "{column} {bit}");
            assert_eq!(outbox.stats().borrow().pending, 0, "{column} {bit}");
        }
    }
}

#[tokio::test]
async fn rows_that_nobody_counts_are_found_read_and_deleted() {
    for pending in [0, 7, 1_i64 << 40] {
        let directory = tempfile::tempdir().unwrap();
        let outbox = open(directory.path()).await;
        outbox.commit(records(Seq::new(1), 500), state(1.0)).await.unwrap();
        outbox.close().await.unwrap();
        let raw = rusqlite::Connection::open(config(directory.path()).path).unwrap();
        raw.execute("UPDATE batch SET state = NULL", []).unwrap();
        raw.execute("UPDATE meta SET pending = ?1", [pending]).unwrap();
        drop(raw);
        let outbox = open(directory.path()).await;
        assert_eq!(seqs(&outbox).await, (1..=500).collect::<Vec<_>>());
        outbox.remove(&[Seq::ZERO..=Seq::new(500)]).await.unwrap();
        assert!(seqs(&outbox).await.is_empty());
        assert_eq!(outbox.stats().borrow().pending, 0, "{pending} at the start");
    }
}

#[tokio::test]
async fn a_column_that_has_lost_its_name_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path()).path;
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 500), state(1.0)).await.unwrap();
    outbox.close().await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let name = b"seq_reserved";
    let at = bytes.windows(name.len()).position(|part| part == name).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let outbox = open(directory.path()).await;
    assert_eq!(seqs(&outbox).await, (1..=500).collect::<Vec<_>>());
    assert!(seq_file::with_suffix(&path, ".corrupt-1").exists());
}

#[tokio::test]
async fn what_a_kill_has_left_is_committed_at_once_since_nobody_knows_how_old_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let journal_path = Some(directory.path().join("tail"));
    let config = OutboxConfig { journal_path, ..config(directory.path()) };
    let outbox = Outbox::open(config.clone()).await.unwrap();
    outbox.accept(&records(Seq::new(1), 5), &state(5.0), Uptime::ZERO);
    drop(outbox);
    let outbox = Outbox::open(config).await.unwrap();
    assert_eq!(outbox.flush_due(), Some(Uptime::ZERO));
    outbox.flush().await.unwrap();
    assert_eq!(outbox.flush_due(), None);
    assert!(outbox.is_durable());
}

#[tokio::test]
async fn a_usual_commit_touches_one_page() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 30), state(1.0)).await.unwrap();
    let frames = |store: &mut Database| store.wal_frames();
    let mut pages = Vec::new();
    let mut before = outbox.run(frames).await.unwrap();
    for commit in 0..12_u32 {
        let from = Seq::new(31 + u64::from(commit) * 5);
        outbox.commit(records(from, 5), state(f64::from(commit))).await.unwrap();
        let after = outbox.run(frames).await.unwrap();
        pages.push(after - before);
        before = after;
    }
    let usual = pages.iter().filter(|pages| **pages == 1).count();
    assert!(usual >= 10, "{pages:?}: one page, and a few more when a row is full");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_keeps_nobody_from_what_is_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 3000), state(1.0)).await.unwrap();
    let hanging = outbox.database.clone().lock_owned().await;
    outbox.accept(&records(Seq::new(3001), 10), &state(2.0), Uptime::ZERO);
    let newest = outbox.records_after(Seq::new(2500), None, 5000).await.unwrap();
    assert_eq!(newest.len(), 510, "committed and not committed");
    outbox.acknowledge(&(Seq::new(2001)..=Seq::new(3010)));
    assert_eq!(outbox.stats().borrow().pending, 2000);
    for refused in [
        outbox.records_after(Seq::ZERO, None, 10).await.map(drop),
        outbox.delete_acked().await,
        outbox.reserve(Seq::new(99_999)).await,
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, OutboxError::Degraded { .. }), "{error}");
    }
    drop(hanging);
    assert_eq!(seqs(&outbox).await.len(), 2000);
    outbox.delete_acked().await.unwrap();
    assert_eq!(outbox.stats().borrow().pending, 2000);
    drop(outbox);
    assert!(seqs(&open(directory.path()).await).await.into_iter().eq(1..=2000));
}

#[tokio::test]
async fn after_a_flush_that_failed_the_file_is_read_anew_and_nothing_is_lost_or_doubled() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    outbox.claim(&VanId::new("VAN-1").unwrap()).await.unwrap();
    outbox.commit(records(Seq::new(1), 300), state(1.0)).await.unwrap();
    outbox.accept(&records(Seq::new(301), 5), &state(2.0), Uptime::ZERO);
    outbox.acknowledge(&(Seq::new(11)..=Seq::new(20)));
    for commit in 0..5_u64 {
        *outbox.database.lock().await = DatabaseState::Broken;
        outbox.commit(records(Seq::new(306 + commit), 1), state(3.0)).await.unwrap();
        let expected = (1..=10).chain(21..=306 + commit);
        assert!(seqs(&outbox).await.into_iter().eq(expected));
        assert_eq!(outbox.stats().borrow().pending, 296 + commit);
    }
    assert_eq!(outbox.session(), 1);
    drop(outbox);
    let outbox = open(directory.path()).await;
    assert_eq!((outbox.session(), outbox.restored_state()), (2, state(3.0)));
    assert!(seqs(&outbox).await.into_iter().eq((1..=10).chain(21..=310)));
}

#[tokio::test]
async fn events_and_their_documents_come_back_and_are_nobodys_points() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    outbox.accept(&records(Seq::new(1), 3), &state(3.0), Uptime::ZERO);
    outbox.accept_events(
        vec![event(Seq::new(4))],
        vec![document("route", "4"), document("b", "x")],
        Uptime::ZERO,
    );
    assert!(event_seqs(&outbox).await.is_empty(), "not readable before it is on flash");
    assert!(outbox.is_urgent());
    outbox.flush().await.unwrap();
    outbox.accept(&records(Seq::new(5), 2), &state(5.0), Uptime::ZERO);
    outbox.accept_events(
        vec![event(Seq::new(7))],
        vec![document("route", "7"), StoredDoc { key: "b".to_owned(), value: None }],
        Uptime::ZERO,
    );
    outbox.flush().await.unwrap();
    assert_eq!(event_seqs(&outbox).await, [4, 7]);
    assert_eq!(seqs(&outbox).await, [1, 2, 3, 5, 6]);
    let stats = *outbox.stats().borrow();
    assert_eq!((stats.pending, stats.events_pending), (7, 2));
    assert_eq!((stats.newest, stats.events_newest), (Seq::new(6), Seq::new(7)));
    outbox.remove(&[Seq::new(1)..=Seq::new(7)]).await.unwrap();
    assert!(seqs(&outbox).await.is_empty());
    assert_eq!(event_seqs(&outbox).await, [4, 7], "a range of points contains no events");
    drop(outbox);
    let outbox = open(directory.path()).await;
    assert_eq!(outbox.documents(), [("route".to_owned(), b"7".to_vec())]);
    assert_eq!(event_seqs(&outbox).await, [4, 7]);
    outbox.commit(records(outbox.first_seq(), 1), state(6.0)).await.unwrap();
    outbox.acknowledge_events(&[Seq::new(4), Seq::new(7), outbox.first_seq()]);
    assert!(event_seqs(&outbox).await.is_empty());
    outbox.delete_acked().await.unwrap();
    let stats = *outbox.stats().borrow();
    assert_eq!((stats.pending, stats.events_pending), (1, 0));
    drop(outbox);
    let outbox = open(directory.path()).await;
    assert!(event_seqs(&outbox).await.is_empty());
    assert_eq!(seqs(&outbox).await.len(), 1, "acknowledged events are not points");
}

#[tokio::test]
async fn a_point_that_comes_after_an_event_of_a_higher_number_is_no_old_one() {
    for survives in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let tail = directory.path().join("tail");
        let config = OutboxConfig { journal_path: Some(tail.clone()), ..config(directory.path()) };
        let outbox = Outbox::open(config.clone()).await.unwrap();
        outbox.commit(records(Seq::new(1), 4), state(4.0)).await.unwrap();
        // The sampler delays 5 while 6 occurs.
        outbox.accept_events(vec![event(Seq::new(6))], Vec::new(), Uptime::ZERO);
        outbox.flush_by(Uptime::ZERO).await.unwrap();
        assert_eq!(
            outbox.readable(),
            Seq::new(4),
            "the cursor of the points does not pass the delayed one"
        );
        outbox.accept(&records(Seq::new(5), 1), &state(5.0), Uptime::ZERO);
        assert_eq!(seqs(&outbox).await, [1, 2, 3, 4, 5]);
        assert_eq!(outbox.stats().borrow().durable, Seq::new(4), "events do not affect points");
        let reserved = outbox.stats().borrow().reserved;
        drop(outbox);
        if !survives {
            fs::remove_file(&tail).unwrap();
        }
        let outbox = Outbox::open(config).await.unwrap();
        assert_eq!(seqs(&outbox).await.len(), if survives { 5 } else { 4 });
        assert_eq!(event_seqs(&outbox).await, [6]);
        assert!(outbox.first_seq() > reserved);
    }
}

#[tokio::test]
async fn no_seq_comes_again_when_the_newest_was_an_events() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path()).path;
    let outbox = open(directory.path()).await;
    let far = Seq::new(3 * database::SEQ_BLOCK);
    outbox.accept_events(vec![event(far)], Vec::new(), Uptime::ZERO);
    outbox.flush().await.unwrap();
    assert!(outbox.stats().borrow().reserved.get() >= far.get() + database::SEQ_BLOCK / 2);
    outbox.close().await.unwrap();
    // Both reservations are lost, but the records show the number.
    fs::remove_file(seq_file::with_suffix(&path, ".seq")).unwrap();
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE meta SET seq_reserved = 0", []).unwrap();
    drop(raw);
    assert!(open(directory.path()).await.first_seq() > far);
}

#[tokio::test]
async fn a_disk_that_does_not_write_keeps_events_in_memory_and_lets_them_be_sent_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    outbox.accept_events(vec![event(Seq::new(1))], vec![document("d", "1")], Uptime::ZERO);
    outbox.flush().await.unwrap();
    outbox.forbid_writes(true).await;
    let news = outbox.stats();
    outbox.accept_events(
        vec![event(Seq::new(2)), event(Seq::new(3))],
        vec![document("d", "3")],
        Uptime::ZERO,
    );
    assert_eq!(event_seqs(&outbox).await, [1], "the failure is not detected yet");
    outbox.flush().await.unwrap_err();
    assert_eq!(news.borrow().events_newest, Seq::new(3));
    assert_eq!(event_seqs(&outbox).await, [1, 2, 3]);
    outbox.acknowledge_events(&[Seq::new(1), Seq::new(2)]);
    assert_eq!(event_seqs(&outbox).await, [3]);
    let after = outbox.events_after(Seq::new(3), 9).await.unwrap();
    assert!(after.is_empty());
    assert_eq!((news.borrow().pending, news.borrow().events_pending), (1, 1));
    outbox.forbid_writes(false).await;
    outbox.accept_events(vec![event(Seq::new(4))], Vec::new(), Uptime::ZERO);
    outbox.flush().await.unwrap();
    assert_eq!(event_seqs(&outbox).await, [3, 4]);
    assert_eq!(news.borrow().events_pending, 2);
    drop(outbox);
    let outbox = open(directory.path()).await;
    assert_eq!(event_seqs(&outbox).await, [3, 4]);
    assert_eq!(outbox.documents(), [("d".to_owned(), b"3".to_vec())]);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_does_not_keep_events_from_being_sent() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    let hanging = outbox.database.clone().lock_owned().await;
    outbox.accept_events(vec![event(Seq::new(1))], Vec::new(), Uptime::ZERO);
    let flushing = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.flush_by(Uptime::ZERO).await }
    });
    let mut news = outbox.stats();
    tokio::time::timeout(
        Duration::from_secs(3),
        news.wait_for(|stats| stats.events_newest == Seq::new(1)),
    )
    .await
    .expect("the uplink is notified")
    .unwrap();
    assert_eq!(event_seqs(&outbox).await, [1]);
    outbox.acknowledge_events(&[Seq::new(1)]);
    assert!(event_seqs(&outbox).await.is_empty());
    drop((hanging, news));
    flushing.await.unwrap().unwrap();
    outbox.delete_acked().await.unwrap();
    assert_eq!(outbox.stats().borrow().pending, 0);
    assert!(event_seqs(&outbox).await.is_empty());
}

#[tokio::test]
async fn of_events_that_the_disk_does_not_take_the_oldest_go_and_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    outbox.forbid_writes(true).await;
    for from in (1..12_001).step_by(1000) {
        let events = (from..from + 1000).map(|seq| event(Seq::new(seq))).collect();
        outbox.accept_events(events, vec![document("newest", &from.to_string())], Uptime::ZERO);
        outbox.flush().await.unwrap_err();
    }
    let stats = *outbox.stats().borrow();
    assert_eq!((stats.events_pending, stats.dropped), (10_000, 2000));
    outbox.forbid_writes(false).await;
    outbox.flush().await.unwrap();
    let stats = *outbox.stats().borrow();
    assert_eq!((stats.events_pending, stats.dropped), (10_000, 2000));
    assert!(event_seqs(&outbox).await.into_iter().eq(2001..=12_000));
    drop(outbox);
    assert_eq!(open(directory.path()).await.stats().borrow().dropped, 2000);
}

#[tokio::test]
async fn wherever_the_log_is_cut_an_event_and_its_documents_are_there_or_not_together() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    for call in 1..=8_u64 {
        let seqs = [3 * call - 1, 3 * call].map(Seq::new);
        outbox.accept(&records(Seq::new(3 * call - 2), 1), &state(1.0), Uptime::ZERO);
        let filler = "long enough for pages of its own ".repeat(100);
        let documents =
            vec![document("a", &call.to_string()), document("b", &format!("{call} {filler}"))];
        outbox.accept_events(seqs.map(event).to_vec(), documents, Uptime::ZERO);
        outbox.flush().await.unwrap();
    }
    let wal = fs::read(directory.path().join("outbox.db-wal")).unwrap();
    let mut outcomes = std::collections::BTreeSet::new();
    for length in (0..=wal.len()).step_by(1021).chain([wal.len()]) {
        let copy = tempfile::tempdir().unwrap();
        for name in ["outbox.db", "outbox.db.seq"] {
            fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
        }
        fs::write(copy.path().join("outbox.db-wal"), &wal[..length]).unwrap();
        let outbox = open(copy.path()).await;
        let calls = event_seqs(&outbox).await.len() as u64 / 2;
        assert!(
            event_seqs(&outbox)
                .await
                .into_iter()
                .eq((1..=calls).flat_map(|call| [3 * call - 1, 3 * call]))
        );
        assert!(seqs(&outbox).await.into_iter().eq((1..=calls).map(|call| 3 * call - 2)));
        let documents = outbox.documents();
        assert_eq!(documents.len(), if calls == 0 { 0 } else { 2 });
        for (key, value) in documents {
            let value = String::from_utf8(value).unwrap();
            assert_eq!(value.split(' ').next(), Some(&*calls.to_string()), "{key}");
        }
        outcomes.insert(calls);
    }
    assert!(outcomes.into_iter().eq(0..=8));
}

#[tokio::test]
async fn events_and_documents_are_salvaged_and_a_damaged_document_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path()).path;
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 1000), state(1.0)).await.unwrap();
    let events = (1001..=1300).map(|seq| event(Seq::new(seq))).collect();
    let documents = vec![document("a", "1"), document("b", "2"), document("c", "3")];
    outbox.accept_events(events, documents, Uptime::ZERO);
    outbox.flush().await.unwrap();
    outbox.close().await.unwrap();
    let raw = rusqlite::Connection::open(&path).unwrap();
    let flip =
        "UPDATE document SET value = CAST(substr(value, 1, 4) || x'FF' AS BLOB) WHERE key = 'b'";
    assert_eq!(raw.execute(flip, []).unwrap(), 1);
    let rows = "SELECT rootpage FROM sqlite_schema WHERE name = 'batch'";
    let page: usize =
        raw.query_row(rows, [], |row| row.get::<_, u32>(0)).unwrap().try_into().unwrap();
    raw.pragma(None, "wal_checkpoint", "TRUNCATE", |_| Ok(())).unwrap();
    drop(raw);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(page - 1) * 1024..page * 1024].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    let outbox = open(directory.path()).await;
    assert!(seq_file::with_suffix(&path, ".corrupt-1").exists());
    assert_eq!(event_seqs(&outbox).await, (1001..=1300).collect::<Vec<_>>());
    let stats = *outbox.stats().borrow();
    assert_eq!(stats.events_pending, 300);
    assert_eq!(stats.pending, 300 + seqs(&outbox).await.len() as u64);
    let kept: Vec<_> = outbox.documents().into_iter().map(|(key, _)| key).collect();
    assert_eq!(kept, ["a", "c"]);
    assert!(outbox.first_seq() > Seq::new(1300));
}

#[tokio::test]
async fn a_full_outbox_gives_up_its_trail_before_its_events_and_stays_within_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let config = OutboxConfig { max_bytes: 128 * 1024, ..config(directory.path()) };
    let outbox = Outbox::open(config.clone()).await.unwrap();
    let mut accepted = 0;
    let large = "x".repeat(30 * 1024);
    for round in 0..30_u64 {
        outbox.accept(&records(Seq::new(accepted + 1), 900), &state(1.0), Uptime::ZERO);
        let events = (accepted + 901..accepted + 951).map(|seq| event(Seq::new(seq))).collect();
        outbox.accept_events(events, vec![document("large", &large)], Uptime::ZERO);
        accepted += 950;
        outbox.flush().await.unwrap();
        let stats = *outbox.stats().borrow();
        assert!(stats.bytes <= config.max_bytes, "{stats:?}");
        assert_eq!(stats.pending + stats.dropped + stats.thinned, accepted, "{round}");
        let (points, events) = (seqs(&outbox).await, event_seqs(&outbox).await);
        assert_eq!((points.len() + events.len()) as u64, stats.pending);
        assert_eq!(events.len() as u64, stats.events_pending);
        let all = events.len() as u64 == 50 * (round + 1);
        assert!(all || points.len() < 500, "points are evicted first: {} left", points.len());
        assert_eq!(events.last(), Some(&accepted));
    }
    assert!(outbox.stats().borrow().events_pending < 1500);
    drop(outbox);
    assert_eq!(
        Outbox::open(config).await.unwrap().documents(),
        [("large".to_owned(), large.into_bytes())]
    );
}

#[tokio::test]
async fn an_event_that_cannot_be_read_or_stands_elsewhere_does_not_stop_those_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path()).path;
    let outbox = open(directory.path()).await;
    outbox.accept_events(
        (1..=5).map(|seq| event(Seq::new(seq))).collect(),
        Vec::new(),
        Uptime::ZERO,
    );
    outbox.flush().await.unwrap();
    outbox.close().await.unwrap();
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute(
        "UPDATE record SET subject = CAST(substr(subject, 1, 20) || x'A5' AS BLOB) WHERE seq = 2",
        [],
    )
    .unwrap();
    raw.execute("UPDATE record SET seq = 1 << 20 WHERE seq = 4", []).unwrap();
    raw.execute("UPDATE record SET kind = 1, utc_ms = -5 WHERE seq = 3", []).unwrap();
    drop(raw);
    for _ in 0..2 {
        let outbox = open(directory.path()).await;
        assert_eq!(event_seqs(&outbox).await, [1, 3, 4, 5]);
        assert_eq!(outbox.stats().borrow().pending, 4);
        assert!(seqs(&outbox).await.is_empty());
        outbox.close().await.unwrap();
    }
    let outbox = open(directory.path()).await;
    outbox.acknowledge_events(&[1, 3, 4, 5].map(Seq::new));
    outbox.delete_acked().await.unwrap();
    assert_eq!(outbox.stats().borrow().pending, 0);
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_does_not_stop_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let config = OutboxConfig { max_bytes: 256 * 1024, ..config(directory.path()) };
    let outbox = Outbox::open(config.clone()).await.unwrap();
    let mut large = event(Seq::new(1));
    large.event.route = Some("x".repeat(70_000));
    let almost = "x".repeat(60 * 1024);
    let documents = vec![document("a", &almost), document("b", &almost), document("c", "small")];
    outbox.accept_events(vec![large, event(Seq::new(2))], documents, Uptime::ZERO);
    outbox.flush().await.unwrap();
    assert_eq!(outbox.stats().borrow().dropped, 1);
    assert_eq!(event_seqs(&outbox).await, [2]);
    // A deleted document frees space.
    let documents = vec![StoredDoc { key: "a".to_owned(), value: None }, document("b", &almost)];
    outbox.accept_events(Vec::new(), documents, Uptime::ZERO);
    outbox.flush().await.unwrap();
    drop(outbox);
    let kept = Outbox::open(config).await.unwrap().documents();
    assert_eq!(kept.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ["b", "c"]);
}

#[tokio::test]
async fn another_van_gets_neither_events_nor_documents_of_this_one() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = ["VAN-1", "VAN-2"].map(|name| VanId::new(name).unwrap());
    let outbox = open(directory.path()).await;
    outbox.claim(&one).await.unwrap();
    outbox.accept_events(vec![event(Seq::new(1))], vec![document("d", "1")], Uptime::ZERO);
    outbox.flush().await.unwrap();
    drop(outbox);
    let outbox = open(directory.path()).await;
    let error = outbox.claim(&two).await.unwrap_err();
    assert!(matches!(error, OutboxError::OtherVan { .. }), "{error}");
    outbox.claim(&one).await.unwrap();
    assert_eq!(outbox.documents().len(), 1);
    outbox.acknowledge_events(&[Seq::new(1)]);
    outbox.delete_acked().await.unwrap();
    drop(outbox);
    let outbox = open(directory.path()).await;
    outbox.claim(&two).await.unwrap();
    assert_eq!(outbox.documents(), []);
    drop(outbox);
    assert_eq!(open(directory.path()).await.documents(), []);
}
