//! Rows that wait → `manifest` and `cmd` of vans, on a connection of its own.
//!
//! - A **manifest** is retained: who connects later finds it. A revision counts as sent when the broker has said PUBACK. If a
//!   newer one was put meanwhile, that waits; so whoever sends last, the newest stays.
//! - A **command** is never retained: it would run again with each connection. It is sent again, each time after a longer
//!   pause, until the van answers on `cmd/res` or its time is over, and at once when the van connects. Vans know repeats.
//! - A row is claimed for a while before it is sent, so that of several instances one sends it.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAck, PubAckReason, PublishProperties};
use rumqttc::v5::{AsyncClient, Event};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::mqtt::{self, Session};
use super::store::StoreError;
use super::store::WaitingRoute;
use super::store::commands::Command;
use crate::backoff::Backoff;
use crate::units::UtcTime;
use crate::wire::VERSION;

/// Publications without PUBACK.
const WINDOW: usize = 16;

/// A claim that was not kept is another's after this.
const LEASE: Duration = Duration::from_secs(30);

/// Rows of other instances, and those whose pause is over, are looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The pause before a command is sent again doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// What was sent.
#[derive(Debug)]
enum Sent {
    Manifest(WaitingRoute),
    Command(Command),
}

/// Why a connection is over.
enum Over {
    Stopped,
    Broken(String),
}

/// Sends what waits, until it is stopped.
///
/// # Errors
/// None: what is away is waited for.
pub async fn run(shared: Shared, stop: CancellationToken) -> Result<(), Infallible> {
    const FIRST: Duration = Duration::from_millis(250);
    let mut backoff = Backoff::new(FIRST, Duration::from_secs(30), fastrand::Rng::new());
    loop {
        let mut sender = Sender::new(shared.clone());
        let Over::Broken(words) = sender.connected(&stop).await else { return Ok(()) };
        if sender.was_connected {
            backoff.reset();
        }
        tracing::debug!(error = words, "no connection to the broker for routes and commands");
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait()) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// One connection.
struct Sender {
    shared: Shared,
    was_connected: bool,
    /// Handed over, and without a packet identifier yet: they get them in this order.
    handed_over: VecDeque<Sent>,
    on_its_way: HashMap<u16, Sent>,
    store_fails: bool,
}

impl Sender {
    fn new(shared: Shared) -> Self {
        Self {
            shared,
            was_connected: false,
            handed_over: VecDeque::new(),
            on_its_way: HashMap::new(),
            store_fails: false,
        }
    }

    async fn connected(&mut self, stop: &CancellationToken) -> Over {
        let config = &self.shared.config.mqtt;
        let client_id = format!("{}-down", config.client_id);
        let options = match mqtt::options(config, &client_id, Session::Fresh) {
            Ok(options) => options,
            Err(error) => return Over::Broken(error.to_string()),
        };
        let (client, mut event_loop) = AsyncClient::new(options, 2 * WINDOW);
        let mut look = tokio::time::interval(LOOK_EVERY);
        let downlink = std::sync::Arc::clone(&self.shared.downlink);
        loop {
            // Kept across all turns of the inner loop: dropped halfway, a packet could be lost.
            let polled = {
                let mut poll = pin!(event_loop.poll());
                loop {
                    let has_room = self.was_connected && self.under_way() == 0;
                    tokio::select! {
                        biased;
                        polled = &mut poll => break Some(polled),
                        () = stop.cancelled() => break None,
                        () = downlink.notified(), if has_room => self.send(&client).await,
                        _ = look.tick(), if has_room => self.send(&client).await,
                    }
                }
            };
            match polled {
                None => {
                    mqtt::leave(&client, &mut event_loop).await;
                    return Over::Stopped;
                }
                Some(Err(error)) => return Over::Broken(mqtt::words(&error)),
                Some(Ok(event)) => self.hear(event, &client).await,
            }
        }
    }

    fn under_way(&self) -> usize {
        self.handed_over.len() + self.on_its_way.len()
    }

    async fn hear(&mut self, event: Event, client: &AsyncClient) {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                self.was_connected = true;
                self.send(client).await;
            }
            Event::Outgoing(Outgoing::Publish(packet)) => {
                if let Some(sent) = self.handed_over.pop_front() {
                    self.on_its_way.insert(packet, sent);
                }
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                let Some(sent) = self.on_its_way.remove(&ack.pkid) else { return };
                let noted = self.note(sent, &ack).await;
                self.check(noted);
                if self.under_way() == 0 {
                    self.send(client).await;
                }
            }
            _ => {}
        }
    }

    /// Claims what waits, and hands it over.
    async fn send(&mut self, client: &AsyncClient) {
        let now = self.shared.now();
        let limit = u32::try_from(WINDOW / 2).unwrap_or(1);
        let routes = self.shared.store.claim_routes(now, LEASE, limit).await;
        for route in self.check(routes).unwrap_or_default() {
            if route.is_replaced {
                let noted = self.shared.store.route_sent(&route).await;
                self.check(noted);
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
        for command in self.check(commands).unwrap_or_default() {
            let payload = command.doc.clone();
            self.publish(
                client,
                "cmd",
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
        // What finds no room is claimed again when its lease is over.
        if published.is_ok() {
            self.handed_over.push_back(sent);
        }
    }

    /// What the broker says of a publication.
    async fn note(&self, sent: Sent, ack: &PubAck) -> Result<(), StoreError> {
        let nobody = ack.reason == PubAckReason::NoMatchingSubscribers;
        let taken = ack.reason == PubAckReason::Success;
        match sent {
            // Retained, it waits for its van.
            Sent::Manifest(route) if taken || nobody => self.shared.store.route_sent(&route).await,
            Sent::Manifest(_) => Ok(()),
            Sent::Command(command) => {
                let next_at = next_try(self.shared.now(), command.tries);
                self.shared.store.command_sent(&command.id, taken, next_at).await
            }
        }
    }

    /// Says once that the store does not answer; what was claimed comes again.
    fn check<T>(&mut self, asked: Result<T, StoreError>) -> Option<T> {
        match asked {
            Ok(answer) => {
                if std::mem::take(&mut self.store_fails) {
                    tracing::info!("routes and commands go out again");
                }
                Some(answer)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.store_fails, true) {
                    tracing::error!(%error, "routes and commands wait for the store");
                }
                None
            }
        }
    }
}

/// 30 s after the first time, then twice as long each time, up to [`LONGEST_PAUSE`].
fn next_try(now: UtcTime, tries: u64) -> UtcTime {
    let doubled = u32::try_from(tries.saturating_sub(1).min(8)).unwrap_or(8);
    let pause = LEASE.saturating_mul(1 << doubled).min(LONGEST_PAUSE);
    now.checked_add(pause).unwrap_or(now)
}
