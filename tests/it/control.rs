//! The built binary on both sides of its control socket: an agent on a log, and the client
//! commands.

#![expect(clippy::disallowed_methods, reason = "real parts run in real time")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Process, WAYPOST, repository};

/// An agent with a silent receiver after one drive, an unreachable broker, and a scanner.
struct Van {
    folder: tempfile::TempDir,
    agent: Process,
}

impl Van {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let receiver = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = receiver.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let drive = fs::read(repository("tests/fixtures/nmea/errand-ublox-m8.nmea")).unwrap();
            let (mut stream, _) = receiver.accept().unwrap();
            stream.write_all(&drive[..60_000]).unwrap();
            // Open until the agent ends.
            stream.read_exact(&mut [0]).ok();
        });
        assert!(Command::new("mkfifo").arg(path("codes")).status().unwrap().success());
        let config = format!(
            "van.id = \"VAN-042\"\nmqtt.broker = \"mqtt://127.0.0.1:9\"\n\
             gnss.source = \"tcp:127.0.0.1:{port}\"\noutbox.path = \"{}\"\noutbox.tail_path = \"\"\n\
             control.path = \"{}\"\n[[scanner]]\nname = \"hand\"\nsource = \"fifo:{}\"\n",
            path("outbox.db").display(),
            path("control").display(),
            path("codes").display(),
        );
        fs::write(path("waypost.toml"), config).unwrap();
        let mut run = Command::new(WAYPOST);
        run.args(["run", "--config"]).arg(path("waypost.toml"));
        let agent = Process::start(run.stderr(fs::File::create(path("log")).unwrap()));
        let van = Self { folder, agent };
        let started = Instant::now();
        while !van.ask(&["status"]).status.success() {
            assert!(started.elapsed() < Duration::from_secs(20), "{}", van.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        van
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(WAYPOST);
        command.args(arguments).arg("--control").arg(self.path("control"));
        command
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn status(&self) -> Value {
        let output = self.ask(&["status", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn status_when(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let status = self.status();
            if is(&status) {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "no {what}: {status:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn status_says_how_each_part_is_and_never_where_the_van_is() {
    let van = Van::start();
    let status = van.status_when("fix", |status| {
        status["fix"].is_object() && status["link"]["state"] == "no link"
    });
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["van"], "VAN-042");
    assert_eq!(status["fix"]["mode"], 3);
    assert!(status["fix"]["sats"].as_u64().unwrap() > 3);
    assert!(status["fix"]["age_s"].as_f64().unwrap() < 60.0);
    assert!(["open", "silent"].contains(&status["receiver"]["state"].as_str().unwrap()));
    assert!(status["outbox"]["bytes"].as_u64().unwrap() > 0);
    assert!(status["link"]["last_error"].is_string() && status["link"]["backoff_s"].is_number());
    assert!(status["card"]["written_bytes_today"].is_u64());
    assert!(status["journey"]["motion"].is_string());
    let all = status.to_string();
    for secret in ["\"lat", "\"lon", "password", "mqtt://"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }

    // The scan is counted, but its code is not published.
    fs::write(van.path("codes"), "1Z999AA10123456784\r\n").unwrap();
    let status = van.status_when("scan", |status| status["scanners"][0]["scans"] == 1);
    let scanner = &status["scanners"][0];
    assert_eq!((&scanner["name"], &scanner["kind"]), (&"hand".into(), &"barcode".into()));
    assert_eq!(scanner["state"], "open");
    let text = String::from_utf8(van.ask(&["status"]).stdout).unwrap();
    for part in ["receiver ", "fix ", "outbox ", "card ", "link ", "hand (barcode) open, 1 scans"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!(text + &status.to_string() + &van.log()).contains("1Z999AA10123456784"));

    let mode = fs::metadata(van.path("control")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let control = van.path("control");
    assert!(van.agent.terminate());
    assert!(!control.exists());
}

#[test]
fn watching_goes_on_as_lines_where_nobody_looks_at_a_terminal() {
    let van = Van::start();
    for arguments in [&["status", "--watch"][..], &["status", "--watch", "--json"]] {
        let mut running = Process(van.command(arguments).stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        let lines: Vec<String> = lines.take(2).map(Result::unwrap).collect();
        assert!(lines.iter().all(|line| line.contains("no link") || line.contains("connecting")));
        assert!(lines.iter().all(|line| !line.contains('\x1b')), "{lines:?}");
        assert_eq!(arguments.len() == 3, lines[1].starts_with('{'), "{lines:?}");
    }
    let running = Process(
        van.command(&["status", "--watch"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    std::thread::sleep(Duration::from_millis(300));
    assert!(van.agent.terminate(), "a watching client does not keep the agent running");
    let mut running = running;
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
}

#[test]
fn commands_say_what_came_of_them_and_end_with_the_code_for_it() {
    let van = Van::start();
    for (arguments, code, says) in [
        (&["scan", "1Z999AA10123456784"][..], 0, "queued until the time is known"),
        (
            &["outcome", "1Z999AA10123456784", "attempt", "--code", "AQ"],
            1,
            "wait for the first fix",
        ),
        (&["outcome", "1Z9", "delivered", "--how", "safe-place"], 1, "wait for the first fix"),
        (&["delay", "XX"], 1, "is not a reason for a delay"),
        (&["duty", "break"], 0, "recorded"),
        (&["delay", "AO"], 1, "set the duty to on first"),
        (&["scan", ""], 1, "a code has 1 to 4096 bytes"),
        (&["log", "debug"], 0, "log level debug set"),
        (&["log", "loud"], 64, "possible values: error"),
        (&["duty", "holiday"], 64, "possible values: on"),
        (&["outcome", "1Z9", "eaten"], 64, "not-found"),
    ] {
        let output = van.ask(arguments);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    assert!(van.log().contains("log level changed"), "{}", van.log());
    fs::write(van.path("codes"), "AFTER\n").unwrap();
    assert!(van.agent.terminate());

    let nobody = tempfile::tempdir().unwrap();
    let output = Command::new(WAYPOST)
        .args(["status", "--control"])
        .arg(nobody.path().join("control"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("no agent answers") && said.contains("systemctl status"), "{said}");
}

#[test]
fn garbage_slow_clients_and_a_second_agent_do_not_disturb_the_first() {
    let van = Van::start();
    let connect = || UnixStream::connect(van.path("control")).unwrap();
    let _slow: Vec<UnixStream> = (0..8)
        .map(|_| {
            let mut slow = connect();
            slow.write_all(b"{\"sta").unwrap();
            slow
        })
        .collect();
    // A watching client that does not read fills its own buffer only.
    let mut deaf = connect();
    deaf.write_all(b"{\"watch\":{}}\n").unwrap();
    let mut garbage = connect();
    garbage.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    garbage.write_all(&[0xA5; 200_000]).ok();
    garbage.read_to_end(&mut Vec::new()).ok();
    assert_eq!(van.status()["van"], "VAN-042");

    let second = Command::new(WAYPOST)
        .args(["run", "--config"])
        .arg(van.path("waypost.toml"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    let first = format!("in use by another agent (process {})", van.agent.0.id());
    assert!(said.contains(&first), "{said}");
    assert_eq!(van.status()["van"], "VAN-042");
    assert!(van.agent.terminate());
}
