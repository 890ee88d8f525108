//! Validates events of other parties against EPCIS 2.0 (ISO/IEC 19987 §7, §9) and reports each
//! fault with its place.
//!
//! The verdict is that of GS1's JSON schema, except that
//!
//! - a document may have a blank node as `id`, and a sensor element a `type`: GS1's own examples do;
//! - a document of another major version, a time before 2000 or more than one day ahead, and an
//!   event above the limits are rejected.

pub(super) mod canonical;
mod rules;
mod schema;
mod uri;
mod vocabulary;

use serde_json::Value;

use self::schema::{Faults, check};
use crate::http::FieldError;
use waypost_model::units::UtcTime;

/// Maximum number of EPCs per event.
const MAX_EPCS: usize = 5_000;

/// Maximum size of an event's JSON text in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Maximum number of faults reported per event.
const MAX_FAULTS: usize = 20;

/// Maximum lead of a sender's clock over ours, in milliseconds.
const MAX_CLOCK_SKEW_MS: i64 = 24 * 60 * 60 * 1000;

/// A vocabulary of CBV 2.0 or EPCIS 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vocabulary {
    EventType,
    Action,
    BizStep,
    Disposition,
}

impl Vocabulary {
    /// Terms of the vocabulary.
    pub(super) fn terms(self) -> Vec<&'static str> {
        match self {
            Self::EventType => vocabulary::EVENTS.iter().map(|(name, _)| *name).collect(),
            Self::Action => vocabulary::ACTIONS.to_vec(),
            Self::BizStep => vocabulary::STEPS.to_vec(),
            Self::Disposition => vocabulary::DISPOSITIONS.to_vec(),
        }
    }

    /// Returns the value as events have it: a bare term, or a URI of another vocabulary; `None` for
    /// a value that no event can have.
    pub(super) fn bare(self, value: &str) -> Option<String> {
        let prefixes: &[&str] = match self {
            Self::EventType => {
                &["epcis:", "https://ns.gs1.org/epcis/", "https://ref.gs1.org/epcis/"]
            }
            Self::Action => &[],
            Self::BizStep => &[
                "urn:epcglobal:cbv:bizstep:",
                "https://ns.gs1.org/cbv/BizStep-",
                "https://ref.gs1.org/cbv/BizStep-",
                "cbv:BizStep-",
            ],
            Self::Disposition => &[
                "urn:epcglobal:cbv:disp:",
                "https://ns.gs1.org/cbv/Disp-",
                "https://ref.gs1.org/cbv/Disp-",
                "cbv:Disp-",
            ],
        };
        match prefixes.iter().find_map(|prefix| value.strip_prefix(prefix)) {
            Some(term) => self.terms().contains(&term).then(|| term.to_owned()),
            None => {
                let is_own = self != Self::Action && uri::is_uri(value);
                (is_own || self.terms().contains(&value)).then(|| value.to_owned())
            }
        }
    }

    /// The valid values.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::EventType => {
                "write ObjectEvent, AggregationEvent, AssociationEvent, TransactionEvent, \
                 TransformationEvent, or a URI of another vocabulary"
            }
            Self::Action => "write ADD, OBSERVE or DELETE",
            Self::BizStep | Self::Disposition => {
                "write a term of CBV 2.0, or a URI of another vocabulary"
            }
        }
    }
}

/// Returns whether the text is an absolute URI. A pattern is one too: `*` is a valid character.
pub(super) fn is_uri(text: &str) -> bool {
    uri::is_uri(text)
}

/// Expected place of an event's `@context`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// In the event itself.
    Own,
    /// In the enclosing document.
    OfDocument,
}

