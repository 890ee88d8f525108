//! Events of all sources, each stored once.
//!
//! The EPCs of an event ([`Event::epcs`]) are parsed from its document; the table `event_epc` is an
//! index on them.

use super::{Row, Statement, Store, StoreError, Value};
use crate::epc;
use crate::event::{Event, Origin};
use waypost_model::units::UtcTime;

/// Maximum number of events per query; more than a van reports in a week.
const MAX_EVENTS: i64 = 20_000;

/// Columns read by `event_from_row`.
pub(super) const COLUMNS: &str = "event.n, event.source, event.id, event.event_id, event.kind, event.origin, event.van, event.seq, \
     event.route, event.event_time, event.captured_at, event.retracts, event.job, event.doc";

/// Inserted columns of an event, in the order of `row_values`.
macro_rules! columns {
    () => {
        "source, id, event_id, kind, origin, van, seq, previous_seq, route, event_time, captured_at, retracts, \
         event_type, action, biz_step, disposition, read_point, biz_location, job, doc"
    };
}
pub(super) use columns;

/// PostgreSQL assumes the type TEXT for an untyped parameter in a SELECT, so numbers are cast.
const PLACEHOLDERS: &str = "$1, $2, $3, $4, $5, $6, CAST($7 AS BIGINT), CAST($8 AS BIGINT), $9, CAST($10 AS BIGINT), \
     CAST($11 AS BIGINT), CAST($12 AS BIGINT), $13, $14, $15, $16, $17, $18, $19, $20";

/// Numbers of EPCs per statement, largest first. Few distinct sizes keep the prepared-statement
/// cache small.
const CHUNK_SIZES: [usize; 4] = [256, 64, 8, 1];

/// Statements that insert an event and its EPCs. The first one inserts a row if the event is new.
///
/// An event with different content under an existing key changes nothing.
#[must_use]
pub fn insert(event: &Event) -> Vec<Statement> {
    let doc = event.data.to_string();
    let mut statements = vec![insert_row(event, &doc)];
    let mut epcs = event.epcs.as_slice();
    for size in CHUNK_SIZES {
        while epcs.len() >= size {
            let (chunk, rest) = epcs.split_at(size);
            epcs = rest;
            let places: Vec<String> = (0..size)
                .map(|index| format!("(${}, ${})", 2 * index + 4, 2 * index + 5))
                .collect();
            let sql = format!(
                "WITH thing (epc, role) AS (VALUES {}) \
                 INSERT INTO event_epc (epc, n, role) SELECT thing.epc, event.n, thing.role FROM thing, event \
                 WHERE event.source = $1 AND event.id = $2 AND event.doc = $3 \
                 ON CONFLICT (epc, n) DO NOTHING",
                places.join(", ")
            );
            let mut values: Vec<Value> =
                vec![event.source.as_str().into(), event.id.as_str().into(), doc.as_str().into()];
            for (epc, role) in chunk {
                values.extend([epc.as_str().into(), role.as_str().into()]);
            }
            statements.push(Statement::new(sql, values));
        }
    }
    statements
}

/// Statements that insert an event only if this revision of the route is the stored one; see
/// [`super::routes`].
pub(super) fn insert_if_current(event: &Event, route: &[Value; 3]) -> Vec<Statement> {
    let mut statements = insert(event);
    let first = &mut statements[0];
    first.sql = format!(
        "INSERT INTO event ({}) SELECT {PLACEHOLDERS} FROM route \
         WHERE route.route = $21 AND route.rev = $22 AND route.digest = $23 ON CONFLICT (source, id) DO NOTHING",
        columns!()
    )
    .into();
    first.values.extend(route.iter().cloned());
    statements
}

fn insert_row(event: &Event, doc: &str) -> Statement {
    Statement::new(
        format!(
            "INSERT INTO event ({}) VALUES ({PLACEHOLDERS}) ON CONFLICT (source, id) DO NOTHING",
            columns!()
        ),
        row_values(event, doc, None, event.captured_at),
    )
}

/// Values of an event's row. `previous` is the sequence number of the van's previous event; without
/// it no gap is detected.
pub(super) fn row_values(
    event: &Event,
    doc: impl Into<Value>,
    previous: Option<u64>,
    captured_at: UtcTime,
) -> Vec<Value> {
    vec![
        event.source.as_str().into(),
        event.id.as_str().into(),
        event.event_id.as_str().into(),
        event.kind.as_str().into(),
        event.origin.as_str().into(),
        event.van.as_deref().into(),
        event.seq.into(),
        previous.into(),
        event.route.as_deref().into(),
        event.time.into(),
        captured_at.into(),
        event.retracts.into(),
        event.member("type").unwrap_or_default().into(),
        event.member("action").into(),
        event.member("bizStep").into(),
        event.member("disposition").into(),
        event.location_id("readPoint").map(epc::canonical).into(),
        event.location_id("bizLocation").map(epc::canonical).into(),
        event.job.as_deref().into(),
        doc.into(),
    ]
}

