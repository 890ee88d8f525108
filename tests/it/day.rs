//! `waypost-sim` with parcels: arguments, files and ptys of the built binary.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Process, repository, simulator};

const SHORT: &str = "config/routes/deliveries_short.toml";

fn simulate(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = simulator();
    command.arg(repository(arguments[0])).args(&arguments[1..]);
    command.current_dir(folder).stderr(Stdio::null());
    command
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const FILES: [&str; 4] = ["day.nmea", "scans.jsonl", "manifest.json", "truth.jsonl"];

#[test]
fn a_day_is_written_to_four_files_the_same_each_time() {
    let written = || {
        let folder = tempfile::tempdir().unwrap();
        let [nmea, scans, manifest, truth] = FILES;
        let outputs = ["--out", nmea, "--scans", scans, "--manifest", manifest, "--truth", truth];
        let arguments = [&[SHORT, "--receiver", "rmc-only"][..], &outputs].concat();
        assert!(simulate(folder.path(), &arguments).status().unwrap().success());
        let loaded = lines(&folder.path().join(truth));
        let loaded = loaded.iter().filter(|fact| fact["happening"] == "parcel.loaded");
        let scans = lines(&folder.path().join(scans));
        let read = scans.iter().filter(|scan| scan["scanner"] == "hand");
        assert!(read.count() > 2 * loaded.count(), "each parcel is loaded, and most are delivered");
        FILES.map(|file| fs::read(folder.path().join(file)).unwrap())
    };
    assert!(written() == written());
}

#[test]
fn the_manifest_has_what_the_contract_requires() {
    let schema = repository("docs/contract/manifest.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let arguments = [SHORT, "--duration", "1", "--manifest", "manifest.json"];
    assert!(simulate(folder.path(), &arguments).stdout(Stdio::null()).status().unwrap().success());
    let text = fs::read_to_string(folder.path().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let stop = &schema["properties"]["stops"]["items"];
    let parcel = &stop["properties"]["parcels"]["items"];
    let stops = manifest["stops"].as_array().unwrap();
    let parcels = stops.iter().flat_map(|stop| stop["parcels"].as_array().unwrap());
    let checks = std::iter::once((&schema, &manifest))
        .chain([(&schema["properties"]["station"], &manifest["station"])])
        .chain(stops.iter().map(|one| (stop, one)))
        .chain(parcels.map(|one| (parcel, one)));
    for (schema, object) in checks {
        for required in schema["required"].as_array().unwrap() {
            assert!(object.get(required.as_str().unwrap()).is_some(), "{required} in {object}");
        }
        for key in object.as_object().unwrap().keys() {
            assert!(schema["properties"].get(key).is_some(), "{key} is not in the contract");
        }
    }
}

#[test]
fn without_parcels_in_the_route_a_scanner_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut city = simulate(folder.path(), &["config/routes/city.toml", "--scans-pty", "hand"]);
    let output = city.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("has no section [delivery], which --scans-pty needs"), "{said}");
}

fn wait_until(otherwise: &str, is_so: impl Fn() -> bool) {
    let so = (0..6000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        is_so()
    });
    assert!(so, "{otherwise}");
}

/// Reads a pty until it hangs up.
fn read(link: &Path) -> std::thread::JoinHandle<Vec<String>> {
    let tty = tokio_serial::new(link.to_str().unwrap(), 115_200).timeout(Duration::from_secs(30));
    let tty = BufReader::new(tty.open().unwrap());
    std::thread::spawn(move || {
        let lines = tty.split(b'\n').map_while(Result::ok);
        lines.map(|line| String::from_utf8(line).unwrap().trim_end().to_owned()).collect()
    })
}

#[test]
fn both_scanners_are_read_from_their_ptys_and_stop_with_the_signal() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let outputs =
        ["--pty", "gnss", "--scans-pty", "hand", "--tags-pty", "portal", "--scans", "scans.jsonl"];
    let arguments = [&[SHORT, "--speed", "40", "--receiver", "rmc-only"][..], &outputs].concat();
    let van = Process::start(&mut simulate(folder.path(), &arguments));
    wait_until("no ptys", || ["gnss", "hand", "portal"].iter().all(|link| path(link).exists()));
    let readers = ["hand", "portal"].map(|link| read(&path(link)));
    let written = || fs::read_to_string(path("scans.jsonl")).unwrap_or_default();
    wait_until("no tags", || written().matches("portal").count() > 40);
    assert!(van.terminate());
    assert!(["gnss", "hand", "portal"].iter().all(|link| !path(link).is_symlink()));
    let scans = lines(&path("scans.jsonl"));
    for (reader, scanner) in readers.into_iter().zip(["hand", "portal"]) {
        let heard = reader.join().unwrap();
        let sent = scans.iter().filter(|scan| scan["scanner"] == scanner);
        let mut sent = sent.map(|scan| scan["line"].as_str().unwrap());
        assert!(heard.len() > 3, "{scanner}: {heard:?}");
        // A busy host may read too late and miss some lines, but lines are never invented or
        // reordered. The signal may have come between the writes to the pty and to the file.
        let mut certain = heard[..heard.len() - 2].iter();
        assert!(certain.all(|line| sent.any(|one| one == line)), "{scanner}: {heard:?}");
    }
}
