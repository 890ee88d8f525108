//! One suite for both stores: `waypost_backend::store` behaves alike on SQLite and on PostgreSQL.

mod backup;
mod change_notify;
mod engine;
mod erase;
mod fleet;
mod ingest;
mod measure;
mod plans;
mod retention;
mod server;
mod tls;

use waypost_backend::event::{Event, Origin};
use waypost_backend::store::{Statement, Store, Value, events};

use crate::support::backend::utc;

fn setting(name: &str, value: impl Into<Value>) -> Statement {
    Statement::new(
        "INSERT INTO setting (name, value) VALUES ($1, $2)",
        vec![name.into(), value.into()],
    )
}

/// Returns the number of rows in a table.
async fn count(store: &Store, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    store.read(Statement::new(sql, [])).await.unwrap()[0].int(0)
}

/// Creates an event of a van about parcels.
fn event(id: &str, time: &str, epcs: &[&str]) -> Event {
    let data = serde_json::json!({"type": "ObjectEvent", "epcList": epcs});
    Event {
        n: 0,
        source: "https://id.example.com/fleet/obj/VAN-042".to_owned(),
        id: id.to_owned(),
        event_id: format!("urn:uuid:{id}"),
        kind: "parcel.delivered".to_owned(),
        origin: Origin::Van,
        van: Some("VAN-042".to_owned()),
        seq: Some(7),
        route: None,
        time: utc(time),
        captured_at: utc(time),
        retracts: false,
        epcs: waypost_backend::epc::epcs_in(&data),
        job: None,
        data,
    }
}

async fn put(store: &Store, events: &[Event]) {
    let statements = events.iter().flat_map(events::insert);
    store.write(statements.collect()).await.unwrap();
}

/// Stores fixes of a van, one every `every_ms`.
async fn put_track(store: &Store, van: &str, from: &str, every_ms: i64, fixes: i64) {
    let rows = (0..fixes).map(|n| {
        let time = utc(from).as_unix_ms() + n * every_ms;
        let numbers = [time, n, 480_000_000, 110_000_000, 0, 0, time];
        let mut row = vec![Value::from(van)];
        row.extend(numbers.map(Value::Int));
        row
    });
    let insert = Statement::bulk_insert(
        "INSERT INTO track (van, time, seq, lat_e7, lon_e7, stopped, backlog, received_at) VALUES",
        rows.collect(),
        "ON CONFLICT (van, time, seq) DO NOTHING",
    );
    store.write(insert).await.unwrap();
}
