//! Loads PEM files (RFC 7468): root certificates, certificate chains, private keys. Both programs
//! report the same errors for an unusable file.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A PEM file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct PemError {
    path: PathBuf,
    problem: String,
}

impl PemError {
    /// Creates an error for the file at `path`.
    pub fn new(path: &Path, problem: &impl ToString) -> Self {
        Self { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// Loads root certificates. Unreadable certificates are skipped; at least one must be valid.
///
/// # Errors
/// The file cannot be read, is not PEM, or has no valid certificate.
pub fn load_root_store(path: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for authority in load_cert_chain(path)? {
        // The host's bundle may contain a certificate too old to be parsed.
        let _ = roots.add(authority);
    }
    if roots.is_empty() {
        return Err(PemError::new(path, &"has no CA certificate (PEM)"));
    }
    Ok(roots)
}

/// Loads a certificate chain, the end-entity certificate first.
///
/// # Errors
/// The file cannot be read, is not PEM, or has no certificate.
pub fn load_cert_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let failed = |error| PemError::new(path, &describe(&error));
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    match found.map_err(failed)? {
        none if none.is_empty() => Err(PemError::new(path, &"has no certificate (PEM)")),
        some => Ok(some),
    }
}

/// Loads the first private key.
///
/// # Errors
/// The file cannot be read, is not PEM, or has no private key.
pub fn load_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| PemError::new(path, &describe(&error)))
}

fn describe(error: &Error) -> String {
    match error {
        Error::Io(error) => format!("cannot be read: {error}"),
        Error::NoItemsFound => "has no private key (PEM)".to_owned(),
        other => format!("is not PEM: {other:?}"),
    }
}
