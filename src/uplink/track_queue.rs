//! Queue of `track` batches. Fresh points have priority over the backlog, and both are in order of
//! `Seq`. If the backend acknowledges by a watermark, the backlog is sent first, so that numbers
//! ascend.
//!
//! Points accepted after the connection was made are live; earlier ones are backlog. The queue
//! belongs to one connection. The next connection starts at the lowest record in the outbox.

use std::time::Duration;

use super::data_budget::ThrottleFactor;
use super::publish_rejections::rejection_delay;
use super::report_schedule::throttled;
use crate::outbox::{Outbox, OutboxError};
use waypost_model::record::{Record, Seq, Subject};
use waypost_model::units::{Distance, Uptime};
use waypost_wire::payloads::{Point, Track, TrackSource};
use waypost_wire::{Encoding, compact_track};

/// Maximum number of separately tracked rejected ranges. Beyond it, neighbours are merged.
const MAX_DEFERRED: usize = 64;

/// Parameters of batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    /// Maximum number of fresh points in a batch.
    pub points: usize,
    /// Maximum number of backlog points in a batch.
    pub backlog_points: usize,
    /// Maximum time that a fresh point waits for others.
    pub interval: Duration,
    /// Maximum error of the lines between points, as published.
    pub max_error: Option<Distance>,
    /// Encoding of the message.
    pub encoding: Encoding,
}

/// Whether the backlog may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backlog {
    Allowed,
    Held,
}

/// Order of fresh points and backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrackOrder {
    /// Fresh points overtake the backlog.
    FreshFirst,
    /// By `Seq`: fresh points wait for the whole backlog.
    Ascending,
}

/// Content of a `track` message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub first: Seq,
    pub last: Seq,
    pub points: u64,
    pub source: TrackSource,
    /// Number of rejections.
    pub rejections: u32,
}

/// An encoded batch that is ready to be sent.
#[derive(Debug)]
pub(super) struct EncodedBatch {
    pub batch: Batch,
    pub payload: Vec<u8>,
}

/// A read position with one prefetched batch.
#[derive(Debug)]
struct Cursor {
    source: TrackSource,
    /// The outbox was read up to this number.
    read_to: Seq,
    until: Option<Seq>,
    records: Vec<Record>,
    /// Time since which the oldest record waits.
    since: Uptime,
    rejections: u32,
}

impl Cursor {
    const fn new(source: TrackSource, read_to: Seq, until: Option<Seq>) -> Self {
        Self { source, read_to, until, records: Vec::new(), since: Uptime::ZERO, rejections: 0 }
    }

    async fn refill(
        &mut self,
        outbox: &Outbox,
        points: usize,
        now: Uptime,
    ) -> Result<(), OutboxError> {
        let missing = points.saturating_sub(self.records.len());
        if missing == 0 || self.until.is_some_and(|until| self.read_to >= until) {
            return Ok(());
        }
        let readable = outbox.readable();
        if self.read_to >= readable {
            return Ok(());
        }
        let records = outbox.records_after(self.read_to, self.until, missing).await?;
        if self.records.is_empty() {
            self.since = now;
        }
        self.read_to = match records.last() {
            Some(last) if records.len() == missing => last.seq,
            // There are no more: everything readable before the call was read.
            last => last.map_or(readable, |last| last.seq.max(readable)),
        };
        if let Some(until) = self.until {
            self.read_to = self.read_to.min(until);
        }
        self.records.extend(records);
        Ok(())
    }

    /// Encodes as many points as fit into `max_bytes`, at least one.
    fn encode(&mut self, van: &str, by: Batching, max_bytes: usize, now: Uptime) -> EncodedBatch {
        let points = if self.source == TrackSource::Live { by.points } else { by.backlog_points };
        let mut count = self.records.len().min(points);
        let payload = loop {
            let payload = payload(&self.records[..count], self.source, van, by);
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
            source: self.source,
            rejections: self.rejections,
        };
        EncodedBatch { batch, payload }
    }
}

