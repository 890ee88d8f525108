//! Accepted EPCIS captures. Each is processed once, by any instance, also after a restart.

use super::{Row, Statement, Store, StoreError, Value};
use waypost_model::units::UtcTime;

/// An accepted capture (EPCIS 2.0 §12.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureJob {
    /// `captureID`.
    pub id: String,
    /// Name of the API token.
    pub token_name: String,
    /// `rollback` or `proceed`.
    pub behaviour: String,
    /// Time of acceptance.
    pub made_at: UtcTime,
    /// Time of completion.
    pub finished_at: Option<UtcTime>,
    /// `running`, `success` or `errors`.
    pub state: String,
    /// Number of events.
    pub events: u64,
    /// The document, while the job is running.
    pub doc: Option<String>,
    /// Errors as a JSON array.
    pub errors: Option<String>,
}

const COLUMNS: &str = "id, who, behaviour, made_at, finished_at, state, events, doc, errors";

fn job_from_row(row: &Row) -> CaptureJob {
    let text = |column| row.maybe_text(column).map(str::to_owned);
    CaptureJob {
        id: row.text(0).to_owned(),
        token_name: row.text(1).to_owned(),
        behaviour: row.text(2).to_owned(),
        made_at: row.utc(3),
        finished_at: row.maybe_utc(4),
        state: row.text(5).to_owned(),
        events: row.count(6),
        doc: text(7),
        errors: text(8),
    }
}

/// Statement that finishes a job. In one transaction with the job's events, so that these are
/// stored once.
#[must_use]
pub fn finish(id: &str, at: UtcTime, errors: Option<&str>) -> Statement {
    let state = if errors.is_none() { "success" } else { "errors" };
    Statement::new(
        "UPDATE capture_job SET state = $2, finished_at = $3, doc = NULL, errors = $4 \
         WHERE id = $1 AND state = 'running'",
        [id.into(), state.into(), at.into(), errors.into()],
    )
}

impl Store {
    /// Stores a job to be processed.
    pub async fn put_job(&self, job: &CaptureJob) -> Result<(), StoreError> {
        let put = Statement::new(
            "INSERT INTO capture_job (id, who, behaviour, made_at, claimed_until, state, events, doc) \
             VALUES ($1, $2, $3, $4, 0, 'running', $5, $6)",
            [
                job.id.as_str().into(),
                job.token_name.as_str().into(),
                job.behaviour.as_str().into(),
                job.made_at.into(),
                job.events.into(),
                job.doc.as_deref().into(),
            ],
        );
        self.write(vec![put]).await.map(drop)
    }

    /// Claims the oldest pending job until `until`; if this instance fails, another one takes over
    /// then.
    pub async fn claim_job(
        &self,
        now: UtcTime,
        until: UtcTime,
    ) -> Result<Option<CaptureJob>, StoreError> {
        let sql = format!(
            "UPDATE capture_job SET claimed_until = $2 WHERE state = 'running' AND claimed_until <= $1 AND id = \
             (SELECT id FROM capture_job WHERE state = 'running' AND claimed_until <= $1 \
             ORDER BY made_at, id LIMIT 1) RETURNING {COLUMNS}"
        );
        let outcomes = self.write(vec![Statement::new(sql, [now.into(), until.into()])]).await?;
        Ok(outcomes[0].rows.first().map(job_from_row))
    }

    /// A job by its `captureID`.
    pub async fn job(&self, id: &str) -> Result<Option<CaptureJob>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM capture_job WHERE id = $1");
        Ok(self.read(Statement::new(sql, [id.into()])).await?.first().map(job_from_row))
    }

    /// Jobs of one token, newest first, without documents, after `before` (time and id of the last
    /// known job).
    pub async fn jobs(
        &self,
        who: &str,
        before: Option<(UtcTime, &str)>,
        limit: u32,
    ) -> Result<Vec<CaptureJob>, StoreError> {
        let (at, id) = before.map_or((i64::MAX, ""), |(at, id)| (at.as_unix_ms(), id));
        let values: [Value; 4] = [who.into(), at.into(), id.into(), limit.into()];
        let rows = self.read(Statement::new(
            "SELECT id, who, behaviour, made_at, finished_at, state, events, NULL, errors FROM capture_job \
             WHERE who = $1 AND (made_at < $2 OR made_at = $2 AND id < $3) ORDER BY made_at DESC, id DESC LIMIT $4",
            values,
        ));
        Ok(rows.await?.iter().map(job_from_row).collect())
    }
}
