//! A dispatcher → vans, a van's day, the trace of a parcel. Whose day and which parcel somebody looks at is written down.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::auth::{Allowed, known, own_page, scope};
use super::customer::full;
use super::problem::{Body, Problem, Query};
use super::stream::events;
use super::{ClientAddress, Counter, Stopping, session};
use crate::backend::config::Scope;
use crate::backend::live::Change;
use crate::backend::store::{masked, parcels};
use crate::backend::view::desk::{DayView, TraceView, VanView};
use crate::backend::{Shared, epc, situation};
use crate::units::UtcTime;

/// Longest name of a van or number of a parcel that is looked at, bytes.
const NAME_BYTES: usize = 128;

/// Longest note to a case, bytes.
const NOTE_BYTES: usize = 500;

/// Most of a day that is shown at once.
const SPAN: Duration = Duration::from_hours(48);

/// Rows of a list, unless fewer are asked for.
const ROWS: u32 = 100;

/// Most rows of a list.
const MOST_ROWS: u32 = 1000;

type Counters = Extension<Arc<Counter>>;

/// A token that is shown once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shows {
    token: String,
}

/// `POST /api/v1/session`
pub(super) async fn log_in(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    client: ClientAddress,
    headers: HeaderMap,
    Body(Shows { token }): Body<Shows>,
) -> Result<(StatusCode, [(header::HeaderName, HeaderValue); 1]), Problem> {
    let now = shared.clock.uptime();
    counter.tried.take(&client, now).map_err(|wait| Problem::too_many(wait.as_secs() + 1))?;
    if !own_page(&shared, &headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "send the header X-Waypost: 1"));
    }
    let token = known(&shared.config.tokens, &token)
        .filter(|token| token.scopes.contains(&Scope::Desk))
        .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "token: none of a desk; check it"))?;
    counter.tried.give_back(&client);
    let cookie = session::begin(&shared, token).await?;
    counter.looks.shown(&shared, &token.name, "session", "begun").await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]))
}

/// `DELETE /api/v1/session`; also without one, so that a page can always come back to the beginning.
pub(super) async fn log_out(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<(StatusCode, [(header::HeaderName, HeaderValue); 1]), Problem> {
    if !own_page(&shared, &headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "send the header X-Waypost: 1"));
    }
    let cookie = session::end(&shared, &headers).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]))
}

/// `GET /api/v1/vans`
pub(super) async fn vans(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    allowed: Allowed<scope::Desk>,
) -> Result<Json<Vec<VanView>>, Problem> {
    counter.looks.shown(&shared, &allowed.who, "vans", "all").await?;
    Ok(Json(situation::vans(&shared).await?))
}

/// `GET /api/v1/vans/live`
pub(super) async fn live(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    stopping: Option<Extension<Stopping>>,
    client: ClientAddress,
    allowed: Allowed<scope::Desk>,
) -> Result<Response, Problem> {
    let place = counter.streams.take(client).ok_or_else(full)?;
    counter.looks.shown(&shared, &allowed.who, "vans", "live").await?;
    let vans = counter.fleet.watch(&shared).await?;
    Ok(events(vans, stopping.map(|Extension(stopping)| stopping), place))
}

/// `GET /api/v1/vans/{van}`
pub(super) async fn van(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    allowed: Allowed<scope::Desk>,
    Path(van): Path<String>,
) -> Result<Json<VanView>, Problem> {
    let van = named(&van, unknown_van)?;
    let view = situation::van(&shared, van).await?.ok_or_else(unknown_van)?;
    counter.looks.shown(&shared, &allowed.who, "van", van).await?;
    Ok(Json(view))
}

/// From when to when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Span {
    from: Option<String>,
    until: Option<String>,
}

/// `GET /api/v1/vans/{van}/day?from=&until=`; without them the last twelve hours.
pub(super) async fn day(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    allowed: Allowed<scope::Desk>,
    Path(van): Path<String>,
    Query(span): Query<Span>,
) -> Result<Json<DayView>, Problem> {
    let van = named(&van, unknown_van)?;
    let until = instant("until", span.until.as_deref())?.unwrap_or(shared.now());
    let half_a_day = until.checked_sub(Duration::from_hours(12)).unwrap_or(until);
    let from = instant("from", span.from.as_deref())?.unwrap_or(half_a_day);
    let long = u128::try_from(until.millis_since(from)).map_err(|_| {
        Problem::bad_request(format!("from: {from} is later than until; exchange them"))
    })?;
    if long > SPAN.as_millis() {
        return Err(Problem::bad_request("from, until: more than 48 h; ask for less at once"));
    }
    let view = situation::day(&shared, van, from, until).await?.ok_or_else(unknown_van)?;
    let target = format!("{van} {from}/{until}");
    counter.looks.shown(&shared, &allowed.who, "day", &target).await?;
    Ok(Json(view))
}

