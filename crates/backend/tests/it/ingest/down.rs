//! Downlink: queued routes and commands, and acknowledgements of stored records.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use tokio_util::sync::CancellationToken;
use waypost_backend::AppState;
use waypost_backend::downlink;
use waypost_backend::store::commands::Command;
use waypost_backend::store::{Statement, Store, Value};
use waypost_wire::payloads::Ack;

use super::{Broker, Running, topic, wait_until};
use crate::support::backend::{on_both, utc};
use crate::support::repository;

const VAN: &str = "VAN-042";

/// A van that subscribes.
struct Listener {
    client: AsyncClient,
    event_loop: EventLoop,
    received: VecDeque<(String, Vec<u8>, bool)>,
}

impl Listener {
    async fn connect(broker: &Broker, names: &[&str]) -> Self {
        let (client, event_loop) = AsyncClient::new(broker.options(VAN), 10);
        let mut this = Self { client, event_loop, received: VecDeque::new() };
        for name in names {
            this.client.subscribe(topic(VAN, name), QoS::AtLeastOnce).await.unwrap();
        }
        let mut granted = 0;
        while granted < names.len() {
            if let Event::Incoming(Packet::SubAck(_)) = this.poll().await {
                granted += 1;
            }
        }
        this
    }

    async fn poll(&mut self) -> Event {
        let event = self.event_loop.poll().await.unwrap();
        if let Event::Incoming(Packet::Publish(message)) = &event {
            let topic = String::from_utf8(message.topic.to_vec()).unwrap();
            self.received.push_back((topic, message.payload.to_vec(), message.retain));
        }
        event
    }

