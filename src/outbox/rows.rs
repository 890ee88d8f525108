//! Rows of the file: what is found at the start, and how records come in and the oldest go.

use rusqlite::{Connection, Transaction, params};

use super::OutboxConfig;
use super::retention::{Room, to_evict};
use super::schema::{self, PAGE_BYTES, Refusal, pages, signed, unsigned};
use super::seq_file::Reservation;
use crate::core::record::{Record, Seq, Subject};
use crate::wire::stored;

/// What a row takes beside its subject: key, kind, time and cell header.
const ROW_OVERHEAD_BYTES: usize = 24;

/// `kind` of [`Subject::Point`].
const KIND_POINT: i64 = 1;

pub(super) fn connect(config: &OutboxConfig) -> Result<(Connection, Found), Refusal> {
    let mut connection = schema::connect(&config.path, config.max_pages())?;
    match Found::read(&mut connection) {
        Ok(found) => Ok((connection, found)),
        Err(error) => {
            drop(connection);
            Err(schema::refusal(&config.path, error))
        }
    }
}

/// What an existing file says.
#[derive(Debug)]
pub(super) struct Found {
    pub reservation: Reservation,
    pub newest: Seq,
    pub pending: u64,
    pub dropped: u64,
    pub state: Vec<u8>,
}

impl Found {
    fn read(connection: &mut Connection) -> rusqlite::Result<Self> {
        let transaction = connection.transaction()?;
        // Once at each start: an agent that was upgraded meanwhile may be able to read them.
        let back =
            transaction.execute("INSERT OR IGNORE INTO record SELECT * FROM unreadable", [])?;
        transaction.execute("DELETE FROM unreadable", [])?;
        transaction.execute("UPDATE meta SET pending = pending + ?1", [signed(back as u64)])?;
        let newest: Option<i64> =
            transaction.query_row("SELECT max(seq) FROM record", [], |row| row.get(0))?;
        let found = transaction.query_row(
            "SELECT session, seq_reserved, pending, dropped, state FROM meta",
            [],
            |row| {
                let number = |column| row.get::<_, i64>(column).map(unsigned);
                Ok(Self {
                    reservation: Reservation {
                        session: number(0)?,
                        reserved: Seq::new(number(1)?),
                    },
                    newest: Seq::new(newest.map_or(0, unsigned)),
                    pending: number(2)?,
                    dropped: number(3)?,
                    state: row.get(4)?,
                })
            },
        )?;
        transaction.commit()?;
        Ok(found)
    }
}

/// A record as it is stored.
pub(super) struct Row {
    seq: i64,
    kind: i64,
    utc_ms: i64,
    subject: Vec<u8>,
}

impl Row {
    pub(super) fn of(record: &Record) -> Self {
        let Subject::Point(point) = &record.subject;
        Self {
            seq: signed(record.seq.get()),
            kind: KIND_POINT,
            utc_ms: point.fix.utc.as_unix_ms(),
            subject: stored::encode(&record.subject),
        }
    }
}

/// Inserts, and returns how many were new: a commit that is repeated after a doubtful error changes nothing.
pub(super) fn insert(transaction: &Transaction<'_>, rows: &[Row]) -> rusqlite::Result<u64> {
    let mut statement = transaction.prepare(
        "INSERT OR IGNORE INTO record(seq, kind, utc_ms, subject) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let mut inserted = 0;
    for Row { seq, kind, utc_ms, subject } in rows {
        inserted += statement.execute(params![seq, kind, utc_ms, subject])?;
    }
    Ok(inserted as u64)
}

/// Evicts until `rows` fit; returns how many of `pending` records went.
pub(super) fn make_room(
    transaction: &Transaction<'_>,
    rows: &[Row],
    max_pages: u64,
    pending: u64,
) -> rusqlite::Result<u64> {
    let incoming = rows.iter().map(|row| row.subject.len() + ROW_OVERHEAD_BYTES).sum::<usize>();
    let mut evicted = 0;
    loop {
        let used_pages =
            pages(transaction, "page_count")?.saturating_sub(pages(transaction, "freelist_count")?);
        let records = pending.saturating_sub(evicted);
        let room = Room { page_bytes: PAGE_BYTES, used_pages, max_pages, records };
        let count = to_evict(room, incoming as u64);
        if count == 0 {
            return Ok(evicted);
        }
        transaction.execute("DELETE FROM unreadable", [])?;
        let gone = transaction.execute(
            "DELETE FROM record WHERE seq IN (SELECT seq FROM record ORDER BY seq LIMIT ?1)",
            params![signed(count)],
        )?;
        if gone == 0 {
            return Ok(evicted);
        }
        evicted += gone as u64;
    }
}
