//! Event ids: version 5 UUIDs (RFC 9562 §5.5) of van, time, kind and subject. The same log gives
//! the same ids.
//!
//! If all four are equal, a counter in the name keeps the ids unique.

use std::collections::VecDeque;

use waypost_model::event::EventId;
use waypost_model::units::UtcTime;

/// UUID namespace of waypost events.
const NAMESPACE: [u8; 16] = [
    0x6f, 0x2b, 0x1d, 0x64, 0x90, 0x57, 0x4e, 0x0a, 0x8c, 0x3e, 0x51, 0x7a, 0x2d, 0xf4, 0x08, 0xb9,
];

/// Generates unique event ids.
#[derive(Debug)]
pub(super) struct EventIdGenerator {
    van: String,
    /// Newest ids, to detect duplicates. Older ids cannot collide, because their time differs.
    recent: VecDeque<EventId>,
}

impl EventIdGenerator {
    const RECENT_CAPACITY: usize = 1024;

    pub(super) const fn new(van: String) -> Self {
        Self { van, recent: VecDeque::new() }
    }

    /// Returns the id of an event about `subject` at `utc`.
    pub(super) fn next_id(&mut self, utc: UtcTime, kind: &str, subject: &str) -> EventId {
        let mut name = format!("{}\n{}\n{kind}\n{subject}", self.van, utc.as_unix_ms());
        let length = name.len();
        let mut id = v5(NAMESPACE, name.as_bytes());
        let mut alike = 1_u32;
        while self.recent.contains(&id) {
            alike += 1;
            name.truncate(length);
            name.push_str(&format!("\n{alike}"));
            id = v5(NAMESPACE, name.as_bytes());
        }
        if self.recent.len() == Self::RECENT_CAPACITY {
            self.recent.pop_front();
        }
        self.recent.push_back(id);
        id
    }
}

fn v5(namespace: [u8; 16], name: &[u8]) -> EventId {
    let hash = sha1(&[&namespace, name].concat());
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id[6] = id[6] & 0x0f | 0x50;
    id[8] = id[8] & 0x3f | 0x80;
    EventId(id)
}

/// SHA-1 (RFC 3174 §6.1), used for naming only and not for security.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let bits = (message.len() as u64).wrapping_mul(8).to_be_bytes();
    let end = padded.len();
    padded[end - 8..].copy_from_slice(&bits);
    let mut h = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let (blocks, _) = padded.as_chunks::<64>();
    for block in blocks {
        mix(&mut h, block);
    }
    let mut hash = [0; 20];
    for (slot, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(h) {
        *slot = word.to_be_bytes();
    }
    hash
}

#[expect(clippy::many_single_char_names, reason = "the names of RFC 3174")]
fn mix(h: &mut [u32; 5], block: &[u8; 64]) {
    let mut w = [0_u32; 80];
    for (word, bytes) in w.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for t in 16..80 {
        w[t] = (w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *h;
    for (t, word) in w.iter().enumerate() {
        let (f, k) = match t {
            0..20 => (b & c | !b & d, 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc_u32),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e);
        let next = next.wrapping_add(k).wrapping_add(*word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    for (sum, new) in h.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_standard() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for (message, expected) in [
            ("abc".to_owned(), "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (String::new(), "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".to_owned(),
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
            ("a".repeat(1_000_000), "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
            ("01234567".repeat(80), "dea356a2cddd90c7a7ecedc5ebb563934f460452"),
        ] {
            assert_eq!(hex(&sha1(message.as_bytes())), expected, "{} bytes", message.len());
        }
        // Lengths around the padding boundaries, computed with other implementations.
        for (length, expected) in [
            (55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"),
            (56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"),
            (64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"),
        ] {
            assert_eq!(hex(&sha1(&vec![b'a'; length])), expected, "{length} bytes");
        }
    }

    #[test]
    fn a_name_is_that_of_the_standards_example() {
        // RFC 9562 appendix A.4.
        let dns = [
            0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4,
            0x30, 0xc8,
        ];
        let id = v5(dns, b"www.example.com");
        assert_eq!(id.to_string(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    }

    #[test]
    fn the_same_gives_the_same_name_and_no_two_events_share_one() {
        let utc = UtcTime::from_unix_ms(1_800_000_000_000).unwrap();
        let names = || {
            let mut ids = EventIdGenerator::new("VAN-042".to_owned());
            let mut names = vec![ids.next_id(utc, "parcel.loaded", "A")];
            names.push(ids.next_id(utc, "parcel.loaded", "B"));
            names.push(ids.next_id(utc, "parcel.seen", "A"));
            names.extend((0..50).map(|_| ids.next_id(utc, "parcel.seen", "A")));
            names
        };
        let first = names();
        assert_eq!(first, names());
        let distinct: std::collections::BTreeSet<_> = first.iter().collect();
        assert_eq!(distinct.len(), first.len());
    }
}
