//! A record leaves the outbox only after the broker has accepted it.

use super::broker::{ACCEPT, Broker, PublishReaction};
use super::*;

/// The expected `Seq`s of a range.
fn all(van: &Van) -> Vec<u64> {
    (1..van.next.get()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_a_broker_loses_nothing_and_keeps_the_order() {
    let mut van = Van::start(config(), Broker::down()).await;
    van.drive(3600).await;
    assert_eq!(van.pending(), 3600);
    assert!(van.broker.received().is_empty());
    let attempts = van.broker.inner().opened.clone();
    assert!((150..400).contains(&attempts.len()), "{} attempts", attempts.len());
    for pair in attempts.windows(2) {
        let wait = pair[1] - pair[0];
        assert!((1..=31).contains(&wait.as_secs()), "{wait:?} between two attempts");
    }
    assert!(matches!(van.status.borrow().state, LinkState::BackingOff { .. }));
    assert_eq!(van.status.borrow().last_error.as_deref(), Some("connection refused"));

    van.broker.go_up();
    van.delivered(Duration::from_secs(31)).await;
    assert_eq!(van.broker.first_seen(), all(&van));
    let status = van.status.borrow().clone();
    assert_eq!((status.state, status.last_error), (LinkState::Connected, None));
    assert_eq!((status.points_acked, status.track_messages), (3600, 60));
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_cuts_the_link_and_the_record_is_sent_again() {
    let broker = Broker::up();
    broker.script(|received| match received.link {
        1 if received.seqs().contains(&65) => PublishReaction::Silence,
        _ => ACCEPT,
    });
    let van = Van::start_with_backlog(config(), broker, 180).await;
    van.until("two are acknowledged", MINUTE, |van| van.pending() == 60).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(van.pending(), 60, "not acknowledged, not deleted");
    van.delivered(MINUTE).await;
    let opened = van.broker.inner().opened.clone();
    assert!((30..=33).contains(&(opened[1] - opened[0]).as_secs()), "{opened:?}");
    let again: Vec<_> =
        van.broker.on("track").into_iter().filter(|received| received.link == 2).collect();
    assert_eq!(again.len(), 1, "acknowledged records are not sent again");
    assert_eq!(again[0].seqs()[0], 61);
    assert_eq!(van.broker.inner().wills.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_fit_nothing_end_the_link_and_remove_nothing() {
    for wrong in [PublishReaction::AckTwice, PublishReaction::AckAnother(19)] {
        let broker = Broker::up();
        broker.script(move |received| match received.seqs().first() {
            Some(61) if received.link == 1 => wrong,
            Some(_) if received.link == 1 => PublishReaction::Silence,
            _ => ACCEPT,
        });
        let van = Van::start_with_backlog(config(), broker, 240).await;
        van.until("the connection ends", MINUTE, |van| van.broker.inner().wills.len() == 1).await;
        van.until("removed", MINUTE, |van| van.status.borrow().state != LinkState::Connected).await;
        let kept = if wrong == PublishReaction::AckTwice { 180 } else { 240 };
        assert_eq!(van.pending(), kept, "{wrong:?}");
        van.delivered(MINUTE).await;
        assert_eq!(van.broker.first_seen().len(), 240);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_begins_again_at_the_lowest_record_without_puback() {
    let broker = Broker::up();
    broker.script(|received| match (received.link, received.seqs().first()) {
        (1, Some(121)) => PublishReaction::Silence,
        (1, Some(601)) => PublishReaction::Cut,
        _ => ACCEPT,
    });
    let config = UplinkConfig { in_flight_bytes: 1 << 20, ..config() };
    let van = Van::start_with_backlog(config, broker, 900).await;
    van.delivered(MINUTE).await;
    let second: Vec<_> = van.broker.on("track").into_iter().filter(|r| r.link == 2).collect();
    assert_eq!(second[0].seqs()[0], 121);
    assert_eq!(van.broker.first_seen(), all(&van));
    let sent: u64 = van.broker.on("track").iter().map(|r| r.seqs().len() as u64).sum();
    assert!(sent <= 900 + 20 * 60, "at most a window is repeated: {sent}");
}

#[tokio::test(start_paused = true)]
async fn out_of_order_acknowledgements_never_exceed_the_window_or_reuse_an_identifier() {
    let broker = Broker::up();
    let mut count = 0_u64;
    broker.script(move |_| {
        count += 1;
        PublishReaction::AckLater(Duration::from_millis(10 + count * 7919 % 400))
    });
    broker.inner().welcome.receive_max = 5;
    let config = UplinkConfig { track_batch: 7, ..config() };
    let van = Van::start_with_backlog(config, broker, 2000).await;
    van.delivered(10 * MINUTE).await;
    assert_eq!(van.broker.first_seen(), all(&van));
    assert_eq!(van.broker.inner().opened.len(), 1, "no violation");
}

#[tokio::test(start_paused = true)]
async fn a_refused_topic_keeps_its_records_slows_down_and_stops_nothing_else() {
    let broker = Broker::up();
    broker.script(|received| {
        if received.topic.ends_with("/track") { PublishReaction::Ack(0x87) } else { ACCEPT }
    });
    let mut van = Van::start_with_backlog(config(), broker, 6000).await;
    van.drive(600).await;
    assert_eq!(van.pending(), 6600);
    let tracks = van.broker.on("track").len();
    assert!((5..=30).contains(&tracks), "{tracks} messages to a rejected topic");
    assert!(van.broker.on("position").len() >= 110);
    assert!(van.broker.on("state").len() >= 10);
    assert_eq!(van.status.borrow().last_reason, Some(ReasonCode::NOT_AUTHORIZED));
    assert_eq!(van.broker.inner().opened.len(), 1, "the connection stays");

    van.broker.script(|_| ACCEPT);
    van.delivered(11 * MINUTE).await;
    let mut seen = van.broker.first_seen();
    seen.sort_unstable();
    assert_eq!(seen, all(&van));
    assert_eq!(van.status.borrow().last_reason, None);
}

#[tokio::test(start_paused = true)]
async fn one_message_that_the_broker_dislikes_does_not_hold_up_the_others() {
    let broker = Broker::up();
    broker.script(
        |received| {
            if received.seqs().contains(&100) { PublishReaction::Ack(0x99) } else { ACCEPT }
        },
    );
    let van = Van::start_with_backlog(config(), broker, 600).await;
    van.until("the others are delivered", MINUTE, |van| van.pending() == 60).await;
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(van.pending(), 60);
    let tries = van.broker.on("track").iter().filter(|r| r.seqs().contains(&100)).count();
    assert!((5..=20).contains(&tries), "{tries} attempts in an hour");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_subscribed_to_is_kept_only_if_a_subscriber_is_required() {
    for (require_subscriber, kept) in [(true, 60), (false, 0)] {
        let broker = Broker::up();
        broker.script(|_| PublishReaction::Ack(0x10));
        let config = UplinkConfig { require_subscriber, ..config() };
        let van = Van::start_with_backlog(config, broker, 60).await;
        tokio::time::sleep(MINUTE).await;
        assert_eq!(van.pending(), kept);
        van.broker.script(|_| ACCEPT);
        van.delivered(6 * MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_let_in_tries_again_slowly() {
    let broker = Broker::up();
    let text = "refused: BadUserNamePassword".to_owned();
    broker.refuse(CloseReason::Refused { reason: ReasonCode(0x86), text });
    let van = Van::start_with_backlog(config(), broker, 60).await;
    tokio::time::sleep(60 * MINUTE).await;
    let attempts = van.broker.inner().opened.len();
    assert!((10..=60).contains(&attempts), "{attempts} attempts");
    assert_eq!(van.status.borrow().last_reason, Some(ReasonCode(0x86)));
    van.broker.go_up();
    van.delivered(6 * MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_says_nothing_for_two_keep_alives_is_cut() {
    let van = Van::start(config(), Broker::up()).await;
    // The `state` message per minute is acknowledged; without it, the broker sends nothing.
    van.broker.script(
        |received| if received.at.as_secs() < 5 { ACCEPT } else { PublishReaction::Silence },
    );
    van.until("cut", 4 * MINUTE, |van| van.broker.inner().opened.len() == 2).await;
    let config = UplinkConfig { state_interval: 600 * MINUTE, ..config() };
    let van = Van::start(config, Broker::up()).await;
    van.until("cut", 4 * MINUTE, |van| van.broker.inner().opened.len() == 2).await;
    let opened = van.broker.inner().opened.clone();
    assert!((210..=213).contains(&(opened[1] - opened[0]).as_secs()), "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn any_mix_of_faults_delivers_everything_in_the_end_and_removes_nothing_before() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let broker = Broker::up();
        // Odd seeds also reject messages; their connections stay up.
        let refusals = seed % 2 == 1;
        let accepted = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let noted = accepted.clone();
        broker.script(move |received| {
            let answer = match random.u32(0..100) {
                0..4 => PublishReaction::Cut,
                4..6 => PublishReaction::Silence,
                6..8 => PublishReaction::AckTwice,
                8..10 => PublishReaction::AckAnother(random.u16(21..30)),
                10..14 if refusals => {
                    PublishReaction::Ack(random.choice([0x80, 0x87, 0x97]).unwrap())
                }
                14..60 => PublishReaction::AckLater(Duration::from_millis(random.u64(1..900))),
                _ => ACCEPT,
            };
            if matches!(
                answer,
                PublishReaction::Ack(0) | PublishReaction::AckTwice | PublishReaction::AckLater(_)
            ) {
                noted.lock().unwrap().extend(received.seqs());
            }
            answer
        });
        let config = UplinkConfig { track_batch: 9, ..config() };
        let mut van = Van::start_with_backlog(config, broker, 700).await;
        for _ in 0..10 {
            van.drive(30).await;
            let kept = van.outbox.records_after(Seq::ZERO, None, 10_000).await.unwrap();
            let kept: Vec<_> = kept.iter().map(|record| record.seq.get()).collect();
            let accepted = accepted.lock().unwrap();
            let lost =
                all(&van).into_iter().find(|seq| !kept.contains(seq) && !accepted.contains(seq));
            assert_eq!(lost, None, "seed {seed}");
        }
        van.broker.script(|_| ACCEPT);
        van.delivered(20 * MINUTE).await;
        let mut seen = van.broker.first_seen();
        seen.sort_unstable();
        assert_eq!(seen, all(&van), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_arrived_while_the_disk_failed_is_removed_later_and_not_sent_again() {
    let van = Van::start_with_backlog(config(), Broker::down(), 600).await;
    van.outbox.forbid_writes(true).await;
    van.broker.go_up();
    van.until("all are delivered", 6 * MINUTE, |van| van.status.borrow().points_acked == 600).await;
    tokio::time::sleep(MINUTE).await;
    assert!(van.outbox.has_acked_rows(), "nothing could be deleted");
    assert_eq!(van.status.borrow().state, LinkState::Connected, "the connection is not affected");
    van.outbox.forbid_writes(false).await;
    let settled = Duration::from_secs(6);
    van.until("deleted", settled, |van| !van.outbox.has_acked_rows() && van.pending() == 0).await;
    assert_eq!(van.broker.on("track").len(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_the_disk_does_not_take_is_sent_from_memory_and_costs_no_flash() {
    let mut van = Van::start(config(), Broker::up()).await;
    van.outbox.forbid_writes(true).await;
    for _ in 0..120 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let record = record(van.next, van.motion);
        van.next = van.next.next();
        van.outbox.accept(&[record], &TripState::default(), Uptime::ZERO);
        assert!(van.pending() <= 4, "{} pending on a good connection", van.pending());
    }
    van.delivered(Duration::from_secs(5)).await;
    assert_eq!(van.broker.first_seen(), all(&van));
    assert_eq!(van.outbox.stats().borrow().durable, Seq::ZERO, "nothing was written");
}
