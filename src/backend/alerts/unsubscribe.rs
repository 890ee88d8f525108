//! `/unsubscribe/{id}`: the link of each letter. It needs no login; looking at it ends nothing, since mail servers do.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;

use super::letter::escaped;
use super::texts::{Texts, texts};
use crate::backend::Shared;
use crate::backend::store::StoreError;

/// The page, and the POST by which it ends (also that of RFC 8058).
pub fn router() -> Router<Shared> {
    Router::new().route("/unsubscribe/{id}", get(ask).post(end))
}

async fn ask(State(shared): State<Shared>, Path(id): Path<String>) -> (StatusCode, Html<String>) {
    let words = texts(language(&shared, &id).await.as_deref());
    // The same for everybody: whether there is such a subscription is nobody's business.
    let form = format!(
        "<form method=\"post\"><p>{}</p><button>{}</button></form>",
        escaped(words.end),
        escaped(words.end_button)
    );
    (StatusCode::OK, page(words, &form))
}

async fn end(State(shared): State<Shared>, Path(id): Path<String>) -> (StatusCode, Html<String>) {
    let words = texts(language(&shared, &id).await.as_deref());
    match shared.store.end_subscriber(&id, None).await {
        Ok(_) => (StatusCode::OK, page(words, &format!("<p>{}</p>", escaped(words.ended)))),
        Err(error) => {
            tracing::warn!(%error, "a subscription was not ended");
            (StatusCode::SERVICE_UNAVAILABLE, page(words, "<p>Try again later.</p>"))
        }
    }
}

async fn language(shared: &Shared, id: &str) -> Option<String> {
    let known: Result<_, StoreError> = shared.store.language_of_subscriber(id).await;
    known.ok().flatten()
}

fn page(words: &Texts, body: &str) -> Html<String> {
    let (language, title) = (words.language, escaped(words.end));
    Html(format!(
        "<!doctype html><html lang=\"{language}\"><meta charset=\"utf-8\"><meta name=\"robots\" content=\"noindex\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>{body}</html>"
    ))
}
