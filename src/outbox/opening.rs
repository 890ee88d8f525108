//! A path → the connection and what the file says, of a damaged file too.

use std::path::Path;

use rusqlite::Connection;

use super::damage::{salvaged, set_aside, to_salvage};
use super::rows::Found;
use super::schema::{self, Refusal};
use super::store::BLOCK;
use super::{OutboxConfig, OutboxError, salvage, seq_file};
use crate::core::record::Seq;

/// A new file in the place of a damaged one, with what could be read of it.
pub(super) fn replace(
    config: &OutboxConfig,
    error: &rusqlite::Error,
) -> Result<(Connection, Found), OutboxError> {
    let path = &config.path;
    set_aside(path, error)
        .map_err(|source| OutboxError::Unusable { path: path.clone(), source })?;
    let (connection, mut found) = connect(config).map_err(|refusal| match refusal {
        Refusal::Stop(error) => error,
        Refusal::Damaged(error) => OutboxError::degraded(path, error),
    })?;
    if seq_file::read(path).is_none() {
        // Nothing says up to where numbers were published, but it is no further than this beyond what was committed.
        let reserved = &mut found.meta.reservation.reserved;
        *reserved =
            Seq::new((*reserved).max(found.durable).max(found.newest_event).get() + 2 * BLOCK);
    }
    Ok((connection, found))
}

pub(super) fn connect(config: &OutboxConfig) -> Result<(Connection, Found), Refusal> {
    let mut connection = schema::connect(&config.path, config.max_pages())?;
    let found =
        salvage_all(&config.path, &mut connection).and_then(|()| Found::read(&mut connection));
    match found {
        Ok(found) => Ok((connection, found)),
        Err(error) => {
            drop(connection);
            Err(schema::refusal(&config.path, error))
        }
    }
}

/// Also what an earlier run has set aside, and did not come to salvage.
fn salvage_all(path: &Path, into: &mut Connection) -> rusqlite::Result<()> {
    for (number, aside) in to_salvage(path) {
        if let Err(error) = salvage::salvage(&aside, into) {
            tracing::error!(%error, "what could be read of the damaged outbox was not kept");
        }
        salvage::count(into)?;
        if let Err(error) = salvaged(path, number) {
            tracing::warn!(%error, "damaged outbox is salvaged, and once more at the next start");
        }
    }
    Ok(())
}
