//! Hazards of the client and of brokers from `docs/hazards.md` that no other test covers.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::broker::Broker;
use super::over_tcp::{LIMIT, host, packet};
use super::*;

/// CONNACK with success, and optionally Receive Maximum.
async fn welcome(listener: &TcpListener, receive_max: Option<u16>) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    packet(&mut stream).await.unwrap();
    let connack = match receive_max {
        None => vec![0x20, 3, 0, 0, 0],
        Some(max) => [&[0x20, 6, 0, 0, 3, 0x21][..], &max.to_be_bytes()].concat(),
    };
    stream.write_all(&connack).await.unwrap();
    stream
}

/// Packet identifier and topic of a QoS 1 PUBLISH.
fn qos1((first, body): &(u8, Vec<u8>)) -> Option<([u8; 2], bool)> {
    let end = 2 + usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let is_track = body[2..end].ends_with(b"/track");
    (first >> 4 == 3 && first & 0b110 != 0).then(|| ([body[end], body[end + 1]], is_track))
}

/// Sends PUBACK only when no further message arrives, until `outbox` is empty or `messages` were
/// received. Returns the maximum number of unacknowledged messages.
async fn hold_back(mut stream: TcpStream, outbox: &Outbox, messages: usize) -> usize {
    let (mut waiting, mut most, mut count) = (Vec::new(), 0, 0);
    while count < messages && outbox.stats().borrow().pending > 0 {
        let next = tokio::time::timeout(Duration::from_millis(100), packet(&mut stream)).await;
        match next {
            Ok(Some((0x82, body))) => {
                stream.write_all(&[0x90, 6, body[0], body[1], 0, 1, 1, 1]).await.unwrap();
            }
            Ok(Some(packet)) => waiting.extend(qos1(&packet).map(|(id, _)| id)),
            Ok(None) => break,
            Err(_) => {
                most = most.max(waiting.len());
                count += waiting.len();
                for [high, low] in waiting.drain(..) {
                    stream.write_all(&[0x40, 2, high, low]).await.unwrap();
                }
            }
        }
    }
    most
}

#[tokio::test]
async fn a_broker_that_takes_less_at_a_time_than_before_is_obeyed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = host(listener.local_addr().unwrap().port(), 3000).await;
    let all = async {
        let mut most = Vec::new();
        for (receive_max, messages) in [(Some(10), 8), (Some(2), 12), (None, usize::MAX)] {
            let stream = welcome(&listener, receive_max).await;
            most.push(hold_back(stream, &host.outbox, messages).await);
        }
        most
    };
    let most = tokio::time::timeout(LIMIT, all).await.unwrap();
    assert!((3..=10).contains(&most[0]) && most[1] == 2, "{most:?}");
    // Without a Receive Maximum it is 65,535 (MQTT 5 §3.2.2.3.3), and the agent's own limit
    // applies.
    assert!((3..=20).contains(&most[2]), "{most:?}");
    host.finish().await;
}

#[tokio::test]
async fn what_was_acknowledged_together_with_the_end_of_the_link_is_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = host(listener.local_addr().unwrap().port(), 600).await;
    let cut = async {
        let mut stream = welcome(&listener, Some(20)).await;
        let mut tracks = Vec::new();
        while tracks.len() < 2 {
            let next = packet(&mut stream).await.unwrap();
            match qos1(&next) {
                Some((id, true)) => tracks.push(id),
                Some(([high, low], false)) => {
                    stream.write_all(&[0x40, 2, high, low]).await.unwrap();
                }
                None => {}
            }
        }
        // Both in one segment, directly followed by the end of the stream.
        let acks: Vec<u8> = tracks.iter().flat_map(|id| [0x40, 2, id[0], id[1]]).collect();
        stream.write_all(&acks).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    tokio::time::timeout(LIMIT, cut).await.unwrap();
    let first = async {
        let mut stream = welcome(&listener, Some(20)).await;
        loop {
            let next = packet(&mut stream).await.unwrap();
            match qos1(&next) {
                Some((_, true)) => {
                    let begin = next.1.iter().position(|byte| *byte == b'{').unwrap();
                    let track: payloads::Track = serde_json::from_slice(&next.1[begin..]).unwrap();
                    return track.points[0].seq;
                }
                Some(([high, low], false)) => {
                    stream.write_all(&[0x40, 2, high, low]).await.unwrap();
                }
                None => {}
            }
        }
    };
    let first = tokio::time::timeout(LIMIT, first).await.unwrap();
    assert_eq!(600 - host.outbox.stats().borrow().pending, first - 1);
    assert!(first > 60, "{first} was sent again");
    host.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_van_that_its_twin_has_replaced_comes_back_after_a_minute_at_the_earliest() {
    let van = Van::start_with_backlog(config(), Broker::up(), 60).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let text = "session taken over".to_owned();
    van.broker.send_to_client(ConnectionEvent::Closed(CloseReason::Disconnected {
        reason: ReasonCode::SESSION_TAKEN_OVER,
        text,
    }));
    van.until("back", 6 * MINUTE, |van| van.broker.inner().opened.len() == 2).await;
    let opened = van.broker.inner().opened.clone();
    assert!((70..=320).contains(&opened[1].as_secs()), "{opened:?}");
}
