//! Salvage of a damaged database. Reads rows from both ends of each table until an error, then
//! searches the raw bytes of the file for batches.
//!
//! A batch has a checksum and its own first number, so it can be found without its table. A batch
//! found this way may be acknowledged already and is then sent twice, which is harmless. No pending
//! batch is lost.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::event_rows::{self, KIND_EVENT};
use super::schema::{signed, unsigned};
use super::seq_file::with_suffix;
use super::state_docs;
use super::track_rows::{self, OpenBatch};
use crate::outbox::record_codec;
use waypost_model::record::Seq;
use waypost_wire::track_codec::{MAGIC, TrackBatch, leading_batch, unpack};

/// Rows per transaction.
const CHUNK: usize = 256;

/// Bytes searched at a time. A batch at their end is seen again in the next window.
const WINDOW_BYTES: usize = 256 * 1024;

/// Upper limit for the length of a batch in bytes.
const MAX_BATCH_LEN: usize = 16 * 1024;

/// Counts of salvaged records.
#[derive(Clone, Copy, Debug, Default)]
struct Salvaged {
    batches: u64,
    points: u64,
    records: u64,
    documents: u64,
    found_in_bytes: u64,
}

/// A batch and the numbers that it covers.
#[derive(Debug)]
struct SalvagedBatch {
    first: i64,
    last: i64,
    bytes: Vec<u8>,
}

impl SalvagedBatch {
    fn parse(bytes: &[u8]) -> Option<(Self, TrackBatch)> {
        let packed = unpack(bytes).ok()?;
        let number = |at: Option<&(Seq, _)>| at.map(|(seq, _)| signed(seq.get()));
        let (first, last) = (number(packed.points.first())?, number(packed.points.last())?);
        Some((Self { first, last, bytes: bytes.to_vec() }, packed))
    }

    fn insert(&self, into: &Connection, packed: &TrackBatch) -> rusqlite::Result<u64> {
        let utc_ms = packed.points.first().map_or(0, |(_, point)| point.fix.utc.as_unix_ms());
        let n = signed(packed.points.len() as u64);
        let inserted = into
            .prepare("INSERT OR IGNORE INTO batch VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6)")?
            .execute(params![self.first, self.last, n, utc_ms, packed.level, self.bytes])?;
        Ok(if inserted == 1 { packed.points.len() as u64 } else { 0 })
    }
}

/// Fills the new outbox `into` from the quarantined file `aside` and logs the counts.
pub(super) fn salvage(aside: &Path, into: &mut Connection) -> rusqlite::Result<()> {
    let mut mark_salvaged = Salvaged::default();
    let old = open(aside).ok();
    let (mut below, mut above) = (0, i64::MAX);
    if let Some(old) = &old {
        salvage_meta(old, into)?;
        mark_salvaged.records = salvage_records(old, into)?;
        mark_salvaged.documents = salvage_documents(old, into)?;
        below = salvage_points(old, into, Direction::Forwards, &mut above, &mut mark_salvaged)?;
        if below < above {
            salvage_points(old, into, Direction::Backwards, &mut above, &mut mark_salvaged)?;
        }
    }
    drop(old);
    for suffix in ["", "-wal"] {
        match scan_bytes(&with_suffix(aside, suffix), below, above, into, &mut mark_salvaged)? {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, suffix, "damaged outbox not searched: its bytes cannot be read");
            }
        }
    }
    let Salvaged { batches, points, records, documents, found_in_bytes } = mark_salvaged;
    tracing::warn!(batches, points, records, documents, found_in_bytes, "damaged outbox salvaged");
    Ok(())
}

/// Updates the count of salvaged records, even after a partial salvage: uncounted records would not
/// be read. The points of the open row are not included.
pub(super) fn update_count(into: &Connection) -> rusqlite::Result<()> {
    let newest = "SELECT first, state FROM batch ORDER BY first DESC LIMIT 1";
    let open: Option<i64> = into
        .query_row(&format!("SELECT first FROM ({newest}) WHERE state IS NOT NULL"), [], |row| {
            row.get(0)
        })
        .optional()?;
    let open = open.map(|first| Seq::new(unsigned(first)));
    let pending = track_rows::count_closed(into, open)? + event_rows::count(into)?;
    into.execute("UPDATE meta SET pending = ?1", [signed(pending)]).map(drop)
}

/// Opens the file without changing it, because it is evidence.
fn open(aside: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let old = Connection::open_with_flags(aside, flags)?;
    old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    old.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON; PRAGMA cell_size_check = ON;",
    )?;
    Ok(old)
}

