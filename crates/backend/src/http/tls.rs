//! Server certificate that is reloaded when its files change, without a restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::ring;

use waypost_service::pem::{self, PemError};

#[derive(Debug)]
pub(super) struct ReloadableCert {
    files: (PathBuf, PathBuf),
    mtimes: FileMtimes,
    config: Arc<ServerConfig>,
}

/// Modification times of both files; `None` if unknown.
type FileMtimes = [Option<SystemTime>; 2];

impl ReloadableCert {
    pub(super) fn load(files: &(PathBuf, PathBuf)) -> Result<Self, PemError> {
        Ok(Self { files: files.clone(), mtimes: file_mtimes(files), config: load_config(files)? })
    }

    /// Returns the configuration for the next connection.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Reloads the files if they have changed. Keeps the old certificate if the new files are
    /// unusable.
    pub(super) fn reload_if_changed(&mut self) {
        let seen = file_mtimes(&self.files);
        if seen == self.mtimes {
            return;
        }
        // Also recorded for unusable files: one log line is enough, and a renewal may be half done.
        self.mtimes = seen;
        match load_config(&self.files) {
            Ok(config) => {
                self.config = config;
                tracing::info!("certificate reloaded");
            }
            Err(error) => tracing::warn!(%error, "certificate reload failed"),
        }
    }

    /// Makes the next call reload the files in any case.
    pub(super) fn reset_mtimes(&mut self) {
        self.mtimes = FileMtimes::default();
    }
}

fn file_mtimes(files: &(PathBuf, PathBuf)) -> FileMtimes {
    [&files.0, &files.1].map(|path| std::fs::metadata(path).and_then(|of| of.modified()).ok())
}

fn load_config((certificate, key): &(PathBuf, PathBuf)) -> Result<Arc<ServerConfig>, PemError> {
    let refused = |error| PemError::new(certificate, &error);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(pem::load_cert_chain(certificate)?, pem::load_private_key(key)?)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
