//! A set of sequence numbers, stored as ranges; a set without gaps takes the space of one range.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A set of numbers that arrive mostly in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeqSet {
    /// First and last number of each range; ranges never touch.
    ranges: BTreeMap<u64, u64>,
}

impl SeqSet {
    /// Adds a number. Returns false if it was present.
    pub(super) fn insert(&mut self, seq: u64) -> bool {
        let before = self.ranges.range(..=seq).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| seq <= last) {
            return false;
        }
        let touches = |(_, last): &(u64, u64)| last.checked_add(1) == Some(seq);
        let first = before.filter(touches).map_or(seq, |(first, _)| first);
        let after = seq.checked_add(1).and_then(|next| self.ranges.remove(&next));
        self.ranges.insert(first, after.unwrap_or(seq));
        true
    }

    /// Returns the parts of `expected` that are missing.
    pub(super) fn missing(&self, expected: RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let (mut next, end) = expected.into_inner();
        let mut missing = Vec::new();
        for (&first, &last) in &self.ranges {
            if last < next {
                continue;
            }
            if first > end {
                break;
            }
            if first > next {
                missing.push(next..=first - 1);
            }
            next = last.saturating_add(1);
        }
        if next <= end {
            missing.push(next..=end);
        }
        missing
    }
}

/// Returns the total count of numbers in `ranges`.
pub(super) fn total(ranges: &[RangeInclusive<u64>]) -> u64 {
    ranges.iter().map(|range| (range.end() + 1).saturating_sub(*range.start())).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(seqs: &[u64]) -> SeqSet {
        let mut set = SeqSet::default();
        for seq in seqs {
            set.insert(*seq);
        }
        set
    }

    #[test]
    fn what_is_missing_is_named_as_ranges() {
        for (seqs, missing) in [
            (&[][..], vec![1..=9]),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9], vec![]),
            (&[9, 1, 5], vec![2..=4, 6..=8]),
            (&[4, 3, 12, 11], vec![1..=2, 5..=9]),
            (&[20], vec![1..=9]),
        ] {
            assert_eq!(set(seqs).missing(1..=9), missing, "{seqs:?}");
        }
    }

    #[test]
    fn what_came_in_order_is_one_range_however_long() {
        let mut set = set(&[2]);
        assert!((3..100_000).all(|seq| set.insert(seq)));
        assert!(set.insert(1) && !set.insert(1) && !set.insert(500));
        assert_eq!(set.ranges, BTreeMap::from([(1, 99_999)]));
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(seqs in proptest::collection::vec(0_u64..40, 0..80)) {
            let (mut set, mut model) = (SeqSet::default(), BTreeSet::new());
            for seq in seqs {
                prop_assert_eq!(set.insert(seq), model.insert(seq));
            }
            let missing: Vec<u64> = set.missing(0..=39).into_iter().flatten().collect();
            let expected: Vec<u64> = (0..40).filter(|seq| !model.contains(seq)).collect();
            prop_assert_eq!(total(&set.missing(0..=39)), expected.len() as u64);
            prop_assert_eq!(missing, expected);
        }
    }
}
