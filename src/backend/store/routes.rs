//! Routes ↔ rows: what a person asks of a van, as it was put and as it goes to the van.
//!
//! - A revision is put once: of two at the same moment the second finds the first and changes nothing.
//! - A route that waits for the van has `sent_rev` NULL or below `rev`. One that was withdrawn waits too, with an empty
//!   manifest, unless another route of the van has taken its place.

use std::time::Duration;

use super::events;
use super::parcels::{self, Parcel};
use super::{Row, Statement, Store, StoreError, Value};
use crate::backend::event::Event;
use crate::units::UtcTime;

/// A route without an end is over after so long.
const LONGEST: Duration = Duration::from_hours(24);

/// What a person asks of a van.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub route: String,
    /// The van's id.
    pub van: String,
    /// Revision of the manifest.
    pub rev: u64,
    /// Before this nobody drives it.
    pub valid_from: Option<UtcTime>,
    /// Then it is over.
    pub valid_until: Option<UtcTime>,
    /// As it was put, with what only the backend may know.
    pub doc: String,
    /// The payload for the van.
    pub manifest: String,
    /// SHA-256 over van and `doc`, hexadecimal: what is alike is the same.
    pub digest: String,
    /// When this revision was put.
    pub put_at: UtcTime,
    /// The revision that the broker has taken.
    pub sent_rev: Option<u64>,
    /// Whether it was withdrawn.
    pub withdrawn: bool,
    /// Whether the van said that it has driven it to the end.
    pub completed: bool,
}

impl Route {
    /// When it may be driven.
    #[must_use]
    pub fn span(&self) -> (UtcTime, UtcTime) {
        let from = self.valid_from.unwrap_or(self.put_at);
        let until = self.valid_until.or_else(|| from.checked_add(LONGEST));
        (from, until.unwrap_or(from))
    }

    /// Whether it is the same revision, and not withdrawn.
    fn is(&self, put: &Self) -> bool {
        !self.withdrawn && self.rev == put.rev && self.digest == put.digest
    }
}

/// What becomes of another route of the same van at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// It stays, and the new one is not taken.
    Stay,
    /// It is withdrawn.
    GoAway,
}

/// What came of putting a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Created,
    /// It has a new revision.
    Changed,
    /// It was put before, like this.
    Same,
    /// The revision that is there is as high or higher.
    Behind {
        /// The revision that is there.
        rev: u64,
        /// Whether it was withdrawn.
        withdrawn: bool,
    },
    /// The route is another van's.
    OtherVan {
        /// The id of that van.
        van: String,
    },
    /// The van has another route at that time.
    Busy {
        /// Its name.
        route: String,
    },
}

/// Whether the van of a route said that it has driven it to the end, and did not take that back.
macro_rules! driven {
    ($route:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM event AS said WHERE said.route = ",
            $route,
            ".route AND said.kind = 'route.completed' AND said.van = ",
            $route,
            ".van AND NOT EXISTS (SELECT 1 FROM event AS back WHERE back.event_id = said.event_id \
             AND back.source = said.source AND back.retracts = 1))"
        )
    };
}
pub(super) use driven;

const COLUMNS: &str = concat!(
    "route, van, rev, valid_from, valid_until, doc, manifest, digest, put_at, sent_rev, withdrawn, ",
    driven!("route")
);

/// `other` is another route of van `$2` than `$1`, to be driven between `$3` and `$4` and not driven to its end.
const IN_THE_WAY: &str = concat!(
    "other.van = $2 AND other.route <> $1 AND other.withdrawn = 0 \
     AND COALESCE(other.valid_from, other.put_at) < CAST($4 AS BIGINT) \
     AND COALESCE(other.valid_until, COALESCE(other.valid_from, other.put_at) + 86400000) > CAST($3 AS BIGINT) \
     AND NOT ",
    driven!("other")
);

fn route(row: &Row) -> Route {
    Route {
        route: row.text(0).to_owned(),
        van: row.text(1).to_owned(),
        rev: row.count(2),
        valid_from: row.maybe_utc(3),
        valid_until: row.maybe_utc(4),
        doc: row.text(5).to_owned(),
        manifest: row.text(6).to_owned(),
        digest: row.text(7).to_owned(),
        put_at: row.utc(8),
        sent_rev: row.maybe_int(9).and_then(|rev| u64::try_from(rev).ok()),
        withdrawn: row.int(10) != 0,
        completed: row.int(11) != 0,
    }
}

