//! One parcel, or one van → everything that is known of it, as lines of JSON; and a parcel → forgotten.
//!
//! - [`Store::export`] is what somebody gets who asks what is kept of them (GDPR Art. 15): each line is a row with the name of
//!   its table.
//! - [`Store::erase`] is for who asks to be forgotten (Art. 17). Events of that parcel alone go; from those that also tell of
//!   other parcels, and from routes, its part goes. A van that has not been told yet that an event is stored may send it
//!   again: erase when the day is over.

use std::io::{self, Write};

use serde_json::{Map, Value as Json};

use super::{Row, Statement, Store, StoreError, Value};
use crate::backend::epc;
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

    /// Forgets a parcel; how many rows were removed or rewritten.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was forgotten.
    pub async fn erase(&self, epc: &str) -> Result<u64, StoreError> {
        const DOCS: &str =
            "SELECT n, doc FROM event WHERE n IN (SELECT n FROM event_epc WHERE epc = $1)";
        const ROUTES: &str = "SELECT route.route, route.doc, route.manifest, parcel.number FROM route \
            JOIN parcel ON parcel.route = route.route WHERE parcel.epc = $1";
        let mut statements = Vec::new();
        for row in self.read(Statement::new(DOCS, [epc.into()])).await? {
            statements.push(event_without(&row, epc));
        }
        for row in self.read(Statement::new(ROUTES, [epc.into()])).await? {
            let without = |column| route_without(row.text(column), row.text(3));
            statements.push(Statement::new(
                "UPDATE route SET doc = $2, manifest = $3 WHERE route = $1",
                [row.text(0).into(), without(1).into(), without(2).into()],
            ));
        }
        for sql in [
            "DELETE FROM event_epc WHERE epc = $1",
            "DELETE FROM alert WHERE epc = $1",
            "DELETE FROM subscriber WHERE epc = $1",
            "DELETE FROM command WHERE epc = $1",
            "DELETE FROM parcel WHERE epc = $1",
        ] {
            statements.push(Statement::new(sql, [epc.into()]));
        }
        let outcomes = self.write(statements).await?;
        Ok(outcomes.iter().map(|outcome| outcome.changed).sum())
    }
}

/// An event that tells of nothing else goes; of others only what it says of the parcel.
fn event_without(row: &Row, epc: &str) -> Statement {
    let n = Value::Int(row.int(0));
    let mut doc: Json = serde_json::from_str(row.text(1)).unwrap_or_default();
    let parcels = epc::things(&doc);
    let is_alone = parcels
        .iter()
        .all(|(uri, role)| uri == epc || *role == crate::backend::event::Role::Parent);
    if is_alone {
        return Statement::new("DELETE FROM event WHERE n = $1", [n]);
    }
    forget(&mut doc, &|text| epc::canonical(text) == epc);
    Statement::new("UPDATE event SET doc = $2 WHERE n = $1", [n, doc.to_string().into()])
}

fn route_without(doc: &str, number: &str) -> String {
    let Ok(mut route) = serde_json::from_str::<Json>(doc) else { return doc.to_owned() };
    forget(&mut route, &|text| epc::number(text) == number);
    route.to_string()
}

/// Takes out of lists each text that is meant, and each object that has one as a member; elsewhere such a text becomes null.
fn forget(value: &mut Json, is_meant: &dyn Fn(&str) -> bool) {
    let names = |value: &Json| value.as_str().is_some_and(is_meant);
    match value {
        Json::Array(items) => {
            items.retain(|item| {
                !names(item) && !item.as_object().is_some_and(|object| object.values().any(names))
            });
            items.iter_mut().for_each(|item| forget(item, is_meant));
        }
        Json::Object(members) => {
            for member in members.values_mut() {
                if names(member) {
                    *member = Json::Null;
                } else {
                    forget(member, is_meant);
                }
            }
        }
        _ => {}
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_forgotten_is_nowhere_in_what_tells_of_others() {
        let gone = "https://id.gs1.org/00/106141412345678908";
        let mut doc = json!({"childEPCs": [gone, "urn:x:other", "urn:epc:id:sscc:0614141.1234567890"],
            "list": [{"epc": gone, "score": 1}, {"epc": "urn:x:other"}], "last": gone, "n": 7});
        forget(&mut doc, &|text| epc::canonical(text) == gone);
        let expected = json!({"childEPCs": ["urn:x:other"], "list": [{"epc": "urn:x:other"}],
            "last": null, "n": 7});
        assert_eq!(doc, expected);
    }
}
