//! Statements → SQLite, in one process: one connection writes, some read beside it (WAL).
//!
//! - What `write` says is done is on disk: `synchronous=FULL`.
//! - One instance holds a file ([`Lock`]); commands beside it ask, copy and erase without the lock, as SQLite allows.
//! - The file is its owner's alone (0600), and only a file that is ours is touched.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError as Busy};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, ToSql, TransactionBehavior, types::ToSqlOutput};

use super::sql::{Outcome, Row, Statement, Value};
use super::{For, StoreError, schema};
use crate::tasks::joined;

/// Questions that run beside each other; on a small server more would only wait for its cores.
const READERS: usize = 4;

/// Statements of ours that are kept prepared on each connection.
const PREPARED: usize = 256;

/// In the file's header, so that no other program's file is taken for ours: `wayb`.
const APPLICATION: i64 = 0x7761_7962;

/// An instance that has just been stopped may still be closing its file.
const PATIENCE: Duration = Duration::from_secs(3);

/// A database in a file. Clones are one database.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    writer: Arc<Mutex<Connection>>,
    readers: Arc<Vec<Mutex<Connection>>>,
    next: Arc<AtomicUsize>,
    /// Dropped with the last clone, after the connections.
    _lock: Arc<Option<File>>,
}

impl Sqlite {
    /// Opens or makes the file, and brings it to today's tables.
    pub(super) async fn open(path: &Path, why: For) -> Result<Self, StoreError> {
        let path = path.to_owned();
        joined(tokio::task::spawn_blocking(move || Self::open_now(&path, why)).await)
    }

    fn open_now(path: &Path, why: For) -> Result<Self, StoreError> {
        let open = |error: String| StoreError::Open { place: path.display().to_string(), error };
        let lock = match why {
            For::Service => Some(lock(path).map_err(open)?),
            For::Command => None,
        };
        make(path, why).map_err(|error| open(error.to_string()))?;
        Connection::open(path)
            .map_err(|error| error.to_string())
            .and_then(|untouched| version(&untouched))
            .map_err(open)?;
        if why == For::Service {
            keep_private(path).map_err(|error| open(error.to_string()))?;
        }
        let mut writer = connect(path, why).map_err(|error| open(error.to_string()))?;
        migrate(&mut writer, why).map_err(open)?;
        let readers: Result<Vec<_>, _> =
            (0..READERS).map(|_| connect(path, why).map(Mutex::new)).collect();
        let readers = readers.map_err(|error| open(error.to_string()))?;
        Ok(Self {
            writer: Arc::new(Mutex::new(writer)),
            readers: Arc::new(readers),
            next: Arc::default(),
            _lock: Arc::new(lock),
        })
    }

    /// Takes everybody else's rights to a file.
    pub(super) fn private(path: &Path) -> Result<(), StoreError> {
        keep_private(path).map_err(|error| StoreError::Open {
            place: path.display().to_string(),
            error: error.to_string(),
        })
    }

    /// Runs one question.
    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let this = self.clone();
        let read = move || Ok(run(&this.reader(), &statement)?.rows);
        joined(tokio::task::spawn_blocking(read).await)
    }

    /// A connection that nobody uses, or else the next in turn.
    fn reader(&self) -> MutexGuard<'_, Connection> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = |offset| &self.readers[(first + offset) % self.readers.len()];
        for offset in 0..self.readers.len() {
            match turn(offset).try_lock() {
                Ok(free) => return free,
                Err(Busy::WouldBlock) => {}
                Err(Busy::Poisoned(_)) => break,
            }
        }
        turn(0).lock().expect("no holder of the lock can panic")
    }

    /// Runs statements in one transaction that is on disk when this returns.
    pub(super) async fn write(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let this = self.clone();
        let write = move || {
            let mut connection = this.writer.lock().expect("no holder of the lock can panic");
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(refused)?;
            let outcomes: Result<Vec<_>, _> =
                statements.iter().map(|statement| run(&transaction, statement)).collect();
            let outcomes = outcomes?;
            transaction.commit().map_err(refused)?;
            Ok(outcomes)
        };
        joined(tokio::task::spawn_blocking(write).await)
    }

    /// Brings what was written into the file itself, and cuts the log that it was written to first.
    pub(super) async fn checkpoint(&self) -> Result<(), StoreError> {
        let this = self.clone();
        let checkpoint = move || {
            let connection = this.writer.lock().expect("no holder of the lock can panic");
            connection.execute_batch("PRAGMA optimize").map_err(refused)?;
            // Somebody who reads just now keeps the log from being cut; an hour later nobody may.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(refused)
        };
        joined(tokio::task::spawn_blocking(checkpoint).await)
    }

    /// Copies the file as it is now into an empty one, while others read and write.
    pub(super) async fn copy(&self, to: PathBuf) -> Result<(), StoreError> {
        let this = self.clone();
        let copy = move || {
            let to = to.to_str().ok_or_else(|| StoreError::Open {
                place: to.display().to_string(),
                error: "no UTF-8; choose another name".to_owned(),
            })?;
            this.reader().execute("VACUUM INTO ?1", [to]).map(drop).map_err(refused)
        };
        joined(tokio::task::spawn_blocking(copy).await)
    }
}

