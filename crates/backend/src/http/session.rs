//! Dispatcher sessions: exchanges a token for a signed cookie that is valid for a working day.
//!
//! The cookie contains token name, expiry and session ID, signed with a key in the store that all
//! instances share. A leaked database copy is useless once that key is replaced. The signature
//! covers the token's hash, so a session ends with its token. A revoked session stays revoked
//! although its cookie is still signed.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use ring::hmac;

use super::problem::Problem;
use crate::AppState;
use crate::config::{Scope, Token};
use crate::octets::random;
use crate::store::StoreError;
use waypost_model::units::UtcTime;

/// Lifetime of a session.
const VALID_FOR: Duration = Duration::from_hours(12);

/// Name of the setting that contains the signing key.
const KEY_SETTING: &str = "session.key";

/// Prefix of the settings that record revoked sessions.
const REVOKED_PREFIX: &str = "session.ended.";

/// Maximum length of a cookie value in bytes.
const MAX_COOKIE_LEN: usize = 512;

/// Whether the browser connects over TLS, to this server or to a proxy.
#[must_use]
pub fn is_https(shared: &AppState) -> bool {
    shared.config.http.tls.is_some() || shared.config.http.public_url.starts_with("https:")
}

/// The `__Host-` prefix makes the browser reject cookies of other hosts and of plain connections
/// (RFC 6265bis §4.1.3.2).
fn cookie_name(shared: &AppState) -> &'static str {
    if is_https(shared) { "__Host-waypost" } else { "waypost" }
}

/// Creates a session for a token; returns its `Set-Cookie` header.
///
/// # Errors
/// The store is unavailable.
pub async fn create(shared: &AppState, token: &Token) -> Result<HeaderValue, Problem> {
    let now = shared.now();
    let until = now.checked_add(VALID_FOR).unwrap_or(now).as_unix_ms();
    let session = random::<16>();
    let key = shared.store.get_or_insert_setting(KEY_SETTING, &hex::encode(random::<32>())).await?;
    let said = format!("{until}.{}.{}", hex::encode(session), hex::encode(token.name.as_bytes()));
    let signature = hmac::sign(&signing_key(&key), signing_input(&said, token).as_bytes());
    shared.store.delete_expired_settings(REVOKED_PREFIX, now).await?;
    Ok(set_cookie(shared, &format!("{said}.{}", hex::encode(signature.as_ref())), VALID_FOR))
}

/// Revokes the session of a cookie, if any; returns the `Set-Cookie` header that deletes the
/// cookie.
///
/// # Errors
/// The store is unavailable.
pub async fn revoke(shared: &AppState, headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    if session_token(shared, headers).await?.is_some()
        && let Some(said) = cookie_value(shared, headers).and_then(SessionCookie::parse)
    {
        let name = format!("{REVOKED_PREFIX}{}", said.session);
        shared.store.get_or_insert_setting(&name, &said.expires_ms.to_string()).await?;
    }
    Ok(set_cookie(shared, "", Duration::ZERO))
}

/// Returns the token of the request's session.
pub(super) async fn session_token<'a>(
    shared: &'a AppState,
    headers: &HeaderMap,
) -> Result<Option<&'a Token>, StoreError> {
    let Some(said) = cookie_value(shared, headers).and_then(SessionCookie::parse) else {
        return Ok(None);
    };
    if UtcTime::from_unix_ms(said.expires_ms).is_none_or(|until| until <= shared.now()) {
        return Ok(None);
    }
    let tokens = &shared.config.tokens;
    let token = tokens.iter().find(|token| {
        token.scopes.contains(&Scope::Desk) && hex::encode(token.name.as_bytes()) == said.token_name
    });
    let Some(token) = token else { return Ok(None) };
    let ended = format!("{REVOKED_PREFIX}{}", said.session);
    let settings = shared.store.settings(&[KEY_SETTING, &ended]).await?;
    let [Some(key), None] = settings.as_slice() else { return Ok(None) };
    let valid = hmac::verify(
        &signing_key(key),
        signing_input(said.payload, token).as_bytes(),
        &said.signature,
    );
    Ok(valid.is_ok().then_some(token))
}

/// The parts of a cookie, not verified yet.
struct SessionCookie<'a> {
    payload: &'a str,
    expires_ms: i64,
    session: &'a str,
    token_name: &'a str,
    signature: Vec<u8>,
}

impl<'a> SessionCookie<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        if value.len() > MAX_COOKIE_LEN {
            return None;
        }
        let (text, signature) = value.rsplit_once('.')?;
        let mut parts = text.split('.');
        let (until, session, who) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || hex::decode(session).ok()?.len() != 16 {
            return None;
        }
        Some(Self {
            payload: text,
            expires_ms: until.parse().ok()?,
            session,
            token_name: who,
            signature: hex::decode(signature).ok()?,
        })
    }
}

fn signing_input(said: &str, token: &Token) -> String {
    format!("{said}.{}", token.sha256.to_ascii_lowercase())
}

fn signing_key(key: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())
}

/// Returns the value of the session cookie. Browsers send the most specific one first.
fn cookie_value<'a>(shared: &AppState, headers: &'a HeaderMap) -> Option<&'a str> {
    let ours = cookie_name(shared);
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == ours).then_some(value))
}

fn set_cookie(shared: &AppState, value: &str, lasts: Duration) -> HeaderValue {
    let secure = if is_https(shared) { "; Secure" } else { "" };
    let text = format!(
        "{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
        cookie_name(shared),
        lasts.as_secs()
    );
    text.parse().expect("it contains only hexadecimal digits and constants")
}
