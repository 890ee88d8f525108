//! Tables of keys → a program's configuration file: read with its drop-ins, checked, written, documented.
//!
//! Both programs describe their keys once ([`Book`]); the shipped file, its reference, the manual and every report of a
//! problem are made of that.

mod files;
mod secrets;
mod values;
mod written;

use std::fmt;
use std::path::{Path, PathBuf};

pub use files::Layer;
pub use values::{Override, Values};

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A text in quotes.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number between two bounds, both included.
    Integer(i64, i64),
    /// A number between two bounds, both included.
    Number(f64, f64),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Flag => f.write_str("true or false"),
            Self::Integer(min, max) => write!(f, "whole number {min} to {max}"),
            Self::Number(min, max) => write!(f, "number {min} to {max}"),
        }
    }
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// `section.key` or `section.subsection.key`; a quantity ends in its unit.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// As TOML.
    pub default: &'static str,
    /// For the person who edits the file.
    pub help: &'static str,
}

/// A key, for a table of them.
#[must_use]
pub const fn key(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key { name, kind, default, help }
}

impl Key {
    /// Its name within its section or table.
    pub fn last(&self) -> &'static str {
        self.name.rsplit_once('.').expect("every name has a section").1
    }
}

/// A list of tables: `[[name]]`, any number of times up to a bound.
#[derive(Debug)]
pub struct List {
    /// As between `[[` and `]]`.
    pub name: &'static str,
    /// How many tables it may have.
    pub most: usize,
    /// For the person who edits the file.
    pub help: &'static str,
    /// Their names are `list.key`; one whose default is empty must be there.
    pub keys: &'static [Key],
}

/// All that a program can be told.
#[derive(Debug)]
pub struct Book {
    /// Its name, for people.
    pub program: &'static str,
    /// How the shipped file begins.
    pub head: &'static str,
    /// How the reference begins, ahead of the table of keys.
    pub page: &'static str,
    /// In the order of the file.
    pub keys: &'static [Key],
    /// In the order of the file, after the keys.
    pub lists: &'static [List],
}

/// Whether a configuration that is shown says where each value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origins {
    /// In a comment after each: the file, or `default`.
    Shown,
    /// The values alone.
    Hidden,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file, or it must not be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was read, and something is wrong with it.
    #[error("{0}")]
    NotUsable(Report),
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file, or the command line.
    pub origin: String,
    /// One line each: key, value, remedy.
    pub problems: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not usable", self.origin)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Book {
    /// Reads a file and the drop-ins beside it, and makes a configuration of it by `check`.
    ///
    /// # Errors
    /// The file cannot be read, or is not usable: then every problem of it and its drop-ins.
    pub fn load<T>(
        &'static self,
        path: &Path,
        overrides: &[Override],
        check: impl FnOnce(&mut Values) -> Option<T>,
    ) -> Result<(T, Values), ConfigError> {
        self.read(files::read(path)?, overrides, check)
    }

    /// As [`Self::load`], of layers that have been read.
    ///
    /// # Errors
    /// Every problem, if there is one.
    pub fn read<T>(
        &'static self,
        layers: Vec<Layer>,
        overrides: &[Override],
        check: impl FnOnce(&mut Values) -> Option<T>,
    ) -> Result<(T, Values), ConfigError> {
        let origin = layers.first().map(|layer| layer.name.clone()).unwrap_or_default();
        let mut values = Values::read(self, layers, overrides);
        let config = check(&mut values);
        match (config, values.problems()) {
            (Some(config), []) => Ok((config, values)),
            (_, problems) => {
                Err(ConfigError::NotUsable(Report { origin, problems: problems.to_vec() }))
            }
        }
    }

    /// The shipped file: every key with its default and a sentence.
    #[must_use]
    pub fn default_file(&self) -> String {
        written::default_file(self)
    }

    /// The reference: every key with what it may be.
    #[must_use]
    pub fn reference(&self) -> String {
        written::reference(self)
    }

    /// Every key for the manual: its name, what it may be, its default as TOML, and what it means.
    ///
    /// Those of lists follow, as `list.key`; where the default is empty the key must be there.
    pub fn documented(
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
    /// All of it as one file with every key.
    #[must_use]
    pub fn effective(&self, origins: Origins) -> String {
        written::effective(self, origins)
    }
}
