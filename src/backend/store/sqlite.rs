//! Statements → SQLite, in one process: one connection writes, some read beside it (WAL).

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ToSql, types::ToSqlOutput};

use super::sql::{Outcome, Row, Statement, Value};
use super::{StoreError, schema};
use crate::tasks::joined;

/// Questions that run beside each other; on a small server more would only wait for its cores.
const READERS: usize = 4;

/// Statements of ours that are kept prepared on each connection.
const PREPARED: usize = 256;

/// A database in a file. Clones are one database.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    writer: Arc<Mutex<Connection>>,
    readers: Arc<Vec<Mutex<Connection>>>,
    next: Arc<AtomicUsize>,
}

impl Sqlite {
    /// Opens or makes the file, and brings it to today's tables.
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        joined(tokio::task::spawn_blocking(move || Self::open_now(&path)).await)
    }

    fn open_now(path: &Path) -> Result<Self, StoreError> {
        let opened = |error| StoreError::Open { place: path.display().to_string(), error };
        let connect = || -> Result<Connection, rusqlite::Error> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.set_prepared_statement_cache_capacity(PREPARED);
            Ok(connection)
        };
        let mut writer = connect().map_err(|error| opened(error.to_string()))?;
        migrate(&mut writer).map_err(|error| opened(error.to_string()))?;
        let readers: Result<Vec<_>, _> = (0..READERS).map(|_| connect().map(Mutex::new)).collect();
        let readers = readers.map_err(|error| opened(error.to_string()))?;
        Ok(Self {
            writer: Arc::new(Mutex::new(writer)),
            readers: Arc::new(readers),
            next: Arc::default(),
        })
    }

    /// Runs one question.
    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let readers = Arc::clone(&self.readers);
        let index = self.next.fetch_add(1, Ordering::Relaxed) % readers.len();
        let read = move || {
            let connection = readers[index].lock().expect("no holder of the lock can panic");
            Ok(run(&connection, &statement)?.rows)
        };
        joined(tokio::task::spawn_blocking(read).await)
    }

    /// Runs statements in one transaction that is on disk when this returns.
    pub(super) async fn write(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let writer = Arc::clone(&self.writer);
        let write = move || {
            let mut connection = writer.lock().expect("no holder of the lock can panic");
            let transaction = connection
                .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
                .map_err(refused)?;
            let outcomes: Result<Vec<_>, _> =
                statements.iter().map(|statement| run(&transaction, statement)).collect();
            let outcomes = outcomes?;
            transaction.commit().map_err(refused)?;
            Ok(outcomes)
        };
        joined(tokio::task::spawn_blocking(write).await)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: rusqlite::Error) -> StoreError {
    StoreError::Refused(error.to_string())
}

fn migrate(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (number, migration) in (1_i64..).zip(schema::MIGRATIONS) {
        if number > version {
            transaction.execute_batch(&schema::for_sqlite(migration))?;
            transaction.pragma_update(None, "user_version", number)?;
        }
    }
    transaction.commit()
}

fn run(connection: &Connection, statement: &Statement) -> Result<Outcome, StoreError> {
    let mut prepared = connection.prepare_cached(&places(&statement.sql)).map_err(refused)?;
    let columns = prepared.column_count();
    let values = rusqlite::params_from_iter(&statement.values);
    if columns == 0 {
        let changed = prepared.execute(values).map_err(refused)?;
        return Ok(Outcome { changed: changed as u64, rows: Vec::new() });
    }
    let rows = prepared
        .query_map(values, |row| {
            (0..columns).map(|column| row.get_ref(column).map(value)).collect::<Result<_, _>>()
        })
        .map_err(refused)?;
    let rows: Vec<Row> = rows.map(|row| row.map(Row)).collect::<Result<_, _>>().map_err(refused)?;
    Ok(Outcome { changed: rows.len() as u64, rows })
}

/// SQLite writes the places of values as `?1`.
fn places(sql: &str) -> String {
    sql.replace('$', "?")
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(value) => Value::Text(String::from_utf8_lossy(value).into_owned()),
        ValueRef::Blob(value) => Value::Bytes(value.to_owned()),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}
