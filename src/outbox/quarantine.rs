//! Quarantine of damaged databases. A damaged file is renamed to `<name>.salvage-<n>` until its
//! readable content is in the new one, then to `<name>.corrupt-<n>` for inspection. After a power
//! cut, the name shows which step remains.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::seq_file::{self, with_suffix};

const SALVAGE: &str = ".salvage-";
const CORRUPT: &str = ".corrupt-";

/// Suffixes of a database's files. The database is renamed last, because a WAL alone is also
/// salvaged.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", ""];

/// Renames a damaged database and its WAL for salvage.
pub(super) fn quarantine(path: &Path, why: &rusqlite::Error) -> io::Result<()> {
    let mut earlier = numbered_files(path, SALVAGE);
    earlier.extend(numbered_files(path, CORRUPT));
    let number = earlier.iter().map(|(number, _)| number + 1).max().unwrap_or(1);
    let aside = with_suffix(path, &format!("{SALVAGE}{number}"));
    rename_all(path, &aside)?;
    tracing::error!(path = %path.display(), quarantine = %aside.display(), error = %why, "outbox damaged: continuing with a new database");
    Ok(())
}

/// Lists the quarantined databases that are not salvaged yet, with their numbers, in ascending
/// order.
pub(super) fn pending_salvage(path: &Path) -> Vec<(u64, PathBuf)> {
    let mut numbers: Vec<_> =
        numbered_files(path, SALVAGE).into_iter().map(|(number, _)| number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let aside = |number| (number, with_suffix(path, &format!("{SALVAGE}{number}")));
    numbers.into_iter().map(aside).collect()
}

/// Marks a database as salvaged and keeps it for inspection. Deletes older ones, because the disk
/// is small.
pub(super) fn mark_salvaged(path: &Path, number: u64) -> io::Result<()> {
    let earlier = numbered_files(path, CORRUPT);
    let name = |kind| with_suffix(path, &format!("{kind}{number}"));
    rename_all(&name(SALVAGE), &name(CORRUPT))?;
    for (_, file) in earlier.into_iter().filter(|(earlier, _)| *earlier != number) {
        if let Err(error) = fs::remove_file(&file) {
            tracing::warn!(path = %file.display(), %error, "older damaged outbox not removed");
        }
    }
    Ok(())
}

fn rename_all(from: &Path, to: &Path) -> io::Result<()> {
    for suffix in SUFFIXES {
        match fs::rename(with_suffix(from, suffix), with_suffix(to, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    seq_file::sync_directory_of(from)
}

/// Lists the quarantined files of this kind with their numbers.
fn numbered_files(path: &Path, kind: &str) -> Vec<(u64, PathBuf)> {
    let prefix = with_suffix(path, kind);
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
