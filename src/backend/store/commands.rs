//! Commands for vans: put, sent, answered.
//!
//! `waiting` until a van was there to take it, `sent` until it answers, then the van's own word: `accepted`, `done`,
//! `rejected`, `expired`, `stale`. What nobody answers in its time is `expired` too.

use std::time::Duration;

use super::{Row, Statement, Store, StoreError};
use crate::units::UtcTime;

/// A command without `expires` is tried for so long.
const DEFAULT_LIFE: Duration = Duration::from_hours(24);

/// A command, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// UUID: the van knows a repeat by it.
    pub id: String,
    /// For which van.
    pub van: String,
    /// The parcel that it is about.
    pub epc: Option<String>,
    /// `update_preferences` and the like.
    pub name: String,
    /// The payload of `cmd`, whole.
    pub doc: String,
    /// When somebody gave it.
    pub made_at: UtcTime,
    /// After this it is not sent any more.
    pub expires_at: Option<UtcTime>,
    /// When it was last handed to the broker.
    pub sent_at: Option<UtcTime>,
    /// How often that was.
    pub tries: u64,
    /// `waiting`, `sent`, `accepted`, `done`, `rejected`, `expired` or `stale`.
    pub status: String,
    /// The van's words.
    pub detail: Option<String>,
    /// When the van's word came.
    pub answered_at: Option<UtcTime>,
}

impl Command {
    /// One that waits.
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
            detail: None,
            answered_at: None,
        }
    }

    fn read(row: &Row) -> Self {
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
            detail: text(10),
            answered_at: row.maybe_utc(11),
        }
    }
}

const COLUMNS: &str =
    "id, van, epc, name, doc, made_at, expires_at, sent_at, tries, status, detail, answered_at";

/// The statement that keeps a new command; a second one with the same id changes nothing.
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

/// The statement that keeps a van's answer. `accepted` may be followed by another word, and nothing else by `accepted`.
#[must_use]
pub fn answered(
    van: &str,
    id: &str,
    status: &str,
    detail: Option<&str>,
    now: UtcTime,
) -> Statement {
    Statement::new(
        "UPDATE command SET status = $3, detail = $4, answered_at = $5 WHERE id = $1 AND van = $2 \
         AND status IN ('waiting', 'sent', 'accepted')",
        [id.into(), van.into(), status.into(), detail.into(), now.into()],
    )
}

impl Store {
    /// Keeps a new command, and whether it is new. Then [`Shared::downlink`](crate::backend::Shared::downlink) should be told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_command(&self, command: &Command) -> Result<bool, StoreError> {
        Ok(self.write(vec![insert(command)]).await?[0].changed > 0)
    }

    /// A command by its id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn command(&self, id: &str) -> Result<Option<Command>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM command WHERE id = $1");
        let rows = self.read(Statement::new(sql, [id.into()])).await?;
        Ok(rows.first().map(Command::read))
    }

    /// The newest `limit` commands about a parcel, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn commands_of_epc(&self, epc: &str, limit: u32) -> Result<Vec<Command>, StoreError> {
        self.commands("epc = $1 ORDER BY made_at DESC, id LIMIT $2", epc, limit).await
    }

    async fn commands(&self, of: &str, key: &str, limit: u32) -> Result<Vec<Command>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM command WHERE {of}");
        let rows = self.read(Statement::new(sql, [key.into(), limit.into()])).await?;
        Ok(rows.iter().map(Command::read).collect())
    }

    /// Takes up to `limit` commands that are due, as this instance's own for `lease`: until then no other sends them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_commands(
        &self,
        now: UtcTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError> {
        let next = now.checked_add(lease).unwrap_or(now);
        let expire = Statement::new(
            "UPDATE command SET status = 'expired', detail = 'nobody answered in its time', answered_at = $1 \
             WHERE status IN ('waiting', 'sent') AND COALESCE(expires_at, made_at + $2) <= $1",
            [now.into(), millis(DEFAULT_LIFE).into()],
        );
        // The inner question again in the outer one: PostgreSQL looks at it again after waiting for another's UPDATE.
        let claim = Statement::new(
            format!(
                "UPDATE command SET next_at = $2, sent_at = $1, tries = tries + 1 WHERE status IN ('waiting', 'sent') \
                 AND next_at <= $1 AND id IN (SELECT id FROM command WHERE status IN ('waiting', 'sent') \
                 AND next_at <= $1 ORDER BY made_at LIMIT $3) RETURNING {COLUMNS}"
            ),
            [now.into(), next.into(), limit.into()],
        );
        let outcomes = self.write(vec![expire, claim]).await?;
        Ok(outcomes[1].rows.iter().map(Command::read).collect())
    }

    /// A command was handed over, or nobody was there to take it; it is due again at `next_at`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn command_sent(
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

/// The statement that makes due what a van that has just connected did not answer yet.
#[must_use]
pub fn due_again(van: &str) -> Statement {
    Statement::new(
        "UPDATE command SET next_at = 0 WHERE van = $1 AND status IN ('waiting', 'sent') AND next_at > 0",
        [van.into()],
    )
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
