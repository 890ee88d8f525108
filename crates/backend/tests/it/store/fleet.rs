//! Benchmark of the dispatcher's list of all vans: `cargo test --test it store::fleet -- --ignored
//! --nocapture`.
//!
//! A fleet of [`VANS`] at noon: each has a route of 12 stops and 25 parcels, 72 events and 1,260
//! points of its trail. The floor is one plain `SELECT` of the rows of the result, in the same run.
//! The ratio shows the cost of the queries and the evaluation. `fsync` is off on this PostgreSQL,
//! as in all tests.

#![expect(clippy::disallowed_methods, reason = "the test measures real time")]

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use waypost_backend::store::{Statement, Store, Value};
use waypost_backend::{AppState, queries};

use super::put;
use crate::support::backend::{on_both_locations, pass, shared, utc};

const VANS: i64 = 1_000;
const STOPS: usize = 12;
const PARCELS: usize = 25;
const NOON: &str = "2026-11-23T12:00:00.000Z";

/// The van of which all others are copies.
const FIRST: &str = "VAN-10000";

fn number(parcel: usize) -> String {
    format!("1Z999AA1{parcel:010}")
}

fn epc(parcel: usize) -> String {
    format!("https://parcels.example.com/parcel/obj/{}", number(parcel))
}

fn stop_of(parcel: usize) -> usize {
    parcel % STOPS
}

fn manifest() -> Json {
    let stop = |stop: usize| {
        let parcels = (0..PARCELS).filter(|parcel| stop_of(*parcel) == stop);
        let parcels: Vec<Json> =
            parcels.map(|parcel| json!({"number": number(parcel), "epc": epc(parcel)})).collect();
        let lat = f64::from(u32::try_from(stop).unwrap()).mul_add(0.003, 48.13);
        json!({"seq": stop + 1, "id": format!("door-{stop}"), "lat": lat, "lon": 11.57, "parcels": parcels})
    };
    json!({"v": 1, "route": format!("R-{FIRST}"), "rev": 1,
        "station": {"id": "https://id.gs1.org/414/9521234000013", "lat": 48.1, "lon": 11.5, "radius_m": 150},
        "valid_from": "2026-11-23T04:00:00Z", "valid_until": "2026-11-23T22:00:00Z",
        "stops": (0..STOPS).map(stop).collect::<Vec<_>>()})
}

/// Returns the events of the van since 04:00, one every 400 s.
fn van_events() -> Vec<waypost_backend::event::Event> {
    let parcels = || 0..PARCELS;
    let all: Vec<usize> = parcels().collect();
    let mut said: Vec<(&str, Vec<usize>)> = Vec::new();
    said.extend(parcels().map(|parcel| ("parcel.loaded", vec![parcel])));
    said.push(("route.departed", all.clone()));
    for stop in 0..STOPS {
        let due: Vec<usize> = parcels().filter(|parcel| stop_of(*parcel) == stop).collect();
        said.push(("stop.arrived", due.clone()));
        said.extend(due.into_iter().map(|parcel| ("parcel.delivered", vec![parcel])));
    }
    said.resize(72, ("parcel.seen", all));
    let from = utc("2026-11-23T04:00:00.000Z");
    let event = |(index, (kind, parcels)): (usize, (&str, Vec<usize>))| {
        let time = from.checked_add(Duration::from_secs(400) * u32::try_from(index).unwrap());
        let time = time.unwrap().to_string();
        let epcs: Vec<String> = parcels.iter().copied().map(epc).collect();
        let names: Vec<&str> = epcs.iter().map(String::as_str).collect();
        let mut event = super::event(&format!("{FIRST}-{index}"), &time, &names);
        event.source = format!("https://parcels.example.com/vans/{FIRST}");
        event.kind = kind.to_owned();
        event.van = Some(FIRST.to_owned());
        event.seq = Some(index as u64 + 1);
        event.route = Some(format!("R-{FIRST}"));
        event.data["waypost:stopSeq"] = (stop_of(parcels[0]) + 1).into();
        event.data["readPoint"] = json!({"id": "geo:48.13792,11.57550;u=5"});
        event.data["waypost:proof"] =
            json!({"waypost:method": "scan_in_geofence", "waypost:insideGeofence": true});
        event.data["waypost:note"] = "x".repeat(500).into();
        event
    };
    said.into_iter().enumerate().map(event).collect()
}

