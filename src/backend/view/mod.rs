//! Events, route, position → what a customer and a dispatcher see. Pure: no IO, no clock, time is an argument.
//!
//! ```text
//! events ─ timeline ─┐
//! route  ─ progress ─┼─ exposure, eta ─ parcel view (a customer)
//! fix, state ────────┘                └ van view, trace (a dispatcher)
//! ```
//!
//! The types below are also the JSON that the API gives and the pages read; times in it are RFC 3339 in UTC.

pub mod concern;
pub mod desk;
pub mod eta;
pub mod exposure;
pub mod fact;
pub mod known;
pub mod page;
pub mod parcel;
pub mod progress;
pub mod timeline;
pub mod trace;
pub mod van;
pub mod wish;

#[cfg(all(test, feature = "simulate"))]
mod tests;
