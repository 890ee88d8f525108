//! The agent in virtual time produces the same records as a replay at full speed, byte for byte.

use std::io::BufReader;
use std::path::PathBuf;

use waypost::agent::{Agent, OnSourceEnd};
use waypost::config::{Config, Override};
use waypost::gnss_source::{Address, SourceConfig};
use waypost::outbox::Outbox;
use waypost::replay::{self, Emit};
use waypost_model::record::{Record, Seq, Subject};
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::trail_simplifier::Sampling;
use waypost_service::clock::Clock;
use waypost_wire::payloads::{Point, TrackSource};

use crate::support::broker::ScriptedBroker;
use crate::support::repository;

/// Runs the agent with an unreachable broker until the log has ended, and returns the stored
/// records.
async fn stored_by_the_agent(log: PathBuf, clock: Clock) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let set = |key, value: &str| Override { key, value: value.to_owned() };
    let overrides = [
        set("van.id", "VAN"),
        set("mqtt.broker", "mqtt://nowhere"),
        set("outbox.path", path.to_str().unwrap()),
        set("outbox.tail_path", ""),
    ];
    let config = Config::parse("track.sampling = \"raw\"", "test", &overrides).unwrap();
    let source = SourceConfig { address: Address::Log(log), ..config.source.clone() };
    let outbox = config.outbox.clone();
    let agent =
        Agent::open(config, DateHint::AsReported, clock, ScriptedBroker::default()).await.unwrap();
    agent.run(vec![source], OnSourceEnd::Stop, std::future::pending()).await.unwrap();

    let outbox = Outbox::open(outbox).await.unwrap();
    let records = outbox.records_after(Seq::ZERO, None, usize::MAX >> 1).await.unwrap();
    let line = |record: &Record| match &record.subject {
        Subject::Point(point) => {
            serde_json::to_string(&Point::new(record.seq, point, TrackSource::Live)).unwrap() + "\n"
        }
    };
    records.iter().map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn the_agent_in_virtual_time_stores_what_a_replay_emits() {
    for name in ["errand-ublox-m8", "errand-sirf-star", "errand-ublox-m10"] {
        let log = repository(&format!("tests/fixtures/nmea/{name}.nmea"));
        let mut emitted = Vec::new();
        let reader = BufReader::new(std::fs::File::open(&log).unwrap());
        replay::emit(reader, DateHint::AsReported, Sampling::Raw, Emit::Records, &mut emitted)
            .unwrap();
        let emitted = String::from_utf8(emitted).unwrap();
        for clock in [Clock::live(), Clock::scaled(10.0), Clock::driven_by_data()] {
            let stored = stored_by_the_agent(log.clone(), clock.clone()).await;
            assert!(stored == emitted, "{name} with {clock:?}");
        }
    }
}
