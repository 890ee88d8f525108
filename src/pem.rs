//! Files of PEM (RFC 7468) → authorities, certificates, private keys, for both ends of the wire: what is wrong with a file
//! is said alike wherever it is read.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct PemError {
    path: PathBuf,
    problem: String,
}

impl PemError {
    /// What is wrong with the file at `path`.
    pub fn new(path: &Path, problem: &impl ToString) -> Self {
        Self { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// Who may vouch for others: the certificates of a file that can be read, one at least.
///
/// # Errors
/// The file cannot be read, is not PEM, or has none.
pub fn authorities(path: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path)? {
        // The host's list may hold one that is too old to be read.
        let _ = roots.add(authority);
    }
    if roots.is_empty() {
        return Err(PemError::new(path, &"has no certificate of an authority (PEM)"));
    }
    Ok(roots)
}

/// The certificates of a file, one at least: first one's own, then those that vouch for it.
///
/// # Errors
/// The file cannot be read, is not PEM, or has none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let failed = |error| PemError::new(path, &words(&error));
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    match found.map_err(failed)? {
        none if none.is_empty() => Err(PemError::new(path, &"has no certificate (PEM)")),
        some => Ok(some),
    }
}

/// The first private key of a file.
///
/// # Errors
/// The file cannot be read, is not PEM, or has none.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| PemError::new(path, &words(&error)))
}

fn words(error: &Error) -> String {
    match error {
        Error::Io(error) => format!("cannot be read: {error}"),
        Error::NoItemsFound => "has no private key (PEM)".to_owned(),
        other => format!("is not PEM: {other:?}"),
    }
}
