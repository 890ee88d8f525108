//! Routes that must be published to their vans.
//!
//! A van has one manifest. A route is due once its time begins, or once the van's previous route is
//! completed or over. A displaced route is pending again. A withdrawn route clears the manifest,
//! unless another route replaces it.
//!
//! Only the holder of a claim records a route as sent. If a slow instance lost its claim, the
//! broker's state is unknown: the route stays pending, and the next sender decides.

use std::time::Duration;

use super::routes::driven;
use super::{Row, Statement, Store, StoreError};
use waypost_model::units::UtcTime;

/// A route to be published to its van.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRoute {
    pub route: String,
    pub van: String,
    pub rev: u64,
    /// Whether it was withdrawn; the payload is then empty.
    pub withdrawn: bool,
    /// Payload for the van.
    pub manifest: String,
    /// Whether another route of the van replaces it, so that nothing is published.
    pub is_replaced: bool,
    /// End of the claim, which also identifies it.
    pub claimed_until: UtcTime,
}

/// SQL expressions for start and end of the route with the alias `of`.
fn span_sql(of: &str) -> [String; 2] {
    let from = format!("COALESCE({of}.valid_from, {of}.put_at)");
    let until = format!("COALESCE({of}.valid_until, {from} + 86400000)");
    [from, until]
}

fn claim_sql() -> String {
    let ([from, until], [other_from, other_until]) = (span_sql("waits"), span_sql("other"));
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
    /// Claims up to `limit` pending routes for this instance and `lease`; withdrawn ones first.
    pub async fn claim_routes(
        &self,
        now: UtcTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<PendingRoute>, StoreError> {
        let until = now.checked_add(lease).unwrap_or(now);
        let claim = Statement::new(claim_sql(), [now.into(), until.into(), limit.into()]);
        let outcomes = self.write(vec![claim]).await?;
        let mut found: Vec<PendingRoute> =
            outcomes[0].rows.iter().map(pending_route_from_row).collect();
        found.sort_by_key(|route| !route.withdrawn);
        Ok(found)
    }

    /// Records that the broker has the claimed revision and no other route of the van. Later
    /// changes stay pending.
    pub async fn record_route_sent(&self, route: &PendingRoute) -> Result<(), StoreError> {
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

fn pending_route_from_row(row: &Row) -> PendingRoute {
    let withdrawn = row.int(3) != 0;
    PendingRoute {
        route: row.text(0).to_owned(),
        van: row.text(1).to_owned(),
        rev: row.count(2),
        withdrawn,
        manifest: row.text(4).to_owned(),
        is_replaced: withdrawn && row.int(5) != 0,
        claimed_until: row.utc(6),
    }
}
