//! Model test: the outbox against a plain list. Records are accepted and acknowledged, and the
//! outbox is closed, killed or cut off from power, in any order. No pending record is lost beyond
//! the documented limits, and no number is used twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use waypost::outbox::{Outbox, OutboxConfig, StoredDoc};
use waypost_model::event::{Event, EventId, EventRecord};
use waypost_model::event::{EventKind, Parcel, TimeSource};
use waypost_model::fix::{Fix, FixMode, FixQuality};
use waypost_model::motion::{Motion, TripState};
use waypost_model::record::{Record, Seq, Subject, TrackPoint};
use waypost_model::units::{Distance, Position, Speed, Uptime, UtcTime};

/// Enough events to fill a third of the file.
const FLOOD_EVENTS: usize = 250;

#[derive(Clone, Debug)]
enum Step {
    Accept {
        count: u64,
        skipped: u64,
    },
    /// Optionally with a document that holds the last number, or with its removal. A point held
    /// back by the sampler may follow events of higher numbers.
    AcceptEvents {
        count: u64,
        document: u8,
        kept: bool,
        held_back: bool,
    },
    Flush,
    /// Flushes urgent events while points may wait.
    FlushEvents,
    /// Acknowledges a run of events on flash.
    AckEvents {
        from: usize,
        count: usize,
    },
    /// Acknowledges a run of pending records.
    Ack {
        from: usize,
        count: usize,
    },
    Settle,
    Read {
        from: usize,
        limit: usize,
    },
    Reopen,
    Kill,
    PowerCut,
    /// More records than the file has room for.
    Flood,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u64..300, 0_u64..3).prop_map(|(count, skipped)| Step::Accept { count, skipped }),
        6 => (1_u64..25, 0_u8..4, any::<bool>(), any::<bool>()).prop_map(
            |(count, document, kept, held_back)| Step::AcceptEvents { count, document, kept, held_back }
        ),
        4 => Just(Step::Flush),
        4 => Just(Step::FlushEvents),
        4 => (0_usize..90, 1_usize..60).prop_map(|(from, count)| Step::AckEvents { from, count }),
        6 => (0_usize..900, 1_usize..300).prop_map(|(from, count)| Step::Ack { from, count }),
        3 => Just(Step::Settle),
        2 => (0_usize..900, 1_usize..500).prop_map(|(from, limit)| Step::Read { from, limit }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
        1 => Just(Step::Flood),
    ]
}

fn record(seq: u64) -> Record {
    let noise = f64::from(u32::try_from(seq * 7919 % 1009).unwrap());
    let fix = Fix {
        utc: UtcTime::from_unix_ms(1_800_000_000_000 + i64::try_from(seq).unwrap() * 1000).unwrap(),
        read_at: Uptime::ZERO,
        position: Position::from_degrees(48.0 + noise * 1e-6, 11.0 - noise * 1e-6).unwrap(),
        mode: FixMode::ThreeD,
        quality: FixQuality::Gps,
        altitude_msl: None,
        height_hae: None,
        speed: Speed::from_mps(noise / 50.0),
        course: None,
        hdop: None,
        satellites_used: Some(7),
        accuracy: None,
    };
    let point = TrackPoint { fix, motion: Motion::Moving, odometer: metres(seq) };
    Record { seq: Seq::new(seq), subject: Subject::Point(point.rounded()) }
}

fn event(seq: u64) -> EventRecord {
    let parcel =
        Parcel { key: format!("P{seq}"), epc: "x".repeat(usize::try_from(seq % 200).unwrap()) };
    let event = Event {
        id: EventId(u128::from(seq).to_le_bytes()),
        utc: UtcTime::from_unix_ms(1_800_000_000_000 + i64::try_from(seq).unwrap() * 1000).unwrap(),
        time_source: TimeSource::Gnss,
        location: None,
        route: None,
        utc_offset_min: None,
        kind: EventKind::Damaged { parcel, stop: None, station: None },
    };
    EventRecord { seq: Seq::new(seq), previous: None, event }
}

