//! What is the same for all requests: limits around them, headers on every answer, problems instead of bare words.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use super::problem::Problem;
use super::session;
use crate::backend::Shared;

/// Largest document of a request, unless a part sets its own [`DefaultBodyLimit`].
const BODY_BYTES: usize = 64 * 1024;

/// An answer begins within so long. Streams have begun by then.
const ANSWERED: Duration = Duration::from_secs(30);

/// Headers of every answer whose part has not set its own: nothing may be loaded or run, framed, guessed or kept.
const HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // The link of a page is a secret: no other site learns it from where its visitors come.
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("x-robots-tag", "noindex, nofollow"),
];

/// The router with everything that holds for all of it.
pub fn around(shared: Shared, router: Router<Shared>) -> Router {
    router
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path has other methods: see Allow")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn(in_time))
        .layer(from_fn_with_state(shared.clone(), dressed))
        .with_state(shared)
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWERED, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("it took too long", 5).into_response(),
    }
}

async fn dressed(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = in_words(next.run(request).await);
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(*name).or_insert(HeaderValue::from_static(value));
    }
    if session::is_https(&shared) {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(year);
    }
    response
}

/// Refusals of the framework are bare text.
fn in_words(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let bare = kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !bare || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    let (problem, body) = Problem::new(status, "").into_response().into_parts();
    parts.headers.extend(problem.headers);
    Response::from_parts(parts, body)
}
