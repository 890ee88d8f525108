//! Outbox → batches for `track`: fresh points ahead of the backlog, each lane in the order of `Seq`. Where the backend
//! acknowledges by a high-water mark the backlog goes first, and numbers ascend.
//!
//! The boundary is the last record that was accepted when the connection was made: what came later is `live`. All of
//! this belongs to one connection; the next begins again at the lowest record that is still in the outbox.

use std::time::Duration;

use super::budget::Stretch;
use super::cadence::stretched;
use super::refusals::pause;
use crate::core::record::{Record, Seq, Subject};
use crate::outbox::{Outbox, OutboxError};
use crate::units::{Distance, Uptime};
use crate::wire::json::{Lane, Point, Track};
use crate::wire::{Encoding, compact};

/// Refused ranges that are remembered one by one; beyond that, neighbours become one.
const MAX_PARKED: usize = 64;

/// How batches are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    /// Fresh points in a batch at most.
    pub points: usize,
    /// Points of backlog in a batch at most.
    pub backlog_points: usize,
    /// How long a fresh point waits for others.
    pub interval: Duration,
    /// What the message says of the lines between its points.
    pub max_error: Option<Distance>,
    /// How the message is written.
    pub encoding: Encoding,
}

/// Whether the backlog may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backlog {
    MayGo,
    Waits,
}

/// Which lane goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Fresh points overtake the backlog.
    FreshFirst,
    /// By `Seq`, so that fresh points wait for the whole backlog.
    Ascending,
}

/// What a message on `track` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub first: Seq,
    pub last: Seq,
    pub points: u64,
    pub lane: Lane,
    /// How often it was refused.
    pub refused: u32,
}

/// A batch as it goes out.
#[derive(Debug)]
pub(super) struct Encoded {
    pub batch: Batch,
    pub payload: Vec<u8>,
}

/// Records of one lane, read ahead by one batch.
#[derive(Debug)]
struct Cursor {
    lane: Lane,
    /// Up to where the outbox was read.
    read: Seq,
    until: Option<Seq>,
    records: Vec<Record>,
    /// Since when the oldest of them waits.
    since: Uptime,
    refused: u32,
}

impl Cursor {
    const fn new(lane: Lane, read: Seq, until: Option<Seq>) -> Self {
        Self { lane, read, until, records: Vec::new(), since: Uptime::ZERO, refused: 0 }
    }

    async fn refill(
        &mut self,
        outbox: &Outbox,
        points: usize,
        now: Uptime,
    ) -> Result<(), OutboxError> {
        let missing = points.saturating_sub(self.records.len());
        if missing == 0 || self.until.is_some_and(|until| self.read >= until) {
            return Ok(());
        }
        let readable = outbox.readable();
        if self.read >= readable {
            return Ok(());
        }
        let records = outbox.after(self.read, self.until, missing).await?;
        if self.records.is_empty() {
            self.since = now;
        }
        self.read = match records.last() {
            Some(last) if records.len() == missing => last.seq,
            // No more: all that could be read before the call has been.
            last => last.map_or(readable, |last| last.seq.max(readable)),
        };
        if let Some(until) = self.until {
            self.read = self.read.min(until);
        }
        self.records.extend(records);
        Ok(())
    }

    /// As many points as fit into `max_bytes`, at least one.
    fn encode(&mut self, van: &str, by: Batching, max_bytes: usize, now: Uptime) -> Encoded {
        let points = if self.lane == Lane::Live { by.points } else { by.backlog_points };
        let mut count = self.records.len().min(points);
        let payload = loop {
            let payload = payload(&self.records[..count], self.lane, van, by);
            if payload.len() <= max_bytes || count == 1 {
                break payload;
            }
            count = (count * max_bytes / payload.len()).clamp(1, count - 1);
        };
        let taken: Vec<_> = self.records.drain(..count).collect();
        self.since = now;
        let batch = Batch {
            first: taken.first().map_or(Seq::ZERO, |record| record.seq),
            last: taken.last().map_or(Seq::ZERO, |record| record.seq),
            points: taken.len() as u64,
            lane: self.lane,
            refused: self.refused,
        };
        Encoded { batch, payload }
    }
}

