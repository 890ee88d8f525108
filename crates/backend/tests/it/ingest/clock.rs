//! A time fault of the whole traffic is not acknowledged.

use std::sync::atomic::Ordering;

use super::{Broker, Running, count, topic, wait_until};
use crate::support::backend::{on_both, set_clock};
use crate::support::repository;

/// Creates an event of a van at a time.
fn event(van: &str, time: &str) -> (String, Vec<u8>) {
    let text = std::fs::read_to_string(repository("docs/contract/event.example.json")).unwrap();
    let text = text.replace(
        "https://id.gs1.org/8004/9521234VAN042",
        &format!("https://id.example.com/fleet/obj/{van}"),
    );
    let text = text.replace("2026-11-22T09:42:43.500Z", time);
    (topic(van, "event"), text.into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_at_the_broker_while_our_clock_is_two_days_behind() {
    let Some(broker) = Broker::start() else { return };
    on_both(async |store| {
        let shared = broker.shared(store.clone(), "behind");
        set_clock(&shared, "2026-11-20T09:43:00.000Z");
        let running = Running::start(shared.clone());
        running.connected().await;
        let time = "2026-11-22T09:42:43.500Z";
        for van in ["VAN-1", "VAN-2", "VAN-3"] {
            broker.publish(&[event(van, time)]).await;
        }
        let doubtful = || running.counters.clock_doubtful.load(Ordering::Relaxed);
        wait_until("the clock is trusted", async || doubtful()).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let stored = "SELECT (SELECT COUNT(*) FROM event) + (SELECT COUNT(*) FROM poison)";
        assert_eq!(count(&store, stored).await, 0);
        set_clock(&shared, "2026-11-22T09:43:10.000Z");
        let events = "SELECT COUNT(*) FROM event";
        wait_until("no event", async || count(&store, events).await == 3).await;
        assert!(!doubtful());
        assert_eq!(count(&store, "SELECT COUNT(*) FROM poison").await, 0);
        let marked = "SELECT COUNT(*) FROM event WHERE doc LIKE '%reportedTime%'";
        assert_eq!(count(&store, marked).await, 0);
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_van_with_a_wrong_clock_beside_right_ones_is_stored_and_marked() {
    let Some(broker) = Broker::start() else { return };
    on_both(async |store| {
        let running = Running::start(broker.shared(store.clone(), "one wrong"));
        running.connected().await;
        broker.publish(&[event("VAN-1", "2026-11-23T11:59:00.000Z")]).await;
        broker.publish(&[event("VAN-2", "2027-12-28T12:00:00.000Z")]).await;
        let events = "SELECT COUNT(*) FROM event";
        wait_until("no event", async || count(&store, events).await == 2).await;
        let marked = "SELECT COUNT(*) FROM event WHERE van = 'VAN-2' AND doc LIKE '%reportedTime%'";
        assert_eq!(count(&store, marked).await, 1);
        assert!(!running.counters.clock_doubtful.load(Ordering::Relaxed));
        running.stop().await;
    })
    .await;
}
