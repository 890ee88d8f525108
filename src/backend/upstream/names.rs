//! What things and events are called that have no name yet: the same each time, so that a repeat is one.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::backend::api::auth::hex;

/// SHA-256 over parts, hexadecimal. Parts that end elsewhere make another digest.
pub(super) fn digest_of(parts: &[&str]) -> String {
    hex(digest(&SHA256, framed(parts).as_bytes()).as_ref())
}

/// A name of parts: a UUID of version 8 (RFC 9562 §5.8) over their SHA-256, as a URN.
pub(super) fn urn_of(parts: &[&str]) -> String {
    let hash = digest(&SHA256, framed(parts).as_bytes());
    format!("urn:uuid:{}", uuid(&hash.as_ref()[..16], 8))
}

/// A random UUID (RFC 9562 §5.4).
pub(super) fn random_uuid() -> String {
    uuid(&random(), 4)
}

/// 128 random bits, hexadecimal: who does not know them does not guess them.
pub(super) fn secret() -> String {
    hex(&random())
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("the kernel has randomness once it has booted");
    bytes
}

fn framed(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("{}:{part}", part.len())).collect()
}

fn uuid(bytes: &[u8], version: u8) -> String {
    let mut bytes = bytes.to_vec();
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    let (a, b, c, d, e) =
        (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
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
        let random = random_uuid();
        assert_eq!((random.len(), &random[14..15]), (36, "4"));
        assert_ne!(secret(), secret());
        assert_eq!(secret().len(), 32);
    }
}
