//! A token, shown once → a cookie that opens the desk for a working day.
//!
//! The cookie says who, until when and which session, signed with a key of the store: every instance can read it, and a
//! database that is given away opens nothing for longer than that key is used. It dies with its token: the signature covers the
//! token's hash, too. A session that was ended stays ended although its cookie is still signed.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use ring::hmac;

use super::problem::Problem;
use crate::backend::Shared;
use crate::backend::config::{Scope, Token};
use crate::backend::octets::{hex, random, unhex};
use crate::backend::store::StoreError;
use crate::units::UtcTime;

/// How long a session lasts.
const LASTS: Duration = Duration::from_hours(12);

/// Name of the setting with the key.
const KEY: &str = "session.key";

/// What names of settings of ended sessions begin with.
const ENDED: &str = "session.ended.";

/// Longest cookie that is looked at.
const LONGEST: usize = 512;

/// Whether the browser speaks TLS with us, or with a proxy ahead of us.
#[must_use]
pub fn is_https(shared: &Shared) -> bool {
    shared.config.http.tls.is_some() || shared.config.http.public_url.starts_with("https:")
}

/// `__Host-` makes the browser itself see to it that no other host and no plain connection set it (RFC 6265bis §4.1.3.2).
fn name(shared: &Shared) -> &'static str {
    if is_https(shared) { "__Host-waypost" } else { "waypost" }
}

/// `Set-Cookie` of a new session of this token.
///
/// # Errors
/// The store does not answer.
pub async fn begin(shared: &Shared, token: &Token) -> Result<HeaderValue, Problem> {
    let now = shared.now();
    let until = now.checked_add(LASTS).unwrap_or(now).as_unix_ms();
    let session = random::<16>();
    let key = shared.store.setting_once(KEY, &hex(&random::<32>())).await?;
    let said = format!("{until}.{}.{}", hex(&session), hex(token.name.as_bytes()));
    let signature = hmac::sign(&signing(&key), signed(&said, token).as_bytes());
    shared.store.forget_settings(ENDED, now).await?;
    Ok(cookie(shared, &format!("{said}.{}", hex(signature.as_ref())), LASTS))
}

/// Ends the session of a cookie, if there is one; the answer is the `Set-Cookie` that removes it.
///
/// # Errors
/// The store does not answer.
pub async fn end(shared: &Shared, headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    if holder(shared, headers).await?.is_some()
        && let Some(said) = sent(shared, headers).and_then(Said::read)
    {
        let name = format!("{ENDED}{}", said.session);
        shared.store.setting_once(&name, &said.until_ms.to_string()).await?;
    }
    Ok(cookie(shared, "", Duration::ZERO))
}

/// The token whose session a request's cookie is.
///
/// # Errors
/// The store does not answer.
pub(super) async fn holder<'a>(
    shared: &'a Shared,
    headers: &HeaderMap,
) -> Result<Option<&'a Token>, StoreError> {
    let Some(said) = sent(shared, headers).and_then(Said::read) else { return Ok(None) };
    if UtcTime::from_unix_ms(said.until_ms).is_none_or(|until| until <= shared.now()) {
        return Ok(None);
    }
    let tokens = &shared.config.tokens;
    let token = tokens.iter().find(|token| {
        token.scopes.contains(&Scope::Desk) && hex(token.name.as_bytes()) == said.who
    });
    let Some(token) = token else { return Ok(None) };
    let ended = format!("{ENDED}{}", said.session);
    let settings = shared.store.settings(&[KEY, &ended]).await?;
    let [Some(key), None] = settings.as_slice() else { return Ok(None) };
    let valid = hmac::verify(&signing(key), signed(said.text, token).as_bytes(), &said.signature);
    Ok(valid.is_ok().then_some(token))
}

/// A cookie's parts, none of which is believed yet.
struct Said<'a> {
    text: &'a str,
    until_ms: i64,
    session: &'a str,
    who: &'a str,
    signature: Vec<u8>,
}

impl<'a> Said<'a> {
    fn read(value: &'a str) -> Option<Self> {
        if value.len() > LONGEST {
            return None;
        }
        let (text, signature) = value.rsplit_once('.')?;
        let mut parts = text.split('.');
        let (until, session, who) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || unhex(session)?.len() != 16 {
            return None;
        }
        Some(Self {
            text,
            until_ms: until.parse().ok()?,
            session,
            who,
            signature: unhex(signature)?,
        })
    }
}

fn signed(said: &str, token: &Token) -> String {
    format!("{said}.{}", token.sha256.to_ascii_lowercase())
}

fn signing(key: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())
}

/// The value of our cookie; of several the first, as browsers send the most specific one first.
fn sent<'a>(shared: &Shared, headers: &'a HeaderMap) -> Option<&'a str> {
    let ours = name(shared);
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == ours).then_some(value))
}

fn cookie(shared: &Shared, value: &str, lasts: Duration) -> HeaderValue {
    let secure = if is_https(shared) { "; Secure" } else { "" };
    let text = format!(
        "{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
        name(shared),
        lasts.as_secs()
    );
    text.parse().expect("it has only hexadecimal digits and words of ours")
}
