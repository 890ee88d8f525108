//! Statements → PostgreSQL: connections that come back by themselves.
//!
//! - A transaction goes out as one piece, from BEGIN to COMMIT, and costs one round trip however many statements it has.
//!   So it happens as a whole or not at all also when the task that waits for it is dropped.
//! - What the server refuses for what a message says is [`StoreError::Refused`]. A full disk, a lack of rights, a server that
//!   stops is [`StoreError::Unreachable`]: no fault of the message, which is tried again.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, error::SqlState};

use super::sql::{Outcome, Row, Statement, Value};
use super::tls::{Address, Tls};
use super::{StoreError, schema};

/// Connections for questions; one more writes.
const READERS: usize = 4;

/// How often a transaction that another instance's crossed is tried.
const TRIES: u32 = 5;

/// Statements of ours that are kept prepared on each connection.
const PREPARED: usize = 256;

/// No two instances make tables at the same time.
pub(super) const MIGRATION_LOCK: i64 = 0x0077_6179_706f_7374;

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

#[derive(Debug)]
struct Connected {
    client: Client,
    /// With the turn in which each was used last.
    prepared: HashMap<String, (tokio_postgres::Statement, u64)>,
    turn: u64,
}

/// What others announce, by a connection of its own.
pub(super) type Notifications = tokio::sync::mpsc::UnboundedReceiver<String>;

impl Postgres {
    /// Connects by a URL or keywords as libpq's, and brings the database to today's tables.
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
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
        this.migrate().await?;
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
        Ok(Connected { client, prepared: HashMap::new(), turn: 0 })
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

/// The task that moves a connection's bytes, and what others announce on it.
fn started<S>(
    connected: Result<(Client, Connection<tokio_postgres::Socket, S>), tokio_postgres::Error>,
    announced: Option<tokio::sync::mpsc::UnboundedSender<String>>,
) -> Result<Client, tokio_postgres::Error>
where
    S: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let (client, mut connection) = connected?;
    tokio::spawn(async move {
        loop {
            match std::future::poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    let sender = announced.as_ref();
                    if sender.is_some_and(|to| to.send(notification.payload().to_owned()).is_err())
                    {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "connection to postgresql lost");
                    return;
                }
                None => return,
            }
        }
    });
    Ok(client)
}

impl Connected {
    /// Runs statements as one piece. The last to go out is COMMIT, which after a refused statement rolls back.
    async fn transact(&mut self, statements: &[Statement]) -> Result<Vec<Outcome>, StoreError> {
        let mut prepared = Vec::with_capacity(statements.len());
        for statement in statements {
            prepared.push(self.prepare(statement).await?);
        }
        let client = &self.client;
        let mut steps: Vec<Step<'_>> = Vec::with_capacity(statements.len() + 2);
        steps.push(Box::pin(control(client, "BEGIN")));
        for (statement, prepared) in statements.iter().zip(&prepared) {
            steps.push(Box::pin(run(client, prepared, statement)));
        }
        steps.push(Box::pin(control(client, "COMMIT")));
        let mut outcomes = pipelined(steps).await?;
        outcomes.pop();
        outcomes.remove(0);
        Ok(outcomes)
    }

    async fn ask(&mut self, statement: &Statement) -> Result<Outcome, StoreError> {
        let prepared = self.prepare(statement).await?;
        run(&self.client, &prepared, statement).await
    }

    /// Prepares a statement whose values go into its places: one that does not, in the middle of a transaction that is on its
    /// way, would be left out of it.
    async fn prepare(
        &mut self,
        statement: &Statement,
    ) -> Result<tokio_postgres::Statement, StoreError> {
        let prepared = self.prepare_text(&statement.sql).await?;
        let places = prepared.params();
        let values = &statement.values;
        if values.len() != places.len() {
            let (given, places) = (values.len(), places.len());
            return Err(StoreError::Refused(format!("{given} values for {places} places")));
        }
        let odd = values.iter().zip(places).position(|(value, place)| !value.fits(place));
        odd.map_or(Ok(prepared.clone()), |index| {
            let place = &places[index];
            Err(StoreError::Refused(format!("${} is no {place}", index + 1)))
        })
    }

