//! Canonical form of an event: equal for all ways to write the same event.
//!
//! As in the event hash of CBV 2.0 §8.9, times are instants in milliseconds, lists have no order,
//! numbers have one notation, GS1 keys are Digital Links, and prefixed names are full URIs.
//! Extensions keep the order of their lists, whose meaning is unknown.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::epc;
use waypost_model::units::UtcTime;

/// Members that do not belong to the identity of an event: what names it, and what repositories and
/// corrections add.
const NOT_CONTENT: [&str; 4] = ["@context", "eventID", "recordTime", "errorDeclaration"];

/// Members whose values are times.
const TIMES: [&str; 5] = ["eventTime", "declarationTime", "time", "startTime", "endTime"];

/// Returns the canonical form of the content of an event, without its id.
pub(in crate::integrations) fn content(event: &Value) -> Value {
    let mut members = event.as_object().cloned().unwrap_or_default();
    members.retain(|name, _| !NOT_CONTENT.contains(&name.as_str()));
    let prefixes = prefixes(event.get("@context"));
    standard(Value::Object(members), "", &prefixes)
}

/// Returns whether two events are the same: content, id and declaration of error.
pub(in crate::integrations) fn is_same(one: &Value, other: &Value) -> bool {
    let more = |event: &Value| {
        let prefixes = prefixes(event.get("@context"));
        let declared = event.get("errorDeclaration").cloned().unwrap_or_default();
        (event.get("eventID").cloned(), standard(declared, "", &prefixes))
    };
    one == other || more(one) == more(other) && content(one) == content(other)
}

/// Returns the canonical form of a declaration of error as text.
pub(in crate::integrations) fn standard_text(declaration: &Value) -> String {
    standard(declaration.clone(), "", &BTreeMap::new()).to_string()
}

/// Prefixes that a context declares.
fn prefixes(context: Option<&Value>) -> BTreeMap<String, String> {
    let contexts = match context {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let declared = contexts.iter().filter_map(Value::as_object).flatten();
    declared
        .filter_map(|(prefix, uri)| {
            let uri = uri.as_str().or_else(|| uri.get("@id")?.as_str())?;
            Some((prefix.clone(), uri.to_owned()))
        })
        .collect()
}

fn expand(name: &str, prefixes: &BTreeMap<String, String>) -> String {
    match name.split_once(':') {
        Some((prefix, rest)) if !rest.starts_with("//") => {
            prefixes.get(prefix).map_or_else(|| name.to_owned(), |uri| format!("{uri}{rest}"))
        }
        _ => name.to_owned(),
    }
}

/// Canonical form of the value of a member of EPCIS.
fn standard(value: Value, member: &str, prefixes: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(members) => {
            let mut canonical = BTreeMap::new();
            for (name, value) in members {
                if name.contains(':') || member == "ilmd" {
                    canonical.insert(expand(&name, prefixes), extension(value, prefixes));
                    continue;
                }
                // The only type of a sensor element, which most senders omit.
                if member == "sensorElementList" && name == "type" {
                    continue;
                }
                let value = standard(value, &name, prefixes);
                // An empty list says nothing.
                if value != json!([]) {
                    canonical.insert(name, value);
                }
            }
            Value::Object(Map::from_iter(canonical))
        }
        Value::Array(items) => {
            let mut items: Vec<Value> =
                items.into_iter().map(|item| standard(item, member, prefixes)).collect();
            items.sort_by_cached_key(Value::to_string);
            if items.iter().all(Value::is_string) {
                items.dedup();
            }
            // One certificate may be written without a list.
            match items.as_mut_slice() {
                [one] if member == "certificationInfo" => one.take(),
                _ => Value::Array(items),
            }
        }
        Value::String(text) if TIMES.contains(&member) => {
            Value::String(UtcTime::parse(&text).map_or(text, |time| time.to_string()))
        }
        Value::String(text) if member == "eventTimeZoneOffset" && text == "-00:00" => {
            json!("+00:00")
        }
        Value::String(text) if member == "stringValue" => Value::String(text),
        Value::String(text) if member == "hexBinaryValue" => {
            Value::String(text.to_ascii_lowercase())
        }
        Value::String(text) => Value::String(epc::canonical(&expand(&text, prefixes))),
        other => number(other),
    }
}

