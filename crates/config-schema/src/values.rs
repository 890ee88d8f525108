//! Values of a configuration by key, their origins, and all problems found.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Value;

use super::files::ConfigLayer;
use super::{ConfigSchema, KeySpec, TableListSpec, ValueKind};

/// A value given on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// `section.key`.
    pub key: &'static str,
    pub value: String,
}

/// Origin of a value other than the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Index of the file (0) or drop-in.
    Layer(usize),
    CommandLine,
}

/// Validated values of all keys, and the problems found so far.
#[derive(Debug)]
pub struct Values {
    schema: &'static ConfigSchema,
    values: BTreeMap<String, Value>,
    /// Number of tables of each array.
    counts: BTreeMap<&'static str, usize>,
    /// Origins of all names found in the files: keys, arrays, and unknown names.
    origins: BTreeMap<String, Origin>,
    /// Names of the file and its drop-ins.
    names: Vec<String>,
    problems: Vec<String>,
}

impl Values {
    /// Reads layers, each of which overrides those before it. Unknown names and values of a wrong
    /// type or range are problems. If a layer cannot be read, only that is reported, because the
    /// other values would be defaults.
    pub fn read(
        schema: &'static ConfigSchema,
        layers: Vec<ConfigLayer>,
        overrides: &[Override],
    ) -> Self {
        let mut this = Self {
            schema,
            values: BTreeMap::new(),
            counts: BTreeMap::new(),
            origins: BTreeMap::new(),
            names: layers.iter().map(|layer| layer.name.clone()).collect(),
            problems: Vec::new(),
        };
        let mut tables: Vec<toml::Table> = layers
            .into_iter()
            .enumerate()
            .filter_map(|(index, layer)| match parse_toml(layer.text) {
                Ok(table) => Some(table),
                Err(problem) => {
                    this.problems.push(format!("{}{problem}", this.layer_prefix(index)));
                    None
                }
            })
            .collect();
        if this.problems.is_empty() {
            this.read_lists(&mut tables);
            let mut given = BTreeMap::new();
            for (index, sections) in tables.into_iter().enumerate() {
                this.flatten_layer(index, sections, &mut given);
            }
            this.read_keys(given, overrides);
        }
        this
    }

    /// Prefix of a problem in a layer. It is empty for the main file, which the report names in its
    /// first line.
    fn layer_prefix(&self, layer: usize) -> String {
        if layer == 0 { String::new() } else { format!("{}: ", self.names[layer]) }
    }

    /// An array of tables is taken completely from the last layer that has it.
    fn read_lists(&mut self, layers: &mut [toml::Table]) {
        for list in self.schema.lists {
            let all = layers.iter_mut().enumerate();
            let given = all.filter_map(|(index, layer)| Some((index, layer.remove(list.name)?)));
            if let Some((index, tables)) = given.last() {
                self.origins.insert(list.name.to_owned(), Origin::Layer(index));
                self.read_list(list, Origin::Layer(index), tables);
            }
        }
    }

    fn read_keys(&mut self, mut given: BTreeMap<String, Value>, overrides: &[Override]) {
        for Override { key, value } in overrides {
            let is_text = self
                .schema
                .keys
                .iter()
                .any(|known| known.name == *key && known.kind == ValueKind::Text);
            let text = || Value::String(value.clone());
            // Parsed as TOML, as in the file. Text that is not TOML is reported as a string.
            let value = if is_text { text() } else { value.parse().unwrap_or_else(|_| text()) };
            given.insert((*key).to_owned(), value);
            self.origins.insert((*key).to_owned(), Origin::CommandLine);
        }
        for key in self.schema.keys {
            let default = || key.default.parse::<Value>().expect("every default is valid TOML");
            let value = given.remove(key.name).unwrap_or_else(default);
            match check_value(key, value) {
                Ok(value) => drop(self.values.insert(key.name.to_owned(), value)),
                Err(problem) => self.report_problem(key.name, &problem),
            }
        }
        for unknown in given.keys() {
            let meant = suggestion(unknown, self.schema.keys.iter().map(|key| key.name));
            self.report_problem(
                unknown,
                &format!("is not a key of {}{meant}", self.schema.program),
            );
        }
    }

