//! Parses a topic and payload into a `Payload` or an `InvalidMessage` with its reason. Pure.
//!
//! - Any bytes on any topic give one of the two. Untrusted input costs at most [`MAX_BYTES`] of
//!   parsing.
//! - **A van can only report about itself.** The broker's ACL authenticates the van of the topic.
//!   It must match the van of the payload and the van in an event's `source`.
//! - Unknown members are ignored. Another version of payload, envelope or event type is invalid.
//! - Times must lie between 2000 and one day ahead. Where only the newest value is kept, the limit
//!   is ten minutes ahead; a wrong clock would otherwise hide all later values.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::epc;
use crate::event::{Event, Origin, Role};
use waypost_model::units::{Position as Place, UtcTime};
use waypost_wire::command::CommandResultPayload;
use waypost_wire::epcis::{self, EpcisEvent};
use waypost_wire::payloads::{ConnectionStatus, Point, Position, State, Track};
use waypost_wire::{VERSION, VanId, compact_track, owntracks};

/// Maximum payload size in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// Maximum number of EPCs per event.
const MAX_EPCS: usize = 5_000;

/// Maximum length of a name or URI in bytes.
const MAX_NAME_BYTES: usize = 1_024;

/// Maximum lead of a van's clock over ours.
const MAX_CLOCK_SKEW: Duration = Duration::from_hours(24);

/// Maximum clock lead for position, state and connection, of which only the newest is kept.
const MAX_LIVE_CLOCK_SKEW: Duration = Duration::from_mins(10);

/// 2000-01-01.
const EARLIEST_UNIX_MS: i64 = 946_684_800_000;

/// Maximum plausible speed in m/s.
const MAX_SPEED_MPS: f64 = 200.0;

/// Larger integers are not exact in every JSON parser (RFC 8259 §6).
const MAX_SEQ: u64 = 1 << 53;

/// A message that cannot be processed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidMessage {
    /// Names the member, its value and the expected value. Quotes nothing longer than a name.
    pub reason: String,
}

impl InvalidMessage {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// A parsed message from a van.
#[derive(Clone, Debug, PartialEq)]
pub struct VanMessage {
    /// Van id from the topic.
    pub van: String,
    pub payload: Payload,
}

/// Parsed content of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Newest position.
    Position(Box<Position>),
    /// Part of the track.
    Track(Vec<Fix>),
    /// An event.
    Event(Box<VanEvent>),
    /// Agent state with its time.
    State(Box<State>, UtcTime),
    /// Connection state.
    Connection(Box<ConnectionStatus>),
    /// Result of a command.
    CommandResult(Box<CommandResultPayload>),
}

/// A track point.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    /// UTC time of the fix.
    pub time: UtcTime,
    pub point: Point,
}

/// An event reported by a van.
#[derive(Clone, Debug, PartialEq)]
pub struct VanEvent {
    pub event: Event,
    /// Sequence number of the van's previous event, if reported.
    pub previous: Option<u64>,
}

/// Parser for the topics below one root.
#[derive(Clone, Debug)]
pub struct MessageParser {
    /// For example `fleet/v1/`.
    prefix: String,
    /// For example `owntracks/fleet/`.
    owntracks: String,
}

impl MessageParser {
    /// Creates a parser for the vans below `root`, which may have several levels.
    #[must_use]
    pub fn new(root: &str) -> Self {
        let first = root.split('/').next().unwrap_or(root);
        Self { prefix: format!("{root}/v{VERSION}/"), owntracks: format!("owntracks/{first}/") }
    }

