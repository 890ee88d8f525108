//! Planned routes: the stored document and the manifest for the van.
//!
//! - A revision is stored once. If two instances store it at the same time, the second one changes
//!   nothing.
//! - A pending route has `sent_rev` NULL or below `rev`. A withdrawn route is pending too, with an
//!   empty manifest, unless another route of the van replaces it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::assignments;
use super::events;
use super::parcels::{self, Parcel};
use super::{Row, Statement, Store, StoreError, Value};
use crate::event::Event;
use waypost_model::units::UtcTime;
use waypost_wire::manifest;

/// Duration of a route without an end.
const DEFAULT_DURATION: Duration = Duration::from_hours(24);

/// A planned route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub route: String,
    /// Id of the van.
    pub van: String,
    /// Revision of the manifest.
    pub rev: u64,
    /// Start of the validity.
    pub valid_from: Option<UtcTime>,
    /// End of the validity.
    pub valid_until: Option<UtcTime>,
    /// Document as received, including data that only the backend may see.
    pub doc: String,
    /// Payload for the van.
    pub manifest: String,
    /// SHA-256 over van and `doc`, hexadecimal; equal digests mean equal content.
    pub digest: String,
    /// Time at which this revision was stored.
    pub put_at: UtcTime,
    /// Revision accepted by the broker.
    pub sent_rev: Option<u64>,
    pub withdrawn: bool,
    /// Whether the van reported the route as completed.
    pub completed: bool,
}

impl Route {
    /// Validity period.
    #[must_use]
    pub fn span(&self) -> (UtcTime, UtcTime) {
        let from = self.valid_from.unwrap_or(self.put_at);
        let until = self.valid_until.or_else(|| from.checked_add(DEFAULT_DURATION));
        (from, until.unwrap_or(from))
    }

    /// Whether it is the same revision, and not withdrawn.
    fn is_same_revision(&self, put: &Self) -> bool {
        !self.withdrawn && self.rev == put.rev && self.digest == put.digest
    }
}

/// Handling of another route of the same van at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictPolicy {
    /// Keep the other route and reject the new one.
    Reject,
    /// Withdraw the other route.
    Replace,
}

/// Result of storing a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutRouteResult {
    /// The route is new.
    Created,
    /// The route has a new revision.
    Updated,
    /// The same revision was stored before.
    Unchanged,
    /// The stored revision is equal or higher.
    StaleRevision {
        /// Stored revision.
        rev: u64,
        withdrawn: bool,
    },
    /// The route belongs to another van.
    OtherVan {
        /// Id of that van.
        van: String,
    },
    /// The van has another route at that time.
    VanBusy {
        /// Name of that route.
        route: String,
    },
}

/// Whether the route's van reported its completion and did not retract it.
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

/// `other` is a different route than `$1` of van `$2`, valid between `$3` and `$4` and not
/// completed.
const CONFLICTS_SQL: &str = concat!(
    "other.van = $2 AND other.route <> $1 AND other.withdrawn = 0 \
     AND COALESCE(other.valid_from, other.put_at) < CAST($4 AS BIGINT) \
     AND COALESCE(other.valid_until, COALESCE(other.valid_from, other.put_at) + 86400000) > CAST($3 AS BIGINT) \
     AND NOT ",
    driven!("other")
);

