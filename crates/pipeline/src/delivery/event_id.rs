//! Event ids: version 5 UUIDs (RFC 9562 §5.5) of van, time, kind and subject. The same log gives
//! the same ids.
//!
//! If all four are equal, a counter in the name keeps the ids unique.

use std::collections::VecDeque;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
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

/// Builds a version 5 UUID. The SHA-1 is for naming only and not for security.
fn v5(namespace: [u8; 16], name: &[u8]) -> EventId {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[&namespace, name].concat());
    let mut id = [0; 16];
    id.copy_from_slice(&hash.as_ref()[..16]);
    id[6] = id[6] & 0x0f | 0x50;
    id[8] = id[8] & 0x3f | 0x80;
    EventId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_the_standards_example() {
        // RFC 9562 appendix A.4.
        let dns = [
            0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4,
            0x30, 0xc8,
        ];
        let id = v5(dns, b"www.example.com");
        assert_eq!(id.to_string(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
        // Computed with another implementation.
        let utc = UtcTime::from_unix_ms(1_800_000_000_000).unwrap();
        let id = EventIdGenerator::new("VAN-042".to_owned()).next_id(utc, "parcel.loaded", "A");
        assert_eq!(id.to_string(), "ffca897e-5ca0-50a6-9583-4dbc7d41de02");
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
