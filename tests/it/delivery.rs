//! The whole agent in virtual time: broker unreachable, acknowledgements lost, agent restarted. No
//! record is lost.

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use waypost::agent::{Agent, AgentError, OnSourceEnd};
use waypost::config::{Config, Override};
use waypost::gnss_source::{Address, SourceConfig};
use waypost::replay::{self, Emit};
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::trail_simplifier::Sampling;
use waypost_service::clock::Clock;
use waypost_sim::{ReceiverType, Route, Simulation};

use crate::support::broker::ScriptedBroker;
use crate::support::repository;

/// A van that plays a simulated log.
struct VirtualVan {
    folder: tempfile::TempDir,
    broker: ScriptedBroker,
    /// Number of fixes in the log; fewer than seconds, because the route has a tunnel.
    fixes: usize,
}

impl VirtualVan {
    /// Creates a log of this many seconds from the middle of a city day.
    fn new(seconds: u64) -> Self {
        let mut route = Route::load(&repository("config/routes/city.toml")).unwrap();
        route.settings.receiver = ReceiverType::Mtk3339;
        route.settings.duration = Some(Duration::from_secs(900 + seconds));
        let folder = tempfile::tempdir().unwrap();
        let log: Vec<u8> = Simulation::new(route).skip(900).flat_map(|burst| burst.bytes).collect();
        let mut fixes = Vec::new();
        replay::emit(log.as_slice(), DateHint::AsReported, Sampling::Raw, Emit::Fixes, &mut fixes)
            .unwrap();
        let fixes = fixes.split(|byte| *byte == b'\n').count() - 1;
        std::fs::write(folder.path().join("drive.nmea"), log).unwrap();
        Self { folder, broker: ScriptedBroker::default(), fixes }
    }

    /// Opens the agent with the outbox of the folder, and the log as its source.
    async fn open(&self) -> (Agent<ScriptedBroker>, SourceConfig) {
        let outbox = self.folder.path().join("outbox.db");
        let set = |key, value: &str| Override { key, value: value.to_owned() };
        let overrides = [
            set("van.id", "VAN-042"),
            set("mqtt.broker", "mqtt://scripted"),
            set("outbox.path", outbox.to_str().unwrap()),
            set("outbox.tail_path", ""),
        ];
        let config = Config::parse("track.sampling = \"raw\"", "test", &overrides).unwrap();
        let source = SourceConfig { address: Address::Log(self.log()), ..config.source.clone() };
        let agent = Agent::open(config, DateHint::AsReported, Clock::live(), self.broker.clone())
            .await
            .unwrap();
        (agent, source)
    }

    /// Starts the agent on the log.
    async fn start(
        &self,
        at_end: OnSourceEnd,
        stop: tokio::sync::oneshot::Receiver<()>,
    ) -> JoinHandle<Result<(), AgentError>> {
        let (agent, source) = self.open().await;
        tokio::spawn(agent.run(vec![source], at_end, async {
            if stop.await.is_err() {
                std::future::pending::<()>().await;
            }
        }))
    }

    fn log(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("drive.nmea")
    }
}

/// Returns the count of missing numbers between the first and the last, and the count of
/// duplicates.
fn missing_and_doubled(seqs: &[u64]) -> (usize, usize) {
    let mut unique = seqs.to_vec();
    unique.sort_unstable();
    unique.dedup();
    let span = unique.last().map_or(0, |last| last - unique[0] + 1);
    (usize::try_from(span).unwrap() - unique.len(), seqs.len() - unique.len())
}

