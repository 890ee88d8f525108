//! Ingest stores each message once and ignores what a van is not entitled to change.

use std::time::Duration;

use serde_json::{Value as Json, json};
use waypost_backend::ingest::parse::MessageParser;
use waypost_backend::store::{IncomingMessage, IngestResult, Statement, Store, Value};

use super::count;
use crate::support::backend::{on_both, utc};
use crate::support::repository;

const NOW: &str = "2026-11-22T12:00:00Z";
const PARCEL: &str = "https://id.gs1.org/00/395212340000000014";

fn arrival(van: &str, name: &str, payload: &[u8], now: &str) -> IncomingMessage {
    let topic = format!("fleet/v1/{van}/{name}");
    let said = MessageParser::new("fleet").parse(&topic, payload, utc(now));
    IncomingMessage { topic, payload: payload.to_vec(), bytes: payload.len(), parsed: said }
}

async fn take(store: &Store, arrival: IncomingMessage, now: &str) -> IngestResult {
    store.ingest(&[arrival], utc(now), Duration::from_hours(24)).await.unwrap()
}

/// Creates an event of a van about one parcel.
fn event(van: &str, id: &str, seq: u64, state_mut: impl Fn(&mut Json)) -> Vec<u8> {
    let text = std::fs::read_to_string(repository("docs/contract/event.example.json")).unwrap();
    let mut event: Json = serde_json::from_str(&text).unwrap();
    event["source"] = json!(format!("https://id.example.com/fleet/obj/{van}"));
    event["id"] = json!(id);
    event["sequence"] = json!(format!("{seq:012}"));
    event["data"]["epcList"] = json!([PARCEL]);
    state_mut(&mut event);
    event.to_string().into_bytes()
}

#[tokio::test]
async fn another_content_under_a_name_that_is_taken_changes_nothing() {
    on_both(async |store| {
        let first = event("VAN-042", "urn:1", 3342, |_| {});
        let taken = take(&store, arrival("VAN-042", "event", &first, NOW), NOW).await;
        assert_eq!(taken.events_new, 1);
        let things = count(&store, "event_epc").await;
        let other = event("VAN-042", "urn:1", 3342, |event| {
            event["data"]["epcList"] = json!(["urn:epc:id:sscc:0614141.1234567890"]);
            event["data"]["bizStep"] = json!("loading");
        });
        let later = "2026-11-22T12:00:01Z";
        let taken = take(&store, arrival("VAN-042", "event", &other, later), later).await;
        assert_eq!((taken.events_new, taken.events_repeated), (0, 1));
        let counts = (count(&store, "event").await, count(&store, "event_epc").await);
        assert_eq!(counts, (1, things));
        assert_eq!(
            store.events_for_epc("https://id.gs1.org/00/106141412345678908").await.unwrap(),
            []
        );
        let kept = store.events_for_epc(PARCEL).await.unwrap();
        assert_ne!(kept[0].member("bizStep"), Some("loading"));
    })
    .await;
}

#[tokio::test]
async fn an_end_is_taken_back_by_who_said_it_alone() {
    on_both(async |store| {
        let parcel =
            "INSERT INTO parcel (epc, number, token, gift, put_at) VALUES ($1, 'n', 't', 0, 0)";
        store.write(vec![Statement::new(parcel, [PARCEL.into()])]).await.unwrap();
        let ended = async || store.parcel(PARCEL).await.unwrap().unwrap().ended_at.is_some();
        let retraction = |event: &mut Json| {
            event["type"] = json!("org.w3id.waypost.event.retracted.v1");
            event["data"]["errorDeclaration"] = json!({"declarationTime": NOW, "reason": "x"});
        };
        for (van, payload, expected) in [
            ("VAN-042", event("VAN-042", "urn:1", 3342, |_| {}), true),
            ("VAN-007", event("VAN-007", "urn:2", 3343, retraction), true),
            ("VAN-042", event("VAN-042", "urn:3", 3344, retraction), false),
            ("VAN-042", event("VAN-042", "urn:1", 3342, |_| {}), false),
        ] {
            let arrival = arrival(van, "event", &payload, NOW);
            assert!(arrival.parsed.is_ok(), "{:?}", arrival.parsed);
            take(&store, arrival, NOW).await;
            assert_eq!(ended().await, expected, "{van}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_ahead_does_not_stay_the_newest() {
    on_both(async |store| {
        let text =
            std::fs::read_to_string(repository("docs/contract/position.example.json")).unwrap();
        let at = |ts: &str| text.replace("2026-11-22T09:41:07.000Z", ts).into_bytes();
        let ahead = arrival("VAN-042", "position", &at("2026-11-22T22:00:00.000Z"), NOW);
        assert!(ahead.parsed.as_ref().unwrap_err().reason.contains("ten minutes"));
        take(&store, ahead, NOW).await;
        let right = arrival("VAN-042", "position", &at("2026-11-22T12:00:00.000Z"), NOW);
        let taken = take(&store, right, NOW).await;
        assert!(taken.positions.contains("VAN-042"));
    })
    .await;
}

#[tokio::test]
async fn dead_letters_are_bounded_by_whoever_puts_some_in() {
    on_both(async |store| {
        let row =
            |n: i64| vec!["t".into(), "r".into(), Value::Bytes(Vec::new()), n.into(), n.into()];
        let put = "INSERT INTO poison (topic, reason, payload, bytes, received_at) VALUES";
        store.write(Statement::bulk_insert(put, (0..10_050).map(row).collect(), "")).await.unwrap();
        let taken = take(&store, arrival("VAN-042", "event", b"x", NOW), NOW).await;
        assert_eq!(taken.dead_letters, 1);
        assert_eq!(count(&store, "poison").await, 10_000);
    })
    .await;
}
