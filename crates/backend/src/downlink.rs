//! Publishes pending routes and commands to `manifest` and `command` of the vans, on its own
//! connection.
//!
//! - A **manifest** is retained, so a van that connects later receives it. A revision counts as
//!   sent after its PUBACK. A revision that was put in the meantime is pending again, so the newest
//!   one always remains on the broker.
//! - A **command** is never retained: it would run again with each connection. It is published
//!   again with growing delays until the van answers on `command/result` or the command expires, and at
//!   once when the van connects. Vans ignore repeats.
//! - A row is leased before it is published, so only one of several instances publishes it.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAck, PubAckReason, PublishProperties};
use rumqttc::v5::{AsyncClient, Event};
use tokio_util::sync::CancellationToken;

use super::AppState;
use super::mqtt_options::{self, Session};
use super::store::PendingRoute;
use super::store::StoreError;
use super::store::commands::Command;
use waypost_model::units::UtcTime;
use waypost_service::backoff::Backoff;
use waypost_wire::VERSION;

/// Maximum number of publications without PUBACK.
const WINDOW: usize = 16;

/// Lease of a claimed row; after this, another instance may claim it.
const LEASE: Duration = Duration::from_secs(30);

/// Interval for polling rows of other instances and rows whose retry delay has passed.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Upper bound of the doubling delay between attempts to publish a command.
const MAX_RETRY_DELAY: Duration = Duration::from_mins(10);

/// A publication in flight.
#[derive(Debug)]
enum Sent {
    Manifest(PendingRoute),
    Command(Command),
}

enum DisconnectReason {
    Stopped,
    Failed(String),
}

