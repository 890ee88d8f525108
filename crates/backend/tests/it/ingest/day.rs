//! A simulated day of a van arrives late, twice and shuffled at consumers that are killed, and is
//! stored exactly once.

use std::time::Duration;

use waypost_backend::store::Store;
use waypost_model::record::Subject;
use waypost_model::units::Distance;
use waypost_wire::epcis::{self, Identifiers};
use waypost_wire::payloads::{Point, Track, TrackSource};
use waypost_wire::{VanId, compact_track};

use super::{Broker, Running, count, rows, topic, wait_until};
use crate::support::backend::{StoreLocation, on_both, utc};
use crate::support::simulated_day::{EventKey, Played, reported_events, short_day, truth};

const VAN: &str = "VAN-042";

type Message = (String, Vec<u8>);

/// The messages of a day.
struct Wire {
    events: Vec<Message>,
    tracks: Vec<Message>,
    points: usize,
}

fn wire(day: &Played, van: &str) -> Wire {
    let names = Identifiers::new("id.example.com", &VanId::new(van).unwrap()).unwrap();
    let events = day.events.iter();
    let events = events.map(|event| (topic(van, "event"), epcis::encode(event, &names)));
    let points: Vec<_> = day
        .points
        .iter()
        .map(|record| {
            let Subject::Point(point) = &record.subject;
            (record.seq, *point)
        })
        .collect();
    let tracks = points.chunks(100).enumerate().map(|(index, chunk)| {
        let payload = if index % 2 == 0 {
            let points =
                chunk.iter().map(|(seq, point)| Point::new(*seq, point, TrackSource::Backlog));
            serde_json::to_vec(&Track::new(van, None, points.collect())).unwrap()
        } else {
            let chunk = chunk.iter().map(|(seq, point)| (*seq, point));
            compact_track::encode(TrackSource::Live, Distance::from_metres(5.0), chunk)
        };
        (topic(van, "track"), payload)
    });
    Wire { events: events.collect(), tracks: tracks.collect(), points: points.len() }
}

impl Wire {
    /// Returns all messages twice, in an order drawn from the seed.
    fn twice_and_shuffled(&self, seed: u64) -> Vec<Message> {
        let once = || self.events.iter().chain(&self.tracks).cloned();
        let mut all: Vec<Message> = once().chain(once()).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut all);
        all
    }
}

/// Returns the stored events of a van in the format of [`said`].
async fn stored(store: &Store) -> Vec<EventKey> {
    let all = rows(
        store,
        "SELECT event.kind, event.doc, event.event_time FROM event WHERE retracts = 0 AND NOT EXISTS \
         (SELECT 1 FROM event AS wrong WHERE wrong.event_id = event.event_id AND wrong.retracts = 1)",
    )
    .await;
    let kinds = [
        "parcel.loaded",
        "parcel.delivered",
        "parcel.attempted",
        "parcel.damaged",
        "parcel.returned",
        "parcel.seen",
        "stop.arrived",
        "route.departed",
    ];
    let mut told: Vec<EventKey> = Vec::new();
    for row in &all {
        let Some(kind) = kinds.into_iter().find(|kind| *kind == row.text(0)) else { continue };
        let doc: serde_json::Value = serde_json::from_str(row.text(1)).unwrap();
        let last =
            |uri: &serde_json::Value| uri.as_str().unwrap().rsplit_once('/').unwrap().1.to_owned();
        let subject = match kind {
            "route.departed" => String::new(),
            "stop.arrived" => last(&doc["bizLocation"]["id"]),
            _ if doc["childEPCs"].is_array() => last(&doc["childEPCs"][0]),
            _ => last(&doc["epcList"][0]),
        };
        told.push((kind, subject, row.int(2)));
    }
    told.sort();
    told
}

fn names(told: &[EventKey]) -> Vec<(&'static str, String)> {
    told.iter().map(|(name, subject, _)| (*name, subject.clone())).collect()
}

/// Checks that the timeline equals the simulator's truth with each stage once, and that the trail
/// is complete.
async fn check(store: &Store, day: &Played, wire: &Wire) {
    let events: Vec<_> = day.events.iter().map(|record| record.event.clone()).collect();
    let found = stored(store).await;
    assert_eq!(found, reported_events(&events));
    assert_eq!(names(&found), names(&truth(&day.facts)));
    assert_eq!(count(store, "SELECT COUNT(*) FROM event").await, wire.events.len() as i64);
    assert_eq!(count(store, "SELECT COUNT(*) FROM track").await, wire.points as i64);
    assert_eq!(count(store, "SELECT COUNT(*) FROM poison").await, 0);
    let things = "SELECT COUNT(*) FROM event WHERE NOT EXISTS (SELECT 1 FROM event_epc WHERE event_epc.n = event.n)";
    assert_eq!(count(store, things).await, 0, "each event is found by its parcels");
    let (from, until) = (utc("2026-11-23T00:00:00Z"), utc("2026-11-24T00:00:00Z"));
    let gaps = store.gaps(VAN, from, until).await.unwrap();
    assert!(gaps.is_empty(), "{gaps:?}");
}

