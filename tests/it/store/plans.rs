//! No question of the hot path looks at all rows of a table that grows.

use waypost::backend::store::{Statement, Store};

use super::{event, put, put_track};
use crate::support::backend::{Place, utc};

/// What pages and vans ask all the time, and its values as literals.
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

async fn filled(place: &Place) -> Store {
    let store = place.open().await;
    store.maintain(utc("2026-11-23T12:00:00Z")).await.unwrap();
    let of = |n: i64| event(&format!("{n}"), "2026-11-23T12:00:00Z", &[&format!("urn:x:{n}")]);
    put(&store, &(0..50).map(of).collect::<Vec<_>>()).await;
    put_track(&store, "VAN-042", "2026-11-23T00:00:00Z", 1000, 500).await;
    store
}

#[tokio::test]
async fn no_question_of_the_hot_path_scans_on_sqlite() {
    let store = filled(&Place::sqlite()).await;
    for sql in HOT {
        let plan = store.read(Statement::new(format!("EXPLAIN QUERY PLAN {sql}"), [])).await;
        let plan = plan.unwrap();
        let scans = plan.iter().any(|row| row.text(3).starts_with("SCAN"));
        assert!(!scans, "{sql}: {plan:?}");
    }
}

#[tokio::test]
async fn no_question_of_the_hot_path_scans_on_postgresql() {
    let Some(place) = Place::postgres() else { return };
    let store = filled(&place).await;
    let without = "ALTER DATABASE current_database_ SET enable_seqscan = off";
    let name = store.read(Statement::new("SELECT CAST(current_database() AS TEXT)", [])).await;
    let sql = without.replace("current_database_", name.unwrap()[0].text(0));
    store.write(vec![Statement::new(sql, [])]).await.unwrap();
    // A new session, for which small tables are no reason to look at all of them.
    let store = place.open().await;
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
