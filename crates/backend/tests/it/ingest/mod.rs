//! The consumer and the downlink sender against a real broker and both stores.

mod clock;
mod day;
mod dead_letters;
mod domains;
mod down;
mod instances;

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use waypost_backend::AppState;
use waypost_backend::ingest::{Counters, Ingest};
use waypost_backend::store::{Row, Statement, Store, Value};

use crate::support::backend::{config, shared};
use crate::support::van::free_port;
use crate::support::{Process, installed};

/// Clock of all instances, after the end of the simulated day.
const NOW: &str = "2026-11-23T12:00:00.000Z";

/// mosquitto on a free port, configured to lose no messages.
struct Broker {
    port: u16,
    _folder: tempfile::TempDir,
    _process: Process,
}

impl Broker {
    /// Returns `None` and reports a skip if mosquitto is not installed.
    fn start() -> Option<Self> {
        let program = installed("mosquitto")?;
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let conf = folder.path().join("mosquitto.conf");
        let text = format!(
            "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 200\n"
        );
        std::fs::write(&conf, text).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&conf).stderr(Stdio::null()).stdout(Stdio::null());
        let process = Process::start(&mut command);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { port, _folder: folder, _process: process })
    }

    /// Returns the shared state of an instance with this name.
    fn shared(&self, store: Store, name: &str) -> AppState {
        let mut config = config();
        config.mqtt.port = self.port;
        config.mqtt.client_id = name.to_owned();
        let its = shared(store, NOW);
        AppState { config: Arc::new(config), ..its }
    }

    fn options(&self, name: &str) -> MqttOptions {
        let mut options = MqttOptions::new(name, "127.0.0.1", self.port);
        options.set_outgoing_inflight_upper_limit(100);
        options
    }

    /// Publishes all with QoS 1, and waits for each PUBACK.
    async fn publish(&self, messages: &[(String, Vec<u8>)]) {
        let (client, mut event_loop) = AsyncClient::new(self.options("publisher"), 10);
        let all = messages.to_vec();
        let sent = all.len();
        tokio::spawn(async move {
            for (topic, payload) in all {
                client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
            }
            // Runs until the connection is over.
            std::future::pending::<()>().await;
        });
        let mut acknowledged = 0;
        while acknowledged < sent {
            if let Event::Incoming(Packet::PubAck(_)) = event_loop.poll().await.unwrap() {
                acknowledged += 1;
            }
        }
    }
}

/// A running consumer.
struct Running {
    counters: Arc<Counters>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(shared: AppState) -> Self {
        let ingest = Ingest::new(shared);
        let counters = ingest.counters();
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            let Ok(()) = ingest.run(token).await;
        });
        Self { counters, stop, task }
    }

    /// Ends the tasks at once, as a killed process would.
    async fn kill(&mut self) {
        self.task.abort();
        (&mut self.task).await.ok();
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    async fn connected(&self) {
        let counters = &self.counters;
        wait_until("no connection", async || {
            counters.connected.load(std::sync::atomic::Ordering::Relaxed)
        })
        .await;
        // The subscription follows the connection.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn wait_until(otherwise: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..2400 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{otherwise}");
}

async fn rows(store: &Store, sql: &'static str) -> Vec<Row> {
    store.read(Statement::new(sql, Vec::<Value>::new())).await.unwrap()
}

async fn count(store: &Store, sql: &'static str) -> i64 {
    rows(store, sql).await[0].int(0)
}

fn topic(van: &str, name: &str) -> String {
    format!("fleet/v1/{van}/{name}")
}
