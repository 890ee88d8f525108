//! Erasure removes a parcel wherever it is named, and leaves data about others.

use serde_json::{Value as Json, json};
use waypost_backend::store::{AuditEntry, Statement, Store, StoreError, Value, mask_number};

use super::{count, event, put};
use crate::support::backend::{StoreLocation, on_both, utc};

const NUMBER: &str = "395212340000000014";
const EPC: &str = "https://id.gs1.org/00/395212340000000014";
const OTHER: &str = "https://id.gs1.org/00/395212340000000021";
const NOW: &str = "2026-11-23T12:00:00Z";

const TABLES: [&str; 14] = [
    "alert",
    "audit",
    "capture_job",
    "command",
    "epcis_query",
    "epcis_subscription",
    "event",
    "event_epc",
    "parcel",
    "poison",
    "route",
    "setting",
    "subscriber",
    "van",
];

/// Returns the whole content as text.
async fn everything(store: &Store) -> String {
    let mut text = String::new();
    for table in TABLES {
        let rows = store.read(Statement::new(format!("SELECT * FROM {table}"), [])).await.unwrap();
        for value in rows.iter().flat_map(|row| &row.0) {
            match value {
                Value::Text(value) => text += value,
                Value::Bytes(octets) => text += &String::from_utf8_lossy(octets),
                other => text += &format!("{other:?}"),
            }
            text.push('\n');
        }
    }
    text
}

async fn write(store: &Store, sql: &str, values: &[Value]) {
    store.write(vec![Statement::new(sql.to_owned(), values.to_vec())]).await.unwrap();
}

fn route(first: &Json) -> String {
    json!({"route": "R-1", "stops": [{"id": "S-1", "parcels": [first]}, {"id": "S-2", "parcels": [{"number": "395212340000000021"}]}]})
        .to_string()
}

/// Stores a parcel that every table refers to, and another one.
async fn spoken_of(store: &Store) {
    let at: Value = utc("2026-11-23T08:00:00Z").into();
    for (epc, token) in [(EPC, "secret-token"), (OTHER, "b")] {
        let number = epc.rsplit('/').next().unwrap();
        let sql = "INSERT INTO parcel (epc, number, token, postcode, route, gift, put_at, preferences) \
                   VALUES ($1, $2, $3, '80331', 'R-1', 0, $4, '{}')";
        write(store, sql, &[epc.into(), number.into(), token.into(), at.clone()]).await;
    }
    let sql = "INSERT INTO route (route, van, rev, doc, manifest, digest, put_at, withdrawn) VALUES ($1, 'VAN-042', 1, $2, $2, '', $3, 0)";
    let uris_for_number = route(&json!({"number": "3952 1234 0000000014", "tags": ["E28011"]}));
    let of_uri = route(&json!({"number": "x", "epc": "urn:epc:id:sscc:952123400.30000001"}));
    let of_uri = of_uri.replace("urn:epc:id:sscc:952123400.30000001", EPC);
    write(store, sql, &["R-1".into(), uris_for_number.into(), at.clone()]).await;
    write(store, sql, &["R-2".into(), of_uri.into(), at.clone()]).await;
    let own = event("own", "2026-11-23T09:00:00Z", &[EPC]);
    let mut both = event("both", "2026-11-23T09:10:00Z", &[EPC, OTHER]);
    both.data["waypost:scan"] = json!({"waypost:raw": format!("]C100{NUMBER}")});
    let mut inventory = event("inventory", "2026-11-23T09:20:00Z", &[OTHER]);
    inventory.route = Some("R-1".to_owned());
    inventory.data["waypost:missing"] = json!([EPC, "urn:x:third"]);
    put(store, &[own, both, inventory]).await;
    write(store, "UPDATE event SET seq = 9, previous_seq = 7 WHERE id = $1", &["both".into()])
        .await;
    write(
        store,
        "UPDATE event SET seq = 11, previous_seq = 9 WHERE id = $1",
        &["inventory".into()],
    )
    .await;
    let sql = "INSERT INTO subscriber (id, epc, channel, address, made_at) VALUES ('s', $1, 'email', 'anna@example.com', $2)";
    write(store, sql, &[EPC.into(), at.clone()]).await;
    let sql = "INSERT INTO alert (subscriber, kind, occurrence, epc, doc, made_at, fresh_until, state, tries, next_at, claimed_until) \
               VALUES ('s', 'delivered', 'e', $1, '{}', $2, 0, 'sent', 0, 0, 0)";
    write(store, sql, &[EPC.into(), at.clone()]).await;
    let sql = "INSERT INTO command (id, van, epc, name, doc, made_at, tries, status) VALUES ($1, 'VAN-042', $2, 'message', $3, $4, 0, 'done')";
    let message = format!("{{\"text\":\"bring {NUMBER} back\"}}");
    write(store, sql, &["c1".into(), EPC.into(), "{}".into(), at.clone()]).await;
    write(store, sql, &["c2".into(), Value::Null, message.into(), at.clone()]).await;
    let sql = "INSERT INTO capture_job (id, who, behaviour, made_at, claimed_until, state, events, errors) VALUES ('j', 'w', 'proceed', $1, 0, 'errors', 1, $2)";
    let errors = format!("[{{\"detail\":\"{EPC} is odd\"}}]");
    write(store, sql, &[at.clone(), errors.into()]).await;
    let sql = "INSERT INTO epcis_query (name, who, doc, made_at) VALUES ('q', 'w', $1, $2)";
    let query = format!("{{\"MATCH_epc\":[\"{EPC}\"]}}");
    write(store, sql, &[query.into(), at.clone()]).await;
    let sql = "INSERT INTO poison (topic, reason, payload, bytes, received_at) VALUES ('t', 'r', $1, 9, $2)";
    for payload in [format!("{{\"broken\":\"{NUMBER}"), format!("[\"{OTHER}\"]")] {
        write(store, sql, &[payload.into_bytes().into(), at.clone()]).await;
    }
    let look = |target: String| AuditEntry {
        at: utc("2026-11-23T10:00:00Z"),
        actor: "anna".to_owned(),
        action: "trace".to_owned(),
        target,
    };
    let looks = [NUMBER, "(00)395212340000000014", "395212340000000021"].map(mask_number).map(look);
    store.insert_audit(&looks).await.unwrap();
}

