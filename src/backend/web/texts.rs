//! Who asks → the language in which they are answered.
//!
//! `texts.json` has every text of every language. A text is a string, or one for each plural category (CLDR) and for
//! numbers of its own; `{name}` in it is replaced.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, Uri, header};
use serde_json::{Map, Value};

use crate::backend::view::parcel::Status;

/// The one file of texts.
pub(super) const SOURCE: &str = include_str!("files/texts.json");

/// Answered in if nothing else is asked for.
const FALLBACK: &str = "en";

/// The texts of one language.
#[derive(Debug)]
pub(super) struct Texts {
    /// BCP 47.
    language: &'static str,
    texts: Map<String, Value>,
}

impl Texts {
    /// A text without plural forms.
    pub(super) fn say(&self, key: &str) -> Option<&str> {
        self.texts.get(key)?.as_str()
    }

    /// All of them, for a page's scripts.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(&self.texts).expect("JSON is written as JSON")
    }
}

fn all() -> &'static BTreeMap<String, Texts> {
    static ALL: LazyLock<BTreeMap<String, Texts>> = LazyLock::new(|| {
        let languages: BTreeMap<String, Map<String, Value>> =
            serde_json::from_str(SOURCE).expect("a test reads it");
        let leaked = |name: &String| -> &'static str { name.clone().leak() };
        languages
            .into_iter()
            .map(|(name, texts)| (name.clone(), Texts { language: leaked(&name), texts }))
            .collect()
    });
    &ALL
}

/// The texts of a language that there is.
pub(super) fn of_language(name: &str) -> Option<&'static Texts> {
    all().get(name)
}

/// How somebody reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locale {
    /// In their language.
    pub(super) texts: &'static Texts,
    /// `ltr` or `rtl`.
    pub(super) direction: &'static str,
}

impl Locale {
    /// By `?lang=`, what the browser prefers, and what the sender announced, in this order; `?dir=` as it says.
    pub(super) fn of(uri: &Uri, headers: &HeaderMap, announced: Option<&str>) -> Self {
        let asked = parameter(uri, "lang").and_then(best);
        let preferred = || {
            let accepted = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
            by_preference(accepted).into_iter().find_map(best)
        };
        let texts = asked
            .or_else(preferred)
            .or_else(|| announced.and_then(best))
            .or_else(|| of_language(FALLBACK))
            .expect("a test reads it");
        let direction = match parameter(uri, "dir") {
            Some("rtl") => "rtl",
            Some("ltr") => "ltr",
            _ if texts.say("direction") == Some("rtl") => "rtl",
            _ => "ltr",
        };
        Self { texts, direction }
    }

    /// BCP 47.
    pub(super) const fn language(&self) -> &'static str {
        self.texts.language
    }

    /// The text of a key; the key itself where there is none, which a test finds.
    pub(super) fn say<'a>(&self, key: &'a str) -> &'a str {
        self.texts.say(key).unwrap_or(key)
    }

    /// Where a parcel stands, in the words of its page's headline.
    pub(super) fn status(&self, status: Status) -> &'static str {
        self.texts
            .say(match status {
                Status::Announced => "status.announced",
                Status::InTransit => "status.in_transit",
                Status::AtStation => "status.at_station",
                Status::OutForDelivery => "status.out_for_delivery",
                Status::Arrived => "status.arrived",
                Status::Delivered => "status.delivered",
                Status::Attempted => "status.attempted",
                Status::Returned => "status.returned",
                Status::Problem => "status.problem",
            })
            .expect("a test asks for each")
    }

    /// Every language, and what it calls itself.
    pub(super) fn languages() -> impl Iterator<Item = (&'static str, &'static str)> {
        all()
            .values()
            .map(|texts| (texts.language, texts.say("language").unwrap_or(texts.language)))
    }
}

/// `de-AT` is answered by `de`.
fn best(tag: &str) -> Option<&'static Texts> {
    let primary = tag.split('-').next()?.trim().to_ascii_lowercase();
    of_language(&primary)
}

/// Tags of `Accept-Language` (RFC 9110 §12.5.4), the most wanted first.
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

/// A parameter of the query that needs no decoding.
fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
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
            other => panic!("neither a text nor plural forms: {other}"),
        };
        let english = of_language("en").unwrap();
        for texts in all().values() {
            let keys = |texts: &Texts| texts.texts.keys().cloned().collect::<Vec<_>>();
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
            Locale::of(&uri, &headers, announced).language()
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
        let locale = Locale::of(&uri, &HeaderMap::new(), None);
        for status in [
            Status::Announced,
            Status::InTransit,
            Status::AtStation,
            Status::OutForDelivery,
            Status::Arrived,
            Status::Delivered,
            Status::Attempted,
            Status::Returned,
            Status::Problem,
        ] {
            assert!(!locale.status(status).is_empty());
        }
    }

    #[test]
    fn a_page_can_be_read_from_right_to_left() {
        let uri: Uri = "/?dir=rtl".parse().unwrap();
        assert_eq!(Locale::of(&uri, &HeaderMap::new(), None).direction, "rtl");
        let uri: Uri = "/?dir=up".parse().unwrap();
        assert_eq!(Locale::of(&uri, &HeaderMap::new(), None).direction, "ltr");
    }
}
