//! Hexadecimal digits, UUIDs, digests and unpredictable random bytes.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Lower-case hexadecimal, two digits per byte.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        write!(text, "{octet:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// Decodes hexadecimal digits of either case; `None` for other characters or an odd number of
/// digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// SHA-256 of a text (FIPS 180-4), as 64 hexadecimal digits.
#[must_use]
pub fn sha256(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
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
    uuid(random(), 4)
}

/// A deterministic UUID of version 8 (RFC 9562 §5.8) from the SHA-256 of a text.
pub(super) fn uuid_v8(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    uuid(std::array::from_fn(|index| hash.as_ref()[index]), 8)
}

fn uuid(mut octets: [u8; 16], version: u8) -> String {
    octets[6] = octets[6] & 0x0f | version << 4;
    octets[8] = octets[8] & 0x3f | 0x80;
    let digits = hex(&octets);
    let (a, b, c, d, e) =
        (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_written_and_read_in_hexadecimal() {
        assert_eq!(hex(&[0, 0x0a, 0xff]), "000aff");
        for (text, octets) in [
            ("", Some(&b""[..])),
            ("000aFf", Some(&[0, 0x0a, 0xff])),
            ("0", None),
            ("0g", None),
            ("+1", None),
            ("ä", None),
        ] {
            assert_eq!(unhex(text).as_deref(), octets, "{text}");
        }
        // FIPS 180-4, the example "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256("abc"), abc);
    }

    #[test]
    fn a_uuid_says_its_version_and_variant() {
        let (render_frame, made) = (random_uuid(), uuid_v8("abc"));
        assert_eq!(made, "ba7816bf-8f01-8fea-8141-40de5dae2223");
        assert_eq!((render_frame.len(), &render_frame[14..15]), (36, "4"));
        assert!(["8", "9", "a", "b"].contains(&&render_frame[19..20]), "{render_frame}");
        assert_ne!(render_frame, random_uuid());
    }
}
