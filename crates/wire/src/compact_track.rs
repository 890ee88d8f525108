//! Compact encoding of the messages on `track`. `docs/compact.md` documents every byte. No I/O.
//!
//! ```text
//! magic 2 | version 1 | flags 1 | max_error_dm 2 | packed batches …      (little-endian)
//! ```
//!
//! - A message is equivalent to [`Track`]: positions have the precision of the contract, and
//!   members that the JSON omits are omitted.
//! - The first byte is never the start of a text, so readers can distinguish it from JSON.
//! - Decoding arbitrary bytes gives a message or an error, never a panic.

use super::payloads::{Point, Track, TrackSource, published_course};
use super::track_codec::{self, Precision, TrackBatch, TrackBatchBuilder, TrackBatchError, unpack};
use waypost_model::fix::Fix;
use waypost_model::record::{Seq, TrackPoint};
use waypost_model::units::Distance;

/// First bytes of a message. They are not UTF-8, and therefore not JSON.
pub const MAGIC: [u8; 2] = [0xD7, b'W'];

/// Supported format version.
const VERSION: u8 = 1;

/// Size of the header in bytes.
const HEADER: usize = 6;

/// Flag: the points are from the backlog.
const BACKLOG: u8 = 1;

/// Reason why bytes are not a valid compact message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// The bytes do not start with a compact message.
    #[error("not a compact message: it does not begin with d757")]
    NotCompact,
    /// Written by a newer agent.
    #[error("compact message has version {0}, only 1 is supported: use a newer waypost")]
    Version(u8),
    /// A batch is invalid.
    #[error(transparent)]
    Batch(TrackBatchError),
    /// Truncated or corrupted in transit.
    #[error("compact message is damaged: {0}")]
    Damaged(&'static str),
}

/// Compact message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whether the points were recorded while connected.
    pub source: TrackSource,
    /// Same meaning as [`Track::max_error_m`].
    pub max_error: Option<Distance>,
    /// Points in ascending order of `seq`: 1..=500.
    pub points: Vec<(Seq, TrackPoint)>,
}

impl Message {
    /// Converts to the JSON payload of `van`. The van id is not in the message but in its topic.
    #[must_use]
    pub fn track(&self, van: &str) -> Track {
        let points = self.points.iter().map(|(seq, point)| Point::new(*seq, point, self.source));
        Track::new(van, self.max_error, points.collect())
    }
}

/// Encodes points, which must be in ascending order. The error bound is rounded to 0.1 m and
/// limited to 6.5 km.
#[must_use]
pub fn encode<'a>(
    lane: TrackSource,
    max_error: Option<Distance>,
    points: impl IntoIterator<Item = (Seq, &'a TrackPoint)>,
) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([VERSION, if lane == TrackSource::Backlog { BACKLOG } else { 0 }]);
    bytes.extend(max_error.map_or(0, decimetres).to_le_bytes());
    let mut open: Option<TrackBatchBuilder> = None;
    for (seq, point) in points {
        let point = as_published(point);
        if !open.as_mut().is_some_and(|open| open.push(seq, &point, usize::from(u16::MAX))) {
            let full = open.replace(TrackBatchBuilder::new(seq, &point, Precision::Published));
            bytes.extend(full.iter().flat_map(|full| full.pack(0)));
        }
    }
    bytes.extend(open.iter().flat_map(|open| open.pack(0)));
    bytes
}

/// Removes the fields that are not published.
fn as_published(point: &TrackPoint) -> TrackPoint {
    let fix = Fix { height_hae: None, course: published_course(point), ..point.fix };
    TrackPoint { fix, ..*point }
}

/// Rounds to decimetres, at least 1: zero means that the batch contains every fix.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn decimetres(error: Distance) -> u16 {
    ((error.as_metres() * 10.0).round() as u16).max(1)
}

/// Decodes a whole message.
///
/// # Errors
/// Returns an error if the bytes are not a compact message, are damaged, or are written by a newer
/// agent.
pub fn decode(bytes: &[u8]) -> Result<Message, CompactError> {
    match decode_first(bytes)? {
        (message, []) => Ok(message),
        _ => Err(CompactError::Damaged("trailing bytes")),
    }
}

