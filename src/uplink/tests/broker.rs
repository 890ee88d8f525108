//! A scripted broker behind the connection interface.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::*;
use waypost_wire::{compact_track, payloads};

/// Reaction of the broker to a QoS 1 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublishReaction {
    Ack(u8),
    AckTwice,
    AckAnother(u16),
    Silence,
    Cut,
    AckLater(Duration),
}

pub(super) const ACCEPT: PublishReaction = PublishReaction::Ack(0);

#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) link: usize,
    pub(super) at: Duration,
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) delivery: Delivery,
}

impl Received {
    pub(super) fn track(&self) -> Option<payloads::Track> {
        self.topic.ends_with("/track").then(|| match compact_track::decode(&self.payload) {
            Ok(message) => message.track("VAN-1"),
            Err(_) => serde_json::from_slice(&self.payload).unwrap(),
        })
    }

    pub(super) fn seqs(&self) -> Vec<u64> {
        self.track().map_or(Vec::new(), |track| track.points.iter().map(|p| p.seq).collect())
    }
}

type Script = Box<dyn FnMut(&Received) -> PublishReaction + Send>;

pub(super) struct Inner {
    pub(super) refuse: Option<CloseReason>,
    pub(super) welcome: ConnackInfo,
    pub(super) script: Script,
    pub(super) received: Vec<Received>,
    pub(super) opened: Vec<Duration>,
    pub(super) wills: Vec<Publication>,
    /// Reason codes of SUBACK. `None` for a broker that closes the connection on SUBSCRIBE.
    pub(super) suback: Option<Vec<u8>>,
    pub(super) subscribed: Vec<Vec<String>>,
    start: Instant,
    /// Newest connection, for unsolicited messages.
    link: Option<mpsc::UnboundedSender<ConnectionEvent>>,
}

#[derive(Clone)]
pub(super) struct Broker(Arc<Mutex<Inner>>);

#[expect(clippy::disallowed_methods, reason = "the broker has its own clock")]
impl Broker {
    pub(super) fn up() -> Self {
        let welcome = ConnackInfo {
            receive_max: 20,
            max_packet_bytes: u32::MAX,
            keep_alive: Duration::from_secs(120),
            retains: true,
        };
        Self(Arc::new(Mutex::new(Inner {
            refuse: None,
            welcome,
            script: Box::new(|_| ACCEPT),
            received: Vec::new(),
            opened: Vec::new(),
            wills: Vec::new(),
            suback: Some(vec![1, 1, 1]),
            subscribed: Vec::new(),
            start: Instant::now(),
            link: None,
        })))
    }

    pub(super) fn down() -> Self {
        let broker = Self::up();
        broker.refuse(CloseReason::Broken { text: "connection refused".to_owned() });
        broker
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(super) fn refuse(&self, with: CloseReason) {
        self.inner().refuse = Some(with);
    }

    pub(super) fn go_up(&self) {
        self.inner().refuse = None;
    }

    pub(super) fn script(&self, script: impl FnMut(&Received) -> PublishReaction + Send + 'static) {
        self.inner().script = Box::new(script);
    }

    pub(super) fn send_to_client(&self, event: ConnectionEvent) {
        if let Some(link) = &self.inner().link {
            let _ = link.send(event);
        }
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.inner().received.clone()
    }

    pub(super) fn on(&self, topic: &str) -> Vec<Received> {
        let topic = format!("fleet/v1/VAN-1/{topic}");
        self.received().into_iter().filter(|received| received.topic == topic).collect()
    }

    /// The `Seq`s of all tracks, in the order of their first arrival.
    pub(super) fn first_seen(&self) -> Vec<u64> {
        let mut seen = Vec::new();
        for seq in self.received().iter().flat_map(Received::seqs) {
            if !seen.contains(&seq) {
                seen.push(seq);
            }
        }
        seen
    }

    fn now(&self) -> Duration {
        Instant::now() - self.inner().start
    }
}

pub(super) struct FakeConnector(Broker);

impl FakeConnector {
    pub(super) fn new(broker: Broker) -> Self {
        Self(broker)
    }
}

pub(super) struct FakeConnection {
    broker: Broker,
    number: usize,
    next_id: u16,
    will: Option<Publication>,
    out: mpsc::UnboundedSender<ConnectionEvent>,
    events: mpsc::UnboundedReceiver<ConnectionEvent>,
}

impl Connector for FakeConnector {
    type Connection = FakeConnection;

