//! Query plans: no query of the hot path scans a whole growing table.

use waypost_backend::epc::EpcMatch;
use waypost_backend::event::Role;
use waypost_backend::store::event_query::{Column, Direction, EventQuery, Order, Page};
use waypost_backend::store::{Statement, Store, Value};

use super::{event, put, put_track};
use crate::support::backend::{StoreLocation, utc};

/// Frequent queries of pages and vans, with their values as literals.
const HOT: &[&str] = &[
    "SELECT doc FROM event JOIN event_epc ON event_epc.n = event.n WHERE event_epc.epc = 'urn:x:7' ORDER BY event.event_time",
    "SELECT doc FROM event WHERE event.van = 'VAN-042' AND event.event_time >= 1 AND event.event_time < 9 ORDER BY event.event_time, event.n",
    "SELECT doc FROM event WHERE event.route = 'R-7' ORDER BY event.event_time, event.n",
    "SELECT doc FROM event WHERE event_id = 'urn:uuid:7' ORDER BY n",
    "SELECT n FROM event WHERE source = 'a' AND id = 'b'",
    "SELECT seq FROM event WHERE van = 'VAN-042' AND seq > 7 ORDER BY seq LIMIT 100",
    "SELECT n FROM event WHERE captured_at < 7 ORDER BY captured_at, n LIMIT 500",
    "SELECT lat_e7 FROM track WHERE van = 'VAN-042' AND time >= 1795392000000 AND time < 1795478400000 ORDER BY time, seq",
    "SELECT epc FROM parcel WHERE token = 'x'",
    "SELECT epc FROM parcel WHERE number = 'x'",
    "SELECT epc FROM parcel WHERE route = 'x'",
    "SELECT epc FROM parcel WHERE ended_at < 7 LIMIT 500",
    "SELECT id FROM command WHERE van = 'VAN-042' ORDER BY made_at DESC LIMIT 10",
    "SELECT id FROM command WHERE epc = 'x'",
    "SELECT id FROM command WHERE made_at < 7",
    "SELECT n FROM audit WHERE at_time < 7 LIMIT 500",
    "SELECT n FROM audit WHERE n < 7 ORDER BY n DESC LIMIT 50",
    "SELECT n FROM poison WHERE received_at < 7 LIMIT 500",
    "SELECT id FROM subscriber WHERE epc = 'x'",
    "SELECT kind FROM alert WHERE subscriber = 'x'",
];

async fn filled(place: &StoreLocation) -> Store {
    let store = place.open().await;
    store.maintain(utc("2026-11-23T12:00:00Z")).await.unwrap();
    let of = |n: i64| event(&format!("{n}"), "2026-11-23T12:00:00Z", &[&format!("urn:x:{n}")]);
    put(&store, &(0..50).map(of).collect::<Vec<_>>()).await;
    put_track(&store, "VAN-042", "2026-11-23T00:00:00Z", 1000, 500).await;
    store
}

#[tokio::test]
async fn no_question_of_the_hot_path_scans_on_sqlite() {
    let store = filled(&StoreLocation::sqlite()).await;
    for sql in HOT {
        let plan = store.read(Statement::new(format!("EXPLAIN QUERY PLAN {sql}"), [])).await;
        let plan = plan.unwrap();
        let scans = plan.iter().any(|row| row.text(3).starts_with("SCAN"));
        assert!(!scans, "{sql}: {plan:?}");
    }
}

/// Starts a new session whose planner never prefers a full scan, not even of a small table.
async fn whatever_the_size(place: &StoreLocation, store: Store) -> Store {
    let name = store.read(Statement::new("SELECT CAST(current_database() AS TEXT)", [])).await;
    let sql = format!("ALTER DATABASE {} SET enable_seqscan = off", name.unwrap()[0].text(0));
    store.write(vec![Statement::new(sql, [])]).await.unwrap();
    place.open().await
}

