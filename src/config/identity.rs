//! Determines the van's id from `[van]`: as written in `id`, or from the source in `id_from`.
//!
//! The id must be the same at each start, because an outbox belongs to one van.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ring::hmac;

use super::certificate::common_name;
use crate::uplink::own_certificate;
use waypost_config_schema::Values;
use waypost_wire::VanId;

/// hostname(5): the static host name, not one assigned by the network.
const HOSTNAME: &str = "/etc/hostname";

/// machine-id(5).
const MACHINE_ID: &str = "/etc/machine-id";

/// Application id of waypost for machine ids: `systemd-id128 machine-id
/// --app-specific=d8cdc5ae-af76-45c2-96c4-899bf0d58cfd`.
const APPLICATION: u128 = 0xd8cd_c5ae_af76_45c2_96c4_899b_f0d5_8cfd;

/// Source of the van's id.
#[derive(Debug, PartialEq, Eq)]
enum IdSource {
    Unset,
    File(PathBuf),
    Hostname,
    MachineId,
    Certificate,
}

impl FromStr for IdSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match (text, text.strip_prefix("file:")) {
            (_, Some(path)) if !path.is_empty() => Self::File(PathBuf::from(path)),
            ("", _) => Self::Unset,
            ("hostname", _) => Self::Hostname,
            ("machine-id", _) => Self::MachineId,
            ("certificate", _) => Self::Certificate,
            _ => {
                return Err(format!(
                    "{text:?} is not one of file:PATH, hostname, machine-id, certificate; leave it empty to use van.id"
                ));
            }
        })
    }
}

/// Determines the van's id; `van.id` takes precedence over its source.
pub(super) fn van(values: &mut Values) -> Option<VanId> {
    let from = values.parse("van.id_from", str::parse);
    let certificate = values.text("mqtt.cert_file")?;
    let id = values.text("van.id")?;
    if id.is_empty() && from != Some(IdSource::Unset) {
        let from = from?;
        return values.parse("van.id_from", |_| resolve_id(&from, Path::new(&certificate)));
    }
    let van = values.parse("van.id", |id| match id {
        "" => Err("is empty; set the van's name here, or its source in van.id_from".to_owned()),
        id => VanId::new(id).map_err(|error| error.to_string()),
    });
    from.and(van)
}

fn resolve_id(from: &IdSource, certificate: &Path) -> Result<VanId, String> {
    match from {
        IdSource::Unset => Err("is empty".to_owned()),
        IdSource::File(path) => van_from_file(path, |line| Ok(line.to_owned())),
        IdSource::Hostname => van_from_file(Path::new(HOSTNAME), hostname),
        IdSource::MachineId => van_from_file(Path::new(MACHINE_ID), hash_machine_id),
        IdSource::Certificate if certificate.as_os_str().is_empty() => {
            Err("is certificate, but mqtt.cert_file is empty".to_owned())
        }
        IdSource::Certificate => {
            let der = own_certificate(certificate).map_err(|error| error.to_string())?;
            let place = certificate.display();
            let name = common_name(&der).map_err(|error| format!("{place}: {error}"))?;
            VanId::new(&name).map_err(|error| format!("{place}: its common name {error}"))
        }
    }
}

/// Parses the first line of a file with `read`.
fn van_from_file(path: &Path, read: fn(&str) -> Result<String, String>) -> Result<VanId, String> {
    let in_file = |problem: String| format!("{}: {problem}", path.display());
    let text =
        fs::read_to_string(path).map_err(|error| in_file(format!("cannot be read: {error}")))?;
    let line = text.lines().next().unwrap_or_default().trim();
    let id = read(line).map_err(in_file)?;
    VanId::new(&id).map_err(|error| in_file(error.to_string()))
}

/// Rejects the default host names, which many computers share.
fn hostname(line: &str) -> Result<String, String> {
    match line {
        "localhost" | "localhost.localdomain" => Err(format!(
            "{line:?} is a default host name; use hostnamectl set-hostname, or set van.id"
        )),
        line => Ok(line.to_owned()),
    }
}

/// Derives an id that does not reveal the machine id, which machine-id(5) requires to be
/// confidential, like `sd_id128_get_machine_app_specific(3)`.
fn hash_machine_id(line: &str) -> Result<String, String> {
    let number = u128::from_str_radix(line, 16).ok().filter(|_| line.len() == 32);
    let number = number
        .filter(|number| *number != 0)
        .ok_or("is not a machine id; create one with systemd-machine-id-setup".to_owned())?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &number.to_be_bytes());
    let tag = hmac::sign(&key, &APPLICATION.to_be_bytes());
    let (first, _) = tag.as_ref().split_first_chunk().expect("a SHA-256 tag has 32 bytes");
    let mut id: [u8; 16] = *first;
    // Format of a version 4 UUID (RFC 9562 §5.4).
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    Ok(format!("{:032x}", u128::from_be_bytes(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_id_may_be_is_read_as_it_is_written() {
        for (text, expected) in [
            ("", Ok(IdSource::Unset)),
            ("file:/etc/van", Ok(IdSource::File(PathBuf::from("/etc/van")))),
            ("hostname", Ok(IdSource::Hostname)),
            ("machine-id", Ok(IdSource::MachineId)),
            ("certificate", Ok(IdSource::Certificate)),
            ("file:", Err(())),
            ("Hostname", Err(())),
            ("/etc/van", Err(())),
        ] {
            assert_eq!(text.parse::<IdSource>().map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn a_machines_id_is_what_systemd_derives_and_not_the_machines_own() {
        // Output of systemd-id128 machine-id --app-specific=... on a machine with this id.
        let machine = "0123456789abcdef0123456789abcdef";
        assert_eq!(hash_machine_id(machine).as_deref(), Ok("c0df30b9746641e5a8a2fe9d3b3e8bfa"));
        for line in ["", "uninitialized", "0", &"0".repeat(32), &"g".repeat(32), &"1".repeat(31)] {
            assert!(hash_machine_id(line).unwrap_err().contains("not a machine id"), "{line}");
        }
    }

    #[test]
    fn the_name_that_every_computer_has_is_no_vans() {
        assert_eq!(hostname("van-042.example.com").as_deref(), Ok("van-042.example.com"));
        assert!(hostname("localhost").is_err());
    }

    #[test]
    fn the_first_line_of_a_file_is_the_id_and_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        let read = || van_from_file(&file, |line| Ok(line.to_owned())).map(|van| van.to_string());
        assert!(read().unwrap_err().contains("id: cannot be read: "));
        for (text, expected) in [
            ("VAN-042\n", Some("VAN-042")),
            (" VAN-042 \r\nx", Some("VAN-042")),
            ("", None),
            ("a b", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(read().ok().as_deref(), expected, "{text:?}");
        }
    }
}
