//! A fleet's configuration in parts: `waypost.toml` and `conf.d/*.toml`, and the effective result.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use waypost::config::{Config, ShowOrigins};

use crate::support::WAYPOST;

/// A folder laid out like `/etc/waypost`.
struct Etc(tempfile::TempDir);

impl Etc {
    fn new(files: &[(&str, &str)]) -> Self {
        let etc = Self(tempfile::tempdir().unwrap());
        fs::create_dir(etc.path("conf.d")).unwrap();
        for (name, text) in files {
            fs::write(etc.path(name), text).unwrap();
        }
        etc
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Config {
        Config::load(&self.path("waypost.toml"), &[]).unwrap()
    }

    /// Returns the report, without the folder.
    fn report(&self) -> String {
        let error = Config::load(&self.path("waypost.toml"), &[]).unwrap_err().to_string();
        error.replace(&format!("{}/", self.0.path().display()), "")
    }

    fn show(&self, origins: ShowOrigins) -> String {
        let shown = Config::show(&self.path("waypost.toml"), origins).unwrap();
        shown.replace(&format!("{}/", self.0.path().display()), "")
    }
}

const BASE: &str = r#"
    van.id = "VAN-1"
    mqtt.broker = "mqtt://one"
    mqtt.keep_alive_s = 60
    gnss.ublox.rate_hz = 2
    [[scanner]]
    name = "hand"
    source = "fifo:/run/hand"
    [[scanner]]
    name = "door"
    source = "fifo:/run/door"
    [[privacy_zone]]
    lat = 48
    lon = 11.5
"#;

#[test]
fn drop_ins_go_before_the_file_key_by_key_in_the_order_of_their_names() {
    let etc = Etc::new(&[
        ("waypost.toml", BASE),
        ("conf.d/20-van.toml", "van.id = \"VAN-3\"\n[gnss.ublox]\nenable = true"),
        ("conf.d/10-fleet.toml", "van.id = \"VAN-2\"\nmqtt.broker = \"mqtt://two\""),
        ("conf.d/.20-van.toml", "van.id = \"hidden\""),
        ("conf.d/30-old.toml.bak", "van.id = \"an old one\""),
        ("conf.d/40-editor.toml~", "van.id = \"an editor's\""),
    ]);
    let config = etc.load();
    assert_eq!(config.drop_ins, ["conf.d/10-fleet.toml", "conf.d/20-van.toml"]);
    assert_eq!(config.van.as_str(), "VAN-3");
    assert_eq!(config.uplink.brokers[0].to_string(), "mqtt://two:1883");
    assert_eq!(config.uplink.keep_alive.as_secs(), 60);
    assert_eq!(config.source.line.setup.unwrap().rate_hz, 2);
    let names: Vec<_> = config.scanners.iter().map(|scanner| scanner.name.as_str()).collect();
    assert_eq!(names, ["hand", "door"]);
}

#[test]
fn a_drop_in_with_one_table_of_a_list_has_the_whole_list() {
    let gate = "[[scanner]]\nname = \"gate\"\nsource = \"fifo:/run/gate\"";
    let etc = Etc::new(&[("waypost.toml", BASE), ("conf.d/a.toml", gate)]);
    let config = etc.load();
    let names: Vec<_> = config.scanners.iter().map(|scanner| scanner.name.as_str()).collect();
    assert_eq!(names, ["gate"]);
    assert_eq!(config.delivery.privacy_zones.len(), 1);
    fs::write(etc.path("conf.d/b.toml"), "scanner = []").unwrap();
    assert!(etc.load().scanners.is_empty());
}

#[test]
fn every_problem_is_in_one_report_with_the_drop_in_that_it_is_in() {
    let etc = Etc::new(&[
        ("waypost.toml", "van.id = \"V\"\nmqtt.in_flight = 0\nmqtt.keep_alive_s = 1"),
        ("conf.d/10-fleet.toml", "mqtt.broker = \"http://b\"\n[flet]\n[[scanner]]\nname = \"a\""),
        (
            "conf.d/20-van.toml",
            "mqtt.keep_alive_s = 5\nmqtt.keep_alife_s = 6\nx = 1\ngnss.ublox = 2",
        ),
    ]);
    assert_eq!(
        etc.report(),
        "waypost.toml: invalid configuration\n  \
         conf.d/10-fleet.toml: scanner[1].source: is required: Source of its lines: serial:PATH[@BAUD] (preferably a name in /dev/serial/by-id), tcp:HOST:PORT, unix:PATH (a stream socket) or fifo:PATH\n  \
         conf.d/10-fleet.toml: flet: [flet] is not a section of waypost\n  \
         conf.d/20-van.toml: gnss.ublox: is a section: write [gnss.ublox]\n  \
         conf.d/20-van.toml: x: is outside a section\n  \
         conf.d/20-van.toml: mqtt.keep_alive_s: 5 is outside 10..=1200\n  \
         mqtt.in_flight: 0 is outside 1..=1000\n  \
         conf.d/20-van.toml: mqtt.keep_alife_s: is not a key of waypost: did you mean mqtt.keep_alive_s?\n  \
         conf.d/10-fleet.toml: mqtt.broker: \"http://b\" is not a broker URL; use mqtts://HOST[:PORT] or mqtt://HOST[:PORT]"
    );
}

#[test]
fn a_drop_in_that_cannot_be_read_is_named_and_nothing_is_said_of_the_rest() {
    let etc = Etc::new(&[("waypost.toml", "van.id = 7"), ("conf.d/20-van.toml", "id = VAN")]);
    fs::create_dir(etc.path("conf.d/30.toml")).unwrap();
    let report = etc.report();
    let (toml, folder) = report.split_once("\n  conf.d/30.toml: ").unwrap();
    assert!(toml.contains("\n  conf.d/20-van.toml: is not TOML: "), "{report}");
    assert!(folder.starts_with("cannot be read: "), "{report}");
    assert!(!report.contains("van.id"), "{report}");
}

#[test]
fn what_is_shown_is_a_file_that_says_the_same() {
    let etc = Etc::new(&[
        ("waypost.toml", BASE),
        ("conf.d/a.toml", r#"mqtt.username = "a \"\\\u0007\u00fc#""#),
        ("conf.d/b.toml", "mqtt.live_error_m = 12\ndelivery.domain = \"id.example.com\""),
    ]);
    let config = etc.load();
    for origins in [ShowOrigins::Hidden, ShowOrigins::Shown] {
        let shown = Config::parse(&etc.show(origins), "shown", &[]).unwrap();
        let shown = Config { drop_ins: config.drop_ins.clone(), ..shown };
        assert_eq!(format!("{shown:?}"), format!("{config:?}"));
    }
    assert!(!etc.show(ShowOrigins::Hidden).contains("  # "));
    let shown = etc.show(ShowOrigins::Shown);
    for line in [
        "id = \"VAN-1\"  # waypost.toml",
        "live_error_m = 12.0  # conf.d/b.toml",
        "position_moving_s = 30.0  # default",
        "rate_hz = 2  # waypost.toml",
        "name = \"door\"  # waypost.toml",
        "baud = 9600  # default",
    ] {
        assert!(shown.lines().any(|one| one == line), "{line} is not in\n{shown}");
    }
}

#[test]
fn the_program_names_what_it_has_read_and_shows_what_it_comes_to() {
    let etc = Etc::new(&[("waypost.toml", BASE), ("conf.d/20-van.toml", "van.id = \"VAN-3\"")]);
    let run = |arguments: &[&str]| {
        let output = Command::new(WAYPOST)
            .args(arguments)
            .arg("--config")
            .arg(etc.path("waypost.toml"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = run(&["check"]);
    assert!(code == Some(0) && said.contains("\n  with     conf.d/20-van.toml\n"), "{said}");
    let (code, said) = run(&["config", "show", "--origin"]);
    assert!(code == Some(0) && said.contains("id = \"VAN-3\"  # conf.d/20-van.toml\n"), "{said}");
    fs::write(etc.path("conf.d/20-van.toml"), "van.id = \"VAN 3\"").unwrap();
    for command in [&["check"][..], &["run"], &["config", "show"]] {
        let (code, said) = run(command);
        assert!(code == Some(78) && said.contains("  conf.d/20-van.toml: van.id: "), "{said}");
    }
}
