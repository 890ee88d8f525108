//! Rows of the table `batch`: about 100 track points per row, one row per page.
//!
//! The newest row is open. Each transaction rewrites it in place, together with the trip state, and
//! touches one page. A full row is closed. Closed rows are only thinned, cut or deleted.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::schema::{signed, unsigned};
use waypost_model::record::{Record, Seq, Subject, TrackPoint};
use waypost_model::units::UtcTime;
use waypost_wire::track_codec::{
    MAX_POINTS, Precision, TrackBatch, TrackBatchBuilder, TrackBatchError, unpack,
};

/// Maximum size of a packed batch. SQLite keeps up to 989 bytes of a row in a page of 1024 bytes; a
/// longer row needs an overflow page. The remainder is for the other columns.
pub(super) const MAX_BATCH_BYTES: usize = 900;

/// Value of `kind` for a batch in the table `unreadable`.
pub(super) const KIND_BATCH: i64 = 0;

/// The open row, to which points are appended.
#[derive(Clone, Debug)]
pub(super) struct OpenBatch {
    pub packer: TrackBatchBuilder,
    /// UTC of the first point.
    pub utc_ms: i64,
    /// Earliest UTC of the points. A single point with a date in the future does not make the
    /// others look old.
    pub earliest_utc_ms: i64,
}

impl OpenBatch {
    fn new(seq: Seq, point: &TrackPoint) -> Self {
        let utc_ms = point.fix.utc.as_unix_ms();
        let packer = TrackBatchBuilder::new(seq, point, Precision::Stored);
        Self { packer, utc_ms, earliest_utc_ms: utc_ms }
    }

    /// Appends a point. Returns false if it does not fit.
    fn add(&mut self, seq: Seq, point: &TrackPoint, max_bytes: usize) -> bool {
        let fits = self.packer.push(seq, point, max_bytes);
        if fits {
            self.earliest_utc_ms = self.earliest_utc_ms.min(point.fix.utc.as_unix_ms());
        }
        fits
    }

    /// Builds a row from points that share one row. Returns `None` if there are no points.
    pub(super) fn from_points(points: &[(Seq, TrackPoint)]) -> Option<Self> {
        let ((seq, point), rest) = points.split_first()?;
        let mut open = Self::new(*seq, point);
        for (seq, point) in rest {
            // The points came from one row and stay in one row, even if it grows by a few bytes.
            let _ = open.add(*seq, point, usize::MAX);
        }
        Some(open)
    }

    pub(super) fn count(&self) -> u64 {
        u64::from(self.packer.count())
    }

    /// Whether both are the same row with the same points.
    pub(super) fn eq_points(&self, other: Option<&Self>) -> bool {
        let points = |open: &Self| (open.packer.first(), open.packer.last(), open.packer.count());
        other.is_some_and(|other| points(self) == points(other))
    }

    /// Appends a point. If the row is full, opens a new row and returns the full one.
    pub(super) fn push(open: &mut Option<Self>, seq: Seq, point: &TrackPoint) -> Option<Self> {
        if let Some(open) = open
            && open.add(seq, point, MAX_BATCH_BYTES)
        {
            return None;
        }
        open.replace(Self::new(seq, point))
    }

    /// Writes the row. Only the open row has a `state`.
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

/// The columns of a row without its points. Only the points have a checksum, so deletion, sending
/// and counting rely on the points and not on the columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchRow {
    /// Primary key of the row.
    pub first: i64,
    pub last: i64,
    pub n: u64,
    pub level: u8,
}

/// Why a row cannot be used as it is.
#[derive(Debug)]
pub(super) enum RowError {
    Unreadable(TrackBatchError),
    /// The key of the row differs from the number of its first point.
    Misplaced(TrackBatch),
}