fn payload(records: &[Record], lane: Lane, van: &str, by: Batching) -> Vec<u8> {
    let points = records.iter().map(|record| {
        let Subject::Point(point) = &record.subject;
        (record.seq, point)
    });
    match by.encoding {
        Encoding::Json => {
            let points = points.map(|(seq, point)| Point::new(seq, point, lane));
            let track = Track::new(van, by.max_error, points.collect());
            serde_json::to_vec(&track).expect("numbers and strings are JSON")
        }
        Encoding::Compact => compact::encode(lane, by.max_error, points),
    }
}

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Live => 0,
        Lane::Backlog => 1,
    }
}

/// A range that was refused, and waits.
#[derive(Clone, Copy, Debug)]
struct Parked {
    batch: Batch,
    until: Uptime,
}

/// The lanes of one connection.
#[derive(Debug)]
pub(super) struct Lanes {
    batching: Batching,
    order: Order,
    stretch: Stretch,
    live: Cursor,
    backlog: Cursor,
    /// The refused ranges that are being sent again: fresh points, and backlog.
    again: [Option<Cursor>; 2],
    parked: Vec<Parked>,
    /// The source has ended: fresh points wait for nothing.
    pub(super) at_once: bool,
}

impl Lanes {
    /// Begins at the lowest record; `boundary` is the newest one of the backlog.
    pub(super) fn new(batching: Batching, order: Order, boundary: Seq) -> Self {
        let points = batching.points.clamp(1, Track::MAX_POINTS);
        let backlog_points = batching.backlog_points.clamp(1, Track::MAX_POINTS);
        Self {
            batching: Batching { points, backlog_points, ..batching },
            order,
            stretch: Stretch::NONE,
            live: Cursor::new(Lane::Live, boundary, None),
            backlog: Cursor::new(Lane::Backlog, Seq::ZERO, Some(boundary)),
            again: [None, None],
            parked: Vec::new(),
            at_once: false,
        }
    }

    /// The next batch that is due, of at most `max_bytes` unless it is a single point.
    pub(super) async fn next(
        &mut self,
        outbox: &Outbox,
        van: &str,
        (max_bytes, backlog): (usize, Backlog),
        now: Uptime,
    ) -> Result<Option<Encoded>, OutboxError> {
        let batching = self.batching;
        let chosen = match self.order {
            Order::FreshFirst => self.fresh_first(outbox, backlog, now).await?,
            Order::Ascending => self.ascending(outbox, backlog, now).await?,
        };
        Ok(chosen.map(|cursor| cursor.encode(van, batching, max_bytes, now)))
    }

    async fn fresh_first(
        &mut self,
        outbox: &Outbox,
        backlog: Backlog,
        now: Uptime,
    ) -> Result<Option<&mut Cursor>, OutboxError> {
        self.live.refill(outbox, self.batching.points, now).await?;
        if self.live_due().is_some_and(|due| now >= due) {
            return Ok(Some(&mut self.live));
        }
        if backlog == Backlog::MayGo {
            self.refill_backlog(outbox, now).await?;
            if !self.backlog.records.is_empty() {
                return Ok(Some(&mut self.backlog));
            }
        }
        let again = self.refill_again(outbox, backlog, now).await?;
        Ok(again.and_then(|lane| self.again[index(lane)].as_mut()))
    }

    async fn ascending(
        &mut self,
        outbox: &Outbox,
        backlog: Backlog,
        now: Uptime,
    ) -> Result<Option<&mut Cursor>, OutboxError> {
        self.refill_backlog(outbox, now).await?;
        if backlog == Backlog::Waits && !self.backlog.records.is_empty() {
            return Ok(None);
        }
        if let Some(lane) = self.refill_again(outbox, backlog, now).await? {
            return Ok(self.again[index(lane)].as_mut());
        }
        if !self.backlog.records.is_empty() {
            return Ok(Some(&mut self.backlog));
        }
        self.live.refill(outbox, self.batching.points, now).await?;
        Ok(self.live_due().is_some_and(|due| now >= due).then_some(&mut self.live))
    }

    async fn refill_backlog(&mut self, outbox: &Outbox, now: Uptime) -> Result<(), OutboxError> {
        if self.backlog.records.is_empty() {
            self.backlog.refill(outbox, self.batching.backlog_points, now).await?;
        }
        Ok(())
    }

