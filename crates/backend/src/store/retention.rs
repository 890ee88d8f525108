//! Deletes data past its retention period, in slices that let other writers run.
//!
//! - Personal data is deleted first: subscribers some days after the parcel's end, the recipient's
//!   data (postcode, preferences, notes) with the page. The token remains until the proof is
//!   deleted, so that an old link is reported as expired and not as unknown.
//! - Every instance may run it; concurrent runs do not interfere.
//! - A wrong clock must not delete data: [`run`] first compares the time with the newest captured
//!   event and with PostgreSQL's clock ([`Store::check_clock`]). It never runs at startup, and each
//!   run deletes a bounded number of rows.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Engine, Statement, Store, StoreError, Value};
use crate::AppState;
use crate::config::Retention;
use waypost_model::units::UtcTime;

/// Maximum number of rows per transaction.
const SLICE_ROWS: i64 = 500;

/// Maximum number of dead letters of one van; the oldest ones are deleted.
pub const MAX_DEAD_LETTERS: i64 = 2_000;

/// Maximum size of the payloads of a van's dead letters.
const MAX_DEAD_LETTER_TOTAL_BYTES: i64 = 16 * 1024 * 1024;

const INTERVAL: Duration = Duration::from_hours(1);

/// Maximum number of rows that one part deletes per run; the next run deletes more.
const MAX_ROWS_PER_RUN: u64 = 50_000;

/// Maximum number of track points that one run deletes.
pub(super) const MAX_POINTS_PER_RUN: u64 = 1_000_000;

/// The newest event may be ahead of our clock by this much.
const MAX_CLOCK_LAG: Duration = Duration::from_mins(10);

/// Without a new event for this time, the clock may have been set forward.
const MAX_SILENCE: Duration = Duration::from_hours(24 * 7);

/// Retention of subscribers after the parcel's end; by then alerts are sent or have failed.
const ENDED_SUBSCRIBER_RETENTION: Duration = Duration::from_hours(48);

/// Time in which the owner of an address must confirm it; then it is deleted.
pub const CONFIRMATION_TIME: Duration = Duration::from_hours(48);

/// Retention of subscribers of a parcel that never ends.
const OPEN_SUBSCRIBER_RETENTION: Duration = Duration::from_hours(24 * 90);

/// Numbers of deleted rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Track points that were deleted one by one.
    pub track: u64,
    /// Days of track points that were dropped as a whole, on PostgreSQL.
    pub track_days: u64,
    pub events: u64,
    /// Parcels whose personal data were cleared.
    pub pages: u64,
    /// Parcels deleted completely.
    pub parcels: u64,
    /// Assignments of parcels that are no longer stored, and events of vans without one.
    pub assignments: u64,
    /// Subscribers and alerts.
    pub subscribers: u64,
    pub routes: u64,
    pub commands: u64,
    /// Capture jobs.
    pub jobs: u64,
    /// Audit entries.
    pub audit: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Why our clock is not plausible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockProblem {
    #[error("the clock shows {now}, before the newest stored event of {newest}; set the clock")]
    BehindNewestEvent { now: UtcTime, newest: UtcTime },
    #[error(
        "the clock shows {now}, but the newest stored event is of {newest}; set the clock, or wait \
         for a new event"
    )]
    LongAfterNewestEvent { now: UtcTime, newest: UtcTime },
    #[error("the clock shows {now}, but that of the database {database}; set the wrong one")]
    OtherThanDatabase { now: UtcTime, database: UtcTime },
}

/// Runs the parts of a purge, each whether or not another one fails.
#[derive(Debug, Default)]
struct PurgeParts {
    first_error: Option<StoreError>,
}

impl PurgeParts {
    /// Runs one part. A failed part counts as one that deleted nothing.
    async fn run<T: Default>(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<T, StoreError>>,
    ) -> T {
        part.await.unwrap_or_else(|error| {
            tracing::debug!(part = name, %error, "retention part failed");
            self.first_error.get_or_insert(error);
            T::default()
        })
    }
}

