//! Who has a file open, as `fuser` finds it: what `/proc` shows us of other processes.

use std::fs;
use std::path::Path;

/// The first process that has `path` open, as `name (process 123)`; `None` if none does that we may look into.
pub(super) fn holder(path: &Path) -> Option<String> {
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
