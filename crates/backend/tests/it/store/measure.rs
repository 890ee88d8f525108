//! Benchmark of events and fixes per second in each store: `cargo test --test it store::measure --
//! --ignored --nocapture`.
//!
//! Batches as ingest builds them, sequential, one writer. The floor is the same number of rows in a
//! table without keys, written in the same way. The ratio shows the cost of keys, indexes and JSON.
//! `fsync` is off on this PostgreSQL, as in all tests.

#![expect(clippy::disallowed_methods, reason = "the test measures real time")]

use serde_json::json;
use waypost_backend::store::{Statement, Store, Value, events};

use super::event;
use crate::support::backend::{on_both_locations, utc};

const BATCHES: i64 = 40;
const EVENTS: i64 = 50;
const FIXES: i64 = 1000;

async fn rate(store: &Store, rows: i64, batch: impl Fn(i64) -> Vec<Statement>) -> f64 {
    let batches: Vec<_> = (0..BATCHES).map(batch).collect();
    let started = std::time::Instant::now();
    for batch in batches {
        store.write(batch).await.unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let all = (BATCHES * rows) as f64;
    all / started.elapsed().as_secs_f64()
}

fn fixes(batch: i64, into: &str, after: &str) -> Vec<Statement> {
    let from = utc("2026-11-23T00:00:00Z").as_unix_ms();
    let rows = (0..FIXES).map(|n| {
        let seq = batch * FIXES + n;
        let van = format!("VAN-{:03}", seq % 50);
        let numbers = [from + seq * 1000, seq, 480_000_000 + seq, 110_000_000 + seq, 0, 0, from];
        let mut row = vec![Value::from(van)];
        row.extend(numbers.map(Value::Int));
        row
    });
    let columns = "(van, time, seq, lat_e7, lon_e7, stopped, backlog, received_at)";
    Statement::bulk_insert(&format!("INSERT INTO {into} {columns} VALUES"), rows.collect(), after)
}

fn event_statements(batch: i64) -> Vec<Statement> {
    let events = (0..EVENTS).map(|n| {
        let id = batch * EVENTS + n;
        let epc = format!("https://id.gs1.org/00/{id:018}");
        let mut event = event(&id.to_string(), "2026-11-23T12:00:00Z", &[&epc]);
        event.data["note"] = "x".repeat(600).into();
        event.data["bizStep"] = "https://ref.gs1.org/cbv/BizStep-shipping".into();
        event.data["disposition"] = "https://ref.gs1.org/cbv/Disp-in_transit".into();
        event.data["readPoint"] = json!({"id": format!("geo:48.1{id:04},11.57550;u=5")});
        event.data["bizLocation"] =
            json!({"id": format!("https://id.example.com/loc/{}", id % 100)});
        event
    });
    events.flat_map(|event| events::insert(&event)).collect()
}

#[tokio::test]
#[ignore = "measures"]
async fn rates() {
    on_both_locations(async |place| {
        let store = place.open().await;
        store.maintain(utc("2026-11-23T12:00:00Z")).await.unwrap();
        let floor = "CREATE TABLE floor (van TEXT, time BIGINT, seq BIGINT, lat_e7 BIGINT, lon_e7 BIGINT, \
                     stopped BIGINT, backlog BIGINT, received_at BIGINT)";
        store.write(vec![Statement::new(floor, [])]).await.unwrap();
        let bare = rate(&store, FIXES, |batch| fixes(batch, "floor", "")).await;
        let after = "ON CONFLICT (van, time, seq) DO NOTHING";
        let new = rate(&store, FIXES, |batch| fixes(batch, "track", after)).await;
        let again = rate(&store, FIXES, |batch| fixes(batch, "track", after)).await;
        let events = rate(&store, EVENTS, event_statements).await;
        eprintln!(
            "fixes/s {new:.0}, repeated {again:.0}, floor {bare:.0} (ratio {:.2}); events/s {events:.0}",
            new / bare
        );
    })
    .await;
}
