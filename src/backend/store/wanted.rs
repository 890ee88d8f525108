//! What a list of events is asked for by → one statement that goes through an index in the order that is wanted.
//!
//! A list has no end, and whoever asks sees a page of it. So no question may sort what it finds, or look at all that there is:
//! it goes through the rows of one value of one column (or of one time) in the order of the answer until the page is full. Which
//! column that is is said here and not left to the databases, of which one knows too little of how many rows a value has.

use super::events::{COLUMNS, event};
use super::{Statement, Store, StoreError, Value};
use crate::backend::event::Event;
use crate::units::UtcTime;

/// Values of the leading column that are gone through one beside the other.
const BESIDE: usize = 16;

/// What a list of events is asked for by (EPCIS 2.0 §8.2.7.1). Every condition must hold; an empty one asks nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Columns, and the values of which one must be there.
    pub among: Vec<(Column, Vec<String>)>,
    /// Columns of times: not before, and before.
    pub since: Vec<(Order, UtcTime)>,
    /// See `since`.
    pub until: Vec<(Order, UtcTime)>,
    /// Canonical URIs of which one must be named, as what the event is about or as child.
    pub epcs: Vec<String>,
    /// As `epcs`, or as parent.
    pub any_epcs: Vec<String>,
}

/// A column by whose value events are asked for.
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
    /// Those that have an index of their own, by time: the ones that leave the least come first.
    const LEADING: [Self; 5] =
        [Self::ReadPoint, Self::BizLocation, Self::Disposition, Self::BizStep, Self::EventType];

    const fn name(self) -> &'static str {
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

/// By which time events are in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// When it happened.
    #[default]
    EventTime,
    /// When the backend took it.
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

/// Which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

impl Direction {
    const fn way(self) -> &'static str {
        match self {
            Self::Ascending => "ASC",
            Self::Descending => "DESC",
        }
    }

    const fn beyond(self) -> &'static str {
        match self {
            Self::Ascending => ">",
            Self::Descending => "<",
        }
    }
}

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// By which time.
    pub order: Order,
    /// Which way.
    pub direction: Direction,
    /// Time (ms since 1970) and number of the last event of the page before.
    pub after: Option<(i64, i64)>,
    /// So many at most.
    pub limit: u32,
}

/// Values of a statement so far.
#[derive(Default)]
struct Places(Vec<Value>);

impl Places {
    fn one(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("${}", self.0.len())
    }

    fn all(&mut self, values: &[String]) -> String {
        let places: Vec<String> = values.iter().map(|value| self.one(value.as_str())).collect();
        places.join(", ")
    }
}

impl Wanted {
    /// The question for a page of what is wanted.
    #[must_use]
    pub fn statement(&self, page: Page) -> Statement {
        let mut places = Places::default();
        let lead = self.lead(page.order);
        let rest = self.conditions(page, lead, &mut places);
        let limit = places.one(page.limit);
        let order = |n: &str, at: &str| {
            let way = page.direction.way();
            format!("ORDER BY {at} {way}, {n} {way} LIMIT {limit}")
        };
        let column = page.order.column();
        let found = |which: &str| {
            let order = order("event.n", column);
            format!("FROM event WHERE {which} AND {rest} {order}")
        };
        let sql = match lead.map(|lead| &self.among[lead]) {
            Some((column, values)) if values.len() > BESIDE => {
                let list = places.all(values);
                format!(
                    "SELECT {COLUMNS} {}",
                    found(&format!("event.{} IN ({list})", column.name()))
                )
            }
            Some((column, values)) => {
                let mut which = values.iter().map(|value| {
                    format!("event.{} = {}", column.name(), places.one(value.as_str()))
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

    /// Which condition to go by, if not by time, name or things, of which there are fewer. Only the time at which
    /// things happened orders the rows of a value.
    fn lead(&self, order: Order) -> Option<usize> {
        let is_named = self.among.iter().any(|(column, _)| *column == Column::EventId);
        if order != Order::EventTime
            || is_named
            || !self.epcs.is_empty()
            || !self.any_epcs.is_empty()
        {
            return None;
        }
        let of = |leading: &Column| self.among.iter().position(|(column, _)| column == leading);
        Column::LEADING.iter().find_map(of)
    }

    /// What else must hold, in a form that no index fits but for names, things and times.
    fn conditions(&self, page: Page, lead: Option<usize>, places: &mut Places) -> String {
        let mut conditions: Vec<String> = Vec::new();
        for (index, (column, among)) in self.among.iter().enumerate() {
            if Some(index) == lead {
                continue;
            }
            let list = places.all(among);
            conditions.push(match column {
                Column::EventId | Column::Action => format!("event.{} IN ({list})", column.name()),
                other => format!("COALESCE(event.{}, '') IN ({list})", other.name()),
            });
        }
        for (order, time) in &self.since {
            conditions.push(format!("{} >= {}", order.column(), places.one(*time)));
        }
        for (order, time) in &self.until {
            conditions.push(format!("{} < {}", order.column(), places.one(*time)));
        }
        for (epcs, roles) in [(&self.epcs, " AND role <> 'parent'"), (&self.any_epcs, "")] {
            if !epcs.is_empty() {
                let list = places.all(epcs);
                conditions.push(format!(
                    "event.n IN (SELECT n FROM event_epc WHERE epc IN ({list}){roles})"
                ));
            }
        }
        if let Some((time, n)) = page.after {
            let (time, n) = (places.one(time), places.one(n));
            let (column, beyond) = (page.order.column(), page.direction.beyond());
            conditions.push(format!("({column}, event.n) {beyond} ({time}, {n})"));
        }
        // Of those, only the number is there (`erase`).
        conditions.push("event.kind <> 'erased'".to_owned());
        conditions.join(" AND ")
    }
}

impl Store {
    /// Events that are as wanted, a page of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events_wanted(
        &self,
        wanted: &Wanted,
        page: Page,
    ) -> Result<Vec<Event>, StoreError> {
        Ok(self.read(wanted.statement(page)).await?.iter().map(event).collect())
    }
}
