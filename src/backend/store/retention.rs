//! What is past keeping → gone, in slices between which others write.
//!
//! - What is about people goes first: who wanted to be told, some days after the parcel's end; what was known of a recipient
//!   (postcode, wishes, notes), with the page. Then only the link's own number stays, so that an old link says that it is
//!   over and not that it never was; it goes with the proof.
//! - All instances may run it; what one has removed the other does not find.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Statement, Store, StoreError, Value};
use crate::backend::Shared;
use crate::backend::config::Retention;
use crate::units::UtcTime;

/// Rows of a transaction.
const SLICE: i64 = 500;

/// Payloads that nobody could read, of the newest.
const MOST_POISON: i64 = 10_000;

const HOUR: Duration = Duration::from_hours(1);

/// Alerts of an end have long been sent or given up.
const AFTER_THE_END: Duration = Duration::from_hours(48);

/// A subscription to a parcel that never ended.
const WITHOUT_END: Duration = Duration::from_hours(24 * 90);

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Fixes.
    pub track: u64,
    /// Events.
    pub events: u64,
    /// Parcels whose recipient was forgotten.
    pub pages: u64,
    /// Parcels of which nothing is left.
    pub parcels: u64,
    /// People who wanted to be told, and what they were told.
    pub subscribers: u64,
    /// Routes.
    pub routes: u64,
    /// Commands.
    pub commands: u64,
    /// Captures.
    pub jobs: u64,
    /// Lines about who looked at what.
    pub audit: u64,
    /// Payloads that nobody could read.
    pub poison: u64,
}

/// Keeps the newest of what nobody could read: for whoever puts some in, in the same transaction.
#[must_use]
pub fn bound_poison() -> Statement {
    Statement::new(
        "DELETE FROM poison WHERE n <= (SELECT n FROM poison ORDER BY n DESC LIMIT 1 OFFSET $1)",
        [Value::from(MOST_POISON)],
    )
}

impl Store {
    /// Removes what is past keeping at `now`.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed until then stays removed.
    pub async fn purge(&self, now: UtcTime, keep: &Retention) -> Result<Purged, StoreError> {
        let ago = |time: Duration| before(now, time);
        let (track, events, page) = (ago(keep.track), ago(keep.events), ago(keep.page));
        let mut purged = Purged {
            subscribers: self.purge_subscribers(now).await?,
            pages: self.sliced(&[FORGET], page).await?,
            track: self.purge_track(track).await?,
            events: self.sliced(&[EVENT_EPCS, EVENTS], events).await?,
            parcels: self.sliced(&[PARCELS], events).await?,
            ..Purged::default()
        };
        purged.routes = self.sliced(&[ROUTES], track).await?;
        purged.commands = self.sliced(&[COMMANDS], track).await?;
        purged.jobs = self.sliced(&[JOBS], page).await?;
        purged.audit = self.sliced(&[AUDIT], ago(keep.audit)).await?;
        purged.poison = self.sliced(&[POISON], ago(keep.poison)).await?;
        purged.poison += self.write(vec![bound_poison()]).await?[0].changed;
        self.write(vec![Statement::new(POSITIONS, [track.into()])]).await?;
        Ok(purged)
    }

    async fn purge_subscribers(&self, now: UtcTime) -> Result<u64, StoreError> {
        let over = before(now, AFTER_THE_END);
        let never = before(now, WITHOUT_END);
        Ok(self.sliced(&[ALERTS_OF_ENDED, SUBSCRIBERS_OF_ENDED], over).await?
            + self.sliced(&[ALERTS_OF_OLD, SUBSCRIBERS_OF_OLD], never).await?
            + self.sliced(&[ALERTS], never).await?)
    }

    /// Runs statements with `$1` as a time and `$2` as a number of rows, until the last of them changes fewer.
    async fn sliced(&self, sql: &[&'static str], cutoff: UtcTime) -> Result<u64, StoreError> {
        let mut purged = 0;
        loop {
            let statement =
                |sql: &&'static str| Statement::new(*sql, [cutoff.into(), SLICE.into()]);
            let outcomes = self.write(sql.iter().map(statement).collect()).await?;
            let changed = outcomes.last().map_or(0, |outcome| outcome.changed);
            purged += changed;
            if changed < SLICE.unsigned_abs() {
                return Ok(purged);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Purges and maintains at the start and then once an hour, until `stop`.
pub async fn run(shared: Shared, stop: CancellationToken) {
    let mut is_failing = false;
    loop {
        let now = shared.now();
        let done = async {
            let purged = shared.store.purge(now, &shared.config.retention).await?;
            shared.store.maintain(now).await?;
            Ok::<Purged, StoreError>(purged)
        };
        match done.await {
            Ok(purged) => {
                is_failing = false;
                if purged != Purged::default() {
                    tracing::info!(?purged, "removed what is past keeping");
                }
            }
            Err(error) if !is_failing => {
                is_failing = true;
                tracing::warn!(%error, "what is past keeping is not removed; the next hour tries again");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HOUR) => {}
        }
    }
}

/// Before 1970 there is nothing.
fn before(now: UtcTime, time: Duration) -> UtcTime {
    let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let ms = now.as_unix_ms().saturating_sub(ms).max(0);
    UtcTime::from_unix_ms(ms).unwrap_or(now)
}

const EVENT_EPCS: &str = "DELETE FROM event_epc WHERE n IN \
    (SELECT n FROM event WHERE captured_at < $1 ORDER BY captured_at, n LIMIT $2)";
const EVENTS: &str = "DELETE FROM event WHERE n IN \
    (SELECT n FROM event WHERE captured_at < $1 ORDER BY captured_at, n LIMIT $2)";
const FORGET: &str = "UPDATE parcel SET postcode = NULL, preferences = NULL, language = NULL, case_note = NULL \
    WHERE epc IN (SELECT epc FROM parcel WHERE ended_at < $1 AND (postcode IS NOT NULL OR preferences IS NOT NULL \
    OR language IS NOT NULL OR case_note IS NOT NULL) LIMIT $2)";
const PARCELS: &str = "DELETE FROM parcel WHERE epc IN (SELECT epc FROM parcel WHERE ended_at < $1 LIMIT $2) \
    OR epc IN (SELECT epc FROM parcel WHERE ended_at IS NULL AND put_at < $1 LIMIT $2)";
const ROUTES: &str = "DELETE FROM route WHERE route IN (SELECT route FROM route WHERE put_at < $1 \
    AND (valid_until IS NULL OR valid_until < $1) LIMIT $2)";
const COMMANDS: &str =
    "DELETE FROM command WHERE id IN (SELECT id FROM command WHERE made_at < $1 LIMIT $2)";
const JOBS: &str = "DELETE FROM capture_job WHERE id IN (SELECT id FROM capture_job WHERE made_at < $1 \
    AND finished_at IS NOT NULL LIMIT $2)";
const AUDIT: &str =
    "DELETE FROM audit WHERE n IN (SELECT n FROM audit WHERE at_time < $1 LIMIT $2)";
const POISON: &str =
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
const POSITIONS: &str = "UPDATE van SET position = NULL, position_time = NULL, position_seq = NULL \
    WHERE position_time < $1";
