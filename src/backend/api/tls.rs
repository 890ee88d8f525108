//! Certificate and key → the server's TLS, read anew when the files change: who renews a certificate restarts nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct TlsError {
    path: PathBuf,
    problem: String,
}

/// A certificate that is looked at again.
#[derive(Debug)]
pub(super) struct Certificate {
    files: (PathBuf, PathBuf),
    seen: Seen,
    config: Arc<ServerConfig>,
}

/// When both files were changed last, as far as the file system says.
type Seen = [Option<SystemTime>; 2];

impl Certificate {
    pub(super) fn load(files: &(PathBuf, PathBuf)) -> Result<Self, TlsError> {
        Ok(Self { files: files.clone(), seen: seen(files), config: read(files)? })
    }

    /// For the next connection.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Reads the files again if they have changed. With files that cannot be used the old certificate stays.
    pub(super) fn renew(&mut self) {
        let seen = seen(&self.files);
        if seen == self.seen {
            return;
        }
        // Also of files that are no good: what is said once is enough, and a renewal may be half done.
        self.seen = seen;
        match read(&self.files) {
            Ok(config) => {
                self.config = config;
                tracing::info!("certificate renewed");
            }
            Err(error) => tracing::warn!(%error, "certificate not renewed"),
        }
    }

    /// Looks at the files although they may not have changed.
    pub(super) fn forget_seen(&mut self) {
        self.seen = Seen::default();
    }
}

fn seen(files: &(PathBuf, PathBuf)) -> Seen {
    [&files.0, &files.1].map(|path| std::fs::metadata(path).and_then(|of| of.modified()).ok())
}

fn read((certificate, key): &(PathBuf, PathBuf)) -> Result<Arc<ServerConfig>, TlsError> {
    let error = |path: &Path, problem: String| TlsError { path: path.to_owned(), problem };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|problem| error(certificate, problem.to_string()))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|problem| error(key, problem.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|problem| error(certificate, problem.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|problem| error(certificate, problem.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
