//! What an existing file says, and the rows of what is no point.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::batches::{KIND_BATCH, Open, Reading, Row, first_of};
use super::migrate::{self, KIND_POINT};
use super::retention::Finished;
use super::schema::{signed, unsigned};
use super::seq_file::Reservation;
use crate::core::record::{Record, Seq, Subject};
use crate::wire::packed::unpack;
use crate::wire::stored::{self, StoredError};

/// The row of `meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub reservation: Reservation,
    /// Points in closed rows and records that are none: the open row counts itself.
    pub closed: u64,
    pub thinned: u64,
    pub dropped: u64,
    /// The state, when there is no open row to hold it.
    pub state: Vec<u8>,
    /// The highest number that was committed when this row was written.
    pub state_seq: Seq,
    pub van: String,
    pub finished: Finished,
}

impl Meta {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        connection.query_row(
            "SELECT session, seq_reserved, pending, thinned, dropped, state, state_seq, van,
             finished_0, finished_1, finished_2 FROM meta",
            [],
            |row| {
                let number = |column| row.get::<_, i64>(column).map(unsigned);
                Ok(Self {
                    reservation: Reservation {
                        session: number(0)?,
                        reserved: Seq::new(number(1)?),
                    },
                    closed: number(2)?,
                    thinned: number(3)?,
                    dropped: number(4)?,
                    state: row.get(5)?,
                    state_seq: Seq::new(number(6)?),
                    van: row.get(7)?,
                    finished: [row.get(8)?, row.get(9)?, row.get(10)?],
                })
            },
        )
    }

    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let [finished_0, finished_1, finished_2] = self.finished;
        connection
            .execute(
                "UPDATE meta SET session = ?1, seq_reserved = ?2, pending = ?3, thinned = ?4, dropped = ?5,
                 state = ?6, state_seq = ?7, van = ?8, finished_0 = ?9, finished_1 = ?10, finished_2 = ?11",
                params![
                    signed(self.reservation.session),
                    signed(self.reservation.reserved.get()),
                    signed(self.closed),
                    signed(self.thinned),
                    signed(self.dropped),
                    self.state,
                    signed(self.state_seq.get()),
                    self.van,
                    finished_0,
                    finished_1,
                    finished_2,
                ],
            )
            .map(drop)
    }
}

/// What an existing file says.
#[derive(Debug)]
pub(super) struct Found {
    pub meta: Meta,
    pub open: Option<Open>,
    /// The state after `durable`, encoded.
    pub state: Vec<u8>,
    pub durable: Seq,
}

impl Found {
    pub(super) fn read(connection: &mut Connection) -> rusqlite::Result<Self> {
        migrate::pack_rows(connection)?;
        let transaction = connection.transaction()?;
        let mut meta = Meta::read(&transaction)?;
        let before = meta.clone();
        meta.closed += try_again(&transaction)?;
        let newest = |column: &str, table: &str| {
            let sql = format!("SELECT {column} FROM {table} ORDER BY 1 DESC LIMIT 1");
            let newest = transaction.query_row(&sql, [], |row| row.get::<_, i64>(0)).optional();
            newest.map(|newest| Seq::new(newest.map_or(0, unsigned)))
        };
        let mut durable = meta.state_seq.max(newest("seq", "record")?);
        let (mut open, mut state) = (None, meta.state.clone());
        let row = transaction
            .prepare("SELECT first, last, n, level, state FROM batch ORDER BY first DESC LIMIT 1")?
            .query_row([], |row| {
                Ok((Row::of(row)?, row.get::<_, Option<Vec<u8>>>(4).unwrap_or_default()))
            })
            .optional()?;
        if let Some((row, its_state)) = row {
            let (row, packed) = row.read(&transaction)?;
            durable = durable.max(Seq::new(unsigned(row.last)));
            if let Some(its_state) = its_state {
                state = its_state;
                match packed {
                    Ok(packed) => {
                        open = Open::of(&packed.points);
                        if first_of(&packed) != Some(row.first)
                            && let Some(open) = &open
                        {
                            row.delete(&transaction)?;
                            open.write(&transaction, packed.level, Some(&state))?;
                        }
                    }
                    Err(error) => {
                        row.move_away(&transaction, &error)?;
                        (meta.state, meta.state_seq) = (state.clone(), durable);
                    }
                }
            }
        }
        if meta != before {
            meta.write(&transaction)?;
        }
        transaction.commit()?;
        Ok(Self { meta, open, state, durable })
    }
}

