//! MQTT contract: topics and payloads, shared by the agent and the backend.
//!
//! Names and units are documented in `docs/mqtt-contract.md`. Readers ignore unknown members. `"v":
//! 1` in a payload and `v1` in a topic change together, and only if an old reader would misread a
//! new payload.

pub mod base64;
pub mod command;
pub mod command_signature;
pub mod compact_track;
pub mod epcis;
pub mod manifest;
pub mod owntracks;
pub mod payloads;
#[cfg(feature = "schema")]
pub mod schema;
mod topic;
pub mod track_codec;

pub use topic::{InvalidVanId, Topics, VanId};

/// Encoding of the messages on `track`. Readers distinguish them by the first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// [`payloads::Track`].
    #[default]
    Json,
    /// [`compact_track::Message`].
    Compact,
}

/// Version of payloads and topics.
pub const VERSION: u8 = 1;
