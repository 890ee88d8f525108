//! The values of a configuration by key, where each comes from, and everything that is wrong with them.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Value;

use super::files::Layer;
use super::{Book, Key, Kind, List};

/// A key that the command line sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// `section.key`.
    pub key: &'static str,
    /// What it becomes.
    pub value: String,
}

/// What gave a key its value, where that is not the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The file, which is the first, or a drop-in.
    Layer(usize),
    CommandLine,
}

/// Every key with a value of the right kind and range, and the problems found so far.
#[derive(Debug)]
pub struct Values {
    book: &'static Book,
    values: BTreeMap<String, Value>,
    /// How many tables each list has.
    counts: BTreeMap<&'static str, usize>,
    /// Of all that is written somewhere: keys, lists, and what should not be there.
    origins: BTreeMap<String, Origin>,
    /// The file and its drop-ins.
    names: Vec<String>,
    problems: Vec<String>,
}

impl Values {
    /// Reads layers, each of which goes before those ahead of it. What is unknown, or of a wrong kind or range, is a
    /// problem. Where one could not be read, nothing else is said: it would be of the defaults.
    pub fn read(book: &'static Book, layers: Vec<Layer>, overrides: &[Override]) -> Self {
        let mut this = Self {
            book,
            values: BTreeMap::new(),
            counts: BTreeMap::new(),
            origins: BTreeMap::new(),
            names: layers.iter().map(|layer| layer.name.clone()).collect(),
            problems: Vec::new(),
        };
        let mut tables: Vec<toml::Table> = layers
            .into_iter()
            .enumerate()
            .filter_map(|(index, layer)| match parsed(layer.text) {
                Ok(table) => Some(table),
                Err(problem) => {
                    this.problems.push(format!("{}{problem}", this.place(index)));
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

    /// What a problem in a layer begins with. The file's own name stands above them all.
    fn place(&self, layer: usize) -> String {
        if layer == 0 { String::new() } else { format!("{}: ", self.names[layer]) }
    }

    /// The last layer that has a list has all of it.
    fn read_lists(&mut self, layers: &mut [toml::Table]) {
        for list in self.book.lists {
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
            let is_text =
                self.book.keys.iter().any(|known| known.name == *key && known.kind == Kind::Text);
            let text = || Value::String(value.clone());
            // As it would stand in the file; what is no TOML is reported as the text that it is.
            let value = if is_text { text() } else { value.parse().unwrap_or_else(|_| text()) };
            given.insert((*key).to_owned(), value);
            self.origins.insert((*key).to_owned(), Origin::CommandLine);
        }
        for key in self.book.keys {
            let default = || key.default.parse::<Value>().expect("a default is TOML");
            let value = given.remove(key.name).unwrap_or_else(default);
            match checked(key, value) {
                Ok(value) => drop(self.values.insert(key.name.to_owned(), value)),
                Err(problem) => self.problem(key.name, &problem),
            }
        }
        for unknown in given.keys() {
            let meant = similar(unknown, self.book.keys.iter().map(|key| key.name));
            self.problem(unknown, &format!("is not a key of {}{meant}", self.book.program));
        }
    }

    /// Puts the keys of a layer into `given` by their whole names.
    fn flatten_layer(
        &mut self,
        layer: usize,
        sections: toml::Table,
        given: &mut BTreeMap<String, Value>,
    ) {
        for (section, value) in sections {
            self.origins.insert(section.clone(), Origin::Layer(layer));
            let meant = || similar(&section, self.book.lists.iter().map(|list| list.name));
            let problem = match value {
                Value::Table(table)
                    if self
                        .book
                        .keys
                        .iter()
                        .any(|key| key.name.starts_with(&format!("{section}."))) =>
                {
                    for (name, value) in self.flattened(layer, &section, table) {
                        self.origins.insert(name.clone(), Origin::Layer(layer));
                        given.insert(name, value);
                    }
                    continue;
                }
                Value::Table(_) => {
                    format!("[{section}] is not a section of {}{}", self.book.program, meant())
                }
                Value::Array(list) if list.iter().all(Value::is_table) => {
                    format!("[[{section}]] is not a list of {}{}", self.book.program, meant())
                }
                _ => "stands outside a section".to_owned(),
            };
            self.problem(&section, &problem);
        }
    }

    /// Every table of a list, by names such as `scanner[1].source`.
    fn read_list(&mut self, list: &List, origin: Origin, given: Value) {
        let Value::Array(tables) = given else {
            return self.problem(list.name, &format!("is a list: write [[{}]]", list.name));
        };
        if tables.len() > list.most {
            let (count, most) = (tables.len(), list.most);
            return self
                .problem(list.name, &format!("{count} tables are too many: at most {most}"));
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
                other => self.problem(&place, &format!("{} is not a table", shown(&other))),
            }
        }
    }

    fn read_table(&mut self, list: &List, place: &str, mut table: toml::Table) {
        for key in list.keys {
            let name = format!("{place}.{}", key.last());
            let default = || key.default.parse::<Value>().ok();
            match table.remove(key.last()).or_else(default).map(|value| checked(key, value)) {
                Some(Ok(value)) => drop(self.values.insert(name, value)),
                Some(Err(problem)) => self.problem(&name, &problem),
                None => self.problem(&name, &format!("is missing: {}", key.help)),
            }
        }
        for unknown in table.keys() {
            let meant = similar(unknown, list.keys.iter().map(Key::last));
            let name = format!("{place}.{unknown}");
            self.problem(&name, &format!("is not a key of [[{}]]{meant}", list.name));
        }
    }

    pub(super) fn book(&self) -> &'static Book {
        self.book
    }

    /// The names of a list's tables, such as `scanner[1]`.
    pub fn tables(&self, list: &str) -> Vec<String> {
        let count = self.counts.get(list).copied().unwrap_or(0);
        (1..=count).map(|number| format!("{list}[{number}]")).collect()
    }

    /// The keys of a section by their whole names, and those of its subsections.
    fn flattened(
        &mut self,
        layer: usize,
        section: &str,
        table: toml::Table,
    ) -> Vec<(String, Value)> {
        let mut keys = Vec::new();
        for (key, value) in table {
            let name = format!("{section}.{key}");
            let is_section =
                self.book.keys.iter().any(|known| known.name.starts_with(&format!("{name}.")));
            match value {
                // There is one level of them.
                Value::Table(inner) if is_section => {
                    keys.extend(
                        inner.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)),
                    );
                }
                _ if is_section => {
                    self.origins.insert(name.clone(), Origin::Layer(layer));
                    self.problem(&name, &format!("is a section: write [{name}]"));
                }
                value => keys.push((name, value)),
            }
        }
        keys
    }

