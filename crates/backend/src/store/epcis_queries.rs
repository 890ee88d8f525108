//! Named queries of EPCIS 2.0 and the subscriptions to them.
//!
//! A subscription has the position of the last event that its receiver accepted. Only the instance
//! that claims a subscription moves it.

use super::{Row, Statement, Store, StoreError};
use waypost_model::units::UtcTime;

/// A query with a name (EPCIS 2.0 §12.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedQuery {
    pub name: String,
    /// Name of the API token that created it.
    pub token_name: String,
    /// Parameters as JSON.
    pub doc: String,
    pub made_at: UtcTime,
}

/// A subscription to a named query by webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuerySubscription {
    pub id: String,
    pub query: String,
    /// Name of the API token that created it.
    pub token_name: String,
    /// URL of the receiver.
    pub dest: String,
    /// Key of the signature.
    pub secret: Option<String>,
    pub made_at: UtcTime,
    /// Capture time (ms since 1970) and number of the last event that was sent.
    pub after: (i64, i64),
    /// Failed attempts since the last success.
    pub tries: u32,
    /// Reason of the last failure.
    pub error: Option<String>,
}

/// Result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryDelivery {
    pub after: (i64, i64),
    pub tries: u32,
    pub next_at: UtcTime,
    pub error: Option<String>,
}

const COLUMNS: &str = "id, query, who, dest, secret, made_at, after_at, after_n, tries, error";

fn query_from_row(row: &Row) -> NamedQuery {
    NamedQuery {
        name: row.text(0).to_owned(),
        token_name: row.text(1).to_owned(),
        doc: row.text(2).to_owned(),
        made_at: row.utc(3),
    }
}

fn subscription_from_row(row: &Row) -> QuerySubscription {
    QuerySubscription {
        id: row.text(0).to_owned(),
        query: row.text(1).to_owned(),
        token_name: row.text(2).to_owned(),
        dest: row.text(3).to_owned(),
        secret: row.maybe_text(4).map(str::to_owned),
        made_at: row.utc(5),
        after: (row.int(6), row.int(7)),
        tries: u32::try_from(row.int(8)).unwrap_or(u32::MAX),
        error: row.maybe_text(9).map(str::to_owned),
    }
}

impl Store {
    /// Stores a query, unless its name is taken or the token has `most` queries; returns whether it
    /// was stored.
    pub async fn put_named_query(&self, query: &NamedQuery, most: u32) -> Result<bool, StoreError> {
        let put = Statement::new(
            "INSERT INTO epcis_query (name, who, doc, made_at) SELECT $1, $2, $3, CAST($4 AS BIGINT) \
             WHERE (SELECT COUNT(*) FROM epcis_query WHERE who = $2) < $5 \
             ON CONFLICT (name) DO NOTHING RETURNING name",
            [
                query.name.as_str().into(),
                query.token_name.as_str().into(),
                query.doc.as_str().into(),
                query.made_at.into(),
                most.into(),
            ],
        );
        Ok(!self.write(vec![put]).await?[0].rows.is_empty())
    }

    /// A query by its name.
    pub async fn named_query(&self, name: &str) -> Result<Option<NamedQuery>, StoreError> {
        let sql = "SELECT name, who, doc, made_at FROM epcis_query WHERE name = $1";
        Ok(self.read(Statement::new(sql, [name.into()])).await?.first().map(query_from_row))
    }

