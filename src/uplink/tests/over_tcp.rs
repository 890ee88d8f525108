//! Tests of the real client over real sockets, against a scripted broker, and against mosquitto if
//! it is installed.

use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::mqtt::RumqttcConnector;
use super::*;
use crate::outbox::tests::event;
use waypost_wire::epcis;

/// Time limit of a test.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// An outbox with an uplink to a local port, in real time.
pub(super) struct Host {
    pub(super) outbox: Outbox,
    stop: watch::Sender<ShutdownSignal>,
    status: watch::Receiver<LinkStatus>,
    uplink: JoinHandle<Result<(), UplinkError>>,
    _inputs: (watch::Sender<Option<Record>>, watch::Sender<Health>),
    orders: DownlinkReceiver,
    responses: mpsc::Sender<CommandResponse>,
    directory: tempfile::TempDir,
}

pub(super) async fn host(port: u16, records: u64) -> Host {
    host_of(MqttVersion::V5, port, records).await
}

async fn host_of(version: MqttVersion, port: u16, records: u64) -> Host {
    let directory = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(OutboxConfig::new(directory.path().join("outbox.db"))).await.unwrap();
    let records: Vec<_> = (1..=records).map(|n| record(Seq::new(n), Motion::Moving)).collect();
    let newest = records.last().copied();
    outbox.commit(records, TripState::default()).await.unwrap();
    let (live, live_seen) = watch::channel(newest);
    let (health, health_seen) = watch::channel(Health::default());
    let (stop, stop_seen) = watch::channel(ShutdownSignal::Running);
    let broker =
        super::super::Broker { host: "127.0.0.1".to_owned(), port, transport: Transport::Tcp };
    let backoff =
        BackoffConfig { first: Duration::from_millis(50), max: Duration::from_millis(200) };
    let config = UplinkConfig {
        version,
        backoff,
        credentials: Some(Credentials {
            username: "VAN-1".to_owned(),
            password: "secret".to_owned(),
        }),
        ..UplinkConfig::new(broker, "fleet", VanId::new("VAN-1").unwrap())
    };
    assert!(!format!("{config:?}").contains("secret"));
    let (downlink, orders) = downlink();
    let (answers, answered) = mpsc::channel(1);
    let inputs = Inputs {
        outbox: outbox.clone(),
        live: live_seen,
        health: health_seen,
        clock: Clock::live(),
        downlink,
        responses: answered,
    };
    let relay = Uplink::new(config.clone(), inputs, RumqttcConnector::new(config, Clock::live()));
    let status = relay.status();
    let relay = tokio::spawn(relay.run(stop_seen));
    Host {
        outbox,
        stop,
        status,
        uplink: relay,
        _inputs: (live, health),
        orders,
        responses: answers,
        directory,
    }
}

impl Host {
    pub(super) async fn pending(&self, wanted: u64) {
        let mut stats = self.outbox.stats();
        let waited =
            tokio::time::timeout(LIMIT, stats.wait_for(|stats| stats.pending == wanted)).await;
        assert!(
            waited.is_ok(),
            "{} pending, {:?}",
            self.outbox.stats().borrow().pending,
            self.status.borrow()
        );
    }

    pub(super) async fn finish(self) {
        self.stop.send_replace(ShutdownSignal::Grace(Duration::from_secs(3)));
        tokio::time::timeout(LIMIT, self.uplink).await.unwrap().unwrap().unwrap();
    }
}

/// Reads a packet: its first byte, and the bytes after the length.
pub(super) async fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((first, body))
}

/// Observations of the scripted broker on one connection.
#[derive(Debug, Default)]
struct Seen {
    connect: Vec<u8>,
    topics: Vec<String>,
    tracks: Vec<Vec<u64>>,
    disconnected: bool,
}

