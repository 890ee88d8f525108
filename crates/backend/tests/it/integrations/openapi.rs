//! docs/backend/openapi.json against the served routes and against the types.

use std::collections::BTreeSet;
use std::fs;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use waypost_backend::tracking::dispatcher::{HistoryView, TraceView, VanView};
use waypost_backend::tracking::parcel::{DeliveryPreference, ParcelView, SubscriptionView};

use super::site::Site;
use crate::support::backend::StoreLocation;
use crate::support::repository;
use crate::support::schema::{read_json, validation_errors};

fn described() -> Value {
    read_json(&repository("docs/backend/openapi.json"))
}

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "options"];

#[tokio::test]
async fn each_path_and_method_is_served() {
    let place = StoreLocation::sqlite();
    let site = Site::start(place.open().await).await;
    let served = site.get("", "/api/v1/openapi.json").await;
    assert_eq!((served.status, served.json), (200, described()));
    for (path, methods) in described()["paths"].as_object().unwrap() {
        // Operational paths are not part of the API.
        if path == "/healthz" || path == "/metrics" {
            continue;
        }
        let asked: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        for method in METHODS.iter().filter(|method| methods.get(**method).is_some()) {
            let request = format!("{} {asked}", method.to_uppercase());
            let answer = site.request("", &request, None).await;
            let nowhere = answer.status == 405 || answer.json["detail"] == json!("unknown path");
            assert!(!nowhere, "{request}: {}", answer.text);
        }
    }
}

#[test]
fn each_path_that_is_served_is_described() {
    let document = described();
    let paths: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut found = 0;
    for part in ["http", "integrations"] {
        let folder = repository("crates/backend/src").join(part);
        let inside = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        for file in inside.chain([folder.with_extension("rs")]) {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            for route in text.split(".route(").skip(1) {
                // A line that does not start with text is not a path.
                let Some(path) = route.trim_start().strip_prefix('"') else { continue };
                let path = path.split('"').next().unwrap();
                if path != "/" {
                    assert!(paths.contains(path), "{path} of {} is not documented", file.display());
                    found += 1;
                }
            }
        }
    }
    assert!(found > 20, "only {found} paths");
}

#[test]
fn examples_are_what_the_types_read_and_write() {
    fn same<T: Serialize + DeserializeOwned>(document: &Value, name: &str) {
        let example = &document["components"]["schemas"][name]["example"];
        let read: T = serde_json::from_value(example.clone())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(&serde_json::to_value(read).unwrap(), example, "{name}");
        let said: BTreeSet<&String> = example.as_object().unwrap().keys().collect();
        let described = document["components"]["schemas"][name]["properties"].as_object().unwrap();
        assert!(said.iter().all(|member| described.contains_key(*member)), "{name}");
    }
    let document = described();
    same::<ParcelView>(&document, "ParcelView");
    same::<VanView>(&document, "VanView");
    same::<HistoryView>(&document, "DayView");
    same::<TraceView>(&document, "TraceView");
    same::<SubscriptionView>(&document, "AlertView");
    same::<DeliveryPreference>(&document, "Wish");
}

#[test]
fn examples_are_valid_by_their_schemas() {
    let document = described();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let Some(example) = schema.get("example") else { continue };
        let mut whole = schema.clone();
        whole["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        whole["components"] = document["components"].clone();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("schema.json");
        fs::write(&file, whole.to_string()).unwrap();
        let Some(said) = validation_errors(&file, std::slice::from_ref(example)) else { return };
        assert_eq!(said, [""], "{name}");
    }
}
