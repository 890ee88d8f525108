//! A van as seen by the backend: the simulated road and driver, the van's production code, and a
//! connection to the broker.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::Value;
use waypost_backend::epc;
use waypost_model::event::ReaderKind;
use waypost_model::record::Subject;
use waypost_model::units::RELEASE_DATE;
use waypost_model::units::{Uptime, UtcTime};
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::delivery::{DeliveryConfig, DeliveryTracker, Scan, snapshot};
use waypost_pipeline::{Pipeline, PipelineOutput};
use waypost_sim::{Day, DayEvent, Parcel, Route, Scanner};
use waypost_wire::epcis::{self, Identifiers};
use waypost_wire::payloads::{
    ConnectionState, ConnectionStatus, Delay, GnssState, ManifestRef, OutboxState, Point, Position,
    State, StopStatus, Track, TrackSource,
};
use waypost_wire::{VanId, command, manifest};

use super::world::{MORNING, World};
use crate::support::backend::utc;
use crate::support::{pipeline, repository};

/// In the van's time.
const POSITION_EVERY: Duration = Duration::from_secs(5);

/// Draws a day of deliveries from a seed.
pub(super) fn day(seed: u64) -> Day {
    let mut route = Route::load(&repository("config/routes/deliveries_short.toml")).unwrap();
    route.settings.seed = seed;
    route.settings.van = u32::try_from(seed).unwrap();
    // Each van leaves the station in another direction.
    Day::new(route.rotated(f64::from(u32::try_from(seed - 1).unwrap()) * 137.5))
}

pub(super) struct Van {
    pub(super) id: String,
    day: Day,
    pipeline: Pipeline,
    out: PipelineOutput,
    names: Identifiers,
    links: Vec<(String, String)>,
    client: AsyncClient,
    received: Receiver<(String, Vec<u8>)>,
    /// The driver's action before a parcel's scan: its number, and the code to scan.
    pub(super) before: Option<(String, &'static str)>,
    pub(super) utc: UtcTime,
    at: Uptime,
    published_state: Option<(State, UtcTime)>,
    shown: Option<UtcTime>,
    trail: Vec<Point>,
    /// Its events, each once.
    pub(super) events: Vec<Vec<u8>>,
    /// Number of times that each event is published.
    pub(super) copies: usize,
}

impl Van {
    /// Creates a van in the yard that has received its route. `seed` draws its day.
    pub(super) fn ready(world: &World, id: &str, seed: u64) -> Self {
        let day = day(seed);
        let links = world.put(id, &day);
        let mut van = Self { links, ..Self::new(world, id, day) };
        van.receive_route(world);
        van
    }

    /// Creates a van that is loaded and has left the station.
    pub(super) fn under_way(world: &World, id: &str, seed: u64) -> Self {
        let mut van = Self::ready(world, id, seed);
        assert!(van.drive(world, |told| told.kind == "route.departed"));
        van
    }

    /// Drives until the van has arrived at this many stops.
    pub(super) fn arrives(&mut self, world: &World, stops: usize) {
        let mut arrivals = 0;
        assert!(self.drive(world, |told| {
            arrivals += usize::from(told.kind == "stop.arrived");
            arrivals == stops
        }));
    }

    /// Returns numbers and pages of the matching parcels of the day.
    pub(super) fn links(&self, wanted: impl Fn(&Parcel) -> bool) -> Vec<(String, String)> {
        let link = |parcel: &Parcel| {
            self.links.iter().find(|(known, _)| *known == parcel.key).unwrap().clone()
        };
        self.day.parcels().iter().filter(|parcel| wanted(parcel)).map(link).collect()
    }

    /// Returns the first of them.
    pub(super) fn parcel(&self, wanted: impl Fn(&Parcel) -> bool) -> (String, String) {
        self.links(wanted).swap_remove(0)
    }

