//! Planners, warehouses and carriers → routes, commands and events.
//!
//! ```text
//! routes    PUT a manifest: checked to the last parcel, what only the backend may know taken out, kept with its parcels
//! commands  POST a command for a van
//! capture   POST events of EPCIS 2.0, done by a job            query   GET them
//! import    POST a carrier's list of states
//! ```
//!
//! - **What is refused says all that is wrong**: place, value, remedy, each.
//! - **What is sent twice is there once.** Names of events that have none are made of what they say.

mod capture;
mod commands;
mod csv;
mod described;
mod epcis;
mod import;
mod manifest;
mod names;
mod query;
mod routes;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::backend::Shared;

/// Everything that comes from upstream.
pub fn router() -> Router<Shared> {
    Router::new()
        .merge(routes::router())
        .merge(commands::router())
        .merge(capture::router())
        .merge(import::router())
        .merge(described::router())
}

/// Does what was taken and is not done yet, until `stop`.
pub async fn run(shared: Shared, stop: CancellationToken) {
    capture::run(shared, stop).await;
}
