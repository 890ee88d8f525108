//! The files that `[mqtt]` names → password, certificate with its key, and the key that commands are signed to.
//!
//! A secret that everybody on the computer may read is not used: who reads it is the van.

use std::os::unix::fs::PermissionsExt as _;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

use crate::relay::{Credentials, Identity, TlsConfig};
use crate::settings::Values;
use crate::wire::VanId;
use crate::wire::signed::CommandKey;

/// `S_IROTH`, inode(7). The group may read: it is how a person asks the agent.
const OTHERS_READ: u32 = 0o004;

pub(super) fn tls(values: &mut Values) -> Option<TlsConfig> {
    let ca_file = values.text("mqtt.ca_file")?;
    let (cert_file, key_file) = (values.text("mqtt.cert_file")?, values.text("mqtt.key_file")?);
    let alpn = values.text("mqtt.alpn")?;
    let identity = match (cert_file.as_str(), key_file.as_str()) {
        ("", "") => None,
        ("", _) => {
            values.problem("mqtt.cert_file", "there is a mqtt.key_file and no certificate to it");
            return None;
        }
        (_, "") => {
            values.problem("mqtt.key_file", "there is a mqtt.cert_file and no key to it");
            return None;
        }
        (_, key) if is_exposed(values, "mqtt.key_file", key) => return None,
        _ => Some(Identity { cert_file: cert_file.into(), key_file: key_file.into() }),
    };
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
    let password_file = values.text(password_key)?;
    match (username.as_str(), password_file.as_str()) {
        ("", "") => Some(None),
        ("", _) => {
            values.problem(password_key, &format!("there is a password and no {name_key}"));
            None
        }
        (_, "") => Some(Some(Credentials { username, password: String::new() })),
        (_, file) if is_exposed(values, password_key, file) => None,
        (_, file) => match std::fs::read_to_string(file) {
            Ok(text) => {
                let password = text.lines().next().unwrap_or_default().to_owned();
                Some(Some(Credentials { username, password }))
            }
            Err(error) => {
                values.problem(password_key, &format!("{file}: cannot be read: {error}"));
                None
            }
        },
    }
}

/// Whether anybody may read a secret; then that is said. What is not there yet, a running agent waits for.
fn is_exposed(values: &mut Values, key: &str, file: &str) -> bool {
    let Ok(metadata) = std::fs::metadata(file) else { return false };
    let mode = metadata.permissions().mode() & 0o7777;
    let exposed = mode & OTHERS_READ != 0;
    if exposed {
        let problem = format!(
            "{file}: everybody on this computer may read it (mode {mode:04o}): chmod o-r {file}"
        );
        values.problem(key, &problem);
    }
    exposed
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
