//! Statements for both engines: one text with `$1`, `$2`, … as placeholders.
//!
//! The engines and the type names of the schema cover the differences between SQLite and
//! PostgreSQL. Everything else is written and tested once.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Batch sizes for multi-row INSERTs, largest first. Few distinct sizes keep the prepared-statement
/// cache small.
const BULK_SIZES: [usize; 4] = [256, 64, 8, 1];

/// Batch sizes for queries by keys, smallest first. Unused placeholders are filled with NULL.
const KEY_BATCH_SIZES: [usize; 6] = [1, 8, 64, 256, 1024, 4096];

/// Maximum number of values per statement. SQLite allows 32,766, PostgreSQL 65,535.
const MAX_VALUES: usize = 32_000;

/// A value of a parameter or column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    /// BIGINT: also booleans (0, 1) and times (ms since 1970 UTC).
    Int(i64),
    Real(f64),
    /// TEXT: also JSON, so that both engines return it byte for byte.
    Text(String),
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

/// Record numbers stay far below 2⁶³; larger values are clamped.
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

/// U+0000 is removed, since PostgreSQL does not support it in texts.
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

impl From<waypost_model::units::UtcTime> for Value {
    fn from(value: waypost_model::units::UtcTime) -> Self {
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
    /// SQL text with `$1`, `$2`, … as placeholders.
    pub sql: Cow<'static, str>,
    pub values: Vec<Value>,
}

impl Statement {
    pub fn new(sql: impl Into<Cow<'static, str>>, values: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), values: values.into() }
    }

    /// Builds the fewest statements, of a few sizes, for all rows. `before` and `after` contain no
    /// placeholders: `INSERT INTO setting (name, value) VALUES`, rows of two values, `ON CONFLICT
    /// (name) DO NOTHING`.
    ///
    /// All rows must have the same number of values. If `after` updates existing rows, keys must be
    /// unique.
    #[must_use]
    pub fn bulk_insert(before: &str, rows: Vec<Vec<Value>>, after: &str) -> Vec<Self> {
        let Some(columns) = rows.first().map(Vec::len) else { return Vec::new() };
        let mut statements = Vec::new();
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let fits = |size: &usize| *size <= rows.len() && size * columns <= MAX_VALUES;
            let size = BULK_SIZES.into_iter().find(fits).unwrap_or(1);
            let values: Vec<Value> = rows.by_ref().take(size).flatten().collect();
            statements.push(Self::new(many_rows(before, size, columns, after), values));
        }
        statements
    }
}

impl Statement {
    /// Builds the fewest queries for all keys. `sql` contains `{keys}` in place of the rows of
    /// `VALUES`, whose column types are those of the first key. The placeholders of `before` come
    /// first. A key of NULLs must match nothing.
    #[must_use]
    pub fn batched(sql: &str, before: &[Value], keys: &[Vec<Value>]) -> Vec<Self> {
        let most = KEY_BATCH_SIZES[KEY_BATCH_SIZES.len() - 1];
        let probe = |keys: &[Vec<Value>]| {
            let size = KEY_BATCH_SIZES.into_iter().find(|size| *size >= keys.len()).unwrap_or(most);
            let mut values = before.to_vec();
            values.extend(keys.iter().flatten().cloned());
            values.resize(before.len() + size * keys[0].len(), Value::Null);
            Self::new(sql.replace("{keys}", &key_rows(before.len(), size, &keys[0])), values)
        };
        keys.chunks(most).map(probe).collect()
    }
}

/// PostgreSQL assumes TEXT for an untyped parameter, so numbers are cast.
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
            .expect("writing to a String cannot fail");
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
            write!(sql, "{comma}${place}").expect("writing to a String cannot fail");
        }
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(after);
    sql
}

/// Result of a statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryResult {
    /// Number of inserted, changed, deleted or returned rows.
    pub rows_affected: u64,
    /// Returned rows (`RETURNING`, `SELECT`).
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Vec<Value>);

