//! Captures that were accepted ↔ rows: each is done once, by whichever instance comes first, also after a restart.

use super::{Row, Statement, Store, StoreError, Value};
use crate::units::UtcTime;

/// A capture that was accepted (EPCIS 2.0 §12.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// `captureID`.
    pub id: String,
    /// Name of the token.
    pub who: String,
    /// `rollback` or `proceed`.
    pub behaviour: String,
    /// When it came.
    pub made_at: UtcTime,
    /// When it was done.
    pub finished_at: Option<UtcTime>,
    /// `running`, `success` or `errors`.
    pub state: String,
    /// Events that came.
    pub events: u64,
    /// The document, while it is running.
    pub doc: Option<String>,
    /// What was wrong: a JSON array.
    pub errors: Option<String>,
}

const COLUMNS: &str = "id, who, behaviour, made_at, finished_at, state, events, doc, errors";

fn job(row: &Row) -> Job {
    let text = |column| row.maybe_text(column).map(str::to_owned);
    Job {
        id: row.text(0).to_owned(),
        who: row.text(1).to_owned(),
        behaviour: row.text(2).to_owned(),
        made_at: row.utc(3),
        finished_at: row.maybe_utc(4),
        state: row.text(5).to_owned(),
        events: row.count(6),
        doc: text(7),
        errors: text(8),
    }
}

/// Ends a job. In one transaction with its events they are there once, whoever did it.
#[must_use]
pub fn done(id: &str, at: UtcTime, errors: Option<&str>) -> Statement {
    let state = if errors.is_none() { "success" } else { "errors" };
    Statement::new(
        "UPDATE capture_job SET state = $2, finished_at = $3, doc = NULL, errors = $4 \
         WHERE id = $1 AND state = 'running'",
        [id.into(), state.into(), at.into(), errors.into()],
    )
}

impl Store {
    /// Keeps a job that waits to be done.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_job(&self, job: &Job) -> Result<(), StoreError> {
        let put = Statement::new(
            "INSERT INTO capture_job (id, who, behaviour, made_at, claimed_until, state, events, doc) \
             VALUES ($1, $2, $3, $4, 0, 'running', $5, $6)",
            [
                job.id.as_str().into(),
                job.who.as_str().into(),
                job.behaviour.as_str().into(),
                job.made_at.into(),
                job.events.into(),
                job.doc.as_deref().into(),
            ],
        );
        self.write(vec![put]).await.map(drop)
    }

    /// Takes the oldest job that waits, for itself until `until`; whoever dies before leaves it to others then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_job(&self, now: UtcTime, until: UtcTime) -> Result<Option<Job>, StoreError> {
        let sql = format!(
            "UPDATE capture_job SET claimed_until = $2 WHERE state = 'running' AND claimed_until <= $1 AND id = \
             (SELECT id FROM capture_job WHERE state = 'running' AND claimed_until <= $1 \
             ORDER BY made_at, id LIMIT 1) RETURNING {COLUMNS}"
        );
        let outcomes = self.write(vec![Statement::new(sql, [now.into(), until.into()])]).await?;
        Ok(outcomes[0].rows.first().map(job))
    }

    /// A job by its `captureID`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM capture_job WHERE id = $1");
        Ok(self.read(Statement::new(sql, [id.into()])).await?.first().map(job))
    }

    /// Jobs of one token, newest first, without their documents, after `before` (time and id of the last one that is known).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn jobs(
        &self,
        who: &str,
        before: Option<(UtcTime, &str)>,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        let (at, id) = before.map_or((i64::MAX, ""), |(at, id)| (at.as_unix_ms(), id));
        let values: [Value; 4] = [who.into(), at.into(), id.into(), limit.into()];
        let rows = self.read(Statement::new(
            "SELECT id, who, behaviour, made_at, finished_at, state, events, NULL, errors FROM capture_job \
             WHERE who = $1 AND (made_at < $2 OR made_at = $2 AND id < $3) ORDER BY made_at DESC, id DESC LIMIT $4",
            values,
        ));
        Ok(rows.await?.iter().map(job).collect())
    }
}
