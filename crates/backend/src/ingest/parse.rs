//! Parses a topic and payload into a `Payload` or an `InvalidMessage` with its reason. Pure.
//!
//! - Any bytes on any topic give one of the two. Untrusted input costs at most [`MAX_BYTES`] of
//!   parsing.
//! - **A van can only report about itself.** The broker's ACL authenticates the van of the topic.
//!   It must match the van of the payload and the van in an event's `source`.
//! - Unknown members are ignored, and so are unknown words of known members, so that a van may be
//!   newer than the backend. Another version of payload, envelope or event type is invalid.
//! - A time is plausible from a year ago to ten minutes ahead. Any other time is a [`ClockFault`]:
//!   an event or a live value is kept with the time of its arrival, and an event keeps the reported
//!   time in a member. A live value is never ahead of its arrival, since it would hide later ones.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::unknown_words;
use crate::epc;
use crate::event::{Event, Origin, Role};
use waypost_model::units::{Position as Place, UtcTime};
use waypost_wire::command::CommandResultPayload;
use waypost_wire::epcis::{self, CloudEvent, EpcisEvent};
use waypost_wire::payloads::{ConnectionStatus, Point, Position, State, Track};
use waypost_wire::{VERSION, VanId, compact_track, owntracks};

/// Maximum payload size in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// Maximum number of EPCs per event.
const MAX_EPCS: usize = 5_000;

/// Maximum length of a name or URI in bytes.
const MAX_NAME_BYTES: usize = 1_024;

/// Maximum plausible lead of a van's clock over ours.
pub const MAX_CLOCK_LEAD: Duration = Duration::from_mins(10);

/// Maximum plausible age of a record.
pub const MAX_RECORD_AGE: Duration = Duration::from_hours(24 * 366);

/// Member of an event with the time that the van reported, if it was not plausible.
pub const REPORTED_TIME_MEMBER: &str = "waypost:reportedTime";

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
    /// Set if the only fault is a time that is not plausible by our clock.
    pub clock_fault: Option<ClockFault>,
    /// Van id from the topic, if that is valid.
    pub van: Option<String>,
}

/// A time that is not plausible by our clock. Either clock may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockFault {
    /// More than [`MAX_CLOCK_LEAD`] ahead.
    Ahead,
    /// More than [`MAX_RECORD_AGE`] old.
    Old,
}

impl InvalidMessage {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), clock_fault: None, van: None }
    }
}

/// A parsed message from a van.
#[derive(Clone, Debug, PartialEq)]
pub struct VanMessage {
    /// Van id from the topic.
    pub van: String,
    pub payload: Payload,
    /// Set if a time of the message was not plausible.
    pub clock_fault: Option<ClockFault>,
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
            let (position, clock_fault) = parse_owntracks(&van, payload, now)?;
            let payload = Payload::Position(Box::new(position));
            return Ok(VanMessage { van, payload, clock_fault });
        }
        let rest = topic.strip_prefix(&self.prefix);
        let (van, name) = rest
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| InvalidMessage::new("unknown topic: not defined by the contract"))?;
        let van = van_id(van)?;
        let (message, clock_fault) = match name {
            "position" => {
                let (position, fault) = parse_position(&van, payload, now)?;
                (Payload::Position(Box::new(position)), fault)
            }
            "track" => (Payload::Track(parse_track(&van, payload, now)?), None),
            "event" => {
                let (event, fault) = parse_event(&van, payload, now)?;
                (Payload::Event(Box::new(event)), fault)
            }
            "state" => parse_state(&van, payload, now)?,
            "connection" => {
                let (connection, fault) = parse_connection(&van, payload, now)?;
                (Payload::Connection(Box::new(connection)), fault)
            }
            "command/result" => {
                (Payload::CommandResult(Box::new(parse_command_result(payload)?)), None)
            }
            _ => return Err(InvalidMessage::new("unknown topic: not defined by the contract")),
        };
        Ok(VanMessage { van, payload: message, clock_fault })
    }
}

/// The van id in a topic of a van below any root, if it is valid.
#[must_use]
pub fn van_from_topic(topic: &str) -> Option<&str> {
    let level = format!("/v{VERSION}/");
    let van = match topic.strip_prefix("owntracks/") {
        Some(rest) => rest.split_once('/')?.1,
        None => topic.split_once(level.as_str())?.1.split_once('/')?.0,
    };
    VanId::new(van).is_ok().then_some(van)
}

