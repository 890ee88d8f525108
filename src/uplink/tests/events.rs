//! Tests of events: each is delivered, in order and before the track, and none blocks another.

use super::broker::{ACCEPT, PublishReaction, Received};
use super::*;
use crate::outbox::tests::event;
use waypost_model::event::EventRecord;
use waypost_model::event::{EventKind, Parcel};
use waypost_wire::epcis;

impl Received {
    /// Number of the event in the message.
    fn event(&self) -> Option<u64> {
        let message = epcis::decode(&self.payload).ok()?;
        message.sequence.parse().ok()
    }
}

impl Van {
    async fn happens(&mut self, events: u64) {
        let first = self.next.get();
        self.next = Seq::new(first + events);
        self.put((first..first + events).map(|seq| event(Seq::new(seq))).collect()).await;
    }

    /// Adds an inventory event with this number of parcels, of at least 100 bytes each.
    async fn happens_with(&mut self, parcels: u32) {
        let parcel = |number| Parcel {
            key: format!("{number:020}"),
            epc: format!("https://id.gs1.org/00/{number:020}"),
        };
        let mut record = event(self.next);
        record.event.kind = EventKind::Inventory {
            present: (0..parcels).map(parcel).collect(),
            missing: Vec::new(),
            unexpected: Vec::new(),
            window: MINUTE,
        };
        self.next = self.next.next();
        self.put(vec![record]).await;
    }

    async fn put(&self, events: Vec<EventRecord>) {
        self.outbox.accept_events(events, Vec::new(), Uptime::ZERO);
        self.outbox.flush_by(Uptime::ZERO).await.unwrap();
    }

    fn events(&self) -> Vec<u64> {
        self.broker.on("event").iter().filter_map(Received::event).collect()
    }

    /// In the order of their first arrival.
    fn events_first_seen(&self) -> Vec<u64> {
        let mut seen = Vec::new();
        for seq in self.events() {
            if !seen.contains(&seq) {
                seen.push(seq);
            }
        }
        seen
    }
}

#[tokio::test(start_paused = true)]
async fn events_go_in_order_one_a_message_after_the_position_and_ahead_of_the_trail() {
    let mut van = Van::start_with_backlog(config(), Broker::down(), 600).await;
    van.happens(30).await;
    van.drive(5).await;
    van.broker.go_up();
    van.delivered(MINUTE).await;
    assert!(van.events().into_iter().eq(601..=630));
    let topics = van.broker.received();
    let first = |name: &str| topics.iter().position(|received| received.topic.ends_with(name));
    assert!(first("/position") < first("/event"), "{:?}", first("/event"));
    assert!(first("/event") < first("/track"));
    assert!(van.broker.on("event").iter().all(|event| event.delivery == Delivery::AtLeastOnce));
    assert_eq!(van.status.borrow().events_acked, 30);
    assert_eq!(van.outbox.stats().borrow().events_pending, 0);

    // On a good connection, one is sent at once.
    van.happens(1).await;
    van.delivered(Duration::from_millis(100)).await;
    assert_eq!(van.events().last(), Some(&(van.next.get() - 1)));
}

