//! Opens the database, including recovery from damage.

use std::path::Path;

use rusqlite::Connection;

use super::database::SEQ_BLOCK;
use super::event_rows::OpenedFile;
use super::quarantine::{mark_salvaged, pending_salvage, quarantine};
use super::schema::{self, OpenError};
use super::{OutboxConfig, OutboxError, salvage, seq_file};
use waypost_model::record::Seq;

/// Replaces a damaged database with a new one that holds its readable content.
pub(super) fn replace(
    config: &OutboxConfig,
    error: &rusqlite::Error,
) -> Result<(Connection, OpenedFile), OutboxError> {
    let path = &config.path;
    quarantine(path, error)
        .map_err(|source| OutboxError::Unusable { path: path.clone(), source })?;
    let (connection, mut found) = connect(config).map_err(|refusal| match refusal {
        OpenError::Fatal(error) => error,
        OpenError::Damaged(error) => OutboxError::degraded(path, error),
    })?;
    if seq_file::read(path).is_none() {
        // The highest published number is unknown, but it is at most this far above the committed
        // ones.
        let reserved = &mut found.meta.reservation.reserved;
        *reserved =
            Seq::new((*reserved).max(found.durable).max(found.newest_event).get() + 2 * SEQ_BLOCK);
    }
    Ok((connection, found))
}

pub(super) fn connect(config: &OutboxConfig) -> Result<(Connection, OpenedFile), OpenError> {
    let mut connection = schema::connect(&config.path, config.max_pages())?;
    let found =
        salvage_all(&config.path, &mut connection).and_then(|()| OpenedFile::read(&mut connection));
    match found {
        Ok(found) => Ok((connection, found)),
        Err(error) => {
            drop(connection);
            Err(schema::open_error(&config.path, error))
        }
    }
}

/// Salvages all quarantined databases, including those that an earlier run did not finish.
fn salvage_all(path: &Path, into: &mut Connection) -> rusqlite::Result<()> {
    for (number, aside) in pending_salvage(path) {
        if let Err(error) = salvage::salvage(&aside, into) {
            tracing::error!(%error, "damaged outbox not salvaged");
        }
        salvage::update_count(into)?;
        if let Err(error) = mark_salvaged(path, number) {
            tracing::warn!(%error, "salvaged outbox not renamed: it is salvaged again at the next start");
        }
    }
    Ok(())
}