    /// Says what is wrong with a key, a list, or one of its tables, and in which drop-in it is.
    pub fn problem(&mut self, key: &str, problem: &str) {
        let of_list = || self.origins.get(key.split_once('[')?.0);
        let place = match self.origins.get(key).or_else(of_list) {
            Some(Origin::Layer(layer)) => self.place(*layer),
            Some(Origin::CommandLine) | None => String::new(),
        };
        self.problems.push(format!("{place}{key}: {problem}"));
    }

    /// The drop-ins that were read, in their order.
    pub fn drop_ins(&self) -> Vec<String> {
        self.names.iter().skip(1).cloned().collect()
    }

    /// What a key is, where its value is in order.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The file that has a key, or `default`.
    pub fn origin(&self, key: &str) -> &str {
        match self.origins.get(key) {
            Some(Origin::Layer(layer)) => &self.names[*layer],
            Some(Origin::CommandLine) => "command line",
            None => "default",
        }
    }

    /// Everything that is wrong.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The text of a key, if it is in order.
    pub fn text(&mut self, key: &str) -> Option<String> {
        Some(self.values.get(key)?.as_str().expect("the kind was checked").to_owned())
    }

    /// A text that means something more.
    pub fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&self.text(key)?) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                self.problem(key, &problem);
                None
            }
        }
    }

    /// Whether a key says `true`, if it is in order.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.values.get(key)?.as_bool()
    }

    /// An integer whose range the key's bounds keep within `T`.
    pub fn integer<T: TryFrom<i64>>(&self, key: &str) -> Option<T> {
        T::try_from(self.values.get(key)?.as_integer()?).ok()
    }

    /// The number of a key, if it is in order.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.values.get(key)?.as_float()
    }

    /// The seconds of a key, if it is in order.
    pub fn seconds(&self, key: &str) -> Option<Duration> {
        self.number(key).map(Duration::from_secs_f64)
    }
}

fn parsed(text: Result<String, String>) -> Result<toml::Table, String> {
    text?.parse().map_err(|error: toml::de::Error| {
        format!("is not TOML: {}", error.to_string().trim().replace('\n', "\n  "))
    })
}

/// The value, if it is of the key's kind and within its bounds. A whole number may stand for a number.
fn checked(key: &Key, value: Value) -> Result<Value, String> {
    match (key.kind, value) {
        (Kind::Text, value @ Value::String(_)) | (Kind::Flag, value @ Value::Boolean(_)) => {
            Ok(value)
        }
        (Kind::Integer(min, max), Value::Integer(number)) if (min..=max).contains(&number) => {
            Ok(Value::Integer(number))
        }
        (Kind::Integer(min, max), Value::Integer(number)) => {
            Err(format!("{number} is outside {min}..={max}"))
        }
        (Kind::Number(min, max), value @ (Value::Integer(_) | Value::Float(_))) => {
            let number = match value {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "beyond 2^53 it is out of every range"
                )]
                Value::Integer(number) => number as f64,
                value => value.as_float().expect("it is a float"),
            };
            if (min..=max).contains(&number) {
                Ok(Value::Float(number))
            } else {
                Err(format!("{number} is outside {min}..={max}"))
            }
        }
        (Kind::Text, value) => Err(format!("{} is not a text in quotes", shown(&value))),
        (Kind::Flag, value) => Err(format!("{} is neither true nor false", shown(&value))),
        (Kind::Integer(..), value) => Err(format!("{} is not a whole number", shown(&value))),
        (Kind::Number(..), value) => Err(format!("{} is not a number", shown(&value))),
    }
}

/// A value as the person wrote it.
pub(super) fn shown(value: &Value) -> String {
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

/// The known name that was most likely meant.
fn similar<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    let distance = |name: &&str| edit_distance(name, unknown);
    let nearest = known.min_by_key(distance).filter(|name| distance(name) <= unknown.len() / 3);
    nearest.map(|name| format!(": is {name} meant?")).unwrap_or_default()
}

/// Levenshtein's distance.
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
