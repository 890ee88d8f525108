//! Tests of the shutdown: orderly if the broker responds, and in time if not.

use super::broker::{ACCEPT, PublishReaction};
use super::*;

fn last_connection(broker: &Broker) -> ConnectionState {
    let last = broker.on("connection").pop().unwrap();
    serde_json::from_slice::<ConnectionStatus>(&last.payload).unwrap().state
}

async fn connected(van: &Van) {
    van.until("connected", MINUTE, |van| van.status.borrow().state == LinkState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_takes_leave_and_the_broker_publishes_no_will() {
    let mut van = Van::start(config(), Broker::up()).await;
    van.drive(30).await;
    let (broker, status) = (van.broker.clone(), van.status.clone());
    van.finish(ShutdownSignal::Grace(Duration::from_secs(3)), Duration::from_secs(1)).await;
    assert_eq!(last_connection(&broker), ConnectionState::Offline);
    assert!(broker.inner().wills.is_empty());
    assert_eq!(status.borrow().state, LinkState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_is_under_way_and_begins_nothing_new() {
    let broker = Broker::up();
    broker.script(|_| PublishReaction::AckLater(Duration::from_secs(2)));
    broker.inner().welcome.receive_max = 3;
    let van = Van::start_with_backlog(config(), broker.clone(), 600).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, outbox) = (broker.on("track").len() as u64, van.outbox.clone());
    van.finish(ShutdownSignal::Grace(Duration::from_secs(10)), Duration::from_secs(10)).await;
    assert_eq!(broker.on("track").len() as u64, before);
    assert_eq!(
        outbox.stats().borrow().pending,
        600 - 60 * before,
        "acknowledged during the shutdown"
    );
    assert_eq!(last_connection(&broker), ConnectionState::Offline);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_within_its_grace_even_if_the_broker_is_silent() {
    for broker in [Broker::up(), Broker::down()] {
        let van = Van::start_with_backlog(config(), broker.clone(), 600).await;
        broker.script(|_| PublishReaction::Silence);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let outbox = van.outbox.clone();
        van.finish(ShutdownSignal::Grace(Duration::from_secs(3)), Duration::from_millis(3100))
            .await;
        assert!(outbox.stats().borrow().pending <= 600);
        outbox.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_whose_stop_is_dropped_ends_too() {
    let van = Van::start(config(), Broker::up()).await;
    connected(&van).await;
    drop(van.stop);
    tokio::time::timeout(MINUTE, van.uplink).await.unwrap().unwrap().unwrap();
    assert_eq!(last_connection(&van.broker), ConnectionState::Offline);
}

#[tokio::test(start_paused = true)]
async fn a_drained_relay_ends_when_the_outbox_is_empty_and_not_before() {
    let mut van = Van::start_with_backlog(config(), Broker::down(), 600).await;
    van.drive(7).await;
    van.stop.send_replace(ShutdownSignal::Drained);
    tokio::time::sleep(20 * MINUTE).await;
    assert!(!van.uplink.is_finished());
    let (broker, outbox) = (van.broker.clone(), van.outbox.clone());
    broker.go_up();
    van.finish(ShutdownSignal::Drained, Duration::from_secs(301)).await;
    assert_eq!(outbox.stats().borrow().pending, 0);
    assert_eq!(broker.first_seen().len(), 607);
    assert_eq!(last_connection(&broker), ConnectionState::Offline);
    assert!(broker.inner().wills.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_drained_relay_sends_the_last_points_and_position_at_once() {
    let config = UplinkConfig { track_interval: 60 * MINUTE, ..config() };
    let mut van = Van::start(config, Broker::up()).await;
    van.drive(7).await;
    let broker = van.broker.clone();
    assert!(broker.on("track").is_empty());
    van.finish(ShutdownSignal::Drained, Duration::from_secs(1)).await;
    assert_eq!(broker.first_seen().len(), 7);
    let last: payloads::Position =
        serde_json::from_slice(&broker.on("position").pop().unwrap().payload).unwrap();
    assert_eq!(last.point.seq, 7);
}

#[tokio::test(start_paused = true)]
async fn a_closed_outbox_ends_the_relay_with_an_error() {
    let van = Van::start_with_backlog(config(), Broker::down(), 60).await;
    van.outbox.close().await.unwrap();
    van.broker.script(|_| ACCEPT);
    van.broker.go_up();
    let ended = tokio::time::timeout(10 * MINUTE, van.uplink).await.unwrap().unwrap();
    assert!(matches!(ended, Err(UplinkError::Outbox(OutboxError::Closed { .. }))));
}
