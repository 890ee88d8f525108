//! Older files → the schema of this agent, in steps that a power cut may end anywhere.
//!
//! Version 1 had a row for each point, version 2 no documents and no events. The tables change in one transaction; the
//! rows are packed in some more, oldest first, and an agent that finds rows of the old kind goes on with them.

use rusqlite::{Connection, Transaction, params};

use super::batches::Open;
use super::schema::{BATCH_TABLE, DOCUMENT_TABLE, VERSION, signed, unsigned};
use crate::core::record::{Seq, Subject};
use crate::wire::stored;

/// `kind` of a point that has a row of its own.
pub(super) const KIND_POINT: i64 = 1;

/// Rows in one transaction: half a megabyte.
const CHUNK: u64 = 4096;

/// From version `from` to this agent's: the tables.
pub(super) fn begin(connection: &mut Connection, from: i32) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    if from < 2 {
        batches_from_rows(&transaction)?;
    }
    transaction.execute_batch(DOCUMENT_TABLE)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn batches_from_rows(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(BATCH_TABLE)?;
    for column in ["state_seq", "thinned", "finished_0", "finished_1", "finished_2"] {
        let add = format!("ALTER TABLE meta ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0");
        transaction.execute(&add, [])?;
    }
    transaction.execute("ALTER TABLE meta ADD COLUMN receiver_baud INTEGER", [])?;
    // What was committed was committed up to the newest row, also if that has been deleted since.
    transaction
        .execute("UPDATE meta SET state_seq = coalesce((SELECT max(seq) FROM record), 0)", [])
        .map(drop)
}

/// Packs rows of version 1; returns how many there were.
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
    let mut open: Option<Open> = None;
    for (seq, subject) in &rows {
        match stored::decode(subject) {
            Ok(Subject::Point(point)) => {
                let seq = Seq::new(unsigned(*seq));
                if let Some(full) = Open::push(&mut open, seq, &point.rounded()) {
                    full.write(&transaction, 0, None)?;
                }
            }
            Err(error) => {
                tracing::warn!(seq, %error, "stored record cannot be read, kept aside");
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
