//! The file: PRAGMAs, tables, and migrations by `user_version`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, FileControl, OpenFlags};

use super::OutboxError;
use super::migrate;
use super::seq_file::beside;

/// `WYPT`: tells our file from another application's.
const APPLICATION_ID: i32 = 0x5759_5054;

/// The header of a database up to its application id (SQLite file format §1.3).
const HEADER_BYTES: usize = 72;

/// The schema that this agent writes.
pub(super) const VERSION: i32 = 3;

/// Bytes of a page: a commit of one row then writes 1–2 blocks of a flash card, not 2 of 4 KiB.
pub(super) const PAGE_BYTES: u64 = 1024;

/// A lock that is held longer than this is held for good: the outbox has one owner.
const LOCK_WAIT: Duration = Duration::from_millis(500);

/// A file up to this size is checked whole at the start (a card reads it within 2 s); damage in a larger one shows when
/// it is met.
const QUICK_CHECK_MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Pages of database and, twice, of log that a new file begins with.
const GROW_PAGES: u64 = 120;

/// Before anything else: without `-shm`, and nobody else may write between our statements.
const LOCKING: &str = "PRAGMA locking_mode = EXCLUSIVE;";

/// What holds for the connection. WAL with FULL is what survives a power cut with the last commit; 256 pages of WAL
/// bound what a flipped bit in it can take along, and the log keeps its size: a file that grows costs an entry in the file
/// system's own journal with each flush.
const CONNECTION: &str = "
    PRAGMA page_size = 1024;
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 256;
    PRAGMA journal_size_limit = -1;
    PRAGMA cache_size = -512;
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;";

/// The trail in batches, with a place in each for the journey's state, which only the newest row uses. `unreadable`
/// keeps what this agent cannot decode, out of the way of what it can.
pub(super) const BATCH_TABLE: &str = "
    CREATE TABLE batch(
        first INTEGER PRIMARY KEY,
        last INTEGER NOT NULL,
        n INTEGER NOT NULL,
        utc_ms INTEGER NOT NULL,
        level INTEGER NOT NULL,
        state BLOB,
        p BLOB NOT NULL
    ) STRICT;";

/// Pieces of state by name, each with its CRC-32 before it.
pub(super) const DOCUMENT_TABLE: &str =
    "CREATE TABLE document(key TEXT PRIMARY KEY, value BLOB) STRICT;";

/// Events, a row each; and the one row that says where this file stands.
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

/// Why a file was not opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is ours and cannot be read any more: set it aside.
    Damaged(rusqlite::Error),
    /// Somebody must act.
    Stop(OutboxError),
}

/// Opens or creates the file, and brings its schema up to date.
pub(super) fn connect(path: &Path, max_pages: u64) -> Result<Connection, Refusal> {
    create(path)
        .map_err(|source| Refusal::Stop(OutboxError::Unusable { path: path.to_owned(), source }))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let refused = |error| refusal(path, error);
    let mut connection = Connection::open_with_flags(path, flags).map_err(refused)?;
    let version = (|| {
        connection.busy_timeout(LOCK_WAIT)?;
        connection.execute_batch(LOCKING)?;
        identity(&connection)
    })()
    .map_err(refused)?;
    match version {
        Identity::New => {}
        Identity::Ours(version) if version <= VERSION => {}
        Identity::Ours(found) => {
            let (path, known) = (path.to_owned(), VERSION);
            return Err(Refusal::Stop(OutboxError::Newer { path, found, known }));
        }
        Identity::Foreign(found) => {
            return Err(Refusal::Stop(OutboxError::Foreign { path: path.to_owned(), found }));
        }
    }
    prepare(&mut connection, &version, max_pages).map_err(refused)?;
    Ok(connection)
}

/// A new file is its owner's alone: it says where a person drove.
fn create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        // Not opened a second time: closing it would drop the locks that SQLite may hold in this process.
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
    connection.execute_batch(CONNECTION)?;
    connection.file_control(None::<&str>, FileControl::PersistWal(&mut 1))?;
    connection.pragma_update(None, "max_page_count", signed(max_pages))?;
    match identity {
        Identity::Ours(VERSION) => check(connection),
        Identity::Ours(version) => {
            check(connection)?;
            migrate::begin(connection, *version)
        }
        Identity::New | Identity::Foreign(_) => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(BATCH_TABLE)?;
            transaction.execute_batch(DOCUMENT_TABLE)?;
            transaction.execute_batch(OTHER_TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
            grow(connection, max_pages)
        }
    }
}

/// Gives log and database their usual size beforehand: growing by a page with each flush would cost a new van more than
/// all that it writes.
fn grow(connection: &mut Connection, max_pages: u64) -> rusqlite::Result<()> {
    let pages = GROW_PAGES.min(max_pages / 4);
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

/// Damage that can be found in good time is found before the first record is trusted to the file.
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

/// `page_count` or `freelist_count`, as they are within the open transaction.
pub(super) fn pages(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map(unsigned)
}

/// Whether the file, not its surroundings, is at fault.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether room on the disk is all that is missing.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether the connection may know less than the file: after a flush that failed, the kernel has forgotten what it could
/// not write.
pub(super) fn is_doubtful(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen))
}

/// Also damage while a file is opened: our tables, or what must stand in them, are not there. Later the same errors
/// would be our own mistake.
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

pub(super) fn refusal(path: &Path, error: rusqlite::Error) -> Refusal {
    let owned = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Refusal::Stop(OutboxError::InUse { path: owned })
        }
        _ if is_damage_at_open(&error) && is_ours(path) => Refusal::Damaged(error),
        Some(ErrorCode::NotADatabase) => {
            Refusal::Stop(OutboxError::Foreign { path: owned, found: "not a database".to_owned() })
        }
        _ => Refusal::Stop(OutboxError::Unusable { path: owned, source: io::Error::other(error) }),
    }
}

/// Only what we made has a `.seq` beside it, or our id in its header: a card that lies may lose the one and damage the other
/// in a van's first minutes. Who mistyped the path keeps the file that is there.
fn is_ours(path: &Path) -> bool {
    let mut header = [0; HEADER_BYTES];
    beside(path, ".seq").exists()
        || File::open(path).and_then(|mut file| file.read_exact(&mut header)).is_ok()
            && header.starts_with(b"SQLite format 3\0")
            && header.ends_with(&APPLICATION_ID.to_be_bytes())
}

/// SQLite's integers are signed; nothing of ours reaches the upper half.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The other way; what is negative is damage, and counts as nothing.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
