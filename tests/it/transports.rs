//! Transports to the broker: a WebSocket and a proxy, against mosquitto with a test authority and a
//! proxy on real sockets.

use waypost::config::{Config, Override};

fn parsed(values: &[(&'static str, &str)]) -> Result<Config, String> {
    let van = Override { key: "van.id", value: "VAN-042".to_owned() };
    let of = |(key, value): &(&'static str, &str)| Override { key, value: (*value).to_owned() };
    let overrides: Vec<_> = values.iter().map(of).chain([van]).collect();
    Config::parse("", "test", &overrides).map_err(|error| error.to_string())
}

#[cfg(not(feature = "websocket"))]
#[test]
fn a_build_without_websockets_says_so_and_names_the_key() {
    for url in ["ws://b", "wss://b:443/mqtt", "mqtts://a, wss://b"] {
        let problem = parsed(&[("mqtt.broker", url)]).unwrap_err();
        assert!(problem.contains("mqtt.broker: "), "{problem}");
        assert!(problem.contains("this build does not support (feature `websocket`)"), "{problem}");
    }
}

#[cfg(not(feature = "proxy"))]
#[test]
fn a_build_without_proxies_says_so_and_names_the_key() {
    let proxied = [("mqtt.broker", "mqtts://b"), ("mqtt.proxy", "http://proxy:3128")];
    let problem = parsed(&proxied).unwrap_err();
    assert!(problem.contains("mqtt.proxy: "), "{problem}");
    assert!(problem.contains("this build does not support proxies (feature `proxy`)"), "{problem}");
}

#[cfg(feature = "websocket")]
#[test]
fn the_url_of_a_websocket_is_read_as_it_is_written() {
    for (url, shown) in [
        ("ws://broker", "ws://broker:80/mqtt"),
        ("ws://broker/", "ws://broker:80/"),
        ("ws://127.0.0.1:9001/ws", "ws://127.0.0.1:9001/ws"),
        ("ws://[::1]:9001/a/b.c~d%20", "ws://[::1]:9001/a/b.c~d%20"),
        ("wss://broker.example.com", "wss://broker.example.com:443/mqtt"),
        ("wss://broker.example.com:8084/mqtt", "wss://broker.example.com:8084/mqtt"),
    ] {
        let config = parsed(&[("mqtt.broker", url)]).unwrap();
        assert_eq!(config.uplink.brokers[0].to_string(), shown);
    }
    for (url, says) in [
        ("ws://", "is not a broker URL; use wss://HOST[:PORT][/PATH]"),
        ("ws:///mqtt", "is not a broker URL"),
        ("wss://broker:0/mqtt", "is not a broker URL"),
        ("ws://van:secret@broker/mqtt", "is not a broker URL"),
        ("wss://[::1]/mqtt", "TLS needs a host name"),
        ("wss://broker/mqtt?token=secret", "invalid WebSocket path"),
        ("wss://broker/a b", "invalid WebSocket path"),
        ("wss://broker/mqtt#x", "invalid WebSocket path"),
    ] {
        let problem = parsed(&[("mqtt.broker", url)]).unwrap_err();
        assert!(problem.contains(says), "{url}: {problem}");
    }
}

#[cfg(feature = "proxy")]
#[test]
fn a_proxy_speaks_http_and_nothing_else_and_its_password_stands_in_a_file() {
    let with = |more: &[(&'static str, &str)]| {
        let mut values = vec![("mqtt.broker", "mqtts://b")];
        values.extend(more);
        parsed(&values)
    };
    for (url, shown) in [
        ("http://proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("http://[fd00::1]:8080/", "http://[fd00::1]:8080"),
    ] {
        let config = with(&[("mqtt.proxy", url)]).unwrap();
        assert_eq!(config.uplink.proxy.unwrap().to_string(), shown);
    }
    assert!(with(&[]).unwrap().uplink.proxy.is_none());
    for (url, says) in [
        ("socks5://proxy:1080", "SOCKS is not supported: use http://HOST:PORT"),
        ("socks5h://proxy:1080", "SOCKS is not supported"),
        ("https://proxy:3128", "TLS to the proxy itself is not supported"),
        ("http://proxy", "is not a proxy URL: use http://HOST:PORT"),
        ("proxy:3128", "is not a proxy URL"),
        ("http://van:secret@proxy:3128", "mqtt.proxy_password_file"),
    ] {
        let problem = with(&[("mqtt.proxy", url)]).unwrap_err();
        assert!(problem.contains("mqtt.proxy: ") && problem.contains(says), "{url}: {problem}");
        assert!(!problem.contains("secret"), "{problem}");
    }
    let nameless = [("mqtt.proxy", "http://p:1"), ("mqtt.proxy_password_file", "/etc/hostname")];
    let problem = with(&nameless).unwrap_err();
    assert!(problem.contains("is set without mqtt.proxy_username"), "{problem}");
}

#[cfg(any(feature = "websocket", feature = "proxy"))]
mod bench {
    use std::fs;
    use std::net::TcpStream;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use waypost::uplink::mqtt::RumqttcConnector;
    use waypost::uplink::{ConnectionEvent, Connector, Delivery, MqttConnection, Publication};
    use waypost_service::clock::Clock;

    use crate::support::certs::Authority;
    use crate::support::van::free_port;
    use crate::support::{Process, installed};

    /// mosquitto with a listener for each transport, and its files.
    pub(super) struct Broker {
        folder: tempfile::TempDir,
        pub(super) mqtt: u16,
        pub(super) mqtts: u16,
        pub(super) ws: u16,
        pub(super) wss: u16,
        _process: Process,
    }

    impl Broker {
        /// Returns `None` and reports a skip if mosquitto is not installed.
        pub(super) fn start() -> Option<Self> {
            let mosquitto = installed("mosquitto")?;
            let folder = tempfile::tempdir().unwrap();
            let file = |name: &str| folder.path().join(name);
            let authority = Authority::new();
            let (certificate, key) = authority.certify("localhost", 2099);
            for (name, text) in [
                ("ca.pem", &authority.pem),
                ("stranger.pem", &Authority::new().pem),
                ("broker.pem", &certificate),
                ("broker.key", &key),
            ] {
                fs::write(file(name), text).unwrap();
            }
            let [mqtt, mqtts, ws, wss] = [(); 4].map(|()| free_port());
            let (pem, key) = (file("broker.pem"), file("broker.key"));
            let tls = format!("certfile {}\nkeyfile {}", pem.display(), key.display());
            // The address of a WebSocket listener is the name of an interface.
            let conf = format!(
                "user root\nallow_anonymous true\nlistener {mqtt} 127.0.0.1\n\
                 listener {mqtts} 127.0.0.1\n{tls}\nlistener {ws} lo\nprotocol websockets\n\
                 listener {wss} lo\nprotocol websockets\n{tls}\n"
            );
            fs::write(file("mosquitto.conf"), conf).unwrap();
            let mut command = Command::new(mosquitto);
            command.arg("-c").arg(file("mosquitto.conf")).stderr(Stdio::null());
            let process = Process::start(&mut command);
            for port in [mqtt, mqtts, ws, wss] {
                while TcpStream::connect(("127.0.0.1", port)).is_err() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            Some(Self { folder, mqtt, mqtts, ws, wss, _process: process })
        }

        pub(super) fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Creates links that trust this broker's authority, unless `more` configures another one.
        pub(super) fn links(&self, url: &str, more: &[(&'static str, &str)]) -> RumqttcConnector {
            let ca = self.file("ca.pem").display().to_string();
            let values = [&[("mqtt.broker", url), ("mqtt.ca_file", &ca)], more].concat();
            RumqttcConnector::new(super::parsed(&values).unwrap().uplink, Clock::live())
        }
    }

    pub(super) fn publication(payload: &[u8]) -> Publication {
        Publication {
            topic: "fleet/v1/VAN-042/connection".to_owned(),
            payload: payload.to_vec(),
            delivery: Delivery::Retained,
            content_type: None,
        }
    }

    /// Returns the result of one attempt. On success, publishes a small and a large message,
    /// receives one, and disconnects in order.
    pub(super) async fn attempt(links: &mut RumqttcConnector) -> ConnectionEvent {
        let mut link = links.open(&publication(b"{}"));
        let event = link.next_event().await;
        if let ConnectionEvent::Connected(_) = &event {
            link.try_subscribe(vec![publication(b"").topic]).unwrap();
            // mosquitto sends 4 KB every 100 ms through a WebSocket.
            let large = vec![b' '; 20_000];
            link.try_publish(publication(b"small")).unwrap();
            link.try_publish(publication(&large)).unwrap();
            let (mut acked, mut came) = (0, Vec::new());
            while acked < 2 || came.last() != Some(&large) {
                match link.next_event().await {
                    ConnectionEvent::Acked { .. } => acked += 1,
                    ConnectionEvent::Message { payload, .. } => came.push(payload),
                    ConnectionEvent::Closed(closed) => panic!("{closed:?}"),
                    _ => {}
                }
            }
            link.disconnect();
            while !matches!(link.next_event().await, ConnectionEvent::Closed(_)) {}
        }
        event
    }

    /// The MQTT versions.
    pub(super) const VERSIONS: [&str; 2] = ["5", "3.1.1"];
}

#[cfg(feature = "websocket")]
mod websocket {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use waypost::uplink::{CloseReason, ConnectStage, ConnectionEvent, RetryTrigger, TlsFailure};

    use super::bench::{Broker, VERSIONS, attempt};

    #[tokio::test]
    async fn mqtt_goes_through_a_websocket_with_and_without_tls() {
        let Some(broker) = Broker::start() else { return };
        for version in VERSIONS {
            for url in [
                format!("ws://127.0.0.1:{}", broker.ws),
                format!("ws://localhost:{}/", broker.ws),
                format!("wss://localhost:{}/mqtt", broker.wss),
            ] {
                let mut links = broker.links(&url, &[("mqtt.version", version)]);
                let event = attempt(&mut links).await;
                assert!(
                    matches!(event, ConnectionEvent::Connected(_)),
                    "{url}, {version}: {event:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn nobody_is_talked_to_without_trust_through_a_websocket_either() {
        let Some(broker) = Broker::start() else { return };
        let other = broker.file("stranger.pem").display().to_string();
        let (wss, ws) = (broker.wss, broker.ws);
        for version in VERSIONS {
            for (host, port, ca, why) in [
                ("localhost", wss, Some(&*other), TlsFailure::UnknownAuthority),
                ("127.0.0.1", wss, None, TlsFailure::WrongName),
                ("localhost", ws, None, TlsFailure::Other),
            ] {
                let mut values = vec![("mqtt.version", version)];
                values.extend(ca.map(|ca| ("mqtt.ca_file", ca)));
                let mut links = broker.links(&format!("wss://{host}:{port}/mqtt"), &values);
                let ConnectionEvent::Closed(closed) = attempt(&mut links).await else {
                    panic!("{host}")
                };
                assert_eq!(closed.stage(), Some(ConnectStage::Tls(why)), "{version}: {closed:?}");
                assert_eq!(closed.retry_trigger(), RetryTrigger::Operator);
            }
        }
    }

    /// Starts a web server without a WebSocket, which sends a fixed response or speaks another
    /// protocol than MQTT.
    fn web_server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    #[tokio::test]
    async fn a_server_that_has_no_mqtt_there_ends_the_attempt_with_its_words() {
        let Some(broker) = Broker::start() else { return };
        for (answer, says) in [
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                "Websocket",
            ),
            ("SSH-2.0-OpenSSH_9.2\r\n", "Websocket"),
            ("", "Websocket"),
        ] {
            for version in VERSIONS {
                let url = format!("ws://127.0.0.1:{}/mqtt", web_server(answer));
                let mut links = broker.links(&url, &[("mqtt.version", version)]);
                let event = attempt(&mut links).await;
                let ConnectionEvent::Closed(CloseReason::Broken { text }) = &event else {
                    panic!("{event:?}")
                };
                assert!(text.contains(says), "{text}");
            }
        }
        for url in ["ws://127.0.0.1:1/mqtt", "ws://[::1]:1/mqtt"] {
            let ConnectionEvent::Closed(closed) = attempt(&mut broker.links(url, &[])).await else {
                panic!("{url}")
            };
            assert_eq!(closed.stage(), Some(ConnectStage::Tcp), "{closed:?}");
        }
    }
}

#[cfg(feature = "proxy")]
mod proxy {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::{fs, thread};

    use waypost::uplink::{ConnectStage, ConnectionEvent, RetryTrigger};

    use super::bench::{Broker, VERSIONS, attempt};
    use crate::support::van::free_port;

    /// `Proxy-Authorization` of van and secret (RFC 7617).
    const CREDENTIALS: &str = "Basic dmFuOnNlY3JldA==";

    /// An HTTP CONNECT proxy that records the requested target and the bytes forwarded.
    #[derive(Clone, Default)]
    pub(super) struct Proxy {
        asked: Arc<Mutex<Vec<String>>>,
        carried: Arc<AtomicUsize>,
        credentials: Option<&'static str>,
    }

    impl Proxy {
        /// Starts on a free port; with `credentials`, rejects requests without them.
        pub(super) fn start(credentials: Option<&'static str>) -> (Self, String) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
            let proxy = Self { credentials, ..Self::default() };
            let started = proxy.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let proxy = proxy.clone();
                    thread::spawn(move || proxy.serve(stream.unwrap()));
                }
            });
            (started, url)
        }

        fn serve(&self, mut van: TcpStream) -> Option<()> {
            let mut request = Vec::new();
            for line in BufReader::new(van.try_clone().unwrap()).lines() {
                match line.ok()? {
                    line if line.is_empty() => break,
                    line => request.push(line),
                }
            }
            let to = request.first()?.strip_prefix("CONNECT ")?.strip_suffix(" HTTP/1.1")?;
            self.asked.lock().unwrap().push(to.to_owned());
            let given = request.iter().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
            let broker = TcpStream::connect(to);
            let answer = match &broker {
                _ if given != self.credentials => "407 Proxy Authentication Required",
                Err(_) => "502 Bad Gateway",
                Ok(_) => "200 Connection established",
            };
            write!(van, "HTTP/1.1 {answer}\r\nVia: 1.1 test\r\n\r\n").ok()?;
            if answer.starts_with("200") {
                let (broker, proxy) = (broker.unwrap(), self.clone());
                let back = (broker.try_clone().unwrap(), van.try_clone().unwrap());
                thread::spawn(move || proxy.carry(back.0, back.1));
                self.carry(van, broker);
            }
            Some(())
        }

        fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
            let mut bytes = [0; 16_384];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                self.carried.fetch_add(count, Ordering::Relaxed);
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        }

        fn asked(&self) -> Vec<String> {
            std::mem::take(&mut *self.asked.lock().unwrap())
        }
    }

    #[tokio::test]
    async fn mqtt_goes_through_a_proxy_that_looks_the_broker_up() {
        let Some(broker) = Broker::start() else { return };
        let (proxy, through) = Proxy::start(None);
        let mut urls = vec![
            (format!("mqtt://localhost:{}", broker.mqtt), broker.mqtt),
            (format!("mqtts://localhost:{}", broker.mqtts), broker.mqtts),
        ];
        if cfg!(feature = "websocket") {
            urls.push((format!("ws://localhost:{}", broker.ws), broker.ws));
            urls.push((format!("wss://localhost:{}", broker.wss), broker.wss));
        }
        for (url, port) in urls {
            for version in VERSIONS {
                let more = [("mqtt.proxy", &*through), ("mqtt.version", version)];
                let event = attempt(&mut broker.links(&url, &more)).await;
                assert!(
                    matches!(event, ConnectionEvent::Connected(_)),
                    "{url}, {version}: {event:?}"
                );
                assert_eq!(proxy.asked(), [format!("localhost:{port}")], "{url}");
            }
        }
        assert!(proxy.carried.load(Ordering::Relaxed) > 4 * 20_000);
    }

    #[tokio::test]
    async fn trust_is_between_van_and_broker_whoever_makes_the_way() {
        let Some(broker) = Broker::start() else { return };
        let (_, through) = Proxy::start(None);
        let other = broker.file("stranger.pem").display().to_string();
        let more = [("mqtt.proxy", &*through), ("mqtt.ca_file", &other)];
        let mut links = broker.links(&format!("mqtts://localhost:{}", broker.mqtts), &more);
        let ConnectionEvent::Closed(closed) = attempt(&mut links).await else {
            panic!("access granted")
        };
        assert_eq!(closed.retry_trigger(), RetryTrigger::Operator, "{closed:?}");
    }

    #[tokio::test]
    async fn who_the_proxy_does_not_know_is_told_so_and_a_password_lets_it_through() {
        let Some(broker) = Broker::start() else { return };
        let (_, through) = Proxy::start(Some(CREDENTIALS));
        let password = broker.file("password");
        fs::write(&password, "secret\n").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        let password = password.display().to_string();
        let url = format!("mqtt://localhost:{}", broker.mqtt);
        for version in VERSIONS {
            let mut values = vec![("mqtt.proxy", &*through), ("mqtt.version", version)];
            let ConnectionEvent::Closed(closed) = attempt(&mut broker.links(&url, &values)).await
            else {
                panic!("forwarded")
            };
            assert_eq!(closed.stage(), Some(ConnectStage::Tcp));
            assert!(
                closed.text().contains("the proxy requires a user name and password"),
                "{closed:?}"
            );
            values.push(("mqtt.proxy_username", "van"));
            values.push(("mqtt.proxy_password_file", &password));
            let event = attempt(&mut broker.links(&url, &values)).await;
            assert!(matches!(event, ConnectionEvent::Connected(_)), "{event:?}");
        }
    }

    #[tokio::test]
    async fn what_does_not_work_is_the_proxys_or_the_brokers_and_said_so() {
        let Some(broker) = Broker::start() else { return };
        let (_, through) = Proxy::start(None);
        let nobody = format!("http://127.0.0.1:{}", free_port());
        let a_broker = format!("http://127.0.0.1:{}", broker.mqtt);
        for (proxy, says) in [
            (&through, "the proxy refused the tunnel to the broker (502)"),
            (&nobody, "proxy: Connection refused"),
            (&a_broker, "the proxy did not respond to HTTP CONNECT with a valid response"),
        ] {
            for version in VERSIONS {
                let more = [("mqtt.proxy", &**proxy), ("mqtt.version", version)];
                let mut links = broker.links("mqtt://localhost:1", &more);
                let ConnectionEvent::Closed(closed) = attempt(&mut links).await else {
                    panic!("{proxy}")
                };
                assert!(closed.text().contains(says), "{closed:?}");
                assert_eq!(closed.stage(), Some(ConnectStage::Tcp));
            }
        }
        let more = [("mqtt.proxy", "http://proxy.invalid:3128")];
        let mut links = broker.links("mqtt://localhost:1", &more);
        let ConnectionEvent::Closed(closed) = attempt(&mut links).await else {
            panic!("forwarded")
        };
        assert_eq!(closed.stage(), Some(ConnectStage::Dns), "{closed:?}");
    }
}

#[cfg(all(feature = "websocket", feature = "proxy"))]
mod agent {
    #![expect(clippy::disallowed_methods, reason = "real parts run in real time")]

    use std::time::{Duration, Instant};

    use super::proxy::Proxy;
    use crate::support::van::{Van, free_port};

    #[test]
    fn an_agent_behind_a_proxy_and_a_websocket_lacks_nothing() {
        let (mut van, source) = Van::new();
        let ws = free_port();
        let conf = format!("allow_anonymous true\nlistener {ws} lo\nprotocol websockets");
        let Some(_) = van.mosquitto(&conf) else { return };
        let (_, through) = Proxy::start(None);
        let more = format!("mqtt.proxy = \"{through}\"\n");
        van.run(&source, &format!("ws://localhost:{ws}"), &more);
        let began = Instant::now();
        loop {
            let (code, said) = van.doctor();
            if code == Some(0) && said.to_string().contains("connected for") {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{said:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    #[test]
    fn a_proxy_that_is_not_there_or_lets_nobody_through_is_named() {
        let (_, locked) = Proxy::start(Some("Basic bm9ib2R5"));
        let nobody = format!("http://127.0.0.1:{}", free_port());
        for (proxy, says) in [
            (nobody, ["the proxy http://", "refused", "mqtt.proxy"]),
            (locked, ["the proxy requires", "(407)", "mqtt.proxy_username"]),
        ] {
            let (mut van, source) = Van::new();
            let more = format!("mqtt.proxy = \"{proxy}\"\n");
            van.run(&source, "mqtts://broker.invalid", &more);
            van.names("tcp", &says);
        }
    }

    #[test]
    fn a_port_that_has_no_websocket_is_named() {
        let (mut van, source) = Van::new();
        let Some(port) = van.mosquitto("allow_anonymous true") else { return };
        van.run(&source, &format!("ws://127.0.0.1:{port}"), "");
        van.names("mqtt", &["Websocket", "the WebSocket's port and path"]);
    }
}
