//! Commands for vans and their status.
//!
//! A command is `waiting` until its van is connected and `sent` until the van responds. The van's
//! result is `accepted`, `succeeded`, `failed`, `rejected` or `expired`. A command without a response
//! before its deadline is `expired` too.

use std::time::Duration;

use super::{Row, Statement, Store, StoreError};
use waypost_model::units::UtcTime;
use waypost_wire::command::CommandResultPayload;

/// Lifetime of a command without `expires`.
const DEFAULT_TTL: Duration = Duration::from_hours(24);

/// A command with its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// UUID, by which the van detects repeats.
    pub id: String,
    /// Id of the target van.
    pub van: String,
    /// Parcel that the command is about.
    pub epc: Option<String>,
    /// Command name, for example `set_preferences`.
    pub name: String,
    /// Complete payload of `command`.
    pub doc: String,
    /// Time of creation.
    pub made_at: UtcTime,
    /// Deadline after which the command is not sent.
    pub expires_at: Option<UtcTime>,
    /// Time at which it was last published.
    pub sent_at: Option<UtcTime>,
    /// Number of attempts.
    pub tries: u64,
    /// `waiting`, `sent`, `accepted`, `succeeded`, `failed`, `rejected` or `expired`.
    pub status: String,
    /// Reason of the result for programs, such as `unknown_parcel`.
    pub code: Option<String>,
    /// Reason of the result for people.
    pub detail: Option<String>,
    /// Time of the van's response.
    pub answered_at: Option<UtcTime>,
}

impl Command {
    /// Creates a command with status `waiting`.
    #[must_use]
    pub fn new(id: String, van: String, name: String, doc: String, made_at: UtcTime) -> Self {
        Self {
            id,
            van,
            epc: None,
            name,
            doc,
            made_at,
            expires_at: None,
            sent_at: None,
            tries: 0,
            status: "waiting".to_owned(),
            code: None,
            detail: None,
            answered_at: None,
        }
    }

    fn from_row(row: &Row) -> Self {
        let text = |column| row.maybe_text(column).map(str::to_owned);
        Self {
            id: row.text(0).to_owned(),
            van: row.text(1).to_owned(),
            epc: text(2),
            name: row.text(3).to_owned(),
            doc: row.text(4).to_owned(),
            made_at: row.utc(5),
            expires_at: row.maybe_utc(6),
            sent_at: row.maybe_utc(7),
            tries: row.count(8),
            status: row.text(9).to_owned(),
            code: text(10),
            detail: text(11),
            answered_at: row.maybe_utc(12),
        }
    }
}

const COLUMNS: &str = "id, van, epc, name, doc, made_at, expires_at, sent_at, tries, status, code, detail, \
     answered_at";

/// Statement that inserts a command; a repeated id changes nothing.
#[must_use]
pub fn insert(command: &Command) -> Statement {
    Statement::new(
        "INSERT INTO command (id, van, epc, name, doc, made_at, expires_at, tries, status) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 'waiting') ON CONFLICT (id) DO NOTHING",
        [
            command.id.as_str().into(),
            command.van.as_str().into(),
            command.epc.clone().into(),
            command.name.as_str().into(),
            command.doc.as_str().into(),
            command.made_at.into(),
            command.expires_at.into(),
        ],
    )
}

/// Statement that stores the van's result. Only `accepted` may be followed by another result.
#[must_use]
pub fn set_result(van: &str, result: &CommandResultPayload, now: UtcTime) -> Statement {
    Statement::new(
        "UPDATE command SET status = $3, code = $4, detail = $5, answered_at = $6 WHERE id = $1 AND van = $2 \
         AND status IN ('waiting', 'sent', 'accepted')",
        [
            result.id.as_str().into(),
            van.into(),
            result.status.as_str().into(),
            result.code.clone().into(),
            result.detail.clone().into(),
            now.into(),
        ],
    )
}

impl Store {
    /// Stores a command and returns whether it is new. The caller then wakes
    /// `Shared::downlink`.
    pub async fn put_command(&self, command: &Command) -> Result<bool, StoreError> {
        Ok(self.write(vec![insert(command)]).await?[0].rows_affected > 0)
    }

    /// A command by its id.
    pub async fn command(&self, id: &str) -> Result<Option<Command>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM command WHERE id = $1");
        let rows = self.read(Statement::new(sql, [id.into()])).await?;
        Ok(rows.first().map(Command::from_row))
    }

    /// The newest `limit` commands about a parcel, newest first.
    pub async fn commands_for_epc(
        &self,
        epc: &str,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError> {
        self.select_commands("epc = $1 ORDER BY made_at DESC, id LIMIT $2", epc, limit).await
    }

    async fn select_commands(
        &self,
        of: &str,
        key: &str,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM command WHERE {of}");
        let rows = self.read(Statement::new(sql, [key.into(), limit.into()])).await?;
        Ok(rows.iter().map(Command::from_row).collect())
    }

    /// Claims up to `limit` due commands for this instance; no other instance sends them during
    /// `lease`.
    pub async fn claim_commands(
        &self,
        now: UtcTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError> {
        let next = now.checked_add(lease).unwrap_or(now);
        let expire = Statement::new(
            "UPDATE command SET status = 'expired', detail = 'no response before the deadline', answered_at = $1 \
             WHERE status IN ('waiting', 'sent') AND COALESCE(expires_at, made_at + $2) <= $1",
            [now.into(), millis(DEFAULT_TTL).into()],
        );
        // The condition is repeated, since PostgreSQL re-evaluates only the outer one after waiting
        // for another UPDATE.
        let claim = Statement::new(
            format!(
                "UPDATE command SET next_at = $2, sent_at = $1, tries = tries + 1 WHERE status IN ('waiting', 'sent') \
                 AND next_at <= $1 AND id IN (SELECT id FROM command WHERE status IN ('waiting', 'sent') \
                 AND next_at <= $1 ORDER BY made_at LIMIT $3) RETURNING {COLUMNS}"
            ),
            [now.into(), next.into(), limit.into()],
        );
        let outcomes = self.write(vec![expire, claim]).await?;
        Ok(outcomes[1].rows.iter().map(Command::from_row).collect())
    }

    /// Records that a command was sent, or that its van was not connected. It is due again at
    /// `next_at`.
    pub async fn record_command_sent(
        &self,
        id: &str,
        taken: bool,
        next_at: UtcTime,
    ) -> Result<(), StoreError> {
        let status = if taken { "sent" } else { "waiting" };
        let sent = Statement::new(
            "UPDATE command SET status = $2, next_at = $3 WHERE id = $1 AND status IN ('waiting', 'sent')",
            [id.into(), status.into(), next_at.into()],
        );
        self.write(vec![sent]).await.map(drop)
    }
}

/// Statement that makes the unanswered commands of a van due, after it connected.
#[must_use]
pub fn retry_unanswered(van: &str) -> Statement {
    Statement::new(
        "UPDATE command SET next_at = 0 WHERE van = $1 AND status IN ('waiting', 'sent') AND next_at > 0",
        [van.into()],
    )
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
