//! Statements → PostgreSQL: connections that come back by themselves.
//!
//! - A transaction goes out as one piece, from BEGIN to COMMIT, and costs one round trip however many statements it has.
//!   So it happens as a whole or not at all also when the task that waits for it is dropped.
//! - What the server refuses for what a message says is [`StoreError::Refused`]. A full disk, a lack of rights, a server that
//!   stops is [`StoreError::Unreachable`]: no fault of the message, which is tried again.

mod connected;
mod value;

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::{Client, NoTls, error::SqlState};

use self::connected::{Connected, started};
use super::sql::{Outcome, Row, Statement};
use super::tls::{Address, Tls};
use super::{For, StoreError, schema};

/// Connections for questions; one more writes.
const READERS: usize = 4;

/// How often a transaction that another instance's crossed is tried.
const TRIES: u32 = 5;

/// No two instances make tables at the same time.
const MIGRATION_LOCK: i64 = 0x0077_6179_706f_7374;

/// A server that does not answer a connection for so long is not there.
const PATIENCE: Duration = Duration::from_secs(10);

/// What each session is told first. No statement of ours takes as long; the server ends one that hangs.
const SESSION: &str = "SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s'; SET client_min_messages = warning";

/// A database on a server. Clones are one set of connections.
#[derive(Clone, Debug)]
pub(super) struct Postgres {
    address: Arc<Address>,
    writer: Arc<Mutex<Option<Connected>>>,
    readers: Arc<Vec<Mutex<Option<Connected>>>>,
    next: Arc<AtomicUsize>,
}

/// What others announce, by a connection of its own.
pub(super) type Notifications = tokio::sync::mpsc::UnboundedReceiver<String>;

impl Postgres {
    /// Connects by a URL or keywords as libpq's. A service brings the database to today's tables; a command finds them.
    pub(super) async fn open(url: &str, why: For) -> Result<Self, StoreError> {
        let mut address = Address::read(url)?;
        let config = &mut address.config;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        if config.get_application_name().is_none() {
            config.application_name("waypost-backend");
        }
        // A server whose machine has gone says nothing more: found within a minute.
        config.keepalives_idle(PATIENCE).keepalives_interval(PATIENCE).keepalives_retries(3);
        config.tcp_user_timeout(PATIENCE * 3);
        let this = Self {
            address: Arc::new(address),
            writer: Arc::default(),
            readers: Arc::new((0..READERS).map(|_| Mutex::default()).collect()),
            next: Arc::default(),
        };
        match why {
            For::Service => this.migrate().await?,
            For::Command => this.check_tables().await?,
        }
        Ok(this)
    }

    /// Who serves, for messages: without the password.
    fn place(&self) -> String {
        format!("{:?}", self.address.config.get_hosts())
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let mut connected = self.connect().await?;
        let transaction = connected.client.transaction().await.map_err(gone)?;
        transaction
            .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(gone)?;
        transaction
            .batch_execute("CREATE TABLE IF NOT EXISTS migration (version BIGINT PRIMARY KEY)")
            .await
            .map_err(|error| self.not_opened(&error))?;
        let version: i64 = transaction
            .query_one("SELECT COALESCE(MAX(version), 0) FROM migration", &[])
            .await
            .map_err(|error| self.not_opened(&error))?
            .get(0);
        schema::known(usize::try_from(version).unwrap_or_default())
            .map_err(|error| StoreError::Open { place: self.place(), error })?;
        for (number, migration) in (1_i64..).zip(schema::MIGRATIONS) {
            if number > version {
                let text = schema::for_postgres(migration);
                transaction.batch_execute(&text).await.map_err(|error| self.not_opened(&error))?;
                transaction
                    .execute("INSERT INTO migration (version) VALUES ($1)", &[&number])
                    .await
                    .map_err(gone)?;
            }
        }
        transaction.commit().await.map_err(gone)
    }

    async fn check_tables(&self) -> Result<(), StoreError> {
        let connected = self.connect().await?;
        let there = connected.client.query_one("SELECT to_regclass('migration') IS NOT NULL", &[]);
        let is_there: bool = there.await.map_err(gone)?.get(0);
        let mut version = 0_i64;
        if is_there {
            let newest = "SELECT COALESCE(MAX(version), 0) FROM migration";
            let row = connected.client.query_one(newest, &[]).await;
            version = row.map_err(|error| self.not_opened(&error))?.get(0);
        }
        let version = usize::try_from(version).unwrap_or_default();
        schema::current(version).map_err(|error| StoreError::Open { place: self.place(), error })
    }

    async fn connect(&self) -> Result<Connected, StoreError> {
        let client = match self.address.tls.clone() {
            None => started(self.address.config.connect(NoTls).await, None),
            Some(tls) => started(self.address.config.connect::<Tls>(tls).await, None),
        };
        self.greeted(client).await
    }

