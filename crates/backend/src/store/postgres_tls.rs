//! TLS settings for PostgreSQL from `sslmode`, `sslrootcert`, `sslcert` and `sslkey` of the URL.
//!
//! - A local connection (Unix socket, loopback address) is unencrypted unless the URL requests TLS.
//! - A remote connection uses TLS, and the server's certificate and host name are always verified:
//!   `require` means `verify-full`. Only an explicit `sslmode=disable`, for a link protected
//!   otherwise, sends in clear text.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::StoreError;
use waypost_service::pem::{self, PemError};

/// CA bundles of Debian, Alpine and others.
const SYSTEM_CA_FILES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem"];

/// A parsed URL.
pub(super) struct ConnectionUrl {
    pub(super) config: tokio_postgres::Config,
    /// TLS settings, if TLS is used.
    pub(super) tls: Option<MakeRustlsConnect>,
}

impl std::fmt::Debug for ConnectionUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionUrl").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ConnectionUrl {
    /// Parses a libpq URL or keywords. Errors do not quote it, since it may contain a password.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let open = |error: String| StoreError::Open { place: "PostgreSQL URL".to_owned(), error };
        let (rest, mode) = take_param(url, "sslmode");
        let (rest, roots) = take_param(&rest, "sslrootcert");
        let (rest, cert) = take_param(&rest, "sslcert");
        let (rest, key) = take_param(&rest, "sslkey");
        let mut config: tokio_postgres::Config = rest.parse().map_err(|error| {
            let what = std::error::Error::source(&error).map(|source| format!(" ({source})"));
            open(format!(
                "invalid{}; write postgresql://user@host/database",
                what.unwrap_or_default()
            ))
        })?;
        let is_encrypted = match mode.as_deref() {
            None => !is_local(&config),
            Some("disable") => false,
            Some("require" | "verify-full") => true,
            Some(other) => {
                return Err(open(format!(
                    "sslmode={other} does not protect the connection; write verify-full, or disable for \
                     a link that is protected otherwise"
                )));
            }
        };
        config.ssl_mode(if is_encrypted { SslMode::Require } else { SslMode::Disable });
        let own = match (&cert, &key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((Path::new(cert), Path::new(key))),
            _ => return Err(open("sslcert and sslkey belong together; set both".to_owned())),
        };
        let tls =
            is_encrypted.then(|| tls_client(roots.as_deref(), own)).transpose().map_err(open)?;
        Ok(Self { config, tls })
    }
}

/// Removes a parameter from `…?a=b&c=d` or `a=b c='d'` and returns its value.
fn take_param(url: &str, name: &str) -> (String, Option<String>) {
    let is_url = url.contains("://");
    let (head, parameters, separator) = match (is_url, url.split_once('?')) {
        (true, Some((head, parameters))) => (head, parameters, '&'),
        (true, None) => return (url.to_owned(), None),
        (false, _) => ("", url, ' '),
    };
    let mut value = None;
    let mut kept = Vec::new();
    for parameter in parameters.split(separator) {
        match parameter.split_once('=') {
            Some((key, text)) if key.trim() == name => {
                value = Some(text.trim().trim_matches('\'').replace("%2F", "/"));
            }
            _ => kept.push(parameter),
        }
    }
    let kept = kept.join(&separator.to_string());
    match (is_url, kept.is_empty()) {
        (true, true) => (head.to_owned(), value),
        (true, false) => (format!("{head}?{kept}"), value),
        (false, _) => (kept, value),
    }
}

fn is_local(config: &tokio_postgres::Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(std::net::IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
    })
}

/// Builds a TLS client that trusts the configured authorities only.
fn tls_client(
    roots: Option<&str>,
    own: Option<(&Path, &Path)>,
) -> Result<MakeRustlsConnect, String> {
    let path = match roots {
        None | Some("system") => SYSTEM_CA_FILES.iter().map(Path::new).find(|path| path.is_file()),
        Some(path) => Some(Path::new(path)),
    };
    let path: PathBuf = path.map(Path::to_owned).ok_or_else(|| {
        "no CA bundle found; install ca-certificates, or set sslrootcert=FILE".to_owned()
    })?;
    let roots = pem::load_root_store(&path).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = pem::load_cert_chain(cert).map_err(|error| error.to_string())?;
            let secret = pem::load_private_key(key).map_err(|error| error.to_string())?;
            let own = config.with_client_auth_cert(chain, secret);
            own.map_err(|error| PemError::new(cert, &error).to_string())?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> Result<SslMode, String> {
        ConnectionUrl::parse(url)
            .map(|address| address.config.get_ssl_mode())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_stays_on_this_host_goes_in_clear_unless_somebody_says_so() {
        for url in [
            "postgresql://waypost@%2Frun%2Fpostgresql/waypost",
            "host=/run/postgresql user=waypost",
            "postgresql://waypost@localhost/waypost",
            "postgresql://waypost@[::1]/waypost",
            "postgresql://waypost@db.example.com/waypost?sslmode=disable&application_name=a",
            "host=db.example.com user=waypost sslmode=disable",
        ] {
            assert_eq!(mode(url), Ok(SslMode::Disable), "{url}");
        }
        let roots = tempfile::NamedTempFile::new().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        std::fs::write(roots.path(), authority.pem()).unwrap();
        let roots = roots.path().display();
        for url in [
            format!("postgresql://waypost@db.example.com/waypost?sslrootcert={roots}"),
            format!("host=db.example.com user=waypost sslrootcert='{roots}' sslmode=require"),
            format!("postgresql://waypost@localhost/w?sslmode=verify-full&sslrootcert={roots}"),
        ] {
            assert_eq!(mode(&url), Ok(SslMode::Require), "{url}");
        }
    }

    #[test]
    fn a_mode_that_protects_nothing_is_refused_and_no_error_says_the_password() {
        for (url, expected) in [
            ("postgresql://u:secret@db/w?sslmode=prefer", "sslmode=prefer does not protect"),
            ("postgresql://u:secret@db/w?sslrootcert=/nonexistent", "/nonexistent"),
            ("postgresql://u:secret@db/w?sslmode=disable&sslkey=/k", "belong together"),
            ("postgresql://u:secret@db/w?colour=secret", "invalid"),
            ("mysql:secret", "write postgresql://"),
        ] {
            let error = mode(url).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }
}
