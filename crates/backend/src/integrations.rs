//! API for planners, warehouses and carriers: routes, commands and events.
//!
//! ```text
//! routes    PUT a manifest: validated, split from backend-only data, stored with parcels
//! commands  POST a command for a van
//! capture   POST EPCIS 2.0 events, processed by a job        query   GET them
//! import    POST a carrier's list of statuses
//! ```
//!
//! - **A rejection reports all faults**, each with place, value and remedy.
//! - **Repeats are idempotent.** Events without an id get one derived from their content.

mod capture;
mod carrier_import;
mod commands;
mod csv;
mod epcis;
mod exceptions;
mod ids;
mod manifest_validation;
mod openapi;
mod protocol;
mod queries;
mod query;
mod resources;
mod routes;
mod token_binding;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::any;
use tokio_util::sync::CancellationToken;

use crate::AppState;

/// Whether a bare word is a business step of CBV 2.0.
#[cfg(test)]
pub(crate) fn is_cbv_business_step(word: &str) -> bool {
    epcis::Vocabulary::BizStep.terms().contains(&word)
}

/// Routes of this API.
pub fn router() -> Router<AppState> {
    Router::new()
        .merge(routes::router())
        .merge(commands::router())
        .merge(epcis_router())
        .merge(carrier_import::router())
        .merge(openapi::router())
}

/// Path of everything below the base of EPCIS that is no resource.
const NO_RESOURCE: &str = "/epcis/v2/{*rest}";

fn epcis_router() -> Router<AppState> {
    Router::new()
        .merge(capture::router())
        .merge(resources::router())
        .merge(queries::router())
        .route(NO_RESOURCE, any(protocol::unknown_path))
        .method_not_allowed_fallback(protocol::method_not_allowed)
        .layer(from_fn(protocol::negotiate))
}

/// Processes accepted captures, and sends the events of subscriptions, until `stop`.
pub async fn run(shared: AppState, stop: CancellationToken) {
    tokio::join!(capture::run(shared.clone(), stop.clone()), queries::run(shared, stop));
}