/// Validates an event captured at `now`; returns no faults if it is valid.
pub(super) fn validate(event: &Value, context: Context, now: UtcTime) -> Vec<FieldError> {
    let mut found = Faults::new(MAX_FAULTS);
    let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
    match vocabulary::EVENTS.iter().find(|(name, _)| *name == kind) {
        Some((_, shape)) => {
            check(event, shape, "", &mut found);
            rules::check(event, kind, &mut found);
        }
        None if uri::is_uri(kind) => check(event, &vocabulary::EXTENDED_EVENT, "", &mut found),
        None => {
            let names = vocabulary::EVENTS.iter().map(|(name, _)| *name);
            let names = names.collect::<Vec<_>>().join(", ");
            let value = event.get("type").map_or_else(|| "absent".to_owned(), Value::to_string);
            found.push("type", &value, format!("{names}, or a URI of your own vocabulary"));
            return found.faults;
        }
    }
    if context == Context::Own && event.get("@context").is_none() {
        found.push("@context", "absent", "add the context that GS1 publishes");
    }
    check_bounds(event, now, &mut found);
    found.faults
}

fn check_bounds(event: &Value, now: UtcTime, found: &mut Faults) {
    let time = event.get("eventTime").and_then(Value::as_str);
    if let (Some(text), Some(time)) = (time, time.and_then(UtcTime::parse)) {
        if time.date().year() < 2000 {
            found.push("eventTime", text, "send a time from the year 2000 on");
        } else if time.millis_since(now) > MAX_CLOCK_SKEW_MS {
            found.push("eventTime", text, "send a time at most one day ahead");
        }
    }
    let things = crate::epc::epcs_in(event).len();
    if things > MAX_EPCS {
        found.push("epcList", &things.to_string(), "at most 5,000 things; split the event");
    }
    let bytes = event.to_string().len();
    if bytes > MAX_BYTES {
        found.push("", &format!("{bytes} bytes"), "at most 256 KiB; split the event");
    }
    let wrong_id = event.get("eventID").and_then(Value::as_str).filter(|id| id.len() > 256);
    if let Some(id) = wrong_id {
        found.push("eventID", id, "at most 256 bytes");
    }
}

