//! State documents: the state that survives a restart, encoded as a version byte and postcard, up
//! to 64 KiB each.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Change of a state document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDocChange {
    /// Key, such as `parcel/1Z999AA10123456784`.
    pub key: String,
    /// New content; `None` deletes the document.
    pub value: Option<Vec<u8>>,
}

/// Maximum size of a state document in bytes.
pub const MAX_STATE_DOC_BYTES: usize = 64 * 1024;

const VERSION: u8 = 1;

/// Encodes a state document.
pub(super) fn encode<T: Serialize>(state: &T) -> Vec<u8> {
    let bytes = vec![VERSION];
    postcard::to_extend(state, bytes).expect("encoding into a Vec cannot fail")
}

/// Decodes a state document; `None` if it is damaged or has another version.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (version, rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    postcard::from_bytes(rest).ok()
}

/// Caches the newest state documents, to detect changes.
#[derive(Debug, Default)]
pub(super) struct StateDocCache(BTreeMap<&'static str, Vec<u8>>);

impl StateDocCache {
    /// Sets the initial content.
    pub(super) fn seed<T: Serialize>(&mut self, key: &'static str, state: &T) {
        self.0.insert(key, encode(state));
    }

    /// Returns the change of the document, or `None` if its content is the same.
    pub(super) fn change<T: Serialize>(
        &mut self,
        key: &'static str,
        state: &T,
    ) -> Option<StateDocChange> {
        let value = encode(state);
        if self.0.get(key) == Some(&value) {
            return None;
        }
        self.0.insert(key, value.clone());
        Some(StateDocChange { key: key.to_owned(), value: Some(value) })
    }

    /// Returns the document, changed or not.
    pub(super) fn update<T: Serialize>(&mut self, key: &'static str, state: &T) -> StateDocChange {
        let value = encode(state);
        self.0.insert(key, value.clone());
        StateDocChange { key: key.to_owned(), value: Some(value) }
    }
}

/// Splits a large document into chunks `name/0`, `name/1`, and so on. Each chunk starts with its
/// index and the number of chunks.
pub(super) fn chunk<T: Serialize>(name: &str, state: &T) -> Vec<StateDocChange> {
    const CHUNK_BYTES: usize = MAX_STATE_DOC_BYTES - 16;
    let bytes = encode(state);
    let count = bytes.len().div_ceil(CHUNK_BYTES);
    let pieces = bytes.chunks(CHUNK_BYTES).enumerate();
    pieces
        .map(|(index, piece)| {
            let head = [index, count].map(|n| u8::try_from(n).unwrap_or(u8::MAX));
            StateDocChange { key: format!("{name}/{index}"), value: Some([&head, piece].concat()) }
        })
        .collect()
}

/// Reassembles the chunks of [`split`]; `None` if one is missing.
pub(super) fn unchunk<T: DeserializeOwned>(pieces: &BTreeMap<usize, &[u8]>) -> Option<T> {
    let count = usize::from(*pieces.get(&0)?.get(1)?);
    let mut bytes = Vec::new();
    for index in 0..count {
        let piece = pieces.get(&index)?;
        let head = piece.get(..2)?;
        if head.iter().map(|n| usize::from(*n)).ne([index, count]) {
            return None;
        }
        bytes.extend_from_slice(&piece[2..]);
    }
    decode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_document_is_split_and_joined_and_a_piece_too_few_is_noticed() {
        let state: Vec<String> = (0..20_000).map(|n| format!("parcel {n}")).collect();
        let kept = chunk("manifest", &state);
        assert!(kept.len() > 3);
        assert!(kept.iter().all(|kept| kept.value.as_ref().unwrap().len() <= MAX_STATE_DOC_BYTES));
        let mut pieces: BTreeMap<usize, &[u8]> = kept
            .iter()
            .map(|kept| {
                let (_, index) = kept.key.split_once('/').unwrap();
                (index.parse().unwrap(), kept.value.as_deref().unwrap())
            })
            .collect();
        assert_eq!(unchunk(&pieces), Some(state));
        pieces.remove(&1);
        assert_eq!(unchunk::<Vec<String>>(&pieces), None);
    }

    #[test]
    fn damage_is_no_state() {
        for bytes in [b"".as_slice(), &[VERSION], &[VERSION + 1, 5], &[VERSION, 0xff, 0xff]] {
            assert_eq!(decode::<String>(bytes), None);
        }
    }

    #[test]
    fn only_what_changed_is_kept() {
        let mut written = StateDocCache::default();
        assert!(written.change("route", &1).is_some());
        assert!(written.change("route", &1).is_none());
        assert!(written.change("route", &2).is_some());
    }
}
