//! What the backend knows, kept once: SQLite in a file, or PostgreSQL for any number of instances.
//!
//! - One text of each statement ([`sql`]), two engines, one suite of tests for both (`tests/it/store/`).
//! - What is written twice is there once: every insertion names its key and does nothing where the key is.
//! - [`Store::write`] is one transaction, on disk when it returns. A record is acknowledged to the broker after that.
//! - Each file beside this one has the statements of one subject.

pub mod announce;
mod audit;
pub mod backup;
pub mod commands;
mod downlink;
pub mod erase;
pub mod events;
pub mod export;
mod gaps;
mod ingest;
pub mod jobs;
pub mod parcels;
mod partition;
mod postgres;
pub mod retention;
pub mod routes;
mod schema;
pub mod situation;
pub mod sql;
mod sqlite;
pub mod subscribers;
mod tls;
pub mod wanted;

use std::path::PathBuf;

pub use audit::{Look, Poison, masked};
pub use downlink::WaitingRoute;
pub use ingest::{Arrival, MAX_POISON_BYTES, Taken};
pub use sql::{Outcome, Row, Statement, Value};

use self::announce::Announcer;
use self::postgres::Postgres;
use self::sqlite::Sqlite;

/// Where everything is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this file.
    Sqlite(PathBuf),
    /// On a server, by a URL as libpq reads it. It may have a password.
    Postgres(String),
}

/// Without the password.
impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

/// Why the store did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened: somebody must act.
    #[error("{place}: {error}")]
    Open {
        /// The file or server.
        place: String,
        /// What the database says.
        error: String,
    },
    /// It does not answer: the same may work later.
    #[error("the database does not answer: {0}")]
    Unreachable(String),
    /// Another instance's transaction crossed ours: the same works again.
    #[error("another transaction was first: {0}")]
    Crossed(String),
    /// It will not do this.
    #[error("the database refuses: {0}")]
    Refused(String),
}

/// Whether a URL of PostgreSQL can be used, with the files that it names.
///
/// # Errors
/// What is wrong with it, without the URL.
pub(in crate::backend) fn check_url(url: &str) -> Result<(), String> {
    match tls::Address::read(url) {
        Ok(_) => Ok(()),
        Err(StoreError::Open { error, .. }) => Err(error),
        Err(other) => Err(other.to_string()),
    }
}

/// The store. Clones are one store.
#[derive(Clone, Debug)]
pub struct Store {
    engine: Engine,
    announcer: Announcer,
}

/// Why a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// By an instance, which brings the tables up to date. Nobody else may have the file, if it is one.
    Service,
    /// By a command, also while an instance runs: the tables must be today's.
    Command,
}

#[derive(Clone, Debug)]
enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Store {
    /// Opens it, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`] if somebody must act, [`StoreError::Unreachable`] if the server may come back.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::open_for(config, For::Service).await
    }

    /// Opens it for a command, also while an instance runs. What it writes, that instance does not hear of.
    ///
    /// # Errors
    /// [`StoreError::Open`] if there is none, or its tables are not this program's: only [`Store::open`] makes and changes them.
    pub async fn open_beside(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::open_for(config, For::Command).await
    }

    async fn open_for(config: &StoreConfig, why: For) -> Result<Self, StoreError> {
        let engine = match config {
            StoreConfig::Sqlite(path) => Engine::Sqlite(Sqlite::open(path, why).await?),
            StoreConfig::Postgres(url) => Engine::Postgres(Postgres::open(url, why).await?),
        };
        Ok(Self { engine, announcer: Announcer::default() })
    }

    /// Runs one question beside everything else.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        match &self.engine {
            Engine::Sqlite(engine) => engine.read(statement).await,
            Engine::Postgres(engine) => engine.read(statement).await,
        }
    }

    /// Asks about keys, thousands at once: see [`Statement::about`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn read_about(
        &self,
        sql: &str,
        before: &[Value],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for question in Statement::about(sql, before, keys) {
            rows.extend(self.read(question).await?);
        }
        Ok(rows)
    }

    /// Runs statements in one transaction: all or none, on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; then none of them has happened, unless the connection was lost at the very end.
    pub async fn write(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, StoreError> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        match &self.engine {
            Engine::Sqlite(engine) => engine.write(statements).await,
            Engine::Postgres(engine) => engine.write(statements).await,
        }
    }
}
