//! Change notifications between instances.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use waypost_backend::AppState;
use waypost_backend::change_feed::Change;
use waypost_backend::store::Store;
use waypost_backend::store::{Statement, change_notify};

use crate::support::backend::{StoreLocation, shared};
use crate::support::postgres::Cluster;

const NOW: &str = "2026-11-23T12:00:00Z";

/// Starts an instance that receives notifications.
async fn instance(store: Store, stop: &CancellationToken) -> AppState {
    let shared = shared(store, NOW);
    tokio::spawn(change_notify::run(shared.clone(), stop.clone()));
    shared
}

/// Publishes until the other instance receives the change, because it may still be connecting.
async fn publish_until_received(one: &AppState, other: &AppState, change: Change) -> Change {
    let mut changes = other.change_feed.subscribe();
    for _ in 0..100 {
        one.publish_change(change.clone()).await;
        if let Ok(heard) = tokio::time::timeout(Duration::from_millis(200), changes.recv()).await {
            return heard.unwrap();
        }
    }
    panic!("{change:?} was not received");
}

#[tokio::test]
async fn instances_hear_of_each_others_changes_and_not_of_their_own_twice() {
    let Some(place) = StoreLocation::postgres() else { return };
    let stop = CancellationToken::new();
    let one = instance(place.open().await, &stop).await;
    let other = instance(place.open().await, &stop).await;
    let van: std::sync::Arc<str> = "VAN-042".into();
    for change in [
        Change::Parcels { epcs: ["urn:x:1".to_owned()].into(), van: Some(van.clone()) },
        Change::Parcels { epcs: ["urn:x:1".to_owned()].into(), van: None },
        Change::Route { route: "R-1".into(), van: van.clone() },
        Change::Van { van: van.clone() },
    ] {
        assert_eq!(publish_until_received(&one, &other, change.clone()).await, change);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut own = one.change_feed.subscribe();
    one.publish_change(Change::Van { van }).await;
    own.recv().await.unwrap();
    let twice = tokio::time::timeout(Duration::from_millis(500), own.recv()).await;
    assert!(twice.is_err(), "{twice:?}");
    stop.cancel();
}

#[tokio::test]
async fn a_position_that_another_instance_took_is_read_from_the_store() {
    let Some(place) = StoreLocation::postgres() else { return };
    let stop = CancellationToken::new();
    let one = instance(place.open().await, &stop).await;
    let other = instance(place.open().await, &stop).await;
    let position = r#"{"v":1,"van":"VAN-042","seq":7,"ts":"2026-11-23T11:59:59.000Z","lat":48.1,"lon":11.5,
        "mode":3}"#;
    let put = "INSERT INTO van (van, position, heard_at) VALUES ('VAN-042', $1, 0)";
    one.store.write(vec![Statement::new(put, [position.into()])]).await.unwrap();
    let change = Change::Position { van: "VAN-042".into() };
    if one.store.newest_positions(&["VAN-042".to_owned()]).await.unwrap().is_empty() {
        panic!("the position above is not published");
    }
    assert_eq!(publish_until_received(&one, &other, change.clone()).await, change);
    assert_eq!(other.change_feed.position("VAN-042").unwrap().point.seq, 7);
    stop.cancel();
}

#[tokio::test]
async fn after_a_restart_of_the_server_watchers_learn_that_they_missed_something() {
    let Some(cluster) = Cluster::start("") else { return };
    let database = cluster.database();
    let stop = CancellationToken::new();
    let one = instance(Store::open(&database.config()).await.unwrap(), &stop).await;
    let other = instance(Store::open(&database.config()).await.unwrap(), &stop).await;
    let van = Change::Van { van: "VAN-042".into() };
    publish_until_received(&one, &other, van.clone()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut changes = other.change_feed.subscribe();
    cluster.control(&["-m", "fast", "restart"]);
    assert_eq!(changes.recv().await.unwrap(), Change::Lagged);
    drop(changes);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(publish_until_received(&one, &other, van.clone()).await, van);
    stop.cancel();
}