/// Whether a payload is well-formed, and so worth keeping whole: JSON, or a compact track.
#[must_use]
pub fn is_well_formed(payload: &[u8]) -> bool {
    payload.len() <= MAX_BYTES
        && (payload.starts_with(&compact_track::MAGIC)
            || serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok())
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

/// Parses JSON without its unknown words; on failure an unsupported version is reported first.
fn parse_json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, InvalidMessage> {
    unknown_words::parse(payload).map(|(parsed, _)| parsed).map_err(|error| {
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

fn parse_time(text: &str) -> Result<UtcTime, InvalidMessage> {
    UtcTime::parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        InvalidMessage::new(format!("{shown:?} is not an RFC 3339 time"))
    })
}

/// Whether a time is plausible by our clock.
fn clock_fault(time: UtcTime, now: UtcTime) -> Option<ClockFault> {
    let ahead = time > now.checked_add(MAX_CLOCK_LEAD).unwrap_or(now);
    let old = now.checked_sub(MAX_RECORD_AGE).is_some_and(|earliest| time < earliest);
    ahead.then_some(ClockFault::Ahead).or(old.then_some(ClockFault::Old))
}

/// Time of a live value of which only the newest is kept: never ahead of its arrival.
fn live_time(time: UtcTime, now: UtcTime) -> (UtcTime, Option<ClockFault>) {
    let fault = clock_fault(time, now);
    (if fault.is_some() { now } else { time.min(now) }, fault)
}

/// Time of a retained value, which may be as old as it is.
fn retained_time(time: UtcTime, now: UtcTime) -> (UtcTime, Option<ClockFault>) {
    let fault = clock_fault(time, now).filter(|fault| *fault == ClockFault::Ahead);
    (time.min(now), fault)
}

fn check_seq(seq: u64) -> Result<u64, InvalidMessage> {
    if seq > MAX_SEQ {
        return Err(InvalidMessage::new(format!("sequence number {seq} is above 2^53")));
    }
    Ok(seq)
}

fn check_point(point: &Point) -> Result<UtcTime, InvalidMessage> {
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
    parse_time(&point.ts)
}

/// A value with the fault of its time.
type Timed<T> = (T, Option<ClockFault>);

fn parse_position(
    van: &str,
    payload: &[u8],
    now: UtcTime,
) -> Result<Timed<Position>, InvalidMessage> {
    let mut position: Position = parse_json(payload)?;
    check_header(position.v, &position.van, van)?;
    // Normalized to one spelling, since times are compared as text elsewhere.
    let (time, fault) = live_time(check_point(&position.point)?, now);
    position.point.ts = time.to_string();
    if position.route.as_ref().is_some_and(|route| route.len() > MAX_NAME_BYTES) {
        return Err(InvalidMessage::new("route: longer than 1,024 bytes"));
    }
    Ok((position, fault))
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
    let fix = |its: Point| {
        let time = check_point(&its)?;
        match clock_fault(time, now) {
            None => Ok(Fix { time, point: its }),
            fault => Err(InvalidMessage {
                reason: format!("{time} is out of range: from a year ago to ten minutes ahead"),
                clock_fault: fault,
                van: Some(van.to_owned()),
            }),
        }
    };
    track.points.into_iter().map(fix).collect()
}

fn parse_state(van: &str, payload: &[u8], now: UtcTime) -> Result<Timed<Payload>, InvalidMessage> {
    let state: State = parse_json(payload)?;
    check_header(state.v, &state.van, van)?;
    let (time, fault) = retained_time(parse_time(&state.ts)?, now);
    Ok((Payload::State(Box::new(state), time), fault))
}

fn parse_connection(
    van: &str,
    payload: &[u8],
    now: UtcTime,
) -> Result<Timed<ConnectionStatus>, InvalidMessage> {
    let mut connection: ConnectionStatus = parse_json(payload)?;
    check_header(connection.v, &connection.van, van)?;
    check_seq(connection.session)?;
    let mut fault = None;
    if let Some(ts) = &mut connection.ts {
        let time;
        (time, fault) = retained_time(parse_time(ts)?, now);
        *ts = time.to_string();
    }
    Ok((connection, fault))
}

fn parse_command_result(payload: &[u8]) -> Result<CommandResultPayload, InvalidMessage> {
    let mut result: CommandResultPayload = parse_json(payload)?;
    if result.v != VERSION {
        return Err(wrong_version(result.v.into()));
    }
    let statuses = ["accepted", "succeeded", "failed", "rejected", "expired"];
    if !statuses.contains(&result.status.as_str()) {
        // The van has the command; whether it was executed is not known.
        let unknown = std::mem::replace(&mut result.status, "accepted".to_owned());
        result.code.get_or_insert(unknown);
    }
    if result.id.len() > 64 {
        return Err(InvalidMessage::new("id: longer than 64 bytes; must be a UUID"));
    }
    result.detail = result.detail.map(|detail| detail.chars().take(500).collect());
    result.code = result.code.map(|code| code.chars().take(64).collect());
    Ok(result)
}

/// Parses a position from an OwnTracks phone, with a resolution of one second.
fn parse_owntracks(
    van: &str,
    payload: &[u8],
    now: UtcTime,
) -> Result<Timed<Position>, InvalidMessage> {
    let said: owntracks::Location = parse_json(payload)?;
    if said.kind != "location" {
        return Err(InvalidMessage::new("_type: must be location"));
    }
    let ts = said.tst.checked_mul(1000).and_then(UtcTime::from_unix_ms);
    let ts = ts.ok_or_else(|| InvalidMessage::new("tst: must be seconds since 1970"))?.to_string();
    #[expect(clippy::cast_precision_loss, reason = "whole metres and km/h")]
    let real = |value: i64| value as f64;
    let mut its = Point {
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
    let (time, fault) = live_time(check_point(&its)?, now);
    its.ts = time.to_string();
    let van = van.to_owned();
    let position = Position {
        v: VERSION,
        van,
        point: its,
        route: None,
        stop_seq: None,
        stop_status: None,
        stops_remaining: None,
    };
    Ok((position, fault))
}

fn parse_event(van: &str, payload: &[u8], now: UtcTime) -> Result<Timed<VanEvent>, InvalidMessage> {
    let (said, has_unknown_words): (CloudEvent, bool) =
        unknown_words::parse(payload).map_err(|error| json_error(&error))?;
    if said.specversion != CloudEvent::SPECVERSION {
        let error = epcis::EventError::Specversion(said.specversion);
        return Err(InvalidMessage::new(error.to_string().chars().take(200).collect::<String>()));
    }
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
    parse_time(&said.time)?;
    let number = |text: &str| text.parse().ok().filter(|number| *number <= MAX_SEQ);
    let seq =
        number(&said.sequence).ok_or_else(|| InvalidMessage::new("sequence: must be digits"))?;
    let previous = match &said.previoussequence {
        None => None,
        Some(text) => Some(number(text).filter(|previous| *previous < seq).ok_or_else(|| {
            InvalidMessage::new("previoussequence: must be digits, below sequence")
        })?),
    };
    let mut data = serde_json::to_value(&said.data).map_err(|error| json_error(&error))?;
    if has_unknown_words {
        unknown_words::restore(&mut data, payload);
    }
    let reported = parse_time(&said.data.event_time)?;
    let fault = clock_fault(reported, now);
    if fault.is_some() {
        data["eventTime"] = now.to_string().into();
        data[REPORTED_TIME_MEMBER] = said.data.event_time.as_str().into();
    }
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
        time: if fault.is_some() { now } else { reported },
        captured_at: now,
        retracts: said.data.error_declaration.is_some(),
        epcs: collect_epcs(&said.data)?,
        job: None,
        data,
    };
    Ok((VanEvent { event, previous }, fault))
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
    const WRONG: [(&str, &str, &str, &str); 15] = [
        ("position", "48.13791", "98.1", "not a valid position"),
        ("position", "VAN-042", "VAN-043", "claims to be \"VAN-043\""),
        ("track", "2026-11-22", "2026-11-24", "ten minutes ahead"),
        ("track", "2026-11-22", "1999-11-22", "from a year ago"),
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

    /// Members whose value is an identity, a number or a time. All others with a text are words that
    /// a newer van may extend, or texts.
    const IDENTITIES: [&str; 12] = [
        "v",
        "van",
        "ts",
        "id",
        "source",
        "type",
        "time",
        "sequence",
        "previoussequence",
        "eventID",
        "eventTime",
        "specversion",
    ];

    /// Pointers to all members with a text.
    fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    texts(member, &format!("{at}/{name}"), found);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    texts(item, &format!("{at}/{index}"), found);
                }
            }
            Value::String(_) => found.push(at.to_owned()),
            _ => {}
        }
    }

    #[test]
    fn an_unknown_word_in_any_member_loses_nothing_else() {
        let mut tried = 0;
        for (name, file) in NAMES {
            let example: Value = serde_json::from_str(&example(file)).unwrap();
            let mut members = Vec::new();
            texts(&example, "", &mut members);
            for pointer in members {
                let last = pointer.rsplit('/').next().unwrap();
                let is_type_of_epcis = pointer == "/data/type";
                // Without its state, nothing is left of this message; it is kept as a dead letter.
                let is_all = (name, pointer.as_str()) == ("connection", "/state");
                if IDENTITIES.contains(&last) && !is_type_of_epcis || is_all {
                    continue;
                }
                let mut newer = example.clone();
                *newer.pointer_mut(&pointer).unwrap() = "a_word_of_a_later_version".into();
                let read = read(name, newer.to_string().as_bytes());
                let said = read.unwrap_or_else(|error| panic!("{name} {pointer}: {error}"));
                match said.payload {
                    Payload::Track(fixes) => assert_eq!(fixes.len(), 2, "{pointer}"),
                    Payload::Event(event) => {
                        let kept = event.event.data.pointer(pointer.trim_start_matches("/data"));
                        if pointer.starts_with("/data/") {
                            assert_eq!(kept, newer.pointer(&pointer), "{pointer}");
                        }
                    }
                    _ => {}
                }
                tried += 1;
            }
        }
        assert!(tried > 40, "{tried}");
    }

    #[test]
    fn unknown_words_of_several_members_in_all_points_lose_nothing_else() {
        let mut track: Value = serde_json::from_str(&example("track")).unwrap();
        let point = track["points"][0].clone();
        let points = (0..60).map(|n| {
            let mut point = point.clone();
            point["seq"] = (n + 1).into();
            point["quality"] = "better_than_rtk".into();
            point["motion"] = "levitating".into();
            point
        });
        track["points"] = points.collect();
        let read = read("track", track.to_string().as_bytes()).unwrap();
        let Payload::Track(fixes) = read.payload else { panic!("it is a track") };
        assert_eq!(fixes.len(), 60);
        assert!(fixes.iter().all(|fix| fix.point.quality.is_none()));
    }

    /// Reads an event or a position at a time relative to ours, and returns the time that counts.
    fn read_at(name: &str, time: UtcTime) -> (UtcTime, Option<ClockFault>, Value) {
        let mut message: Value = serde_json::from_str(&example(name)).unwrap();
        if name == "event" {
            message["data"]["eventTime"] = time.to_string().into();
        } else {
            message["ts"] = time.to_string().into();
        }
        let read = read(name, message.to_string().as_bytes()).unwrap();
        match read.payload {
            Payload::Event(event) => (event.event.time, read.clock_fault, event.event.data),
            Payload::Position(position) => {
                (UtcTime::parse(&position.point.ts).unwrap(), read.clock_fault, Value::Null)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_implausible_time_is_replaced_by_that_of_the_arrival_and_marked() {
        let at = |text: &str| UtcTime::parse(text).unwrap();
        for (time, fault) in [
            ("2007-04-08T10:00:00.000Z", Some(ClockFault::Old)),
            ("2025-10-18T10:00:00.000Z", Some(ClockFault::Old)),
            ("2026-11-20T10:00:00.000Z", None),
            ("2026-11-22T10:09:00.000Z", None),
            ("2026-11-23T10:00:00.000Z", Some(ClockFault::Ahead)),
            ("2027-12-27T10:00:00.000Z", Some(ClockFault::Ahead)),
        ] {
            let (counts, found, data) = read_at("event", at(time));
            assert_eq!(found, fault, "{time}");
            assert_eq!(counts, if fault.is_some() { now() } else { at(time) }, "{time}");
            assert_eq!(data["eventTime"], counts.to_string(), "{time}");
            let marked = data.get(REPORTED_TIME_MEMBER).and_then(Value::as_str);
            assert_eq!(marked, fault.map(|_| time));
            let (counts, found, _) = read_at("position", at(time));
            assert_eq!(found, fault, "{time}");
            assert_eq!(counts, if fault.is_some() { now() } else { at(time).min(now()) }, "{time}");
        }
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