#[tokio::test]
async fn a_parcel_that_is_erased_is_named_nowhere_and_others_keep_what_is_theirs() {
    on_both(async |store| {
        spoken_of(&store).await;
        let before = everything(&store).await;
        assert!(before.contains("anna@example.com") && before.contains("secret-token"));
        let day = (utc("2026-11-23T00:00:00Z"), utc(NOW));
        assert_eq!(store.gaps("VAN-042", day.0, day.1).await.unwrap(), []);
        assert!(store.erase(EPC, Some("DSR-17"), utc(NOW)).await.unwrap() > 10);
        let after = everything(&store).await;
        let its = [
            NUMBER,
            "3952 1234 0000000014",
            "secret-token",
            "anna@example.com",
            &mask_number(NUMBER),
            "E28011",
        ];
        for name in its {
            assert!(before.contains(name), "{name} was there");
            assert!(!after.contains(name), "{name} is still there: {after}");
        }
        let left = [
            ("event", 3),
            ("event_epc", 2),
            ("parcel", 1),
            ("route", 2),
            ("command", 0),
            ("poison", 1),
            ("audit", 4),
        ];
        for (table, rows) in left {
            assert_eq!(count(&store, table).await, rows, "{table}");
        }
        assert!(after.contains(OTHER) && after.contains("urn:x:third") && after.contains("S-1"));
        assert!(after.contains(&mask_number("395212340000000021")));
        // The sequence number remains, so that there is no gap, without any content.
        assert_eq!(store.gaps("VAN-042", day.0, day.1).await.unwrap(), []);
        let shown = store.events_for_van("VAN-042", day.0, day.1).await.unwrap();
        assert_eq!(
            shown.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(),
            ["both", "inventory"]
        );
        let (_, proof) = store.audit_entries(i64::MAX, 1).await.unwrap().remove(0);
        assert_eq!(
            (proof.actor.as_str(), proof.action.as_str(), proof.at),
            ("operator", "erase", utc(NOW))
        );
        assert_eq!(proof.target, "request DSR-17");
        // A second erasure finds nothing, and the audit log keeps the first one.
        assert_eq!(store.erase(EPC, None, utc(NOW)).await.unwrap(), 0);
        assert_eq!(count(&store, "audit").await, 5);
    })
    .await;
}

#[tokio::test]
async fn nothing_of_it_is_left_in_the_file_either() {
    let place = StoreLocation::sqlite();
    let service = place.open().await;
    spoken_of(&service).await;
    let command = Store::open_for_command(&place.config()).await.unwrap();
    command.erase(EPC, None, utc(NOW)).await.unwrap();
    let StoreLocation::Sqlite(folder) = &place else { unreachable!("it was made so") };
    for file in ["backend.db", "backend.db-wal"] {
        let octets = std::fs::read(folder.path().join(file)).unwrap();
        let text = String::from_utf8_lossy(&octets);
        for name in [NUMBER, "anna@example.com", "secret-token"] {
            assert!(!text.contains(name), "{name} is in {file}");
        }
    }
}

#[tokio::test]
async fn what_would_bring_it_back_or_name_it_again_is_refused() {
    on_both(async |store| {
        spoken_of(&store).await;
        let named = store.erase(EPC, Some("letter about 395212340000000014"), utc(NOW)).await;
        assert!(matches!(&named, Err(StoreError::Rejected(why)) if why.contains("choose another")), "{named:?}");
        let sql = "INSERT INTO capture_job (id, who, behaviour, made_at, claimed_until, state, events, doc) VALUES ('k', 'w', 'proceed', 1, 0, 'running', 1, $1)";
        write(&store, sql, &[format!("{{\"epcList\":[\"{EPC}\"]}}").into()]).await;
        let running = store.erase(EPC, None, utc(NOW)).await;
        assert!(matches!(&running, Err(StoreError::Rejected(why)) if why.contains("capture")), "{running:?}");
        assert_eq!(count(&store, "parcel").await, 2, "nothing was erased");
    })
    .await;
}

#[tokio::test]
async fn an_erasure_that_the_audit_log_cannot_record_erases_nothing() {
    on_both(async |store| {
        spoken_of(&store).await;
        let before = count(&store, "parcel").await;
        let rename =
            |from: &str, to: &str| Statement::new(format!("ALTER TABLE {from} RENAME TO {to}"), []);
        store.write(vec![rename("audit", "audit_gone")]).await.unwrap();
        store.erase(EPC, None, utc(NOW)).await.unwrap_err();
        assert_eq!(count(&store, "parcel").await, before);
        store.write(vec![rename("audit_gone", "audit")]).await.unwrap();
        assert!(store.erase(EPC, None, utc(NOW)).await.unwrap() > 10);
        assert_eq!(count(&store, "parcel").await, before - 1);
    })
    .await;
}