    async fn prepare_text(&mut self, sql: &str) -> Result<tokio_postgres::Statement, StoreError> {
        self.turn += 1;
        if let Some((prepared, used)) = self.prepared.get_mut(sql) {
            *used = self.turn;
            return Ok(prepared.clone());
        }
        let prepared = self.client.prepare(sql).await.map_err(gone)?;
        let odd = prepared.columns().iter().find(|column| !Value::is_read(column.type_()));
        if let Some(column) = odd {
            return Err(StoreError::Refused(format!(
                "column {} is a {}; cast it to one of the store's types",
                column.name(),
                column.type_()
            )));
        }
        if self.prepared.len() >= PREPARED {
            let oldest = self.prepared.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(sql) = oldest.map(|(sql, _)| sql.clone()) {
                self.prepared.remove(&sql);
            }
        }
        self.prepared.insert(sql.to_owned(), (prepared.clone(), self.turn));
        Ok(prepared)
    }

    /// Without its client a connection ends; a listener has nothing to ask any more.
    fn stays_open(self) {
        let client = self.client;
        tokio::spawn(async move {
            // The connection's own task ends it when nobody listens, or the server does.
            while !client.is_closed() {
                tokio::time::sleep(PATIENCE).await;
            }
        });
    }
}

type Step<'a> = Pin<Box<dyn Future<Output = Result<Outcome, StoreError>> + Send + 'a>>;

/// Sends all, then waits for all. The first error is the one that says why.
async fn pipelined(mut steps: Vec<Step<'_>>) -> Result<Vec<Outcome>, StoreError> {
    let mut ended: Vec<Option<Result<Outcome, StoreError>>> = Vec::with_capacity(steps.len());
    // A query goes out when it is polled first; none of these waits for another.
    std::future::poll_fn(|context| {
        ended.extend(steps.iter_mut().map(|step| match step.as_mut().poll(context) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }));
        Poll::Ready(())
    })
    .await;
    let mut outcomes = Vec::with_capacity(steps.len());
    let mut why = None;
    for (step, ended) in steps.into_iter().zip(ended) {
        let result = match ended {
            Some(result) => result,
            None => step.await,
        };
        match result {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => why = why.or(Some(error)),
        }
    }
    why.map_or(Ok(outcomes), Err)
}

async fn control(client: &Client, sql: &'static str) -> Result<Outcome, StoreError> {
    client.batch_execute(sql).await.map(|()| Outcome::default()).map_err(gone)
}

async fn run(
    client: &Client,
    prepared: &tokio_postgres::Statement,
    statement: &Statement,
) -> Result<Outcome, StoreError> {
    let values: Vec<&(dyn ToSql + Sync)> =
        statement.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    if prepared.columns().is_empty() {
        let changed = client.execute(prepared, &values).await.map_err(gone)?;
        return Ok(Outcome { changed, rows: Vec::new() });
    }
    let rows = client.query(prepared, &values).await.map_err(gone)?;
    let rows: Result<Vec<Row>, _> = rows
        .iter()
        .map(|row| (0..row.len()).map(|column| row.try_get(column)).collect())
        .map(|values: Result<Vec<Value>, _>| values.map(Row))
        .collect();
    let rows = rows.map_err(gone)?;
    Ok(Outcome { changed: rows.len() as u64, rows })
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

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) if *kind == Type::INT4 => i32::try_from(*value)?.to_sql(kind, out),
            Self::Int(value) => value.to_sql(kind, out),
            Self::Real(value) => value.to_sql(kind, out),
            Self::Text(value) if value.contains('\0') => value.replace('\0', "").to_sql(kind, out),
            Self::Text(value) => value.to_sql(kind, out),
            Self::Bytes(value) => value.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::INT4, Type::FLOAT8, Type::TEXT, Type::VARCHAR, Type::BYTEA]
            .contains(kind)
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(
        kind: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Self::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(kind, raw)?.into()),
            Type::BOOL => Self::Int(bool::from_sql(kind, raw)?.into()),
            Type::FLOAT8 => Self::Real(f64::from_sql(kind, raw)?),
            Type::BYTEA => Self::Bytes(Vec::from_sql(kind, raw)?),
            _ => Self::Text(String::from_sql(kind, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        Self::is_read(kind)
    }
}

impl Value {
    fn is_read(kind: &Type) -> bool {
        *kind == Type::BOOL || <Self as ToSql>::accepts(kind)
    }

    fn fits(&self, place: &Type) -> bool {
        match self {
            Self::Null => <Self as ToSql>::accepts(place),
            Self::Int(value) => {
                *place == Type::INT8 || *place == Type::INT4 && i32::try_from(*value).is_ok()
            }
            Self::Real(_) => *place == Type::FLOAT8,
            Self::Text(_) => [Type::TEXT, Type::VARCHAR].contains(place),
            Self::Bytes(_) => *place == Type::BYTEA,
        }
    }
}
