//! Texts of the pages, and language negotiation.
//!
//! `texts.json` contains every text in every language. A text is a string, or an object with one
//! string per plural category (CLDR) or exact number. `{name}` is a placeholder.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, Uri, header};
use serde_json::{Map, Value};

use crate::tracking::parcel::Status;

/// The catalog of all languages.
pub(super) const SOURCE: &str = include_str!("files/texts.json");

/// Language of the response if no other matches.
const FALLBACK_LANGUAGE: &str = "en";

/// Texts of one language.
#[derive(Debug)]
pub(super) struct Catalog {
    /// BCP 47 tag.
    language: &'static str,
    texts: Map<String, Value>,
}

impl Catalog {
    /// Returns a text without plural forms.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.texts.get(key)?.as_str()
    }

    /// Returns all texts as JSON, for the scripts of a page.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(&self.texts).expect("JSON values serialize")
    }
}

fn catalogs() -> &'static BTreeMap<String, Catalog> {
    static ALL: LazyLock<BTreeMap<String, Catalog>> = LazyLock::new(|| {
        let languages: BTreeMap<String, Map<String, Value>> =
            serde_json::from_str(SOURCE).expect("a test parses it");
        let leaked = |name: &String| -> &'static str { name.clone().leak() };
        languages
            .into_iter()
            .map(|(name, texts)| (name.clone(), Catalog { language: leaked(&name), texts }))
            .collect()
    });
    &ALL
}

/// Returns the texts of a language, if supported.
pub(super) fn catalog(name: &str) -> Option<&'static Catalog> {
    catalogs().get(name)
}

/// Language and writing direction of a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locale {
    pub(super) catalog: &'static Catalog,
    /// `ltr` or `rtl`.
    pub(super) direction: &'static str,
}

impl Locale {
    /// Negotiates the language by `?lang=`, then `Accept-Language`, then the sender's. `?dir=`
    /// overrides the writing direction.
    pub(super) fn negotiate(uri: &Uri, headers: &HeaderMap, announced: Option<&str>) -> Self {
        let asked = query_param(uri, "lang").and_then(match_language);
        let preferred = || {
            let accepted = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
            by_preference(accepted).into_iter().find_map(match_language)
        };
        let catalog = asked
            .or_else(preferred)
            .or_else(|| announced.and_then(match_language))
            .or_else(|| catalog(FALLBACK_LANGUAGE))
            .expect("a test parses it");
        let direction = match query_param(uri, "dir") {
            Some("rtl") => "rtl",
            Some("ltr") => "ltr",
            _ if catalog.text("direction") == Some("rtl") => "rtl",
            _ => "ltr",
        };
        Self { catalog, direction }
    }

    /// BCP 47 tag.
    pub(super) const fn language(&self) -> &'static str {
        self.catalog.language
    }

    /// Returns the text of a key, or the key itself if it is missing, which a test detects.
    pub(super) fn text<'a>(&self, key: &'a str) -> &'a str {
        self.catalog.text(key).unwrap_or(key)
    }

    /// Returns the headline of a status.
    pub(super) fn status_text(&self, status: Status) -> &'static str {
        self.catalog
            .text(match status {
                Status::Announced => "status.announced",
                Status::InTransit => "status.in_transit",
                Status::AtStation => "status.at_station",
                Status::OutForDelivery => "status.out_for_delivery",
                Status::Arrived => "status.arrived",
                Status::Delivered => "status.delivered",
                Status::Attempted => "status.attempted",
                Status::AvailableForPickup => "status.available_for_pickup",
                Status::Returned => "status.returned",
                Status::Problem => "status.problem",
            })
            .expect("a test covers every status")
    }

    /// Returns every language with its own name.
    pub(super) fn languages() -> impl Iterator<Item = (&'static str, &'static str)> {
        catalogs()
            .values()
            .map(|texts| (texts.language, texts.text("language").unwrap_or(texts.language)))
    }
}

