//! An event as somebody else writes it → what is wrong with it by EPCIS 2.0 (ISO/IEC 19987 §7, §9), each at its place.
//!
//! It refuses what GS1's JSON schema refuses, and what no store should keep: times that cannot be, and lists without end.

mod shape;
mod words;

use serde_json::Value;

use self::shape::{Found, check};
use crate::backend::api::Fault;
use crate::units::UtcTime;

/// Things that one event names at most.
const MAX_THINGS: usize = 5_000;

/// Of an event as text, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// More faults of one event nobody reads.
const MOST_FAULTS: usize = 20;

/// How far ahead of ours a stranger's clock may be, ms.
const AHEAD_MS: i64 = 24 * 60 * 60 * 1000;

/// Whether an event must have its own `@context`: it does, unless the document around it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// It stands alone.
    Own,
    /// The document has one.
    OfDocument,
}

/// What is wrong with an event that somebody captures at `now`; nothing if it is in order.
pub(super) fn faults(event: &Value, context: Context, now: UtcTime) -> Vec<Fault> {
    let mut found = Found::new(MOST_FAULTS);
    let kind = event.get("type").and_then(Value::as_str);
    let Some((_, shape)) = words::EVENTS.iter().find(|(name, _)| Some(*name) == kind) else {
        let names = words::EVENTS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let value = event.get("type").map_or_else(|| "absent".to_owned(), Value::to_string);
        found.tell("type", &value, names);
        return found.faults;
    };
    check(event, shape, "", &mut found);
    if context == Context::Own && event.get("@context").is_none() {
        found.tell("@context", "absent", "the context that GS1 publishes");
    }
    bounds(event, now, &mut found);
    found.faults
}

fn bounds(event: &Value, now: UtcTime, found: &mut Found) {
    let time = event.get("eventTime").and_then(Value::as_str);
    if let (Some(text), Some(time)) = (time, time.and_then(UtcTime::parse)) {
        if time.date().year() < 2000 {
            found.tell("eventTime", text, "not before the year 2000");
        } else if time.millis_since(now) > AHEAD_MS {
            found.tell("eventTime", text, "at most a day ahead of now");
        }
    }
    let things = crate::backend::epc::things(event).len();
    if things > MAX_THINGS {
        found.tell("epcList", &things.to_string(), "at most 5,000 things; split the event");
    }
    let bytes = event.to_string().len();
    if bytes > MAX_BYTES {
        found.tell("", &format!("{bytes} bytes"), "at most 256 KiB; split the event");
    }
    let wrong_id = event.get("eventID").and_then(Value::as_str).filter(|id| id.len() > 256);
    if let Some(id) = wrong_id {
        found.tell("eventID", id, "at most 256 bytes");
    }
    let retracts = event.get("errorDeclaration").is_some();
    if retracts && event.get("eventID").is_none() {
        found.tell("eventID", "absent", "the eventID of the event that is wrong");
    }
}

/// What is wrong with the document around events; else its events.
pub(super) fn events(document: &Value) -> Result<Vec<Value>, Vec<Fault>> {
    let mut found = Found::new(MOST_FAULTS);
    let kind = document.get("type").and_then(Value::as_str).unwrap_or_default();
    let (shape, path) = match kind {
        "EPCISDocument" => (&words::DOCUMENT, "/epcisBody/eventList"),
        "EPCISQueryDocument" => {
            (&words::QUERY_DOCUMENT, "/epcisBody/queryResults/resultsBody/eventList")
        }
        _ => {
            found.tell("type", kind, "EPCISDocument or EPCISQueryDocument");
            return Err(found.faults);
        }
    };
    check(document, shape, "", &mut found);
    let version = document.get("schemaVersion").and_then(Value::as_str);
    if let Some(version) = version.filter(|version| version.split('.').next() != Some("2")) {
        found.tell("schemaVersion", version, "2.0");
    }
    let events = document.pointer(path).and_then(Value::as_array);
    match events {
        Some(events) if found.faults.is_empty() => Ok(events.clone()),
        Some(_) => Err(found.faults),
        None => {
            found.tell(path.trim_start_matches('/'), "absent", "an array of events");
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
        faults(&event, Context::Own, now()).into_iter().map(|fault| fault.place).collect()
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
            (
                |event| event["errorDeclaration"] = json!({}),
                &["errorDeclaration.declarationTime", "eventID"],
            ),
            (|event| event["ilmd"] = json!({"lot": 7}), &["ilmd.lot"]),
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
                &["action", "eventTime", "eventTimeZoneOffset", "@context"],
            ),
        ];
        for (spoil, expected) in table {
            assert_eq!(places(spoil), *expected);
        }
        for fine in
            ["ni:///sha-256;36ef?ver=CBV2.0", "urn:uuid:019aaa00-0006-7000-8000-000000000006"]
        {
            assert_eq!(places(|event| event["eventID"] = json!(fine)), Vec::<String>::new());
        }
        let many: Vec<String> = (0..5_001).map(|n| format!("urn:x:{n}")).collect();
        assert_eq!(places(|event| event["epcList"] = json!(many)), ["epcList"]);
    }

    #[test]
    fn a_document_is_told_from_what_is_none() {
        let document = json!({"@context": [], "type": "EPCISDocument", "schemaVersion": "2.0",
            "creationDate": "2026-11-22T07:12:31Z", "epcisBody": {"eventList": [1, 2]}});
        assert_eq!(events(&document).unwrap().len(), 2);
        for (member, value, place) in [
            ("type", json!("Document"), "type"),
            ("schemaVersion", json!("1.2"), "schemaVersion"),
            ("creationDate", json!(7), "creationDate"),
            ("epcisBody", json!({}), "epcisBody.eventList"),
            ("colour", json!({}), "colour"),
        ] {
            let mut document = document.clone();
            document[member] = value;
            assert_eq!(events(&document).unwrap_err()[0].place, place);
        }
        let answer = json!({"@context": [], "type": "EPCISQueryDocument", "epcisBody": {"queryResults": {
            "queryName": "x", "resultsBody": {"eventList": [1]}}}});
        assert_eq!(events(&answer).unwrap().len(), 1);
    }
}
