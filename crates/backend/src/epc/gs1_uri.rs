//! GS1 keys as URIs: EPC URNs (EPC Tag Data Standard 1.13 §6.3) and Digital Links (GS1 Digital Link
//! URI Syntax 1.4 §4), both translated to one Digital Link at `id.gs1.org`.

use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

/// The canonical resolver.
const RESOLVER: &str = "https://id.gs1.org";

/// Maximum length of a URI that is translated; longer ones name nothing of GS1.
const MAX_BYTES: usize = 1_024;

/// How the digits of company prefix and reference form a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyForm {
    /// The first digit of the reference precedes the prefix, a check digit ends the key.
    Moved(usize),
    /// A check digit follows prefix and reference.
    Checked(usize),
    /// As `Checked`, after a zero.
    ZeroChecked(usize),
    /// Prefix and reference as they are.
    Plain,
}

/// A scheme of EPC URNs and its key in a Digital Link.
struct Scheme {
    name: &'static str,
    ai: &'static str,
    form: KeyForm,
    /// Place of the serial number.
    serial: Serial,
}

/// Place of a serial number in a Digital Link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serial {
    None,
    /// In the key itself.
    InKey,
    /// In a qualifier.
    Qualifier(&'static str),
}

const fn scheme(name: &'static str, ai: &'static str, form: KeyForm, serial: Serial) -> Scheme {
    Scheme { name, ai, form, serial }
}

/// Schemes of TDS §6.3. `itip` has parts of its own and is absent.
const SCHEMES: [Scheme; 15] = [
    scheme("sscc", "00", KeyForm::Moved(17), Serial::None),
    scheme("sgtin", "01", KeyForm::Moved(13), Serial::Qualifier("21")),
    scheme("lgtin", "01", KeyForm::Moved(13), Serial::Qualifier("10")),
    scheme("upui", "01", KeyForm::Moved(13), Serial::Qualifier("235")),
    scheme("sgln", "414", KeyForm::Checked(12), Serial::Qualifier("254")),
    scheme("pgln", "417", KeyForm::Checked(12), Serial::None),
    scheme("grai", "8003", KeyForm::ZeroChecked(12), Serial::InKey),
    scheme("giai", "8004", KeyForm::Plain, Serial::None),
    scheme("gsrn", "8018", KeyForm::Checked(17), Serial::None),
    scheme("gsrnp", "8017", KeyForm::Checked(17), Serial::None),
    scheme("gdti", "253", KeyForm::Checked(12), Serial::InKey),
    scheme("sgcn", "255", KeyForm::Checked(12), Serial::InKey),
    scheme("ginc", "401", KeyForm::Plain, Serial::None),
    scheme("gsin", "402", KeyForm::Checked(16), Serial::None),
    scheme("cpi", "8010", KeyForm::Plain, Serial::Qualifier("8011")),
];

/// Returns the canonical Digital Link of a URI of a GS1 key; `None` for other URIs.
pub(super) fn canonical(uri: &str) -> Option<String> {
    if uri.len() > MAX_BYTES {
        return None;
    }
    from_urn(uri).or_else(|| from_digital_link(uri))
}

/// Returns the beginnings of the canonical Digital Links that match a pattern URI (TDS §8), such as
/// `urn:epc:idpat:sgtin:0614141.107346.*`; `None` if it is not a pattern.
pub(super) fn pattern(uri: &str) -> Option<Vec<String>> {
    let (name, rest) = uri.strip_prefix("urn:epc:idpat:")?.split_once(':')?;
    let scheme = SCHEMES.iter().find(|scheme| scheme.name == name)?;
    let parts: Vec<&str> = rest.split('.').collect();
    let fixed = parts.iter().position(|part| *part == "*")?;
    let number = if scheme.serial == Serial::None { 2 } else { 3 };
    // A wildcard ends the fixed parts (TDS §8.2.1).
    if parts.len() != number || parts[fixed..].iter().any(|part| *part != "*") {
        return None;
    }
    let (ai, start) = (scheme.ai, format!("{RESOLVER}/{}/", scheme.ai));
    match parts[..fixed] {
        [] => Some(vec![start]),
        [prefix] if is_prefix(prefix) => Some(match scheme.form {
            KeyForm::Moved(_) => (0..10).map(|first| format!("{start}{first}{prefix}")).collect(),
            KeyForm::ZeroChecked(_) => vec![format!("{start}0{prefix}")],
            KeyForm::Checked(_) | KeyForm::Plain => vec![format!("{start}{prefix}")],
        }),
        [prefix, reference] => {
            let key = scheme.form.key(prefix, reference)?;
            Some(vec![match scheme.serial {
                // A location without extension matches too.
                Serial::Qualifier("254") => format!("{RESOLVER}/{ai}/{key}"),
                Serial::Qualifier(qualifier) => format!("{RESOLVER}/{ai}/{key}/{qualifier}/"),
                Serial::InKey | Serial::None => format!("{RESOLVER}/{ai}/{key}"),
            }])
        }
        _ => None,
    }
}

