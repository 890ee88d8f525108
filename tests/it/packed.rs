//! Size of the stored track, on drives in the formats of real receivers.

use std::time::Duration;

use waypost_model::record::{Record, Subject, TrackPoint};
use waypost_model::units::Uptime;
use waypost_pipeline::date_resolver::DateHint;
use waypost_sim::ReceiverType;
use waypost_wire::compact_track;
use waypost_wire::payloads::{Point, TrackSource};
use waypost_wire::track_codec::{Precision, TrackBatchBuilder, unpack};

use crate::support::{records, repository, shared, simulated};

/// Maximum size of a batch in the outbox.
const BATCH_BYTES: usize = 900;

/// Returns the bytes of all batches per point, headers included.
fn bytes_per_point(records: &[Record]) -> f64 {
    let (mut bytes, mut packers) = (0, Vec::<TrackBatchBuilder>::new());
    for record in records {
        let Subject::Point(point) = &record.subject;
        let fits = packers.last_mut().is_some_and(|last| last.push(record.seq, point, BATCH_BYTES));
        if !fits {
            packers.push(TrackBatchBuilder::new(record.seq, point, Precision::Stored));
        }
    }
    for packer in &packers {
        let batch = packer.pack(0);
        assert_eq!(unpack(&batch).unwrap().points.len(), usize::from(packer.count()));
        bytes += batch.len();
    }
    let (bytes, points) = (u32::try_from(bytes).unwrap(), u32::try_from(records.len()).unwrap());
    f64::from(bytes) / f64::from(points)
}

fn recorded(path: &std::path::Path) -> Vec<Record> {
    let log = std::fs::read(path).unwrap();
    let lines = log.split_inclusive(|byte| *byte == b'\n').enumerate();
    let chunks = lines.map(|(line, bytes)| {
        (Uptime::new(Duration::from_millis(500 * line as u64)), bytes.to_vec())
    });
    records(DateHint::AsReported, chunks.collect::<Vec<_>>()).0
}

#[test]
fn a_point_is_said_where_it_was_proven_to_be_whether_the_outbox_kept_it_or_not() {
    // With four decimals of a minute, many values are halfway between two that the wire format can
    // represent.
    let drive = simulated("config/routes/rural.toml", ReceiverType::Mtk3339, 3600);
    let (drive, _) = records(DateHint::AsReported, drive);
    assert!(drive.len() > 3000);
    for record in drive {
        let Subject::Point(point) = record.subject;
        let proven = point.fix.position.rounded_to_1e5();
        let proven = (proven.lat_deg(), proven.lon_deg());
        let json = |point: &TrackPoint| {
            let said = Point::new(record.seq, point, TrackSource::Live);
            (said.lat, said.lon)
        };
        assert_eq!(json(&point), proven);
        let batch = TrackBatchBuilder::new(record.seq, &point, Precision::Stored).pack(0);
        assert_eq!(json(&unpack(&batch).unwrap().points[0].1), proven);
        let message = compact_track::encode(TrackSource::Live, None, [(record.seq, &point)]);
        let track = compact_track::decode(&message).unwrap().track("VAN-042");
        assert_eq!((track.points[0].lat, track.points[0].lon), proven);
    }
}

#[test]
fn a_point_takes_nine_bytes_at_most_whatever_the_receiver() {
    let mut drives = vec![];
    for (name, receiver) in [
        ("ublox-m8", ReceiverType::UbloxM8),
        ("ublox-m10", ReceiverType::UbloxM10),
        ("mtk-3339", ReceiverType::Mtk3339),
        ("sirf-star", ReceiverType::SirfStar),
    ] {
        let drive = simulated("config/routes/city.toml", receiver, 3600);
        drives.push((name.to_owned(), records(DateHint::AsReported, drive).0));
    }
    drives.push((
        "errand".to_owned(),
        recorded(&repository("tests/fixtures/nmea/errand-ublox-m8.nmea")),
    ));
    if let Some(track) = shared("tracks/sbn.nmea") {
        drives.push(("sbn".to_owned(), recorded(&track)));
    }
    for (name, records) in drives {
        let bytes = bytes_per_point(&records);
        println!("{name}: {bytes:.2} B/point of {}", records.len());
        assert!(!records.is_empty() && bytes <= 9.0, "{name}: {bytes:.2} B/point");
    }
}