async fn is_whole(store: &Store, wire: &Wire) -> bool {
    count(store, "SELECT COUNT(*) FROM event").await == wire.events.len() as i64
        && count(store, "SELECT COUNT(*) FROM track").await == wire.points as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_comes_twice_and_shuffled_to_a_consumer_that_is_killed_ten_times_is_stored_once()
{
    let Some(broker) = Broker::start() else { return };
    let day = short_day(1);
    let wire = wire(&day, VAN);
    on_both(async |store| {
        let messages = wire.twice_and_shuffled(7);
        let part = messages.len().div_ceil(11);
        let mut running = Running::start(broker.shared(store.clone(), "killed"));
        running.connected().await;
        for (kill, messages) in messages.chunks(part).enumerate() {
            let publishing = broker.publish(messages);
            // Killed in the middle: a batch is being stored, and its acknowledgements are not sent
            // yet.
            let pause = Duration::from_millis(fastrand::Rng::with_seed(kill as u64).u64(1..60));
            let killing = async {
                tokio::time::sleep(pause).await;
                if kill < 10 {
                    running.kill().await;
                    running = Running::start(broker.shared(store.clone(), "killed"));
                }
            };
            tokio::join!(publishing, killing);
        }
        wait_until("the day is not complete", async || is_whole(&store, &wire).await).await;
        running.stop().await;
        check(&store, &day, &wire).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_a_database_and_one_that_is_killed_costs_nothing() {
    let Some(broker) = Broker::start() else { return };
    let Some(place) = StoreLocation::postgres() else { return };
    let day = short_day(2);
    let wire = wire(&day, VAN);
    let stores = [place.open().await, place.open().await];
    let start = |index: usize| {
        let name = ["left", "right"][index];
        Running::start(broker.shared(stores[index].clone(), name))
    };
    let (left, mut right) = (start(0), start(1));
    left.connected().await;
    right.connected().await;
    let messages = wire.twice_and_shuffled(3);
    let (first, second) = messages.split_at(messages.len() / 2);
    let killing = async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        right.kill().await;
    };
    tokio::join!(broker.publish(first), killing);
    broker.publish(second).await;
    // Its share is queued in its session.
    let right = start(1);
    wait_until("the day is not complete", async || is_whole(&stores[0], &wire).await).await;
    check(&stores[0], &day, &wire).await;
    left.stop().await;
    right.stop().await;
}

/// Returns the message on `track` with the longest drive.
fn longest_drive(day: &Played) -> usize {
    let odometer = |index: usize| match &day.points[index].subject {
        Subject::Point(point) => point.odometer.as_metres(),
    };
    let whole = 1..day.points.len() / 100 - 1;
    let driven = |index: &usize| odometer(100 * index + 100) - odometer(100 * index - 1);
    whole.max_by(|a, b| driven(a).total_cmp(&driven(b))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_never_came_is_a_gap_until_it_comes() {
    let Some(broker) = Broker::start() else { return };
    let day = short_day(1);
    let wire = wire(&day, VAN);
    let (lost_event, lost_track) = (day.events.len() / 2, longest_drive(&day));
    on_both(async |store| {
        let running = Running::start(broker.shared(store.clone(), "gaps"));
        running.connected().await;
        let mut kept = wire.events.clone();
        let event = kept.remove(lost_event);
        let mut tracks = wire.tracks.clone();
        let track = tracks.remove(lost_track);
        kept.extend(tracks);
        broker.publish(&kept).await;
        let events = "SELECT COUNT(*) FROM event";
        let all = wire.events.len() as i64;
        wait_until("too few", async || {
            count(&store, events).await == all - 1
                && count(&store, "SELECT COUNT(*) FROM poison").await == 0
        })
        .await;
        let points = (wire.points - 100) as i64;
        wait_until("too few", async || count(&store, "SELECT COUNT(*) FROM track").await == points)
            .await;
        let (from, until) = (utc("2026-11-23T00:00:00Z"), utc("2026-11-24T00:00:00Z"));
        let gaps = store.gaps(VAN, from, until).await.unwrap();
        let lanes: Vec<&str> = gaps.iter().map(|gap| gap.lane.as_str()).collect();
        assert_eq!(lanes, ["event", "trail"], "{gaps:?}");
        let lost = &day.events[lost_event];
        assert!((gaps[0].from_seq..=gaps[0].to_seq).contains(&lost.seq.get()), "{gaps:?}");
        assert_eq!(gaps[0].to_seq, lost.seq.get());
        assert_eq!(gaps[0].before, day.events[lost_event + 1].event.utc.to_string());
        broker.publish(&[event, track]).await;
        wait_until("the day is not complete", async || is_whole(&store, &wire).await).await;
        check(&store, &day, &wire).await;
        running.stop().await;
    })
    .await;
}
