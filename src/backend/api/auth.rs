//! A token or a session's cookie → who asks, and whether that is enough.
//!
//! - Of a token the configuration has the SHA-256 only. All of them are compared, each in constant time.
//! - A cookie opens the desk and nothing else, and changes something only with a sign that one of our own pages sent it:
//!   a header of ours, or the browser's word that it is of the same origin.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::session;
use crate::backend::config::{Scope, Token};
use crate::backend::{Shared, octets};

/// Scopes as types, for [`Allowed`].
pub mod scope {
    use crate::backend::config::Scope;

    /// What a request needs.
    pub trait Needs: Send {
        /// The scope.
        const SCOPE: Scope;
    }

    macro_rules! scopes {
        ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub enum $name {}

            impl Needs for $name {
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

/// Extracts who asks, if that one may: `Allowed<scope::Routes>` as an argument of a handler. 401 or 403 otherwise.
#[derive(Clone, Debug)]
pub struct Allowed<S> {
    /// Name of the token, for the audit log and for the source of what is captured.
    pub who: String,
    needs: PhantomData<fn() -> S>,
}

impl<S: scope::Needs> FromRequestParts<Shared> for Allowed<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let token = match bearer(&parts.headers) {
            Some(secret) => known(&shared.config.tokens, secret).ok_or_else(unknown)?,
            None if S::SCOPE == Scope::Desk => {
                let token = session::holder(shared, &parts.headers).await?.ok_or_else(unknown)?;
                if !parts.method.is_safe() && !own_page(shared, &parts.headers) {
                    return Err(foreign());
                }
                token
            }
            None => return Err(unknown()),
        };
        if !token.scopes.contains(&S::SCOPE) {
            return Err(Problem::new(StatusCode::FORBIDDEN, "this token has not the scope for it"));
        }
        Ok(Self { who: token.name.clone(), needs: PhantomData })
    }
}

fn unknown() -> Problem {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "send Authorization: Bearer with a token");
    problem.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn foreign() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "a change by cookie needs the header X-Waypost: 1")
}

/// The secret of `Authorization: Bearer …` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// The token that has this secret.
#[must_use]
pub fn known<'a>(tokens: &'a [Token], secret: &str) -> Option<&'a Token> {
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

/// Whether one of our own pages sent it, and no other page made the browser send it.
pub(super) fn own_page(shared: &Shared, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let origin = shared.config.http.public_url.trim_end_matches('/');
    if text("origin").is_some_and(|from| !same_host(from, origin, text("host"))) {
        return false;
    }
    headers.contains_key("x-waypost")
        || text("sec-fetch-site") == Some("same-origin")
        || text("origin").is_some()
}

/// Whether an origin is the public one, or that of the host that was asked.
fn same_host(from: &str, public: &str, host: Option<&str>) -> bool {
    let asked = from.split_once("://").map(|(_, authority)| authority);
    from == public || asked.is_some() && asked == host
}
