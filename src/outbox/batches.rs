//! Points of the trail ↔ rows of `batch`, about a hundred to a row and a row to a page.
//!
//! The newest row is open: each transaction writes it again in its place, with the journey's state in it, and touches one
//! page. A row that is full is closed, and only ever thinned, cut, or deleted.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::schema::{signed, unsigned};
use crate::core::record::{Record, Seq, Subject, TrackPoint};
use crate::units::UtcTime;
use crate::wire::packed::{MAX_POINTS, Packed, PackedError, Packer, Precision, unpack};

/// What fits into a page of 1024 bytes beside the other columns: SQLite keeps 989 bytes of a row in the page, and what is
/// longer takes a page of its own.
pub(super) const MAX_BATCH_BYTES: usize = 900;

/// `kind` of a batch in `unreadable`.
pub(super) const KIND_BATCH: i64 = 0;

/// The row that grows.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub packer: Packer,
    /// UTC of its first point.
    pub utc_ms: i64,
    /// The earliest UTC of its points: one that is astray into the future does not make the others old.
    pub earliest_utc_ms: i64,
}

impl Open {
    fn new(seq: Seq, point: &TrackPoint) -> Self {
        let utc_ms = point.fix.utc.as_unix_ms();
        let packer = Packer::new(seq, point, Precision::Kept);
        Self { packer, utc_ms, earliest_utc_ms: utc_ms }
    }

    /// Adds a point if there is room for it.
    fn add(&mut self, seq: Seq, point: &TrackPoint, max_bytes: usize) -> bool {
        let fits = self.packer.push(seq, point, max_bytes);
        if fits {
            self.earliest_utc_ms = self.earliest_utc_ms.min(point.fix.utc.as_unix_ms());
        }
        fits
    }

    /// Of points that are in one row; `None` if there are none.
    pub(super) fn of(points: &[(Seq, TrackPoint)]) -> Option<Self> {
        let ((seq, point), rest) = points.split_first()?;
        let mut open = Self::new(*seq, point);
        for (seq, point) in rest {
            // What came from one row goes into one, also if it grows by some bytes.
            let _ = open.add(*seq, point, usize::MAX);
        }
        Some(open)
    }

    pub(super) fn count(&self) -> u64 {
        u64::from(self.packer.count())
    }

    /// Whether it is the same row with the same points.
    pub(super) fn is_as(&self, other: Option<&Self>) -> bool {
        let points = |open: &Self| (open.packer.first(), open.packer.last(), open.packer.count());
        other.is_some_and(|other| points(self) == points(other))
    }

    /// Adds a point; if the row has no room for it, a new one is begun, and the full one comes back.
    pub(super) fn push(open: &mut Option<Self>, seq: Seq, point: &TrackPoint) -> Option<Self> {
        if let Some(open) = open
            && open.add(seq, point, MAX_BATCH_BYTES)
        {
            return None;
        }
        open.replace(Self::new(seq, point))
    }

    /// Writes the row: with the state if it is the open one.
    pub(super) fn write(
        &self,
        connection: &Connection,
        level: u8,
        state: Option<&[u8]>,
    ) -> rusqlite::Result<()> {
        let Self { packer, utc_ms, .. } = self;
        let (first, last) = (signed(packer.first().get()), signed(packer.last().get()));
        connection
            .prepare(
                "INSERT INTO batch(first, last, n, utc_ms, level, state, p) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT(first) DO UPDATE SET last = ?2, n = ?3, utc_ms = ?4, level = ?5, state = ?6, p = ?7",
            )?
            .execute(params![first, last, packer.count(), utc_ms, level, state, packer.pack(level)])
            .map(drop)
    }
}

/// A row without its points: what its columns say. The points have a checksum, the columns have none, so what is deleted,
/// sent, or counted is decided by the points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Where it stands.
    pub first: i64,
    pub last: i64,
    pub n: u64,
    pub level: u8,
}

