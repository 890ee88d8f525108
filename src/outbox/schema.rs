//! Database schema: PRAGMAs and tables, versioned by `user_version`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, FileControl, OpenFlags};

use super::OutboxError;
use super::seq_file::with_suffix;

/// `WYPT`: distinguishes the outbox from databases of other applications.
const APPLICATION_ID: i32 = 0x5759_5054;

/// Length of the database header up to the application id (SQLite file format §1.3).
const HEADER_BYTES: usize = 72;

/// Current schema version.
pub(super) const VERSION: i32 = 1;

/// Page size in bytes. A commit of one row writes 1 to 2 blocks of a flash card, instead of 2
/// blocks of 4 KiB.
pub(super) const PAGE_BYTES: u64 = 1024;

/// Maximum wait for a lock. The outbox has one owner, so a longer lock means a second process.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

/// Files up to this size are checked completely at startup; a card reads them within 2 s. Damage in
/// a larger file is detected on access.
const QUICK_CHECK_MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Initial size in pages of a new database, and of its WAL twice.
const INITIAL_PAGES: u64 = 120;

/// Executed first. Avoids the `-shm` file and keeps other processes from writing between two
/// statements.
const LOCKING_PRAGMA: &str = "PRAGMA locking_mode = EXCLUSIVE;";

/// PRAGMAs of the connection. WAL with FULL keeps the last commit across a power cut. 256 pages of
/// WAL limit the loss through a flipped bit in it. The WAL keeps its size, because a growing file
/// costs a journal entry in the file system with each flush.
const CONNECTION_PRAGMAS: &str = "
    PRAGMA page_size = 1024;
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 256;
    PRAGMA journal_size_limit = -1;
    PRAGMA cache_size = -512;
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;";

/// Track points in batches. Only the newest row uses the column for the trip state. `unreadable`
/// holds rows that this agent cannot decode, so that they do not block readable ones.
const BATCH_TABLE: &str = "
    CREATE TABLE batch(
        first INTEGER PRIMARY KEY,
        last INTEGER NOT NULL,
        n INTEGER NOT NULL,
        utc_ms INTEGER NOT NULL,
        level INTEGER NOT NULL,
        state BLOB,
        p BLOB NOT NULL
    ) STRICT;";

/// State documents by key, each with a leading CRC-32.
const DOCUMENT_TABLE: &str = "CREATE TABLE document(key TEXT PRIMARY KEY, value BLOB) STRICT;";

/// One row per event, and the single row of metadata.
const OTHER_TABLES: &str = "
    CREATE TABLE record(
        seq INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL,
        utc_ms INTEGER NOT NULL,
        subject BLOB NOT NULL
    ) STRICT;
    CREATE TABLE unreadable(
        seq INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL,
        utc_ms INTEGER NOT NULL,
        subject BLOB NOT NULL
    ) STRICT;
    CREATE TABLE meta(
        id INTEGER PRIMARY KEY CHECK (id = 0),
        session INTEGER NOT NULL,
        seq_reserved INTEGER NOT NULL,
        pending INTEGER NOT NULL,
        dropped INTEGER NOT NULL,
        state BLOB NOT NULL,
        van TEXT NOT NULL,
        state_seq INTEGER NOT NULL DEFAULT 0,
        thinned INTEGER NOT NULL DEFAULT 0,
        finished_0 INTEGER NOT NULL DEFAULT 0,
        finished_1 INTEGER NOT NULL DEFAULT 0,
        finished_2 INTEGER NOT NULL DEFAULT 0,
        receiver_baud INTEGER
    ) STRICT;
    INSERT INTO meta(id, session, seq_reserved, pending, dropped, state, van) VALUES (0, 0, 0, 0, 0, x'', '');";

/// Why a database was not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// An outbox that is damaged and must be quarantined.
    Damaged(rusqlite::Error),
    /// An error that needs an operator.
    Fatal(OutboxError),
}

/// Opens or creates the database.
pub(super) fn connect(path: &Path, max_pages: u64) -> Result<Connection, OpenError> {
    create(path).map_err(|source| {
        OpenError::Fatal(OutboxError::Unusable { path: path.to_owned(), source })
    })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let refused = |error| open_error(path, error);
    let mut connection = Connection::open_with_flags(path, flags).map_err(refused)?;
    let version = (|| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch(LOCKING_PRAGMA)?;
        identity(&connection)
    })()
    .map_err(refused)?;
    match version {
        Identity::New => {}
        Identity::Ours(version) if version <= VERSION => {}
        Identity::Ours(found) => {
            let (path, known) = (path.to_owned(), VERSION);
            return Err(OpenError::Fatal(OutboxError::Newer { path, found, known }));
        }
        Identity::Foreign(found) => {
            return Err(OpenError::Fatal(OutboxError::Foreign { path: path.to_owned(), found }));
        }
    }
    prepare(&mut connection, &version, max_pages).map_err(refused)?;
    Ok(connection)
}

