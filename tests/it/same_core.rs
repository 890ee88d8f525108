//! The agent in virtual time gives the same records as a replay at once, byte for byte.

use std::io::BufReader;
use std::path::PathBuf;

use waypost::clock::Clock;
use waypost::config::{Config, Override};
use waypost::core::calendar::Era;
use waypost::core::record::{Record, Seq, Subject};
use waypost::core::sampling::Sampling;
use waypost::daemon::{Agent, AtEnd};
use waypost::outbox::Outbox;
use waypost::replay::{self, Emit};
use waypost::source::{Address, SourceConfig};
use waypost::wire::json::{Lane, Point};

use crate::support::broker::ScriptedBroker;
use crate::support::repository;

/// Runs the agent on a log until the log has ended, with a broker that is never there, and returns what it has stored.
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
    let agent = Agent::open(config, Era::AsSaid, clock, ScriptedBroker::default()).await.unwrap();
    agent.run(vec![source], AtEnd::Stop, std::future::pending()).await.unwrap();

    let outbox = Outbox::open(outbox).await.unwrap();
    let records = outbox.after(Seq::ZERO, None, usize::MAX >> 1).await.unwrap();
    let line = |record: &Record| match &record.subject {
        Subject::Point(point) => {
            serde_json::to_string(&Point::new(record.seq, point, Lane::Live)).unwrap() + "\n"
        }
        _ => unreachable!("there is no other kind"),
    };
    records.iter().map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn the_agent_in_virtual_time_stores_what_a_replay_emits() {
    for name in ["errand-ublox-m8", "errand-sirf-star", "errand-ublox-m10"] {
        let log = repository(&format!("tests/fixtures/nmea/{name}.nmea"));
        let mut emitted = Vec::new();
        let reader = BufReader::new(std::fs::File::open(&log).unwrap());
        replay::emit(reader, Era::AsSaid, Sampling::Raw, Emit::Records, &mut emitted).unwrap();
        let emitted = String::from_utf8(emitted).unwrap();
        for clock in [Clock::live(), Clock::scaled(10.0), Clock::by_data()] {
            let stored = stored_by_the_agent(log.clone(), clock.clone()).await;
            assert!(stored == emitted, "{name} with {clock:?}");
        }
    }
}
