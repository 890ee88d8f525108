//! Load generator and baselines for the backend's benchmarks (benches/backend/README.md): a fleet
//! that publishes its day over MQTT, a consumer that stores it, and floors for comparison.
//!
//! ```text
//! backend_rig load HOST:PORT VANS             publish the messages of VANS vans, QoS 1, at full speed
//! backend_rig consume HOST:PORT STORE [NAME]  run the consumer on a file or a PostgreSQL URL;
//!                                             print its counters every 100 ms
//! backend_rig receive HOST:PORT               acknowledge the same messages and discard them
//! backend_rig insert STORE VANS               insert the same records without a broker,
//!                                             one statement each, 200 a transaction
//! ```

#![expect(clippy::disallowed_methods, reason = "a rig measures by the clock on the wall")]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Packet};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waypost_backend::AppState;
use waypost_backend::config::Config;
use waypost_backend::ingest::Ingest;
use waypost_backend::store::{Statement, Store, StoreConfig};
use waypost_model::event::EventRecord;
use waypost_model::event::ReaderKind;
use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq, Subject};
use waypost_model::units::RELEASE_DATE;
use waypost_model::units::{Uptime, UtcTime};
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::delivery::{DeliveryConfig, DeliveryTracker, Scan};
use waypost_pipeline::trail_simplifier::Sampling;
use waypost_pipeline::trip_detector::TripConfig;
use waypost_pipeline::{Pipeline, PipelineConfig, PipelineOutput};
use waypost_service::clock::Clock;
use waypost_sim::{Day, DayEvent, Route, Scanner};
use waypost_wire::epcis::{self, Identifiers};
use waypost_wire::payloads::{Point, Track, TrackSource};
use waypost_wire::{VanId, manifest};

/// Topic root of the benchmarks.
const ROOT: &str = "fleet";

/// Number of points in a van's typical message.
const POINTS: usize = 60;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["load", broker, vans] => load(broker, vans.parse()?).await,
        ["consume", broker, store] => consume(broker, store, "rig").await,
        ["consume", broker, store, name] => consume(broker, store, name).await,
        ["receive", broker] => receive(broker).await,
        ["insert", store, vans] => insert(store, vans.parse()?).await,
        _ => bail!(
            "load HOST:PORT VANS, consume HOST:PORT STORE, receive HOST:PORT, or insert STORE VANS"
        ),
    }
}

/// Returns the short round of deliveries as recorded by the van.
fn day() -> anyhow::Result<(Vec<EventRecord>, Vec<Record>)> {
    let route = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/routes/deliveries_short.toml");
    let day = Day::new(Route::load(route.as_ref())?);
    let config = PipelineConfig {
        date_hint: DateHint::NotBefore(RELEASE_DATE),
        trip: TripConfig::default(),
        sampling: Sampling::Raw,
    };
    let delivery = DeliveryTracker::new(DeliveryConfig::new("VAN-042", "id.example.com"), &[]);
    let mut pipeline =
        Pipeline::new(config, Seq::new(1), TripState::default()).with_delivery(delivery);
    let mut out = PipelineOutput::default();
    let orders = manifest::parse(day.manifest().as_bytes());
    pipeline
        .update_delivery(&mut out, |delivery, out| delivery.manifest(orders, Uptime::ZERO, out));
    for moment in day {
        match moment {
            DayEvent::Epoch(burst) => pipeline.push(&burst.bytes, burst.at, &mut out),
            DayEvent::GroundTruth(_) => {}
            DayEvent::Scan(scan) => {
                let by = match scan.scanner {
                    Scanner::Hand => ReaderKind::Barcode,
                    Scanner::Portal => ReaderKind::Rfid,
                };
                let source = scan.scanner.as_str().to_owned();
                let (bytes, at) = (scan.line.into_bytes(), scan.at);
                let scan = Scan { source, reader: by, bytes, at, rssi: None, antenna: None };
                pipeline.update_delivery(&mut out, |delivery, out| delivery.scan(&scan, out));
            }
        }
    }
    Ok((out.delivery.events, out.records))
}

fn van(number: usize) -> String {
    format!("VAN-{number:04}")
}

/// Returns the messages of one van, as sent after a day without a connection.
fn messages(
    (events, points): &(Vec<EventRecord>, Vec<Record>),
    van: &str,
) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let names = Identifiers::new("id.example.com", &VanId::new(van)?)?;
    let topic = |name: &str| format!("{ROOT}/v1/{van}/{name}");
    let mut all: Vec<_> =
        events.iter().map(|event| (topic("event"), epcis::encode(event, &names))).collect();
    for chunk in points.chunks(POINTS) {
        let point = |record: &Record| {
            let Subject::Point(point) = &record.subject;
            Point::new(record.seq, point, TrackSource::Backlog)
        };
        let track = Track::new(van, None, chunk.iter().map(point).collect());
        all.push((topic("track"), serde_json::to_vec(&track)?));
    }
    Ok(all)
}

fn options(broker: &str, name: &str) -> anyhow::Result<MqttOptions> {
    let (host, port) = broker.split_once(':').context("HOST:PORT")?;
    let mut options = MqttOptions::new(name, host, port.parse()?);
    options.set_outgoing_inflight_upper_limit(20);
    Ok(options)
}

