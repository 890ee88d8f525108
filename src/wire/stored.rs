//! A record's subject as bytes in the outbox: one byte of format version, then [postcard](https://postcard.jamesmunns.com).
//!
//! An upgraded agent reads what the old one kept: the struct behind a version never changes. Who needs another field
//! adds a version and a conversion. An event has a CRC-32 behind its version: what it says is evidence, and a flipped bit
//! must not say something else.

use crate::core::delivery::Event;
use crate::core::record::Subject;

/// The version of a subject that this agent writes.
pub const VERSION: u8 = 1;

/// The version of an event that this agent writes.
pub const EVENT_VERSION: u8 = 1;

/// Why stored bytes are no subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Written by a newer agent.
    #[error(
        "stored with format {0}, this agent knows {VERSION}: install the newer agent again to send it"
    )]
    Version(u8),
    /// Damaged.
    #[error("not readable as an event: its checksum is wrong")]
    Checksum,
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
        [VERSION, body @ ..] => whole(body),
        [version, ..] => Err(StoredError::Version(*version)),
        [] => Err(StoredError::Malformed(postcard::Error::DeserializeUnexpectedEnd)),
    }
}

/// Encodes with [`EVENT_VERSION`].
#[must_use]
pub fn encode_event(event: &Event) -> Vec<u8> {
    let mut bytes = postcard::to_extend(event, vec![EVENT_VERSION, 0, 0, 0, 0])
        .expect("an event has no length that could be unknown");
    let crc = crc32fast::hash(&bytes[HEADER_BYTES..]);
    bytes[1..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Decodes every version up to [`EVENT_VERSION`].
///
/// # Errors
/// [`StoredError`], when the bytes are damaged or newer than this agent.
pub fn decode_event(bytes: &[u8]) -> Result<Event, StoredError> {
    match bytes {
        [EVENT_VERSION, a, b, c, d, body @ ..] => {
            if crc32fast::hash(body) != u32::from_le_bytes([*a, *b, *c, *d]) {
                return Err(StoredError::Checksum);
            }
            whole(body)
        }
        [] | [EVENT_VERSION, ..] => {
            Err(StoredError::Malformed(postcard::Error::DeserializeUnexpectedEnd))
        }
        [version, ..] => Err(StoredError::Version(*version)),
    }
}

/// Version and CRC-32.
const HEADER_BYTES: usize = 5;

fn whole<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, StoredError> {
    match postcard::take_from_bytes(body) {
        Ok((it, [])) => Ok(it),
        Ok(_) => Err(StoredError::Malformed(postcard::Error::DeserializeBadEncoding)),
        Err(error) => Err(StoredError::Malformed(error)),
    }
}
