//! What views ask besides parcels, events and commands: vans, what is new of a route, where a van was.

use std::collections::BTreeMap;

use super::{Row, Statement, Store, StoreError};
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

/// A point of a trail: `[ms since 1970, latitude, longitude, m/s]`.
pub type TrailPoint = (i64, f64, f64, Option<f64>);

const REVISION: &str = "route, van, rev, put_at, COALESCE(valid_from, put_at), \
     COALESCE(valid_until, COALESCE(valid_from, put_at) + 86400000), withdrawn";

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
        let sql = format!("SELECT {VAN} FROM van WHERE van = $1");
        let rows = self.read(Statement::new(sql, [van.into()])).await?;
        Ok(rows.first().map(known_van))
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

    /// The newest routes of a van that were not withdrawn, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revisions_of_van(&self, van: &str) -> Result<Vec<Revision>, StoreError> {
        let sql = format!(
            "SELECT {REVISION} FROM route WHERE van = $1 AND withdrawn = 0 ORDER BY put_at DESC, route LIMIT 20"
        );
        let rows = self.read(Statement::new(sql, [van.into()])).await?;
        Ok(rows.iter().map(revision).collect())
    }

    /// Events of a route with a higher number than `after`, in the order of capture.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events_of_route_after(
        &self,
        route: &str,
        after: i64,
    ) -> Result<Vec<Event>, StoreError> {
        let sql = format!(
            "SELECT {} FROM event WHERE event.route = $1 AND event.n > $2 ORDER BY event.n LIMIT 20000",
            super::events::COLUMNS
        );
        let rows = self.read(Statement::new(sql, [route.into(), after.into()])).await?;
        Ok(rows.iter().map(super::events::event).collect())
    }

    /// Where a van was last under way after `from` and not after `until`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_driving(
        &self,
        van: &str,
        from: UtcTime,
        until: UtcTime,
    ) -> Result<Option<Moment>, StoreError> {
        let sql = "SELECT time, lat_e7, lon_e7 FROM track WHERE van = $1 AND time > $2 AND time <= $3 \
             AND stopped = 0 AND speed_mmps >= 1500 ORDER BY time DESC LIMIT 1";
        let rows = self.read(Statement::new(sql, [van.into(), from.into(), until.into()])).await?;
        Ok(rows.first().and_then(|row| {
            Some(Moment {
                time: row.maybe_utc(0)?,
                position: Position::from_degrees(degrees(row.int(1)), degrees(row.int(2)))?,
            })
        }))
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