fn route_from_row(row: &Row) -> Route {
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
    /// A route, including withdrawn ones.
    pub async fn route(&self, name: &str) -> Result<Option<Route>, StoreError> {
        self.select_routes("WHERE route = $1", vec![name.into()]).await.map(|mut found| found.pop())
    }

    /// Stores a route with its parcels and events in one transaction.
    ///
    /// Parcels that the route listed before, and that `parcels` omits, are unlinked from it. A page
    /// expires `page` after the parcel's end.
    pub async fn put_route(
        &self,
        put: &Route,
        parcels: &[Parcel],
        events: &[Event],
        others: ConflictPolicy,
        page: Duration,
    ) -> Result<PutRouteResult, StoreError> {
        let known = self.route(&put.route).await?;
        if known.as_ref().is_some_and(|known| known.is_same_revision(put)) {
            return Ok(PutRouteResult::Unchanged);
        }
        let order_changes = match &known {
            Some(known) => self.order_changes(known, put).await?,
            None => None,
        };
        // All statements after the first two take effect only if this revision was stored.
        let this = [put.route.as_str().into(), put.rev.into(), put.digest.as_str().into()];
        let mut statements =
            vec![lock_van_routes(&put.van), upsert_route(put, others, order_changes.as_deref())];
        statements.extend(parcels.iter().map(|parcel| parcels::upsert_for_route(parcel, &this)));
        statements.push(parcels::unlink_from_route(&this));
        statements.extend(assignments::assign_route(&this, page));
        if others == ConflictPolicy::Replace {
            statements.push(withdraw_conflicting(put));
            statements.push(parcels::unlink_from_withdrawn(&put.van));
        }
        statements.extend(events.iter().flat_map(|event| events::insert_if_current(event, &this)));
        let outcomes = self.write(statements).await?;
        match (outcomes[1].rows_affected, known) {
            (0, _) => self.rejection(put).await,
            (_, None) => Ok(PutRouteResult::Created),
            (_, Some(_)) => Ok(PutRouteResult::Updated),
        }
    }

    /// Changes of the order of stops up to the revision `put`, as stored in the column of that name.
    async fn order_changes(
        &self,
        known: &Route,
        put: &Route,
    ) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT order_changes FROM route WHERE route = $1";
        let rows = self.read(Statement::new(SQL, [put.route.as_str().into()])).await?;
        let before = rows.first().and_then(|row| row.maybe_text(0));
        let mut changes: BTreeMap<String, i64> =
            before.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let stops = |route: &Route| {
            let manifest = manifest::parse(route.manifest.as_bytes()).ok().flatten();
            let stops = manifest.map(|manifest| manifest.stops).unwrap_or_default();
            stops.into_iter().map(|stop| stop.id).collect::<Vec<_>>()
        };
        let (old, new) = (stops(known), stops(put));
        changes.retain(|stop, _| new.contains(stop));
        for stop in stops_with_others_before(&old, &new) {
            changes.insert(stop.to_owned(), put.put_at.as_unix_ms());
        }
        let json = serde_json::to_string(&changes).expect("texts and integers serialize");
        Ok((!changes.is_empty()).then_some(json))
    }

    async fn rejection(&self, put: &Route) -> Result<PutRouteResult, StoreError> {
        if let Some(known) = self.route(&put.route).await? {
            if known.is_same_revision(put) {
                return Ok(PutRouteResult::Unchanged);
            }
            if known.van != put.van {
                return Ok(PutRouteResult::OtherVan { van: known.van });
            }
            if known.rev >= put.rev {
                return Ok(PutRouteResult::StaleRevision {
                    rev: known.rev,
                    withdrawn: known.withdrawn,
                });
            }
        }
        let sql = format!("SELECT other.route FROM route AS other WHERE {CONFLICTS_SQL} LIMIT 1");
        let found = self.read(Statement::new(sql, conflict_values(put))).await?;
        // The conflicting route may be gone by now; a retry succeeds.
        let route = found.first().map_or_else(String::new, |row| row.text(0).to_owned());
        Ok(PutRouteResult::VanBusy { route })
    }

    /// Withdraws a route; its van receives an empty manifest. `None` if there is no route to
    /// withdraw.
    pub async fn withdraw_route(&self, name: &str) -> Result<Option<Route>, StoreError> {
        let Some(route) = self.route(name).await?.filter(|route| !route.withdrawn) else {
            return Ok(None);
        };
        self.write(vec![
            lock_van_routes(&route.van),
            Statement::new(
                "UPDATE route SET withdrawn = 1, sent_rev = NULL WHERE route = $1 AND withdrawn = 0",
                [name.into()],
            ),
            parcels::unlink_from_withdrawn(&route.van),
        ])
        .await?;
        Ok(Some(Route { withdrawn: true, sent_rev: None, ..route }))
    }

    async fn select_routes(
        &self,
        which: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Route>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM route {which}");
        Ok(self.read(Statement::new(sql, values)).await?.iter().map(route_from_row).collect())
    }
}

