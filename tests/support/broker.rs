//! An in-memory broker for tests in virtual time. It can be up or down, and the accepted messages
//! can be inspected.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use waypost::uplink::{
    CloseReason, ConnackInfo, ConnectionEvent, Connector, Delivery, MqttConnection, Publication,
    QueueFull, ReasonCode,
};
use waypost_wire::payloads::Track;

/// Clones share one broker. It starts down.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScriptedBroker {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_up: bool,
    /// One in this many acknowledgements is lost; 0 for none.
    loses_every: u32,
    acks: u32,
    received: Vec<Publication>,
    /// Event queue of the current connection.
    connected: Option<mpsc::UnboundedSender<ConnectionEvent>>,
}

impl ScriptedBroker {
    pub(crate) fn go_up(&self) {
        self.state.lock().unwrap().is_up = true;
    }

    /// Cuts the connection and rejects new ones.
    pub(crate) fn go_down(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_up = false;
        if let Some(events) = state.connected.take() {
            events
                .send(ConnectionEvent::Closed(CloseReason::Broken { text: "cut".to_owned() }))
                .ok();
        }
    }

    /// Loses one in `every` acknowledgements, although the message was accepted.
    pub(crate) fn lose_acknowledgements(&self, interval: u32) {
        self.state.lock().unwrap().loses_every = interval;
    }

    /// Returns the payloads on topics that end in `name`, in order.
    pub(crate) fn payloads(&self, name: &str) -> Vec<serde_json::Value> {
        let state = self.state.lock().unwrap();
        let of_topic =
            state.received.iter().filter(|publication| publication.topic.ends_with(name));
        of_topic.map(|publication| serde_json::from_slice(&publication.payload).unwrap()).collect()
    }

    /// Returns the topics of all messages, in order.
    pub(crate) fn topics(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.received.iter().map(|publication| publication.topic.clone()).collect()
    }

    /// Returns the numbers of all points on `track` in order of arrival, duplicates included.
    pub(crate) fn track_seqs(&self) -> Vec<u64> {
        let tracks = self.payloads("/track").into_iter();
        let tracks = tracks.map(|track| serde_json::from_value::<Track>(track).unwrap());
        tracks.flat_map(|track| track.points.into_iter().map(|point| point.seq)).collect()
    }
}

impl Connector for ScriptedBroker {
    type Connection = ScriptedLink;

    fn open(&mut self, _will: &Publication) -> ScriptedLink {
        let (sender, events) = mpsc::unbounded_channel();
        let mut state = self.state.lock().unwrap();
        let first = if state.is_up {
            state.connected = Some(sender.clone());
            ConnectionEvent::Connected(ConnackInfo {
                receive_max: 20,
                max_packet_bytes: 1 << 20,
                keep_alive: Duration::from_secs(120),
                retains: true,
            })
        } else {
            ConnectionEvent::Closed(CloseReason::Broken { text: "nobody there".to_owned() })
        };
        sender.send(first).unwrap();
        ScriptedLink { broker: self.clone(), sender, events, next_id: 1, sent: VecDeque::new() }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct ScriptedLink {
    broker: ScriptedBroker,
    sender: mpsc::UnboundedSender<ConnectionEvent>,
    events: mpsc::UnboundedReceiver<ConnectionEvent>,
    next_id: u16,
    sent: VecDeque<u16>,
}

impl MqttConnection for ScriptedLink {
    fn try_publish(&mut self, publication: Publication) -> Result<(), QueueFull> {
        let mut state = self.broker.state.lock().unwrap();
        if state.connected.as_ref().is_none_or(|connected| !connected.same_channel(&self.sender)) {
            return Ok(());
        }
        let packet_id = match publication.delivery {
            Delivery::AtMostOnce => 0,
            Delivery::AtLeastOnce | Delivery::Retained => {
                self.next_id = self.next_id.checked_add(1).unwrap_or(1);
                self.next_id
            }
        };
        state.received.push(publication);
        self.sent.push_back(packet_id);
        self.sender.send(ConnectionEvent::Sent(packet_id)).unwrap();
        if packet_id != 0 {
            state.acks += 1;
            if state.loses_every == 0 || !state.acks.is_multiple_of(state.loses_every) {
                self.sender
                    .send(ConnectionEvent::Acked { packet_id, reason: ReasonCode::SUCCESS })
                    .unwrap();
            }
        }
        Ok(())
    }

    fn try_subscribe(&mut self, topics: Vec<String>) -> Result<(), QueueFull> {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        let packet_id = self.next_id;
        self.sender.send(ConnectionEvent::Sent(packet_id)).unwrap();
        let reasons = topics.iter().map(|_| ReasonCode(1)).collect();
        self.sender.send(ConnectionEvent::Subscribed { packet_id, reasons }).unwrap();
        Ok(())
    }

    fn disconnect(&mut self) {
        self.sender
            .send(ConnectionEvent::Closed(CloseReason::Broken { text: "disconnected".to_owned() }))
            .unwrap();
    }

    async fn next_event(&mut self) -> ConnectionEvent {
        match self.events.recv().await {
            Some(next_event) => next_event,
            None => std::future::pending().await,
        }
    }
}
