//! Embedded files of the pages, cached by browsers until the next version.
//!
//! All files share one version in their path, the hash of all of them. Modules import each other by
//! relative paths, and a change of one file changes the path of all.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::i18n;
use crate::octets;

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $kind:ident)*) => {
        &[$(Asset { name: $name, content_type: $kind, text: include_str!(concat!("files/", $name)) }),*]
    };
}

/// An embedded file.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) name: &'static str,
    content_type: &'static str,
    pub(super) text: &'static str,
}

/// All embedded files, except the texts.
pub(super) const FILES: &[Asset] = files! {
    "style.css" STYLE
    "desk.css" STYLE
    "icon.svg" PICTURE
    "alerts.js" SCRIPT
    "api.js" SCRIPT
    "dom.js" SCRIPT
    "desk.js" SCRIPT
    "found.js" SCRIPT
    "gestures.js" SCRIPT
    "lists.js" SCRIPT
    "login.js" SCRIPT
    "manage.js" SCRIPT
    "map.js" SCRIPT
    "mercator.js" SCRIPT
    "start.js" SCRIPT
    "steps.js" SCRIPT
    "stream.js" SCRIPT
    "time.js" SCRIPT
    "trace.js" SCRIPT
    "track.js" SCRIPT
    "van.js" SCRIPT
    "vans.js" SCRIPT
    "words.js" SCRIPT
};

/// Returns the version; it changes with any file.
pub(super) fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let mut all = i18n::SOURCE.to_owned();
        for file in FILES {
            all.extend([file.name, file.text]);
        }
        let mut version = octets::sha256(&all);
        version.truncate(16);
        version
    });
    &VERSION
}

/// Serves a file, or the texts of a language as `{language}.json`.
pub(super) fn respond(asked: &str, name: &str, headers: &HeaderMap) -> Response {
    let (kind, body) = match FILES.iter().find(|file| file.name == name) {
        Some(file) => (file.content_type, Body::from(file.text)),
        None => match name.strip_suffix(".json").and_then(i18n::catalog) {
            Some(texts) => ("application/json", Body::from(texts.to_json())),
            None => return StatusCode::NOT_FOUND.into_response(),
        },
    };
    let tag = format!("\"{}\"", version());
    // A page of the previous version may request its own files; it receives the current ones,
    // uncached.
    let keep = if asked == version() { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == *tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, kind)], body).into_response()
    };
    let set = response.headers_mut();
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    set.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set.insert(header::ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits"));
    response
}
