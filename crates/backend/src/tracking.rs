//! Projections of events, routes and positions to the views of recipients and dispatchers. Pure: no
//! I/O and no clock; the time is an argument.
//!
//! ```text
//! events ─ timeline ─┐
//! route  ─ progress ─┼─ visibility, eta ─ parcel view (recipient)
//! fix, state ────────┘                  └ van view, trace (dispatcher)
//! ```
//!
//! The types are also the JSON of the API, read by the pages. Times in it are RFC 3339 in UTC.

pub mod delivery_preferences;
pub mod dispatcher;
pub mod eta;
pub mod exceptions;
pub mod inputs;
pub mod parcel;
pub mod progress;
pub mod timeline;
pub mod trace;
pub mod tracking_event;
pub mod tracking_page;
pub mod van;
pub mod visibility;

#[cfg(test)]
mod tests;
