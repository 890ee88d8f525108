//! `waypost decode`: converts compact track messages, binary or as lines of text, to JSON.
//!
//! A line is the output of `mosquitto_sub -F '%t %x'`: an optional topic, and a payload in
//! hexadecimal or base64. The first byte distinguishes the two input forms: no line of text begins
//! with the magic byte of a compact message.

use std::io::{self, BufRead, Read as _, Write};

use waypost_wire::VanId;
use waypost_wire::base64;
use waypost_wire::compact_track::{CompactError, MAGIC, Message, decode, decode_first};

/// Maximum bytes of an input line, more than any message needs in either encoding.
const MAX_LINE: u64 = 1 << 20;

/// Failure of `waypost decode`.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    /// Reading the input or writing the output failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A binary message is invalid.
    #[error("message {number}, at byte {at}: {error}")]
    Message {
        /// Number of the message, from 1.
        number: usize,
        /// Offset of its first byte, from 0.
        at: usize,
        error: CompactError,
    },
    /// A line of text is invalid.
    #[error("line {number}: {error}")]
    Line {
        /// Number of the line, from 1.
        number: usize,
        error: LineError,
    },
}

/// Reason why a line is not a compact message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    /// The payload is JSON.
    #[error("this is JSON, not a compact message")]
    Json,
    /// The payload is neither hexadecimal nor base64, or is truncated.
    #[error("neither hexadecimal nor base64: print payloads with `mosquitto_sub -F %x`")]
    UnknownEncoding,
    /// The line has 1 MiB or more.
    #[error("longer than any message (1 MiB or more)")]
    TooLong,
    /// The decoded bytes are not a valid compact message.
    #[error(transparent)]
    Bytes(CompactError),
}

/// Writes each message of `input` as one line of JSON. `van` is the sender if the line has no
/// topic.
///
/// # Errors
/// The first invalid message, or a failed read or write. Messages before it are written.
pub(super) fn command(
    mut input: impl BufRead,
    van: &VanId,
    mut out: impl Write,
) -> Result<(), DecodeError> {
    if input.fill_buf()?.starts_with(&MAGIC[..1]) {
        binary(input, van, &mut out)?;
    } else {
        lines(input, van, &mut out)?;
    }
    Ok(out.flush()?)
}

fn binary(mut input: impl BufRead, van: &VanId, out: &mut impl Write) -> Result<(), DecodeError> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let (mut rest, mut number) = (&bytes[..], 0);
    while !rest.is_empty() {
        number += 1;
        let at = bytes.len() - rest.len();
        let (message, after) =
            decode_first(rest).map_err(|error| DecodeError::Message { number, at, error })?;
        write(&message, van.as_str(), out)?;
        // By default `mosquitto_sub` appends a line feed to each message.
        rest = after.strip_prefix(b"\n").unwrap_or(after);
    }
    Ok(())
}

fn lines(mut input: impl BufRead, van: &VanId, out: &mut impl Write) -> Result<(), DecodeError> {
    for number in 1.. {
        let mut line = Vec::new();
        if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let (topic, message) =
            decode_line(line).map_err(|error| DecodeError::Line { number, error })?;
        write(&message, van_from_topic(topic).unwrap_or(van.as_str()), out)?;
        out.flush()?;
    }
    Ok(())
}

fn write(message: &Message, van: &str, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &message.track(van))?;
    out.write_all(b"\n")
}

fn decode_line(line: &[u8]) -> Result<(&str, Message), LineError> {
    if line.len() as u64 == MAX_LINE {
        return Err(LineError::TooLong);
    }
    let text = std::str::from_utf8(line).map_err(|_| LineError::UnknownEncoding)?;
    if text.starts_with('{') {
        return Err(LineError::Json);
    }
    let (topic, payload) = text.rsplit_once([' ', '\t']).unwrap_or(("", text));
    let bytes =
        from_hex(payload).or_else(|| base64::decode(payload)).ok_or(LineError::UnknownEncoding)?;
    match decode(&bytes) {
        Ok(message) => Ok((topic, message)),
        Err(CompactError::NotCompact) if bytes.first() == Some(&b'{') => Err(LineError::Json),
        Err(error) => Err(LineError::Bytes(error)),
    }
}

/// Extracts the van id from `…/v1/{van}/track`.
fn van_from_topic(topic: &str) -> Option<&str> {
    let (above, _) = topic.trim().rsplit_once('/')?;
    let (_, van) = above.rsplit_once('/')?;
    VanId::new(van).ok().map(|_| van)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::record;
    use waypost_model::motion::Motion;
    use waypost_model::record::{Record, Seq, Subject};
    use waypost_wire::compact_track::encode;
    use waypost_wire::payloads::TrackSource;

    fn message(seq: u64) -> Vec<u8> {
        let Record { seq, subject: Subject::Point(point) } = record(Seq::new(seq), Motion::Moving);
        encode(TrackSource::Live, None, [(seq, &point)])
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn decoded(input: &[u8]) -> Result<Vec<(String, u64)>, String> {
        let mut out = Vec::new();
        command(input, &VanId::new("unknown").unwrap(), &mut out)
            .map_err(|error| error.to_string())?;
        let tracks = String::from_utf8(out).unwrap();
        let track = |line| serde_json::from_str::<waypost_wire::payloads::Track>(line).unwrap();
        Ok(tracks.lines().map(track).map(|track| (track.van, track.points[0].seq)).collect())
    }

    #[test]
    fn messages_are_read_in_the_forms_in_which_subscribers_print_them() {
        let both = Ok(vec![("unknown".to_owned(), 7), ("unknown".to_owned(), 9)]);
        assert_eq!(decoded(&[message(7), message(9)].concat()), both);
        assert_eq!(decoded(&[&message(7)[..], b"\n", &message(9), b"\n"].concat()), both);
        let (seven, nine) = (hex(&message(7)), base64::encode(&message(9)));
        assert_eq!(decoded(format!("{seven}\n\n{nine}").as_bytes()), both);
        assert_eq!(decoded(format!("{}\r\n{nine}==\n", seven.to_uppercase()).as_bytes()), both);
        let topic = decoded(format!("fleet/v1/VAN-042/track {seven}\n").as_bytes());
        assert_eq!(topic, Ok(vec![("VAN-042".to_owned(), 7)]));
        assert_eq!(decoded(b""), Ok(vec![]));
    }

    #[test]
    fn anything_else_is_named_with_its_place() {
        let (good, seven) = (message(7), hex(&message(7)));
        let cut = &good[..good.len() - 1];
        for (input, says) in [
            ([&good[..], cut].concat(), "message 2, at byte 70: compact message is damaged"),
            ([&good[..], b"{}"].concat(), "message 2, at byte 70: not a compact message"),
            (format!("{seven}\n{{\"v\":1}}").into_bytes(), "line 2: this is JSON"),
            (hex(b"{\"v\":1}").into_bytes(), "line 1: this is JSON"),
            (b"what is this?".to_vec(), "line 1: neither hexadecimal nor base64"),
            (b"\xff\xfe".to_vec(), "line 1: neither"),
            (hex(cut).into_bytes(), "line 1: compact message is damaged"),
            (b"AAAA".to_vec(), "line 1: not a compact message"),
            (vec![b'a'; 2 << 20], "line 1: longer"),
        ] {
            let error = decoded(&input).unwrap_err();
            let says = says.replace("70", &good.len().to_string());
            assert!(error.starts_with(&says), "{error}");
        }
    }
}
