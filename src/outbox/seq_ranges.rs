//! Sets of `Seq`s as ranges. Acknowledgements arrive mostly in order, so a few ranges suffice. No
//! I/O.

use std::ops::RangeInclusive;

use waypost_model::record::Seq;

/// Number of ranges from which acknowledged records are deleted at once. It bounds the memory that
/// a broker can consume.
const MAX_RANGES: usize = 64;

/// Ranges that neither overlap nor touch, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeqRanges(Vec<RangeInclusive<Seq>>);

impl SeqRanges {
    pub(super) fn insert(&mut self, range: &RangeInclusive<Seq>) {
        let (mut start, mut end) = (*range.start(), *range.end());
        let before = self.0.partition_point(|known| known.end().next() < start);
        let joined = self.0[before..].partition_point(|known| *known.start() <= end.next());
        for known in self.0.drain(before..before + joined) {
            (start, end) = (start.min(*known.start()), end.max(*known.end()));
        }
        self.0.insert(before, start..=end);
    }

    pub(super) fn extend(&mut self, others: &Self) {
        others.0.iter().for_each(|range| self.insert(range));
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        let candidate = self.0.partition_point(|known| *known.end() < seq);
        self.0.get(candidate).is_some_and(|known| known.contains(&seq))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_fragmented(&self) -> bool {
        self.0.len() >= MAX_RANGES
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RangeInclusive<Seq>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_the_set_of_what_was_put_in(parts in proptest::collection::vec((0_u64..60, 0_u64..9), 0..20)) {
            let (mut ranges, mut set) = (SeqRanges::default(), BTreeSet::new());
            for (start, more) in parts {
                ranges.insert(&(Seq::new(start)..=Seq::new(start + more)));
                set.extend(start..=start + more);
            }
            for seq in 0..80 {
                prop_assert_eq!(ranges.contains(Seq::new(seq)), set.contains(&seq));
            }
            for pair in ranges.0.windows(2) {
                prop_assert!(pair[0].end().next() < *pair[1].start());
            }
        }
    }
}
