//! Named queries and subscriptions to them (EPCIS 2.0 §12.9, §12.10).
//!
//! ```text
//! /queries                        create, list           any token with the scope `events`
//! /queries/{name}/events          pages, or a stream     any token with the scope `events`
//! /queries/{name}/subscriptions   webhooks               visible to the token that created them
//! ```

mod delivery;
mod stream;
mod subscriptions;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub(super) use self::delivery::run;
use super::capture::parse_body;
use super::exceptions::{Exception, OfException as _};
use super::protocol::{Accepted, BASE, discover};
use super::query::{self, Paging, params};
use crate::AppState;
use crate::http::{Problem, QueryParams, RequireScope, ShutdownToken, scope};
use crate::store::epcis_queries::NamedQuery;

/// Maximum size of a query or subscription in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// Maximum number of queries per token.
const MAX_QUERIES: u32 = 100;

/// Maximum number of streams per instance; each asks the store every few seconds.
const MAX_STREAMS: usize = 64;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/epcis/v2/queries", get(list).post(create).options(discover))
        .route("/epcis/v2/queries/{queryName}", get(show).delete(remove).options(discover))
        .route("/epcis/v2/queries/{queryName}/events", get(events).options(discover))
        .route(
            "/epcis/v2/queries/{queryName}/subscriptions",
            get(subscriptions::list).post(subscriptions::create).options(discover),
        )
        .route(
            "/epcis/v2/queries/{queryName}/subscriptions/{subscriptionID}",
            get(subscriptions::show).delete(subscriptions::remove).options(discover),
        )
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .layer(Extension(Arc::new(Semaphore::new(MAX_STREAMS))))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    name: String,
    query: Value,
}

fn query_json(query: &NamedQuery) -> Value {
    let parameters: Value = serde_json::from_str(&query.doc).unwrap_or_default();
    json!({"name": query.name, "query": parameters, "createdAt": query.made_at.to_string()})
}

fn is_name(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// Returns the query with this name.
async fn find(shared: &AppState, name: &str) -> Result<NamedQuery, Problem> {
    let found = shared.store.named_query(name).await?;
    found.ok_or_else(|| Problem::not_found("no query has this name").of(Exception::NoSuchName))
}

/// Parameters of a stored query.
fn parameters(doc: &str) -> Vec<(String, String)> {
    let query: Value = serde_json::from_str(doc).unwrap_or_default();
    params::from_json(&query).unwrap_or_default()
}

async fn create(
    allowed: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let document = parse_body(&headers, body)?;
    let Definition { name, query } = serde_json::from_value(document)
        .map_err(|error| Problem::bad_request(format!("invalid query: {error}")))?;
    if !is_name(&name) {
        let detail = "name: write 1 to 100 of A-Z a-z 0-9 - . _ ~";
        return Err(Problem::bad_request(detail));
    }
    let pairs = params::from_json(&query)
        .map_err(|detail| Problem::bad_request(detail).of(Exception::QueryParameter))?;
    if pairs.iter().any(|(name, _)| name == "nextPageToken") {
        let detail = "query.nextPageToken: send it with GET instead";
        return Err(Problem::bad_request(detail).of(Exception::QueryParameter));
    }
    params::parse(&pairs).map_err(query::invalid_query)?;
    let query = NamedQuery {
        name,
        token_name: allowed.token_name,
        doc: query.to_string(),
        made_at: shared.now(),
    };
    if !shared.store.put_named_query(&query, MAX_QUERIES).await? {
        let detail = if shared.store.named_query(&query.name).await?.is_some() {
            format!("name is {}: a query with this name exists", query.name)
        } else {
            format!("this token has {MAX_QUERIES} queries; delete one")
        };
        return Err(Problem::conflict(detail));
    }
    let place = format!("{BASE}/queries/{}", query.name);
    let answer = Json(query_json(&query));
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], answer).into_response())
}

async fn list(
    _: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    QueryParams(paging): QueryParams<Paging>,
) -> Result<Response, Problem> {
    let limit = query::per_page(paging.per_page)?;
    let after = paging.next.unwrap_or_default();
    let mut queries = shared.store.named_queries(&after, limit + 1).await?;
    let next = query::cut_page(&mut queries, limit)
        .map(|last| format!("{BASE}/queries?perPage={limit}&nextPageToken={}", last.name));
    let queries: Vec<Value> = queries.iter().map(query_json).collect();
    Ok((query::next_link(next.as_deref()), Json(queries)).into_response())
}

async fn show(
    _: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(query_json(&find(&shared, &name).await?)))
}

async fn remove(
    allowed: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let query = find(&shared, &name).await?;
    if query.token_name != allowed.token_name {
        let detail = "another token created this query, and only that one can delete it";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    shared.store.delete_named_query(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[expect(clippy::too_many_arguments, reason = "extractors")]
async fn events(
    _: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    Extension(streams): Extension<Arc<Semaphore>>,
    stopping: Option<Extension<ShutdownToken>>,
    Path(name): Path<String>,
    RawQuery(asked): RawQuery,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = find(&shared, &name).await?;
    let fixed = parameters(&found.doc);
    if Accepted::parse(&headers).names("text/event-stream") {
        let permit = streams.try_acquire_owned().map_err(|_| {
            Problem::unavailable("too many streams; try again later, or subscribe by webhook", 30)
        })?;
        let stopping = stopping.map(|Extension(stopping)| stopping);
        return stream::open(shared, found, &headers, stopping, permit);
    }
    let asked = asked.unwrap_or_default();
    let of_pages = ["perPage", "nextPageToken", "eventCountLimit"];
    let split = params::split(&asked);
    if let Some((other, _)) = split.iter().find(|(name, _)| !of_pages.contains(&name.as_str())) {
        let detail = format!(
            "{other:.80}: the named query has its parameters; only perPage and nextPageToken may be added"
        );
        return Err(Problem::bad_request(detail).of(Exception::QueryParameter));
    }
    query::answer(&shared, uri.path(), &asked, &fixed, &name).await
}