fn never() -> tokio::sync::oneshot::Receiver<()> {
    tokio::sync::oneshot::channel().1
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_a_broker_loses_nothing_and_keeps_the_order() {
    let van = VirtualVan::new(4000);
    let agent = van.start(OnSourceEnd::Drain, never()).await;
    sleep(Duration::from_hours(1)).await;
    assert!(van.broker.track_seqs().is_empty());
    van.broker.go_up();
    agent.await.unwrap().unwrap();

    let seqs = van.broker.track_seqs();
    assert_eq!(missing_and_doubled(&seqs), (0, 0));
    assert_eq!((seqs.iter().min(), seqs.len()), (Some(&1), van.fixes));
    // The backlog is in order, and so are the points recorded after the reconnect.
    let tracks = van.broker.payloads("/track");
    for lane in [true, false] {
        let of_lane = |point: &&serde_json::Value| point.get("backlog").is_some() == lane;
        let points = tracks.iter().flat_map(|track| track["points"].as_array().unwrap());
        let seqs: Vec<u64> =
            points.filter(of_lane).map(|point| point["seq"].as_u64().unwrap()).collect();
        assert!(seqs.is_sorted() && !seqs.is_empty(), "backlog {lane}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_agents_loops_answer_whatever_the_link_does() {
    let van = VirtualVan::new(1500);
    let (agent, source) = van.open().await;
    let liveness = agent.watches().liveness;
    let agent = tokio::spawn(agent.run(vec![source], OnSourceEnd::Drain, std::future::pending()));
    // Unreachable, connected, cut, connected again: the watchdog's probes every 5 s are answered in
    // each phase.
    for quarter in 0..4 {
        if quarter % 2 == 1 {
            van.broker.go_up();
        } else {
            van.broker.go_down();
        }
        for _ in 0..60 {
            liveness.probe();
            sleep(Duration::from_secs(5)).await;
            assert_eq!(liveness.unresponsive().count(), 0, "in quarter {quarter}");
        }
    }
    agent.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_newest_position_goes_before_the_backlog() {
    let van = VirtualVan::new(3000);
    let agent = van.start(OnSourceEnd::Drain, never()).await;
    sleep(Duration::from_mins(40)).await;
    van.broker.go_up();
    while van.broker.payloads("/track").is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    let first = &van.broker.payloads("/position")[0];
    assert!(first["seq"].as_u64().unwrap() > 2300, "{first}");
    let index_of = |name: &str| van.broker.topics().iter().position(|topic| topic.ends_with(name));
    assert!(index_of("/position") < index_of("/track"), "{:?}", van.broker.topics());
    agent.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn cuts_and_lost_acknowledgements_double_messages_and_lose_none() {
    let van = VirtualVan::new(3000);
    van.broker.go_up();
    van.broker.lose_acknowledgements(7);
    let agent = van.start(OnSourceEnd::Drain, never()).await;
    for _ in 0..12 {
        sleep(Duration::from_secs(170)).await;
        van.broker.go_down();
        sleep(Duration::from_secs(45)).await;
        van.broker.go_up();
    }
    van.broker.lose_acknowledgements(0);
    agent.await.unwrap().unwrap();
    let seqs = van.broker.track_seqs();
    let (missing, duplicates) = missing_and_doubled(&seqs);
    assert_eq!(seqs.iter().min(), Some(&1));
    assert_eq!((missing, seqs.iter().max()), (0, Some(&(van.fixes as u64))));
    assert!(duplicates > 0, "a lost acknowledgement duplicates its message");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_stopped_says_so_and_the_next_one_sends_the_rest() {
    let van = VirtualVan::new(1200);
    van.broker.go_up();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let agent = van.start(OnSourceEnd::Stop, stopped).await;
    sleep(Duration::from_mins(5)).await;
    stop.send(()).unwrap();
    agent.await.unwrap().unwrap();
    let said = |van: &VirtualVan| {
        let payloads = van.broker.payloads("/connection");
        payloads.iter().map(|said| said["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(said(&van), ["online", "offline"]);

    let agent = van.start(OnSourceEnd::Drain, never()).await;
    agent.await.unwrap().unwrap();
    assert_eq!(said(&van), ["online", "offline", "online", "offline"]);
    assert_eq!(van.broker.payloads("/connection")[2]["session"], 2);
    // The second agent starts at the next block, so that no number is used twice.
    let (first, second): (Vec<u64>, Vec<u64>) =
        van.broker.track_seqs().iter().partition(|seq| **seq <= 100_000);
    assert_eq!((missing_and_doubled(&first), first.first()), ((0, 0), Some(&1)));
    assert!((250..=301).contains(&first.len()), "{} in five minutes", first.len());
    assert_eq!((missing_and_doubled(&second), second.len()), ((0, 0), van.fixes));
}

#[tokio::test(start_paused = true)]
async fn a_backlog_does_not_go_out_under_another_vans_name() {
    let van = VirtualVan::new(60);
    van.start(OnSourceEnd::Stop, never()).await.await.unwrap().unwrap();
    let set = |key, value: &str| Override { key, value: value.to_owned() };
    let outbox = van.folder.path().join("outbox.db");
    let overrides = [
        set("van.id", "VAN-043"),
        set("mqtt.broker", "mqtt://scripted"),
        set("outbox.path", outbox.to_str().unwrap()),
        set("outbox.tail_path", ""),
    ];
    let config = Config::parse("track.sampling = \"raw\"", "test", &overrides).unwrap();
    let refused =
        Agent::open(config, DateHint::AsReported, Clock::live(), van.broker.clone()).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("VAN-042") && error.contains("VAN-043"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn logs_one_after_the_other_are_one_drive_at_any_speed() {
    let van = VirtualVan::new(400);
    let log = std::fs::read(van.log()).unwrap();
    let half =
        log.len() / 2 + log[log.len() / 2..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let logs = [van.folder.path().join("a.nmea"), van.folder.path().join("b.nmea")];
    std::fs::write(&logs[0], &log[..half]).unwrap();
    std::fs::write(&logs[1], &log[half..]).unwrap();
    let mut emitted = Vec::new();
    replay::emit(
        replay::open(&logs).unwrap(),
        DateHint::AsReported,
        Sampling::Raw,
        Emit::Records,
        &mut emitted,
    )
    .unwrap();
    let emitted = String::from_utf8(emitted).unwrap();
    van.broker.go_up();
    let outbox = van.folder.path().join("outbox.db");
    let set = |key, value: &str| Override { key, value: value.to_owned() };
    let overrides = [
        set("van.id", "V"),
        set("mqtt.broker", "mqtt://b"),
        set("outbox.path", outbox.to_str().unwrap()),
        set("outbox.tail_path", ""),
    ];
    let config = Config::parse("track.sampling = \"raw\"", "test", &overrides).unwrap();
    let source = |log: &std::path::PathBuf| SourceConfig {
        address: Address::Log(log.clone()),
        ..config.source.clone()
    };
    let sources = logs.iter().map(source).collect();
    let agent =
        Agent::open(config, DateHint::AsReported, Clock::driven_by_data(), van.broker.clone())
            .await
            .unwrap();
    agent.run(sources, OnSourceEnd::Drain, std::future::pending()).await.unwrap();
    let tracks = van.broker.payloads("/track");
    let sent: Vec<_> =
        tracks.iter().flat_map(|track| track["points"].as_array().unwrap()).collect();
    for (line, sent) in emitted.lines().zip(&sent) {
        let mut sent = (*sent).clone();
        sent.as_object_mut().unwrap().remove("backlog");
        assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), sent);
    }
    assert_eq!(emitted.lines().count(), sent.len());
}