/// Serves one connection. Closes it at publish number `cut_at`, and acknowledges `track` with
/// `reason`.
async fn serve(listener: &TcpListener, cut_at: usize, reason: impl Fn(usize) -> u8) -> Seen {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut seen = Seen::default();
    while let Some((first, body)) = packet(&mut stream).await {
        match first >> 4 {
            1 => {
                seen.connect = body;
                // Success, and Receive Maximum 3.
                stream.write_all(&[0x20, 6, 0, 0, 3, 0x21, 0, 3]).await.unwrap();
            }
            3 => {
                let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8(body[2..end].to_vec()).unwrap();
                let is_track = topic.ends_with("/track");
                seen.topics.push(topic);
                if seen.topics.len() >= cut_at {
                    return seen;
                }
                if first & 0b110 == 0 {
                    continue;
                }
                let payload = &body[end + 3..];
                if is_track {
                    let track: payloads::Track = serde_json::from_slice(payload).unwrap();
                    seen.tracks.push(track.points.iter().map(|point| point.seq).collect());
                }
                let code = if is_track { reason(seen.tracks.len()) } else { 0 };
                stream.write_all(&[0x40, 3, body[end], body[end + 1], code]).await.unwrap();
            }
            8 => stream.write_all(&[0x90, 6, body[0], body[1], 0, 1, 1, 1]).await.unwrap(),
            12 => stream.write_all(&[0xD0, 0]).await.unwrap(),
            14 => {
                seen.disconnected = true;
                return seen;
            }
            _ => {}
        }
    }
    seen
}

#[tokio::test]
async fn the_client_keeps_what_is_refused_or_cut_and_delivers_the_rest() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = host(listener.local_addr().unwrap().port(), 600).await;
    let cut = tokio::time::timeout(LIMIT, serve(&listener, 8, |_| 0)).await.unwrap();
    assert!(String::from_utf8_lossy(&cut.connect).contains("connection_broken"), "the Will");
    assert_eq!(cut.topics[0], "fleet/v1/VAN-1/connection");

    let refusing = |count| if count == 1 { 0x87 } else { 0 };
    let serving = serve(&listener, usize::MAX, refusing);
    let stop = async {
        // The first batch of the second connection is rejected and sent again after 5 s.
        host.pending(0).await;
        assert_eq!(host.status.borrow().reconnects, 1);
        host.finish().await;
    };
    let (second, ()) =
        tokio::time::timeout(2 * LIMIT, async { tokio::join!(serving, stop) }).await.unwrap();
    let lowest = second.tracks[0][0];
    assert!(cut.tracks.len() >= 2 && lowest <= 1 + 60 * cut.tracks.len() as u64);
    let mut all: Vec<_> = cut.tracks.iter().chain(&second.tracks).flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    assert!(all.into_iter().eq(1..=600));
    let refused = second.tracks.iter().filter(|track| track[0] == lowest).count();
    assert_eq!(refused, 2, "rejected, and sent again");
    assert!(second.disconnected);
    assert!(second.topics.last().unwrap().ends_with("/connection"), "offline");
}

/// mosquitto on a port, optionally with the contract's ACL. Killed on drop.
struct Mosquitto(Child);

impl Mosquitto {
    const PATH: &str = "/usr/sbin/mosquitto";

