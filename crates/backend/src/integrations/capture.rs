//! EPCIS 2.0 capture (ISO/IEC 19987 §12.6): `POST /epcis/v2/capture` creates a job, `POST /epcis/v2/events` captures
//! one event synchronously.
//!
//! - An accepted capture is processed even after a restart: its document stays in the store until
//!   its events are stored.
//! - **A captured event belongs to its token**, whatever its content: its source is `capture:` with
//!   the token's name, and it has no van. Repeating an `eventID` with different content is
//!   rejected.
//! - A token may retract its own events. Those of other tokens require a scope; van events can
//!   never be retracted by a capture (see `rights`).
//! - An event without `eventID` gets one derived from its content: a UUID of version 8 over the
//!   token's name and the canonical form ([`epcis::canonical`]). A repeated event therefore adds
//!   nothing, however it is written. `recordTime` is always ours.

mod jobs;
mod retraction_rights;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::epcis::{self, Context, canonical};
use super::protocol::discover;
use super::{ids, query, token_binding};
use crate::change_feed::Change;
use crate::event::{Event, Origin};
use crate::http::{FieldError, Problem, RequireScope, scope};
use crate::store::capture_jobs::{CaptureJob, finish};
use crate::store::events::insert;
use crate::store::{Statement, StoreError};
use crate::{AppState, epc, octets};
use waypost_model::units::UtcTime;

/// Maximum number of events per document: `GS1-EPCIS-Capture-Limit`.
const MAX_EVENTS: usize = 1_000;

/// Maximum size of a document in bytes: `GS1-EPCIS-Capture-File-Size-Limit`.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Duration of a claim; after it another instance may take over the job.
const CLAIM_DURATION: Duration = Duration::from_secs(120);

/// Interval for polling jobs that another instance left unfinished.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Maximum number of errors stored per job.
const MAX_FAULTS: usize = 200;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/epcis/v2/capture", get(jobs::list_jobs).post(capture).options(discover))
        .route("/epcis/v2/capture/{id}", get(jobs::get_job).options(discover))
        .route("/epcis/v2/events", get(query::events).post(capture_one).options(discover))
        .route("/epcis/v2/events/{id}", get(query::event).options(discover))
        .layer(DefaultBodyLimit::max(MAX_BYTES))
}

/// Parses the JSON body of a request (§12.6).
pub(super) fn parse_body(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Value, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/json", "application/ld+json"].contains(&essence.as_str()) {
        let detail = "Content-Type: write application/json or application/ld+json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body has more than 4194304 bytes; split the document",
        ),
        status => Problem::new(status, rejection.body_text()),
    })?;
    serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("invalid JSON: {error}")))
}

