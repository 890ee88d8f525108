//! The MQTT consumer: one connection after another, and the messages received but not yet stored.
//!
//! The event loop is always polled to its next event and never dropped midway. A PUBACK is
//! therefore sent on the connection of its message or not at all, since packet identifiers are
//! valid per connection only.

mod acks;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter, Packet, Publish};
use rumqttc::v5::{AsyncClient, Event};
use tokio_util::sync::CancellationToken;

use super::acks::Acks;
use super::clock_guard::ClockGuard;
use super::counters::Counters;
use super::dead_letter_limit::DeadLetterLimit;
use super::domain_check::DomainMismatches;
use super::parse::{self, InvalidMessage, MessageParser, Payload, VanMessage};
use super::publish::publish_changes;
use super::subscription::{check_suback, filters, state_filter};
use super::writer::{BatchWriter, LoggedRejections, SourceOwners};
use crate::AppState;
use crate::mqtt_options::{self, Session};
use crate::store::{IncomingMessage, IngestResult, MAX_DEAD_LETTER_BYTES};
use waypost_model::units::Uptime;
use waypost_service::backoff::Backoff;
use waypost_service::clock::Clock;

/// Receive Maximum: messages in flight without PUBACK. At most 64 MiB with the largest payloads, a
/// few MiB usually.
const RECEIVE_MAX: u16 = 256;

/// Capacity of the request channel: one acknowledgement per message, plus other publishes.
const REQUEST_QUEUE_SIZE: usize = 2 * RECEIVE_MAX as usize + 128;

/// Maximum number of queued messages. The broker holds back further QoS 1 messages; further QoS 0
/// messages are dropped.
const MAX_QUEUE: usize = 4 * RECEIVE_MAX as usize;

/// Maximum number of messages per transaction. Larger ones would hold SQLite's writer longer than
/// page requests can wait.
const MAX_BATCH: usize = 256;

/// A batch of this size starts at once. Half of mosquitto's default in-flight window.
const MIN_BATCH: usize = 10;

/// Delay before a smaller batch starts; every transaction costs a write to disk.
const BATCH_DELAY: Duration = Duration::from_millis(10);

/// Maximum number of vans with a queued newest position.
const MAX_POSITIONS: usize = 100_000;

/// Maximum stored length of an unknown topic, in bytes.
const MAX_TOPIC_BYTES: usize = 1_024;

/// Time for which a new session subscribes to retained `state`.
const RETAINED_STATE_WINDOW: Duration = Duration::from_secs(30);

/// A connection that lasts this long resets the reconnect backoff.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Maximum time for the running batch on shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time to drain the session on shutdown, if another instance takes over.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// A session is drained if the broker sends nothing for this time after the end of its
/// subscriptions.
const DRAINED_AFTER: Duration = Duration::from_secs(2);

/// End of the subscriptions of a session, and receipt of what waits in it.
#[derive(Debug)]
struct Drain {
    /// Number of UNSUBACKs to wait for.
    unsubacks_due: usize,
    /// Time of the last packet.
    last_packet_at: Uptime,
    /// Time at which the session is kept instead.
    until: Option<Uptime>,
}

/// A received message.
#[derive(Debug)]
struct QueuedMessage {
    /// `None` if the payload is empty.
    message: Option<IncomingMessage>,
    /// Connection number and packet identifier, for the PUBACK.
    packet: Option<(u64, u16)>,
}

/// Result of a stored batch.
#[derive(Debug)]
struct StoredBatch {
    messages: Vec<IncomingMessage>,
    packets: Vec<(u64, u16)>,
    result: IngestResult,
}

type StoreFuture = Pin<Box<dyn Future<Output = StoredBatch> + Send>>;

/// Reason for the end of a connection.
enum DisconnectReason {
    Stopped,
    /// The session is drained and has no subscription.
    Drained,
    /// The broker has no session to drain.
    NoSession,
    Failed(String),
}

