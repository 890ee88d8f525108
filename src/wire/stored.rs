//! A record's subject as bytes in the outbox: one byte of format version, then [postcard](https://postcard.jamesmunns.com).
//!
//! An upgraded agent reads what the old one kept: the struct behind a version never changes. Who needs another field
//! adds a version and a conversion. An event has a CRC-32 behind its version, and its number before it: what it says is
//! evidence, and a flipped bit must not say something else.

use crate::core::delivery::EventRecord;
use crate::core::record::Subject;

/// The version of a subject that this agent writes.
pub const VERSION: u8 = 1;

/// The version of an event that this agent writes: 1 had no number of the event before.
pub const EVENT_VERSION: u8 = 2;

/// Why stored bytes are no subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Written by a newer agent.
    #[error(
        "stored with format {0}, this agent knows no later than {EVENT_VERSION}: install the newer agent again to send it"
    )]
    Version(u8),
    /// Damaged.
    #[error("not readable as an event: its checksum is wrong")]
    Checksum,
    /// Damaged.
    #[error("not readable as a record: {0}")]
    Malformed(postcard::Error),
}

/// Encodes with [`VERSION`].
#[must_use]
pub fn encode(subject: &Subject) -> Vec<u8> {
    postcard::to_extend(subject, vec![VERSION])
        .expect("a subject has no length that could be unknown")
}

/// Decodes every version up to [`VERSION`].
///
/// # Errors
/// [`StoredError`], when the bytes are damaged or newer than this agent.
pub fn decode(bytes: &[u8]) -> Result<Subject, StoredError> {
    match bytes {
        [VERSION, body @ ..] => whole(body),
        [version, ..] => Err(StoredError::Version(*version)),
        [] => Err(StoredError::Malformed(postcard::Error::DeserializeUnexpectedEnd)),
    }
}

/// Encodes with [`EVENT_VERSION`].
#[must_use]
pub fn encode_event(EventRecord { seq, previous, event }: &EventRecord) -> Vec<u8> {
    checked(EVENT_VERSION, &(seq, previous, event))
}

