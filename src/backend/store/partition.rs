//! The trail on PostgreSQL: a partition for each day (UTC), made ahead, dropped when its day is past keeping.
//!
//! - Days, not months: what is kept for 60 days is not kept for 90, and a day goes by `DROP`, which leaves no dead rows. Sixty
//!   partitions cost a question for a van's day nothing, since the time in it names one.
//! - No fix is refused for its time: what no day holds goes to `track_late`, which is nearly always empty, since days are made
//!   before they begin. When it is not (nobody was running, an outbox was weeks old) its rows move to their days here.
//! - A day is attached and never made in place, for that takes no lock that stops who writes.

use std::time::Duration;

use super::{Engine, Statement, Store, StoreError, Value};
use crate::units::UtcTime;

const DAY_MS: i64 = 86_400_000;

/// Days that are made before they begin: an instance may be down for a weekend.
const AHEAD: i64 = 3;

/// Days that `track_late` is emptied of in one go; the next hour has the next.
const LATE: i64 = 16;

/// Days as numbers since 1970.
fn day_of(time: UtcTime) -> i64 {
    time.as_unix_ms().div_euclid(DAY_MS)
}

/// `track_d20760`: by the number of the day, which needs no calendar.
fn name(day: i64) -> String {
    format!("track_d{day}")
}

fn day_of_name(name: &str) -> Option<i64> {
    name.strip_prefix("track_d")?.parse().ok()
}

/// Makes a day, with what `track_late` has of it.
fn make(day: i64) -> String {
    let (name, from, until) = (name(day), day * DAY_MS, (day + 1) * DAY_MS);
    format!(
        "CREATE TABLE {name} (LIKE track INCLUDING ALL); \
         LOCK TABLE track_late IN ACCESS EXCLUSIVE MODE; \
         INSERT INTO {name} SELECT * FROM track_late WHERE time >= {from} AND time < {until}; \
         DELETE FROM track_late WHERE time >= {from} AND time < {until}; \
         ALTER TABLE track ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({until})"
    )
}

impl Store {
    /// Makes the days to come, and those of late fixes, on PostgreSQL; on SQLite writes its log into the file. Once an hour.
    ///
    /// # Errors
    /// [`StoreError`]; what it did not do the next time will.
    pub async fn maintain(&self, now: UtcTime) -> Result<(), StoreError> {
        match &self.engine {
            Engine::Sqlite(engine) => engine.checkpoint().await,
            Engine::Postgres(engine) => {
                let there = self.days().await?;
                let today = day_of(now);
                let late = Statement::new(
                    "SELECT DISTINCT time / 86400000 FROM track_late ORDER BY 1 DESC LIMIT $1",
                    [Value::from(LATE)],
                );
                let late = self.read(late).await?;
                let wanted = (today - 1..=today + AHEAD).chain(late.iter().map(|row| row.int(0)));
                let mut missing: Vec<i64> = wanted.filter(|day| !there.contains(day)).collect();
                missing.sort_unstable();
                missing.dedup();
                for day in missing {
                    match engine.alter(&make(day)).await {
                        // Another instance has made it.
                        Err(StoreError::Refused(_)) if self.days().await?.contains(&day) => {}
                        other => other?,
                    }
                }
                Ok(())
            }
        }
    }

    /// Days of the trail that have a partition.
    async fn days(&self) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT CAST(relname AS TEXT) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
                   WHERE inhparent = 'track'::regclass";
        let rows = self.read(Statement::new(sql, [])).await?;
        Ok(rows.iter().filter_map(|row| day_of_name(row.text(0))).collect())
    }

    /// Removes fixes of before `cutoff`: whole days on PostgreSQL, and a day that is not over stays until it is; how many
    /// fixes, or at least one for each day that went.
    pub(super) async fn purge_track(&self, cutoff: UtcTime) -> Result<u64, StoreError> {
        match &self.engine {
            Engine::Sqlite(_) => self.purge_track_in_slices(cutoff).await,
            Engine::Postgres(engine) => {
                let late =
                    Statement::new("DELETE FROM track_late WHERE time < $1", [cutoff.into()]);
                let mut purged = self.write(vec![late]).await?[0].changed;
                for day in self.days().await?.into_iter().filter(|day| *day < day_of(cutoff)) {
                    let name = name(day);
                    let sql = format!("SELECT COUNT(*) FROM {name}");
                    purged += self.read(Statement::new(sql, [])).await?[0].count(0).max(1);
                    match engine.alter(&format!("DROP TABLE IF EXISTS {name}")).await {
                        // Somebody reads it for long: the next hour.
                        Err(StoreError::Unreachable(_)) => break,
                        other => other?,
                    }
                }
                Ok(purged)
            }
        }
    }

    /// Each slice is a transaction of some ten milliseconds, and others write between two of them.
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
                let changed = self.write(vec![slice]).await?[0].changed;
                purged += changed;
                if changed == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
