//! Which van was given which parcel, and the events of vans about parcels and routes of others.
//!
//! - An event changes a page, an e-mail, an end or the progress of a route only if its van was given
//!   the parcel by any revision of a route, or by a recorded transfer. The order does not matter: an
//!   assignment also applies to events that arrived before it.
//! - All other events are stored unchanged, and listed for dispatchers.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::audit::AuditEntry;
use super::{Row, Statement, Store, StoreError, Value};
use waypost_model::units::UtcTime;

/// Maximum number of unassigned events per van in a list.
const MAX_UNASSIGNED_PER_VAN: i64 = 20;

/// An event about a parcel that its van was not given, or about the route of another van.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnassignedEvent {
    /// Event kind, for example `parcel.delivered`.
    pub kind: String,
    /// Number of the parcel; absent for an event about a route alone.
    pub number: Option<String>,
    /// Route in the event, if any.
    pub route: Option<String>,
    pub time: UtcTime,
}

/// End of a parcel by the stored events: the latest of event, capture and announcement, so that a
/// wrong clock does not delete data early. An event captured before the parcel's current route
/// listed it ends nothing, unless it belongs to that route.
const LATEST_END: &str = "(SELECT MAX(CASE \
     WHEN event.event_time >= event.captured_at AND event.event_time >= parcel.put_at THEN event.event_time \
     WHEN event.captured_at >= parcel.put_at THEN event.captured_at ELSE parcel.put_at END) \
     FROM event_epc JOIN event ON event.n = event_epc.n \
     WHERE event_epc.epc = parcel.epc AND event_epc.role <> 'parent' AND event.origin = 'van' \
     AND event.retracts = 0 AND event.kind IN ('parcel.delivered', 'parcel.returned') \
     AND EXISTS (SELECT 1 FROM assignment WHERE assignment.epc = parcel.epc AND assignment.van = event.van) \
     AND (parcel.route IS NULL OR event.route = parcel.route OR event.captured_at >= COALESCE((SELECT MAX(given.at_time) \
     FROM assignment AS given WHERE given.epc = parcel.epc AND given.route = parcel.route), 0)) \
     AND NOT EXISTS (SELECT 1 FROM event AS back WHERE back.event_id = event.event_id \
     AND back.source = event.source AND back.retracts = 1))";

/// Statements that set the end of a parcel from the stored events, and the expiry of its page.
pub(super) fn set_end(epc: &str, page: Duration) -> [Statement; 2] {
    let page = i64::try_from(page.as_millis()).unwrap_or(i64::MAX / 2);
    [
        Statement::new(
            format!("UPDATE parcel SET ended_at = {LATEST_END} WHERE epc = $1"),
            [Value::from(epc)],
        ),
        Statement::new(
            "UPDATE parcel SET expires_at = ended_at + CAST($2 AS BIGINT) WHERE epc = $1",
            [Value::from(epc), page.into()],
        ),
    ]
}

/// Statements that assign the parcels of a route's current revision to its van, and set the ends
/// that the van reported before.
pub(super) fn assign_route(route: &[Value; 3], page: Duration) -> [Statement; 3] {
    let page = i64::try_from(page.as_millis()).unwrap_or(i64::MAX / 2);
    let [name, rev, digest] = route.clone();
    [
        Statement::new(
            "INSERT INTO assignment (epc, van, route, at_time) \
             SELECT parcel.epc, route.van, route.route, route.put_at FROM route \
             JOIN parcel ON parcel.route = route.route \
             WHERE route.route = $1 AND route.rev = $2 AND route.digest = $3 AND parcel.rev = route.rev \
             ON CONFLICT (epc, van, route) DO NOTHING",
            [name.clone(), rev.clone(), digest],
        ),
        Statement::new(
            format!(
                "UPDATE parcel SET ended_at = {LATEST_END} WHERE parcel.route = $1 AND parcel.rev = $2 \
                 AND parcel.ended_at IS NULL"
            ),
            [name.clone(), rev],
        ),
        Statement::new(
            "UPDATE parcel SET expires_at = ended_at + CAST($2 AS BIGINT) \
             WHERE route = $1 AND ended_at IS NOT NULL AND expires_at IS NULL",
            [name, page.into()],
        ),
    ]
}

