//! Subscribers to a parcel and their alerts.

use std::time::Duration;

use super::{Row, Statement, Store, StoreError, Value};
use crate::tracking::parcel::SubscriptionView;
use waypost_model::units::UtcTime;

/// Number of parcels per query.
const BATCH_SIZE: usize = 50;
/// Maximum number of parcels in a full scan.
const MAX_PARCELS: i64 = 100_000;
/// Time after a delivery for which a full scan looks for its retraction.
const CORRECTION_SEARCH: Duration = Duration::from_hours(2);

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
    /// Secret of the confirmation link, known only to the owner of the address.
    pub confirm_token: Option<String>,
    /// Time of the confirmation; only a confirmed subscriber receives alerts.
    pub confirmed_at: Option<UtcTime>,
    /// Signing secret of a webhook.
    pub secret: Option<String>,
}

impl Subscriber {
    /// View for everyone with the link, with a masked address.
    #[must_use]
    pub fn view(&self) -> SubscriptionView {
        SubscriptionView {
            id: self.id.clone(),
            channel: self.channel.clone(),
            address: mask_address(&self.channel, &self.address),
            confirmed: self.confirmed_at.is_some(),
            secret: None,
        }
    }
}

/// Masks an address as `m…@example.com` or `https://example.com/…`.
#[must_use]
pub fn mask_address(channel: &str, address: &str) -> String {
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
    /// Alert kind, or [`CONFIRMATION`].
    pub kind: String,
    /// Route or event that the alert is about.
    pub occurrence: String,
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
    /// Secret of the confirmation link.
    pub confirm_token: Option<String>,
    /// Time of the confirmation.
    pub confirmed_at: Option<UtcTime>,
    /// Signing secrets of a webhook: the current one and, soon after a rotation, the one before.
    pub secrets: Vec<String>,
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

/// Kind of the message that asks the owner of an address for a confirmation.
pub const CONFIRMATION: &str = "confirmation";

/// Time for which a rotated secret signs beside the new one.
pub const ROTATION_OVERLAP: Duration = Duration::from_hours(24);

const COLUMNS: &str = "id, epc, channel, address, language, confirm_token, confirmed_at, secret";

fn subscriber_from_row(row: &Row) -> Subscriber {
    Subscriber {
        id: row.text(0).to_owned(),
        epc: row.text(1).to_owned(),
        channel: row.text(2).to_owned(),
        address: row.text(3).to_owned(),
        language: row.maybe_text(4).map(str::to_owned),
        confirm_token: row.maybe_text(5).map(str::to_owned),
        confirmed_at: row.maybe_utc(6),
        secret: row.maybe_text(7).map(str::to_owned),
    }
}

/// Statement that marks an alert as known to a subscriber, who does not receive it.
fn mark_known(id: &str, (kind, occurrence): &(&str, &str), now: UtcTime) -> Statement {
    Statement::new(
        "INSERT INTO alert (subscriber, kind, occurrence, epc, doc, made_at, fresh_until, state, tries, next_at, \
         claimed_until) \
         SELECT id, $2, $4, epc, '', CAST($3 AS BIGINT), CAST($3 AS BIGINT), 'known', 0, 0, 0 FROM subscriber \
         WHERE id = $1 ON CONFLICT (subscriber, kind, occurrence) DO NOTHING",
        [id.into(), (*kind).into(), now.into(), (*occurrence).into()],
    )
}

impl Store {
    /// Subscribers to a parcel, in order of subscription.
    pub async fn subscribers(&self, epc: &str) -> Result<Vec<Subscriber>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM subscriber WHERE epc = $1 ORDER BY made_at, id");
        let rows = self.read(Statement::new(sql, [epc.into()])).await?;
        Ok(rows.iter().map(subscriber_from_row).collect())
    }

    /// Stores a subscriber, who receives no alerts in `known` (kind and occurrence). An unconfirmed
    /// one is sent a request for confirmation until `confirm_until`. A second one with the same
    /// address changes nothing.
    pub async fn put_subscriber(
        &self,
        new: &Subscriber,
        known: &[(&str, &str)],
        confirm_until: UtcTime,
        now: UtcTime,
    ) -> Result<(), StoreError> {
        let Subscriber { id, epc, channel, address, language, .. } = new;
        let mut statements = vec![Statement::new(
            "INSERT INTO subscriber (id, epc, channel, address, language, made_at, confirm_token, confirmed_at, secret) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (epc, channel, address) DO NOTHING",
            [
                id.as_str().into(),
                epc.as_str().into(),
                channel.as_str().into(),
                address.as_str().into(),
                language.as_deref().into(),
                now.into(),
                new.confirm_token.as_deref().into(),
                new.confirmed_at.into(),
                new.secret.as_deref().into(),
            ],
        )];
        if new.confirmed_at.is_some() {
            statements.extend(known.iter().map(|known| mark_known(id, known, now)));
        } else {
            statements.push(Statement::new(
                "INSERT INTO alert (subscriber, kind, occurrence, epc, doc, made_at, fresh_until, state, tries, next_at, \
                 claimed_until) SELECT id, $2, '', epc, '', CAST($3 AS BIGINT), CAST($4 AS BIGINT), 'waiting', 0, \
                 CAST($3 AS BIGINT), 0 FROM subscriber WHERE id = $1",
                [id.as_str().into(), CONFIRMATION.into(), now.into(), confirm_until.into()],
            ));
        }
        self.write(statements).await.map(drop)
    }

    /// The subscriber with this secret of a confirmation link.
    pub async fn subscriber_by_confirm_token(
        &self,
        token: &str,
    ) -> Result<Option<Subscriber>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM subscriber WHERE confirm_token = $1");
        let rows = self.read(Statement::new(sql, [token.into()])).await?;
        Ok(rows.first().map(subscriber_from_row))
    }

    /// Confirms a subscriber, who receives no alerts in `known` (kind and occurrence).
    pub async fn confirm_subscriber(
        &self,
        id: &str,
        known: &[(&str, &str)],
        now: UtcTime,
    ) -> Result<(), StoreError> {
        let mut statements = vec![Statement::new(
            "UPDATE subscriber SET confirmed_at = $2 WHERE id = $1 AND confirmed_at IS NULL",
            [id.into(), now.into()],
        )];
        statements.extend(known.iter().map(|known| mark_known(id, known, now)));
        self.write(statements).await.map(drop)
    }

    /// Replaces the secret of a webhook, if `current` is its secret. The old one signs beside the
    /// new one for [`ROTATION_OVERLAP`].
    pub async fn rotate_secret(
        &self,
        (id, epc): (&str, &str),
        current: &str,
        new: &str,
        now: UtcTime,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE subscriber SET previous_secret = secret, secret = $4, rotated_at = $5 \
                   WHERE id = $1 AND epc = $2 AND channel = 'webhook' AND secret = $3";
        let values = [id.into(), epc.into(), current.into(), new.into(), now.into()];
        Ok(self.write(vec![Statement::new(sql, values)]).await?[0].rows_affected > 0)
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

    /// Parcels with subscribers that may still receive alerts at `now`. After a delivery only a
    /// correction follows, which is looked for as long as a lost change may have named it.
    pub async fn parcels_with_subscribers(&self, now: UtcTime) -> Result<Vec<String>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT epc FROM subscriber WHERE {CONFIRMED} AND NOT EXISTS \
             ({DELIVERED} AND alert.made_at < $2) LIMIT $1"
        );
        let settled = now.checked_sub(CORRECTION_SEARCH).unwrap_or(now);
        self.select_epcs(Statement::new(sql, [MAX_PARCELS.into(), settled.into()])).await
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
                "SELECT DISTINCT epc FROM subscriber WHERE epc IN ({}) AND {CONFIRMED}",
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
             WHERE route.van = $1 AND route.withdrawn = 0 AND {CONFIRMED} AND NOT EXISTS ({DELIVERED})"
        );
        self.select_epcs(Statement::new(sql, [van.into()])).await
    }

    async fn select_epcs(&self, statement: Statement) -> Result<Vec<String>, StoreError> {
        let rows = self.read(statement).await?;
        Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
    }

    /// Enqueues an alert for each confirmed subscriber of a parcel, once per kind and occurrence. An
    /// alert that became stale unsent may be enqueued again.
    pub async fn enqueue_alerts(
        &self,
        epc: &str,
        (kind, occurrence): (&str, &str),
        fresh_until: UtcTime,
        now: UtcTime,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO alert (subscriber, kind, occurrence, epc, doc, made_at, fresh_until, state, tries, next_at, \
             claimed_until) \
             SELECT id, $2, $5, epc, '', CAST($3 AS BIGINT), CAST($4 AS BIGINT), 'waiting', 0, CAST($3 AS BIGINT), 0 \
             FROM subscriber WHERE epc = $1 AND {CONFIRMED} \
             AND NOT EXISTS (SELECT 1 FROM alert AS told WHERE told.subscriber = subscriber.id \
             AND told.kind = $2 AND told.occurrence = $5 AND told.state <> 'stale') \
             ON CONFLICT (subscriber, kind, occurrence) DO UPDATE SET state = 'waiting', made_at = excluded.made_at, \
             fresh_until = excluded.fresh_until, tries = 0, next_at = excluded.next_at WHERE alert.state = 'stale'"
        );
        let values = [epc.into(), kind.into(), now.into(), fresh_until.into(), occurrence.into()];
        self.write(vec![Statement::new(sql, values)]).await.map(drop)
    }

    /// Events about which a parcel's subscribers were sent an outcome, or knew it.
    pub async fn sent_outcomes(&self, epc: &str) -> Result<Vec<String>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT occurrence FROM alert WHERE epc = $1 AND state IN ('sent', 'known') AND kind IN {OUTCOMES}"
        );
        self.select_epcs(Statement::new(sql, [epc.into()])).await
    }

    /// Enqueues a correction for each subscriber who was sent an outcome that the event `event_id`
    /// reported, once. Subscribers who only knew it from the page need none.
    pub async fn enqueue_corrections(
        &self,
        epc: &str,
        event_id: &str,
        fresh_until: UtcTime,
        now: UtcTime,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO alert (subscriber, kind, occurrence, epc, doc, made_at, fresh_until, state, tries, next_at, \
             claimed_until) \
             SELECT DISTINCT told.subscriber, 'correction', $2, $1, '', CAST($3 AS BIGINT), CAST($4 AS BIGINT), \
             'waiting', 0, CAST($3 AS BIGINT), 0 FROM alert AS told WHERE told.epc = $1 AND told.occurrence = $2 \
             AND told.state = 'sent' AND told.kind IN {OUTCOMES} \
             ON CONFLICT (subscriber, kind, occurrence) DO NOTHING"
        );
        let values = [epc.into(), event_id.into(), now.into(), fresh_until.into()];
        let forget = format!(
            "UPDATE alert SET state = 'stale' WHERE epc = $1 AND occurrence = $2 AND state = 'known' \
             AND kind IN {OUTCOMES}"
        );
        let forget = Statement::new(forget, [epc.into(), event_id.into()]);
        self.write(vec![Statement::new(sql, values), forget]).await.map(drop)
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
            "UPDATE alert SET claimed_until = $2 WHERE (subscriber, kind, occurrence) IN \
             (SELECT subscriber, kind, occurrence FROM alert WHERE {due} ORDER BY next_at LIMIT $3) AND {due} \
             RETURNING subscriber, kind, epc, made_at, fresh_until, tries, occurrence, {}",
            [
                "channel",
                "address",
                "language",
                "confirm_token",
                "confirmed_at",
                "secret",
                "previous_secret",
                "rotated_at"
            ]
            .map(|column| format!("(SELECT {column} FROM subscriber WHERE id = alert.subscriber)"))
            .join(", ")
        );
        let outcomes =
            self.write(vec![Statement::new(sql, [now.into(), until.into(), most.into()])]).await?;
        Ok(outcomes[0].rows.iter().map(|row| claimed_alert_from_row(row, now)).collect())
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
             tries = tries + 1, claimed_until = 0 WHERE subscriber = $1 AND kind = $2 AND occurrence = $6";
        let values = [
            waiting.subscriber.as_str().into(),
            waiting.kind.as_str().into(),
            state.into(),
            next_at.into(),
            error.into(),
            waiting.occurrence.as_str().into(),
        ];
        self.write(vec![Statement::new(sql, values)]).await.map(drop)
    }
}