#[tokio::test]
async fn no_question_of_the_hot_path_scans_on_postgresql() {
    let Some(place) = StoreLocation::postgres() else { return };
    let store = whatever_the_size(&place, filled(&place).await).await;
    for sql in HOT {
        let plan = store.read(Statement::new(format!("EXPLAIN {sql}"), [])).await.unwrap();
        let scans = plan.iter().any(|row| row.text(0).contains("Seq Scan"));
        assert!(!scans, "{sql}: {plan:?}");
        if sql.contains("FROM track") {
            let days = plan.iter().filter(|row| row.text(0).contains("track_")).count();
            assert!(days <= 2, "one day is one partition: {plan:?}");
        }
    }
}

/// The first page, newest first.
const FIRST: Page =
    Page { order: Order::EventTime, direction: Direction::Descending, after: None, limit: 31 };

fn among(columns: &[(Column, &[&str])]) -> EventQuery {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let among = columns.iter().map(|(column, values)| (*column, owned(values)));
    EventQuery { any_of: among.collect(), ..EventQuery::default() }
}

/// Returns the queries of partners with `GET /epcis/v2/events`, each with its index.
fn asked() -> Vec<(EventQuery, Page, &'static str)> {
    let since = vec![(Order::EventTime, utc("2026-11-23T12:00:00Z"))];
    let by_record = Page { order: Order::RecordTime, direction: Direction::Ascending, ..FIRST };
    let lately = vec![(Order::RecordTime, utc("2026-11-23T12:59:00Z"))];
    let next = Page { after: Some((1_795_435_200_000, 7)), ..FIRST };
    let one = vec![EpcMatch::Exactly("urn:x:7".to_owned())];
    let many = vec![EpcMatch::StartsWith(vec!["urn:x:98".to_owned(), "urn:x:99".to_owned()])];
    let step: &[&str] = &["step-3"];
    vec![
        (EventQuery::default(), FIRST, "event_by_time"),
        (EventQuery::default(), next, "event_by_time"),
        (EventQuery { since: since.clone(), ..EventQuery::default() }, FIRST, "event_by_time"),
        (among(&[(Column::Action, &["OBSERVE"])]), FIRST, "event_by_time"),
        (among(&[(Column::EventType, &["AssociationEvent"])]), FIRST, "event_by_type"),
        (among(&[(Column::BizStep, step)]), FIRST, "event_by_step"),
        (among(&[(Column::BizStep, step)]), next, "event_by_step"),
        (EventQuery { since, ..among(&[(Column::BizStep, step)]) }, FIRST, "event_by_step"),
        (among(&[(Column::BizStep, &["step-3", "step-4"])]), next, "event_by_step"),
        (among(&[(Column::Disposition, &["damaged"])]), FIRST, "event_by_disposition"),
        (among(&[(Column::BizLocation, &["place-3"])]), FIRST, "event_by_biz_location"),
        (
            among(&[(Column::BizStep, step), (Column::ReadPoint, &["p-3"])]),
            FIRST,
            "event_by_read_point",
        ),
        (
            among(&[(Column::EventId, &["urn:uuid:3"]), (Column::BizStep, step)]),
            FIRST,
            "event_by_event_id",
        ),
        (
            EventQuery {
                objects: vec![(&[Role::Epc, Role::Child], one.clone())],
                ..among(&[(Column::BizStep, step)])
            },
            FIRST,
            "event_epc",
        ),
        (EventQuery { objects: vec![(&[], one)], ..EventQuery::default() }, FIRST, "event_epc"),
        (EventQuery { objects: vec![(&[], many)], ..EventQuery::default() }, FIRST, "event_epc"),
        (
            EventQuery { since: lately.clone(), ..EventQuery::default() },
            by_record,
            "event_by_capture",
        ),
        (
            EventQuery { since: lately, ..among(&[(Column::BizStep, step)]) },
            by_record,
            "event_by_capture",
        ),
    ]
}

