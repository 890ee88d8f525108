//! Acknowledged `Seq`s → few transactions: one for 100 acknowledgements or 200 ms, for the flash's and the link's sake.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::core::record::Seq;
use crate::outbox::{Outbox, OutboxError};
use crate::units::Uptime;

/// Acknowledgements in one transaction.
const MAX_ACKS: usize = 100;

/// How long an acknowledgement waits for others.
const MAX_WAIT: Duration = Duration::from_millis(200);

/// When a transaction that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What has arrived and is still in the outbox. It outlives the connection: what arrived has arrived.
#[derive(Debug, Default)]
pub(super) struct Removals {
    ranges: Vec<RangeInclusive<Seq>>,
    acks: usize,
    due: Option<Uptime>,
    failed: bool,
}

impl Removals {
    /// These have arrived: all that the outbox holds between them.
    pub(super) fn push(&mut self, range: RangeInclusive<Seq>, now: Uptime) {
        self.acks += 1;
        self.due.get_or_insert(now + MAX_WAIT);
        // In order, as mostly, they are one range; what is sent again is in one already.
        let joins = |known: &RangeInclusive<Seq>| {
            *range.start() <= known.end().next() && *known.start() <= range.end().next()
        };
        match self.ranges.iter_mut().rev().find(|known| joins(known)) {
            Some(known) => {
                *known = *known.start().min(range.start())..=*known.end().max(range.end());
            }
            None => self.ranges.push(range),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the last attempt failed.
    pub(super) const fn have_failed(&self) -> bool {
        self.failed
    }

    /// When they are due; `None` if there are none.
    pub(super) fn deadline(&self) -> Option<Uptime> {
        self.due
    }

    /// Whether it is time; at once when `nothing_under_way`, as no acknowledgement would join them.
    pub(super) fn are_due(&self, nothing_under_way: bool, now: Uptime) -> bool {
        let enough = !self.failed && (nothing_under_way || self.acks >= MAX_ACKS);
        self.due.is_some_and(|due| enough || now >= due)
    }

    /// Removes them. If that fails they wait, and are sent again if the link ends before.
    pub(super) async fn flush(&mut self, outbox: &Outbox, now: Uptime) -> Result<(), OutboxError> {
        if self.ranges.is_empty() {
            return Ok(());
        }
        let done = outbox.remove(&self.ranges).await;
        self.acks = 0;
        self.failed = done.is_err();
        match &done {
            Ok(()) => {
                self.ranges.clear();
                self.due = None;
            }
            Err(_) => self.due = Some(now + RETRY_AFTER),
        }
        done
    }
}
