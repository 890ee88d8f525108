//! The texts of statements that store what vans say.

use crate::backend::store::events::columns;
use crate::backend::store::{Statement, Value};

/// A statement for many rows: what is before them, and what is behind them.
pub(super) struct Rows {
    before: &'static str,
    after: &'static str,
}

pub(super) const HEARD: Rows = Rows {
    before: "INSERT INTO van (van, heard_at) VALUES",
    after: "ON CONFLICT (van) DO UPDATE SET heard_at = excluded.heard_at WHERE van.heard_at + 999 < excluded.heard_at",
};

pub(super) const EVENTS: Rows = Rows {
    before: concat!("INSERT INTO event (", columns!(), ") VALUES"),
    after: "ON CONFLICT (source, id) DO NOTHING RETURNING source, id",
};

pub(super) const EVENT_EPCS: Rows = Rows {
    before: "INSERT INTO event_epc (epc, n, role) SELECT said.column1, event.n, said.column2 FROM (VALUES",
    after: ") AS said JOIN event ON event.source = said.column3 AND event.id = said.column4 \
            WHERE event.captured_at = CAST(said.column5 AS BIGINT) ON CONFLICT (epc, n) DO NOTHING",
};

pub(super) const TRACK: Rows = Rows {
    before: "INSERT INTO track (van, time, seq, lat_e7, lon_e7, speed_mmps, course_cdeg, acc_mm, odo_mm, stopped, \
             backlog, received_at) VALUES",
    after: "ON CONFLICT (van, time, seq) DO NOTHING",
};

pub(super) const POSITIONS: Rows = Rows {
    before: "INSERT INTO van (van, position, position_time, position_seq, heard_at) VALUES",
    after: "ON CONFLICT (van) DO UPDATE SET position = excluded.position, position_time = excluded.position_time, \
            position_seq = excluded.position_seq WHERE van.position_time IS NULL \
            OR van.position_time < excluded.position_time RETURNING van",
};

pub(super) const STATE: &str = "INSERT INTO van (van, state, state_time, heard_at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (van) DO UPDATE SET state = excluded.state, state_time = excluded.state_time \
    WHERE van.state_time IS NULL OR van.state_time < excluded.state_time";

/// What has a time is newest by that. The Will of a link has none, and is late when a newer run of the agent has spoken.
pub(super) const CONNECTION: &str = "INSERT INTO van (van, connection, session, connection_state, connection_time, heard_at) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (van) DO UPDATE SET connection = excluded.connection, \
    session = excluded.session, connection_state = excluded.connection_state, \
    connection_time = COALESCE(excluded.connection_time, van.connection_time) \
    WHERE van.connection IS DISTINCT FROM excluded.connection AND CASE \
    WHEN excluded.connection_time IS NULL OR van.connection_time IS NULL \
    THEN van.session IS NULL OR van.session <= excluded.session \
    ELSE van.connection_time <= excluded.connection_time END";

pub(super) const POISON: Rows = Rows {
    before: "INSERT INTO poison (topic, reason, payload, bytes, received_at) VALUES",
    after: "",
};

/// The fewest statements for all rows, each with what it is about.
pub(super) fn many<T>(
    rows: &Rows,
    values: Vec<Vec<Value>>,
    about: impl Fn(usize) -> T,
) -> Vec<(T, Statement)> {
    let columns = values.first().map_or(1, Vec::len);
    let statements = Statement::many(rows.before, values, rows.after).into_iter();
    statements.map(|statement| (about(statement.values.len() / columns), statement)).collect()
}