/// Statement that limits the dead letters of a van by number and size; runs in the transaction that
/// inserts some. The messages of one van never evict those of another.
#[must_use]
pub fn limit_dead_letters(van: &str) -> Statement {
    Statement::new(
        "DELETE FROM poison WHERE van = $1 AND n IN (SELECT n FROM (SELECT n, ROW_NUMBER() OVER (ORDER BY n DESC) AS nth, \
         SUM(LENGTH(payload)) OVER (ORDER BY n DESC) AS total FROM poison WHERE van = $1) AS newest \
         WHERE nth > $2 OR total > $3)",
        [Value::from(van), MAX_DEAD_LETTERS.into(), MAX_DEAD_LETTER_TOTAL_BYTES.into()],
    )
}

impl Store {
    /// Compares our time with the newest captured event, and with PostgreSQL's clock.
    pub async fn check_clock(&self, now: UtcTime) -> Result<Option<ClockProblem>, StoreError> {
        let newest = "SELECT captured_at FROM event ORDER BY captured_at DESC LIMIT 1";
        let rows = self.read(Statement::new(newest, [])).await?;
        if let Some(newest) = rows.first().and_then(|row| row.maybe_utc(0)) {
            if now.checked_add(MAX_CLOCK_LAG).is_some_and(|latest| newest > latest) {
                return Ok(Some(ClockProblem::BehindNewestEvent { now, newest }));
            }
            if newest.checked_add(MAX_SILENCE).is_some_and(|latest| now > latest) {
                return Ok(Some(ClockProblem::LongAfterNewestEvent { now, newest }));
            }
        }
        if let Engine::Postgres(_) = &self.engine {
            let clock = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
            let rows = self.read(Statement::new(clock, [])).await?;
            let database = rows.first().and_then(|row| row.maybe_utc(0)).unwrap_or(now);
            let apart = database.millis_since(now).unsigned_abs();
            if Duration::from_millis(apart) > MAX_CLOCK_LAG {
                return Ok(Some(ClockProblem::OtherThanDatabase { now, database }));
            }
        }
        Ok(None)
    }

