//! Instances of the backend and their heartbeats.
//!
//! An instance that is gone leaves a session at the broker, in which its share of the messages
//! waits. It stays registered until it returns, or until another one adopts the session.

use std::time::Duration;

use serde::Serialize;

use super::{Engine, Statement, Store, StoreError};
use waypost_model::units::UtcTime;

/// Interval of heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// An instance without a heartbeat for this time is absent.
pub const ABSENT_AFTER: Duration = Duration::from_millis(ABSENT_AFTER_MS.unsigned_abs());
const ABSENT_AFTER_MS: i64 = 30_000;

/// Records from this long before the last heartbeat may wait in the session of an absent instance.
const MARGIN_MS: i64 = 60_000;

/// A registered instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// MQTT client identifier.
    pub client_id: String,
    /// Group that shares the messages of the vans.
    pub share_group: String,
    /// Version of the program.
    pub version: String,
    /// Time of its start.
    pub started_at: UtcTime,
    /// Time of its last heartbeat.
    pub heard_at: UtcTime,
}

impl Instance {
    /// Whether the instance is gone.
    #[must_use]
    pub fn is_absent(&self, now: UtcTime) -> bool {
        self.silence(now) >= ABSENT_AFTER
    }

    /// Time since the last heartbeat.
    #[must_use]
    pub fn silence(&self, now: UtcTime) -> Duration {
        let silence_ms = now.as_unix_ms() - self.heard_at.as_unix_ms();
        Duration::from_millis(u64::try_from(silence_ms).unwrap_or(0))
    }
}

/// An absent instance and what is known to wait in its session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AbsentInstance {
    /// MQTT client identifier.
    pub client_id: String,
    /// Time of its last heartbeat, RFC 3339.
    pub last_heartbeat: String,
    /// Events that are provably missing since then: a later event names them as its predecessor.
    /// Points and the newest event of a van may be missing as well.
    pub events_missing: u64,
    /// Vans with such an event.
    pub vans_affected: u64,
}

impl Store {
    /// Registers an instance at its start.
    pub async fn register_instance(
        &self,
        client_id: &str,
        share_group: &str,
        now: UtcTime,
    ) -> Result<(), StoreError> {
        let values =
            [client_id.into(), share_group.into(), env!("CARGO_PKG_VERSION").into(), now.into()];
        let register = "INSERT INTO instance (client_id, share_group, version, started_at, heard_at, leaving) \
             VALUES ($1, $2, $3, $4, $4, 0) ON CONFLICT (client_id) DO UPDATE SET share_group = excluded.share_group, \
             version = excluded.version, started_at = excluded.started_at, heard_at = excluded.heard_at, leaving = 0";
        self.write(vec![Statement::new(register, values)]).await.map(drop)
    }

    /// Records a heartbeat. Returns whether the instance is registered.
    pub async fn heartbeat(&self, client_id: &str, now: UtcTime) -> Result<bool, StoreError> {
        let beat = "UPDATE instance SET heard_at = $2 WHERE client_id = $1";
        let results =
            self.write(vec![Statement::new(beat, [client_id.into(), now.into()])]).await?;
        Ok(results[0].rows_affected > 0)
    }

    /// Returns all registered instances by client identifier.
    pub async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        let sql = "SELECT client_id, share_group, version, started_at, heard_at FROM instance ORDER BY client_id";
        let rows = self.read(Statement::new(sql, [])).await?;
        Ok(rows
            .iter()
            .map(|row| Instance {
                client_id: row.text(0).to_owned(),
                share_group: row.text(1).to_owned(),
                version: row.text(2).to_owned(),
                started_at: row.utc(3),
                heard_at: row.utc(4),
            })
            .collect())
    }

    /// Begins the orderly stop of an instance. Returns whether another one of its group remains to
    /// take its share of the messages. If several stop at once, the last one has none.
    pub async fn begin_leaving(
        &self,
        client_id: &str,
        share_group: &str,
        now: UtcTime,
    ) -> Result<bool, StoreError> {
        // Changes all rows of the group, so that two such transactions cannot overlap.
        let mark = "UPDATE instance SET leaving = CASE WHEN client_id = $1 THEN 1 ELSE leaving END WHERE share_group = $2";
        let others = "SELECT COUNT(*) FROM instance WHERE share_group = $2 AND client_id <> $1 AND leaving = 0 AND heard_at > $3";
        let oldest = now.as_unix_ms() - ABSENT_AFTER_MS;
        let results = self
            .write(vec![
                Statement::new(mark, [client_id.into(), share_group.into()]),
                Statement::new(others, [client_id.into(), share_group.into(), oldest.into()]),
            ])
            .await?;
        Ok(results[1].rows[0].int(0) > 0)
    }

    /// Removes an instance whose session at the broker has ended.
    pub async fn remove_instance(&self, client_id: &str) -> Result<(), StoreError> {
        let remove = "DELETE FROM instance WHERE client_id = $1";
        self.write(vec![Statement::new(remove, [client_id.into()])]).await.map(drop)
    }

    /// Returns the absent instances except this one, with what is known to wait for them.
    pub async fn absent_instances(
        &self,
        own_client_id: &str,
        now: UtcTime,
    ) -> Result<Vec<AbsentInstance>, StoreError> {
        let sql = "SELECT COUNT(*), COUNT(DISTINCT event.van) FROM event WHERE captured_at >= $1 AND previous_seq IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM event AS there WHERE there.van = event.van AND there.seq = event.previous_seq)";
        let mut absent = Vec::new();
        for instance in self.instances().await? {
            if instance.client_id == own_client_id || !instance.is_absent(now) {
                continue;
            }
            let since = instance.heard_at.as_unix_ms() - MARGIN_MS;
            let rows = self.read(Statement::new(sql, [since.into()])).await?;
            absent.push(AbsentInstance {
                client_id: instance.client_id,
                last_heartbeat: instance.heard_at.to_string(),
                events_missing: rows[0].count(0),
                vans_affected: rows[0].count(1),
            });
        }
        Ok(absent)
    }

    /// Returns the tables that another session has locked against changes, as CREATE INDEX does.
    pub async fn locked_tables(&self) -> Result<Vec<String>, StoreError> {
        if matches!(self.engine, Engine::Sqlite(_)) {
            return Ok(Vec::new());
        }
        // A partition is reported as its table.
        let sql = "SELECT DISTINCT CAST(COALESCE(whole.relname, class.relname) AS TEXT) FROM pg_locks AS held \
             JOIN pg_class AS class ON class.oid = held.relation JOIN pg_namespace AS space ON space.oid = class.relnamespace \
             LEFT JOIN pg_inherits AS part ON part.inhrelid = class.oid LEFT JOIN pg_class AS whole ON whole.oid = part.inhparent \
             WHERE held.granted AND held.locktype = 'relation' AND class.relkind IN ('r', 'p') \
             AND space.nspname = ANY (current_schemas(false)) \
             AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND held.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') ORDER BY 1";
        let rows = self.read(Statement::new(sql, [])).await?;
        Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
    }
}
