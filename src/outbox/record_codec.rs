//! Record codec of the outbox: one format version byte, then
//! [postcard](https://postcard.jamesmunns.com).
//!
//! An upgraded agent reads the records of an older one. The struct of a version therefore never
//! changes: a new field requires a new version and a conversion. An event has a CRC-32 after its
//! version, and its sequence number before its data. Events are evidence, so a flipped bit must be
//! detected.

use waypost_model::event::EventRecord;
use waypost_model::record::Subject;

/// Format version of new subjects.
pub(super) const VERSION: u8 = 1;

/// Format version of new events.
pub(super) const EVENT_VERSION: u8 = 1;

/// Reason why stored bytes cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordCodecError {
    /// Written by a newer agent.
    #[error(
        "stored in format {0}, this agent supports up to {EVENT_VERSION}: reinstall the newer agent to send it"
    )]
    Version(u8),
    /// The checksum of an event does not match.
    #[error("event is corrupt: checksum mismatch")]
    Checksum,
    /// Damaged.
    #[error("record is corrupt: {0}")]
    Malformed(postcard::Error),
}

/// Encodes with [`VERSION`].
#[must_use]
pub(super) fn encode(subject: &Subject) -> Vec<u8> {
    postcard::to_extend(subject, vec![VERSION])
        .expect("a subject has no sequences of unknown length")
}

/// Decodes version [`VERSION`].
///
/// # Errors
/// Returns an error if the bytes are damaged or written by a newer agent.
pub(super) fn decode(bytes: &[u8]) -> Result<Subject, RecordCodecError> {
    match bytes {
        [VERSION, body @ ..] => decode_exact(body),
        [version, ..] => Err(RecordCodecError::Version(*version)),
        [] => Err(RecordCodecError::Malformed(postcard::Error::DeserializeUnexpectedEnd)),
    }
}