/// Behind its version and its checksum.
fn checked<T: serde::Serialize>(version: u8, body: &T) -> Vec<u8> {
    let mut bytes = postcard::to_extend(body, vec![version, 0, 0, 0, 0])
        .expect("an event has no length that could be unknown");
    let crc = crc32fast::hash(&bytes[HEADER_BYTES..]);
    bytes[1..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Decodes every version up to [`EVENT_VERSION`].
///
/// # Errors
/// [`StoredError`], when the bytes are damaged or newer than this agent.
pub fn decode_event(bytes: &[u8]) -> Result<EventRecord, StoredError> {
    match bytes {
        [version @ 1..=EVENT_VERSION, a, b, c, d, body @ ..] => {
            if crc32fast::hash(body) != u32::from_le_bytes([*a, *b, *c, *d]) {
                return Err(StoredError::Checksum);
            }
            let (seq, previous, event) = if *version == 1 {
                let (seq, event) = whole(body)?;
                (seq, None, event)
            } else {
                whole(body)?
            };
            Ok(EventRecord { seq, previous, event })
        }
        [] | [1..=EVENT_VERSION, ..] => {
            Err(StoredError::Malformed(postcard::Error::DeserializeUnexpectedEnd))
        }
        [version, ..] => Err(StoredError::Version(*version)),
    }
}

/// Version and CRC-32.
const HEADER_BYTES: usize = 5;

fn whole<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, StoredError> {
    match postcard::take_from_bytes(body) {
        Ok((it, [])) => Ok(it),
        Ok(_) => Err(StoredError::Malformed(postcard::Error::DeserializeBadEncoding)),
        Err(error) => Err(StoredError::Malformed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::core::record::Seq;

    use super::*;
    use crate::core::delivery::event::{
        Alert, Error, Happening, Method, Outcome, Parcel, Place, Preferences, Proof, ReadBy,
        Reading, Reason, Sighting, StopRef, Summary, TimeSource,
    };
    use crate::core::delivery::{Event, EventId};
    use crate::units::{Course, Distance, Dop, Position, Speed, UtcTime};

    fn utc() -> UtcTime {
        UtcTime::from_unix_ms(1_800_000_000_000).unwrap()
    }

    fn event(happening: Happening) -> Event {
        let place = Place {
            position: Position::from_degrees(48.1, 11.5).unwrap(),
            utc: utc(),
            accuracy: Distance::from_metres(4.5),
            speed: Speed::from_mps(1.5),
            course: Course::from_degrees(90.0),
            hdop: Dop::new(0.9),
        };
        Event {
            id: EventId([7; 16]),
            utc: utc(),
            time_source: TimeSource::Holdover,
            place: Some(place),
            route: Some("ROUTE-7".to_owned()),
            happening,
        }
    }

    fn deliveries(
        parcel: &Parcel,
        stop: &StopRef,
        station: &str,
        reading: &Reading,
    ) -> Vec<Happening> {
        let proof = Box::new(Proof {
            method: Method::ScanOutside,
            fix_age: Some(Duration::from_millis(1500)),
            distance_to_stop: Distance::from_metres(12.0),
            radius: Distance::from_metres(40.0),
            dwell: Some(Duration::from_secs(70)),
            preferences: Preferences {
                safe_place: Some("shed".to_owned()),
                ..Preferences::default()
            },
        });
        let (parcel, station) = (parcel.clone(), station.to_owned());
        let (stop, reading) = (Some(stop.clone()), reading.clone());
        vec![
            Happening::Delivered {
                parcel: parcel.clone(),
                stop: stop.clone(),
                outcome: Outcome::Neighbour,
                proof: proof.clone(),
                reading: reading.clone(),
            },
            Happening::Attempted {
                parcel: parcel.clone(),
                stop,
                reason: Reason::Other,
                attempt: 2,
                proof,
            },
            Happening::Returned { parcel: parcel.clone(), station, reason: Some(Reason::Refused) },
            Happening::Seen { parcel, reading, alert: Some(Alert::NotLoaded) },
        ]
    }

    /// One of each kind.
    fn happenings() -> Vec<Happening> {
        let parcel = Parcel { key: "P1".to_owned(), epc: "urn:epc:id:test:1".to_owned() };
        let stop = StopRef { seq: 3, id: "stop-3".to_owned() };
        let station = "urn:station".to_owned();
        let reading = Reading {
            by: ReadBy::Rfid,
            symbology: Some("]C1".to_owned()),
            raw: Some("P1".to_owned()),
            check_ok: Some(true),
        };
        let place =
            event(Happening::Completed { station: String::new(), summary: Summary::default() })
                .place;
        let last_seen = Some(Sighting { id: EventId([9; 16]), utc: utc(), place });
        let (parcels, radius) = (vec![parcel.clone()], Distance::from_metres(40.0).unwrap());
        let mut all = deliveries(&parcel, &stop, &station, &reading);
        let some = || Some(stop.clone());
        let (present, missing, window) = (parcels.clone(), parcels.clone(), Duration::from_secs(9));
        all.extend([
            Happening::Loaded { parcel: parcel.clone(), reading, station: station.clone() },
            Happening::Departed {
                station: station.clone(),
                parcels: parcels.clone(),
                stops_total: 9,
            },
            Happening::Arrived { stop: stop.clone(), parcels, stops_remaining: 8, radius },
            Happening::NotFound { parcel: parcel.clone(), stop: some(), last_seen },
            Happening::Inventory { present, missing, unexpected: Vec::new(), window },
            Happening::Damaged { parcel: parcel.clone(), stop: some(), station: None },
            Happening::Void { parcel, station: station.clone() },
            Happening::Completed {
                station,
                summary: Summary { delivered: 5, ..Summary::default() },
            },
        ]);
        let (event, corrected_by) = (Box::new(event(all[0].clone())), vec![EventId([1; 16])]);
        let error = Error::IncorrectData;
        all.push(Happening::Retracted { event, seq: Seq::new(5), error, corrected_by });
        all
    }

    #[test]
    fn an_event_comes_back_with_its_number_and_every_flipped_bit_is_noticed() {
        for happening in happenings() {
            let (seq, previous) = (Seq::new(70_000), Some(Seq::new(69_998)));
            let record = EventRecord { seq, previous, event: event(happening) };
            let bytes = encode_event(&record);
            assert_eq!(decode_event(&bytes), Ok(record));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode_event(&flipped).is_err(), "bit {bit}");
            }
            for length in 0..bytes.len() {
                assert!(decode_event(&bytes[..length]).is_err(), "{length} bytes");
            }
        }
    }

    /// Whoever changes an event's fields needs another version: what is on flash is of these.
    #[test]
    fn an_event_of_each_version_has_the_bytes_that_it_always_had() {
        let (seq, previous) = (Seq::new(5), Some(Seq::new(3)));
        let events = || happenings().into_iter().map(event);
        let first: Vec<u8> = events().flat_map(|event| checked(1, &(seq, event))).collect();
        assert_eq!(crc32fast::hash(&first), 2_555_302_509);
        let second = events().flat_map(|event| encode_event(&EventRecord { seq, previous, event }));
        assert_eq!(crc32fast::hash(&second.collect::<Vec<_>>()), 830_811_021);
    }

    #[test]
    fn what_an_older_agent_left_is_read_and_says_nothing_of_the_event_before() {
        for event in happenings().into_iter().map(event) {
            let old = checked(1, &(Seq::new(5), &event));
            let record = EventRecord { seq: Seq::new(5), previous: None, event };
            assert_eq!(decode_event(&old), Ok(record));
        }
    }
}
