//! Values read equal the values written, and transactions are atomic.

use std::os::unix::fs::PermissionsExt as _;

use waypost_backend::store::{Row, Statement, Store, StoreConfig, StoreError, Value};

use super::{count, setting};
use crate::support::backend::{StoreLocation, on_both, on_both_locations};

#[tokio::test]
async fn a_transaction_happens_as_a_whole_or_not_at_all() {
    on_both(async |store| {
        store.write(vec![setting("a", "1")]).await.unwrap();
        let again = store.write(vec![setting("b", "2"), setting("a", "3"), setting("c", "4")]);
        let again = again.await;
        assert!(matches!(again, Err(StoreError::Rejected(_))), "{again:?}");
        // A value that its column rejects, between valid ones.
        let odd = store.write(vec![
            setting("d", "1"),
            Statement::new(
                "INSERT INTO audit (at_time, who, what, target) VALUES ($1, $2, $2, $2)",
                ["no time".into(), "x".into()],
            ),
        ]);
        let odd = odd.await;
        assert!(matches!(odd, Err(StoreError::Rejected(_))), "{odd:?}");
        let wrong = store.write(vec![setting("e", "1"), Statement::new("INSERT INTO nowhere", [])]);
        assert!(wrong.await.is_err());
        assert_eq!(count(&store, "setting").await, 1);
        store.write(vec![setting("b", "2")]).await.unwrap();
        assert_eq!(count(&store, "setting").await, 2);
    })
    .await;
}

