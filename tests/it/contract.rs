//! The documented payloads are what the types write.

use std::fs;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use waypost_wire::command::CommandResultPayload;
use waypost_wire::payloads::{Ack, ConnectionStatus, Position, State, Track};

use crate::support::repository;

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
        "command_result" => round_trip::<CommandResultPayload>(example),
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
    assert_eq!(seen, ["position", "track", "connection", "state", "ack", "command_result"]);
}
