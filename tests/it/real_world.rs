//! Real parts: a pty as the serial line, the built binary, and mosquitto. Skipped if mosquitto is
//! not installed.

#![expect(clippy::disallowed_methods, reason = "real parts run in real time")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Process, WAYPOST, installed, repository, simulator};

struct Bench {
    folder: tempfile::TempDir,
    mosquitto: PathBuf,
    port: u16,
}

impl Bench {
    fn new(mosquitto: PathBuf) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bench = Self { folder: tempfile::tempdir().unwrap(), mosquitto, port };
        let broker =
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
        fs::write(bench.path("mosquitto.conf"), broker).unwrap();
        let agent = format!(
            "van.id = \"VAN-042\"\nmqtt.broker = \"mqtt://127.0.0.1:{port}\"\nmqtt.position_moving_s = 0\n\
             mqtt.position_halted_s = 0\nmqtt.require_subscriber = true\ntrack.sampling = \"raw\"\ntrack.batch_s = 0.5\n\
             gnss.source = \"serial:{}\"\ngnss.baud = 38400\noutbox.path = \"{}\"\n\
             outbox.tail_path = \"{}\"\ncontrol.path = \"{}\"\n",
            bench.path("receiver").display(),
            bench.path("outbox.db").display(),
            bench.path("tail").display(),
            bench.path("control").display(),
        );
        fs::write(bench.path("waypost.toml"), agent).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    fn broker(&self) -> Process {
        let broker = Process::start(
            Command::new(&self.mosquitto)
                .arg("-c")
                .arg(self.path("mosquitto.conf"))
                .stderr(Stdio::null()),
        );
        wait_for("mosquitto", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        broker
    }

    /// Starts a van in the middle of its day, at ten times real time.
    fn receiver(&self) -> Process {
        let mut simulate = simulator();
        simulate.arg(repository("config/routes/rural.toml"));
        simulate
            .args(["--cold-start", "0", "--speed", "10", "--baud", "38400", "--pty"])
            .arg(self.path("receiver"));
        let receiver = Process::start(simulate.stderr(Stdio::null()));
        wait_for("the pty", || self.path("receiver").exists());
        receiver
    }

    fn agent(&self) -> Process {
        Process::start(
            Command::new(WAYPOST)
                .args(["run", "--config"])
                .arg(self.path("waypost.toml"))
                .stderr(Stdio::null()),
        )
    }

    /// Subscribes to the van's topics and yields (last topic level, payload).
    fn subscriber(&self) -> (Process, mpsc::Receiver<(String, Value)>) {
        let mut subscribe = Command::new("mosquitto_sub");
        subscribe.args([
            "-p",
            &self.port.to_string(),
            "-V",
            "5",
            "-q",
            "1",
            "-t",
            "fleet/v1/VAN-042/#",
            "-F",
            "%t %p",
        ]);
        let mut child = subscribe.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, received) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let (topic, payload) = line.split_once(' ').unwrap();
                let level = topic.rsplit('/').next().unwrap().to_owned();
                if sender.send((level, serde_json::from_str(payload).unwrap())).is_err() {
                    return;
                }
            }
        });
        (Process(child), received)
    }
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what} does not arrive");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Count of each sequence number on `track`.
#[derive(Default)]
struct Seen {
    track: BTreeMap<u64, u32>,
    positions: u32,
    connection: Vec<String>,
}

impl Seen {
    fn take(&mut self, (level, payload): &(String, Value)) {
        match level.as_str() {
            "track" => {
                for point in payload["points"].as_array().unwrap() {
                    *self.track.entry(point["seq"].as_u64().unwrap()).or_default() += 1;
                }
            }
            "position" => self.positions += 1,
            "connection" => self.connection.push(payload["state"].as_str().unwrap().to_owned()),
            _ => {}
        }
    }

