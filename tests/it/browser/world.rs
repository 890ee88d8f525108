//! The whole system but the road: a broker, an instance of the backend with its pages, and vans whose time is the test's.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use waypost::backend::config::{Scope, Token};
use waypost::backend::{Shared, api, downlink, ingest, octets, upstream, web};
use waypost::core::calendar::{Era, RELEASED};
use waypost::core::delivery::event::ReadBy;
use waypost::core::delivery::{Delivery, DeliveryConfig, Scan};
use waypost::core::record::Subject;
use waypost::core::{Output, Pipeline};
use waypost::simulate::{Day, Moment, Route, Scanner};
use waypost::units::{Uptime, UtcTime};
use waypost::wire::epcis::{self, Names};
use waypost::wire::json::{
    Connection, ConnectionState, Delay, GnssState, Lane, OutboxState, Point, Position, State, Track,
};
use waypost::wire::{VanId, command, manifest};

use crate::support::backend::{Place, set_clock, shared, utc};
use crate::support::van::free_port;
use crate::support::{Process, installed, pipeline, repository};

/// Before the first van of any test is switched on.
pub(super) const MORNING: &str = "2026-11-23T06:29:00.000Z";

/// What recipients type.
pub(super) const POSTCODE: &str = "80331";

pub(super) struct World {
    pub(super) shared: Shared,
    pub(super) url: String,
    pub(super) runtime: Runtime,
    port: u16,
    stop: CancellationToken,
    _place: Place,
    _broker: Process,
    _folder: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn token(name: &str, scope: Scope) -> Token {
    Token { name: name.to_owned(), sha256: octets::sha256(name), scopes: vec![scope] }
}

impl World {
    /// `None`, and a line that says so, where there is no broker. Tokens are `planner` and `dispatcher`.
    pub(super) fn start() -> Option<Self> {
        let mosquitto = installed("mosquitto")?;
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
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
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let place = Place::sqlite();
        let store = runtime.block_on(place.open());
        let mut shared = shared(store, MORNING);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut config = (*shared.config).clone();
        config.mqtt.port = port;
        config.http.public_url = url.clone();
        config.tokens = vec![token("planner", Scope::Routes), token("dispatcher", Scope::Desk)];
        config.pages.operator = Some("City Parcels".to_owned());
        shared.config = Arc::new(config);
        let world = Self {
            shared,
            url,
            runtime,
            port,
            stop: CancellationToken::new(),
            _place: place,
            _broker: broker,
            _folder: folder,
        };
        world.serve(listener);
        let (shared, stop) = (world.shared.clone(), world.stop.clone());
        world.runtime.spawn(async move { downlink::run(shared, stop).await });
        let (shared, stop) = (world.shared.clone(), world.stop.clone());
        world.runtime.spawn(async move { ingest::run(shared, stop).await });
        Some(world)
    }

    fn serve(&self, listener: TcpListener) -> CancellationToken {
        let router = api::router().merge(upstream::router()).merge(web::router());
        let stop = self.stop.child_token();
        self.runtime.spawn(api::serve(self.shared.clone(), listener, router, stop.clone()));
        stop
    }

