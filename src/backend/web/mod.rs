//! Files → pages: `/` for who waits, `/t/{token}` for one parcel, `/desk` for dispatchers.
//!
//! ```text
//! files/*.html ─ page: texts of one language put in ─┐
//! files/texts.json ──────────────────────────────────┼─ a browser ─ /api/v1, events as they happen
//! files/*.{css,js,svg} ─ assets: one name a version ─┘
//! ```
//!
//! - A page asks nobody but this server; the only exception are map tiles, if the operator names where from.
//! - No script and no style stands in a page: the policy that goes with it ([`page`]) runs none.
//! - The address of a parcel's page is its key, so that no request may tell it to others.

mod assets;
mod page;
mod texts;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;

use self::page::Page;
use self::texts::Locale;
use super::Shared;

/// `/`, `/t/{token}`, `/desk` and what is below it, and the files that they load.
pub fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(start))
        .route("/t/{token}", get(track))
        .route("/desk", get(desk))
        .route("/desk/{*rest}", get(desk))
        .route("/favicon.ico", get(favicon))
        .route("/assets/{version}/{file}", get(asset))
}

async fn start(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    Page::START.answer(&shared, &Locale::of(&uri, &headers, None), StatusCode::OK, &[])
}

async fn track(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    Page::TRACK.answer(&shared, &Locale::of(&uri, &headers, None), StatusCode::OK, &[])
}

async fn desk(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    Page::DESK.answer(&shared, &Locale::of(&uri, &headers, None), StatusCode::OK, &[])
}

async fn favicon(headers: HeaderMap) -> Response {
    assets::answer(assets::version(), "icon.svg", &headers)
}

async fn asset(Path((version, file)): Path<(String, String)>, headers: HeaderMap) -> Response {
    assets::answer(&version, &file, &headers)
}
