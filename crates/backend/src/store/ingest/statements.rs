//! SQL texts of the statements that store van messages.

use crate::store::events::columns;
use crate::store::{Statement, Value};

/// SQL before and after the rows of a bulk statement.
pub(super) struct BulkInsert {
    prefix: &'static str,
    suffix: &'static str,
}

pub(super) const SEEN_VANS: BulkInsert = BulkInsert {
    prefix: "INSERT INTO van (van, heard_at) VALUES",
    suffix: "ON CONFLICT (van) DO UPDATE SET heard_at = excluded.heard_at WHERE van.heard_at + 999 < excluded.heard_at",
};

pub(super) const EVENTS: BulkInsert = BulkInsert {
    prefix: concat!("INSERT INTO event (", columns!(), ") VALUES"),
    suffix: "ON CONFLICT (source, id) DO NOTHING RETURNING source, id",
};

pub(super) const EVENT_EPCS: BulkInsert = BulkInsert {
    prefix: "INSERT INTO event_epc (epc, n, role) SELECT said.column1, event.n, said.column2 FROM (VALUES",
    suffix: ") AS said JOIN event ON event.source = said.column3 AND event.id = said.column4 \
            WHERE event.captured_at = CAST(said.column5 AS BIGINT) ON CONFLICT (epc, n) DO NOTHING",
};

pub(super) const TRACK: BulkInsert = BulkInsert {
    prefix: "INSERT INTO track (van, time, seq, lat_e7, lon_e7, speed_mmps, course_cdeg, acc_mm, odo_mm, stopped, \
             backlog, received_at) VALUES",
    suffix: "ON CONFLICT (van, time, seq) DO NOTHING",
};

pub(super) const POSITIONS: BulkInsert = BulkInsert {
    prefix: "INSERT INTO van (van, position, position_time, position_seq, heard_at) VALUES",
    suffix: "ON CONFLICT (van) DO UPDATE SET position = excluded.position, position_time = excluded.position_time, \
            position_seq = excluded.position_seq WHERE van.position_time IS NULL \
            OR van.position_time < excluded.position_time RETURNING van",
};

pub(super) const STATE: &str = "INSERT INTO van (van, state, state_time, heard_at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (van) DO UPDATE SET state = excluded.state, state_time = excluded.state_time \
    WHERE van.state_time IS NULL OR van.state_time < excluded.state_time";

/// Messages are ordered by session and connection, because shared subscriptions may swap them and a
/// Will has no time. On one connection, `online` comes first. A lower session is newer only by its
/// time: the agent has lost its outbox and counts anew.
pub(super) const CONNECTION: &str = "INSERT INTO van (van, connection, session, connection_number, connection_state, \
    connection_time, heard_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
    ON CONFLICT (van) DO UPDATE SET connection = excluded.connection, \
    session = excluded.session, connection_number = excluded.connection_number, \
    connection_state = excluded.connection_state, \
    connection_time = COALESCE(excluded.connection_time, van.connection_time) \
    WHERE van.connection IS DISTINCT FROM excluded.connection AND (van.session IS NULL \
    OR excluded.session > van.session \
    OR (excluded.session = van.session AND excluded.connection_number > van.connection_number) \
    OR (excluded.session = van.session AND excluded.connection_number = van.connection_number \
    AND (van.connection_state = 'online' OR excluded.connection_state <> 'online')) \
    OR (excluded.session < van.session AND excluded.connection_time > van.connection_time))";

pub(super) const DEAD_LETTERS: BulkInsert = BulkInsert {
    prefix: "INSERT INTO poison (van, topic, reason, payload, bytes, received_at) VALUES",
    suffix: "",
};

/// Builds the fewest statements for all rows, each with its subject.
pub(super) fn bulk_insert<T>(
    rows: &BulkInsert,
    values: Vec<Vec<Value>>,
    about: impl Fn(usize) -> T,
) -> Vec<(T, Statement)> {
    let columns = values.first().map_or(1, Vec::len);
    let statements = Statement::bulk_insert(rows.prefix, values, rows.suffix).into_iter();
    statements.map(|statement| (about(statement.values.len() / columns), statement)).collect()
}