    /// Returns the page of a parcel.
    pub(super) fn page(&self, number: &str) -> &str {
        &self.links.iter().find(|(known, _)| known == number).unwrap().1
    }

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
        for name in ["manifest", "command"] {
            let subscribed = client.subscribe(format!("fleet/v1/{id}/{name}"), QoS::AtLeastOnce);
            world.runtime.block_on(subscribed).unwrap();
        }
        let delivery = DeliveryTracker::new(DeliveryConfig::new(id, "parcels.example.com"), &[]);
        let van = Self {
            id: id.to_owned(),
            pipeline: pipeline(DateHint::NotBefore(RELEASE_DATE)).with_delivery(delivery),
            day,
            links: Vec::new(),
            out: PipelineOutput::default(),
            names: Identifiers::new("parcels.example.com", &VanId::new(id).unwrap()).unwrap(),
            client,
            received: heard,
            before: None,
            utc: utc(MORNING),
            at: Uptime::ZERO,
            published_state: None,
            shown: None,
            trail: Vec::new(),
            events: Vec::new(),
            copies: 1,
        };
        van.connection(world, ConnectionState::Online);
        van
    }

    pub(super) fn connection(&self, world: &World, state: ConnectionState) {
        let ts = Some(world.shared.now().to_string());
        let van = self.id.clone();
        let connection =
            ConnectionStatus { v: 1, van, state, ts, session: 1, connection: 1, agent: None };
        self.publish(world, "connection", serde_json::to_vec(&connection).unwrap());
    }

