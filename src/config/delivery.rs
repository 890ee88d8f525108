//! `[delivery]`, `[[scanner]]`, `[[privacy_zone]]` → what the parcels' part of the agent is told.

use std::time::Duration;

use super::values::Values;
use crate::scanner::{Address, ScannerConfig, ScannerKind, TagPattern};
use crate::units::{Distance, Position};
use crate::wire::VanId;
use crate::wire::json::Duty;

/// How events name things, and when duty begins and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryKeys {
    /// The operator's domain.
    pub domain: String,
    /// URI of the van.
    pub van_uri: String,
    /// URI, with `/` at its end, of what EPCIS has no word for.
    pub namespace: String,
    /// Beginning of the types of events, without a dot at its end.
    pub type_prefix: String,
    /// Before anybody has said anything of it: on or off.
    pub duty_at_start: Duty,
    /// Duty ends so long after the return to the station; `None`: not by itself.
    pub off_duty_after_return: Option<Duration>,
}

pub(super) fn keys(values: &mut Values, van: Option<&VanId>) -> Option<DeliveryKeys> {
    let domain = values.parsed("delivery.domain", domain);
    let van_uri = values.parsed("delivery.van_uri", |text| uri(text, ""));
    let namespace = values.parsed("delivery.namespace", |text| uri(text, "/"));
    let type_prefix = values.parsed("delivery.type_prefix", type_prefix);
    let duty_at_start = values.parsed("delivery.duty_at_start", |text| match text {
        "on" => Ok(Duty::On),
        "off" => Ok(Duty::Off),
        _ => Err(format!("{text:?} is neither on nor off")),
    });
    let minutes = values.number("delivery.off_duty_after_return_min")?;
    let after = Duration::from_secs_f64(minutes * 60.0);
    let (domain, van) = (domain?, van?);
    let backwards: Vec<&str> = domain.rsplit('.').collect();
    Some(DeliveryKeys {
        van_uri: van_uri?.unwrap_or_else(|| format!("https://{domain}/fleet/obj/{van}")),
        namespace: namespace?.unwrap_or_else(|| format!("https://{domain}/van/")),
        type_prefix: type_prefix?.unwrap_or_else(|| format!("{}.van", backwards.join("."))),
        duty_at_start: duty_at_start?,
        off_duty_after_return: Some(after).filter(|after| !after.is_zero()),
        domain,
    })
}

/// A host name (RFC 1123 §2.1) with a dot in it, in small letters: URIs are compared letter by letter.
fn domain(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.contains('.') && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no domain: write one such as id.example.com, in small letters"))
    }
}

/// `None` if it is empty; else an `https` URI that ends in `end`.
fn uri(text: &str, end: &str) -> Result<Option<String>, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}?#".contains(&b);
    match rest {
        _ if text.is_empty() => Ok(None),
        Some(rest)
            if rest.bytes().all(plain)
                && rest.split_once('/').is_some_and(|(host, path)| {
                    !host.is_empty() && (!path.is_empty() || end == "/")
                })
                && text.ends_with(end) =>
        {
            Ok(Some(text.to_owned()))
        }
        _ => Err(format!("{text:?} is no URI such as https://id.example.com/fleet{end}")),
    }
}

fn type_prefix(text: &str) -> Result<Option<String>, String> {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    match text {
        "" => Ok(None),
        text if text.len() <= 128 && text.split('.').all(is_part) => Ok(Some(text.to_owned())),
        _ => Err(format!("{text:?} is no beginning of a type such as com.example.van")),
    }
}

pub(super) fn scanners(values: &mut Values) -> Option<Vec<ScannerConfig>> {
    let mut names = Vec::new();
    let all: Vec<Option<ScannerConfig>> = values
        .tables("scanner")
        .into_iter()
        .map(|table| {
            let scanner = scanner(values, &table)?;
            if names.contains(&scanner.name) {
                let problem = format!("{:?} is the name of another scanner too", scanner.name);
                values.problem(&format!("{table}.name"), &problem);
                return None;
            }
            names.push(scanner.name.clone());
            Some(scanner)
        })
        .collect();
    all.into_iter().collect()
}

fn scanner(values: &mut Values, table: &str) -> Option<ScannerConfig> {
    let key = |name: &str| format!("{table}.{name}");
    let name = values.parsed(&key("name"), |name| {
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if is_plain && (1..=32).contains(&name.len()) {
            Ok(name.to_owned())
        } else {
            Err(format!("{name:?} is no name: 1 to 32 of A-Z a-z 0-9 _ . -"))
        }
    });
    let usual: Option<u32> = values.integer(&key("baud"));
    let address = values
        .parsed(&key("source"), |text| text.parse::<Address>().map_err(|error| error.to_string()));
    let pattern = values.parsed(&key("pattern"), TagPattern::new);
    let rfid = ScannerKind::Rfid(pattern.clone().unwrap_or_default());
    let kind = values.parsed(&key("kind"), |kind| match kind {
        "barcode" => Ok(ScannerKind::Barcode),
        "rfid" => Ok(rfid),
        _ => Err(format!("{kind:?} is neither barcode nor rfid")),
    });
    let (usual, name, kind, _) = (usual?, name?, kind?, pattern?);
    let address = match address? {
        Address::Serial { path, baud } => Address::Serial { path, baud: baud.or(Some(usual)) },
        other => other,
    };
    Some(ScannerConfig { name, address, kind })
}

pub(super) fn privacy_zones(values: &Values) -> Option<Vec<(Position, Distance)>> {
    let zone = |table: String| {
        let number = |key: &str| values.number(&format!("{table}.{key}"));
        let position = Position::from_degrees(number("lat")?, number("lon")?)?;
        Some((position, Distance::from_metres(number("radius_m")?)?))
    };
    values.tables("privacy_zone").into_iter().map(zone).collect()
}
