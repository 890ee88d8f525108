//! Files → pages: `/` for who waits, `/t/{token}` for one parcel, `/unsubscribe/{id}` for who has heard enough of it, `/desk`
//! for dispatchers.
//!
//! ```text
//! files/*.html ─ page: texts of one language put in ─┐
//! files/texts.json ──────────────────────────────────┼─ a browser ─ /api/v1, events as they happen
//! files/*.{css,js,svg} ─ assets: one name a version ─┘
//! ```
//!
//! - A page asks nobody but this server; the only exception are map tiles, if the operator names where from.
//! - No script and no style stands in a page: the policy that goes with it (`page`) runs none.
//! - The address of a parcel's page is its key, so that no request may tell it to others.

mod assets;
mod messages;
mod page;
mod texts;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;

use self::page::Page;
use self::texts::Locale;
use super::Shared;
use super::api::Problem;
use super::situation::{self, Found};

/// `/` (whose form goes to the API), `/t/{token}`, `/unsubscribe/{id}`, `/desk` and what is below it, and the files that they load.
pub fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(start))
        .route("/t/{token}", get(track))
        .route("/unsubscribe/{id}", get(messages::ask).post(messages::end))
        .route("/desk", get(desk))
        .route("/desk/{*rest}", get(desk))
        .route("/favicon.ico", get(favicon))
        .route("/assets/{version}/{file}", get(asset))
}

/// Fields of a form (`application/x-www-form-urlencoded`), as far as they are there and can be.
pub(super) fn fields<const N: usize>(body: &[u8], names: [&str; N]) -> [String; N] {
    let body = std::str::from_utf8(body).unwrap_or_default();
    names.map(|name| {
        let mut pairs = body.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        decoded(value)
    })
}

fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        let hex = rest.as_slice().get(..2).filter(|_| byte == b'%');
        let hex = hex.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest.nth(1);
            }
            None => bytes.push(if byte == b'+' { b' ' } else { byte }),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the first page's form is answered: on to the page of this token, or the form again and what is wrong.
pub(super) fn found(
    shared: &Shared,
    uri: &Uri,
    headers: &HeaderMap,
    [number, postcode]: [&str; 2],
    found: Result<String, StatusCode>,
) -> Response {
    let status = match found {
        Ok(token) => return Redirect::to(&format!("/t/{token}")).into_response(),
        Err(status) => status,
    };
    let locale = Locale::of(uri, headers, None);
    let refused = match status {
        _ if number.trim().is_empty() => "start.number_missing",
        _ if postcode.trim().is_empty() => "start.postcode_missing",
        StatusCode::TOO_MANY_REQUESTS => "refused.often_now",
        status if status.is_server_error() => "refused.broken",
        _ => "start.unknown",
    };
    let values = [("refused", locale.say(refused)), ("number", number), ("postcode", postcode)];
    Page::START.answer(shared, &locale, status, &values)
}

async fn start(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    Page::START.answer(&shared, &Locale::of(&uri, &headers, None), StatusCode::OK, &[])
}

/// Where the parcel stands is there before any script runs; the rest comes as it happens.
async fn track(
    State(shared): State<Shared>,
    Path(token): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let page = match situation::parcel(&shared, &token).await? {
        Found::Page(page) => page,
        Found::Unknown => return Ok(nowhere(&shared, &uri, &headers, StatusCode::NOT_FOUND)),
        Found::Gone => return Ok(nowhere(&shared, &uri, &headers, StatusCode::GONE)),
    };
    let locale = Locale::of(&uri, &headers, page.view.language.as_deref());
    let status = locale.status(page.view.status);
    let values = [("status", status), ("number", &page.view.number)];
    Ok(Page::TRACK.answer(&shared, &locale, StatusCode::OK, &values))
}

fn nowhere(shared: &Shared, uri: &Uri, headers: &HeaderMap, status: StatusCode) -> Response {
    let locale = Locale::of(uri, headers, None);
    let key = if status == StatusCode::GONE { "track.gone" } else { "track.unknown" };
    Page::TRACK.answer(shared, &locale, status, &[("status", locale.say(key))])
}

async fn desk(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    let now = shared.now().to_string();
    let values = [("now", now.as_str())];
    Page::DESK.answer(&shared, &Locale::of(&uri, &headers, None), StatusCode::OK, &values)
}

async fn favicon(headers: HeaderMap) -> Response {
    assets::answer(assets::version(), "icon.svg", &headers)
}

async fn asset(Path((version, file)): Path<(String, String)>, headers: HeaderMap) -> Response {
    assets::answer(&version, &file, &headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let read = |body: &str| fields(body.as_bytes(), ["number", "postcode"]);
        for (body, number, postcode) in [
            ("number=JD01+46&postcode=80331", "JD01 46", "80331"),
            ("postcode=SW1A+1AA&number=%C3%BC%3D%26", "ü=&", "SW1A 1AA"),
            ("number=%zz%4&number=2", "%zz%4", ""),
            ("number=%+f%FF", "% f\u{fffd}", ""),
            ("", "", ""),
        ] {
            assert_eq!(read(body), [number, postcode], "{body}");
        }
        assert_eq!(fields(b"number=\xff", ["number"]), [""]);
    }
}
