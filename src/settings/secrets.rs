//! The files that values name → what is secret in them.
//!
//! A secret that everybody on the computer may read is not used: who reads it is who it stands for.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::Values;

/// `S_IROTH`, inode(7). The group may read: it is how a person asks the agent.
const OTHERS_READ: u32 = 0o004;

impl Values {
    /// The first line of the file that a key names; `Some(None)`: none is named. `None`: a problem, which is noted.
    pub fn secret(&mut self, key: &str) -> Option<Option<String>> {
        let file = self.text(key)?;
        if file.is_empty() {
            return Some(None);
        }
        if self.is_exposed(key, &file) {
            return None;
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => Some(Some(text.lines().next().unwrap_or_default().to_owned())),
            Err(error) => {
                self.problem(key, &format!("{file}: cannot be read: {error}"));
                None
            }
        }
    }

    /// The files of a certificate and its key, which are there both or neither. `None`: a problem, which is noted.
    pub fn certificate(&mut self, cert: &str, key: &str) -> Option<Option<(PathBuf, PathBuf)>> {
        let (cert_file, key_file) = (self.text(cert)?, self.text(key)?);
        match (cert_file.as_str(), key_file.as_str()) {
            ("", "") => Some(None),
            ("", _) => {
                self.problem(cert, &format!("there is a {key} and no certificate to it"));
                None
            }
            (_, "") => {
                self.problem(key, &format!("there is a {cert} and no key to it"));
                None
            }
            (_, file) if self.is_exposed(key, file) => None,
            _ => Some(Some((cert_file.into(), key_file.into()))),
        }
    }

    /// Whether anybody may read a secret; then that is noted. What is not there yet, a running program waits for.
    fn is_exposed(&mut self, key: &str, file: &str) -> bool {
        let Ok(metadata) = std::fs::metadata(file) else { return false };
        let mode = metadata.permissions().mode() & 0o7777;
        let exposed = mode & OTHERS_READ != 0;
        if exposed {
            let problem = format!(
                "{file}: everybody on this computer may read it (mode {mode:04o}): chmod o-r {file}"
            );
            self.problem(key, &problem);
        }
        exposed
    }
}
