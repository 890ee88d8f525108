//! Declarative schemas for JSON objects: members and their values.

use std::collections::HashSet;

use serde_json::Value;

use super::uri::{is_blank_node, is_uri};
use crate::http::FieldError;
use waypost_model::manifest::{ErrorCode, ManifestError};
use waypost_model::units::UtcTime;

/// Schema of an object.
#[derive(Debug)]
pub(super) struct ObjectSchema {
    /// Members with their value schemas.
    pub(super) members: &'static [(&'static str, ValueSchema)],
    /// Further members, specific to the type.
    pub(super) more: &'static [(&'static str, ValueSchema)],
    /// Mandatory members.
    pub(super) required: &'static [&'static str],
    /// Rule for members that the schema does not name.
    pub(super) extra: ExtraMembers,
}

/// Rule for members that a schema does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExtraMembers {
    /// Extensions only: prefixed names or URIs.
    ///
    /// A prefixed name is a URI too: the prefix is its scheme.
    Prefixed,
    /// None allowed.
    Forbidden,
    /// Anything allowed.
    Any,
}

/// Schema of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum ValueSchema {
    /// Value of a master data attribute: a text, a number or an object.
    AttributeValue,
    Text,
    Number,
    Boolean,
    Hex,
    Uri,
    /// A URI, or a blank node (JSON-LD 1.1 §3.5), as in `_:document1`.
    Node,
    /// A JSON-LD context: a URI, an object, or a list of both without duplicates.
    Context,
    /// URIs.
    Uris,
    /// URIs without duplicates.
    UniqueUris,
    UriOrUris,
    Time,
    Offset,
    Version,
    Unit,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// One of these CBV terms, or a URI outside GS1's vocabulary.
    Term(&'static [&'static str]),
    /// One of these terms, or a URI outside GS1's web vocabulary.
    WebTerm(&'static [&'static str]),
    /// One or more such terms, without duplicates.
    Terms(&'static [&'static str]),
    Object(&'static ObjectSchema),
    List(&'static ObjectSchema),
    /// A list with at least one item.
    NonEmptyList(&'static ObjectSchema),
    Array,
}

/// Collected faults, up to a maximum.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) faults: Vec<FieldError>,
    max: usize,
}

impl Faults {
    pub(super) const fn new(max: usize) -> Self {
        Self { faults: Vec::new(), max }
    }

    pub(super) fn push(&mut self, place: &str, value: &str, remedy: impl Into<String>) {
        if self.faults.len() < self.max {
            let ManifestError { path: place, value, .. } =
                ManifestError::new(place.replace('/', "."), ErrorCode::Malformed, value, "");
            self.faults.push(FieldError { place, value, remedy: remedy.into() });
        }
    }
}

/// Checks a value against a schema.
pub(super) fn check(value: &Value, shape: &ObjectSchema, place: &str, found: &mut Faults) {
    let Some(members) = value.as_object() else {
        found.push(place, "wrong type", "an object");
        return;
    };
    let at =
        |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    for (name, value) in members {
        let known = shape.members.iter().chain(shape.more).find(|(known, _)| known == name);
        match (known, shape.extra) {
            (Some((_, kind)), _) => kind.check(value, &at(name), found),
            (None, ExtraMembers::Any) => {}
            (None, ExtraMembers::Prefixed) if is_uri(name) => {}
            (None, ExtraMembers::Prefixed) => {
                found.push(
                    &at(name),
                    "not an EPCIS member",
                    "use a prefix declared in @context, as in waypost:name",
                );
            }
            (None, ExtraMembers::Forbidden) => {
                found.push(&at(name), "not an EPCIS member", "remove it");
            }
        }
    }
    for name in shape.required {
        if !members.contains_key(*name) {
            found.push(&at(name), "absent", "add this required member");
        }
    }
}

impl ValueSchema {
    fn check(self, value: &Value, place: &str, found: &mut Faults) {
        match self {
            Self::Object(shape) => check(value, shape, place, found),
            Self::List(_)
            | Self::NonEmptyList(_)
            | Self::Uris
            | Self::UniqueUris
            | Self::Terms(_)
            | Self::Array => {
                self.check_list(value, place, found);
            }
            Self::UriOrUris if value.is_array() => Self::Uris.check(value, place, found),
            Self::Context => check_context(value, place, found),
            _ => {
                if let Some(remedy) = self.remedy(value) {
                    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    found.push(place, &shown, remedy);
                }
            }
        }
    }

    fn check_list(self, value: &Value, place: &str, found: &mut Faults) {
        let Some(list) = value.as_array() else {
            found.push(place, "wrong type", "an array");
            return;
        };
        if matches!(self, Self::NonEmptyList(_) | Self::Terms(_)) && list.is_empty() {
            found.push(place, "empty", "at least one");
        }
        let mut known = HashSet::new();
        for (index, item) in list.iter().enumerate() {
            let place = format!("{place}[{index}]");
            match self {
                Self::List(shape) | Self::NonEmptyList(shape) => check(item, shape, &place, found),
                Self::Uris | Self::UniqueUris => Self::Uri.check(item, &place, found),
                Self::Terms(words) => Self::Term(words).check(item, &place, found),
                _ => continue,
            }
            let is_set = matches!(self, Self::UniqueUris | Self::Terms(_));
            if let Some(text) = item.as_str().filter(|text| is_set && !known.insert(*text)) {
                found.push(&place, text, "remove the duplicate");
            }
        }
    }

    /// Description of the expected value; `None` if the value is valid.
    fn remedy(self, value: &Value) -> Option<String> {
        let text = value.as_str();
        let is = |test: fn(&str) -> bool| text.is_some_and(test);
        let (ok, remedy) = match self {
            Self::Text => (text.is_some(), "a text"),
            Self::AttributeValue => (
                text.is_some() || value.is_number() || value.is_object(),
                "a text, number or object",
            ),
            Self::Number => (value.is_number(), "a number"),
            Self::Boolean => (value.is_boolean(), "true or false"),
            Self::Hex => (
                is(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_hexdigit())),
                "hexadecimal digits",
            ),
            Self::Uri | Self::UriOrUris => {
                (is(is_uri), "a URI such as https://id.gs1.org/00/395212340000000014")
            }
            Self::Node => {
                (is(|text| is_uri(text) || is_blank_node(text)), "a URI, or _: and a name")
            }
            Self::Time => (
                is(|text| UtcTime::parse(text).is_some()),
                "a time with an offset, such as 2026-11-22T07:12:31.250Z",
            ),
            Self::Offset => (is(is_offset), "an offset from UTC, such as +01:00"),
            Self::Version => (
                is(|text| {
                    text.split('.')
                        .all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit()))
                }),
                "a version such as 2.0",
            ),
            Self::Unit => (
                is(|text| {
                    (2..=3).contains(&text.len())
                        && text.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
                }),
                "a unit of UN/CEFACT Recommendation 20, such as KGM",
            ),
            Self::OneOf(words) => {
                let ok = text.is_some_and(|text| words.contains(&text));
                return (!ok).then(|| words.join(", "));
            }
            Self::Term(words) => (
                text.is_some_and(|text| words.contains(&text) || is_uri(text) && !is_cbv(text)),
                "a bare CBV 2.0 term, or a URI of your own vocabulary",
            ),
            Self::WebTerm(words) => (
                text.is_some_and(|text| {
                    words.contains(&text) || is_uri(text) && !is_web_vocabulary(text)
                }),
                "a bare term of GS1's web vocabulary, or a URI of your own vocabulary",
            ),
            _ => (true, ""),
        };
        (!ok).then(|| remedy.to_owned())
    }
}

