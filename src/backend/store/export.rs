//! One parcel, or one van → everything that is known of it, as lines of JSON: what somebody gets who asks what is kept of them
//! (GDPR Art. 15). Each line is a row with the name of its table.

use std::io::{self, Write};

use serde_json::{Map, Value as Json};

use super::{Row, Statement, Store, StoreError, Value};
use crate::units::UtcTime;

/// Whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A parcel's canonical URI ([`crate::backend::epc`]).
    Parcel(String),
    /// A van's id.
    Van(String),
}

/// Why there is no export, or only a part of it.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where it is written to.
    #[error("writing the export: {0}")]
    Write(#[from] io::Error),
}

/// Rows of one answer.
const PAGE: i64 = 1000;

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
const SUBSCRIBER: [&str; 6] = ["id", "epc", "channel", "address", "language", "made_at"];
const ALERT: [&str; 6] = ["subscriber", "kind", "epc", "doc", "made_at", "state"];
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

/// What is asked of a table: `$1` is whose, `$2` since when.
struct Question {
    table: &'static str,
    columns: &'static [&'static str],
    which: &'static str,
}

const fn of(
    table: &'static str,
    columns: &'static [&'static str],
    which: &'static str,
) -> Question {
    Question { table, columns, which }
}

const OF_PARCEL: &[Question] = &[
    of("parcel", &PARCEL, "epc = $1 AND put_at >= $2"),
    of("command", &COMMAND, "epc = $1 AND made_at >= $2"),
    of("subscriber", &SUBSCRIBER, "epc = $1 AND made_at >= $2"),
    of("alert", &ALERT, "epc = $1 AND made_at >= $2"),
    of(
        "event",
        &EVENT,
        "n IN (SELECT n FROM event_epc WHERE epc = $1) AND captured_at >= $2 ORDER BY n",
    ),
];

const OF_VAN: &[Question] = &[
    of("van", &VAN, "van = $1 AND heard_at >= $2"),
    of("route", &ROUTE, "van = $1 AND put_at >= $2"),
    of("command", &COMMAND, "van = $1 AND made_at >= $2"),
    of("event", &EVENT, "van = $1 AND event_time >= $2 ORDER BY event_time, n"),
];

impl Store {
    /// Writes everything about a parcel or a van that is not older than `since`; how many lines.
    ///
    /// # Errors
    /// [`ExportError`]; then what was written is a part.
    pub async fn export(
        &self,
        subject: &Subject,
        since: UtcTime,
        out: &mut (dyn Write + Send),
    ) -> Result<u64, ExportError> {
        let (whose, questions) = match subject {
            Subject::Parcel(epc) => (epc, OF_PARCEL),
            Subject::Van(van) => (van, OF_VAN),
        };
        let mut lines = 0;
        for question in questions {
            let sql = format!(
                "SELECT {} FROM {} WHERE {}",
                question.columns.join(", "),
                question.table,
                question.which
            );
            let asked = Statement::new(sql, [whose.as_str().into(), since.into()]);
            let rows = self.read(asked).await?;
            lines += written(question.table, question.columns, &rows, out)?;
        }
        match subject {
            Subject::Parcel(_) => Ok(lines),
            Subject::Van(van) => Ok(lines + self.whole_trail(van, since, out).await?),
        }
    }

    /// Months of a van's trail do not go into the memory at once.
    async fn whole_trail(
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
            let values = [van.into(), time.into(), seq.into(), PAGE.into()];
            let rows = self.read(Statement::new(sql.clone(), values)).await?;
            lines += written("track", &TRACK, &rows, out)?;
            match rows.last() {
                Some(last) if rows.len() == usize::try_from(PAGE).unwrap_or(usize::MAX) => {
                    (time, seq) = (last.int(1), last.int(2));
                }
                _ => return Ok(lines),
            }
        }
    }
}

fn written(
    table: &str,
    columns: &[&str],
    rows: &[Row],
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    for row in rows {
        let mut line = Map::new();
        line.insert("table".to_owned(), table.into());
        for (column, value) in columns.iter().zip(&row.0) {
            line.insert((*column).to_owned(), json(column, value));
        }
        writeln!(out, "{}", Json::Object(line))?;
    }
    Ok(rows.len() as u64)
}

fn json(column: &str, value: &Value) -> Json {
    let is_time = column == "time" || column.ends_with("_at") || column.ends_with("_time");
    match value {
        Value::Null | Value::Bytes(_) => Json::Null,
        Value::Int(ms) if is_time => {
            UtcTime::from_unix_ms(*ms).map_or(Json::Null, |t| t.to_string().into())
        }
        Value::Int(number) => (*number).into(),
        Value::Real(number) => (*number).into(),
        // JSON as JSON, and what was no JSON as the text that it is.
        Value::Text(text)
            if ["doc", "preferences", "position", "state", "connection"].contains(&column) =>
        {
            serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into())
        }
        Value::Text(text) => text.as_str().into(),
    }
}
