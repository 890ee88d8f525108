//! Statements → PostgreSQL: connections that come back by themselves, and what other instances say.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Mutex;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut};
use tokio_postgres::{Client, NoTls, error::SqlState};

use super::sql::{Outcome, Row, Statement, Value};
use super::{StoreError, schema};

/// Connections for questions; one more writes.
const READERS: usize = 4;

/// How often a transaction that another instance's crossed is tried.
const TRIES: u32 = 5;

/// No two instances make tables at the same time.
const MIGRATION_LOCK: i64 = 0x0077_6179_706f_7374;

/// A database on a server. Clones are one set of connections.
#[derive(Clone, Debug)]
pub(super) struct Postgres {
    config: Arc<tokio_postgres::Config>,
    writer: Arc<Mutex<Option<Connected>>>,
    readers: Arc<Vec<Mutex<Option<Connected>>>>,
    next: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Connected {
    client: Client,
    prepared: HashMap<String, tokio_postgres::Statement>,
}

impl Postgres {
    /// Connects by a URL or keywords as libpq's, and brings the database to today's tables.
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        // The URL may have a password: the error does not quote it.
        let config: tokio_postgres::Config = url.parse().map_err(|_| StoreError::Open {
            place: "the URL of PostgreSQL".to_owned(),
            error: "no such URL; write postgresql://user@host/database".to_owned(),
        })?;
        let this = Self {
            config: Arc::new(config),
            writer: Arc::default(),
            readers: Arc::new((0..READERS).map(|_| Mutex::default()).collect()),
            next: Arc::default(),
        };
        this.migrate().await?;
        Ok(this)
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
            .map_err(gone)?;
        let version: i64 = transaction
            .query_one("SELECT COALESCE(MAX(version), 0) FROM migration", &[])
            .await
            .map_err(gone)?
            .get(0);
        for (number, migration) in (1_i64..).zip(schema::MIGRATIONS) {
            if number > version {
                let text = schema::for_postgres(migration);
                transaction.batch_execute(&text).await.map_err(gone)?;
                transaction
                    .execute("INSERT INTO migration (version) VALUES ($1)", &[&number])
                    .await
                    .map_err(gone)?;
            }
        }
        transaction.commit().await.map_err(gone)
    }

    async fn connect(&self) -> Result<Connected, StoreError> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(gone)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "connection to postgresql lost");
            }
        });
        Ok(Connected { client, prepared: HashMap::new() })
    }

    /// Runs one question.
    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        let mut slot = self.readers[index].lock().await;
        // A connection that was lost while it was idle is no error: the question is asked again by a new one.
        if let Some(connected) = slot.as_mut() {
            match connected.run(&statement).await {
                Err(StoreError::Unreachable(_)) => *slot = None,
                other => return other.map(|outcome| outcome.rows),
            }
        }
        let mut connected = self.connect().await?;
        let rows = connected.run(&statement).await.map(|outcome| outcome.rows);
        *slot = Some(connected);
        rows
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
                *slot = Some(self.connect().await?);
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
}

impl Connected {
    async fn transact(&mut self, statements: &[Statement]) -> Result<Vec<Outcome>, StoreError> {
        self.client.batch_execute("BEGIN").await.map_err(gone)?;
        let mut outcomes = Vec::with_capacity(statements.len());
        for statement in statements {
            match self.run(statement).await {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    // Of a connection that is gone the server knows by itself.
                    self.client.batch_execute("ROLLBACK").await.ok();
                    return Err(error);
                }
            }
        }
        self.client.batch_execute("COMMIT").await.map_err(gone)?;
        Ok(outcomes)
    }

    async fn run(&mut self, statement: &Statement) -> Result<Outcome, StoreError> {
        let sql = statement.sql.as_ref();
        let prepared = match self.prepared.get(sql) {
            Some(prepared) => prepared.clone(),
            None => {
                let prepared = self.client.prepare(sql).await.map_err(gone)?;
                self.prepared.insert(sql.to_owned(), prepared.clone());
                prepared
            }
        };
        let values: Vec<&(dyn ToSql + Sync)> =
            statement.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        if prepared.columns().is_empty() {
            let changed = self.client.execute(&prepared, &values).await.map_err(gone)?;
            return Ok(Outcome { changed, rows: Vec::new() });
        }
        let rows = self.client.query(&prepared, &values).await.map_err(gone)?;
        let rows: Result<Vec<Row>, _> = rows
            .iter()
            .map(|row| (0..row.len()).map(|column| row.try_get(column)).collect())
            .map(|values: Result<Vec<Value>, _>| values.map(Row))
            .collect();
        let rows = rows.map_err(gone)?;
        Ok(Outcome { changed: rows.len() as u64, rows })
    }
}

/// An error of the server keeps its words; everything else is a connection that is gone.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn gone(error: tokio_postgres::Error) -> StoreError {
    let words = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match error.code() {
        Some(code)
            if [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE]
                .contains(code) =>
        {
            StoreError::Crossed(words)
        }
        Some(_) => StoreError::Refused(words),
        None => StoreError::Unreachable(words),
    }
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
        *kind == Type::BOOL || <Self as ToSql>::accepts(kind)
    }
}