/// Once at each start: an agent that was upgraded meanwhile may be able to read what the old one could not. Returns how
/// many it can.
fn try_again(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let mut back = 0;
    let rows: Vec<(i64, i64, Vec<u8>)> = transaction
        .prepare("SELECT seq, kind, subject FROM unreadable WHERE seq > 0 ORDER BY seq LIMIT 1000")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (seq, kind, bytes) in rows {
        back += match kind {
            KIND_BATCH => {
                let Some(open) = unpack(&bytes).ok().and_then(|packed| Open::of(&packed.points))
                else {
                    continue;
                };
                open.write(transaction, 0, None)?;
                open.count()
            }
            KIND_POINT => {
                let Ok(Subject::Point(point)) = stored::decode(&bytes) else { continue };
                let seq = Seq::new(unsigned(seq));
                let Some(open) = Open::of(&[(seq, point.rounded())]) else { continue };
                open.write(transaction, 0, None)?;
                1
            }
            _ if stored::decode(&bytes).is_ok() => transaction.execute(
                "INSERT OR IGNORE INTO record SELECT * FROM unreadable WHERE seq = ?1",
                [seq],
            )? as u64,
            _ => continue,
        };
        transaction.execute("DELETE FROM unreadable WHERE seq = ?1", [seq])?;
    }
    Ok(back)
}

/// What is no point above `seq` and up to `until`; what cannot be read comes back beside it.
pub(super) fn after(
    connection: &Connection,
    seq: Seq,
    until: Seq,
    limit: usize,
) -> rusqlite::Result<Reading<(i64, StoredError)>> {
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    let mut statement = connection.prepare(
        "SELECT seq, subject FROM record WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
    )?;
    let range = params![signed(seq.get()), signed(until.get()), signed(limit as u64)];
    let mut rows = statement.query(range)?;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        match stored::decode(row.get_ref(1)?.as_blob().unwrap_or_default()) {
            Ok(subject) => records.push(Record { seq: Seq::new(unsigned(seq)), subject }),
            Err(error) => unreadable.push((seq, error)),
        }
    }
    Ok(Reading { records, unreadable })
}

pub(super) fn move_away(
    connection: &Connection,
    seq: i64,
    error: &StoredError,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO unreadable
         SELECT seq, CAST(coalesce(kind, -1) AS INTEGER), CAST(coalesce(utc_ms, 0) AS INTEGER),
         CAST(coalesce(subject, x'') AS BLOB) FROM record WHERE seq = ?1",
        [seq],
    )?;
    connection.execute("DELETE FROM record WHERE seq = ?1", [seq])?;
    tracing::warn!(seq, %error, "stored record cannot be read, kept aside");
    Ok(())
}

pub(super) fn remove(
    transaction: &Transaction<'_>,
    range: &RangeInclusive<Seq>,
) -> rusqlite::Result<u64> {
    let removed = transaction.execute(
        "DELETE FROM record WHERE seq BETWEEN ?1 AND ?2",
        [signed(range.start().get()), signed(range.end().get())],
    )?;
    Ok(removed as u64)
}

/// Whether there is one.
pub(super) fn any(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS(SELECT 1 FROM record)", [], |row| row.get(0))
}

pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT count(*) FROM record", [], |row| row.get(0)).map(unsigned)
}
