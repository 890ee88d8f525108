//! Event queries: `GET /epcis/v2/events` as `SimpleEventQuery` (EPCIS 2.0 §8.2.7.1, §12.8), with pages.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::event::{Event, RETRACTS_OTHERS, token_name};
use crate::http::{FieldError, Problem, RequireScope, scope};
use crate::store::event_query::{Column, Direction, EventQuery, Order, Page};
use crate::{AppState, epc};
use waypost_model::units::UtcTime;
use waypost_wire::epcis::GS1_CONTEXT;

/// Default number of events per page.
const DEFAULT_PER_PAGE: u32 = 30;
/// Maximum number of events per page.
const MAX_PER_PAGE: u32 = 1_000;

/// Maximum number of values per parameter.
const MAX_VALUES: usize = 100;

/// Maximum number of parameters per query; the database evaluates each on every event.
const MAX_PARAMETERS: usize = 50;

/// Parameters with several values, separated by `|` (§12.8.3) or repeated.
const LIST_PARAMETERS: &[(&str, Column)] = &[
    ("eventType", Column::EventType),
    ("EQ_eventID", Column::EventId),
    ("EQ_action", Column::Action),
    ("EQ_bizStep", Column::BizStep),
    ("EQ_disposition", Column::Disposition),
    ("EQ_readPoint", Column::ReadPoint),
    ("EQ_bizLocation", Column::BizLocation),
];

/// A parsed event query.
#[derive(Debug, PartialEq)]
struct EventQueryParams {
    query: EventQuery,
    page: Page,
}

pub(super) fn per_page(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(DEFAULT_PER_PAGE),
        Some(count) if (1..=MAX_PER_PAGE).contains(&count) => Ok(count),
        Some(count) => Err(Problem::bad_request(format!("perPage is {count}: must be 1 to 1000"))),
    }
}

pub(super) fn invalid_page_token() -> Problem {
    Problem::bad_request("nextPageToken: must be taken from the Link header of the previous page")
}

/// `Link` header of the next page (RFC 8288).
pub(super) fn next_link(next: Option<&str>) -> AppendHeaders<Vec<(HeaderName, HeaderValue)>> {
    let value = next.and_then(|next| format!("<{next}>; rel=\"next\"").parse().ok());
    AppendHeaders(value.map(|value| (header::LINK, value)).into_iter().collect())
}

/// Parses a query string. Unknown parameters are rejected, since an ignored filter would reveal too
/// many events.
fn parse_query(query: &str) -> Result<EventQueryParams, Vec<FieldError>> {
    let mut asked = EventQueryParams {
        query: EventQuery::default(),
        page: Page {
            order: Order::default(),
            direction: Direction::default(),
            after: None,
            limit: DEFAULT_PER_PAGE,
        },
    };
    let mut faults = Vec::new();
    let parameters = split_query(query);
    if parameters.len() > MAX_PARAMETERS {
        let value = parameters.len().to_string();
        let remedy =
            "use at most 50 parameters; separate several values of one parameter by |".to_owned();
        return Err(vec![FieldError { place: "the query".to_owned(), value, remedy }]);
    }
    for (name, value) in parameters {
        if let Err(remedy) = asked.set_parameter(&name, &value) {
            let value = value.chars().take(80).collect();
            let place = name.chars().take(80).collect();
            faults.push(FieldError { place, value, remedy: remedy.to_owned() });
        }
    }
    if faults.is_empty() { Ok(asked) } else { Err(faults) }
}

fn split_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

/// Decodes percent-encoding (RFC 3986 §2.1). `+` is kept, since times contain it.
fn percent_decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl EventQueryParams {
    fn set_parameter(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let time = || {
            UtcTime::parse(value).ok_or("write a time with an offset, such as 2026-11-22T07:12:31Z")
        };
        let values: Vec<String> =
            value.split('|').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let some = |values: Vec<String>| match values.len() {
            0 => Err("write at least one value"),
            1..=MAX_VALUES => Ok(values),
            _ => Err("write at most 100 values"),
        };
        if let Some((_, column)) = LIST_PARAMETERS.iter().find(|(known, _)| *known == name) {
            self.query.any_of.push((*column, some(values)?));
            return Ok(());
        }
        let canonical =
            |values: Vec<String>| values.iter().map(|uri| epc::canonical(uri)).collect();
        match name {
            "GE_eventTime" => self.query.since.push((Order::EventTime, time()?)),
            "LT_eventTime" => self.query.until.push((Order::EventTime, time()?)),
            "GE_recordTime" => self.query.since.push((Order::RecordTime, time()?)),
            "LT_recordTime" => self.query.until.push((Order::RecordTime, time()?)),
            "MATCH_epc" => self.query.epcs = canonical(some(values)?),
            "MATCH_anyEPC" => self.query.any_epcs = canonical(some(values)?),
            "orderBy" => {
                self.page.order = match value {
                    "eventTime" => Order::EventTime,
                    "recordTime" => Order::RecordTime,
                    _ => return Err("write eventTime or recordTime"),
                }
            }
            "orderDirection" => {
                self.page.direction = match value {
                    "ASC" => Direction::Ascending,
                    "DESC" => Direction::Descending,
                    _ => return Err("write ASC or DESC"),
                }
            }
            "perPage" => {
                let count = value.parse().ok().filter(|n| (1..=MAX_PER_PAGE).contains(n));
                self.page.limit = count.ok_or("write 1 to 1000")?;
            }
            "nextPageToken" => {
                let after = value.split_once('.');
                let after = after.and_then(|(at, n)| Some((at.parse().ok()?, n.parse().ok()?)));
                self.page.after =
                    Some(after.ok_or("take it from the Link header of the previous page")?);
            }
            _ => return Err("unknown parameter; see /api/v1/openapi.json"),
        }
        Ok(())
    }
}