/// Returns content of varying length that contains the number.
fn content(seq: u64) -> Vec<u8> {
    format!("{seq} ").repeat(usize::try_from(seq % 400).unwrap() + 1).into_bytes()
}

fn metres(seq: u64) -> Distance {
    Distance::from_metres(f64::from(u32::try_from(seq).unwrap())).unwrap()
}

/// The odometer identifies the record.
fn state(seq: u64) -> TripState {
    TripState { odometer: metres(seq), ..TripState::default() }
}

/// The expected content of the outbox.
#[derive(Debug, Default)]
struct Model {
    waiting: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    newest: u64,
    /// Number of the last record that survives a power cut: accepted before the last transaction.
    durable: u64,
    given_up: u64,
    /// On flash, and not acknowledged.
    events: BTreeSet<u64>,
    /// Accepted since the last transaction.
    fresh_events: BTreeSet<u64>,
    acked_events: BTreeSet<u64>,
    /// On flash.
    documents: BTreeMap<String, Vec<u8>>,
    fresh_documents: BTreeMap<String, Option<Vec<u8>>>,
}

impl Model {
    fn commit_events(&mut self) {
        self.events.append(&mut self.fresh_events);
        for (key, value) in std::mem::take(&mut self.fresh_documents) {
            match value {
                Some(value) => drop(self.documents.insert(key, value)),
                None => drop(self.documents.remove(&key)),
            }
        }
    }
}

struct Bench {
    folder: tempfile::TempDir,
    outbox: Outbox,
    model: Model,
    next: u64,
}

fn config(folder: &Path) -> OutboxConfig {
    OutboxConfig {
        journal_path: Some(folder.join("tail")),
        max_bytes: 192 * 1024,
        ..OutboxConfig::new(folder.join("outbox.db"))
    }
}