#[tokio::test]
async fn what_was_written_is_there_when_it_is_opened_again() {
    on_both_locations(async |place| {
        place.open().await.write(vec![setting("a", "1")]).await.unwrap();
        assert_eq!(count(&place.open().await, "setting").await, 1);
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_value_comes_back_as_it_was_put() {
    on_both(async |store| {
        let big = "ü\u{1F69A}'\"\\$1 ?1 %".repeat(200_000);
        for text in ["", " ", "{\"a\": 1.50,  \"b\":null}", &big] {
            let put = "INSERT INTO setting (name, value) VALUES ('t', $1) \
                       ON CONFLICT (name) DO UPDATE SET value = excluded.value RETURNING value";
            let outcomes = store.write(vec![Statement::new(put, [text.into()])]).await.unwrap();
            assert_eq!(outcomes[0].rows, [Row(vec![text.into()])]);
            assert_eq!(outcomes[0].rows_affected, 1);
        }
        let put = "INSERT INTO poison (topic, reason, payload, bytes, received_at) VALUES ($1, $2, $3, $4, $5)";
        let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        for (bytes, number) in [(bytes, i64::MAX), (Vec::new(), i64::MIN), (vec![0], 0)] {
            let values = ["a\0b".into(), Value::Text("\0".to_owned()), bytes.clone().into(), number.into(), 0_i64.into()];
            store.write(vec![Statement::new(put, values)]).await.unwrap();
            let ask = Statement::new(
                "SELECT topic, reason, payload, bytes, CAST(NULL AS TEXT) FROM poison ORDER BY n DESC LIMIT 1",
                [],
            );
            let row = &store.read(ask).await.unwrap()[0];
            assert_eq!((row.text(0), row.text(1)), ("ab", ""), "no text has U+0000");
            assert_eq!((row.bytes(2), row.int(3)), (bytes.as_slice(), number));
            assert_eq!(row.maybe_text(4), None);
        }
        let odd = Statement::new(
            "SELECT CAST($1 AS DOUBLE PRECISION), 1 = 1, COUNT(*), CAST($2 AS BIGINT) FROM setting",
            [Value::Real(0.1), Value::Null],
        );
        let row = &store.read(odd).await.unwrap()[0];
        assert_eq!(row.0, [Value::Real(0.1), Value::Int(1), Value::Int(1), Value::Null]);
    })
    .await;
}

#[tokio::test]
async fn many_rows_are_put_by_few_statements_and_each_once() {
    on_both(async |store| {
        let row = |n: i64| vec![Value::from(format!("{n:04}")), Value::from("x")];
        let rows: Vec<Vec<Value>> = (0..1000).map(row).collect();
        for expected in [1000, 0] {
            let insert = Statement::bulk_insert(
                "INSERT INTO setting (name, value) VALUES",
                rows.clone(),
                "ON CONFLICT (name) DO NOTHING",
            );
            assert!(insert.len() < 16, "{}", insert.len());
            let outcomes = store.write(insert).await.unwrap();
            assert_eq!(outcomes.iter().map(|outcome| outcome.rows_affected).sum::<u64>(), expected);
        }
        let returned = Statement::bulk_insert(
            "INSERT INTO setting (name, value) VALUES",
            vec![row(999), row(1000)],
            "ON CONFLICT (name) DO NOTHING RETURNING name",
        );
        let outcomes = store.write(returned).await.unwrap();
        assert!(outcomes.iter().any(|outcome| outcome.rows == [Row(vec!["1000".into()])]));
    })
    .await;
}

#[tokio::test]
async fn more_texts_than_are_kept_prepared_work_all_the_same() {
    on_both(async |store| {
        for n in 0..600 {
            let sql = format!("SELECT CAST({n} AS BIGINT)");
            assert_eq!(store.read(Statement::new(sql, [])).await.unwrap()[0].int(0), n);
        }
    })
    .await;
}

#[tokio::test]
async fn who_stops_waiting_for_a_transaction_leaves_no_half_of_it() {
    on_both(async |store| {
        for n in 0..30 {
            let all: Vec<_> = (0..20).map(|m| setting(&format!("{n}-{m}"), "x")).collect();
            let writing = tokio::spawn({
                let store = store.clone();
                async move { store.write(all).await }
            });
            tokio::time::sleep(std::time::Duration::from_micros(n * 100)).await;
            writing.abort();
        }
        store.write(vec![setting("last", "x")]).await.unwrap();
        assert_eq!(count(&store, "setting").await % 20, 1);
    })
    .await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_with_its_remedy() {
    on_both_locations(async |place| {
        let store = place.open().await;
        let newer = match place {
            StoreLocation::Sqlite(_) => "PRAGMA user_version = 99",
            StoreLocation::Postgres(_) => "INSERT INTO migration (version) VALUES (99)",
        };
        match place {
            StoreLocation::Postgres(_) => {
                drop(store.write(vec![Statement::new(newer, [])]).await.unwrap());
            }
            StoreLocation::Sqlite(folder) => {
                drop(store);
                let path = folder.path().join("backend.db");
                rusqlite::Connection::open(path).unwrap().execute_batch(newer).unwrap();
            }
        }
        let refused = Store::open(&place.config()).await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, StoreError::Open { .. }), "{text}");
        assert!(
            text.contains("version 99") && text.contains("start a newer waypost-backend"),
            "{text}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_file_is_its_owners_alone_and_one_instances_alone() {
    let place = StoreLocation::sqlite();
    let StoreConfig::Sqlite(path) = place.config() else { unreachable!() };
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = place.open().await;
    store.write(vec![setting("a", "1")]).await.unwrap();
    for entry in path.parent().unwrap().read_dir().unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let second = Store::open(&place.config()).await.unwrap_err().to_string();
    assert!(second.contains("another instance has this file"), "{second}");
    let command = Store::open_for_command(&place.config()).await.unwrap();
    command.write(vec![setting("b", "2")]).await.unwrap();
    assert_eq!(count(&store, "setting").await, 2);
}

#[tokio::test]
async fn a_command_makes_and_changes_no_tables() {
    on_both_locations(async |place| {
        if let StoreConfig::Sqlite(path) = place.config() {
            std::fs::write(path, "").unwrap();
        }
        let refused = Store::open_for_command(&place.config()).await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, StoreError::Open { .. }), "{text}");
        assert!(text.contains("version 0") && text.contains("start the service once"), "{text}");
        place.open().await;
        Store::open_for_command(&place.config()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn no_other_programs_file_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = Store::open(&StoreConfig::Sqlite(path.clone())).await.unwrap_err().to_string();
    assert!(refused.contains("a database of another program"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let missing = StoreConfig::Sqlite(folder.path().join("missing.db"));
    assert!(Store::open_for_command(&missing).await.is_err());
    assert!(!folder.path().join("missing.db").exists());
}
