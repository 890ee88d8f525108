//! Queries of the tracking views: vans, route revisions and events, tracks.

use std::collections::{BTreeMap, HashMap};

use super::{Row, Statement, Store, StoreError, Value};
use crate::event::Event;
use crate::tracking::inputs::{TimedPosition, VanInput};
use waypost_model::units::{Position, UtcTime};

/// Maximum number of vans in a list.
const MAX_VANS: i64 = 10_000;
/// Maximum number of track points per query; more than two days of continuous driving.
const MAX_TRAIL_POINTS: i64 = 200_000;

/// Stored revision of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub route: String,
    /// Id of the van.
    pub van: String,
    /// Revision of the manifest.
    pub rev: u64,
    /// Time at which it was stored.
    pub put_at: UtcTime,
    /// Validity period.
    pub span: (UtcTime, UtcTime),
    pub withdrawn: bool,
}

/// Stored manifest of a route, as sent to the van.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    pub route: String,
    /// Id of the van.
    pub van: String,
    /// Time at which it was stored.
    pub put_at: UtcTime,
    /// JSON payload.
    pub manifest: String,
    /// When a revision last put other stops before a stop, by the stop's id.
    pub order_changes: HashMap<String, i64>,
}

/// A track point: `[ms since 1970, latitude, longitude, m/s]`.
pub type TrailPoint = (i64, f64, f64, Option<f64>);

/// End of a route's validity, as in the index `route_by_end`.
macro_rules! over {
    () => {
        "COALESCE(valid_until, COALESCE(valid_from, put_at) + 86400000)"
    };
}

const REVISION_COLUMNS: &str = concat!(
    "route.route, route.van, rev, put_at, COALESCE(valid_from, put_at), ",
    over!(),
    ", withdrawn"
);

fn revision_from_row(row: &Row) -> Revision {
    Revision {
        route: row.text(0).to_owned(),
        van: row.text(1).to_owned(),
        rev: row.count(2),
        put_at: row.utc(3),
        span: (row.utc(4), row.utc(5)),
        withdrawn: row.int(6) != 0,
    }
}

const VAN_COLUMNS: &str = "van, position, state, connection_state, heard_at, \
     (SELECT value FROM setting WHERE name = 'domain of ' || van)";

/// Prefix of the setting with a van's domain mismatch.
const DOMAIN_PREFIX: &str = "domain of ";

fn van_from_row(row: &Row) -> VanInput {
    let state = row.maybe_text(2).and_then(|text| serde_json::from_str(text).ok());
    let position = row.maybe_text(1).and_then(|text| serde_json::from_str(text).ok());
    let connection = row.maybe_text(3).map(|text| serde_json::Value::from(text.to_owned()));
    VanInput {
        van: row.text(0).to_owned(),
        position: position.map(std::sync::Arc::new),
        last_moving: None,
        state,
        connection: connection.and_then(|text| serde_json::from_value(text).ok()),
        last_seen_at: row.maybe_utc(4),
        other_domain: row.maybe_text(5).map(str::to_owned),
        unassigned: Vec::new(),
        rejected: 0,
    }
}

impl Store {
    /// Newest data of a van; `None` if the van is unknown.
    pub async fn van(&self, van: &str) -> Result<Option<VanInput>, StoreError> {
        Ok(self.vans_by_id(&[van]).await?.pop())
    }

    /// Newest data of these vans; unknown ones are omitted.
    pub async fn vans_by_id(&self, vans: &[&str]) -> Result<Vec<VanInput>, StoreError> {
        let sql = format!(
            "WITH asked (name) AS (VALUES {{keys}}) SELECT {VAN_COLUMNS} FROM asked CROSS JOIN van WHERE van = asked.name"
        );
        let keys: Vec<_> = vans.iter().map(|van| vec![(*van).into()]).collect();
        Ok(self.read_batched(&sql, &[], &keys).await?.iter().map(van_from_row).collect())
    }

