//! `config/waypost-backend.toml` states the defaults, and a report lists every problem of a file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use waypost_backend::config::{Config, Scope, StoreConfig};

use crate::support::repository;

fn report(text: &str) -> String {
    Config::parse(text, "waypost-backend.toml", &[]).unwrap_err().to_string()
}

const SHORT: &str = "mqtt.broker = \"mqtt://b\"\nparcels.domain = \"id.example.com\"\n";

#[test]
fn the_shipped_file_and_its_reference_are_what_the_backend_checks_against() {
    for (name, text) in [
        ("config/waypost-backend.toml", Config::default_file()),
        ("docs/backend/configuration.md", Config::reference()),
    ] {
        let path = repository(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let shipped = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(shipped, text, "UPDATE=1 rewrites {name}");
    }
}

#[test]
fn broker_and_domain_are_all_that_must_be_filled_in() {
    let shipped = fs::read_to_string(repository("config/waypost-backend.toml")).unwrap();
    assert_eq!(
        report(&shipped),
        "waypost-backend.toml: invalid configuration\n  \
         mqtt.broker: \"\" is not a broker URL; use mqtts://HOST[:PORT] or mqtt://HOST[:PORT]\n  \
         parcels.domain: \"\" is not a domain; set it to delivery.domain of the vans, such as id.example.com"
    );
    let filled = shipped
        .replace("broker = \"\"", "broker = \"mqtt://b\"")
        .replace("\ndomain = \"\"", "\ndomain = \"id.example.com\"");
    let filled = Config::parse(&filled, "x", &[]).unwrap();
    let defaults = Config::parse(SHORT, "x", &[]).unwrap();
    assert_eq!(format!("{filled:?}"), format!("{defaults:?}"));
    assert_eq!(defaults.http.public_url, "http://127.0.0.1:8080");
}

#[test]
fn every_problem_is_in_one_report_with_its_key_and_value_and_remedy() {
    let text = r#"
        [store]
        url = "postgresql://me:s3cret@db/waypost"
        [mqtt]
        broker = "broker"
        topic_root = "a/#"
        client_id = "a b"
        pasword_file = "/run/x"
        [http]
        listen = "8080"
        cert_file = "/x.crt"
        public_url = "track.example.com"
        [parcels]
        domain = "Example"
        [exposure]
        max_stops_away = 1000
        [alerts]
        smtp_url = "mail.example.com"
        time_zone = "Europe/Munich"
        [pages]
        tiles = "http://tiles"
        [[token]]
        name = "desk"
        sha256 = "0123"
        scopes = "desk, admin"
    "#;
    assert_eq!(
        report(text),
        r#"waypost-backend.toml: invalid configuration
  exposure.max_stops_away: 1000 is outside 0..=100
  mqtt.pasword_file: is not a key of waypost-backend: did you mean mqtt.password_file?
  store.url: contains a password; move it to store.password_file
  mqtt.broker: "broker" is not a broker URL; use mqtts://HOST[:PORT] or mqtt://HOST[:PORT]
  mqtt.client_id: "a b" is not a valid name; use 1 to 64 characters of A-Z a-z 0-9 _ . -
  mqtt.topic_root: "a/#" is not a topic prefix; use levels separated by single /, without + # $ and spaces
  http.listen: "8080" is not an address and port; use one such as 127.0.0.1:8080
  http.key_file: is required with http.cert_file
  http.public_url: "track.example.com" is not a site URL; use one such as https://track.example.com
  token[1].sha256: is not a SHA-256; use 64 hexadecimal digits, as printed by `waypost-backend token`
  token[1].scopes: "admin" is not one of routes, capture, retract, events, desk, metrics
  parcels.domain: "Example" is not a domain; set it to delivery.domain of the vans, such as id.example.com
  alerts.time_zone: "Europe/Munich" is not a time zone; use a name such as Europe/Berlin or UTC
  alerts.smtp_url: "mail.example.com" is not an SMTP URL; use smtp://HOST[:PORT], smtps://HOST[:PORT] or smtp+starttls://HOST[:PORT]
  pages.tiles: "http://tiles" is not a tile URL; use https://HOST/{z}/{x}/{y}.png"#
    );
}

#[test]
fn a_secret_is_read_from_its_file_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "s3 cret\n").unwrap();
    let text = format!(
        "{SHORT}store.url = \"postgresql://me@db/waypost\"\nstore.password_file = {file:?}\n\
         mqtt.username = \"u\"\nmqtt.password_file = {file:?}\nalerts.smtp_password_file = {file:?}\n"
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(report(&text).matches("readable by all users").count(), 3);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let config = Config::parse(&text, "x", &[]).unwrap();
    assert_eq!(config.mqtt.password.as_deref(), Some("s3 cret"));
    let url = "postgresql://me@db/waypost?password=s3%20cret".to_owned();
    assert_eq!(config.store, StoreConfig::Postgres(url));
    assert!(!format!("{config:?}").contains("cret"));
}

