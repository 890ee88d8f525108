//! `GET /events` → events as a `SimpleEventQuery` asks for them (EPCIS 2.0 §8.2.7.1, §12.8), in pages.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::backend::api::{Allowed, Fault, Problem, scope};
use crate::backend::event::{Event, RETRACTS_OTHERS, token_of};
use crate::backend::store::wanted::{Column, Direction, Order, Page, Wanted};
use crate::backend::{Shared, epc};
use crate::units::UtcTime;

/// Events of a page, unless asked otherwise, and at most.
const PER_PAGE: u32 = 30;
const MAX_PER_PAGE: u32 = 1_000;

/// Values of one parameter.
const MAX_VALUES: usize = 100;

/// Parameters of one question: each is a condition that the database tries on every event.
const MAX_PARAMETERS: usize = 50;

/// The JSON-LD context that GS1 publishes.
const GS1_CONTEXT: &str = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld";

/// Parameters that ask for one of several values, parted by `|` (§12.8.3) or said several times.
const AMONG: &[(&str, Column)] = &[
    ("eventType", Column::EventType),
    ("EQ_eventID", Column::EventId),
    ("EQ_action", Column::Action),
    ("EQ_bizStep", Column::BizStep),
    ("EQ_disposition", Column::Disposition),
    ("EQ_readPoint", Column::ReadPoint),
    ("EQ_bizLocation", Column::BizLocation),
];

/// What is asked.
#[derive(Debug, PartialEq)]
struct Asked {
    wanted: Wanted,
    page: Page,
}

pub(super) fn per_page(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(PER_PAGE),
        Some(count) if (1..=MAX_PER_PAGE).contains(&count) => Ok(count),
        Some(count) => Err(Problem::bad_request(format!("perPage is {count}: 1 to 1000"))),
    }
}

pub(super) fn bad_page() -> Problem {
    Problem::bad_request("nextPageToken: take it from the Link of the page before")
}

/// `Link` of the next page (RFC 8288).
pub(super) fn link(next: Option<&str>) -> AppendHeaders<Vec<(HeaderName, HeaderValue)>> {
    let value = next.and_then(|next| format!("<{next}>; rel=\"next\"").parse().ok());
    AppendHeaders(value.map(|value| (header::LINK, value)).into_iter().collect())
}