    /// Parses a message received at `now`.
    pub fn parse(
        &self,
        topic: &str,
        payload: &[u8],
        now: UtcTime,
    ) -> Result<VanMessage, InvalidMessage> {
        if payload.len() > MAX_BYTES {
            return Err(InvalidMessage::new(format!(
                "{} bytes; at most {MAX_BYTES} are accepted",
                payload.len()
            )));
        }
        if let Some(van) = topic.strip_prefix(&self.owntracks) {
            let van = van_id(van)?;
            let message = Payload::Position(Box::new(parse_owntracks(&van, payload, now)?));
            return Ok(VanMessage { van, payload: message });
        }
        let rest = topic.strip_prefix(&self.prefix);
        let (van, name) = rest
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| InvalidMessage::new("unknown topic: not defined by the contract"))?;
        let van = van_id(van)?;
        let message = match name {
            "position" => Payload::Position(Box::new(parse_position(&van, payload, now)?)),
            "track" => Payload::Track(parse_track(&van, payload, now)?),
            "event" => Payload::Event(Box::new(parse_event(&van, payload, now)?)),
            "state" => parse_state(&van, payload, now)?,
            "connection" => Payload::Connection(Box::new(parse_connection(&van, payload, now)?)),
            "command/result" => Payload::CommandResult(Box::new(parse_command_result(payload)?)),
            _ => return Err(InvalidMessage::new("unknown topic: not defined by the contract")),
        };
        Ok(VanMessage { van, payload: message })
    }
}

fn van_id(text: &str) -> Result<String, InvalidMessage> {
    VanId::new(text)
        .map(|van| van.to_string())
        .map_err(|error| InvalidMessage::new(error.to_string()))
}

/// Any versioned JSON payload.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// Parses JSON; on failure an unsupported version is reported first.
fn parse_json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, InvalidMessage> {
    serde_json::from_slice(payload).map_err(|error| {
        match serde_json::from_slice::<Version>(payload) {
            Ok(Version { v }) if v != u64::from(VERSION) => wrong_version(v),
            _ => json_error(&error),
        }
    })
}

fn wrong_version(v: u64) -> InvalidMessage {
    InvalidMessage::new(format!("v is {v}; only version {VERSION} is supported"))
}

/// Describes a JSON error. The text may quote the payload, so it is truncated.
fn json_error(error: &serde_json::Error) -> InvalidMessage {
    let what = match error.classify() {
        serde_json::error::Category::Data => "JSON does not match the schema",
        _ => "invalid JSON",
    };
    let words: String = error.to_string().chars().take(160).collect();
    InvalidMessage::new(format!("{what}: {words}"))
}

/// Checks version and van of a payload.
fn check_header(v: u8, said: &str, van: &str) -> Result<(), InvalidMessage> {
    if v != VERSION {
        return Err(wrong_version(v.into()));
    }
    if said != van {
        let said: String = said.chars().take(64).collect();
        return Err(InvalidMessage::new(format!(
            "payload claims to be {said:?} but the topic is that of {van}"
        )));
    }
    Ok(())
}

fn parse_time(text: &str, now: UtcTime) -> Result<UtcTime, InvalidMessage> {
    let shown = || text.chars().take(40).collect::<String>();
    let time = UtcTime::parse(text)
        .ok_or_else(|| InvalidMessage::new(format!("{:?} is not an RFC 3339 time", shown())))?;
    let latest = now.checked_add(MAX_CLOCK_SKEW).unwrap_or(now);
    if time.as_unix_ms() < EARLIEST_UNIX_MS || time > latest {
        return Err(InvalidMessage::new(format!(
            "{} is out of range: from the year 2000 to tomorrow",
            shown()
        )));
    }
    Ok(time)
}

/// Checks the time of a value of which only the newest is kept.
fn check_not_ahead(time: UtcTime, now: UtcTime) -> Result<UtcTime, InvalidMessage> {
    if time > now.checked_add(MAX_LIVE_CLOCK_SKEW).unwrap_or(now) {
        return Err(InvalidMessage::new(format!(
            "{time} is ahead of {now} by more than ten minutes"
        )));
    }
    Ok(time)
}

fn check_seq(seq: u64) -> Result<u64, InvalidMessage> {
    if seq > MAX_SEQ {
        return Err(InvalidMessage::new(format!("sequence number {seq} is above 2^53")));
    }
    Ok(seq)
}

