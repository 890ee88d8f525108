//! A store's file → a copy of it, and back, each with what is in it. PostgreSQL has `pg_dump` and base backups for that
//! (docs/backend/README.md).
//!
//! - A copy is made while an instance runs, is as the store was at one moment, and is its owner's alone (0600).
//! - Nothing that is there is written over, neither by a copy nor by what is brought back.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::sqlite::{Sqlite, version};
use super::{Engine, Statement, Store, StoreConfig, StoreError, schema};
use crate::tasks::joined;
use crate::units::UtcTime;

/// What a person compares a copy, or what was brought back, with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Vans that were ever heard of.
    pub vans: i64,
    /// Routes.
    pub routes: i64,
    /// Parcels.
    pub parcels: i64,
    /// Number of the newest event, and when it was stored.
    pub newest: Option<(i64, UtcTime)>,
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vans, routes, parcels, newest } = self;
        write!(f, "{vans} vans, {routes} routes, {parcels} parcels; ")?;
        match newest {
            Some((n, at)) => write!(f, "the newest event is number {n}, stored at {at}"),
            None => f.write_str("no event"),
        }
    }
}

const CENSUS: &str = "SELECT (SELECT COUNT(*) FROM van), (SELECT COUNT(*) FROM route), \
    (SELECT COUNT(*) FROM parcel), (SELECT MAX(n) FROM event), \
    (SELECT captured_at FROM event ORDER BY n DESC LIMIT 1)";

fn census([vans, routes, parcels]: [i64; 3], n: Option<i64>, at: Option<i64>) -> Census {
    let newest = n.zip(at.and_then(UtcTime::from_unix_ms));
    Census { vans, routes, parcels, newest }
}

impl Store {
    /// What is in it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn census(&self) -> Result<Census, StoreError> {
        let rows = self.read(Statement::new(CENSUS, [])).await?;
        let row = &rows[0];
        Ok(census([0, 1, 2].map(|column| row.int(column)), row.maybe_int(3), row.maybe_int(4)))
    }

    /// Copies everything into a new file, which is on disk when this returns; and says what is in the copy.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the file is there already or cannot be made, or the store is PostgreSQL.
    pub async fn backup(&self, to: &Path) -> Result<Census, StoreError> {
        let Engine::Sqlite(engine) = &self.engine else { return Err(not_a_file()) };
        made_new(to)?;
        let copied = engine.copy(to.to_owned()).await.and_then(|()| synced(to));
        let copied = copied.and_then(|()| checked(to).map_err(|error| open(to, error)));
        if copied.is_err() {
            // Half a copy must not be taken for one.
            std::fs::remove_file(to).ok();
        }
        copied
    }
}

/// Puts a copy where the store of `config` shall be, and says what is in it; no file may be there.
///
/// # Errors
/// [`StoreError::Open`] if it is no copy that this program can use, or if the store is there already.
pub async fn restore(from: &Path, config: &StoreConfig) -> Result<Census, StoreError> {
    let StoreConfig::Sqlite(to) = config else { return Err(not_a_file()) };
    let (from, to) = (from.to_owned(), to.clone());
    joined(tokio::task::spawn_blocking(move || restore_now(&from, &to)).await)
}

/// A copy that this program can use, and what is in it.
fn checked(copy: &Path) -> Result<Census, String> {
    let words = |error: rusqlite::Error| error.to_string();
    let copy =
        Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(words)?;
    let version = version(&copy)?;
    schema::known(version)?;
    if version == 0 {
        return Err("nothing is in it".to_owned());
    }
    let found: String =
        copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(words)?;
    if found != "ok" {
        return Err(format!("damaged: {found}"));
    }
    let counted = copy.query_row(CENSUS, [], |row| {
        Ok(census([row.get(0)?, row.get(1)?, row.get(2)?], row.get(3)?, row.get(4)?))
    });
    counted.map_err(words)
}

fn restore_now(from: &Path, to: &Path) -> Result<Census, StoreError> {
    let census = checked(from).map_err(|error| open(from, error))?;
    for end in ["-wal", "-shm"] {
        // A log of another file would be played onto this one.
        let mut beside = to.as_os_str().to_owned();
        beside.push(end);
        let beside = PathBuf::from(beside);
        if beside.exists() {
            return Err(open(
                &beside,
                "is there already; move it away with its database".to_owned(),
            ));
        }
    }
    made_new(to)?;
    let copied = std::fs::copy(from, to).map_err(|error| open(to, error.to_string()));
    copied
        .and_then(|_| Sqlite::private(to))
        .and_then(|()| given_to_its_folder(to))
        .and_then(|()| synced(to))
        .map(|()| census)
        .inspect_err(|_| {
            std::fs::remove_file(to).ok();
        })
}

/// Restored by root, it would be root's, and no service could open it.
fn given_to_its_folder(path: &Path) -> Result<(), StoreError> {
    let given = || {
        let folder = std::fs::metadata(folder(path))?;
        let file = std::fs::metadata(path)?;
        if (folder.uid(), folder.gid()) == (file.uid(), file.gid()) || file.uid() != 0 {
            return Ok(());
        }
        chown(path, Some(folder.uid()), Some(folder.gid()))
    };
    given().map_err(|error: std::io::Error| open(path, error.to_string()))
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn not_a_file() -> StoreError {
    StoreError::Open {
        place: "PostgreSQL".to_owned(),
        error: "has its own tools for this: pg_dump and pg_restore, or base backups".to_owned(),
    }
}

fn open(place: &Path, error: String) -> StoreError {
    StoreError::Open { place: place.display().to_string(), error }
}

fn made_new(path: &Path) -> Result<(), StoreError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop).map_err(
        |error| match error.kind() {
            ErrorKind::AlreadyExists => {
                open(path, "is there already, and nothing is written over; move it away".to_owned())
            }
            _ => open(path, error.to_string()),
        },
    )
}

/// The file, and its name in its folder.
fn synced(path: &Path) -> Result<(), StoreError> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(path).and_then(|()| sync(folder(path))).map_err(|error| open(path, error.to_string()))
}
