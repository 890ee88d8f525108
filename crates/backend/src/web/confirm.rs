//! `/confirm/{token}`: the link of a confirmation mail (double opt-in). GET changes nothing, since
//! mail servers follow links.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use super::i18n::Locale;
use super::template::PageTemplate;
use crate::AppState;
use crate::notifications::{self, ConfirmResult};

/// Maximum length of a token in bytes; issued tokens have 32.
const MAX_TOKEN_BYTES: usize = 64;

pub(super) async fn ask(State(shared): State<AppState>, uri: Uri, headers: HeaderMap) -> Response {
    let locale = Locale::negotiate(&uri, &headers, None);
    let values = [("said", locale.text("confirm.ask")), ("address", "")];
    PageTemplate::CONFIRM.respond(&shared, &locale, StatusCode::OK, &values)
}

/// Handles the form of the page.
pub(super) async fn confirm(
    State(shared): State<AppState>,
    Path(token): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let locale = Locale::negotiate(&uri, &headers, None);
    let confirmed = if token.len() > MAX_TOKEN_BYTES {
        Ok(ConfirmResult::Unknown)
    } else {
        notifications::confirm(&shared, &token).await
    };
    let (status, key, address) = match confirmed {
        Ok(ConfirmResult::Confirmed { address }) => (StatusCode::OK, "confirm.done", address),
        Ok(ConfirmResult::Unknown) => (StatusCode::NOT_FOUND, "confirm.unknown", String::new()),
        Err(error) => {
            tracing::debug!(%error, "confirmation failed");
            (StatusCode::SERVICE_UNAVAILABLE, "refused.broken", String::new())
        }
    };
    let over = if status == StatusCode::SERVICE_UNAVAILABLE { "" } else { "hidden" };
    let values = [("said", locale.text(key)), ("address", address.as_str()), ("over", over)];
    PageTemplate::CONFIRM.respond(&shared, &locale, status, &values)
}
