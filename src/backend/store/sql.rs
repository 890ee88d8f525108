//! Statements that both databases understand: one text, `$1`, `$2`, … as places for values.
//!
//! Where SQLite and PostgreSQL differ, the differences are in the two engines and in the schema's words for types, so that
//! what the store promises is written, and tested, once.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Rows of one statement, largest first: of each text at most so many forms are prepared.
const CHUNKS: [usize; 4] = [256, 64, 8, 1];

/// Keys of one question, fewest first: of each text so many forms are prepared, and what is left over asks for nothing.
const KEYS: [usize; 6] = [1, 8, 64, 256, 1024, 4096];

/// SQLite takes 32,766 values in one statement, PostgreSQL 65,535.
const MOST_VALUES: usize = 32_000;

/// A value in a place of a statement, or in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// BIGINT: also truth (0, 1) and times (ms since 1970 UTC).
    Int(i64),
    /// DOUBLE PRECISION.
    Real(f64),
    /// TEXT: also JSON, so that both databases give back what was put in, byte for byte.
    Text(String),
    /// BYTEA or BLOB.
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

/// Numbers of records stay far below 2⁶³; one above is kept as the largest.
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// PostgreSQL has no U+0000 in texts, so none is ever stored.
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.replace('\0', ""))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        if value.contains('\0') { Self::from(value.as_str()) } else { Self::Text(value) }
    }
}

impl From<crate::units::UtcTime> for Value {
    fn from(value: crate::units::UtcTime) -> Self {
        Self::Int(value.as_unix_ms())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A statement with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// With `$1`, `$2`, … as places.
    pub sql: Cow<'static, str>,
    /// What goes there.
    pub values: Vec<Value>,
}

impl Statement {
    /// A statement.
    pub fn new(sql: impl Into<Cow<'static, str>>, values: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), values: values.into() }
    }

    /// The fewest statements of a few sizes that put all rows between `before` and `after`, which name no values:
    /// `INSERT INTO setting (name, value) VALUES`, rows of two values, `ON CONFLICT (name) DO NOTHING`.
    ///
    /// All rows have as many values as the first. No row may be twice where `after` updates what is there.
    #[must_use]
    pub fn many(before: &str, rows: Vec<Vec<Value>>, after: &str) -> Vec<Self> {
        let Some(columns) = rows.first().map(Vec::len) else { return Vec::new() };
        let mut statements = Vec::new();
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let fits = |size: &usize| *size <= rows.len() && size * columns <= MOST_VALUES;
            let size = CHUNKS.into_iter().find(fits).unwrap_or(1);
            let values: Vec<Value> = rows.by_ref().take(size).flatten().collect();
            statements.push(Self::new(many_rows(before, size, columns, after), values));
        }
        statements
    }
}

impl Statement {
    /// The fewest questions about all keys: `sql` has `{keys}` where rows of `VALUES` stand, whose columns have the types of
    /// the first key's, behind the places of `before`. A key of NULLs must find nothing.
    #[must_use]
    pub fn about(sql: &str, before: &[Value], keys: &[Vec<Value>]) -> Vec<Self> {
        let most = KEYS[KEYS.len() - 1];
        let question = |keys: &[Vec<Value>]| {
            let size = KEYS.into_iter().find(|size| *size >= keys.len()).unwrap_or(most);
            let mut values = before.to_vec();
            values.extend(keys.iter().flatten().cloned());
            values.resize(before.len() + size * keys[0].len(), Value::Null);
            Self::new(sql.replace("{keys}", &key_rows(before.len(), size, &keys[0])), values)
        };
        keys.chunks(most).map(question).collect()
    }
}

/// PostgreSQL takes a place for a text unless told.
fn key_rows(before: usize, rows: usize, key: &[Value]) -> String {
    let mut sql = String::with_capacity(rows * 24 * key.len());
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for (column, value) in key.iter().enumerate() {
            let comma = if column == 0 { "" } else { ", " };
            let place = before + row * key.len() + column + 1;
            match value {
                Value::Int(_) => write!(sql, "{comma}CAST(${place} AS BIGINT)"),
                _ => write!(sql, "{comma}${place}"),
            }
            .expect("a string takes everything");
        }
        sql.push(')');
    }
    sql
}

