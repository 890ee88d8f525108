//! Stores parsed van messages, many in one transaction, each exactly once.
//!
//! - A stored event and its EPCs never change; a repeat has no effect.
//! - Of a van's positions, states and connections, the newest by its own time is kept, whatever the
//!   order of arrival.
//! - Rows are sorted by key to avoid deadlocks between instances.

mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::statements::{
    CONNECTION, DEAD_LETTERS, EVENT_EPCS, EVENTS, POSITIONS, SEEN_VANS, STATE, TRACK, bulk_insert,
};
use super::retention::limit_dead_letters;
use super::{QueryResult, Statement, Store, StoreError, Value, commands, events};
use crate::event::{Event, Role};
use crate::ingest::parse::{Fix, InvalidMessage, Payload, VanEvent, VanMessage};
use waypost_model::units::UtcTime;
use waypost_wire::payloads::{ConnectionState, ConnectionStatus, MotionState, Position};

/// Maximum stored size of an invalid payload, in bytes.
pub const MAX_DEAD_LETTER_BYTES: usize = 4 * 1024;

/// A received message with its parse result.
#[derive(Clone, Debug)]
pub struct IncomingMessage {
    pub topic: String,
    /// Payload; of an invalid message at most `MAX_DEAD_LETTER_BYTES`.
    pub payload: Vec<u8>,
    /// Size of the received payload in bytes.
    pub bytes: usize,
    /// Parse result.
    pub parsed: Result<VanMessage, InvalidMessage>,
}

/// Result of storing a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestResult {
    pub events_new: u64,
    pub events_repeated: u64,
    pub points_new: u64,
    pub points_repeated: u64,
    /// Messages stored as dead letters.
    pub dead_letters: u64,
    /// Vans whose newest position was updated.
    pub positions: BTreeSet<String>,
    /// Vans whose state or connection was updated.
    pub vans: BTreeSet<String>,
    /// Canonical URIs named by new events, by van.
    pub epcs: BTreeMap<String, BTreeSet<String>>,
    /// Vans that connected.
    pub connected: BTreeSet<String>,
}

impl IngestResult {
    /// Adds the result of another part of the batch.
    pub(crate) fn add(&mut self, other: Self) {
        self.events_new += other.events_new;
        self.events_repeated += other.events_repeated;
        self.points_new += other.points_new;
        self.points_repeated += other.points_repeated;
        self.dead_letters += other.dead_letters;
        self.positions.extend(other.positions);
        self.vans.extend(other.vans);
        self.connected.extend(other.connected);
        for (van, epcs) in other.epcs {
            self.epcs.entry(van).or_default().extend(epcs);
        }
    }
}

/// Subject of a statement, for evaluating its result.
#[derive(Clone, Debug)]
enum StatementSubject {
    Events,
    Points,
    Positions,
    State(String),
    Connection(String, ConnectionState),
    DeadLetters(u64),
    Nothing,
}

/// A batch of messages, grouped for bulk statements.
#[derive(Debug, Default)]
struct Batch<'a> {
    events: BTreeMap<(&'a str, &'a str), &'a VanEvent>,
    events_received: u64,
    points: BTreeMap<(&'a str, i64, u64), &'a Fix>,
    points_received: u64,
    positions: BTreeMap<&'a str, &'a Position>,
    states: BTreeMap<&'a str, (UtcTime, String)>,
    connections: Vec<(&'a str, &'a ConnectionStatus)>,
    command_results: Vec<Statement>,
    parcel_ends: Vec<Statement>,
    dead_letters: Vec<Vec<Value>>,
    seen_vans: BTreeSet<&'a str>,
}

impl Store {
    /// Stores messages in one transaction and reports what was new. A parcel's page expires `page`
    /// after its end.
    ///
    /// # Errors
    /// `StoreError::Rejected` if the database rejects one of them; then none is stored.
    pub async fn ingest(
        &self,
        arrivals: &[IncomingMessage],
        now: UtcTime,
        page: Duration,
    ) -> Result<IngestResult, StoreError> {
        let batch = Batch::from_messages(arrivals, now, page);
        let (abouts, statements): (Vec<StatementSubject>, Vec<Statement>) =
            batch.statements(now).into_iter().unzip();
        let outcomes = self.write(statements).await?;
        Ok(batch.result(&abouts, &outcomes))
    }

