//! [`Stay`]s → what the antennas about the hold read: each tag on board every few seconds, and now and then not.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::moment::{Scan, Scanner};
use super::random::{Random, Stream};
use crate::units::Uptime;

/// A time that a radio tag spends in the van, since power-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    /// The EPC in hexadecimal.
    pub(super) tag: String,
    pub(super) from: Duration,
    pub(super) until: Duration,
}

/// How often a tag is shadowed by what lies on it.
const MISSED: f64 = 0.15;

/// All reads of the day, made when they are asked for.
#[derive(Debug)]
pub(super) struct TagReads {
    random: Random,
    every_s: f64,
    stays: Vec<Stay>,
    /// The next try for each stay, in milliseconds.
    next: BinaryHeap<Reverse<(u64, usize)>>,
}

impl TagReads {
    pub(super) fn new(seed: u64, every: Duration, stays: Vec<Stay>) -> Self {
        let random = Random::new(seed, Stream::Tags);
        let every_s = every.as_secs_f64();
        let mut reads = Self { random, every_s, stays, next: BinaryHeap::new() };
        for index in 0..reads.stays.len() {
            reads.try_after(reads.stays[index].from, index);
        }
        reads
    }

    fn try_after(&mut self, at: Duration, stay: usize) {
        let at = at + Duration::from_secs_f64(self.every_s * self.random.between(0.5, 1.5));
        if at < self.stays[stay].until {
            let ms = u64::try_from(at.as_millis()).expect("a part of a day");
            self.next.push(Reverse((ms, stay)));
        }
    }
}

impl Iterator for TagReads {
    type Item = Scan;

    fn next(&mut self) -> Option<Scan> {
        while let Some(Reverse((ms, stay))) = self.next.pop() {
            let missed = self.random.chance(MISSED);
            self.try_after(Duration::from_millis(ms), stay);
            if !missed {
                let line = self.stays[stay].tag.clone();
                return Some(Scan { at: Uptime::from_millis(ms), scanner: Scanner::Portal, line });
            }
        }
        None
    }
}