fn instant(name: &str, text: Option<&str>) -> Result<Option<UtcTime>, Problem> {
    let Some(text) = text else { return Ok(None) };
    UtcTime::parse(text).map(Some).ok_or_else(|| {
        Problem::bad_request(format!("{name}: no time; write it as 2026-11-22T09:41:07Z"))
    })
}

/// `GET /api/v1/trace/{number}`
pub(super) async fn trace(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    allowed: Allowed<scope::Desk>,
    Path(number): Path<String>,
) -> Result<Json<TraceView>, Problem> {
    let number = named(&number, unknown_parcel)?;
    let view = situation::trace(&shared, number).await?.ok_or_else(unknown_parcel)?;
    let target = masked(&epc::number(number));
    counter.looks.shown(&shared, &allowed.who, "trace", &target).await?;
    Ok(Json(view))
}

/// What somebody says of a missing parcel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    state: CaseState,
    #[serde(default)]
    note: Option<String>,
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
    State(shared): State<Shared>,
    Extension(counter): Counters,
    allowed: Allowed<scope::Desk>,
    Path(number): Path<String>,
    Body(Case { state, note }): Body<Case>,
) -> Result<Json<TraceView>, Problem> {
    let number = named(&number, unknown_parcel)?;
    if note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES || note.contains(is_control)) {
        return Err(Problem::bad_request(format!(
            "note: at most {NOTE_BYTES} bytes, and no control characters but line feeds"
        )));
    }
    let mut found = shared.store.parcels_called(number, &shared.config.domain).await?;
    if found.is_empty() {
        return Err(unknown_parcel());
    }
    let parcel = found.swap_remove(0);
    let name = match state {
        CaseState::None => "none",
        CaseState::Open => "open",
        CaseState::Found => "found",
        CaseState::Lost => "lost",
    };
    let said = parcels::case(&parcel.epc, name, note.as_deref(), shared.now());
    shared.store.write(vec![said]).await?;
    let target = format!("{} {name}", masked(&parcel.number));
    counter.looks.shown(&shared, &allowed.who, "case", &target).await?;
    shared.tell(Change::Parcels { epcs: Arc::new([parcel.epc]), van: None }).await;
    let view = situation::trace(&shared, number).await?.ok_or_else(unknown_parcel)?;
    Ok(Json(view))
}

fn is_control(letter: char) -> bool {
    letter.is_control() && letter != '\n'
}

/// Which part of a list, newest first: rows before the number `before`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    before: Option<i64>,
    limit: Option<u32>,
}

impl Part {
    fn before(&self) -> i64 {
        self.before.unwrap_or(i64::MAX)
    }

    fn limit(&self) -> u32 {
        self.limit.unwrap_or(ROWS).clamp(1, MOST_ROWS)
    }
}

/// A message that nobody could read.
#[derive(Debug, Serialize)]
pub(super) struct PoisonView {
    n: i64,
    received_at: String,
    topic: String,
    reason: String,
    /// How long it was.
    bytes: u64,
    /// Its beginning, as far as it is text.
    payload: String,
}

/// `GET /api/v1/poison?before=&limit=`
pub(super) async fn poison(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    allowed: Allowed<scope::Desk>,
    Query(part): Query<Part>,
) -> Result<Json<Vec<PoisonView>>, Problem> {
    let rows = shared.store.poison(part.before(), part.limit()).await?;
    counter.looks.shown(&shared, &allowed.who, "poison", "").await?;
    let view = |poison: crate::backend::store::Poison| PoisonView {
        n: poison.n,
        received_at: poison.received_at.to_string(),
        topic: poison.topic,
        reason: poison.reason,
        bytes: poison.bytes,
        payload: String::from_utf8_lossy(&poison.payload).into_owned(),
    };
    Ok(Json(rows.into_iter().map(view).collect()))
}

/// Who looked at what.
#[derive(Debug, Serialize)]
pub(super) struct LookView {
    n: i64,
    at: String,
    who: String,
    what: String,
    target: String,
}

/// `GET /api/v1/audit?before=&limit=`
pub(super) async fn audit(
    State(shared): State<Shared>,
    _: Allowed<scope::Desk>,
    Query(part): Query<Part>,
) -> Result<Json<Vec<LookView>>, Problem> {
    let looks = shared.store.looks(part.before(), part.limit()).await?;
    let view = |(n, look): (i64, crate::backend::store::Look)| LookView {
        n,
        at: look.at.to_string(),
        who: look.who,
        what: look.what,
        target: look.target,
    };
    Ok(Json(looks.into_iter().map(view).collect()))
}

fn named(name: &str, unknown: fn() -> Problem) -> Result<&str, Problem> {
    let fits = !name.is_empty() && name.len() <= NAME_BYTES && !name.contains(char::is_control);
    if fits { Ok(name) } else { Err(unknown()) }
}

fn unknown_van() -> Problem {
    Problem::not_found("nothing was ever heard of a van of this name")
}

fn unknown_parcel() -> Problem {
    Problem::not_found("nothing was ever heard of a parcel of this number")
}