    fn start(directory: &std::path::Path, port: u16, acl: &str) -> Self {
        let (conf, acl_file) = (directory.join("mosquitto.conf"), directory.join("acl"));
        std::fs::write(&acl_file, acl).unwrap();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {}\nuser root\n",
            acl_file.display()
        );
        std::fs::write(&conf, text).unwrap();
        let mut command = Command::new(Self::PATH);
        command.arg("-c").arg(conf).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Below the range of ephemeral ports, so that no connection takes it meanwhile.
async fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(15_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
}

#[tokio::test]
async fn mosquitto_gets_everything_across_a_restart_and_nothing_is_lost_to_its_acl() {
    if !std::path::Path::new(Mosquitto::PATH).exists() {
        eprintln!("skipped: {} is not installed", Mosquitto::PATH);
        return;
    }
    let port = free_port().await;
    let host = host(port, 3000).await;
    let denied = "pattern write fleet/v1/%u/position\npattern write fleet/v1/%u/connection\n";
    let broker = Mosquitto::start(host.directory.path(), port, denied);
    let mut status = host.status.clone();
    let refused = status.wait_for(|status| status.last_reason == Some(ReasonCode::NOT_AUTHORIZED));
    tokio::time::timeout(LIMIT, refused).await.unwrap().unwrap();
    assert_eq!(host.outbox.stats().borrow().pending, 3000);
    drop(broker);
    let allowed = "pattern write fleet/v1/%u/#\n";
    let _broker = Mosquitto::start(host.directory.path(), port, allowed);
    host.pending(0).await;
    assert!(host.status.borrow().points_acked >= 3000);
    host.finish().await;
}

/// Publishes a file with mosquitto's own client.
fn publish(port: u16, level: &str, payload: &[u8], how: &[&str]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), payload).unwrap();
    let topic = format!("fleet/v1/VAN-1/{level}");
    let mut command = Command::new("mosquitto_pub");
    command.args(["-p", &port.to_string(), "-q", "1", "-t", &topic, "-f"]).arg(file.path());
    assert!(command.args(how).status().unwrap().success());
}

#[tokio::test]
async fn mosquitto_brings_manifests_and_commands_keeps_what_is_too_large_and_gets_answers_and_events()
 {
    if !std::path::Path::new(Mosquitto::PATH).exists() {
        eprintln!("skipped: {} is not installed", Mosquitto::PATH);
        return;
    }
    let port = free_port().await;
    let mut host = host(port, 60).await;
    let acl = "topic readwrite fleet/v1/#\npattern readwrite fleet/v1/%u/#\n";
    let _broker = Mosquitto::start(host.directory.path(), port, acl);
    host.pending(0).await;

    let manifest = vec![b'm'; MAX_MANIFEST_BYTES];
    publish(port, "command", b"kept", &["-r"]);
    publish(port, "manifest", &vec![b'x'; 2 * MAX_MANIFEST_BYTES], &["-r"]);
    publish(port, "manifest", &manifest, &["-r"]);
    publish(port, "command", b"now", &[]);
    let mut came = Vec::new();
    while came.len() < 3 {
        came.push(tokio::time::timeout(LIMIT, host.orders.recv()).await.unwrap().unwrap());
    }
    came.sort_by_key(|message| matches!(message, Downlink::Manifest(_)));
    // A current subscriber receives a retained publish without the retain flag.
    assert_eq!(came[..2], [&b"kept"[..], b"now"].map(|text| Downlink::Command(text.to_vec())));
    assert_eq!(came[2], Downlink::Manifest(manifest));
    assert_eq!(
        host.status.borrow().reconnects,
        0,
        "the large message has not closed the connection"
    );

    let subscribe = |levels: &[&str], count: &str| {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-p", &port.to_string(), "-q", "1", "-W", "20", "-C", count]);
        for level in levels {
            command.args(["-t", &format!("fleet/v1/VAN-1/{level}")]);
        }
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let kept = subscribe(&["command"], "1").wait_with_output().unwrap();
    assert_eq!(kept.stdout, b"kept\n", "the broker has retained it and will send it again");

    // The retained `connection` message shows that the subscription is active.
    let backend = subscribe(&["connection", "command/result", "event"], "3");
    tokio::time::sleep(Duration::from_millis(500)).await;
    host.responses.send(CommandResponse { payload: b"done".to_vec() }).await.unwrap();
    let happened = event(Seq::new(61));
    host.outbox.accept_events(vec![happened.clone()], Vec::new(), Uptime::ZERO);
    host.outbox.flush_by(Uptime::ZERO).await.unwrap();
    host.pending(0).await;
    let heard = backend.wait_with_output().unwrap().stdout;
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.contains("\ndone\n"), "{heard}");
    let said = heard.lines().find_map(|line| epcis::decode(line.as_bytes()).ok()).unwrap();
    assert_eq!(said.sequence, "000000000061");
    assert_eq!(host.status.borrow().events_acked, 1);
    host.finish().await;
}