/// Encodes with [`EVENT_VERSION`].
#[must_use]
pub(super) fn encode_event(EventRecord { seq, previous, event }: &EventRecord) -> Vec<u8> {
    let mut bytes = postcard::to_extend(&(seq, previous, event), vec![EVENT_VERSION, 0, 0, 0, 0])
        .expect("an event has no sequences of unknown length");
    let crc = crc32fast::hash(&bytes[HEADER_BYTES..]);
    bytes[1..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Decodes version [`EVENT_VERSION`].
///
/// # Errors
/// Returns an error if the bytes are damaged or written by a newer agent.
pub(super) fn decode_event(bytes: &[u8]) -> Result<EventRecord, RecordCodecError> {
    match bytes {
        [EVENT_VERSION, a, b, c, d, body @ ..] => {
            if crc32fast::hash(body) != u32::from_le_bytes([*a, *b, *c, *d]) {
                return Err(RecordCodecError::Checksum);
            }
            let (seq, previous, event) = decode_exact(body)?;
            Ok(EventRecord { seq, previous, event })
        }
        [] | [EVENT_VERSION, ..] => {
            Err(RecordCodecError::Malformed(postcard::Error::DeserializeUnexpectedEnd))
        }
        [version, ..] => Err(RecordCodecError::Version(*version)),
    }
}

/// Version and CRC-32.
const HEADER_BYTES: usize = 5;

fn decode_exact<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, RecordCodecError> {
    match postcard::take_from_bytes(body) {
        Ok((it, [])) => Ok(it),
        Ok(_) => Err(RecordCodecError::Malformed(postcard::Error::DeserializeBadEncoding)),
        Err(error) => Err(RecordCodecError::Malformed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use waypost_model::record::Seq;

    use super::*;
    use waypost_model::event::{
        Alert, ErrorReason, EventKind, EventLocation, FailureReason, Outcome, Parcel, Preferences,
        Proof, ProofMethod, ReaderKind, RouteSummary, ScanSource, Sighting, StopRef, TimeSource,
    };
    use waypost_model::event::{Event, EventId};
    use waypost_model::units::{Course, Distance, Dop, Position, Speed, UtcTime};

    fn utc() -> UtcTime {
        UtcTime::from_unix_ms(1_800_000_000_000).unwrap()
    }

    fn event(happening: EventKind) -> Event {
        let place = EventLocation {
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
            location: Some(place),
            route: Some("ROUTE-7".to_owned()),
            utc_offset_min: Some(60),
            kind: happening,
        }
    }

    fn delivery_kinds(
        parcel: &Parcel,
        stop: &StopRef,
        station: &str,
        reading: &ScanSource,
    ) -> Vec<EventKind> {
        let proof = Box::new(Proof {
            method: ProofMethod::ScanOutside,
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
        let (stop, source) = (Some(stop.clone()), reading.clone());
        vec![
            EventKind::Delivered {
                parcel: parcel.clone(),
                stop: stop.clone(),
                outcome: Outcome::Neighbour,
                proof: proof.clone(),
                source: source.clone(),
            },
            EventKind::Attempted {
                parcel: parcel.clone(),
                stop,
                reason: FailureReason::Other,
                attempt: 2,
                proof,
            },
            EventKind::Returned {
                parcel: parcel.clone(),
                station,
                reason: Some(FailureReason::Refused),
            },
            EventKind::Seen { parcel, source, alert: Some(Alert::NotLoaded) },
        ]
    }

    /// One event of each kind.
    fn event_kinds() -> Vec<EventKind> {
        let parcel = Parcel { key: "P1".to_owned(), epc: "urn:epc:id:test:1".to_owned() };
        let stop = StopRef { seq: 3, id: "stop-3".to_owned() };
        let station = "urn:station".to_owned();
        let reading = ScanSource {
            reader: ReaderKind::Rfid,
            symbology: Some("]C1".to_owned()),
            raw: Some("P1".to_owned()),
            check_ok: Some(true),
        };
        let place = event(EventKind::Completed {
            station: String::new(),
            summary: RouteSummary::default(),
        })
        .location;
        let last_seen = Some(Sighting { id: EventId([9; 16]), utc: utc(), location: place });
        let (parcels, radius) = (vec![parcel.clone()], Distance::from_metres(40.0).unwrap());
        let mut all = delivery_kinds(&parcel, &stop, &station, &reading);
        let some = || Some(stop.clone());
        let (present, missing, window) = (parcels.clone(), parcels.clone(), Duration::from_secs(9));
        all.extend([
            EventKind::Loaded { parcel: parcel.clone(), source: reading, station: station.clone() },
            EventKind::Departed {
                station: station.clone(),
                parcels: parcels.clone(),
                stops_total: 9,
            },
            EventKind::Arrived { stop: stop.clone(), parcels, stops_remaining: 8, radius },
            EventKind::NotFound { parcel: parcel.clone(), stop: some(), last_seen },
            EventKind::Inventory { present, missing, unexpected: Vec::new(), window },
            EventKind::Damaged { parcel: parcel.clone(), stop: some(), station: None },
            EventKind::Void { parcel, station: station.clone() },
            EventKind::Completed {
                station,
                summary: RouteSummary { delivered: 5, ..RouteSummary::default() },
            },
        ]);
        let (event, corrected_by) = (Box::new(event(all[0].clone())), vec![EventId([1; 16])]);
        let error = ErrorReason::IncorrectData;
        all.push(EventKind::Retracted { event, seq: Seq::new(5), error, corrected_by });
        all
    }

    #[test]
    fn an_event_comes_back_with_its_number_and_every_flipped_bit_is_noticed() {
        for happening in event_kinds() {
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

    /// Stored events have these bytes: a change to an event's fields requires a new version.
    #[test]
    fn an_event_has_the_bytes_that_it_always_had() {
        let (seq, previous) = (Seq::new(5), Some(Seq::new(3)));
        let events = event_kinds().into_iter().map(event);
        let bytes = events.flat_map(|event| encode_event(&EventRecord { seq, previous, event }));
        assert_eq!(crc32fast::hash(&bytes.collect::<Vec<_>>()), 1_434_598_182);
    }
}