/// Matches a tag by its primary language: `de-AT` matches `de`.
fn match_language(tag: &str) -> Option<&'static Catalog> {
    let primary = tag.split('-').next()?.trim().to_ascii_lowercase();
    catalog(&primary)
}

/// Tags of `Accept-Language` (RFC 9110 §12.5.4), the most preferred first.
fn by_preference(header: &str) -> Vec<&str> {
    let mut tags: Vec<(&str, f32)> = header
        .split(',')
        .take(20)
        .map(|item| {
            let (tag, weight) = item.split_once(";q=").unwrap_or((item, "1"));
            (tag.trim(), weight.trim().parse().unwrap_or(0.0))
        })
        .filter(|(_, weight)| *weight > 0.0)
        .collect();
    tags.sort_by(|a, b| b.1.total_cmp(&a.1));
    tags.into_iter().map(|(tag, _)| tag).collect()
}

/// Returns a query parameter that needs no decoding.
fn query_param<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn every_language_has_the_same_texts_with_the_same_places_to_fill_in() {
        let places = |text: &str| -> Vec<String> {
            let mut found: Vec<String> = text
                .split('{')
                .skip(1)
                .filter_map(|part| part.split_once('}').map(|(name, _)| name.to_owned()))
                .collect();
            found.sort();
            found
        };
        let shape = |value: &Value| match value {
            Value::String(text) => places(text),
            Value::Object(forms) => places(forms["other"].as_str().unwrap()),
            other => panic!("neither a string nor plural forms: {other}"),
        };
        let english = catalog("en").unwrap();
        for texts in catalogs().values() {
            let keys = |texts: &Catalog| texts.texts.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(texts), keys(english), "{}", texts.language);
            for (key, value) in &texts.texts {
                assert_eq!(shape(value), shape(&english.texts[key]), "{}: {key}", texts.language);
            }
        }
    }

    #[test]
    fn the_language_is_the_one_asked_for_then_the_browsers_then_the_senders() {
        let language = |query: &str, accepted: Option<&'static str>, announced: Option<&str>| {
            let uri: Uri = format!("/{query}").parse().unwrap();
            let mut headers = HeaderMap::new();
            if let Some(accepted) = accepted {
                headers.insert(
                    header::ACCEPT_LANGUAGE,
                    HeaderValue::from_bytes(accepted.as_bytes()).unwrap(),
                );
            }
            Locale::negotiate(&uri, &headers, announced).language()
        };
        for (query, accepted, announced, expected) in [
            ("?lang=de", Some("en"), None, "de"),
            ("?x=1&lang=de-AT", None, None, "de"),
            ("?lang=tlh", Some("fr, de-CH;q=0.8, en;q=0.7"), None, "de"),
            ("", Some("en;q=0.5,de;q=0.9"), None, "en,de"),
            ("", Some("fr"), Some("de"), "de"),
            ("", Some("\u{e9}"), None, "en"),
            ("", None, None, "en"),
        ] {
            let got = language(query, accepted, announced);
            let expected = if expected == "en,de" { "de" } else { expected };
            assert_eq!(got, expected, "{query} {accepted:?} {announced:?}");
        }
    }

    #[test]
    fn every_status_has_its_headline() {
        let uri: Uri = "/".parse().unwrap();
        let locale = Locale::negotiate(&uri, &HeaderMap::new(), None);
        for status in [
            Status::Announced,
            Status::InTransit,
            Status::AtStation,
            Status::OutForDelivery,
            Status::Arrived,
            Status::Delivered,
            Status::Attempted,
            Status::AvailableForPickup,
            Status::Returned,
            Status::Problem,
        ] {
            assert!(!locale.status_text(status).is_empty());
        }
    }

    #[test]
    fn a_page_can_be_read_from_right_to_left() {
        let uri: Uri = "/?dir=rtl".parse().unwrap();
        assert_eq!(Locale::negotiate(&uri, &HeaderMap::new(), None).direction, "rtl");
        let uri: Uri = "/?dir=up".parse().unwrap();
        assert_eq!(Locale::negotiate(&uri, &HeaderMap::new(), None).direction, "ltr");
    }
}