fn payload(records: &[Record], lane: TrackSource, van: &str, by: Batching) -> Vec<u8> {
    let points = records.iter().map(|record| {
        let Subject::Point(point) = &record.subject;
        (record.seq, point)
    });
    match by.encoding {
        Encoding::Json => {
            let points = points.map(|(seq, point)| Point::new(seq, point, lane));
            let track = Track::new(van, by.max_error, points.collect());
            serde_json::to_vec(&track).expect("numbers and strings are valid JSON")
        }
        Encoding::Compact => compact_track::encode(lane, by.max_error, points),
    }
}

const fn index(lane: TrackSource) -> usize {
    match lane {
        TrackSource::Live => 0,
        TrackSource::Backlog => 1,
    }
}

/// A rejected range that waits for a retry.
#[derive(Clone, Copy, Debug)]
struct DeferredRange {
    batch: Batch,
    until: Uptime,
}

/// Track queue of one connection.
#[derive(Debug)]
pub(super) struct TrackQueue {
    batching: Batching,
    order: TrackOrder,
    throttle: ThrottleFactor,
    live: Cursor,
    backlog: Cursor,
    /// Rejected ranges that are being retried: live, and backlog.
    retry: [Option<Cursor>; 2],
    deferred: Vec<DeferredRange>,
    /// Whether fresh points are sent without waiting, because the source has ended.
    pub(super) flush: bool,
}

impl TrackQueue {
    /// Starts at the lowest record. `boundary` is the newest record of the backlog.
    pub(super) fn new(batching: Batching, order: TrackOrder, boundary: Seq) -> Self {
        let points = batching.points.clamp(1, Track::MAX_POINTS);
        let backlog_points = batching.backlog_points.clamp(1, Track::MAX_POINTS);
        Self {
            batching: Batching { points, backlog_points, ..batching },
            order,
            throttle: ThrottleFactor::NONE,
            live: Cursor::new(TrackSource::Live, boundary, None),
            backlog: Cursor::new(TrackSource::Backlog, Seq::ZERO, Some(boundary)),
            retry: [None, None],
            deferred: Vec::new(),
            flush: false,
        }
    }

