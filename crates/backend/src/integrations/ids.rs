//! Deterministic ids derived from content, so that repeats are detected.

use crate::octets::{sha256, uuid_v8};

/// SHA-256 over the parts, hexadecimal. Parts are length-prefixed, so different splits give
/// different digests.
pub(super) fn digest(parts: &[&str]) -> String {
    sha256(&length_prefixed(parts))
}

/// URN with a UUID of version 8 (RFC 9562 §5.8) over the SHA-256 of the parts.
pub(super) fn urn(parts: &[&str]) -> String {
    format!("urn:uuid:{}", uuid_v8(&length_prefixed(parts)))
}

fn length_prefixed(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("{}:{part}", part.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_for_the_same_and_others_for_others() {
        let name = urn(&["a", "bc"]);
        assert_eq!(name, urn(&["a", "bc"]));
        assert_ne!(name, urn(&["ab", "c"]));
        assert_eq!((name.len(), &name[23..24]), (45, "8"));
    }
}