    /// Returns the next message within ten seconds.
    async fn next(&mut self) -> (String, Vec<u8>, bool) {
        let wait = async {
            while self.received.is_empty() {
                self.poll().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("no message arrives");
        self.received.pop_front().unwrap()
    }

    async fn publish(&mut self, name: &str, payload: &str) {
        let payload = payload.to_owned();
        self.client.publish(topic(VAN, name), QoS::AtLeastOnce, false, payload).await.unwrap();
        while !matches!(self.poll().await, Event::Incoming(Packet::PubAck(_))) {}
    }
}

struct DownlinkTask {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl DownlinkTask {
    fn start(shared: AppState) -> Self {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            let Ok(()) = downlink::run(shared, token).await;
        });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn put(store: &Store, route: &str, rev: i64, from: &str) {
    let statement = Statement::new(
        "INSERT INTO route (route, van, rev, valid_from, valid_until, doc, manifest, digest, put_at, withdrawn) \
         VALUES ($1, $2, $3, $4, $5, '', $6, '', $4, 0) ON CONFLICT (route) DO UPDATE SET rev = excluded.rev, \
         manifest = excluded.manifest",
        [
            route.into(),
            VAN.into(),
            rev.into(),
            utc(from).into(),
            utc(from).checked_add(Duration::from_hours(10)).unwrap().into(),
            format!("{route}:{rev}").into(),
        ],
    );
    store.write(vec![statement]).await.unwrap();
}

async fn sent_rev(store: &Store, route: &str) -> Option<i64> {
    let asked = Statement::new("SELECT sent_rev FROM route WHERE route = $1", [route.into()]);
    store.read(asked).await.unwrap()[0].maybe_int(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_retained_its_newest_revision_last_and_the_next_day_waits_for_its_turn() {
    let Some(broker) = Broker::start() else { return };
    on_both(async |store| {
        put(&store, "today", 1, "2026-11-23T06:00:00Z").await;
        put(&store, "tomorrow", 1, "2026-11-24T06:00:00Z").await;
        let shared = broker.shared(store.clone(), "down");
        let down = DownlinkTask::start(shared.clone());
        wait_until("not sent", async || sent_rev(&store, "today").await == Some(1)).await;
        let mut van = Listener::connect(&broker, &["manifest"]).await;
        assert_eq!(van.next().await, (topic(VAN, "manifest"), b"today:1".to_vec(), true));
        put(&store, "today", 2, "2026-11-23T06:00:00Z").await;
        shared.downlink.notify_one();
        assert_eq!(van.next().await.1, b"today:2");
        wait_until("not sent", async || sent_rev(&store, "today").await == Some(2)).await;
        assert_eq!(sent_rev(&store, "tomorrow").await, None, "the van still drives today's");
        let withdraw = "UPDATE route SET withdrawn = 1, sent_rev = NULL WHERE route = 'today'";
        store.write(vec![Statement::new(withdraw, Vec::<Value>::new())]).await.unwrap();
        shared.downlink.notify_one();
        assert_eq!(van.next().await.1, b"tomorrow:1", "replaces the withdrawn route");
        wait_until("not sent", async || sent_rev(&store, "tomorrow").await == Some(1)).await;
        let withdraw = "UPDATE route SET withdrawn = 1, sent_rev = NULL WHERE route = 'tomorrow'";
        store.write(vec![Statement::new(withdraw, Vec::<Value>::new())]).await.unwrap();
        shared.downlink.notify_one();
        assert_eq!(van.next().await.1, b"", "no message is left");
        wait_until("not sent", async || sent_rev(&store, "tomorrow").await == Some(1)).await;
        down.stop().await;
        // The next store has an empty broker.
        let (client, mut event_loop) = AsyncClient::new(broker.options("cleaner"), 10);
        client.publish(topic(VAN, "manifest"), QoS::AtLeastOnce, true, "").await.unwrap();
        while !matches!(event_loop.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
    })
    .await;
}

const COMMAND: &str = "0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10";

async fn status(store: &Store) -> String {
    store.command(COMMAND).await.unwrap().unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_its_van_and_for_its_answer() {
    let Some(broker) = Broker::start() else { return };
    on_both(async |store| {
        let shared = broker.shared(store.clone(), "commands");
        let running = Running::start(shared.clone());
        running.connected().await;
        let down = DownlinkTask::start(shared.clone());
        let doc = format!(r#"{{"v":1,"id":"{COMMAND}","command":"flush"}}"#);
        let command = Command::new(COMMAND.into(), VAN.into(), "flush_outbox".into(), doc, shared.now());
        assert!(store.put_command(&command).await.unwrap());
        assert!(!store.put_command(&command).await.unwrap(), "it already exists");
        shared.downlink.notify_one();
        wait_until("not tried", async || store.command(COMMAND).await.unwrap().unwrap().tries == 1)
            .await;
        assert_eq!(status(&store).await, "waiting", "the van is not connected");
        let mut van = Listener::connect(&broker, &["command"]).await;
        let online = format!(
            r#"{{"v":1,"van":"{VAN}","state":"online","ts":"2026-11-23T11:00:00Z","session":7,"connection":1}}"#
        );
        van.publish("connection", &online).await;
        let (_, payload, retained) = van.next().await;
        assert_eq!((payload, retained), (command.doc.clone().into_bytes(), false));
        wait_until("not sent", async || status(&store).await == "sent").await;
        for (said, becomes) in [("accepted", "accepted"), ("succeeded", "succeeded"), ("accepted", "succeeded")] {
            van.publish("command/result", &format!(r#"{{"v":1,"id":"{COMMAND}","status":"{said}"}}"#))
                .await;
            wait_until(said, async || status(&store).await == becomes).await;
        }
        down.stop().await;
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_van_that_waits_for_it_hears_exactly_what_is_stored() {
    let Some(broker) = Broker::start() else { return };
    on_both(async |store| {
        let running = Running::start(broker.shared(store.clone(), "acks"));
        running.connected().await;
        let mut van = Listener::connect(&broker, &["ack"]).await;
        let example = |name: &str| {
            let path = format!("docs/contract/{name}.example.json");
            std::fs::read_to_string(repository(&path)).unwrap()
        };
        van.publish("event", "{}").await;
        van.publish("event", &example("event")).await;
        van.publish("track", &example("track")).await;
        let (mut events, mut track) = (Vec::new(), Vec::new());
        while events.is_empty() || track.is_empty() {
            let ack: Ack = serde_json::from_slice(&van.next().await.1).unwrap();
            events.extend(ack.event.ranges);
            track.extend(ack.track.ranges);
        }
        let pairs = |ranges: &[waypost_wire::payloads::SeqRange]| -> Vec<(u64, u64)> {
            ranges.iter().map(|range| (range.first, range.last)).collect()
        };
        assert_eq!(pairs(&events), [(3342, 3342)]);
        assert_eq!(pairs(&track), [(3201, 3204)]);
        running.stop().await;
    })
    .await;
}
