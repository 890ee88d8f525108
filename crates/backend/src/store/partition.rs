//! Daily partitions (UTC) of the track table on PostgreSQL: created in advance, dropped after the
//! retention period.
//!
//! - With days instead of months, a retention of 60 days does not keep 90, and `DROP` leaves no
//!   dead rows. Sixty partitions do not slow a query for a van's day, since its time range selects
//!   one.
//! - A fix is accepted whatever its time. Without a partition it is stored in `track_late`, which
//!   is nearly always empty. If no instance ran, or an outbox was weeks old, its rows are moved to
//!   their days here.
//! - A partition is created apart and then attached, which takes no lock that blocks writers.

use std::time::Duration;

use super::retention::MAX_POINTS_PER_RUN;
use super::{Engine, Statement, Store, StoreError, Value};
use waypost_model::units::UtcTime;

const DAY_MS: i64 = 86_400_000;

/// Number of days for which partitions are created in advance, so that an instance may be down for
/// a weekend.
const DAYS_AHEAD: i64 = 3;

/// Maximum number of late days moved out of `track_late` per run; the next hourly run continues.
const MAX_LATE_DAYS: i64 = 16;

/// Maximum number of expired days dropped per run; the next hourly run continues.
const MAX_DAYS_PER_RUN: usize = 7;

/// Number of days since 1970.
fn day_number(time: UtcTime) -> i64 {
    time.as_unix_ms().div_euclid(DAY_MS)
}

/// Name such as `track_d20760`, with the day number, which needs no calendar.
fn partition_name(day: i64) -> String {
    format!("track_d{day}")
}

fn day_from_name(name: &str) -> Option<i64> {
    name.strip_prefix("track_d")?.parse().ok()
}

/// SQL that creates a day's partition and moves its rows from `track_late`.
fn create_partition_sql(day: i64) -> String {
    let (name, from, until) = (partition_name(day), day * DAY_MS, (day + 1) * DAY_MS);
    format!(
        "CREATE TABLE {name} (LIKE track INCLUDING ALL); \
         LOCK TABLE track_late IN ACCESS EXCLUSIVE MODE; \
         INSERT INTO {name} SELECT * FROM track_late WHERE time >= {from} AND time < {until}; \
         DELETE FROM track_late WHERE time >= {from} AND time < {until}; \
         ALTER TABLE track ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({until})"
    )
}

/// What a purge deleted from the track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PurgedTrack {
    /// Fixes that were deleted one by one.
    pub(super) points: u64,
    /// Days that were dropped as a whole.
    pub(super) days: u64,
}

impl Store {
    /// Hourly maintenance: creates future and late partitions on PostgreSQL, checkpoints the log on
    /// SQLite.
    ///
    /// # Errors
    /// On an error the rest is left to the next run.
    pub async fn maintain(&self, now: UtcTime) -> Result<(), StoreError> {
        match &self.engine {
            Engine::Sqlite(engine) => engine.checkpoint().await,
            Engine::Postgres(engine) => {
                let there = self.partition_days().await?;
                let today = day_number(now);
                let backdate = Statement::new(
                    "SELECT DISTINCT time / 86400000 FROM track_late ORDER BY 1 DESC LIMIT $1",
                    [Value::from(MAX_LATE_DAYS)],
                );
                let backdate = self.read(backdate).await?;
                let wanted =
                    (today - 1..=today + DAYS_AHEAD).chain(backdate.iter().map(|row| row.int(0)));
                let mut missing: Vec<i64> = wanted.filter(|day| !there.contains(day)).collect();
                missing.sort_unstable();
                missing.dedup();
                for day in missing {
                    match engine.alter(&create_partition_sql(day)).await {
                        // Another instance has created it.
                        Err(StoreError::Rejected(_))
                            if self.partition_days().await?.contains(&day) => {}
                        other => other?,
                    }
                }
                Ok(())
            }
        }
    }

    /// Days that have a partition.
    async fn partition_days(&self) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT CAST(relname AS TEXT) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
                   WHERE inhparent = 'track'::regclass";
        let rows = self.read(Statement::new(sql, [])).await?;
        Ok(rows.iter().filter_map(|row| day_from_name(row.text(0))).collect())
    }

    /// Deletes fixes before `cutoff`. On PostgreSQL whole days are dropped without counting their
    /// rows, which would read all of them.
    pub(super) async fn purge_track(&self, cutoff: UtcTime) -> Result<PurgedTrack, StoreError> {
        match &self.engine {
            Engine::Sqlite(_) => {
                let points = self.purge_track_in_slices(cutoff).await?;
                Ok(PurgedTrack { points, days: 0 })
            }
            Engine::Postgres(engine) => {
                let backdate =
                    Statement::new("DELETE FROM track_late WHERE time < $1", [cutoff.into()]);
                let mut purged = PurgedTrack {
                    points: self.write(vec![backdate]).await?[0].rows_affected,
                    days: 0,
                };
                for day in self
                    .partition_days()
                    .await?
                    .into_iter()
                    .filter(|day| *day < day_number(cutoff))
                    .take(MAX_DAYS_PER_RUN)
                {
                    match engine
                        .alter(&format!("DROP TABLE IF EXISTS {}", partition_name(day)))
                        .await
                    {
                        Ok(()) => purged.days += 1,
                        // A long query locks the partition; the next hourly run retries.
                        Err(StoreError::Unavailable(_)) => break,
                        Err(error) => return Err(error),
                    }
                }
                Ok(purged)
            }
        }
    }

    /// Deletes in transactions of about ten milliseconds, so that other writers can run in between.
    async fn purge_track_in_slices(&self, cutoff: UtcTime) -> Result<u64, StoreError> {
        const SLICE: &str = "DELETE FROM track WHERE van = $1 AND time < $2 AND time <= (SELECT MAX(time) FROM \
            (SELECT time FROM track WHERE van = $1 AND time < $2 ORDER BY time LIMIT 2000))";
        const NEXT: &str = "SELECT van FROM track WHERE van > $1 ORDER BY van LIMIT 1";
        let mut purged = 0;
        let mut van = String::new();
        loop {
            let next = self.read(Statement::new(NEXT, [van.as_str().into()])).await?;
            let Some(row) = next.first() else { return Ok(purged) };
            row.text(0).clone_into(&mut van);
            loop {
                let slice = Statement::new(SLICE, [van.as_str().into(), cutoff.into()]);
                let changed = self.write(vec![slice]).await?[0].rows_affected;
                purged += changed;
                if purged >= MAX_POINTS_PER_RUN {
                    return Ok(purged);
                }
                if changed == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