/// Builds the event of a row of [`COLUMNS`].
pub(super) fn event_from_row(row: &Row) -> Event {
    let data = serde_json::from_str(row.text(13)).unwrap_or_default();
    Event {
        n: row.int(0),
        source: row.text(1).to_owned(),
        id: row.text(2).to_owned(),
        event_id: row.text(3).to_owned(),
        kind: row.text(4).to_owned(),
        origin: Origin::parse(row.text(5)).unwrap_or(Origin::Backend),
        van: row.maybe_text(6).map(str::to_owned),
        seq: row.maybe_int(7).and_then(|seq| u64::try_from(seq).ok()),
        route: row.maybe_text(8).map(str::to_owned),
        time: row.utc(9),
        captured_at: row.utc(10),
        retracts: row.int(11) != 0,
        epcs: epc::epcs_in(&data),
        job: row.maybe_text(12).map(str::to_owned),
        data,
    }
}

impl Store {
    /// Events that name an EPC, ordered by `eventTime`, then by capture.
    pub async fn events_for_epc(&self, epc: &str) -> Result<Vec<Event>, StoreError> {
        self.select_events(
            "JOIN event_epc ON event_epc.n = event.n WHERE event_epc.epc = $1 ORDER BY event.event_time, event.n",
            vec![epc.into()],
        )
        .await
    }

    /// A van's events from `from` until before `until`, ordered by `eventTime`, then by capture.
    pub async fn events_for_van(
        &self,
        van: &str,
        from: UtcTime,
        until: UtcTime,
    ) -> Result<Vec<Event>, StoreError> {
        self.select_events(
            "WHERE event.van = $1 AND event.event_time >= $2 AND event.event_time < $3 \
             AND event.kind <> 'erased' ORDER BY event.event_time, event.n",
            vec![van.into(), from.into(), until.into()],
        )
        .await
    }

    /// Events with this `eventID`, including retractions, in order of capture.
    pub async fn events_by_event_id(&self, event_id: &str) -> Result<Vec<Event>, StoreError> {
        self.select_events(
            "WHERE event.event_id = $1 AND event.kind <> 'erased' ORDER BY event.n",
            vec![event_id.into()],
        )
        .await
    }

    /// Pairs of `eventID` and source for these `eventID`s, without retractions.
    pub async fn sources_by_event_id(
        &self,
        event_ids: &[&str],
    ) -> Result<Vec<(String, String)>, StoreError> {
        const SQL: &str = "WITH asked (id) AS (VALUES {keys}) SELECT DISTINCT event.event_id, event.source \
             FROM asked CROSS JOIN event WHERE event.event_id = asked.id AND event.retracts = 0";
        let keys: Vec<_> = event_ids.iter().map(|id| vec![(*id).into()]).collect();
        let rows = self.read_batched(SQL, &[], &keys).await?;
        Ok(rows.iter().map(|row| (row.text(0).to_owned(), row.text(1).to_owned())).collect())
    }

    /// Those of a source's messages that are stored, with their events as text.
    pub async fn existing_events(
        &self,
        source: &str,
        ids: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        const BATCH_SIZE: usize = 100;
        let places: Vec<String> = (0..BATCH_SIZE).map(|index| format!("${}", index + 2)).collect();
        let sql = format!(
            "SELECT id, doc FROM event WHERE source = $1 AND id IN ({})",
            places.join(", ")
        );
        let mut known = Vec::new();
        for ids in ids.chunks(BATCH_SIZE) {
            let mut values: Vec<Value> = vec![source.into()];
            values.extend((0..BATCH_SIZE).map(|index| ids.get(index).map(String::as_str).into()));
            let rows = self.read(Statement::new(sql.clone(), values)).await?;
            known.extend(rows.iter().map(|row| (row.text(0).to_owned(), row.text(1).to_owned())));
        }
        Ok(known)
    }

    async fn select_events(
        &self,
        which: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Event>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM event {which} LIMIT {MAX_EVENTS}");
        Ok(self.read(Statement::new(sql, values)).await?.iter().map(event_from_row).collect())
    }
}
