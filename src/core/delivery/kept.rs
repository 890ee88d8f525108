//! State ↔ documents: what a restart needs, in postcard behind a version byte, each at most 64 KiB.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A document that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name, such as `parcel/1Z999AA10123456784`.
    pub key: String,
    /// What it says now; `None` = it is gone.
    pub value: Option<Vec<u8>>,
}

/// No document is longer, in bytes.
pub const MAX_DOCUMENT: usize = 64 * 1024;

const VERSION: u8 = 1;

/// The bytes of a document.
pub(super) fn encode<T: Serialize>(state: &T) -> Vec<u8> {
    let bytes = vec![VERSION];
    postcard::to_extend(state, bytes).expect("memory takes everything")
}

/// What `bytes` say; `None` of another version, or if they are damaged.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (version, rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    postcard::from_bytes(rest).ok()
}

/// The documents as they were last kept.
#[derive(Debug, Default)]
pub(super) struct Written(BTreeMap<&'static str, Vec<u8>>);

impl Written {
    /// Takes note of what was there at the start.
    pub(super) fn begin<T: Serialize>(&mut self, key: &'static str, state: &T) {
        self.0.insert(key, encode(state));
    }

    /// The document, if it changed.
    pub(super) fn changed<T: Serialize>(&mut self, key: &'static str, state: &T) -> Option<Kept> {
        let value = encode(state);
        if self.0.get(key) == Some(&value) {
            return None;
        }
        self.0.insert(key, value.clone());
        Some(Kept { key: key.to_owned(), value: Some(value) })
    }

    /// The document, changed or not.
    pub(super) fn document<T: Serialize>(&mut self, key: &'static str, state: &T) -> Kept {
        let value = encode(state);
        self.0.insert(key, value.clone());
        Kept { key: key.to_owned(), value: Some(value) }
    }
}

/// Splits a document that may be long: `name/0`, `name/1` and so on, each with its number and how many there are.
pub(super) fn split<T: Serialize>(name: &str, state: &T) -> Vec<Kept> {
    const PIECE: usize = MAX_DOCUMENT - 16;
    let bytes = encode(state);
    let count = bytes.len().div_ceil(PIECE);
    let pieces = bytes.chunks(PIECE).enumerate();
    pieces
        .map(|(index, piece)| {
            let head = [index, count].map(|n| u8::try_from(n).unwrap_or(u8::MAX));
            Kept { key: format!("{name}/{index}"), value: Some([&head, piece].concat()) }
        })
        .collect()
}

/// Puts together what [`split`] split; `None` if a piece is missing.
pub(super) fn join<T: DeserializeOwned>(pieces: &BTreeMap<usize, &[u8]>) -> Option<T> {
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
        let kept = split("manifest", &state);
        assert!(kept.len() > 3);
        assert!(kept.iter().all(|kept| kept.value.as_ref().unwrap().len() <= MAX_DOCUMENT));
        let mut pieces: BTreeMap<usize, &[u8]> = kept
            .iter()
            .map(|kept| {
                let (_, index) = kept.key.split_once('/').unwrap();
                (index.parse().unwrap(), kept.value.as_deref().unwrap())
            })
            .collect();
        assert_eq!(join(&pieces), Some(state));
        pieces.remove(&1);
        assert_eq!(join::<Vec<String>>(&pieces), None);
    }

    #[test]
    fn damage_is_no_state() {
        for bytes in [b"".as_slice(), &[VERSION], &[VERSION + 1, 5], &[VERSION, 0xff, 0xff]] {
            assert_eq!(decode::<String>(bytes), None);
        }
    }

    #[test]
    fn only_what_changed_is_kept() {
        let mut written = Written::default();
        assert!(written.changed("route", &1).is_some());
        assert!(written.changed("route", &1).is_none());
        assert!(written.changed("route", &2).is_some());
    }
}