/// Reads in pieces, because a reader's wait is limited, also on a busy machine.
async fn all_points(outbox: &Outbox) -> Vec<Record> {
    let mut all: Vec<Record> = Vec::new();
    loop {
        let read = all.last().map_or(Seq::ZERO, |last| last.seq);
        let records = outbox.records_after(read, None, 2000).await.unwrap();
        if records.is_empty() {
            return all;
        }
        all.extend(records);
    }
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(config(folder.path())).await.unwrap();
        let next = outbox.first_seq().get();
        Self { folder, outbox, model: Model::default(), next }
    }

    fn tail(&self) -> PathBuf {
        self.folder.path().join("tail")
    }

    fn accept(&mut self, count: u64) {
        let records: Vec<_> = (self.next..self.next + count).map(record).collect();
        self.next += count;
        self.model.newest = self.next - 1;
        self.outbox.accept(&records, &state(self.model.newest), Uptime::ZERO);
        self.model.waiting.extend(records.iter().map(|record| record.seq.get()));
    }

    fn accept_events(&mut self, count: u64, document: u8, kept: bool, held_back: bool) {
        let held_back = held_back.then(|| {
            self.next += 1;
            self.next - 1
        });
        let events: Vec<_> = (self.next..self.next + count).map(event).collect();
        self.next += count;
        let key = format!("document {document}");
        let value = kept.then(|| content(self.next - 1));
        self.model.fresh_events.extend(events.iter().map(|event| event.seq.get()));
        self.model.fresh_documents.insert(key.clone(), value.clone());
        self.outbox.accept_events(events, vec![StoredDoc { key, value }], Uptime::ZERO);
        if let Some(seq) = held_back {
            self.model.newest = seq;
            self.outbox.accept(&[record(seq)], &state(seq), Uptime::ZERO);
            self.model.waiting.insert(seq);
        }
    }

    fn acknowledge_events(&mut self, from: usize, count: usize) {
        let some: Vec<u64> = self.model.events.iter().skip(from).take(count).copied().collect();
        let seqs: Vec<Seq> = some.iter().map(|seq| Seq::new(*seq)).collect();
        self.outbox.acknowledge_events(&seqs);
        self.model.events.retain(|seq| !some.contains(seq));
        self.model.acked_events.extend(some);
    }

    /// Reads in pieces, as the uplink does.
    async fn event_seqs(&self) -> Vec<u64> {
        let mut seqs: Vec<u64> = Vec::new();
        loop {
            let read = Seq::new(seqs.last().copied().unwrap_or(0));
            let events = self.outbox.events_after(read, 7).await.unwrap();
            assert!(events.iter().all(|is| *is == event(is.seq.get())), "another content");
            if events.is_empty() {
                return seqs;
            }
            seqs.extend(events.iter().map(|event| event.seq.get()));
        }
    }

    fn acknowledge(&mut self, from: usize, count: usize) {
        let some: Vec<u64> = self.model.waiting.iter().skip(from).take(count).copied().collect();
        if let (Some(&first), Some(&last)) = (some.first(), some.last()) {
            self.outbox.acknowledge(&(Seq::new(first)..=Seq::new(last)));
            self.model.acked.extend(self.model.waiting.range(first..=last));
            self.model.waiting.retain(|seq| !(first..=last).contains(seq));
        }
    }

    async fn seqs(&self) -> Vec<u64> {
        let records = all_points(&self.outbox).await;
        assert!(records.iter().all(|is| *is == record(is.seq.get())), "another content");
        records.iter().map(|record| record.seq.get()).collect()
    }

    async fn flush(&mut self) {
        self.outbox.flush().await.unwrap();
        self.model.durable = self.model.newest;
        self.model.commit_events();
    }

    /// Checks that the outbox has no additional records, misses none, and counts them correctly.
    async fn check(&mut self) {
        let seqs = self.seqs().await;
        assert!(seqs.is_sorted_by(|a, b| a < b));
        let is: BTreeSet<u64> = seqs.into_iter().collect();
        let stats = *self.outbox.stats().borrow();
        let given_up = stats.thinned + stats.dropped;
        let seqs = self.event_seqs().await;
        assert!(seqs.is_sorted_by(|a, b| a < b));
        let events: BTreeSet<u64> = seqs.into_iter().collect();
        assert!(events.is_subset(&self.model.events), "too early, or had arrived: {events:?}");
        let lost = (self.model.waiting.difference(&is).count()
            + self.model.events.difference(&events).count()) as u64;
        assert!(lost <= given_up - self.model.given_up, "{lost} lost: {stats:?}");
        assert!(is.is_subset(&self.model.waiting), "acknowledged events have returned");
        // Making room for events may thin the newest points once. Track points are evicted before
        // events, so with many events few points are left.
        let newest: Vec<_> = self.model.waiting.iter().rev().take(100).collect();
        let kept = newest.iter().filter(|seq| is.contains(seq)).count();
        let (enough, many) = (kept * 3 >= newest.len(), events.len() >= FLOOD_EVENTS);
        assert!(enough || many, "{kept} of {}, {} events, {stats:?}", newest.len(), events.len());
        assert_eq!(is.last(), self.model.waiting.last());
        let newest = self.model.events.last().copied().unwrap_or(0);
        assert!(stats.events_newest.get() >= newest, "the relay would not ask for it");
        (self.model.waiting, self.model.given_up) = (is, given_up);
        self.model.events = events;
    }

    /// Checks that acknowledged records count as pending only until they are deleted.
    async fn settled(&mut self) {
        let settles = self.outbox.has_acked_rows();
        self.outbox.delete_acked().await.unwrap();
        if settles {
            self.model.commit_events();
        }
        self.check().await;
        let stats = *self.outbox.stats().borrow();
        let events = self.model.events.len() + self.model.fresh_events.len();
        assert_eq!(stats.events_pending, events as u64);
        assert_eq!(stats.pending, (self.model.waiting.len() + events) as u64);
    }

    async fn again(mut self, forgets: bool) -> Self {
        if forgets {
            let durable = self.model.durable;
            self.model.waiting.retain(|seq| *seq <= durable);
            self.model.newest = durable;
        }
        let (folder, mut model, used) = (self.folder, self.model, self.next - 1);
        drop(self.outbox);
        let outbox = Outbox::open(config(folder.path())).await.unwrap();
        let next = outbox.first_seq().get();
        assert!(next > used, "{next} was used: {used}");
        // Acknowledged records may reappear.
        let again = all_points(&outbox).await;
        let again = again.iter().map(|record| record.seq.get());
        model.waiting.extend(again.filter(|seq| model.acked.contains(seq)));
        let again = outbox.events_after(Seq::ZERO, usize::MAX >> 1).await.unwrap();
        let again = again.iter().map(|event| event.seq.get());
        model.events.extend(again.filter(|seq| model.acked_events.contains(seq)));
        model.fresh_events.clear();
        model.fresh_documents.clear();
        assert!(outbox.documents().into_iter().eq(model.documents.clone()), "all or nothing");
        assert_eq!(
            outbox.restored_state().odometer,
            metres(model.newest),
            "state and records agree"
        );
        Self { folder, outbox, model, next }
    }
}

