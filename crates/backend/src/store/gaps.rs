//! Detects records of a van that are provably missing.
//!
//! - **Events**: each carries the number of the previous one (`previoussequence`), across restarts
//!   of the agent. An event without its predecessor proves that one is missing or still in transit.
//!   The loss of the newest event cannot be detected.
//! - **Track**: a moving van reports a point every 60 s, a halted one every 15 min
//!   (docs/mqtt-contract.md). A longer silence may be a garage or the end of duty, during which no
//!   sequence numbers are used. If numbers were used meanwhile, fixes were recorded and a point is
//!   missing. Across a restart of the agent, where numbers jump, nothing can be proved.

use super::{Row, Statement, Store, StoreError, Value};
use crate::tracking::dispatcher::GapView;
use waypost_model::units::UtcTime;

/// Maximum number of reported gaps.
const MAX_GAPS: i64 = 1_000;

/// Maximum silence of a moving van in milliseconds: 60 s, plus time for a fix.
const MAX_DRIVING_SILENCE_MS: i64 = 75_000;

/// Maximum silence of a halted van in milliseconds: 15 min, plus a margin.
const MAX_HALTED_SILENCE_MS: i64 = 16 * 60_000;

/// A halted van reports a point within this distance of setting off, in millimetres.
const MAX_SET_OFF_MM: i64 = 200_000;

/// A halted van that is at least this far away has moved meanwhile, in millimetres.
const MIN_MOVED_MM: i64 = 60_000;

/// Maximum number of event numbers between two consecutive points.
const MAX_EVENTS_BETWEEN_POINTS: i64 = 20;

/// Size of the blocks in which the agent reserves sequence numbers; a restart begins a new block.
const SEQ_BLOCK: i64 = 100_000;

impl Store {
    /// Missing records of a van in a time span, ordered by number: events first, then track.
    pub async fn gaps(
        &self,
        van: &str,
        from: UtcTime,
        until: UtcTime,
    ) -> Result<Vec<GapView>, StoreError> {
        let mut values = silence_values(from, until);
        values.extend([van.into(), MAX_GAPS.into()]);
        let trail = self.read(Statement::new(TRAIL, values));
        let values = [from.into(), until.into(), van.into(), MAX_GAPS.into()];
        let events = self.read(Statement::new(EVENTS, values));
        let (events, trail) = tokio::try_join!(events, trail)?;
        let events = events.iter().map(|row| gap_from_row(row, "event"));
        Ok(events.chain(trail.iter().map(|row| gap_from_row(row, "trail"))).collect())
    }

    /// Those of these vans with at least one gap according to [`Self::gaps`].
    pub async fn vans_with_gaps(
        &self,
        vans: &[&str],
        from: UtcTime,
        until: UtcTime,
    ) -> Result<Vec<String>, StoreError> {
        let keys: Vec<_> = vans.iter().map(|van| vec![(*van).into()]).collect();
        let rows = self.read_batched(VANS_WITH_GAPS, &silence_values(from, until), &keys).await?;
        Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
    }
}

/// Events of the van from `$1` to `$2` whose predecessor is missing.
macro_rules! orphans {
    ($van:literal) => {
        concat!(
            "event.van = ",
            $van,
            " AND event.event_time >= $1 AND event.event_time <= $2 AND event.previous_seq IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM event AS there WHERE there.van = event.van AND there.seq = event.previous_seq)"
        )
    };
}

/// Points of the van from `$1` to `$2` that follow a silence during which fixes were recorded.
macro_rules! silences {
    ($van:literal) => {
        concat!(
            "(SELECT seq, time, stopped, LAG(seq) OVER trail AS before_seq, LAG(time) OVER trail AS before_time, \
             LAG(stopped) OVER trail AS before_stopped, \
             odo_mm - LAG(odo_mm) OVER trail AS driven FROM track WHERE track.van = ",
            $van,
            " AND time >= $1 AND time <= $2 WINDOW trail AS (ORDER BY time, seq)) AS pairs \
             WHERE time - before_time > $3 \
             AND (before_stopped = 0 OR time - before_time > $4 OR driven > $7 OR (stopped = 1 AND driven > $8)) \
             AND seq - before_seq > $5 AND seq - before_seq < $6"
        )
    };
}

/// Values of `$1` to `$8` in `orphans` and `silences`.
fn silence_values(from: UtcTime, until: UtcTime) -> Vec<Value> {
    let bounds = [
        MAX_DRIVING_SILENCE_MS,
        MAX_HALTED_SILENCE_MS,
        MAX_EVENTS_BETWEEN_POINTS,
        SEQ_BLOCK,
        MAX_SET_OFF_MM,
        MIN_MOVED_MM,
    ];
    [from.into(), until.into()].into_iter().chain(bounds.map(Value::Int)).collect()
}

/// Number and time of the record before the gap, last missing number, time of the record after it.
const EVENTS: &str = concat!(
    "SELECT before.seq, before.event_time, event.previous_seq, event.event_time \
     FROM event LEFT JOIN event AS before ON before.van = event.van AND before.seq = \
     (SELECT MAX(below.seq) FROM event AS below WHERE below.van = event.van AND below.seq < event.previous_seq) WHERE ",
    orphans!("$3"),
    " ORDER BY event.seq LIMIT $4"
);

const TRAIL: &str = concat!(
    "SELECT before_seq, before_time, seq - 1, time FROM ",
    silences!("$9"),
    " ORDER BY seq LIMIT $10"
);

const VANS_WITH_GAPS: &str = concat!(
    "WITH asked (van) AS (VALUES {keys}) SELECT asked.van FROM asked WHERE EXISTS (SELECT 1 FROM event WHERE ",
    orphans!("asked.van"),
    ") OR EXISTS (SELECT 1 FROM ",
    silences!("asked.van"),
    ")"
);

fn gap_from_row(row: &Row, lane: &str) -> GapView {
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
