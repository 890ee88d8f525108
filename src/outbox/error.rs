//! Errors of the outbox.

use std::io;
use std::path::{Path, PathBuf};

/// Errors of the outbox, one variant per reaction of the caller.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Nothing was written: keep the records and try again later.
    #[error("{}: not written: {source}: retrying; check the disk's free space and health", path.display())]
    Degraded {
        path: PathBuf,
        /// Cause from SQLite or the operating system.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Fatal: another process owns the file.
    #[error("{}: in use by another process: stop the other waypost, or give this one its own outbox", path.display())]
    InUse { path: PathBuf },
    /// Fatal: the file is not an outbox.
    #[error("{}: not an outbox ({found}): move it away, or choose another path", path.display())]
    Foreign {
        path: PathBuf,
        /// Description of the existing content.
        found: String,
    },
    /// Fatal: a newer agent wrote the file.
    #[error("{}: schema {found} is newer than {known}, the newest that this waypost supports: install the newer waypost again", path.display())]
    Newer {
        path: PathBuf,
        /// Schema version of the file.
        found: i32,
        /// Newest schema version that this agent supports.
        known: i32,
    },
    /// Fatal: the directory does not allow access.
    #[error("{}: cannot be opened: {source}: create the directory, and let the agent's user write there", path.display())]
    Unusable {
        path: PathBuf,
        /// Cause from the operating system.
        source: io::Error,
    },
    /// Fatal: the outbox holds records of another van.
    #[error("{}: holds {pending} records of {other:?}, but this is {van:?}: let {other:?} send them first, or give this van its own outbox", path.display())]
    OtherVan {
        path: PathBuf,
        /// Owner of the records.
        other: String,
        /// The van that claimed the outbox.
        van: String,
        /// Number of pending records.
        pending: u64,
    },
    /// Fatal: the outbox was closed.
    #[error("{}: closed", path.display())]
    Closed { path: PathBuf },
}

impl OutboxError {
    pub(super) fn degraded(
        path: &Path,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Degraded { path: path.to_owned(), source: Box::new(error) }
    }

    /// Turns a fatal error into a retryable one, for a running agent that still has records in
    /// memory.
    pub(super) fn retryable(self, path: &Path) -> Self {
        match self {
            Self::Degraded { .. } => self,
            other => Self::degraded(path, other),
        }
    }
}
