//! Codec of the trip state: one byte of format version, then postcard.

use waypost_model::motion::TripState;

/// Current format version.
const VERSION: u8 = 1;

pub(super) fn encode(state: &TripState) -> Vec<u8> {
    postcard::to_extend(state, vec![VERSION]).expect("the state has fields of known length only")
}

/// Decodes the trip state. Falls back to the default, with a warning, if it cannot be decoded.
pub(super) fn decode(bytes: &[u8]) -> TripState {
    match bytes {
        [] => TripState::default(),
        [VERSION, body @ ..] => postcard::from_bytes(body).unwrap_or_else(|error| {
            tracing::warn!(%error, "saved trip state damaged: using the default");
            TripState::default()
        }),
        [version, ..] => {
            tracing::warn!(version, "saved trip state newer than this agent: using the default");
            TripState::default()
        }
    }
}
