//! A record's subject as bytes in the outbox: one byte of format version, then [postcard](https://postcard.jamesmunns.com).
//!
//! An upgraded agent reads what the old one kept: the struct behind a version never changes. Who needs another field
//! adds a version and a conversion.

use crate::core::record::Subject;

/// The version that this agent writes.
pub const VERSION: u8 = 1;

/// Why stored bytes are no subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Written by a newer agent.
    #[error(
        "stored with format {0}, this agent knows {VERSION}: install the newer agent again to send it"
    )]
    Version(u8),
    /// Damaged.
    #[error("not readable as a record: {0}")]
    Malformed(postcard::Error),
}

/// Encodes with [`VERSION`].
#[must_use]
pub fn encode(subject: &Subject) -> Vec<u8> {
    postcard::to_extend(subject, vec![VERSION])
        .expect("a subject has no length that could be unknown")
}

/// Decodes every version up to [`VERSION`].
///
/// # Errors
/// [`StoredError`], when the bytes are damaged or newer than this agent.
pub fn decode(bytes: &[u8]) -> Result<Subject, StoredError> {
    match bytes {
        [VERSION, body @ ..] => match postcard::take_from_bytes(body) {
            Ok((subject, [])) => Ok(subject),
            Ok(_) => Err(StoredError::Malformed(postcard::Error::DeserializeBadEncoding)),
            Err(error) => Err(StoredError::Malformed(error)),
        },
        [version, ..] => Err(StoredError::Version(*version)),
        [] => Err(StoredError::Malformed(postcard::Error::DeserializeUnexpectedEnd)),
    }
}
