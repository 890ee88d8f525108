//! Checks that the references in docs/hazards.md exist, and checks the sources for hazards that no
//! run can show.

use std::fs;

use waypost::config::{Config, Override};

use crate::support::{repository, rust_files};

fn proof(script: &str) -> Option<String> {
    fs::read_to_string(repository(&format!("benches/proof/{script}.py"))).ok()
}

#[test]
fn every_test_that_the_hazards_name_exists() {
    let table = fs::read_to_string(repository("docs/hazards.md")).unwrap();
    let mut files = Vec::new();
    rust_files(&repository("src"), &mut files);
    rust_files(&repository("tests"), &mut files);
    rust_files(&repository("crates"), &mut files);
    let sources: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut numbers = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let Ok(number) = cells[0].trim().parse::<u32>() else { continue };
        numbers.push(number);
        let named: Vec<&str> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{number} has no test");
        for name in named {
            match name.split_once(".py") {
                None => assert!(sources.contains(&format!("fn {name}(")), "{number}: no {name}"),
                Some((script, "")) => assert!(proof(script).is_some(), "{number}: no {name}"),
                Some((_, scenario)) => {
                    let function = format!("def {}(", scenario.trim());
                    let scripts = ["broker", "stages"].into_iter().filter_map(proof);
                    assert!(scripts.into_iter().any(|text| text.contains(&function)), "no {name}");
                }
            }
        }
    }
    assert!(numbers.iter().copied().eq(1..=24), "{numbers:?}");
}

#[test]
fn the_client_is_asked_for_nothing_that_waits_or_needs_an_alias() {
    let client: String = ["src/uplink/mqtt/v5.rs", "src/uplink/mqtt/v4.rs", "src/uplink/mqtt.rs"]
        .iter()
        .map(|file| fs::read_to_string(repository(file)).unwrap())
        .collect();
    assert!(client.contains(".try_publish("));
    for banned in [".publish(", ".publish_bytes(", "disconnect().await", "topic_alias"] {
        assert!(!client.contains(banned), "src/uplink/mqtt.rs contains {banned}");
    }
}

#[test]
fn a_root_that_makes_no_topic_is_refused_at_the_start() {
    let parse = |root: &str| {
        let set = |key, value: &str| Override { key, value: value.to_owned() };
        let overrides = [
            set("van.id", "VAN-042"),
            set("mqtt.broker", "mqtt://broker"),
            set("mqtt.topic_root", root),
        ];
        Config::parse("", "test", &overrides)
    };
    assert!(parse("fleet/north").is_ok());
    let long = "x".repeat(200);
    for bad in ["", "/fleet", "fleet/", "a//b", "fleet/+", "#", "$share", "fleet north", &long] {
        let error = parse(bad).expect_err(bad).to_string();
        assert!(error.contains("mqtt.topic_root"), "{bad:?}: {error}");
    }
}