async fn capture(
    allowed: RequireScope<scope::Capture>,
    State(shared): State<AppState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let behaviour = match headers.get("gs1-capture-error-behaviour").map(HeaderValue::as_bytes) {
        None | Some(b"rollback") => "rollback",
        Some(b"proceed") => "proceed",
        Some(_) => {
            let detail = "GS1-Capture-Error-Behaviour: write rollback or proceed";
            return Err(Problem::bad_request(detail));
        }
    };
    let document = parse_body(&headers, body)?;
    let events = epcis::events_from_document(&document).map_err(|faults| {
        Problem::bad_request("the document is not valid EPCIS 2.0; see errors").with_errors(faults)
    })?;
    if events.len() > MAX_EVENTS {
        let detail =
            format!("{} events; at most 1000 are allowed; split the document", events.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let job = CaptureJob {
        id: octets::random_uuid(),
        token_name: allowed.token_name,
        behaviour: behaviour.to_owned(),
        made_at: shared.now(),
        finished_at: None,
        state: "running".to_owned(),
        events: events.len() as u64,
        doc: Some(json!({"@context": document.get("@context"), "events": events}).to_string()),
        errors: None,
    };
    shared.store.put_job(&job).await?;
    // The job is processed by whichever instance claims it first.
    shared.captures.notify_one();
    let place = format!("/epcis/v2/capture/{}", job.id);
    let behaviour = HeaderValue::from_static(behaviour);
    let headers = [
        (header::LOCATION, place.parse().expect("a UUID is a valid header value")),
        (HeaderName::from_static("gs1-capture-error-behaviour"), behaviour),
    ];
    Ok((StatusCode::ACCEPTED, headers).into_response())
}

async fn capture_one(
    allowed: RequireScope<scope::Capture>,
    State(shared): State<AppState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let document = parse_body(&headers, body)?;
    let now = shared.now();
    let faults = epcis::validate(&document, Context::Own, now);
    if !faults.is_empty() {
        let problem = Problem::bad_request("the event is not valid EPCIS 2.0; see errors");
        return Err(problem.with_errors(faults));
    }
    let mut event = build_event(document, None, &allowed.token_name, None, now);
    let refused =
        retraction_rights::check_retractions(&shared, &allowed.token_name, &mut [&mut event])
            .await?;
    if let Some(words) = refused.get(&event.id) {
        let detail = format!("errorDeclaration of {}: {words}", event.event_id);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if let Some(words) =
        token_binding::violation(&shared.config.tokens, &allowed.token_name, &event)
    {
        return Err(Problem::new(StatusCode::FORBIDDEN, words));
    }
    let conflicts = find_conflicts(&shared, std::iter::once(&event)).await?;
    if !conflicts.is_empty() {
        let detail = "this token has captured a different event with this eventID; send a new eventID, or retract the event";
        return Err(Problem::conflict(format!("eventID is {}: {detail}", event.event_id)));
    }
    shared.store.write(insert(&event)).await?;
    publish_parcels_changed(&shared, std::slice::from_ref(&event)).await;
    let place = format!("/epcis/v2/events/{}", waypost_wire::epcis::segment(&event.event_id));
    let answer = query::event_json(&event);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(answer)).into_response())
}

/// Builds the stored event. `context` is that of its document.
fn build_event(
    mut data: Value,
    context: Option<&Value>,
    who: &str,
    job: Option<&str>,
    now: UtcTime,
) -> Event {
    if let Some(context) = context {
        data["@context"] = merge_contexts(context, data.get("@context"));
    }
    if let Some(members) = data.as_object_mut() {
        members.remove("recordTime");
    }
    let event_id = match data.get("eventID").and_then(Value::as_str) {
        Some(said) => said.to_owned(),
        None => ids::urn(&["capture", who, &canonical::content(&data).to_string()]),
    };
    data["eventID"] = Value::from(event_id.as_str());
    let declared = data.get("errorDeclaration").map(canonical::standard_text);
    let time = data.get("eventTime").and_then(Value::as_str).and_then(UtcTime::parse);
    Event {
        n: 0,
        source: format!("capture:{who}"),
        // A retraction shares the eventID of its event but is a message of its own, once per
        // declaration.
        retracts: declared.is_some(),
        id: declared.map_or_else(
            || event_id.clone(),
            |text| format!("{event_id}#retracted={}", ids::digest(&[&text])),
        ),
        event_id,
        kind: String::new(),
        origin: Origin::Capture,
        van: None,
        seq: None,
        route: None,
        time: time.unwrap_or(now),
        captured_at: now,
        epcs: epc::epcs_in(&data),
        job: job.map(str::to_owned),
        data,
    }
}

/// Context of an event in a document: the document's, and then its own (JSON-LD 1.1 §4.1).
fn merge_contexts(document: &Value, own: Option<&Value>) -> Value {
    let Some(own) = own else { return document.clone() };
    let list = |context: &Value| match context {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let mut merged = list(document);
    for one in list(own) {
        if !merged.contains(&one) {
            merged.push(one);
        }
    }
    Value::Array(merged)
}

/// Ids of events that conflict with a different event of the same source.
async fn find_conflicts<'a>(
    shared: &AppState,
    events: impl Iterator<Item = &'a Event> + Clone,
) -> Result<BTreeSet<String>, StoreError> {
    let Some(first) = events.clone().next() else { return Ok(BTreeSet::new()) };
    let ids: Vec<String> = events.clone().map(|event| event.id.clone()).collect();
    let known = shared.store.existing_events(&first.source, &ids).await?;
    let mut docs: BTreeMap<&str, Value> = known
        .iter()
        .map(|(id, doc)| (id.as_str(), serde_json::from_str(doc).unwrap_or_default()))
        .collect();
    let mut conflicts = BTreeSet::new();
    for event in events {
        match docs.get(event.id.as_str()) {
            Some(doc) if !canonical::is_same(doc, &event.data) => {
                conflicts.insert(event.id.clone());
            }
            Some(_) => {}
            None => drop(docs.insert(&event.id, event.data.clone())),
        }
    }
    Ok(conflicts)
}

pub(super) async fn publish_parcels_changed(shared: &AppState, events: &[Event]) {
    let epcs: BTreeSet<&str> =
        events.iter().flat_map(|event| event.epcs.iter().map(|(epc, _)| epc.as_str())).collect();
    let epcs: Arc<[String]> = epcs.into_iter().map(str::to_owned).collect();
    if !epcs.is_empty() {
        shared.publish_change(Change::Parcels { epcs, van: None }).await;
    }
}

/// Processes jobs until `stop`. A job rejected by the store ends with an error.
pub(super) async fn run(shared: AppState, stop: CancellationToken) {
    let mut is_up = true;
    loop {
        let done = run_next_job(&shared).await;
        if done.is_ok() && !std::mem::replace(&mut is_up, true) {
            tracing::info!("capture processing resumed");
        }
        match done {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                if std::mem::replace(&mut is_up, false) {
                    tracing::warn!(%error, "capture processing paused: store unavailable");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.captures.notified(), if is_up => {}
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
    }
}

/// Processes one job; returns whether there was one.
async fn run_next_job(shared: &AppState) -> Result<bool, StoreError> {
    let now = shared.now();
    let until = now.checked_add(CLAIM_DURATION).unwrap_or(now);
    let Some(job) = shared.store.claim_job(now, until).await? else { return Ok(false) };
    let document: Value =
        job.doc.as_deref().and_then(|doc| serde_json::from_str(doc).ok()).unwrap_or_default();
    let (mut events, mut faults) = validate_events(&document, &job, now);
    events.retain(|(index, event)| {
        let tokens = &shared.config.tokens;
        let Some(words) = token_binding::violation(tokens, &job.token_name, event) else {
            return true;
        };
        let place = format!("eventList[{index}]");
        faults.push(FieldError { place, value: event.event_id.clone(), remedy: words });
        false
    });
    let mut said: Vec<&mut Event> = events.iter_mut().map(|(_, event)| event).collect();
    let refused = retraction_rights::check_retractions(shared, &job.token_name, &mut said).await?;
    events.retain(|(index, event)| match refused.get(&event.id) {
        None => true,
        Some(words) => {
            let place = format!("eventList[{index}].errorDeclaration");
            faults.push(FieldError { place, value: event.event_id.clone(), remedy: words.clone() });
            false
        }
    });
    let conflicts = find_conflicts(shared, events.iter().map(|(_, event)| event)).await?;
    let (clashing, mut good): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|(_, event)| conflicts.contains(&event.id));
    faults.extend(clashing.into_iter().map(|(index, event)| FieldError {
        place: format!("eventList[{index}].eventID"),
        value: event.event_id,
        remedy: "used by a different event of this token; omit it, or send a new one".to_owned(),
    }));
    if job.behaviour == "rollback" && !faults.is_empty() {
        good.clear();
    }
    let good: Vec<Event> = good.into_iter().map(|(_, event)| event).collect();
    faults.truncate(MAX_FAULTS);
    let errors = (!faults.is_empty()).then(|| json!(faults).to_string());
    let mut statements: Vec<Statement> = good.iter().flat_map(insert).collect();
    statements.push(finish(&job.id, now, errors.as_deref()));
    match shared.store.write(statements).await {
        Ok(_) => publish_parcels_changed(shared, &good).await,
        Err(StoreError::Rejected(error)) => {
            tracing::error!(job = job.id, "capture rejected by the store");
            tracing::debug!(%error, "capture rejected by the store: cause");
            let fault = FieldError {
                place: "eventList".to_owned(),
                value: String::new(),
                remedy: "rejected by the store; contact the operator".to_owned(),
            };
            let ended = finish(&job.id, now, Some(&json!([fault]).to_string()));
            shared.store.write(vec![ended]).await?;
        }
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Valid events of a job with their index in the list, and the faults of the others.
fn validate_events(
    document: &Value,
    job: &CaptureJob,
    now: UtcTime,
) -> (Vec<(usize, Event)>, Vec<FieldError>) {
    let context = document.get("@context");
    let (mut events, mut faults) = (Vec::new(), Vec::new());
    let listed = document.get("events").and_then(Value::as_array).into_iter().flatten();
    for (index, event) in listed.enumerate() {
        let wrong = epcis::validate(event, Context::OfDocument, now);
        if wrong.is_empty() {
            events.push((
                index,
                build_event(event.clone(), context, &job.token_name, Some(&job.id), now),
            ));
        }
        faults.extend(wrong.into_iter().map(|fault| {
            let dot = if fault.place.is_empty() { "" } else { "." };
            FieldError { place: format!("eventList[{index}]{dot}{}", fault.place), ..fault }
        }));
    }
    (events, faults)
}
