//! Number and postcode, or a link → one parcel's page.
//!
//! - **A number tells nothing**: unknown, wrong postcode, expired and tried too often are one answer, byte for byte, after the
//!   same work. Who has the link needs neither number nor postcode, so nobody can lock a recipient out.
//! - What is shown is what [`situation`] says: the rule of exposure is not here.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::problem::{Body, Problem};
use super::stream::events;
use super::watched::{Shown, Views};
use super::{ClientAddress, Counter, Stopping};
use crate::backend::alerts::{self, Subscribed, Subscription};
use crate::backend::situation::{self, Asked, Found};
use crate::backend::store::masked;
use crate::backend::store::parcels::{Parcel, postcode};
use crate::backend::view::parcel::{AlertView, ParcelView, Wish};
use crate::backend::{Shared, epc, web};

/// Longest number that is looked at, bytes; a label's code has 70 at most.
const NUMBER_BYTES: usize = 128;

/// Longest postcode that is looked at, bytes.
const POSTCODE_BYTES: usize = 32;

/// Longest token of a link that is looked at, bytes; ours have 22.
const TOKEN_BYTES: usize = 64;

/// What a label and a letterbox tell.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asks {
    number: String,
    postcode: String,
}

/// Where the page is.
#[derive(Debug, Serialize)]
pub(super) struct Link {
    token: String,
    url: String,
}

/// Who wants to be told, and where.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscribes {
    channel: String,
    address: String,
    #[serde(default)]
    language: Option<String>,
}

type Counters = Extension<Arc<Counter>>;

fn unknown_number() -> Problem {
    Problem::not_found(
        "no parcel has this number and this postcode; check both, or use the link you were sent",
    )
}

fn unknown_link() -> Problem {
    Problem::not_found("no parcel has this link; check that it is complete")
}

fn gone() -> Problem {
    Problem::new(StatusCode::GONE, "this page has expired")
}

/// `POST /api/v1/track`
pub(super) async fn ask(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    client: ClientAddress,
    Body(asks): Body<Asks>,
) -> Result<Json<Link>, Problem> {
    find(&shared, &counter, client, &asks).await.map(Json)
}

/// `POST /`: the same from the first page's form, where no script runs.
pub(super) async fn form(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    client: ClientAddress,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let [number, postcode] = web::fields(&body, ["number", "postcode"]);
    let asks = Asks { number, postcode };
    let found = find(&shared, &counter, client, &asks).await;
    let found = found.map(|link| link.token).map_err(|problem| problem.status());
    web::found(&shared, &uri, &headers, [&asks.number, &asks.postcode], found)
}

async fn find(
    shared: &Shared,
    counter: &Counter,
    client: ClientAddress,
    asks: &Asks,
) -> Result<Link, Problem> {
    let now = shared.clock.uptime();
    counter.asked.take(&client, now).map_err(|wait| Problem::too_many(wait.as_secs() + 1))?;
    if asks.number.len() > NUMBER_BYTES || asks.postcode.len() > POSTCODE_BYTES {
        return Err(Problem::bad_request("number or postcode: longer than any is; check both"));
    }
    let found = shared.store.parcels_called(&asks.number, &shared.config.domain).await?;
    let typed = epc::number(&asks.number);
    match opened(shared, counter, &found, &typed, &asks.postcode) {
        Some(parcel) => {
            let target = format!("{} found", masked(&typed));
            counter.looks.shown(shared, "customer", "track", &target).await?;
            let url = shared.config.http.public_url.trim_end_matches('/');
            let url = format!("{url}/t/{}", parcel.token);
            Ok(Link { token: parcel.token.clone(), url })
        }
        None => {
            let target = format!("{} refused", masked(&typed));
            counter.looks.refused(shared, "customer", "track", &target);
            Err(unknown_number())
        }
    }
}

/// The parcel that number and postcode open. Each try costs one of the parcel's, or of the number's where there is none.
fn opened<'a>(
    shared: &Shared,
    counter: &Counter,
    found: &'a [Parcel],
    typed: &str,
    code: &str,
) -> Option<&'a Parcel> {
    let code = hashed(&postcode(code));
    let no_parcel = [None];
    let candidates: Vec<Option<&Parcel>> =
        if found.is_empty() { no_parcel.to_vec() } else { found.iter().map(Some).collect() };
    let mut opened = None;
    for parcel in candidates {
        let key = hashed(parcel.map_or(typed, |parcel| parcel.epc.as_str()));
        let tried = counter.wrong.take(&key, shared.clock.uptime()).is_ok();
        let expected = parcel.and_then(|parcel| parcel.postcode.as_deref()).unwrap_or_default();
        let right = bool::from(hashed(expected).ct_eq(&code)) && !expected.is_empty();
        if tried && right {
            counter.wrong.give_back(&key);
        }
        let there = parcel.filter(|parcel| parcel.expires_at.is_none_or(|at| at > shared.now()));
        if tried && right && opened.is_none() {
            opened = there;
        }
    }
    opened
}

