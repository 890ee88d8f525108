//! A damaged file → `<name>.corrupt-<n>`: out of the way, and there to be looked at.

use std::fs;
use std::path::{Path, PathBuf};

use super::seq_file::{self, beside};

/// Renames a damaged database and its log to `<name>.corrupt-<n>`. Only the newest is kept: the disk is small.
pub(super) fn set_aside(path: &Path, why: &rusqlite::Error) -> std::io::Result<PathBuf> {
    let earlier = set_aside_before(path);
    let number = earlier.iter().map(|(number, _)| number + 1).max().unwrap_or(1);
    let aside = beside(path, &format!(".corrupt-{number}"));
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, &aside)?;
    seq_file::sync_directory_of(path)?;
    for (_, file) in earlier {
        if let Err(error) = fs::remove_file(&file) {
            tracing::warn!(path = %file.display(), %error, "older damaged outbox not removed");
        }
    }
    tracing::error!(path = %path.display(), set_aside = %aside.display(), error = %why, "outbox is damaged, going on with a new one");
    Ok(aside)
}

/// What was set aside earlier, with its number.
fn set_aside_before(path: &Path) -> Vec<(u64, PathBuf)> {
    let prefix = beside(path, ".corrupt-");
    let Some(prefix) = prefix.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(directory.unwrap_or(Path::new("."))) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let rest = name.to_str()?.strip_prefix(prefix)?;
            let number = rest.split('-').next()?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect()
}