/// Canonical form of the value of an extension: only names and numbers have one.
fn extension(value: Value, prefixes: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(members) => {
            let members = members
                .into_iter()
                .map(|(name, value)| (expand(&name, prefixes), extension(value, prefixes)));
            Value::Object(Map::from_iter(members.collect::<BTreeMap<_, _>>()))
        }
        Value::Array(items) => items.into_iter().map(|item| extension(item, prefixes)).collect(),
        other => number(other),
    }
}

/// Canonical notation of a number: an integer if it is one.
fn number(value: Value) -> Value {
    /// Above it, floating-point numbers skip integers.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    match value.as_f64() {
        Some(float) if value.is_f64() && float.fract() == 0.0 && float.abs() < MAX_EXACT => {
            #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^53")]
            let integer = float as i64;
            json!(integer)
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Value {
        json!({"@context": ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld", {"shop": "https://shop.example/"}],
            "type": "ObjectEvent", "eventTime": "2026-11-22T07:12:31.250+01:00", "eventTimeZoneOffset": "+01:00",
            "action": "ADD", "epcList": ["urn:epc:id:sgtin:0614141.107346.2017", "urn:epc:id:sscc:0614141.1234567890"],
            "quantityList": [{"epcClass": "urn:epc:class:lgtin:4012345.012345.998877", "quantity": 200}],
            "readPoint": {"id": "urn:epc:id:sgln:0614141.07346.0"}, "certificationInfo": ["urn:x:c"],
            "sensorElementList": [{"sensorReport": [{"type": "Temperature", "value": 26.0, "time": "2026-11-22T06:00:00Z"}]}],
            "shop:shelf": {"shop:rows": [2, 1]}, "ilmd": {"shop:lot": 7}})
    }

    #[test]
    fn the_same_event_in_other_words_has_the_same_form() {
        let same = json!({"@context": {"store": "https://shop.example/"}, "eventID": "urn:x:7",
            "recordTime": "2026-11-22T08:00:00Z", "errorDeclaration": {"declarationTime": "2026-11-23T08:00:00Z"},
            "type": "ObjectEvent", "eventTime": "2026-11-22T06:12:31.25Z", "eventTimeZoneOffset": "+01:00",
            "action": "ADD", "epcList": ["https://example.com/00/106141412345678908",
                "https://id.gs1.org/01/10614141073464/21/2017"],
            "quantityList": [{"quantity": 200.0, "epcClass": "https://id.gs1.org/01/04012345123456/10/998877"}],
            "readPoint": {"id": "https://id.gs1.org/414/0614141073467"}, "certificationInfo": "urn:x:c",
            "bizTransactionList": [],
            "sensorElementList": [{"type": "epcis:SensorElement", "sensorReport": [{"type": "Temperature", "value": 26,
                "time": "2026-11-22T07:00:00.000+01:00"}]}],
            "store:shelf": {"https://shop.example/rows": [2, 1]}, "ilmd": {"https://shop.example/lot": 7.0}});
        assert_eq!(content(&same), content(&event()));
        assert!(!is_same(&same, &event()), "another id");
        let mut named = event();
        named["eventID"] = json!("urn:x:7");
        named["errorDeclaration"] = json!({"declarationTime": "2026-11-23T09:00:00+01:00"});
        assert!(is_same(&same, &named));
    }

    #[test]
    fn another_event_has_another_form() {
        for (member, value) in [
            ("eventTime", json!("2026-11-22T07:12:31.251+01:00")),
            ("eventTimeZoneOffset", json!("+02:00")),
            ("action", json!("OBSERVE")),
            ("epcList", json!(["urn:epc:id:sgtin:0614141.107346.2017"])),
            ("bizStep", json!("shipping")),
            ("shop:shelf", json!({"shop:rows": [1, 2]})),
            ("@context", json!({"shop": "https://other.example/"})),
            ("certificationInfo", json!(["urn:x:c", "urn:x:d"])),
        ] {
            let mut other = event();
            other[member] = value;
            assert_ne!(content(&other), content(&event()), "{member}");
        }
    }
}
