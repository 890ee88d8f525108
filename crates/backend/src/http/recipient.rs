//! Recipient API: looks up a parcel by number and postcode, or by a tracking link.
//!
//! - **Lookups reveal nothing.** Unknown number, wrong postcode, expired page and rate limit give
//!   the same response, byte for byte, after the same work. The link works without a lookup, so an
//!   attacker cannot lock a recipient out.
//! - [`situation`] returns the content; the visibility policy is not evaluated here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::problem::{JsonBody, Problem};
use super::sse::event_stream;
use super::tracking_feed::{FeedState, TrackingStream};
use super::{ApiState, ClientAddress, ShutdownToken};
use crate::notifications::{self, SubscribeResult, Subscription};
use crate::queries::{self, PreferenceResult, TrackingPageResult};
use crate::store::mask_number;
use crate::store::parcels::{Parcel, normalize_postcode};
use crate::tracking::delivery_preferences;
use crate::tracking::parcel::{DeliveryPreference, ParcelView, SubscriptionView};
use crate::{AppState, epc, web};
use waypost_model::units::Uptime;

/// Maximum length of a number in bytes; codes on labels have at most 70.
const MAX_NUMBER_BYTES: usize = 128;

/// Maximum length of a postcode in bytes.
const MAX_POSTCODE_BYTES: usize = 32;

/// Maximum length of a token in bytes; issued tokens have 22.
const MAX_TOKEN_BYTES: usize = 64;

/// Credentials of a lookup.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LookupRequest {
    number: String,
    postcode: String,
}

/// Link to a tracking page.
#[derive(Debug, Serialize)]
pub(super) struct TrackingLink {
    token: String,
    url: String,
}

/// Channel and address of a subscription.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscribeRequest {
    channel: String,
    address: String,
    #[serde(default)]
    language: Option<String>,
}

type SharedApiState = Extension<Arc<ApiState>>;

fn lookup_failed() -> Problem {
    Problem::not_found(
        "no parcel matches this number and postcode; check both, or use the link that you received",
    )
}

fn unknown_link() -> Problem {
    Problem::not_found("this link is not valid; check that it is complete")
}

fn page_expired() -> Problem {
    Problem::new(StatusCode::GONE, "this page has expired")
}

/// `POST /api/v1/track`
pub(super) async fn lookup(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    client: ClientAddress,
    JsonBody(asks): JsonBody<LookupRequest>,
) -> Result<Json<TrackingLink>, Problem> {
    find(&shared, &counter, client, &asks).await.map(Json)
}

/// `POST /`: the lookup as a form post, for browsers without JavaScript.
pub(super) async fn lookup_form(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    client: ClientAddress,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let [number, postcode] = web::form_fields(&body, ["number", "postcode"]);
    let asks = LookupRequest { number, postcode };
    let found = find(&shared, &counter, client, &asks).await;
    let found = found.map(|link| link.token).map_err(|problem| problem.status());
    web::lookup_response(&shared, &uri, &headers, [&asks.number, &asks.postcode], found)
}

async fn find(
    shared: &AppState,
    counter: &ApiState,
    client: ClientAddress,
    asks: &LookupRequest,
) -> Result<TrackingLink, Problem> {
    let now = shared.clock.uptime();
    counter.lookups.acquire(&client, now).map_err(|wait| Problem::too_many(wait.as_secs() + 1))?;
    if asks.number.len() > MAX_NUMBER_BYTES || asks.postcode.len() > MAX_POSTCODE_BYTES {
        return Err(Problem::bad_request("number or postcode: too long; check both"));
    }
    brake(counter, now)?;
    let found = shared.store.find_parcels(&asks.number, &shared.config.domain).await?;
    let typed = epc::number_key(&asks.number);
    match authorize_lookup(shared, counter, &found, &typed, &asks.postcode) {
        Some(parcel) => {
            counter.failed_lookups.refund(&());
            let target = format!("{} found", mask_number(&typed));
            counter.audit_log.record(shared, "customer", "track", &target).await?;
            let url = shared.config.http.public_url.trim_end_matches('/');
            let url = format!("{url}/t/{}", parcel.token);
            Ok(TrackingLink { token: parcel.token.clone(), url })
        }
        None => {
            let target = format!("{} refused", mask_number(&typed));
            counter.audit_log.record_denied(shared, "customer", "track", &target);
            Err(lookup_failed())
        }
    }
}

