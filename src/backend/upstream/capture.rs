//! EPCIS 2.0 capture (ISO/IEC 19987 §12.6): `POST /capture` → a job that is done later, `POST /events` → an event at once.
//!
//! - What was accepted is done, also after a restart: the document stays in the store until its events are there.
//! - **An event of a warehouse is a warehouse's**, whatever it says: its source is `capture:` and the token's name, and it
//!   has no van. Who sends it again with another content under the same `eventID` is refused.
//! - It takes back what came by it; what came by others only with the scope for that, and never what a van said (`rights`).
//! - An event without `eventID` is given one of what it says (a UUID of version 8 over the token's name and the event's
//!   members in alphabetical order), so that the same document again gives nothing new. `recordTime` is ours.

mod jobs;
mod rights;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::epcis::{self, Context};
use super::{names, query};
use crate::backend::api::{Allowed, Fault, Problem, scope};
use crate::backend::event::{Event, Origin};
use crate::backend::live::Change;
use crate::backend::store::events::insert;
use crate::backend::store::jobs::{Job, done};
use crate::backend::store::{Statement, StoreError};
use crate::backend::{Shared, epc, octets};
use crate::units::UtcTime;

/// Events of one document: `GS1-EPCIS-Capture-Limit`.
const MAX_EVENTS: usize = 1_000;

/// Bytes of one document: `GS1-EPCIS-Capture-File-Size-Limit`.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Whoever has a job that long is dead.
const CLAIM: Duration = Duration::from_secs(120);

/// How often jobs are looked for that another instance left.
const LOOK: Duration = Duration::from_secs(10);

/// Faults that a job keeps.
const MOST_FAULTS: usize = 200;

/// Headers of every answer of these paths (§12.5), and those of their limits.
const HEADERS: &[(&str, &str)] = &[
    ("gs1-epcis-version", "2.0"),
    ("gs1-cbv-version", "2.0"),
    ("gs1-capture-error-behaviour", "rollback"),
    ("gs1-epcis-capture-limit", "1000"),
    ("gs1-epcis-capture-file-size-limit", "4194304"),
];

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/capture", get(jobs::jobs).post(capture).options(discover))
        .route("/capture/{id}", get(jobs::job).options(discover))
        .route("/events", get(query::events).post(capture_one).options(discover))
        .route("/events/{id}", get(query::event).options(discover))
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .layer(from_fn(in_versions))
}

async fn discover() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Refuses other versions than ours (§12.5), and says on every answer which ours are.
async fn in_versions(request: Request, next: Next) -> Response {
    let mut response = match other_version(request.headers()) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn other_version(headers: &HeaderMap) -> Option<Problem> {
    let said = |name: &str| Some(headers.get(name)?.to_str().unwrap_or("?").to_owned());
    let number = |text: &str| text.split('.').next().and_then(|part| part.parse::<u32>().ok());
    let asked = [
        ("GS1-EPCIS-Version", "is", 2..=2),
        ("GS1-CBV-Version", "is", 2..=2),
        ("GS1-EPCIS-Min", "is", 0..=2),
        ("GS1-CBV-Min", "is", 0..=2),
        ("GS1-EPCIS-Max", "is", 2..=u32::MAX),
        ("GS1-CBV-Max", "is", 2..=u32::MAX),
    ];
    asked.into_iter().find_map(|(name, is, fine)| {
        let text = said(name)?;
        let fits = number(&text).is_some_and(|number| fine.contains(&number));
        let detail = format!("{name} {is} {text}: 2.0 is what is spoken here");
        (!fits).then(|| Problem::new(StatusCode::NOT_ACCEPTABLE, detail))
    })
}

/// The JSON of a request (§12.6).
fn document(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Value, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/json", "application/ld+json"].contains(&essence.as_str()) {
        let detail = "Content-Type: write application/json or application/ld+json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "at most 4194304 bytes; split the document")
        }
        status => Problem::new(status, rejection.body_text()),
    })?;
    serde_json::from_slice(&body).map_err(|error| Problem::bad_request(format!("no JSON: {error}")))
}

