//! `config/waypost.toml` states the defaults; a bad file gives every problem in one report.

use std::fs;

use waypost::config::Config;

use crate::support::repository;

fn report(text: &str) -> String {
    Config::parse(text, "waypost.toml", &[]).unwrap_err().to_string()
}

#[test]
fn the_shipped_file_and_its_reference_are_what_the_agent_checks_against() {
    for (name, text) in [
        ("config/waypost.toml", Config::default_file()),
        ("docs/configuration.md", Config::reference()),
    ] {
        let path = repository(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let shipped = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(shipped, text, "UPDATE=1 rewrites {name}");
    }
}

#[test]
fn van_and_broker_are_all_that_must_be_filled_in() {
    let shipped = fs::read_to_string(repository("config/waypost.toml")).unwrap();
    assert_eq!(
        report(&shipped),
        "waypost.toml: not usable\n  \
         van.id: \"\" is not a van id: 1 to 64 of A-Z a-z 0-9 _ . : -\n  \
         mqtt.broker: \"\" is no broker: write mqtts://HOST[:PORT] or mqtt://HOST[:PORT]"
    );
    let filled = shipped
        .replace("id = \"\"", "id = \"VAN-042\"")
        .replace("broker = \"\"", "broker = \"mqtt://broker.example.com\"");
    let shipped = Config::parse(&filled, "waypost.toml", &[]).unwrap();
    let short = "van.id = \"VAN-042\"\nmqtt.broker = \"mqtt://broker.example.com\"";
    let defaults = Config::parse(short, "waypost.toml", &[]).unwrap();
    assert_eq!(format!("{shipped:?}"), format!("{defaults:?}"));
}

#[test]
fn every_problem_is_in_one_report_with_its_key_and_value_and_remedy() {
    let text = r#"
        [van]
        id = "van 42"
        [mqtt]
        broker = "http://broker"
        keep_alive_s = 5
        topic_root = "a/+/b"
        pasword_file = "/run/password"
        [gnss]
        source = "usb:0"
        baud = "fast"
        ublox.rate_hz = 20
        ublox.constellations = "GPS+Gallileo"
        [journey]
        depart_speed_mps = 0.6
        [outbox]
        path = ""
        [fleet]
        name = "x"
    "#;
    assert_eq!(
        report(text),
        r#"waypost.toml: not usable
  fleet: [fleet] is not a section of waypost
  mqtt.keep_alive_s: 5 is outside 10..=1200
  gnss.baud: "fast" is not a whole number
  gnss.ublox.rate_hz: 20 is outside 1..=10
  mqtt.pasword_file: is not a key of waypost: is mqtt.password_file meant?
  van.id: "van 42" is not a van id: 1 to 64 of A-Z a-z 0-9 _ . : -
  gnss.source: "usb:0" is none of serial:PATH, tcp:HOST:PORT, gpsd:HOST[:PORT], log:FILE, stdin:
  gnss.ublox.constellations: "Gallileo" is none of GPS, Galileo, BeiDou, GLONASS, joined by +
  journey.depart_speed_mps: 0.6 is not above stop_speed_mps (0.8)
  outbox.path: is empty: name the file
  mqtt.broker: "http://broker" is no broker: write mqtts://HOST[:PORT] or mqtt://HOST[:PORT]
  mqtt.topic_root: "a/+/b" cannot begin a topic: levels between single /, without + # $ and spaces"#
    );
}

#[test]
fn a_file_that_is_no_toml_is_reported_where_it_breaks() {
    let report = report("[van]\nid = VAN-042\n");
    assert!(
        report.starts_with(
            "waypost.toml: not usable\n  is not TOML: TOML parse error at line 2, column 6"
        ),
        "{report}"
    );
    assert!(
        !report.contains("mqtt.broker"),
        "nothing is said of a file that could not be read: {report}"
    );
}

#[test]
fn a_password_is_read_from_its_file_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "s3cret\n").unwrap();
    let text = |file: &str| {
        format!(
            "van.id = \"V\"\n[mqtt]\nbroker = \"mqtt://b\"\nusername = \"u\"\npassword_file = \"{file}\""
        )
    };
    let config = Config::parse(&text(file.to_str().unwrap()), "waypost.toml", &[]).unwrap();
    assert_eq!(config.relay.credentials.as_ref().unwrap().password, "s3cret");
    assert!(!format!("{config:?}").contains("s3cret"));
    let report = report(&text("/nowhere/password"));
    assert!(report.contains("mqtt.password_file: /nowhere/password: cannot be read"), "{report}");
}
