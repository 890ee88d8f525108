//! What vans say → rows, many messages in one transaction, each thing once.
//!
//! - An event that is there stays as it is, and so do the things that it names: who says it again changes nothing.
//! - Of a van's position, state and connection the newest by its own time stays, in whatever order they come.
//! - Rows are in the order of their keys, so that two instances do not wait for each other crosswise.

mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::texts::{CONNECTION, EVENT_EPCS, EVENTS, HEARD, POISON, POSITIONS, STATE, TRACK, many};
use super::retention::bound_poison;
use super::{Outcome, Statement, Store, StoreError, Value, commands, events};
use crate::backend::event::{Event, Role};
use crate::backend::ingest::reading::{Fix, Message, Poison, Said, VanEvent};
use crate::units::UtcTime;
use crate::wire::json::{Connection, ConnectionState, Position, StopStatus};

/// Of a payload that nobody could read, so many bytes are kept.
pub const MAX_POISON_BYTES: usize = 4 * 1024;

/// A message as it came, and what it says.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its topic.
    pub topic: String,
    /// The payload; of poison at most [`MAX_POISON_BYTES`].
    pub payload: Vec<u8>,
    /// How many bytes it had.
    pub bytes: usize,
    /// What it says.
    pub said: Result<Said, Poison>,
}

/// What came of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Events that were new.
    pub events_new: u64,
    /// Events that were there.
    pub events_repeated: u64,
    /// Points that were new.
    pub points_new: u64,
    /// Points that were there.
    pub points_repeated: u64,
    /// Messages that were set aside.
    pub poison: u64,
    /// Vans whose position was the newest.
    pub positions: BTreeSet<String>,
    /// Vans that said something of themselves.
    pub vans: BTreeSet<String>,
    /// Canonical URIs that a new event names, by van.
    pub epcs: BTreeMap<String, BTreeSet<String>>,
    /// Vans that have connected.
    pub connected: BTreeSet<String>,
}

impl Taken {
    /// What came of another part of the batch.
    pub(in crate::backend) fn add(&mut self, other: Self) {
        self.events_new += other.events_new;
        self.events_repeated += other.events_repeated;
        self.points_new += other.points_new;
        self.points_repeated += other.points_repeated;
        self.poison += other.poison;
        self.positions.extend(other.positions);
        self.vans.extend(other.vans);
        self.connected.extend(other.connected);
        for (van, epcs) in other.epcs {
            self.epcs.entry(van).or_default().extend(epcs);
        }
    }
}

/// What a statement of the batch was about.
#[derive(Clone, Debug)]
enum About {
    Events,
    Points,
    Positions,
    State(String),
    Connection(String, ConnectionState),
    Poison(u64),
    Nothing,
}

/// A batch on its way into statements.
#[derive(Debug, Default)]
struct Batch<'a> {
    events: BTreeMap<(&'a str, &'a str), &'a VanEvent>,
    events_said: u64,
    points: BTreeMap<(&'a str, i64, u64), &'a Fix>,
    points_said: u64,
    positions: BTreeMap<&'a str, &'a Position>,
    states: BTreeMap<&'a str, (UtcTime, String)>,
    connections: Vec<(&'a str, &'a Connection)>,
    answers: Vec<Statement>,
    ends: Vec<Statement>,
    poison: Vec<Vec<Value>>,
    heard: BTreeSet<&'a str>,
}

impl Store {
    /// Takes messages, all or none, and says what was new. A parcel's page is gone `page` after its end.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if one of them is nothing that the database takes; then none of them was taken.
    pub async fn take(
        &self,
        arrivals: &[Arrival],
        now: UtcTime,
        page: Duration,
    ) -> Result<Taken, StoreError> {
        let batch = Batch::of(arrivals, now, page);
        let (abouts, statements): (Vec<About>, Vec<Statement>) =
            batch.statements(now).into_iter().unzip();
        let outcomes = self.write(statements).await?;
        Ok(batch.taken(&abouts, &outcomes))
    }

    /// The van that has used a source of events, if any has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn van_of_source(&self, source: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT van FROM event WHERE source = $1 AND van IS NOT NULL LIMIT 1";
        let rows = self.read(Statement::new(sql, [source.into()])).await?;
        Ok(rows.first().and_then(|row| row.maybe_text(0).map(str::to_owned)))
    }
}