/// Statements that record the events of this batch about parcels and routes that their van was not
/// given. Each row has the source, the id and the capture time of an event; repeated events have an
/// older capture time and are not recorded again.
pub(super) fn record_unassigned(events: &[Vec<Value>]) -> Vec<Statement> {
    const PARCELS: &str = ") AS said JOIN event ON event.source = said.column1 AND event.id = said.column2 \
         JOIN event_epc ON event_epc.n = event.n JOIN parcel ON parcel.epc = event_epc.epc \
         WHERE event.captured_at = CAST(said.column3 AS BIGINT) AND event_epc.role <> 'parent' \
         AND NOT EXISTS (SELECT 1 FROM assignment WHERE assignment.epc = event_epc.epc AND assignment.van = event.van) \
         ON CONFLICT (n, epc) DO NOTHING";
    const ROUTES: &str = ") AS said JOIN event ON event.source = said.column1 AND event.id = said.column2 \
         JOIN route ON route.route = event.route \
         WHERE event.captured_at = CAST(said.column3 AS BIGINT) AND route.van <> event.van \
         ON CONFLICT (n, epc) DO NOTHING";
    let insert = |epc: &str| {
        format!(
            "INSERT INTO unassigned_event (n, epc, van, kind, route, event_time, captured_at) \
             SELECT event.n, {epc}, event.van, event.kind, COALESCE(event.route, ''), event.event_time, \
             event.captured_at FROM (VALUES"
        )
    };
    let mut all = Statement::bulk_insert(&insert("event_epc.epc"), events.to_vec(), PARCELS);
    all.extend(Statement::bulk_insert(&insert("''"), events.to_vec(), ROUTES));
    all
}

impl Store {
    /// Vans that were given a parcel.
    pub async fn assigned_vans(&self, epc: &str) -> Result<HashSet<String>, StoreError> {
        let sql = "SELECT DISTINCT van FROM assignment WHERE epc = $1";
        let rows = self.read(Statement::new(sql, [epc.into()])).await?;
        Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
    }

    /// Records that a parcel was handed over to a van that no route gives it to, with an entry in
    /// the audit log. Events that the van reported before count as well.
    pub async fn transfer_parcel(
        &self,
        epc: &str,
        van: &str,
        (actor, now): (&str, UtcTime),
        page: Duration,
    ) -> Result<(), StoreError> {
        let insert = Statement::new(
            "INSERT INTO assignment (epc, van, route, at_time) VALUES ($1, $2, '', $3) \
             ON CONFLICT (epc, van, route) DO NOTHING",
            [epc.into(), van.into(), now.into()],
        );
        let entry = AuditEntry {
            at: now,
            actor: actor.to_owned(),
            action: "transfer".to_owned(),
            target: format!("{van} {}", super::mask_number(epc)),
        };
        let mut all = vec![insert, entry.insert()];
        all.extend(set_end(epc, page));
        self.write(all).await.map(drop)
    }

    /// Events since `since` that these vans reported about parcels and routes they were not given,
    /// newest first per van. Those assigned in the meantime are omitted.
    pub async fn unassigned_events(
        &self,
        vans: &[&str],
        since: UtcTime,
    ) -> Result<HashMap<String, Vec<UnassignedEvent>>, StoreError> {
        const SQL: &str = "WITH asked (van) AS (VALUES {keys}) SELECT van, kind, number, route, event_time FROM \
             (SELECT said.van, said.kind, parcel.number, said.route, said.event_time, ROW_NUMBER() OVER \
             (PARTITION BY said.van ORDER BY said.captured_at DESC, said.n DESC, said.epc) AS nth \
             FROM asked CROSS JOIN unassigned_event AS said LEFT JOIN parcel ON parcel.epc = said.epc \
             WHERE said.van = asked.van AND said.captured_at >= $1 AND NOT EXISTS (SELECT 1 FROM assignment \
             WHERE assignment.epc = said.epc AND assignment.van = said.van)) AS newest WHERE nth <= $2 ORDER BY van, nth";
        let keys: Vec<_> = vans.iter().map(|van| vec![(*van).into()]).collect();
        let bounds = [since.into(), MAX_UNASSIGNED_PER_VAN.into()];
        let rows = self.read_batched(SQL, &bounds, &keys).await?;
        let mut by_van: HashMap<String, Vec<UnassignedEvent>> = HashMap::new();
        for row in &rows {
            let van = row.text(0).to_owned();
            by_van.entry(van).or_default().push(unassigned_from_row(row));
        }
        Ok(by_van)
    }
}

fn unassigned_from_row(row: &Row) -> UnassignedEvent {
    UnassignedEvent {
        kind: row.text(1).to_owned(),
        number: row.maybe_text(2).map(str::to_owned),
        route: Some(row.text(3)).filter(|route| !route.is_empty()).map(str::to_owned),
        time: row.utc(4),
    }
}