/// A secret that is remembered or compared without being kept, in a time that does not depend on it.
fn hashed(text: &str) -> [u8; 16] {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_ref()[..16]);
    first
}

/// A token that ours could be: base64url.
fn plausible(token: &str) -> Result<&str, Problem> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let fits = !token.is_empty() && token.len() <= TOKEN_BYTES && token.bytes().all(letters);
    if fits { Ok(token) } else { Err(unknown_link()) }
}

/// `GET /api/v1/track/{token}`
pub(super) async fn page(
    State(shared): State<Shared>,
    Path(token): Path<String>,
) -> Result<Json<ParcelView>, Problem> {
    match situation::parcel(&shared, plausible(&token)?).await? {
        Found::Page(page) => Ok(Json(page.view)),
        Found::Unknown => Err(unknown_link()),
        Found::Gone => Err(gone()),
    }
}

/// `GET /api/v1/track/{token}/live`
pub(super) async fn live(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    stopping: Option<Extension<Stopping>>,
    client: ClientAddress,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let token = plausible(&token)?;
    let place = counter.streams.take(client).ok_or_else(full)?;
    let shown = counter.watched.watch(&shared, token).await;
    let first = shown.borrow().clone();
    match first {
        Shown::Unknown => Err(unknown_link()),
        Shown::Gone => Err(gone()),
        Shown::View(_) => {
            Ok(events(Views::new(shown), stopping.map(|Extension(stopping)| stopping), place))
        }
        Shown::Nothing => Err(Problem::unavailable("the page cannot be watched now", 5)),
    }
}

/// Too many streams, in all or of one address.
pub(super) fn full() -> Problem {
    Problem::unavailable("too many pages are open; close some, or wait", 30)
}

/// `PUT /api/v1/track/{token}/wish`
pub(super) async fn wish(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    Path(token): Path<String>,
    Body(wish): Body<Wish>,
) -> Result<Response, Problem> {
    let token = plausible(&token)?;
    changes(&shared, &counter, token)?;
    match situation::wish(&shared, token, &wish).await? {
        Asked::Taken(page) => Ok((StatusCode::ACCEPTED, Json(page.view)).into_response()),
        Asked::Unknown => Err(unknown_link()),
        Asked::Gone => Err(gone()),
        Asked::TooLate(why) => Err(Problem::conflict(why)),
        Asked::Wrong(what) => Err(Problem::bad_request(what)),
    }
}

/// `POST /api/v1/track/{token}/alerts`
pub(super) async fn subscribe(
    State(shared): State<Shared>,
    Extension(counter): Counters,
    client: ClientAddress,
    Path(token): Path<String>,
    Body(Subscribes { channel, address, language }): Body<Subscribes>,
) -> Result<(StatusCode, Json<AlertView>), Problem> {
    let token = plausible(&token)?;
    changes(&shared, &counter, token)?;
    let now = shared.clock.uptime();
    counter.asked.take(&client, now).map_err(|wait| Problem::too_many(wait.as_secs() + 1))?;
    let subscription = Subscription { channel, address, language };
    match alerts::subscribe(&shared, token, &subscription).await? {
        Subscribed::Taken(alert) => Ok((StatusCode::CREATED, Json(alert))),
        Subscribed::Unknown => Err(unknown_link()),
        Subscribed::Wrong(what) => Err(Problem::bad_request(what)),
        Subscribed::TooMany => {
            Err(Problem::conflict("this parcel has as many subscribers as it can; end one first"))
        }
    }
}

/// `DELETE /api/v1/track/{token}/alerts/{id}`
pub(super) async fn unsubscribe(
    State(shared): State<Shared>,
    Path((token, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let unknown = || Problem::not_found("nobody of this parcel is told by this id");
    if plausible(&id).is_err() {
        return Err(unknown());
    }
    match alerts::unsubscribe(&shared, plausible(&token)?, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown()),
    }
}

fn changes(shared: &Shared, counter: &Counter, token: &str) -> Result<(), Problem> {
    let taken = counter.changed.take(&hashed(token), shared.clock.uptime());
    taken.map_err(|wait| Problem::too_many(wait.as_secs() + 1))
}

/// `GET /api/v1/pages`: what all pages show of their operator.
pub(super) async fn pages(
    State(shared): State<Shared>,
) -> ([(header::HeaderName, HeaderValue); 1], Json<Value>) {
    let pages = &shared.config.pages;
    let kept = HeaderValue::from_static("public, max-age=300");
    let alerts = &shared.config.alerts;
    let channels = [("email", alerts.smtp.is_some()), ("webhook", alerts.webhook_secret.is_some())];
    let channels: Vec<&str> =
        channels.iter().filter(|(_, sends)| *sends).map(|(channel, _)| *channel).collect();
    let said = json!({
        "tiles": pages.tiles, "tiles_by": pages.tiles_by, "operator": pages.operator,
        "alerts": channels,
    });
    ([(header::CACHE_CONTROL, kept)], Json(said))
}