/// Refuses lookups while too many have failed over all client addresses. The log names only the
/// start and the end of that state.
fn brake(counter: &ApiState, now: Uptime) -> Result<(), Problem> {
    let taken = counter.failed_lookups.acquire(&(), now);
    let was_on = counter.brake_on.swap(taken.is_err(), Ordering::Relaxed);
    match taken {
        Err(_) if !was_on => {
            tracing::warn!("lookups limited for all addresses: too many fail; links keep working");
        }
        Ok(()) if was_on => tracing::info!("lookups no longer limited for all addresses"),
        _ => {}
    }
    taken.map_err(|wait| Problem::too_many(wait.as_secs() + 1))
}

/// Returns the parcel that matches number and postcode. Each attempt counts against the quota of
/// the parcel, or of the number if no parcel has it.
fn authorize_lookup<'a>(
    shared: &AppState,
    counter: &ApiState,
    found: &'a [Parcel],
    typed: &str,
    code: &str,
) -> Option<&'a Parcel> {
    let code = secret_digest(&normalize_postcode(code));
    let no_parcel = [None];
    let candidates: Vec<Option<&Parcel>> =
        if found.is_empty() { no_parcel.to_vec() } else { found.iter().map(Some).collect() };
    let mut opened = None;
    for parcel in candidates {
        let key = secret_digest(parcel.map_or(typed, |parcel| parcel.epc.as_str()));
        let attempts = counter.postcode_failures.acquire(&key, shared.clock.uptime()).is_ok();
        let expected = parcel.and_then(|parcel| parcel.postcode.as_deref()).unwrap_or_default();
        let right = bool::from(secret_digest(expected).ct_eq(&code)) && !expected.is_empty();
        if attempts && right {
            counter.postcode_failures.refund(&key);
        }
        let there = parcel.filter(|parcel| parcel.expires_at.is_none_or(|at| at > shared.now()));
        if attempts && right && opened.is_none() {
            opened = there;
        }
    }
    opened
}

/// Digest of a secret: allows comparison in constant time and use as a key without storing the
/// secret.
fn secret_digest(text: &str) -> [u8; 16] {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_ref()[..16]);
    first
}

/// Validates the format of a token: base64url.
fn validate_token(token: &str) -> Result<&str, Problem> {
    let emails = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let fits = !token.is_empty() && token.len() <= MAX_TOKEN_BYTES && token.bytes().all(emails);
    if fits { Ok(token) } else { Err(unknown_link()) }
}

/// `GET /api/v1/track/{token}`
pub(super) async fn page(
    State(shared): State<AppState>,
    Path(token): Path<String>,
) -> Result<Json<ParcelView>, Problem> {
    match queries::page_by_token(&shared, validate_token(&token)?).await? {
        TrackingPageResult::Page(page) => Ok(Json(page.view)),
        TrackingPageResult::Unknown => Err(unknown_link()),
        TrackingPageResult::Expired => Err(page_expired()),
    }
}

/// `GET /api/v1/track/{token}/live`
pub(super) async fn stream(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    stopping: Option<Extension<ShutdownToken>>,
    client: ClientAddress,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let token = validate_token(&token)?;
    let place = counter.streams.acquire(client).ok_or_else(too_many_streams)?;
    let shown = counter.tracking_feed.subscribe(&shared, token).await;
    let first = shown.borrow().clone();
    match first {
        FeedState::Unknown => Err(unknown_link()),
        FeedState::Expired => Err(page_expired()),
        FeedState::View(_) => Ok(event_stream(
            TrackingStream::new(shown),
            stopping.map(|Extension(stopping)| stopping),
            place,
        )),
        FeedState::Pending => {
            Err(Problem::unavailable("live updates are unavailable; try again later", 5))
        }
    }
}

/// The limit of streams, in total or per client, is reached.
pub(super) fn too_many_streams() -> Problem {
    Problem::unavailable("too many live pages are open; close some, or try again later", 30)
}

