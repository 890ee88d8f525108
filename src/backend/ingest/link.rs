//! One connection after the other to the broker, and what came on it that is not stored yet.
//!
//! The connection is driven to its next event and never dropped on the way, so that an acknowledgement either goes out on
//! the connection on which its message came, or not at all: packet identifiers mean something else on the next.

mod answers;

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
use super::batch::{Sources, Storing};
use super::budget::PoisonBudget;
use super::counters::Counters;
use super::domains::Domains;
use super::reading::{Message, Poison, Reader, Said};
use super::subscription::{filters, refused, states};
use super::telling::tell;
use crate::backend::Shared;
use crate::backend::mqtt::{self, Session};
use crate::backend::store::{Arrival, MAX_POISON_BYTES, Taken};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::units::Uptime;

/// Messages on their way without PUBACK: with those of the largest size 64 MiB, with usual ones a few.
const RECEIVE_MAX: u16 = 256;

/// Requests to the connection: an acknowledgement for each message, and what is said besides.
const REQUESTS: usize = 2 * RECEIVE_MAX as usize + 128;

/// Messages that wait for their transaction. The broker keeps back what would be more of QoS 1; what is sent with less is lost
/// while the store does not keep up.
const MAX_QUEUE: usize = 4 * RECEIVE_MAX as usize;

/// Messages of one transaction. One that is larger holds the writer of SQLite longer than pages may wait.
const MAX_BATCH: usize = 256;

/// So many messages do not wait for more. Half of what mosquitto has on its way unless told.
const ENOUGH: usize = 10;

/// Fewer wait so long for company: each transaction is a write to disk.
const LINGER: Duration = Duration::from_millis(10);

/// Vans whose newest position waits for its transaction.
const MAX_POSITIONS: usize = 100_000;

/// Of a topic that nobody knows, so many bytes are kept.
const MAX_TOPIC_BYTES: usize = 1_024;

/// A new session asks for retained `state` so long.
const ASK_STATES: Duration = Duration::from_secs(30);

/// A connection that lasts so long is a good one.
const STEADY: Duration = Duration::from_secs(10);

/// What is being stored when the process should stop has so long.
const LAST_BATCH: Duration = Duration::from_secs(5);

/// A message that came.
#[derive(Debug)]
struct Waiting {
    /// `None` if it says nothing.
    arrival: Option<Arrival>,
    /// Which connection it came on, and its packet identifier there.
    packet: Option<(u64, u16)>,
}

/// What a transaction gave back.
#[derive(Debug)]
struct Stored {
    arrivals: Vec<Arrival>,
    packets: Vec<(u64, u16)>,
    taken: Taken,
}

type Storage = Pin<Box<dyn Future<Output = Stored> + Send>>;

/// Why a connection is over.
enum Over {
    Stopped,
    Broken(String),
}

/// The consumer of an instance.
pub(super) struct Consumer {
    shared: Shared,
    counters: Arc<Counters>,
    storing: Storing,
    reader: Reader,
    queue: VecDeque<Waiting>,
    /// What is stored, and found no room among the requests yet.
    unsaid: VecDeque<(u64, u16)>,
    /// The newest of each van that is not on its way to the store.
    positions: HashMap<String, Arrival>,
    on_its_way: Option<Storage>,
    since: Option<Uptime>,
    /// For what is waited for: the world's, also where the day is a simulated one.
    timer: Clock,
    acks: Acks,
    poison: PoisonBudget,
    /// Counts connections.
    connection: u64,
    is_connected: bool,
}

impl Consumer {
    pub(super) fn new(shared: Shared, counters: Arc<Counters>) -> Self {
        let storing = Storing {
            shared: shared.clone(),
            sources: Sources::default(),
            domains: Domains::default(),
            counters: Arc::clone(&counters),
        };
        let reader = Reader::new(&shared.config.mqtt.topic_root);
        let timer = Clock::live();
        Self {
            shared,
            counters,
            storing,
            reader,
            queue: VecDeque::new(),
            unsaid: VecDeque::new(),
            positions: HashMap::new(),
            on_its_way: None,
            since: None,
            poison: PoisonBudget::new(timer.uptime()),
            timer,
            acks: Acks::default(),
            connection: 0,
            is_connected: false,
        }
    }

