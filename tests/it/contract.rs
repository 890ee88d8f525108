//! Types, the documented payloads and the contract's own examples agree.

use std::fs;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use waypost_wire::payloads::{Ack, ConnectionStatus, Position, State, Track};

use crate::support::{repository, shared};

/// Parses `example` as `T` and serialises it again.
fn round_trip<T: Serialize + DeserializeOwned>(example: &Value) -> Value {
    let typed: T = serde_json::from_value(example.clone())
        .unwrap_or_else(|error| panic!("{error}: {example}"));
    serde_json::to_value(typed).unwrap()
}

fn by_topic(topic: &str, example: &Value) -> Value {
    match topic {
        "position" => round_trip::<Position>(example),
        "track" => round_trip::<Track>(example),
        "connection" => round_trip::<ConnectionStatus>(example),
        "state" => round_trip::<State>(example),
        "ack" => round_trip::<Ack>(example),
        other => panic!("no topic {other}"),
    }
}

#[test]
fn the_documented_payloads_are_what_the_agent_writes() {
    let text = fs::read_to_string(repository("docs/mqtt-contract.md")).unwrap();
    let mut seen = Vec::new();
    for block in text.split("```json ").skip(1) {
        let (topic, rest) = block.split_once('\n').unwrap();
        let example: Value = serde_json::from_str(rest.split("```").next().unwrap()).unwrap();
        assert_eq!(by_topic(topic, &example), example, "{topic}");
        seen.push(topic.to_owned());
    }
    seen.dedup();
    assert_eq!(seen, ["position", "track", "connection", "state", "ack"]);
}

#[test]
fn what_the_contract_shows_is_read_and_what_it_requires_is_written() {
    for (name, topic) in [
        ("position", "position"),
        ("track", "track"),
        ("connection", "connection"),
        ("connection_will", "connection"),
    ] {
        let Some(example) = shared(&format!("contract/example_{name}.json")) else { return };
        let example: Value = serde_json::from_str(&fs::read_to_string(example).unwrap()).unwrap();
        let written = by_topic(topic, &example);
        for (key, value) in written.as_object().unwrap() {
            if key != "points" {
                assert_eq!(value, &example[key], "{name}.{key}");
            }
        }
        let schema = shared(&format!("contract/schema_{topic}.json")).unwrap();
        let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
        for required in schema["required"].as_array().unwrap() {
            assert!(
                written.get(required.as_str().unwrap()).is_some(),
                "{name} must have {required}"
            );
        }
    }
}