/// Publishes pending rows until `stop`. Waits for a broker or store that is unavailable.
pub async fn run(shared: AppState, stop: CancellationToken) -> Result<(), Infallible> {
    const FIRST: Duration = Duration::from_millis(250);
    let mut backoff = Backoff::new(FIRST, Duration::from_secs(30), fastrand::Rng::new());
    loop {
        let mut sender = DownlinkSession::new(shared.clone());
        let DisconnectReason::Failed(words) = sender.run(&stop).await else { return Ok(()) };
        if sender.was_connected {
            backoff.reset();
        }
        tracing::debug!(error = words, "downlink connection failed");
        tokio::select! {
            () = tokio::time::sleep(backoff.next_delay()) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// One connection to the broker.
struct DownlinkSession {
    shared: AppState,
    was_connected: bool,
    /// Queued in the client, without a packet identifier yet. Identifiers are assigned in this
    /// order.
    queued: VecDeque<Sent>,
    in_flight: HashMap<u16, Sent>,
    store_failing: bool,
}

impl DownlinkSession {
    fn new(shared: AppState) -> Self {
        Self {
            shared,
            was_connected: false,
            queued: VecDeque::new(),
            in_flight: HashMap::new(),
            store_failing: false,
        }
    }

    async fn run(&mut self, stop: &CancellationToken) -> DisconnectReason {
        let config = &self.shared.config.mqtt;
        let client_id = format!("{}-down", config.client_id);
        let options = match mqtt_options::options(config, &client_id, Session::Clean) {
            Ok(options) => options,
            Err(error) => return DisconnectReason::Failed(error.to_string()),
        };
        let (client, mut event_loop) = AsyncClient::new(options, 2 * WINDOW);
        let mut look = tokio::time::interval(POLL_INTERVAL);
        let downlink = std::sync::Arc::clone(&self.shared.downlink);
        loop {
            // The future lives across all iterations of the inner loop: dropping it could lose a
            // packet.
            let polled = {
                let mut poll = pin!(event_loop.poll());
                loop {
                    let has_room = self.was_connected && self.in_flight_count() == 0;
                    tokio::select! {
                        biased;
                        polled = &mut poll => break Some(polled),
                        () = stop.cancelled() => break None,
                        () = downlink.notified(), if has_room => self.send_due(&client).await,
                        _ = look.tick(), if has_room => self.send_due(&client).await,
                    }
                }
            };
            match polled {
                None => {
                    mqtt_options::disconnect(&client, &mut event_loop).await;
                    return DisconnectReason::Stopped;
                }
                Some(Err(error)) => {
                    return DisconnectReason::Failed(mqtt_options::describe_error(&error));
                }
                Some(Ok(event)) => self.on_event(event, &client).await,
            }
        }
    }

    fn in_flight_count(&self) -> usize {
        self.queued.len() + self.in_flight.len()
    }

    async fn on_event(&mut self, event: Event, client: &AsyncClient) {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                self.was_connected = true;
                self.send_due(client).await;
            }
            Event::Outgoing(Outgoing::Publish(packet)) => {
                if let Some(sent) = self.queued.pop_front() {
                    self.in_flight.insert(packet, sent);
                }
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                let Some(sent) = self.in_flight.remove(&ack.pkid) else { return };
                let noted = self.on_puback(sent, &ack).await;
                self.ok_or_log(noted);
                if self.in_flight_count() == 0 {
                    self.send_due(client).await;
                }
            }
            _ => {}
        }
    }

    /// Claims pending rows and publishes them.
    async fn send_due(&mut self, client: &AsyncClient) {
        let now = self.shared.now();
        let limit = u32::try_from(WINDOW / 2).unwrap_or(1);
        let routes = self.shared.store.claim_routes(now, LEASE, limit).await;
        for route in self.ok_or_log(routes).unwrap_or_default() {
            if route.is_replaced {
                let noted = self.shared.store.record_route_sent(&route).await;
                self.ok_or_log(noted);
                continue;
            }
            let payload = if route.withdrawn { String::new() } else { route.manifest.clone() };
            self.publish(
                client,
                "manifest",
                &route.van.clone(),
                true,
                payload,
                Sent::Manifest(route),
            );
        }
        let commands = self.shared.store.claim_commands(now, LEASE, limit).await;
        for command in self.ok_or_log(commands).unwrap_or_default() {
            let payload = command.doc.clone();
            self.publish(
                client,
                "command",
                &command.van.clone(),
                false,
                payload,
                Sent::Command(command),
            );
        }
    }

    fn publish(
        &mut self,
        client: &AsyncClient,
        name: &str,
        van: &str,
        retain: bool,
        payload: String,
        sent: Sent,
    ) {
        let topic = format!("{}/v{VERSION}/{van}/{name}", self.shared.config.mqtt.topic_root);
        let content = PublishProperties {
            content_type: Some("application/json".to_owned()),
            ..PublishProperties::default()
        };
        let published =
            client.try_publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, content);
        // A row that does not fit into the queue is claimed again after its lease.
        if published.is_ok() {
            self.queued.push_back(sent);
        }
    }

    /// Records the broker's response to a publication.
    async fn on_puback(&self, sent: Sent, ack: &PubAck) -> Result<(), StoreError> {
        let nobody = ack.reason == PubAckReason::NoMatchingSubscribers;
        let taken = ack.reason == PubAckReason::Success;
        match sent {
            // A retained manifest needs no subscriber yet.
            Sent::Manifest(route) if taken || nobody => {
                self.shared.store.record_route_sent(&route).await
            }
            Sent::Manifest(_) => Ok(()),
            Sent::Command(command) => {
                let next_at = next_attempt_at(self.shared.now(), command.tries);
                self.shared.store.record_command_sent(&command.id, taken, next_at).await
            }
        }
    }

    /// Logs the first of consecutive store errors. Claimed rows become pending again after their
    /// lease.
    fn ok_or_log<T>(&mut self, asked: Result<T, StoreError>) -> Option<T> {
        match asked {
            Ok(answer) => {
                if std::mem::take(&mut self.store_failing) {
                    tracing::info!("downlink resumed: store available");
                }
                Some(answer)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.store_failing, true) {
                    tracing::error!(%error, "downlink paused: store error");
                }
                None
            }
        }
    }
}

/// Delay of 30 s after the first attempt, then doubled up to [`LONGEST_PAUSE`].
fn next_attempt_at(now: UtcTime, tries: u64) -> UtcTime {
    let duplicates = u32::try_from(tries.saturating_sub(1).min(8)).unwrap_or(8);
    let pause = LEASE.saturating_mul(1 << duplicates).min(MAX_RETRY_DELAY);
    now.checked_add(pause).unwrap_or(now)
}