/// Translates `urn:epc:id:…`, `urn:epc:class:…`, and `urn:epc:idpat:…` of a class.
fn from_urn(uri: &str) -> Option<String> {
    let rest = uri.strip_prefix("urn:epc:")?;
    if let Some(class) = rest.strip_prefix("idpat:") {
        let (prefix, reference) =
            class.strip_prefix("sgtin:")?.strip_suffix(".*")?.split_once('.')?;
        let key = KeyForm::Moved(13).key(prefix, reference)?;
        return Some(format!("{RESOLVER}/01/{key}"));
    }
    let rest = rest.strip_prefix("id:").or_else(|| rest.strip_prefix("class:"))?;
    let (name, rest) = rest.split_once(':')?;
    let Scheme { ai, form, serial, .. } = SCHEMES.iter().find(|scheme| scheme.name == name)?;
    let (prefix, rest) = rest.split_once('.')?;
    let (reference, text) = match serial {
        Serial::None => (rest, None),
        Serial::InKey | Serial::Qualifier(_) => {
            let (reference, text) = rest.split_once('.')?;
            (reference, Some(encode(&decode(text)?)))
        }
    };
    let key = form.key(prefix, &decode(reference)?)?;
    let key = encode(&key);
    Some(match (serial, text) {
        // Extension 0 means that there is none (TDS §6.3.3).
        (Serial::Qualifier("254"), Some(text)) if text == "0" => format!("{RESOLVER}/{ai}/{key}"),
        (Serial::Qualifier(qualifier), Some(text)) if !text.is_empty() => {
            format!("{RESOLVER}/{ai}/{key}/{qualifier}/{text}")
        }
        (Serial::InKey, Some(text)) => format!("{RESOLVER}/{ai}/{key}{text}"),
        (Serial::None, _) => format!("{RESOLVER}/{ai}/{key}"),
        _ => return None,
    })
}

impl KeyForm {
    /// Builds the key from company prefix and reference.
    fn key(self, prefix: &str, reference: &str) -> Option<String> {
        let has = |digits: usize| prefix.len() + reference.len() == digits && is_digits(reference);
        if !is_prefix(prefix) {
            return None;
        }
        match self {
            Self::Moved(digits) if has(digits) => {
                let (first, rest) = reference.split_at_checked(1)?;
                Some(with_check_digit(&format!("{first}{prefix}{rest}")))
            }
            Self::Checked(digits) if has(digits) => {
                Some(with_check_digit(&format!("{prefix}{reference}")))
            }
            Self::ZeroChecked(digits) if has(digits) => {
                Some(with_check_digit(&format!("0{prefix}{reference}")))
            }
            Self::Plain if !reference.is_empty() => Some(format!("{prefix}{reference}")),
            _ => None,
        }
    }
}

/// Qualifiers of the keys that have some, in the order of their Digital Link.
const QUALIFIERS: [(&str, &[&str]); 6] = [
    ("01", &["22", "10", "21", "235"]),
    ("414", &["254", "7040"]),
    ("8006", &["22", "10", "21"]),
    ("8010", &["8011"]),
    ("8017", &["8019"]),
    ("8018", &["8019"]),
];

/// Names of Digital Link 1.1 for application identifiers.
const NAMES: [(&str, &str); 10] = [
    ("sscc", "00"),
    ("gtin", "01"),
    ("gdti", "253"),
    ("gcn", "255"),
    ("ginc", "401"),
    ("gsin", "402"),
    ("gln", "414"),
    ("ser", "21"),
    ("lot", "10"),
    ("cpv", "22"),
];

