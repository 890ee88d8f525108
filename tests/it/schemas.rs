//! The types, `docs/contract/*.schema.json`, the examples beside them and `asyncapi.json` agree.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

use serde_json::{Value, json};
use waypost_wire::command::{self, CommandResultPayload};
use waypost_wire::epcis::{CONTENT_TYPE, CloudEvent, Identifiers, encode};
use waypost_wire::payloads::{Ack, ConnectionStatus, Position, State, Track};
use waypost_wire::{Topics, VanId, manifest};

use crate::support::event_samples::{EventDetail, delivery, records};
use crate::support::repository;
use crate::support::schema::{read_json, validation_errors};

/// Each payload: its schema, the level of its topic, its publisher, its QoS, and whether it is
/// retained.
const PAYLOADS: [(&str, &str, &str, u8, bool); 9] = [
    ("position", "position", "send", 0, false),
    ("track", "track", "send", 1, false),
    ("event", "event", "send", 1, false),
    ("connection", "connection", "send", 1, true),
    ("state", "state", "send", 1, true),
    ("manifest", "manifest", "receive", 1, true),
    ("command", "command", "receive", 1, false),
    ("command_result", "command/result", "send", 1, false),
    ("ack", "ack", "receive", 1, false),
];

fn contract(file: &str) -> PathBuf {
    repository("docs/contract").join(file)
}