async fn capture(
    allowed: Allowed<scope::Capture>,
    State(shared): State<Shared>,
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
    let document = document(&headers, body)?;
    let events = epcis::events(&document).map_err(|faults| {
        Problem::bad_request("the document is none of EPCIS 2.0: see errors").with_errors(faults)
    })?;
    if events.len() > MAX_EVENTS {
        let detail = format!("{} events: at most 1000; split the document", events.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let job = Job {
        id: octets::random_uuid(),
        who: allowed.who,
        behaviour: behaviour.to_owned(),
        made_at: shared.now(),
        finished_at: None,
        state: "running".to_owned(),
        events: events.len() as u64,
        doc: Some(json!({"@context": document.get("@context"), "events": events}).to_string()),
        errors: None,
    };
    shared.store.put_job(&job).await?;
    // Whoever is first does it: the job's own task, or this one.
    shared.captures.notify_one();
    let place = format!("/capture/{}", job.id);
    let behaviour = HeaderValue::from_static(behaviour);
    let headers = [
        (header::LOCATION, place.parse().expect("a UUID is visible ASCII")),
        (HeaderName::from_static("gs1-capture-error-behaviour"), behaviour),
    ];
    Ok((StatusCode::ACCEPTED, headers).into_response())
}

async fn capture_one(
    allowed: Allowed<scope::Capture>,
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let document = document(&headers, body)?;
    let now = shared.now();
    let faults = epcis::faults(&document, Context::Own, now);
    if !faults.is_empty() {
        let problem = Problem::bad_request("the event is none of EPCIS 2.0: see errors");
        return Err(problem.with_errors(faults));
    }
    let mut event = taken(document, None, &allowed.who, None, now);
    let refused = rights::refused(&shared, &allowed.who, &mut [&mut event]).await?;
    if let Some(words) = refused.get(&event.id) {
        let detail = format!("errorDeclaration of {}: {words}", event.event_id);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let clashes = clashes(&shared, std::iter::once(&event)).await?;
    if !clashes.is_empty() {
        let detail = "another event of yours has this eventID: see its errorDeclaration";
        return Err(Problem::conflict(format!("eventID is {}: {detail}", event.event_id)));
    }
    shared.store.write(insert(&event)).await?;
    tell(&shared, std::slice::from_ref(&event)).await;
    let place = format!("/events/{}", crate::wire::epcis::segment(&event.event_id));
    let answer = query::shown(&event);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(answer)).into_response())
}

/// The event as it is kept. `context` is that of its document.
fn taken(
    mut data: Value,
    context: Option<&Value>,
    who: &str,
    job: Option<&str>,
    now: UtcTime,
) -> Event {
    if let (Some(context), None) = (context, data.get("@context")) {
        data["@context"] = context.clone();
    }
    if let Some(members) = data.as_object_mut() {
        members.remove("recordTime");
    }
    let event_id = match data.get("eventID").and_then(Value::as_str) {
        Some(said) => said.to_owned(),
        None => names::urn_of(&["capture", who, &data.to_string()]),
    };
    data["eventID"] = Value::from(event_id.as_str());
    let declared = data.pointer("/errorDeclaration/declarationTime").and_then(Value::as_str);
    let time = data.get("eventTime").and_then(Value::as_str).and_then(UtcTime::parse);
    Event {
        n: 0,
        source: format!("capture:{who}"),
        // A retraction has the eventID of what it takes back, and is another message.
        id: declared.map_or_else(|| event_id.clone(), |at| format!("{event_id}#retracted={at}")),
        retracts: declared.is_some(),
        event_id,
        kind: String::new(),
        origin: Origin::Capture,
        van: None,
        seq: None,
        route: None,
        time: time.unwrap_or(now),
        captured_at: now,
        epcs: epc::things(&data),
        job: job.map(str::to_owned),
        data,
    }
}

/// Those whose name another event of the same source has.
async fn clashes<'a>(
    shared: &Shared,
    events: impl Iterator<Item = &'a Event> + Clone,
) -> Result<BTreeSet<String>, StoreError> {
    let Some(first) = events.clone().next() else { return Ok(BTreeSet::new()) };
    let ids: Vec<String> = events.clone().map(|event| event.id.clone()).collect();
    let known = shared.store.events_known(&first.source, &ids).await?;
    let mut docs: BTreeMap<&str, Value> = known
        .iter()
        .map(|(id, doc)| (id.as_str(), serde_json::from_str(doc).unwrap_or_default()))
        .collect();
    let mut clashes = BTreeSet::new();
    for event in events {
        match docs.get(event.id.as_str()) {
            Some(doc) if *doc != event.data => drop(clashes.insert(event.id.clone())),
            Some(_) => {}
            None => drop(docs.insert(&event.id, event.data.clone())),
        }
    }
    Ok(clashes)
}

