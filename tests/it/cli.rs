//! The built binary: exit codes, help, `check`, `replay --emit`.

use std::fs;
use std::process::{Command, Output};

use crate::support::{WAYPOST, repository};

fn waypost(arguments: &[&str]) -> Output {
    Command::new(WAYPOST).args(arguments).current_dir(repository("")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn version_and_help_are_no_errors_and_a_wrong_argument_is_a_usage_error() {
    for (arguments, code, says) in [
        (&["--version"][..], 0, "waypost 0."),
        (&["--help"], 0, "replay"),
        (&["replay", "--help"], 0, "--emit"),
        (&["completions", "bash"], 0, "complete"),
        (&[], 64, "Usage"),
        (&["fly"], 64, "unrecognized subcommand 'fly'"),
        (&["decode", "no/such.bin"], 1, "no/such.bin: cannot be read"),
        (&["decode", "Cargo.toml"], 1, "line 1: neither hexadecimal nor base64"),
        (&["decode", "--van", "a/b", "-"], 64, "not a van id"),
        (&["identify", "1Z999AA10123456784"], 0, "carrier/ups/obj/1Z999AA10123456784"),
        (&["identify", "--domain", "a/b", "1"], 64, "id.example.com"),
        (&["identify", ""], 1, "code 1: has no printable characters"),
        (&["replay"], 64, "LOG"),
        (&["replay", "x.nmea"], 64, "--broker"),
        (&["replay", "--emit", "fixes", "--date", "yesterday", "x.nmea"], 64, "YYYY-MM-DD"),
        (&["replay", "--speed", "0", "--config", "x", "x.nmea"], 64, "or max"),
    ] {
        let output = waypost(arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

#[test]
fn a_configuration_that_cannot_be_used_is_exit_78_also_for_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("waypost.toml");
    fs::write(&file, "van.id = \"VAN-042\"\n").unwrap();
    let path = file.to_str().unwrap();
    for command in ["check", "run"] {
        let output = waypost(&[command, "--config", path]);
        assert_eq!(output.status.code(), Some(78));
        assert!(text(&output.stderr).contains("mqtt.broker"), "{}", text(&output.stderr));
        let output = waypost(&[command, "--config", "/nowhere/waypost.toml"]);
        assert_eq!(output.status.code(), Some(78));
        assert!(text(&output.stderr).contains("/nowhere/waypost.toml: cannot be read"));
    }
    fs::write(&file, "van.id = \"VAN-042\"\nmqtt.broker = \"mqtt://localhost\"\n").unwrap();
    let output = waypost(&["check", "--config", path]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("fleet/v1/VAN-042/position"));
}

#[test]
fn replay_writes_one_object_a_line_with_the_fields_that_the_receiver_gave() {
    let log = "tests/fixtures/nmea/errand-ublox-m8.nmea";
    let fixes = waypost(&["replay", "--emit", "fixes", log]);
    assert!(fixes.status.success(), "{}", text(&fixes.stderr));
    let lines: Vec<serde_json::Value> =
        text(&fixes.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    for key in
        ["ts", "lat", "lon", "mode", "quality", "alt_m", "hae_m", "speed_mps", "hdop", "sats"]
    {
        assert!(last.get(key).is_some(), "{key} is missing in {last}");
    }
    let records = waypost(&["replay", "--emit", "records", log]);
    assert_eq!(text(&records.stdout).lines().count(), lines.len());
}

#[test]
fn a_log_that_is_not_there_is_named() {
    let output = waypost(&["replay", "--emit", "fixes", "no/such.nmea"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no/such.nmea"), "{}", text(&output.stderr));
}
