//! The texts of statements that store what vans say.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::backend::store::{Statement, Value};

/// Rows of one statement: few texts, so that each is prepared once.
const CHUNKS: [usize; 4] = [256, 64, 8, 1];

/// A statement for many rows: what is before them, how many values each has, what is behind them.
pub(super) struct Rows {
    before: &'static str,
    columns: usize,
    after: &'static str,
}

pub(super) const HEARD: Rows = Rows {
    before: "INSERT INTO van (van, heard_at) VALUES ",
    columns: 2,
    after: " ON CONFLICT (van) DO UPDATE SET heard_at = excluded.heard_at WHERE van.heard_at + 999 < excluded.heard_at",
};

pub(super) const EVENTS: Rows = Rows {
    before: "INSERT INTO event (source, id, event_id, kind, origin, van, seq, previous_seq, route, event_time, \
             captured_at, retracts, event_type, action, biz_step, disposition, read_point, biz_location, job, doc) VALUES ",
    columns: 20,
    after: " ON CONFLICT (source, id) DO NOTHING RETURNING source, id",
};

pub(super) const EVENT_EPCS: Rows = Rows {
    before: "INSERT INTO event_epc (epc, n, role) SELECT said.column1, event.n, said.column2 FROM (VALUES ",
    columns: 5,
    after: ") AS said JOIN event ON event.source = said.column3 AND event.id = said.column4 \
            WHERE event.captured_at = CAST(said.column5 AS BIGINT) ON CONFLICT (epc, n) DO NOTHING",
};

pub(super) const TRACK: Rows = Rows {
    before: "INSERT INTO track (van, time, seq, lat_e7, lon_e7, speed_mmps, course_cdeg, acc_mm, odo_mm, stopped, \
             backlog, received_at) VALUES ",
    columns: 12,
    after: " ON CONFLICT (van, time, seq) DO NOTHING",
};

pub(super) const POSITIONS: Rows = Rows {
    before: "INSERT INTO van (van, position, position_time, position_seq, heard_at) VALUES ",
    columns: 5,
    after: " ON CONFLICT (van) DO UPDATE SET position = excluded.position, position_time = excluded.position_time, \
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
    before: "INSERT INTO poison (topic, reason, payload, bytes, received_at) VALUES ",
    columns: 5,
    after: "",
};

/// The fewest statements of a few sizes for all rows.
pub(super) fn many<T>(
    rows: &Rows,
    values: Vec<Vec<Value>>,
    about: impl Fn(usize) -> T,
) -> Vec<(T, Statement)> {
    let mut statements = Vec::new();
    let mut left = values.into_iter();
    while left.len() > 0 {
        let size = CHUNKS.into_iter().find(|size| *size <= left.len()).unwrap_or(1);
        let values: Vec<Value> = left.by_ref().take(size).flatten().collect();
        statements.push((about(size), Statement { sql: text(rows, size), values }));
    }
    statements
}

fn text(rows: &Rows, count: usize) -> Cow<'static, str> {
    let mut sql =
        String::with_capacity(rows.before.len() + rows.after.len() + 6 * count * rows.columns);
    sql.push_str(rows.before);
    for row in 0..count {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..rows.columns {
            let comma = if column == 0 { "" } else { ", " };
            let place = row * rows.columns + column + 1;
            write!(sql, "{comma}${place}").expect("a string takes all");
        }
        sql.push(')');
    }
    sql.push_str(rows.after);
    sql.into()
}