/// Condition of a subscriber who receives alerts.
const CONFIRMED: &str = "subscriber.confirmed_at IS NOT NULL";

/// Alert about a delivery that was not corrected. Of the alerts about the van, none follows it.
const DELIVERED: &str = "SELECT 1 FROM alert WHERE alert.subscriber = subscriber.id AND alert.kind = 'delivered' \
    AND alert.state <> 'stale' AND NOT EXISTS (SELECT 1 FROM alert AS correction \
    WHERE correction.subscriber = alert.subscriber AND correction.kind = 'correction' \
    AND correction.occurrence = alert.occurrence)";

/// Kinds of alerts that a retracted event makes wrong.
const OUTCOMES: &str = "('delivered', 'attempted', 'refused', 'returned', 'problem')";

fn claimed_alert_from_row(row: &Row, now: UtcTime) -> ClaimedAlert {
    let text = |column| row.maybe_text(column).map(str::to_owned);
    let overlaps = |at: UtcTime| at.checked_add(ROTATION_OVERLAP).is_some_and(|end| end > now);
    let previous = text(13).filter(|_| row.maybe_utc(14).is_some_and(overlaps));
    ClaimedAlert {
        subscriber: row.text(0).to_owned(),
        kind: row.text(1).to_owned(),
        occurrence: row.text(6).to_owned(),
        epc: row.text(2).to_owned(),
        made_at: row.utc(3),
        fresh_until: row.utc(4),
        tries: row.count(5),
        channel: text(7).unwrap_or_default(),
        address: text(8).unwrap_or_default(),
        language: text(9),
        confirm_token: text(10),
        confirmed_at: row.maybe_utc(11),
        secrets: text(12).into_iter().chain(previous).collect(),
    }
}