/// Examples of members that exclude those of the files.
const MORE_EXAMPLES: &[(&str, &str)] = &[
    (
        "command",
        r#"{"v":1,"id":"5b3a1f0e-7c54-4d7e-9f3c-2a8d1e6b9c47","cmd":"report_now","args":{"parcel":"A"}}"#,
    ),
    (
        "command",
        r#"{"v":1,"id":"5b3a1f0e-7c54-4d7e-9f3c-2a8d1e6b9c47","cmd":"set_report_interval","args":{"interval_s":1,"duration_s":600}}"#,
    ),
    ("command", r#"{"v":1,"id":"5b3a1f0e-7c54-4d7e-9f3c-2a8d1e6b9c47","cmd":"flush_outbox"}"#),
    (
        "command",
        r#"{"v":1,"id":"5b3a1f0e-7c54-4d7e-9f3c-2a8d1e6b9c47","cmd":"show_message","args":{"text":"call us"}}"#,
    ),
    (
        "command",
        r#"{"v":1,"id":"5b3a1f0e-7c54-4d7e-9f3c-2a8d1e6b9c47","cmd":"set_duty","args":{"duty":"on"}}"#,
    ),
    (
        "command",
        r#"{"v":1,"id":"5b3a1f0e-7c54-4d7e-9f3c-2a8d1e6b9c47","cmd":"set_delay","args":{"reason":"weather","delay_s":900}}"#,
    ),
    ("command", r#"{"v":1,"id":"5b3a1f0e-7c54-4d7e-9f3c-2a8d1e6b9c47","cmd":"clear_delay"}"#),
    (
        "state",
        r#"{"v":1,"van":"VAN-042","ts":"2026-11-22T09:41:10.000Z","duty":"off","gnss":{"receiver":"gone","error":"No such device","warning":"jamming","mode":1,"sentences_bad":2,"fixes_rejected":0},"outbox":{"pending":0,"dropped":0,"bytes":4096}}"#,
    ),
];

fn schema(name: &str) -> PathBuf {
    contract(&format!("{name}.schema.json"))
}

fn example(name: &str) -> Value {
    read_json(&contract(&format!("{name}.example.json")))
}

fn names() -> Identifiers {
    Identifiers {
        van: "https://id.gs1.org/8004/9521234VAN042".to_owned(),
        gateway: Some("https://id.gs1.org/8004/9521234GW000317".to_owned()),
        ..Identifiers::new("id.example.com", &VanId::new("VAN-042").unwrap()).unwrap()
    }
}

/// Parses `value` with the payload's type and serialises it again; `None` if the agent only reads
/// it.
fn written(name: &str, value: &Value) -> Option<Value> {
    let bytes = value.to_string();
    let value = value.clone();
    let read = "the type reads it";
    Some(match name {
        "position" => json!(serde_json::from_value::<Position>(value).expect(read)),
        "track" => json!(serde_json::from_value::<Track>(value).expect(read)),
        "event" => json!(serde_json::from_value::<CloudEvent>(value).expect(read)),
        "connection" => json!(serde_json::from_value::<ConnectionStatus>(value).expect(read)),
        "state" => json!(serde_json::from_value::<State>(value).expect(read)),
        "ack" => json!(serde_json::from_value::<Ack>(value).expect(read)),
        "command_result" => {
            json!(serde_json::from_value::<CommandResultPayload>(value).expect(read))
        }
        "manifest" => {
            manifest::parse(bytes.as_bytes()).expect(read).expect("it is not empty");
            return None;
        }
        "command" => {
            command::parse(bytes.as_bytes()).expect(read);
            return None;
        }
        _ => return None,
    })
}

/// Collects the paths of members of `value` that the schema does not declare.
fn undeclared(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let Some(properties) = schema.get("properties") else { return };
            for (key, member) in members {
                let path = format!("{path}.{key}");
                let mut variants = schema["oneOf"].as_array().into_iter().flatten();
                let of_variant = variants
                    .find(|variant| variant["properties"]["cmd"]["const"] == value["cmd"])
                    .and_then(|variant| variant["properties"].get(key));
                match properties.get(key).or(of_variant) {
                    Some(schema) => undeclared(schema, member, &path, found),
                    None if key.starts_with("waypost:")
                        && schema["additionalProperties"] == true => {}
                    None => found.push(path),
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for item in items {
                undeclared(schema, item, &format!("{path}[]"), found);
            }
        }
        _ => (),
    }
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let generated = waypost_wire::schema::schemas();
    assert_eq!(generated.len(), PAYLOADS.len());
    for (name, generated) in generated {
        let file = schema(name);
        if env::var_os("UPDATE").is_some() {
            fs::write(&file, serde_json::to_string_pretty(&generated).unwrap() + "\n").unwrap();
        }
        assert_eq!(read_json(&file), generated, "{name}: UPDATE=1 rewrites the schema");
    }
}

#[test]
fn the_example_of_an_event_is_what_is_written() {
    let event: Value = serde_json::from_slice(&encode(&delivery(), &names())).unwrap();
    let file = contract("event.example.json");
    if env::var_os("UPDATE").is_some() {
        let event: CloudEvent = serde_json::from_value(event.clone()).unwrap();
        fs::write(&file, serde_json::to_string_pretty(&event).unwrap() + "\n").unwrap();
    }
    assert_eq!(read_json(&file), event, "UPDATE=1 rewrites the example");
}

#[test]
fn each_example_is_valid_and_a_member_less_is_not() {
    for (name, ..) in PAYLOADS {
        let example = example(name);
        let mut documents = vec![example.clone()];
        for member in read_json(&schema(name))["required"].as_array().unwrap() {
            let mut less = example.clone();
            less.as_object_mut().unwrap().remove(member.as_str().unwrap()).expect("it was there");
            documents.push(less);
        }
        let Some(complaints) = validation_errors(&schema(name), &documents) else { return };
        assert_eq!(complaints[0], "", "{name}");
        for (document, complaint) in documents.iter().zip(complaints).skip(1) {
            assert_ne!(complaint, "", "{name}: {document}");
        }
    }
}

/// Collects the paths of the members that the schema declares.
fn declared(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        declared(property, &path, found);
        found.insert(path);
    }
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        declared(variant, path, found);
    }
    if schema["items"].is_object() {
        declared(&schema["items"], &format!("{path}[]"), found);
    }
}

/// Collects the paths of the members that a document has.
fn present(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = format!("{path}.{name}");
                present(member, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| present(item, &format!("{path}[]"), found));
        }
        _ => {}
    }
}

/// Returns the payloads in docs/mqtt-contract.md, each with its name, in their order.
fn documented() -> Vec<(String, Value)> {
    let text = fs::read_to_string(repository("docs/mqtt-contract.md")).unwrap();
    let block = |block: &str| {
        let (name, rest) = block.split_once('\n').unwrap();
        let (document, _) = rest.split_once("```").unwrap();
        (name.to_owned(), serde_json::from_str(document).unwrap())
    };
    text.split("```json ").skip(1).map(block).collect()
}

#[test]
fn the_documented_payloads_are_what_the_agent_writes() {
    let documented = documented();
    for (name, document) in &documented {
        let written = written(name, document).expect("the agent writes it");
        assert_eq!(written, *document, "{name}");
    }
    let mut names: Vec<&str> = documented.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(names, ["position", "track", "connection", "state", "ack", "command_result"]);
}

