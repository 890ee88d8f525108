//! Checks the recipes of `docs/recipes.md` for third-party programs, with the parts that can be
//! installed.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::support::schema::read_json;
use crate::support::van::Van;
use crate::support::{Process, installed, repository};

/// Returns the first block of this language below this heading.
fn block(heading: &str, language: &str) -> String {
    let page = fs::read_to_string(repository("docs/recipes.md")).unwrap();
    let below = page.split_once(&format!("\n## {heading}")).expect(heading).1;
    let block = below.split_once(&format!("\n```{language}\n")).expect(language).1;
    block.split_once("\n```").unwrap().0.to_owned() + "\n"
}

fn example(name: &str) -> std::path::PathBuf {
    repository("docs/contract").join(format!("{name}.example.json"))
}

#[test]
fn home_assistants_templates_make_a_tracker_of_a_position() {
    let Some(python) = installed("python3") else { return };
    let mut command = Command::new(python);
    command.arg(repository("tests/support/recipes.py"));
    command.arg(example("position")).arg(example("connection"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let yaml = block("Home Assistant", "yaml");
    child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.code() == Some(3) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must install python3-jinja2 and python3-yaml"
        );
        eprintln!("skipped: Jinja 2 or PyYAML is not installed");
        return;
    }
    assert!(output.status.success());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let position = read_json(&example("position"));
    let tracker = &said["attributes"];
    // Values must be numbers, or Home Assistant ignores them.
    assert_eq!(tracker["latitude"], position["lat"]);
    assert_eq!(tracker["longitude"], position["lon"]);
    assert_eq!(tracker["gps_accuracy"], position["acc_m"]);
    assert_eq!(tracker["speed_kmh"], 30.0);
    assert_eq!(said["bare"]["gps_accuracy"], 0);
    assert_eq!(said["bare"]["latitude"], position["lat"]);
    assert_eq!((&said["online"], &said["gone"]), (&"online".into(), &"offline".into()));
    assert_eq!((&said["stops"], &said["no_stops"]), (&"101".into(), &"None".into()));
    let topics: Vec<_> = ["position", "connection", "position"]
        .map(|last| Value::from(format!("fleet/v1/VAN-042/{last}")))
        .into();
    assert_eq!(said["topics"], Value::Array(topics));
}

/// Several processes in their own process group.
struct Pipe(Process);

impl Drop for Pipe {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.0.id());
        Command::new("kill").args(["-KILL", "--", &group]).status().ok();
    }
}

/// Hangs up on the first POST, responds to each later one, and yields their bodies.
fn traccar() -> (u16, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().skip(1) {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(bytes) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = bytes.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            if said.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (port, heard)
}

#[test]
fn the_lines_for_traccar_carry_over_each_point_even_if_it_is_away_at_first() {
    let tools = ["mosquitto_sub", "mosquitto_pub", "jq", "curl", "bash"];
    if tools.iter().any(|tool| installed(tool).is_none()) {
        return;
    }
    let mut van = Van::new().0;
    let Some(broker) = van.mosquitto("allow_anonymous true") else { return };
    let (port, heard) = traccar();
    let script = block("Traccar", "sh")
        .replace("-h broker.example.com", &format!("-h 127.0.0.1 -p {broker}"))
        .replace("traccar.example.com:5144", &format!("127.0.0.1:{port}"))
        .replace("sleep 5", "sleep 0.1");
    let mut bridge = Command::new("bash");
    bridge.args(["-c", &script]).stderr(Stdio::null()).process_group(0);
    let _bridge = Pipe(Process::start(&mut bridge));
    let publish = |level: &str| {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-V", "5", "-q", "1", "-p", &broker.to_string()]);
        command.args(["-t", &format!("fleet/v1/VAN-042/{level}"), "-f"]).arg(example(level));
        assert!(command.status().unwrap().success());
    };
    // The broker queues nothing for a session that does not exist yet.
    let first = loop {
        publish("position");
        if let Ok(first) = heard.recv_timeout(Duration::from_millis(500)) {
            break first;
        }
    };
    let (position, track) = (read_json(&example("position")), read_json(&example("track")));
    assert_eq!((&first["_type"], &first["topic"]), (&"location".into(), &"VAN-042".into()));
    assert_eq!((&first["lat"], &first["lon"]), (&position["lat"], &position["lon"]));
    // 2026-11-22T09:41:07Z
    assert_eq!(first["tst"], 1_795_340_467);
    assert_eq!((&first["vel"], &first["cog"]), (&30.into(), &84.into()));
    assert_eq!((&first["alt"], &first["acc"]), (&519.into(), &5.into()));
    publish("track");
    for point in track["points"].as_array().unwrap() {
        let said = loop {
            let said = heard.recv_timeout(Duration::from_secs(10)).unwrap();
            if said != first {
                break said;
            }
        };
        assert_eq!((&said["lat"], &said["lon"]), (&point["lat"], &point["lon"]));
        assert_eq!(said["topic"], "VAN-042");
        assert_eq!(said.get("cog").is_some(), point.get("course_deg").is_some());
    }
}
