//! The journey's state ↔ bytes: one of format version, then postcard.

use crate::core::journey::JourneyState;

/// The format that this agent writes.
const VERSION: u8 = 1;

pub(super) fn encode(state: &JourneyState) -> Vec<u8> {
    postcard::to_extend(state, vec![VERSION]).expect("a state has no length that could be unknown")
}

/// The state; the default, and a word in the log, if this agent cannot read it.
pub(super) fn decode(bytes: &[u8]) -> JourneyState {
    match bytes {
        [] => JourneyState::default(),
        [VERSION, body @ ..] => postcard::from_bytes(body).unwrap_or_else(|error| {
            tracing::warn!(%error, "saved journey state is damaged, beginning anew");
            JourneyState::default()
        }),
        [version, ..] => {
            tracing::warn!(version, "saved journey state is newer than this agent, beginning anew");
            JourneyState::default()
        }
    }
}
