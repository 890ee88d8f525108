//! What did not arrive of a van, as far as it can be proved.
//!
//! - **Events**: each says the number of the one before (`previoussequence`), whatever run of the agent told it. An event
//!   without its predecessor proves that one is missing, or still on its way. The newest of all has nobody to miss it.
//! - **Trail**: a van that drives says a point every 60 s, one that stands every 15 min (docs/contract.md). A longer silence
//!   may be a garage, or the end of a duty; then no numbers are used either. Where numbers went on meanwhile, fixes were
//!   made, and a point among them is missing. Across a start of the agent, where numbers jump, nothing is provable.

use super::{Row, Statement, Store, StoreError, Value};
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
        let mut values = of_silences(from, until);
        values.extend([van.into(), MAX_GAPS.into()]);
        let trail = self.read(Statement::new(TRAIL, values));
        let values = [from.into(), until.into(), van.into(), MAX_GAPS.into()];
        let events = self.read(Statement::new(EVENTS, values));
        let (events, trail) = tokio::try_join!(events, trail)?;
        let events = events.iter().map(|row| gap(row, "event"));
        Ok(events.chain(trail.iter().map(|row| gap(row, "trail"))).collect())
    }

    /// Which of these vans miss something between two times, as [`Self::gaps`] would say.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn vans_with_gaps(
        &self,
        vans: &[&str],
        from: UtcTime,
        until: UtcTime,
    ) -> Result<Vec<String>, StoreError> {
        let keys: Vec<_> = vans.iter().map(|van| vec![(*van).into()]).collect();
        let rows = self.read_about(ANY, &of_silences(from, until), &keys).await?;
        Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
    }
}

/// Events from `$1` to `$2` of the van of this name whose predecessor is not there.
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

/// Points from `$1` to `$2` of the van of this name behind a silence in which fixes were made.
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

/// Values of `$1` to `$8` of [`orphans`] and [`silences`].
fn of_silences(from: UtcTime, until: UtcTime) -> Vec<Value> {
    let bounds = [DRIVING_MS, STANDING_MS, FEW, BLOCK, SET_OFF_MM, MOVED_MM];
    [from.into(), until.into()].into_iter().chain(bounds.map(Value::Int)).collect()
}

/// Number and time of the record before, last missing number, time of the record behind.
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

const ANY: &str = concat!(
    "WITH asked (van) AS (VALUES {keys}) SELECT asked.van FROM asked WHERE EXISTS (SELECT 1 FROM event WHERE ",
    orphans!("asked.van"),
    ") OR EXISTS (SELECT 1 FROM ",
    silences!("asked.van"),
    ")"
);

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