fn check_point(point: &Point, now: UtcTime) -> Result<UtcTime, InvalidMessage> {
    check_seq(point.seq)?;
    if Place::from_degrees(point.lat, point.lon).is_none() {
        return Err(InvalidMessage::new(format!(
            "lat {}, lon {}: not a valid position",
            point.lat, point.lon
        )));
    }
    if point.speed_mps.is_some_and(|speed| !(0.0..=MAX_SPEED_MPS).contains(&speed)) {
        return Err(InvalidMessage::new("speed_mps: must be 0 to 200"));
    }
    let radius = [point.acc_m, point.odo_m].into_iter().flatten();
    if radius.chain(point.course_deg).any(|value| !(0.0..=1e10).contains(&value)) {
        return Err(InvalidMessage::new("acc_m, odo_m or course_deg: must be 0 to 1e10"));
    }
    parse_time(&point.ts, now)
}

fn parse_position(van: &str, payload: &[u8], now: UtcTime) -> Result<Position, InvalidMessage> {
    let mut position: Position = parse_json(payload)?;
    check_header(position.v, &position.van, van)?;
    // Normalized to one spelling, since times are compared as text elsewhere.
    position.point.ts = check_not_ahead(check_point(&position.point, now)?, now)?.to_string();
    if position.route.as_ref().is_some_and(|route| route.len() > MAX_NAME_BYTES) {
        return Err(InvalidMessage::new("route: longer than 1,024 bytes"));
    }
    Ok(position)
}

fn parse_track(van: &str, payload: &[u8], now: UtcTime) -> Result<Vec<Fix>, InvalidMessage> {
    let track: Track = if payload.starts_with(&compact_track::MAGIC) {
        let message = compact_track::decode(payload);
        message.map_err(|error| InvalidMessage::new(error.to_string()))?.track(van)
    } else {
        parse_json(payload)?
    };
    check_header(track.v, &track.van, van)?;
    if !(1..=Track::MAX_POINTS).contains(&track.points.len()) {
        return Err(InvalidMessage::new(format!(
            "{} points; 1 to 500 are allowed",
            track.points.len()
        )));
    }
    if !track.points.windows(2).all(|pair| pair[0].seq < pair[1].seq) {
        return Err(InvalidMessage::new("points are not in ascending order of seq"));
    }
    let fix = |its: Point| Ok(Fix { time: check_point(&its, now)?, point: its });
    track.points.into_iter().map(fix).collect()
}

fn parse_state(van: &str, payload: &[u8], now: UtcTime) -> Result<Payload, InvalidMessage> {
    let state: State = parse_json(payload)?;
    check_header(state.v, &state.van, van)?;
    let time = check_not_ahead(parse_time(&state.ts, now)?, now)?;
    Ok(Payload::State(Box::new(state), time))
}

fn parse_connection(
    van: &str,
    payload: &[u8],
    now: UtcTime,
) -> Result<ConnectionStatus, InvalidMessage> {
    let mut connection: ConnectionStatus = parse_json(payload)?;
    check_header(connection.v, &connection.van, van)?;
    check_seq(connection.session)?;
    if let Some(ts) = &mut connection.ts {
        *ts = check_not_ahead(parse_time(ts, now)?, now)?.to_string();
    }
    Ok(connection)
}

fn parse_command_result(payload: &[u8]) -> Result<CommandResultPayload, InvalidMessage> {
    let mut result: CommandResultPayload = parse_json(payload)?;
    if result.v != VERSION {
        return Err(wrong_version(result.v.into()));
    }
    let statuses = ["accepted", "succeeded", "failed", "rejected", "expired"];
    if !statuses.contains(&result.status.as_str()) {
        return Err(InvalidMessage::new(
            "status: must be accepted, succeeded, failed, rejected or expired",
        ));
    }
    if result.id.len() > 64 {
        return Err(InvalidMessage::new("id: longer than 64 bytes; must be a UUID"));
    }
    result.detail = result.detail.map(|detail| detail.chars().take(500).collect());
    result.code = result.code.map(|code| code.chars().take(64).collect());
    Ok(result)
}

