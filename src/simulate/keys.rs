//! TOML table → values, key by key, so that one report names every problem.
//!
//! Serde ends at the first unknown key or wrong type. Here each key is taken out and checked by itself, and what is left
//! over is unknown: a mistake costs one run, not one run each.

use std::ops::RangeInclusive;

use toml::{Table, Value};

/// What is wrong with a file, by key.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    pub(super) fn add(&mut self, key: &str, text: &str) {
        self.0.push(format!("{key}: {text}"));
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0
    }
}

/// A table of which each key is taken once.
#[derive(Debug)]
pub(super) struct Section<'a> {
    path: String,
    rest: Table,
    known: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> Section<'a> {
    /// `path` is empty for the file itself.
    pub(super) fn new(path: &str, table: Table, problems: &'a mut Problems) -> Self {
        Self { path: path.to_owned(), rest: table, known: Vec::new(), problems }
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Says what is wrong with a key.
    pub(super) fn problem(&mut self, key: &str, text: &str) {
        self.problems.add(&self.full(key), text);
    }

    /// The value, if the file has the key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.rest.remove(key)
    }

    /// The value of a key that must be there.
    pub(super) fn need(&mut self, key: &'static str, example: &str) -> Option<Value> {
        let value = self.take(key);
        if value.is_none() {
            self.problem(key, &format!("is missing: write `{key} = {example}`"));
        }
        value
    }

    /// A number within the range, or the default.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> f64 {
        self.take(key).and_then(|value| self.within(key, &value, &range)).unwrap_or(default)
    }

    /// A number within the range, which must be there.
    pub(super) fn needed_number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        example: &str,
    ) -> Option<f64> {
        let value = self.need(key, example)?;
        self.within(key, &value, &range)
    }

    fn within(&mut self, key: &str, value: &Value, range: &RangeInclusive<f64>) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "every range ends far below 2^53")]
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (value, from, to) = (shown(value), range.start(), range.end());
            let text = format!("{value} is not a number in {from}..={to}");
            self.problem(key, &text);
        }
        number
    }

    /// A whole number within the range, or the default.
    pub(super) fn whole(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some(value) = self.take(key) else { return default };
        let number = value.as_integer().and_then(|whole| u64::try_from(whole).ok());
        number.filter(|whole| range.contains(whole)).unwrap_or_else(|| {
            let (from, to) = (range.start(), range.end());
            let text = format!("{} is not a whole number in {from}..={to}", shown(&value));
            self.problem(key, &text);
            default
        })
    }

    /// Text, a TOML date-time included, that `read` understands; else the default.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let text = match self.take(key) {
            None => return default,
            Some(Value::String(text)) => text,
            Some(other) => shown(&other),
        };
        read(&text).unwrap_or_else(|remedy| {
            self.problem(key, &format!("`{text}` {remedy}"));
            default
        })
    }

    /// A table within this one; empty if it is not there.
    pub(super) fn table(&mut self, key: &'static str) -> Section<'_> {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                let text = format!("{} is not a table: write `{key} = {{ … }}`", shown(&other));
                self.problem(key, &text);
                Table::new()
            }
        };
        Section::new(&self.full(key), table, self.problems)
    }

    /// A table within this one, if it is there.
    pub(super) fn optional_table(&mut self, key: &'static str) -> Option<Section<'_>> {
        if self.rest.contains_key(key) {
            return Some(self.table(key));
        }
        self.known.push(key);
        None
    }

    /// Whoever is left was never asked for.
    pub(super) fn finish(self) {
        for key in self.rest.keys() {
            let known = self.known.join(", ");
            let text = format!("is unknown: remove it, or write one of {known}");
            self.problems.add(&self.full(key), &text);
        }
    }

    /// All problems of the file, for a value that is a file of its own.
    pub(super) fn problems(&mut self) -> &mut Problems {
        self.problems
    }
}

/// A value in a report, as it stands in the file.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}
