//! Messages on `event` are valid EPCIS 2.0 by GS1's own schema.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use waypost_wire::VanId;
use waypost_wire::epcis::{Identifiers, decode, encode};

use crate::support::event_samples::{EventDetail, records};
use crate::support::schema::{epcis_schema, read_json, validation_errors};
use crate::support::{repository, shared};

fn names() -> Identifiers {
    let van = VanId::new("VAN-042").unwrap();
    Identifiers {
        van: "https://id.gs1.org/8004/9521234VAN042".to_owned(),
        gateway: Some("https://id.gs1.org/8004/9521234GW000317".to_owned()),
        ..Identifiers::new("id.example.com", &van).unwrap()
    }
}

/// Returns every kind of event at every level of detail, with all URI schemes or the minimum.
fn messages() -> Vec<Value> {
    let least = Identifiers::new("id.example.com", &VanId::new("VAN-042").unwrap()).unwrap();
    let mut messages = Vec::new();
    for (telling, names) in
        [(EventDetail::Full, &names()), (EventDetail::Bare, &least), (EventDetail::Strange, &least)]
    {
        names.check().unwrap();
        let encoded = records(telling).into_iter().map(|record| encode(&record, names));
        messages.extend(encoded.map(|payload| serde_json::from_slice::<Value>(&payload).unwrap()));
    }
    messages
}

fn files(folder: &str) -> Option<Vec<(String, Value)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(shared(folder)?).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files.push((path.display().to_string(), read_json(&path)));
        }
    }
    Some(files)
}

#[test]
fn whatever_happens_is_a_valid_event_of_epcis() {
    let Some(schema) = epcis_schema() else { return };
    let events: Vec<Value> =
        messages().into_iter().map(|message| message["data"].clone()).collect();
    let Some(complaints) = validation_errors(&schema, &events) else { return };
    for (event, complaint) in events.iter().zip(complaints) {
        assert_eq!(complaint, "", "{event:#}");
    }
}

#[test]
fn the_schema_refuses_what_must_be_refused_and_nothing_else() {
    let Some(schema) = epcis_schema() else { return };
    for (folder, number, valid) in [("epcis", 16, true), ("epcis/invalid", 9, false)] {
        let Some(files) = files(folder) else { return };
        assert_eq!(files.len(), number, "{folder}");
        let (names, documents): (Vec<String>, Vec<Value>) = files.into_iter().unzip();
        let Some(complaints) = validation_errors(&schema, &documents) else { return };
        for (name, complaint) in names.iter().zip(complaints) {
            assert_eq!(complaint.is_empty(), valid, "{name}: {complaint:?}");
        }
    }
}

#[test]
fn whatever_happens_is_read_again_to_the_last_member() {
    for message in messages() {
        let read = decode(message.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), message);
    }
}

#[test]
fn each_kind_of_event_is_in_the_documentation() {
    let documentation = fs::read_to_string(repository("docs/mqtt-contract.md")).unwrap();
    let kinds: BTreeSet<String> = messages()
        .iter()
        .map(|message| message["type"].as_str().unwrap().to_owned())
        .map(|kind| {
            let kind = kind.strip_prefix("org.w3id.waypost.").unwrap();
            kind.strip_suffix(".v1").unwrap().to_owned()
        })
        .collect();
    assert_eq!(kinds.len(), 13, "{kinds:?}");
    for kind in kinds {
        assert!(documentation.contains(&format!("| `{kind}` |")), "{kind}");
    }
}

#[test]
fn each_extension_is_in_the_documentation() {
    fn extensions(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    found.extend(key.strip_prefix("waypost:").map(str::to_owned));
                    extensions(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| extensions(item, found)),
            _ => (),
        }
    }
    let documentation = fs::read_to_string(repository("docs/mqtt-contract.md")).unwrap();
    let mut found = BTreeSet::new();
    for message in messages() {
        extensions(&message, &mut found);
    }
    for name in found {
        assert!(documentation.contains(&format!("`waypost:{name}`")), "waypost:{name}");
    }
}
