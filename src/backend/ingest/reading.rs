//! Topic and payload → [`Message`], or [`Poison`] with its reason (pure).
//!
//! - Any bytes on any topic are one of the two. What a stranger sends costs a look at no more than [`MAX_BYTES`] of it.
//! - **A van speaks for itself only**: the topic's van, which the broker's ACL vouches for, is the payload's; an event's
//!   `source` that names a van names this one.
//! - Members that are not known are ignored; another version of payload, envelope or kind is poison, and never guessed at.
//! - Times lie between 2000 and a day from now; those of which only the newest is kept, at most ten minutes from now: a wrong
//!   clock's would stay the newest, and hide what the van says once its clock is right.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::backend::epc;
use crate::backend::event::{Event, Origin, Role};
use crate::units::{Position as Place, UtcTime};
use crate::wire::command::CommandResult;
use crate::wire::epcis::{self, EpcisEvent};
use crate::wire::json::{Connection, Point, Position, State, Track};
use crate::wire::{VERSION, VanId, compact, owntracks};

/// No payload of the contract is longer, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// Things of one event.
const MAX_EPCS: usize = 5_000;

/// Of one name or URI, in bytes.
const MAX_NAME_BYTES: usize = 1_024;

/// A van's clock may be ahead of ours by so much.
const MAX_AHEAD: Duration = Duration::from_hours(24);

/// The same of what only the newest is kept of: position, state, connection.
const MAX_NEWEST_AHEAD: Duration = Duration::from_mins(10);

/// 2000-01-01.
const EARLIEST_UNIX_MS: i64 = 946_684_800_000;

/// A receiver that says more is wrong, m/s.
const MAX_SPEED_MPS: f64 = 200.0;

/// Numbers above this are not exact in every reader of JSON (RFC 8259 §6).
const MAX_SEQ: u64 = 1 << 53;

/// What nobody can use, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Poison {
    /// In words, with the value and what it should be. It quotes nothing longer than a name.
    pub reason: String,
}

impl Poison {
    pub(in crate::backend) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Something that a van said.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Its id, as the topic has it.
    pub van: String,
    /// What.
    pub message: Message,
}

/// What a van says.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Its newest fix.
    Position(Box<Position>),
    /// A part of its trail.
    Track(Vec<Fix>),
    /// What happened.
    Event(Box<VanEvent>),
    /// Its health, and the payload as it came.
    State(Box<State>, UtcTime),
    /// Whether it is there.
    Connection(Box<Connection>),
    /// What a command came to.
    CommandResult(Box<CommandResult>),
}

/// A point of the trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    /// UTC of the fix.
    pub time: UtcTime,
    /// The rest.
    pub point: Point,
}

/// An event of a van.
#[derive(Clone, Debug, PartialEq)]
pub struct VanEvent {
    /// The event.
    pub event: Event,
    /// Number of the van's event before, if it says so.
    pub previous: Option<u64>,
}

/// Reads messages below one root of topics.
#[derive(Clone, Debug)]
pub struct Reader {
    /// `fleet/v1/`
    prefix: String,
    /// `owntracks/fleet/`
    owntracks: String,
}

impl Reader {
    /// For the vans below `root`, which may have several levels.
    #[must_use]
    pub fn new(root: &str) -> Self {
        let first = root.split('/').next().unwrap_or(root);
        Self { prefix: format!("{root}/v{VERSION}/"), owntracks: format!("owntracks/{first}/") }
    }

    /// What a message says, at `now`.
    ///
    /// # Errors
    /// [`Poison`].
    pub fn read(&self, topic: &str, payload: &[u8], now: UtcTime) -> Result<Said, Poison> {
        if payload.len() > MAX_BYTES {
            return Err(Poison::new(format!("{} bytes: at most {MAX_BYTES}", payload.len())));
        }
        if let Some(van) = topic.strip_prefix(&self.owntracks) {
            let van = van_id(van)?;
            let message = Message::Position(Box::new(phone(&van, payload, now)?));
            return Ok(Said { van, message });
        }
        let rest = topic.strip_prefix(&self.prefix);
        let (van, name) = rest
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| Poison::new("a topic that is none of the contract"))?;
        let van = van_id(van)?;
        let message = match name {
            "position" => Message::Position(Box::new(position(&van, payload, now)?)),
            "track" => Message::Track(track(&van, payload, now)?),
            "event" => Message::Event(Box::new(event(&van, payload, now)?)),
            "state" => state(&van, payload, now)?,
            "connection" => Message::Connection(Box::new(connection(&van, payload, now)?)),
            "cmd/res" => Message::CommandResult(Box::new(result(payload)?)),
            _ => return Err(Poison::new("a topic that is none of the contract")),
        };
        Ok(Said { van, message })
    }
}

