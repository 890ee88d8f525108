//! `GET /api/v1/openapi.json` → the description of all paths (OpenAPI 3.1), for everybody.

use axum::Router;
use axum::http::header;
use axum::routing::get;

use crate::backend::Shared;

const DOCUMENT: &str = include_str!("../../../docs/backend/openapi.json");

pub(super) fn router() -> Router<Shared> {
    let answer = async || ([(header::CONTENT_TYPE, "application/json")], DOCUMENT);
    Router::new().route("/api/v1/openapi.json", get(answer))
}
