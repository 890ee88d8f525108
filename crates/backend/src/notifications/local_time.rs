//! Times in the texts of messages: local to the stop, with the abbreviation of the zone.

use jiff::tz::{Offset, TimeZone};
use waypost_model::units::UtcTime;

/// Time zone of a stop: of its route's manifest, else the offset of the manifest, else the default.
#[must_use]
pub(super) fn zone_of_stop(
    name: Option<&str>,
    utc_offset_min: Option<i16>,
    default: &TimeZone,
) -> TimeZone {
    let named = name.and_then(|name| TimeZone::get(name).ok());
    let offset = || {
        let offset = Offset::from_seconds(i32::from(utc_offset_min?) * 60).ok()?;
        Some(TimeZone::fixed(offset))
    };
    named.or_else(offset).unwrap_or_else(|| default.clone())
}

/// A local time as people of the language write it, such as `23 November 2026, 10:00 (CET)`.
#[must_use]
pub(super) fn local_time(at: UtcTime, zone: &TimeZone, language: &str) -> String {
    let Ok(at) = jiff::Timestamp::from_millisecond(at.as_unix_ms()) else { return at.to_string() };
    let local = at.to_zoned(zone.clone());
    let zone = abbreviation(&local, language);
    match language {
        "de" => format!("{} Uhr ({zone})", local.strftime("%-d.%-m.%Y, %H:%M")),
        _ => format!("{} ({zone})", local.strftime("%-d %B %Y, %H:%M")),
    }
}

/// Abbreviation of a zone. The database has the English ones.
fn abbreviation(local: &jiff::Zoned, language: &str) -> String {
    let english = local.strftime("%Z").to_string();
    match (language, english.as_str()) {
        ("de", "CET") => "MEZ".to_owned(),
        ("de", "CEST") => "MESZ".to_owned(),
        (_, offset) if offset.starts_with(['+', '-']) => format!("UTC{offset}"),
        _ => english,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_local_to_the_stop_in_summer_and_winter_and_names_its_zone() {
        let berlin = Some("Europe/Berlin");
        for (at, name, offset, language, expected) in [
            ("2026-11-23T09:00:00Z", berlin, None, "de", "23.11.2026, 10:00 Uhr (MEZ)"),
            ("2026-07-01T22:30:00Z", berlin, None, "de", "2.7.2026, 00:30 Uhr (MESZ)"),
            ("2026-07-01T22:30:00Z", berlin, None, "en", "2 July 2026, 00:30 (CEST)"),
            (
                "2026-11-23T09:00:00Z",
                Some("Europe/London"),
                None,
                "en",
                "23 November 2026, 09:00 (GMT)",
            ),
            ("2026-11-23T09:00:00Z", None, Some(-210), "en", "23 November 2026, 05:30 (UTC-03:30)"),
            (
                "2026-11-23T09:00:00Z",
                Some("Moon/Base"),
                None,
                "en",
                "23 November 2026, 18:00 (JST)",
            ),
            // In the night of the change the same local time occurs twice.
            ("2026-10-25T00:30:00Z", berlin, None, "de", "25.10.2026, 02:30 Uhr (MESZ)"),
            ("2026-10-25T01:30:00Z", berlin, None, "de", "25.10.2026, 02:30 Uhr (MEZ)"),
        ] {
            let default = TimeZone::get("Asia/Tokyo").unwrap();
            let zone = zone_of_stop(name, offset, &default);
            let at = UtcTime::parse(at).unwrap();
            assert_eq!(local_time(at, &zone, language), expected);
        }
    }
}