/// Parses a position from an OwnTracks phone, with a resolution of one second.
fn parse_owntracks(van: &str, payload: &[u8], now: UtcTime) -> Result<Position, InvalidMessage> {
    let said: owntracks::Location = parse_json(payload)?;
    if said.kind != "location" {
        return Err(InvalidMessage::new("_type: must be location"));
    }
    let ts = said.tst.checked_mul(1000).and_then(UtcTime::from_unix_ms);
    let ts = ts.ok_or_else(|| InvalidMessage::new("tst: must be seconds since 1970"))?.to_string();
    #[expect(clippy::cast_precision_loss, reason = "whole metres and km/h")]
    let real = |value: i64| value as f64;
    let its = Point {
        seq: u64::try_from(said.tst).unwrap_or(0),
        ts,
        lat: said.lat,
        lon: said.lon,
        alt_m: said.alt.map(real),
        speed_mps: said.vel.filter(|vel| *vel >= 0).map(|vel| real(vel) / 3.6),
        course_deg: said.cog.map(real),
        acc_m: said.acc.map(real),
        hdop: None,
        sats: None,
        mode: 2,
        quality: None,
        motion: None,
        odo_m: None,
        backlog: false,
    };
    check_not_ahead(check_point(&its, now)?, now)?;
    let van = van.to_owned();
    Ok(Position {
        v: VERSION,
        van,
        point: its,
        route: None,
        stop_seq: None,
        stop_status: None,
        stops_remaining: None,
    })
}

fn parse_event(van: &str, payload: &[u8], now: UtcTime) -> Result<VanEvent, InvalidMessage> {
    let said = epcis::decode(payload).map_err(|error| match error {
        epcis::EventError::Malformed(error) => json_error(&error),
        other @ epcis::EventError::Specversion(_) => {
            InvalidMessage::new(other.to_string().chars().take(200).collect::<String>())
        }
    })?;
    for name in [&said.id, &said.source, &said.kind, &said.data.event_id] {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(InvalidMessage::new(
                "id, source, type or eventID: must have 1 to 1,024 bytes",
            ));
        }
    }
    if said.subject.as_ref().is_some_and(|subject| subject.len() > MAX_NAME_BYTES) {
        return Err(InvalidMessage::new("subject: longer than 1,024 bytes"));
    }
    check_source(&said.source, van)?;
    let kind = parse_kind(&said.kind)?;
    parse_time(&said.time, now)?;
    let number = |text: &str| text.parse().ok().filter(|number| *number <= MAX_SEQ);
    let seq =
        number(&said.sequence).ok_or_else(|| InvalidMessage::new("sequence: must be digits"))?;
    let previous = match &said.previoussequence {
        None => None,
        Some(text) => Some(number(text).filter(|previous| *previous < seq).ok_or_else(|| {
            InvalidMessage::new("previoussequence: must be digits, below sequence")
        })?),
    };
    let event = Event {
        n: 0,
        source: said.source,
        id: said.id,
        event_id: said.data.event_id.clone(),
        kind,
        origin: Origin::Van,
        van: Some(van.to_owned()),
        seq: Some(seq),
        route: said.subject,
        time: parse_time(&said.data.event_time, now)?,
        captured_at: now,
        retracts: said.data.error_declaration.is_some(),
        epcs: collect_epcs(&said.data)?,
        job: None,
        data: serde_json::to_value(&said.data).map_err(|error| json_error(&error))?,
    };
    Ok(VanEvent { event, previous })
}

/// Checks an event's source. One that contains a van id, such as
/// `https://{domain}/fleet/obj/{van}`, must contain this van's id. A GS1 number contains none; its
/// owner is looked up in the store. Sources reserved for captures, imports and the backend are
/// rejected.
fn check_source(source: &str, van: &str) -> Result<(), InvalidMessage> {
    let is_others = ["capture:", "import:"].iter().any(|name| source.starts_with(name));
    if is_others || source.ends_with("/backend") {
        return Err(InvalidMessage::new("source is not that of a van"));
    }
    match van_from_source(source) {
        Some(named) if named != van => {
            let named: String = named.chars().take(64).collect();
            Err(InvalidMessage::new(format!(
                "source claims to be {named:?} but the topic is that of {van}"
            )))
        }
        _ => Ok(()),
    }
}

