//! `waypost doctor` against real parts: each staged fault is named with its remedy.

#![expect(clippy::disallowed_methods, reason = "real parts run in real time")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::certs::Authority;
use crate::support::van::{Van, free_port, simulated};
use crate::support::{Process, WAYPOST, installed};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A receiver behind a serial server that sends these sentences every second; nothing if it is
/// empty.
fn served(sentences: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        // A doctor that starts before the agent listens connects to the receiver as well.
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                loop {
                    for sentence in sentences {
                        let sum = sentence.bytes().fold(0, |sum, byte| sum ^ byte);
                        if write!(stream, "${sentence}*{sum:02X}\r\n").is_err() {
                            return;
                        }
                    }
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
        }
    });
    format!("tcp:127.0.0.1:{port}")
}

impl Van {
    pub(crate) fn doctor(&self) -> (Option<i32>, Value) {
        let mut command = Command::new(WAYPOST);
        command.args(["doctor", "--json", "--config"]).arg(self.path("waypost.toml"));
        let output = command.output().unwrap();
        let said = serde_json::from_slice(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said.unwrap_or_else(|_| panic!("{error}")))
    }

    /// Waits until `part` is the first failed check, and its message and remedy contain `says`.
    pub(crate) fn names(&self, part: &str, says: &[&str]) {
        let began = Instant::now();
        loop {
            let (code, said) = self.doctor();
            let findings = said["findings"].as_array().unwrap().iter();
            let wrong = findings.filter(|one| one["verdict"] == "wrong").count();
            // Only one fault was staged, but the receiver has just started.
            if said["first"] == part && wrong == 1 {
                assert_eq!(code, Some(1));
                let found = finding(&said, part);
                let text = format!("{} {}", found["words"], found["remedy"]);
                assert!(says.iter().all(|says| text.contains(says)), "{says:?} in {text}");
                return;
            }
            assert!(began.elapsed() < TIMEOUT, "{part} is not named: {said:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn finding<'a>(said: &'a Value, part: &str) -> &'a Value {
    let mut findings = said["findings"].as_array().unwrap().iter();
    findings.find(|one| one["part"] == part).unwrap_or_else(|| panic!("{part} in {said:#}"))
}

/// A fault of the receiver, with a working broker.
fn receiver_fault(
    stage: impl FnOnce(&Van) -> (String, Option<Process>),
    more: &str,
    part: &str,
    says: &[&str],
) {
    let mut van = Van { folder: tempfile::tempdir().unwrap(), parts: Vec::new() };
    let Some(port) = van.mosquitto("allow_anonymous true") else { return };
    let (source, receiver) = stage(&van);
    van.parts.extend(receiver);
    van.run(&source, &format!("mqtt://127.0.0.1:{port}"), more);
    van.names(part, says);
}

#[test]
fn a_van_that_lacks_nothing_is_well() {
    let (mut van, source) = Van::new();
    let Some(port) = van.mosquitto("allow_anonymous true") else { return };
    van.run(&source, &format!("mqtt://127.0.0.1:{port}"), "");
    let began = Instant::now();
    loop {
        let (code, said) = van.doctor();
        if code == Some(0) && finding(&said, "clock")["verdict"] == "fine" {
            assert!(said["first"].is_null(), "{said:#}");
            break;
        }
        assert!(began.elapsed() < TIMEOUT, "{said:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut text = Command::new(WAYPOST);
    text.args(["doctor", "--config"]).arg(van.path("waypost.toml"));
    let text = String::from_utf8(text.output().unwrap().stdout).unwrap();
    assert!(text.ends_with("no problems found\n"), "{text}");
}

#[test]
fn no_device_is_named() {
    receiver_fault(
        |van| (format!("serial:{}", van.path("nothing").display()), None),
        "",
        "device",
        &["not found: is it plugged in", "/dev/serial/by-id"],
    );
}

#[test]
fn a_wrong_speed_is_named() {
    receiver_fault(
        |van| {
            let (source, receiver) = simulated(van.folder.path(), &["--baud", "38400"]);
            (source, Some(receiver))
        },
        "gnss.baud = 9600\ngnss.hunt = false\n",
        "sentences",
        &["cannot be decoded", "wrong baud rate", "gnss.hunt = true"],
    );
}

#[test]
fn no_antenna_is_named() {
    let says: &[&str] =
        &["GNRMC,,V,,,,,,,,,,N", "GNGGA,,,,,,0,00,99.99,,,,,,", "GNTXT,01,01,02,ANTSTATUS=OPEN"];
    receiver_fault(|_| (served(says), None), "", "antenna", &["reports open", "plug"]);
}

#[test]
fn a_receiver_that_says_nothing_is_named() {
    receiver_fault(|_| (served(&[]), None), "", "bytes", &["sends nothing", "power"]);
}

#[test]
fn a_clock_that_nobody_knows_is_named() {
    receiver_fault(
        |van| {
            // The receiver's time of day differs from the host's, so neither of them can be
            // trusted.
            let host = fs::metadata(van.path("mosquitto.conf")).unwrap().modified().unwrap();
            let since_1970 = host.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let hour = (since_1970 / 3600 + 12) % 24;
            let start = format!("2026-11-22T{hour:02}:30:00Z");
            let options = ["--receiver", "gga-only", "--start", &start];
            let (source, receiver) = simulated(van.folder.path(), &options);
            (source, Some(receiver))
        },
        "",
        "clock",
        &["without a date", "RMC or ZDA"],
    );
}

#[test]
fn a_name_that_is_not_found_is_named() {
    let (mut van, source) = Van::new();
    van.run(&source, "mqtt://broker.invalid", "");
    van.names("dns", &["broker.invalid", "getent hosts"]);
}

#[test]
fn a_port_that_nobody_listens_on_is_named() {
    let (mut van, source) = Van::new();
    van.run(&source, &format!("mqtt://127.0.0.1:{}", free_port()), "");
    van.names("tcp", &["refused", "mqtt.broker"]);
}

/// A broker with a certificate until `last_year`, and the authority that the van trusts.
fn tls_fault(last_year: i32, trusted: Option<&Authority>, says: &[&str]) {
    let (mut van, source) = Van::new();
    let authority = Authority::new();
    let (certificate, key) = authority.certify("localhost", last_year);
    for (name, text) in [
        ("ca.pem", &trusted.unwrap_or(&authority).pem),
        ("broker.pem", &certificate),
        ("broker.key", &key),
    ] {
        fs::write(van.path(name), text).unwrap();
    }
    let (certificate, key) = (van.path("broker.pem"), van.path("broker.key"));
    let conf = format!(
        "certfile {}\nkeyfile {}\nallow_anonymous true",
        certificate.display(),
        key.display()
    );
    let Some(port) = van.mosquitto(&conf) else { return };
    let more = format!("mqtt.ca_file = \"{}\"\n", van.path("ca.pem").display());
    van.run(&source, &format!("mqtts://localhost:{port}"), &more);
    van.names("tls", says);
}

#[test]
fn a_wrong_authority_is_named() {
    tls_fault(2099, Some(&Authority::new()), &["unknown CA", "ca.pem"]);
}

#[test]
fn an_expired_certificate_is_named() {
    tls_fault(2025, None, &["has expired: renew it at the broker"]);
}

#[test]
fn a_wrong_password_is_named() {
    let (mut van, source) = Van::new();
    let Some(mosquitto_passwd) = installed("mosquitto_passwd") else { return };
    let mut keep = Command::new(mosquitto_passwd);
    keep.args(["-b", "-c"]).arg(van.path("passwords")).args(["VAN-042", "right"]);
    assert!(keep.status().unwrap().success());
    fs::write(van.path("password"), "wrong\n").unwrap();
    fs::set_permissions(van.path("password"), fs::Permissions::from_mode(0o600)).unwrap();
    let conf = format!("password_file {}", van.path("passwords").display());
    let Some(port) = van.mosquitto(&conf) else { return };
    let more = format!(
        "mqtt.username = \"VAN-042\"\nmqtt.password_file = \"{}\"\n",
        van.path("password").display()
    );
    van.run(&source, &format!("mqtt://127.0.0.1:{port}"), &more);
    van.names("mqtt", &["user name or password is wrong", "mqtt.password_file"]);
    assert!(!van.doctor().1.to_string().contains("wrong\\n"));
}

#[test]
fn an_acl_that_says_no_is_named_while_the_van_is_connected() {
    let (mut van, source) = Van::new();
    fs::write(
        van.path("acl"),
        "topic write fleet/v1/VAN-042/connection\ntopic write fleet/v1/VAN-042/position\n\
         topic read fleet/v1/VAN-042/#\n",
    )
    .unwrap();
    let conf = format!("allow_anonymous true\nacl_file {}", van.path("acl").display());
    let Some(port) = van.mosquitto(&conf) else { return };
    van.run(&source, &format!("mqtt://127.0.0.1:{port}"), "");
    van.names("publish", &["reason 0x87", "fleet/v1/VAN-042/track", "ACL"]);
}

/// An MQTT 5 broker that accepts every client and has no quota: PUBACK 0x97.
fn full_broker() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Some(answer) = packet(&mut stream).map(|(kind, body)| full(kind, &body)) {
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    port
}

/// Reads the next packet: its first byte and its body (MQTT 5 §2.1).
fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut byte = || {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| usize::from(byte[0]))
    };
    let kind = byte()?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let more = byte()?;
        length |= (more & 0x7f) << shift;
        shift += 7;
        if more < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((u8::try_from(kind).unwrap(), body))
}

fn full(kind: u8, body: &[u8]) -> Vec<u8> {
    match kind >> 4 {
        1 => vec![0x20, 3, 0, 0, 0],
        3 if kind & 0x06 != 0 => {
            let id = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
            vec![0x40, 3, body[id], body[id + 1], 0x97]
        }
        8 => vec![0x90, 6, body[0], body[1], 0, 1, 1, 1],
        12 => vec![0xD0, 0],
        _ => Vec::new(),
    }
}

#[test]
fn a_broker_that_is_full_is_named() {
    let (mut van, source) = Van::new();
    van.run(&source, &format!("mqtt://127.0.0.1:{}", full_broker()), "");
    van.names("publish", &["reason 0x97", "the broker is full"]);
}

#[test]
fn an_agent_that_does_not_run_is_named_and_the_rest_is_looked_at_all_the_same() {
    let (van, source) = Van::new();
    van.configure(&source, &format!("mqtt://127.0.0.1:{}", free_port()), "");
    let (code, said) = van.doctor();
    assert_eq!((code, &said["first"]), (Some(1), &"agent".into()));
    assert!(finding(&said, "agent")["remedy"].as_str().unwrap().contains("journalctl"));
    for (part, verdict) in
        [("configuration", "fine"), ("device", "fine"), ("dns", "fine"), ("tcp", "wrong")]
    {
        assert_eq!(finding(&said, part)["verdict"], verdict, "{said:#}");
    }
    fs::write(van.path("waypost.toml"), "van.id = \"\"\n").unwrap();
    let said = van.doctor().1;
    let found = finding(&said, "configuration");
    assert_eq!(found["verdict"], "wrong");
    assert!(found["words"].as_str().unwrap().contains("mqtt.broker"), "{found}");
}
