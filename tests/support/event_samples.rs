//! Samples of every kind of event, at each level of detail.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::Duration;

use waypost_model::event::{
    Alert, ErrorReason, EventKind, EventLocation, FailureReason, Outcome, Parcel, Preferences,
    Proof, ProofMethod, ReaderKind, RouteSummary, ScanSource, Sighting, StopRef, TimeSource,
};
use waypost_model::event::{Event, EventId, EventRecord};
use waypost_model::record::Seq;
use waypost_model::units::{Course, Distance, Dop, Position, Speed, UtcTime};

/// Level of detail of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventDetail {
    /// All optional parts are present.
    Full,
    /// Only mandatory parts are present.
    Bare,
    /// All parts, with names that are invalid as URIs or URI segments, and with duplicate parcels.
    Strange,
}

impl EventDetail {
    pub(crate) const ALL: [Self; 3] = [Self::Full, Self::Bare, Self::Strange];

    fn optional<T>(self, value: T) -> Option<T> {
        (self != Self::Bare).then_some(value)
    }

    fn name(self, usual: &str) -> String {
        if self == Self::Strange { "Zoë/ 5% [#?".to_owned() } else { usual.to_owned() }
    }
}

/// Version 5 UUID, as specified in RFC 9562 §5.5.
const ID: EventId = EventId([
    0x3f, 0x2a, 0x9c, 0x51, 0x7b, 0x0e, 0x5d, 0x44, 0x9e, 0x1f, 0x6a, 0xc8, 0x20, 0x5b, 0x73, 0xe4,
]);