#[tokio::test(start_paused = true)]
async fn events_leave_room_for_the_trail_and_a_lost_acknowledgement_sends_them_again() {
    let broker = Broker::up();
    broker.script(|received| match received.link {
        1 if received.topic.ends_with("/event") => PublishReaction::Silence,
        _ => ACCEPT,
    });
    let mut van = Van::start_with_backlog(config(), broker, 600).await;
    van.happens(40).await;
    van.until("the track is delivered", MINUTE / 3, |van| van.pending() == 40).await;
    assert_eq!(van.events().len(), 10, "at most ten in flight");
    van.delivered(2 * MINUTE).await;
    assert!(van.events_first_seen().into_iter().eq(601..=640));
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_waits_and_the_others_go_on() {
    let broker = Broker::up();
    broker.script(
        |received| if received.event() == Some(5) { PublishReaction::Ack(0x99) } else { ACCEPT },
    );
    let mut van = Van::start(config(), broker).await;
    van.happens(60).await;
    van.until("the others are delivered", 2 * MINUTE, |van| van.pending() == 1).await;
    van.drive(3600).await;
    van.until("the track is delivered too", MINUTE, |van| van.pending() == 1).await;
    let tries = van.events().iter().filter(|seq| **seq == 5).count();
    assert!((5..=20).contains(&tries), "{tries} attempts in an hour");
    assert_eq!(van.broker.inner().opened.len(), 1, "the connection stays");
    van.broker.script(|_| ACCEPT);
    van.delivered(6 * MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_takes_no_events_slows_them_down_and_nothing_else() {
    let broker = Broker::up();
    broker.script(
        |received| if received.event().is_some() { PublishReaction::Ack(0x87) } else { ACCEPT },
    );
    let mut van = Van::start(config(), broker).await;
    van.happens(500).await;
    van.drive(600).await;
    van.until("the track is delivered", MINUTE, |van| van.pending() == 500).await;
    let messages = van.events().len();
    assert!((5..=30).contains(&messages), "{messages} messages to a rejected topic");
    assert_eq!(van.status.borrow().last_reason, Some(ReasonCode::NOT_AUTHORIZED));
    van.broker.script(|_| ACCEPT);
    van.delivered(15 * MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_larger_than_the_broker_takes_is_kept_and_holds_up_nothing() {
    let broker = Broker::up();
    broker.inner().welcome.max_packet_bytes = 20_000;
    let mut van = Van::start(config(), broker).await;
    van.happens(3).await;
    van.happens_with(1000).await;
    van.happens(3).await;
    van.until("the others are delivered", MINUTE, |van| van.pending() == 1).await;
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(van.events(), [1, 2, 3, 5, 6, 7]);
    assert_eq!(van.status.borrow().events_too_large, 1);
    assert_eq!(van.broker.inner().opened.len(), 1, "the connection stays");
    van.broker.inner().welcome.max_packet_bytes = u32::MAX;
    van.broker
        .send_to_client(ConnectionEvent::Closed(CloseReason::Broken { text: "reset".to_owned() }));
    van.delivered(2 * MINUTE).await;
    assert_eq!(van.status.borrow().events_too_large, 0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_with_a_limit_that_it_does_not_say_gets_the_other_events_all_the_same() {
    let broker = Broker::up();
    broker.script(
        |received| if received.payload.len() > 20_000 { PublishReaction::Cut } else { ACCEPT },
    );
    let mut van = Van::start(config(), broker).await;
    van.happens_with(1000).await;
    van.happens(30).await;
    van.until("the others are delivered", 5 * MINUTE, |van| van.pending() == 1).await;
    van.drive(1200).await;
    van.until("the track is delivered too", 5 * MINUTE, |van| van.pending() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn any_mix_of_faults_delivers_every_event_and_removes_none_before() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let broker = Broker::up();
        let accepted = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let noted = accepted.clone();
        broker.script(move |received| {
            let answer = match random.u32(0..100) {
                0..4 => PublishReaction::Cut,
                4..6 => PublishReaction::Silence,
                6..8 => PublishReaction::AckTwice,
                8..10 => PublishReaction::AckAnother(random.u16(21..30)),
                10..14 => PublishReaction::Ack(random.choice([0x80, 0x87, 0x97]).unwrap()),
                14..60 => PublishReaction::AckLater(Duration::from_millis(random.u64(1..900))),
                _ => ACCEPT,
            };
            if matches!(
                answer,
                PublishReaction::Ack(0) | PublishReaction::AckTwice | PublishReaction::AckLater(_)
            ) {
                noted.lock().unwrap().extend(received.event());
            }
            answer
        });
        let mut van = Van::start(config(), broker).await;
        let mut happened = Vec::new();
        for _ in 0..10 {
            let first = van.next.get();
            van.happens(20).await;
            happened.extend(first..van.next.get());
            van.drive(20).await;
            let kept = van.outbox.events_after(Seq::ZERO, 1000).await.unwrap();
            let kept: Vec<_> = kept.iter().map(|event| event.seq.get()).collect();
            let accepted = accepted.lock().unwrap();
            let lost = happened.iter().find(|seq| !kept.contains(seq) && !accepted.contains(seq));
            assert_eq!(lost, None, "seed {seed}");
        }
        van.broker.script(|_| ACCEPT);
        van.delivered(20 * MINUTE).await;
        let mut seen = van.events_first_seen();
        seen.sort_unstable();
        assert_eq!(seen, happened, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_a_broker_cuts_for_costs_a_connection_an_hour_in_the_end() {
    let broker = Broker::up();
    broker.script(
        |received| if received.payload.len() > 20_000 { PublishReaction::Cut } else { ACCEPT },
    );
    let mut van = Van::start(config(), broker).await;
    van.happens_with(1000).await;
    tokio::time::sleep(60 * MINUTE).await;
    let opened = van.broker.inner().opened.len();
    assert!((5..=9).contains(&opened), "{opened} connections in the first hour");
    tokio::time::sleep(8 * 60 * MINUTE).await;
    let more = van.broker.inner().opened.len() - opened;
    assert!((7..=9).contains(&more), "{more} connections in eight hours");
    van.broker.script(|_| ACCEPT);
    van.delivered(61 * MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_answers_does_not_hold_up_an_event() {
    let broker = Broker::up();
    broker.script(|_| PublishReaction::AckLater(Duration::from_millis(300)));
    let mut van = Van::start(config(), broker).await;
    tokio::time::sleep(MINUTE).await;
    let answers = van.responses.clone();
    let flood = tokio::spawn(async move {
        let answer = || CommandResponse { payload: vec![b'x'; 60] };
        while answers.send(answer()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    van.happens(1).await;
    van.until("event", MINUTE, |van| van.events().len() == 1).await;
    flood.abort();
}