/// Whether it is a URI of a CBV term; JSON requires the bare term (EPCIS 2.0 §10.2).
fn is_cbv(uri: &str) -> bool {
    ["urn:epcglobal:cbv", "https://ns.gs1.org/cbv/", "http://ns.gs1.org/cbv/"]
        .iter()
        .any(|prefix| uri.starts_with(prefix))
}

/// Whether it is a URI of GS1's web vocabulary; JSON requires the bare term.
fn is_web_vocabulary(uri: &str) -> bool {
    ["https://gs1.org/voc/", "http://gs1.org/voc/", "https://www.gs1.org/voc/"]
        .into_iter()
        .chain(["http://www.gs1.org/voc/"])
        .any(|prefix| uri.starts_with(prefix))
}

/// Checks a JSON-LD context. Its objects are not interpreted.
fn check_context(value: &Value, place: &str, found: &mut Faults) {
    let is_context = |value: &Value| value.is_object() || value.as_str().is_some_and(is_uri);
    let remedy = "the URI of a context, an object with prefixes, or a list of both";
    let Some(list) = value.as_array() else {
        if !is_context(value) {
            found.push(place, &value.to_string(), remedy);
        }
        return;
    };
    for (index, item) in list.iter().enumerate() {
        let place = format!("{place}[{index}]");
        if !is_context(item) {
            found.push(&place, &item.to_string(), remedy);
        } else if list[..index].contains(item) {
            found.push(&place, &item.to_string(), "remove the duplicate");
        }
    }
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
