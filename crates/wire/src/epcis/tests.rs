use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::VanId;
use waypost_model::event::{
    ErrorReason, EventLocation, Outcome, Parcel, ScanSource, StopRef, TimeSource,
};
use waypost_model::event::{Preferences, Proof, ProofMethod, ReaderKind};
use waypost_model::units::{Distance, Position, UtcTime};

fn names() -> Identifiers {
    Identifiers::new("id.example.com", &VanId::new("VAN-042").unwrap()).unwrap()
}

fn delivered() -> Event {
    let utc = UtcTime::parse("2026-11-22T09:42:43.500Z").unwrap();
    Event {
        id: EventId([7; 16]),
        utc,
        time_source: TimeSource::Gnss,
        location: Some(EventLocation {
            position: Position::from_degrees(48.137_920_4, -0.000_001).unwrap(),
            utc,
            accuracy: Distance::from_metres(4.5),
            speed: None,
            course: None,
            hdop: None,
        }),
        route: Some("R 7/b".to_owned()),
        utc_offset_min: None,
        kind: EventKind::Delivered {
            parcel: Parcel { key: "TBA 1".to_owned(), epc: "no uri".to_owned() },
            stop: Some(StopRef { seq: 17, id: "stop-17".to_owned() }),
            outcome: Outcome::SafePlace,
            proof: Box::new(Proof {
                method: ProofMethod::ScanOutside,
                fix_age: None,
                distance_to_stop: Distance::from_metres(11.84),
                radius: None,
                dwell: None,
                preferences: Preferences::default(),
            }),
            source: ScanSource {
                reader: ReaderKind::Manual,
                symbology: None,
                raw: None,
                check_ok: None,
            },
        },
    }
}

fn encoded_json(record: &EventRecord) -> Value {
    serde_json::from_slice(&encode(record, &names())).unwrap()
}

#[test]
fn a_delivery_says_where_when_what_and_why_one_may_believe_it() {
    let said =
        encoded_json(&EventRecord { seq: Seq::new(3342), previous: None, event: delivered() });
    assert_eq!(said["type"], "org.w3id.waypost.parcel.delivered.v1");
    assert_eq!(said["id"], said["data"]["eventID"]);
    assert_eq!(said["sequence"], "000000003342");
    let data = &said["data"];
    assert_eq!(data["readPoint"]["id"], "geo:48.13792,0.00000;u=5");
    assert_eq!(data["childEPCs"], json!(["https://id.example.com/parcel/obj/TBA%201"]));
    assert_eq!(data["bizLocation"]["id"], "https://id.example.com/route/R%207%2Fb/loc/stop-17");
    assert_eq!(
        data["waypost:proof"],
        json!({
            "waypost:method": "scan_outside", "waypost:scannedAt": "2026-11-22T09:42:43.500Z",
            "waypost:distanceToStopM": 11.8, "waypost:insideGeofence": false,
            "waypost:horizontalAccuracyM": 4.5, "waypost:timeSource": "gnss",
        })
    );
}

#[test]
fn a_retraction_repeats_the_event_under_its_own_name_in_a_message_of_another_name() {
    let event = delivered();
    let first =
        encoded_json(&EventRecord { seq: Seq::new(3342), previous: None, event: event.clone() });
    let retraction = |event: Event, seq| Event {
        id: EventId([8; 16]),
        utc: UtcTime::parse("2026-11-22T09:50:00Z").unwrap(),
        kind: EventKind::Retracted {
            event: Box::new(event),
            seq: Seq::new(seq),
            error: ErrorReason::DidNotOccur,
            corrected_by: vec![EventId([9; 16])],
        },
        ..delivered()
    };
    let once = retraction(event, 3342);
    let twice = retraction(once.clone(), 3360);
    for wrong in [once, twice] {
        let mut said =
            encoded_json(&EventRecord { seq: Seq::new(3361), previous: None, event: wrong });
        assert_eq!(said["id"], "urn:uuid:08080808-0808-0808-0808-080808080808");
        assert_eq!(said["type"], "org.w3id.waypost.event.retracted.v1");
        assert_eq!(said["time"], "2026-11-22T09:50:00.000Z");
        assert_eq!(said["sequence"], "000000003361");
        let declaration = said["data"].as_object_mut().unwrap().remove("errorDeclaration");
        assert_eq!(
            declaration.unwrap(),
            json!({
                "declarationTime": "2026-11-22T09:50:00.000Z", "reason": "did_not_occur",
                "correctiveEventIDs": ["urn:uuid:09090909-0909-0909-0909-090909090909"],
            })
        );
        assert_eq!(said["data"], first["data"]);
    }
}

#[test]
fn a_parcel_that_is_named_twice_is_said_once() {
    let parcel = Parcel { key: "1".to_owned(), epc: "urn:x:1".to_owned() };
    let happening = EventKind::Departed {
        station: "urn:x:station".to_owned(),
        parcels: vec![parcel.clone(), parcel],
        stops_total: 2,
    };
    let event = Event { kind: happening, ..delivered() };
    let data = &encoded_json(&EventRecord { seq: Seq::new(1), previous: None, event })["data"];
    assert_eq!(data["epcList"], json!(["urn:x:1"]));
    assert_eq!(data["waypost:parcelsOnBoard"], 1);
}

proptest! {
    #[test]
    fn whatever_the_manifest_calls_things_uris_are_uris(
        [route, stop, station, epc, key] in prop::array::uniform5("(https?://|urn:)?\\PC{0,12}"),
    ) {
        let parcel = Parcel { key, epc };
        let seen = EventKind::Arrived {
            stop: StopRef { seq: 1, id: stop },
            parcels: vec![parcel.clone()],
            stops_remaining: 0,
            radius: Distance::default(),
        };
        let void = EventKind::Void { parcel, station };
        for kind in [seen, void] {
            let event = Event { route: Some(route.clone()), kind, ..delivered() };
            let data = &encoded_json(&EventRecord { seq: Seq::new(1), previous: None, event })["data"];
            for pointer in [
                "/epcList/0",
                "/readPoint/id",
                "/bizLocation/id",
                "/bizTransactionList/0/bizTransaction",
            ] {
                let uri = data.pointer(pointer).and_then(Value::as_str).unwrap();
                prop_assert!(is_uri(uri), "{} {}", pointer, uri);
            }
        }
    }
}

#[test]
fn what_is_written_is_read_and_what_is_not_known_is_kept() {
    let payload =
        encode(&EventRecord { seq: Seq::new(1), previous: None, event: delivered() }, &names());
    let read = decode(&payload).unwrap();
    assert_eq!(serde_json::to_vec(&read).unwrap(), payload);

    let mut more: Value = serde_json::from_slice(&payload).unwrap();
    more["partitionkey"] = json!("VAN-042");
    more["data"]["recordTime"] = json!("2026-11-22T09:42:44.000Z");
    more["data"]["readPoint"]["waypost:name"] = json!("door");
    let read = decode(more.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), more);
}

#[test]
fn what_is_no_event_is_refused_in_words() {
    let payload =
        encode(&EventRecord { seq: Seq::new(1), previous: None, event: delivered() }, &names());
    let other = String::from_utf8(payload).unwrap().replace("\"1.0\"", "\"2.0\"");
    for (payload, expected) in [
        (b"".as_slice(), "not an event"),
        (b"\xd7\x01", "not an event"),
        (b"{\"specversion\":\"1.0\"}", "not an event: missing field"),
        (other.as_bytes(), "CloudEvents \"2.0\": only 1.0"),
    ] {
        let error = decode(payload).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
