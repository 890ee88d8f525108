//! Where PUBACK is not enough, the backend's word removes a record, and nothing else does.

use super::broker::{ACCEPT, Answer};
use super::*;
use crate::outbox::tests::event;

impl Van {
    fn ack(&self, payload: &str) {
        let topic = "fleet/v1/VAN-1/ack".to_owned();
        let payload = payload.as_bytes().to_vec();
        self.broker.say(LinkEvent::Message { topic, payload, retained: false });
    }
}

fn strict() -> RelayConfig {
    RelayConfig { require_ack: true, ..config() }
}

#[tokio::test(start_paused = true)]
async fn a_puback_removes_nothing_and_the_backends_word_what_it_says() {
    for config in [strict(), RelayConfig { version: MqttVersion::V3_1_1, ..config() }] {
        let mut van = Van::start_with_backlog(config, Broker::up(), 600).await;
        van.outbox.accept_events(vec![event(Seq::new(601))], Vec::new(), Uptime::ZERO);
        van.outbox.flush_by(Uptime::ZERO).await.unwrap();
        van.next = Seq::new(602);
        tokio::time::sleep(2 * MINUTE).await;
        assert_eq!(van.pending(), 601, "everything is acknowledged, by the broker");
        let sent = van.broker.on("track").len() + van.broker.on("event").len();
        van.ack(r#"{"v":1,"track_seq":180}"#);
        van.until("three batches", MINUTE, |van| van.pending() == 421).await;
        for unfit in ["", "{}", r#"{"v":1,"track_seq":170}"#, r#"{"v":1,"track_seq":601}"#] {
            van.ack(unfit);
        }
        van.ack(r#"{"v":1,"event_seq":601,"track_seq":600}"#);
        van.delivered(MINUTE).await;
        let again = van.broker.on("track").len() + van.broker.on("event").len();
        assert_eq!(again, sent, "nothing twice on one connection");
        assert_eq!(van.broker.inner().opened.len(), 1);
        let status = van.status.borrow().clone();
        assert_eq!((status.acks_unfit, status.points_acked, status.events_acked), (4, 600, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_backends_word_is_not_asked_for_where_puback_is_enough() {
    let van = Van::start_with_backlog(config(), Broker::up(), 60).await;
    van.delivered(MINUTE).await;
    van.ack("nonsense");
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!((van.status.borrow().acks_unfit, van.broker.inner().opened.len()), (0, 1));
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
    van.ack(r#"{"v":1,"track_seq":120}"#);
    van.delivered(2 * 60 * MINUTE).await;
    tokio::time::sleep(8 * 60 * MINUTE).await;
    assert_eq!(van.broker.inner().opened.len(), connections, "nothing waits");
}

#[tokio::test(start_paused = true)]
async fn any_mix_of_faults_removes_nothing_that_the_backend_has_not_said() {
    for seed in 0..8 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let broker = Broker::up();
        // What the backend has, and what it said so far: a 3.1.1 broker acknowledges and drops.
        let stored = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let noted = stored.clone();
        broker.script(move |received| match dice.u32(0..100) {
            0..3 => Answer::Cut,
            3..5 => Answer::Silence,
            5..15 => ACCEPT,
            _ => {
                noted.lock().unwrap().extend(received.seqs());
                ACCEPT
            }
        });
        let config = RelayConfig { version: MqttVersion::V3_1_1, track_batch: 9, ..config() };
        let mut van = Van::start_with_backlog(config, broker, 200).await;
        let mut said = 0;
        for _ in 0..120 {
            van.drive(10).await;
            said = {
                let stored = stored.lock().unwrap();
                (1..).take_while(|seq| stored.contains(seq)).last().unwrap_or(0)
            };
            van.ack(&format!(r#"{{"v":1,"track_seq":{said}}}"#));
            tokio::time::sleep(Duration::from_millis(10)).await;
            let kept = van.outbox.after(Seq::ZERO, None, 10_000).await.unwrap();
            let lowest = kept.first().map_or(van.next, |record| record.seq);
            assert!(lowest.get() <= said + 1, "seed {seed}: {lowest:?} is left, {said} was said");
        }
        assert!(said > 300, "seed {seed}: {said}");
    }
}
