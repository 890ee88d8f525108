//! Tests of the backend's `ack`: where PUBACK is not sufficient, only an `ack` removes a record.

use super::broker::{ACCEPT, PublishReaction};
use super::*;
use crate::outbox::tests::event;

impl Van {
    fn ack(&self, payload: &str) {
        let topic = "fleet/v1/VAN-1/ack".to_owned();
        let payload = payload.as_bytes().to_vec();
        self.broker.send_to_client(ConnectionEvent::Message { topic, payload, retained: false });
    }
}

fn strict() -> UplinkConfig {
    UplinkConfig { require_ack: true, ..config() }
}

#[tokio::test(start_paused = true)]
async fn a_puback_removes_nothing_and_the_backends_word_what_it_says() {
    for config in [strict(), UplinkConfig { version: MqttVersion::V3_1_1, ..config() }] {
        let mut van = Van::start_with_backlog(config, Broker::up(), 600).await;
        van.outbox.accept_events(vec![event(Seq::new(601))], Vec::new(), Uptime::ZERO);
        van.outbox.flush_by(Uptime::ZERO).await.unwrap();
        van.next = Seq::new(602);
        tokio::time::sleep(2 * MINUTE).await;
        assert_eq!(van.pending(), 601, "the broker has acknowledged everything");
        let sent = van.broker.on("track").len() + van.broker.on("event").len();
        van.ack(r#"{"v":1,"track":{"up_to":180}}"#);
        van.until("three batches", MINUTE, |van| van.pending() == 421).await;
        for unfit in
            ["", "{}", r#"{"v":1,"track":{"up_to":170}}"#, r#"{"v":1,"track":{"up_to":601}}"#]
        {
            van.ack(unfit);
        }
        van.ack(r#"{"v":1,"event":{"up_to":601},"track":{"up_to":600}}"#);
        van.delivered(MINUTE).await;
        let again = van.broker.on("track").len() + van.broker.on("event").len();
        assert_eq!(again, sent, "no repetition on one connection");
        assert_eq!(van.broker.inner().opened.len(), 1);
        let status = van.status.borrow().clone();
        assert_eq!((status.acks_invalid, status.points_acked, status.events_acked), (4, 600, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_backends_word_is_not_asked_for_where_puback_is_enough() {
    let van = Van::start_with_backlog(config(), Broker::up(), 60).await;
    van.delivered(MINUTE).await;
    van.ack("nonsense");
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!((van.status.borrow().acks_invalid, van.broker.inner().opened.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_says_nothing_gets_everything_again_after_five_minutes_and_then_less_often()
{
    let van = Van::start_with_backlog(strict(), Broker::up(), 120).await;
    tokio::time::sleep(299 * Duration::from_secs(1)).await;
    assert_eq!(van.broker.inner().opened.len(), 1);
    van.until("again", MINUTE, |van| van.broker.inner().opened.len() == 2).await;
    tokio::time::sleep(8 * 60 * MINUTE).await;
    let connections = van.broker.inner().opened.len();
    assert!((9..=12).contains(&connections), "{connections} in eight hours");
    assert_eq!(van.pending(), 120);
    van.ack(r#"{"v":1,"track":{"up_to":120}}"#);
    van.delivered(2 * 60 * MINUTE).await;
    tokio::time::sleep(8 * 60 * MINUTE).await;
    assert_eq!(van.broker.inner().opened.len(), connections, "nothing is pending");
}

#[tokio::test(start_paused = true)]
async fn any_mix_of_faults_removes_nothing_that_the_backend_has_not_said() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let broker = Broker::up();
        // Records stored by the backend, and its last `ack`. A 3.1.1 broker may acknowledge and
        // drop a message.
        let stored = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let noted = stored.clone();
        broker.script(move |received| match random.u32(0..100) {
            0..3 => PublishReaction::Cut,
            3..5 => PublishReaction::Silence,
            5..15 => ACCEPT,
            _ => {
                noted.lock().unwrap().extend(received.seqs());
                ACCEPT
            }
        });
        let config = UplinkConfig { version: MqttVersion::V3_1_1, track_batch: 9, ..config() };
        let mut van = Van::start_with_backlog(config, broker, 200).await;
        let mut said = 0;
        for _ in 0..120 {
            van.drive(10).await;
            said = {
                let stored = stored.lock().unwrap();
                (1..).take_while(|seq| stored.contains(seq)).last().unwrap_or(0)
            };
            van.ack(&format!(r#"{{"v":1,"track":{{"up_to":{said}}}}}"#));
            tokio::time::sleep(Duration::from_millis(10)).await;
            let kept = van.outbox.records_after(Seq::ZERO, None, 10_000).await.unwrap();
            let lowest = kept.first().map_or(van.next, |record| record.seq);
            assert!(lowest.get() <= said + 1, "seed {seed}: {lowest:?} is left, ack was {said}");
        }
        assert!(said > 300, "seed {seed}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn fresh_points_wait_for_the_backlog_so_that_a_mark_takes_nothing_that_has_not_arrived() {
    let broker = Broker::up();
    broker.script(|_| PublishReaction::AckLater(Duration::from_millis(800)));
    broker.inner().welcome.receive_max = 2;
    let config = UplinkConfig { backlog_batch: 10, ..strict() };
    let mut van = Van::start_with_backlog(config, broker, 2000).await;
    van.drive(30).await;
    let highest = van.broker.first_seen().last().copied().unwrap();
    assert!((100..1500).contains(&highest), "{highest}: the backlog is still being sent");
    van.ack(&format!(r#"{{"v":1,"track":{{"up_to":{highest}}}}}"#));
    tokio::time::sleep(10 * MINUTE / 3).await;
    assert!(van.pending() >= 2030 - highest);
    assert!(van.broker.first_seen().into_iter().eq(1..=2030), "numbers ascend");
    assert!(!van.broker.on("position").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_says_the_highest_that_came_loses_nothing_to_a_broker_that_refuses() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let broker = Broker::up();
        let stored = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let newest = std::sync::Arc::new(std::sync::Mutex::new((0, 0)));
        let (noted, highest) = (stored.clone(), newest.clone());
        broker.script(move |received| match random.u32(0..100) {
            0..2 => PublishReaction::Cut,
            2..30 if received.topic.ends_with("/track") => PublishReaction::Ack(0x97),
            _ => {
                noted.lock().unwrap().extend(received.seqs());
                let mut highest = highest.lock().unwrap();
                let before = if highest.0 == received.link { highest.1 } else { 0 };
                let last = received.seqs().last().copied().unwrap_or(0);
                *highest = (received.link, before.max(last));
                PublishReaction::AckLater(Duration::from_millis(random.u64(1..900)))
            }
        });
        let mut van = Van::start_with_backlog(strict(), broker, 2000).await;
        for _ in 0..120 {
            van.drive(10).await;
            let (link, mark) = *newest.lock().unwrap();
            if link == van.broker.inner().opened.len() {
                van.ack(&format!(r#"{{"v":1,"track":{{"up_to":{mark}}}}}"#));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            let kept = van.outbox.records_after(Seq::ZERO, None, 10_000).await.unwrap();
            let kept: BTreeSet<_> = kept.iter().map(|record| record.seq.get()).collect();
            let stored = stored.lock().unwrap();
            let lost = (1..van.next.get()).find(|seq| !kept.contains(seq) && !stored.contains(seq));
            assert_eq!(lost, None, "seed {seed}");
        }
        assert!(van.pending() < 3000, "seed {seed}: {}", van.pending());
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_drops_in_the_middle_loses_nothing_to_a_backend_that_says_what_came() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let broker = Broker::up();
        let stored = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        // First and last number of each message, in the order in which the backend stored them.
        let came = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let (noted, ranges) = (stored.clone(), came.clone());
        broker.script(move |received| match random.u32(0..100) {
            0..2 => PublishReaction::Cut,
            2..4 => PublishReaction::Ack(0x97),
            4..20 => ACCEPT,
            _ => {
                let seqs = received.seqs();
                noted.lock().unwrap().extend(seqs.iter().copied());
                if let (Some(first), Some(last)) = (seqs.first(), seqs.last()) {
                    ranges.lock().unwrap().push((*first, *last));
                }
                PublishReaction::AckLater(Duration::from_millis(random.u64(1..900)))
            }
        });
        let config = UplinkConfig { version: MqttVersion::V3_1_1, track_batch: 9, ..config() };
        let mut van = Van::start_with_backlog(config, broker, 1000).await;
        for round in 0..180 {
            van.drive(if round < 60 { 10 } else { 0 }).await;
            tokio::time::sleep(Duration::from_secs(if round < 60 { 0 } else { 60 })).await;
            let mut said: Vec<(u64, u64)> = came.lock().unwrap().drain(..).collect();
            said.sort_unstable();
            // Repeated and differently split messages are merged.
            said.dedup_by(|next, before| {
                let touches = next.0 <= before.1;
                before.1 = if touches { before.1.max(next.1) } else { before.1 };
                touches
            });
            for said in said.chunks(64) {
                let said: Vec<String> =
                    said.iter().map(|(first, last)| format!("[{first},{last}]")).collect();
                van.ack(&format!(r#"{{"v":1,"track":{{"ranges":[{}]}}}}"#, said.join(",")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            let kept = van.outbox.records_after(Seq::ZERO, None, 10_000).await.unwrap();
            let kept: BTreeSet<_> = kept.iter().map(|record| record.seq.get()).collect();
            let stored = stored.lock().unwrap();
            let lost = (1..van.next.get()).find(|seq| !kept.contains(seq) && !stored.contains(seq));
            assert_eq!(lost, None, "seed {seed}");
        }
        assert_eq!(van.pending(), 0, "seed {seed}: everything is stored two hours later");
        assert_eq!(van.status.borrow().acks_invalid, 0, "seed {seed}");
        let connections = van.broker.inner().opened.len();
        assert!((2..60).contains(&connections), "seed {seed}: {connections}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_broker_drops_is_sent_again_five_minutes_later() {
    let broker = Broker::up();
    let mut van = Van::start(strict(), broker).await;
    van.outbox.accept_events(
        (1..=3).map(|n| event(Seq::new(n))).collect(),
        Vec::new(),
        Uptime::ZERO,
    );
    van.outbox.flush_by(Uptime::ZERO).await.unwrap();
    van.next = Seq::new(4);
    van.until("events", MINUTE, |van| van.broker.on("event").len() == 3).await;
    van.ack(r#"{"v":1,"event":{"ranges":[[1,1],[3,3]]}}"#);
    van.until("stored", MINUTE, |van| van.pending() == 1).await;
    van.until("again", 6 * MINUTE, |van| van.broker.on("event").len() == 4).await;
    van.ack(r#"{"v":1,"event":{"ranges":[[2,2]]}}"#);
    van.delivered(MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn a_retained_word_of_the_backend_is_older_than_what_was_sent_and_counts_for_nothing() {
    let van = Van::start_with_backlog(strict(), Broker::up(), 60).await;
    tokio::time::sleep(MINUTE).await;
    let (topic, payload) =
        ("fleet/v1/VAN-1/ack".to_owned(), br#"{"v":1,"track":{"up_to":60}}"#.to_vec());
    van.broker.send_to_client(ConnectionEvent::Message { topic, payload, retained: true });
    tokio::time::sleep(MINUTE).await;
    assert_eq!(van.pending(), 60);
    assert_eq!(van.status.borrow().downlink_dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_refuses_for_long_is_no_backend_that_says_nothing() {
    let broker = Broker::up();
    broker.script(|received| {
        let closed = received.topic.ends_with("/track") && received.at < 6 * MINUTE;
        if closed {
            PublishReaction::Ack(0x97)
        } else {
            PublishReaction::AckLater(Duration::from_millis(300))
        }
    });
    let mut van = Van::start_with_backlog(strict(), broker, 60).await;
    van.drive(840).await;
    assert_eq!(van.broker.inner().opened.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_do_not_wait_for_a_trail_that_nobody_acknowledges() {
    let config = UplinkConfig { backlog_batch: 1, ..strict() };
    let mut van = Van::start_with_backlog(config, Broker::up(), 5000).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(van.broker.on("track").len(), 4096);
    van.outbox.accept_events(vec![event(Seq::new(5001))], Vec::new(), Uptime::ZERO);
    van.outbox.flush_by(Uptime::ZERO).await.unwrap();
    van.next = Seq::new(5002);
    van.until("event", MINUTE, |van| !van.broker.on("event").is_empty()).await;
    van.ack(r#"{"v":1,"event":{"up_to":5001}}"#);
    van.until("again", 5 * MINUTE, |van| van.broker.inner().opened.len() == 2).await;
}
