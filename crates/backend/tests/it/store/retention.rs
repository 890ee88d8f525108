//! Retention removes expired data and nothing else.

#![expect(clippy::disallowed_methods, reason = "the test measures real time")]

use std::time::Duration;

use waypost_backend::config::Retention;
use waypost_backend::store::retention::RetentionReport;
use waypost_backend::store::{Statement, Store};

use super::{count, event, put, put_track};
use crate::support::backend::{on_both, utc};

const NOW: &str = "2026-11-23T12:00:00.000Z";

async fn put_parcel(store: &Store, epc: &str, ended_at: Option<&str>) {
    let parcel = "INSERT INTO parcel (epc, number, token, postcode, gift, preferences, put_at, ended_at) \
                  VALUES ($1, $1, $1, '80331', 0, '{}', $2, $3)";
    let subscriber = "INSERT INTO subscriber (id, epc, channel, address, made_at, confirmed_at) VALUES ($1, $1, 'email', 'a@b', $2, $2)";
    let alert = "INSERT INTO alert (subscriber, kind, occurrence, epc, doc, made_at, fresh_until, state, tries, next_at, claimed_until) \
                 VALUES ($1, 'delivered', 'urn:uuid:1', $1, '{}', $2, 0, 'sent', 0, 0, 0)";
    let made = utc(ended_at.unwrap_or(NOW));
    store
        .write(vec![
            Statement::new(parcel, [epc.into(), made.into(), ended_at.map(utc).into()]),
            Statement::new(subscriber, [epc.into(), made.into()]),
            Statement::new(alert, [epc.into(), made.into()]),
        ])
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_past_keeping_goes_and_nothing_else() {
    on_both(async |store| {
        put_track(&store, "VAN-1", "2026-09-01T00:00:00Z", 10_000, 5000).await;
        put_track(&store, "VAN-2", "2026-11-22T00:00:00Z", 10_000, 100).await;
        for n in 0..600 {
            put(
                &store,
                &[event(&format!("old-{n}"), "2025-11-01T00:00:00Z", &["urn:x:1", "urn:x:2"])],
            )
            .await;
        }
        put(&store, &[event("new", "2026-11-01T00:00:00Z", &["urn:x:1"])]).await;
        put_parcel(&store, "running", None).await;
        put_parcel(&store, "today", Some("2026-11-23T08:00:00Z")).await;
        put_parcel(&store, "week", Some("2026-11-16T08:00:00Z")).await;
        put_parcel(&store, "forgotten", Some("2026-10-01T08:00:00Z")).await;
        put_parcel(&store, "gone", Some("2025-10-01T08:00:00Z")).await;
        store.maintain(utc(NOW)).await.unwrap();
        let purged = store.purge(utc(NOW), &Retention::default()).await.unwrap();
        // SQLite deletes points, PostgreSQL drops the day without reading it.
        let track = (purged.track, purged.track_days);
        assert!([(5000, 0), (0, 1)].contains(&track), "{track:?}");
        let expected = RetentionReport {
            track: track.0,
            track_days: track.1,
            events: 600,
            pages: 2,
            parcels: 1,
            subscribers: 3,
            ..RetentionReport::default()
        };
        assert_eq!(purged, expected);
        assert_eq!(count(&store, "event_epc").await, 1);
        assert_eq!((count(&store, "subscriber").await, count(&store, "alert").await), (2, 2));
        let rest = "SELECT token, postcode, preferences FROM parcel ORDER BY token";
        let rest = store.read(Statement::new(rest, [])).await.unwrap();
        let rest: Vec<_> = rest.iter().map(|row| (row.text(0), row.maybe_text(1))).collect();
        let code = Some("80331");
        let expected = [("forgotten", None), ("running", code), ("today", code), ("week", code)];
        assert_eq!(rest, expected);
        let again = store.purge(utc(NOW), &Retention::default()).await.unwrap();
        assert_eq!(again, RetentionReport::default());
    })
    .await;
}

#[tokio::test]
async fn what_nobody_could_read_is_bounded_by_time() {
    on_both(async |store| {
        let rows = |n: i64, at: &str| {
            let row = vec!["t".into(), "r".into(), vec![1].into(), 1_i64.into(), utc(at).into()];
            let rows = vec![row; usize::try_from(n).unwrap()];
            let into = "INSERT INTO poison (topic, reason, payload, bytes, received_at) VALUES";
            Statement::bulk_insert(into, rows, "")
        };
        store.write(rows(100, "2026-10-01T00:00:00Z")).await.unwrap();
        store.write(rows(10_050, "2026-11-23T00:00:00Z")).await.unwrap();
        let purged = store.purge(utc(NOW), &Retention::default()).await.unwrap();
        assert_eq!(purged.dead_letters, 100);
        assert_eq!(count(&store, "poison").await, 10_050);
    })
    .await;
}

#[tokio::test]
async fn who_writes_does_not_wait_for_what_is_removed() {
    on_both(async |store| {
        put_track(&store, "VAN-1", "2026-08-01T00:00:00Z", 1000, 30_000).await;
        let purging = tokio::spawn({
            let store = store.clone();
            async move { store.purge(utc(NOW), &Retention::default()).await.unwrap().track }
        });
        let mut slowest = Duration::ZERO;
        let mut n = 0;
        while !purging.is_finished() {
            let started = tokio::time::Instant::now();
            store.write(vec![super::setting(&n.to_string(), "x")]).await.unwrap();
            slowest = slowest.max(started.elapsed());
            n += 1;
        }
        assert_eq!(purging.await.unwrap(), 30_000);
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    })
    .await;
}

#[tokio::test]
async fn a_part_that_fails_does_not_stop_the_others() {
    on_both(async |store| {
        put_parcel(&store, "gone", Some("2025-10-01T08:00:00Z")).await;
        put(&store, &[event("old", "2025-11-01T00:00:00Z", &["urn:x:1"])]).await;
        // The purge of personal data, one of the first parts, fails.
        let broken = Statement::new("ALTER TABLE parcel RENAME COLUMN case_note TO note", []);
        store.write(vec![broken]).await.unwrap();
        let error = store.purge(utc(NOW), &Retention::default()).await.unwrap_err();
        assert!(error.to_string().contains("case_note"), "{error}");
        assert_eq!(count(&store, "subscriber").await, 0);
        assert_eq!(count(&store, "event").await, 0);
        assert_eq!(count(&store, "parcel").await, 0);
    })
    .await;
}