    /// Adds the keys of a layer to `given` by their full names.
    fn flatten_layer(
        &mut self,
        layer: usize,
        sections: toml::Table,
        given: &mut BTreeMap<String, Value>,
    ) {
        for (section, value) in sections {
            self.origins.insert(section.clone(), Origin::Layer(layer));
            let meant = || suggestion(&section, self.schema.lists.iter().map(|list| list.name));
            let problem = match value {
                Value::Table(table)
                    if self
                        .schema
                        .keys
                        .iter()
                        .any(|key| key.name.starts_with(&format!("{section}."))) =>
                {
                    for (name, value) in self.flatten_section(layer, &section, table) {
                        self.origins.insert(name.clone(), Origin::Layer(layer));
                        given.insert(name, value);
                    }
                    continue;
                }
                Value::Table(_) => {
                    format!("[{section}] is not a section of {}{}", self.schema.program, meant())
                }
                Value::Array(list) if list.iter().all(Value::is_table) => {
                    format!(
                        "[[{section}]] is not an array of tables of {}{}",
                        self.schema.program,
                        meant()
                    )
                }
                _ => "is outside a section".to_owned(),
            };
            self.report_problem(&section, &problem);
        }
    }

    /// Reads every table of an array, under names such as `scanner[1].source`.
    fn read_list(&mut self, list: &TableListSpec, origin: Origin, given: Value) {
        let Value::Array(tables) = given else {
            return self.report_problem(
                list.name,
                &format!("is an array of tables: write [[{}]]", list.name),
            );
        };
        if tables.len() > list.max_tables {
            let (count, most) = (tables.len(), list.max_tables);
            return self.report_problem(
                list.name,
                &format!("{count} tables exceed the maximum of {most}"),
            );
        }
        self.counts.insert(list.name, tables.len());
        for (index, table) in tables.into_iter().enumerate() {
            let place = format!("{}[{}]", list.name, index + 1);
            match table {
                Value::Table(table) => {
                    for key in table.keys() {
                        self.origins.insert(format!("{place}.{key}"), origin);
                    }
                    self.read_table(list, &place, table);
                }
                other => {
                    self.report_problem(&place, &format!("{} is not a table", display(&other)));
                }
            }
        }
    }

    fn read_table(&mut self, list: &TableListSpec, place: &str, mut table: toml::Table) {
        for key in list.keys {
            let name = format!("{place}.{}", key.short_name());
            let default = || key.default.parse::<Value>().ok();
            match table
                .remove(key.short_name())
                .or_else(default)
                .map(|value| check_value(key, value))
            {
                Some(Ok(value)) => drop(self.values.insert(name, value)),
                Some(Err(problem)) => self.report_problem(&name, &problem),
                None => self.report_problem(&name, &format!("is required: {}", key.help)),
            }
        }
        for unknown in table.keys() {
            let meant = suggestion(unknown, list.keys.iter().map(KeySpec::short_name));
            let name = format!("{place}.{unknown}");
            self.report_problem(&name, &format!("is not a key of [[{}]]{meant}", list.name));
        }
    }

    pub(super) fn schema(&self) -> &'static ConfigSchema {
        self.schema
    }

    /// Returns the names of an array's tables, such as `scanner[1]`.
    pub fn tables(&self, list: &str) -> Vec<String> {
        let count = self.counts.get(list).copied().unwrap_or(0);
        (1..=count).map(|number| format!("{list}[{number}]")).collect()
    }

    /// Returns the keys of a section and its subsections by their full names.
    fn flatten_section(
        &mut self,
        layer: usize,
        section: &str,
        table: toml::Table,
    ) -> Vec<(String, Value)> {
        let mut keys = Vec::new();
        for (key, value) in table {
            let name = format!("{section}.{key}");
            let is_section =
                self.schema.keys.iter().any(|known| known.name.starts_with(&format!("{name}.")));
            match value {
                // Subsections are not nested.
                Value::Table(inner) if is_section => {
                    keys.extend(
                        inner.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)),
                    );
                }
                _ if is_section => {
                    self.origins.insert(name.clone(), Origin::Layer(layer));
                    self.report_problem(&name, &format!("is a section: write [{name}]"));
                }
                value => keys.push((name, value)),
            }
        }
        keys
    }

    /// Records a problem of a key, an array, or one of its tables, with the name of the drop-in.
    pub fn report_problem(&mut self, key: &str, problem: &str) {
        let of_list = || self.origins.get(key.split_once('[')?.0);
        let place = match self.origins.get(key).or_else(of_list) {
            Some(Origin::Layer(layer)) => self.layer_prefix(*layer),
            Some(Origin::CommandLine) | None => String::new(),
        };
        self.problems.push(format!("{place}{key}: {problem}"));
    }

    /// Returns the names of the drop-ins, in the order of reading.
    pub fn drop_ins(&self) -> Vec<String> {
        self.names.iter().skip(1).cloned().collect()
    }

    /// Returns the value of a key if it is valid.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Returns the name of the file that sets a key, or `default`.
    pub fn origin(&self, key: &str) -> &str {
        match self.origins.get(key) {
            Some(Origin::Layer(layer)) => &self.names[*layer],
            Some(Origin::CommandLine) => "command line",
            None => "default",
        }
    }

    /// Returns all problems.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Returns the string of a key if it is valid.
    pub fn text(&mut self, key: &str) -> Option<String> {
        Some(self.values.get(key)?.as_str().expect("the type was checked").to_owned())
    }

    /// Parses the string of a key. A parse error is recorded as a problem.
    pub fn parse<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&self.text(key)?) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                self.report_problem(key, &problem);
                None
            }
        }
    }

    /// Returns the strings of an array if it is valid.
    pub fn text_list(&self, key: &str) -> Option<Vec<String>> {
        let texts = self.values.get(key)?.as_array()?.iter();
        Some(texts.filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Parses each string of an array. Every element that cannot be parsed is a problem.
    pub fn parse_list<T>(
        &mut self,
        key: &str,
        mut parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let texts = self.text_list(key)?;
        let mut parsed = Vec::with_capacity(texts.len());
        for text in &texts {
            match parse(text) {
                Ok(value) => parsed.push(value),
                Err(problem) => self.report_problem(key, &problem),
            }
        }
        (parsed.len() == texts.len()).then_some(parsed)
    }

    /// Returns the boolean of a key if it is valid.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.values.get(key)?.as_bool()
    }

    /// Returns the integer of a key if it is valid. The bounds of the key must fit into `T`.
    pub fn integer<T: TryFrom<i64>>(&self, key: &str) -> Option<T> {
        T::try_from(self.values.get(key)?.as_integer()?).ok()
    }

    /// Returns the number of a key if it is valid.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.values.get(key)?.as_float()
    }

    /// Returns the duration of a key in seconds if it is valid.
    pub fn seconds(&self, key: &str) -> Option<Duration> {
        self.number(key).map(Duration::from_secs_f64)
    }
}

