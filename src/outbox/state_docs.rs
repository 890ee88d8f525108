//! State documents, as rows of the table `document`. A CRC-32 of key and content precedes the
//! content, so that a flipped bit is detected.

use std::sync::Arc;

use rusqlite::{Connection, Transaction};

use super::schema::signed;

/// Maximum size of one document's content.
const MAX_BYTES: usize = 64 * 1024;

/// Maximum length of a key.
const MAX_KEY_BYTES: usize = 256;

/// Maximum size of all documents together.
pub(super) const MAX_ALL_BYTES: usize = 4 * 1024 * 1024;

/// Maximum number of documents: 5,000 parcels of a full van, 1,000 scans without time, and the
/// rest.
pub(super) const MAX_DOCUMENTS: usize = 8192;

const CRC_BYTES: usize = 4;

/// A named piece of state that survives a power cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDoc {
    /// Key, at most 256 bytes.
    pub key: String,
    /// Content, at most 64 KiB. `None` deletes the document.
    pub value: Option<Vec<u8>>,
}

impl StoredDoc {
    /// Whether key and content are within their limits.
    pub(super) fn fits(&self) -> bool {
        self.value.as_ref().is_none_or(|value| fits(&self.key, value))
    }
}

pub(super) const fn fits(key: &str, value: &[u8]) -> bool {
    key.len() <= MAX_KEY_BYTES && value.len() <= MAX_BYTES
}

/// Encodes the content for storage: checksum, then content.
pub(super) fn encode(key: &str, value: &[u8]) -> Arc<[u8]> {
    let mut bytes = Vec::with_capacity(CRC_BYTES + value.len());
    bytes.extend_from_slice(&crc(key, value).to_le_bytes());
    bytes.extend_from_slice(value);
    bytes.into()
}

/// Decodes stored content. Returns `None` if the checksum does not match.
pub(super) fn decode<'a>(key: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (stored, value) = bytes.split_first_chunk::<CRC_BYTES>()?;
    (u32::from_le_bytes(*stored) == crc(key, value)).then_some(value)
}

fn crc(key: &str, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    // A byte that never occurs in UTF-8 separates them. No other split of the same bytes has the
    // same checksum.
    hasher.update(&[0xFF]);
    hasher.update(value);
    hasher.finalize()
}

/// Reads all documents in order of key and deletes damaged ones.
pub(super) fn read(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    let (mut found, mut damaged) = (Vec::new(), Vec::new());
    let mut statement =
        transaction.prepare("SELECT rowid, key, value FROM document ORDER BY key LIMIT ?1")?;
    let mut rows = statement.query([signed(MAX_DOCUMENTS as u64)])?;
    while let Some(row) = rows.next()? {
        let key = row.get_ref(1)?.as_bytes().map(String::from_utf8_lossy).unwrap_or_default();
        if let Some(value) = decode(&key, row.get_ref(2)?.as_blob().unwrap_or_default()) {
            found.push((key.into_owned(), value.to_vec()));
        } else {
            // Log only the kind: the rest of the key may be a parcel number.
            let kind = key.split('/').next();
            tracing::warn!(kind, "stored document damaged: deleted");
            damaged.push(row.get::<_, i64>(0)?);
        }
    }
    for rowid in damaged {
        transaction.execute("DELETE FROM document WHERE rowid = ?1", [rowid])?;
    }
    Ok(found)
}

/// Writes an encoded document, or deletes it.
pub(super) fn write(
    transaction: &Transaction<'_>,
    key: &str,
    encoded: Option<&[u8]>,
) -> rusqlite::Result<()> {
    match encoded {
        Some(bytes) => transaction
            .prepare(
                "INSERT INTO document(key, value) VALUES (?1, ?2)
                 ON CONFLICT(key) DO UPDATE SET value = ?2",
            )?
            .execute((key, bytes)),
        None => transaction.prepare("DELETE FROM document WHERE key = ?1")?.execute([key]),
    }
    .map(drop)
}

/// Deletes all documents and returns their number.
pub(super) fn clear(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute("DELETE FROM document", [])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_document_is_noticed() {
        let bytes = encode("route", b"what is on board");
        assert_eq!(decode("route", &bytes), Some(&b"what is on board"[..]));
        assert_eq!(decode("route2", &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode("route", &flipped), None, "bit {bit}");
        }
    }
}
