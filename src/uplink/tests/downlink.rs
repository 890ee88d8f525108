//! Tests of manifests, commands and command responses.

use super::*;

fn message(level: &str, payload: &[u8], retained: bool) -> ConnectionEvent {
    let topic = format!("fleet/v1/VAN-1/{level}");
    ConnectionEvent::Message { topic, payload: payload.to_vec(), retained }
}

async fn connected(broker: Broker) -> Van {
    let van = Van::start(config(), broker).await;
    van.until("online", MINUTE, |van| !van.broker.on("connection").is_empty()).await;
    van
}

async fn next(van: &mut Van) -> Option<Downlink> {
    tokio::time::timeout(Duration::from_secs(1), van.orders.recv()).await.ok().flatten()
}

#[tokio::test(start_paused = true)]
async fn a_manifest_and_commands_reach_the_engine_and_a_retained_command_does_not() {
    let mut van = connected(Broker::up()).await;
    let levels = ["manifest", "command"].map(|level| format!("fleet/v1/VAN-1/{level}"));
    assert_eq!(van.broker.inner().subscribed, [levels.to_vec()], "one SUBSCRIBE");
    van.broker.send_to_client(message("command", b"again and again", true));
    van.broker.send_to_client(message("command", b"once", false));
    van.broker.send_to_client(message("manifest", b"route", true));
    van.broker.send_to_client(message("else", b"?", false));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(next(&mut van).await, Some(Downlink::Manifest(b"route".to_vec())));
    assert_eq!(next(&mut van).await, Some(Downlink::Command(b"once".to_vec())));
    assert_eq!(next(&mut van).await, None);
    van.broker.send_to_client(message("manifest", b"", false));
    assert_eq!(next(&mut van).await, Some(Downlink::Manifest(Vec::new())), "withdrawn");
    let status = van.status.borrow().clone();
    assert_eq!((status.downlink_messages, status.downlink_dropped), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn the_backends_word_is_subscribed_to_only_where_it_is_waited_for() {
    let levels = ["manifest", "command", "ack"].map(|level| format!("fleet/v1/VAN-1/{level}"));
    for (config, topics) in [
        (config(), 2),
        (UplinkConfig { require_ack: true, ..config() }, 3),
        (UplinkConfig { version: MqttVersion::V3_1_1, ..config() }, 3),
    ] {
        let van = Van::start(config, Broker::up()).await;
        van.until("online", MINUTE, |van| !van.broker.on("connection").is_empty()).await;
        assert_eq!(van.broker.inner().subscribed, [levels[..topics].to_vec()]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_commands_is_bounded_and_counted_and_what_goes_up_goes_on() {
    let mut van = connected(Broker::up()).await;
    for number in 0..10_000_u32 {
        van.broker.send_to_client(message("command", &number.to_be_bytes(), false));
    }
    van.broker.send_to_client(message("manifest", &vec![b'x'; 256 * 1024 + 1], false));
    van.broker.send_to_client(message("command", &vec![b'x'; 16 * 1024 + 1], false));
    van.drive(10).await;
    van.delivered(MINUTE).await;
    assert_eq!(van.status.borrow().downlink_dropped, 10_000 - 32 + 2);
    let mut taken = 0;
    while next(&mut van).await.is_some() {
        taken += 1;
    }
    assert_eq!(taken, 32);
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_is_said_and_costs_nothing_else() {
    let broker = Broker::up();
    broker.inner().suback = Some(vec![1, 0x87]);
    let mut van = connected(broker).await;
    van.drive(300).await;
    van.delivered(MINUTE).await;
    let error = van.status.borrow().downlink_error.clone();
    assert_eq!(error.as_deref(), Some("fleet/v1/VAN-1/command rejected with 0x87"));
    assert_eq!(van.broker.inner().opened.len(), 1, "the connection stays");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_cuts_who_subscribes_gets_the_trail_all_the_same() {
    let broker = Broker::up();
    broker.inner().suback = None;
    let mut van = Van::start(config(), broker).await;
    van.drive(600).await;
    van.delivered(MINUTE).await;
    assert_eq!(van.broker.inner().opened.len(), 4, "three attempts, and one without");
    let error = van.status.borrow().downlink_error.clone();
    assert_eq!(
        error.as_deref(),
        Some("the broker closes the connection after SUBSCRIBE: connection reset")
    );
    // An hour later, the next connection subscribes again.
    van.broker.inner().suback = Some(vec![1, 1, 1]);
    tokio::time::sleep(61 * MINUTE).await;
    van.broker
        .send_to_client(ConnectionEvent::Closed(CloseReason::Broken { text: "reset".to_owned() }));
    van.until("well", MINUTE, |van| van.status.borrow().downlink_error.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_retained_message_that_is_too_large_does_not_end_one_connection_after_the_other() {
    let mut van = connected(Broker::up()).await;
    van.broker.send_to_client(ConnectionEvent::Closed(CloseReason::Oversized {
        text: "too large".to_owned(),
    }));
    van.drive(600).await;
    van.delivered(MINUTE).await;
    assert_eq!(van.broker.inner().opened.len(), 2);
    assert_eq!(van.broker.inner().subscribed.len(), 1, "without");
    assert_eq!(van.status.borrow().downlink_error.as_deref(), Some("too large"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_said_until_it_is_acknowledged_on_whichever_connection() {
    let broker = Broker::up();
    broker.script(|received| match received.link {
        1 if received.topic.ends_with("command/result") => broker::PublishReaction::Cut,
        _ => broker::ACCEPT,
    });
    let van = connected(broker).await;
    van.responses.send(CommandResponse { payload: b"done".to_vec() }).await.unwrap();
    van.until("twice", MINUTE, |van| van.broker.on("command/result").len() == 2).await;
    tokio::time::sleep(10 * MINUTE).await;
    let said = van.broker.on("command/result");
    assert_eq!(said.len(), 2, "acknowledged");
    assert_eq!((said[1].link, said[1].delivery), (2, Delivery::AtLeastOnce));
    assert_eq!(said[1].payload, b"done");
}

#[tokio::test(start_paused = true)]
async fn answers_wait_for_the_network_within_bounds_and_a_refused_one_is_given_up() {
    let broker = Broker::down();
    let van = Van::start(config(), broker).await;
    for number in 0..100_u8 {
        van.responses.send(CommandResponse { payload: vec![number] }).await.unwrap();
    }
    tokio::time::sleep(MINUTE).await;
    van.broker.script(|received| match received.payload.first() {
        Some(99) => broker::PublishReaction::Ack(0x87),
        _ => broker::ACCEPT,
    });
    van.broker.go_up();
    van.until("responses", MINUTE, |van| van.broker.on("command/result").len() == 64).await;
    tokio::time::sleep(MINUTE).await;
    let said: Vec<u8> =
        van.broker.on("command/result").iter().map(|answer| answer.payload[0]).collect();
    assert!(said.into_iter().eq(36..100));
    assert_eq!(van.status.borrow().responses_lost, 37);
}

#[tokio::test(start_paused = true)]
async fn who_goes_without_commands_still_hears_the_backends_word_if_it_waits_for_it() {
    let van =
        Van::start_with_backlog(UplinkConfig { require_ack: true, ..config() }, Broker::up(), 60)
            .await;
    van.until("online", MINUTE, |van| !van.broker.on("connection").is_empty()).await;
    van.broker.send_to_client(ConnectionEvent::Closed(CloseReason::Oversized {
        text: "too large".to_owned(),
    }));
    tokio::time::sleep(MINUTE).await;
    let subscribed = van.broker.inner().subscribed.clone();
    assert_eq!(subscribed[1..], [["fleet/v1/VAN-1/ack".to_owned()]]);
    assert_eq!(van.status.borrow().downlink_error.as_deref(), Some("too large"));
    van.broker.send_to_client(message("ack", br#"{"v":1,"track":{"up_to":60}}"#, false));
    van.delivered(MINUTE).await;
}