fn van_id(text: &str) -> Result<String, Poison> {
    VanId::new(text).map(|van| van.to_string()).map_err(|error| Poison::new(error.to_string()))
}

/// Any JSON that has a version.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// Reads JSON, and says of what is none what it is: another version first.
fn json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Poison> {
    serde_json::from_slice(payload).map_err(|error| {
        match serde_json::from_slice::<Version>(payload) {
            Ok(Version { v }) if v != u64::from(VERSION) => version(v),
            _ => not_json(&error),
        }
    })
}

fn version(v: u64) -> Poison {
    Poison::new(format!("v is {v}: version {VERSION} is read here"))
}

/// Where it stops to be what it should be. The words of the error may quote the payload, so they are cut.
fn not_json(error: &serde_json::Error) -> Poison {
    let what = match error.classify() {
        serde_json::error::Category::Data => "of another shape",
        _ => "no JSON",
    };
    let words: String = error.to_string().chars().take(160).collect();
    Poison::new(format!("{what}: {words}"))
}

/// Version and van of a payload.
fn known(v: u8, said: &str, van: &str) -> Result<(), Poison> {
    if v != VERSION {
        return Err(version(v.into()));
    }
    if said != van {
        let said: String = said.chars().take(64).collect();
        return Err(Poison::new(format!("it claims to be {said:?}, and came from {van}")));
    }
    Ok(())
}

fn time(text: &str, now: UtcTime) -> Result<UtcTime, Poison> {
    let shown = || text.chars().take(40).collect::<String>();
    let time = UtcTime::parse(text)
        .ok_or_else(|| Poison::new(format!("{:?} is no time: RFC 3339", shown())))?;
    let latest = now.checked_add(MAX_AHEAD).unwrap_or(now);
    if time.as_unix_ms() < EARLIEST_UNIX_MS || time > latest {
        return Err(Poison::new(format!("{} is no time of a van: 2000 to tomorrow", shown())));
    }
    Ok(time)
}

/// The time of something of which only the newest is kept.
fn newest(time: UtcTime, now: UtcTime) -> Result<UtcTime, Poison> {
    if time > now.checked_add(MAX_NEWEST_AHEAD).unwrap_or(now) {
        return Err(Poison::new(format!("{time} is ahead of {now}: at most ten minutes")));
    }
    Ok(time)
}

fn seq(seq: u64) -> Result<u64, Poison> {
    if seq > MAX_SEQ {
        return Err(Poison::new(format!("number {seq} is above 2^53")));
    }
    Ok(seq)
}

fn point(point: &Point, now: UtcTime) -> Result<UtcTime, Poison> {
    seq(point.seq)?;
    if Place::from_degrees(point.lat, point.lon).is_none() {
        return Err(Poison::new(format!("lat {}, lon {}: no place", point.lat, point.lon)));
    }
    if point.speed_mps.is_some_and(|speed| !(0.0..=MAX_SPEED_MPS).contains(&speed)) {
        return Err(Poison::new("speed_mps: 0 to 200"));
    }
    let radius = [point.acc_m, point.odo_m].into_iter().flatten();
    if radius.chain(point.course_deg).any(|value| !(0.0..=1e10).contains(&value)) {
        return Err(Poison::new("acc_m, odo_m or course_deg: no number of the contract"));
    }
    time(&point.ts, now)
}

fn position(van: &str, payload: &[u8], now: UtcTime) -> Result<Position, Poison> {
    let mut position: Position = json(payload)?;
    known(position.v, &position.van, van)?;
    // One spelling, whatever offset the sender writes: times are compared as texts elsewhere.
    position.point.ts = newest(point(&position.point, now)?, now)?.to_string();
    if position.route.as_ref().is_some_and(|route| route.len() > MAX_NAME_BYTES) {
        return Err(Poison::new("route: too long"));
    }
    Ok(position)
}

fn track(van: &str, payload: &[u8], now: UtcTime) -> Result<Vec<Fix>, Poison> {
    let track: Track = if payload.starts_with(&compact::MAGIC) {
        let message = compact::decode(payload);
        message.map_err(|error| Poison::new(error.to_string()))?.track(van)
    } else {
        json(payload)?
    };
    known(track.v, &track.van, van)?;
    if !(1..=Track::MAX_POINTS).contains(&track.points.len()) {
        return Err(Poison::new(format!("{} points: 1 to 500", track.points.len())));
    }
    if !track.points.windows(2).all(|pair| pair[0].seq < pair[1].seq) {
        return Err(Poison::new("points that do not ascend"));
    }
    let fix = |its: Point| Ok(Fix { time: point(&its, now)?, point: its });
    track.points.into_iter().map(fix).collect()
}