fn parse_toml(text: Result<String, String>) -> Result<toml::Table, String> {
    text?.parse().map_err(|error: toml::de::Error| {
        format!("is not TOML: {}", error.to_string().trim().replace('\n', "\n  "))
    })
}

/// Checks the type and range of a value. An integer is accepted for a number.
fn check_value(key: &KeySpec, value: Value) -> Result<Value, String> {
    match (key.kind, value) {
        (ValueKind::Text, value @ Value::String(_))
        | (ValueKind::Flag, value @ Value::Boolean(_)) => Ok(value),
        (ValueKind::Integer(min, max), Value::Integer(number)) if (min..=max).contains(&number) => {
            Ok(Value::Integer(number))
        }
        (ValueKind::Integer(min, max), Value::Integer(number)) => {
            Err(format!("{number} is outside {min}..={max}"))
        }
        (ValueKind::Number(min, max), value @ (Value::Integer(_) | Value::Float(_))) => {
            let number = match value {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "values beyond 2^53 exceed every range"
                )]
                Value::Integer(number) => number as f64,
                value => value.as_float().expect("the value is a float"),
            };
            if (min..=max).contains(&number) {
                Ok(Value::Float(number))
            } else {
                Err(format!("{number} is outside {min}..={max}"))
            }
        }
        (ValueKind::TextList, Value::Array(list)) => check_texts(list),
        (ValueKind::Text, value) => Err(format!("{} is not a string in quotes", display(&value))),
        (ValueKind::TextList, value @ Value::String(_)) => {
            Err(format!("{text} is not an array; write [{text}]", text = display(&value)))
        }
        (ValueKind::TextList, value) => {
            Err(format!("{} is not an array of strings", display(&value)))
        }
        (ValueKind::Flag, value) => Err(format!("{} is neither true nor false", display(&value))),
        (ValueKind::Integer(..), value) => {
            Err(format!("{} is not a whole number", display(&value)))
        }
        (ValueKind::Number(..), value) => Err(format!("{} is not a number", display(&value))),
    }
}

/// Checks the elements of an array of strings: each is a non-empty string, and none is there twice.
fn check_texts(list: Vec<Value>) -> Result<Value, String> {
    for (index, value) in list.iter().enumerate() {
        match value {
            Value::String(text) if text.is_empty() => {
                return Err("contains an empty string; remove it".to_owned());
            }
            Value::String(_) if list[..index].contains(value) => {
                return Err(format!("{} is there twice; remove one", display(value)));
            }
            Value::String(_) => {}
            other => return Err(format!("{} is not a string in quotes", display(other))),
        }
    }
    Ok(Value::Array(list))
}

/// Formats a value as in the file.
pub(super) fn display(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// Suggests the known name that is most similar.
fn suggestion<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    let distance = |name: &&str| edit_distance(name, unknown);
    let nearest = known.min_by_key(distance).filter(|name| distance(name) <= unknown.len() / 3);
    nearest.map(|name| format!(": did you mean {name}?")).unwrap_or_default()
}

/// Levenshtein distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
