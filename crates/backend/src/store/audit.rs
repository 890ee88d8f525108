//! Audit log, dead letters and settings shared by all instances.

use std::collections::BTreeMap;

use super::{Statement, Store, StoreError, Value};
use crate::octets;
use waypost_model::units::UtcTime;

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub at: UtcTime,
    /// Name of the API token, or `customer`.
    pub actor: String,
    /// Action: `day`, `trace`, `track`.
    pub action: String,
    /// Object of the action: a van, or a masked number with its outcome. Never an address.
    pub target: String,
}

impl AuditEntry {
    /// Statement that adds the entry to the audit log, for the transaction that it is about.
    #[must_use]
    pub fn insert(&self) -> Statement {
        Statement::new(
            "INSERT INTO audit (at_time, who, what, target) VALUES ($1, $2, $3, $4)",
            [self.at.into(), text(&self.actor), text(&self.action), text(&self.target)],
        )
    }
}

/// A message that could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Row number, in order of arrival.
    pub n: i64,
    /// Id of the van; empty for a topic that is not of a van.
    pub van: String,
    pub topic: String,
    /// Why it is invalid.
    pub reason: String,
    /// Payload, whole if it is well-formed, else its beginning.
    pub payload: Vec<u8>,
    /// Size of the whole payload in bytes.
    pub bytes: u64,
    pub received_at: UtcTime,
}

impl Store {
    /// Adds entries to the audit log.
    pub async fn insert_audit(&self, looks: &[AuditEntry]) -> Result<(), StoreError> {
        self.write(looks.iter().map(AuditEntry::insert).collect()).await.map(drop)
    }

    /// Audit entries, newest first: at most `limit`, older than row `before`.
    pub async fn audit_entries(
        &self,
        before: i64,
        limit: u32,
    ) -> Result<Vec<(i64, AuditEntry)>, StoreError> {
        let rows = self.read(Statement::new(
            "SELECT n, at_time, who, what, target FROM audit WHERE n < $1 ORDER BY n DESC LIMIT $2",
            [Value::from(before), Value::from(limit)],
        ));
        let rows = rows.await?;
        let look = |row: &super::Row| AuditEntry {
            at: row.utc(1),
            actor: row.text(2).to_owned(),
            action: row.text(3).to_owned(),
            target: row.text(4).to_owned(),
        };
        Ok(rows.iter().map(|row| (row.int(0), look(row))).collect())
    }

    /// Dead letters, newest first: at most `limit`, older than row `before`.
    pub async fn dead_letters(
        &self,
        before: i64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let rows = self.read(Statement::new(
            "SELECT n, topic, reason, payload, bytes, received_at, van FROM poison WHERE n < $1 \
             ORDER BY n DESC LIMIT $2",
            [Value::from(before), Value::from(limit)],
        ));
        Ok(rows.await?.iter().map(dead_letter_from_row).collect())
    }

    /// Dead letters of a van, newest first: at most `limit`, older than row `before`.
    pub async fn dead_letters_of_van(
        &self,
        van: &str,
        before: i64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let rows = self.read(Statement::new(
            "SELECT n, topic, reason, payload, bytes, received_at, van FROM poison \
             WHERE van = $1 AND n < $2 ORDER BY n DESC LIMIT $3",
            [text(van), Value::from(before), Value::from(limit)],
        ));
        Ok(rows.await?.iter().map(dead_letter_from_row).collect())
    }

    /// The dead letter with this row number.
    pub async fn dead_letter(&self, n: i64) -> Result<Option<DeadLetter>, StoreError> {
        let rows = self.read(Statement::new(
            "SELECT n, topic, reason, payload, bytes, received_at, van FROM poison WHERE n = $1",
            [Value::from(n)],
        ));
        Ok(rows.await?.first().map(dead_letter_from_row))
    }

    /// Deletes a dead letter; returns whether it existed.
    pub async fn delete_dead_letter(&self, n: i64) -> Result<bool, StoreError> {
        let gone = Statement::new("DELETE FROM poison WHERE n = $1", [Value::from(n)]);
        Ok(self.write(vec![gone]).await?[0].rows_affected > 0)
    }

    /// Numbers of dead letters since a time, by van.
    pub async fn rejected_vans(&self, since: UtcTime) -> Result<BTreeMap<String, u64>, StoreError> {
        let sql =
            "SELECT van, COUNT(*) FROM poison WHERE received_at >= $1 AND van <> '' GROUP BY van";
        let rows = self.read(Statement::new(sql, [since.into()])).await?;
        Ok(rows.iter().map(|row| (row.text(0).to_owned(), row.count(1))).collect())
    }

    /// Values of up to four settings, in the order of `names`.
    pub async fn settings(&self, names: &[&str]) -> Result<Vec<Option<String>>, StoreError> {
        let place = |index: usize| names.get(index).map_or(Value::Null, |name| text(name));
        let rows = self.read(Statement::new(
            "SELECT name, value FROM setting WHERE name IN ($1, $2, $3, $4)",
            [place(0), place(1), place(2), place(3)],
        ));
        let rows = rows.await?;
        let value = |name: &&str| {
            rows.iter().find(|row| row.text(0) == *name).map(|row| row.text(1).to_owned())
        };
        Ok(names.iter().map(value).collect())
    }

    /// Inserts a setting unless it exists, and returns the stored value. Of several instances one
    /// wins.
    pub async fn get_or_insert_setting(
        &self,
        name: &str,
        value: &str,
    ) -> Result<String, StoreError> {
        if let Some(known) = self.settings(&[name]).await?.remove(0) {
            return Ok(known);
        }
        self.write(vec![Statement::new(
            "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
            [text(name), text(value)],
        )])
        .await?;
        Ok(self.settings(&[name]).await?.remove(0).unwrap_or_else(|| value.to_owned()))
    }

    /// Deletes settings with this name prefix whose value is a past time (ms since 1970).
    ///
    /// Such times have 13 digits for centuries to come, so their texts sort as numbers.
    pub async fn delete_expired_settings(
        &self,
        prefix: &str,
        now: UtcTime,
    ) -> Result<(), StoreError> {
        self.write(vec![Statement::new(
            "DELETE FROM setting WHERE substr(name, 1, $1) = $2 AND value < $3",
            [Value::from(prefix.len() as u64), text(prefix), text(&now.as_unix_ms().to_string())],
        )])
        .await
        .map(drop)
    }
}

fn dead_letter_from_row(row: &super::Row) -> DeadLetter {
    DeadLetter {
        n: row.int(0),
        topic: row.text(1).to_owned(),
        reason: row.text(2).to_owned(),
        payload: row.bytes(3).to_owned(),
        bytes: row.count(4),
        received_at: row.utc(5),
        van: row.text(6).to_owned(),
    }
}

/// Masks a parcel number for the audit log: its last digits, and a hash by which a known number can
/// be recognised.
#[must_use]
pub fn mask_number(number: &str) -> String {
    let end: String = number.chars().skip(number.chars().count().saturating_sub(4)).collect();
    format!("…{end} {}", &octets::sha256(number)[..8])
}

fn text(value: &str) -> Value {
    Value::from(value)
}
