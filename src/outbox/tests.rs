//! Promises of the outbox, on real files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::core::fix::{Fix, FixMode, FixQuality};
use crate::core::journey::Motion;
use crate::core::record::{Subject, TrackPoint};
use crate::units::{Distance, Position, Uptime};

pub(crate) fn record(seq: Seq, motion: Motion) -> Record {
    let ms = 1_800_000_000_000 + i64::try_from(seq.get()).unwrap() * 1000;
    let fix = Fix {
        utc: UtcTime::from_unix_ms(ms).unwrap(),
        read_at: Uptime::from_millis(seq.get()),
        position: Position::from_degrees(48.1, 11.5).unwrap(),
        mode: FixMode::ThreeD,
        quality: FixQuality::Gps,
        altitude_msl: None,
        height_hae: None,
        speed: None,
        course: None,
        hdop: None,
        satellites_used: Some(9),
        accuracy: None,
    };
    let odometer = Distance::from_metres(1.0).unwrap();
    Record { seq, subject: Subject::Point(TrackPoint { fix, motion, odometer }) }
}

impl Outbox {
    /// A disk that cannot be written for a while.
    pub(crate) async fn forbid_writes(&self, forbidden: bool) {
        self.run(move |store| store.forbid_writes(forbidden)).await.unwrap();
    }
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
    let records = outbox.after(Seq::ZERO, None, usize::MAX >> 1).await.unwrap();
    records.iter().map(|record| record.seq.get()).collect()
}

fn state(metres: f64) -> JourneyState {
    JourneyState { odometer: Distance::from_metres(metres).unwrap(), ..JourneyState::default() }
}

/// Waits until the last handle's lock is gone: a handle that was dropped closes at once, as no call runs.
fn damage(path: &Path, from: usize) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len().min(from + 4096);
    bytes[from..end].fill(0xA5);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn records_and_state_come_back_after_a_stop_and_after_a_power_cut() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    assert_eq!((outbox.session(), outbox.first_seq()), (1, Seq::new(1)));
    assert_eq!(outbox.restored(), JourneyState::default());
    outbox.commit(records(Seq::new(1), 3), state(7.0)).await.unwrap();
    drop(outbox);
    let outbox = open(directory.path()).await;
    assert_eq!(outbox.session(), 2);
    assert_eq!(outbox.restored(), state(7.0));
    assert_eq!(seqs(&outbox).await, [1, 2, 3]);
    outbox.commit(Vec::new(), state(8.0)).await.unwrap();
    outbox.close().await.unwrap();
    let error = outbox.after(Seq::ZERO, None, 1).await.unwrap_err();
    assert!(matches!(error, OutboxError::Closed { .. }), "{error}");
    assert_eq!(open(directory.path()).await.restored(), state(8.0));
}

