//! What did not arrive of a van, as far as it can be proved.
//!
//! - **Events**: each says the number of the one before (`previoussequence`), whatever run of the agent told it. An event
//!   without its predecessor proves that one is missing, or still on its way. The newest of all has nobody to miss it.
//! - **Trail**: a van that drives says a point every 60 s, one that stands every 15 min (docs/contract.md). A longer silence
//!   may be a garage, or the end of a duty; then no numbers are used either. Where numbers went on meanwhile, fixes were
//!   made, and a point among them is missing. Across a start of the agent, where numbers jump, nothing is provable.

use super::{Row, Statement, Store, StoreError};
use crate::backend::view::desk::GapView;
use crate::units::UtcTime;

/// More gaps than this are not listed.
const MAX_GAPS: i64 = 1_000;

/// A van that drives is silent for 60 s at most; a fix may take a while.
const DRIVING_MS: i64 = 75_000;

/// A van that stands is silent for 15 min at most.
const STANDING_MS: i64 = 16 * 60_000;

/// A van that stood says a point as soon as it has set off, which is nearer than this.
const SET_OFF_MM: i64 = 200_000;

/// A van that stood, and stands elsewhere, has driven meanwhile.
const MOVED_MM: i64 = 60_000;

/// Numbers of events between two points, at most.
const FEW: i64 = 20;

/// The agent reserves numbers in blocks of so many, and begins a new block when it starts.
const BLOCK: i64 = 100_000;

impl Store {
    /// What is missing of a van's records between two times, in the order of their numbers: first events, then trail.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn gaps(
        &self,
        van: &str,
        from: UtcTime,
        until: UtcTime,
    ) -> Result<Vec<GapView>, StoreError> {
        let span = |sql: &'static str| {
            Statement::new(sql, [van.into(), from.into(), until.into(), MAX_GAPS.into()])
        };
        let events = self.read(span(EVENTS)).await?;
        let mut trail = span(TRAIL);
        trail
            .values
            .extend([DRIVING_MS, STANDING_MS, FEW, BLOCK, SET_OFF_MM, MOVED_MM].map(Into::into));
        let trail = self.read(trail).await?;
        let events = events.iter().map(|row| gap(row, "event"));
        Ok(events.chain(trail.iter().map(|row| gap(row, "trail"))).collect())
    }
}

/// Number and time of the record before, last missing number, time of the record behind.
const EVENTS: &str = "SELECT before.seq, before.event_time, event.previous_seq, event.event_time \
    FROM event LEFT JOIN event AS before ON before.van = event.van AND before.seq = \
    (SELECT MAX(below.seq) FROM event AS below WHERE below.van = event.van AND below.seq < event.previous_seq) \
    WHERE event.van = $1 AND event.event_time >= $2 AND event.event_time <= $3 AND event.previous_seq IS NOT NULL \
    AND NOT EXISTS (SELECT 1 FROM event AS there WHERE there.van = event.van AND there.seq = event.previous_seq) \
    ORDER BY event.seq LIMIT $4";

const TRAIL: &str = "SELECT before_seq, before_time, seq - 1, time FROM \
    (SELECT seq, time, stopped, LAG(seq) OVER trail AS before_seq, LAG(time) OVER trail AS before_time, \
    LAG(stopped) OVER trail AS before_stopped, \
    odo_mm - LAG(odo_mm) OVER trail AS driven FROM track WHERE van = $1 AND time >= $2 AND time <= $3 \
    WINDOW trail AS (ORDER BY time, seq)) AS pairs \
    WHERE time - before_time > $5 AND (before_stopped = 0 OR time - before_time > $6 OR driven > $9 OR (stopped = 1 AND driven > $10)) \
    AND seq - before_seq > $7 AND seq - before_seq < $8 ORDER BY seq LIMIT $4";

fn gap(row: &Row, lane: &str) -> GapView {
    let last = row.count(2);
    let behind = row.utc(3);
    GapView {
        from_seq: row
            .maybe_int(0)
            .map_or(last, |before| u64::try_from(before).map_or(last, |n| n + 1)),
        to_seq: last,
        after: row.maybe_utc(1).unwrap_or(behind).to_string(),
        before: behind.to_string(),
        lane: lane.to_owned(),
    }
}
