//! Tests of the order, the flags and the size of messages.

use super::broker::Received;
use super::*;
use waypost_wire::compact_track;
use waypost_wire::payloads::Point;

#[tokio::test(start_paused = true)]
async fn a_connection_begins_with_online_state_and_the_newest_position() {
    let mut van = Van::start(config(), Broker::down()).await;
    van.drive(300).await;
    van.broker.go_up();
    van.delivered(6 * MINUTE).await;
    let topics: Vec<_> = van
        .broker
        .received()
        .iter()
        .take(4)
        .map(|received| received.topic.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(topics, ["connection", "state", "position", "track"]);
    let received = van.broker.received();
    assert_eq!(received[0].delivery, Delivery::Retained);
    let online: ConnectionStatus = serde_json::from_slice(&received[0].payload).unwrap();
    assert_eq!((online.state, online.session), (ConnectionState::Online, 1));
    assert!(online.ts.is_some() && online.agent.is_some());
    let state: payloads::State = serde_json::from_slice(&received[1].payload).unwrap();
    assert_eq!(state.outbox.pending, 300);
    let position: payloads::Position = serde_json::from_slice(&received[2].payload).unwrap();
    assert_eq!(position.point.seq, 300);
    assert_eq!(received[2].delivery, Delivery::AtMostOnce);
}

#[tokio::test(start_paused = true)]
async fn the_will_says_that_this_session_broke() {
    let van = Van::start(config(), Broker::up()).await;
    van.until("connected", MINUTE, |van| van.status.borrow().state == LinkState::Connected).await;
    van.broker
        .send_to_client(ConnectionEvent::Closed(CloseReason::Broken { text: "reset".to_owned() }));
    van.until("will", MINUTE, |van| !van.broker.inner().wills.is_empty()).await;
    let will = van.broker.inner().wills[0].clone();
    assert_eq!(will.delivery, Delivery::Retained);
    let said = String::from_utf8(will.payload).unwrap();
    assert_eq!(
        said,
        r#"{"v":1,"van":"VAN-1","state":"connection_broken","session":1,"connection":1}"#
    );
}

#[tokio::test(start_paused = true)]
async fn fresh_points_go_ahead_of_the_backlog_and_only_the_backlog_is_flagged() {
    let broker = Broker::up();
    broker.script(|_| broker::PublishReaction::AckLater(Duration::from_millis(800)));
    broker.inner().welcome.receive_max = 2;
    let config = UplinkConfig { track_batch: 10, backlog_batch: 10, ..config() };
    let mut van = Van::start_with_backlog(config, broker, 2000).await;
    van.drive(30).await;
    let tracks = van.broker.on("track");
    let fresh: Vec<&Received> = tracks.iter().filter(|r| r.seqs()[0] > 2000).collect();
    assert!(!fresh.is_empty() && van.pending() > 500, "the backlog is still being sent");
    van.delivered(10 * MINUTE).await;
    for received in van.broker.on("track") {
        let points = received.track().unwrap().points;
        assert!(points.is_sorted_by_key(|point| point.seq));
        assert!(points.iter().all(|point| point.backlog == (point.seq <= 2000)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_full_or_has_waited_long_enough() {
    let mut van = Van::start(UplinkConfig { track_batch: 20, ..config() }, Broker::up()).await;
    van.drive(100).await;
    van.delivered(MINUTE).await;
    for pair in van.broker.on("track").windows(2) {
        let wait = (pair[1].at - pair[0].at).as_secs();
        assert!((3..=8).contains(&wait), "{wait} s between batches");
    }
    let many: Vec<_> = (van.next.get()..van.next.get() + 55).map(Seq::new).collect();
    let records = many.iter().map(|seq| record(*seq, Motion::Moving)).collect();
    van.outbox.commit(records, TripState::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let tracks = van.broker.on("track");
    let sizes: Vec<_> = tracks.iter().rev().take(2).map(|r| r.seqs().len()).collect();
    assert_eq!(sizes, [20, 20], "the last 15 wait for others");
    van.delivered(Duration::from_secs(11)).await;
}

#[tokio::test(start_paused = true)]
async fn position_follows_its_cadence_and_a_change_of_motion_at_once() {
    let mut van = Van::start(config(), Broker::up()).await;
    van.drive(60).await;
    assert!((11..=13).contains(&van.broker.on("position").len()));
    van.motion = Motion::Halted;
    van.drive(1).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let last = van.broker.on("position").pop().unwrap();
    let last: payloads::Position = serde_json::from_slice(&last.payload).unwrap();
    assert_eq!(last.point.motion, Some(payloads::MotionState::Halted));
    let before = van.broker.on("position").len();
    van.drive(300).await;
    // The last one is sent while the outbox is still writing.
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(van.broker.on("position").len() - before, 5);

    let each = UplinkConfig { position_interval_moving: Duration::ZERO, ..config() };
    let mut van = Van::start(each, Broker::up()).await;
    van.drive(50).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(van.broker.on("position").len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_position_beyond_the_reservation_is_reserved_before_it_is_known() {
    let van = Van::start(config(), Broker::up()).await;
    let beyond = Seq::new(van.outbox.stats().borrow().reserved.get() + 77);
    van.live.send_replace(Some(record(beyond, Motion::Moving)));
    van.until("said", MINUTE, |van| van.broker.on("position").len() == 1).await;
    assert!(van.outbox.stats().borrow().reserved > beyond);
}

#[tokio::test(start_paused = true)]
async fn state_follows_the_receiver_but_not_more_than_once_a_second() {
    let van = Van::start(config(), Broker::up()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(van.broker.on("state").len(), 1);
    for flicker in 0..100_u8 {
        van.health.send_modify(|health| {
            health.gnss.mode = 1 + flicker % 3;
            health.gnss.receiver = "open".to_owned();
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said = van.broker.on("state").len();
    assert!((5..=8).contains(&said), "{said} in 5 s");
    tokio::time::sleep(10 * MINUTE).await;
    assert!((10..=11).contains(&(van.broker.on("state").len() - said)));
}

#[tokio::test(start_paused = true)]
async fn no_payload_is_larger_than_the_broker_takes() {
    let broker = Broker::up();
    broker.inner().welcome.max_packet_bytes = 2000;
    let van = Van::start_with_backlog(config(), broker, 100).await;
    van.delivered(MINUTE).await;
    let tracks = van.broker.on("track");
    assert!(tracks.len() > 5);
    assert!(tracks.iter().all(|received| received.payload.len() < 2000));

    let broker = Broker::up();
    broker.inner().welcome.max_packet_bytes = 150;
    let van = Van::start_with_backlog(config(), broker, 3).await;
    tokio::time::sleep(MINUTE).await;
    assert!(van.broker.on("track").is_empty());
    assert_eq!(van.pending(), 3);
    assert_eq!(van.status.borrow().last_reason, Some(ReasonCode::PACKET_TOO_LARGE));
    assert_eq!(van.broker.inner().opened.len(), 1, "the connection stays");
}

#[tokio::test(start_paused = true)]
async fn the_bytes_under_way_are_bounded_and_a_large_message_still_goes() {
    let broker = Broker::up();
    broker.script(|_| broker::PublishReaction::AckLater(Duration::from_millis(100)));
    let config = UplinkConfig { in_flight_bytes: 4000, track_batch: 500, ..config() };
    let van = Van::start_with_backlog(config, broker, 1000).await;
    van.delivered(10 * MINUTE).await;
    assert!(van.broker.on("track").iter().all(|received| received.payload.len() <= 4000));
}

#[tokio::test(start_paused = true)]
async fn a_compact_trail_says_what_the_json_one_says_in_messages_that_the_broker_takes() {
    let mut trails = Vec::new();
    for track_encoding in [Encoding::Json, Encoding::Compact] {
        let broker = Broker::up();
        broker.inner().welcome.max_packet_bytes = 800;
        let config = UplinkConfig { track_encoding, track_error: None, ..config() };
        let mut van = Van::start_with_backlog(config, broker, 300).await;
        van.drive(30).await;
        van.delivered(MINUTE).await;
        let tracks = van.broker.on("track");
        let compact = |received: &Received| received.payload.starts_with(&compact_track::MAGIC);
        assert!(tracks.iter().all(|track| compact(track) == (track_encoding == Encoding::Compact)));
        assert!(tracks.iter().all(|track| track.payload.len() < 800));
        let mut points: Vec<_> =
            tracks.iter().flat_map(|track| track.track().unwrap().points).collect();
        points.sort_by_key(|point| point.seq);
        trails.push(points);
    }
    assert_eq!(trails[0].len(), 330);
    assert_eq!(trails[0], trails[1]);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_duty_route_delay_or_scanner_is_said_at_once_and_its_progress_is_not() {
    use payloads::{Delay, Duty, NextStop, Scanner, ScannerKind, ScannerState};
    type Change = fn(&mut RouteState);
    let scanner = |state| Scanner {
        name: "hand".to_owned(),
        kind: ScannerKind::Barcode,
        state,
        last_scan: None,
    };
    let open = scanner(ScannerState::Open);
    let changes: [(Change, usize); 6] = [
        (|route| route.duty = Duty::Break, 1),
        (
            |route| {
                route.manifest = Some(payloads::ManifestRef { route: "R-1".to_owned(), rev: 3 });
            },
            1,
        ),
        (
            |route| {
                route.manifest_rejected = Some(payloads::ManifestRejected {
                    route: Some("R-1".to_owned()),
                    rev: Some(4),
                    errors: Vec::new(),
                });
            },
            1,
        ),
        (|route| route.delay = Some(Delay { by_s: 900, reason: None, code: None }), 1),
        (|route| route.scanners[0].state = ScannerState::Closed, 1),
        (
            |route| {
                let eta = None;
                route.next_stop = Some(NextStop { seq: 18, eta, distance_m: Some(640.0) });
                route.scanners[0].last_scan = Some("2026-11-22T09:12:00.000Z".to_owned());
            },
            0,
        ),
    ];
    let van = Van::start(config(), Broker::up()).await;
    van.health.send_modify(|health| health.route.scanners.push(open));
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (number, (state_mut, said)) in changes.into_iter().enumerate() {
        let before = van.broker.on("state").len();
        van.health.send_modify(|health| state_mut(&mut health.route));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(van.broker.on("state").len() - before, said, "change {number}");
    }
    tokio::time::sleep(MINUTE).await;
    let last = van.broker.on("state").pop().unwrap();
    let last: serde_json::Value = serde_json::from_slice(&last.payload).unwrap();
    for (key, value) in [
        ("duty", serde_json::json!("break")),
        ("manifest", serde_json::json!({"route": "R-1", "rev": 3})),
        ("next_stop", serde_json::json!({"seq": 18, "distance_m": 640.0})),
    ] {
        assert_eq!(last[key], value);
    }
    assert_eq!(last["scanners"][0]["state"], "closed");
}

#[tokio::test(start_paused = true)]
async fn position_says_the_stop_and_its_change_at_once_and_nothing_off_duty() {
    let mut van = Van::start(config(), Broker::up()).await;
    van.health.send_modify(|health| {
        health.route = RouteState {
            manifest: Some(payloads::ManifestRef { route: "R-1".to_owned(), rev: 3 }),
            stop_status: Some(payloads::StopStatus::InTransitTo),
            stop_seq: Some(17),
            stops_remaining: Some(101),
            ..RouteState::default()
        };
    });
    van.drive(6).await;
    van.health.send_modify(|health| {
        health.route.stop_status = Some(payloads::StopStatus::IncomingAt);
    });
    let before = van.broker.on("position").len();
    van.drive(1).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let said = van.broker.on("position");
    assert_eq!(said.len(), before + 1, "the interval of 5 s is not over");
    let last: payloads::Position = serde_json::from_slice(&said.last().unwrap().payload).unwrap();
    assert_eq!(last.stop_status, Some(payloads::StopStatus::IncomingAt));
    assert_eq!((last.route.as_deref(), last.stop_seq), (Some("R-1"), Some(17)));
    assert_eq!(last.stops_remaining, Some(101));

    van.live.send_replace(None);
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(van.broker.on("position").len(), before + 1);
    assert!(van.broker.on("state").len() >= 10, "state continues");
}

#[tokio::test(start_paused = true)]
async fn the_live_position_is_mirrored_for_owntracks_if_that_is_wanted() {
    for owntracks in [true, false] {
        let mut van = Van::start(UplinkConfig { owntracks, ..config() }, Broker::up()).await;
        van.drive(60).await;
        let mirrored: Vec<_> = van
            .broker
            .received()
            .into_iter()
            .filter(|received| received.topic == "owntracks/fleet/VAN-1")
            .collect();
        let positions = van.broker.on("position");
        assert_eq!(mirrored.len(), if owntracks { positions.len() } else { 0 });
        for (mirrored, position) in mirrored.iter().zip(&positions) {
            assert_eq!(mirrored.delivery, Delivery::AtMostOnce);
            let location: waypost_wire::owntracks::Location =
                serde_json::from_slice(&mirrored.payload).unwrap();
            let position: payloads::Position = serde_json::from_slice(&position.payload).unwrap();
            let Point { lat, lon, .. } = position.point;
            assert!((location.lat, location.lon) == (lat, lon));
        }
    }
}
