//! Tests of the uplink in virtual time, with a real outbox and a scripted broker.

mod acks;
mod broker;
mod data_usage;
mod delivery;
mod downlink;
mod events;
mod hazards;
mod over_tcp;
mod shutdown;
mod track_queue;

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::broker::{Broker, FakeConnector};
use super::*;
use crate::outbox::OutboxConfig;
use crate::outbox::tests::record;
use waypost_model::motion::{Motion, TripState};
use waypost_model::record::Seq;
use waypost_wire::{Encoding, VanId, payloads};

/// A simulated van: an outbox, an uplink and the scripted broker.
struct Van {
    outbox: Outbox,
    live: watch::Sender<Option<Record>>,
    health: watch::Sender<Health>,
    orders: DownlinkReceiver,
    responses: mpsc::Sender<CommandResponse>,
    stop: watch::Sender<ShutdownSignal>,
    status: watch::Receiver<LinkStatus>,
    broker: Broker,
    uplink: JoinHandle<Result<(), UplinkError>>,
    next: Seq,
    motion: Motion,
    _directory: tempfile::TempDir,
}

pub(super) fn config() -> UplinkConfig {
    let broker = super::Broker { host: "broker".to_owned(), port: 1883, transport: Transport::Tcp };
    UplinkConfig::new(broker, "fleet", VanId::new("VAN-1").unwrap())
}

impl Van {
    async fn start(config: UplinkConfig, broker: Broker) -> Self {
        Self::start_with_backlog(config, broker, 0).await
    }

    /// Starts an uplink with a backlog of `backlog` records.
    async fn start_with_backlog(config: UplinkConfig, broker: Broker, backlog: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let outbox =
            Outbox::open(OutboxConfig::new(directory.path().join("outbox.db"))).await.unwrap();
        let (live, live_seen) = watch::channel(None);
        let (health, health_seen) = watch::channel(Health::default());
        let (stop, stop_seen) = watch::channel(ShutdownSignal::Running);
        let clock = Clock::live();
        clock.set_utc(
            waypost_model::units::UtcTime::parse("2026-11-22T09:41:07.000Z").unwrap(),
            clock.uptime(),
        );
        let mut van_outbox = (outbox.first_seq(), Vec::new());
        for _ in 0..backlog {
            van_outbox.1.push(record(van_outbox.0, Motion::Moving));
            van_outbox.0 = van_outbox.0.next();
        }
        outbox.commit(van_outbox.1, TripState::default()).await.unwrap();
        let (downlink, orders) = downlink();
        let (answers, answered) = mpsc::channel(MAX_RESPONSES);
        let inputs = Inputs {
            outbox: outbox.clone(),
            live: live_seen,
            health: health_seen,
            clock,
            downlink,
            responses: answered,
        };
        let links = FakeConnector::new(broker.clone());
        let relay = Uplink::new(config, inputs, links).with_seed(7);
        Self {
            outbox,
            live,
            health,
            orders,
            responses: answers,
            stop,
            status: relay.status(),
            broker,
            uplink: tokio::spawn(relay.run(stop_seen)),
            next: van_outbox.0,
            motion: Motion::Moving,
            _directory: directory,
        }
    }

    /// Produces one fix per second and commits every five.
    async fn drive(&mut self, seconds: u64) {
        let mut records = Vec::new();
        for second in 1..=seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let record = record(self.next, self.motion);
            self.next = self.next.next();
            self.live.send_replace(Some(record));
            records.push(record);
            if second % 5 == 0 || second == seconds {
                let records = std::mem::take(&mut records);
                self.outbox.commit(records, TripState::default()).await.unwrap();
            }
        }
    }

    fn pending(&self) -> u64 {
        self.outbox.stats().borrow().pending
    }

    /// Waits in virtual time, with a limit.
    async fn until(&self, what: &str, limit: Duration, done: impl Fn(&Self) -> bool) {
        let waited = async {
            while !done(self) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = tokio::time::timeout(limit, waited).await.is_ok();
        assert!(in_time, "{what} within {limit:?}: {:?}", self.outbox.stats().borrow());
    }

    async fn delivered(&self, limit: Duration) {
        self.until("delivered", limit, |van| van.pending() == 0).await;
    }

    async fn finish(self, stop: ShutdownSignal, limit: Duration) {
        self.stop.send_replace(stop);
        let ended = tokio::time::timeout(limit, self.uplink).await.expect("the uplink ends");
        ended.unwrap().unwrap();
    }
}

const MINUTE: Duration = Duration::from_secs(60);
