//! What goes when the outbox is full (pure): the oldest records first, and never just one.
//!
//! Deleting a handful of rows frees no page, and the next insert would fail; so an eviction takes at least 1 %.

/// Pages that an insert may need beside its rows: interior nodes, the pointer map, the meta row.
const HEADROOM_PAGES: u64 = 32;

/// Records that go at once: 1 in this many.
const AT_LEAST_ONE_IN: u64 = 100;

/// How full the file is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Pages that hold something.
    pub used_pages: u64,
    /// Pages that may hold something.
    pub max_pages: u64,
    /// Records in the file.
    pub records: u64,
}

/// How many of the oldest records must go before `incoming_bytes` of rows fit; 0 if they fit, or nothing is left to go.
pub(super) fn to_evict(room: Room, incoming_bytes: u64) -> u64 {
    let needed = room.used_pages + HEADROOM_PAGES + incoming_bytes.div_ceil(room.page_bytes);
    let excess = needed.saturating_sub(room.max_pages);
    if excess == 0 {
        return 0;
    }
    // Records are alike, so a share of the pages is a share of the records.
    let share = room.records.saturating_mul(excess).div_ceil(room.used_pages.max(1));
    share.max(room.records.div_ceil(AT_LEAST_ONE_IN)).min(room.records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_while_there_is_room_and_at_least_a_hundredth_when_there_is_none() {
        // (used pages, records, incoming bytes, evicted)
        for (used_pages, records, incoming, evicted) in [
            (0, 0, 0, 0),
            (968, 10_000, 0, 0),
            (969, 10_000, 0, 100),
            (900, 10_000, 100 * 1024, 356),
            (968, 10_000, 1, 100),
            (5000, 10_000, 0, 8064),
            (1000, 7, 0, 1),
            (1000, 0, 0, 0),
            (40, 3, 1 << 40, 3),
        ] {
            let room = Room { page_bytes: 1024, used_pages, max_pages: 1000, records };
            assert_eq!(to_evict(room, incoming), evicted, "{used_pages} pages, {records} records");
        }
    }
}
