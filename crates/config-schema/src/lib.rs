//! Schema-driven TOML configuration: reading with drop-ins, validation, default file and reference.
//!
//! Both programs describe their keys once in a [`ConfigSchema`]. The shipped file, the reference, the
//! manual page and all error reports are derived from it.

mod files;
mod render;
mod secrets;
mod values;

use std::fmt;
use std::path::{Path, PathBuf};

pub use files::ConfigLayer;
pub use values::{Override, Values};

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueKind {
    /// A string.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number between two bounds, inclusive.
    Integer(i64, i64),
    /// A number between two bounds, inclusive.
    Number(f64, f64),
    /// An array of strings.
    TextList,
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Flag => f.write_str("true or false"),
            Self::Integer(min, max) => write!(f, "whole number {min} to {max}"),
            Self::Number(min, max) => write!(f, "number {min} to {max}"),
            Self::TextList => f.write_str("array of texts"),
        }
    }
}

/// Specification of a key.
#[derive(Debug)]
pub struct KeySpec {
    /// `section.key` or `section.subsection.key`. The name of a quantity ends in its unit.
    pub name: &'static str,
    pub kind: ValueKind,
    /// Default value as TOML.
    pub default: &'static str,
    /// Description for the person who edits the file.
    pub help: &'static str,
}

/// Creates a key specification.
#[must_use]
pub const fn key(
    name: &'static str,
    kind: ValueKind,
    default: &'static str,
    help: &'static str,
) -> KeySpec {
    KeySpec { name, kind, default, help }
}

impl KeySpec {
    /// Returns the name within the section or table.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit_once('.').expect("every key name contains a dot").1
    }
}

/// Specification of an array of tables, `[[name]]`.
#[derive(Debug)]
pub struct TableListSpec {
    /// Name between `[[` and `]]`.
    pub name: &'static str,
    /// Maximum number of tables.
    pub max_tables: usize,
    /// Description for the person who edits the file.
    pub help: &'static str,
    /// Keys of each table, named `list.key`. A key with an empty default is required.
    pub keys: &'static [KeySpec],
}

/// Schema of a program's configuration.
#[derive(Debug)]
pub struct ConfigSchema {
    /// Name of the program, for people.
    pub program: &'static str,
    /// First lines of the shipped file.
    pub file_header: &'static str,
    /// First lines of the reference, before the table of keys.
    pub reference_intro: &'static str,
    /// Keys in the order of the file.
    pub keys: &'static [KeySpec],
    /// Arrays of tables in the order of the file, after the keys.
    pub lists: &'static [TableListSpec],
}

/// Whether the rendered configuration names the origin of each value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowOrigins {
    /// In a comment: the file, or `default`.
    Shown,
    /// Values only.
    Hidden,
}

/// Failure to load a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist or cannot be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The configuration has errors.
    #[error("{0}")]
    Invalid(ConfigErrors),
}

/// All errors of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file, or the command line.
    pub origin: String,
    /// One line per error: key, value, remedy.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: invalid configuration", self.origin)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl ConfigSchema {
    /// Loads a file and its drop-ins, and converts the values with `check`.
    ///
    /// # Errors
    /// The file cannot be read, or is invalid; then the error lists all problems of the file and
    /// its drop-ins.
    pub fn load<T>(
        &'static self,
        path: &Path,
        overrides: &[Override],
        check: impl FnOnce(&mut Values) -> Option<T>,
    ) -> Result<(T, Values), ConfigError> {
        self.read(files::read(path)?, overrides, check)
    }

    /// Validates layers that have been read, and converts the values with `check`.
    ///
    /// # Errors
    /// The configuration is invalid; the error lists all problems.
    pub fn read<T>(
        &'static self,
        layers: Vec<ConfigLayer>,
        overrides: &[Override],
        check: impl FnOnce(&mut Values) -> Option<T>,
    ) -> Result<(T, Values), ConfigError> {
        let origin = layers.first().map(|layer| layer.name.clone()).unwrap_or_default();
        let mut values = Values::read(self, layers, overrides);
        let config = check(&mut values);
        match (config, values.problems()) {
            (Some(config), []) => Ok((config, values)),
            (_, problems) => {
                Err(ConfigError::Invalid(ConfigErrors { origin, problems: problems.to_vec() }))
            }
        }
    }

    /// Renders the shipped file: every key with its default and description.
    #[must_use]
    pub fn default_file(&self) -> String {
        render::default_file(self)
    }

    /// Renders the reference: every key with its type, default and description.
    #[must_use]
    pub fn reference(&self) -> String {
        render::reference(self)
    }

    /// Returns every key for the manual page: name, type, default as TOML, description.
    ///
    /// Keys of arrays of tables follow as `list.key`. A key with an empty default is required.
    pub fn entries(
        &'static self,
    ) -> impl Iterator<Item = (&'static str, String, &'static str, &'static str)> {
        let of_lists = self.lists.iter().flat_map(|list| list.keys);
        self.keys
            .iter()
            .chain(of_lists)
            .map(|key| (key.name, key.kind.to_string(), key.default, key.help))
    }
}

impl Values {
    /// Renders the effective configuration as one file with every key.
    #[must_use]
    pub fn to_toml(&self, origins: ShowOrigins) -> String {
        render::effective(self, origins)
    }
}