pub(super) async fn tell(shared: &Shared, events: &[Event]) {
    let epcs: BTreeSet<&str> =
        events.iter().flat_map(|event| event.epcs.iter().map(|(epc, _)| epc.as_str())).collect();
    let epcs: Arc<[String]> = epcs.into_iter().map(str::to_owned).collect();
    if !epcs.is_empty() {
        shared.tell(Change::Parcels { epcs, van: None }).await;
    }
}

/// Does jobs until `stop`. A job of which the store says nothing but no ends with that.
pub(super) async fn run(shared: Shared, stop: CancellationToken) {
    let mut is_up = true;
    loop {
        let done = work(&shared).await;
        if done.is_ok() && !std::mem::replace(&mut is_up, true) {
            tracing::info!("captures are done again");
        }
        match done {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                if std::mem::replace(&mut is_up, false) {
                    tracing::warn!(%error, "captures wait for the store");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.captures.notified(), if is_up => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Does one job; whether there was one.
async fn work(shared: &Shared) -> Result<bool, StoreError> {
    let now = shared.now();
    let until = now.checked_add(CLAIM).unwrap_or(now);
    let Some(job) = shared.store.claim_job(now, until).await? else { return Ok(false) };
    let document: Value =
        job.doc.as_deref().and_then(|doc| serde_json::from_str(doc).ok()).unwrap_or_default();
    let (mut events, mut faults) = read(&document, &job, now);
    let mut said: Vec<&mut Event> = events.iter_mut().map(|(_, event)| event).collect();
    let refused = rights::refused(shared, &job.who, &mut said).await?;
    events.retain(|(index, event)| match refused.get(&event.id) {
        None => true,
        Some(words) => {
            let place = format!("eventList[{index}].errorDeclaration");
            faults.push(Fault { place, value: event.event_id.clone(), remedy: words.clone() });
            false
        }
    });
    let clashes = clashes(shared, events.iter().map(|(_, event)| event)).await?;
    let (clashing, mut good): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|(_, event)| clashes.contains(&event.id));
    faults.extend(clashing.into_iter().map(|(index, event)| Fault {
        place: format!("eventList[{index}].eventID"),
        value: event.event_id,
        remedy: "another event of yours has it; leave it out, or write a new one".to_owned(),
    }));
    if job.behaviour == "rollback" && !faults.is_empty() {
        good.clear();
    }
    let good: Vec<Event> = good.into_iter().map(|(_, event)| event).collect();
    faults.truncate(MOST_FAULTS);
    let errors = (!faults.is_empty()).then(|| json!(faults).to_string());
    let mut statements: Vec<Statement> = good.iter().flat_map(insert).collect();
    statements.push(done(&job.id, now, errors.as_deref()));
    match shared.store.write(statements).await {
        Ok(_) => tell(shared, &good).await,
        Err(StoreError::Refused(error)) => {
            tracing::error!(job = job.id, "the store refused a capture");
            tracing::debug!(%error, "what the store said");
            let fault = Fault {
                place: "eventList".to_owned(),
                value: String::new(),
                remedy: "the store refused it; ask the operator".to_owned(),
            };
            let ended = done(&job.id, now, Some(&json!([fault]).to_string()));
            shared.store.write(vec![ended]).await?;
        }
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// The events of a job that are in order, each with its place in the list, and what is wrong with the others.
fn read(document: &Value, job: &Job, now: UtcTime) -> (Vec<(usize, Event)>, Vec<Fault>) {
    let context = document.get("@context");
    let (mut events, mut faults) = (Vec::new(), Vec::new());
    let listed = document.get("events").and_then(Value::as_array).into_iter().flatten();
    for (index, event) in listed.enumerate() {
        let wrong = epcis::faults(event, Context::OfDocument, now);
        if wrong.is_empty() {
            events.push((index, taken(event.clone(), context, &job.who, Some(&job.id), now)));
        }
        faults.extend(wrong.into_iter().map(|fault| {
            let dot = if fault.place.is_empty() { "" } else { "." };
            Fault { place: format!("eventList[{index}]{dot}{}", fault.place), ..fault }
        }));
    }
    (events, faults)
}