impl<'a> Batch<'a> {
    fn of(arrivals: &'a [Arrival], now: UtcTime, page: Duration) -> Self {
        let mut batch = Self::default();
        for arrival in arrivals {
            match &arrival.said {
                Ok(said) => batch.add(said, now, page),
                Err(poison) => {
                    let cut = arrival.payload.len().min(MAX_POISON_BYTES);
                    let bytes = i64::try_from(arrival.bytes).unwrap_or(i64::MAX);
                    batch.poison.push(vec![
                        arrival.topic.as_str().into(),
                        poison.reason.as_str().into(),
                        arrival.payload[..cut].to_vec().into(),
                        bytes.into(),
                        now.into(),
                    ]);
                }
            }
        }
        batch
    }

    fn add(&mut self, said: &'a Said, now: UtcTime, page: Duration) {
        let van = said.van.as_str();
        self.heard.insert(van);
        match &said.message {
            Message::Event(event) => {
                self.events_said += 1;
                let key = (event.event.source.as_str(), event.event.id.as_str());
                self.ends.extend(ends(&event.event, page));
                self.events.entry(key).or_insert(event);
            }
            Message::Track(fixes) => {
                self.points_said += fixes.len() as u64;
                for fix in fixes {
                    let key = (van, fix.time.as_unix_ms(), fix.point.seq);
                    self.points.entry(key).or_insert(fix);
                }
            }
            Message::Position(position) => {
                let newest = self.positions.entry(van).or_insert(position);
                if newest.point.ts < position.point.ts {
                    *newest = position;
                }
            }
            Message::State(state, time) => {
                let text = serde_json::to_string(state).expect("numbers that were read from JSON");
                let newest = self.states.entry(van).or_insert_with(|| (*time, text.clone()));
                if newest.0 < *time {
                    *newest = (*time, text);
                }
            }
            Message::Connection(connection) => self.connections.push((van, connection)),
            Message::CommandResult(result) => {
                let detail = result.detail.as_deref();
                let answer = commands::answered(van, &result.id, &result.status, detail, now);
                self.answers.push(answer);
            }
        }
    }

    fn statements(&self, now: UtcTime) -> Vec<(About, Statement)> {
        let mut all: Vec<(About, Statement)> = Vec::new();
        let heard = self.heard.iter().map(|van| vec![(*van).into(), now.into()]).collect();
        let nothing = |_| About::Nothing;
        all.extend(many(&HEARD, heard, nothing));
        all.extend(many(&EVENTS, self.event_rows(now), |_| About::Events));
        all.extend(many(&EVENT_EPCS, self.epc_rows(now), nothing));
        all.extend(many(&TRACK, self.point_rows(now), |_| About::Points));
        let positions = self.positions.iter();
        let positions = positions.filter_map(|(van, position)| position_row(van, position));
        all.extend(many(&POSITIONS, positions.collect(), |_| About::Positions));
        for (van, (time, text)) in &self.states {
            let values = [(*van).into(), text.as_str().into(), (*time).into(), now.into()];
            all.push((About::State((*van).to_owned()), Statement::new(STATE, values)));
        }
        for (van, connection) in &self.connections {
            all.extend(connected(van, connection, now));
        }
        let others = self.ends.iter().chain(&self.answers);
        all.extend(others.cloned().map(|statement| (About::Nothing, statement)));
        all.extend(many(&POISON, self.poison.clone(), |rows| About::Poison(rows as u64)));
        if !self.poison.is_empty() {
            all.push((About::Nothing, bound_poison()));
        }
        all
    }

    /// Captured when it is stored: one that waited for the store must not come in behind who asks for what is new.
    fn event_rows(&self, now: UtcTime) -> Vec<Vec<Value>> {
        let row = |VanEvent { event, previous }: &&VanEvent| {
            events::values(event, event.data.to_string(), *previous, now)
        };
        self.events.values().map(row).collect()
    }

    /// Only of events that this very batch brings: what an event names does not grow when it is said again.
    fn epc_rows(&self, now: UtcTime) -> Vec<Vec<Value>> {
        let mut rows = BTreeMap::new();
        for ((source, id), event) in &self.events {
            for (epc, role) in &event.event.epcs {
                let row = vec![
                    epc.as_str().into(),
                    role.name().into(),
                    (*source).into(),
                    (*id).into(),
                    now.as_unix_ms().to_string().into(),
                ];
                rows.insert((epc, *source, *id), row);
            }
        }
        rows.into_values().collect()
    }

    fn point_rows(&self, now: UtcTime) -> Vec<Vec<Value>> {
        let points = self.points.iter();
        points.map(|((van, ..), fix)| point_row(van, fix, now)).collect()
    }