    /// The next queries after the name `after`.
    pub async fn named_queries(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<Vec<NamedQuery>, StoreError> {
        let sql = "SELECT name, who, doc, made_at FROM epcis_query WHERE name > $1 ORDER BY name LIMIT $2";
        let rows = self.read(Statement::new(sql, [after.into(), limit.into()])).await?;
        Ok(rows.iter().map(query_from_row).collect())
    }

    /// Deletes a query and its subscriptions.
    pub async fn delete_named_query(&self, name: &str) -> Result<(), StoreError> {
        let statements = [
            "DELETE FROM epcis_subscription WHERE query = $1",
            "DELETE FROM epcis_query WHERE name = $1",
        ];
        let statements = statements.map(|sql| Statement::new(sql, [name.into()]));
        self.write(statements.to_vec()).await.map(drop)
    }

    /// Stores a subscription, unless the query is gone or the token has `most` subscriptions;
    /// returns whether it was stored.
    pub async fn put_query_subscription(
        &self,
        subscription: &QuerySubscription,
        most: u32,
    ) -> Result<bool, StoreError> {
        let put = Statement::new(
            "INSERT INTO epcis_subscription (id, query, who, dest, secret, made_at, after_at, after_n, next_at, \
             claimed_until, tries) SELECT $1, name, $3, $4, $5, CAST($6 AS BIGINT), CAST($7 AS BIGINT), \
             CAST($8 AS BIGINT), 0, 0, 0 FROM epcis_query WHERE name = $2 \
             AND (SELECT COUNT(*) FROM epcis_subscription WHERE who = $3) < $9 RETURNING id",
            [
                subscription.id.as_str().into(),
                subscription.query.as_str().into(),
                subscription.token_name.as_str().into(),
                subscription.dest.as_str().into(),
                subscription.secret.as_deref().into(),
                subscription.made_at.into(),
                subscription.after.0.into(),
                subscription.after.1.into(),
                most.into(),
            ],
        );
        Ok(!self.write(vec![put]).await?[0].rows.is_empty())
    }

    /// Subscriptions of a token to a query.
    pub async fn query_subscriptions(
        &self,
        query: &str,
        who: &str,
    ) -> Result<Vec<QuerySubscription>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM epcis_subscription WHERE query = $1 AND who = $2 ORDER BY made_at, id"
        );
        let rows = self.read(Statement::new(sql, [query.into(), who.into()])).await?;
        Ok(rows.iter().map(subscription_from_row).collect())
    }

    /// Deletes a subscription of a token; returns whether it existed.
    pub async fn delete_query_subscription(
        &self,
        query: &str,
        who: &str,
        id: &str,
    ) -> Result<bool, StoreError> {
        let sql =
            "DELETE FROM epcis_subscription WHERE id = $1 AND query = $2 AND who = $3 RETURNING id";
        let gone = Statement::new(sql, [id.into(), query.into(), who.into()]);
        Ok(!self.write(vec![gone]).await?[0].rows.is_empty())
    }

    /// Subscriptions that may be sent at `now`, with the parameters of their queries.
    pub async fn due_query_subscriptions(
        &self,
        now: UtcTime,
    ) -> Result<Vec<(QuerySubscription, String)>, StoreError> {
        const MAX_DUE: u32 = 1_000;
        let columns: Vec<String> =
            COLUMNS.split(", ").map(|column| format!("epcis_subscription.{column}")).collect();
        let sql = format!(
            "SELECT {}, epcis_query.doc FROM epcis_subscription JOIN epcis_query ON \
             epcis_query.name = epcis_subscription.query WHERE next_at <= $1 AND claimed_until <= $1 \
             ORDER BY next_at LIMIT $2",
            columns.join(", ")
        );
        let rows = self.read(Statement::new(sql, [now.into(), MAX_DUE.into()])).await?;
        Ok(rows.iter().map(|row| (subscription_from_row(row), row.text(10).to_owned())).collect())
    }

    /// Claims a subscription until `until`, if it still has this position; returns whether it did.
    pub async fn claim_query_subscription(
        &self,
        subscription: &QuerySubscription,
        now: UtcTime,
        until: UtcTime,
    ) -> Result<bool, StoreError> {
        let claim = Statement::new(
            "UPDATE epcis_subscription SET claimed_until = $3 WHERE id = $1 AND claimed_until <= $2 \
             AND after_at = $4 AND after_n = $5 AND tries = $6 RETURNING id",
            [
                subscription.id.as_str().into(),
                now.into(),
                until.into(),
                subscription.after.0.into(),
                subscription.after.1.into(),
                subscription.tries.into(),
            ],
        );
        Ok(!self.write(vec![claim]).await?[0].rows.is_empty())
    }

    /// Records the result of an attempt, and releases the claim.
    pub async fn finish_query_subscription(
        &self,
        id: &str,
        delivery: &QueryDelivery,
    ) -> Result<(), StoreError> {
        let finish = Statement::new(
            "UPDATE epcis_subscription SET after_at = $2, after_n = $3, tries = $4, next_at = $5, error = $6, \
             claimed_until = 0 WHERE id = $1",
            [
                id.into(),
                delivery.after.0.into(),
                delivery.after.1.into(),
                delivery.tries.into(),
                delivery.next_at.into(),
                delivery.error.as_deref().into(),
            ],
        );
        self.write(vec![finish]).await.map(drop)
    }
}
