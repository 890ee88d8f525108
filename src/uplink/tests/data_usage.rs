//! Tests of the data usage and of throttling by a data budget.

use super::*;

/// Ten minutes of driving with an off-duty period and an event, on a connection with a backlog.
/// Returns the number of messages per topic, and the number of pending records.
async fn ten_minutes(budget: Budget) -> (Van, [usize; 3], u64) {
    let mut van =
        Van::start_with_backlog(UplinkConfig { budget, ..config() }, Broker::up(), 600).await;
    van.drive(300).await;
    let states = van.broker.on("state").len();
    van.health.send_modify(|health| health.route.duty = payloads::Duty::Break);
    let happened = crate::outbox::tests::event(van.next);
    van.next = van.next.next();
    van.outbox.accept_events(vec![happened], Vec::new(), Uptime::ZERO);
    van.outbox.flush_by(Uptime::ZERO).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(van.broker.on("state").len(), states + 1, "a change is sent at once");
    assert_eq!(van.broker.on("event").len(), 1, "an event is sent");
    van.drive(299).await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    let counts = ["position", "track", "state"].map(|topic| van.broker.on(topic).len());
    let pending = van.pending();
    (van, counts, pending)
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_makes_rare_what_can_wait_and_stops_the_backlog_alone() {
    let (van, [positions, tracks, states], pending) = ten_minutes(Budget::default()).await;
    assert!((115..=125).contains(&positions), "{positions}");
    assert!(tracks >= 130 && (10..=13).contains(&states), "{tracks}, {states}");
    assert_eq!((pending, van.status.borrow().throttle.factor()), (0, 1));

    let spent = Budget { monthly_bytes: Some(1), metered: false };
    let (van, [positions, tracks, states], pending) = ten_minutes(spent).await;
    assert!((14..=17).contains(&positions), "{positions}");
    assert!((20..=30).contains(&tracks) && (2..=4).contains(&states), "{tracks}, {states}");
    assert_eq!((pending, van.status.borrow().throttle.factor()), (600, 8), "except the backlog");
    let state: payloads::State =
        serde_json::from_slice(&van.broker.on("state").pop().unwrap().payload).unwrap();
    let link = state.link.unwrap();
    assert_eq!(link.throttle_factor, 8);
    assert!(link.bytes_today > 10_000 && link.bytes_month == link.bytes_today);

    let metered = Budget { monthly_bytes: None, metered: true };
    let (_, [positions, ..], pending) = ten_minutes(metered).await;
    assert!((57..=63).contains(&positions), "{positions}");
    assert_eq!(pending, 0, "there is no limit");
}

#[tokio::test(start_paused = true)]
async fn what_went_over_the_air_is_kept_across_a_restart_and_costs_a_write_in_fifteen_minutes() {
    let mut van = Van::start(config(), Broker::up()).await;
    van.drive(14 * 60).await;
    assert!(van.outbox.documents().is_empty());
    let outbox = van.outbox.clone();
    let used = van.status.borrow().data_usage.month;
    let path = van._directory.path().join("outbox.db");
    let directory = std::mem::replace(&mut van._directory, tempfile::tempdir().unwrap());
    van.finish(ShutdownSignal::Grace(Duration::from_secs(3)), Duration::from_secs(1)).await;
    outbox.close().await.unwrap();
    let outbox = Outbox::open(OutboxConfig::new(path)).await.unwrap();
    let documents = outbox.documents();
    let (key, kept) = &documents[0];
    let kept = String::from_utf8(kept.clone()).unwrap();
    let month: u64 = kept.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(key == "air" && kept.starts_with("2026-11-22 ") && month >= used, "{kept}");
    drop(directory);
}

#[tokio::test(start_paused = true)]
async fn a_van_without_a_broker_pays_for_its_attempts_and_for_nothing_else() {
    let van = Van::start(config(), Broker::down()).await;
    tokio::time::sleep(60 * MINUTE).await;
    van.broker.go_up();
    van.until("connected", MINUTE, |van| van.status.borrow().data_usage.today > 0).await;
    let attempts = van.broker.inner().opened.len() as u64 - 1;
    let used = van.status.borrow().data_usage.today;
    assert!((attempts * 156..attempts * 156 + 2500).contains(&used), "{used}, {attempts}");
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_holds_up_neither_refused_fresh_points_nor_the_end() {
    let budget = Budget { monthly_bytes: Some(1), metered: false };
    let broker = Broker::up();
    let mut refused = 0;
    broker.script(move |received| {
        let refuses = received.topic.ends_with("/track") && refused == 0;
        refused += u32::from(refuses);
        if refuses { broker::PublishReaction::Ack(0x97) } else { broker::ACCEPT }
    });
    let mut van = Van::start_with_backlog(UplinkConfig { budget, ..config() }, broker, 60).await;
    van.drive(30).await;
    van.until("all except the backlog", 2 * MINUTE, |van| van.pending() == 60).await;
    assert!(van.broker.on("track").len() >= 2, "one was rejected");
    let broker = van.broker.clone();
    van.finish(ShutdownSignal::Drained, MINUTE).await;
    assert_eq!(broker.first_seen().len(), 90);
}
