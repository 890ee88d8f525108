//! Several instances share the messages; one of them stops, or is gone and its session is adopted.

use tokio_util::sync::CancellationToken;
use waypost_backend::AppState;
use waypost_backend::ingest;
use waypost_backend::instances::InstanceMonitor;
use waypost_backend::store::Store;
use waypost_model::units::UtcTime;

use super::{Broker, NOW, Running, count, topic, wait_until};
use crate::support::backend::{on_both, pass, shared, utc};
use crate::support::repository;

const VAN: &str = "VAN-042";

/// Track messages of one point each, with these sequence numbers, like the contract's example.
fn points(seqs: std::ops::Range<i64>) -> Vec<(String, Vec<u8>)> {
    let example = std::fs::read(repository("docs/contract/track.example.json")).unwrap();
    let mut track: serde_json::Value = serde_json::from_slice(&example).unwrap();
    let mut point = track["points"][0].clone();
    let mut message = |seq: i64| {
        let time = utc("2026-11-23T08:00:00.000Z").as_unix_ms() + seq * 1000;
        point["seq"] = seq.into();
        point["ts"] = UtcTime::from_unix_ms(time).unwrap().to_string().into();
        track["points"] = serde_json::Value::Array(vec![point.clone()]);
        (topic(VAN, "track"), track.to_string().into_bytes())
    };
    seqs.map(&mut message).collect()
}

async fn stored(store: &Store) -> i64 {
    count(store, "SELECT COUNT(*) FROM track").await
}

async fn register(state: &AppState) {
    let mqtt = &state.config.mqtt;
    state.store.register_instance(&mqtt.client_id, &mqtt.share_group, state.now()).await.unwrap();
}

async fn registered(store: &Store) -> Vec<String> {
    store.instances().await.unwrap().into_iter().map(|instance| instance.client_id).collect()
}

/// Starts instances `a`, `b`, … and waits until they are connected.
async fn start(broker: &Broker, store: &Store, names: &[&str]) -> Vec<(AppState, Running)> {
    let mut instances = Vec::new();
    for name in names {
        let state = broker.shared(store.clone(), name);
        register(&state).await;
        let running = Running::start(state.clone());
        running.connected().await;
        instances.push((state, running));
    }
    instances
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_stops_leaves_nothing_behind_while_others_remain() {
    let Some(broker) = Broker::start() else { return };
    on_both(async |store| {
        let mut instances = start(&broker, &store, &["a", "b", "c"]).await;
        let (_, stopping) = instances.pop().unwrap();
        let (first, second) = (points(0..300), points(300..600));
        let stop = async {
            wait_until("nothing is stored", async || stored(&store).await > 20).await;
            stopping.stop().await;
        };
        tokio::join!(broker.publish(&first), stop);
        assert_eq!(registered(&store).await, ["a", "b"]);
        broker.publish(&second).await;
        wait_until("points are missing", async || stored(&store).await == 600).await;
        // The last of several keeps its session, which queues for the next start.
        let (_, other) = instances.pop().unwrap();
        other.stop().await;
        let (state, last) = instances.pop().unwrap();
        last.stop().await;
        assert_eq!(registered(&store).await, ["a"]);
        broker.publish(&points(600..700)).await;
        let again = Running::start(state);
        wait_until("points are missing", async || stored(&store).await == 700).await;
        again.stop().await;
        end_sessions(&broker, &store, &["a"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_a_killed_instance_is_adopted_with_all_that_waits_in_it() {
    let Some(broker) = Broker::start() else { return };
    on_both(async |store| {
        let mut instances = start(&broker, &store, &["a", "b"]).await;
        let (gone, mut killed) = instances.pop().unwrap();
        let (state, running) = instances.pop().unwrap();
        broker.publish(&points(0..100)).await;
        killed.kill().await;
        broker.publish(&points(100..400)).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let before = stored(&store).await;
        assert!(before < 400, "the broker queues a share for the absent instance: {before}");
        let adopter = gone.clone();
        let (had_session, counters) =
            ingest::adopt(adopter.clone(), CancellationToken::new()).await.unwrap();
        assert!(had_session);
        assert!(counters.points.load(std::sync::atomic::Ordering::Relaxed) > 0);
        assert_eq!(stored(&store).await, 400);
        // The session is over: nothing waits in it, and a second adoption finds none.
        broker.publish(&points(400..500)).await;
        wait_until("points are missing", async || stored(&store).await == 500).await;
        let (had_session, _) = ingest::adopt(adopter, CancellationToken::new()).await.unwrap();
        assert!(!had_session);
        drop(state);
        running.stop().await;
        end_sessions(&broker, &store, &["a"]).await;
    })
    .await;
}

/// Ends the sessions of stopped instances, so that the next run on the same broker has none.
async fn end_sessions(broker: &Broker, store: &Store, names: &[&str]) {
    for name in names {
        ingest::adopt(broker.shared(store.clone(), name), CancellationToken::new()).await.unwrap();
    }
}

#[tokio::test]
async fn an_instance_without_a_heartbeat_is_named_with_the_events_that_are_missing() {
    on_both(async |store| {
        let state = shared(store.clone(), NOW);
        store.register_instance("gone", "waypost", state.now()).await.unwrap();
        let monitor = InstanceMonitor::default();
        let stop = CancellationToken::new();
        let own = tokio::spawn(monitor.clone().run(state.clone(), stop.clone()));
        wait_until("no heartbeat", async || monitor.running() == 2).await;
        assert!(monitor.absent().is_empty());
        pass(&state, std::time::Duration::from_secs(31));
        let event = waypost_backend::store::Statement::new(
            "INSERT INTO event (source, id, event_id, kind, origin, van, seq, previous_seq, event_time, captured_at, \
             retracts, event_type, doc) VALUES ('s', '9', 'u', 'parcel.loaded', 'van', $1, 9, 8, $2, $2, 0, 'ObjectEvent', '{}')",
            [VAN.into(), state.now().into()],
        );
        store.write(vec![event]).await.unwrap();
        wait_until("not named", async || !monitor.absent().is_empty()).await;
        let absent = monitor.absent();
        assert_eq!(absent[0].client_id, "gone");
        wait_until("the missing event is not counted", async || {
            let absent = monitor.absent();
            (absent[0].events_missing, absent[0].vans_affected) == (1, 1)
        })
        .await;
        assert_eq!(monitor.running(), 1);
        store.remove_instance("gone").await.unwrap();
        wait_until("still named", async || monitor.absent().is_empty()).await;
        stop.cancel();
        own.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn of_instances_that_stop_at_once_one_remains() {
    on_both(async |store| {
        let now = utc(NOW);
        for name in ["a", "b", "c"] {
            store.register_instance(name, "waypost", now).await.unwrap();
        }
        store.register_instance("other", "another-group", now).await.unwrap();
        let leaving = |name| store.begin_leaving(name, "waypost", now);
        let (a, b, c) = tokio::join!(leaving("a"), leaving("b"), leaving("c"));
        let others_remain = [a, b, c].map(Result::unwrap);
        assert_eq!(others_remain.iter().filter(|remain| **remain).count(), 2, "{others_remain:?}");
    })
    .await;
}
