//! Converts `[delivery]`, `[[scanner]]` and `[[privacy_zone]]` into the configuration of the
//! delivery module and the scanners.

use std::time::Duration;

use crate::scanner::{Address, ScannerConfig, ScannerKind, TagPattern};
use waypost_config_schema::Values;
use waypost_model::duty::Duty;
use waypost_model::units::{Distance, Position};
use waypost_pipeline::delivery::{DeliveryConfig, PrivacyZone};
use waypost_wire::VanId;
use waypost_wire::epcis::{Identifiers, InvalidIdentifiers};

/// Builds the operator's URI scheme for events.
pub(super) fn uri_scheme(values: &mut Values, van: Option<&VanId>) -> Option<Identifiers> {
    // With an invalid van id or domain the other keys are still checked.
    let anybody = VanId::new("van").expect("the placeholder is a valid van id");
    let van_or_anybody = van.unwrap_or(&anybody);
    let named = values.parse("delivery.domain", |domain| {
        let named = Identifiers::new(domain, van_or_anybody);
        named
            .and_then(|names| match domain.contains('.') {
                true => Ok(names),
                false => Err(InvalidIdentifiers::Domain(domain.to_owned())),
            })
            .map_err(|error| error.to_string())
    });
    let is_named = named.is_some() && van.is_some();
    let mut names = named.or_else(|| Identifiers::new("waypost.invalid", van_or_anybody).ok())?;
    let rename = |values: &mut Values,
                  names: &mut Identifiers,
                  key: &str,
                  set: fn(&mut Identifiers, &str)| {
        let renamed = values.parse(key, |text| {
            let mut renamed = names.clone();
            if !text.is_empty() {
                set(&mut renamed, text);
            }
            renamed.check().map(|()| renamed).map_err(|error| error.to_string())
        });
        renamed.map(|renamed| *names = renamed)
    };
    let all = [
        rename(values, &mut names, "delivery.van_uri", |names, text| {
            text.clone_into(&mut names.van);
        }),
        rename(values, &mut names, "delivery.gateway_uri", |names, text| {
            names.gateway = Some(text.to_owned());
        }),
    ];
    (is_named && all.iter().all(Option::is_some)).then_some(names)
}

/// Converts duty state, privacy zones and the scanners fixed at the station.
pub(super) fn delivery(
    values: &mut Values,
    van: Option<&VanId>,
    domain: Option<&str>,
) -> Option<DeliveryConfig> {
    let duty_at_start = values.parse("delivery.duty_at_start", |text| match text {
        "on" => Ok(Duty::On),
        "off" => Ok(Duty::Off),
        _ => Err(format!("{text:?} is neither on nor off")),
    });
    let minutes = values.number("delivery.off_duty_after_return_min")?;
    let after = Duration::from_secs_f64(minutes * 60.0);
    Some(DeliveryConfig {
        duty_at_start: duty_at_start?,
        // Zero disables the automatic end of duty.
        off_duty_after_return: if after.is_zero() { Duration::MAX } else { after },
        privacy_zones: privacy_zones(values)?,
        station_sources: station_sources(values)?,
        ..DeliveryConfig::new(van?.as_str(), domain?)
    })
}

fn station_sources(values: &mut Values) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for table in values.tables("scanner") {
        let name = values.text(&format!("{table}.name"))?;
        let at_station = values.parse(&format!("{table}.place"), |place| match place {
            "van" => Ok(false),
            "station" => Ok(true),
            _ => Err(format!("{place:?} is neither van nor station")),
        })?;
        if at_station {
            names.push(name);
        }
    }
    Some(names)
}

pub(super) fn scanners(values: &mut Values) -> Option<Vec<ScannerConfig>> {
    let mut names = Vec::new();
    let all: Vec<Option<ScannerConfig>> = values
        .tables("scanner")
        .into_iter()
        .map(|table| {
            let scanner = scanner(values, &table)?;
            if names.contains(&scanner.name) {
                let problem = format!(
                    "{:?} is already the name of another scanner; choose a unique name",
                    scanner.name
                );
                values.report_problem(&format!("{table}.name"), &problem);
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
    let name = values.parse(&key("name"), |name| {
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if is_plain && (1..=32).contains(&name.len()) {
            Ok(name.to_owned())
        } else {
            Err(format!(
                "{name:?} is not a valid name; use 1 to 32 characters of A-Z a-z 0-9 _ . -"
            ))
        }
    });
    let usual: Option<u32> = values.integer(&key("baud"));
    let address = values
        .parse(&key("source"), |text| text.parse::<Address>().map_err(|error| error.to_string()));
    let pattern = values.parse(&key("pattern"), TagPattern::new);
    let rfid = ScannerKind::Rfid(pattern.clone().unwrap_or_default());
    let kind = values.parse(&key("kind"), |kind| match kind {
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

fn privacy_zones(values: &Values) -> Option<Vec<PrivacyZone>> {
    let zone = |table: String| {
        let number = |key: &str| values.number(&format!("{table}.{key}"));
        let centre = Position::from_degrees(number("lat")?, number("lon")?)?;
        Some(PrivacyZone { centre, radius: Distance::from_metres(number("radius_m")?)? })
    };
    values.tables("privacy_zone").into_iter().map(zone).collect()
}
