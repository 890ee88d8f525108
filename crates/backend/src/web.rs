//! Web pages: `/` for the lookup, `/t/{token}` for one parcel, `/confirm/{token}`,
//! `/unsubscribe/{id}`, and `/desk` for dispatchers. A browser gets errors as pages too.
//!
//! ```text
//! files/*.html ─ page: with the texts of one language ─┐
//! files/texts.json ────────────────────────────────────┼─ browser ─ /api/v1, server-sent events
//! files/*.{css,js,svg} ─ assets: one path per version ─┘
//! ```
//!
//! - A page loads only from this server, except map tiles, if the operator configures them.
//! - Pages contain no inline scripts or styles: their Content-Security-Policy (`page`) allows none.
//! - The URL of a tracking page is a secret and must not leak through requests to other hosts.

mod assets;
mod confirm;
mod i18n;
mod template;
mod unsubscribe;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;

use self::i18n::Locale;
use self::template::PageTemplate;
use super::AppState;
use super::http::Problem;
use super::queries::{self, TrackingPageResult};

/// Returns the routes of the pages and of their files.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(start))
        .route("/t/{token}", get(track))
        .route("/unsubscribe/{id}", get(unsubscribe::confirm).post(unsubscribe::unsubscribe))
        .route("/confirm/{token}", get(confirm::ask).post(confirm::confirm))
        .route("/desk", get(dispatch))
        .route("/desk/{*rest}", get(dispatch))
        .route("/favicon.ico", get(favicon))
        .route("/assets/{version}/{file}", get(asset))
}

/// Parses fields of a form (`application/x-www-form-urlencoded`). Missing or invalid fields are
/// empty.
pub(super) fn form_fields<const N: usize>(body: &[u8], names: [&str; N]) -> [String; N] {
    let body = std::str::from_utf8(body).unwrap_or_default();
    names.map(|name| {
        let mut pairs = form_urlencoded::parse(body.as_bytes());
        pairs
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    })
}

/// Responds to the lookup form: redirects to the page of the token, or shows the form with an
/// error.
pub(super) fn lookup_response(
    shared: &AppState,
    uri: &Uri,
    headers: &HeaderMap,
    [number, postcode]: [&str; 2],
    found: Result<String, StatusCode>,
) -> Response {
    let status = match found {
        Ok(token) => return Redirect::to(&format!("/t/{token}")).into_response(),
        Err(status) => status,
    };
    let locale = Locale::negotiate(uri, headers, None);
    let refused = match status {
        _ if number.trim().is_empty() => "start.number_missing",
        _ if postcode.trim().is_empty() => "start.postcode_missing",
        StatusCode::TOO_MANY_REQUESTS => "refused.often_now",
        status if status.is_server_error() => "refused.broken",
        _ => "start.unknown",
    };
    let values = [("refused", locale.text(refused)), ("number", number), ("postcode", postcode)];
    PageTemplate::START.respond(shared, &locale, status, &values)
}

async fn start(State(shared): State<AppState>, uri: Uri, headers: HeaderMap) -> Response {
    PageTemplate::START.respond(
        &shared,
        &Locale::negotiate(&uri, &headers, None),
        StatusCode::OK,
        &[],
    )
}

/// Renders the current status on the server; scripts load the rest.
async fn track(
    State(shared): State<AppState>,
    Path(token): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let page = match queries::page_by_token(&shared, &token).await? {
        TrackingPageResult::Page(page) => page,
        TrackingPageResult::Unknown => {
            return Ok(link_not_valid(&shared, &uri, &headers, StatusCode::NOT_FOUND));
        }
        TrackingPageResult::Expired => {
            return Ok(link_not_valid(&shared, &uri, &headers, StatusCode::GONE));
        }
    };
    let locale = Locale::negotiate(&uri, &headers, page.view.language.as_deref());
    let status = locale.status_text(page.view.status);
    let values = [("status", status), ("number", &page.view.number)];
    Ok(PageTemplate::TRACK.respond(&shared, &locale, StatusCode::OK, &values))
}

fn link_not_valid(
    shared: &AppState,
    uri: &Uri,
    headers: &HeaderMap,
    status: StatusCode,
) -> Response {
    let locale = Locale::negotiate(uri, headers, None);
    let key = if status == StatusCode::GONE { "track.gone" } else { "track.unknown" };
    PageTemplate::TRACK.respond(shared, &locale, status, &[("status", locale.text(key))])
}

/// Whether the client is a browser that opens a page: it prefers HTML. Scripts and partner systems
/// ask for JSON or for anything.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepted.is_some_and(|accepted| {
        let first = accepted.split(',').next().unwrap_or_default();
        first.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html")
    })
}

/// Renders an error as a page in the language of the browser. It needs no store.
pub(super) fn error_page(
    shared: &AppState,
    uri: &Uri,
    headers: &HeaderMap,
    status: StatusCode,
    retry_after_s: Option<u64>,
) -> Response {
    let locale = Locale::negotiate(uri, headers, None);
    let (title, said) = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            ("error.not_found", "error.not_found_hint")
        }
        StatusCode::GONE => ("track.gone", "track.gone_hint"),
        StatusCode::TOO_MANY_REQUESTS => ("error.often", "refused.often_now"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ("error.forbidden", "error.forbidden_hint")
        }
        status if status.is_server_error() => ("error.broken", "error.broken_hint"),
        _ => ("error.other", "refused.other"),
    };
    let again = retry_after_s.map_or_else(String::new, |seconds| {
        locale.text("error.again").replace("{n}", &seconds.to_string())
    });
    let values =
        [("title", locale.text(title)), ("said", locale.text(said)), ("again", again.as_str())];
    PageTemplate::ERROR.respond(shared, &locale, status, &values)
}

async fn dispatch(State(shared): State<AppState>, uri: Uri, headers: HeaderMap) -> Response {
    let now = shared.now().to_string();
    let values = [("now", now.as_str())];
    PageTemplate::DISPATCH.respond(
        &shared,
        &Locale::negotiate(&uri, &headers, None),
        StatusCode::OK,
        &values,
    )
}

async fn favicon(headers: HeaderMap) -> Response {
    assets::respond(assets::version(), "icon.svg", &headers)
}

async fn asset(Path((version, file)): Path<(String, String)>, headers: HeaderMap) -> Response {
    assets::respond(&version, &file, &headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let read = |body: &str| form_fields(body.as_bytes(), ["number", "postcode"]);
        for (body, number, postcode) in [
            ("number=JD01+46&postcode=80331", "JD01 46", "80331"),
            ("postcode=SW1A+1AA&number=%C3%BC%3D%26", "ü=&", "SW1A 1AA"),
            ("number=%zz%4&number=2", "%zz%4", ""),
            ("number=%+f%FF", "% f\u{fffd}", ""),
            ("", "", ""),
        ] {
            assert_eq!(read(body), [number, postcode], "{body}");
        }
        assert_eq!(form_fields(b"number=\xff", ["number"]), [""]);
    }
}