/// Translates a Digital Link of any resolver.
fn from_digital_link(uri: &str) -> Option<String> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| {
        uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })?;
    let address = uri[scheme.len()..].split(['?', '#']).next()?;
    let segments: Vec<&str> = address.trim_end_matches('/').split('/').skip(1).collect();
    // The key is the first one from which the rest of the path is pairs.
    (0..segments.len()).find_map(|first| from_segments(&segments[first..]))
}

fn from_segments(segments: &[&str]) -> Option<String> {
    let numbered = |name: &str| {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map_or_else(|| name.to_owned(), |(_, ai)| (*ai).to_owned())
    };
    if !segments.len().is_multiple_of(2) || segments.len() > 10 {
        return None;
    }
    let (pairs, _) = segments.as_chunks::<2>();
    let ([ai, value], rest) = pairs.split_first()?;
    let ai = numbered(ai);
    let key = key_of(&ai, &decode(value)?)?;
    let allowed =
        QUALIFIERS.iter().find(|(known, _)| *known == ai).map_or(&[][..], |(_, list)| *list);
    let mut qualifiers = Vec::new();
    for [name, value] in rest {
        let place = allowed.iter().position(|known| *known == numbered(name))?;
        let value = decode(value).filter(|value| !value.is_empty())?;
        qualifiers.push((place, allowed[place], encode(&value)));
    }
    qualifiers.sort();
    // A serial number identifies the item alone; variant and lot are its properties.
    if qualifiers.iter().any(|(_, name, _)| *name == "21") {
        qualifiers.retain(|(_, name, _)| !["22", "10"].contains(name));
    }
    qualifiers.retain(|(_, name, value)| !(*name == "254" && value == "0"));
    let mut link = format!("{RESOLVER}/{ai}/{}", encode(&key));
    for (_, name, value) in qualifiers {
        write!(link, "/{name}/{value}").expect("writing to a string succeeds");
    }
    Some(link)
}