/// A file beside the database, locked as long as an instance has it (flock): SQLite itself would let a second one in, and
/// each would take the other's word for what is new.
fn lock(path: &Path) -> Result<File, String> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(PathBuf::from(beside))
        .map_err(|error| format!("its .lock: {error}"))?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if waited < PATIENCE => {
                const STEP: Duration = Duration::from_millis(50);
                std::thread::sleep(STEP);
                waited += STEP;
            }
            Err(TryLockError::WouldBlock) => {
                return Err("another instance has this file; stop it, or use PostgreSQL for \
                            several instances"
                    .to_owned());
            }
            Err(TryLockError::Error(error)) => return Err(format!("its .lock: {error}")),
        }
    }
}

/// Before SQLite does it with everybody's rights. It gives its log the rights of the file.
fn make(path: &Path, why: For) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(why == For::Service).mode(0o600).open(path).map(drop)
}

fn keep_private(path: &Path) -> std::io::Result<()> {
    let mut permissions = path.metadata()?.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(());
    }
    permissions.set_mode(0o600);
    std::fs::set_permissions(path, permissions)
}

fn connect(path: &Path, why: For) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    // Only of a file that is empty; rows of events have about a kilobyte.
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // 16 MiB for each connection, and a log that is cut to 64 MiB when it was longer.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // What is removed is overwritten where that costs no write of its own; who erases has it overwritten everywhere.
    let erasing = if why == For::Command { "ON" } else { "FAST" };
    connection.pragma_update(None, "secure_delete", erasing)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    Ok(connection)
}

/// Whose tables they are, and of which version.
pub(super) fn version(connection: &Connection) -> Result<usize, String> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let words = |error: rusqlite::Error| error.to_string();
    let version = pragma("user_version").map_err(words)?;
    let application = pragma("application_id").map_err(words)?;
    let tables: i64 = connection
        .query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(words)?;
    if application != APPLICATION && (tables > 0 || version > 0 || application != 0) {
        return Err("a database of another program; name another file".to_owned());
    }
    usize::try_from(version).map_err(|_| format!("version {version}"))
}

fn migrate(connection: &mut Connection, why: For) -> Result<(), String> {
    let words = |error: rusqlite::Error| error.to_string();
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(words)?;
    let version = version(&transaction)?;
    if why == For::Command {
        return schema::current(version);
    }
    schema::known(version)?;
    if version == schema::MIGRATIONS.len() {
        return Ok(());
    }
    for migration in &schema::MIGRATIONS[version..] {
        transaction.execute_batch(&schema::for_sqlite(migration)).map_err(words)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(words)?;
    let today = u32::try_from(schema::MIGRATIONS.len()).expect("there are a few");
    transaction.pragma_update(None, "user_version", today).map_err(words)?;
    transaction.commit().map_err(words)
}

/// What a message says can be too long or break a rule; everything else is the file, the disk or the memory, and may be in
/// order later.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: rusqlite::Error) -> StoreError {
    let words = error.to_string();
    match error.sqlite_error_code() {
        None
        | Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TooBig
            | ErrorCode::TypeMismatch
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::Unknown,
        ) => StoreError::Refused(words),
        Some(_) => StoreError::Unreachable(words),
    }
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
            Self::Text(value) if value.contains('\0') => {
                return Ok(ToSqlOutput::Owned(value.replace('\0', "").into()));
            }
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}
