//! Application identifier → how long its value is, and what it says (GS1 Syntax Dictionary).
//!
//! Those are here that logistic labels carry; of others the length is not known.

use super::code::Field;
use super::gs1::unescaped;

/// How long a value is.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// So many digits.
    N(usize),
    /// Digits, up to so many.
    NTo(usize),
    /// So many characters.
    X(usize),
    /// So many digits, then characters up to so many.
    NXTo(usize, usize),
}
use Form::{N, NTo, NXTo, X};

/// What a value says besides itself.
#[derive(Clone, Copy)]
pub(super) enum Says {
    Nothing,
    /// Percent-encoded text of this name.
    Text(&'static str),
    /// 0 or 1.
    Flag(&'static str),
    /// `YYMMDD`, perhaps `hhmm`, where 9999 is no time.
    Time(&'static str),
    /// Country and postcode.
    CountryPost,
    /// Latitude and longitude.
    Place,
}
use Says::{CountryPost, Flag, Nothing, Place, Text, Time};

/// No identifier begins another one; 31nn to 36nn are in [`described`].
const DICTIONARY: &[(&str, Form, Says)] = &[
    ("00", N(18), Nothing),
    ("01", N(14), Nothing),
    ("02", N(14), Nothing),
    ("03", N(14), Nothing),
    ("10", NXTo(0, 20), Nothing),
    ("11", N(6), Nothing),
    ("12", N(6), Nothing),
    ("13", N(6), Nothing),
    ("15", N(6), Nothing),
    ("16", N(6), Nothing),
    ("17", N(6), Nothing),
    ("20", N(2), Nothing),
    ("21", NXTo(0, 20), Nothing),
    ("254", NXTo(0, 20), Nothing),
    ("37", NTo(8), Nothing),
    ("400", NXTo(0, 30), Nothing),
    ("401", NXTo(0, 30), Nothing),
    ("402", N(17), Nothing),
    ("403", NXTo(0, 30), Nothing),
    ("410", N(13), Nothing),
    ("411", N(13), Nothing),
    ("412", N(13), Nothing),
    ("413", N(13), Nothing),
    ("414", N(13), Nothing),
    ("415", N(13), Nothing),
    ("416", N(13), Nothing),
    ("417", N(13), Nothing),
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
    ("4309", N(20), Place),
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
    ("8003", NXTo(14, 16), Nothing),
    ("8004", NXTo(0, 30), Nothing),
    ("90", NXTo(0, 30), Nothing),
    ("91", NXTo(0, 90), Nothing),
    ("92", NXTo(0, 90), Nothing),
    ("93", NXTo(0, 90), Nothing),
    ("94", NXTo(0, 90), Nothing),
    ("95", NXTo(0, 90), Nothing),
    ("96", NXTo(0, 90), Nothing),
    ("97", NXTo(0, 90), Nothing),
    ("98", NXTo(0, 90), Nothing),
    ("99", NXTo(0, 90), Nothing),
];

/// The identifier at the start of `text`, and what it means.
pub(super) fn described(text: &str) -> Option<(&str, Form, Says)> {
    if text.len() >= 4 && matches!(text.as_bytes()[..2], [b'3', b'1'..=b'6']) {
        let measure = text.get(..4)?;
        return all_digits(measure).then_some((measure, N(6), Nothing));
    }
    let (ai, form, says) = DICTIONARY.iter().find(|(ai, ..)| text.starts_with(ai))?;
    Some((*ai, *form, *says))
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Form {
    /// The value at the start of `text`, which has no separator.
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

impl Says {
    /// The fields that `value` has in words.
    pub(super) fn fields(self, value: &str) -> Vec<Field> {
        match self {
            Nothing => Vec::new(),
            Text(name) => vec![Field::new(name, &unescaped(&value.replace('+', " ")))],
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
            Place => place(value).unwrap_or_default(),
        }
    }
}

/// `YYMMDD` or `YYMMDDhhmm` as ISO 8601 without a zone: the time at the place of delivery.
fn time(value: &str) -> Option<String> {
    let part = |at: usize| value.get(at..at + 2);
    let (year, month, day) = (part(0)?, part(2)?, part(4)?);
    if !("01"..="12").contains(&month) || day > "31" {
        return None;
    }
    let date = format!("20{year}-{month}-{day}");
    match (part(6), part(8)) {
        (Some(hour), Some(minute)) if hour < "24" && minute < "60" => {
            Some(format!("{date}T{hour}:{minute}"))
        }
        (None, _) | (Some("99"), Some("99")) => Some(date),
        _ => None,
    }
}

/// Ten digits each: (latitude + 90) and (longitude mod 360) in 10⁻⁷ degrees.
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
        let (ai, form, says) = described(element).unwrap();
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