fn state(van: &str, payload: &[u8], now: UtcTime) -> Result<Message, Poison> {
    let state: State = json(payload)?;
    known(state.v, &state.van, van)?;
    let time = newest(time(&state.ts, now)?, now)?;
    Ok(Message::State(Box::new(state), time))
}

fn connection(van: &str, payload: &[u8], now: UtcTime) -> Result<Connection, Poison> {
    let mut connection: Connection = json(payload)?;
    known(connection.v, &connection.van, van)?;
    seq(connection.session)?;
    if let Some(ts) = &mut connection.ts {
        *ts = newest(time(ts, now)?, now)?.to_string();
    }
    Ok(connection)
}

fn result(payload: &[u8]) -> Result<CommandResult, Poison> {
    let mut result: CommandResult = json(payload)?;
    if result.v != VERSION {
        return Err(version(result.v.into()));
    }
    if !["accepted", "done", "rejected", "expired", "stale"].contains(&result.status.as_str()) {
        return Err(Poison::new("status: accepted, done, rejected, expired or stale"));
    }
    if result.id.len() > 64 {
        return Err(Poison::new("id: no UUID"));
    }
    result.detail = result.detail.map(|detail| detail.chars().take(500).collect());
    Ok(result)
}

/// A phone with OwnTracks says its place as a van does, by the second.
fn phone(van: &str, payload: &[u8], now: UtcTime) -> Result<Position, Poison> {
    let said: owntracks::Location = json(payload)?;
    if said.kind != "location" {
        return Err(Poison::new("_type: location"));
    }
    let ts = said.tst.checked_mul(1000).and_then(UtcTime::from_unix_ms);
    let ts = ts.ok_or_else(|| Poison::new("tst: seconds since 1970"))?.to_string();
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
        stop_status: None,
        odo_m: None,
        backlog: false,
    };
    newest(point(&its, now)?, now)?;
    let van = van.to_owned();
    Ok(Position { v: VERSION, van, point: its, route: None, stop_seq: None, stops_remaining: None })
}

fn event(van: &str, payload: &[u8], now: UtcTime) -> Result<VanEvent, Poison> {
    let said = epcis::decode(payload).map_err(|error| match error {
        epcis::EventError::Malformed(error) => not_json(&error),
        other @ epcis::EventError::Specversion(_) => {
            Poison::new(other.to_string().chars().take(200).collect::<String>())
        }
    })?;
    for name in [&said.id, &said.source, &said.kind, &said.data.event_id] {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(Poison::new("id, source, type or eventID: 1 to 1,024 bytes"));
        }
    }
    if said.subject.as_ref().is_some_and(|subject| subject.len() > MAX_NAME_BYTES) {
        return Err(Poison::new("subject: too long"));
    }
    own_source(&said.source, van)?;
    let kind = kind(&said.kind)?;
    time(&said.time, now)?;
    let number = |text: &str| text.parse().ok().filter(|number| *number <= MAX_SEQ);
    let seq = number(&said.sequence).ok_or_else(|| Poison::new("sequence: digits"))?;
    let previous = match &said.previoussequence {
        None => None,
        Some(text) => Some(
            number(text)
                .filter(|previous| *previous < seq)
                .ok_or_else(|| Poison::new("previoussequence: digits, below sequence"))?,
        ),
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
        time: time(&said.data.event_time, now)?,
        captured_at: now,
        retracts: said.data.error_declaration.is_some(),
        epcs: epcs(&said.data)?,
        job: None,
        data: serde_json::to_value(&said.data).map_err(|error| not_json(&error))?,
    };
    Ok(VanEvent { event, previous })
}

/// A source that the van's id is in, as `https://{domain}/fleet/obj/{van}`, must have this van's. One of GS1's numbers has
/// no id in it: to whom that belongs is for the store to know. What others say comes under names that no van has.
fn own_source(source: &str, van: &str) -> Result<(), Poison> {
    let is_others = ["capture:", "import:"].iter().any(|name| source.starts_with(name));
    if is_others || source.ends_with("/backend") {
        return Err(Poison::new("its source is none of a van"));
    }
    match van_of_source(source) {
        Some(named) if named != van => {
            let named: String = named.chars().take(64).collect();
            Err(Poison::new(format!("its source claims to be {named:?}, and it came from {van}")))
        }
        _ => Ok(()),
    }
}

/// The van's id in a source of the operator's own.
#[must_use]
pub fn van_of_source(source: &str) -> Option<&str> {
    source.rsplit_once("/fleet/obj/").map(|(_, van)| van)
}

