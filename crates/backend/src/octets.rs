//! UUIDs, digests and unpredictable random bytes.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Builder;

/// SHA-256 of a text (FIPS 180-4), as 64 hexadecimal digits.
#[must_use]
pub fn sha256(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()))
}

/// Random bytes of the kernel's CSPRNG.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    SystemRandom::new()
        .fill(&mut octets)
        .expect("the kernel's CSPRNG is seeded once it has booted");
    octets
}

/// A random UUID (RFC 9562 §5.4).
#[must_use]
pub fn random_uuid() -> String {
    Builder::from_random_bytes(random()).into_uuid().to_string()
}

/// A deterministic UUID of version 8 (RFC 9562 §5.8) from the SHA-256 of a text.
pub(super) fn uuid_v8(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let bytes = std::array::from_fn(|index| hash.as_ref()[index]);
    Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_standards_example() {
        // FIPS 180-4, the example "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256("abc"), abc);
    }

    #[test]
    fn a_uuid_says_its_version_and_variant() {
        let (drawn, made) = (random_uuid(), uuid_v8("abc"));
        assert_eq!(made, "ba7816bf-8f01-8fea-8141-40de5dae2223");
        assert_eq!((drawn.len(), &drawn[14..15]), (36, "4"));
        assert!(["8", "9", "a", "b"].contains(&&drawn[19..20]), "{drawn}");
        assert_ne!(drawn, random_uuid());
    }
}
