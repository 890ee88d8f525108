//! Retractions of a token → which of them it has the right to (EPCIS 2.0 §7.4.1.4 says what they are, and not whose).
//!
//! - A token takes back what came by it. What came by others it takes back with the scope `retract` only.
//! - What a van or the backend said nobody takes back by a capture, whatever the token.
//! - What nobody has said yet may be taken back beforehand, by who will say it: documents may come in any order.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::Shared;
use crate::backend::config::Scope;
use crate::backend::event::{Event, RETRACTS_OTHERS, token_of};
use crate::backend::store::StoreError;

/// Marks what the token `who` may take back of others, and says of each event that it may not, by its name and in words.
pub(super) async fn refused(
    shared: &Shared,
    who: &str,
    events: &mut [&mut Event],
) -> Result<BTreeMap<String, String>, StoreError> {
    let back: Vec<&str> =
        events.iter().filter(|event| event.retracts).map(|event| event.event_id.as_str()).collect();
    if back.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (event_id, source) in shared.store.sources_of(&back).await? {
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
        let by: Vec<Option<&str>> = by.map(|source| token_of(source)).collect();
        let others = by.iter().flatten().find(|token| **token != who);
        if !by.is_empty() && by.iter().all(Option::is_none) {
            let words = "a van said it, or this backend, and nobody else takes that back";
            refused.insert(event.id.clone(), words.to_owned());
        } else if is_wide {
            RETRACTS_OTHERS.clone_into(&mut event.kind);
        } else if let Some(other) = others.filter(|_| !by.contains(&Some(who))) {
            let words = format!(
                "it came by the token {other}: have that one take it back, or one with the scope retract"
            );
            refused.insert(event.id.clone(), words);
        }
    }
    Ok(refused)
}