    fn taken(&self, abouts: &[About], outcomes: &[Outcome]) -> Taken {
        let mut taken = Taken::default();
        for (about, outcome) in abouts.iter().zip(outcomes) {
            match about {
                About::Events => self.new_events(outcome, &mut taken),
                About::Points => taken.points_new += outcome.changed,
                About::Positions => {
                    taken.positions.extend(outcome.rows.iter().map(|row| row.text(0).to_owned()));
                }
                About::State(van) if outcome.changed > 0 => {
                    taken.vans.insert(van.clone());
                }
                About::Connection(van, state) if outcome.changed > 0 => {
                    taken.vans.insert(van.clone());
                    if *state == ConnectionState::Online {
                        taken.connected.insert(van.clone());
                    }
                }
                About::Poison(rows) => taken.poison += rows,
                About::State(_) | About::Connection(..) | About::Nothing => {}
            }
        }
        taken.events_repeated = self.events_said - taken.events_new;
        taken.points_repeated = self.points_said.saturating_sub(taken.points_new);
        taken
    }

    fn new_events(&self, outcome: &Outcome, taken: &mut Taken) {
        for row in &outcome.rows {
            taken.events_new += 1;
            let Some(event) = self.events.get(&(row.text(0), row.text(1))) else { continue };
            let van = event.event.van.clone().unwrap_or_default();
            let epcs = taken.epcs.entry(van).or_default();
            epcs.extend(event.event.epcs.iter().map(|(epc, _)| epc.clone()));
        }
    }
}

/// What ends a parcel's way, and what takes that back, which only who said it can: the same in whatever order, and however often, they come.
fn ends(event: &Event, page: Duration) -> Vec<Statement> {
    let parcels = event.epcs.iter().filter(|(_, role)| *role != Role::Parent);
    let parcels = parcels.map(|(epc, _)| epc.as_str());
    if event.retracts {
        let reopen = |epc: &str| {
            Statement::new(
                "UPDATE parcel SET ended_at = NULL, expires_at = NULL WHERE epc = $1 AND ended_at = $2 \
                 AND EXISTS (SELECT 1 FROM event WHERE event_id = $3 AND source = $4 AND retracts = 0)",
                [
                    epc.into(),
                    event.time.into(),
                    event.event_id.as_str().into(),
                    event.source.as_str().into(),
                ],
            )
        };
        return parcels.map(reopen).collect();
    }
    if !["parcel.delivered", "parcel.returned"].contains(&event.kind.as_str()) {
        return Vec::new();
    }
    let gone = event.time.checked_add(page).unwrap_or(event.time);
    let end = |epc: &str| {
        Statement::new(
            "UPDATE parcel SET ended_at = $2, expires_at = $3 WHERE epc = $1 AND (ended_at IS NULL OR ended_at < $2) \
             AND NOT EXISTS (SELECT 1 FROM event WHERE event_id = $4 AND source = $5 AND retracts = 1)",
            [
                epc.into(),
                event.time.into(),
                gone.into(),
                event.event_id.as_str().into(),
                event.source.as_str().into(),
            ],
        )
    };
    parcels.map(end).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "what was read is far below 2^63")]
fn scaled(value: f64, scale: f64) -> i64 {
    (value * scale).round() as i64
}

fn point_row(van: &str, Fix { time, point }: &Fix, now: UtcTime) -> Vec<Value> {
    let maybe = |value: Option<f64>, scale| -> Value { value.map(|v| scaled(v, scale)).into() };
    vec![
        van.into(),
        (*time).into(),
        point.seq.into(),
        scaled(point.lat, 1e7).into(),
        scaled(point.lon, 1e7).into(),
        maybe(point.speed_mps, 1e3),
        maybe(point.course_deg, 1e2),
        maybe(point.acc_m, 1e3),
        maybe(point.odo_m, 1e3),
        (point.stop_status == Some(StopStatus::StoppedAt)).into(),
        point.backlog.into(),
        now.into(),
    ]
}

fn position_row(van: &str, position: &Position) -> Option<Vec<Value>> {
    let time = UtcTime::parse(&position.point.ts)?;
    let text = serde_json::to_string(position).ok()?;
    Some(vec![van.into(), text.into(), time.into(), position.point.seq.into(), time.into()])
}

fn connected(van: &str, connection: &Connection, now: UtcTime) -> Vec<(About, Statement)> {
    let Ok(text) = serde_json::to_string(connection) else { return Vec::new() };
    let time = connection.ts.as_deref().and_then(UtcTime::parse);
    let state = match connection.state {
        ConnectionState::Online => "online",
        ConnectionState::Offline => "offline",
        ConnectionState::ConnectionBroken => "connection_broken",
    };
    let values =
        [van.into(), text.into(), connection.session.into(), state.into(), time.into(), now.into()];
    let about = About::Connection(van.to_owned(), connection.state);
    let mut all = vec![(about, Statement::new(CONNECTION, values))];
    if connection.state == ConnectionState::Online {
        all.push((About::Nothing, commands::due_again(van)));
    }
    all
}
