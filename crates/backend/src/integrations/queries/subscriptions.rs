//! Subscriptions to named queries by webhook (EPCIS 2.0 §12.10).

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::capture::parse_body;
use super::super::exceptions::{Exception, OfException as _};
use super::super::protocol::BASE;
use super::{find, parameters};
use crate::http::{Problem, RequireScope, scope};
use crate::store::epcis_queries::QuerySubscription;
use crate::{AppState, octets};
use waypost_model::units::UtcTime;

/// Maximum number of subscriptions per token.
const MAX_SUBSCRIPTIONS: u32 = 100;

/// Maximum length of a URL in bytes.
const MAX_URL_BYTES: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Controls {
    dest: String,
    signature_token: Option<String>,
    #[serde(default)]
    stream: bool,
    schedule: Option<Value>,
    #[serde(default)]
    report_if_empty: bool,
    initial_record_time: Option<String>,
}

/// JSON of a subscription, without its signature token.
fn subscription_json(subscription: &QuerySubscription) -> Value {
    json!({
        "subscriptionID": subscription.id,
        "dest": subscription.dest,
        "stream": true,
        "reportIfEmpty": false,
        "createdAt": subscription.made_at.to_string(),
        "lastError": subscription.error,
    })
}

/// Checks the controls; returns the reason and the remedy of the first fault.
fn fault(shared: &AppState, controls: &Controls) -> Option<&'static str> {
    let is_private = shared.config.notifications.allow_private_webhooks;
    let uri: Option<ureq::http::Uri> =
        controls.dest.parse().ok().filter(|_| controls.dest.len() <= MAX_URL_BYTES);
    let is_reachable = uri.is_some_and(|uri| {
        let scheme = uri.scheme_str();
        let plain = uri.authority().is_some_and(|host| !host.as_str().contains('@'));
        plain && (scheme == Some("https") || is_private && scheme == Some("http"))
    });
    if !is_reachable {
        return Some("dest: write a URL such as https://example.com/hook");
    }
    if controls.signature_token.as_ref().is_some_and(|key| !(16..=256).contains(&key.len())) {
        return Some("signatureToken: write 16 to 256 bytes");
    }
    if controls.schedule.is_some() || !controls.stream {
        return Some("schedule: not supported; set stream to true");
    }
    controls.report_if_empty.then_some("reportIfEmpty: a stream reports events only; omit it")
}

pub(super) async fn create(
    allowed: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let query = find(&shared, &name).await?;
    let invalid = |detail: String| Problem::bad_request(detail).of(Exception::SubscriptionControls);
    let controls: Controls = serde_json::from_value(parse_body(&headers, body)?)
        .map_err(|error| invalid(format!("invalid subscription: {error}")))?;
    if let Some(fault) = fault(&shared, &controls) {
        return Err(invalid(fault.to_owned()));
    }
    let is_limited = |name: &str| ["maxEventCount", "eventCountLimit"].contains(&name);
    if let Some((limit, _)) = parameters(&query.doc).iter().find(|(name, _)| is_limited(name)) {
        let detail = format!("the query has {limit}, which is meaningless in a subscription");
        return Err(Problem::bad_request(detail).of(Exception::SubscribeNotPermitted));
    }
    let now = shared.now();
    let start = match controls.initial_record_time.as_deref() {
        None => now,
        Some(text) => UtcTime::parse(text)
            .ok_or_else(|| invalid("initialRecordTime: write a time with an offset".to_owned()))?,
    };
    let subscription = QuerySubscription {
        id: octets::random_uuid(),
        query: name.clone(),
        token_name: allowed.token_name,
        dest: controls.dest,
        secret: controls.signature_token,
        made_at: now,
        after: (start.as_unix_ms(), 0),
        tries: 0,
        error: None,
    };
    if !shared.store.put_query_subscription(&subscription, MAX_SUBSCRIPTIONS).await? {
        find(&shared, &name).await?;
        let detail = format!("this token has {MAX_SUBSCRIPTIONS} subscriptions; end one");
        return Err(Problem::conflict(detail));
    }
    let place = format!("{BASE}/queries/{name}/subscriptions/{}", subscription.id);
    let answer = Json(subscription_json(&subscription));
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], answer).into_response())
}

pub(super) async fn list(
    allowed: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    find(&shared, &name).await?;
    let found = shared.store.query_subscriptions(&name, &allowed.token_name).await?;
    Ok(Json(found.iter().map(subscription_json).collect()))
}

fn unknown() -> Problem {
    Problem::not_found("this token has no subscription with this id")
}

pub(super) async fn show(
    allowed: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    find(&shared, &name).await?;
    let found = shared.store.query_subscriptions(&name, &allowed.token_name).await?;
    let one = found.iter().find(|one| one.id == id).ok_or_else(unknown)?;
    Ok(Json(subscription_json(one)))
}

pub(super) async fn remove(
    allowed: RequireScope<scope::Events>,
    State(shared): State<AppState>,
    Path((name, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let gone = shared.store.delete_query_subscription(&name, &allowed.token_name, &id).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(unknown()) }
}
