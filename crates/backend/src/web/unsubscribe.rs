//! `/unsubscribe/{id}`: the unsubscribe link of each e-mail. It needs no login. GET changes
//! nothing, since mail servers follow links.
//!
//! The response is the same for known and unknown subscriptions.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use super::i18n::Locale;
use super::template::PageTemplate;
use crate::AppState;

pub(super) async fn confirm(
    State(shared): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    page(&shared, &uri, &headers, StatusCode::OK, "messages.ask")
}

/// Handles the page's form, and one-click unsubscription by mail programs (RFC 8058).
pub(super) async fn unsubscribe(
    State(shared): State<AppState>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match shared.store.delete_subscriber(&id, None).await {
        Ok(_) => page(&shared, &uri, &headers, StatusCode::OK, "messages.ended"),
        Err(error) => {
            // Logged at debug level only: unauthenticated clients can trigger it. Other metrics
            // cover the store.
            tracing::debug!(%error, "unsubscribe failed");
            page(&shared, &uri, &headers, StatusCode::SERVICE_UNAVAILABLE, "refused.broken")
        }
    }
}

fn page(
    shared: &AppState,
    uri: &Uri,
    headers: &HeaderMap,
    status: StatusCode,
    key: &str,
) -> Response {
    let locale = Locale::negotiate(uri, headers, None);
    let over = if key == "messages.ended" { "hidden" } else { "" };
    PageTemplate::UNSUBSCRIBE.respond(
        shared,
        &locale,
        status,
        &[("said", locale.text(key)), ("over", over)],
    )
}