#[tokio::test]
async fn over_3_1_1_mosquittos_puback_of_what_it_denies_costs_no_record() {
    if !std::path::Path::new(Mosquitto::PATH).exists() {
        eprintln!("skipped: {} is not installed", Mosquitto::PATH);
        return;
    }
    let port = free_port().await;
    let mut host = host_of(MqttVersion::V3_1_1, port, 600).await;
    let acl = "pattern write fleet/v1/%u/connection\npattern read fleet/v1/%u/+\n\
               topic write fleet/v1/VAN-1/ack\ntopic write fleet/v1/VAN-1/manifest\n";
    let _broker = Mosquitto::start(host.directory.path(), port, acl);
    let sent = host.status.wait_for(|status| status.track_messages >= 10);
    tokio::time::timeout(LIMIT, sent).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = host.status.borrow().clone();
    assert_eq!((status.last_reason, status.points_acked), (None, 0), "everything is denied");
    assert_eq!(host.outbox.stats().borrow().pending, 600);

    publish(port, "ack", br#"{"v":1,"track":{"up_to":600}}"#, &[]);
    host.pending(0).await;
    // MQTT 3.1.1 has no Maximum Packet Size: the message is received, and the next connection does
    // not subscribe.
    publish(port, "manifest", &vec![b'x'; 2 * MAX_MANIFEST_BYTES], &["-r"]);
    let again = host.status.wait_for(|status| status.reconnects >= 1);
    tokio::time::timeout(LIMIT, again).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(host.status.borrow().reconnects, 1);
    assert!(host.status.borrow().downlink_error.is_some());
    host.finish().await;
}

#[tokio::test]
async fn over_mqtt_5_an_event_says_its_content_type_and_nothing_else_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = host(listener.local_addr().unwrap().port(), 60).await;
    host.outbox.accept_events(vec![event(Seq::new(61))], Vec::new(), Uptime::ZERO);
    host.outbox.flush_by(Uptime::ZERO).await.unwrap();
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = Vec::new();
        while let Some((first, body)) = packet(&mut stream).await {
            let answer = match first >> 4 {
                1 => vec![0x20, 3, 0, 0, 0],
                8 => vec![0x90, 6, body[0], body[1], 0, 1, 1, 1],
                3 => {
                    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                    let topic = String::from_utf8(body[2..end].to_vec()).unwrap();
                    let is_qos1 = first & 0b110 != 0;
                    let at = if is_qos1 { end + 2 } else { end };
                    let properties = body[at + 1..=at + usize::from(body[at])].to_vec();
                    said.push((topic, properties));
                    if is_qos1 { vec![0x40, 2, body[end], body[end + 1]] } else { Vec::new() }
                }
                14 => break,
                _ => Vec::new(),
            };
            stream.write_all(&answer).await.unwrap();
        }
        said
    };
    let stop = async {
        host.pending(0).await;
        host.finish().await;
    };
    let both = async { tokio::join!(serving, stop) };
    let (said, ()) = tokio::time::timeout(LIMIT, both).await.unwrap();
    assert!(said.iter().any(|(topic, _)| topic.ends_with("/track")));
    assert!(said.iter().any(|(topic, _)| topic.ends_with("/event")));
    let content_type = [&[3, 0, 28][..], b"application/cloudevents+json"].concat();
    for (topic, properties) in said {
        let wanted = if topic.ends_with("/event") { &content_type[..] } else { &[] };
        assert_eq!(properties, wanted, "{topic}");
    }
}
