//! Authentication by bearer token or session cookie, and authorization by scope.
//!
//! - The configuration contains only the SHA-256 of a token. Every entry is compared in constant
//!   time.
//! - A cookie is valid for the dispatcher console only. A change by cookie also needs proof of the
//!   same origin: the header `X-Waypost`, or the browser's `Sec-Fetch-Site` or `Origin`.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::session;
use crate::config::{Scope, Token};
use crate::{AppState, octets};

/// Scopes as marker types for [`RequireScope`].
pub mod scope {
    use crate::config::Scope;

    /// Marker type of a required scope.
    pub trait ScopeMarker: Send {
        const SCOPE: Scope;
    }

    macro_rules! scopes {
        ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub enum $name {}

            impl ScopeMarker for $name {
                const SCOPE: Scope = Scope::$name;
            }
        )*};
    }

    scopes! {
        /// [`Scope::Routes`]
        Routes,
        /// [`Scope::Capture`]
        Capture,
        /// [`Scope::Events`]
        Events,
        /// [`Scope::Desk`]
        Desk,
        /// [`Scope::Metrics`]
        Metrics,
    }
}

/// Extractor that requires a scope: `Allowed<scope::Routes>` as a handler argument. Rejects with
/// 401 or 403.
#[derive(Clone, Debug)]
pub struct RequireScope<S> {
    /// Name of the token, for the audit log and as the source of captured events.
    pub token_name: String,
    scope: PhantomData<fn() -> S>,
}

impl<S: scope::ScopeMarker> FromRequestParts<AppState> for RequireScope<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &AppState) -> Result<Self, Problem> {
        let token = match bearer_token(&parts.headers) {
            Some(secret) => authenticate(&shared.config.tokens, secret).ok_or_else(unauthorized)?,
            None if S::SCOPE == Scope::Desk => {
                let token = session::session_token(shared, &parts.headers)
                    .await?
                    .ok_or_else(unauthorized)?;
                if !parts.method.is_safe() && !is_same_origin(shared, &parts.headers) {
                    return Err(csrf_rejected());
                }
                token
            }
            None => return Err(unauthorized()),
        };
        if !token.scopes.contains(&S::SCOPE) {
            return Err(Problem::new(StatusCode::FORBIDDEN, "this token lacks the required scope"));
        }
        Ok(Self { token_name: token.name.clone(), scope: PhantomData })
    }
}

fn unauthorized() -> Problem {
    let problem =
        Problem::new(StatusCode::UNAUTHORIZED, "send Authorization: Bearer with a valid token");
    problem.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn csrf_rejected() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "requests that change data with a cookie need the header X-Waypost: 1",
    )
}

/// The secret of `Authorization: Bearer …` (RFC 6750 §2.1).
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// Returns the token with this secret, in constant time per entry.
#[must_use]
pub fn authenticate<'a>(tokens: &'a [Token], secret: &str) -> Option<&'a Token> {
    let hash = octets::sha256(secret);
    let mut found = None;
    for token in tokens {
        let stored = token.sha256.to_ascii_lowercase();
        if bool::from(stored.as_bytes().ct_eq(hash.as_bytes())) {
            found = Some(token);
        }
    }
    found
}

/// Whether a page of this origin sent the request, rather than a cross-site page.
pub(super) fn is_same_origin(shared: &AppState, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let origin = shared.config.http.public_url.trim_end_matches('/');
    if text("origin").is_some_and(|from| !origin_matches(from, origin, text("host"))) {
        return false;
    }
    headers.contains_key("x-waypost")
        || text("sec-fetch-site") == Some("same-origin")
        || text("origin").is_some()
}

/// Whether an origin equals the public URL or the requested host.
fn origin_matches(from: &str, public: &str, host: Option<&str>) -> bool {
    let asked = from.split_once("://").map(|(_, authority)| authority);
    from == public || asked.is_some() && asked == host
}
