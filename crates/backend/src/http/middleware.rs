//! Middleware for all routes: timeout, body limit, security headers, RFC 9457 error bodies.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use super::problem::Problem;
use super::session;
use crate::{AppState, web};

/// Maximum size of a request body in bytes, unless a route sets its own [`DefaultBodyLimit`].
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Timeout until the response starts. Streams start before that.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Default headers of every response: deny loading, scripts, framing, sniffing and caching.
const DEFAULT_HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // The link of a tracking page is a secret and must not leak through the `Referer` header.
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("x-robots-tag", "noindex, nofollow"),
];

/// Wraps the router with the middleware.
pub fn with_middleware(shared: AppState, router: Router<AppState>) -> Router {
    router
        .fallback(async || Problem::not_found("unknown path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; see the header Allow")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(timeout))
        .layer(from_fn_with_state(shared.clone(), security_headers))
        .with_state(shared)
}

async fn timeout(request: Request, next: Next) -> Response {
    match tokio::time::timeout(RESPONSE_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("request timed out", 5).into_response(),
    }
}

async fn security_headers(
    State(shared): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let wants_page = web::wants_page(request.headers());
    let page_request = wants_page.then(|| (request.uri().clone(), request.headers().clone()));
    let mut response = problem_body(next.run(request).await);
    if let Some((uri, headers)) = page_request.filter(|_| is_problem(&response)) {
        response = problem_page(&shared, &uri, &headers, &response);
    }
    let headers = response.headers_mut();
    for (name, value) in DEFAULT_HEADERS {
        headers.entry(*name).or_insert(HeaderValue::from_static(value));
    }
    if session::is_https(&shared) {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(year);
    }
    response
}

fn is_problem(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes() == b"application/problem+json")
}

/// Replaces a problem document by a page, for a browser; keeps its headers such as `Retry-After`.
fn problem_page(shared: &AppState, uri: &Uri, headers: &HeaderMap, problem: &Response) -> Response {
    let retry_after = problem.headers().get(header::RETRY_AFTER);
    let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    let mut page = web::error_page(shared, uri, headers, problem.status(), retry_after_s);
    for (name, value) in problem.headers() {
        if *name != header::CONTENT_LENGTH {
            page.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    page
}

/// Replaces plain-text errors of the framework by problem documents.
fn problem_body(response: Response) -> Response {
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
