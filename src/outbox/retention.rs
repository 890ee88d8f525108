//! Eviction when the outbox is full or its content is too old. Track points are thinned, oldest
//! first, before any are evicted. Events are evicted last.
//!
//! Thinning merges two neighbouring batches of one level into one. It keeps about every second
//! point and every departure and halt; at the third level, the track has one point per 8 s. A level
//! is completed from the oldest batch to the newest before the next level starts. The database
//! therefore holds at most four sections of decreasing level, and three numbers mark their ends.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};

use super::schema::{PAGE_BYTES, pages, signed};
use super::track_rows::{BatchRow, MAX_BATCH_BYTES, OpenBatch};
use waypost_model::motion::Motion;
use waypost_model::record::{Seq, TrackPoint};
use waypost_wire::track_codec::{TrackBatch, TrackBatchError};

/// Pages that a transaction may need besides its rows: interior nodes, the pointer map and the meta
/// row.
const HEADROOM_PAGES: u64 = 32;

/// Highest thinning level.
pub(super) const MAX_LEVEL: u8 = 3;

/// Events evicted at once. Deleting a handful of small rows frees no page.
const EVENTS_PER_EVICTION: u64 = 64;

/// End of each completed level: below number n, every batch is thinned at least n + 1 times.
pub(super) type ThinningProgress = [i64; MAX_LEVEL as usize];

/// Counts of evicted records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evicted {
    /// Points removed by thinning.
    pub thinned: u64,
    /// Points and events that were evicted.
    pub dropped: u64,
    /// Events among the evicted records.
    pub events: u64,
    /// Highest number that may be affected.
    pub up_to: i64,
}

impl Evicted {
    pub(super) const fn total(self) -> u64 {
        self.thinned + self.dropped
    }
}

/// Evicts records until `incoming_pages` are free, as far as possible. `open` is the first number
/// of the open row.
pub(super) fn make_room(
    transaction: &Transaction<'_>,
    finished: &mut ThinningProgress,
    open: Option<Seq>,
    incoming_pages: u64,
    max_pages: u64,
) -> rusqlite::Result<Evicted> {
    let mut gone = Evicted::default();
    loop {
        let used =
            pages(transaction, "page_count")?.saturating_sub(pages(transaction, "freelist_count")?);
        if used + HEADROOM_PAGES + incoming_pages <= max_pages {
            return Ok(gone);
        }
        transaction.execute("DELETE FROM unreadable", [])?;
        let before = open.map_or(i64::MAX, |open| signed(open.get()));
        if let Some(thinned) = thin(transaction, finished, before)? {
            gone.thinned += thinned;
            gone.up_to = gone.up_to.max(finished.iter().copied().max().unwrap_or(0) - 1);
        } else if let Some(row) = drop_oldest(transaction, before)? {
            gone.dropped += row.n;
            gone.up_to = gone.up_to.max(row.last);
        } else {
            let dropped = drop_events(transaction)?;
            if dropped == 0 {
                return Ok(gone);
            }
            gone.dropped += dropped;
            gone.events += dropped;
        }
    }
}

/// Merges the two oldest neighbouring rows of the lowest level. Returns `None` if there are none.
fn thin(
    transaction: &Transaction<'_>,
    finished: &mut ThinningProgress,
    before: i64,
) -> rusqlite::Result<Option<u64>> {
    for level in 0..MAX_LEVEL {
        let level_at = usize::from(level);
        let end = level_at.checked_sub(1).map_or(before, |lower| finished[lower]);
        let pair: Vec<BatchRow> = transaction
            .prepare(
                "SELECT first, last, n, level FROM batch
                 WHERE first >= ?1 AND first < ?2 ORDER BY first LIMIT 2",
            )?
            .query_map([finished[level_at], end], BatchRow::from_row)?
            .collect::<rusqlite::Result<_>>()?;
        let [older, newer] = pair[..] else { continue };
        let (older, older_points) = older.read(transaction)?;
        let (newer, newer_points) = newer.read(transaction)?;
        let pair = [(older, older_points), (newer, newer_points)];
        finished[level_at] = newer.last + 1;
        if older.level.max(newer.level) != level {
            // A salvaged database is not in this order. Coarser rows keep their level.
            finished[level_at] = newer.first;
            return Ok(Some(0));
        }
        return merge(transaction, pair, level + 1).map(Some);
    }
    Ok(None)
}

/// Merges two rows and returns how many points were removed.
fn merge(
    transaction: &Transaction<'_>,
    pair: [(BatchRow, Result<TrackBatch, TrackBatchError>); 2],
    level: u8,
) -> rusqlite::Result<u64> {
    let (mut points, mut before) = (Vec::new(), 0);
    for (row, packed) in pair {
        before += row.n;
        match packed {
            Ok(packed) => points.extend(packed.points),
            Err(error) => row.quarantine(transaction, &error)?,
        }
        row.delete(transaction)?;
    }
    let mut keep = points.len().div_ceil(2);
    let kept = loop {
        let kept = coarser(&points, keep);
        match fitting(&kept) {
            Some(open) => break Some(open),
            // Points that are further apart need more bytes each.
            None if keep > 2 => keep -= keep.div_ceil(10),
            None => break OpenBatch::from_points(&kept),
        }
    };
    let left = kept.as_ref().map_or(0, OpenBatch::count);
    if let Some(kept) = kept {
        kept.write(transaction, level, None)?;
    }
    Ok(before.saturating_sub(left))
}

