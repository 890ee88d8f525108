//! JSON Schemas (draft-07) of the payloads, generated from the types. `docs/contract/` has them as
//! files; a test keeps both equal.
//!
//! The types give names, kinds and descriptions. What a type cannot say is added by member name,
//! because names carry their units and have one meaning everywhere.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::command::{CommandMessage, CommandResultPayload};
use super::epcis::CloudEvent;
use super::payloads::{Ack, ConnectionStatus, Position, State, Track};
use waypost_model::manifest::RawManifest;

/// Returns the name and the schema of each payload.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("position", without_backlog(schema::<Position>("Newest fix, on position"))),
        ("track", schema::<Track>("Batch of stored fixes, on track")),
        ("event", schema::<CloudEvent>("CloudEvent with one EPCIS 2.0 event, on event")),
        ("connection", schema::<ConnectionStatus>("Connection state, retained on connection")),
        ("state", schema::<State>("State of the agent, retained on state")),
        ("ack", schema::<Ack>("Records that the backend has stored, on ack, never retained")),
        (
            "manifest",
            with_version(schema::<RawManifest>(
                "Route, retained on manifest; an empty payload withdraws it",
            )),
        ),
        (
            "command",
            with_optional_arguments(schema::<CommandMessage>(
                "Command, on command, never retained",
            )),
        ),
        (
            "command_result",
            schema::<CommandResultPayload>("Result of a command, on command/result"),
        ),
    ]
}

fn schema<T: JsonSchema>(title: &str) -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
    schema["title"] = title.into();
    refine(&mut schema);
    schema
}

/// The agent reads `v` of a manifest before the rest.
fn with_version(mut schema: Value) -> Value {
    let version = json!({"const": super::VERSION, "description": "Payload version: 1."});
    schema["properties"]["v"] = version;
    if let Some(required) = schema["required"].as_array_mut() {
        required.insert(0, "v".into());
    }
    schema
}

/// A live position is never sent later.
fn without_backlog(mut schema: Value) -> Value {
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.remove("backlog");
    }
    schema
}

/// `report_now` has an optional argument only, so `args` may be absent.
fn with_optional_arguments(mut schema: Value) -> Value {
    for variant in schema["oneOf"].as_array_mut().into_iter().flatten() {
        let is_required = !variant["properties"]["args"]["required"].is_null();
        if let Some(required) = variant["required"].as_array_mut() {
            required.retain(|name| name != "args" || is_required);
        }
    }
    schema
}

/// Adapts a schema to the rules of the contract: absent members are never null, readers accept
/// unknown members and unknown values of an enumeration, and names imply formats and ranges.
fn refine(schema: &mut Value) {
    if let Value::Array(items) = schema {
        items.iter_mut().for_each(refine);
        return;
    }
    let Value::Object(members) = schema else { return };
    remove_null(members);
    if let Some(Value::String(text)) = members.get_mut("description") {
        // Line breaks and links are those of the source text.
        *text = text.replace('\n', " ").replace("[`", "`").replace("`]", "`");
    }
    // Formats of numbers, which are not part of JSON Schema.
    if members.get("format").and_then(Value::as_str).is_some_and(|format| format != "date-time") {
        members.remove("format");
    }
    // Defaults repeat what `absent` means.
    members.remove("default");
    if members.contains_key("properties") && !members.contains_key("additionalProperties") {
        members.insert("additionalProperties".to_owned(), true.into());
    }
    if open_enumeration(members) {
        return;
    }
    for (name, member) in members.iter_mut() {
        match (name.as_str(), member) {
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties.iter_mut() {
                    refine(property);
                    constrain(name, property);
                }
            }
            ("items" | "anyOf" | "oneOf" | "allOf", member) => refine(member),
            _ => {}
        }
    }
}

/// Removes `null` from the types: writers omit absent members.
fn remove_null(members: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(variants)) = members.get_mut("enum") {
        variants.retain(|value| !value.is_null());
    }
    let Some(Value::Array(variants)) = members.get_mut("anyOf") else { return };
    variants.retain(|variant| variant["type"] != "null");
    if let [only] = variants.as_slice() {
        let only = only.as_object().cloned().unwrap_or_default();
        members.remove("anyOf");
        // The description of the member is more specific than that of its type.
        for (name, value) in only {
            members.entry(name).or_insert(value);
        }
    }
}