impl Store {
    /// A route, also a withdrawn one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn route(&self, name: &str) -> Result<Option<Route>, StoreError> {
        self.routes("WHERE route = $1", vec![name.into()]).await.map(|mut found| found.pop())
    }

    /// Puts a route with its parcels, and the events that say so; all of it or nothing.
    ///
    /// Parcels that the route listed before and `parcels` does not have are on no route then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_route(
        &self,
        put: &Route,
        parcels: &[Parcel],
        events: &[Event],
        others: Others,
    ) -> Result<Put, StoreError> {
        let known = self.route(&put.route).await?;
        if known.as_ref().is_some_and(|known| known.is(put)) {
            return Ok(Put::Same);
        }
        // What follows the first two finds the route only if this revision has won.
        let this = [put.route.as_str().into(), put.rev.into(), put.digest.as_str().into()];
        let mut statements = vec![one_at_a_time(&put.van), row_of(put, others)];
        statements.extend(parcels.iter().map(|parcel| parcels::of_route(parcel, &this)));
        statements.push(parcels::off_route(&this));
        if others == Others::GoAway {
            statements.push(others_away(put));
            statements.push(parcels::off_withdrawn(&put.van));
        }
        statements.extend(events.iter().flat_map(|event| events::insert_for(event, &this)));
        let outcomes = self.write(statements).await?;
        match (outcomes[1].changed, known) {
            (0, _) => self.why_not(put).await,
            (_, None) => Ok(Put::Created),
            (_, Some(_)) => Ok(Put::Changed),
        }
    }

    async fn why_not(&self, put: &Route) -> Result<Put, StoreError> {
        if let Some(known) = self.route(&put.route).await? {
            if known.is(put) {
                return Ok(Put::Same);
            }
            if known.van != put.van {
                return Ok(Put::OtherVan { van: known.van });
            }
            if known.rev >= put.rev {
                return Ok(Put::Behind { rev: known.rev, withdrawn: known.withdrawn });
            }
        }
        let sql = format!("SELECT other.route FROM route AS other WHERE {IN_THE_WAY} LIMIT 1");
        let found = self.read(Statement::new(sql, of_the_way(put))).await?;
        // The one that was in the way may have gone since: the same works again.
        let route = found.first().map_or_else(String::new, |row| row.text(0).to_owned());
        Ok(Put::Busy { route })
    }

    /// Withdraws a route; the van is sent an empty manifest. `None` if there is none that could be withdrawn.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn withdraw_route(&self, name: &str) -> Result<Option<Route>, StoreError> {
        let Some(route) = self.route(name).await?.filter(|route| !route.withdrawn) else {
            return Ok(None);
        };
        self.write(vec![
            one_at_a_time(&route.van),
            Statement::new(
                "UPDATE route SET withdrawn = 1, sent_rev = NULL WHERE route = $1 AND withdrawn = 0",
                [name.into()],
            ),
            parcels::off_withdrawn(&route.van),
        ])
        .await?;
        Ok(Some(Route { withdrawn: true, sent_rev: None, ..route }))
    }

    async fn routes(
        &self,
        which: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Route>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM route {which}");
        Ok(self.read(Statement::new(sql, values)).await?.iter().map(route).collect())
    }
}

/// Whoever changes routes of a van waits here for whoever else does, on whatever instance.
fn one_at_a_time(van: &str) -> Statement {
    Statement::new(
        "INSERT INTO setting (name, value) VALUES ($1, '') ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [format!("routes of {van}").into()],
    )
}

fn of_the_way(put: &Route) -> Vec<Value> {
    let (from, until) = put.span();
    vec![put.route.as_str().into(), put.van.as_str().into(), from.into(), until.into()]
}

fn row_of(put: &Route, others: Others) -> Statement {
    let unless = match others {
        Others::Stay => format!("NOT EXISTS (SELECT 1 FROM route AS other WHERE {IN_THE_WAY})"),
        // PostgreSQL wants to know the type of every place.
        Others::GoAway => "CAST($3 AS BIGINT) + CAST($4 AS BIGINT) IS NOT NULL".to_owned(),
    };
    let sql = format!(
        "INSERT INTO route (route, van, rev, valid_from, valid_until, doc, manifest, digest, put_at, withdrawn) \
         SELECT $1, $2, CAST($5 AS BIGINT), CAST($6 AS BIGINT), CAST($7 AS BIGINT), $8, $9, $10, CAST($11 AS BIGINT), 0 \
         WHERE {unless} \
         ON CONFLICT (route) DO UPDATE SET rev = excluded.rev, valid_from = excluded.valid_from, \
         valid_until = excluded.valid_until, doc = excluded.doc, manifest = excluded.manifest, \
         digest = excluded.digest, put_at = excluded.put_at, withdrawn = 0 \
         WHERE route.rev < excluded.rev AND route.van = excluded.van"
    );
    let mut values = of_the_way(put);
    values.extend([
        put.rev.into(),
        put.valid_from.into(),
        put.valid_until.into(),
        put.doc.as_str().into(),
        put.manifest.as_str().into(),
        put.digest.as_str().into(),
        put.put_at.into(),
    ]);
    Statement::new(sql, values)
}

/// Withdraws what is in the way. The new route takes its place at the van: there is nothing to send for it.
fn others_away(put: &Route) -> Statement {
    let sql = format!(
        "UPDATE route SET withdrawn = 1, sent_rev = rev WHERE route IN \
         (SELECT other.route FROM route AS other WHERE {IN_THE_WAY}) \
         AND EXISTS (SELECT 1 FROM route WHERE route.route = $1 AND route.rev = $5 AND route.digest = $6)"
    );
    let mut values = of_the_way(put);
    values.extend([put.rev.into(), put.digest.as_str().into()]);
    Statement::new(sql, values)
}
