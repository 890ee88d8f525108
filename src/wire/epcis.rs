//! [`EventRecord`] ↔ one message of CloudEvents around one EPCIS 2.0 event: the payloads on `event`.
//!
//! - `data` is a complete event: it has its own `@context` and is valid by GS1's JSON schema, whatever the record says.
//! - `id` names the message and `data.eventID` what happened. They are alike but in a retraction: EPCIS wants the wrong
//!   event said again under its own eventID (§7.4.1.4), and CloudEvents wants no two messages of a source to have one id
//!   (CloudEvents 1.0, `id`), so that a consumer that drops repeats by it does not drop the retraction.
//! - Every extension is prefixed with `van:`; unprefixed ones are not valid.
//! - `recordTime` is left out, since whoever captures the event sets it. The agent knows UTC only, so
//!   `eventTimeZoneOffset` is `+00:00`.

mod draft;
mod evidence;
mod happenings;
mod message;
mod names;
mod place;
mod uri;

#[cfg(test)]
mod tests;

pub use message::{
    Action, BizTransaction, CloudEvent, EpcisEvent, EpcisType, ErrorDeclaration, Location, Source,
};
pub use names::{InvalidNames, Names};
pub use uri::{is_uri, segment};

use serde_json::Map;

use self::happenings::Writer;
use crate::core::delivery::event::Happening;
use crate::core::delivery::{Event, EventId, EventRecord};
use crate::core::record::Seq;

/// The MQTT 5 content type of these payloads (CloudEvents MQTT binding §3.2.1).
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Why bytes are no event of this contract.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not JSON, or without a member that each event has.
    #[error("not an event: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another CloudEvents.
    #[error("CloudEvents {0:?}: only 1.0 is understood, so have the sender write that")]
    Specversion(String),
}

/// The message that says `record`, as structured JSON.
#[must_use]
pub fn encode(record: &EventRecord, names: &Names) -> Vec<u8> {
    serde_json::to_vec(&message(record, names))
        .expect("strings and finite numbers under string keys")
}

/// Reads what [`encode`] writes, and keeps members that it does not know.
///
/// # Errors
/// [`EventError`].
pub fn decode(payload: &[u8]) -> Result<CloudEvent, EventError> {
    let event: CloudEvent = serde_json::from_slice(payload)?;
    if event.specversion == CloudEvent::SPECVERSION {
        Ok(event)
    } else {
        Err(EventError::Specversion(event.specversion))
    }
}

fn message(record: &EventRecord, names: &Names) -> CloudEvent {
    let EventRecord { seq, previous, event } = record;
    CloudEvent {
        specversion: CloudEvent::SPECVERSION.to_owned(),
        id: urn(event.id),
        source: names.van.clone(),
        kind: names.kind(event.happening.name()),
        time: event.utc.to_string(),
        subject: event.route.clone(),
        datacontenttype: Some("application/ld+json".to_owned()),
        sequence: number(*seq),
        previoussequence: previous.map(number),
        dataclassification: Some("confidential".to_owned()),
        dataregulation: Some("GDPR".to_owned()),
        data: data(*seq, event, names),
        other: Map::new(),
    }
}

/// What is said of `event`. Of a retraction: what was retracted, once more, and that it is wrong. EPCIS has no
/// retraction of a retraction: that declares the first event wrong again.
fn data(seq: Seq, event: &Event, names: &Names) -> EpcisEvent {
    let (mut fact, mut fact_seq) = (event, seq);
    while let Happening::Retracted { event, seq, .. } = &fact.happening {
        (fact, fact_seq) = (event, *seq);
    }
    let mut data = Writer { names, event: fact, seq: fact_seq }
        .write()
        .expect("the loop ends at what is no retraction");
    if let Happening::Retracted { error, corrected_by, .. } = &event.happening {
        data.error_declaration = Some(ErrorDeclaration {
            declaration_time: event.utc.to_string(),
            reason: Some(error.name().to_owned()),
            corrective_event_ids: corrected_by.iter().copied().map(urn).collect(),
            other: Map::new(),
        });
    }
    data
}

/// So that the order of strings is that of numbers.
fn number(seq: Seq) -> String {
    format!("{:012}", seq.get())
}

/// RFC 9562 §4.
fn urn(id: EventId) -> String {
    format!("urn:uuid:{id}")
}
