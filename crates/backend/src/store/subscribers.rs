//! Subscribers to a parcel and their alerts.

use super::{Row, Statement, Store, StoreError, Value};
use crate::tracking::parcel::SubscriptionView;
use waypost_model::units::UtcTime;

/// Number of parcels per query.
const BATCH_SIZE: usize = 50;
/// Maximum number of parcels in a full scan.
const MAX_PARCELS: i64 = 100_000;

/// A subscriber to a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Secret id, used to unsubscribe.
    pub id: String,
    pub epc: String,
    /// `email` or `webhook`.
    pub channel: String,
    /// Email address or URL.
    pub address: String,
    /// Language tag (BCP 47).
    pub language: Option<String>,
}

impl Subscriber {
    /// View for everyone with the link, with a masked address.
    #[must_use]
    pub fn view(&self) -> SubscriptionView {
        SubscriptionView {
            id: self.id.clone(),
            channel: self.channel.clone(),
            address: mask_address(&self.channel, &self.address),
        }
    }
}

/// Masks an address as `m…@example.com` or `https://example.com/…`.
fn mask_address(channel: &str, address: &str) -> String {
    if channel == "email" {
        let (name, host) = address.rsplit_once('@').unwrap_or(("", address));
        let first: String = name.chars().take(1).collect();
        return format!("{first}…@{host}");
    }
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Credentials before the host are private.
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("https://{host}/…")
}

/// A pending alert, claimed by this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedAlert {
    /// Id of the subscriber.
    pub subscriber: String,
    /// Alert kind.
    pub kind: String,
    pub epc: String,
    /// Time of creation.
    pub made_at: UtcTime,
    /// Deadline after which it is not sent.
    pub fresh_until: UtcTime,
    /// Number of attempts.
    pub tries: u64,
    /// `email` or `webhook`.
    pub channel: String,
    /// Email address or URL.
    pub address: String,
    /// Language tag (BCP 47).
    pub language: Option<String>,
}

/// Result of sending an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertResult {
    /// Sent.
    Sent,
    /// No longer true.
    Stale,
    /// Failed; retry at that time.
    Retry(UtcTime, String),
    /// Failed permanently.
    Failed(String),
}

const COLUMNS: &str = "id, epc, channel, address, language";

fn subscriber_from_row(row: &Row) -> Subscriber {
    Subscriber {
        id: row.text(0).to_owned(),
        epc: row.text(1).to_owned(),
        channel: row.text(2).to_owned(),
        address: row.text(3).to_owned(),
        language: row.maybe_text(4).map(str::to_owned),
    }
}

