//! A broker by script, at the edge of the relay.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::*;
use crate::wire::{compact, json};

/// What a broker does with a QoS 1 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ack(u8),
    AckTwice,
    AckAnother(u16),
    Silence,
    Cut,
    AckLater(Duration),
}

pub(super) const ACCEPT: Answer = Answer::Ack(0);

#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) link: usize,
    pub(super) at: Duration,
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) delivery: Delivery,
}

impl Received {
    pub(super) fn track(&self) -> Option<json::Track> {
        self.topic.ends_with("/track").then(|| match compact::decode(&self.payload) {
            Ok(message) => message.track("VAN-1"),
            Err(_) => serde_json::from_slice(&self.payload).unwrap(),
        })
    }

    pub(super) fn seqs(&self) -> Vec<u64> {
        self.track().map_or(Vec::new(), |track| track.points.iter().map(|p| p.seq).collect())
    }
}

type Script = Box<dyn FnMut(&Received) -> Answer + Send>;

pub(super) struct Inner {
    pub(super) refuse: Option<Closed>,
    pub(super) welcome: Welcome,
    pub(super) script: Script,
    pub(super) received: Vec<Received>,
    pub(super) opened: Vec<Duration>,
    pub(super) wills: Vec<Publication>,
    /// Reason codes of SUBACK; `None` for a broker that cuts who subscribes.
    pub(super) suback: Option<Vec<u8>>,
    pub(super) subscribed: Vec<Vec<String>>,
    start: Instant,
    /// The newest link, to speak without being asked.
    link: Option<mpsc::UnboundedSender<LinkEvent>>,
}

#[derive(Clone)]
pub(super) struct Broker(Arc<Mutex<Inner>>);

#[expect(clippy::disallowed_methods, reason = "the broker has its own clock")]
impl Broker {
    pub(super) fn up() -> Self {
        let welcome = Welcome {
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
        broker.refuse(Closed::Broken { text: "connection refused".to_owned() });
        broker
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(super) fn refuse(&self, with: Closed) {
        self.inner().refuse = Some(with);
    }

    pub(super) fn go_up(&self) {
        self.inner().refuse = None;
    }

    pub(super) fn script(&self, script: impl FnMut(&Received) -> Answer + Send + 'static) {
        self.inner().script = Box::new(script);
    }

    pub(super) fn say(&self, event: LinkEvent) {
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

    /// The `Seq`s of all tracks, in the order in which they were first seen.
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

pub(super) struct FakeLinks(Broker);

impl FakeLinks {
    pub(super) fn new(broker: Broker) -> Self {
        Self(broker)
    }
}

pub(super) struct FakeLink {
    broker: Broker,
    number: usize,
    next_id: u16,
    will: Option<Publication>,
    out: mpsc::UnboundedSender<LinkEvent>,
    events: mpsc::UnboundedReceiver<LinkEvent>,
}

impl Links for FakeLinks {
    type Link = FakeLink;

    fn open(&mut self, will: &Publication) -> FakeLink {
        let now = self.0.now();
        let (out, events) = mpsc::unbounded_channel();
        let mut inner = self.0.inner();
        inner.opened.push(now);
        let refused = inner.refuse.clone();
        let first = match &refused {
            Some(closed) => LinkEvent::Closed(closed.clone()),
            None => LinkEvent::Connected(inner.welcome),
        };
        out.send(first).unwrap();
        inner.link = Some(out.clone());
        let will = refused.is_none().then(|| will.clone());
        let number = inner.opened.len();
        FakeLink { broker: self.0.clone(), number, next_id: 0, will, out, events }
    }
}

impl FakeLink {
    fn answer(&self, packet_id: u16, answer: Answer) {
        let ack = |packet_id, reason| LinkEvent::Acked { packet_id, reason: ReasonCode(reason) };
        let say = |event| drop(self.out.send(event));
        match answer {
            Answer::Ack(reason) => say(ack(packet_id, reason)),
            Answer::AckTwice => {
                say(ack(packet_id, 0));
                say(ack(packet_id, 0));
            }
            Answer::AckAnother(other) => say(ack(other, 0)),
            Answer::Silence => {}
            Answer::Cut => {
                say(LinkEvent::Closed(Closed::Broken { text: "connection reset".to_owned() }));
            }
            Answer::AckLater(wait) => {
                let out = self.out.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    drop(out.send(ack(packet_id, 0)));
                });
            }
        }
    }
}

impl Link for FakeLink {
    fn try_publish(&mut self, publication: Publication) -> Result<(), Overrun> {
        let at = self.broker.now();
        let Publication { topic, payload, delivery, .. } = publication;
        let received = Received { link: self.number, at, topic, payload, delivery };
        let answer = {
            let mut inner = self.broker.inner();
            inner.received.push(received.clone());
            (inner.script)(&received)
        };
        if delivery == Delivery::AtMostOnce {
            drop(self.out.send(LinkEvent::Sent(0)));
            return Ok(());
        }
        // As rumqttc gives them: 1..=receive_max in turn.
        self.next_id = self.next_id % self.broker.inner().welcome.receive_max + 1;
        drop(self.out.send(LinkEvent::Sent(self.next_id)));
        self.answer(self.next_id, answer);
        Ok(())
    }

    fn try_subscribe(&mut self, topics: Vec<String>) -> Result<(), Overrun> {
        let mut inner = self.broker.inner();
        let asked = topics.len();
        inner.subscribed.push(topics);
        self.next_id = self.next_id % inner.welcome.receive_max + 1;
        drop(self.out.send(LinkEvent::Sent(self.next_id)));
        let answer = match inner.suback.clone() {
            Some(codes) => LinkEvent::Subscribed {
                packet_id: self.next_id,
                reasons: codes.into_iter().take(asked).map(ReasonCode).collect(),
            },
            None => LinkEvent::Closed(Closed::Broken { text: "connection reset".to_owned() }),
        };
        drop(self.out.send(answer));
        Ok(())
    }

    fn disconnect(&mut self) {
        self.will = None;
        let text = "closed by the broker after DISCONNECT".to_owned();
        drop(self.out.send(LinkEvent::Closed(Closed::Broken { text })));
    }

    async fn event(&mut self) -> LinkEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

impl Drop for FakeLink {
    fn drop(&mut self) {
        if let Some(will) = self.will.take() {
            self.broker.inner().wills.push(will);
        }
    }
}
