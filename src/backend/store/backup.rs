//! A store's file → a copy of it, and back. PostgreSQL has `pg_dump` and base backups for that (docs/backend.md).
//!
//! - A copy is made while an instance runs, is as the store was at one moment, and is its owner's alone (0600).
//! - Nothing that is there is written over, neither by a copy nor by what is brought back.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::sqlite::{Sqlite, version};
use super::{Engine, Store, StoreConfig, StoreError, schema};
use crate::tasks::joined;

impl Store {
    /// Copies everything into a new file, which is on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the file is there already or cannot be made, or the store is PostgreSQL.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let Engine::Sqlite(engine) = &self.engine else { return Err(not_a_file()) };
        made_new(to)?;
        let copied = engine.copy(to.to_owned()).await.and_then(|()| synced(to));
        if copied.is_err() {
            // Half a copy must not be taken for one.
            std::fs::remove_file(to).ok();
        }
        copied
    }
}

/// Puts a copy where the store of `config` shall be; no file may be there.
///
/// # Errors
/// [`StoreError::Open`] if it is no copy that this program can use, or if the store is there already.
pub async fn restore(from: &Path, config: &StoreConfig) -> Result<(), StoreError> {
    let StoreConfig::Sqlite(to) = config else { return Err(not_a_file()) };
    let (from, to) = (from.to_owned(), to.clone());
    joined(tokio::task::spawn_blocking(move || restore_now(&from, &to)).await)
}

fn restore_now(from: &Path, to: &Path) -> Result<(), StoreError> {
    let checked = || -> Result<(), String> {
        let words = |error: rusqlite::Error| error.to_string();
        let copy =
            Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(words)?;
        let version = version(&copy)?;
        schema::known(version)?;
        if version == 0 {
            return Err("nothing is in it".to_owned());
        }
        let found: String =
            copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(words)?;
        if found == "ok" { Ok(()) } else { Err(format!("damaged: {found}")) }
    };
    checked().map_err(|error| open(from, error))?;
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
    copied.and_then(|_| Sqlite::private(to)).and_then(|()| synced(to)).inspect_err(|_| {
        std::fs::remove_file(to).ok();
    })
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
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|error| open(path, error.to_string()))
}

/// The file, and its name in its folder.
fn synced(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(path)
        .and_then(|()| sync(folder.unwrap_or(Path::new("."))))
        .map_err(|error| open(path, error.to_string()))
}