pub(super) async fn events(
    _: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    let EventQueryParams { query: wanted, page } = parse_query(&query).map_err(|faults| {
        let names: Vec<&str> = faults.iter().map(|fault| fault.place.as_str()).collect();
        let detail = format!("invalid parameters: {}", names.join(", "));
        Problem::bad_request(detail).with_errors(faults)
    })?;
    let more = Page { limit: page.limit + 1, ..page };
    let mut events = shared.store.query_events(&wanted, more).await?;
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
        format!("/epcis/v2/events?{}{and}nextPageToken={at}.{n}", asked.join("&"))
    });
    let document = query_document(&shared, &events);
    Ok((next_link(next.as_deref()), [LD_JSON], Json(document)).into_response())
}

const LD_JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/ld+json");

/// Builds an `EPCISQueryDocument` (§9.5); each event keeps its own context.
fn query_document(shared: &AppState, events: &[Event]) -> Value {
    json!({
        "@context": [GS1_CONTEXT],
        "type": "EPCISQueryDocument",
        "schemaVersion": "2.0",
        "creationDate": shared.now().to_string(),
        "epcisBody": {
            "queryResults": {
                "queryName": "SimpleEventQuery",
                "resultsBody": {"eventList": events.iter().map(event_json).collect::<Vec<Value>>()},
            },
        },
    })
}

/// JSON of an event with its `recordTime`.
pub(super) fn event_json(event: &Event) -> Value {
    let mut data = event.data.clone();
    if data.is_object() {
        data["recordTime"] = Value::from(event.captured_at.to_string());
    }
    data
}

/// Whether a retraction with the same eventID applies to the event `first`.
fn may_retract(event: &Event, first: &Event) -> bool {
    match token_name(&first.source) {
        None => event.source == first.source,
        token => event.kind == RETRACTS_OTHERS || token_name(&event.source) == token,
    }
}

/// Returns the event with an `eventID`: the first of several, or its retraction if it was
/// retracted.
pub(super) async fn event(
    _: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let events = shared.store.events_by_event_id(&id).await?;
    let first = events.iter().find(|event| !event.retracts).or_else(|| events.first());
    let back =
        |event: &&Event| event.retracts && first.is_some_and(|first| may_retract(event, first));
    let found = events.iter().rev().find(back).or(first);
    let event = found.ok_or_else(|| Problem::not_found("no event has this eventID"))?;
    Ok((StatusCode::OK, [LD_JSON], Json(event_json(event))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read() {
        let query = "eventType=ObjectEvent%7CAggregationEvent&GE_eventTime=2026-11-22T07:00:00+01:00\
            &MATCH_epc=urn:epc:id:sscc:0614141.1234567890&orderBy=recordTime&orderDirection=ASC&perPage=7&nextPageToken=5.6";
        let asked = parse_query(query).unwrap();
        let both = vec!["ObjectEvent".to_owned(), "AggregationEvent".to_owned()];
        assert_eq!(asked.query.any_of, [(Column::EventType, both)]);
        assert_eq!(asked.query.epcs, ["https://id.gs1.org/00/106141412345678908"]);
        let since = UtcTime::parse("2026-11-22T06:00:00Z").unwrap();
        assert_eq!(asked.query.since, [(Order::EventTime, since)]);
        let page = Page {
            order: Order::RecordTime,
            direction: Direction::Ascending,
            after: Some((5, 6)),
            limit: 7,
        };
        assert_eq!(asked.page, page);
        assert_eq!(parse_query("").unwrap().query, EventQuery::default());
        let faults = parse_query(&"EQ_action=ADD&".repeat(51)).unwrap_err();
        assert_eq!(faults[0].place, "the query");
    }

    #[test]
    fn what_is_not_known_is_named() {
        let query = "EQ_bizstep=x&perPage=0&orderBy=place&GE_eventTime=now&EQ_action=&nextPageToken=x&%zz=1";
        let names: Vec<String> =
            parse_query(query).unwrap_err().into_iter().map(|fault| fault.place).collect();
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