#[tokio::test]
async fn a_seq_is_never_used_twice_even_if_the_run_before_committed_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut used = Seq::ZERO;
    for _ in 0..3 {
        let outbox = open(directory.path()).await;
        assert!(outbox.first_seq() > used);
        // Published but never committed, up to the last number that may be published.
        used = outbox.stats().borrow().reserved;
        assert_eq!(used.get(), outbox.first_seq().get() + store::BLOCK - 1);
    }
    let outbox = open(directory.path()).await;
    let first = outbox.first_seq();
    outbox.commit(records(Seq::new(first.get() + 6000), 1), state(0.0)).await.unwrap();
    let reserved = outbox.stats().borrow().reserved;
    assert_eq!(reserved.get(), first.get() + 6000 + store::BLOCK);
    outbox.reserve(Seq::new(reserved.get() - 100)).await.unwrap();
    let reserved = outbox.stats().borrow().reserved;
    drop(outbox);
    assert!(open(directory.path()).await.first_seq() > reserved);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_its_seqs_and_sessions_are_not_used_again() {
    for from in [0, 1024] {
        let directory = tempfile::tempdir().unwrap();
        let path = config(directory.path()).path;
        let outbox = open(directory.path()).await;
        outbox.commit(records(Seq::new(1), 500), state(1.0)).await.unwrap();
        let reserved = outbox.stats().borrow().reserved;
        outbox.close().await.unwrap();
        damage(&path, from);
        let outbox = open(directory.path()).await;
        assert!(outbox.first_seq() > reserved);
        assert_eq!(outbox.session(), 2);
        assert!(seqs(&outbox).await.is_empty());
        assert!(seq_file::beside(&path, ".corrupt-1").exists());
        outbox.commit(records(outbox.first_seq(), 1), state(1.0)).await.unwrap();
        outbox.close().await.unwrap();
        damage(&path, 0);
        open(directory.path()).await;
        assert!(seq_file::beside(&path, ".corrupt-2").exists());
        assert!(!seq_file::beside(&path, ".corrupt-1").exists(), "only the newest is kept");
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
    assert!(outbox.after(Seq::ZERO, None, 5000).await.unwrap().is_empty());
    let fresh = records(Seq::new(20_001), 2);
    outbox.commit(fresh, state(2.0)).await.unwrap();
    assert_eq!(seqs(&outbox).await, [20_001, 20_002]);
    assert_eq!(outbox.stats().borrow().pending, 2);
    assert!(seq_file::beside(&path, ".corrupt-1").exists());
    drop((outbox, file));
    let outbox = open(directory.path()).await;
    assert_eq!((outbox.session(), outbox.restored()), (session + 1, state(2.0)));
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
    assert!(matches!(error, OutboxError::Newer { found: 99, known: 2, .. }), "{error}");

    let other = OutboxConfig::new(directory.path().join("other.db"));
    let raw = rusqlite::Connection::open(&other.path).unwrap();
    raw.execute_batch("CREATE TABLE songs(title TEXT)").unwrap();
    drop(raw);
    let text = OutboxConfig::new(directory.path().join("notes.txt"));
    fs::write(&text.path, "not a database, but somebody's notes\n".repeat(100)).unwrap();
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
async fn an_older_file_keeps_its_records_and_learns_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path()).await;
    outbox.commit(records(outbox.first_seq(), 3), state(7.0)).await.unwrap();
    outbox.close().await.unwrap();
    let raw = rusqlite::Connection::open(folder.path().join("outbox.db")).unwrap();
    raw.execute_batch("ALTER TABLE meta DROP COLUMN receiver_baud; PRAGMA user_version = 1;")
        .unwrap();
    raw.close().unwrap();

    let outbox = open(folder.path()).await;
    assert_eq!((seqs(&outbox).await, outbox.restored()), (vec![1, 2, 3], state(7.0)));
    assert_eq!(outbox.receiver_baud(), None);
    outbox.remember_receiver_baud(38_400).await.unwrap();
    outbox.close().await.unwrap();
    assert_eq!(open(folder.path()).await.receiver_baud(), Some(38_400));
}

#[tokio::test]
async fn a_full_outbox_lets_the_oldest_go_counts_them_and_stays_within_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let config = OutboxConfig { max_bytes: 256 * 1024, ..config(directory.path()) };
    let outbox = Outbox::open(config.clone()).await.unwrap();
    let mut from = 1;
    for batch in [1, 3000, 10, 4000, 1, 12_000, 60] {
        outbox.commit(records(Seq::new(from), batch), state(0.0)).await.unwrap();
        from += batch;
        let stats = *outbox.stats().borrow();
        assert!(stats.bytes <= config.max_bytes, "{stats:?}");
        assert_eq!(stats.pending + stats.dropped, from - 1);
        let kept = seqs(&outbox).await;
        assert!(kept.iter().copied().eq(from - stats.pending..from), "the newest are kept");
    }
    let dropped = outbox.stats().borrow().dropped;
    assert!(dropped > 10_000);
    drop(outbox);
    let outbox = Outbox::open(config).await.unwrap();
    assert_eq!(outbox.stats().borrow().dropped, dropped);
}