/// Salvages the row of `meta`, as far as it is readable.
fn salvage_meta(old: &Connection, into: &Connection) -> rusqlite::Result<()> {
    let number = |column: &str| {
        old.query_row(&format!("SELECT {column} FROM meta"), [], |row| row.get::<_, i64>(0))
            .map(|number| number.max(0))
    };
    for column in ["session", "seq_reserved", "dropped", "thinned", "state_seq"] {
        if let Ok(number) = number(column) {
            into.execute(&format!("UPDATE meta SET {column} = max({column}, ?1)"), [number])?;
        }
    }
    let text =
        |column: &str| old.query_row(&format!("SELECT {column} FROM meta"), [], |row| row.get(0));
    if let Ok(van) = text("van") as rusqlite::Result<String> {
        into.execute("UPDATE meta SET van = ?1", [van])?;
    }
    let newest = "SELECT state FROM batch WHERE state IS NOT NULL ORDER BY first DESC LIMIT 1";
    let state: rusqlite::Result<Vec<u8>> = old
        .query_row(newest, [], |row| row.get(0))
        .or_else(|_| old.query_row("SELECT state FROM meta", [], |row| row.get(0)));
    if let Ok(state) = state {
        into.execute("UPDATE meta SET state = ?1", [state])?;
    }
    Ok(())
}

/// Salvages documents from both ends and drops damaged ones. Files that were quarantined later are
/// newer and win.
fn salvage_documents(old: &Connection, into: &mut Connection) -> rusqlite::Result<u64> {
    let transaction = into.transaction()?;
    let mut mark_salvaged = BTreeSet::new();
    for order in ["ASC", "DESC"] {
        let ended = (|| {
            let mut statement =
                old.prepare(&format!("SELECT key, value FROM document ORDER BY key {order}"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let Ok(key) = row.get::<_, String>(0) else { continue };
                let bytes = row.get_ref(1)?.as_blob().unwrap_or_default();
                if state_docs::decode(&key, bytes).is_none() {
                    tracing::warn!(kind = key.split('/').next(), "damaged document dropped");
                } else if mark_salvaged.len() < state_docs::MAX_DOCUMENTS {
                    state_docs::write(&transaction, &key, Some(bytes))?;
                    mark_salvaged.insert(key);
                }
            }
            Ok::<(), rusqlite::Error>(())
        })();
        if ended.is_ok() {
            break;
        }
    }
    transaction.commit()?;
    Ok(mark_salvaged.len() as u64)
}

/// Salvages events from both ends.
fn salvage_records(old: &Connection, into: &mut Connection) -> rusqlite::Result<u64> {
    let mut mark_salvaged = 0;
    for order in ["ASC", "DESC"] {
        let transaction = into.transaction()?;
        let sql = format!("SELECT utc_ms, subject FROM record ORDER BY seq {order}");
        let ended = (|| {
            let mut statement = old.prepare(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (utc_ms, subject): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                // The content decides about the number of a row.
                if let Ok(event) = record_codec::decode_event(&subject) {
                    mark_salvaged += transaction.execute(
                        "INSERT OR IGNORE INTO record VALUES (?1, ?2, ?3, ?4)",
                        params![signed(event.seq.get()), KIND_EVENT, utc_ms, subject],
                    )? as u64;
                }
            }
            Ok::<(), rusqlite::Error>(())
        })();
        transaction.commit()?;
        if ended.is_ok() {
            break;
        }
    }
    Ok(mark_salvaged)
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Forwards,
    Backwards,
}

/// Salvages rows until an error. Returns the number up to which the table is known, and sets
/// `above` to the number from which on it is known.
fn salvage_points(
    old: &Connection,
    into: &mut Connection,
    direction: Direction,
    above: &mut i64,
    mark_salvaged: &mut Salvaged,
) -> rusqlite::Result<i64> {
    let order = if direction == Direction::Forwards { "ASC" } else { "DESC" };
    let mut known = 0;
    let mut chunk = Vec::new();
    let Ok(mut statement) =
        old.prepare(&format!("SELECT first, p FROM batch ORDER BY first {order}"))
    else {
        return Ok(0);
    };
    let mut rows = statement.query([])?;
    loop {
        let next = rows.next();
        let ended = !matches!(next, Ok(Some(_)));
        match next {
            Ok(Some(row)) => {
                if let Ok(bytes) = row.get::<_, Vec<u8>>(1)
                    && let Some((batch, packed)) = SalvagedBatch::parse(&bytes)
                {
                    if direction == Direction::Forwards {
                        known = batch.last;
                    } else {
                        *above = batch.first;
                    }
                    chunk.push((batch, packed));
                }
            }
            Ok(None) if direction == Direction::Forwards => *above = known,
            Ok(None) | Err(_) => {}
        }
        if ended || chunk.len() == CHUNK {
            insert_chunk(&mut chunk, into, mark_salvaged)?;
        }
        if ended {
            return Ok(known);
        }
    }
}

fn insert_chunk(
    chunk: &mut Vec<(SalvagedBatch, TrackBatch)>,
    into: &mut Connection,
    mark_salvaged: &mut Salvaged,
) -> rusqlite::Result<()> {
    let transaction = into.transaction()?;
    for (batch, packed) in chunk.drain(..) {
        let points = batch.insert(&transaction, &packed)?;
        mark_salvaged.points += points;
        mark_salvaged.batches += u64::from(points > 0);
    }
    transaction.commit()
}

/// Salvages batches between two numbers from the bytes of `file`.
fn scan_bytes(
    file: &Path,
    below: i64,
    above: i64,
    into: &mut Connection,
    mark_salvaged: &mut Salvaged,
) -> rusqlite::Result<io::Result<()>> {
    if below >= above {
        return Ok(Ok(()));
    }
    let mut file = match File::open(file) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(())),
        Err(error) => return Ok(Err(error)),
    };
    let mut window = Vec::new();
    loop {
        let before = window.len();
        let read = match (&mut file).take(WINDOW_BYTES as u64).read_to_end(&mut window) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        let at_end = read == 0;
        let until = if at_end { window.len() } else { window.len().saturating_sub(MAX_BATCH_LEN) };
        let transaction = into.transaction()?;
        let at = batches_in(&window, until, below..above, &transaction, mark_salvaged)?;
        transaction.commit()?;
        if at_end {
            return Ok(Ok(()));
        }
        window.drain(..until.max(at).min(window.len()));
        debug_assert!(window.len() <= before + WINDOW_BYTES, "the window must be bounded");
    }
}

