//! Routes that wait for their van.
//!
//! A van has one manifest. So a route goes out when its own time has come, or when the one that the van drives before it
//! is driven to its end or out of its time; one that another has displaced waits again for its turn. A withdrawn one empties
//! the place unless another takes it.
//!
//! What is sent is said by who has claimed it. A claim that was lost meanwhile, as by somebody slow, says nothing of what the
//! broker has: the route waits then, and who sends it next has the last word.

use std::time::Duration;

use super::routes::driven;
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
    /// Whether another route of the van has or takes its place, so that nothing is to be said.
    pub is_replaced: bool,
    /// Until when it is claimed: the claim's name.
    pub claimed_until: UtcTime,
}

/// Begin and end of a route by the name `of`.
fn span(of: &str) -> [String; 2] {
    let from = format!("COALESCE({of}.valid_from, {of}.put_at)");
    let until = format!("COALESCE({of}.valid_until, {from} + 86400000)");
    [from, until]
}

fn claim() -> String {
    let ([from, until], [other_from, other_until]) = (span("waits"), span("other"));
    let driven = driven!("other");
    format!(
        "UPDATE route SET claimed_until = $2 WHERE COALESCE(claimed_until, 0) <= $1 AND route IN (\
         SELECT waits.route FROM route AS waits WHERE (waits.sent_rev IS NULL OR waits.sent_rev < waits.rev) \
         AND COALESCE(waits.claimed_until, 0) <= $1 AND (waits.withdrawn = 1 OR ({until} > $1 AND NOT EXISTS (\
         SELECT 1 FROM route AS other WHERE other.van = waits.van AND other.withdrawn = 0 \
         AND ({other_from} < {from} OR {other_from} = {from} AND other.route < waits.route) \
         AND {other_until} > $1 AND NOT {driven}))) \
         ORDER BY waits.put_at LIMIT $3) \
         RETURNING route, van, rev, withdrawn, manifest, EXISTS (SELECT 1 FROM route AS other \
         WHERE other.van = route.van AND other.withdrawn = 0 AND {other_until} > $1 AND NOT {driven}), claimed_until"
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

    /// The broker has a route as it was claimed, and none of the van's others. What was changed since waits again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn route_sent(&self, route: &WaitingRoute) -> Result<(), StoreError> {
        let sent = Statement::new(
            "UPDATE route SET claimed_until = 0, sent_rev = CASE WHEN rev = $2 AND withdrawn = $3 THEN rev END \
             WHERE route = $1 AND (claimed_until = $4 OR rev <> $2 OR withdrawn <> $3)",
            [
                route.route.as_str().into(),
                route.rev.into(),
                route.withdrawn.into(),
                route.claimed_until.into(),
            ],
        );
        let mut statements = vec![sent];
        if !route.is_replaced {
            statements.push(Statement::new(
                concat!(
                    "UPDATE route SET sent_rev = NULL, claimed_until = 0 WHERE van = $1 AND route <> $2 \
                     AND withdrawn = 0 AND (sent_rev IS NOT NULL OR claimed_until > 0) AND NOT ",
                    driven!("route")
                ),
                [route.van.as_str().into(), route.route.as_str().into()],
            ));
        }
        self.write(statements).await.map(drop)
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
        claimed_until: row.utc(6),
    }
}