fn utc(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

fn metres(metres: f64) -> Distance {
    Distance::from_metres(metres).unwrap()
}

fn station(telling: EventDetail) -> String {
    telling.name("https://id.gs1.org/414/9521234000013")
}

fn parcels(telling: EventDetail) -> Vec<Parcel> {
    let parcel = |key: &str, epc: &str| Parcel { key: telling.name(key), epc: telling.name(epc) };
    vec![
        parcel("395212340000000014", "https://id.gs1.org/00/395212340000000014"),
        parcel("1Z999AA10123456784", "https://id.example.com/carrier/ups/obj/1Z999AA10123456784"),
    ]
}

fn parcel(telling: EventDetail) -> Parcel {
    parcels(telling).remove(0)
}

fn stop(telling: EventDetail) -> StopRef {
    StopRef { seq: 17, id: telling.name("stop-17") }
}

fn place(telling: EventDetail) -> EventLocation {
    let lon = if telling == EventDetail::Strange { -0.000_001 } else { 11.575_501 };
    EventLocation {
        position: Position::from_degrees(48.137_921_4, lon).unwrap(),
        utc: utc("2026-11-22T09:42:43Z"),
        accuracy: telling.optional(metres(4.53)),
        speed: telling.optional(Speed::from_mps(5.4).unwrap()),
        course: telling.optional(Course::from_degrees(359.99).unwrap()),
        hdop: telling.optional(Dop::new(0.9).unwrap()),
    }
}

fn reading(telling: EventDetail) -> ScanSource {
    ScanSource {
        reader: ReaderKind::Barcode,
        symbology: telling.optional("]C1".to_owned()),
        raw: telling.optional(telling.name("]C100395212340000000014")),
        check_ok: telling.optional(true),
    }
}

fn proof(telling: EventDetail, method: ProofMethod) -> Box<Proof> {
    Box::new(Proof {
        method,
        fix_age: telling.optional(Duration::from_millis(500)),
        distance_to_stop: telling.optional(metres(11.8)),
        radius: telling.optional(metres(60.0)),
        dwell: telling.optional(Duration::from_secs(96)),
        preferences: Preferences {
            authority_to_leave: telling.optional(true),
            safe_place: telling.optional(telling.name("bicycle shed")),
            neighbour: telling.optional(telling.name("second floor")),
            signature_required: telling.optional(false),
        },
    })
}

fn delivered(telling: EventDetail, method: ProofMethod, outcome: Outcome) -> EventKind {
    EventKind::Delivered {
        parcel: parcel(telling),
        stop: telling.optional(stop(telling)),
        outcome,
        proof: proof(telling, method),
        source: reading(telling),
    }
}

fn parcel_events(telling: EventDetail) -> Vec<EventKind> {
    let attempted = EventKind::Attempted {
        parcel: parcel(telling),
        stop: telling.optional(stop(telling)),
        reason: FailureReason::NoOneHome,
        attempt: 1,
        proof: proof(telling, ProofMethod::Manual),
    };
    let last_seen = Sighting {
        id: EventId([3; 16]),
        utc: utc("2026-11-22T08:00:00Z"),
        location: telling.optional(place(telling)),
    };
    let (parcel, stop) = (|| parcel(telling), || telling.optional(stop(telling)));
    vec![
        EventKind::Loaded { parcel: parcel(), source: reading(telling), station: station(telling) },
        delivered(telling, ProofMethod::ScanInGeofence, Outcome::HandedOver),
        attempted,
        EventKind::Returned {
            parcel: parcel(),
            station: station(telling),
            reason: telling.optional(FailureReason::Refused),
        },
        EventKind::NotFound {
            parcel: parcel(),
            stop: stop(),
            last_seen: telling.optional(last_seen),
        },
        EventKind::Damaged { parcel: parcel(), stop: stop(), station: None },
        EventKind::Damaged { parcel: parcel(), stop: stop(), station: Some(station(telling)) },
        EventKind::Void { parcel: parcel(), station: station(telling) },
    ]
}

fn sighting_events(telling: EventDetail) -> Vec<EventKind> {
    let alerts = [
        None,
        Some(Alert::WrongStop { due: stop(telling) }),
        Some(Alert::Unknown),
        Some(Alert::Recalled),
        Some(Alert::Finished),
        Some(Alert::NotLoaded),
    ];
    let seen = |alert| EventKind::Seen { parcel: parcel(telling), source: reading(telling), alert };
    alerts.into_iter().map(seen).collect()
}

fn van_events(telling: EventDetail) -> Vec<EventKind> {
    let parcels = telling.optional(parcels(telling)).unwrap_or_default();
    let summary = RouteSummary {
        departed: telling.optional(utc("2026-11-22T07:58:02Z")),
        stops_total: 118,
        stops_served: 117,
        delivered: 140,
        attempted: 3,
        on_board: 3,
        dwell: Duration::from_secs(9_000),
        idle: Duration::from_secs(1_200),
        duration: Duration::from_secs(30_000),
        distance: metres(61_234.56),
    };
    let (station, stop) = (station(telling), stop(telling));
    vec![
        EventKind::Departed {
            station: station.clone(),
            parcels: parcels.clone(),
            stops_total: 118,
        },
        EventKind::Arrived {
            stop,
            parcels: parcels.clone(),
            stops_remaining: 101,
            radius: metres(60.0),
        },
        EventKind::Inventory {
            present: parcels.clone(),
            missing: parcels.clone(),
            unexpected: parcels,
            window: Duration::from_secs(10),
        },
        EventKind::Completed { station, summary },
    ]
}

fn event(telling: EventDetail, happening: EventKind) -> Event {
    Event {
        id: ID,
        utc: utc("2026-11-22T09:42:43.5Z"),
        time_source: if telling == EventDetail::Bare { TimeSource::Late } else { TimeSource::Gnss },
        location: telling.optional(place(telling)),
        route: telling.optional(telling.name("R-20261122-042")),
        utc_offset_min: telling.optional(60),
        kind: happening,
    }
}

/// Returns a delivery with all its parts.
pub(crate) fn delivery() -> EventRecord {
    let happening = delivered(EventDetail::Full, ProofMethod::ScanInGeofence, Outcome::HandedOver);
    EventRecord {
        seq: Seq::new(3342),
        previous: Some(Seq::new(3340)),
        event: event(EventDetail::Full, happening),
    }
}

/// Returns one event of each kind, and the retraction of each.
pub(crate) fn records(telling: EventDetail) -> Vec<EventRecord> {
    let happenings =
        [parcel_events(telling), van_events(telling), sighting_events(telling)].concat();
    let retraction = |happening: &EventKind| EventKind::Retracted {
        event: Box::new(event(telling, happening.clone())),
        seq: Seq::new(3342),
        error: if telling == EventDetail::Bare {
            ErrorReason::DidNotOccur
        } else {
            ErrorReason::IncorrectData
        },
        corrected_by: telling.optional(EventId([9; 16])).into_iter().collect(),
    };
    let retractions: Vec<EventKind> = happenings.iter().map(retraction).collect();
    happenings
        .into_iter()
        .chain(retractions)
        .map(|happening| EventRecord {
            seq: Seq::new(3361),
            previous: None,
            event: event(telling, happening),
        })
        .collect()
}
