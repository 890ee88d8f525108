//! Reads a TOML table key by key, so that one report names every problem.
//!
//! Serde stops at the first unknown key or wrong type. Here each key is removed and checked on its
//! own, and the remaining keys are unknown. All mistakes are thus reported in one run.

use std::ops::RangeInclusive;

use toml::{Table, Value};

/// Problems of a file, each with its key.
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

/// A table whose keys are each read once.
#[derive(Debug)]
pub(super) struct Section<'a> {
    path: String,
    remaining: Table,
    known: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> Section<'a> {
    /// Starts a section; `path` is empty for the file itself.
    pub(super) fn new(path: &str, table: Table, problems: &'a mut Problems) -> Self {
        Self { path: path.to_owned(), remaining: table, known: Vec::new(), problems }
    }

    fn full_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Records a problem with a key.
    pub(super) fn add_problem(&mut self, key: &str, text: &str) {
        self.problems.add(&self.full_path(key), text);
    }

    /// Removes and returns the value, if the key is present.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.remaining.remove(key)
    }

    /// Removes and returns the value of a mandatory key.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> Option<Value> {
        let value = self.take(key);
        if value.is_none() {
            self.add_problem(key, &format!("is missing: write `{key} = {example}`"));
        }
        value
    }

    /// Reads a number within the range, or returns the default.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> f64 {
        self.take(key).and_then(|value| self.check_range(key, &value, &range)).unwrap_or(default)
    }

    /// Reads a mandatory number within the range.
    pub(super) fn required_number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        example: &str,
    ) -> Option<f64> {
        let value = self.required(key, example)?;
        self.check_range(key, &value, &range)
    }

    fn check_range(
        &mut self,
        key: &str,
        value: &Value,
        range: &RangeInclusive<f64>,
    ) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "every range ends far below 2^53")]
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (value, from, to) = (display_value(value), range.start(), range.end());
            let text = format!("{value} is not a number in {from}..={to}");
            self.add_problem(key, &text);
        }
        number
    }

    /// Reads a whole number within the range, or returns the default.
    pub(super) fn whole_number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some(value) = self.take(key) else { return default };
        let number = value.as_integer().and_then(|whole| u64::try_from(whole).ok());
        number.filter(|whole| range.contains(whole)).unwrap_or_else(|| {
            let (from, to) = (range.start(), range.end());
            let text = format!("{} is not a whole number in {from}..={to}", display_value(&value));
            self.add_problem(key, &text);
            default
        })
    }

    /// Parses text or a TOML date-time with `read`, or returns the default.
    pub(super) fn parse<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let text = match self.take(key) {
            None => return default,
            Some(Value::String(text)) => text,
            Some(other) => display_value(&other),
        };
        read(&text).unwrap_or_else(|remedy| {
            self.add_problem(key, &format!("`{text}` {remedy}"));
            default
        })
    }

    /// Returns a nested table, empty if the key is absent.
    pub(super) fn table(&mut self, key: &'static str) -> Section<'_> {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                let text =
                    format!("{} is not a table: write `{key} = {{ … }}`", display_value(&other));
                self.add_problem(key, &text);
                Table::new()
            }
        };
        Section::new(&self.full_path(key), table, self.problems)
    }

    /// Returns a nested table, if the key is present.
    pub(super) fn optional_table(&mut self, key: &'static str) -> Option<Section<'_>> {
        if self.remaining.contains_key(key) {
            return Some(self.table(key));
        }
        self.known.push(key);
        None
    }

    /// Reports the remaining keys as unknown.
    pub(super) fn finish(self) {
        for key in self.remaining.keys() {
            let known = self.known.join(", ");
            let text = format!("is unknown: remove it, or write one of {known}");
            self.problems.add(&self.full_path(key), &text);
        }
    }

    /// Returns the problems of the file, for a value with a parser of its own.
    pub(super) fn problems(&mut self) -> &mut Problems {
        self.problems
    }
}

/// Renders a value for a report, as written in the file.
pub(super) fn display_value(value: &Value) -> String {
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