/// `com.example.van.parcel.delivered.v1` → `parcel.delivered`.
fn kind(text: &str) -> Result<String, Poison> {
    let unknown = || Poison::new(format!("type {text:.80?}: prefix, two words and v1"));
    let (name, version) = text.rsplit_once(".v").ok_or_else(unknown)?;
    if version != VERSION.to_string() {
        return Err(Poison::new(format!("type {text:.80?}: kinds of version 1 are read here")));
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

/// What an event is about, each thing once.
fn epcs(data: &EpcisEvent) -> Result<Vec<(String, Role)>, Poison> {
    let list = |list: &Option<Vec<String>>, role| -> Vec<(String, Role)> {
        list.iter().flatten().map(|uri| (epc::canonical(uri), role)).collect()
    };
    let mut found = list(&data.epc_list, Role::Epc);
    found.extend(list(&data.child_epcs, Role::Child));
    found.extend(data.parent_id.iter().map(|uri| (epc::canonical(uri), Role::Parent)));
    if found.len() > MAX_EPCS {
        return Err(Poison::new(format!("{} things: at most {MAX_EPCS}", found.len())));
    }
    if found.iter().any(|(uri, _)| uri.is_empty() || uri.len() > MAX_NAME_BYTES) {
        return Err(Poison::new("a thing without a name, or with one of more than 1,024 bytes"));
    }
    let mut once = std::collections::BTreeSet::new();
    found.retain(|(uri, _)| once.insert(uri.clone()));
    Ok(found)
}

/// A member of the event as text, for a column.
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

    fn reader() -> Reader {
        Reader::new("acme/fleet")
    }

    fn read(name: &str, payload: &[u8]) -> Result<Said, Poison> {
        reader().read(&format!("acme/fleet/v1/VAN-042/{name}"), payload, now())
    }

    fn example(name: &str) -> String {
        let root = env!("CARGO_MANIFEST_DIR");
        std::fs::read_to_string(format!("{root}/docs/contract/{name}.example.json")).unwrap()
    }

    const NAMES: [(&str, &str); 6] = [
        ("position", "position"),
        ("track", "track"),
        ("event", "event"),
        ("state", "state"),
        ("connection", "connection"),
        ("cmd/res", "command_result"),
    ];

    #[test]
    fn each_example_of_the_contract_is_read_below_a_root_of_several_levels() {
        for (name, file) in NAMES {
            let said = read(name, example(file).as_bytes()).expect(name);
            assert_eq!(said.van, "VAN-042");
            if let Message::Event(event) = said.message {
                assert_eq!(event.event.kind, "parcel.delivered");
                assert_eq!((event.event.seq, event.previous), (Some(3342), Some(3340)));
                assert!(!event.event.epcs.is_empty() && !event.event.retracts);
            }
        }
        let phone =
            br#"{"_type":"location","lat":48.1,"lon":11.5,"tst":1795341600,"tid":"42","t":"t"}"#;
        let said = reader().read("owntracks/acme/anna", phone, now()).unwrap();
        assert!(matches!(said.message, Message::Position(_)));
    }

    /// (topic, what is replaced in its example, by what, words of the reason)
    const WRONG: [(&str, &str, &str, &str); 16] = [
        ("position", "48.13791", "98.1", "no place"),
        ("position", "VAN-042", "VAN-043", "claims to be \"VAN-043\""),
        ("position", "2026-11-22", "2026-11-24", "2000 to tomorrow"),
        ("position", "2026-11-22", "1999-11-22", "2000 to tomorrow"),
        ("position", "09:41:07", "10:10:01", "ten minutes"),
        ("event", "\"source\": \"", "\"source\": \"capture:", "none of a van"),
        ("position", "3310", "9007199254740993", "above 2^53"),
        ("position", "8.31", "831", "speed_mps"),
        ("track", "3204", "3201", "do not ascend"),
        ("track", "\"v\": 1", "\"v\": 7", "v is 7"),
        ("event", "parcel.delivered.v1", "parcel.delivered.v2", "version 1"),
        ("event", "parcel.delivered.v1", "PARCEL.v1", "two words"),
        ("event", "000000003340", "000000003342", "previoussequence"),
        ("event", "\"specversion\": \"1.0\"", "\"specversion\": \"0.3\"", "CloudEvents"),
        ("state", "\"ts\": \"", "\"ts\": \"x", "is no time"),
        ("connection", "214", "-1", "another shape"),
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
            assert!(reader().read(topic, b"{}", now()).is_err(), "{topic}");
        }
        assert!(reader().read("acme/fleet/v1/a b/state", b"{}", now()).is_err());
    }

    #[test]
    fn a_source_that_names_another_van_is_poison_and_a_number_of_gs1_names_none() {
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
        let Message::Position(position) = read("position", example.as_bytes()).unwrap().message
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
            let _ = read("track", &[&compact::MAGIC[..], &noise].concat());
            let _ = reader().read(&String::from_utf8_lossy(&noise), &noise, now());
        }
    }
}