#[test]
fn commands_on_the_store_need_no_secret_of_another_part() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backend.toml");
    let absent =
        "mqtt.username = \"me\"\nmqtt.password_file = \"/nonexistent\"\nstore.path = \"/b.db\"\n";
    fs::write(&file, format!("{SHORT}{absent}")).unwrap();
    assert!(Config::load(&file).unwrap_err().to_string().contains("mqtt.password_file"));
    let (store, domain) = Config::load_store(&file).unwrap();
    assert_eq!(store, StoreConfig::Sqlite("/b.db".into()));
    assert!(!domain.is_empty());
}

#[test]
fn tokens_are_as_many_as_there_are_tables() {
    let hash = "0".repeat(64);
    let table = |name: &str| {
        format!("[[token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nscopes = \"desk, events\"\n")
    };
    let config = Config::parse(&format!("{SHORT}{}", table("a")), "x", &[]).unwrap();
    assert_eq!(config.tokens[0].scopes, [Scope::Desk, Scope::Events]);
    let report = report(&format!("{SHORT}{}{}", table("a"), table("a")));
    assert!(
        report.contains("token[2].name: \"a\" is already the name of another token"),
        "{report}"
    );
}

#[test]
fn proxies_are_an_array_of_addresses_and_networks() {
    let of = |value: &str| format!("http.trusted_proxies = {value}\n{SHORT}");
    let config =
        Config::parse(&of(r#"["127.0.0.1", "10.0.0.0/8", "2001:db8:7::/48", "::1"]"#), "x", &[]);
    let proxies: Vec<String> =
        config.unwrap().http.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["127.0.0.1/32", "10.0.0.0/8", "2001:db8:7::/48", "::1/128"]);
    for (value, problem) in [
        (r#""10.0.0.0/8""#, r#""10.0.0.0/8" is not an array; write ["10.0.0.0/8"]"#),
        ("true", "true is not an array of strings"),
        ("[7]", "7 is not a string in quotes"),
        (
            r#"["a", "10.0.0.0/33"]"#,
            "\"a\" is not an address or a network; use one such as 10.0.0.0/8 or 2001:db8:7::/48\n  http.trusted_proxies: \"10.0.0.0/33\" is not an address or a network; use one such as 10.0.0.0/8 or 2001:db8:7::/48",
        ),
        (r#"["::1", "::1"]"#, r#""::1" is there twice; remove one"#),
        (r#"[""]"#, "contains an empty string; remove it"),
    ] {
        let expected = format!(
            "waypost-backend.toml: invalid configuration\n  http.trusted_proxies: {problem}"
        );
        assert_eq!(report(&of(value)), expected);
    }
}

#[test]
fn an_array_is_shown_as_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("waypost-backend.toml");
    fs::write(&path, format!("http.trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n{SHORT}")).unwrap();
    let shown = Config::show(&path, waypost_backend::config::ShowOrigins::Hidden).unwrap();
    assert!(shown.contains("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]"), "{shown}");
    let again = Config::parse(&shown, "x", &[]).unwrap();
    assert_eq!(again.http.trusted_proxies, Config::load(&path).unwrap().http.trusted_proxies);
}
