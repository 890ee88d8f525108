//! Reads the secrets in the files that values name.
//!
//! A secret that all users of the host can read is rejected, because any of them could impersonate
//! its owner.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::Values;

/// `S_IROTH`, inode(7). Read permission for the group is allowed: its members may query the agent.
const OTHERS_READ: u32 = 0o004;

impl Values {
    /// Reads the first line of the file that a key names. `Some(None)`: no file is named. `None`: a
    /// problem was recorded.
    pub fn secret(&mut self, key: &str) -> Option<Option<String>> {
        let file = self.text(key)?;
        if file.is_empty() {
            return Some(None);
        }
        if self.is_world_readable(key, &file) {
            return None;
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => Some(Some(text.lines().next().unwrap_or_default().to_owned())),
            Err(error) => {
                self.report_problem(key, &format!("{file}: cannot be read: {error}"));
                None
            }
        }
    }

    /// Returns the files of a certificate and its key. Both or neither must be set. `None`: a
    /// problem was recorded.
    pub fn certificate(&mut self, cert: &str, key: &str) -> Option<Option<(PathBuf, PathBuf)>> {
        let (cert_file, key_file) = (self.text(cert)?, self.text(key)?);
        match (cert_file.as_str(), key_file.as_str()) {
            ("", "") => Some(None),
            ("", _) => {
                self.report_problem(cert, &format!("is required with {key}"));
                None
            }
            (_, "") => {
                self.report_problem(key, &format!("is required with {cert}"));
                None
            }
            (_, file) if self.is_world_readable(key, file) => None,
            _ => Some(Some((cert_file.into(), key_file.into()))),
        }
    }

    /// Whether all users can read a secret; this is recorded as a problem. A missing file is not,
    /// because a running program waits for it.
    fn is_world_readable(&mut self, key: &str, file: &str) -> bool {
        let Ok(metadata) = std::fs::metadata(file) else { return false };
        let mode = metadata.permissions().mode() & 0o7777;
        let exposed = mode & OTHERS_READ != 0;
        if exposed {
            let problem =
                format!("{file}: readable by all users (mode {mode:04o}): chmod o-r {file}");
            self.report_problem(key, &problem);
        }
        exposed
    }
}
