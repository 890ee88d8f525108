//! Dispatcher API: vans, history of a van, parcel traces. Access to personal data is recorded in
//! the audit log.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::auth::{RequireScope, authenticate, is_same_origin, scope};
use super::problem::{JsonBody, Problem, QueryParams};
use super::recipient::too_many_streams;
use super::sse::event_stream;
use super::{ApiState, ClientAddress, ShutdownToken, session};
use crate::change_feed::Change;
use crate::config::Scope;
use crate::ingest::retry::{self, RetryResult};
use crate::store::instances::Instance;
use crate::store::{AuditEntry, MAX_DEAD_LETTER_BYTES, mask_number, parcels};
use crate::tracking::dispatcher::{HistoryView, TraceView, VanView};
use crate::{AppState, epc, queries};
use waypost_model::units::UtcTime;

/// Maximum length of a van id or parcel number in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Maximum length of a case note in bytes.
const MAX_NOTE_BYTES: usize = 500;

/// Maximum length of a time range in one request.
const MAX_TIME_RANGE: Duration = Duration::from_hours(48);

/// Default number of rows per page.
const DEFAULT_ROWS: u32 = 100;

/// Maximum number of rows per page.
const MAX_ROWS: u32 = 1000;

type SharedApiState = Extension<Arc<ApiState>>;

/// Login with an API token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    token: String,
}

/// `POST /api/v1/session`
pub(super) async fn log_in(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    client: ClientAddress,
    headers: HeaderMap,
    JsonBody(LoginRequest { token }): JsonBody<LoginRequest>,
) -> Result<(StatusCode, [(header::HeaderName, HeaderValue); 1]), Problem> {
    let now = shared.clock.uptime();
    counter.logins.acquire(&client, now).map_err(|wait| Problem::too_many(wait.as_secs() + 1))?;
    if !is_same_origin(&shared, &headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "send the header X-Waypost: 1"));
    }
    let token = authenticate(&shared.config.tokens, &token)
        .filter(|token| token.scopes.contains(&Scope::Desk))
        .ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "token: unknown, or without the scope desk; check it",
            )
        })?;
    counter.logins.refund(&client);
    let cookie = session::create(&shared, token).await?;
    counter.audit_log.record(&shared, &token.name, "session", "begun").await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]))
}

/// `DELETE /api/v1/session`; succeeds without a session, so a page can always return to the login.
pub(super) async fn log_out(
    State(shared): State<AppState>,
    headers: HeaderMap,
) -> Result<(StatusCode, [(header::HeaderName, HeaderValue); 1]), Problem> {
    if !is_same_origin(&shared, &headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "send the header X-Waypost: 1"));
    }
    let cookie = session::revoke(&shared, &headers).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]))
}

/// `GET /api/v1/vans`
pub(super) async fn vans(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    allowed: RequireScope<scope::Desk>,
) -> Result<Json<Vec<VanView>>, Problem> {
    counter.audit_log.record(&shared, &allowed.token_name, "vans", "all").await?;
    Ok(Json(queries::vans(&shared).await?))
}

/// `GET /api/v1/vans/live`
pub(super) async fn stream(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    stopping: Option<Extension<ShutdownToken>>,
    client: ClientAddress,
    allowed: RequireScope<scope::Desk>,
) -> Result<Response, Problem> {
    let place = counter.streams.acquire(client).ok_or_else(too_many_streams)?;
    counter.audit_log.record(&shared, &allowed.token_name, "vans", "live").await?;
    let vans = counter.fleet_feed.subscribe(&shared).await?;
    Ok(event_stream(vans, stopping.map(|Extension(stopping)| stopping), place))
}

/// `GET /api/v1/vans/{van}`
pub(super) async fn van(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    allowed: RequireScope<scope::Desk>,
    Path(van): Path<String>,
) -> Result<Json<VanView>, Problem> {
    let van = validate_name(&van, unknown_van)?;
    let view = queries::van(&shared, van).await?.ok_or_else(unknown_van)?;
    counter.audit_log.record(&shared, &allowed.token_name, "van", van).await?;
    Ok(Json(view))
}

/// Time range.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeRange {
    from: Option<String>,
    until: Option<String>,
}