    /// Fresh points wait so much longer.
    pub(super) const fn stretch(&mut self, stretch: Stretch) {
        self.stretch = stretch;
    }

    /// When, after `now`, something becomes due.
    pub(super) fn deadline(&self, now: Uptime) -> Option<Uptime> {
        let parked = self.parked.iter().map(|parked| parked.until);
        parked.chain(self.live_due()).filter(|due| *due > now).min()
    }

    /// A batch was refused.
    pub(super) fn park(&mut self, batch: Batch, now: Uptime) {
        let refused = batch.refused.saturating_add(1);
        let until = now + pause(refused);
        self.parked.push(Parked { batch: Batch { refused, ..batch }, until });
        self.parked.sort_by_key(|parked| (parked.batch.lane == Lane::Live, parked.batch.first));
        if self.parked.len() > MAX_PARKED {
            self.join_neighbours();
        }
    }

    fn live_due(&self) -> Option<Uptime> {
        let Cursor { records, since, .. } = &self.live;
        if records.is_empty() {
            return None;
        }
        let full = records.len() >= self.batching.points;
        let interval = stretched(self.batching.interval, self.stretch);
        Some(if full || self.at_once { Uptime::ZERO } else { *since + interval })
    }

    /// The lane of the refused range whose turn it is, if any: fresh points do not wait for the budget.
    async fn refill_again(
        &mut self,
        outbox: &Outbox,
        backlog: Backlog,
        now: Uptime,
    ) -> Result<Option<Lane>, OutboxError> {
        let points = self.batching.points;
        let lanes: &[Lane] = match backlog {
            Backlog::MayGo => &[Lane::Backlog, Lane::Live],
            Backlog::Waits => &[Lane::Live],
        };
        for lane in lanes {
            let at = index(*lane);
            loop {
                if let Some(again) = &mut self.again[at] {
                    if again.records.is_empty() {
                        again.refill(outbox, points, now).await?;
                    }
                    if !again.records.is_empty() {
                        return Ok(Some(*lane));
                    }
                    self.again[at] = None;
                }
                let is_due = |parked: &Parked| parked.batch.lane == *lane && now >= parked.until;
                let Some(due) = self.parked.iter().position(is_due) else { break };
                let Parked { batch, .. } = self.parked.remove(due);
                let before = Seq::new(batch.first.get().saturating_sub(1));
                let cursor = Cursor::new(batch.lane, before, Some(batch.last));
                self.again[at] = Some(Cursor { refused: batch.refused, ..cursor });
            }
        }
        Ok(None)
    }

    /// Joins the first two of the same lane. What lies between them is on its way or has arrived: at worst it is
    /// repeated.
    fn join_neighbours(&mut self) {
        let same = |pair: &[Parked]| pair[0].batch.lane == pair[1].batch.lane;
        if let Some(at) = self.parked.windows(2).position(same) {
            let next = self.parked.remove(at + 1);
            let kept = &mut self.parked[at];
            kept.batch.last = kept.batch.last.max(next.batch.last);
            kept.batch.refused = kept.batch.refused.max(next.batch.refused);
            kept.until = kept.until.max(next.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_ranges_are_remembered_within_bounds_and_none_is_forgotten() {
        let batching = Batching {
            points: 60,
            backlog_points: 60,
            interval: Duration::from_secs(10),
            max_error: None,
            encoding: Encoding::Json,
        };
        let mut lanes = Lanes::new(batching, Order::FreshFirst, Seq::new(60_000));
        for number in 0..1000 {
            let lane = if number % 10 == 0 { Lane::Live } else { Lane::Backlog };
            let (first, last) = (Seq::new(number * 60 + 1), Seq::new(number * 60 + 60));
            lanes.park(Batch { first, last, points: 60, lane, refused: 0 }, Uptime::ZERO);
            assert!(lanes.parked.len() <= MAX_PARKED);
        }
        for number in 0..1000 {
            let lane = if number % 10 == 0 { Lane::Live } else { Lane::Backlog };
            let covered = lanes.parked.iter().map(|parked| parked.batch).any(|batch| {
                batch.lane == lane
                    && batch.first <= Seq::new(number * 60 + 1)
                    && batch.last >= Seq::new(number * 60 + 60)
            });
            assert!(covered, "batch {number}");
        }
    }
}
