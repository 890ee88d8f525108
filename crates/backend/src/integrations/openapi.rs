//! Serves the OpenAPI 3.1 description at `GET /api/v1/openapi.json`, without authentication.

use axum::Router;
use axum::http::header;
use axum::routing::get;

use crate::AppState;

const DOCUMENT: &str = include_str!("../../../../docs/backend/openapi.json");

pub(super) fn router() -> Router<AppState> {
    let answer = async || ([(header::CONTENT_TYPE, "application/json")], DOCUMENT);
    Router::new().route("/api/v1/openapi.json", get(answer))
}
