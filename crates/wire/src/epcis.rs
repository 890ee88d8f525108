//! Payloads of `event`: a CloudEvents message that contains one EPCIS 2.0 event.
//!
//! - `data` is a complete event with its own `@context`. It is valid against GS1's JSON schema for
//!   every record.
//! - `id` identifies the message, and `data.eventID` the event. They only differ in a retraction.
//!   EPCIS requires the retracted event under its own eventID (§7.4.1.4), whereas CloudEvents
//!   requires a unique `id` per source (CloudEvents 1.0, `id`). A consumer that removes duplicates
//!   by `id` therefore keeps the retraction.
//! - Every extension has the prefix `waypost:`; extensions without prefix are invalid.
//! - `recordTime` is omitted, because the capturing system sets it. `eventTimeZoneOffset` is that of
//!   the manifest, `+00:00` without one.

mod builder;
mod event_mapping;
mod extensions;
mod geo;
mod identifiers;
mod message;
mod uri;

#[cfg(test)]
mod tests;

pub use identifiers::{Identifiers, InvalidIdentifiers, NAMESPACE, TYPE_PREFIX, event_type, term};
pub use message::{
    Action, BizTransaction, CloudEvent, EpcisEvent, EpcisType, ErrorDeclaration, Location, Source,
};
pub use uri::{UriParts, is_uri, is_uri_encoded, segment, split_uri};

use serde_json::Map;

use self::event_mapping::EventMapper;
use waypost_model::event::EventKind;
use waypost_model::event::{Event, EventId, EventRecord};
use waypost_model::record::Seq;

/// MQTT 5 content type of these payloads (CloudEvents MQTT binding §3.2.1).
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// JSON-LD context published by GS1; the schema requires it in each event.
pub const GS1_CONTEXT: &str = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld";

/// Reason why bytes are not an event of this contract.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not JSON, or without a required member.
    #[error("not an event: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Unsupported version of CloudEvents.
    #[error("CloudEvents {0:?}: only 1.0 is supported; set specversion to 1.0")]
    Specversion(String),
}

/// Encodes a record as a message in structured JSON.
#[must_use]
pub fn encode(record: &EventRecord, names: &Identifiers) -> Vec<u8> {
    serde_json::to_vec(&message(record, names)).expect("only string keys and finite numbers")
}

/// Decodes the output of [`encode`] and preserves unknown members.
///
/// # Errors
/// Returns an error for malformed JSON, a missing member or an unsupported version.
pub fn decode(payload: &[u8]) -> Result<CloudEvent, EventError> {
    let event: CloudEvent = serde_json::from_slice(payload)?;
    if event.specversion == CloudEvent::SPECVERSION {
        Ok(event)
    } else {
        Err(EventError::Specversion(event.specversion))
    }
}

fn message(record: &EventRecord, names: &Identifiers) -> CloudEvent {
    let EventRecord { seq, previous, event } = record;
    CloudEvent {
        specversion: CloudEvent::SPECVERSION.to_owned(),
        id: urn(event.id),
        source: names.van.clone(),
        kind: event_type(event.kind.as_str()),
        time: event.utc.to_string(),
        subject: event.route.clone(),
        datacontenttype: Some("application/ld+json".to_owned()),
        sequence: sequence_string(*seq),
        previoussequence: previous.map(sequence_string),
        dataclassification: Some("confidential".to_owned()),
        dataregulation: Some("GDPR".to_owned()),
        data: epcis_event(*seq, event, names),
        other: Map::new(),
    }
}

/// Returns the EPCIS event. A retraction repeats the retracted event with an error declaration.
/// EPCIS cannot retract a retraction, so that one declares the first event wrong again.
fn epcis_event(seq: Seq, event: &Event, names: &Identifiers) -> EpcisEvent {
    let (mut fact, mut fact_seq) = (event, seq);
    while let EventKind::Retracted { event, seq, .. } = &fact.kind {
        (fact, fact_seq) = (event, *seq);
    }
    let mut data = EventMapper { identifiers: names, event: fact, seq: fact_seq }
        .map()
        .expect("the loop ends at an event that is not a retraction");
    if let EventKind::Retracted { error, corrected_by, .. } = &event.kind {
        data.error_declaration = Some(ErrorDeclaration {
            declaration_time: event.utc.to_string(),
            reason: Some(error.as_str().to_owned()),
            corrective_event_ids: corrected_by.iter().copied().map(urn).collect(),
            other: Map::new(),
        });
    }
    data
}

/// Formats a sequence number with zero padding, so that strings sort like numbers.
fn sequence_string(seq: Seq) -> String {
    format!("{:012}", seq.get())
}

/// Formats a UUID as URN (RFC 9562 §4).
fn urn(id: EventId) -> String {
    format!("urn:uuid:{id}")
}
