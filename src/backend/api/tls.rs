//! Certificate and key → the server's TLS, read anew when the files change: who renews a certificate restarts nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::ring;

use crate::pem::{self, PemError};

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
    pub(super) fn load(files: &(PathBuf, PathBuf)) -> Result<Self, PemError> {
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

fn read((certificate, key): &(PathBuf, PathBuf)) -> Result<Arc<ServerConfig>, PemError> {
    let refused = |error| PemError::new(certificate, &error);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(pem::certificates(certificate)?, pem::private_key(key)?)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
