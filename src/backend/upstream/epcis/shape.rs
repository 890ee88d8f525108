//! What members an object may have, and what may stand there.

use std::collections::HashSet;

use serde_json::Value;

use crate::backend::api::Fault;
use crate::core::delivery::manifest::ManifestRefusal;
use crate::units::UtcTime;
use crate::wire::epcis::is_uri;

/// An object.
#[derive(Debug)]
pub(super) struct Shape {
    /// Names, and what stands there.
    pub(super) members: &'static [(&'static str, Kind)],
    /// More of them.
    pub(super) more: &'static [(&'static str, Kind)],
    /// Those that must be there.
    pub(super) required: &'static [&'static str],
    /// What else may be there.
    pub(super) others: Others,
}

/// Members that a shape does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// Extensions: names with a prefix, or URIs.
    Prefixed,
    /// None.
    No,
    /// Whatever.
    Any,
}

/// What stands in a member.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Any,
    Text,
    Number,
    Truth,
    Hex,
    Uri,
    /// Each once.
    Uris,
    UriOrUris,
    Time,
    Offset,
    Version,
    Unit,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words of GS1's, or a URI that is not GS1's.
    Word(&'static [&'static str]),
    /// At least one such word, each once.
    Words(&'static [&'static str]),
    Object(&'static Shape),
    List(&'static Shape),
    /// At least one.
    Some(&'static Shape),
    Array,
}

/// Faults, of which there are not too many.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) faults: Vec<Fault>,
    most: usize,
}

impl Found {
    pub(super) const fn new(most: usize) -> Self {
        Self { faults: Vec::new(), most }
    }

    pub(super) fn tell(&mut self, place: &str, value: &str, remedy: impl Into<String>) {
        if self.faults.len() < self.most {
            let ManifestRefusal { place, value, .. } =
                ManifestRefusal::new(place.replace('/', "."), value, "");
            self.faults.push(Fault { place, value, remedy: remedy.into() });
        }
    }
}

/// Holds a value against a shape.
pub(super) fn check(value: &Value, shape: &Shape, place: &str, found: &mut Found) {
    let Some(members) = value.as_object() else {
        found.tell(place, "of another shape", "an object");
        return;
    };
    let at =
        |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    for (name, value) in members {
        let known = shape.members.iter().chain(shape.more).find(|(known, _)| known == name);
        match (known, shape.others) {
            (Some((_, kind)), _) => kind.check(value, &at(name), found),
            (None, Others::Any) => {}
            (None, Others::Prefixed) if is_uri(name) || prefixed(name) => {}
            (None, Others::Prefixed) => {
                found.tell(&at(name), "no member of EPCIS", "a prefix of @context, as van:name");
            }
            (None, Others::No) => found.tell(&at(name), "no member of EPCIS", "leave it out"),
        }
    }
    for name in shape.required {
        if !members.contains_key(*name) {
            found.tell(&at(name), "absent", "it must be there");
        }
    }
}

/// `van:name`, whatever the name.
fn prefixed(name: &str) -> bool {
    let Some((prefix, rest)) = name.split_once(':') else { return false };
    let letter = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    prefix.starts_with(|c: char| c.is_ascii_alphabetic())
        && prefix.chars().all(letter)
        && !rest.is_empty()
}

/// An absolute URI. That of an event's hash (CBV 2.0 §8.9) has an empty authority.
fn is_uri_of_epcis(text: &str) -> bool {
    is_uri(text) || text.strip_prefix("ni:///").is_some_and(|rest| is_uri(&format!("ni:{rest}")))
}

impl Kind {
    fn check(self, value: &Value, place: &str, found: &mut Found) {
        match self {
            Self::Object(shape) => check(value, shape, place, found),
            Self::List(_) | Self::Some(_) | Self::Uris | Self::Words(_) | Self::Array => {
                self.check_list(value, place, found);
            }
            Self::UriOrUris if value.is_array() => Self::Uris.check(value, place, found),
            _ => {
                if let Some(remedy) = self.remedy(value) {
                    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    found.tell(place, &shown, remedy);
                }
            }
        }
    }

    fn check_list(self, value: &Value, place: &str, found: &mut Found) {
        let Some(list) = value.as_array() else {
            found.tell(place, "of another shape", "an array");
            return;
        };
        if matches!(self, Self::Some(_) | Self::Words(_)) && list.is_empty() {
            found.tell(place, "empty", "at least one");
        }
        let mut known = HashSet::new();
        for (index, item) in list.iter().enumerate() {
            let place = format!("{place}[{index}]");
            match self {
                Self::List(shape) | Self::Some(shape) => check(item, shape, &place, found),
                Self::Uris => Self::Uri.check(item, &place, found),
                Self::Words(words) => Self::Word(words).check(item, &place, found),
                _ => continue,
            }
            if let Some(text) = item.as_str().filter(|text| !known.insert(*text)) {
                found.tell(&place, text, "each once");
            }
        }
    }

    /// What should stand there instead.
    fn remedy(self, value: &Value) -> Option<String> {
        let text = value.as_str();
        let is = |test: fn(&str) -> bool| text.is_some_and(test);
        let (fine, remedy) = match self {
            Self::Text => (text.is_some(), "a text"),
            Self::Number => (value.is_number(), "a number"),
            Self::Truth => (value.is_boolean(), "true or false"),
            Self::Hex => (
                is(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_hexdigit())),
                "hexadecimal digits",
            ),
            Self::Uri | Self::UriOrUris => {
                (is(is_uri_of_epcis), "a URI, as https://id.gs1.org/00/395212340000000014")
            }
            Self::Time => (
                is(|text| UtcTime::parse(text).is_some()),
                "a time with an offset, as 2026-11-22T07:12:31.250Z",
            ),
            Self::Offset => (is(is_offset), "an offset from UTC, as +01:00"),
            Self::Version => (
                is(|text| text.split('.').all(|part| part.parse::<u32>().is_ok())),
                "a version, as 2.0",
            ),
            Self::Unit => (
                is(|text| {
                    (2..=3).contains(&text.len())
                        && text.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
                }),
                "a unit of UN/CEFACT Recommendation 20, as KGM",
            ),
            Self::OneOf(words) => {
                let fine = text.is_some_and(|text| words.contains(&text));
                return (!fine).then(|| words.join(", "));
            }
            Self::Word(words) => (
                text.is_some_and(|text| {
                    words.contains(&text) || is_uri_of_epcis(text) && !is_cbv(text)
                }),
                "a bare word of CBV 2.0, or a URI of your own",
            ),
            _ => (true, ""),
        };
        (!fine).then(|| remedy.to_owned())
    }
}

/// Words of CBV are bare in JSON (EPCIS 2.0 §10.2).
fn is_cbv(uri: &str) -> bool {
    ["urn:epcglobal:cbv", "https://ns.gs1.org/cbv/", "http://ns.gs1.org/cbv/"]
        .iter()
        .any(|prefix| uri.starts_with(prefix))
}

fn is_offset(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['+', '-']) else { return false };
    let Some((hours, minutes)) = rest.split_once(':') else { return false };
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    match (number(hours), number(minutes)) {
        (Some(hours), Some(minutes)) => hours < 14 && minutes < 60 || (hours, minutes) == (14, 0),
        _ => false,
    }
}
