//! A damaged file → `<name>.salvage-<n>`: out of the way, until what can be read of it is in the new one; then
//! `<name>.corrupt-<n>`, there to be looked at. A power cut at any point between leaves a name that says what is to be done.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::seq_file::{self, beside};

const SALVAGE: &str = ".salvage-";
const CORRUPT: &str = ".corrupt-";

/// A database and what belongs to it; the database last, as a log without it is salvaged, too.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", ""];

/// Renames a damaged database and its log, to be salvaged.
pub(super) fn set_aside(path: &Path, why: &rusqlite::Error) -> io::Result<()> {
    let mut earlier = files(path, SALVAGE);
    earlier.extend(files(path, CORRUPT));
    let number = earlier.iter().map(|(number, _)| number + 1).max().unwrap_or(1);
    let aside = beside(path, &format!("{SALVAGE}{number}"));
    rename_all(path, &aside)?;
    tracing::error!(path = %path.display(), set_aside = %aside.display(), error = %why, "outbox is damaged, going on with a new one");
    Ok(())
}

/// What was set aside and is not salvaged yet, with its number.
pub(super) fn to_salvage(path: &Path) -> Vec<(u64, PathBuf)> {
    let mut numbers: Vec<_> = files(path, SALVAGE).into_iter().map(|(number, _)| number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let aside = |number| (number, beside(path, &format!("{SALVAGE}{number}")));
    numbers.into_iter().map(aside).collect()
}

/// It is salvaged, and only kept to be looked at: the newest alone, as the disk is small.
pub(super) fn salvaged(path: &Path, number: u64) -> io::Result<()> {
    let earlier = files(path, CORRUPT);
    let name = |kind| beside(path, &format!("{kind}{number}"));
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
        match fs::rename(beside(from, suffix), beside(to, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    seq_file::sync_directory_of(from)
}

/// What was set aside earlier, with its number.
fn files(path: &Path, kind: &str) -> Vec<(u64, PathBuf)> {
    let prefix = beside(path, kind);
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
