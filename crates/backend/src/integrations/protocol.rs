//! What all paths below `/epcis/v2` have in common (EPCIS 2.0 §12.4, §12.5): versions, media types,
//! and exceptions as types of problems.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::exceptions::{Exception, OfException as _};
use crate::http::Problem;

/// Base of all paths.
pub(super) const BASE: &str = "/epcis/v2";

/// Headers of every response (§12.5), with the limits of captures.
const HEADERS: &[(&str, &str)] = &[
    ("gs1-epcis-version", "2.0"),
    ("gs1-epcis-min", "2.0"),
    ("gs1-epcis-max", "2.0"),
    ("gs1-cbv-version", "2.0"),
    ("gs1-cbv-min", "2.0"),
    ("gs1-cbv-max", "2.0"),
    ("gs1-epc-format", "Never_Translates"),
    ("gs1-capture-error-behaviour", "rollback"),
    ("gs1-epcis-capture-limit", "1000"),
    ("gs1-epcis-capture-file-size-limit", "4194304"),
];

const JSON: &str = "application/json";
const LD_JSON: &str = "application/ld+json";
const STREAM: &str = "text/event-stream";

pub(super) async fn discover() -> StatusCode {
    StatusCode::NO_CONTENT
}

pub(super) async fn unknown_path() -> Problem {
    Problem::not_found("unknown path")
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; see the header Allow")
}

/// Negotiates version and media type, and gives problems the types of EPCIS.
pub(super) async fn negotiate(request: Request, next: Next) -> Response {
    let accepts = Accepted::parse(request.headers());
    let answers = [Method::GET, Method::HEAD, Method::POST].contains(request.method());
    let refused =
        version_problem(request.headers()).or_else(|| format_problem(request.headers())).or_else(
            || (answers && !accepts.any_of(&[JSON, LD_JSON, STREAM])).then(media_type_problem),
        );
    let mut response = match refused {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>()
        && !problem.has_type()
    {
        let status = problem.status();
        let headers = std::mem::take(response.headers_mut());
        response = problem.of(Exception::of_status(status)).into_response();
        for (name, value) in &headers {
            response.headers_mut().entry(name).or_insert(value.clone());
        }
    }
    let headers = response.headers_mut();
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == LD_JSON)
        && !accepts.any_of(&[LD_JSON])
    {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    }
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn media_type_problem() -> Problem {
    let detail = "Accept: use application/json or application/ld+json; XML is not supported";
    Problem::new(StatusCode::NOT_ACCEPTABLE, detail)
}

/// Rejects unsupported versions.
fn version_problem(headers: &HeaderMap) -> Option<Problem> {
    let sent = |name: &str| Some(headers.get(name)?.to_str().unwrap_or("?").to_owned());
    let number = |text: &str| text.split('.').next().and_then(|part| part.parse::<u32>().ok());
    let asked = [
        ("GS1-EPCIS-Version", 2..=2),
        ("GS1-CBV-Version", 2..=2),
        ("GS1-EPCIS-Min", 0..=2),
        ("GS1-CBV-Min", 0..=2),
        ("GS1-EPCIS-Max", 2..=u32::MAX),
        ("GS1-CBV-Max", 2..=u32::MAX),
    ];
    asked.into_iter().find_map(|(name, ok)| {
        let text = sent(name)?;
        let fits = number(&text).is_some_and(|number| ok.contains(&number));
        let detail = format!("{name} is {text}: only version 2.0 is supported");
        (!fits).then(|| Problem::new(StatusCode::NOT_ACCEPTABLE, detail))
    })
}

/// Rejects requests for a translation of identifiers: events are returned as they were captured.
fn format_problem(headers: &HeaderMap) -> Option<Problem> {
    let asked = headers.get("gs1-epc-format")?.to_str().unwrap_or("?");
    let fits = ["No_Preference", "Never_Translates"].contains(&asked);
    let detail = format!("GS1-EPC-Format is {asked}: only Never_Translates is supported");
    (!fits).then(|| Problem::new(StatusCode::NOT_ACCEPTABLE, detail))
}

/// Media ranges of `Accept` that the client accepts (RFC 9110 §12.5.1).
#[derive(Debug)]
pub(super) struct Accepted(Vec<(String, bool)>);

impl Accepted {
    pub(super) fn parse(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(',')).filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
            let quality = parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())?
            });
            Some((name, quality.is_none_or(|quality| quality > 0.0)))
        });
        Self(ranges.collect())
    }

    /// Whether one of these types is accepted. Without ranges, all are.
    pub(super) fn any_of(&self, types: &[&str]) -> bool {
        self.0.is_empty() || types.iter().any(|name| self.accepts(name))
    }

    /// Whether the type is named by itself, not by a wildcard.
    pub(super) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(range, ok)| *ok && range == name)
    }

    /// The most specific range decides.
    fn accepts(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or_default();
        [name, &format!("{group}/*"), "*/*"]
            .iter()
            .find_map(|wanted| self.0.iter().find(|(range, _)| range == wanted))
            .is_some_and(|(_, ok)| *ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_media_range_decides() {
        for (accept, json, ld_json) in [
            (None, true, true),
            (Some(""), true, true),
            (Some("*/*"), true, true),
            (Some("application/*;q=0.5, text/html"), true, true),
            (Some("application/json"), true, false),
            (Some("APPLICATION/LD+JSON; profile=x"), false, true),
            (Some("application/xml"), false, false),
            (Some("*/*, application/json;q=0"), false, true),
            (Some("application/json;q=0.0"), false, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            let accepted = Accepted::parse(&headers);
            let found = (accepted.any_of(&[JSON]), accepted.any_of(&[LD_JSON]));
            assert_eq!(found, (json, ld_json), "{accept:?}");
        }
    }
}
