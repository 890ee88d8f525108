//! The files that `[mqtt]` names → password, certificate with its key, and the key that commands are signed to.

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

use crate::relay::{Credentials, Identity, TlsConfig};
use crate::settings::Values;
use crate::wire::VanId;
use crate::wire::signed::CommandKey;

pub(super) fn tls(values: &mut Values) -> Option<TlsConfig> {
    let ca_file = values.text("mqtt.ca_file")?;
    let identity = values.certificate("mqtt.cert_file", "mqtt.key_file");
    let alpn = values.text("mqtt.alpn")?;
    let identity = identity?.map(|(cert_file, key_file)| Identity { cert_file, key_file });
    let alpn = alpn.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    Some(TlsConfig { ca_file: ca_file.into(), identity, alpn: alpn.collect() })
}

/// Of these two keys. `Some(None)`: no credentials, and that is in order.
pub(super) fn credentials(
    values: &mut Values,
    name_key: &str,
    password_key: &str,
) -> Option<Option<Credentials>> {
    let username = values.text(name_key)?;
    match (username.as_str(), values.text(password_key)?.as_str()) {
        ("", "") => Some(None),
        ("", _) => {
            values.problem(password_key, &format!("there is a password and no {name_key}"));
            None
        }
        _ => {
            let password = values.secret(password_key)?.unwrap_or_default();
            Some(Some(Credentials { username, password }))
        }
    }
}

/// `Some(None)`: commands need no signature.
pub(super) fn command_key(values: &mut Values, van: Option<&VanId>) -> Option<Option<CommandKey>> {
    let key = values.parsed("mqtt.command_key", |file| {
        if file.is_empty() {
            return Ok(None);
        }
        let spki = SubjectPublicKeyInfoDer::from_pem_file(file)
            .map_err(|error| format!("{file}: has no public key (PEM): {error}"))?;
        // The van's id has a problem of its own.
        let Some(van) = van else { return Ok(None) };
        let key = CommandKey::new(&spki, van.clone());
        key.map(Some).map_err(|error| format!("{file}: {error}"))
    })?;
    Some(key)
}
