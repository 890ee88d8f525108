//! Event queries: `GET /epcis/v2/events` as `SimpleEventQuery` (EPCIS 2.0 §8.2.7.1, §12.8), with
//! pages.

pub(super) mod params;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use self::params::{DEFAULT_PER_PAGE, EventQueryParams, MAX_PER_PAGE};
use super::exceptions::{Exception, OfException as _};
use crate::AppState;
use crate::event::{Event, RETRACTS_OTHERS, token_name};
use crate::http::{FieldError, Problem, RequireScope, scope};
use crate::store::event_query::{Order, Page};
use waypost_wire::epcis::GS1_CONTEXT;

/// Parameters of a list that comes in pages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    #[serde(rename = "perPage")]
    pub(super) per_page: Option<u32>,
    /// Where the previous page ended; its format is that of the list.
    #[serde(rename = "nextPageToken")]
    pub(super) next: Option<String>,
}

pub(super) fn per_page(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(DEFAULT_PER_PAGE),
        Some(count) if (1..=MAX_PER_PAGE).contains(&count) => Ok(count),
        Some(count) => Err(Problem::bad_request(format!("perPage is {count}: must be 1 to 1000"))),
    }
}

/// Shortens `rows`, of which one more than `limit` was asked for, to a page. Returns the last row if
/// another page follows.
pub(super) fn cut_page<T>(rows: &mut Vec<T>, limit: u32) -> Option<&T> {
    let is_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    rows.last().filter(|_| is_more)
}

pub(super) fn invalid_page_token() -> Problem {
    Problem::bad_request("nextPageToken: must be taken from the Link header of the previous page")
}

/// `Link` header of the next page (RFC 8288).
pub(super) fn next_link(next: Option<&str>) -> AppendHeaders<Vec<(HeaderName, HeaderValue)>> {
    let value = next.and_then(|next| format!("<{next}>; rel=\"next\"").parse().ok());
    AppendHeaders(value.map(|value| (header::LINK, value)).into_iter().collect())
}

/// The problem of an invalid query.
pub(super) fn invalid_query(faults: Vec<FieldError>) -> Problem {
    let names: Vec<&str> = faults.iter().map(|fault| fault.place.as_str()).collect();
    let detail = format!("invalid parameters: {}", names.join(", "));
    Problem::bad_request(detail).with_errors(faults).of(Exception::QueryParameter)
}

pub(super) async fn events(
    _: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    uri: Uri,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    answer(&shared, uri.path(), &query, &[], "SimpleEventQuery").await
}

/// Answers a query with one page. `fixed` are the parameters of the resource at `path`, in addition
/// to those of the query string.
pub(super) async fn answer(
    shared: &AppState,
    path: &str,
    query: &str,
    fixed: &[(String, String)],
    name: &str,
) -> Result<Response, Problem> {
    let mut parameters = fixed.to_vec();
    parameters.extend(params::split(query));
    let asked = params::parse(&parameters).map_err(invalid_query)?;
    let EventQueryParams { query: wanted, page, max_count, limit: in_total } = asked;
    if let (Some(most), None) = (max_count, page.after)
        && shared.store.count_events(&wanted, most + 1).await? > u64::from(most)
    {
        let detail = format!("more than {most} events, which is maxEventCount; narrow the query");
        return Err(
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).of(Exception::QueryTooLarge)
        );
    }
    let limit = in_total.map_or(page.limit, |total| total.min(page.limit));
    let more = Page { limit: limit + 1, ..page };
    let mut events = shared.store.query_events(&wanted, more).await?;
    let last = cut_page(&mut events, limit).filter(|_| in_total.is_none_or(|total| total > limit));
    let next = last.map(|last| {
        let time = match page.order {
            Order::EventTime => last.time,
            Order::RecordTime => last.captured_at,
        };
        let is_kept = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default();
            !pair.is_empty() && name != "nextPageToken" && name != "eventCountLimit"
        };
        let mut asked: Vec<String> = query.split('&').filter(is_kept).map(str::to_owned).collect();
        if let Some(total) = in_total {
            asked.push(format!("eventCountLimit={}", total - limit));
        }
        asked.push(format!("nextPageToken={}.{}", time.as_unix_ms(), last.n));
        format!("{path}?{}", asked.join("&"))
    });
    let document = query_document(shared, &events, name, None);
    Ok((next_link(next.as_deref()), [LD_JSON], Json(document)).into_response())
}

pub(super) const LD_JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/ld+json");

/// Builds an `EPCISQueryDocument` (§9.5); each event keeps its own context.
pub(super) fn query_document(
    shared: &AppState,
    events: &[Event],
    name: &str,
    subscription: Option<&str>,
) -> Value {
    let mut results = json!({
        "queryName": name,
        "resultsBody": {"eventList": events.iter().map(event_json).collect::<Vec<Value>>()},
    });
    if let Some(id) = subscription {
        results["subscriptionID"] = id.into();
    }
    json!({
        "@context": [GS1_CONTEXT],
        "type": "EPCISQueryDocument",
        "schemaVersion": "2.0",
        "creationDate": shared.now().to_string(),
        "epcisBody": {"queryResults": results},
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