/// The van id in a source URI of the operator's domain.
#[must_use]
pub fn van_from_source(source: &str) -> Option<&str> {
    source.rsplit_once("/fleet/obj/").map(|(_, van)| van)
}

/// Shortens `org.w3id.waypost.parcel.delivered.v1` to `parcel.delivered`.
fn parse_kind(text: &str) -> Result<String, InvalidMessage> {
    let unknown =
        || InvalidMessage::new(format!("type {text:.80?}: must be a prefix, two names and v1"));
    let (name, version) = text.rsplit_once(".v").ok_or_else(unknown)?;
    if version != VERSION.to_string() {
        return Err(InvalidMessage::new(format!("type {text:.80?}: only version 1 is supported")));
    }
    let mut words = name.rsplit('.');
    let (Some(last), Some(first)) = (words.next(), words.next()) else { return Err(unknown()) };
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
    if !word(first) || !word(last) {
        return Err(unknown());
    }
    Ok(format!("{first}.{last}"))
}

/// EPCs that an event is about, without duplicates.
fn collect_epcs(data: &EpcisEvent) -> Result<Vec<(String, Role)>, InvalidMessage> {
    let list = |list: &Option<Vec<String>>, role| -> Vec<(String, Role)> {
        list.iter().flatten().map(|uri| (epc::canonical(uri), role)).collect()
    };
    let mut found = list(&data.epc_list, Role::Epc);
    found.extend(list(&data.child_epcs, Role::Child));
    found.extend(data.parent_id.iter().map(|uri| (epc::canonical(uri), Role::Parent)));
    if found.len() > MAX_EPCS {
        return Err(InvalidMessage::new(format!(
            "{} EPCs; at most {MAX_EPCS} are allowed",
            found.len()
        )));
    }
    if found.iter().any(|(uri, _)| uri.is_empty() || uri.len() > MAX_NAME_BYTES) {
        return Err(InvalidMessage::new("an EPC is empty or longer than 1,024 bytes"));
    }
    let mut once = std::collections::BTreeSet::new();
    found.retain(|(uri, _)| once.insert(uri.clone()));
    Ok(found)
}