/// Reads a query string. Everything in it must be known: a filter that is not applied would show too much.
fn asked(query: &str) -> Result<Asked, Vec<Fault>> {
    let mut asked = Asked {
        wanted: Wanted::default(),
        page: Page {
            order: Order::default(),
            direction: Direction::default(),
            after: None,
            limit: PER_PAGE,
        },
    };
    let mut faults = Vec::new();
    let parameters = parameters(query);
    if parameters.len() > MAX_PARAMETERS {
        let value = parameters.len().to_string();
        let remedy = "at most 50 parameters; several values go into one, parted by |".to_owned();
        return Err(vec![Fault { place: "the query".to_owned(), value, remedy }]);
    }
    for (name, value) in parameters {
        if let Err(remedy) = asked.take(&name, &value) {
            let value = value.chars().take(80).collect();
            let place = name.chars().take(80).collect();
            faults.push(Fault { place, value, remedy: remedy.to_owned() });
        }
    }
    if faults.is_empty() { Ok(asked) } else { Err(faults) }
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// Percent-encoding undone (RFC 3986 §2.1). `+` stays: times have it, and what people mean by it is no space here.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octet = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
        });
        match octet {
            Some(octet) => {
                bytes.push(octet);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Asked {
    fn take(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let time = || UtcTime::parse(value).ok_or("a time with an offset, as 2026-11-22T07:12:31Z");
        let values: Vec<String> =
            value.split('|').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let some = |values: Vec<String>| match values.len() {
            0 => Err("at least one value"),
            1..=MAX_VALUES => Ok(values),
            _ => Err("at most 100 values"),
        };
        if let Some((_, column)) = AMONG.iter().find(|(known, _)| *known == name) {
            self.wanted.among.push((*column, some(values)?));
            return Ok(());
        }
        let canonical =
            |values: Vec<String>| values.iter().map(|uri| epc::canonical(uri)).collect();
        match name {
            "GE_eventTime" => self.wanted.since.push((Order::EventTime, time()?)),
            "LT_eventTime" => self.wanted.until.push((Order::EventTime, time()?)),
            "GE_recordTime" => self.wanted.since.push((Order::RecordTime, time()?)),
            "LT_recordTime" => self.wanted.until.push((Order::RecordTime, time()?)),
            "MATCH_epc" => self.wanted.epcs = canonical(some(values)?),
            "MATCH_anyEPC" => self.wanted.any_epcs = canonical(some(values)?),
            "orderBy" => {
                self.page.order = match value {
                    "eventTime" => Order::EventTime,
                    "recordTime" => Order::RecordTime,
                    _ => return Err("eventTime or recordTime"),
                }
            }
            "orderDirection" => {
                self.page.direction = match value {
                    "ASC" => Direction::Ascending,
                    "DESC" => Direction::Descending,
                    _ => return Err("ASC or DESC"),
                }
            }
            "perPage" => {
                let count = value.parse().ok().filter(|n| (1..=MAX_PER_PAGE).contains(n));
                self.page.limit = count.ok_or("1 to 1000")?;
            }
            "nextPageToken" => {
                let after = value.split_once('.');
                let after = after.and_then(|(at, n)| Some((at.parse().ok()?, n.parse().ok()?)));
                self.page.after = Some(after.ok_or("the one of the Link of the page before")?);
            }
            _ => return Err("no parameter of this server; see /api/v1/openapi.json"),
        }
        Ok(())
    }
}

pub(super) async fn events(
    _: Allowed<scope::Events>,
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    let Asked { wanted, page } = asked(&query).map_err(|faults| {
        let names: Vec<&str> = faults.iter().map(|fault| fault.place.as_str()).collect();
        let detail = format!("parameters that cannot be: {}", names.join(", "));
        Problem::bad_request(detail).with_errors(faults)
    })?;
    let more = Page { limit: page.limit + 1, ..page };
    let mut events = shared.store.events_wanted(&wanted, more).await?;
    let is_more = events.len() > page.limit as usize;
    events.truncate(page.limit as usize);
    let next = events.last().filter(|_| is_more).map(|last| {
        let time = match page.order {
            Order::EventTime => last.time,
            Order::RecordTime => last.captured_at,
        };
        let asked = query.split('&').filter(|pair| !pair.starts_with("nextPageToken="));
        let asked: Vec<&str> = asked.filter(|pair| !pair.is_empty()).collect();
        let and = if asked.is_empty() { "" } else { "&" };
        let (at, n) = (time.as_unix_ms(), last.n);
        format!("/events?{}{and}nextPageToken={at}.{n}", asked.join("&"))
    });
    let document = document(&shared, &events);
    Ok((link(next.as_deref()), [LD_JSON], Json(document)).into_response())
}

const LD_JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/ld+json");

/// An `EPCISQueryDocument` (§9.5): each event with the context that it came with.
fn document(shared: &Shared, events: &[Event]) -> Value {
    json!({
        "@context": [GS1_CONTEXT],
        "type": "EPCISQueryDocument",
        "schemaVersion": "2.0",
        "creationDate": shared.now().to_string(),
        "epcisBody": {
            "queryResults": {
                "queryName": "SimpleEventQuery",
                "resultsBody": {"eventList": events.iter().map(shown).collect::<Vec<Value>>()},
            },
        },
    })
}

/// An event with the time at which it was taken.
pub(super) fn shown(event: &Event) -> Value {
    let mut data = event.data.clone();
    if data.is_object() {
        data["recordTime"] = Value::from(event.captured_at.to_string());
    }
    data
}

/// Whether a retraction of this name is good for what `first` says.
fn takes_back(event: &Event, first: &Event) -> bool {
    match token_of(&first.source) {
        None => event.source == first.source,
        token => event.kind == RETRACTS_OTHERS || token_of(&event.source) == token,
    }
}

/// One event by its `eventID`; if several say it, the first, and if that was taken back, the retraction.
pub(super) async fn event(
    _: Allowed<scope::Events>,
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let events = shared.store.events_called(&id).await?;
    let first = events.iter().find(|event| !event.retracts).or_else(|| events.first());
    let back =
        |event: &&Event| event.retracts && first.is_some_and(|first| takes_back(event, first));
    let found = events.iter().rev().find(back).or(first);
    let event = found.ok_or_else(|| Problem::not_found("no event has this eventID"))?;
    Ok((StatusCode::OK, [LD_JSON], Json(shown(event))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read() {
        let query = "eventType=ObjectEvent%7CAggregationEvent&GE_eventTime=2026-11-22T07:00:00+01:00\
            &MATCH_epc=urn:epc:id:sscc:0614141.1234567890&orderBy=recordTime&orderDirection=ASC&perPage=7&nextPageToken=5.6";
        let asked = asked(query).unwrap();
        let both = vec!["ObjectEvent".to_owned(), "AggregationEvent".to_owned()];
        assert_eq!(asked.wanted.among, [(Column::EventType, both)]);
        assert_eq!(asked.wanted.epcs, ["https://id.gs1.org/00/106141412345678908"]);
        let since = UtcTime::parse("2026-11-22T06:00:00Z").unwrap();
        assert_eq!(asked.wanted.since, [(Order::EventTime, since)]);
        let page = Page {
            order: Order::RecordTime,
            direction: Direction::Ascending,
            after: Some((5, 6)),
            limit: 7,
        };
        assert_eq!(asked.page, page);
        assert_eq!(super::asked("").unwrap().wanted, Wanted::default());
        let faults = super::asked(&"EQ_action=ADD&".repeat(51)).unwrap_err();
        assert_eq!(faults[0].place, "the query");
    }

    #[test]
    fn what_is_not_known_is_named() {
        let query = "EQ_bizstep=x&perPage=0&orderBy=place&GE_eventTime=now&EQ_action=&nextPageToken=x&%zz=1";
        let names: Vec<String> =
            asked(query).unwrap_err().into_iter().map(|fault| fault.place).collect();
        let expected = [
            "EQ_bizstep",
            "perPage",
            "orderBy",
            "GE_eventTime",
            "EQ_action",
            "nextPageToken",
            "%zz",
        ];
        assert_eq!(names, expected);
    }
}