    /// Processes messages until `points` different points have arrived.
    fn take_until(&mut self, received: &mpsc::Receiver<(String, Value)>, points: usize) {
        let started = Instant::now();
        while self.track.len() < points {
            let message =
                received.recv_timeout(Duration::from_secs(30)).expect("the trail continues");
            self.take(&message);
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{} of {points} points",
                self.track.len()
            );
        }
    }

    /// Returns the numbers missing within each run of the agent: a run starts with a block of
    /// 100,000.
    fn missing(&self) -> Vec<u64> {
        let runs = self.track.keys().map(|seq| (seq - 1) / 100_000);
        let last_of =
            |run: u64| self.track.keys().filter(|seq| (**seq - 1) / 100_000 == run).max().copied();
        let expected = runs.flat_map(|run| run * 100_000 + 1..=last_of(run).unwrap());
        let mut missing: Vec<u64> = expected.filter(|seq| !self.track.contains_key(seq)).collect();
        missing.dedup();
        missing
    }
}

#[test]
fn a_receiver_on_a_pty_is_seen_by_a_subscriber_of_a_real_broker_and_nothing_is_missing() {
    let (Some(mosquitto), Some(_)) = (installed("mosquitto"), installed("mosquitto_sub")) else {
        return;
    };
    let bench = Bench::new(mosquitto);
    let broker = bench.broker();
    let (subscriber, received) = bench.subscriber();
    let mut seen = Seen::default();

    let receiver = bench.receiver();
    let agent = bench.agent();
    seen.take_until(&received, 40);
    assert!(seen.positions > 20, "{} positions", seen.positions);
    assert_eq!(seen.connection, ["online"]);

    // The broker is down, and the agent is killed meanwhile. The next one sends the records
    // committed before.
    drop((subscriber, broker));
    std::thread::sleep(Duration::from_secs(3));
    drop(agent);
    let agent = bench.agent();
    std::thread::sleep(Duration::from_secs(2));
    let broker = bench.broker();
    let (subscriber, received) = bench.subscriber();
    let before = seen.track.len();
    seen.take_until(&received, before + 60);

    // The receiver is unplugged and returns under its name. Its link goes first, as udev's does: the
    // kernel gives the pty's number to the next test, and this agent must not open that one.
    fs::remove_file(bench.path("receiver")).unwrap();
    drop(receiver);
    std::thread::sleep(Duration::from_secs(1));
    let receiver = bench.receiver();
    let before = seen.track.len();
    seen.take_until(&received, before + 30);

    assert!(agent.terminate(), "SIGTERM ends the agent in order");
    while let Ok(message) = received.recv_timeout(Duration::from_secs(1)) {
        seen.take(&message);
    }
    assert_eq!(seen.missing(), [0_u64; 0], "of {:?}", seen.track.keys());
    assert_eq!(seen.connection.last().map(String::as_str), Some("offline"));
    drop((receiver, subscriber, broker));
}

#[test]
fn a_log_goes_through_the_whole_agent_to_a_real_broker() {
    let (Some(mosquitto), Some(_)) = (installed("mosquitto"), installed("mosquitto_sub")) else {
        return;
    };
    let bench = Bench::new(mosquitto);
    let _broker = bench.broker();
    let (_subscriber, received) = bench.subscriber();
    std::thread::sleep(Duration::from_millis(300));
    let broker = format!("mqtt://127.0.0.1:{}", bench.port);
    let outbox = bench.path("replay.db");
    let replay = Command::new(WAYPOST)
        .args(["replay", "--broker", &broker, "--van", "VAN-042", "--sampling", "raw", "--outbox"])
        .args([&outbox, &repository("tests/fixtures/nmea/errand-ublox-m8.nmea")])
        .output()
        .unwrap();
    let summary = String::from_utf8(replay.stdout).unwrap();
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    assert!(summary.contains("outbox    0 waiting, 0 evicted"), "{summary}");
    let expected =
        fs::read_to_string(repository("tests/fixtures/nmea/errand-ublox-m8.expected.jsonl"))
            .unwrap()
            .lines()
            .count();
    let mut seen = Seen::default();
    seen.take_until(&received, expected);
    assert!(summary.contains(&format!("points    {expected} acknowledged")), "{summary}");
    assert!(seen.track.values().all(|times| *times == 1), "{:?}", seen.track);
}