    fn open(&mut self, will: &Publication) -> FakeConnection {
        let now = self.0.now();
        let (out, events) = mpsc::unbounded_channel();
        let mut inner = self.0.inner();
        inner.opened.push(now);
        let refused = inner.refuse.clone();
        let first = match &refused {
            Some(closed) => ConnectionEvent::Closed(closed.clone()),
            None => ConnectionEvent::Connected(inner.welcome),
        };
        out.send(first).unwrap();
        inner.link = Some(out.clone());
        let will = refused.is_none().then(|| will.clone());
        let number = inner.opened.len();
        FakeConnection { broker: self.0.clone(), number, next_id: 0, will, out, events }
    }
}

impl FakeConnection {
    fn respond(&self, packet_id: u16, answer: PublishReaction) {
        let ack =
            |packet_id, reason| ConnectionEvent::Acked { packet_id, reason: ReasonCode(reason) };
        let say = |event| drop(self.out.send(event));
        match answer {
            PublishReaction::Ack(reason) => say(ack(packet_id, reason)),
            PublishReaction::AckTwice => {
                say(ack(packet_id, 0));
                say(ack(packet_id, 0));
            }
            PublishReaction::AckAnother(other) => say(ack(other, 0)),
            PublishReaction::Silence => {}
            PublishReaction::Cut => {
                say(ConnectionEvent::Closed(CloseReason::Broken {
                    text: "connection reset".to_owned(),
                }));
            }
            PublishReaction::AckLater(wait) => {
                let out = self.out.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    drop(out.send(ack(packet_id, 0)));
                });
            }
        }
    }
}

impl MqttConnection for FakeConnection {
    fn try_publish(&mut self, publication: Publication) -> Result<(), QueueFull> {
        let at = self.broker.now();
        let Publication { topic, payload, delivery, .. } = publication;
        let received = Received { link: self.number, at, topic, payload, delivery };
        let answer = {
            let mut inner = self.broker.inner();
            inner.received.push(received.clone());
            (inner.script)(&received)
        };
        if delivery == Delivery::AtMostOnce {
            drop(self.out.send(ConnectionEvent::Sent(0)));
            return Ok(());
        }
        // Assigned like rumqttc does: 1..=receive_max in turn.
        self.next_id = self.next_id % self.broker.inner().welcome.receive_max + 1;
        drop(self.out.send(ConnectionEvent::Sent(self.next_id)));
        self.respond(self.next_id, answer);
        Ok(())
    }

    fn try_subscribe(&mut self, topics: Vec<String>) -> Result<(), QueueFull> {
        let mut inner = self.broker.inner();
        let asked = topics.len();
        inner.subscribed.push(topics);
        self.next_id = self.next_id % inner.welcome.receive_max + 1;
        drop(self.out.send(ConnectionEvent::Sent(self.next_id)));
        let answer = match inner.suback.clone() {
            Some(codes) => ConnectionEvent::Subscribed {
                packet_id: self.next_id,
                reasons: codes.into_iter().take(asked).map(ReasonCode).collect(),
            },
            None => {
                ConnectionEvent::Closed(CloseReason::Broken { text: "connection reset".to_owned() })
            }
        };
        drop(self.out.send(answer));
        Ok(())
    }

    fn disconnect(&mut self) {
        self.will = None;
        let text = "closed by the broker after DISCONNECT".to_owned();
        drop(self.out.send(ConnectionEvent::Closed(CloseReason::Broken { text })));
    }

    async fn next_event(&mut self) -> ConnectionEvent {
        match self.events.recv().await {
            Some(next_event) => next_event,
            None => std::future::pending().await,
        }
    }
}

impl Drop for FakeConnection {
    fn drop(&mut self) {
        if let Some(will) = self.will.take() {
            self.broker.inner().wills.push(will);
        }
    }
}
