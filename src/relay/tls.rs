//! Certificates and keys → a TLS configuration, read anew for each connection: who renews a certificate restarts nothing.
//!
//! A gateway without a clock battery boots in 1970, when no certificate is valid yet. So validity is judged by the
//! agent's own UTC, which is the receiver's as soon as that is trusted, and never by a time before this release.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::SupportedProtocolVersion;
use rustls::client::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;

use crate::clock::Clock;
use crate::core::calendar::RELEASED;
use crate::pem::{self, PemError};
use crate::units::{TimeOfDay, UtcTime};

/// Where the certificates are, and what is asked of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM: who may vouch for the broker. A fleet's own authority, or the host's list.
    pub ca_file: PathBuf,
    /// How the van proves who it is, if by certificate.
    pub identity: Option<Identity>,
    /// Application-Layer Protocol Negotiation (RFC 7301), in order of preference; AWS IoT on port 443 wants one.
    pub alpn: Vec<String>,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM: the van's certificate, and those between it and the authority.
    pub cert_file: PathBuf,
    /// PEM: its private key.
    pub key_file: PathBuf,
}

/// 1.3, and 1.2 for brokers that have no other yet.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

impl TlsConfig {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be read, or is not what it should be; the error names it.
    pub fn load(&self, clock: &Clock) -> Result<Arc<ClientConfig>, PemError> {
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Now(clock.clone())))
            .with_protocol_versions(VERSIONS)
            .map_err(|error| PemError::new(&self.ca_file, &error))?
            .with_root_certificates(pem::authorities(&self.ca_file)?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { cert_file, key_file }) => builder
                .with_client_auth_cert(pem::certificates(cert_file)?, pem::private_key(key_file)?)
                .map_err(|error| PemError::new(cert_file, &error))?,
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        Ok(Arc::new(config))
    }
}

/// The first certificate of a file: the van's own, ahead of those that vouch for it.
///
/// # Errors
/// The file cannot be read, or has none.
pub fn own_certificate(path: &Path) -> Result<CertificateDer<'static>, PemError> {
    Ok(pem::certificates(path)?.swap_remove(0))
}

/// What certificates are judged by.
#[derive(Debug)]
struct Now(Clock);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        let released = UtcTime::new(RELEASED, TimeOfDay::new(0, 0, 0, 0)?)?;
        let now = self.0.utc().map_or(released, |utc| utc.max(released));
        let ms = u64::try_from(now.as_unix_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(ms)))
    }
}
