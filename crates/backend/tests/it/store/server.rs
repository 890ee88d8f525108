//! Behaviour of a database server: restarts, and concurrent use by others.

use waypost_backend::store::{Statement, Store, StoreError, Workload};

use super::{count, setting};
use crate::support::backend::StoreLocation;
use crate::support::postgres::Cluster;

fn touch(name: &str) -> Statement {
    Statement::new(
        "INSERT INTO setting (name, value) VALUES ($1, 'x') ON CONFLICT (name) DO UPDATE SET value = setting.value || 'x'",
        [name.into()],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_cross_each_other_both_happen() {
    let Some(place) = StoreLocation::postgres() else { return };
    let (one, other) = (place.open().await, place.open().await);
    one.write(vec![touch("a"), touch("b")]).await.unwrap();
    let crossing = |store: Store, names: [&'static str; 2]| {
        tokio::spawn(async move {
            for _ in 0..50 {
                store.write(names.map(touch).to_vec()).await.unwrap();
            }
        })
    };
    let (first, second) = (crossing(one.clone(), ["a", "b"]), crossing(other, ["b", "a"]));
    first.await.unwrap();
    second.await.unwrap();
    let lengths = Statement::new("SELECT CAST(length(value) AS BIGINT) FROM setting", []);
    for row in one.read(lengths).await.unwrap() {
        assert_eq!(row.int(0), 101);
    }
}

#[tokio::test]
async fn two_instances_may_make_the_tables_at_the_same_moment() {
    let Some(place) = StoreLocation::postgres() else { return };
    let config = place.config();
    let (a, b, c) = tokio::join!(Store::open(&config), Store::open(&config), Store::open(&config));
    for store in [a, b, c] {
        assert_eq!(count(&store.unwrap(), "migration").await, 1);
    }
}

#[tokio::test]
async fn a_server_that_was_restarted_is_found_again() {
    let Some(cluster) = Cluster::start("") else { return };
    let database = cluster.database();
    let store = Store::open(&database.config()).await.unwrap();
    store.write(vec![setting("a", "1")]).await.unwrap();
    cluster.control(&["-m", "fast", "restart"]);
    assert_eq!(count(&store, "setting").await, 1, "the query is retried");
    let mut refusals = 0;
    while let Err(error) = store.write(vec![touch("b")]).await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        refusals += 1;
        assert!(refusals < 2, "{error:?}");
    }
    cluster.control(&["-m", "fast", "stop"]);
    for _ in 0..2 {
        let away = store.write(vec![touch("c")]).await;
        assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
        let opened = Store::open(&database.config()).await;
        assert!(matches!(opened, Err(StoreError::Unavailable(_))), "{opened:?}");
    }
    cluster.control(&["start"]);
    store.write(vec![touch("c")]).await.unwrap();
    assert_eq!(count(&store, "setting").await, 3);
}

#[tokio::test]
async fn who_may_not_come_in_is_told_why() {
    let Some(StoreLocation::Postgres(database)) = StoreLocation::postgres() else { return };
    for (from, to) in [("waypost@", "nobody@"), ("/test_", "/missing_")] {
        let config = waypost_backend::store::StoreConfig::Postgres(database.url.replace(from, to));
        let refused = Store::open(&config).await.unwrap_err();
        assert!(matches!(refused, StoreError::Open { .. }), "{refused:?}");
        assert!(refused.to_string().contains("does not exist"), "{refused}");
    }
}

#[tokio::test]
async fn the_days_of_a_trail_are_made_ahead_and_dropped_when_they_are_over() {
    use crate::support::backend::utc;
    let Some(place) = StoreLocation::postgres() else { return };
    let store = place.open().await;
    // The partition of this day does not exist, and the outbox was weeks old.
    super::put_track(&store, "VAN-1", "2026-11-01T23:59:50Z", 1000, 20).await;
    assert_eq!(count(&store, "track_late").await, 20);
    for _ in 0..2 {
        store.maintain(utc("2026-11-23T12:00:00Z")).await.unwrap();
        assert_eq!((count(&store, "track_late").await, count(&store, "track").await), (0, 20));
    }
    super::put_track(&store, "VAN-1", "2026-11-23T12:00:00Z", 1000, 20).await;
    super::put_track(&store, "VAN-1", "2026-11-02T00:00:30Z", 1000, 20).await;
    assert_eq!(count(&store, "track_late").await, 0);
    let keep = waypost_backend::config::Retention {
        track: std::time::Duration::from_hours(24 * 21),
        ..Default::default()
    };
    let purged = store.purge(utc("2026-11-23T12:00:00Z"), &keep).await.unwrap();
    let deleted = (purged.track, purged.track_days);
    assert_eq!(deleted, (0, 1), "only days that are completely past");
    assert_eq!(count(&store, "track").await, 50);
}

/// CREATE INDEX locks a table against changes, for hours if the table is large.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the test measures response times")]
async fn a_locked_table_holds_up_only_the_changes_of_that_table() {
    let Some(StoreLocation::Postgres(database)) = StoreLocation::postgres() else { return };
    let store = Store::open(&database.config()).await.unwrap();
    let ingest = store.for_workload(Workload::Ingest);
    let (other, connection) =
        tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    other.batch_execute("BEGIN; LOCK TABLE audit IN SHARE MODE").await.unwrap();
    assert_eq!(store.locked_tables().await.unwrap(), ["audit"]);
    let entry = || {
        Statement::new(
            "INSERT INTO audit (at_time, who, what, target) VALUES (1, 'a', 'b', 'c')",
            [],
        )
    };
    let ingested = tokio::spawn(async move { while ingest.write(vec![entry()]).await.is_err() {} });
    let started = std::time::Instant::now();
    // As many as there are connections, and more.
    let held_up: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.write(vec![entry()]).await })
        })
        .collect();
    for _ in 0..200 {
        assert_eq!(count(&store, "audit").await, 0, "queries go on");
    }
    for request in held_up {
        let refused = request.await.unwrap();
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    let took = started.elapsed();
    assert!(took.as_secs() < 12, "requests are refused before their time limit: {took:?}");
    store.write(vec![touch("a")]).await.unwrap();
    other.batch_execute("COMMIT").await.unwrap();
    ingested.await.unwrap();
    store.write(vec![entry()]).await.unwrap();
    assert_eq!(count(&store, "audit").await, 2);
    assert!(store.locked_tables().await.unwrap().is_empty());
}
