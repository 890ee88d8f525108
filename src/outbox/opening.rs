//! A path → the connection and what the file says, of a damaged file too.

use rusqlite::Connection;

use super::damage::set_aside;
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
    let aside = set_aside(path, error)
        .map_err(|source| OutboxError::Unusable { path: path.clone(), source })?;
    let refused = |refusal| match refusal {
        Refusal::Stop(error) => error,
        Refusal::Damaged(error) => OutboxError::degraded(path, error),
    };
    let (mut connection, _) = connect(config).map_err(refused)?;
    if let Err(error) = salvage::salvage(&aside, &mut connection) {
        tracing::error!(%error, "what could be read of the damaged outbox was not kept");
    }
    salvage::count(&connection).map_err(|error| OutboxError::degraded(path, error))?;
    let mut found =
        Found::read(&mut connection).map_err(|error| OutboxError::degraded(path, error))?;
    if seq_file::read(path).is_none() {
        // Nothing says up to where numbers were published, but it is no further than this beyond what was committed.
        let reserved = &mut found.meta.reservation.reserved;
        *reserved = Seq::new((*reserved).max(found.durable).get() + 2 * BLOCK);
    }
    Ok((connection, found))
}

pub(super) fn connect(config: &OutboxConfig) -> Result<(Connection, Found), Refusal> {
    let mut connection = schema::connect(&config.path, config.max_pages())?;
    match Found::read(&mut connection) {
        Ok(found) => Ok((connection, found)),
        Err(error) => {
            drop(connection);
            Err(schema::refusal(&config.path, error))
        }
    }
}
