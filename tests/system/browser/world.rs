//! The whole system except the road: a broker, an instance of the backend with its pages, and a
//! browser.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use waypost_backend::app::App;
use waypost_backend::config::{Scope, Token};
use waypost_backend::{AppState, Config, octets};
use waypost_model::units::UtcTime;
use waypost_service::clock::Clock;
use waypost_service::sd_notify::ServiceNotifier;
use waypost_sim::Day;

use crate::support::backend::{StoreLocation, config, set_clock, utc};
use crate::support::van::free_port;
use crate::support::webdriver::{Browser, key};
use crate::support::{Process, installed};

/// Before the first van of any test is switched on.
pub(super) const MORNING: &str = "2026-11-23T06:29:00.000Z";

/// Postcode of all recipients.
pub(super) const POSTCODE: &str = "80331";

pub(super) struct World {
    /// State of the running instance.
    pub(super) shared: AppState,
    pub(super) url: String,
    pub(super) runtime: Runtime,
    /// Port of the broker.
    pub(super) port: u16,
    stop: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
    _place: StoreLocation,
    _broker: Process,
    _folder: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Returns a browser and a default world; `None` and a report of a skip if a part is not installed.
pub(super) fn seen_in(languages: &str) -> Option<(Browser, World)> {
    Some((Browser::open(languages)?, World::start()?))
}

/// Opens dispatch and logs in.
pub(super) fn log_in(browser: &Browser, world: &World) {
    browser.visit(&format!("{}/desk", world.url));
    browser.until_text(".login", "Access token");
    browser.type_into("#token", "dispatcher");
    browser.press(key::ENTER);
    browser.until_text("#vans-title", "Vans");
}

fn token(name: &str, scope: Scope) -> Token {
    Token {
        name: name.to_owned(),
        sha256: octets::sha256(name),
        scopes: vec![scope],
        owners: Vec::new(),
        sites: Vec::new(),
    }
}

fn broker(port: u16) -> Option<(Process, tempfile::TempDir)> {
    let mosquitto = installed("mosquitto")?;
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("mosquitto.conf");
    let text = format!(
        "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
    );
    std::fs::write(&conf, text).unwrap();
    let mut broker = Command::new(mosquitto);
    broker.arg("-c").arg(&conf).stderr(Stdio::null()).stdout(Stdio::null());
    let broker = Process::start(&mut broker);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    Some((broker, folder))
}

impl World {
    /// Starts a world with the tokens `planner` and `dispatcher`. Returns `None` and reports a skip
    /// if there is no broker.
    pub(super) fn start() -> Option<Self> {
        Self::with(|_| {})
    }

    /// Starts a world like [`World::start`] with another configuration, such as the servers for
    /// emails and webhooks.
    pub(super) fn with(state_mut: impl FnOnce(&mut Config)) -> Option<Self> {
        let port = free_port();
        let (broker, folder) = broker(port)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let place = StoreLocation::sqlite();
        let http = free_port();
        let url = format!("http://127.0.0.1:{http}");
        let mut config = config();
        config.store = place.config();
        config.mqtt.port = port;
        config.http.listen.set_port(http);
        config.http.public_url.clone_from(&url);
        config.tokens = vec![token("planner", Scope::Routes), token("dispatcher", Scope::Desk)];
        config.pages.operator = Some("City Parcels".to_owned());
        state_mut(&mut config);
        let clock = Clock::driven_by_data();
        clock.set_utc(utc(MORNING), clock.uptime());
        let service = runtime.block_on(App::open(config, clock)).unwrap();
        let shared = service.shared().clone();
        let stop = CancellationToken::new();
        let running = Some(runtime.spawn(service.run(stop.clone(), ServiceNotifier::default())));
        let (_place, _broker, _folder) = (place, broker, folder);
        Some(Self { shared, url, runtime, port, stop, running, _place, _broker, _folder })
    }

    /// Stops the instance as a service is stopped, with all its connections.
    pub(super) fn stop(&mut self) {
        self.stop.cancel();
        let running = self.running.take().expect("it runs");
        self.runtime.block_on(running).unwrap().unwrap();
        // The store file is released for the next instance.
        self.shared.store = self.runtime.block_on(StoreLocation::sqlite().open());
    }

    /// Starts a new instance with the same configuration, store, port and time.
    pub(super) fn start_again(&mut self) {
        let (config, clock) = ((*self.shared.config).clone(), self.shared.clock.clone());
        let service = self.runtime.block_on(App::open(config, clock)).unwrap();
        self.shared = service.shared().clone();
        self.stop = CancellationToken::new();
        self.running =
            Some(self.runtime.spawn(service.run(self.stop.clone(), ServiceNotifier::default())));
    }

    /// Sends a request to the API with a token.
    pub(super) fn request(&self, who: &str, request: &str, body: &Value) -> Value {
        let (method, path) = request.split_once(' ').unwrap();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {who}"))
            .header("content-type", "application/json")
            .body(body.to_string())
            .unwrap();
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut response = ureq::Agent::new_with_config(config).run(request).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        assert!(response.status().is_success(), "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Puts a van's route, and returns each parcel's page.
    pub(super) fn put(&self, van: &str, day: &Day) -> Vec<(String, String)> {
        let mut manifest: Value = serde_json::from_str(&day.manifest()).unwrap();
        for stop in manifest["stops"].as_array_mut().unwrap() {
            for parcel in stop["parcels"].as_array_mut().into_iter().flatten() {
                parcel["recipient"] = json!({"postcode": POSTCODE});
            }
        }
        let route = manifest["route"].as_str().unwrap().to_owned();
        let body = json!({"van": van, "manifest": manifest});
        let put = self.request("planner", &format!("PUT /api/v1/routes/{route}"), &body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let parcels = put["parcels"].as_array().unwrap().iter();
        parcels.map(|parcel| (text(&parcel["number"]), text(&parcel["url"]))).collect()
    }

    /// Moves the clock forward, never back.
    pub(super) fn now(&self, now: UtcTime) {
        if now > self.shared.now() {
            set_clock(&self.shared, &now.to_string());
        }
    }
}
