//! Operation of the built backend with invalid, renewed or partly renewed certificates, and its log
//! messages.

#![expect(clippy::disallowed_methods, reason = "the test waits in real time")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::certs::Authority;
use crate::support::van::free_port;
use crate::support::{Process, installed};

const BACKEND: &str = env!("CARGO_BIN_EXE_waypost-backend");

/// Longer than any step takes on a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A folder with certificates, a broker and a backend.
struct Installation {
    folder: tempfile::TempDir,
    port: u16,
    parts: Vec<Process>,
}

impl Installation {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), port: free_port(), parts: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        // Replaces the file atomically, as a renewal should.
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn certify(&self, authority: &Authority, file: &str, name: &str) -> String {
        let (certificate, key) = authority.certify(name, 2099);
        self.put(&format!("{file}.pem"), &certificate);
        self.put(&format!("{file}.key"), &key);
        certificate
    }

    /// Starts a mosquitto that requires certificates; `None` if it is not installed.
    fn broker(&mut self) -> Option<u16> {
        let program = installed("mosquitto")?;
        let (port, folder) = (free_port(), self.folder.path().display().to_string());
        let conf = format!(
            "user root\nlistener {port} 127.0.0.1\ncafile {folder}/ca.pem\ncertfile {folder}/broker.pem\n\
             keyfile {folder}/broker.key\nrequire_certificate true\nuse_identity_as_username true\n"
        );
        self.put("mosquitto.conf", &conf);
        let mut command = Command::new(program);
        command.arg("-c").arg(self.path("mosquitto.conf")).stderr(Stdio::null());
        self.parts.push(Process::start(&mut command));
        until("mosquitto", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(port)
    }

    fn start(&mut self, more: &str) -> u32 {
        let config = format!(
            "parcels.domain = \"id.example.com\"\nstore.path = {:?}\nhttp.listen = \"127.0.0.1:{}\"\n{more}",
            self.path("backend.db"),
            self.port
        );
        self.put("backend.toml", &config);
        let mut command = Command::new(BACKEND);
        command.args(["run", "--config"]).arg(self.path("backend.toml"));
        command.stderr(fs::File::create(self.path("log")).unwrap());
        command.stdout(fs::File::create(self.path("out")).unwrap());
        let process = Process::start(&mut command);
        let pid = process.0.id();
        self.parts.push(process);
        pid
    }

    /// Counts the occurrences of a text in the log.
    fn count_in_log(&self, words: &str) -> usize {
        let log =
            ["log", "out"].map(|name| fs::read_to_string(self.path(name)).unwrap_or_default());
        log.concat().matches(words).count()
    }

    /// Requests `/healthz` over a connection that the server closes.
    fn health(&self) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return String::new();
        };
        let asked = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(asked.as_bytes()).ok();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        answer
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_broker_that_is_not_trusted_is_said_once_and_heals_with_the_right_authority() {
    let mut place = Installation::new();
    let (authority, other) = (Authority::new(), Authority::new());
    place.put("ca.pem", &authority.pem);
    place.put("trusted.pem", &other.pem);
    place.certify(&authority, "broker", "localhost");
    place.certify(&authority, "backend", "waypost-backend");
    let Some(port) = place.broker() else { return };
    let [ca, cert, key] =
        ["trusted.pem", "backend.pem", "backend.key"].map(|name| place.path(name));
    place.start(&format!(
        "mqtt.broker = \"mqtts://localhost:{port}\"\nmqtt.ca_file = {ca:?}\nmqtt.cert_file = {cert:?}\nmqtt.key_file = {key:?}\n"
    ));
    let away = "broker connection failed";
    until("it is logged", || {
        place.count_in_log(away) == 1 && place.count_in_log("invalid peer certificate") >= 1
    });
    let health = place.health();
    assert!(health.contains(" 200 ") && health.contains("\"degraded\""), "{health}");
    place.put("trusted.pem", "no certificate at all");
    std::thread::sleep(Duration::from_secs(3));
    place.put("trusted.pem", &authority.pem);
    until("it heals", || place.health().contains("\"ok\""));
    assert_eq!(place.count_in_log(away), 1, "a permanent failure is logged once");
    // A client without a certificate is rejected, and retries.
    place.parts.pop();
    place.start(&format!("mqtt.broker = \"mqtts://localhost:{port}\"\nmqtt.ca_file = {ca:?}\n"));
    until("it is rejected", || place.count_in_log(away) == 1);
    place.parts.pop();
    place.start(&format!("mqtt.broker = \"mqtts://127.0.0.1:{port}\"\nmqtt.ca_file = {ca:?}\n"));
    until("another name", || place.count_in_log("not valid for name") >= 1);
}

/// Opens a connection to the web server, which presents its certificate.
fn connected(
    place: &Installation,
    roots: &RootCertStore,
) -> StreamOwned<ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", place.port)).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut stream).unwrap();
    }
    StreamOwned::new(client, stream)
}

fn answered(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> bool {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).contains("200 OK")
}

fn shows(place: &Installation, roots: &RootCertStore, pem: &str) -> bool {
    let stream = connected(place, roots);
    let expected = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    stream.conn.peer_certificates().is_some_and(|chain| chain[0] == expected)
}

#[test]
fn a_renewed_certificate_is_shown_to_the_next_and_a_bad_one_is_refused_and_said_once() {
    let mut place = Installation::new();
    let authority = Authority::new();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let first = place.certify(&authority, "web", "localhost");
    let [cert, key] = ["web.pem", "web.key"].map(|name| place.path(name));
    // No broker listens there, and the pages do not need one.
    let broker = free_port();
    let pid = place.start(&format!(
        "mqtt.broker = \"mqtt://127.0.0.1:{broker}\"\nhttp.cert_file = {cert:?}\nhttp.key_file = {key:?}\n"
    ));
    until("it listens", || TcpStream::connect(("127.0.0.1", place.port)).is_ok());
    assert!(shows(&place, &roots, &first));
    let mut open = connected(&place, &roots);
    assert!(answered(&mut open));
    // A partial renewal: the key of another certificate, then a file that is not a certificate.
    let (second, second_key) = authority.certify("localhost", 2099);
    place.put("web.pem", &second);
    until("it is rejected", || place.count_in_log("certificate reload failed") == 1);
    // The server closes connections that are idle for more than 20 s.
    assert!(answered(&mut open));
    std::thread::sleep(Duration::from_secs(12));
    assert!(answered(&mut open));
    assert_eq!(place.count_in_log("certificate reload failed"), 1, "logged once");
    assert!(shows(&place, &roots, &first), "the old one remains in use");
    place.put("web.key", &second_key);
    until("it is renewed by itself", || place.count_in_log("certificate reloaded") == 1);
    assert!(shows(&place, &roots, &second));
    assert!(answered(&mut open), "an open connection continues");
    // At once, after the reload signal.
    let third = place.certify(&authority, "web", "localhost");
    assert!(Command::new("kill").args(["-HUP", &pid.to_string()]).status().unwrap().success());
    until("it is renewed at once", || shows(&place, &roots, &third));
    assert!(answered(&mut open), "and still");
}