fn many_rows(before: &str, rows: usize, columns: usize, after: &str) -> String {
    let mut sql = String::with_capacity(before.len() + after.len() + rows * (7 * columns + 3) + 2);
    sql.push_str(before);
    for row in 0..rows {
        sql.push_str(if row == 0 { " (" } else { ", (" });
        for place in row * columns + 1..=(row + 1) * columns {
            let comma = if place == row * columns + 1 { "" } else { ", " };
            write!(sql, "{comma}${place}").expect("a string takes everything");
        }
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(after);
    sql
}

/// What a statement of a transaction came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Rows that it inserted, changed or removed; of a statement that returns rows, how many.
    pub changed: u64,
    /// What it returns (`RETURNING`, `SELECT`).
    pub rows: Vec<Row>,
}

/// A row of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Vec<Value>);

/// The columns are what the statement in the same function asks for; another type there is a mistake of ours.
impl Row {
    /// The number in a column that is never NULL.
    #[must_use]
    pub fn int(&self, column: usize) -> i64 {
        self.maybe_int(column).expect("the statement asks for a number")
    }

    /// The number in a column.
    #[must_use]
    pub fn maybe_int(&self, column: usize) -> Option<i64> {
        match &self.0[column] {
            Value::Null => None,
            Value::Int(value) => Some(*value),
            other => panic!("column {column} is no number: {other:?}"),
        }
    }

    /// The number in a column that never was negative.
    #[must_use]
    pub fn count(&self, column: usize) -> u64 {
        u64::try_from(self.int(column)).unwrap_or(0)
    }

    /// The text in a column that is never NULL.
    #[must_use]
    pub fn text(&self, column: usize) -> &str {
        self.maybe_text(column).expect("the statement asks for a text")
    }

    /// The text in a column.
    #[must_use]
    pub fn maybe_text(&self, column: usize) -> Option<&str> {
        match &self.0[column] {
            Value::Null => None,
            Value::Text(value) => Some(value),
            other => panic!("column {column} is no text: {other:?}"),
        }
    }

    /// The bytes in a column that is never NULL.
    #[must_use]
    pub fn bytes(&self, column: usize) -> &[u8] {
        match &self.0[column] {
            Value::Bytes(value) => value,
            other => panic!("column {column} is no bytes: {other:?}"),
        }
    }

    /// The time in a column, ms since 1970 UTC.
    #[must_use]
    pub fn maybe_utc(&self, column: usize) -> Option<crate::units::UtcTime> {
        self.maybe_int(column).and_then(crate::units::UtcTime::from_unix_ms)
    }

    /// The time in a column that is never NULL.
    #[must_use]
    pub fn utc(&self, column: usize) -> crate::units::UtcTime {
        self.maybe_utc(column).expect("only times are stored there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_need_few_questions() {
        let keys: Vec<Vec<Value>> = (0..3).map(|n| vec![Value::from("a"), Value::Int(n)]).collect();
        let sql = "WITH asked (name, n) AS (VALUES {keys}) SELECT $1";
        let one = Statement::about(sql, &[Value::Null], &keys[..1]);
        assert_eq!(
            one[0].sql,
            "WITH asked (name, n) AS (VALUES ($2, CAST($3 AS BIGINT))) SELECT $1"
        );
        let three = Statement::about(sql, &[Value::Null], &keys);
        assert_eq!((three.len(), three[0].values.len()), (1, 1 + 2 * 8));
        assert_eq!(three[0].values[5..8], ["a".into(), Value::Int(2), Value::Null]);
        let keys = vec![vec![Value::Int(1)]; 5000];
        let sizes: Vec<usize> =
            Statement::about("{keys}", &[], &keys).iter().map(|one| one.values.len()).collect();
        assert_eq!(sizes, [4096, 1024]);
        assert_eq!(Statement::about("{keys}", &[], &[]), []);
    }

    #[test]
    fn many_rows_need_few_texts() {
        let row = |n: i64| vec![Value::Int(n), Value::Null];
        let statements = Statement::many("INSERT INTO t VALUES", (0..330).map(row).collect(), "");
        let sizes: Vec<usize> = statements.iter().map(|one| one.values.len() / 2).collect();
        assert_eq!(sizes, [256, 64, 8, 1, 1]);
        assert_eq!(statements[4].sql, "INSERT INTO t VALUES ($1, $2) ");
        assert!(statements[2].sql.ends_with("($13, $14), ($15, $16) "), "{}", statements[2].sql);
        assert_eq!(statements[4].values, row(329));
        assert_eq!(Statement::many("x", Vec::new(), ""), []);
        let wide = Statement::many("x", vec![vec![Value::Null; 1000]; 256], "");
        assert!(wide.iter().all(|one| one.values.len() <= MOST_VALUES));
    }
}
