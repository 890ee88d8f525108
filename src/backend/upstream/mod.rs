//! Planners, warehouses and carriers → routes, commands and events.
//!
//! ```text
//! routes    PUT a manifest: checked to the last parcel, what only the backend may know taken out, kept with its parcels
//! commands  POST a command for a van
//! ```
//!
//! - **What is refused says all that is wrong**: place, value, remedy, each.
//! - **What is sent twice is there once.** Names of events that have none are made of what they say.

mod commands;
mod epcis;
mod manifest;
mod names;
mod routes;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::backend::Shared;

/// Everything that comes from upstream.
pub fn router() -> Router<Shared> {
    Router::new().merge(routes::router()).merge(commands::router())
}

/// Does what was taken and is not done yet, until `stop`.
pub async fn run(_shared: Shared, stop: CancellationToken) {
    stop.cancelled().await;
}
