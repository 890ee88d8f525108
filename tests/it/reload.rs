//! SIGHUP: an invalid configuration changes nothing, a valid one takes effect, and no record is
//! lost.

#![expect(clippy::disallowed_methods, reason = "real parts run in real time")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use waypost_wire::payloads::Track;

use crate::support::certs::Authority;
use crate::support::van::{Van, free_port};
use crate::support::{Process, WAYPOST, installed};

fn until(what: &str, van: &Van, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        if began.elapsed() >= Duration::from_secs(40) {
            let messages = fs::read_to_string(van.path("messages")).unwrap_or_default();
            panic!("{what}: {} {messages:.3000} {:?}", log(van), status(van));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn log(van: &Van) -> String {
    fs::read_to_string(van.path("log")).unwrap()
}

/// Returns `None` while the agent does not respond.
fn status(van: &Van) -> Option<Value> {
    let mut command = Command::new(WAYPOST);
    command.args(["status", "--json", "--control"]).arg(van.path("control"));
    serde_json::from_slice(&command.output().unwrap().stdout).ok()
}

fn pending(van: &Van) -> Option<u64> {
    status(van)?["outbox"]["pending"].as_u64()
}

fn hang_up(van: &Van) {
    let agent = van.parts.last().unwrap().0.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &agent]).status().unwrap().success());
}

/// Writes the received messages to a file, as `TOPIC PAYLOAD`.
fn subscribe(van: &mut Van, port: u16, more: &[&str]) -> Option<()> {
    // Line buffered.
    let mut command = Command::new("stdbuf");
    command.arg("-oL").arg(installed("mosquitto_sub")?);
    command.args(["-p", &port.to_string(), "-q", "1", "-t", "#", "-F", "%t %p"]).args(more);
    let messages = fs::File::create(van.path("messages")).unwrap();
    van.parts.push(Process::start(command.stdout(messages).stderr(Stdio::null())));
    std::thread::sleep(Duration::from_secs(1));
    Some(())
}

/// Returns the numbers of the points received below `root`, each once, ascending.
fn seqs(van: &Van, root: &str) -> Vec<u64> {
    let messages = fs::read_to_string(van.path("messages")).unwrap();
    let topic = format!("{root}/VAN-042/track ");
    let tracks = messages.lines().filter_map(|line| line.strip_prefix(&topic));
    let tracks = tracks.filter_map(|track| serde_json::from_str::<Track>(track).ok());
    let mut seqs: Vec<u64> =
        tracks.flat_map(|track| track.points.into_iter().map(|point| point.seq)).collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs
}

/// Returns the runs of consecutive numbers as (first, last).
fn runs(seqs: &[u64]) -> Vec<(u64, u64)> {
    let runs = seqs.chunk_by(|one, next| one + 1 == *next);
    runs.map(|run| (run[0], run[run.len() - 1])).collect()
}

#[test]
fn a_wrong_configuration_changes_nothing_and_a_right_one_sends_on_what_waited() {
    let (mut van, source) = Van::new();
    let Some(port) = van.mosquitto("allow_anonymous true") else { return };
    let Some(()) = subscribe(&mut van, port, &[]) else { return };
    let raw = "track.sampling = \"raw\"\nlog.level = \"info\"\n";
    van.run(&source, &format!("mqtt://127.0.0.1:{}", free_port()), raw);
    until("records", &van, || pending(&van) >= Some(5));

    van.configure(&source, "mqtt://", raw);
    hang_up(&van);
    let refused = "configuration invalid, keeping the previous one";
    until("a refusal", &van, || log(&van).contains(refused));
    assert!(log(&van).contains("mqtt.broker: \"mqtt://\" is not a broker URL"), "{}", log(&van));
    let before = pending(&van).unwrap();
    until("more records", &van, || pending(&van) > Some(before));

    van.configure(
        &source,
        &format!("mqtt://127.0.0.1:{port}"),
        &format!("{raw}mqtt.topic_root = \"two\"\n"),
    );
    hang_up(&van);
    until("the new topics", &van, || seqs(&van, "two/v1").len() as u64 > before + 5);
    until("an empty outbox", &van, || pending(&van) == Some(0));

    let log = log(&van);
    assert_eq!(log.matches(refused).count(), 1, "{log}");
    assert_eq!(log.matches("keeping the previous one").count(), 1, "{log}");
    assert!(!log.contains("journal not"), "{log}");
    let runs = runs(&seqs(&van, "two/v1"));
    assert!(runs.len() == 2 && runs[0].0 == 1 && runs[0].1 > before, "{runs:?} of {before}: {log}");
    assert_eq!(status(&van).unwrap()["outbox"]["dropped"], 0);
    assert!(van.parts.pop().unwrap().terminate());
}

#[test]
fn a_certificate_that_was_renewed_is_used_from_the_next_connection_on_and_no_record_is_lost() {
    let (mut van, source) = Van::new();
    let authority = Authority::new();
    let renew = |van: &Van, file: &str, name: &str| {
        let (certificate, key) = authority.certify(name, 2099);
        fs::write(van.path(&format!("{file}.pem")), certificate).unwrap();
        let key_file = van.path(&format!("{file}.key"));
        fs::write(&key_file, key).unwrap();
        let owners_alone = if file == "van" { 0o600 } else { 0o644 };
        fs::set_permissions(&key_file, fs::Permissions::from_mode(owners_alone)).unwrap();
    };
    fs::write(van.path("ca.pem"), &authority.pem).unwrap();
    renew(&van, "broker", "localhost");
    renew(&van, "van", "first");
    let folder = van.folder.path().display().to_string();
    let conf = format!(
        "cafile {folder}/ca.pem\ncertfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n\
         require_certificate true\nuse_identity_as_username true"
    );
    let Some(port) = van.mosquitto(&conf) else { return };
    let [ca, pem, key] = ["ca.pem", "van.pem", "van.key"].map(|file| format!("{folder}/{file}"));
    let with = ["-h", "localhost", "--cafile", &ca, "--cert", &pem, "--key", &key];
    let Some(()) = subscribe(&mut van, port, &with) else { return };
    let more = format!(
        "track.sampling = \"raw\"\nmqtt.ca_file = \"{ca}\"\nmqtt.cert_file = \"{pem}\"\nmqtt.key_file = \"{key}\"\n"
    );
    van.run(&source, &format!("mqtts://localhost:{port}"), &more);
    let let_in = |van: &Van, name: &str| {
        let log = fs::read_to_string(van.path("mosquitto.log")).unwrap();
        log.lines().any(|line| line.contains("as VAN-042 ") && line.contains(&format!("u'{name}'")))
    };
    until("the first certificate", &van, || let_in(&van, "first"));
    until("records", &van, || seqs(&van, "fleet/v1").len() > 5);
    renew(&van, "van", "renewed");
    hang_up(&van);
    until("the renewed certificate", &van, || let_in(&van, "renewed"));
    let before = seqs(&van, "fleet/v1").len();
    until("more records", &van, || seqs(&van, "fleet/v1").len() > before + 5);
    until("an empty outbox", &van, || pending(&van) == Some(0));
    let runs = runs(&seqs(&van, "fleet/v1"));
    assert!(runs.len() == 2 && runs[0].0 == 1, "{runs:?}: {}", log(&van));

    // An invalid certificate is rejected.
    fs::write(van.path("van.pem"), "nothing").unwrap();
    hang_up(&van);
    until("a refusal", &van, || log(&van).contains("van.pem: has no certificate (PEM)"));
    assert_eq!(status(&van).unwrap()["link"]["state"], "connected");
    assert!(van.parts.pop().unwrap().terminate());
}
