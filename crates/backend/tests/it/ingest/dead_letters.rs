//! Unreadable messages become dead letters with a reason, and ingest continues.

use waypost_backend::ingest::parse::{MAX_BYTES, is_well_formed};
use waypost_backend::store::MAX_DEAD_LETTER_BYTES;

use super::{Broker, Running, count, rows, topic, wait_until};
use crate::support::backend::on_both;
use crate::support::repository;

fn example(name: &str) -> String {
    let path = format!("docs/contract/{name}.example.json");
    std::fs::read_to_string(repository(&path)).unwrap()
}

/// Last topic level and example of each message that vans publish.
const VAN_TOPICS: [(&str, &str); 6] = [
    ("position", "position"),
    ("track", "track"),
    ("event", "event"),
    ("state", "state"),
    ("connection", "connection"),
    ("command/result", "command_result"),
];

/// Returns invalid payloads for one topic, each with a part of the expected reason.
fn invalid_payloads(name: &str, example: &str) -> Vec<(Vec<u8>, &'static str)> {
    let version = if name == "event" {
        example.replacen("\"specversion\": \"1.0\"", "\"specversion\": \"2.0\"", 1)
    } else {
        example.replacen("\"v\": 1", "\"v\": 2", 1)
    };
    assert_ne!(version, example);
    let deep = format!("{{\"v\":1,\"deep\":{}", "[".repeat(100_000));
    let mut all = vec![
        (b"\xff\xfe not JSON".to_vec(), "invalid JSON"),
        (version.into_bytes(), if name == "event" { "CloudEvents" } else { "v is 2" }),
        (vec![b'x'; 1_000_000], "1000000 bytes"),
        (deep.into_bytes(), "invalid JSON"),
    ];
    let claimed = example.replace("VAN-042", "VAN-007");
    if name == "event" {
        let kind = example.replacen(".v1\"", ".v9\"", 1);
        all.push((kind.into_bytes(), "only version 1"));
    } else if name != "command/result" {
        assert_ne!(claimed, example);
        all.push((claimed.into_bytes(), "claims to be \"VAN-007\""));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_messages_on_every_topic_become_dead_letters_and_ingest_continues() {
    let Some(broker) = Broker::start() else { return };
    on_both(async |store| {
        let running = Running::start(broker.shared(store.clone(), "poisoned"));
        running.connected().await;
        let mut sent = 0;
        for (name, file) in VAN_TOPICS {
            let example = example(file);
            for (payload, reason) in invalid_payloads(name, &example) {
                broker.publish(&[(topic("VAN-042", name), payload.clone())]).await;
                sent += 1;
                // A new session temporarily receives `state` twice.
                let counted = "SELECT COUNT(*) FROM (SELECT DISTINCT topic, reason FROM poison) AS kinds";
                wait_until(&format!("{name}: {reason}"), async || count(&store, counted).await == sent)
                    .await;
                let newest = "SELECT topic, reason, payload, bytes FROM poison ORDER BY n DESC LIMIT 1";
                let row = rows(&store, newest).await.remove(0);
                assert_eq!(row.text(0), topic("VAN-042", name));
                assert!(row.text(1).contains(reason), "{name}: {} is not {reason}", row.text(1));
                let kept = match is_well_formed(&payload) {
                    true => payload.len(),
                    false => payload.len().min(MAX_DEAD_LETTER_BYTES),
                };
                assert_eq!(row.bytes(2).len(), kept);
                assert_eq!(row.count(3), payload.len() as u64);
            }
        }
        // Valid messages behind them are stored.
        for (name, file) in VAN_TOPICS {
            broker.publish(&[(topic("VAN-042", name), example(file).into_bytes())]).await;
        }
        let van = "SELECT COUNT(*) FROM van WHERE position IS NOT NULL AND state IS NOT NULL AND connection IS NOT NULL";
        wait_until("no van", async || count(&store, van).await == 1).await;
        wait_until("no event", async || count(&store, "SELECT COUNT(*) FROM event").await == 1).await;
        wait_until("no track", async || count(&store, "SELECT COUNT(*) FROM track").await == 2).await;
        let each = "SELECT COUNT(*) FROM (SELECT DISTINCT topic, reason FROM poison) AS kinds";
        assert_eq!(count(&store, each).await, sent);
        running.stop().await;
    })
    .await;
    const { assert!(MAX_BYTES < 1_000_000) };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_belongs_to_the_van_that_used_it_first_also_for_another_instance() {
    let Some(broker) = Broker::start() else { return };
    on_both(async |store| {
        let event = example("event");
        let other = event.replacen("urn:uuid:", "urn:uuid:0", 1);
        // A new instance without memory each time.
        for (name, van, payload) in [
            ("first", "VAN-042", &event),
            ("second", "VAN-007", &other),
            ("third", "VAN-042", &event),
        ] {
            let running = Running::start(broker.shared(store.clone(), "sources"));
            running.connected().await;
            broker.publish(&[(topic(van, "event"), payload.clone().into_bytes())]).await;
            let sum = "SELECT COUNT(*) + (SELECT COUNT(*) FROM poison) FROM event";
            let expected = if name == "first" { 1 } else { 2 };
            wait_until(name, async || count(&store, sum).await == expected).await;
            running.stop().await;
        }
        let reason = rows(&store, "SELECT reason FROM poison").await;
        assert!(reason[0].text(0).contains("source belongs to VAN-042"), "{:?}", reason[0]);
    })
    .await;
}
