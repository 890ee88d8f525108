//! Backup and restore of the SQLite file, with a summary of the contents. PostgreSQL has `pg_dump`
//! and base backups (docs/backend/README.md).
//!
//! - A backup is a consistent snapshot, taken while an instance runs, readable by its owner only
//!   (0600).
//! - Neither backup nor restore overwrites an existing file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::sqlite::{Sqlite, schema_version};
use super::{Engine, Statement, Store, StoreConfig, StoreError, schema};
use waypost_model::units::UtcTime;
use waypost_service::task::join;

/// Summary of a store, for comparing a copy with its original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSummary {
    pub vans: i64,
    pub routes: i64,
    pub parcels: i64,
    /// Number of the newest event and the time at which it was stored.
    pub newest: Option<(i64, UtcTime)>,
}

impl fmt::Display for StoreSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vans, routes, parcels, newest } = self;
        write!(f, "{vans} vans, {routes} routes, {parcels} parcels; ")?;
        match newest {
            Some((n, at)) => write!(f, "the newest event is number {n}, stored at {at}"),
            None => f.write_str("no event"),
        }
    }
}

const SUMMARY_SQL: &str = "SELECT (SELECT COUNT(*) FROM van), (SELECT COUNT(*) FROM route), \
    (SELECT COUNT(*) FROM parcel), (SELECT MAX(n) FROM event), \
    (SELECT captured_at FROM event ORDER BY n DESC LIMIT 1)";

fn summary([vans, routes, parcels]: [i64; 3], n: Option<i64>, at: Option<i64>) -> StoreSummary {
    let newest = n.zip(at.and_then(UtcTime::from_unix_ms));
    StoreSummary { vans, routes, parcels, newest }
}

impl Store {
    /// Summarizes the store.
    pub async fn summary(&self) -> Result<StoreSummary, StoreError> {
        let rows = self.read(Statement::new(SUMMARY_SQL, [])).await?;
        let row = &rows[0];
        Ok(summary([0, 1, 2].map(|column| row.int(column)), row.maybe_int(3), row.maybe_int(4)))
    }

    /// Copies the database into a new file, on disk when this returns, and summarizes the copy.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the file exists or cannot be created, or if the store is PostgreSQL.
    pub async fn backup(&self, to: &Path) -> Result<StoreSummary, StoreError> {
        let Engine::Sqlite(engine) = &self.engine else { return Err(unsupported_on_postgres()) };
        create_new(to)?;
        let copied = engine.copy(to.to_owned()).await.and_then(|()| sync_to_disk(to));
        let copied = copied.and_then(|()| check_copy(to).map_err(|error| open_error(to, error)));
        if copied.is_err() {
            // An incomplete copy must not be mistaken for a backup.
            std::fs::remove_file(to).ok();
        }
        copied
    }
}

/// Restores a backup to the path in `config`, where no file may exist, and summarizes it.
///
/// # Errors
/// [`StoreError::Open`] if the backup is unusable or the target exists.
pub async fn restore(from: &Path, config: &StoreConfig) -> Result<StoreSummary, StoreError> {
    let StoreConfig::Sqlite(to) = config else { return Err(unsupported_on_postgres()) };
    let (from, to) = (from.to_owned(), to.clone());
    join(tokio::task::spawn_blocking(move || restore_blocking(&from, &to))).await
}

/// Checks that a backup is usable, and summarizes it.
fn check_copy(copy: &Path) -> Result<StoreSummary, String> {
    let words = |error: rusqlite::Error| error.to_string();
    let copy =
        Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(words)?;
    let version = schema_version(&copy)?;
    schema::check_supported(version)?;
    if version == 0 {
        return Err("the file is empty; name a backup".to_owned());
    }
    let found: String =
        copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(words)?;
    if found != "ok" {
        return Err(format!("damaged: {found}"));
    }
    let counted = copy.query_row(SUMMARY_SQL, [], |row| {
        Ok(summary([row.get(0)?, row.get(1)?, row.get(2)?], row.get(3)?, row.get(4)?))
    });
    counted.map_err(words)
}

fn restore_blocking(from: &Path, to: &Path) -> Result<StoreSummary, StoreError> {
    let summary = check_copy(from).map_err(|error| open_error(from, error))?;
    for end in ["-wal", "-shm"] {
        // SQLite would replay a leftover log of another file.
        let mut with_suffix = to.as_os_str().to_owned();
        with_suffix.push(end);
        let with_suffix = PathBuf::from(with_suffix);
        if with_suffix.exists() {
            return Err(open_error(
                &with_suffix,
                "exists already; move it away together with its database".to_owned(),
            ));
        }
    }
    create_new(to)?;
    let copied = std::fs::copy(from, to).map_err(|error| open_error(to, error.to_string()));
    copied
        .and_then(|_| Sqlite::make_private(to))
        .and_then(|()| chown_to_parent_owner(to))
        .and_then(|()| sync_to_disk(to))
        .map(|()| summary)
        .inspect_err(|_| {
            std::fs::remove_file(to).ok();
        })
}

/// Gives a file restored by root to the directory's owner, so that the service can open it.
fn chown_to_parent_owner(path: &Path) -> Result<(), StoreError> {
    let given = || {
        let folder = std::fs::metadata(parent_dir(path))?;
        let file = std::fs::metadata(path)?;
        if (folder.uid(), folder.gid()) == (file.uid(), file.gid()) || file.uid() != 0 {
            return Ok(());
        }
        chown(path, Some(folder.uid()), Some(folder.gid()))
    };
    given().map_err(|error: std::io::Error| open_error(path, error.to_string()))
}

fn parent_dir(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn unsupported_on_postgres() -> StoreError {
    StoreError::Open {
        place: "PostgreSQL".to_owned(),
        error: "is not backed up by this command; use pg_dump and pg_restore, or base backups"
            .to_owned(),
    }
}

fn open_error(place: &Path, error: String) -> StoreError {
    StoreError::Open { place: place.display().to_string(), error }
}

fn create_new(path: &Path) -> Result<(), StoreError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop).map_err(
        |error| match error.kind() {
            ErrorKind::AlreadyExists => {
                open_error(path, "exists already and is not overwritten; move it away".to_owned())
            }
            _ => open_error(path, error.to_string()),
        },
    )
}

/// Syncs the file and its directory entry.
fn sync_to_disk(path: &Path) -> Result<(), StoreError> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(path)
        .and_then(|()| sync(parent_dir(path)))
        .map_err(|error| open_error(path, error.to_string()))
}