    /// The van that used an event source first, if any.
    pub async fn van_by_source(&self, source: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT van FROM event WHERE source = $1 AND van IS NOT NULL LIMIT 1";
        let rows = self.read(Statement::new(sql, [source.into()])).await?;
        Ok(rows.first().and_then(|row| row.maybe_text(0).map(str::to_owned)))
    }
}

impl<'a> Batch<'a> {
    fn from_messages(arrivals: &'a [IncomingMessage], now: UtcTime, page: Duration) -> Self {
        let mut batch = Self::default();
        for arrival in arrivals {
            match &arrival.parsed {
                Ok(said) => batch.add(said, now, page),
                Err(poison) => {
                    let cut = arrival.payload.len().min(MAX_DEAD_LETTER_BYTES);
                    let bytes = i64::try_from(arrival.bytes).unwrap_or(i64::MAX);
                    batch.dead_letters.push(vec![
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

    fn add(&mut self, said: &'a VanMessage, now: UtcTime, page: Duration) {
        let van = said.van.as_str();
        self.seen_vans.insert(van);
        match &said.payload {
            Payload::Event(event) => {
                self.events_received += 1;
                let key = (event.event.source.as_str(), event.event.id.as_str());
                self.parcel_ends.extend(parcel_end_statements(&event.event, page));
                self.events.entry(key).or_insert(event);
            }
            Payload::Track(fixes) => {
                self.points_received += fixes.len() as u64;
                for fix in fixes {
                    let key = (van, fix.time.as_unix_ms(), fix.point.seq);
                    self.points.entry(key).or_insert(fix);
                }
            }
            Payload::Position(position) => {
                let newest = self.positions.entry(van).or_insert(position);
                if newest.point.ts < position.point.ts {
                    *newest = position;
                }
            }
            Payload::State(state, time) => {
                let text = serde_json::to_string(state).expect("values parsed from JSON serialize");
                let newest = self.states.entry(van).or_insert_with(|| (*time, text.clone()));
                if newest.0 < *time {
                    *newest = (*time, text);
                }
            }
            Payload::Connection(connection) => self.connections.push((van, connection)),
            Payload::CommandResult(result) => {
                self.command_results.push(commands::set_result(van, result, now));
            }
        }
    }

    fn statements(&self, now: UtcTime) -> Vec<(StatementSubject, Statement)> {
        let mut all: Vec<(StatementSubject, Statement)> = Vec::new();
        let heard = self.seen_vans.iter().map(|van| vec![(*van).into(), now.into()]).collect();
        let nothing = |_| StatementSubject::Nothing;
        all.extend(bulk_insert(&SEEN_VANS, heard, nothing));
        all.extend(bulk_insert(&EVENTS, self.event_rows(now), |_| StatementSubject::Events));
        all.extend(bulk_insert(&EVENT_EPCS, self.epc_rows(now), nothing));
        all.extend(bulk_insert(&TRACK, self.point_rows(now), |_| StatementSubject::Points));
        let positions = self.positions.iter();
        let positions = positions.filter_map(|(van, position)| position_row(van, position));
        all.extend(bulk_insert(&POSITIONS, positions.collect(), |_| StatementSubject::Positions));
        for (van, (time, text)) in &self.states {
            let values = [(*van).into(), text.as_str().into(), (*time).into(), now.into()];
            all.push((StatementSubject::State((*van).to_owned()), Statement::new(STATE, values)));
        }
        for (van, connection) in &self.connections {
            all.extend(connection_statements(van, connection, now));
        }
        let others = self.parcel_ends.iter().chain(&self.command_results);
        all.extend(others.cloned().map(|statement| (StatementSubject::Nothing, statement)));
        all.extend(bulk_insert(&DEAD_LETTERS, self.dead_letters.clone(), |rows| {
            StatementSubject::DeadLetters(rows as u64)
        }));
        if !self.dead_letters.is_empty() {
            all.push((StatementSubject::Nothing, limit_dead_letters()));
        }
        all
    }

    /// The capture time is the time of storing. An earlier one would hide a delayed event from
    /// clients that poll for new events.
    fn event_rows(&self, now: UtcTime) -> Vec<Vec<Value>> {
        let row = |VanEvent { event, previous }: &&VanEvent| {
            events::row_values(event, event.data.to_string(), *previous, now)
        };
        self.events.values().map(row).collect()
    }

    /// Only for events inserted by this batch; a repeat must not add EPCs to a stored event.
    fn epc_rows(&self, now: UtcTime) -> Vec<Vec<Value>> {
        let mut rows = BTreeMap::new();
        for ((source, id), event) in &self.events {
            for (epc, role) in &event.event.epcs {
                let row = vec![
                    epc.as_str().into(),
                    role.as_str().into(),
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

    fn result(&self, abouts: &[StatementSubject], outcomes: &[QueryResult]) -> IngestResult {
        let mut taken = IngestResult::default();
        for (about, outcome) in abouts.iter().zip(outcomes) {
            match about {
                StatementSubject::Events => self.record_new_events(outcome, &mut taken),
                StatementSubject::Points => taken.points_new += outcome.rows_affected,
                StatementSubject::Positions => {
                    taken.positions.extend(outcome.rows.iter().map(|row| row.text(0).to_owned()));
                }
                StatementSubject::State(van) if outcome.rows_affected > 0 => {
                    taken.vans.insert(van.clone());
                }
                StatementSubject::Connection(van, state) if outcome.rows_affected > 0 => {
                    taken.vans.insert(van.clone());
                    if *state == ConnectionState::Online {
                        taken.connected.insert(van.clone());
                    }
                }
                StatementSubject::DeadLetters(rows) => taken.dead_letters += rows,
                StatementSubject::State(_)
                | StatementSubject::Connection(..)
                | StatementSubject::Nothing => {}
            }
        }
        taken.events_repeated = self.events_received - taken.events_new;
        taken.points_repeated = self.points_received.saturating_sub(taken.points_new);
        taken
    }

    fn record_new_events(&self, outcome: &QueryResult, taken: &mut IngestResult) {
        for row in &outcome.rows {
            taken.events_new += 1;
            let Some(event) = self.events.get(&(row.text(0), row.text(1))) else { continue };
            let van = event.event.van.clone().unwrap_or_default();
            let epcs = taken.epcs.entry(van).or_default();
            epcs.extend(event.event.epcs.iter().map(|(epc, _)| epc.clone()));
        }
    }
}

/// Statements for the end of a parcel's delivery, or for its retraction, which only the same source
/// can make. The result depends neither on the order nor on repeats.
fn parcel_end_statements(event: &Event, page: Duration) -> Vec<Statement> {
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

#[expect(clippy::cast_possible_truncation, reason = "parsed values are far below 2^63")]
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
        (point.motion == Some(MotionState::Halted)).into(),
        point.backlog.into(),
        now.into(),
    ]
}

fn position_row(van: &str, position: &Position) -> Option<Vec<Value>> {
    let time = UtcTime::parse(&position.point.ts)?;
    let text = serde_json::to_string(position).ok()?;
    Some(vec![van.into(), text.into(), time.into(), position.point.seq.into(), time.into()])
}

fn connection_statements(
    van: &str,
    connection: &ConnectionStatus,
    now: UtcTime,
) -> Vec<(StatementSubject, Statement)> {
    let Ok(text) = serde_json::to_string(connection) else { return Vec::new() };
    let time = connection.ts.as_deref().and_then(UtcTime::parse);
    let state = match connection.state {
        ConnectionState::Online => "online",
        ConnectionState::Offline => "offline",
        ConnectionState::ConnectionBroken => "connection_broken",
    };
    let values = [
        van.into(),
        text.into(),
        connection.session.into(),
        connection.connection.into(),
        state.into(),
        time.into(),
        now.into(),
    ];
    let about = StatementSubject::Connection(van.to_owned(), connection.state);
    let mut all = vec![(about, Statement::new(CONNECTION, values))];
    if connection.state == ConnectionState::Online {
        all.push((StatementSubject::Nothing, commands::retry_unanswered(van)));
    }
    all
}
