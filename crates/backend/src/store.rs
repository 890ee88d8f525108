//! The backend's database: SQLite in a file, or PostgreSQL for any number of instances.
//!
//! - Each statement has one text ([`sql`]) for both engines, and one test suite covers both
//!   (`tests/it/store/`).
//! - Inserts are idempotent: each names its key and does nothing if the key exists.
//! - [`Store::write`] runs one transaction, which is on disk when it returns. Only then is a record
//!   acknowledged to the broker.
//! - Each submodule has the statements of one subject.

pub mod assignments;
mod audit;
pub mod backup;
pub mod capture_jobs;
pub mod change_notify;
pub mod commands;
pub mod epcis_queries;
pub mod erase;
pub mod event_query;
pub mod events;
pub mod export;
mod gaps;
mod ingest;
pub mod instances;
pub mod parcels;
mod partition;
mod pending_routes;
mod postgres;
mod postgres_tls;
pub mod retention;
pub mod routes;
mod schema;
pub mod sql;
mod sqlite;
pub mod subscribers;
pub mod tracking_queries;

use std::path::PathBuf;

pub use audit::{AuditEntry, DeadLetter, mask_number};
pub use ingest::{IncomingMessage, IngestResult, MAX_DEAD_LETTER_BYTES};
pub use pending_routes::PendingRoute;
pub use sql::{QueryResult, Row, Statement, Value};

use self::change_notify::ChangeNotifier;
use self::postgres::Postgres;
use self::sqlite::Sqlite;

/// Location of the database.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// SQLite file.
    Sqlite(PathBuf),
    /// PostgreSQL server, by a libpq URL, which may contain a password.
    Postgres(String),
}

/// Omits the password.
impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

/// Errors of the store, by the reaction of the caller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened; an operator must act.
    #[error("{place}: {error}")]
    Open {
        /// File or server.
        place: String,
        /// Message of the database.
        error: String,
    },
    /// The database is unavailable; a retry may succeed.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// Conflict with another instance's transaction; a retry succeeds.
    #[error("transaction conflict: {0}")]
    Conflict(String),
    /// The database rejected the statement; a retry fails again.
    #[error("rejected by the database: {0}")]
    Rejected(String),
}

/// Checks a PostgreSQL URL and the files that it names.
///
/// # Errors
/// Returns the problem, without quoting the URL.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    match postgres_tls::ConnectionUrl::parse(url) {
        Ok(_) => Ok(()),
        Err(StoreError::Open { error, .. }) => Err(error),
        Err(other) => Err(other.to_string()),
    }
}

/// Handle of the database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    engine: Engine,
    notifier: ChangeNotifier,
}

/// Kind of work that statements belong to. With PostgreSQL each has its own connections and time
/// limits, so that a locked table does not hold up the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Requests of clients: fail within seconds.
    Requests,
    /// Messages of vans.
    Ingest,
    /// All other tasks.
    Background,
}

/// Purpose of opening the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenMode {
    /// A service instance: migrates the schema and locks the SQLite file.
    Service,
    /// A command, possibly beside a running instance: requires the current schema.
    Command,
}

#[derive(Clone, Debug)]
enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Store {
    /// Opens the database and migrates its schema.
    ///
    /// # Errors
    /// [`StoreError::Open`] if an operator must act, `StoreError::Unavailable` if the server may
    /// become available.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::open_with_mode(config, OpenMode::Service).await
    }

    /// Opens the database for a command, possibly beside a running instance. The instance is not
    /// notified of its writes.
    ///
    /// # Errors
    /// [`StoreError::Open`] if there is no database or its schema is not current; only
    /// [`Store::open`] creates and migrates it.
    pub async fn open_for_command(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::open_with_mode(config, OpenMode::Command).await
    }

    async fn open_with_mode(config: &StoreConfig, why: OpenMode) -> Result<Self, StoreError> {
        let engine = match config {
            StoreConfig::Sqlite(path) => Engine::Sqlite(Sqlite::open(path, why).await?),
            StoreConfig::Postgres(url) => Engine::Postgres(Postgres::open(url, why).await?),
        };
        Ok(Self { engine, notifier: ChangeNotifier::default() })
    }

    /// Returns a handle for a kind of work. A new handle is for requests.
    #[must_use]
    pub fn for_workload(&self, workload: Workload) -> Self {
        let engine = match &self.engine {
            Engine::Sqlite(engine) => Engine::Sqlite(engine.clone()),
            Engine::Postgres(engine) => Engine::Postgres(engine.for_workload(workload)),
        };
        Self { engine, notifier: self.notifier.clone() }
    }

    /// Runs one query, concurrently with other operations.
    pub async fn read(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        match &self.engine {
            Engine::Sqlite(engine) => engine.read(statement).await,
            // Boxed, since its future is large, and a query is a part of many futures.
            Engine::Postgres(engine) => Box::pin(engine.read(statement)).await,
        }
    }

    /// Queries by thousands of keys; see `Statement::batched`.
    async fn read_batched(
        &self,
        sql: &str,
        before: &[Value],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for probe in Statement::batched(sql, before, keys) {
            rows.extend(self.read(probe).await?);
        }
        Ok(rows)
    }

    /// Runs statements in one transaction, on disk when this returns.
    ///
    /// # Errors
    /// On an error none of the statements took effect, unless the connection was lost during the
    /// commit.
    pub async fn write(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>, StoreError> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        match &self.engine {
            Engine::Sqlite(engine) => engine.write(statements).await,
            Engine::Postgres(engine) => Box::pin(engine.write(statements)).await,
        }
    }
}