/// What is wrong with a row.
#[derive(Debug)]
pub(super) enum Fault {
    Unreadable(PackedError),
    /// It stands at another number than that of its first point.
    Misplaced(Packed),
}

impl Row {
    /// A column that has become of another type is as good as none.
    pub(super) fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let first: i64 = row.get(0)?;
        let n = row.get::<_, i64>(2).map_or(1, unsigned);
        let n = if (1..=u64::from(MAX_POINTS)).contains(&n) { n } else { 1 };
        Ok(Self { first, last: row.get(1).unwrap_or(first), n, level: row.get(3).unwrap_or(0) })
    }

    /// Its points, and what they say of it; of a row that cannot be read, only its place is sure.
    pub(super) fn read(
        self,
        connection: &Connection,
    ) -> rusqlite::Result<(Self, Result<Packed, PackedError>)> {
        let mut statement = connection.prepare("SELECT p FROM batch WHERE first = ?1")?;
        let packed = statement.query_row([self.first], |row| {
            Ok(unpack(row.get_ref(0)?.as_blob().unwrap_or_default()))
        })?;
        let row = match &packed {
            Ok(Packed { points, level }) => Self {
                last: points.last().map_or(self.first, |(seq, _)| signed(seq.get())),
                n: points.len() as u64,
                level: *level,
                ..self
            },
            Err(_) => Self { last: self.first, ..self },
        };
        Ok((row, packed))
    }

    pub(super) fn delete(self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("DELETE FROM batch WHERE first = ?1")?;
        statement.execute([self.first]).map(drop)
    }

    /// Out of the way of those that can be read, and kept for a newer agent or a curious person.
    pub(super) fn move_away(
        self,
        connection: &Connection,
        error: &PackedError,
    ) -> rusqlite::Result<()> {
        connection.execute(
            "INSERT OR REPLACE INTO unreadable
             SELECT first, ?2, CAST(coalesce(utc_ms, 0) AS INTEGER), CAST(coalesce(p, x'') AS BLOB)
             FROM batch WHERE first = ?1",
            params![self.first, KIND_BATCH],
        )?;
        self.delete(connection)?;
        tracing::warn!(seq = self.first, count = self.n, %error, "stored points cannot be read, kept aside");
        Ok(())
    }

    /// Puts the row to its place, or away; returns how many points are there no more.
    pub(super) fn set_right(self, connection: &Connection, fault: &Fault) -> rusqlite::Result<u64> {
        match fault {
            Fault::Unreadable(error) => self.move_away(connection, error)?,
            Fault::Misplaced(packed) => {
                self.delete(connection)?;
                let Some(open) = Open::of(&packed.points) else { return Ok(self.n) };
                // Two rows with one first number are two states of one row.
                let taken = connection
                    .prepare("SELECT 1 FROM batch WHERE first = ?1")?
                    .exists([signed(open.packer.first().get())])?;
                if !taken {
                    open.write(connection, packed.level, None)?;
                    return Ok(0);
                }
            }
        }
        Ok(self.n)
    }
}

/// The rows that may have points in `range`, ascending, at most `limit`.
pub(super) fn rows_in(
    connection: &Connection,
    range: &RangeInclusive<Seq>,
    limit: usize,
) -> rusqlite::Result<Vec<Row>> {
    connection
        .prepare(
            "SELECT first, last, n, level FROM batch
             WHERE first >= coalesce((SELECT max(first) FROM batch WHERE first <= ?1), 0)
             AND first <= ?2 ORDER BY first LIMIT ?3",
        )?
        .query_map(
            params![signed(range.start().get()), signed(range.end().get()), signed(limit as u64)],
            Row::of,
        )?
        .collect()
}

/// What was read, and what cannot be.
#[derive(Debug)]
pub(super) struct Reading {
    pub records: Vec<Record>,
    pub unreadable: Vec<(Row, Fault)>,
}

