//! TLS configuration of the broker connection. Files are read for each connection, so that renewed
//! certificates need no restart.
//!
//! A gateway without a clock battery boots in 1970, when no certificate is valid yet. Certificates
//! are therefore validated against the agent's UTC, which is the receiver's time once that is
//! trusted. A time before this release is never used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};

use waypost_model::units::RELEASE_DATE;
use waypost_model::units::{TimeOfDay, UtcTime};
use waypost_service::clock::Clock;
use waypost_service::pem::{self, PemError};

/// Certificate files and requirements on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of trusted authorities: a fleet's own authority, or the host's list.
    pub ca_file: PathBuf,
    /// Client certificate, if the broker requires one.
    pub identity: Option<Identity>,
    /// Application-Layer Protocol Negotiation (RFC 7301), in order of preference; AWS IoT on port
    /// 443 wants one.
    pub alpn: Vec<String>,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM file of the van's certificate and its intermediates.
    pub cert_file: PathBuf,
    /// PEM file of the private key.
    pub key_file: PathBuf,
}

/// TLS 1.3, and 1.2 for older brokers.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

impl TlsConfig {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read or is invalid. The error contains its path.
    pub fn load(&self, clock: &Clock) -> Result<Arc<ClientConfig>, PemError> {
        self.load_for(clock, None)
    }

    /// Reads the files, for a broker that is connected by its IP address. Its certificate must be
    /// that of `name`. Without a name in the address, the TLS client sends none (RFC 6066 §3).
    ///
    /// # Errors
    /// A file cannot be read or is invalid. The error contains its path.
    pub fn load_for(
        &self,
        clock: &Clock,
        name: Option<ServerName<'static>>,
    ) -> Result<Arc<ClientConfig>, PemError> {
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_details(
            provider.clone(),
            Arc::new(CertificateClock(clock.clone())),
        )
        .with_protocol_versions(VERSIONS)
        .map_err(|error| PemError::new(&self.ca_file, &error))?;
        let roots = pem::load_root_store(&self.ca_file)?;
        let builder = match name {
            None => builder.with_root_certificates(roots),
            Some(name) => {
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| PemError::new(&self.ca_file, &error))?;
                let verifier = Arc::new(NamedServerVerifier { name, verifier });
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { cert_file, key_file }) => builder
                .with_client_auth_cert(
                    pem::load_cert_chain(cert_file)?,
                    pem::load_private_key(key_file)?,
                )
                .map_err(|error| PemError::new(cert_file, &error))?,
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        Ok(Arc::new(config))
    }
}

/// Reads the first certificate of a file: the van's own, before its intermediates.
///
/// # Errors
/// The file cannot be read or contains no certificate.
pub fn own_certificate(path: &Path) -> Result<CertificateDer<'static>, PemError> {
    Ok(pem::load_cert_chain(path)?.swap_remove(0))
}

/// Verifies the certificate of a server that is connected by its IP address as that of its name.
#[derive(Debug)]
struct NamedServerVerifier {
    name: ServerName<'static>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for NamedServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _address: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Self { name, verifier } = self;
        verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Clock for the validation of certificates.
#[derive(Debug)]
struct CertificateClock(Clock);

impl TimeProvider for CertificateClock {
    fn current_time(&self) -> Option<UnixTime> {
        let released = UtcTime::new(RELEASE_DATE, TimeOfDay::new(0, 0, 0, 0)?)?;
        let now = self.0.utc().map_or(released, |utc| utc.max(released));
        let ms = u64::try_from(now.as_unix_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(ms)))
    }
}