impl Store {
    /// Subscribers to a parcel, in order of subscription.
    pub async fn subscribers(&self, epc: &str) -> Result<Vec<Subscriber>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM subscriber WHERE epc = $1 ORDER BY made_at, id");
        let rows = self.read(Statement::new(sql, [epc.into()])).await?;
        Ok(rows.iter().map(subscriber_from_row).collect())
    }

    /// Stores a subscriber, who receives no alerts of the kinds in `known`. A second one with the
    /// same address changes nothing.
    pub async fn put_subscriber(
        &self,
        new: &Subscriber,
        known: &[&str],
        now: UtcTime,
    ) -> Result<(), StoreError> {
        let Subscriber { id, epc, channel, address, language } = new;
        let mut statements = vec![Statement::new(
            "INSERT INTO subscriber (id, epc, channel, address, language, made_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (epc, channel, address) DO NOTHING",
            [
                id.as_str().into(),
                epc.as_str().into(),
                channel.as_str().into(),
                address.as_str().into(),
                language.as_deref().into(),
                now.into(),
            ],
        )];
        statements.extend(known.iter().map(|kind| {
            Statement::new(
                "INSERT INTO alert (subscriber, kind, epc, doc, made_at, fresh_until, state, tries, next_at, claimed_until) \
                 SELECT id, $2, epc, '', CAST($3 AS BIGINT), CAST($3 AS BIGINT), 'known', 0, 0, 0 FROM subscriber \
                 WHERE id = $1 ON CONFLICT (subscriber, kind) DO NOTHING",
                [id.as_str().into(), (*kind).into(), now.into()],
            )
        }));
        self.write(statements).await.map(drop)
    }

    /// Deletes a subscriber, of that parcel if given; returns whether there was one.
    pub async fn delete_subscriber(&self, id: &str, epc: Option<&str>) -> Result<bool, StoreError> {
        let of = "WHERE id = $1 AND COALESCE($2, epc) = epc";
        let values = || vec![id.into(), epc.into()];
        let outcomes = self
            .write(vec![
                Statement::new(
                    format!(
                        "DELETE FROM alert WHERE subscriber IN (SELECT id FROM subscriber {of})"
                    ),
                    values(),
                ),
                Statement::new(format!("DELETE FROM subscriber {of}"), values()),
            ])
            .await?;
        Ok(outcomes[1].rows_affected > 0)
    }

    /// Parcels with subscribers that may still receive alerts.
    pub async fn parcels_with_subscribers(&self) -> Result<Vec<String>, StoreError> {
        let sql = format!("SELECT DISTINCT epc FROM subscriber WHERE {NOT_DELIVERED} LIMIT $1");
        self.select_epcs(Statement::new(sql, [MAX_PARCELS.into()])).await
    }

    /// Those of `epcs` with subscribers that may still receive alerts.
    pub async fn parcels_with_subscribers_among(
        &self,
        epcs: &[&str],
    ) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        for chunk in epcs.chunks(BATCH_SIZE) {
            let places: Vec<String> = (1..=BATCH_SIZE).map(|place| format!("${place}")).collect();
            let sql = format!(
                "SELECT DISTINCT epc FROM subscriber WHERE epc IN ({}) AND {NOT_DELIVERED}",
                places.join(", ")
            );
            let rest = std::iter::repeat_n("", BATCH_SIZE - chunk.len());
            let values: Vec<Value> = chunk.iter().copied().chain(rest).map(Value::from).collect();
            found.extend(self.select_epcs(Statement::new(sql, values)).await?);
        }
        Ok(found)
    }

    /// Parcels on a van's routes with subscribers that may still receive alerts.
    pub async fn parcels_with_subscribers_for_van(
        &self,
        van: &str,
    ) -> Result<Vec<String>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT subscriber.epc FROM route JOIN parcel ON parcel.route = route.route \
             JOIN subscriber ON subscriber.epc = parcel.epc \
             WHERE route.van = $1 AND route.withdrawn = 0 AND {NOT_DELIVERED}"
        );
        self.select_epcs(Statement::new(sql, [van.into()])).await
    }

    async fn select_epcs(&self, statement: Statement) -> Result<Vec<String>, StoreError> {
        let rows = self.read(statement).await?;
        Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
    }

    /// Enqueues an alert for each subscriber of a parcel, once per kind. An alert that became stale
    /// unsent may be enqueued again, for example after a retracted delivery.
    pub async fn enqueue_alerts(
        &self,
        epc: &str,
        kind: &str,
        fresh_until: UtcTime,
        now: UtcTime,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO alert (subscriber, kind, epc, doc, made_at, fresh_until, state, tries, next_at, claimed_until) \
             SELECT id, $2, epc, '', CAST($3 AS BIGINT), CAST($4 AS BIGINT), 'waiting', 0, CAST($3 AS BIGINT), 0 \
             FROM subscriber WHERE epc = $1 \
             AND NOT EXISTS (SELECT 1 FROM alert AS told \
             WHERE told.subscriber = subscriber.id AND told.kind = $2 AND told.state <> 'stale') \
             ON CONFLICT (subscriber, kind) DO UPDATE SET state = 'waiting', made_at = excluded.made_at, \
             fresh_until = excluded.fresh_until, tries = 0, next_at = excluded.next_at WHERE alert.state = 'stale'";
        let values = [epc.into(), kind.into(), now.into(), fresh_until.into()];
        self.write(vec![Statement::new(sql, values)]).await.map(drop)
    }

    /// Claims up to `most` due alerts for this instance until `until`.
    pub async fn claim_alerts(
        &self,
        now: UtcTime,
        until: UtcTime,
        most: u32,
    ) -> Result<Vec<ClaimedAlert>, StoreError> {
        let due = "state = 'waiting' AND next_at <= $1 AND claimed_until <= $1";
        let some = Statement::new(format!("SELECT 1 FROM alert WHERE {due} LIMIT 1"), [now.into()]);
        // A read is cheaper than a write, and usually no alert is due.
        if self.read(some).await?.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "UPDATE alert SET claimed_until = $2 WHERE (subscriber, kind) IN \
             (SELECT subscriber, kind FROM alert WHERE {due} ORDER BY next_at LIMIT $3) AND {due} \
             RETURNING subscriber, kind, epc, made_at, fresh_until, tries, \
             (SELECT channel FROM subscriber WHERE id = alert.subscriber), \
             (SELECT address FROM subscriber WHERE id = alert.subscriber), \
             (SELECT language FROM subscriber WHERE id = alert.subscriber)"
        );
        let outcomes =
            self.write(vec![Statement::new(sql, [now.into(), until.into(), most.into()])]).await?;
        Ok(outcomes[0].rows.iter().map(claimed_alert_from_row).collect())
    }

    /// Records the result of sending an alert.
    pub async fn record_alert_result(
        &self,
        waiting: &ClaimedAlert,
        outcome: &AlertResult,
    ) -> Result<(), StoreError> {
        let (state, next_at, error) = match outcome {
            AlertResult::Sent => ("sent", None, None),
            AlertResult::Stale => ("stale", None, None),
            AlertResult::Retry(at, error) => ("waiting", Some(*at), Some(error.as_str())),
            AlertResult::Failed(error) => ("dead", None, Some(error.as_str())),
        };
        let sql = "UPDATE alert SET state = $3, next_at = COALESCE(CAST($4 AS BIGINT), next_at), error = $5, \
             tries = tries + 1, claimed_until = 0 WHERE subscriber = $1 AND kind = $2";
        let values = [
            waiting.subscriber.as_str().into(),
            waiting.kind.as_str().into(),
            state.into(),
            next_at.into(),
            error.into(),
        ];
        self.write(vec![Statement::new(sql, values)]).await.map(drop)
    }
}

/// No alert follows a delivery.
const NOT_DELIVERED: &str = "NOT EXISTS (SELECT 1 FROM alert WHERE alert.subscriber = subscriber.id AND alert.kind = 'delivered' \
    AND alert.state <> 'stale')";

fn claimed_alert_from_row(row: &Row) -> ClaimedAlert {
    let text = |column| row.maybe_text(column).map(str::to_owned);
    ClaimedAlert {
        subscriber: row.text(0).to_owned(),
        kind: row.text(1).to_owned(),
        epc: row.text(2).to_owned(),
        made_at: row.utc(3),
        fresh_until: row.utc(4),
        tries: row.count(5),
        channel: text(6).unwrap_or_default(),
        address: text(7).unwrap_or_default(),
        language: text(8),
    }
}
