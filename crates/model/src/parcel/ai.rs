//! Dictionary of GS1 application identifiers: value length and meaning (GS1 Syntax Dictionary).
//!
//! It contains the identifiers that logistic labels use. The length of others is unknown.

use super::code::Field;
use super::gs1::percent_decode;
use crate::units::Date;

/// Length of a value.
#[derive(Clone, Copy)]
pub(super) enum ValueLength {
    /// Exactly this many digits.
    N(usize),
    /// Up to this many digits.
    NTo(usize),
    /// Exactly this many characters.
    X(usize),
    /// Exactly this many digits, then up to this many characters.
    NXTo(usize, usize),
}
use ValueLength::{N, NTo, NXTo, X};

/// Additional meaning of a value.
#[derive(Clone, Copy)]
pub(super) enum ValueKind {
    Opaque,
    /// Percent-encoded text, with the name of its field.
    Text(&'static str),
    /// Boolean, 0 or 1.
    Flag(&'static str),
    /// `YYMMDD` with an optional `hhmm`; 9999 means no time.
    Time(&'static str),
    /// Country and postcode.
    CountryPost,
    /// Latitude and longitude.
    LatLon,
}
use ValueKind::{CountryPost, Flag, LatLon, Opaque, Text, Time};

/// No identifier is a prefix of another. 31nn to 36nn are in [`described`].
const DICTIONARY: &[(&str, ValueLength, ValueKind)] = &[
    ("00", N(18), Opaque),
    ("01", N(14), Opaque),
    ("02", N(14), Opaque),
    ("03", N(14), Opaque),
    ("10", NXTo(0, 20), Opaque),
    ("11", N(6), Opaque),
    ("12", N(6), Opaque),
    ("13", N(6), Opaque),
    ("15", N(6), Opaque),
    ("16", N(6), Opaque),
    ("17", N(6), Opaque),
    ("20", N(2), Opaque),
    ("21", NXTo(0, 20), Opaque),
    ("254", NXTo(0, 20), Opaque),
    ("37", NTo(8), Opaque),
    ("400", NXTo(0, 30), Opaque),
    ("401", NXTo(0, 30), Opaque),
    ("402", N(17), Opaque),
    ("403", NXTo(0, 30), Opaque),
    ("410", N(13), Opaque),
    ("411", N(13), Opaque),
    ("412", N(13), Opaque),
    ("413", N(13), Opaque),
    ("414", N(13), Opaque),
    ("415", N(13), Opaque),
    ("416", N(13), Opaque),
    ("417", N(13), Opaque),
    ("420", NXTo(0, 20), Text("ship_to_post")),
    ("421", NXTo(3, 9), CountryPost),
    ("4300", NXTo(0, 35), Text("ship_to_company")),
    ("4301", NXTo(0, 35), Text("ship_to_name")),
    ("4302", NXTo(0, 70), Text("ship_to_address")),
    ("4303", NXTo(0, 70), Text("ship_to_address_2")),
    ("4304", NXTo(0, 70), Text("ship_to_suburb")),
    ("4305", NXTo(0, 70), Text("ship_to_locality")),
    ("4306", NXTo(0, 70), Text("ship_to_region")),
    ("4307", X(2), Text("ship_to_country")),
    ("4308", NXTo(0, 30), Text("ship_to_phone")),
    ("4309", N(20), LatLon),
    ("4310", NXTo(0, 35), Text("return_to_company")),
    ("4311", NXTo(0, 35), Text("return_to_name")),
    ("4312", NXTo(0, 70), Text("return_to_address")),
    ("4313", NXTo(0, 70), Text("return_to_address_2")),
    ("4314", NXTo(0, 70), Text("return_to_suburb")),
    ("4315", NXTo(0, 70), Text("return_to_locality")),
    ("4316", NXTo(0, 70), Text("return_to_region")),
    ("4317", X(2), Text("return_to_country")),
    ("4318", NXTo(0, 20), Text("return_to_post")),
    ("4319", NXTo(0, 30), Text("return_to_phone")),
    ("4320", NXTo(0, 35), Text("service")),
    ("4321", N(1), Flag("dangerous_goods")),
    ("4322", N(1), Flag("authority_to_leave")),
    ("4323", N(1), Flag("signature_required")),
    ("4324", N(10), Time("not_before")),
    ("4325", N(10), Time("not_after")),
    ("4326", N(6), Time("release_date")),
    ("8003", NXTo(14, 16), Opaque),
    ("8004", NXTo(0, 30), Opaque),
    ("90", NXTo(0, 30), Opaque),
    ("91", NXTo(0, 90), Opaque),
    ("92", NXTo(0, 90), Opaque),
    ("93", NXTo(0, 90), Opaque),
    ("94", NXTo(0, 90), Opaque),
    ("95", NXTo(0, 90), Opaque),
    ("96", NXTo(0, 90), Opaque),
    ("97", NXTo(0, 90), Opaque),
    ("98", NXTo(0, 90), Opaque),
    ("99", NXTo(0, 90), Opaque),
];

/// Looks up the identifier at the start of `text`.
pub(super) fn lookup(text: &str) -> Option<(&str, ValueLength, ValueKind)> {
    if text.len() >= 4 && matches!(text.as_bytes()[..2], [b'3', b'1'..=b'6']) {
        let measure = text.get(..4)?;
        return all_digits(measure).then_some((measure, N(6), Opaque));
    }
    let (ai, form, says) = DICTIONARY.iter().find(|(ai, ..)| text.starts_with(ai))?;
    Some((*ai, *form, *says))
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

impl ValueLength {
    /// Extracts the value at the start of `text`, which contains no separator.
    pub(super) fn value(self, text: &str) -> Option<&str> {
        let (digits, value) = match self {
            N(length) => (length, text.get(..length)?),
            X(length) => (0, text.get(..length)?),
            NTo(most) => (text.len(), (1..=most).contains(&text.len()).then_some(text)?),
            NXTo(digits, most) => {
                let least = digits.max(1);
                (digits, (least..=digits + most).contains(&text.len()).then_some(text)?)
            }
        };
        let good =
            all_digits(value.get(..digits)?) && value.bytes().all(|one| one.is_ascii_graphic());
        good.then_some(value)
    }
}

impl ValueKind {
    /// Decodes `value` into named fields.
    pub(super) fn fields(self, value: &str) -> Vec<Field> {
        match self {
            Opaque => Vec::new(),
            Text(name) => vec![Field::new(name, &percent_decode(&value.replace('+', " ")))],
            Flag(name) => match value {
                "0" => vec![Field::new(name, "false")],
                "1" => vec![Field::new(name, "true")],
                _ => Vec::new(),
            },
            Time(name) => time(value).map(|time| Field::new(name, &time)).into_iter().collect(),
            CountryPost => match value.split_at_checked(3) {
                Some((country, post)) => [("ship_to_country", country), ("ship_to_post", post)]
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty())
                    .map(|(name, value)| Field::new(name, value))
                    .collect(),
                None => Vec::new(),
            },
            LatLon => place(value).unwrap_or_default(),
        }
    }
}

/// Converts `YYMMDD` or `YYMMDDhhmm` to ISO 8601 without a zone, in local time at the place of
/// delivery. Day 00 is the last day of the month (GS1 General Specifications §3.4.2).
fn time(value: &str) -> Option<String> {
    let part = |at: usize| value.get(at..at + 2);
    let number = |at: usize| part(at)?.parse::<u32>().ok();
    let (year, month) = (2000 + i32::try_from(number(0)?).ok()?, number(2)?);
    let date = match number(4)? {
        0 => (28..=31).rev().find_map(|day| Date::new(year, month, day))?,
        day => Date::new(year, month, day)?,
    };
    match (part(6), part(8)) {
        (Some(hour), Some(minute)) if hour < "24" && minute < "60" => {
            Some(format!("{date}T{hour}:{minute}"))
        }
        (None, _) | (Some("99"), Some("99")) => Some(date.to_string()),
        _ => None,
    }
}

/// Decodes ten digits each of (latitude + 90) and (longitude mod 360) in 10⁻⁷ degrees.
fn place(value: &str) -> Option<Vec<Field>> {
    const DEGREE: i64 = 10_000_000;
    let (lat, lon) = value.split_at_checked(10)?;
    let (lat, lon): (i64, i64) = (lat.parse().ok()?, lon.parse().ok()?);
    if lat > 180 * DEGREE || lon > 360 * DEGREE {
        return None;
    }
    let lon = if lon > 180 * DEGREE { lon - 360 * DEGREE } else { lon };
    let degrees = |value: i64| {
        let sign = if value < 0 { "-" } else { "" };
        let (whole, part) = (value.abs() / DEGREE, value.abs() % DEGREE);
        format!("{sign}{whole}.{part:07}").trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    Some(vec![
        Field::new("ship_to_lat", &degrees(lat - 90 * DEGREE)),
        Field::new("ship_to_lon", &degrees(lon)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(element: &str) -> Vec<(String, String)> {
        let (ai, form, says) = lookup(element).unwrap();
        let value = form.value(&element[ai.len()..]).unwrap();
        says.fields(value).into_iter().map(|Field { name, value }| (name, value)).collect()
    }

    #[test]
    fn no_identifier_begins_another_one() {
        for (index, (ai, ..)) in DICTIONARY.iter().enumerate() {
            for (other, ..) in &DICTIONARY[index + 1..] {
                assert!(!other.starts_with(ai) && !ai.starts_with(other), "{ai} {other}");
            }
        }
    }

    #[test]
    fn places_times_and_texts_are_said_in_words() {
        for (element, expected) in [
            (
                "430913813791000115754800",
                &[("ship_to_lat", "48.13791"), ("ship_to_lon", "11.57548")][..],
            ),
            ("430900000000003599999999", &[("ship_to_lat", "-90"), ("ship_to_lon", "-0.0000001")]),
            ("430918000000001800000000", &[("ship_to_lat", "90"), ("ship_to_lon", "180")]),
            ("430918000000010000000000", &[]),
            ("43242611220800", &[("not_before", "2026-11-22T08:00")]),
            ("43252611229999", &[("not_after", "2026-11-22")]),
            ("43252611222460", &[]),
            ("4326261122", &[("release_date", "2026-11-22")]),
            ("4326261322", &[]),
            ("4326260231", &[]),
            ("4326260229", &[]),
            ("4326280229", &[("release_date", "2028-02-29")]),
            ("4326260200", &[("release_date", "2026-02-28")]),
            ("4326261300", &[]),
            ("43221", &[("authority_to_leave", "true")]),
            ("43230", &[("signature_required", "false")]),
            ("43219", &[]),
            ("42127680331", &[("ship_to_country", "276"), ("ship_to_post", "80331")]),
            ("421276", &[("ship_to_country", "276")]),
            ("4301Ren%C3%A9+M%2e", &[("ship_to_name", "René M.")]),
            ("4307DE", &[("ship_to_country", "DE")]),
            ("21ABC", &[]),
        ] {
            let said = said(element);
            let said: Vec<(&str, &str)> =
                said.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(said, expected, "{element}");
        }
    }
}