/// Validates the document around events and returns its events.
pub(super) fn events_from_document(document: &Value) -> Result<Vec<Value>, Vec<FieldError>> {
    let mut found = Faults::new(MAX_FAULTS);
    let kind = document.get("type").and_then(Value::as_str).unwrap_or_default();
    let (shape, path) = match kind {
        "EPCISDocument" => (&vocabulary::DOCUMENT, "/epcisBody/eventList"),
        "EPCISQueryDocument" => {
            (&vocabulary::QUERY_DOCUMENT, "/epcisBody/queryResults/resultsBody/eventList")
        }
        _ => {
            found.push("type", kind, "EPCISDocument or EPCISQueryDocument");
            return Err(found.faults);
        }
    };
    check(document, shape, "", &mut found);
    let version = document.get("schemaVersion").and_then(Value::as_str);
    if let Some(version) = version.filter(|version| version.split('.').next() != Some("2")) {
        found.push("schemaVersion", version, "2.0");
    }
    let events = document.pointer(path).and_then(Value::as_array);
    match events {
        Some(events) if found.faults.is_empty() => Ok(events.clone()),
        Some(_) => Err(found.faults),
        None => {
            found.push(path.trim_start_matches('/'), "absent", "an array of events");
            Err(found.faults)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> UtcTime {
        UtcTime::parse("2026-11-22T12:00:00Z").unwrap()
    }

    fn event() -> Value {
        json!({"@context": "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
            "type": "ObjectEvent", "eventTime": "2026-11-22T07:12:31+01:00", "eventTimeZoneOffset": "+01:00",
            "action": "OBSERVE", "epcList": ["https://id.gs1.org/00/395212340000000014"]})
    }

    fn places(spoil: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut event = event();
        spoil(&mut event);
        validate(&event, Context::Own, now()).into_iter().map(|fault| fault.place).collect()
    }

    #[test]
    fn a_fault_is_told_at_its_place() {
        assert_eq!(places(|_| ()), Vec::<String>::new());
        type Spoil = fn(&mut Value);
        let table: &[(Spoil, &[&str])] = &[
            (|event| event["type"] = json!("QuantityEvent"), &["type"]),
            (|event| event["eventTime"] = json!("yesterday"), &["eventTime"]),
            (|event| event["eventTime"] = json!("1999-01-01T00:00:00Z"), &["eventTime"]),
            (|event| event["eventTime"] = json!("2026-11-24T00:00:00Z"), &["eventTime"]),
            (|event| event["eventTimeZoneOffset"] = json!("CET"), &["eventTimeZoneOffset"]),
            (|event| event["eventID"] = json!("7"), &["eventID"]),
            (|event| event["epcList"] = json!(["urn:a", "urn:a"]), &["epcList[1]"]),
            (|event| event["epcList"] = json!("urn:a"), &["epcList"]),
            (|event| event["action"] = json!("SEE"), &["action"]),
            (|event| event["readPoint"] = json!({}), &["readPoint.id"]),
            (
                |event| event["bizTransactionList"] = json!([{"type": "po"}]),
                &["bizTransactionList[0].bizTransaction"],
            ),
            (|event| event["sourceList"] = json!([{"source": "urn:a"}]), &["sourceList[0].type"]),
            (
                |event| event["quantityList"] = json!([{"epcClass": "urn:a", "uom": "kilogram"}]),
                &["quantityList[0].uom"],
            ),
            (|event| event["errorDeclaration"] = json!({}), &["errorDeclaration.declarationTime"]),
            (|event| event["ilmd"] = json!({"lot": 7}), &["ilmd.lot", "ilmd"]),
            (|event| event["colour"] = json!("red"), &["colour"]),
            (
                |event| event["sensorElementList"] = json!([{"sensorReport": []}]),
                &["sensorElementList[0].sensorReport"],
            ),
            (
                |event| event["persistentDisposition"] = json!({"set": []}),
                &["persistentDisposition.set"],
            ),
            (
                |event| *event = json!({"type": "TransformationEvent", "action": "ADD"}),
                &["action", "eventTime", "eventTimeZoneOffset", "inputEPCList", "@context"],
            ),
        ];
        for (spoil, expected) in table {
            assert_eq!(places(spoil), *expected);
        }
        for ok in ["ni:///sha-256;36ef?ver=CBV2.0", "urn:uuid:019aaa00-0006-7000-8000-000000000006"]
        {
            assert_eq!(places(|event| event["eventID"] = json!(ok)), Vec::<String>::new());
        }
        let many: Vec<String> = (0..5_001).map(|n| format!("urn:x:{n}")).collect();
        assert_eq!(places(|event| event["epcList"] = json!(many)), ["epcList"]);
    }

    #[test]
    fn a_document_is_told_from_what_is_none() {
        let document = json!({"@context": [], "type": "EPCISDocument", "schemaVersion": "2.0",
            "creationDate": "2026-11-22T07:12:31Z", "epcisBody": {"eventList": [1, 2]}});
        assert_eq!(events_from_document(&document).unwrap().len(), 2);
        for (member, value, place) in [
            ("type", json!("Document"), "type"),
            ("schemaVersion", json!("1.2"), "schemaVersion"),
            ("creationDate", json!(7), "creationDate"),
            ("epcisBody", json!({}), "epcisBody.eventList"),
            ("colour", json!({}), "colour"),
        ] {
            let mut document = document.clone();
            document[member] = value;
            assert_eq!(events_from_document(&document).unwrap_err()[0].place, place);
        }
        let answer = json!({"@context": [], "type": "EPCISQueryDocument", "epcisBody": {"queryResults": {
            "queryName": "x", "resultsBody": {"eventList": [1]}}}});
        assert_eq!(events_from_document(&answer).unwrap().len(), 1);
    }
}