/// `GET /api/v1/vans/{van}/day?from=&until=`; the default range is the last twelve hours.
pub(super) async fn day(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    allowed: RequireScope<scope::Desk>,
    Path(van): Path<String>,
    QueryParams(span): QueryParams<TimeRange>,
) -> Result<Json<HistoryView>, Problem> {
    let van = validate_name(&van, unknown_van)?;
    let until = parse_time("until", span.until.as_deref())?.unwrap_or(shared.now());
    let half_a_day = until.checked_sub(Duration::from_hours(12)).unwrap_or(until);
    let from = parse_time("from", span.from.as_deref())?.unwrap_or(half_a_day);
    let long = u128::try_from(until.millis_since(from)).map_err(|_| {
        Problem::bad_request(format!("from: {from} is later than until; swap them"))
    })?;
    if long > MAX_TIME_RANGE.as_millis() {
        return Err(Problem::bad_request("from, until: longer than 48 h; request a shorter range"));
    }
    let view = queries::day(&shared, van, from, until).await?.ok_or_else(unknown_van)?;
    let target = format!("{van} {from}/{until}");
    counter.audit_log.record(&shared, &allowed.token_name, "day", &target).await?;
    Ok(Json(view))
}

fn parse_time(name: &str, text: Option<&str>) -> Result<Option<UtcTime>, Problem> {
    let Some(text) = text else { return Ok(None) };
    UtcTime::parse(text).map(Some).ok_or_else(|| {
        Problem::bad_request(format!("{name}: not a time; use a form such as 2026-11-22T09:41:07Z"))
    })
}

/// `GET /api/v1/trace/{number}`
pub(super) async fn trace(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    allowed: RequireScope<scope::Desk>,
    Path(number): Path<String>,
) -> Result<Json<TraceView>, Problem> {
    let number = validate_name(&number, unknown_parcel)?;
    let view = queries::trace(&shared, number).await?.ok_or_else(unknown_parcel)?;
    let target = mask_number(&epc::normalize_number(number));
    counter.audit_log.record(&shared, &allowed.token_name, "trace", &target).await?;
    Ok(Json(view))
}

/// Update of a search case for a missing parcel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseUpdate {
    state: CaseState,
    #[serde(default)]
    note: Option<String>,
    /// URI of the parcel; needed if several parcels match the number.
    #[serde(default)]
    epc: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CaseState {
    None,
    Open,
    Found,
    Lost,
}

/// `PUT /api/v1/trace/{number}/case`
pub(super) async fn case(
    State(shared): State<AppState>,
    allowed: RequireScope<scope::Desk>,
    Path(number): Path<String>,
    JsonBody(CaseUpdate { state, note, epc }): JsonBody<CaseUpdate>,
) -> Result<Json<TraceView>, Problem> {
    let number = validate_name(&number, unknown_parcel)?;
    if note.as_ref().is_some_and(|note| note.len() > MAX_NOTE_BYTES || note.contains(is_control)) {
        return Err(Problem::bad_request(format!(
            "note: at most {MAX_NOTE_BYTES} bytes, without control characters other than line feeds"
        )));
    }
    let mut found = shared.store.find_parcels(number, &shared.config.domain).await?;
    if let Some(epc) = &epc {
        found.retain(|parcel| parcel.epc == *epc);
    }
    let Some(parcel) = found.pop() else { return Err(unknown_parcel()) };
    if !found.is_empty() {
        found.push(parcel);
        return Err(Problem::conflict(queries::ambiguous_number(&found)));
    }
    let name = match state {
        CaseState::None => "none",
        CaseState::Open => "open",
        CaseState::Found => "found",
        CaseState::Lost => "lost",
    };
    let said = parcels::set_case(&parcel.epc, name, note.as_deref(), shared.now());
    let look = AuditEntry {
        at: shared.now(),
        actor: allowed.token_name.clone(),
        action: "case".to_owned(),
        target: format!("{} {name}", mask_number(&parcel.number)),
    };
    // In one transaction: no change of a case without its entry.
    shared.store.write(vec![look.insert(), said]).await?;
    let view = queries::trace(&shared, &parcel.epc).await?.ok_or_else(unknown_parcel)?;
    shared.publish_change(Change::Parcels { epcs: Arc::new([parcel.epc]), van: None }).await;
    Ok(Json(view))
}

fn is_control(letter: char) -> bool {
    letter.is_control() && letter != '\n'
}

/// Pagination, newest first: rows with a number below `before`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageParams {
    before: Option<i64>,
    limit: Option<u32>,
}

impl PageParams {
    fn before(&self) -> i64 {
        self.before.unwrap_or(i64::MAX)
    }

    fn limit(&self) -> u32 {
        self.limit.unwrap_or(DEFAULT_ROWS).clamp(1, MAX_ROWS)
    }
}

/// A message that could not be parsed.
#[derive(Debug, Serialize)]
pub(super) struct DeadLetterView {
    n: i64,
    received_at: String,
    /// Id of the van; empty for a topic that is not of a van.
    van: String,
    topic: String,
    reason: String,
    /// Original size of the message in bytes.
    bytes: u64,
    /// Start of the message, decoded lossily as UTF-8.
    payload: String,
}

