//! Processes a dead letter again, after its cause was removed.

use std::time::Duration;

use super::parse::{MessageParser, Payload, van_from_source};
use crate::store::{DeadLetter, IncomingMessage, Store, StoreError};
use waypost_model::units::UtcTime;
use waypost_wire::VERSION;

/// Result of processing a dead letter again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryResult {
    /// The message is stored, and the dead letter deleted.
    Stored,
    /// The message is still rejected, for this reason.
    Rejected(String),
}

/// Processes a dead letter again. A page expires `page` after its parcel's end.
pub async fn retry(
    store: &Store,
    letter: &DeadLetter,
    now: UtcTime,
    page: Duration,
) -> Result<RetryResult, StoreError> {
    let rejected = |reason: &str| Ok(RetryResult::Rejected(reason.to_owned()));
    if letter.bytes != letter.payload.len() as u64 {
        return rejected("only the beginning of the payload was kept");
    }
    // The topic contains the root; that of OwnTracks has one level of it.
    let level = format!("/v{VERSION}/");
    let root = match letter.topic.strip_prefix("owntracks/") {
        Some(rest) => rest.split_once('/').map(|(root, _)| root),
        None => letter.topic.split_once(level.as_str()).map(|(root, _)| root),
    };
    let Some(root) = root else { return rejected("unknown topic: not defined by the contract") };
    // Times are judged as at the arrival.
    let parser = MessageParser::new(root);
    let message = match parser.parse(&letter.topic, &letter.payload, letter.received_at) {
        Ok(message) => message,
        Err(invalid) => return rejected(&invalid.reason),
    };
    if let Payload::Event(event) = &message.payload
        && van_from_source(&event.event.source).is_none()
        && let Some(owner) = store.van_by_source(&event.event.source).await?
        && owner != message.van
    {
        return rejected(&format!("source belongs to {owner}; hand it over first"));
    }
    let arrival = IncomingMessage {
        topic: letter.topic.clone(),
        payload: letter.payload.clone(),
        bytes: letter.payload.len(),
        parsed: Ok(message),
    };
    match store.ingest(&[arrival], now, page).await {
        Ok(_) => {
            store.delete_dead_letter(letter.n).await?;
            Ok(RetryResult::Stored)
        }
        Err(StoreError::Rejected(reason)) => rejected(&reason),
        Err(error) => Err(error),
    }
}
