//! Statements that both databases understand: one text, `$1`, `$2`, … as places for values.
//!
//! Where SQLite and PostgreSQL differ, the differences are in the two engines and in the schema's words for types, so that
//! what the store promises is written, and tested, once.

use std::borrow::Cow;

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
}

/// What a statement of a transaction came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Rows that it inserted, changed or removed.
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

    /// The number in a column that may have a fraction.
    #[must_use]
    pub fn maybe_real(&self, column: usize) -> Option<f64> {
        match &self.0[column] {
            Value::Null => None,
            Value::Real(value) => Some(*value),
            other => panic!("column {column} is no fraction: {other:?}"),
        }
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
