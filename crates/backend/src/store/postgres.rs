//! PostgreSQL engine with automatic reconnection.
//!
//! - A transaction is sent in one pipeline from BEGIN to COMMIT and costs one round trip, whatever
//!   the number of statements. It is atomic even if the waiting task is dropped.
//! - A rejection caused by a message's content is `StoreError::Rejected`. A full disk, a missing
//!   privilege or a server shutdown is `StoreError::Unavailable`, and the message is retried.

mod connection;
mod pool;
mod value;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::{Client, NoTls, error::SqlState};

use self::connection::{PgConnection, spawn_connection};
use self::pool::{Connector, Pools};
use super::postgres_tls::ConnectionUrl;
use super::sql::{QueryResult, Row, Statement};
use super::{OpenMode, StoreError, Workload, schema};

/// Maximum number of retries of a transaction after a conflict with another instance.
const MAX_RETRIES: u32 = 5;

/// Advisory lock that serializes schema changes across instances.
const MIGRATION_LOCK: i64 = 0x0077_6179_706f_7374;

/// Timeout for connecting to the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A PostgreSQL database. Clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct Postgres {
    connector: Connector,
    pools: Arc<Pools>,
    workload: Workload,
}

/// Notifications from other instances, received on a separate connection.
pub(super) type Notifications = tokio::sync::mpsc::UnboundedReceiver<String>;

impl Postgres {
    /// Connects with a libpq URL or keywords. A service migrates the schema; a command checks it.
    pub(super) async fn open(url: &str, why: OpenMode) -> Result<Self, StoreError> {
        let mut address = ConnectionUrl::parse(url)?;
        let config = &mut address.config;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("waypost-backend");
        }
        // Detects within a minute that the server's host is gone.
        config
            .keepalives_idle(CONNECT_TIMEOUT)
            .keepalives_interval(CONNECT_TIMEOUT)
            .keepalives_retries(3);
        config.tcp_user_timeout(CONNECT_TIMEOUT * 3);
        let address = Arc::new(address);
        let this = Self {
            connector: Connector::new(Arc::clone(&address), pool::SCHEMA_SETTINGS),
            pools: Arc::new(Pools::new(&address)),
            workload: Workload::Requests,
        };
        match why {
            OpenMode::Service => this.migrate().await?,
            OpenMode::Command => this.check_tables().await?,
        }
        Ok(this)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let mut connected = self.connector.connect().await?;
        let transaction = connected.client.transaction().await.map_err(map_pg_error)?;
        transaction
            .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(map_pg_error)?;
        transaction
            .batch_execute("CREATE TABLE IF NOT EXISTS migration (version BIGINT PRIMARY KEY)")
            .await
            .map_err(|error| self.connector.map_connect_error(&error))?;
        let version: i64 = transaction
            .query_one("SELECT COALESCE(MAX(version), 0) FROM migration", &[])
            .await
            .map_err(|error| self.connector.map_connect_error(&error))?
            .get(0);
        schema::check_supported(usize::try_from(version).unwrap_or_default())
            .map_err(|error| StoreError::Open { place: self.connector.display_hosts(), error })?;
        for (number, migration) in (1_i64..).zip(schema::MIGRATIONS) {
            if number > version {
                let text = schema::for_postgres(migration);
                transaction
                    .batch_execute(&text)
                    .await
                    .map_err(|error| self.connector.map_connect_error(&error))?;
                transaction
                    .execute("INSERT INTO migration (version) VALUES ($1)", &[&number])
                    .await
                    .map_err(map_pg_error)?;
            }
        }
        transaction.commit().await.map_err(map_pg_error)
    }

    async fn check_tables(&self) -> Result<(), StoreError> {
        let connected = self.connector.connect().await?;
        let there = connected.client.query_one("SELECT to_regclass('migration') IS NOT NULL", &[]);
        let is_there: bool = there.await.map_err(map_pg_error)?.get(0);
        let mut version = 0_i64;
        if is_there {
            let newest = "SELECT COALESCE(MAX(version), 0) FROM migration";
            let row = connected.client.query_one(newest, &[]).await;
            version = row.map_err(|error| self.connector.map_connect_error(&error))?.get(0);
        }
        let version = usize::try_from(version).unwrap_or_default();
        schema::check_current(version)
            .map_err(|error| StoreError::Open { place: self.connector.display_hosts(), error })
    }

    /// Listens on a channel until the connection is lost. No notification after the return of this
    /// call is missed.
    pub(super) async fn listen(&self, channel: &str) -> Result<Notifications, StoreError> {
        self.connector.listen(channel).await
    }

    /// Returns a handle whose statements use the connections and time limits of this workload.
    pub(super) fn for_workload(&self, workload: Workload) -> Self {
        Self { workload, ..self.clone() }
    }

    /// Runs one query. A connection that was lost while idle is no error: the query is repeated on
    /// another one.
    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let pool = self.pools.reading(self.workload);
        loop {
            let mut lease = pool.acquire().await?;
            let result = lease.connection().query(&statement).await;
            let is_usable = lease.give_back(&result).await;
            match result {
                Err(StoreError::Unavailable(_)) if lease.was_idle && !is_usable => {}
                result => return result.map(|outcome| outcome.rows),
            }
        }
    }

    /// Runs statements in one transaction, on disk when this returns.
    pub(super) async fn write(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>, StoreError> {
        let mut lease = self.pools.writing(self.workload).acquire().await?;
        let mut tries = 0;
        loop {
            match lease.connection().transact(&statements).await {
                Err(StoreError::Conflict(_)) if tries < MAX_RETRIES => tries += 1,
                result => {
                    lease.give_back(&result).await;
                    return result;
                }
            }
        }
    }

    /// Runs schema changes in one transaction, one instance at a time. A short lock timeout keeps
    /// other sessions from queueing behind it.
    pub(super) async fn alter(&self, commands: &str) -> Result<(), StoreError> {
        let connected = self.connector.connect().await.map_err(open_to_unavailable)?;
        let text = format!(
            "BEGIN; SET LOCAL lock_timeout = '2s'; SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); {commands}; COMMIT"
        );
        connected.client.batch_execute(&text).await.map_err(map_pg_error)
    }
}

/// After a successful start, connect errors may be transient, for example during a password change.
fn open_to_unavailable(error: StoreError) -> StoreError {
    match error {
        StoreError::Open { error, .. } => StoreError::Unavailable(error),
        other => other,
    }
}

fn describe_error(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Maps an error to the reaction of the caller.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn map_pg_error(error: tokio_postgres::Error) -> StoreError {
    /// SQLSTATE classes (PostgreSQL, appendix A) that concern a message's content or our statement.
    const PERMANENT: [&str; 6] = ["21", "22", "23", "42", "54", "0A"];
    let words = describe_error(&error);
    let Some(code) = error.code() else {
        // Values that cannot be encoded or decoded fail on every attempt.
        let is_ours = error.source().is_none_or(|source| !source.is::<std::io::Error>())
            && !error.is_closed();
        return if is_ours { StoreError::Rejected(words) } else { StoreError::Unavailable(words) };
    };
    if [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code) {
        return StoreError::Conflict(words);
    }
    let is_passing = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::UNDEFINED_TABLE].contains(code);
    if !is_passing && PERMANENT.iter().any(|class| code.code().starts_with(class)) {
        return StoreError::Rejected(words);
    }
    StoreError::Unavailable(words)
}