/// Points above `seq` and up to `until`, at least `limit` of them if there are as many; what cannot be read, or is not in
/// its place, comes back beside them.
pub(super) fn after(
    connection: &Connection,
    seq: Seq,
    until: Seq,
    limit: usize,
) -> rusqlite::Result<Reading> {
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    let mut statement = connection.prepare(
        "SELECT first, last, n, level, p FROM batch
         WHERE first >= coalesce((SELECT max(first) FROM batch WHERE first <= ?1), 0)
         AND first <= ?2 ORDER BY first",
    )?;
    let mut rows = statement.query([signed(seq.next().get()), signed(until.get())])?;
    while records.len() < limit {
        let Some(row) = rows.next()? else { break };
        match unpack(row.get_ref(4)?.as_blob().unwrap_or_default()) {
            Ok(packed) if first_of(&packed) != Some(row.get(0)?) => {
                unreadable.push((Row::of(row)?, Fault::Misplaced(packed)));
            }
            Ok(Packed { points, .. }) => {
                let wanted =
                    points.iter().filter(|(number, _)| (seq.next()..=until).contains(number));
                records.extend(
                    wanted
                        .map(|(seq, point)| Record { seq: *seq, subject: Subject::Point(*point) }),
                );
            }
            Err(error) => unreadable.push((Row::of(row)?, Fault::Unreadable(error))),
        }
    }
    Ok(Reading { records, unreadable })
}

/// The number at which a row with these points stands.
pub(super) fn first_of(packed: &Packed) -> Option<i64> {
    packed.points.first().map(|(seq, _)| signed(seq.get()))
}

/// Deletes the points of `range`; a row that has others too is written again without them. Returns how many went from
/// closed rows.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    open: &mut Option<Open>,
    range: &RangeInclusive<Seq>,
) -> rusqlite::Result<u64> {
    let mut removed = 0;
    let open_first = open.as_ref().map(|open| signed(open.packer.first().get()));
    for row in rows_in(transaction, range, usize::MAX >> 1)? {
        let is_open = Some(row.first) == open_first;
        let (row, packed) = row.read(transaction)?;
        let rest = match packed {
            Err(error) => {
                row.move_away(transaction, &error)?;
                None
            }
            Ok(Packed { points, level }) => {
                let left: Vec<_> =
                    points.into_iter().filter(|(seq, _)| !range.contains(seq)).collect();
                if left.len() as u64 == row.n {
                    continue;
                }
                row.delete(transaction)?;
                let rest = Open::of(&left);
                if let Some(rest) = &rest {
                    // An open one is written again at the end of the transaction, with the state.
                    rest.write(transaction, level, None)?;
                }
                rest
            }
        };
        if is_open {
            *open = rest;
        } else {
            removed += row.n.saturating_sub(rest.as_ref().map_or(0, Open::count));
        }
    }
    Ok(removed)
}

/// First number and UTC of the oldest batch; none if there is no batch.
pub(super) fn oldest(connection: &Connection) -> rusqlite::Result<Option<(Seq, Option<UtcTime>)>> {
    let oldest: Option<(i64, Option<i64>)> = connection
        .prepare("SELECT first, utc_ms FROM batch ORDER BY first LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1).unwrap_or_default())))
        .optional()?;
    let utc = |utc_ms: Option<i64>| utc_ms.and_then(UtcTime::from_unix_ms);
    Ok(oldest.map(|(first, utc_ms)| (Seq::new(unsigned(first)), utc(utc_ms))))
}

/// Points in closed rows, counted; a row that has lost its number counts as one.
pub(super) fn count_closed(connection: &Connection, open: Option<Seq>) -> rusqlite::Result<u64> {
    connection
        .prepare(
            "SELECT coalesce(sum(CASE WHEN n BETWEEN 1 AND ?1 THEN n ELSE 1 END), 0) FROM batch
             WHERE first IS NOT ?2",
        )?
        .query_row(params![MAX_POINTS, open.map(|open| signed(open.get()))], |row| row.get(0))
        .map(unsigned)
}