    /// All vans, ordered by id.
    pub async fn vans(&self) -> Result<Vec<VanInput>, StoreError> {
        let sql = format!("SELECT {VAN_COLUMNS} FROM van ORDER BY van LIMIT $1");
        let rows = self.read(Statement::new(sql, [MAX_VANS.into()])).await?;
        Ok(rows.iter().map(van_from_row).collect())
    }

    /// Vans whose URIs use another domain than ours, with that domain.
    pub async fn domain_mismatches(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let sql = "SELECT substr(name, 11), value FROM setting WHERE substr(name, 1, 10) = $1";
        let rows = self.read(Statement::new(sql, [DOMAIN_PREFIX.into()])).await?;
        Ok(rows.iter().map(|row| (row.text(0).to_owned(), row.text(1).to_owned())).collect())
    }

    /// Records a van's other domain; `None` clears it.
    pub async fn set_van_domain(&self, van: &str, other: Option<&str>) -> Result<(), StoreError> {
        let name = format!("{DOMAIN_PREFIX}{van}");
        let said = match other {
            Some(domain) => Statement::new(
                "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [name.into(), domain.into()],
            ),
            None => Statement::new("DELETE FROM setting WHERE name = $1", [name.into()]),
        };
        self.write(vec![said]).await.map(drop)
    }

    /// Stored revision of a route.
    pub async fn revision(&self, route: &str) -> Result<Option<Revision>, StoreError> {
        let sql = format!("SELECT {REVISION_COLUMNS} FROM route WHERE route = $1");
        let rows = self.read(Statement::new(sql, [route.into()])).await?;
        Ok(rows.first().map(revision_from_row))
    }

    /// Routes of these vans that are neither withdrawn nor over at `now`, or that a van reports as
    /// its current route. Newest first per van. The keys are van id and reported route.
    pub async fn revisions_for_vans(
        &self,
        vans: &[(&str, Option<&str>)],
        now: UtcTime,
    ) -> Result<Vec<Revision>, StoreError> {
        let sql = format!(
            "WITH asked (van, said) AS (VALUES {{keys}}) SELECT {REVISION_COLUMNS} FROM asked CROSS JOIN route \
             WHERE route.van = asked.van AND withdrawn = 0 AND {} > CAST($1 AS BIGINT) \
             UNION SELECT {REVISION_COLUMNS} FROM asked CROSS JOIN route \
             WHERE route.route = asked.said AND route.van = asked.van AND withdrawn = 0",
            over!()
        );
        let keys: Vec<_> =
            vans.iter().map(|(van, said)| vec![(*van).into(), (*said).into()]).collect();
        let rows = self.read_batched(&sql, &[now.into()], &keys).await?;
        let mut load_revisions: Vec<Revision> = rows.iter().map(revision_from_row).collect();
        load_revisions.sort_by(|one, other| {
            other.put_at.cmp(&one.put_at).then_with(|| one.route.cmp(&other.route))
        });
        Ok(load_revisions)
    }

    /// Numbers of the routes' events above a given number each, in order, with the index in
    /// `routes`.
    pub async fn events_for_routes_after(
        &self,
        routes: &[(&str, i64)],
    ) -> Result<Vec<(usize, i64)>, StoreError> {
        const SQL: &str = "WITH asked (place, route, after) AS (VALUES {keys}) SELECT asked.place, event.n \
             FROM asked CROSS JOIN event WHERE event.route = asked.route AND event.n > asked.after ORDER BY event.n";
        let key = |(place, (route, after)): (usize, &(&str, i64))| {
            vec![Value::from(place as u64), (*route).into(), (*after).into()]
        };
        let keys: Vec<_> = routes.iter().enumerate().map(key).collect();
        let rows = self.read_batched(SQL, &[], &keys).await?;
        let place = |row: &Row| usize::try_from(row.int(0)).unwrap_or_default();
        Ok(rows.iter().map(|row| (place(row), row.int(1))).collect())
    }