/// Decodes the leading message. Also returns the bytes after it.
///
/// # Errors
/// Same errors as [`decode`].
pub fn decode_first(bytes: &[u8]) -> Result<(Message, &[u8]), CompactError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(CompactError::NotCompact);
    }
    let Some((&[_, _, version, flags, low, high], mut rest)) = bytes.split_first_chunk::<HEADER>()
    else {
        return Err(CompactError::Damaged("unexpected end"));
    };
    if version != VERSION {
        return Err(CompactError::Version(version));
    }
    if flags & !BACKLOG != 0 {
        return Err(CompactError::Damaged("unknown flag"));
    }
    let max_error = match u16::from_le_bytes([low, high]) {
        0 => None,
        decimetres => Distance::from_metres(f64::from(decimetres) / 10.0),
    };
    let lane = if flags == BACKLOG { TrackSource::Backlog } else { TrackSource::Live };
    let mut points = Vec::new();
    while points.is_empty() || rest.starts_with(&track_codec::MAGIC) {
        let (batch, after) = first_batch(rest)?;
        rest = after;
        let ascends = match (points.last(), batch.first()) {
            (Some((before, _)), Some((next, _))) => before < next,
            _ => true,
        };
        if !ascends {
            return Err(CompactError::Damaged("points do not ascend"));
        }
        points.extend(batch);
        if points.len() > Track::MAX_POINTS {
            return Err(CompactError::Damaged("more than 500 points"));
        }
    }
    Ok((Message { source: lane, max_error, points }, rest))
}

type Batch<'a> = (Vec<(Seq, TrackPoint)>, &'a [u8]);

fn first_batch(bytes: &[u8]) -> Result<Batch<'_>, CompactError> {
    let length = track_codec::batch_len(bytes).filter(|length| *length <= bytes.len());
    let length = length.ok_or(CompactError::Damaged("unexpected end"))?;
    let (batch, rest) = bytes.split_at(length);
    let TrackBatch { points, .. } = unpack(batch).map_err(CompactError::Batch)?;
    Ok((points, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::track_codec::tests::point;
    use super::*;

    fn message(points: &[(u64, TrackPoint)]) -> (Track, Vec<u8>) {
        let mut seq = 0;
        let points: Vec<_> = points
            .iter()
            .map(|(step, point)| {
                seq += step;
                (Seq::new(seq), *point)
            })
            .collect();
        let lane = if seq % 2 == 0 { TrackSource::Live } else { TrackSource::Backlog };
        let max_error = Distance::from_metres(5.0).filter(|_| seq % 3 != 0);
        let json = points.iter().map(|(seq, point)| Point::new(*seq, point, lane)).collect();
        let bytes = encode(lane, max_error, points.iter().map(|(seq, point)| (*seq, point)));
        (Track::new("VAN-1", max_error, json), bytes)
    }

    proptest! {
        #[test]
        fn it_says_what_json_says(points in proptest::collection::vec((1_u64..5, point()), 1..260)) {
            let (json, bytes) = message(&points);
            prop_assert_eq!(decode(&bytes).unwrap().track("VAN-1"), json);
            prop_assert!(std::str::from_utf8(&bytes).is_err());
            let twice = [&bytes[..], &bytes].concat();
            prop_assert_eq!(decode_first(&twice).unwrap().1, &bytes[..]);
            prop_assert!(decode(&twice).is_err());
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(
            flags: [u8; 4],
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            points in proptest::collection::vec((1_u64..5, point()), 1..5),
            at: prop::sample::Index,
        ) {
            let _ = decode(&noise);
            let _ = decode(&[&MAGIC[..], &flags, &noise].concat());
            let (_, bytes) = message(&points);
            let _ = decode(&[&bytes, &noise[..]].concat());
            prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn what_is_no_message_is_named() {
        let says = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
        assert!(says(b"{\"v\":1}").contains("does not begin with d757"));
        assert!(says(b"").contains("does not begin"));
        assert!(says(b"\xd7W\x02\0\0\0").contains("version 2"));
        assert!(says(b"\xd7W\x01\x80\0\0").contains("flag"));
        assert!(says(b"\xd7W\x01\0\0\0").contains("unexpected end"));
    }
}
