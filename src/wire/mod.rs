//! [`Record`](crate::core::record::Record) ↔ topic and payload. The agent and the backend share this definition.
//!
//! Names and units are those of `docs/contract.md`; readers ignore members that they do not know. `"v": 1` in a
//! payload and `v1` in a topic change together, and only when an old reader would misread a new payload.

pub mod base64;
pub mod command;
pub mod compact;
pub mod epcis;
pub mod json;
pub mod manifest;
pub mod owntracks;
pub mod packed;
pub mod signed;
pub mod stored;
mod topic;

pub use topic::{InvalidVanId, Topics, VanId};

/// How the messages on `track` are written. A reader tells them apart by their first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// [`json::Track`].
    #[default]
    Json,
    /// [`compact::Message`].
    Compact,
}

/// The version of payloads and topics.
pub const VERSION: u8 = 1;
