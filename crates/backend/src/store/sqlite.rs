//! SQLite engine in one process: one writing connection, several concurrent readers (WAL).
//!
//! - A write is on disk when it returns: `synchronous=FULL`.
//! - One instance locks the file ([`lock`]). Commands query, copy and erase without that lock, as
//!   SQLite allows.
//! - The file is readable by its owner only (0600), and files of other programs are never modified.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError as VanBusy};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, ToSql, TransactionBehavior, types::ToSqlOutput};

use super::sql::{QueryResult, Row, Statement, Value};
use super::{OpenMode, StoreError, schema};
use waypost_service::task::join;

/// Number of reading connections; on a small server more would only compete for its cores.
const READERS: usize = 4;

/// Maximum number of prepared statements per connection.
const MAX_PREPARED: usize = 256;

/// Application id in the file's header (`wayb`), to detect files of other programs.
const APPLICATION_ID: i64 = 0x7761_7962;

/// Time to wait for the lock of an instance that is just stopping.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// An SQLite database. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    writer: Arc<Mutex<Connection>>,
    readers: Arc<Vec<Mutex<Connection>>>,
    next: Arc<AtomicUsize>,
    /// Dropped with the last clone, after the connections.
    _lock: Arc<Option<File>>,
}

impl Sqlite {
    /// Opens or creates the file and migrates its schema.
    pub(super) async fn open(path: &Path, why: OpenMode) -> Result<Self, StoreError> {
        let path = path.to_owned();
        join(tokio::task::spawn_blocking(move || Self::open_blocking(&path, why))).await
    }

    fn open_blocking(path: &Path, why: OpenMode) -> Result<Self, StoreError> {
        let open = |error: String| StoreError::Open { place: path.display().to_string(), error };
        let lock = match why {
            OpenMode::Service => Some(lock(path).map_err(open)?),
            OpenMode::Command => None,
        };
        create_file(path, why).map_err(|error| open(error.to_string()))?;
        Connection::open(path)
            .map_err(|error| error.to_string())
            .and_then(|untouched| schema_version(&untouched))
            .map_err(open)?;
        if why == OpenMode::Service {
            restrict_permissions(path).map_err(|error| open(error.to_string()))?;
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

    /// Removes the permissions of group and others.
    pub(super) fn make_private(path: &Path) -> Result<(), StoreError> {
        restrict_permissions(path).map_err(|error| StoreError::Open {
            place: path.display().to_string(),
            error: error.to_string(),
        })
    }

    /// Runs one query.
    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let this = self.clone();
        let read = move || Ok(run(&this.reader(), &statement)?.rows);
        join(tokio::task::spawn_blocking(read)).await
    }

    /// Takes an idle connection, or else waits for the next one in turn.
    fn reader(&self) -> MutexGuard<'_, Connection> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = |offset| &self.readers[(first + offset) % self.readers.len()];
        for offset in 0..self.readers.len() {
            match turn(offset).try_lock() {
                Ok(free) => return free,
                Err(VanBusy::WouldBlock) => {}
                Err(VanBusy::Poisoned(_)) => break,
            }
        }
        turn(0).lock().expect("no lock holder panics")
    }

