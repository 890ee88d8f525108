//! What a statement puts in comes out, and transactions happen as a whole or not at all.

use waypost::backend::store::{Row, Statement, Store, StoreError, Value};

use crate::support::backend::{on_both, on_both_places};

fn setting(name: &str, value: impl Into<Value>) -> Statement {
    Statement::new(
        "INSERT INTO setting (name, value) VALUES ($1, $2)",
        vec![name.into(), value.into()],
    )
}

async fn settings(store: &Store) -> Vec<Row> {
    let all = Statement::new("SELECT name, value FROM setting ORDER BY name", vec![]);
    store.read(all).await.unwrap()
}

#[tokio::test]
async fn a_transaction_happens_as_a_whole_or_not_at_all() {
    on_both(async |store| {
        store.write(vec![setting("a", "1")]).await.unwrap();
        let again = store.write(vec![setting("b", "2"), setting("a", "3")]).await;
        assert!(matches!(again, Err(StoreError::Refused(_))), "{again:?}");
        assert_eq!(settings(&store).await, [Row(vec!["a".into(), "1".into()])]);
        store.write(vec![setting("b", "2")]).await.unwrap();
        assert_eq!(settings(&store).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn what_was_written_is_there_when_it_is_opened_again() {
    on_both_places(async |place| {
        place.open().await.write(vec![setting("a", "1")]).await.unwrap();
        assert_eq!(settings(&place.open().await).await.len(), 1);
    })
    .await;
}