/// Accessors panic on an unexpected type, since the statement in the same function defines the
/// columns.
impl Row {
    /// Number in a NOT NULL column.
    #[must_use]
    pub fn int(&self, column: usize) -> i64 {
        self.maybe_int(column).expect("the column is a NOT NULL number")
    }

    /// Number in a nullable column.
    #[must_use]
    pub fn maybe_int(&self, column: usize) -> Option<i64> {
        match &self.0[column] {
            Value::Null => None,
            Value::Int(value) => Some(*value),
            other => panic!("column {column} is not a number: {other:?}"),
        }
    }

    /// Non-negative number in a NOT NULL column.
    #[must_use]
    pub fn count(&self, column: usize) -> u64 {
        u64::try_from(self.int(column)).unwrap_or(0)
    }

    /// Text in a NOT NULL column.
    #[must_use]
    pub fn text(&self, column: usize) -> &str {
        self.maybe_text(column).expect("the column is a NOT NULL text")
    }

    /// Text in a nullable column.
    #[must_use]
    pub fn maybe_text(&self, column: usize) -> Option<&str> {
        match &self.0[column] {
            Value::Null => None,
            Value::Text(value) => Some(value),
            other => panic!("column {column} is not a text: {other:?}"),
        }
    }

    /// Bytes in a NOT NULL column.
    #[must_use]
    pub fn bytes(&self, column: usize) -> &[u8] {
        match &self.0[column] {
            Value::Bytes(value) => value,
            other => panic!("column {column} is not binary: {other:?}"),
        }
    }

    /// Time in a nullable column, ms since 1970 UTC.
    #[must_use]
    pub fn maybe_utc(&self, column: usize) -> Option<waypost_model::units::UtcTime> {
        self.maybe_int(column).and_then(waypost_model::units::UtcTime::from_unix_ms)
    }

    /// Time in a NOT NULL column.
    #[must_use]
    pub fn utc(&self, column: usize) -> waypost_model::units::UtcTime {
        self.maybe_utc(column).expect("the column has only valid times")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_need_few_questions() {
        let keys: Vec<Vec<Value>> = (0..3).map(|n| vec![Value::from("a"), Value::Int(n)]).collect();
        let sql = "WITH asked (name, n) AS (VALUES {keys}) SELECT $1";
        let one = Statement::batched(sql, &[Value::Null], &keys[..1]);
        assert_eq!(
            one[0].sql,
            "WITH asked (name, n) AS (VALUES ($2, CAST($3 AS BIGINT))) SELECT $1"
        );
        let three = Statement::batched(sql, &[Value::Null], &keys);
        assert_eq!((three.len(), three[0].values.len()), (1, 1 + 2 * 8));
        assert_eq!(three[0].values[5..8], ["a".into(), Value::Int(2), Value::Null]);
        let keys = vec![vec![Value::Int(1)]; 5000];
        let sizes: Vec<usize> =
            Statement::batched("{keys}", &[], &keys).iter().map(|one| one.values.len()).collect();
        assert_eq!(sizes, [4096, 1024]);
        assert_eq!(Statement::batched("{keys}", &[], &[]), []);
    }

    #[test]
    fn many_rows_need_few_texts() {
        let row = |n: i64| vec![Value::Int(n), Value::Null];
        let statements =
            Statement::bulk_insert("INSERT INTO t VALUES", (0..330).map(row).collect(), "");
        let sizes: Vec<usize> = statements.iter().map(|one| one.values.len() / 2).collect();
        assert_eq!(sizes, [256, 64, 8, 1, 1]);
        assert_eq!(statements[4].sql, "INSERT INTO t VALUES ($1, $2) ");
        assert!(statements[2].sql.ends_with("($13, $14), ($15, $16) "), "{}", statements[2].sql);
        assert_eq!(statements[4].values, row(329));
        assert_eq!(Statement::bulk_insert("x", Vec::new(), ""), []);
        let wide = Statement::bulk_insert("x", vec![vec![Value::Null; 1000]; 256], "");
        assert!(wide.iter().all(|one| one.values.len() <= MAX_VALUES));
    }
}