    /// Runs statements in one transaction, on disk when this returns.
    pub(super) async fn write(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>, StoreError> {
        let this = self.clone();
        let write = move || {
            let mut connection = this.writer.lock().expect("no lock holder panics");
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(map_sqlite_error)?;
            let outcomes: Result<Vec<_>, _> =
                statements.iter().map(|statement| run(&transaction, statement)).collect();
            let outcomes = outcomes?;
            transaction.commit().map_err(map_sqlite_error)?;
            Ok(outcomes)
        };
        join(tokio::task::spawn_blocking(write)).await
    }

    /// Copies the write-ahead log into the database file and truncates it.
    pub(super) async fn checkpoint(&self) -> Result<(), StoreError> {
        let this = self.clone();
        let checkpoint = move || {
            let connection = this.writer.lock().expect("no lock holder panics");
            connection.execute_batch("PRAGMA optimize").map_err(map_sqlite_error)?;
            // A concurrent reader prevents the truncation; the hourly run repeats it.
            connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .map_err(map_sqlite_error)
        };
        join(tokio::task::spawn_blocking(checkpoint)).await
    }

    /// Copies a snapshot of the file into an empty one, while others read and write.
    pub(super) async fn copy(&self, to: PathBuf) -> Result<(), StoreError> {
        let this = self.clone();
        let copy = move || {
            let to = to.to_str().ok_or_else(|| StoreError::Open {
                place: to.display().to_string(),
                error: "not UTF-8; choose another name".to_owned(),
            })?;
            this.reader().execute("VACUUM INTO ?1", [to]).map(drop).map_err(map_sqlite_error)
        };
        join(tokio::task::spawn_blocking(copy)).await
    }
}

/// Locks a file beside the database while an instance runs (flock). SQLite would admit a second
/// instance, and each would miss the other's changes.
fn lock(path: &Path) -> Result<File, String> {
    let mut sibling = path.as_os_str().to_owned();
    sibling.push(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(PathBuf::from(sibling))
        .map_err(|error| format!("its .lock: {error}"))?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if waited < LOCK_TIMEOUT => {
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

/// Creates the file with mode 0600 before SQLite would create it with the default mode. SQLite's
/// log inherits the mode.
fn create_file(path: &Path, why: OpenMode) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(why == OpenMode::Service).mode(0o600).open(path).map(drop)
}

fn restrict_permissions(path: &Path) -> std::io::Result<()> {
    let mut permissions = path.metadata()?.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(());
    }
    permissions.set_mode(0o600);
    std::fs::set_permissions(path, permissions)
}

fn connect(path: &Path, why: OpenMode) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    // Takes effect only on an empty file; an event row has about a kilobyte.
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Cache of 16 MiB per connection; a longer log is truncated to 64 MiB.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // Overwrites deleted data where no extra write is needed; an erasing command overwrites all of
    // it.
    let erasing = if why == OpenMode::Command { "ON" } else { "FAST" };
    connection.pragma_update(None, "secure_delete", erasing)?;
    connection.set_prepared_statement_cache_capacity(MAX_PREPARED);
    Ok(connection)
}

/// Checks the application id and returns the schema version.
pub(super) fn schema_version(connection: &Connection) -> Result<usize, String> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let words = |error: rusqlite::Error| error.to_string();
    let version = pragma("user_version").map_err(words)?;
    let application = pragma("application_id").map_err(words)?;
    let tables: i64 = connection
        .query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(words)?;
    if application != APPLICATION_ID && (tables > 0 || version > 0 || application != 0) {
        return Err("a database of another program; name another file".to_owned());
    }
    usize::try_from(version).map_err(|_| format!("version {version}"))
}

fn migrate(connection: &mut Connection, why: OpenMode) -> Result<(), String> {
    let words = |error: rusqlite::Error| error.to_string();
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(words)?;
    let version = schema_version(&transaction)?;
    if why == OpenMode::Command {
        return schema::check_current(version);
    }
    schema::check_supported(version)?;
    if version == schema::MIGRATIONS.len() {
        return Ok(());
    }
    for migration in &schema::MIGRATIONS[version..] {
        transaction.execute_batch(&schema::for_sqlite(migration)).map_err(words)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(words)?;
    let today = u32::try_from(schema::MIGRATIONS.len()).expect("the number of migrations is small");
    transaction.pragma_update(None, "user_version", today).map_err(words)?;
    transaction.commit().map_err(words)
}

/// Maps an error: content can be too long or violate a constraint; all other errors concern file,
/// disk or memory and may be transient.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn map_sqlite_error(error: rusqlite::Error) -> StoreError {
    let words = error.to_string();
    match error.sqlite_error_code() {
        None
        | Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TooBig
            | ErrorCode::TypeMismatch
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::Unknown,
        ) => StoreError::Rejected(words),
        Some(_) => StoreError::Unavailable(words),
    }
}

fn run(connection: &Connection, statement: &Statement) -> Result<QueryResult, StoreError> {
    let mut prepared = connection
        .prepare_cached(&sqlite_placeholders(&statement.sql))
        .map_err(map_sqlite_error)?;
    let columns = prepared.column_count();
    let values = rusqlite::params_from_iter(&statement.values);
    if columns == 0 {
        let changed = prepared.execute(values).map_err(map_sqlite_error)?;
        return Ok(QueryResult { rows_affected: changed as u64, rows: Vec::new() });
    }
    let rows = prepared
        .query_map(values, |row| {
            (0..columns).map(|column| row.get_ref(column).map(value)).collect::<Result<_, _>>()
        })
        .map_err(map_sqlite_error)?;
    let rows: Vec<Row> =
        rows.map(|row| row.map(Row)).collect::<Result<_, _>>().map_err(map_sqlite_error)?;
    Ok(QueryResult { rows_affected: rows.len() as u64, rows })
}

/// Converts placeholders to SQLite's `?1`.
fn sqlite_placeholders(sql: &str) -> String {
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