async fn first_van(store: &Store) {
    let noon = utc(NOON);
    let manifest = manifest().to_string();
    let position = json!({"v": 1, "van": FIRST, "seq": 99, "ts": NOON, "lat": 48.14, "lon": 11.57, "speed_mps": 0.2, "mode": 3,
        "stop_status": "stopped_at", "route": format!("R-{FIRST}"), "stop_seq": 3});
    let van = Statement::new(
        "INSERT INTO van (van, position, position_time, position_seq, connection_state, heard_at) \
         VALUES ($1, $2, $3, 99, 'online', $3)",
        [FIRST.into(), position.to_string().into(), noon.into()],
    );
    let route = Statement::new(
        "INSERT INTO route (route, van, rev, valid_from, valid_until, doc, manifest, digest, put_at, withdrawn) \
         VALUES ($1, $2, 1, $3, $4, $5, $5, 'x', $3, 0)",
        vec![
            format!("R-{FIRST}").into(),
            FIRST.into(),
            utc("2026-11-23T04:00:00Z").into(),
            utc("2026-11-23T22:00:00Z").into(),
            manifest.into(),
        ],
    );
    store.write(vec![van, route]).await.unwrap();
    put(store, &van_events()).await;
    let chain = "UPDATE event SET previous_seq = seq - 1 WHERE seq > 1";
    let points = (0..1_260_i64).map(|n| {
        let time = noon.as_unix_ms() - 22_800 * (1_259 - n);
        let stopped = i64::from(n >= 1_250);
        let speed = if stopped == 1 { 0 } else { 9_000 };
        let numbers =
            [time, 1_000 + n, 481_400_000, 115_700_000 + 2_000 * n, speed, stopped, 0, time];
        std::iter::once(Value::from(FIRST)).chain(numbers.map(Value::Int)).collect()
    });
    let mut track = Statement::bulk_insert(
        "INSERT INTO track (van, time, seq, lat_e7, lon_e7, speed_mmps, stopped, backlog, received_at) VALUES",
        points.collect(),
        "",
    );
    track.push(Statement::new(chain, []));
    store.write(track).await.unwrap();
}

/// Creates the other vans as copies of the first.
async fn fleet(store: &Store) {
    store.maintain(utc(NOON)).await.unwrap();
    first_van(store).await;
    let copied = |table: &str, columns: &str, named: &[&str]| {
        let read: Vec<String> = columns
            .split(", ")
            .map(|column| match named.contains(&column) {
                true => format!("REPLACE({column}, '{FIRST}', other.name)"),
                false => column.to_owned(),
            })
            .collect();
        let sql = format!(
            "WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {}), \
             other (name) AS (SELECT 'VAN-' || CAST(10000 + n AS TEXT) FROM counted) \
             INSERT INTO {table} ({columns}) SELECT {} FROM {table} CROSS JOIN other WHERE van = '{FIRST}'",
            VANS - 1,
            read.join(", ")
        );
        Statement::new(sql, [])
    };
    store
        .write(vec![
            copied(
                "van",
                "van, position, position_time, position_seq, connection_state, heard_at",
                &["van", "position"],
            ),
            copied(
                "route",
                "route, van, rev, valid_from, valid_until, doc, manifest, digest, put_at, withdrawn",
                &["route", "van", "doc", "manifest"],
            ),
            copied(
                "event",
                "source, id, event_id, kind, origin, van, seq, previous_seq, route, event_time, captured_at, retracts, \
                 event_type, action, biz_step, disposition, read_point, biz_location, job, doc",
                &["source", "id", "event_id", "van", "route"],
            ),
            copied(
                "track",
                "van, time, seq, lat_e7, lon_e7, speed_mmps, stopped, backlog, received_at",
                &["van"],
            ),
        ])
        .await
        .unwrap();
    // A service does this every hour, and PostgreSQL by itself.
    let analyse = Statement::new("ANALYZE", []);
    store.write(vec![analyse]).await.unwrap();
}

async fn floor(store: &Store, sql: &'static str) -> (usize, Duration) {
    let started = Instant::now();
    let rows = store.read(Statement::new(sql, [])).await.unwrap();
    (rows.len(), started.elapsed())
}

async fn asked(shared: &AppState, what: &str, floor: Duration) {
    let started = Instant::now();
    let views = queries::vans(shared).await.unwrap();
    let took = started.elapsed();
    assert_eq!(i64::try_from(views.len()).unwrap(), VANS);
    let route = views[0].route.as_ref().unwrap();
    assert_eq!((route.delivered, route.parcels), (25, 25), "{route:?}");
    assert!(views[0].attention.is_empty(), "{:?}", views[0].attention);
    let ratio = took.as_secs_f64() / floor.as_secs_f64();
    eprintln!(
        "{what}: {} ms, {ratio:.1} times its floor; resident {} KiB",
        took.as_millis(),
        resident()
    );
}

/// Returns the resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
#[ignore = "measures"]
async fn all_vans() {
    on_both_locations(async |place| {
        let store = place.open().await;
        fleet(&store).await;
        let shared = shared(store.clone(), NOON);
        let (rows, all) = floor(&store, "SELECT manifest FROM route").await;
        let (events, read) = floor(&store, "SELECT doc FROM event WHERE route IS NOT NULL").await;
        let (_, vans) = floor(
            &store,
            "SELECT van.van, position, state, heard_at, rev, put_at FROM van JOIN route ON route.van = van.van",
        )
        .await;
        eprintln!(
            "floors: {rows} manifests and {events} events {} ms, vans and revisions {} ms; resident {} KiB",
            (all + read).as_millis(),
            vans.as_millis(),
            resident()
        );
        asked(&shared, "first", all + read + vans).await;
        asked(&shared, "again", vans).await;
        asked(&shared, "again", vans).await;
        pass(&shared, Duration::from_secs(61));
        asked(&shared, "a minute later", vans).await;
    })
    .await;
}