async fn load(broker: &str, vans: usize) -> anyhow::Result<()> {
    let day = Arc::new(day()?);
    println!("{} {}", day.0.len() * vans, day.1.len() * vans);
    let start = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..vans {
        let (day, van) = (Arc::clone(&day), van(number));
        let options = options(broker, &van)?;
        running.spawn(async move {
            let messages = messages(&day, &van)?;
            let sent = messages.len();
            let (client, mut event_loop) = AsyncClient::new(options, 40);
            let publishing = tokio::spawn(async move {
                for (topic, payload) in messages {
                    client.publish(topic, QoS::AtLeastOnce, false, payload).await.ok();
                }
                std::future::pending::<()>().await;
            });
            let mut acknowledged = 0;
            while acknowledged < sent {
                if let Event::Incoming(Packet::PubAck(_)) = event_loop.poll().await? {
                    acknowledged += 1;
                }
            }
            publishing.abort();
            anyhow::Ok(sent)
        });
    }
    let mut sent = 0;
    while let Some(ended) = running.join_next().await {
        sent += ended??;
    }
    println!("{sent} messages in {:.3} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn store_config(store: &str) -> StoreConfig {
    if store.contains("host=") || store.starts_with("postgres") {
        StoreConfig::Postgres(store.to_owned())
    } else {
        StoreConfig::Sqlite(store.into())
    }
}

async fn shared(broker: &str, store: &str, name: &str) -> anyhow::Result<AppState> {
    let text = format!("mqtt.broker = \"mqtt://{broker}\"\nparcels.domain = \"id.example.com\"\n");
    let mut config = Config::parse(&text, "the rig", &[])?;
    config.mqtt.client_id = name.to_owned();
    let store = Store::open(&store_config(store)).await?;
    Ok(AppState::new(config, store, Clock::live()))
}

async fn consume(broker: &str, store: &str, name: &str) -> anyhow::Result<()> {
    let shared = shared(broker, store, name).await?;
    let ingest = Ingest::new(shared);
    let counters = ingest.counters();
    tokio::spawn(ingest.run(CancellationToken::new()));
    loop {
        println!(
            "{} {} {} {} {} {}",
            counters.connected.load(Relaxed),
            counters.events.load(Relaxed),
            counters.points.load(Relaxed),
            counters.messages.load(Relaxed),
            counters.batches.load(Relaxed),
            counters.dead_letters.load(Relaxed),
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn receive(broker: &str) -> anyhow::Result<()> {
    let mut options = options(broker, "rig-floor")?;
    let properties = ConnectProperties {
        receive_maximum: Some(256),
        max_packet_size: Some(1 << 20),
        ..ConnectProperties::new()
    };
    options.set_connect_properties(properties);
    let (client, mut event_loop) = AsyncClient::new(options, 40);
    client.subscribe(format!("$share/floor/{ROOT}/v1/+/event"), QoS::AtLeastOnce).await?;
    client.subscribe(format!("$share/floor/{ROOT}/v1/+/track"), QoS::AtLeastOnce).await?;
    let messages = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&messages);
    tokio::spawn(async move {
        loop {
            println!("true 0 0 {} 0 0", counted.load(Relaxed));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    loop {
        if let Event::Incoming(Packet::Publish(_)) = event_loop.poll().await? {
            messages.fetch_add(1, Relaxed);
        }
    }
}

/// Inserts the records naively, with one statement per row.
async fn insert(store: &str, vans: usize) -> anyhow::Result<()> {
    let (events, points) = day()?;
    let store = Store::open(&store_config(store)).await?;
    let now: UtcTime = Clock::live().utc().context("the clock is not set")?;
    let start = Instant::now();
    let mut statements = Vec::new();
    for number in 0..vans {
        let van = van(number);
        let names = Identifiers::new("id.example.com", &VanId::new(&van)?)?;
        for event in &events {
            let payload = String::from_utf8(epcis::encode(event, &names))?;
            statements.push(Statement::new(
                "INSERT INTO event (source, id, event_id, kind, origin, van, seq, event_time, captured_at, retracts, \
                 event_type, doc) VALUES ($1, $2, $2, 'x', 'van', $3, $4, $5, $5, 0, 'x', $6)",
                [
                    names.van.as_str().into(),
                    format!("{}", event.event.id).into(),
                    van.as_str().into(),
                    event.seq.get().into(),
                    now.into(),
                    payload.into(),
                ],
            ));
        }
        for record in &points {
            let Subject::Point(point) = &record.subject;
            statements.push(Statement::new(
                "INSERT INTO track (van, time, seq, lat_e7, lon_e7, stopped, backlog, received_at) \
                 VALUES ($1, $2, $3, $4, $5, 0, 0, $6)",
                [
                    van.as_str().into(),
                    point.fix.utc.into(),
                    record.seq.get().into(),
                    (point.fix.position.lat_e9() / 100).into(),
                    (point.fix.position.lon_e9() / 100).into(),
                    now.into(),
                ],
            ));
        }
    }
    let rows = statements.len();
    let built = start.elapsed();
    let mut left = statements.into_iter();
    loop {
        let part: Vec<Statement> = left.by_ref().take(200).collect();
        if part.is_empty() {
            break;
        }
        store.write(part).await?;
    }
    let took = start.elapsed() - built;
    println!("{rows} rows in {:.3} s", took.as_secs_f64());
    Ok(())
}