#[test]
fn each_documented_payload_is_valid_and_each_member_occurs_in_one() {
    for (name, ..) in PAYLOADS {
        let mut documents = vec![example(name)];
        documents.extend(documented().into_iter().filter(|(of, _)| of == name).map(|(_, it)| it));
        documents.extend(
            MORE_EXAMPLES
                .iter()
                .filter(|(of, _)| *of == name)
                .map(|(_, text)| serde_json::from_str::<Value>(text).unwrap()),
        );
        if name == "event" {
            let message = |record| serde_json::from_slice(&encode(&record, &names())).unwrap();
            documents.extend(EventDetail::ALL.into_iter().flat_map(records).map(message));
        }
        let schema_value = read_json(&schema(name));
        let (mut wanted, mut found) = (BTreeSet::new(), BTreeSet::new());
        declared(&schema_value, name, &mut wanted);
        for document in &documents {
            present(document, name, &mut found);
        }
        let missing: Vec<&String> = wanted.difference(&found).collect();
        assert!(missing.is_empty(), "{name}: no example has {missing:?}");
        let Some(complaints) = validation_errors(&schema(name), &documents) else { return };
        for (document, complaint) in documents.iter().zip(complaints) {
            assert_eq!(complaint, "", "{name}: {document}");
        }
    }
}

#[test]
fn whatever_happens_is_valid_by_our_schema_too() {
    let message = |record| serde_json::from_slice(&encode(&record, &names())).unwrap();
    let messages: Vec<Value> =
        EventDetail::ALL.into_iter().flat_map(records).map(message).collect();
    let declared = read_json(&schema("event"));
    for message in &messages {
        let mut found = Vec::new();
        undeclared(&declared, message, "event", &mut found);
        assert_eq!(found, Vec::<String>::new(), "{message}");
    }
    let Some(complaints) = validation_errors(&schema("event"), &messages) else { return };
    for (message, complaint) in messages.iter().zip(complaints) {
        assert_eq!(complaint, "", "{message}");
    }
}

#[test]
fn types_and_schemas_name_the_same_members() {
    for (name, ..) in PAYLOADS {
        let declared = read_json(&schema(name));
        let example = example(name);
        let mut found = Vec::new();
        undeclared(&declared, &example, name, &mut found);
        assert_eq!(found, Vec::<String>::new());
        let Some(written) = written(name, &example) else { continue };
        assert_eq!(written, example, "{name}");
        for required in declared["required"].as_array().unwrap() {
            let required = required.as_str().unwrap();
            assert!(written.get(required).is_some(), "{name}.{required} is not written");
        }
    }
}

#[test]
fn the_asyncapi_document_has_each_topic_as_the_agent_uses_it() {
    let document = read_json(&contract("asyncapi.json"));
    assert_eq!(document["asyncapi"], "3.0.0");
    let operations: Vec<&Value> = document["operations"].as_object().unwrap().values().collect();
    assert_eq!(operations.len(), PAYLOADS.len());
    let channels = document["channels"].as_object().unwrap();
    let expected: BTreeSet<&str> = PAYLOADS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(channels.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    for (name, level, action, qos, retain) in PAYLOADS {
        let channel = &channels[name];
        assert_eq!(channel["address"], format!("fleet/v1/{{van}}/{level}"));
        assert!(channel["parameters"]["van"].is_object(), "{name}");
        let message = &channel["messages"][name];
        let content = if name == "event" { CONTENT_TYPE } else { "application/json" };
        assert_eq!(message["contentType"], content, "{name}");
        let reference = message["payload"]["schema"]["$ref"].as_str().unwrap();
        assert_eq!(contract(reference).canonicalize().unwrap(), schema(name));
        let path = format!("#/channels/{name}");
        let operation = operations.iter().find(|o| o["channel"]["$ref"] == path).unwrap();
        assert_eq!(operation["action"], action, "{name}");
        assert_eq!(operation["bindings"]["mqtt"]["qos"], qos, "{name}");
        assert_eq!(operation["bindings"]["mqtt"]["retain"], retain, "{name}");
        for message in operation["messages"].as_array().unwrap() {
            let pointer = message["$ref"].as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
    let topics = Topics::new("fleet", &VanId::new("VAN-042").unwrap());
    for topic in [
        topics.position,
        topics.track,
        topics.event,
        topics.connection,
        topics.state,
        topics.manifest,
        topics.command,
        topics.command_result,
        topics.ack,
    ] {
        let address = topic.replace("VAN-042", "{van}");
        assert!(channels.values().any(|channel| channel["address"] == address), "{address}");
    }
}
