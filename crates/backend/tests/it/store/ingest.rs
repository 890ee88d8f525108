//! Ingest stores each message once and ignores what a van is not entitled to change.

use std::time::Duration;

use serde_json::{Value as Json, json};
use waypost_backend::ingest::parse::MessageParser;
use waypost_backend::ingest::retry::{self, RetryResult};
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
        let given =
            "INSERT INTO assignment (epc, van, route, at_time) VALUES ($1, 'VAN-042', 'R', 0)";
        let parcel = [parcel, given].map(|sql| Statement::new(sql, [PARCEL.into()]));
        store.write(parcel.to_vec()).await.unwrap();
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
    let text = std::fs::read_to_string(repository("docs/contract/position.example.json")).unwrap();
    let at = |ts: &str| text.replace("2026-11-22T09:41:07.000Z", ts).into_bytes();
    for ahead in [
        "2026-11-22T12:09:00.000Z",
        "2026-11-22T22:00:00.000Z",
        "2026-11-23T12:00:00.000Z",
        "2027-12-27T12:00:00.000Z",
        "2007-04-08T12:00:00.000Z",
    ] {
        on_both(async |store| {
            let wrong = arrival("VAN-042", "position", &at(ahead), NOW);
            let taken = take(&store, wrong, NOW).await;
            assert!(taken.positions.contains("VAN-042"), "{ahead} is shown, as of now");
            let later = "2026-11-22T12:00:01.000Z";
            let right = arrival("VAN-042", "position", &at(later), later);
            let taken = take(&store, right, later).await;
            assert!(taken.positions.contains("VAN-042"), "{ahead} hides the next one");
        })
        .await;
    }
}

#[tokio::test]
async fn the_dead_letters_of_one_van_evict_none_of_another() {
    on_both(async |store| {
        take(&store, arrival("VAN-007", "event", b"{\"of\":\"VAN-007\"}", NOW), NOW).await;
        let row = |n: i64| {
            vec![
                "VAN-042".into(),
                "t".into(),
                "r".into(),
                Value::Bytes(Vec::new()),
                n.into(),
                n.into(),
            ]
        };
        let put = "INSERT INTO poison (van, topic, reason, payload, bytes, received_at) VALUES";
        store.write(Statement::bulk_insert(put, (0..10_050).map(row).collect(), "")).await.unwrap();
        let taken = take(&store, arrival("VAN-042", "event", b"x", NOW), NOW).await;
        assert_eq!(taken.dead_letters, 1);
        let of = async |van: &str| store.dead_letters_of_van(van, i64::MAX, 20_000).await.unwrap();
        assert_eq!(of("VAN-042").await.len(), 2_000);
        assert_eq!(of("VAN-042").await[0].payload, b"x");
        assert_eq!(of("VAN-007").await.len(), 1);
        assert_eq!(store.rejected_vans(utc(NOW)).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_is_processed_again_after_its_source_was_handed_over() {
    on_both(async |store| {
        let gs1 =
            |event: &mut Json| event["source"] = json!("https://id.gs1.org/8004/9521234VAN042");
        let first = arrival("VAN-OLD", "event", &event("VAN-OLD", "urn:1", 3342, gs1), NOW);
        take(&store, first, NOW).await;
        let payload = event("VAN-NEW", "urn:2", 3343, gs1);
        let mut rejected = arrival("VAN-NEW", "event", &payload, NOW);
        assert!(rejected.parsed.is_ok());
        rejected.parsed = arrival("VAN-NEW", "event", b"", NOW).parsed;
        take(&store, rejected, NOW).await;
        let letter = store.dead_letters_of_van("VAN-NEW", i64::MAX, 1).await.unwrap().remove(0);
        assert_eq!(letter.payload, payload, "it is kept whole");
        let day = Duration::from_hours(24);
        let again = retry::retry(&store, &letter, utc(NOW), day).await.unwrap();
        let RetryResult::Rejected(reason) = again else { panic!("the source is another van's") };
        assert!(reason.contains("VAN-OLD"), "{reason}");
        let source = "https://id.gs1.org/8004/9521234VAN042";
        store.hand_over_source(source, "VAN-NEW", ("anna", utc(NOW))).await.unwrap();
        let again = retry::retry(&store, &letter, utc(NOW), day).await.unwrap();
        assert_eq!(again, RetryResult::Stored);
        assert_eq!(count(&store, "event").await, 2);
        assert_eq!(count(&store, "poison").await, 0);
        assert_eq!(count(&store, "audit").await, 1);
    })
    .await;
}