    pub(super) fn publish(&self, world: &World, name: &str, payload: Vec<u8>) {
        let topic = format!("fleet/v1/{}/{name}", self.id);
        let qos = if name == "position" { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let retained = matches!(name, "connection" | "state");
        world.runtime.block_on(self.client.publish(topic, qos, retained, payload)).unwrap();
    }

    /// Publishes all its events of the day again, as after a restart that lost the
    /// acknowledgements.
    pub(super) fn repeat(&self, world: &World) {
        self.events.iter().for_each(|payload| self.publish(world, "event", payload.clone()));
    }

    /// Waits for the route, as the agent does.
    pub(super) fn receive_route(&mut self, world: &World) {
        let (topic, payload) = self.received.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(topic.ends_with("/manifest"));
        let orders = manifest::parse(&payload);
        let at = self.at;
        self.pipeline
            .update_delivery(&mut self.out, |delivery, out| delivery.manifest(orders, at, out));
        self.publish_state(world);
    }

    /// Processes commands and publishes the results.
    pub(super) fn receive_commands(&mut self, world: &World) {
        while let Ok((topic, payload)) = self.received.try_recv() {
            if topic.ends_with("/command") {
                let command = command::parse(&payload).unwrap().command;
                let at = self.at;
                self.pipeline.update_delivery(&mut self.out, |delivery, out| {
                    delivery.command(&command, at, out);
                });
            }
        }
        self.publish_state(world);
    }

    /// Drives until `stops` accepts an event or position; false at the end of the day. `stops` is
    /// called after every event and position.
    pub(super) fn drive(
        &mut self,
        world: &World,
        mut stops: impl FnMut(&ReportedEvent<'_>) -> bool,
    ) -> bool {
        while let Some(moment) = self.day.next() {
            self.at = moment.at();
            match moment {
                DayEvent::Epoch(burst) => self.pipeline.push(&burst.bytes, burst.at, &mut self.out),
                DayEvent::GroundTruth(_) => continue,
                DayEvent::Scan(scan) => {
                    let line = scan.line.clone();
                    let obeys = self.before.take_if(|(number, _)| line.contains(number.as_str()));
                    if let Some((_, code)) = obeys {
                        self.scan(&scan, code);
                    }
                    self.scan(&scan, &line);
                }
            }
            self.receive_commands(world);
            let told = std::mem::take(&mut self.out.delivery.events);
            let mut over = false;
            for record in told {
                let payload = epcis::encode(&record, &self.names);
                self.utc = self.utc.max(record.event.utc);
                world.now(self.utc);
                for _ in 0..self.copies {
                    self.publish(world, "event", payload.clone());
                }
                self.events.push(payload.clone());
                let text = String::from_utf8(payload).unwrap();
                over |= stops(&ReportedEvent { kind: record.event.kind.as_str(), text: &text });
            }
            if self.publish_position(world) {
                over |= stops(&ReportedEvent { kind: "position", text: "" });
            }
            if over {
                return true;
            }
        }
        false
    }

    fn scan(&mut self, scan: &waypost_sim::Scan, line: &str) {
        let by = if scan.scanner == Scanner::Hand { ReaderKind::Barcode } else { ReaderKind::Rfid };
        let (source, bytes, at) =
            (scan.scanner.as_str().to_owned(), line.as_bytes().to_vec(), scan.at);
        let scan = Scan { source, reader: by, bytes, at, rssi: None, antenna: None };
        self.pipeline.update_delivery(&mut self.out, |delivery, out| delivery.scan(&scan, out));
    }

    /// Publishes the position if it is due, and returns whether it did.
    fn publish_position(&mut self, world: &World) -> bool {
        for record in self.out.records.drain(..) {
            let Subject::Point(point) = record.subject;
            self.trail.push(Point::new(record.seq, &point, TrackSource::Live));
        }
        // The live position is that of the newest fix, which the trail may decide on later.
        let Some((seq, point)) = self.out.points.drain(..).next_back() else { return false };
        self.utc = self.utc.max(point.fix.utc);
        world.now(self.utc);
        if self.trail.len() >= 60 {
            let track = Track::new(&self.id, None, std::mem::take(&mut self.trail));
            self.publish(world, "track", serde_json::to_vec(&track).unwrap());
        }
        let waits = self.shown.and_then(|shown| shown.checked_add(POSITION_EVERY));
        if self.pipeline.is_withheld() || waits.is_some_and(|until| self.utc < until) {
            return false;
        }
        self.shown = Some(self.utc);
        let view = self.pipeline.delivery().unwrap().snapshot();
        let mut position = Position::new(&self.id, seq, &point);
        (position.route, position.stop_seq) = (view.route, view.stop_seq);
        position.stop_status = view.stop_status.map(|status| match status {
            snapshot::StopStatus::InTransitTo => StopStatus::InTransitTo,
            snapshot::StopStatus::IncomingAt => StopStatus::IncomingAt,
            snapshot::StopStatus::StoppedAt => StopStatus::StoppedAt,
        });
        position.stops_remaining = view.stops_remaining;
        self.publish(world, "position", serde_json::to_vec(&position).unwrap());
        true
    }

    /// Publishes the state if it has changed, and the results of commands.
    fn publish_state(&mut self, world: &World) {
        for answer in std::mem::take(&mut self.out.delivery.command_results) {
            let result = command::CommandResultPayload::from(&answer);
            self.publish(world, "command/result", serde_json::to_vec(&result).unwrap());
        }
        let view = self.pipeline.delivery().unwrap().snapshot();
        let now = world.shared.now();
        let state = State {
            v: 1,
            van: self.id.clone(),
            ts: String::new(),
            duty: view.duty,
            manifest: view
                .route
                .zip(view.manifest_rev)
                .map(|(route, rev)| ManifestRef { route, rev }),
            manifest_rejected: None,
            next_stop: None,
            delay: view.delay.map(|delay| Delay {
                by_s: delay.by.as_secs().cast_signed(),
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
            .published_state
            .as_ref()
            .is_none_or(|(said, at)| *said != state || now.millis_since(*at) > 60_000);
        if old {
            let saying = State { ts: now.to_string(), ..state.clone() };
            self.publish(world, "state", serde_json::to_vec(&saying).unwrap());
            self.published_state = Some((state, now));
        }
    }

    /// Returns the simulated day with the parcels.
    pub(super) fn day(&self) -> &Day {
        &self.day
    }
}

/// An event or a position that a van has published.
pub(super) struct ReportedEvent<'a> {
    /// The event's type, or `position`.
    pub(super) kind: &'a str,
    /// The event as published; empty for a position.
    pub(super) text: &'a str,
}

impl ReportedEvent<'_> {
    /// Returns the numbers of the event's parcels.
    pub(super) fn parcels(&self) -> Vec<String> {
        let event: Value = serde_json::from_str(self.text).unwrap_or_default();
        let uris = epc::epcs_in(&event["data"]).into_iter();
        uris.filter_map(|(uri, _)| uri.rsplit('/').next().map(str::to_owned)).collect()
    }

    /// Returns whether the event concerns a parcel.
    pub(super) fn names(&self, number: &str) -> bool {
        self.parcels().iter().any(|known| known == number)
    }
}
