//! What can go wrong with the outbox.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong, one variant for each way to react.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Keep the records, wait, and try again: nothing was written.
    #[error("{}: not written: {source}; it is tried again, meanwhile look at the disk's free space and health", path.display())]
    Degraded {
        /// The database.
        path: PathBuf,
        /// What SQLite or the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Stop: another process owns the file.
    #[error("{}: in use by another process: stop the other waypost, or give this one its own outbox", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// Stop: the file is not ours.
    #[error("{}: not an outbox ({found}): move it away, or choose another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// Stop: a newer agent wrote it.
    #[error("{}: schema {found}, this waypost knows {known}: install the newer waypost again", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i32,
        /// The highest that this agent knows.
        known: i32,
    },
    /// Stop: the place does not let us work.
    #[error("{}: cannot be opened: {source}: create the directory, and let the agent's user write there", path.display())]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Stop: what waits there is another van's.
    #[error("{}: holds {pending} records of {other:?}, and this is {van:?}: let {other:?} send them first, or give this van its own outbox", path.display())]
    OtherVan {
        /// The database.
        path: PathBuf,
        /// Whose records wait.
        other: String,
        /// Who asks.
        van: String,
        /// How many.
        pending: u64,
    },
    /// Stop: the agent has closed it.
    #[error("{}: closed", path.display())]
    Closed {
        /// The database.
        path: PathBuf,
    },
}

impl OutboxError {
    pub(super) fn degraded(
        path: &Path,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Degraded { path: path.to_owned(), source: Box::new(error) }
    }

    /// The same for who has records in memory, and better waits than stops.
    pub(super) fn waited_for(self, path: &Path) -> Self {
        match self {
            Self::Degraded { .. } => self,
            other => Self::degraded(path, other),
        }
    }
}
