//! What things and events are called that have no name yet: the same each time, so that a repeat is one.

use crate::backend::octets::{sha256, uuid_of};

/// SHA-256 over parts, hexadecimal. Parts that end elsewhere make another digest.
pub(super) fn digest_of(parts: &[&str]) -> String {
    sha256(&framed(parts))
}

/// A name of parts: a UUID of version 8 (RFC 9562 §5.8) over their SHA-256, as a URN.
pub(super) fn urn_of(parts: &[&str]) -> String {
    format!("urn:uuid:{}", uuid_of(&framed(parts)))
}

fn framed(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("{}:{part}", part.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_for_the_same_and_others_for_others() {
        let name = urn_of(&["a", "bc"]);
        assert_eq!(name, urn_of(&["a", "bc"]));
        assert_ne!(name, urn_of(&["ab", "c"]));
        assert_eq!((name.len(), &name[23..24]), (45, "8"));
    }
}
