//! Reads the files named in `[mqtt]`: password, certificate with key, and the public key of
//! commands.

use std::path::Path;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

use crate::uplink::{Credentials, Identity, TlsConfig};
use waypost_config_schema::Values;
use waypost_wire::VanId;
use waypost_wire::command_signature::{CommandKeys, PublicKey};

pub(super) fn tls(values: &mut Values) -> Option<TlsConfig> {
    let ca_file = values.text("mqtt.ca_file")?;
    let identity = values.certificate("mqtt.cert_file", "mqtt.key_file");
    let alpn = values.text("mqtt.alpn")?;
    let identity = identity?.map(|(cert_file, key_file)| Identity { cert_file, key_file });
    let alpn = alpn.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    Some(TlsConfig { ca_file: ca_file.into(), identity, alpn: alpn.collect() })
}

/// Reads user name and password from these two keys. `Some(None)`: no credentials, which is valid.
pub(super) fn credentials(
    values: &mut Values,
    name_key: &str,
    password_key: &str,
) -> Option<Option<Credentials>> {
    let username = values.text(name_key)?;
    match (username.as_str(), values.text(password_key)?.as_str()) {
        ("", "") => Some(None),
        ("", _) => {
            values.report_problem(
                password_key,
                &format!("is set without {name_key}; set {name_key} or remove the password"),
            );
            None
        }
        _ => {
            let password = values.secret(password_key)?.unwrap_or_default();
            Some(Some(Credentials { username, password }))
        }
    }
}

/// Reads the keys for command signatures. The id of a key is the name of its file without extension.
///  `Some(None)`: commands need no signature.
pub(super) fn command_keys(
    values: &mut Values,
    van: Option<&VanId>,
) -> Option<Option<CommandKeys>> {
    let key = values.parse("mqtt.command_key", |file| {
        if file.is_empty() {
            return Ok(None);
        }
        let spki = SubjectPublicKeyInfoDer::from_pem_file(file)
            .map_err(|error| format!("{file}: has no public key (PEM): {error}"))?;
        let id = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let key = PublicKey::new(id, &spki).map_err(|error| format!("{file}: {error}"))?;
        // An invalid van id is reported separately.
        Ok(van.map(|van| CommandKeys::new(vec![key], van.clone())))
    })?;
    Some(key)
}