/// Stores some thousand events of warehouses, four per second.
async fn many(store: &Store) {
    put(store, &[event("0", "2026-11-23T12:00:00Z", &["urn:x:0"])]).await;
    let sql = "WITH RECURSIVE counted (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM counted WHERE x < 5000) \
         INSERT INTO event (source, id, event_id, kind, origin, event_time, captured_at, retracts, event_type, action, \
         biz_step, disposition, read_point, biz_location, doc) \
         SELECT source, 'copy-' || CAST(x AS TEXT), 'urn:uuid:' || CAST(x AS TEXT), '', 'capture', event_time + x * 250, \
         captured_at + x * 250, 0, 'ObjectEvent', 'OBSERVE', 'step-' || CAST(x % 5 AS TEXT), 'disp-' || CAST(x % 3 AS TEXT), \
         'p-' || CAST(x % 100 AS TEXT), 'place-' || CAST(x % 200 AS TEXT), doc FROM event CROSS JOIN counted WHERE id = '0'";
    let things = "INSERT INTO event_epc (epc, n, role) SELECT 'urn:x:' || CAST(n % 1000 AS TEXT), n, 'child' FROM event \
         WHERE id <> '0'";
    store.write(vec![Statement::new(sql, []), Statement::new(things, [])]).await.unwrap();
}

/// Inlines the values into the text, as EXPLAIN requires.
fn literal(statement: &Statement) -> String {
    let mut sql = statement.sql.to_string();
    for (index, value) in statement.values.iter().enumerate().rev() {
        let text = match value {
            Value::Int(value) => value.to_string(),
            Value::Text(value) => format!("'{value}'"),
            other => panic!("{other:?}"),
        };
        sql = sql.replace(&format!("${}", index + 1), &text);
    }
    sql
}

#[tokio::test]
async fn what_partners_ask_is_found_by_an_index_and_not_sorted_on_sqlite() {
    let store = StoreLocation::sqlite().open().await;
    many(&store).await;
    for analysed in [false, true] {
        if analysed {
            store.write(vec![Statement::new("ANALYZE", [])]).await.unwrap();
        }
        for (wanted, page, index) in asked() {
            let probe = wanted.statement(page);
            let sql = format!("EXPLAIN QUERY PLAN {}", probe.sql);
            let plan = store.read(Statement::new(sql, probe.values)).await.unwrap();
            let plan: Vec<&str> = plan.iter().map(|row| row.text(3)).collect();
            assert!(plan.iter().any(|step| step.contains(index)), "{wanted:?}: {plan:#?}");
            assert!(!plan.contains(&"SCAN event"), "{wanted:?}: {plan:#?}");
            // Sorting is acceptable for few rows: names, items, and pages of several values.
            let few =
                ["event_by_event_id", "event_epc"].contains(&index) || plan.contains(&"UNION ALL");
            let sorts = plan.iter().any(|step| step.contains("TEMP B-TREE"));
            assert!(few || !sorts, "{wanted:?}: {plan:#?}");
        }
    }
}

#[tokio::test]
async fn what_partners_ask_is_found_by_an_index_and_not_sorted_on_postgresql() {
    let Some(place) = StoreLocation::postgres() else { return };
    let store = place.open().await;
    many(&store).await;
    store.write(vec![Statement::new("ANALYZE", [])]).await.unwrap();
    let store = whatever_the_size(&place, store).await;
    for (wanted, page, index) in asked() {
        let sql = format!("EXPLAIN {}", literal(&wanted.statement(page)));
        let plan = store.read(Statement::new(sql, [])).await.unwrap();
        let plan: Vec<&str> = plan.iter().map(|row| row.text(0)).collect();
        // The planner knows the number of rows per value; frequent values may be found faster by
        // time.
        let is_found = |step: &&&str| step.contains(index) || step.contains("event_by_time");
        assert!(plan.iter().any(|step| is_found(&step)), "{wanted:?}: {plan:#?}");
        assert!(!plan.iter().any(|step| step.contains("Seq Scan")), "{wanted:?}: {plan:#?}");
    }
}
