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
use super::audit::AuditEntry;
use super::retention::limit_dead_letters;
use super::{QueryResult, Statement, Store, StoreError, Value, assignments, commands, events};
use crate::event::{Event, Role};
use crate::ingest::parse::{Fix, InvalidMessage, Payload, VanEvent, VanMessage, van_from_topic};
use waypost_model::units::UtcTime;
use waypost_wire::payloads::{ConnectionState, ConnectionStatus, MotionState, Position};

/// Maximum stored size of an invalid payload that is not well-formed, in bytes. Well-formed ones
/// are stored whole.
pub const MAX_DEAD_LETTER_BYTES: usize = 4 * 1024;

/// A received message with its parse result.
#[derive(Clone, Debug)]
pub struct IncomingMessage {
    pub topic: String,
    /// Payload; of a message that is not well-formed at most `MAX_DEAD_LETTER_BYTES`.
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
    /// Parcels whose end may have changed, in order.
    ended_parcels: BTreeSet<&'a str>,
    page: Duration,
    dead_letters: Vec<Vec<Value>>,
    /// Vans with dead letters in this batch; empty for other topics.
    rejected_vans: BTreeSet<&'a str>,
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

    /// The van to which an event source was handed over, else the one that used it first, if any.
    pub async fn van_by_source(&self, source: &str) -> Result<Option<String>, StoreError> {
        for sql in [
            "SELECT van FROM source_owner WHERE source = $1",
            "SELECT van FROM event WHERE source = $1 AND van IS NOT NULL LIMIT 1",
        ] {
            let rows = self.read(Statement::new(sql, [source.into()])).await?;
            if let Some(van) = rows.first().and_then(|row| row.maybe_text(0)) {
                return Ok(Some(van.to_owned()));
            }
        }
        Ok(None)
    }

    /// Hands an event source over to another van, with an entry in the audit log.
    pub async fn hand_over_source(
        &self,
        source: &str,
        van: &str,
        (actor, now): (&str, UtcTime),
    ) -> Result<(), StoreError> {
        let set = Statement::new(
            "INSERT INTO source_owner (source, van, at_time) VALUES ($1, $2, $3) \
             ON CONFLICT (source) DO UPDATE SET van = excluded.van, at_time = excluded.at_time",
            [source.into(), van.into(), now.into()],
        );
        let entry = AuditEntry {
            at: now,
            actor: actor.to_owned(),
            action: "hand over source".to_owned(),
            target: format!("{van} {source:.200}"),
        };
        self.write(vec![set, entry.insert()]).await.map(drop)
    }
}

impl<'a> Batch<'a> {
    fn from_messages(arrivals: &'a [IncomingMessage], now: UtcTime, page: Duration) -> Self {
        let mut batch = Self { page, ..Self::default() };
        for arrival in arrivals {
            match &arrival.parsed {
                Ok(said) => batch.add(said, now),
                Err(poison) => {
                    let bytes = i64::try_from(arrival.bytes).unwrap_or(i64::MAX);
                    let van = van_from_topic(&arrival.topic);
                    batch.seen_vans.extend(van);
                    batch.rejected_vans.insert(van.unwrap_or_default());
                    batch.dead_letters.push(vec![
                        van.unwrap_or_default().into(),
                        arrival.topic.as_str().into(),
                        poison.reason.as_str().into(),
                        arrival.payload.clone().into(),
                        bytes.into(),
                        now.into(),
                    ]);
                }
            }
        }
        batch
    }

    fn add(&mut self, said: &'a VanMessage, now: UtcTime) {
        let van = said.van.as_str();
        self.seen_vans.insert(van);
        match &said.payload {
            Payload::Event(event) => {
                self.events_received += 1;
                let key = (event.event.source.as_str(), event.event.id.as_str());
                self.ended_parcels.extend(parcels_ended_by(&event.event));
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
        let unassigned = assignments::record_unassigned(&self.event_keys(now));
        all.extend(unassigned.into_iter().map(|statement| (StatementSubject::Nothing, statement)));
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
        let ends = self.ended_parcels.iter().flat_map(|epc| assignments::set_end(epc, self.page));
        let others = ends.chain(self.command_results.iter().cloned());
        all.extend(others.map(|statement| (StatementSubject::Nothing, statement)));
        all.extend(bulk_insert(&DEAD_LETTERS, self.dead_letters.clone(), |rows| {
            StatementSubject::DeadLetters(rows as u64)
        }));
        let limits = self.rejected_vans.iter().map(|van| limit_dead_letters(van));
        all.extend(limits.map(|limit| (StatementSubject::Nothing, limit)));
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

    /// Source, id and capture time of each event.
    fn event_keys(&self, now: UtcTime) -> Vec<Vec<Value>> {
        let now = now.as_unix_ms().to_string();
        let key =
            |(source, id): &(&str, &str)| vec![(*source).into(), (*id).into(), now.as_str().into()];
        self.events.keys().map(key).collect()
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

/// Parcels whose end an event may change.
fn parcels_ended_by(event: &Event) -> impl Iterator<Item = &str> {
    let ends =
        event.retracts || ["parcel.delivered", "parcel.returned"].contains(&event.kind.as_str());
    let parcels = event.epcs.iter().filter(move |(_, role)| ends && *role != Role::Parent);
    parcels.map(|(epc, _)| epc.as_str())
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
