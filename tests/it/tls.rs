//! TLS against mosquitto with a test authority: access, rejection, and renewal without a restart.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use waypost::config::{Config, Override};
use waypost::uplink::mqtt::RumqttcConnector;
use waypost::uplink::{
    CloseReason, ConnectionEvent, Connector, Delivery, MqttConnection, Publication, RetryTrigger,
};
use waypost_service::clock::Clock;

use crate::support::certs::Authority;
use crate::support::{Process, installed};

/// mosquitto on `localhost` that requires certificates, and its files.
struct Bench {
    folder: tempfile::TempDir,
    mosquitto: PathBuf,
    authority: Authority,
    port: u16,
}

impl Bench {
    /// Returns `None` and reports a skip if mosquitto is not installed.
    fn new() -> Option<Self> {
        let mosquitto = installed("mosquitto")?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            mosquitto,
            authority: Authority::new(),
            port,
        };
        bench.write("ca.pem", &bench.authority.pem);
        bench.certify("van", "VAN-042", 2099);
        Some(bench)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn certify(&self, file: &str, name: &str, last_year: i32) {
        let (cert, key) = self.authority.certify(name, last_year);
        self.write(&format!("{file}.pem"), &cert);
        self.write(&format!("{file}.key"), &key);
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.folder.path().join(format!("{file}.key")), private).unwrap();
    }

    fn start_broker(&self) -> Process {
        let folder = self.folder.path().display();
        let port = self.port;
        self.write(
            "mosquitto.conf",
            &format!(
                "listener {port} 127.0.0.1\ncafile {folder}/ca.pem\ncertfile {folder}/broker.pem\n\
                 keyfile {folder}/broker.key\nrequire_certificate true\nuse_identity_as_username true\n\
                 user root\n"
            ),
        );
        let mut command = Command::new(&self.mosquitto);
        command.arg("-c").arg(self.folder.path().join("mosquitto.conf")).stderr(Stdio::null());
        let broker = Process::start(&mut command);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        broker
    }

    fn links(&self, ca: &str, identity: Option<&str>) -> RumqttcConnector {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let port = self.port;
        let mut values = vec![
            ("van.id", "VAN-042".to_owned()),
            // The first broker is unreachable; brokers are tried in order.
            ("mqtt.broker", format!("mqtts://localhost:1, mqtts://localhost:{port}")),
            ("mqtt.ca_file", file(ca)),
        ];
        if let Some(identity) = identity {
            values.push(("mqtt.cert_file", file(&format!("{identity}.pem"))));
            values.push(("mqtt.key_file", file(&format!("{identity}.key"))));
        }
        let overrides: Vec<_> =
            values.into_iter().map(|(key, value)| Override { key, value }).collect();
        let config = Config::parse("", "test", &overrides).unwrap();
        RumqttcConnector::new(config.uplink, Clock::live())
    }
}

fn will() -> Publication {
    Publication {
        topic: "fleet/v1/VAN-042/connection".to_owned(),
        payload: b"{}".to_vec(),
        delivery: Delivery::Retained,
        content_type: None,
    }
}

/// Returns the result of one attempt at each of the two brokers.
async fn second_of_two(links: &mut RumqttcConnector) -> ConnectionEvent {
    let first = links.open(&will()).next_event().await;
    assert!(
        matches!(&first, ConnectionEvent::Closed(CloseReason::Unreachable { text, .. }) if text.contains("localhost:1:")),
        "{first:?}"
    );
    let mut second = links.open(&will());
    let event = second.next_event().await;
    if let ConnectionEvent::Connected(_) = &event {
        second.try_publish(will()).unwrap();
        while !matches!(second.next_event().await, ConnectionEvent::Acked { .. }) {}
        second.disconnect();
    }
    event
}

fn refusal(event: &ConnectionEvent) -> &str {
    match event {
        ConnectionEvent::Closed(closed @ CloseReason::Untrusted { text, .. }) => {
            assert_eq!(closed.retry_trigger(), RetryTrigger::Operator);
            text
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_van_with_its_certificate_is_let_in_and_nobody_is_talked_to_without_trust() {
    let Some(bench) = Bench::new() else { return };
    bench.certify("broker", "localhost", 2099);
    bench.write("stranger.pem", &Authority::new().pem);
    let _broker = bench.start_broker();

    let event = second_of_two(&mut bench.links("ca.pem", Some("van"))).await;
    assert!(matches!(event, ConnectionEvent::Connected(_)), "{event:?}");

    let event = second_of_two(&mut bench.links("stranger.pem", Some("van"))).await;
    assert!(refusal(&event).contains("invalid peer certificate"), "{event:?}");

    let event = second_of_two(&mut bench.links("ca.pem", None)).await;
    assert!(refusal(&event).contains("ertificate"), "{event:?}");

    let event = bench.links("missing.pem", None).open(&will()).next_event().await;
    assert!(refusal(&event).contains("missing.pem: cannot be read"), "{event:?}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_its_reason_and_a_renewed_one_needs_no_restart() {
    let Some(bench) = Bench::new() else { return };
    bench.certify("broker", "localhost", 2025);
    let broker = bench.start_broker();
    let mut links = bench.links("ca.pem", Some("van"));
    let event = second_of_two(&mut links).await;
    assert!(refusal(&event).contains("xpired"), "{event:?}");
    drop(broker);
    bench.certify("broker", "localhost", 2099);
    let _broker = bench.start_broker();
    let event = second_of_two(&mut links).await;
    assert!(matches!(event, ConnectionEvent::Connected(_)), "{event:?}");
}
