//! `/unsubscribe/{id}`: the link of each letter. It needs no login; looking at it ends nothing, since mail servers do.
//!
//! It is the same for everybody: whether there is such a subscription is nobody's business.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use super::page::Page;
use super::texts::Locale;
use crate::backend::Shared;

pub(super) async fn ask(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    page(&shared, &uri, &headers, StatusCode::OK, "messages.ask")
}

/// The page's form, and what a mail program sends by itself (RFC 8058).
pub(super) async fn end(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match shared.store.end_subscriber(&id, None).await {
        Ok(_) => page(&shared, &uri, &headers, StatusCode::OK, "messages.ended"),
        Err(error) => {
            // Anybody may ask, and often; what ails the store is said where it is watched.
            tracing::debug!(%error, "subscription not ended");
            page(&shared, &uri, &headers, StatusCode::SERVICE_UNAVAILABLE, "refused.broken")
        }
    }
}

fn page(
    shared: &Shared,
    uri: &Uri,
    headers: &HeaderMap,
    status: StatusCode,
    key: &str,
) -> Response {
    let locale = Locale::of(uri, headers, None);
    let over = if key == "messages.ended" { "hidden" } else { "" };
    Page::MESSAGES.answer(shared, &locale, status, &[("said", locale.say(key)), ("over", over)])
}