/// Stops of `old` that have a stop before them in `new` that was not before them in `old`.
fn stops_with_others_before<'a>(old: &[String], new: &'a [String]) -> Vec<&'a str> {
    let places: HashMap<&str, usize> =
        old.iter().enumerate().map(|(place, stop)| (stop.as_str(), place)).collect();
    // Largest former place of a stop so far; a new stop counts as one after all others.
    let mut largest = None;
    let mut found = Vec::new();
    for stop in new {
        let place = places.get(stop.as_str()).copied();
        if place.is_some() && largest > place {
            found.push(stop.as_str());
        }
        largest = largest.max(Some(place.unwrap_or(usize::MAX)));
    }
    found
}

/// Row lock that serializes changes of a van's routes across instances.
fn lock_van_routes(van: &str) -> Statement {
    Statement::new(
        "INSERT INTO setting (name, value) VALUES ($1, '') ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [format!("routes of {van}").into()],
    )
}

fn conflict_values(put: &Route) -> Vec<Value> {
    let (from, until) = put.span();
    vec![put.route.as_str().into(), put.van.as_str().into(), from.into(), until.into()]
}

fn upsert_route(put: &Route, others: ConflictPolicy, order_changes: Option<&str>) -> Statement {
    let unless = match others {
        ConflictPolicy::Reject => {
            format!("NOT EXISTS (SELECT 1 FROM route AS other WHERE {CONFLICTS_SQL})")
        }
        // PostgreSQL needs the type of every parameter.
        ConflictPolicy::Replace => "CAST($3 AS BIGINT) + CAST($4 AS BIGINT) IS NOT NULL".to_owned(),
    };
    let sql = format!(
        "INSERT INTO route (route, van, rev, valid_from, valid_until, doc, manifest, digest, put_at, withdrawn, order_changes) \
         SELECT $1, $2, CAST($5 AS BIGINT), CAST($6 AS BIGINT), CAST($7 AS BIGINT), $8, $9, $10, CAST($11 AS BIGINT), 0, $12 \
         WHERE {unless} \
         ON CONFLICT (route) DO UPDATE SET rev = excluded.rev, valid_from = excluded.valid_from, \
         valid_until = excluded.valid_until, doc = excluded.doc, manifest = excluded.manifest, \
         digest = excluded.digest, put_at = excluded.put_at, withdrawn = 0, \
         order_changes = excluded.order_changes \
         WHERE route.rev < excluded.rev AND route.van = excluded.van"
    );
    let mut values = conflict_values(put);
    values.extend([
        put.rev.into(),
        put.valid_from.into(),
        put.valid_until.into(),
        put.doc.as_str().into(),
        put.manifest.as_str().into(),
        put.digest.as_str().into(),
        put.put_at.into(),
        order_changes.into(),
    ]);
    Statement::new(sql, values)
}

/// Withdraws conflicting routes. They need no empty manifest, since the new route replaces theirs.
fn withdraw_conflicting(put: &Route) -> Statement {
    let sql = format!(
        "UPDATE route SET withdrawn = 1, sent_rev = rev WHERE route IN \
         (SELECT other.route FROM route AS other WHERE {CONFLICTS_SQL}) \
         AND EXISTS (SELECT 1 FROM route WHERE route.route = $1 AND route.rev = $5 AND route.digest = $6)"
    );
    let mut values = conflict_values(put);
    values.extend([put.rev.into(), put.digest.as_str().into()]);
    Statement::new(sql, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_told_of_only_if_another_one_was_put_before_it() {
        for (old, new, expected) in [
            ("abcd", "abcd", ""),
            ("abcd", "bcd", ""),
            ("abcd", "abcde", ""),
            ("abcd", "abdc", "c"),
            ("abcd", "axbcd", "bcd"),
            ("abcd", "dabc", "abc"),
            ("abcd", "bcda", "a"),
            ("", "ab", ""),
        ] {
            let stops = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
            let (old_stops, new_stops) = (stops(old), stops(new));
            let found = stops_with_others_before(&old_stops, &new_stops);
            assert_eq!(found.concat(), expected, "{old} {new}");
        }
    }
}
