//! Who looked at what, and the settings that all instances share.

use super::{Statement, Store, StoreError, Value};
use crate::backend::octets;
use crate::units::UtcTime;

/// Somebody looked at something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at: UtcTime,
    /// Name of the token, or `customer`.
    pub who: String,
    /// What was done: `day`, `trace`, `track`.
    pub what: String,
    /// At what: a van, a masked number with its outcome. Never an address.
    pub target: String,
}

/// A message that nobody could read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// In the order in which they came.
    pub n: i64,
    /// Where it came.
    pub topic: String,
    /// Why nobody could read it.
    pub reason: String,
    /// Its beginning.
    pub payload: Vec<u8>,
    /// How long it was.
    pub bytes: u64,
    /// When.
    pub received_at: UtcTime,
}

impl Store {
    /// Writes down who looked at what.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_looks(&self, looks: &[Look]) -> Result<(), StoreError> {
        let statements = looks.iter().map(|look| {
            Statement::new(
                "INSERT INTO audit (at_time, who, what, target) VALUES ($1, $2, $3, $4)",
                [look.at.into(), text(&look.who), text(&look.what), text(&look.target)],
            )
        });
        self.write(statements.collect()).await.map(drop)
    }

    /// Who looked at what, newest first: at most `limit`, older than the number `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn looks(&self, before: i64, limit: u32) -> Result<Vec<(i64, Look)>, StoreError> {
        let rows = self.read(Statement::new(
            "SELECT n, at_time, who, what, target FROM audit WHERE n < $1 ORDER BY n DESC LIMIT $2",
            [Value::from(before), Value::from(limit)],
        ));
        let rows = rows.await?;
        let look = |row: &super::Row| Look {
            at: row.utc(1),
            who: row.text(2).to_owned(),
            what: row.text(3).to_owned(),
            target: row.text(4).to_owned(),
        };
        Ok(rows.iter().map(|row| (row.int(0), look(row))).collect())
    }

    /// What nobody could read, newest first: at most `limit`, older than the number `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn poison(&self, before: i64, limit: u32) -> Result<Vec<Poison>, StoreError> {
        let rows = self.read(Statement::new(
            "SELECT n, topic, reason, payload, bytes, received_at FROM poison WHERE n < $1 \
             ORDER BY n DESC LIMIT $2",
            [Value::from(before), Value::from(limit)],
        ));
        let poison = |row: &super::Row| Poison {
            n: row.int(0),
            topic: row.text(1).to_owned(),
            reason: row.text(2).to_owned(),
            payload: row.bytes(3).to_owned(),
            bytes: row.count(4),
            received_at: row.utc(5),
        };
        Ok(rows.await?.iter().map(poison).collect())
    }

    /// The values of settings, in the order of the names, which must be at most four.
    ///
    /// # Errors
    /// [`StoreError`].
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

    /// Sets what is not set yet, and says what it is then: of several instances one wins.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn setting_once(&self, name: &str, value: &str) -> Result<String, StoreError> {
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

    /// Forgets settings whose names begin so and whose value is a time (ms since 1970) that has passed.
    ///
    /// Such times have 13 digits for centuries to come, and in texts of one length the order is that of numbers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_settings(&self, prefix: &str, now: UtcTime) -> Result<(), StoreError> {
        self.write(vec![Statement::new(
            "DELETE FROM setting WHERE substr(name, 1, $1) = $2 AND value < $3",
            [Value::from(prefix.len() as u64), text(prefix), text(&now.as_unix_ms().to_string())],
        )])
        .await
        .map(drop)
    }
}

/// A number as it stands in the audit log: its end, and what it can be recognised by if one has it.
#[must_use]
pub fn masked(number: &str) -> String {
    let end: String = number.chars().skip(number.chars().count().saturating_sub(4)).collect();
    format!("…{end} {}", &octets::sha256(number)[..8])
}

fn text(value: &str) -> Value {
    Value::from(value)
}