    /// Events by their numbers, in that order.
    pub async fn events_by_number(&self, numbers: &[i64]) -> Result<Vec<Event>, StoreError> {
        let sql = format!(
            "WITH asked (n) AS (VALUES {{keys}}) SELECT {} FROM asked CROSS JOIN event WHERE event.n = asked.n ORDER BY event.n",
            super::events::COLUMNS
        );
        let keys: Vec<_> = numbers.iter().map(|n| vec![(*n).into()]).collect();
        let rows = self.read_batched(&sql, &[], &keys).await?;
        Ok(rows.iter().map(super::events::event_from_row).collect())
    }

    /// Current manifests of routes.
    pub async fn manifests(&self, routes: &[&str]) -> Result<Vec<StoredManifest>, StoreError> {
        const SQL: &str = "WITH asked (route) AS (VALUES {keys}) SELECT route.route, van, put_at, manifest, order_changes \
             FROM asked CROSS JOIN route WHERE route.route = asked.route";
        let keys: Vec<_> = routes.iter().map(|route| vec![(*route).into()]).collect();
        let rows = self.read_batched(SQL, &[], &keys).await?;
        let manifest = |row: &Row| StoredManifest {
            route: row.text(0).to_owned(),
            van: row.text(1).to_owned(),
            put_at: row.utc(2),
            manifest: row.text(3).to_owned(),
            order_changes: row
                .maybe_text(4)
                .and_then(|json| serde_json::from_str(json).ok())
                .unwrap_or_default(),
        };
        Ok(rows.iter().map(manifest).collect())
    }

    /// Last moving position of each van within a time span.
    pub async fn last_moving_positions(
        &self,
        vans: &[(&str, UtcTime, UtcTime)],
    ) -> Result<Vec<(String, TimedPosition)>, StoreError> {
        const SQL: &str = "WITH asked (van, since, until) AS (VALUES {keys}) SELECT van, time, lat_e7, lon_e7 FROM \
             (SELECT track.van, time, lat_e7, lon_e7, ROW_NUMBER() OVER (PARTITION BY track.van ORDER BY time DESC) AS nth \
             FROM asked CROSS JOIN track WHERE track.van = asked.van AND time > asked.since AND time <= asked.until \
             AND stopped = 0 AND speed_mmps >= 1500) AS driving WHERE nth = 1";
        let key = |(van, from, until): &(&str, UtcTime, UtcTime)| {
            vec![(*van).into(), (*from).into(), (*until).into()]
        };
        let keys: Vec<_> = vans.iter().map(key).collect();
        let rows = self.read_batched(SQL, &[], &keys).await?;
        let moment = |row: &Row| {
            let position =
                Position::from_degrees(degrees_from_e7(row.int(2)), degrees_from_e7(row.int(3)))?;
            Some((row.text(0).to_owned(), TimedPosition { time: row.maybe_utc(1)?, position }))
        };
        Ok(rows.iter().filter_map(moment).collect())
    }

    /// A van's track within a time span, oldest first.
    pub async fn trail(
        &self,
        van: &str,
        from: UtcTime,
        until: UtcTime,
    ) -> Result<Vec<TrailPoint>, StoreError> {
        let sql = "SELECT time, lat_e7, lon_e7, speed_mmps FROM track \
             WHERE van = $1 AND time >= $2 AND time <= $3 ORDER BY time, seq LIMIT $4";
        let values = [van.into(), from.into(), until.into(), MAX_TRAIL_POINTS.into()];
        let rows = self.read(Statement::new(sql, values)).await?;
        let point = |row: &Row| {
            let speed = row.maybe_int(3).map(thousandths);
            (row.int(0), degrees_from_e7(row.int(1)), degrees_from_e7(row.int(2)), speed)
        };
        Ok(rows.iter().map(point).collect())
    }
}

#[expect(clippy::cast_precision_loss, reason = "1.8e9 is exact in 53 bits")]
fn degrees_from_e7(e7: i64) -> f64 {
    e7 as f64 / 1e7
}

#[expect(clippy::cast_precision_loss, reason = "a speed is small")]
fn thousandths(number: i64) -> f64 {
    number as f64 / 1e3
}
