//! What views ask besides parcels, events and commands: vans, what is new of a route, where a van was.

use std::collections::BTreeMap;

use super::{Row, Statement, Store, StoreError, Value};
use crate::backend::event::Event;
use crate::backend::view::known::{KnownVan, Moment};
use crate::units::{Position, UtcTime};

/// No list of vans is longer.
const MOST_VANS: i64 = 10_000;
/// No trail is read with more points than these: more than two days of a van that drives all the time.
const MOST_POINTS: i64 = 200_000;

/// Which revision of a route is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its name.
    pub route: String,
    /// Whose.
    pub van: String,
    /// Revision of the manifest.
    pub rev: u64,
    /// When it was put.
    pub put_at: UtcTime,
    /// When it may be driven.
    pub span: (UtcTime, UtcTime),
    /// Whether it was withdrawn.
    pub withdrawn: bool,
}

/// A manifest as it goes to the van.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutManifest {
    /// Name of the route.
    pub route: String,
    /// Whose.
    pub van: String,
    /// When it was put.
    pub put_at: UtcTime,
    /// JSON.
    pub manifest: String,
}

/// A point of a trail: `[ms since 1970, latitude, longitude, m/s]`.
pub type TrailPoint = (i64, f64, f64, Option<f64>);

/// When a route is over, as the index `route_by_end` has it.
macro_rules! over {
    () => {
        "COALESCE(valid_until, COALESCE(valid_from, put_at) + 86400000)"
    };
}

const REVISION: &str = concat!(
    "route.route, route.van, rev, put_at, COALESCE(valid_from, put_at), ",
    over!(),
    ", withdrawn"
);

fn revision(row: &Row) -> Revision {
    Revision {
        route: row.text(0).to_owned(),
        van: row.text(1).to_owned(),
        rev: row.count(2),
        put_at: row.utc(3),
        span: (row.utc(4), row.utc(5)),
        withdrawn: row.int(6) != 0,
    }
}

const VAN: &str = "van, position, state, connection_state, heard_at, \
     (SELECT value FROM setting WHERE name = 'domain of ' || van)";

/// What a van's setting is named with.
const DOMAIN_OF: &str = "domain of ";

fn known_van(row: &Row) -> KnownVan {
    let state = row.maybe_text(2).and_then(|text| serde_json::from_str(text).ok());
    let position = row.maybe_text(1).and_then(|text| serde_json::from_str(text).ok());
    let connection = row.maybe_text(3).map(|text| serde_json::Value::from(text.to_owned()));
    KnownVan {
        van: row.text(0).to_owned(),
        position: position.map(std::sync::Arc::new),
        driving: None,
        state,
        connection: connection.and_then(|text| serde_json::from_value(text).ok()),
        heard_at: row.maybe_utc(4),
        other_domain: row.maybe_text(5).map(str::to_owned),
    }
}

