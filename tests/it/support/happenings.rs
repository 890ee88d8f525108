//! Everything that can happen, once for each way to say it.

use std::time::Duration;

use waypost::core::delivery::event::{
    Alert, Error, Happening, Method, Outcome, Parcel, Place, Preferences, Proof, ReadBy, Reading,
    Reason, Sighting, StopRef, Summary, TimeSource,
};
use waypost::core::delivery::{Event, EventId, EventRecord};
use waypost::core::record::Seq;
use waypost::units::{Course, Distance, Dop, Position, Speed, UtcTime};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Each part that may be there.
    Full,
    /// Only the parts that must be there.
    Bare,
    /// Each part, with names that are no URIs and no segments of any, and parcels twice.
    Strange,
}

impl Telling {
    pub(crate) const ALL: [Self; 3] = [Self::Full, Self::Bare, Self::Strange];

    fn optional<T>(self, value: T) -> Option<T> {
        (self != Self::Bare).then_some(value)
    }

    fn name(self, usual: &str) -> String {
        if self == Self::Strange { "Zoë/ 5% [#?".to_owned() } else { usual.to_owned() }
    }
}

/// As RFC 9562 §5.5 has them.
const ID: EventId = EventId([
    0x3f, 0x2a, 0x9c, 0x51, 0x7b, 0x0e, 0x5d, 0x44, 0x9e, 0x1f, 0x6a, 0xc8, 0x20, 0x5b, 0x73, 0xe4,
]);

fn utc(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

fn metres(metres: f64) -> Distance {
    Distance::from_metres(metres).unwrap()
}

fn station(telling: Telling) -> String {
    telling.name("https://id.gs1.org/414/9521234000013")
}

fn parcels(telling: Telling) -> Vec<Parcel> {
    let parcel = |key: &str, epc: &str| Parcel { key: telling.name(key), epc: telling.name(epc) };
    vec![
        parcel("395212340000000014", "https://id.gs1.org/00/395212340000000014"),
        parcel("1Z999AA10123456784", "https://id.example.com/carrier/ups/obj/1Z999AA10123456784"),
    ]
}

fn parcel(telling: Telling) -> Parcel {
    parcels(telling).remove(0)
}

fn stop(telling: Telling) -> StopRef {
    StopRef { seq: 17, id: telling.name("stop-17") }
}

fn place(telling: Telling) -> Place {
    let lon = if telling == Telling::Strange { -0.000_001 } else { 11.575_501 };
    Place {
        position: Position::from_degrees(48.137_921_4, lon).unwrap(),
        utc: utc("2026-11-22T09:42:43Z"),
        accuracy: telling.optional(metres(4.53)),
        speed: telling.optional(Speed::from_mps(5.4).unwrap()),
        course: telling.optional(Course::from_degrees(359.99).unwrap()),
        hdop: telling.optional(Dop::new(0.9).unwrap()),
    }
}

fn reading(telling: Telling) -> Reading {
    Reading {
        by: ReadBy::Barcode,
        symbology: telling.optional("]C1".to_owned()),
        raw: telling.optional(telling.name("]C100395212340000000014")),
        check_ok: telling.optional(true),
    }
}

fn proof(telling: Telling, method: Method) -> Box<Proof> {
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

fn delivered(telling: Telling, method: Method, outcome: Outcome) -> Happening {
    Happening::Delivered {
        parcel: parcel(telling),
        stop: telling.optional(stop(telling)),
        outcome,
        proof: proof(telling, method),
        reading: reading(telling),
    }
}

fn of_parcels(telling: Telling) -> Vec<Happening> {
    let attempted = Happening::Attempted {
        parcel: parcel(telling),
        stop: telling.optional(stop(telling)),
        reason: Reason::NoOneHome,
        attempt: 1,
        proof: proof(telling, Method::Manual),
    };
    let last_seen = Sighting {
        id: EventId([3; 16]),
        utc: utc("2026-11-22T08:00:00Z"),
        place: telling.optional(place(telling)),
    };
    let (parcel, stop) = (|| parcel(telling), || telling.optional(stop(telling)));
    vec![
        Happening::Loaded {
            parcel: parcel(),
            reading: reading(telling),
            station: station(telling),
        },
        delivered(telling, Method::ScanInGeofence, Outcome::HandedOver),
        attempted,
        Happening::Returned {
            parcel: parcel(),
            station: station(telling),
            reason: telling.optional(Reason::Refused),
        },
        Happening::NotFound {
            parcel: parcel(),
            stop: stop(),
            last_seen: telling.optional(last_seen),
        },
        Happening::Damaged { parcel: parcel(), stop: stop(), station: None },
        Happening::Damaged { parcel: parcel(), stop: stop(), station: Some(station(telling)) },
        Happening::Void { parcel: parcel(), station: station(telling) },
    ]
}

fn sightings(telling: Telling) -> Vec<Happening> {
    let alerts = [
        None,
        Some(Alert::WrongStop { due: stop(telling) }),
        Some(Alert::Unknown),
        Some(Alert::Recalled),
        Some(Alert::Finished),
        Some(Alert::NotLoaded),
    ];
    let seen =
        |alert| Happening::Seen { parcel: parcel(telling), reading: reading(telling), alert };
    alerts.into_iter().map(seen).collect()
}

fn of_the_van(telling: Telling) -> Vec<Happening> {
    let parcels = telling.optional(parcels(telling)).unwrap_or_default();
    let summary = Summary {
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
        Happening::Departed {
            station: station.clone(),
            parcels: parcels.clone(),
            stops_total: 118,
        },
        Happening::Arrived {
            stop,
            parcels: parcels.clone(),
            stops_remaining: 101,
            radius: metres(60.0),
        },
        Happening::Inventory {
            present: parcels.clone(),
            missing: parcels.clone(),
            unexpected: parcels,
            window: Duration::from_secs(10),
        },
        Happening::Completed { station, summary },
    ]
}

fn event(telling: Telling, happening: Happening) -> Event {
    Event {
        id: ID,
        utc: utc("2026-11-22T09:42:43.5Z"),
        time_source: if telling == Telling::Bare { TimeSource::Late } else { TimeSource::Gnss },
        place: telling.optional(place(telling)),
        route: telling.optional(telling.name("R-20261122-042")),
        happening,
    }
}

/// A delivery with all its parts.
pub(crate) fn delivery() -> EventRecord {
    let happening = delivered(Telling::Full, Method::ScanInGeofence, Outcome::HandedOver);
    EventRecord {
        seq: Seq::new(3342),
        previous: Some(Seq::new(3340)),
        event: event(Telling::Full, happening),
    }
}

/// Each thing that can happen, and the retraction of each.
pub(crate) fn records(telling: Telling) -> Vec<EventRecord> {
    let happenings = [of_parcels(telling), of_the_van(telling), sightings(telling)].concat();
    let retraction = |happening: &Happening| Happening::Retracted {
        event: Box::new(event(telling, happening.clone())),
        seq: Seq::new(3342),
        error: if telling == Telling::Bare { Error::DidNotOccur } else { Error::IncorrectData },
        corrected_by: telling.optional(EventId([9; 16])).into_iter().collect(),
    };
    let retractions: Vec<Happening> = happenings.iter().map(retraction).collect();
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
