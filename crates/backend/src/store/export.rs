//! Exports all data about a parcel or a van as JSON lines, for requests for access (GDPR Art. 15).
//! Each line is a row with the name of its table.

use std::io::{self, Write};

use serde_json::{Map, Value as Json};

use super::{Row, Statement, Store, StoreError, Value};
use waypost_model::units::UtcTime;

/// Subject of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A parcel's canonical URI ([`crate::epc`]).
    Parcel(String),
    /// A van's id.
    Van(String),
}

/// Why an export failed or is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Writing to the output failed.
    #[error("writing the export: {0}")]
    Write(#[from] io::Error),
}

/// Maximum number of rows per query.
const PAGE_SIZE: i64 = 1000;

const EVENT: [&str; 9] =
    ["source", "id", "event_id", "kind", "origin", "van", "event_time", "captured_at", "doc"];
const PARCEL: [&str; 13] = [
    "epc",
    "number",
    "token",
    "postcode",
    "route",
    "stop_id",
    "gift",
    "language",
    "preferences",
    "put_at",
    "ended_at",
    "case_state",
    "case_note",
];
const COMMAND: [&str; 9] =
    ["id", "van", "epc", "name", "doc", "made_at", "sent_at", "status", "answered_at"];
const SUBSCRIBER: [&str; 7] =
    ["id", "epc", "channel", "address", "language", "made_at", "confirmed_at"];
const ALERT: [&str; 7] = ["subscriber", "kind", "occurrence", "epc", "doc", "made_at", "state"];
const VAN: [&str; 5] = ["van", "position", "state", "connection", "heard_at"];
const ROUTE: [&str; 7] = ["route", "van", "rev", "valid_from", "valid_until", "doc", "put_at"];
const TRACK: [&str; 12] = [
    "van",
    "time",
    "seq",
    "lat_e7",
    "lon_e7",
    "speed_mmps",
    "course_cdeg",
    "acc_mm",
    "odo_mm",
    "stopped",
    "backlog",
    "received_at",
];

/// Query on one table; `$1` is the subject, `$2` the earliest time.
struct ExportQuery {
    table: &'static str,
    columns: &'static [&'static str],
    filter: &'static str,
}

const fn query(
    table: &'static str,
    columns: &'static [&'static str],
    which: &'static str,
) -> ExportQuery {
    ExportQuery { table, columns, filter: which }
}

const PARCEL_QUERIES: &[ExportQuery] = &[
    query("parcel", &PARCEL, "epc = $1 AND put_at >= $2"),
    query("command", &COMMAND, "epc = $1 AND made_at >= $2"),
    query("subscriber", &SUBSCRIBER, "epc = $1 AND made_at >= $2"),
    query("alert", &ALERT, "epc = $1 AND made_at >= $2"),
    query(
        "event",
        &EVENT,
        "n IN (SELECT n FROM event_epc WHERE epc = $1) AND captured_at >= $2 ORDER BY n",
    ),
];

const VAN_QUERIES: &[ExportQuery] = &[
    query("van", &VAN, "van = $1 AND heard_at >= $2"),
    query("route", &ROUTE, "van = $1 AND put_at >= $2"),
    query("command", &COMMAND, "van = $1 AND made_at >= $2"),
    query("event", &EVENT, "van = $1 AND event_time >= $2 ORDER BY event_time, n"),
];

impl Store {
    /// Writes all data about the subject since `since` and returns the number of lines.
    ///
    /// # Errors
    /// On an error the output is incomplete.
    pub async fn export(
        &self,
        subject: &Subject,
        since: UtcTime,
        out: &mut (dyn Write + Send),
    ) -> Result<u64, ExportError> {
        let (whose, questions) = match subject {
            Subject::Parcel(epc) => (epc, PARCEL_QUERIES),
            Subject::Van(van) => (van, VAN_QUERIES),
        };
        let mut lines = 0;
        for probe in questions {
            let sql = format!(
                "SELECT {} FROM {} WHERE {}",
                probe.columns.join(", "),
                probe.table,
                probe.filter
            );
            let asked = Statement::new(sql, [whose.as_str().into(), since.into()]);
            let rows = self.read(asked).await?;
            lines += write_rows(probe.table, probe.columns, &rows, out)?;
        }
        match subject {
            Subject::Parcel(_) => Ok(lines),
            Subject::Van(van) => Ok(lines + self.export_track(van, since, out).await?),
        }
    }

    /// Exports a van's track in pages, since months of it would not fit into memory.
    async fn export_track(
        &self,
        van: &str,
        since: UtcTime,
        out: &mut (dyn Write + Send),
    ) -> Result<u64, ExportError> {
        let sql = format!(
            "SELECT {} FROM track WHERE van = $1 AND time >= $2 AND (time > $2 OR seq > $3) ORDER BY time, seq LIMIT $4",
            TRACK.join(", ")
        );
        let (mut time, mut seq) = (since.as_unix_ms(), -1);
        let mut lines = 0;
        loop {
            let values = [van.into(), time.into(), seq.into(), PAGE_SIZE.into()];
            let rows = self.read(Statement::new(sql.clone(), values)).await?;
            lines += write_rows("track", &TRACK, &rows, out)?;
            match rows.last() {
                Some(last) if rows.len() == usize::try_from(PAGE_SIZE).unwrap_or(usize::MAX) => {
                    (time, seq) = (last.int(1), last.int(2));
                }
                _ => return Ok(lines),
            }
        }
    }
}

fn write_rows(
    table: &str,
    columns: &[&str],
    rows: &[Row],
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    for row in rows {
        let mut line = Map::new();
        line.insert("table".to_owned(), table.into());
        for (column, value) in columns.iter().zip(&row.0) {
            line.insert((*column).to_owned(), column_json(column, value));
        }
        writeln!(out, "{}", Json::Object(line))?;
    }
    Ok(rows.len() as u64)
}

fn column_json(column: &str, value: &Value) -> Json {
    let is_time = column == "time" || column.ends_with("_at") || column.ends_with("_time");
    match value {
        Value::Null | Value::Bytes(_) => Json::Null,
        Value::Int(ms) if is_time => {
            UtcTime::from_unix_ms(*ms).map_or(Json::Null, |t| t.to_string().into())
        }
        Value::Int(number) => (*number).into(),
        Value::Real(number) => (*number).into(),
        // Stored JSON is embedded; anything else is exported as text.
        Value::Text(text)
            if ["doc", "preferences", "position", "state", "connection"].contains(&column) =>
        {
            serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into())
        }
        Value::Text(text) => text.as_str().into(),
    }
}