    /// Connects again and again until it is stopped.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        const FIRST: Duration = Duration::from_millis(250);
        let mut backoff = Backoff::new(FIRST, Duration::from_secs(30), fastrand::Rng::new());
        let mut is_known_away = false;
        loop {
            self.connection += 1;
            let begun = self.timer.uptime();
            let over = self.connected(&stop).await;
            let was_connected = std::mem::take(&mut self.is_connected);
            self.counters.connected.store(false, Ordering::Relaxed);
            let Over::Broken(words) = over else { return };
            // Who is let in and thrown out again, as by another of the same name, comes back ever more slowly.
            if was_connected && self.timer.uptime().since(begun) >= STEADY {
                backoff.reset();
                is_known_away = false;
            }
            if !std::mem::replace(&mut is_known_away, true) {
                tracing::warn!(
                    error = words,
                    "no connection to the broker, vans' messages wait there"
                );
            }
            let wait = tokio::time::sleep(backoff.next_wait());
            let mut wait = pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    () = stop.cancelled() => return self.last(None).await,
                    stored = next(&mut self.on_its_way) => self.stored(stored, None).await,
                }
            }
        }
    }

    /// One connection, until it breaks or everything is stopped.
    async fn connected(&mut self, stop: &CancellationToken) -> Over {
        let session = Session::Kept { receive_max: RECEIVE_MAX };
        let config = Arc::clone(&self.shared.config);
        let mut options = match mqtt::options(&config.mqtt, &config.mqtt.client_id, session) {
            Ok(options) => options,
            Err(error) => return Over::Broken(error.to_string()),
        };
        options.set_manual_acks(true);
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
        let mut each_second = tokio::time::interval(Duration::from_secs(1));
        let mut ask_no_more: Option<Uptime> = None;
        loop {
            // Kept across all turns of the inner loop: dropped halfway, a packet could be lost.
            let polled = {
                let mut poll = pin!(event_loop.poll());
                loop {
                    self.begin();
                    self.acknowledge(&client);
                    let due = self.due();
                    tokio::select! {
                        biased;
                        stored = next(&mut self.on_its_way) => self.stored(stored, Some(&client)).await,
                        polled = &mut poll => break Some(polled),
                        () = stop.cancelled() => break None,
                        _ = self.timer.reached(due) => {}
                        _ = self.timer.reached(ask_no_more) => {
                            ask_no_more = None;
                            client.try_unsubscribe(states(&config)).ok();
                        }
                        _ = each_second.tick() => self.say_acks(&client),
                    }
                }
            };
            match polled {
                Some(Ok(event)) => {
                    if let Err(words) = self.hear(event, &client, &mut ask_no_more) {
                        return Over::Broken(words);
                    }
                }
                Some(Err(error)) => return Over::Broken(mqtt::words(&error)),
                None => {
                    self.last(Some(&client)).await;
                    mqtt::leave(&client, &mut event_loop).await;
                    return Over::Stopped;
                }
            }
        }
    }

    /// # Errors
    /// Why this connection is of no use.
    fn hear(
        &mut self,
        event: Event,
        client: &AsyncClient,
        ask_no_more: &mut Option<Uptime>,
    ) -> Result<(), String> {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => {
                *ask_no_more = self.begin_connection(&connack, client);
                Ok(())
            }
            Event::Incoming(Packet::SubAck(suback)) => refused(&suback),
            Event::Incoming(Packet::Publish(publish)) => {
                self.receive(&publish);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin_connection(&mut self, connack: &ConnAck, client: &AsyncClient) -> Option<Uptime> {
        self.is_connected = true;
        self.counters.connected.store(true, Ordering::Relaxed);
        Counters::add(&self.counters.connections, 1);
        tracing::info!(session_kept = connack.session_present, "connected to the broker");
        if connack.session_present {
            // They come again; without a session they do not, and are stored as they are.
            self.queue.clear();
            self.since = self.since.filter(|_| !self.positions.is_empty());
        }
        let config = &self.shared.config;
        let mut filters = filters(config);
        let is_new = !connack.session_present;
        if is_new {
            filters.push(Filter::new(states(config), QoS::AtLeastOnce));
        } else {
            // Of a run that was killed while it asked.
            client.try_unsubscribe(states(config)).ok();
        }
        client.try_subscribe_many(filters).ok();
        is_new.then(|| self.timer.uptime() + ASK_STATES)
    }

    fn receive(&mut self, publish: &Publish) {
        Counters::add(&self.counters.messages, 1);
        let packet = (publish.qos != QoS::AtMostOnce).then_some((self.connection, publish.pkid));
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        // Whoever clears a retained message says nothing.
        let said = (!publish.payload.is_empty())
            .then(|| self.reader.read(&topic, &publish.payload, self.shared.now()));
        let arrival = said.and_then(|said| self.arrival(topic, &publish.payload, said));
        match arrival {
            Some(arrival) if is_position(&arrival) && packet.is_none() => self.observe(arrival),
            Some(_) if packet.is_none() && self.queue.len() >= MAX_QUEUE => {
                Counters::add(&self.counters.unkept, 1);
            }
            arrival if arrival.is_some() || packet.is_some() => {
                self.queue.push_back(Waiting { arrival, packet });
                self.since.get_or_insert_with(|| self.timer.uptime());
            }
            _ => {}
        }
        self.count_waiting();
    }

    /// What is kept of a message, if anything.
    fn arrival(
        &mut self,
        mut topic: String,
        payload: &[u8],
        said: Result<Said, Poison>,
    ) -> Option<Arrival> {
        if said.is_err() && !self.poison.admits(self.timer.uptime()) {
            Counters::add(&self.counters.poison_unkept, 1);
            return None;
        }
        topic.truncate(topic.floor_char_boundary(MAX_TOPIC_BYTES));
        let payload_kept = payload[..payload.len().min(MAX_POISON_BYTES)].to_vec();
        Some(Arrival { topic, payload: payload_kept, bytes: payload.len(), said })
    }

    /// A live position: who watches is told at once, and the newest of each van goes into the next transaction.
    fn observe(&mut self, arrival: Arrival) {
        let Ok(Said { van, message: Message::Position(position) }) = &arrival.said else { return };
        if !self.shared.live.observe((**position).clone()) {
            return;
        }
        if self.positions.len() < MAX_POSITIONS || self.positions.contains_key(van) {
            self.positions.insert(van.clone(), arrival);
            self.since.get_or_insert_with(|| self.timer.uptime());
        }
    }

    fn count_waiting(&self) {
        let waiting = self.queue.len() + self.positions.len();
        self.counters.waiting.store(waiting as u64, Ordering::Relaxed);
    }

    /// When what waits has had company enough.
    fn due(&self) -> Option<Uptime> {
        if self.on_its_way.is_some() { None } else { self.since.map(|since| since + LINGER) }
    }

    /// Begins a transaction, if it is time.
    fn begin(&mut self) {
        let is_due =
            self.queue.len() >= ENOUGH || self.due().is_some_and(|due| due <= self.timer.uptime());
        if self.on_its_way.is_some() || self.since.is_none() || !is_due {
            return;
        }
        let mut arrivals = Vec::new();
        let mut packets = Vec::new();
        let count = self.queue.len().min(MAX_BATCH);
        for waiting in self.queue.drain(..count) {
            packets.extend(waiting.packet);
            arrivals.extend(waiting.arrival);
        }
        arrivals.extend(self.positions.drain().map(|(_, arrival)| arrival));
        self.since = (!self.queue.is_empty()).then(|| self.timer.uptime());
        let storing = self.storing.clone();
        self.on_its_way = Some(Box::pin(async move {
            let taken = storing.store(&mut arrivals).await;
            Stored { arrivals, packets, taken }
        }));
    }

    /// Acknowledges what is stored, and tells of it.
    async fn stored(&mut self, stored: Stored, client: Option<&AsyncClient>) {
        self.on_its_way = None;
        self.unsaid.extend(stored.packets);
        if let Some(client) = client {
            self.acknowledge(client);
        }
        if self.shared.config.mqtt.ack {
            for said in stored.arrivals.iter().filter_map(|arrival| arrival.said.as_ref().ok()) {
                self.acks.note(said);
            }
        }
        self.count_waiting();
        let shared = self.shared.clone();
        tell(&shared, stored.taken).await;
    }

    /// Lets what is being stored come to its end, and acknowledges it.
    async fn last(&mut self, client: Option<&AsyncClient>) {
        if self.on_its_way.is_none() {
            return;
        }
        let stored = tokio::time::timeout(LAST_BATCH, next(&mut self.on_its_way)).await;
        if let Ok(stored) = stored {
            self.stored(stored, client).await;
        }
    }
}

/// What the storage gives, when it gives something.
async fn next(on_its_way: &mut Option<Storage>) -> Stored {
    match on_its_way {
        Some(storage) => storage.await,
        None => std::future::pending().await,
    }
}

fn is_position(arrival: &Arrival) -> bool {
    matches!(&arrival.said, Ok(Said { message: Message::Position(_), .. }))
}
