//! Routes that wait for their van.
//!
//! A van has one manifest. So a route goes out when its own time has come, or when the one that the van drives before it
//! is driven to its end or out of its time; and a withdrawn one empties the place unless another has taken it.

use std::time::Duration;

use super::{Row, Statement, Store, StoreError};
use crate::units::UtcTime;

/// A route to be said to its van.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRoute {
    /// Its name.
    pub route: String,
    /// The van's id.
    pub van: String,
    /// Its revision.
    pub rev: u64,
    /// Whether it was withdrawn: then the payload is empty.
    pub withdrawn: bool,
    /// The payload.
    pub manifest: String,
    /// Whether another route of the van has its place, so that nothing is to be said.
    pub is_replaced: bool,
}

/// Begin and end of a route by the name `of`.
fn span(of: &str) -> [String; 2] {
    let from = format!("COALESCE({of}.valid_from, {of}.put_at)");
    let until = format!("COALESCE({of}.valid_until, {from} + 86400000)");
    [from, until]
}

fn claim() -> String {
    let ([from, until], [other_from, other_until]) = (span("waits"), span("other"));
    let driven = "EXISTS (SELECT 1 FROM event WHERE event.route = other.route AND event.kind = 'route.completed')";
    format!(
        "UPDATE route SET claimed_until = $2 WHERE COALESCE(claimed_until, 0) <= $1 AND route IN (\
         SELECT waits.route FROM route AS waits WHERE (waits.sent_rev IS NULL OR waits.sent_rev < waits.rev) \
         AND COALESCE(waits.claimed_until, 0) <= $1 AND (waits.withdrawn = 1 OR ({until} > $1 AND NOT EXISTS (\
         SELECT 1 FROM route AS other WHERE other.van = waits.van AND other.withdrawn = 0 \
         AND {other_from} < {from} AND {other_until} > $1 AND NOT {driven}))) \
         ORDER BY waits.put_at LIMIT $3) \
         RETURNING route, van, rev, withdrawn, manifest, EXISTS (SELECT 1 FROM route AS other \
         WHERE other.van = route.van AND other.withdrawn = 0 AND other.sent_rev IS NOT NULL AND {other_until} > $1)"
    )
}

impl Store {
    /// Takes up to `limit` routes that wait for their van, as this instance's own for `lease`; withdrawn ones first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_routes(
        &self,
        now: UtcTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<WaitingRoute>, StoreError> {
        let until = now.checked_add(lease).unwrap_or(now);
        let claim = Statement::new(claim(), [now.into(), until.into(), limit.into()]);
        let outcomes = self.write(vec![claim]).await?;
        let mut found: Vec<WaitingRoute> = outcomes[0].rows.iter().map(waiting).collect();
        found.sort_by_key(|route| !route.withdrawn);
        Ok(found)
    }

    /// The broker has a route as it was claimed. One that was changed since waits again, and is the last word then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn route_sent(&self, route: &WaitingRoute) -> Result<(), StoreError> {
        let sent = Statement::new(
            "UPDATE route SET claimed_until = 0, sent_rev = CASE WHEN rev = $2 AND withdrawn = $3 THEN rev END \
             WHERE route = $1",
            [route.route.as_str().into(), route.rev.into(), route.withdrawn.into()],
        );
        self.write(vec![sent]).await.map(drop)
    }
}

fn waiting(row: &Row) -> WaitingRoute {
    let withdrawn = row.int(3) != 0;
    WaitingRoute {
        route: row.text(0).to_owned(),
        van: row.text(1).to_owned(),
        rev: row.count(2),
        withdrawn,
        manifest: row.text(4).to_owned(),
        is_replaced: withdrawn && row.int(5) != 0,
    }
}
