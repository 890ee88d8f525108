//! Who wants to be told of a parcel, and what was told ↔ rows.

use super::{Row, Statement, Store, StoreError, Value};
use crate::backend::view::parcel::AlertView;
use crate::units::UtcTime;

/// So many parcels are asked for at once.
const CHUNK: usize = 50;
/// Of one look at everything.
const MOST: i64 = 100_000;

/// Somebody who wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// By which it is ended; nobody can guess it.
    pub id: String,
    /// The parcel.
    pub epc: String,
    /// `email` or `webhook`.
    pub channel: String,
    /// Where.
    pub address: String,
    /// BCP 47.
    pub language: Option<String>,
}

impl Subscriber {
    /// As everybody with the link may see it.
    #[must_use]
    pub fn view(&self) -> AlertView {
        AlertView {
            id: self.id.clone(),
            channel: self.channel.clone(),
            address: masked(&self.channel, &self.address),
        }
    }
}

/// `m…@example.com`, `https://example.com/…`
fn masked(channel: &str, address: &str) -> String {
    if channel == "email" {
        let (name, host) = address.rsplit_once('@').unwrap_or(("", address));
        let first: String = name.chars().take(1).collect();
        return format!("{first}…@{host}");
    }
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A user name or password before the host is nobody's business.
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("https://{host}/…")
}

/// Something to be told that waits, claimed by this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// To whom.
    pub subscriber: String,
    /// What.
    pub kind: String,
    /// Of which parcel.
    pub epc: String,
    /// Since when.
    pub made_at: UtcTime,
    /// After this it is not told any more.
    pub fresh_until: UtcTime,
    /// How often it was tried.
    pub tries: u64,
    /// `email` or `webhook`.
    pub channel: String,
    /// Where.
    pub address: String,
    /// BCP 47.
    pub language: Option<String>,
}

/// What came of telling it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent.
    Sent,
    /// It was not so any more.
    Stale,
    /// It is tried again at that time.
    Again(UtcTime, String),
    /// It is not tried again.
    Dead(String),
}

const COLUMNS: &str = "id, epc, channel, address, language";

fn subscriber(row: &Row) -> Subscriber {
    Subscriber {
        id: row.text(0).to_owned(),
        epc: row.text(1).to_owned(),
        channel: row.text(2).to_owned(),
        address: row.text(3).to_owned(),
        language: row.maybe_text(4).map(str::to_owned),
    }
}

impl Store {
    /// Who wants to be told of a parcel, in the order in which they asked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn subscribers(&self, epc: &str) -> Result<Vec<Subscriber>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM subscriber WHERE epc = $1 ORDER BY made_at, id");
        let rows = self.read(Statement::new(sql, [epc.into()])).await?;
        Ok(rows.iter().map(subscriber).collect())
    }

    /// Keeps a new subscriber, to whom the kinds `known` are not told; a second one with the same address changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
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

    /// Ends a subscription, of that parcel if one is given; whether there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_subscriber(&self, id: &str, epc: Option<&str>) -> Result<bool, StoreError> {
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
        Ok(outcomes[1].changed > 0)
    }

    /// Parcels of which somebody is still to be told something.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waited_for(&self) -> Result<Vec<String>, StoreError> {
        let sql = format!("SELECT DISTINCT epc FROM subscriber WHERE {NOT_OVER} LIMIT $1");
        self.epcs(Statement::new(sql, [MOST.into()])).await
    }

    /// Those of `epcs` of which somebody is still to be told something.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waited_for_of(&self, epcs: &[&str]) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        for chunk in epcs.chunks(CHUNK) {
            let places: Vec<String> = (1..=CHUNK).map(|place| format!("${place}")).collect();
            let sql = format!(
                "SELECT DISTINCT epc FROM subscriber WHERE epc IN ({}) AND {NOT_OVER}",
                places.join(", ")
            );
            let rest = std::iter::repeat_n("", CHUNK - chunk.len());
            let values: Vec<Value> = chunk.iter().copied().chain(rest).map(Value::from).collect();
            found.extend(self.epcs(Statement::new(sql, values)).await?);
        }
        Ok(found)
    }

    /// Parcels on routes of a van of which somebody is still to be told something.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waited_for_on(&self, van: &str) -> Result<Vec<String>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT subscriber.epc FROM route JOIN parcel ON parcel.route = route.route \
             JOIN subscriber ON subscriber.epc = parcel.epc \
             WHERE route.van = $1 AND route.withdrawn = 0 AND {NOT_OVER}"
        );
        self.epcs(Statement::new(sql, [van.into()])).await
    }

    async fn epcs(&self, statement: Statement) -> Result<Vec<String>, StoreError> {
        let rows = self.read(statement).await?;
        Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
    }

    /// Lets all subscribers of a parcel be told something, each once. What was never sent, because it was not so any more,
    /// may become so again: a hand-over that was taken back, and then the true one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_alerts(
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

    /// Takes up to `most` that are due, so that no other instance does until `until`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_alerts(
        &self,
        now: UtcTime,
        until: UtcTime,
        most: u32,
    ) -> Result<Vec<Waiting>, StoreError> {
        let due = "state = 'waiting' AND next_at <= $1 AND claimed_until <= $1";
        let some = Statement::new(format!("SELECT 1 FROM alert WHERE {due} LIMIT 1"), [now.into()]);
        // Looking is cheaper than writing, and mostly there is nothing.
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
        Ok(outcomes[0].rows.iter().map(waiting).collect())
    }

    /// Keeps what came of telling something.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn alert_came_to(
        &self,
        waiting: &Waiting,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let (state, next_at, error) = match outcome {
            Outcome::Sent => ("sent", None, None),
            Outcome::Stale => ("stale", None, None),
            Outcome::Again(at, error) => ("waiting", Some(*at), Some(error.as_str())),
            Outcome::Dead(error) => ("dead", None, Some(error.as_str())),
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

/// After the hand-over there is nothing more to tell.
const NOT_OVER: &str = "NOT EXISTS (SELECT 1 FROM alert WHERE alert.subscriber = subscriber.id AND alert.kind = 'delivered' \
    AND alert.state <> 'stale')";

fn waiting(row: &Row) -> Waiting {
    let text = |column| row.maybe_text(column).map(str::to_owned);
    Waiting {
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