/// Creates the file with mode 0600, because it contains the driver's movements.
fn create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        // Do not open an existing file a second time. Closing it would drop the locks that SQLite
        // holds in this process.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

#[derive(Debug)]
enum Identity {
    New,
    Ours(i32),
    Foreign(String),
}

fn identity(connection: &Connection) -> rusqlite::Result<Identity> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match application {
        APPLICATION_ID => Identity::Ours(version),
        0 if objects == 0 => Identity::New,
        other => Identity::Foreign(format!("application_id {other}, {objects} tables and indexes")),
    })
}

fn prepare(
    connection: &mut Connection,
    identity: &Identity,
    max_pages: u64,
) -> rusqlite::Result<()> {
    connection.execute_batch(CONNECTION_PRAGMAS)?;
    connection.file_control(None::<&str>, FileControl::PersistWal(&mut 1))?;
    connection.pragma_update(None, "max_page_count", signed(max_pages))?;
    match identity {
        Identity::Ours(_) => check(connection),
        Identity::New | Identity::Foreign(_) => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(BATCH_TABLE)?;
            transaction.execute_batch(DOCUMENT_TABLE)?;
            transaction.execute_batch(OTHER_TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
            preallocate(connection, max_pages)
        }
    }
}

/// Preallocates WAL and database. Growing by a page per flush would cost a new van more than all
/// that it writes.
fn preallocate(connection: &mut Connection, max_pages: u64) -> rusqlite::Result<()> {
    let pages = INITIAL_PAGES.min(max_pages / 4);
    for _ in 0..2 {
        let transaction = connection.transaction()?;
        transaction.execute(
            "INSERT INTO unreadable VALUES (0, 0, 0, zeroblob(?1))",
            [signed(pages * (PAGE_BYTES - 4))],
        )?;
        transaction.commit()?;
        connection.execute("DELETE FROM unreadable", [])?;
    }
    Ok(())
}

/// Checks the database for damage before it stores the first record, if that takes at most about 2
/// s.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    if pages(connection, "page_count")? * PAGE_BYTES > QUICK_CHECK_MAX_BYTES {
        return Ok(());
    }
    let verdict: String =
        connection.pragma_query_value(None, "quick_check", |row| row.get::<_, String>(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(corrupt, Some(verdict)))
}

/// Reads `page_count` or `freelist_count` within the open transaction.
pub(super) fn pages(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map(unsigned)
}

/// Whether the file itself is damaged, not its environment.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether the disk is full.
pub(super) fn is_disk_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether the connection's view may differ from the file. After a failed fsync, the kernel drops
/// the pages that it could not write.
pub(super) fn is_io_failure(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen))
}

/// Whether an error while opening means damage. This includes missing tables and rows; after
/// opening, the same errors would be a defect of the agent.
pub(super) fn is_damage_at_open(error: &rusqlite::Error) -> bool {
    is_damage(error)
        || matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::QueryReturnedNoRows
                | rusqlite::Error::SqlInputError { .. }
        )
        || error.sqlite_extended_error_code() == Some(rusqlite::ffi::SQLITE_ERROR)
}

pub(super) fn open_error(path: &Path, error: rusqlite::Error) -> OpenError {
    let owned = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::Fatal(OutboxError::InUse { path: owned })
        }
        _ if is_damage_at_open(&error) && is_ours(path) => OpenError::Damaged(error),
        Some(ErrorCode::NotADatabase) => OpenError::Fatal(OutboxError::Foreign {
            path: owned,
            found: "not a database".to_owned(),
        }),
        _ => {
            OpenError::Fatal(OutboxError::Unusable { path: owned, source: io::Error::other(error) })
        }
    }
}

/// Whether this file was an outbox: it has a `.seq` file beside it, or the application id in its
/// header. An unreliable card may lose one and damage the other in a van's first minutes. A file
/// behind a mistyped path is left alone.
fn is_ours(path: &Path) -> bool {
    let mut header = [0; HEADER_BYTES];
    with_suffix(path, ".seq").exists()
        || File::open(path).and_then(|mut file| file.read_exact(&mut header)).is_ok()
            && header.starts_with(b"SQLite format 3\0")
            && header.ends_with(&APPLICATION_ID.to_be_bytes())
}

/// Converts to SQLite's signed integers. No number of the outbox reaches the upper half.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts from SQLite's signed integers. A negative number means damage and becomes 0.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
