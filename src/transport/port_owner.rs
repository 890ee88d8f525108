//! Finds the process that has a file open, from `/proc` as `fuser` does.

use std::fs;
use std::path::Path;

/// Returns the first process that has `path` open, as `name (process 123)`. Processes of other
/// users may be hidden.
pub(super) fn find_owner(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let has_it = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|open| open == path))
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let process = entry.path();
        has_it(&process).then(|| {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            format!("{} (process {id})", name.trim().escape_debug())
        })
    })
}
