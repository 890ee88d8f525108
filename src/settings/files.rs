//! A path → the texts of a configuration: the file, and the drop-ins beside it in `conf.d`.
//!
//! Drop-ins are in the order of their names' bytes, and each goes before what came before it.

use std::io;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// The folder of drop-ins, beside the file.
const FOLDER: &str = "conf.d";

/// One text of a configuration.
#[derive(Debug)]
pub struct Layer {
    /// The path of the file; of a drop-in, from the file's folder on: `conf.d/20-van.toml`.
    pub name: String,
    /// What it says, or why it cannot be read.
    pub text: Result<String, String>,
}

/// The file, and then its drop-ins.
///
/// # Errors
/// The file cannot be read, or `conf.d` cannot be listed. A drop-in that cannot be read is a problem like any other.
pub(super) fn read(path: &Path) -> Result<Vec<Layer>, ConfigError> {
    let unreadable =
        |path: &Path, source| ConfigError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
    let mut layers = vec![Layer { name: path.display().to_string(), text: Ok(text) }];
    let folder = path.parent().unwrap_or(Path::new("")).join(FOLDER);
    for drop_in in drop_ins(&folder).map_err(|source| unreadable(&folder, source))? {
        let name = drop_in.file_name().unwrap_or_default().to_string_lossy();
        layers.push(Layer {
            name: format!("{FOLDER}/{name}"),
            text: std::fs::read_to_string(&drop_in)
                .map_err(|error| format!("cannot be read: {error}")),
        });
    }
    Ok(layers)
}

/// What ends in `.toml` and is not hidden, by name. An editor's copy is neither.
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