/// Salvages the batches that start in the first `until` bytes and lie within `between`. Returns the
/// end of the last one.
fn batches_in(
    window: &[u8],
    until: usize,
    between: Range<i64>,
    into: &Connection,
    mark_salvaged: &mut Salvaged,
) -> rusqlite::Result<usize> {
    let mut at = 0;
    while let Some(next) = find_magic(&window[at..], until.saturating_sub(at)) {
        at += next;
        let Some((batch, packed)) = leading_batch(&window[at..]).and_then(SalvagedBatch::parse)
        else {
            at += MAGIC.len();
            continue;
        };
        if batch.first > between.start && batch.last < between.end {
            let points = overlay(into, &batch, &packed)?;
            mark_salvaged.points += points;
            mark_salvaged.batches += u64::from(points > 0);
            mark_salvaged.found_in_bytes += u64::from(points > 0);
        }
        at += batch.bytes.len();
    }
    Ok(at)
}

/// Returns where a batch may start in the first `until` bytes.
fn find_magic(bytes: &[u8], until: usize) -> Option<usize> {
    bytes.windows(MAGIC.len()).take(until).position(|window| *window == MAGIC)
}

/// Inserts a batch. Of several states of one row, the widest wins: an open row that grew, or a pair
/// before and after thinning. Rows never overlap, so of an overlapping batch only the remainder is
/// inserted. Returns how many points were added.
fn overlay(into: &Connection, batch: &SalvagedBatch, packed: &TrackBatch) -> rusqlite::Result<u64> {
    let range = Seq::new(unsigned(batch.first))..=Seq::new(unsigned(batch.last));
    let known = track_rows::rows_in(into, &range, usize::MAX >> 1)?;
    if known.iter().any(|row| row.first <= batch.first && row.last >= batch.last) {
        return Ok(0);
    }
    let (narrower, with_suffix): (Vec<_>, Vec<_>) =
        known.into_iter().partition(|row| row.first >= batch.first && row.last <= batch.last);
    let mut replaced = 0;
    for row in narrower {
        row.delete(into)?;
        replaced += row.n;
    }
    let is_beside = |seq: Seq| {
        with_suffix.iter().any(|row| (row.first..=row.last).contains(&signed(seq.get())))
    };
    let rest: Vec<_> = packed.points.iter().filter(|(seq, _)| !is_beside(*seq)).copied().collect();
    if let Some(open) = OpenBatch::from_points(&rest) {
        open.write(into, packed.level, None)?;
    }
    Ok((rest.len() as u64).saturating_sub(replaced))
}
