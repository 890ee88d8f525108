//! Metadata of an existing database, and rows of events.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::event_buffer::EncodedEvent;
use super::retention::ThinningProgress;
use super::schema::{signed, unsigned};
use super::seq_file::Reservation;
use super::state_docs;
use super::track_rows::{BatchRow, KIND_BATCH, OpenBatch, first_seq};
use crate::outbox::record_codec::{self, RecordCodecError};
use waypost_model::event::EventRecord;
use waypost_model::record::Seq;
use waypost_model::units::UtcTime;
use waypost_wire::track_codec::unpack;

/// Value of `kind` for an event.
pub(super) const KIND_EVENT: i64 = 2;

/// The row of the table `meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub reservation: Reservation,
    /// Points in closed rows, plus events. The points of the open row are not included.
    pub closed: u64,
    pub thinned: u64,
    pub dropped: u64,
    /// Encoded trip state, if there is no open row that holds it.
    pub state: Vec<u8>,
    /// Highest committed number when this row was written.
    pub state_seq: Seq,
    pub van: String,
    pub finished: ThinningProgress,
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

/// Content of an existing database.
#[derive(Debug)]
pub(super) struct OpenedFile {
    pub meta: Meta,
    pub open: Option<OpenBatch>,
    /// Encoded trip state after `durable`.
    pub state: Vec<u8>,
    /// Points up to this number are on flash or acknowledged.
    pub durable: Seq,
    /// Highest number of a stored event.
    pub newest_event: Seq,
    pub events: u64,
    pub documents: Vec<(String, Vec<u8>)>,
}

impl OpenedFile {
    pub(super) fn read(connection: &mut Connection) -> rusqlite::Result<Self> {
        let transaction = connection.transaction()?;
        let mut meta = Meta::read(&transaction)?;
        let before = meta.clone();
        meta.closed += restore_readable(&transaction)?;
        // Event numbers are irrelevant here: a point with a lower number may be stored later.
        let mut durable = meta.state_seq;
        let (mut open, mut state) = (None, meta.state.clone());
        let row = transaction
            .prepare("SELECT first, last, n, level, state FROM batch ORDER BY first DESC LIMIT 1")?
            .query_row([], |row| {
                Ok((BatchRow::from_row(row)?, row.get::<_, Option<Vec<u8>>>(4).unwrap_or_default()))
            })
            .optional()?;
        if let Some((row, its_state)) = row {
            let (row, packed) = row.read(&transaction)?;
            durable = durable.max(Seq::new(unsigned(row.last)));
            if let Some(its_state) = its_state {
                state = its_state;
                match packed {
                    Ok(packed) => {
                        open = OpenBatch::from_points(&packed.points);
                        if first_seq(&packed) != Some(row.first)
                            && let Some(open) = &open
                        {
                            row.delete(&transaction)?;
                            open.write(&transaction, packed.level, Some(&state))?;
                        }
                    }
                    Err(error) => {
                        row.quarantine(&transaction, &error)?;
                        (meta.state, meta.state_seq) = (state.clone(), durable);
                    }
                }
            }
        }
        if meta != before {
            meta.write(&transaction)?;
        }
        let newest_event = newest(&transaction)?;
        let (events, documents) = (count(&transaction)?, state_docs::read(&transaction)?);
        transaction.commit()?;
        Ok(Self { meta, open, state, durable, newest_event, events, documents })
    }
}

/// Restores quarantined rows that this agent can read, for example after an upgrade. Called once
/// per start; returns how many records were restored.
fn restore_readable(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let mut back = 0;
    let rows: Vec<(i64, i64, Vec<u8>)> = transaction
        .prepare("SELECT seq, kind, subject FROM unreadable WHERE seq > 0 ORDER BY seq LIMIT 1000")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (seq, kind, bytes) in rows {
        back += match kind {
            _ if record_codec::decode_event(&bytes).is_ok() => transaction.execute(
                "INSERT OR IGNORE INTO record SELECT seq, ?2, utc_ms, subject FROM unreadable WHERE seq = ?1",
                [seq, KIND_EVENT],
            )? as u64,
            KIND_BATCH => {
                let Some(open) = unpack(&bytes).ok().and_then(|packed| OpenBatch::from_points(&packed.points))
                else {
                    continue;
                };
                open.write(transaction, 0, None)?;
                open.count()
            }
            _ => continue,
        };
        transaction.execute("DELETE FROM unreadable WHERE seq = ?1", [seq])?;
    }
    Ok(back)
}

