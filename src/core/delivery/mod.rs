//! Fixes, scans, manifest and commands → [`Event`]s: what happens to the parcels on board.

pub mod event;

pub use event::{Event, EventId, EventRecord};