async fn play(steps: Vec<Step>) {
    let mut bench = Bench::new().await;
    for step in steps {
        match step {
            Step::Accept { count, skipped } => {
                bench.next += skipped;
                bench.accept(count);
            }
            Step::AcceptEvents { count, document, kept, held_back } => {
                bench.accept_events(count, document, kept, held_back);
            }
            Step::Flush => bench.flush().await,
            Step::FlushEvents => {
                bench.outbox.flush_by(Uptime::ZERO).await.unwrap();
                bench.model.commit_events();
                // Many points, or points from a journal file, were written at once.
                if bench.outbox.stats().borrow().durable.get() >= bench.model.newest {
                    bench.model.durable = bench.model.newest;
                }
            }
            Step::AckEvents { from, count } => bench.acknowledge_events(from, count),
            Step::Ack { from, count } => bench.acknowledge(from, count),
            Step::Settle => bench.settled().await,
            Step::Read { from, limit } => {
                let waiting: Vec<_> = bench.model.waiting.iter().copied().collect();
                let after = waiting.get(from).copied().unwrap_or(0);
                let until = waiting.get(from + 3 * limit / 2).map(|seq| Seq::new(*seq));
                let read = bench.outbox.records_after(Seq::new(after), until, limit).await.unwrap();
                let wanted =
                    |seq: &&u64| **seq > after && until.is_none_or(|until| **seq <= until.get());
                let expected = waiting.iter().filter(wanted).take(limit).copied();
                assert!(read.iter().map(|record| record.seq.get()).eq(expected));
            }
            Step::Reopen => {
                bench.outbox.close().await.unwrap();
                bench.model.durable = bench.model.newest;
                bench.model.commit_events();
                bench = bench.again(false).await;
            }
            Step::Kill => bench = bench.again(false).await,
            Step::PowerCut => {
                std::fs::remove_file(bench.tail()).unwrap();
                bench = bench.again(true).await;
            }
            Step::Flood => {
                for _ in 0..8 {
                    bench.accept(2500);
                    bench.flush().await;
                }
            }
        }
        bench.check().await;
    }
    bench.flush().await;
    bench.settled().await;
    bench.acknowledge(0, usize::MAX);
    assert_eq!(bench.event_seqs().await.len(), bench.model.events.len(), "a range of points");
    bench.acknowledge_events(0, usize::MAX);
    bench.settled().await;
    assert_eq!(bench.outbox.stats().borrow().pending, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_outbox_behaves_like_a_list(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(steps));
    }
}