impl BatchRow {
    /// Reads the columns. A column of the wrong type gets its default.
    pub(super) fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let first: i64 = row.get(0)?;
        let n = row.get::<_, i64>(2).map_or(1, unsigned);
        let n = if (1..=u64::from(MAX_POINTS)).contains(&n) { n } else { 1 };
        Ok(Self { first, last: row.get(1).unwrap_or(first), n, level: row.get(3).unwrap_or(0) })
    }

    /// Reads the points and corrects the columns by them. For an unreadable row, only the key is
    /// reliable.
    pub(super) fn read(
        self,
        connection: &Connection,
    ) -> rusqlite::Result<(Self, Result<TrackBatch, TrackBatchError>)> {
        let mut statement = connection.prepare("SELECT p FROM batch WHERE first = ?1")?;
        let packed = statement.query_row([self.first], |row| {
            Ok(unpack(row.get_ref(0)?.as_blob().unwrap_or_default()))
        })?;
        let row = match &packed {
            Ok(TrackBatch { points, level }) => Self {
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

    /// Moves the row to the table `unreadable`, so that it does not block readable rows. A newer
    /// agent may be able to read it.
    pub(super) fn quarantine(
        self,
        connection: &Connection,
        error: &TrackBatchError,
    ) -> rusqlite::Result<()> {
        connection.execute(
            "INSERT OR REPLACE INTO unreadable
             SELECT first, ?2, CAST(coalesce(utc_ms, 0) AS INTEGER), CAST(coalesce(p, x'') AS BLOB)
             FROM batch WHERE first = ?1",
            params![self.first, KIND_BATCH],
        )?;
        self.delete(connection)?;
        tracing::warn!(seq = self.first, count = self.n, %error, "stored points unreadable: row quarantined");
        Ok(())
    }

    /// Moves a misplaced row to its key and quarantines an unreadable one. Returns how many points
    /// were removed from the table.
    pub(super) fn repair(self, connection: &Connection, fault: &RowError) -> rusqlite::Result<u64> {
        match fault {
            RowError::Unreadable(error) => self.quarantine(connection, error)?,
            RowError::Misplaced(packed) => {
                self.delete(connection)?;
                let Some(open) = OpenBatch::from_points(&packed.points) else { return Ok(self.n) };
                // Two rows with the same first number are two states of one row.
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

/// Lists the rows that may hold points in `range`, in ascending order, at most `limit`.
pub(super) fn rows_in(
    connection: &Connection,
    range: &RangeInclusive<Seq>,
    limit: usize,
) -> rusqlite::Result<Vec<BatchRow>> {
    connection
        .prepare(
            "SELECT first, last, n, level FROM batch
             WHERE first >= coalesce((SELECT max(first) FROM batch WHERE first <= ?1), 0)
             AND first <= ?2 ORDER BY first LIMIT ?3",
        )?
        .query_map(
            params![signed(range.start().get()), signed(range.end().get()), signed(limit as u64)],
            BatchRow::from_row,
        )?
        .collect()
}

/// Points that were read, and rows that need repair.
#[derive(Debug)]
pub(super) struct PointsRead {
    pub records: Vec<Record>,
    pub unreadable: Vec<(BatchRow, RowError)>,
}

/// Reads points above `seq` up to `until`, at least `limit` if there are that many. Unreadable and
/// misplaced rows are returned separately.
pub(super) fn read_after(
    connection: &Connection,
    seq: Seq,
    until: Seq,
    limit: usize,
) -> rusqlite::Result<PointsRead> {
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
            Ok(packed) if first_seq(&packed) != Some(row.get(0)?) => {
                unreadable.push((BatchRow::from_row(row)?, RowError::Misplaced(packed)));
            }
            Ok(TrackBatch { points, .. }) => {
                let wanted =
                    points.iter().filter(|(number, _)| (seq.next()..=until).contains(number));
                records.extend(
                    wanted
                        .map(|(seq, point)| Record { seq: *seq, subject: Subject::Point(*point) }),
                );
            }
            Err(error) => unreadable.push((BatchRow::from_row(row)?, RowError::Unreadable(error))),
        }
    }
    Ok(PointsRead { records, unreadable })
}

/// The key under which a row with these points belongs.
pub(super) fn first_seq(packed: &TrackBatch) -> Option<i64> {
    packed.points.first().map(|(seq, _)| signed(seq.get()))
}

/// Deletes the points of `range` and rewrites rows that also hold others. Returns how many points
/// were removed from closed rows.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    open: &mut Option<OpenBatch>,
    range: &RangeInclusive<Seq>,
) -> rusqlite::Result<u64> {
    let mut removed = 0;
    let open_first = open.as_ref().map(|open| signed(open.packer.first().get()));
    for row in rows_in(transaction, range, usize::MAX >> 1)? {
        let is_open = Some(row.first) == open_first;
        let (row, packed) = row.read(transaction)?;
        let rest = match packed {
            Err(error) => {
                row.quarantine(transaction, &error)?;
                None
            }
            Ok(TrackBatch { points, level }) => {
                let left: Vec<_> =
                    points.into_iter().filter(|(seq, _)| !range.contains(seq)).collect();
                if left.len() as u64 == row.n {
                    continue;
                }
                row.delete(transaction)?;
                let rest = OpenBatch::from_points(&left);
                if let Some(rest) = &rest {
                    // The open row is written again, with the state, at the end of the transaction.
                    rest.write(transaction, level, None)?;
                }
                rest
            }
        };
        if is_open {
            *open = rest;
        } else {
            removed += row.n.saturating_sub(rest.as_ref().map_or(0, OpenBatch::count));
        }
    }
    Ok(removed)
}

/// Returns the first number and UTC of the oldest batch, or `None` if there is no batch.
pub(super) fn oldest(connection: &Connection) -> rusqlite::Result<Option<(Seq, Option<UtcTime>)>> {
    let oldest: Option<(i64, Option<i64>)> = connection
        .prepare("SELECT first, utc_ms FROM batch ORDER BY first LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1).unwrap_or_default())))
        .optional()?;
    let utc = |utc_ms: Option<i64>| utc_ms.and_then(UtcTime::from_unix_ms);
    Ok(oldest.map(|(first, utc_ms)| (Seq::new(unsigned(first)), utc(utc_ms))))
}

/// Counts the points in closed rows. A row with an invalid `n` counts as one point.
pub(super) fn count_closed(connection: &Connection, open: Option<Seq>) -> rusqlite::Result<u64> {
    connection
        .prepare(
            "SELECT coalesce(sum(CASE WHEN n BETWEEN 1 AND ?1 THEN n ELSE 1 END), 0) FROM batch
             WHERE first IS NOT ?2",
        )?
        .query_row(params![MAX_POINTS, open.map(|open| signed(open.get()))], |row| row.get(0))
        .map(unsigned)
}
