//! RFID reads of the antennas around the cargo hold. Each tag on board is read every few seconds,
//! with occasional misses.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::random::{Random, Stream};
use super::timeline::{Scan, Scanner};
use waypost_model::units::Uptime;

/// Time that an RFID tag spends in the van, since power-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TagPresence {
    /// The EPC in hexadecimal.
    pub(super) tag: String,
    pub(super) from: Duration,
    pub(super) until: Duration,
}

/// Share of reads that are missed because other parcels shield the tag.
const MISS_RATE: f64 = 0.15;

/// All reads of the day, generated on demand.
#[derive(Debug)]
pub(super) struct TagReads {
    random: Random,
    interval_s: f64,
    presences: Vec<TagPresence>,
    /// The next read of each presence, in milliseconds.
    next: BinaryHeap<Reverse<(u64, usize)>>,
}

impl TagReads {
    pub(super) fn new(seed: u64, interval: Duration, stays: Vec<TagPresence>) -> Self {
        let random = Random::new(seed, Stream::Tags);
        let interval_s = interval.as_secs_f64();
        let mut reads = Self { random, interval_s, presences: stays, next: BinaryHeap::new() };
        for index in 0..reads.presences.len() {
            reads.schedule_read(reads.presences[index].from, index);
        }
        reads
    }

    fn schedule_read(&mut self, at: Duration, add_tag_presence: usize) {
        let at = at + Duration::from_secs_f64(self.interval_s * self.random.between(0.5, 1.5));
        if at < self.presences[add_tag_presence].until {
            let ms = u64::try_from(at.as_millis()).expect("a part of a day");
            self.next.push(Reverse((ms, add_tag_presence)));
        }
    }
}

impl Iterator for TagReads {
    type Item = Scan;

    fn next(&mut self) -> Option<Scan> {
        while let Some(Reverse((ms, add_tag_presence))) = self.next.pop() {
            let missed = self.random.chance(MISS_RATE);
            self.schedule_read(Duration::from_millis(ms), add_tag_presence);
            if !missed {
                let line = self.presences[add_tag_presence].tag.clone();
                return Some(Scan { at: Uptime::from_millis(ms), scanner: Scanner::Portal, line });
            }
        }
        None
    }
}