/// Enumerations of texts are open: a reader treats an unknown value as if the member were absent.
/// Command names are tags of objects and stay closed. Returns whether it was one.
fn open_enumeration(members: &mut Map<String, Value>) -> bool {
    let is_text = |variant: &Value| {
        variant.get("const").is_some_and(Value::is_string) || variant.get("enum").is_some()
    };
    let of_one = members.get("oneOf").and_then(Value::as_array);
    let values: Vec<Value> = match (members.get("enum"), of_one) {
        (Some(Value::Array(values)), _) => values.clone(),
        (_, Some(variants)) if variants.iter().all(is_text) => variants
            .iter()
            .flat_map(|variant| match (&variant["const"], &variant["enum"]) {
                (Value::Null, Value::Array(values)) => values.clone(),
                (value, _) => vec![value.clone()],
            })
            .collect(),
        _ => return false,
    };
    members.remove("enum");
    members.remove("oneOf");
    members.remove("type");
    members.insert("anyOf".to_owned(), json!([{"enum": values}, {"type": "string"}]));
    true
}

/// Adds what the name of a member says about its value.
fn constrain(name: &str, property: &mut Value) {
    let Value::Object(members) = property else { return };
    let description = members.get("description").and_then(Value::as_str).unwrap_or_default();
    let is_text = members.get("type").is_some_and(|kind| kind == "string");
    let additions = match name {
        "v" => {
            let description = description.to_owned();
            members.clear();
            json!({"const": super::VERSION, "description": description})
        }
        "specversion" => json!({"const": "1.0"}),
        "van" => json!({"pattern": "^[A-Za-z0-9_.:-]{1,64}$"}),
        "ts" | "eventTime" | "declarationTime" | "expires" | "from" | "until" | "oldest_ts"
        | "complete_until_ts" | "last_seen_ts" | "last_scan" | "valid_from" | "valid_until" => {
            json!({"format": "date-time"})
        }
        // `gnss.time` is the trust in the time.
        "time" if is_text && !description.contains("Trust") => json!({"format": "date-time"}),
        "service_date" => json!({"format": "date"}),
        "utc_offset" | "eventTimeZoneOffset" => json!({"pattern": "^[+-][0-9]{2}:[0-9]{2}$"}),
        "lat" => json!({"minimum": -90, "maximum": 90}),
        "lon" => json!({"minimum": -180, "maximum": 180}),
        "course_deg" => json!({"minimum": 0, "exclusiveMaximum": 360}),
        "radius_m" => json!({"minimum": 20, "maximum": 5000}),
        "speed_mps" | "acc_m" | "odo_m" | "distance_m" | "max_error_m" | "hdop" => {
            json!({"minimum": 0})
        }
        "line_percent" => json!({"maximum": 100}),
        "sequence" | "previoussequence" => json!({"pattern": "^[0-9]{12,20}$"}),
        "type" if description.contains("org.w3id") => {
            let kinds = "(device|route|parcel|stop|van|event)";
            json!({"pattern": format!(r"^org\.w3id\.waypost\.{kinds}\.[a-z_]+\.v1$")})
        }
        "points" => json!({"minItems": 1, "maxItems": 500}),
        "ranges" => json!({"maxItems": 64}),
        "stops" => json!({"maxItems": 1000}),
        "rfid" => json!({"maxItems": 8}),
        "route" | "stop" => json!({"minLength": 1, "maxLength": 64}),
        "number" | "parcel" => json!({"minLength": 1, "maxLength": 128}),
        "rev" => json!({"minimum": 1, "maximum": u32::MAX}),
        "interval_s" => json!({"minimum": 1, "maximum": 3600}),
        "duration_s" | "delay_s" => json!({"minimum": 1, "maximum": 86_400}),
        "service_s" => json!({"maximum": 86_400}),
        "text" | "safe_place" | "neighbour" => json!({"minLength": 1, "maxLength": 200}),
        _ => return,
    };
    if let Value::Object(additions) = additions {
        members.extend(additions);
    }
}
