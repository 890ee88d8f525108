//! A van whose `delivery.domain` differs from `parcels.domain` is reported until they agree.

use std::sync::atomic::Ordering;

use waypost_backend::queries;

use super::{Broker, Running, count, topic, wait_until};
use crate::support::backend::on_both;
use crate::support::repository;

/// Returns the contract's example event with this number and domain.
fn event_message(domain: &str, number: u32) -> (String, Vec<u8>) {
    let text = std::fs::read_to_string(repository("docs/contract/event.example.json")).unwrap();
    let text = text
        .replace("id.example.com", domain)
        .replace("3f2a9c51", &format!("{number:08x}"))
        .replace("000000003342", &format!("{:012}", 3342 + number));
    (topic("VAN-042", "event"), text.into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_van_with_another_domain_is_counted_and_shown_until_its_names_are_ours() {
    let Some(broker) = Broker::start() else { return };
    on_both(async |store| {
        let shared = broker.shared(store.clone(), "domains");
        let running = Running::start(shared.clone());
        running.connected().await;
        let stored = async |events: i64| {
            wait_until("not stored", async || {
                count(&store, "SELECT COUNT(*) FROM event").await == events
            })
            .await;
            queries::van(&shared, "VAN-042").await.unwrap().unwrap()
        };
        broker
            .publish(&[event_message("id.other.example", 1), event_message("id.other.example", 2)])
            .await;
        let van = stored(2).await;
        assert_eq!(van.other_domain.as_deref(), Some("id.other.example"));
        assert!(van.attention.contains(&"other_domain".to_owned()), "{:?}", van.attention);
        assert_eq!(running.counters.domain_mismatches.load(Ordering::Relaxed), 2);
        // Another process loads it from the store, and receives its end.
        running.stop().await;
        let running = Running::start(shared.clone());
        running.connected().await;
        broker.publish(&[event_message(&shared.config.domain, 3)]).await;
        let van = stored(3).await;
        assert_eq!(van.other_domain, None);
        assert!(!van.attention.contains(&"other_domain".to_owned()));
        assert_eq!(running.counters.domain_mismatches.load(Ordering::Relaxed), 0);
        running.stop().await;
    })
    .await;
}