/// MQTT consumer of an instance.
pub(super) struct Consumer {
    shared: AppState,
    counters: Arc<Counters>,
    writer: BatchWriter,
    parser: MessageParser,
    queue: VecDeque<QueuedMessage>,
    /// PUBACKs of stored messages that do not fit into the request channel yet.
    pending_pubacks: VecDeque<(u64, u16)>,
    /// Newest queued position of each van.
    latest_positions: HashMap<String, IncomingMessage>,
    batch_in_progress: Option<StoreFuture>,
    oldest_queued_at: Option<Uptime>,
    /// Real-time clock for delays, also in simulated time.
    timer: Clock,
    acks: Acks,
    dead_letter_limit: DeadLetterLimit,
    clock_guard: ClockGuard,
    /// Number of the current connection.
    connection_number: u64,
    is_connected: bool,
    /// Set if this consumer adopts the session of an absent instance.
    is_adopting: bool,
    drain: Option<Drain>,
}

impl Consumer {
    pub(super) fn new(shared: AppState, counters: Arc<Counters>) -> Self {
        let writer = BatchWriter {
            shared: shared.clone(),
            source_owners: SourceOwners::default(),
            logged_rejections: LoggedRejections::default(),
            domain_mismatches: DomainMismatches::default(),
            counters: Arc::clone(&counters),
        };
        let parser = MessageParser::new(&shared.config.mqtt.topic_root);
        let timer = Clock::live();
        Self {
            shared,
            counters,
            writer,
            parser,
            queue: VecDeque::new(),
            pending_pubacks: VecDeque::new(),
            latest_positions: HashMap::new(),
            batch_in_progress: None,
            oldest_queued_at: None,
            dead_letter_limit: DeadLetterLimit::new(timer.uptime()),
            timer,
            acks: Acks::default(),
            clock_guard: ClockGuard::default(),
            connection_number: 0,
            is_connected: false,
            is_adopting: false,
            drain: None,
        }
    }

    /// Takes over the session of `mqtt.client_id`: ends its subscriptions, stores what waits in it,
    /// and ends it. Returns whether the broker had a session.
    ///
    /// # Errors
    /// Returns why the connection failed. Nothing is lost; the adoption can be repeated.
    pub(super) async fn adopt(mut self, stop: CancellationToken) -> Result<bool, String> {
        self.is_adopting = true;
        let mqtt = &self.shared.config.clone().mqtt;
        let had_session = match self.run_connection(&stop).await {
            DisconnectReason::Drained => true,
            DisconnectReason::NoSession => false,
            DisconnectReason::Stopped => return Err("stopped before the end".to_owned()),
            DisconnectReason::Failed(error) => return Err(error),
        };
        mqtt_options::end_session(mqtt, &mqtt.client_id).await?;
        Ok(had_session)
    }