impl Store {
    /// What a van last said of itself; `None` if nobody has heard of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn known_van(&self, van: &str) -> Result<Option<KnownVan>, StoreError> {
        Ok(self.known_vans_called(&[van]).await?.pop())
    }

    /// What vans last said of themselves, of those that anybody has heard of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn known_vans_called(&self, vans: &[&str]) -> Result<Vec<KnownVan>, StoreError> {
        let sql = format!(
            "WITH asked (name) AS (VALUES {{keys}}) SELECT {VAN} FROM asked CROSS JOIN van WHERE van = asked.name"
        );
        let keys: Vec<_> = vans.iter().map(|van| vec![(*van).into()]).collect();
        Ok(self.read_about(&sql, &[], &keys).await?.iter().map(known_van).collect())
    }

    /// All vans, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn known_vans(&self) -> Result<Vec<KnownVan>, StoreError> {
        let sql = format!("SELECT {VAN} FROM van ORDER BY van LIMIT $1");
        let rows = self.read(Statement::new(sql, [MOST_VANS.into()])).await?;
        Ok(rows.iter().map(known_van).collect())
    }

    /// Vans that name things with another domain than ours, and with which.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn other_domains(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let sql = "SELECT substr(name, 11), value FROM setting WHERE substr(name, 1, 10) = $1";
        let rows = self.read(Statement::new(sql, [DOMAIN_OF.into()])).await?;
        Ok(rows.iter().map(|row| (row.text(0).to_owned(), row.text(1).to_owned())).collect())
    }

    /// Says with which other domain a van names things; `None`: with ours.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn say_domain(&self, van: &str, other: Option<&str>) -> Result<(), StoreError> {
        let name = format!("{DOMAIN_OF}{van}");
        let said = match other {
            Some(domain) => Statement::new(
                "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [name.into(), domain.into()],
            ),
            None => Statement::new("DELETE FROM setting WHERE name = $1", [name.into()]),
        };
        self.write(vec![said]).await.map(drop)
    }

    /// Which revision of a route is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revision(&self, route: &str) -> Result<Option<Revision>, StoreError> {
        let sql = format!("SELECT {REVISION} FROM route WHERE route = $1");
        let rows = self.read(Statement::new(sql, [route.into()])).await?;
        Ok(rows.first().map(revision))
    }

    /// Routes of vans that were not withdrawn and are not over at `now`, or that a van says it drives: of each van newest
    /// first. Of a van is asked by its id and by the route that it says.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revisions_of_vans(
        &self,
        vans: &[(&str, Option<&str>)],
        now: UtcTime,
    ) -> Result<Vec<Revision>, StoreError> {
        let sql = format!(
            "WITH asked (van, said) AS (VALUES {{keys}}) SELECT {REVISION} FROM asked CROSS JOIN route \
             WHERE route.van = asked.van AND withdrawn = 0 AND {} > CAST($1 AS BIGINT) \
             UNION SELECT {REVISION} FROM asked CROSS JOIN route \
             WHERE route.route = asked.said AND route.van = asked.van AND withdrawn = 0",
            over!()
        );
        let keys: Vec<_> =
            vans.iter().map(|(van, said)| vec![(*van).into(), (*said).into()]).collect();
        let rows = self.read_about(&sql, &[now.into()], &keys).await?;
        let mut revisions: Vec<Revision> = rows.iter().map(revision).collect();
        revisions.sort_by(|one, other| {
            other.put_at.cmp(&one.put_at).then_with(|| one.route.cmp(&other.route))
        });
        Ok(revisions)
    }

    /// Numbers of events of routes above a number each, in their order, with the place of the route in `routes`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events_of_routes_after(
        &self,
        routes: &[(&str, i64)],
    ) -> Result<Vec<(usize, i64)>, StoreError> {
        const SQL: &str = "WITH asked (place, route, after) AS (VALUES {keys}) SELECT asked.place, event.n \
             FROM asked CROSS JOIN event WHERE event.route = asked.route AND event.n > asked.after ORDER BY event.n";
        let key = |(place, (route, after)): (usize, &(&str, i64))| {
            vec![Value::from(place as u64), (*route).into(), (*after).into()]
        };
        let keys: Vec<_> = routes.iter().enumerate().map(key).collect();
        let rows = self.read_about(SQL, &[], &keys).await?;
        let place = |row: &Row| usize::try_from(row.int(0)).unwrap_or_default();
        Ok(rows.iter().map(|row| (place(row), row.int(1))).collect())
    }

    /// Events by their numbers, in that order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events_numbered(&self, numbers: &[i64]) -> Result<Vec<Event>, StoreError> {
        let sql = format!(
            "WITH asked (n) AS (VALUES {{keys}}) SELECT {} FROM asked CROSS JOIN event WHERE event.n = asked.n ORDER BY event.n",
            super::events::COLUMNS
        );
        let keys: Vec<_> = numbers.iter().map(|n| vec![(*n).into()]).collect();
        let rows = self.read_about(&sql, &[], &keys).await?;
        Ok(rows.iter().map(super::events::event).collect())
    }

    /// Manifests of routes as they are now, each with its van and when it was put.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn manifests(&self, routes: &[&str]) -> Result<Vec<PutManifest>, StoreError> {
        const SQL: &str = "WITH asked (route) AS (VALUES {keys}) SELECT route.route, van, put_at, manifest \
             FROM asked CROSS JOIN route WHERE route.route = asked.route";
        let keys: Vec<_> = routes.iter().map(|route| vec![(*route).into()]).collect();
        let rows = self.read_about(SQL, &[], &keys).await?;
        let manifest = |row: &Row| PutManifest {
            route: row.text(0).to_owned(),
            van: row.text(1).to_owned(),
            put_at: row.utc(2),
            manifest: row.text(3).to_owned(),
        };
        Ok(rows.iter().map(manifest).collect())
    }

    /// Where vans were last under way, each after a time and not after another.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_driving(
        &self,
        vans: &[(&str, UtcTime, UtcTime)],
    ) -> Result<Vec<(String, Moment)>, StoreError> {
        const SQL: &str = "WITH asked (van, since, until) AS (VALUES {keys}) SELECT van, time, lat_e7, lon_e7 FROM \
             (SELECT track.van, time, lat_e7, lon_e7, ROW_NUMBER() OVER (PARTITION BY track.van ORDER BY time DESC) AS nth \
             FROM asked CROSS JOIN track WHERE track.van = asked.van AND time > asked.since AND time <= asked.until \
             AND stopped = 0 AND speed_mmps >= 1500) AS driving WHERE nth = 1";
        let key = |(van, from, until): &(&str, UtcTime, UtcTime)| {
            vec![(*van).into(), (*from).into(), (*until).into()]
        };
        let keys: Vec<_> = vans.iter().map(key).collect();
        let rows = self.read_about(SQL, &[], &keys).await?;
        let moment = |row: &Row| {
            let position = Position::from_degrees(degrees(row.int(2)), degrees(row.int(3)))?;
            Some((row.text(0).to_owned(), Moment { time: row.maybe_utc(1)?, position }))
        };
        Ok(rows.iter().filter_map(moment).collect())
    }

    /// A van's trail from one time to another, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trail(
        &self,
        van: &str,
        from: UtcTime,
        until: UtcTime,
    ) -> Result<Vec<TrailPoint>, StoreError> {
        let sql = "SELECT time, lat_e7, lon_e7, speed_mmps FROM track \
             WHERE van = $1 AND time >= $2 AND time <= $3 ORDER BY time, seq LIMIT $4";
        let values = [van.into(), from.into(), until.into(), MOST_POINTS.into()];
        let rows = self.read(Statement::new(sql, values)).await?;
        let point = |row: &Row| {
            let speed = row.maybe_int(3).map(thousandths);
            (row.int(0), degrees(row.int(1)), degrees(row.int(2)), speed)
        };
        Ok(rows.iter().map(point).collect())
    }
}

#[expect(clippy::cast_precision_loss, reason = "1.8e9 is exact in 53 bits")]
fn degrees(e7: i64) -> f64 {
    e7 as f64 / 1e7
}

#[expect(clippy::cast_precision_loss, reason = "a speed is small")]
fn thousandths(number: i64) -> f64 {
    number as f64 / 1e3
}