/// Selects about `keep` of the points at even intervals, plus both ends and every change of motion.
fn coarser(points: &[(Seq, TrackPoint)], keep: usize) -> Vec<(Seq, TrackPoint)> {
    let mut motion: Option<Motion> = None;
    let of = points.len().saturating_sub(1).max(1);
    let steps = keep.saturating_sub(1).max(1);
    let mut kept = Vec::with_capacity(keep);
    for (index, point) in points.iter().enumerate() {
        let changed = motion.replace(point.1.motion).is_some_and(|before| before != point.1.motion);
        let even = index == 0 || index * steps / of != (index - 1) * steps / of;
        if even || changed {
            kept.push(*point);
        }
    }
    kept
}

fn fitting(points: &[(Seq, TrackPoint)]) -> Option<OpenBatch> {
    OpenBatch::from_points(points).filter(|row| {
        row.packer.len() <= MAX_BATCH_BYTES && usize::from(row.packer.count()) == points.len()
    })
}

fn drop_oldest(transaction: &Transaction<'_>, before: i64) -> rusqlite::Result<Option<BatchRow>> {
    let row = transaction
        .prepare("SELECT first, last, n, level FROM batch WHERE first < ?1 ORDER BY first LIMIT 1")?
        .query_row([before], BatchRow::from_row)
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    let (row, _) = row.read(transaction)?;
    row.delete(transaction)?;
    Ok(Some(row))
}

/// Evicts the oldest events, when no points are left, and logs their numbers.
fn drop_events(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let seqs: Vec<i64> = transaction
        .prepare("DELETE FROM record WHERE seq IN (SELECT seq FROM record ORDER BY seq LIMIT ?1) RETURNING seq")?
        .query_map(params![signed(EVENTS_PER_EVICTION)], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if !seqs.is_empty() {
        tracing::error!(?seqs, "outbox full: oldest events evicted; raise outbox.max_mib");
    }
    Ok(seqs.len() as u64)
}

/// Evicts batches older than `max_age`, by the timestamps of the points. `newest_utc_ms` is the
/// earliest timestamp of a whole batch, and a batch is as old as its latest point. A single fix
/// with a wrong date therefore evicts nothing.
pub(super) fn evict_expired(
    transaction: &Transaction<'_>,
    newest_utc_ms: i64,
    max_age: Duration,
) -> rusqlite::Result<Evicted> {
    let age_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
    let in_time = newest_utc_ms.saturating_sub(age_ms)..=newest_utc_ms;
    let mut gone = Evicted::default();
    loop {
        let oldest: Option<(BatchRow, i64)> = transaction
            .prepare("SELECT first, last, n, level, utc_ms FROM batch ORDER BY first LIMIT 1")?
            .query_row([], |row| Ok((BatchRow::from_row(row)?, row.get(4).unwrap_or(0))))
            .optional()?;
        let Some((row, utc_ms)) = oldest else { return Ok(gone) };
        if in_time.contains(&utc_ms) {
            return Ok(gone);
        }
        let (row, packed) = row.read(transaction)?;
        if packed.map_or(utc_ms, |packed| latest_utc_ms(&packed, newest_utc_ms)) >= *in_time.start()
        {
            return Ok(gone);
        }
        row.delete(transaction)?;
        gone.dropped += row.n;
        gone.up_to = row.last;
    }
}

/// Latest UTC of a row's points up to `newest_utc_ms`. Later timestamps are wrong and must not keep
/// the row, and all rows behind it, for twenty years. A row with only later timestamps is not old.
fn latest_utc_ms(packed: &TrackBatch, newest_utc_ms: i64) -> i64 {
    let times = packed.points.iter().map(|(_, point)| point.fix.utc.as_unix_ms());
    times.filter(|utc_ms| *utc_ms <= newest_utc_ms).max().unwrap_or(i64::MAX)
}

/// Generous estimate of the pages for this number of points. Headroom covers an unusually noisy
/// receiver.
pub(super) const fn pages_for(points: usize) -> u64 {
    (points as u64 * 12).div_ceil(PAGE_BYTES) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::record;
    use waypost_model::record::Subject;

    #[test]
    fn every_second_point_is_kept_and_every_change_of_motion() {
        for (count, keep, halts_at) in [(200, 100, 77), (7, 4, 3), (2, 1, 9), (200, 50, 78)] {
            let points: Vec<_> = (0..count)
                .map(|number| {
                    let motion = if number < halts_at { Motion::Moving } else { Motion::Halted };
                    let Subject::Point(point) = record(Seq::new(number + 1), motion).subject;
                    (Seq::new(number + 1), point)
                })
                .collect();
            let kept: Vec<_> = coarser(&points, keep).iter().map(|(seq, _)| seq.get()).collect();
            assert!((keep..=keep + 2).contains(&kept.len()), "{keep} of {count}: {kept:?}");
            assert!(halts_at >= count || kept.contains(&(halts_at + 1)), "{kept:?}");
            assert_eq!(kept[0], 1);
            let widest = kept.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
            assert!(widest <= (count / keep as u64) + 1, "{kept:?}");
        }
    }
}
