//! The two tails together: every transaction takes what waits in both.

use super::OutboxStats;
use super::events::Events;
use super::tail::Tail;
use super::tail_file::TailFile;
use super::transaction::{Pending, Stored};

/// The tail of the points, twice, and that of the events.
#[derive(Debug)]
pub(super) struct Tails {
    pub memory: Tail,
    pub file: Option<TailFile>,
    pub events: Events,
    /// As they were when the file was opened.
    pub documents: Vec<(String, Vec<u8>)>,
}

impl Tails {
    pub(super) fn begin(&mut self, with_points: bool) -> Pending {
        let mut pending = self.memory.begin(with_points);
        self.events.begin(&mut pending);
        pending
    }

    pub(super) fn done(&mut self, pending: &Pending, stored: Stored) {
        self.events.done();
        self.events.learn(stored.events, stored.reserved);
        self.memory.done(pending, stored);
    }

    pub(super) fn failed(&mut self, pending: &Pending) {
        self.memory.failed(pending);
        let given_up = self.events.failed();
        self.give_up(given_up);
    }

    pub(super) fn learn(&mut self, stored: Stored) {
        self.events.learn(stored.events, stored.reserved);
        self.memory.learn(stored);
    }

    /// So many events went because the disk did not take them.
    pub(super) fn give_up(&mut self, events: u64) {
        if events > 0 {
            if self.memory.given_up() == 0 {
                tracing::error!("outbox does not keep up, giving up the oldest events in memory");
            }
            self.memory.give_up(events);
        }
    }

    pub(super) fn stats(&self) -> OutboxStats {
        self.memory.stats(&self.events)
    }

    /// A second copy of what is on flash, or has arrived, is of no use.
    pub(super) fn empty_file_if_safe(&mut self) {
        if let Some(file) = &mut self.file
            && file.holds_records()
            && self.memory.is_safe()
        {
            let (_, state) = self.memory.to_keep();
            file.empty(self.memory.newest(), &state);
        }
    }
}