#[tokio::test]
async fn a_disk_without_room_degrades_the_outbox_and_leaves_nothing_half_written() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 10), state(1.0)).await.unwrap();
    outbox.run(|store| store.limit_pages(20)).await.unwrap();
    let batch = records(Seq::new(11), 2000);
    let error = outbox.commit(batch.clone(), state(2.0)).await.unwrap_err();
    assert!(matches!(error, OutboxError::Degraded { .. }), "{error}");
    assert_eq!(seqs(&outbox).await.len(), 10);
    assert_eq!(outbox.stats().borrow().pending, 10);
    outbox.run(|store| store.limit_pages(100_000)).await.unwrap();
    outbox.commit(batch.clone(), state(2.0)).await.unwrap();
    outbox.commit(batch, state(2.0)).await.unwrap();
    assert_eq!(outbox.stats().borrow().pending, 2010, "a repeated commit changes nothing");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_does_not_stop_those_behind_it_and_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path()).path;
    let outbox = open(directory.path()).await;
    outbox.commit(records(Seq::new(1), 5), state(1.0)).await.unwrap();
    outbox.close().await.unwrap();
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE record SET subject = x'FF' WHERE seq IN (1, 2, 4)", []).unwrap();
    drop(raw);
    for _ in 0..2 {
        let outbox = open(directory.path()).await;
        assert_eq!(outbox.stats().borrow().pending, 5);
        let first = outbox.after(Seq::ZERO, None, 1).await.unwrap();
        assert_eq!(first[0].seq, Seq::new(3));
        assert_eq!(seqs(&outbox).await, [3, 5]);
        assert_eq!(outbox.stats().borrow().pending, 2);
        outbox.close().await.unwrap();
    }
    let outbox = open(directory.path()).await;
    seqs(&outbox).await;
    outbox.remove(&[Seq::new(1)..=Seq::new(5)]).await.unwrap();
    assert_eq!(outbox.stats().borrow().pending, 0);
    drop(outbox);
    assert_eq!(open(directory.path()).await.stats().borrow().pending, 3, "kept for a newer agent");
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
    assert_eq!(open(directory.path()).await.restored(), state(2.0));
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64, u64),
    Remove(usize, usize),
    Read(usize, usize),
    Reopen,
    Close,
    Evict,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..40, 0_u64..3).prop_map(|(count, skipped)| Step::Append(count, skipped)),
        3 => (0_usize..60, 0_usize..40).prop_map(|(from, count)| Step::Remove(from, count)),
        2 => (0_usize..60, 1_usize..20).prop_map(|(from, limit)| Step::Read(from, limit)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Close),
        1 => Just(Step::Evict),
    ]
}

/// What the outbox should hold.
#[derive(Debug, Default)]
struct Model {
    kept: Vec<u64>,
    used: u64,
    dropped: u64,
}

async fn check(outbox: &Outbox, model: &Model) {
    assert!(seqs(outbox).await == model.kept, "other records are kept");
    let stats = *outbox.stats().borrow();
    assert_eq!(stats.pending, model.kept.len() as u64);
    assert_eq!(stats.dropped, model.dropped);
    let oldest = model.kept.first().map(|seq| record(Seq::new(*seq), Motion::Moving));
    assert_eq!(
        stats.oldest,
        oldest.map(|record| match record.subject {
            Subject::Point(point) => point.fix.utc,
        })
    );
}

/// Commits, and follows what was evicted: only ever the oldest. Returns how many went.
async fn append(outbox: &Outbox, model: &mut Model, from: u64, count: u64) -> usize {
    outbox.commit(records(Seq::new(from), count), state(0.0)).await.unwrap();
    model.kept.extend(from..from + count);
    let gone = model.kept.len() - seqs(outbox).await.len();
    model.dropped += gone as u64;
    model.kept.drain(..gone);
    gone
}

async fn play(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let config = OutboxConfig { max_bytes: 256 * 1024, ..config(directory.path()) };
    let mut outbox = Outbox::open(config.clone()).await.unwrap();
    let (mut model, mut next) = (Model::default(), outbox.first_seq().get());
    for step in steps {
        match step {
            Step::Append(count, skipped) => {
                let full = outbox.stats().borrow().bytes > config.max_bytes * 3 / 4;
                next += skipped;
                let gone = append(&outbox, &mut model, next, count).await;
                assert!(gone == 0 || full, "{gone} records went without need");
                next += count;
            }
            Step::Remove(from, count) => {
                let range = from.min(model.kept.len())..(from + count).min(model.kept.len());
                if let [first, .., last] = model.kept[range.clone()] {
                    outbox.remove(&[Seq::new(first)..=Seq::new(last)]).await.unwrap();
                    model.kept.drain(range);
                }
            }
            Step::Read(from, limit) => {
                let after = model.kept.get(from).copied().unwrap_or(0);
                let read = outbox.after(Seq::new(after), None, limit).await.unwrap();
                let expected = model.kept.iter().filter(|seq| **seq > after).take(limit);
                assert!(read.iter().map(|record| record.seq.get()).eq(expected.copied()));
            }
            Step::Reopen | Step::Close => {
                if matches!(step, Step::Close) {
                    outbox.close().await.unwrap();
                }
                drop(outbox);
                outbox = Outbox::open(config.clone()).await.unwrap();
                assert!(outbox.first_seq().get() > model.used);
                next = outbox.first_seq().get();
            }
            Step::Evict => {
                let gone = append(&outbox, &mut model, next, 5000).await;
                assert!(gone > 0, "5,000 records do not fit");
                next += 5000;
            }
        }
        model.used = model.used.max(next - 1);
        check(&outbox, &model).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_outbox_behaves_like_a_list(steps in proptest::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(steps));
    }
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
        let metres = outbox.restored().odometer.as_metres();
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
