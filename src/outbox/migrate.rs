//! Schema migrations. A power cut between any two steps is safe.
//!
//! Version 1 had one row per point; version 2 had no documents and no events. The tables change in
//! one transaction. The rows are then packed in several transactions, oldest first. An agent that
//! finds rows of version 1 continues packing.

use rusqlite::{Connection, Transaction, params};

use super::schema::{BATCH_TABLE, DOCUMENT_TABLE, VERSION, signed, unsigned};
use super::track_rows::OpenBatch;
use crate::outbox::record_codec;
use waypost_model::record::{Seq, Subject};

/// Value of `kind` for a point with a row of its own.
pub(super) const KIND_POINT: i64 = 1;

/// Rows per transaction, about 0.5 MB.
const CHUNK: u64 = 4096;

/// Migrates the tables from version `from` to the current version.
pub(super) fn migrate_tables(connection: &mut Connection, from: i32) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    if from < 2 {
        migrate_from_v1(&transaction)?;
    }
    transaction.execute_batch(DOCUMENT_TABLE)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn migrate_from_v1(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(BATCH_TABLE)?;
    for column in ["state_seq", "thinned", "finished_0", "finished_1", "finished_2"] {
        let add = format!("ALTER TABLE meta ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0");
        transaction.execute(&add, [])?;
    }
    transaction.execute("ALTER TABLE meta ADD COLUMN receiver_baud INTEGER", [])?;
    // Everything up to the newest row was committed, even if that row was deleted since.
    transaction
        .execute("UPDATE meta SET state_seq = coalesce((SELECT max(seq) FROM record), 0)", [])
        .map(drop)
}

/// Packs the rows of version 1 and returns their number.
pub(super) fn pack_rows(connection: &mut Connection) -> rusqlite::Result<u64> {
    let mut packed = 0;
    loop {
        let chunk = pack_chunk(connection)?;
        packed += chunk;
        if chunk < CHUNK {
            return Ok(packed);
        }
    }
}

fn pack_chunk(connection: &mut Connection) -> rusqlite::Result<u64> {
    let transaction = connection.transaction()?;
    let rows: Vec<(i64, Vec<u8>)> = transaction
        .prepare("SELECT seq, subject FROM record WHERE kind = ?1 ORDER BY seq LIMIT ?2")?
        .query_map(params![KIND_POINT, signed(CHUNK)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut open: Option<OpenBatch> = None;
    for (seq, subject) in &rows {
        match record_codec::decode(subject) {
            Ok(Subject::Point(point)) => {
                let seq = Seq::new(unsigned(*seq));
                if let Some(full) = OpenBatch::push(&mut open, seq, &point.rounded()) {
                    full.write(&transaction, 0, None)?;
                }
            }
            Err(error) => {
                tracing::warn!(seq, %error, "stored record unreadable: row quarantined");
                transaction.execute(
                    "INSERT OR REPLACE INTO unreadable SELECT * FROM record WHERE seq = ?1",
                    [seq],
                )?;
                transaction.execute("UPDATE meta SET pending = max(0, pending - 1)", [])?;
            }
        }
    }
    if let Some(open) = open {
        open.write(&transaction, 0, None)?;
    }
    if let Some((last, _)) = rows.last() {
        transaction.execute(
            "DELETE FROM record WHERE kind = ?1 AND seq <= ?2",
            params![KIND_POINT, last],
        )?;
    }
    transaction.commit()?;
    Ok(rows.len() as u64)
}