/// Checks the value of a primary key and returns it, a GTIN with 14 digits.
fn key_of(ai: &str, value: &str) -> Option<String> {
    let checked = |digits: usize| {
        value.get(..digits).is_some_and(|key| is_digits(key) && has_check_digit(key))
    };
    let short = value.len() <= 30 && !value.is_empty();
    let ok = match ai {
        "00" | "8017" | "8018" => value.len() == 18 && checked(18),
        "01" => {
            let ok = [8, 12, 13, 14].contains(&value.len()) && checked(value.len());
            return ok.then(|| format!("{value:0>14}"));
        }
        "414" | "417" => value.len() == 13 && checked(13),
        "402" => value.len() == 17 && checked(17),
        "253" | "255" => value.len() <= 30 && checked(13),
        "8003" => value.starts_with('0') && value.len() <= 30 && checked(14),
        "8006" => value.len() == 18 && checked(14) && is_digits(value),
        "401" | "8004" | "8010" => {
            short && value.bytes().take(4).all(|c| c.is_ascii_digit()) && value.len() > 4
        }
        _ => false,
    };
    ok.then(|| value.to_owned())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A company prefix has 6 to 12 digits.
fn is_prefix(text: &str) -> bool {
    is_digits(text) && (6..=12).contains(&text.len())
}

/// The check digit of GS1 (General Specifications §7.9).
fn check_digit(body: &str) -> u32 {
    let weights = [3, 1].into_iter().cycle();
    let sum: u32 = body
        .bytes()
        .rev()
        .zip(weights)
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    (10 - sum % 10) % 10
}

fn with_check_digit(body: &str) -> String {
    format!("{body}{}", check_digit(body))
}

fn has_check_digit(key: &str) -> bool {
    let (body, check) = key.split_at(key.len() - 1);
    with_check_digit(body).ends_with(check)
}

fn decode(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

/// Percent-encodes a path segment as the van does (RFC 3986 §3.3, `pchar`).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string succeeds");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of TDS 1.13 §6.3 and of GS1's EPC encoder, with their Digital Links.
    #[test]
    fn a_key_has_one_name_in_both_syntaxes() {
        for (urn, path) in [
            ("id:sscc:0614141.1234567890", "00/106141412345678908"),
            ("id:sgtin:0614141.107346.2017", "01/10614141073464/21/2017"),
            ("id:sgtin:0614141.107346.a%2Fb%26c", "01/10614141073464/21/a%2Fb&c"),
            ("class:lgtin:4012345.012345.998877", "01/04012345123456/10/998877"),
            ("idpat:sgtin:0614141.107346.*", "01/10614141073464"),
            ("id:sgln:0614141.12345.400", "414/0614141123452/254/400"),
            ("id:sgln:0614141.12345.0", "414/0614141123452"),
            ("id:pgln:1234567.89012", "417/1234567890128"),
            ("id:grai:0614141.12345.400", "8003/00614141123452400"),
            ("id:giai:0614141.12345400", "8004/061414112345400"),
            ("id:gsrn:0614141.1234567890", "8018/061414112345678902"),
            ("id:gsrnp:0614141.1234567890", "8017/061414112345678902"),
            ("id:gdti:0614141.12345.400", "253/0614141123452400"),
            ("id:sgcn:4012345.67890.04711", "255/401234567890104711"),
            ("id:ginc:0614141.xyz3311cba", "401/0614141xyz3311cba"),
            ("id:gsin:0614141.123456789", "402/06141411234567890"),
            ("id:cpi:0614141.123ABC.123456789", "8010/0614141123ABC/8011/123456789"),
            ("id:upui:1234567.098765.51qIgY", "01/01234567987651/235/51qIgY"),
        ] {
            let link = format!("https://id.gs1.org/{path}");
            assert_eq!(canonical(&format!("urn:epc:{urn}")).as_deref(), Some(&*link), "{urn}");
            assert_eq!(canonical(&link).as_deref(), Some(&*link));
            let elsewhere = format!("http://example.com:8080/some/{path}/?linkType=all#top");
            assert_eq!(canonical(&elsewhere).as_deref(), Some(&*link), "{elsewhere}");
        }
        for (link, path) in [
            ("https://x/gtin/9506000134352/ser/7", "01/09506000134352/21/7"),
            ("https://x/01/09506000134352/21/7/10/LOT", "01/09506000134352/21/7"),
            ("https://x/01/09506000134352/10/L/22/V", "01/09506000134352/22/V/10/L"),
            ("HTTPS://X/01/09506000134352/21/%37", "01/09506000134352/21/7"),
            ("https://x/414/0614141123452/254/0", "414/0614141123452"),
        ] {
            assert_eq!(canonical(link), Some(format!("https://id.gs1.org/{path}")), "{link}");
        }
    }

    #[test]
    fn what_is_no_gs1_key_keeps_its_name() {
        for uri in [
            "urn:epc:id:sscc:06141411234567890",
            "urn:epc:id:sscc:1.2",
            "urn:epc:id:sgtin:0614141.107346",
            "urn:epc:id:sgtin:0614141.1073.4",
            "urn:epc:id:none:0614141.107346.1",
            "urn:epc:id:sgtin:0614141.é07346.1",
            "urn:epc:idpat:sgtin:0614141.*.*",
            "https://a/00/7",
            "https://x/01/10614141073465/21/7",
            "https://x/00/106141412345678908/more",
            "https://x/00/106141412345678908/21/7",
            "https://x/2026/01/12345678/",
            "https://x/01/%ff",
            "https://x/",
            "urn:x:y",
            "",
        ] {
            assert_eq!(canonical(uri), None, "{uri}");
        }
        assert_eq!(
            canonical(&format!("https://x/01/09506000134352/21/{}", "7".repeat(2_000))),
            None
        );
    }

    #[test]
    fn a_pattern_is_the_beginning_of_what_it_matches() {
        let one = |path: &str| Some(vec![format!("https://id.gs1.org/{path}")]);
        for (pattern_uri, expected) in [
            ("sgtin:0614141.107346.*", one("01/10614141073464/21/")),
            ("sgtin:*.*.*", one("01/")),
            ("sscc:*.*", one("00/")),
            ("sgln:0614141.12345.*", one("414/0614141123452")),
            ("grai:0614141.12345.*", one("8003/00614141123452")),
            ("grai:0614141.*.*", one("8003/00614141")),
            ("giai:0614141.*", one("8004/0614141")),
            ("sgtin:*.107346.*", None),
            ("sgtin:0614141.107346.2017", None),
            ("sgtin:0614141.*", None),
            ("sgtin:x.*.*", None),
            ("none:*.*", None),
        ] {
            assert_eq!(pattern(&format!("urn:epc:idpat:{pattern_uri}")), expected, "{pattern_uri}");
        }
        let of_company = pattern("urn:epc:idpat:sscc:0614141.*").unwrap();
        assert_eq!(of_company.len(), 10);
        assert!("https://id.gs1.org/00/106141412345678908".starts_with(&of_company[1]));
    }
}
