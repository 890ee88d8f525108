//! `config/waypost.toml` states the defaults, and a report lists every problem of a file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

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
        "waypost.toml: invalid configuration\n  \
         van.id: is empty; set the van's name here, or its source in van.id_from\n  \
         mqtt.broker: \"\" is not a broker URL; use mqtts://HOST[:PORT] or mqtt://HOST[:PORT]"
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
        r#"waypost.toml: invalid configuration
  fleet: [fleet] is not a section of waypost
  mqtt.keep_alive_s: 5 is outside 10..=1200
  gnss.baud: "fast" is not a whole number
  gnss.ublox.rate_hz: 20 is outside 1..=10
  mqtt.pasword_file: is not a key of waypost: did you mean mqtt.password_file?
  van.id: "van 42" is not a van id: 1 to 64 of A-Z a-z 0-9 _ . : -
  gnss.source: "usb:0" is not one of serial:PATH, tcp:HOST:PORT, gpsd:HOST[:PORT], log:FILE, stdin:
  gnss.ublox.constellations: "Gallileo" is not one of GPS, Galileo, BeiDou, GLONASS, joined by +
  journey.depart_speed_mps: 0.6 is not above stop_speed_mps (0.8)
  outbox.path: is empty; set the path of the file
  mqtt.broker: "http://broker" is not a broker URL; use mqtts://HOST[:PORT] or mqtt://HOST[:PORT]
  mqtt.topic_root: "a/+/b" is not a topic prefix; use levels separated by single /, without + # $ and spaces"#
    );
}

#[test]
fn a_file_that_is_no_toml_is_reported_where_it_breaks() {
    let report = report("[van]\nid = VAN-042\n");
    assert!(
        report.starts_with(
            "waypost.toml: invalid configuration\n  is not TOML: TOML parse error at line 2, column 6"
        ),
        "{report}"
    );
    assert!(
        !report.contains("mqtt.broker"),
        "no problem is reported for an unreadable file: {report}"
    );
}

#[test]
fn a_password_is_read_from_its_file_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "s3cret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let text = |file: &str| {
        format!(
            "van.id = \"V\"\n[mqtt]\nbroker = \"mqtt://b\"\nusername = \"u\"\npassword_file = \"{file}\""
        )
    };
    let config = Config::parse(&text(file.to_str().unwrap()), "waypost.toml", &[]).unwrap();
    assert_eq!(config.uplink.credentials.as_ref().unwrap().password, "s3cret");
    assert!(!format!("{config:?}").contains("s3cret"));
    let report = report(&text("/nowhere/password"));
    assert!(report.contains("mqtt.password_file: /nowhere/password: cannot be read"), "{report}");
}

#[test]
fn scanners_and_privacy_zones_are_as_many_as_there_are_tables() {
    let text = r#"
        van.id = "VAN-042"
        mqtt.broker = "mqtt://b"
        delivery.domain = "id.example.com"
        control.path = ""
        [[scanner]]
        name = "hand"
        source = "serial:/dev/ttyACM0"
        [[scanner]]
        name = "door"
        source = "tcp:reader:4001"
        kind = "rfid"
        pattern = "key-value"
        [[privacy_zone]]
        lat = 48
        lon = 11.5
    "#;
    let config = Config::parse(text, "waypost.toml", &[]).unwrap();
    let shown: Vec<String> =
        config.scanners.iter().map(|one| format!("{} {}", one.name, one.address)).collect();
    assert_eq!(shown, ["hand serial:/dev/ttyACM0@9600", "door tcp:reader:4001"]);
    let [zone] = config.delivery.privacy_zones[..] else { panic!() };
    let (centre, radius) = (zone.centre, zone.radius);
    assert_eq!((centre.lat_deg(), centre.lon_deg()), (48.0, 11.5));
    assert!((radius.as_metres() - 200.0).abs() < 0.01);
    assert_eq!(config.control, None);
    let delivery = config.delivery;
    let names = config.uplink.names;
    assert_eq!(names.van, "https://id.example.com/fleet/obj/VAN-042");
    assert_eq!(delivery.off_duty_after_return.as_secs(), 600);
}

#[test]
fn the_examples_in_the_shipped_file_are_tables_when_their_signs_are_taken_away() {
    let shipped = fs::read_to_string(repository("config/waypost.toml")).unwrap();
    let filled = shipped
        .replace("id = \"\"", "id = \"VAN-042\"")
        .replace("broker = \"\"", "broker = \"mqtt://b\"")
        .replace("#name = ...", "#name = \"hand\"")
        .replace("#source = ...", "#source = \"fifo:/run/codes\"")
        .replace(" = ...", " = 7.5");
    let uncommented: String = filled
        .lines()
        .map(|line| match line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')) {
            Some(rest) => format!("{rest}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let config = Config::parse(&uncommented, "waypost.toml", &[]).unwrap();
    assert_eq!((config.scanners.len(), config.delivery.privacy_zones.len()), (1, 1));
}

#[test]
fn what_is_wrong_in_a_list_is_named_with_its_place() {
    let text = r#"
        van.id = "VAN-042"
        mqtt.broker = "mqtt://b"
        [delivery]
        domain = "Example"
        duty_at_start = "maybe"
        [[scanner]]
        name = "hand"
        sorce = "serial:/dev/ttyACM0"
        baud = 110
        [[scanner]]
        name = "hand door"
        source = "usb:1"
        kind = "laser"
        pattern = "bear"
        [[scanner]]
        name = "a"
        source = "fifo:/a"
        [[scanner]]
        name = "a"
        source = "fifo:/b"
        [[privacy_zone]]
        lat = 91
        lon = "east"
        [[scaner]]
        name = "x"
    "#;
    assert_eq!(
        report(text),
        r#"waypost.toml: invalid configuration
  scanner[1].source: is required: Source of its lines: serial:PATH[@BAUD] (preferably a name in /dev/serial/by-id), tcp:HOST:PORT, unix:PATH (a stream socket) or fifo:PATH
  scanner[1].baud: 110 is outside 1200..=4000000
  scanner[1].sorce: is not a key of [[scanner]]: did you mean source?
  privacy_zone[1].lat: 91 is outside -90..=90
  privacy_zone[1].lon: "east" is not a number
  scaner: [[scaner]] is not an array of tables of waypost: did you mean scanner?
  delivery.domain: "Example" is not a domain: write a host name that you own, such as `id.example.com`
  scanner[2].name: "hand door" is not a valid name; use 1 to 32 characters of A-Z a-z 0-9 _ . -
  scanner[2].source: "usb:1" is not one of serial:PATH[@BAUD], tcp:HOST:PORT, unix:PATH, fifo:PATH
  scanner[2].pattern: "bear" is not one of bare, key-value, count, terse and not a regex with a group (?<epc>...)
  scanner[2].kind: "laser" is neither barcode nor rfid
  scanner[4].name: "a" is already the name of another scanner; choose a unique name
  delivery.duty_at_start: "maybe" is neither on nor off"#
    );
    let van = "van.id = \"VAN-042\"\nmqtt.broker = \"mqtt://b\"\n";
    for (list, says) in [
        ("scanner.name = \"x\"", "scanner: is an array of tables: write [[scanner]]"),
        ("scanner = [1]", "scanner[1]: 1 is not a table"),
        (&"[[scanner]]\n".repeat(9), "scanner: 9 tables exceed the maximum of 8"),
    ] {
        let report = report(&format!("{van}{list}\n"));
        assert!(report.contains(says), "{report}");
    }
}
