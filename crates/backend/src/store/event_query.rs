//! Builds the SQL for an event query. Every query walks one index in result order and stops after a
//! page; none sorts.
//!
//! Lists grow without bound, and clients read them by pages. A query therefore walks the rows of
//! one value of one column, or of one time range, until the page is full. The column is chosen
//! here, since one of the databases knows too little about the selectivity of values.

use std::fmt::Write as _;

use super::events::{COLUMNS, event_from_row};
use super::{Statement, Store, StoreError, Value};
use crate::epc::EpcMatch;
use crate::event::{Event, Role};
use waypost_model::units::UtcTime;

/// Maximum number of values of the leading column that are walked as a UNION of index scans.
const MAX_UNION_VALUES: usize = 16;

/// Conditions of an event query (EPCIS 2.0 §8.2.7.1). All must hold; an empty one is ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventQuery {
    /// Columns with their accepted values.
    pub any_of: Vec<(Column, Vec<String>)>,
    /// Inclusive lower bounds of times.
    pub since: Vec<(Order, UtcTime)>,
    /// Exclusive upper bounds of times.
    pub until: Vec<(Order, UtcTime)>,
    /// Objects, one of each list of which the event must name in one of the roles; without roles in
    /// any.
    pub objects: Vec<(&'static [Role], Vec<EpcMatch>)>,
}

/// A column to filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of EPCIS")]
pub enum Column {
    EventType,
    EventId,
    Action,
    BizStep,
    Disposition,
    ReadPoint,
    BizLocation,
}

impl Column {
    /// Columns with an index by time, most selective first.
    const LEADING: [Self; 5] =
        [Self::ReadPoint, Self::BizLocation, Self::Disposition, Self::BizStep, Self::EventType];

    const fn as_str(self) -> &'static str {
        match self {
            Self::EventType => "event_type",
            Self::EventId => "event_id",
            Self::Action => "action",
            Self::BizStep => "biz_step",
            Self::Disposition => "disposition",
            Self::ReadPoint => "read_point",
            Self::BizLocation => "biz_location",
        }
    }
}

/// Time that orders the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Time of the event.
    #[default]
    EventTime,
    /// Time of the capture.
    RecordTime,
}

impl Order {
    const fn column(self) -> &'static str {
        match self {
            Self::EventTime => "event.event_time",
            Self::RecordTime => "event.captured_at",
        }
    }
}

/// Sort direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

impl Direction {
    const fn as_sql(self) -> &'static str {
        match self {
            Self::Ascending => "ASC",
            Self::Descending => "DESC",
        }
    }

    const fn comparison(self) -> &'static str {
        match self {
            Self::Ascending => ">",
            Self::Descending => "<",
        }
    }
}

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub order: Order,
    pub direction: Direction,
    /// Time (ms since 1970) and number of the previous page's last event.
    pub after: Option<(i64, i64)>,
    /// Maximum number of events.
    pub limit: u32,
}

/// Values of the statement, in placeholder order.
#[derive(Default)]
struct Placeholders(Vec<Value>);

impl Placeholders {
    fn push(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("${}", self.0.len())
    }

    fn push_all(&mut self, values: &[String]) -> String {
        let places: Vec<String> = values.iter().map(|value| self.push(value.as_str())).collect();
        places.join(", ")
    }
}

impl EventQuery {
    /// Builds the query for a page.
    #[must_use]
    pub fn statement(&self, page: Page) -> Statement {
        let mut places = Placeholders::default();
        let leading_column = self.leading_column(page.order);
        let rest = self.conditions(page, leading_column, &mut places);
        let limit = places.push(page.limit);
        let order = |n: &str, at: &str| {
            let way = page.direction.as_sql();
            format!("ORDER BY {at} {way}, {n} {way} LIMIT {limit}")
        };
        let column = page.order.column();
        let found = |which: &str| {
            let order = order("event.n", column);
            format!("FROM event WHERE {which} AND {rest} {order}")
        };
        let sql = match leading_column.map(|leading_column| &self.any_of[leading_column]) {
            Some((column, values)) if values.len() > MAX_UNION_VALUES => {
                let list = places.push_all(values);
                format!(
                    "SELECT {COLUMNS} {}",
                    found(&format!("event.{} IN ({list})", column.as_str()))
                )
            }
            Some((column, values)) => {
                let mut which = values.iter().map(|value| {
                    format!("event.{} = {}", column.as_str(), places.push(value.as_str()))
                });
                if let [_] = values.as_slice() {
                    format!("SELECT {COLUMNS} {}", found(&which.next().unwrap_or_default()))
                } else {
                    let each: Vec<String> = which
                        .map(|which| {
                            format!(
                                "SELECT * FROM (SELECT event.n, {} AS at {}) AS one",
                                page.order.column(),
                                found(&which)
                            )
                        })
                        .collect();
                    format!(
                        "SELECT {COLUMNS} FROM ({}) AS found CROSS JOIN event WHERE event.n = found.n {}",
                        each.join(" UNION ALL "),
                        order("found.n", "found.at")
                    )
                }
            }
            None => format!("SELECT {COLUMNS} {}", found("1 = 1")),
        };
        Statement::new(sql, places.0)
    }