    /// Connects and reconnects until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        const FIRST: Duration = Duration::from_millis(250);
        let mut backoff = Backoff::new(FIRST, Duration::from_secs(30), fastrand::Rng::new());
        let mut is_known_away = false;
        loop {
            self.connection_number += 1;
            let started = self.timer.uptime();
            let over = self.run_connection(&stop).await;
            let was_connected = std::mem::take(&mut self.is_connected);
            self.counters.connected.store(false, Ordering::Relaxed);
            let words = match over {
                DisconnectReason::Failed(words) => words,
                DisconnectReason::Drained => return self.leave().await,
                DisconnectReason::Stopped | DisconnectReason::NoSession => return,
            };
            // If the broker drops each new connection, as with a duplicate client identifier, the
            // backoff keeps growing.
            if was_connected && self.timer.uptime().since(started) >= STABLE_AFTER {
                backoff.reset();
                is_known_away = false;
            }
            if !std::mem::replace(&mut is_known_away, true) {
                tracing::warn!(
                    error = words,
                    "broker connection failed: messages stay queued at the broker"
                );
            }
            let wait = tokio::time::sleep(backoff.next_delay());
            let mut wait = pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    () = stop.cancelled() => return self.finish_batch(None).await,
                    stored = wait_for_batch(&mut self.batch_in_progress) => self.on_batch_stored(stored, None).await,
                }
            }
        }
    }

    /// Runs one connection until it fails, it is drained, or `stop`.
    #[expect(clippy::too_many_lines, reason = "one loop, whose arms share the connection")]
    async fn run_connection(&mut self, stop: &CancellationToken) -> DisconnectReason {
        let session = Session::Persistent { receive_max: RECEIVE_MAX };
        let config = Arc::clone(&self.shared.config);
        let mut options = match mqtt_options::options(&config.mqtt, &config.mqtt.client_id, session)
        {
            Ok(options) => options,
            Err(error) => return DisconnectReason::Failed(error.to_string()),
        };
        options.set_manual_acks(true);
        let (client, mut event_loop) = AsyncClient::new(options, REQUEST_QUEUE_SIZE);
        let mut each_second = tokio::time::interval(Duration::from_secs(1));
        let mut ask_no_more: Option<Uptime> = None;
        let mut is_stopping = false;
        loop {
            // The future is kept across iterations; dropping it midway could lose a packet.
            let polled = {
                let mut poll = pin!(event_loop.poll());
                loop {
                    self.start_batch();
                    self.send_pubacks(&client);
                    let due = self.batch_due_at();
                    tokio::select! {
                        biased;
                        stored = wait_for_batch(&mut self.batch_in_progress) => self.on_batch_stored(stored, Some(&client)).await,
                        polled = &mut poll => break Some(polled),
                        () = stop.cancelled(), if !is_stopping => {
                            is_stopping = true;
                            if self.is_adopting || !self.begin_leaving().await {
                                break None;
                            }
                            self.begin_drain(&client, Some(DRAIN_TIMEOUT));
                        }
                        _ = self.timer.sleep_until(due) => {}
                        _ = self.timer.sleep_until(ask_no_more) => {
                            ask_no_more = None;
                            client.try_unsubscribe(state_filter(&config)).ok();
                        }
                        _ = each_second.tick() => {
                            self.publish_acks(&client);
                            self.parse_again_after_clock_set();
                            if self.is_drain_over() {
                                break None;
                            }
                        }
                    }
                }
            };
            match polled {
                Some(Ok(event)) => {
                    let has_no_session = matches!(
                        &event,
                        Event::Incoming(Packet::ConnAck(connack)) if !connack.session_present
                    );
                    if let Err(words) = self.on_event(event, &client, &mut ask_no_more) {
                        return DisconnectReason::Failed(words);
                    }
                    if self.is_adopting && has_no_session {
                        mqtt_options::disconnect(&client, &mut event_loop).await;
                        return DisconnectReason::NoSession;
                    }
                }
                Some(Err(error)) => {
                    return DisconnectReason::Failed(mqtt_options::describe_error(&error));
                }
                None => {
                    let is_drained = self.is_drained();
                    self.finish_batch(Some(&client)).await;
                    mqtt_options::disconnect(&client, &mut event_loop).await;
                    return if is_drained {
                        DisconnectReason::Drained
                    } else {
                        DisconnectReason::Stopped
                    };
                }
            }
        }
    }

    /// Handles an event.
    ///
    /// # Errors
    /// Returns why the connection is unusable.
    fn on_event(
        &mut self,
        event: Event,
        client: &AsyncClient,
        ask_no_more: &mut Option<Uptime>,
    ) -> Result<(), String> {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => {
                *ask_no_more = self.on_connack(&connack, client);
                Ok(())
            }
            Event::Incoming(Packet::SubAck(suback)) => check_suback(&suback),
            Event::Incoming(Packet::UnsubAck(_)) => {
                if let Some(drain) = &mut self.drain {
                    drain.unsubacks_due = drain.unsubacks_due.saturating_sub(1);
                    drain.last_packet_at = self.timer.uptime();
                }
                Ok(())
            }
            Event::Incoming(Packet::Publish(publish)) => {
                if let Some(drain) = &mut self.drain {
                    drain.last_packet_at = self.timer.uptime();
                }
                self.on_publish(&publish);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_connack(&mut self, connack: &ConnAck, client: &AsyncClient) -> Option<Uptime> {
        self.is_connected = true;
        self.counters.connected.store(true, Ordering::Relaxed);
        Counters::add(&self.counters.connections, 1);
        tracing::info!(session_kept = connack.session_present, "connected to the broker");
        if connack.session_present {
            // The broker sends these again. Without a session it does not, so they stay queued.
            self.queue.clear();
            self.oldest_queued_at =
                self.oldest_queued_at.filter(|_| !self.latest_positions.is_empty());
        }
        if self.is_adopting {
            if connack.session_present {
                self.begin_drain(client, None);
            }
            return None;
        }
        let config = &self.shared.config;
        let mut filters = filters(config);
        let is_new = !connack.session_present;
        if is_new {
            filters.push(Filter::new(state_filter(config), QoS::AtLeastOnce));
        } else {
            // Left over from a run that was killed within the retained-state window.
            client.try_unsubscribe(state_filter(config)).ok();
        }
        client.try_subscribe_many(filters).ok();
        is_new.then(|| self.timer.uptime() + RETAINED_STATE_WINDOW)
    }

    /// Announces the stop. Returns whether another instance takes this one's share of the messages.
    /// Otherwise the session is kept, and the broker queues the messages for the next start.
    async fn begin_leaving(&mut self) -> bool {
        let mqtt = &self.shared.config.mqtt;
        let others =
            self.shared.store.begin_leaving(&mqtt.client_id, &mqtt.share_group, self.shared.now());
        let others = tokio::time::timeout(SHUTDOWN_TIMEOUT, others).await;
        self.is_connected && matches!(others, Ok(Ok(true)))
    }

    /// Ends the subscriptions. What the broker has already queued for this session still arrives.
    fn begin_drain(&mut self, client: &AsyncClient, limit: Option<Duration>) {
        let config = &self.shared.config;
        let mut topics: Vec<String> =
            filters(config).into_iter().map(|filter| filter.path).collect();
        topics.push(state_filter(config));
        // Each request fits: the channel has room for more than all acknowledgements.
        let sent = topics.iter().filter(|topic| client.try_unsubscribe(topic.as_str()).is_ok());
        let now = self.timer.uptime();
        let unsubacks_due = if sent.count() == topics.len() { topics.len() } else { usize::MAX };
        let until = limit.map(|limit| now + limit);
        self.drain = Some(Drain { unsubacks_due, last_packet_at: now, until });
    }

    /// Whether everything that waited in the session is stored and acknowledged.
    fn is_drained(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| {
            drain.unsubacks_due == 0
                && self.queue.is_empty()
                && self.batch_in_progress.is_none()
                && self.pending_pubacks.is_empty()
                && self.timer.uptime().since(drain.last_packet_at) >= DRAINED_AFTER
        })
    }

    fn is_drain_over(&self) -> bool {
        let until = self.drain.as_ref().and_then(|drain| drain.until);
        self.is_drained() || until.is_some_and(|until| until <= self.timer.uptime())
    }

    /// Ends the drained session at the broker and removes this instance from the register.
    async fn leave(&mut self) {
        let mqtt = &self.shared.config.mqtt;
        let ended = async {
            mqtt_options::end_session(mqtt, &mqtt.client_id).await?;
            let removed = self.shared.store.remove_instance(&mqtt.client_id).await;
            removed.map_err(|error| error.to_string())
        };
        match tokio::time::timeout(SHUTDOWN_TIMEOUT, ended).await {
            Ok(Ok(())) => tracing::info!("session at the broker ended: other instances remain"),
            Ok(Err(error)) => tracing::warn!(error, "session at the broker not ended"),
            Err(_) => tracing::warn!("session at the broker not ended in time"),
        }
    }

    fn on_publish(&mut self, publish: &Publish) {
        Counters::add(&self.counters.messages, 1);
        let packet =
            (publish.qos != QoS::AtMostOnce).then_some((self.connection_number, publish.pkid));
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        // An empty payload clears a retained message and carries no data.
        let said = (!publish.payload.is_empty())
            .then(|| self.parser.parse(&topic, &publish.payload, self.shared.now()));
        if let Some(said) = &said {
            self.observe_clock(said);
        }
        let arrival = said.and_then(|said| self.prepare(topic, &publish.payload, said));
        match arrival {
            Some(arrival) if is_position(&arrival) && packet.is_none() => self.on_position(arrival),
            Some(_) if packet.is_none() && self.queue.len() >= MAX_QUEUE => {
                Counters::add(&self.counters.messages_dropped, 1);
            }
            arrival if arrival.is_some() || packet.is_some() => {
                self.queue.push_back(QueuedMessage { message: arrival, packet });
                self.oldest_queued_at.get_or_insert_with(|| self.timer.uptime());
            }
            _ => {}
        }
        self.update_queue_gauge();
    }

    /// Prepares a message for storage; `None` if the rate limit drops it.
    fn prepare(
        &mut self,
        mut topic: String,
        payload: &[u8],
        said: Result<VanMessage, InvalidMessage>,
    ) -> Option<IncomingMessage> {
        let van = parse::van_from_topic(&topic).unwrap_or_default();
        if said.is_err() && !self.dead_letter_limit.try_acquire(van, self.timer.uptime()) {
            Counters::add(&self.counters.dead_letters_dropped, 1);
            return None;
        }
        topic.truncate(topic.floor_char_boundary(MAX_TOPIC_BYTES));
        let kept = match &said {
            Err(_) if parse::is_well_formed(payload) => payload.len(),
            // A message that the database rejects becomes a dead letter later.
            Ok(said) if matches!(said.payload, Payload::Event(_) | Payload::Track(_)) => {
                payload.len()
            }
            _ => payload.len().min(MAX_DEAD_LETTER_BYTES),
        };
        let payload_kept = payload[..kept].to_vec();
        Some(IncomingMessage { topic, payload: payload_kept, bytes: payload.len(), parsed: said })
    }

    /// Records whether the time of a message is plausible. `state` and `connection` are retained
    /// and may have any age.
    fn observe_clock(&mut self, said: &Result<VanMessage, InvalidMessage>) {
        let (van, fault) = match said {
            Ok(VanMessage { payload: Payload::CommandResult(_), .. }) => return,
            Ok(VanMessage {
                payload: Payload::State(..) | Payload::Connection(_),
                clock_fault: None,
                ..
            }) => return,
            Ok(said) => (said.van.as_str(), said.clock_fault),
            Err(InvalidMessage { clock_fault: Some(fault), van: Some(van), .. }) => {
                (van.as_str(), Some(*fault))
            }
            Err(_) => return,
        };
        let uptime = self.timer.uptime();
        self.clock_guard.observe(van, fault.is_none(), self.shared.now(), uptime);
        let is_doubtful = self.clock_guard.is_doubtful();
        let before = self.counters.clock_doubtful.swap(is_doubtful, Ordering::Relaxed);
        if is_doubtful && !before {
            tracing::error!(
                "the times of all vans differ from ours: messages stay with the broker; set the clock of this host"
            );
        } else if before && !is_doubtful {
            tracing::info!("the times of the vans are plausible again");
        }
    }

    /// After our clock was set, parses the waiting messages again, whose times were judged by the
    /// wrong one.
    fn parse_again_after_clock_set(&mut self) {
        let now = self.shared.now();
        if !self.clock_guard.was_clock_set(now, self.timer.uptime()) {
            return;
        }
        self.clock_guard = ClockGuard::default();
        self.counters.clock_doubtful.store(false, Ordering::Relaxed);
        let mut queue = std::mem::take(&mut self.queue);
        for message in queue.iter_mut().filter_map(|waiting| waiting.message.as_mut()) {
            if message.payload.len() == message.bytes {
                message.parsed = self.parser.parse(&message.topic, &message.payload, now);
                self.observe_clock(&message.parsed);
            }
        }
        self.queue = queue;
    }

    /// Handles a live position: publishes it at once and queues the newest one per van.
    fn on_position(&mut self, arrival: IncomingMessage) {
        let Ok(VanMessage { van, payload: Payload::Position(position), .. }) = &arrival.parsed
        else {
            return;
        };
        if !self.shared.change_feed.observe((**position).clone()) {
            return;
        }
        if self.latest_positions.len() < MAX_POSITIONS || self.latest_positions.contains_key(van) {
            self.latest_positions.insert(van.clone(), arrival);
            self.oldest_queued_at.get_or_insert_with(|| self.timer.uptime());
        }
    }

    fn update_queue_gauge(&self) {
        let waiting = self.queue.len() + self.latest_positions.len();
        self.counters.messages_queued.store(waiting as u64, Ordering::Relaxed);
    }

    /// Time at which the queued messages must be stored.
    fn batch_due_at(&self) -> Option<Uptime> {
        if self.batch_in_progress.is_some() || self.clock_guard.is_doubtful() {
            return None;
        }
        let due = self.oldest_queued_at.map(|since| since + BATCH_DELAY)?;
        Some(self.clock_guard.undecided_until().map_or(due, |decided| due.max(decided)))
    }

    /// Starts a batch if one is due.
    fn start_batch(&mut self) {
        let now = self.timer.uptime();
        let must_wait = self.clock_guard.is_doubtful()
            || self.clock_guard.undecided_until().is_some_and(|decided| now < decided);
        let is_due = !must_wait
            && (self.queue.len() >= MIN_BATCH || self.batch_due_at().is_some_and(|due| due <= now));
        if self.batch_in_progress.is_some() || self.oldest_queued_at.is_none() || !is_due {
            return;
        }
        let mut arrivals = Vec::new();
        let mut packets = Vec::new();
        let count = self.queue.len().min(MAX_BATCH);
        for waiting in self.queue.drain(..count) {
            packets.extend(waiting.packet);
            arrivals.extend(waiting.message);
        }
        arrivals.extend(self.latest_positions.drain().map(|(_, arrival)| arrival));
        self.oldest_queued_at = (!self.queue.is_empty()).then(|| self.timer.uptime());
        let storing = self.writer.clone();
        self.batch_in_progress = Some(Box::pin(async move {
            let taken = storing.write(&mut arrivals).await;
            StoredBatch { messages: arrivals, packets, result: taken }
        }));
    }

    /// Acknowledges a stored batch and publishes its changes.
    async fn on_batch_stored(&mut self, stored: StoredBatch, client: Option<&AsyncClient>) {
        self.batch_in_progress = None;
        self.pending_pubacks.extend(stored.packets);
        if let Some(client) = client {
            self.send_pubacks(client);
        }
        if self.shared.config.mqtt.publish_acks {
            for said in stored.messages.iter().filter_map(|arrival| arrival.parsed.as_ref().ok()) {
                self.acks.record(said);
            }
        }
        self.update_queue_gauge();
        let shared = self.shared.clone();
        publish_changes(&shared, stored.result).await;
    }

    /// Waits for the running batch and acknowledges it.
    async fn finish_batch(&mut self, client: Option<&AsyncClient>) {
        if self.batch_in_progress.is_none() {
            return;
        }
        let stored =
            tokio::time::timeout(SHUTDOWN_TIMEOUT, wait_for_batch(&mut self.batch_in_progress))
                .await;
        if let Ok(stored) = stored {
            self.on_batch_stored(stored, client).await;
        }
    }
}

/// Waits for the running batch; pending forever if there is none.
async fn wait_for_batch(on_its_way: &mut Option<StoreFuture>) -> StoredBatch {
    match on_its_way {
        Some(storage) => storage.await,
        None => std::future::pending().await,
    }
}

fn is_position(arrival: &IncomingMessage) -> bool {
    matches!(&arrival.parsed, Ok(VanMessage { payload: Payload::Position(_), .. }))
}