/// Inserts an event. Returns false if it was there already.
pub(super) fn insert(connection: &Connection, event: &EncodedEvent) -> rusqlite::Result<bool> {
    connection
        .prepare("INSERT OR IGNORE INTO record VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![signed(event.seq.get()), KIND_EVENT, event.utc.as_unix_ms(), event.bytes])
        .map(|inserted| inserted == 1)
}

/// Why a row cannot be used as it is.
#[derive(Debug)]
pub(super) enum EventRowError {
    Unreadable(RecordCodecError),
    /// The event has this number, but the row has another key.
    Misplaced(Seq),
}

/// Events that were read, and rows that need repair.
#[derive(Debug, Default)]
pub(super) struct EventsRead {
    pub events: Vec<EventRecord>,
    pub faults: Vec<(i64, EventRowError)>,
}

/// Reads at most `limit` events above `seq`, without those in `arrived`. Unreadable and misplaced
/// rows are returned separately.
pub(super) fn read_after(
    connection: &Connection,
    seq: Seq,
    limit: usize,
    arrived: &BTreeSet<Seq>,
) -> rusqlite::Result<EventsRead> {
    let mut reading = EventsRead::default();
    let mut statement =
        connection.prepare("SELECT seq, subject FROM record WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = statement.query([signed(seq.get())])?;
    while reading.events.len() < limit {
        let Some(row) = rows.next()? else { break };
        let number: i64 = row.get(0)?;
        let seq = Seq::new(unsigned(number));
        if arrived.contains(&seq) {
            continue;
        }
        match record_codec::decode_event(row.get_ref(1)?.as_blob().unwrap_or_default()) {
            Ok(event) if event.seq == seq => reading.events.push(event),
            Ok(event) => reading.faults.push((number, EventRowError::Misplaced(event.seq))),
            Err(error) => reading.faults.push((number, EventRowError::Unreadable(error))),
        }
    }
    Ok(reading)
}

/// Moves a misplaced row to its key and quarantines an unreadable one. Returns whether the event
/// was removed from the table.
pub(super) fn repair(
    connection: &Connection,
    seq: i64,
    fault: &EventRowError,
) -> rusqlite::Result<bool> {
    match fault {
        EventRowError::Misplaced(place) => {
            let moved = connection.execute(
                "UPDATE OR IGNORE record SET seq = ?2 WHERE seq = ?1",
                [seq, signed(place.get())],
            )?;
            // If both rows hold the same event, delete this one.
            connection.execute("DELETE FROM record WHERE seq = ?1", [seq])?;
            Ok(moved == 0)
        }
        EventRowError::Unreadable(error) => quarantine(connection, seq, error).map(|()| true),
    }
}

fn quarantine(connection: &Connection, seq: i64, error: &RecordCodecError) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO unreadable
         SELECT seq, CAST(coalesce(kind, -1) AS INTEGER), CAST(coalesce(utc_ms, 0) AS INTEGER),
         CAST(coalesce(subject, x'') AS BLOB) FROM record WHERE seq = ?1",
        [seq],
    )?;
    connection.execute("DELETE FROM record WHERE seq = ?1", [seq])?;
    tracing::warn!(seq, %error, "stored record unreadable: row quarantined");
    Ok(())
}

/// Deletes the event with this number. Returns false if it was not there.
pub(super) fn remove(transaction: &Transaction<'_>, seq: Seq) -> rusqlite::Result<bool> {
    let mut statement = transaction.prepare("DELETE FROM record WHERE seq = ?1")?;
    statement.execute([signed(seq.get())]).map(|removed| removed == 1)
}

/// Returns number and UTC of the oldest event.
pub(super) fn oldest(connection: &Connection) -> rusqlite::Result<Option<(Seq, UtcTime)>> {
    let row: Option<(i64, i64)> = connection
        .prepare("SELECT seq, utc_ms FROM record ORDER BY seq LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1).unwrap_or_default())))
        .optional()?;
    Ok(row.map(|(seq, utc_ms)| {
        let utc = UtcTime::from_unix_ms(utc_ms).or_else(|| UtcTime::from_unix_ms(0));
        (Seq::new(unsigned(seq)), utc.expect("1970 is a valid UTC year"))
    }))
}

fn newest(connection: &Connection) -> rusqlite::Result<Seq> {
    let newest = connection
        .query_row("SELECT max(seq) FROM record", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(Seq::new(newest.map_or(0, unsigned)))
}

pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT count(*) FROM record", [], |row| row.get(0)).map(unsigned)
}