    /// Index of the leading condition. Time, eventID and EPCs are more selective and need none.
    /// Only the event time orders the rows of a value.
    fn leading_column(&self, order: Order) -> Option<usize> {
        let is_named = self.any_of.iter().any(|(column, _)| *column == Column::EventId);
        if order != Order::EventTime || is_named || !self.objects.is_empty() {
            return None;
        }
        let of = |leading: &Column| self.any_of.iter().position(|(column, _)| column == leading);
        Column::LEADING.iter().find_map(of)
    }

    /// The other conditions, in a form that uses no index except for eventIDs, EPCs and times.
    fn conditions(
        &self,
        page: Page,
        leading_column: Option<usize>,
        places: &mut Placeholders,
    ) -> String {
        let mut conditions: Vec<String> = Vec::new();
        for (index, (column, among)) in self.any_of.iter().enumerate() {
            if Some(index) == leading_column {
                continue;
            }
            let list = places.push_all(among);
            conditions.push(match column {
                Column::EventId | Column::Action => {
                    format!("event.{} IN ({list})", column.as_str())
                }
                other => format!("COALESCE(event.{}, '') IN ({list})", other.as_str()),
            });
        }
        for (order, time) in &self.since {
            conditions.push(format!("{} >= {}", order.column(), places.push(*time)));
        }
        for (order, time) in &self.until {
            conditions.push(format!("{} < {}", order.column(), places.push(*time)));
        }
        for (roles, matches) in &self.objects {
            let mut named: Vec<String> = Vec::new();
            for one in matches {
                match one {
                    EpcMatch::Exactly(uri) => {
                        named.push(format!("epc = {}", places.push(uri.as_str())));
                    }
                    EpcMatch::StartsWith(starts) => named.extend(starts.iter().map(|start| {
                        let (from, to) = (places.push(start.as_str()), places.push(end_of(start)));
                        format!("epc >= {from} AND epc < {to}")
                    })),
                }
            }
            let mut which = format!("({})", named.join(" OR "));
            if !roles.is_empty() {
                let roles: Vec<String> =
                    roles.iter().map(|role| format!("'{}'", role.as_str())).collect();
                write!(which, " AND role IN ({})", roles.join(", "))
                    .expect("writing to a string succeeds");
            }
            conditions.push(format!("event.n IN (SELECT n FROM event_epc WHERE {which})"));
        }
        if let Some((time, n)) = page.after {
            let (time, n) = (places.push(time), places.push(n));
            let (column, beyond) = (page.order.column(), page.direction.comparison());
            conditions.push(format!("({column}, event.n) {beyond} ({time}, {n})"));
        }
        // Erased events keep only their number (`erase`).
        conditions.push("event.kind <> 'erased'".to_owned());
        conditions.join(" AND ")
    }
}

/// A set of values that occur in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of EPCIS")]
pub enum Values {
    EventTypes,
    Epcs,
    BizSteps,
    Dispositions,
    ReadPoints,
    BizLocations,
}

impl Values {
    const fn column_and_table(self) -> (&'static str, &'static str) {
        match self {
            Self::EventTypes => ("event_type", "event"),
            Self::Epcs => ("epc", "event_epc"),
            Self::BizSteps => ("biz_step", "event"),
            Self::Dispositions => ("disposition", "event"),
            Self::ReadPoints => ("read_point", "event"),
            Self::BizLocations => ("biz_location", "event"),
        }
    }
}

/// First text after all that begin with `start`, an ASCII text. The column compares by bytes.
fn end_of(start: &str) -> String {
    let mut end = start.to_owned();
    let last = end.pop().unwrap_or_default();
    end.push(char::from_u32(u32::from(last) + 1).unwrap_or(last));
    end
}

impl Store {
    /// Number of the matching events, at most `limit`.
    pub async fn count_events(&self, wanted: &EventQuery, limit: u32) -> Result<u64, StoreError> {
        let page =
            Page { order: Order::default(), direction: Direction::default(), after: None, limit };
        let Statement { sql, values, .. } = wanted.statement(page);
        let counted = Statement::new(format!("SELECT COUNT(*) FROM ({sql}) AS counted"), values);
        Ok(self.read(counted).await?.first().map_or(0, |row| row.count(0)))
    }

    /// The next values after `after`, in order. Each is one step in the index, whatever the number
    /// of events.
    pub async fn distinct_values(
        &self,
        which: Values,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let (column, table) = which.column_and_table();
        let sql = format!(
            "WITH RECURSIVE walked (value) AS (SELECT MIN({column}) FROM {table} WHERE {column} > $1 UNION ALL \
             SELECT (SELECT MIN({column}) FROM {table} WHERE {column} > walked.value) FROM walked \
             WHERE walked.value IS NOT NULL) SELECT value FROM walked WHERE value IS NOT NULL LIMIT $2"
        );
        let rows = self.read(Statement::new(sql, [after.into(), limit.into()])).await?;
        Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
    }

    /// A page of the matching events.
    pub async fn query_events(
        &self,
        wanted: &EventQuery,
        page: Page,
    ) -> Result<Vec<Event>, StoreError> {
        Ok(self.read(wanted.statement(page)).await?.iter().map(event_from_row).collect())
    }
}
