//! Reads a configuration file and its drop-ins in `conf.d`.
//!
//! Drop-ins are read in byte order of their names; each overrides the files before it.

use std::io;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// Directory of drop-ins, next to the file.
const FOLDER: &str = "conf.d";

/// One file of a configuration.
#[derive(Debug)]
pub struct ConfigLayer {
    /// Path of the file; for a drop-in relative to the file's directory, such as
    /// `conf.d/20-van.toml`.
    pub name: String,
    /// Content of the file, or the reason why it cannot be read.
    pub text: Result<String, String>,
}

/// Reads the file and its drop-ins.
///
/// # Errors
/// The file cannot be read, or `conf.d` cannot be listed. An unreadable drop-in is reported with
/// the other problems.
pub(super) fn read(path: &Path) -> Result<Vec<ConfigLayer>, ConfigError> {
    let unreadable =
        |path: &Path, source| ConfigError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
    let mut layers = vec![ConfigLayer { name: path.display().to_string(), text: Ok(text) }];
    let folder = path.parent().unwrap_or(Path::new("")).join(FOLDER);
    for drop_in in drop_ins(&folder).map_err(|source| unreadable(&folder, source))? {
        let name = drop_in.file_name().unwrap_or_default().to_string_lossy();
        layers.push(ConfigLayer {
            name: format!("{FOLDER}/{name}"),
            text: std::fs::read_to_string(&drop_in)
                .map_err(|error| format!("cannot be read: {error}")),
        });
    }
    Ok(layers)
}

/// Lists the visible files that end in `.toml`, by name. This excludes the backup files of editors.
fn drop_ins(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
            paths.push(folder.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}