/// `PUT /api/v1/track/{token}/wish`
pub(super) async fn set_preferences(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    Path(token): Path<String>,
    JsonBody(wish): JsonBody<DeliveryPreference>,
) -> Result<Response, Problem> {
    let token = validate_token(&token)?;
    check_change_quota(&shared, &counter, token)?;
    match queries::set_preferences(&shared, token, &wish).await? {
        PreferenceResult::Accepted(page) => {
            Ok((StatusCode::ACCEPTED, Json(page.view)).into_response())
        }
        PreferenceResult::Unknown => Err(unknown_link()),
        PreferenceResult::Expired => Err(page_expired()),
        PreferenceResult::TooLate(why) => {
            Err(Problem::conflict(delivery_preferences::explain(why)).with_code(why))
        }
        PreferenceResult::Invalid(what) => Err(Problem::bad_request(what)),
    }
}

/// `POST /api/v1/track/{token}/alerts`
pub(super) async fn subscribe(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    client: ClientAddress,
    Path(token): Path<String>,
    JsonBody(SubscribeRequest { channel, address, language }): JsonBody<SubscribeRequest>,
) -> Result<(StatusCode, Json<SubscriptionView>), Problem> {
    let token = validate_token(&token)?;
    check_change_quota(&shared, &counter, token)?;
    let now = shared.clock.uptime();
    counter.lookups.acquire(&client, now).map_err(|wait| Problem::too_many(wait.as_secs() + 1))?;
    if channel == "email" {
        let key = secret_digest(&address.trim().to_lowercase());
        let taken = counter.confirmations.acquire(&key, now);
        taken.map_err(|wait| Problem::too_many(wait.as_secs() + 1))?;
    }
    let subscription = Subscription { channel, address, language };
    match notifications::subscribe(&shared, token, &subscription).await? {
        SubscribeResult::Accepted(alert) => Ok((StatusCode::CREATED, Json(alert))),
        SubscribeResult::Unknown => Err(unknown_link()),
        SubscribeResult::Invalid(what) => Err(Problem::bad_request(what)),
        SubscribeResult::TooMany => Err(Problem::conflict(
            "this parcel has the maximum number of subscriptions; delete one first",
        )),
    }
}

/// `DELETE /api/v1/track/{token}/alerts/{id}`
pub(super) async fn unsubscribe(
    State(shared): State<AppState>,
    Path((token, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let unknown = || Problem::not_found("this parcel has no subscription with this id");
    if validate_token(&id).is_err() {
        return Err(unknown());
    }
    match notifications::unsubscribe(&shared, validate_token(&token)?, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown()),
    }
}

/// Proof of the right to rotate a secret.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateRequest {
    /// The current secret.
    secret: String,
}

/// A new signing secret, shown once.
#[derive(Debug, Serialize)]
pub(super) struct NewSecret {
    secret: String,
}

/// `POST /api/v1/track/{token}/alerts/{id}/secret`
pub(super) async fn rotate_secret(
    State(shared): State<AppState>,
    Extension(counter): SharedApiState,
    Path((token, id)): Path<(String, String)>,
    JsonBody(RotateRequest { secret }): JsonBody<RotateRequest>,
) -> Result<Json<NewSecret>, Problem> {
    let token = validate_token(&token)?;
    check_change_quota(&shared, &counter, token)?;
    let rotated = notifications::rotate_secret(&shared, token, &id, &secret).await?;
    rotated.map(|secret| Json(NewSecret { secret })).ok_or_else(|| {
        Problem::not_found("this parcel has no webhook with this id and secret; check both")
    })
}

fn check_change_quota(shared: &AppState, counter: &ApiState, token: &str) -> Result<(), Problem> {
    let taken = counter.page_changes.acquire(&secret_digest(token), shared.clock.uptime());
    taken.map_err(|wait| Problem::too_many(wait.as_secs() + 1))
}

/// `GET /api/v1/pages`: branding, map tiles and notification channels for all pages.
pub(super) async fn branding(
    State(shared): State<AppState>,
) -> ([(header::HeaderName, HeaderValue); 1], Json<Value>) {
    let pages = &shared.config.pages;
    let kept = HeaderValue::from_static("public, max-age=300");
    let alerts = &shared.config.notifications;
    let channels = [("email", alerts.smtp.is_some()), ("webhook", alerts.webhook_enabled)];
    let channels: Vec<&str> =
        channels.iter().filter(|(_, sends)| *sends).map(|(channel, _)| *channel).collect();
    let said = json!({
        "tiles": pages.tile_url, "tiles_by": pages.attribution, "operator": pages.operator,
        "alerts": channels,
    });
    ([(header::CACHE_CONTROL, kept)], Json(said))
}