/// A text member of the event.
#[must_use]
pub fn member<'a>(data: &'a Value, name: &str) -> Option<&'a str> {
    data.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> UtcTime {
        UtcTime::parse("2026-11-22T10:00:00Z").unwrap()
    }

    fn reader() -> MessageParser {
        MessageParser::new("acme/fleet")
    }

    fn read(name: &str, payload: &[u8]) -> Result<VanMessage, InvalidMessage> {
        reader().parse(&format!("acme/fleet/v1/VAN-042/{name}"), payload, now())
    }

    fn example(name: &str) -> String {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        std::fs::read_to_string(format!("{root}/docs/contract/{name}.example.json")).unwrap()
    }

    const NAMES: [(&str, &str); 6] = [
        ("position", "position"),
        ("track", "track"),
        ("event", "event"),
        ("state", "state"),
        ("connection", "connection"),
        ("command/result", "command_result"),
    ];

    #[test]
    fn each_example_of_the_contract_is_read_below_a_root_of_several_levels() {
        for (name, file) in NAMES {
            let said = read(name, example(file).as_bytes()).expect(name);
            assert_eq!(said.van, "VAN-042");
            if let Payload::Event(event) = said.payload {
                assert_eq!(event.event.kind, "parcel.delivered");
                assert_eq!((event.event.seq, event.previous), (Some(3342), Some(3340)));
                assert!(!event.event.epcs.is_empty() && !event.event.retracts);
            }
        }
        let parse_owntracks =
            br#"{"_type":"location","lat":48.1,"lon":11.5,"tst":1795341600,"tid":"42","t":"t"}"#;
        let said = reader().parse("owntracks/acme/anna", parse_owntracks, now()).unwrap();
        assert!(matches!(said.payload, Payload::Position(_)));
    }

    /// (topic, text to replace in its example, replacement, part of the reason)
    const WRONG: [(&str, &str, &str, &str); 16] = [
        ("position", "48.13791", "98.1", "not a valid position"),
        ("position", "VAN-042", "VAN-043", "claims to be \"VAN-043\""),
        ("position", "2026-11-22", "2026-11-24", "2000 to tomorrow"),
        ("position", "2026-11-22", "1999-11-22", "2000 to tomorrow"),
        ("position", "09:41:07", "10:10:01", "ten minutes"),
        ("event", "\"source\": \"", "\"source\": \"capture:", "not that of a van"),
        ("position", "3310", "9007199254740993", "above 2^53"),
        ("position", "8.31", "831", "speed_mps"),
        ("track", "3204", "3201", "ascending order"),
        ("track", "\"v\": 1", "\"v\": 7", "v is 7"),
        ("event", "parcel.delivered.v1", "parcel.delivered.v2", "version 1"),
        ("event", "parcel.delivered.v1", "PARCEL.v1", "two names"),
        ("event", "000000003340", "000000003342", "previoussequence"),
        ("event", "\"specversion\": \"1.0\"", "\"specversion\": \"0.3\"", "CloudEvents"),
        ("state", "\"ts\": \"", "\"ts\": \"x", "not an RFC 3339 time"),
        ("connection", "214", "-1", "match the schema"),
    ];

    #[test]
    fn what_is_wrong_is_said_with_what_it_should_be() {
        for (name, from, to, reason) in WRONG {
            let example = example(name);
            let wrong = example.replacen(from, to, 1);
            assert_ne!(wrong, example, "{from}");
            let poison = read(name, wrong.as_bytes()).expect_err(to);
            assert!(poison.reason.contains(reason), "{name}: {poison}");
        }
        for topic in
            ["fleet/v1/VAN-042/event", "acme/fleet/v2/VAN-042/event", "acme/fleet/v1/x", ""]
        {
            assert!(reader().parse(topic, b"{}", now()).is_err(), "{topic}");
        }
        assert!(reader().parse("acme/fleet/v1/a b/state", b"{}", now()).is_err());
    }

    #[test]
    fn a_source_that_names_another_van_is_rejected_and_a_number_of_gs1_names_none() {
        let named = |van: &str| {
            let source = format!("https://id.example.com/fleet/obj/{van}");
            let mut event: Value = serde_json::from_str(&example("event")).unwrap();
            event["source"] = source.into();
            read("event", event.to_string().as_bytes())
        };
        assert!(named("VAN-042").is_ok());
        assert!(named("VAN-007").unwrap_err().reason.contains("VAN-007"));
    }

    #[test]
    fn a_time_is_kept_in_one_spelling() {
        let example = example("position").replace("09:41:07.000Z", "10:41:07+01:00");
        let Payload::Position(position) = read("position", example.as_bytes()).unwrap().payload
        else {
            panic!("it is a position")
        };
        assert_eq!(position.point.ts, "2026-11-22T09:41:07.000Z");
    }

    proptest! {
        #[test]
        fn any_bytes_on_any_topic_are_a_message_or_poison(
            name in 0_usize..NAMES.len(),
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            at: prop::sample::Index,
            byte: u8,
        ) {
            let (name, file) = NAMES[name];
            let _ = read(name, &noise);
            let mut bytes = example(file).into_bytes();
            let index = at.index(bytes.len());
            let _ = read(name, &bytes[..index]);
            bytes[index] = byte;
            let _ = read(name, &bytes);
            let _ = read("track", &[&compact_track::MAGIC[..], &noise].concat());
            let _ = reader().parse(&String::from_utf8_lossy(&noise), &noise, now());
        }
    }
}
