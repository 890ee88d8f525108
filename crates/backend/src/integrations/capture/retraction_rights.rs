//! Decides which events a token may retract (EPCIS 2.0 §7.4.1.4 defines retractions, but not the
//! required rights).
//!
//! - A token may retract its own events; those of other tokens require the scope `retract`.
//! - Events of vans and of the backend cannot be retracted by a capture.
//! - An unknown event may be retracted in advance by the token that will capture it, since
//!   documents may arrive in any order.

use std::collections::{BTreeMap, BTreeSet};

use crate::AppState;
use crate::config::Scope;
use crate::event::{Event, RETRACTS_OTHERS, token_name};
use crate::store::StoreError;

/// Checks the retractions in `events` for the token `who`. Marks those that apply to other tokens'
/// events, and returns a message by event id for those that are not allowed.
pub(super) async fn check_retractions(
    shared: &AppState,
    who: &str,
    events: &mut [&mut Event],
) -> Result<BTreeMap<String, String>, StoreError> {
    let back: Vec<&str> =
        events.iter().filter(|event| event.retracts).map(|event| event.event_id.as_str()).collect();
    if back.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (event_id, source) in shared.store.sources_by_event_id(&back).await? {
        said.entry(event_id).or_default().insert(source);
    }
    for event in events.iter().filter(|event| !event.retracts) {
        said.entry(event.event_id.clone()).or_default().insert(event.source.clone());
    }
    let tokens = shared.config.tokens.iter();
    let is_wide =
        tokens.into_iter().any(|token| token.name == who && token.scopes.contains(&Scope::Retract));
    let mut refused = BTreeMap::new();
    for event in events.iter_mut().filter(|event| event.retracts) {
        let by = said.get(&event.event_id).into_iter().flatten();
        let by: Vec<Option<&str>> = by.map(|source| token_name(source)).collect();
        let others = by.iter().flatten().find(|token| **token != who);
        if !by.is_empty() && by.iter().all(Option::is_none) {
            let words =
                "the event was reported by a van or by this backend, which alone can retract it";
            refused.insert(event.id.clone(), words.to_owned());
        } else if is_wide {
            RETRACTS_OTHERS.clone_into(&mut event.kind);
        } else if let Some(other) = others.filter(|_| !by.contains(&Some(who))) {
            let words = format!(
                "the event was captured by the token {other}; retract it with that token, or with one that has the scope retract"
            );
            refused.insert(event.id.clone(), words);
        }
    }
    Ok(refused)
}
