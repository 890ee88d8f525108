//! Backups, exports of one parcel or van, and erasure.

use std::os::unix::fs::PermissionsExt as _;

use waypost_backend::store::export::Subject;
use waypost_backend::store::{Statement, Store, StoreConfig, StoreError, backup};

use super::{count, event, put, put_track, setting};
use crate::support::backend::{StoreLocation, on_both, utc};

#[tokio::test]
async fn a_copy_made_while_others_write_is_a_store_again() {
    let place = StoreLocation::sqlite();
    let store = place.open().await;
    store.write(vec![setting("a", "1")]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let sibling = Store::open_for_command(&place.config()).await.unwrap();
    parcel(&store, "urn:x:1").await;
    put(&store, &[event("a", "2026-11-23T09:00:00Z", &["urn:x:1"])]).await;
    let (copied, written) =
        tokio::join!(sibling.backup(&copy), store.write(vec![setting("b", "2")]));
    let summary = copied.unwrap();
    assert_eq!((summary.parcels, summary.newest), (1, Some((1, utc("2026-11-23T09:00:00Z")))));
    written.unwrap();
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let twice = sibling.backup(&copy).await;
    assert!(matches!(twice, Err(StoreError::Open { .. })), "{twice:?}");
    let over = backup::restore(&copy, &place.config()).await;
    assert!(matches!(over, Err(StoreError::Open { .. })), "existing files are not overwritten");
    let to = StoreConfig::Sqlite(folder.path().join("restored.db"));
    assert_eq!(backup::restore(&copy, &to).await.unwrap(), summary);
    let restored = Store::open(&to).await.unwrap();
    assert!((1..=2).contains(&count(&restored, "setting").await));
    assert_eq!(restored.summary().await.unwrap(), summary);
}

#[tokio::test]
async fn what_is_no_copy_is_not_brought_back() {
    let folder = tempfile::tempdir().unwrap();
    let to = StoreConfig::Sqlite(folder.path().join("restored.db"));
    let from = folder.path().join("from.db");
    for bytes in [b"".as_slice(), b"no database at all, but long enough to look at".as_slice()] {
        std::fs::write(&from, bytes).unwrap();
        assert!(backup::restore(&from, &to).await.is_err());
        assert!(!folder.path().join("restored.db").exists());
    }
}

async fn parcel(store: &Store, epc: &str) {
    let sql = "INSERT INTO parcel (epc, number, token, postcode, gift, put_at) VALUES ($1, $1, $1, '80331', 0, $2)";
    let put = Statement::new(sql, [epc.into(), utc("2026-11-23T08:00:00Z").into()]);
    store.write(vec![put]).await.unwrap();
}

async fn exported(store: &Store, subject: Subject, since: &str) -> Vec<serde_json::Value> {
    let mut out = Vec::new();
    let lines = store.export(&subject, utc(since), &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    let all: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.len() as u64, lines);
    all
}

#[tokio::test]
async fn what_is_known_of_a_parcel_or_a_van_is_exported_and_no_more() {
    on_both(async |store| {
        parcel(&store, "urn:x:1").await;
        parcel(&store, "urn:x:2").await;
        put(&store, &[event("a", "2026-11-23T09:00:00Z", &["urn:x:1"])]).await;
        put(&store, &[event("b", "2026-11-23T10:00:00Z", &["urn:x:2"])]).await;
        put_track(&store, "VAN-042", "2026-11-23T08:00:00Z", 1000, 2500).await;
        put_track(&store, "VAN-1", "2026-11-23T08:00:00Z", 1000, 10).await;
        let of_parcel =
            exported(&store, Subject::Parcel("urn:x:1".to_owned()), "2026-01-01T00:00:00Z").await;
        let tables: Vec<_> = of_parcel.iter().map(|line| line["table"].as_str().unwrap()).collect();
        assert_eq!(tables, ["parcel", "event"]);
        assert_eq!(of_parcel[1]["doc"]["epcList"][0], "urn:x:1");
        assert_eq!(of_parcel[1]["event_time"], "2026-11-23T09:00:00.000Z");
        let van = Subject::Van("VAN-042".to_owned());
        let for_van = exported(&store, van.clone(), "2026-01-01T00:00:00Z").await;
        assert_eq!(for_van.iter().filter(|line| line["table"] == "track").count(), 2500);
        assert_eq!(for_van.iter().filter(|line| line["table"] == "event").count(), 2);
        let later = exported(&store, van, "2026-11-23T08:40:00Z").await;
        assert_eq!(later.iter().filter(|line| line["table"] == "track").count(), 100);
    })
    .await;
}