    /// Deletes data past its retention period at `now`. A part that fails does not stop the others.
    ///
    /// # Errors
    /// The first error of a part; what the other parts deleted is deleted.
    pub async fn purge(
        &self,
        now: UtcTime,
        keep: &Retention,
    ) -> Result<RetentionReport, StoreError> {
        let ago = |time: Duration| time_before(now, time);
        let (track, events, page) = (ago(keep.track), ago(keep.events), ago(keep.page));
        let slices = async |sql: &[&'static str], cutoff| self.run_in_slices(sql, cutoff).await;
        let write = async |statement| Ok(self.write(vec![statement]).await?[0].rows_affected);
        let mut parts = PurgeParts::default();
        let mut purged = RetentionReport {
            subscribers: parts.run("subscribers", self.purge_subscribers(now)).await,
            pages: parts.run("personal data", slices(&[CLEAR_PERSONAL_DATA], page)).await,
            events: parts.run("events", slices(&[EVENT_EPCS, EVENTS], events)).await,
            parcels: parts.run("parcels", slices(&[PARCELS], events)).await,
            assignments: parts.run("assignments", slices(&[ASSIGNMENTS], events)).await
                + parts.run("unassigned events", slices(&[UNASSIGNED_EVENTS], page)).await,
            routes: parts.run("routes", slices(&[ROUTES], track)).await,
            commands: parts.run("commands", slices(&[COMMANDS], track)).await,
            jobs: parts.run("capture jobs", slices(&[JOBS], page)).await,
            audit: parts.run("audit log", slices(&[AUDIT], ago(keep.audit))).await,
            dead_letters: parts
                .run("dead letters", slices(&[DEAD_LETTERS], ago(keep.dead_letters)))
                .await,
            ..RetentionReport::default()
        };
        let track_points = parts.run("track", self.purge_track(track)).await;
        (purged.track, purged.track_days) = (track_points.points, track_points.days);
        parts.run("positions", write(Statement::new(POSITIONS, [track.into()]))).await;
        parts.first_error.map_or(Ok(purged), Err)
    }

    async fn purge_subscribers(&self, now: UtcTime) -> Result<u64, StoreError> {
        let over = time_before(now, ENDED_SUBSCRIBER_RETENTION);
        let never = time_before(now, OPEN_SUBSCRIBER_RETENTION);
        let unconfirmed = time_before(now, CONFIRMATION_TIME);
        Ok(self.run_in_slices(&[ALERTS_OF_ENDED, SUBSCRIBERS_OF_ENDED], over).await?
            + self.run_in_slices(&[ALERTS_OF_OLD, SUBSCRIBERS_OF_OLD], never).await?
            + self.run_in_slices(&[ALERTS_OF_UNCONFIRMED, UNCONFIRMED], unconfirmed).await?
            + self.run_in_slices(&[ALERTS], never).await?)
    }

    /// Runs statements with `$1` as a time and `$2` as a row limit until the last one changes fewer
    /// rows.
    async fn run_in_slices(
        &self,
        sql: &[&'static str],
        cutoff: UtcTime,
    ) -> Result<u64, StoreError> {
        let mut purged = 0;
        loop {
            let statement =
                |sql: &&'static str| Statement::new(*sql, [cutoff.into(), SLICE_ROWS.into()]);
            let outcomes = self.write(sql.iter().map(statement).collect()).await?;
            let changed = outcomes.last().map_or(0, |outcome| outcome.rows_affected);
            purged += changed;
            if changed < SLICE_ROWS.unsigned_abs() || purged >= MAX_ROWS_PER_RUN {
                return Ok(purged);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Deletes expired data, unless the time is not plausible.
///
/// # Errors
/// See [`Store::purge`].
pub async fn run_once(shared: &AppState) -> Result<RetentionReport, StoreError> {
    let now = shared.now();
    if let Some(problem) = shared.store.check_clock(now).await? {
        tracing::warn!(%problem, "nothing is deleted while the time is not plausible");
        return Ok(RetentionReport::default());
    }
    shared.store.purge(now, &shared.config.retention).await
}

/// Maintains the store, at startup and then hourly, until `stop`. Deletes expired data hourly, the
/// first time after an hour: a clock that is wrong at startup is usually set by then.
pub async fn run(shared: AppState, stop: CancellationToken) {
    let mut is_failing = false;
    let mut is_first = true;
    loop {
        let is_start = std::mem::take(&mut is_first);
        let done = async {
            let purged = match is_start {
                true => RetentionReport::default(),
                false => run_once(&shared).await?,
            };
            shared.store.maintain(shared.now()).await?;
            Ok::<RetentionReport, StoreError>(purged)
        };
        match done.await {
            Ok(purged) => {
                is_failing = false;
                if purged != RetentionReport::default() {
                    tracing::info!(?purged, "expired data deleted");
                }
            }
            Err(error) if !is_failing => {
                is_failing = true;
                tracing::warn!(%error, "retention run failed; retrying in 1 h");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Clamped to 1970.
fn time_before(now: UtcTime, time: Duration) -> UtcTime {
    let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let ms = now.as_unix_ms().saturating_sub(ms).max(0);
    UtcTime::from_unix_ms(ms).unwrap_or(now)
}

const EVENT_EPCS: &str = "DELETE FROM event_epc WHERE n IN \
    (SELECT n FROM event WHERE captured_at < $1 ORDER BY captured_at, n LIMIT $2)";
const EVENTS: &str = "DELETE FROM event WHERE n IN \
    (SELECT n FROM event WHERE captured_at < $1 ORDER BY captured_at, n LIMIT $2)";
const CLEAR_PERSONAL_DATA: &str = "UPDATE parcel SET postcode = NULL, preferences = NULL, language = NULL, case_note = NULL \
    WHERE epc IN (SELECT epc FROM parcel WHERE ended_at < $1 AND (postcode IS NOT NULL OR preferences IS NOT NULL \
    OR language IS NOT NULL OR case_note IS NOT NULL) LIMIT $2)";
const PARCELS: &str = "DELETE FROM parcel WHERE epc IN (SELECT epc FROM parcel WHERE ended_at < $1 LIMIT $2) \
    OR epc IN (SELECT epc FROM parcel WHERE ended_at IS NULL AND put_at < $1 LIMIT $2)";
const ASSIGNMENTS: &str = "DELETE FROM assignment WHERE (epc, van, route) IN (SELECT epc, van, route FROM assignment \
    WHERE at_time < $1 AND NOT EXISTS (SELECT 1 FROM parcel WHERE parcel.epc = assignment.epc) ORDER BY at_time LIMIT $2)";
const UNASSIGNED_EVENTS: &str = "DELETE FROM unassigned_event WHERE (n, epc) IN (SELECT n, epc FROM unassigned_event \
    WHERE captured_at < $1 ORDER BY captured_at LIMIT $2)";
const ROUTES: &str = "DELETE FROM route WHERE route IN (SELECT route FROM route WHERE put_at < $1 \
    AND (valid_until IS NULL OR valid_until < $1) LIMIT $2)";
const COMMANDS: &str =
    "DELETE FROM command WHERE id IN (SELECT id FROM command WHERE made_at < $1 LIMIT $2)";
const JOBS: &str = "DELETE FROM capture_job WHERE id IN (SELECT id FROM capture_job WHERE made_at < $1 \
    AND finished_at IS NOT NULL LIMIT $2)";
const AUDIT: &str =
    "DELETE FROM audit WHERE n IN (SELECT n FROM audit WHERE at_time < $1 LIMIT $2)";
const DEAD_LETTERS: &str =
    "DELETE FROM poison WHERE n IN (SELECT n FROM poison WHERE received_at < $1 LIMIT $2)";
const ALERTS: &str = "DELETE FROM alert WHERE epc IN (SELECT epc FROM alert WHERE made_at < $1 LIMIT $2) AND made_at < $1";
const ALERTS_OF_ENDED: &str = "DELETE FROM alert WHERE subscriber IN (SELECT subscriber.id FROM subscriber \
    JOIN parcel ON parcel.epc = subscriber.epc WHERE parcel.ended_at < $1 ORDER BY subscriber.id LIMIT $2)";
const SUBSCRIBERS_OF_ENDED: &str = "DELETE FROM subscriber WHERE id IN (SELECT subscriber.id FROM subscriber \
    JOIN parcel ON parcel.epc = subscriber.epc WHERE parcel.ended_at < $1 ORDER BY subscriber.id LIMIT $2)";
const ALERTS_OF_OLD: &str = "DELETE FROM alert WHERE subscriber IN \
    (SELECT id FROM subscriber WHERE made_at < $1 ORDER BY made_at, id LIMIT $2)";
const SUBSCRIBERS_OF_OLD: &str = "DELETE FROM subscriber WHERE id IN \
    (SELECT id FROM subscriber WHERE made_at < $1 ORDER BY made_at, id LIMIT $2)";
const ALERTS_OF_UNCONFIRMED: &str = "DELETE FROM alert WHERE subscriber IN \
    (SELECT id FROM subscriber WHERE made_at < $1 AND confirmed_at IS NULL ORDER BY made_at, id LIMIT $2)";
const UNCONFIRMED: &str = "DELETE FROM subscriber WHERE id IN \
    (SELECT id FROM subscriber WHERE made_at < $1 AND confirmed_at IS NULL ORDER BY made_at, id LIMIT $2)";
const POSITIONS: &str = "UPDATE van SET position = NULL, position_time = NULL, position_seq = NULL \
    WHERE position_time < $1";