    /// Asks the API as the holder of a token.
    pub(super) fn ask(&self, who: &str, request: &str, body: &Value) -> Value {
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

    /// Puts a van's route, and says where each parcel's page is.
    pub(super) fn put(&self, van: &str, day: &Day) -> Vec<(String, String)> {
        let mut manifest: Value = serde_json::from_str(&day.manifest()).unwrap();
        for stop in manifest["stops"].as_array_mut().unwrap() {
            for parcel in stop["parcels"].as_array_mut().into_iter().flatten() {
                parcel["recipient"] = json!({"postcode": POSTCODE});
            }
        }
        let route = manifest["route"].as_str().unwrap().to_owned();
        let body = json!({"van": van, "manifest": manifest});
        let put = self.ask("planner", &format!("PUT /api/v1/routes/{route}"), &body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let parcels = put["parcels"].as_array().unwrap().iter();
        parcels.map(|parcel| (text(&parcel["number"]), text(&parcel["url"]))).collect()
    }

    /// Moves the clock on, never back.
    pub(super) fn now(&self, now: UtcTime) {
        if now > self.shared.now() {
            set_clock(&self.shared, &now.to_string());
        }
    }
}

/// A day of deliveries, as it is drawn from a seed.
pub(super) fn day(seed: u64) -> Day {
    let mut route = Route::load(&repository("config/routes/deliveries_short.toml")).unwrap();
    route.settings.seed = seed;
    route.settings.van = u32::try_from(seed).unwrap();
    // Each leaves the station in a direction of its own.
    Day::new(route.turned(f64::from(u32::try_from(seed - 1).unwrap()) * 137.5))
}

/// A van: the simulated road and driver, the code that runs in vans, and a link to the broker.
pub(super) struct Van {
    pub(super) id: String,
    day: Day,
    pipeline: Pipeline,
    out: Output,
    names: Names,
    client: AsyncClient,
    heard: Receiver<(String, Vec<u8>)>,
    /// What the driver does before scanning a parcel: its number, and the code.
    pub(super) before: Option<(String, &'static str)>,
    pub(super) utc: UtcTime,
    at: Uptime,
    said: Option<(State, UtcTime)>,
    shown: Option<UtcTime>,
    trail: Vec<Point>,
    /// Positions are said so often; in the van's time.
    pub(super) every: Duration,
}

impl Van {
    pub(super) fn new(world: &World, id: &str, day: Day) -> Self {
        let mut options = MqttOptions::new(id, "127.0.0.1", world.port);
        options.set_max_packet_size(Some(1 << 20));
        let (client, mut event_loop) = AsyncClient::new(options, 100);
        let (tell, heard): (Sender<(String, Vec<u8>)>, _) = channel();
        world.runtime.spawn(async move {
            loop {
                match event_loop.poll().await {
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let topic = String::from_utf8(message.topic.to_vec()).unwrap();
                        tell.send((topic, message.payload.to_vec())).ok();
                    }
                    Ok(_) => {}
                    // The broker ends with the test.
                    Err(error) => return eprintln!("a van's link: {error}"),
                }
            }
        });
        for name in ["manifest", "cmd"] {
            let subscribed = client.subscribe(format!("fleet/v1/{id}/{name}"), QoS::AtLeastOnce);
            world.runtime.block_on(subscribed).unwrap();
        }
        let delivery = Delivery::new(DeliveryConfig::new(id, "parcels.example.com"), &[]);
        let van = Self {
            id: id.to_owned(),
            pipeline: pipeline(Era::NotBefore(RELEASED)).with_delivery(delivery),
            day,
            out: Output::default(),
            names: Names::new("parcels.example.com", &VanId::new(id).unwrap()).unwrap(),
            client,
            heard,
            before: None,
            utc: utc(MORNING),
            at: Uptime::ZERO,
            said: None,
            shown: None,
            trail: Vec::new(),
            every: Duration::from_secs(5),
        };
        van.connection(world, ConnectionState::Online);
        van
    }

    pub(super) fn connection(&self, world: &World, state: ConnectionState) {
        let ts = Some(world.shared.now().to_string());
        let connection =
            Connection { v: 1, van: self.id.clone(), state, ts, session: 1, version: None };
        self.publish(world, "connection", serde_json::to_vec(&connection).unwrap());
    }

    pub(super) fn publish(&self, world: &World, name: &str, payload: Vec<u8>) {
        let topic = format!("fleet/v1/{}/{name}", self.id);
        let qos = if name == "position" { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let retained = matches!(name, "connection" | "state");
        world.runtime.block_on(self.client.publish(topic, qos, retained, payload)).unwrap();
    }

    /// Waits for the route, as the agent does.
    pub(super) fn take_route(&mut self, world: &World) {
        let (topic, payload) = self.heard.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(topic.ends_with("/manifest"));
        let orders = manifest::read(&payload);
        let at = self.at;
        self.pipeline.deliver(&mut self.out, |delivery, out| delivery.manifest(orders, at, out));
        self.tell(world);
    }

    /// Takes what was asked for and is under way, and answers.
    pub(super) fn listen(&mut self, world: &World) {
        while let Ok((topic, payload)) = self.heard.try_recv() {
            if topic.ends_with("/cmd") {
                let command = command::read(&payload).unwrap();
                let at = self.at;
                self.pipeline
                    .deliver(&mut self.out, |delivery, out| delivery.command(&command, at, out));
            }
        }
        self.tell(world);
    }

    /// Drives until something has happened, and says its kind; `None` at the end of the day. `each` is asked after
    /// every position.
    pub(super) fn drive(
        &mut self,
        world: &World,
        mut stops: impl FnMut(&Told<'_>) -> bool,
    ) -> bool {
        while let Some(moment) = self.day.next() {
            self.at = moment.at();
            match moment {
                Moment::Burst(burst) => self.pipeline.push(&burst.bytes, burst.at, &mut self.out),
                Moment::Fact(_) => continue,
                Moment::Scan(scan) => {
                    let line = scan.line.clone();
                    let obeys = self.before.take_if(|(number, _)| line.contains(number.as_str()));
                    if let Some((_, code)) = obeys {
                        self.scan(&scan, code);
                    }
                    self.scan(&scan, &line);
                }
            }
            self.listen(world);
            let told = std::mem::take(&mut self.out.happenings.events);
            let mut over = false;
            for record in told {
                let payload = epcis::encode(&record, &self.names);
                self.utc = self.utc.max(record.event.utc);
                world.now(self.utc);
                self.publish(world, "event", payload.clone());
                let text = String::from_utf8(payload).unwrap();
                over |= stops(&Told { kind: record.event.happening.name(), text: &text });
            }
            if self.show(world) {
                over |= stops(&Told { kind: "position", text: "" });
            }
            if over {
                return true;
            }
        }
        false
    }

    fn scan(&mut self, scan: &waypost::simulate::Scan, line: &str) {
        let by = if scan.scanner == Scanner::Hand { ReadBy::Barcode } else { ReadBy::Rfid };
        let (source, bytes, at) =
            (scan.scanner.name().to_owned(), line.as_bytes().to_vec(), scan.at);
        let scan = Scan { source, by, bytes, at, rssi: None, antenna: None };
        self.pipeline.deliver(&mut self.out, |delivery, out| delivery.scan(&scan, out));
    }

    /// Says where it is, if that is new; whether it did.
    fn show(&mut self, world: &World) -> bool {
        let mut newest = None;
        for record in self.out.records.drain(..) {
            let Subject::Point(point) = record.subject else { continue };
            self.trail.push(Point::new(record.seq, &point, Lane::Live));
            newest = Some((record.seq, point));
        }
        let Some((seq, point)) = newest else { return false };
        self.utc = self.utc.max(point.fix.utc);
        world.now(self.utc);
        if self.trail.len() >= 60 {
            let track = Track::new(&self.id, None, std::mem::take(&mut self.trail));
            self.publish(world, "track", serde_json::to_vec(&track).unwrap());
        }
        let waits = self.shown.and_then(|shown| shown.checked_add(self.every));
        if self.pipeline.withholds() || waits.is_some_and(|until| self.utc < until) {
            return false;
        }
        self.shown = Some(self.utc);
        let view = self.pipeline.delivery().unwrap().view();
        let mut position = Position::new(&self.id, seq, &point);
        (position.route, position.stop_seq) = (view.route, view.stop_seq);
        position.stops_remaining = view.stops_remaining;
        self.publish(world, "position", serde_json::to_vec(&position).unwrap());
        true
    }

    /// Says how it is when that has changed, and answers what it was asked.
    fn tell(&mut self, world: &World) {
        for answer in std::mem::take(&mut self.out.happenings.answers) {
            let result = command::CommandResult::from(&answer);
            self.publish(world, "cmd/res", serde_json::to_vec(&result).unwrap());
        }
        let view = self.pipeline.delivery().unwrap().view();
        let now = world.shared.now();
        let state = State {
            v: 1,
            van: self.id.clone(),
            ts: String::new(),
            duty: view.duty,
            route: view.route,
            manifest_rev: view.manifest_rev,
            manifest_error: view.manifest_error,
            next_stop: None,
            delay: view.delay.map(|delay| Delay {
                seconds: delay.by.as_secs().cast_signed(),
                reason: Some(delay.reason),
                code: None,
            }),
            scanners: Vec::new(),
            gnss: GnssState {
                receiver: "open".to_owned(),
                mode: 3,
                sats: Some(11),
                sats_in_view: Some(23),
                cn0_dbhz: Some(43),
                ..GnssState::default()
            },
            outbox: OutboxState { bytes: 131_072, ..OutboxState::default() },
            link: None,
        };
        let old = self
            .said
            .as_ref()
            .is_none_or(|(said, at)| *said != state || now.millis_since(*at) > 60_000);
        if old {
            let saying = State { ts: now.to_string(), ..state.clone() };
            self.publish(world, "state", serde_json::to_vec(&saying).unwrap());
            self.said = Some((state, now));
        }
    }

    /// What is due, in the order of the stops.
    pub(super) fn day(&self) -> &Day {
        &self.day
    }
}

/// Something that a van has said.
pub(super) struct Told<'a> {
    /// The event's kind, or `position`.
    pub(super) kind: &'a str,
    text: &'a str,
}

impl Told<'_> {
    /// Whether it is about a parcel.
    pub(super) fn names(&self, number: &str) -> bool {
        self.text.contains(number)
    }
}