    /// Returns the next due batch, of at most `max_bytes` unless it is a single point.
    pub(super) async fn next(
        &mut self,
        outbox: &Outbox,
        van: &str,
        (max_bytes, backlog): (usize, Backlog),
        now: Uptime,
    ) -> Result<Option<EncodedBatch>, OutboxError> {
        let batching = self.batching;
        let chosen = match self.order {
            TrackOrder::FreshFirst => self.fresh_first(outbox, backlog, now).await?,
            TrackOrder::Ascending => self.ascending(outbox, backlog, now).await?,
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
        if backlog == Backlog::Allowed {
            self.refill_backlog(outbox, now).await?;
            if !self.backlog.records.is_empty() {
                return Ok(Some(&mut self.backlog));
            }
        }
        let again = self.refill_retry(outbox, backlog, now).await?;
        Ok(again.and_then(|lane| self.retry[index(lane)].as_mut()))
    }

    async fn ascending(
        &mut self,
        outbox: &Outbox,
        backlog: Backlog,
        now: Uptime,
    ) -> Result<Option<&mut Cursor>, OutboxError> {
        self.refill_backlog(outbox, now).await?;
        if backlog == Backlog::Held && !self.backlog.records.is_empty() {
            return Ok(None);
        }
        if let Some(lane) = self.refill_retry(outbox, backlog, now).await? {
            return Ok(self.retry[index(lane)].as_mut());
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

    /// Sets the factor by which fresh points wait longer.
    pub(super) const fn set_throttle(&mut self, stretch: ThrottleFactor) {
        self.throttle = stretch;
    }

    /// Returns the next deadline after `now`.
    pub(super) fn deadline(&self, now: Uptime) -> Option<Uptime> {
        let deferred = self.deferred.iter().map(|deferred| deferred.until);
        deferred.chain(self.live_due()).filter(|due| *due > now).min()
    }

    /// Defers a rejected batch.
    pub(super) fn defer(&mut self, batch: Batch, now: Uptime) {
        let refused = batch.rejections.saturating_add(1);
        let until = now + rejection_delay(refused);
        self.deferred.push(DeferredRange { batch: Batch { rejections: refused, ..batch }, until });
        self.deferred.sort_by_key(|deferred| {
            (deferred.batch.source == TrackSource::Live, deferred.batch.first)
        });
        if self.deferred.len() > MAX_DEFERRED {
            self.join_neighbours();
        }
    }

    fn live_due(&self) -> Option<Uptime> {
        let Cursor { records, since, .. } = &self.live;
        if records.is_empty() {
            return None;
        }
        let full = records.len() >= self.batching.points;
        let interval = throttled(self.batching.interval, self.throttle);
        Some(if full || self.flush { Uptime::ZERO } else { *since + interval })
    }

    /// Returns the source of the next rejected range that is due. Live points do not wait for the
    /// data budget.
    async fn refill_retry(
        &mut self,
        outbox: &Outbox,
        backlog: Backlog,
        now: Uptime,
    ) -> Result<Option<TrackSource>, OutboxError> {
        let points = self.batching.points;
        let lanes: &[TrackSource] = match backlog {
            Backlog::Allowed => &[TrackSource::Backlog, TrackSource::Live],
            Backlog::Held => &[TrackSource::Live],
        };
        for lane in lanes {
            let at = index(*lane);
            loop {
                if let Some(again) = &mut self.retry[at] {
                    if again.records.is_empty() {
                        again.refill(outbox, points, now).await?;
                    }
                    if !again.records.is_empty() {
                        return Ok(Some(*lane));
                    }
                    self.retry[at] = None;
                }
                let is_due = |deferred: &DeferredRange| {
                    deferred.batch.source == *lane && now >= deferred.until
                };
                let Some(due) = self.deferred.iter().position(is_due) else { break };
                let DeferredRange { batch, .. } = self.deferred.remove(due);
                let before = Seq::new(batch.first.get().saturating_sub(1));
                let cursor = Cursor::new(batch.source, before, Some(batch.last));
                self.retry[at] = Some(Cursor { rejections: batch.rejections, ..cursor });
            }
        }
        Ok(None)
    }

    /// Merges the first two neighbouring ranges of the same source. Points between them are in
    /// flight or acknowledged; at worst they are sent twice.
    fn join_neighbours(&mut self) {
        let same = |pair: &[DeferredRange]| pair[0].batch.source == pair[1].batch.source;
        if let Some(at) = self.deferred.windows(2).position(same) {
            let next = self.deferred.remove(at + 1);
            let kept = &mut self.deferred[at];
            kept.batch.last = kept.batch.last.max(next.batch.last);
            kept.batch.rejections = kept.batch.rejections.max(next.batch.rejections);
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
        let mut lanes = TrackQueue::new(batching, TrackOrder::FreshFirst, Seq::new(60_000));
        for number in 0..1000 {
            let lane = if number % 10 == 0 { TrackSource::Live } else { TrackSource::Backlog };
            let (first, last) = (Seq::new(number * 60 + 1), Seq::new(number * 60 + 60));
            lanes.defer(
                Batch { first, last, points: 60, source: lane, rejections: 0 },
                Uptime::ZERO,
            );
            assert!(lanes.deferred.len() <= MAX_DEFERRED);
        }
        for number in 0..1000 {
            let lane = if number % 10 == 0 { TrackSource::Live } else { TrackSource::Backlog };
            let covered = lanes.deferred.iter().map(|deferred| deferred.batch).any(|batch| {
                batch.source == lane
                    && batch.first <= Seq::new(number * 60 + 1)
                    && batch.last >= Seq::new(number * 60 + 60)
            });
            assert!(covered, "batch {number}");
        }
    }
}