    /// What others announce on a channel, until the connection is lost; from when this returns nothing is missed.
    pub(super) async fn listen(&self, channel: &str) -> Result<Notifications, StoreError> {
        let (sender, notifications) = tokio::sync::mpsc::unbounded_channel();
        let listening = Some(sender);
        let client = match self.address.tls.clone() {
            None => started(self.address.config.connect(NoTls).await, listening),
            Some(tls) => started(self.address.config.connect::<Tls>(tls).await, listening),
        };
        let connected = self.greeted(client).await?;
        connected.client.batch_execute(&format!("LISTEN {channel}")).await.map_err(gone)?;
        connected.stays_open();
        Ok(notifications)
    }

    async fn greeted(
        &self,
        client: Result<Client, tokio_postgres::Error>,
    ) -> Result<Connected, StoreError> {
        let client = client.map_err(|error| self.not_opened(&error))?;
        client.batch_execute(SESSION).await.map_err(gone)?;
        Ok(Connected::new(client))
    }

    /// A server that says why it does not let us in waits for somebody to act.
    fn not_opened(&self, error: &tokio_postgres::Error) -> StoreError {
        const PASSING: [&str; 3] = ["57", "53", "08"];
        match error.code() {
            Some(code) if !PASSING.iter().any(|class| code.code().starts_with(class)) => {
                StoreError::Open { place: self.place(), error: words(error) }
            }
            _ => StoreError::Unreachable(words(error)),
        }
    }

    /// Runs one question.
    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let mut slot = self.reader().await;
        // A connection that was lost while it was idle is no error: the question is asked again by a new one.
        if let Some(connected) = slot.as_mut() {
            match connected.ask(&statement).await {
                Err(StoreError::Unreachable(_)) => *slot = None,
                other => return other.map(|outcome| outcome.rows),
            }
        }
        let mut connected = self.connect().await.map_err(later)?;
        let rows = connected.ask(&statement).await.map(|outcome| outcome.rows);
        *slot = Some(connected);
        rows
    }

    /// A connection that nobody uses, or else the next in turn.
    async fn reader(&self) -> MutexGuard<'_, Option<Connected>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = |offset| &self.readers[(first + offset) % self.readers.len()];
        for offset in 0..self.readers.len() {
            if let Ok(free) = turn(offset).try_lock() {
                return free;
            }
        }
        turn(0).lock().await
    }

    /// Runs statements in one transaction that is on disk when this returns.
    pub(super) async fn write(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut slot = self.writer.lock().await;
        let mut tries = 0;
        loop {
            if slot.as_ref().is_none_or(|connected| connected.client.is_closed()) {
                *slot = Some(self.connect().await.map_err(later)?);
            }
            let connected = slot.as_mut().expect("it was connected just now");
            match connected.transact(&statements).await {
                Err(StoreError::Crossed(_)) if tries < TRIES => tries += 1,
                Err(error @ StoreError::Unreachable(_)) => {
                    *slot = None;
                    return Err(error);
                }
                other => return other,
            }
        }
    }

    /// Runs commands that change tables, in one transaction; at most one instance at a time, and none that waits for long
    /// while all others wait behind it.
    pub(super) async fn alter(&self, commands: &str) -> Result<(), StoreError> {
        let connected = self.connect().await.map_err(later)?;
        let text = format!(
            "BEGIN; SET LOCAL lock_timeout = '2s'; SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); {commands}; COMMIT"
        );
        connected.client.batch_execute(&text).await.map_err(gone)
    }
}

/// Once it has been opened, what keeps us out may pass: a password that is being changed.
fn later(error: StoreError) -> StoreError {
    match error {
        StoreError::Open { error, .. } => StoreError::Unreachable(error),
        other => other,
    }
}

fn words(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What the server says is sorted by what the caller does next.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn gone(error: tokio_postgres::Error) -> StoreError {
    /// SQLSTATE classes (PostgreSQL, appendix A) that speak of what a message says, or of our statement.
    const REFUSALS: [&str; 6] = ["21", "22", "23", "42", "54", "0A"];
    let words = words(&error);
    let Some(code) = error.code() else {
        // What cannot be written or read as a value never can.
        let is_ours = error.source().is_none_or(|source| !source.is::<std::io::Error>())
            && !error.is_closed();
        return if is_ours { StoreError::Refused(words) } else { StoreError::Unreachable(words) };
    };
    if [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code) {
        return StoreError::Crossed(words);
    }
    let is_passing = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::UNDEFINED_TABLE].contains(code);
    if !is_passing && REFUSALS.iter().any(|class| code.code().starts_with(class)) {
        return StoreError::Refused(words);
    }
    StoreError::Unreachable(words)
}