/// `GET /api/v1/poison?before=&limit=`
pub(super) async fn dead_letters(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    allowed: RequireScope<scope::Desk>,
    QueryParams(part): QueryParams<PageParams>,
) -> Result<Json<Vec<DeadLetterView>>, Problem> {
    let rows = shared.store.dead_letters(part.before(), part.limit()).await?;
    counter.audit_log.record(&shared, &allowed.token_name, "poison", "").await?;
    let view = |poison: crate::store::DeadLetter| DeadLetterView {
        n: poison.n,
        received_at: poison.received_at.to_string(),
        van: poison.van,
        topic: poison.topic,
        reason: poison.reason,
        bytes: poison.bytes,
        payload: String::from_utf8_lossy(
            &poison.payload[..poison.payload.len().min(MAX_DEAD_LETTER_BYTES)],
        )
        .into_owned(),
    };
    Ok(Json(rows.into_iter().map(view).collect()))
}

/// `POST /api/v1/poison/{n}/retry`
pub(super) async fn retry_dead_letter(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    allowed: RequireScope<scope::Desk>,
    Path(n): Path<i64>,
) -> Result<StatusCode, Problem> {
    let letter = shared.store.dead_letter(n).await?.ok_or_else(unknown_dead_letter)?;
    let target = format!("{n} retried");
    counter.audit_log.record(&shared, &allowed.token_name, "poison", &target).await?;
    let page = shared.config.retention.page;
    match retry::retry(&shared.store, &letter, shared.now(), page).await? {
        RetryResult::Stored => {
            let van: Arc<str> = letter.van.into();
            shared.publish_change(Change::Van { van }).await;
            Ok(StatusCode::NO_CONTENT)
        }
        RetryResult::Rejected(reason) => {
            Err(Problem::conflict(format!("the message is still rejected: {reason}")))
        }
    }
}

/// `DELETE /api/v1/poison/{n}`
pub(super) async fn drop_dead_letter(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    allowed: RequireScope<scope::Desk>,
    Path(n): Path<i64>,
) -> Result<StatusCode, Problem> {
    let target = format!("{n} dropped");
    counter.audit_log.record(&shared, &allowed.token_name, "poison", &target).await?;
    match shared.store.delete_dead_letter(n).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown_dead_letter()),
    }
}

fn unknown_dead_letter() -> Problem {
    Problem::not_found("no dead letter has this number; it was stored, deleted or is too old")
}

/// An entry of the audit log.
#[derive(Debug, Serialize)]
pub(super) struct AuditEntryView {
    n: i64,
    at: String,
    who: String,
    what: String,
    target: String,
}

/// `GET /api/v1/audit?before=&limit=`
pub(super) async fn audit(
    State(shared): State<AppState>,
    _: RequireScope<scope::Desk>,
    QueryParams(part): QueryParams<PageParams>,
) -> Result<Json<Vec<AuditEntryView>>, Problem> {
    let looks = shared.store.audit_entries(part.before(), part.limit()).await?;
    let view = |(n, look): (i64, AuditEntry)| AuditEntryView {
        n,
        at: look.at.to_string(),
        who: look.actor,
        what: look.action,
        target: look.target,
    };
    Ok(Json(looks.into_iter().map(view).collect()))
}

/// An instance of the backend.
#[derive(Debug, Serialize)]
pub(super) struct InstanceView {
    client_id: String,
    version: String,
    started_at: String,
    last_heartbeat: String,
    /// `running` or `absent`.
    state: &'static str,
    /// For an absent instance: events that are provably missing since its last heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    events_missing: Option<u64>,
}

/// `GET /api/v1/instances`
pub(super) async fn instances(
    State(shared): State<AppState>,
    _: RequireScope<scope::Desk>,
) -> Result<Json<Vec<InstanceView>>, Problem> {
    let now = shared.now();
    let own = &shared.config.mqtt.client_id;
    let absent = shared.store.absent_instances(own, now).await?;
    let view = |instance: Instance| {
        let missing = absent.iter().find(|it| it.client_id == instance.client_id);
        InstanceView {
            version: instance.version,
            started_at: instance.started_at.to_string(),
            last_heartbeat: instance.heard_at.to_string(),
            state: if missing.is_some() { "absent" } else { "running" },
            events_missing: missing.map(|it| it.events_missing),
            client_id: instance.client_id,
        }
    };
    Ok(Json(shared.store.instances().await?.into_iter().map(view).collect()))
}

fn validate_name(name: &str, unknown: fn() -> Problem) -> Result<&str, Problem> {
    let fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains(char::is_control);
    if fits { Ok(name) } else { Err(unknown()) }
}

fn unknown_van() -> Problem {
    Problem::not_found("unknown van; check its id")
}

fn unknown_parcel() -> Problem {
    Problem::not_found("unknown parcel; check its number")
}
