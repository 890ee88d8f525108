//! Changes of parcels → people who asked to be told: letters and webhooks, each kind once.
//!
//! ```text
//! changes ─ parcels with subscribers ─ page ─ rule ─ rows, one for each subscriber and kind ─ sender ─ SMTP, HTTP
//! ```
//!
//! - **Once**: the row's key is subscriber and kind, so that what comes twice, after a restart or on two instances at once
//!   makes no second one. A row is sent by the instance that claims it.
//! - **Never stale** ([`rule`]): a rule looks at how things are when the row is made, and again when it is sent.
//! - Addresses are in no log and in no error; whoever has the link sees them masked.

mod letter;
pub mod rule;
mod send;
mod texts;
mod webhook;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use self::send::Sender;
use super::live::Change;
use super::store::StoreError;
use super::store::subscribers::Subscriber;
use super::view::parcel::AlertView;
use super::{Shared, octets, situation};

/// Changes are gathered for so long.
const GATHER: Duration = Duration::from_secs(1);
/// All that somebody waits for is looked at so often: changes may have been missed, and time alone makes a van late.
const SWEEP: Duration = Duration::from_mins(1);
/// Of one parcel.
const MOST_SUBSCRIBERS: usize = 8;
/// RFC 5321 §4.5.3.1.3 allows no longer address; of a URL nobody needs more than this.
const LONGEST_EMAIL: usize = 254;
const LONGEST_URL: usize = 500;

/// Why something was not sent. The words have no address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// The same may work later.
    Later(String),
    /// It will never work.
    Never(String),
}

/// What somebody who wants to be told gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// `email` or `webhook`.
    pub channel: String,
    /// An address or a URL.
    pub address: String,
    /// BCP 47; the parcel's if absent.
    pub language: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// Nobody has this token, or its page has expired.
    Unknown,
    /// The address or channel cannot be used: what, and the remedy.
    Wrong(String),
    /// A parcel has so many subscribers at most.
    TooMany,
    /// It is known, now or since before.
    Taken(AlertView),
}

/// Somebody wants to be told of the parcel with this token. What the page says already is not told.
///
/// # Errors
/// [`StoreError`].
pub async fn subscribe(
    shared: &Shared,
    token: &str,
    subscription: &Subscription,
) -> Result<Subscribed, StoreError> {
    let now = shared.now();
    let parcel = shared.store.parcel_by_token(token).await?;
    let Some(parcel) = parcel.filter(|parcel| !situation::is_gone(parcel, now)) else {
        return Ok(Subscribed::Unknown);
    };
    let address = match checked(shared, subscription) {
        Ok(address) => address,
        Err(problem) => return Ok(Subscribed::Wrong(problem)),
    };
    let same = |one: &&Subscriber| one.channel == subscription.channel && one.address == address;
    let there = shared.store.subscribers(&parcel.epc).await?;
    if let Some(known) = there.iter().find(same) {
        return Ok(Subscribed::Taken(known.view()));
    }
    if there.len() >= MOST_SUBSCRIBERS {
        return Ok(Subscribed::TooMany);
    }
    let language = subscription.language.clone().filter(|language| is_language(language));
    let new = Subscriber {
        id: octets::random_uuid(),
        epc: parcel.epc.clone(),
        channel: subscription.channel.clone(),
        address: address.clone(),
        language,
    };
    let page = situation::page_of(shared, &parcel).await?;
    let known: Vec<_> = rule::due(&page.view, page.known_at, now);
    let known: Vec<&str> = known.iter().map(|due| due.kind.name()).collect();
    shared.store.put_subscriber(&new, &known, now).await?;
    let epcs: Arc<[String]> = Arc::new([parcel.epc.clone()]);
    shared.tell(Change::Parcels { epcs, van: None }).await;
    // Two requests at once make one subscriber.
    let there = shared.store.subscribers(&parcel.epc).await?;
    Ok(Subscribed::Taken(there.iter().find(same).unwrap_or(&new).view()))
}

/// Ends a subscription of the parcel with this token; whether there was one.
///
/// # Errors
/// [`StoreError`].
pub async fn unsubscribe(shared: &Shared, token: &str, id: &str) -> Result<bool, StoreError> {
    let Some(parcel) = shared.store.parcel_by_token(token).await? else { return Ok(false) };
    let ended = shared.store.end_subscriber(id, Some(&parcel.epc)).await?;
    if ended {
        let epcs: Arc<[String]> = Arc::new([parcel.epc]);
        shared.tell(Change::Parcels { epcs, van: None }).await;
    }
    Ok(ended)
}

fn checked(shared: &Shared, subscription: &Subscription) -> Result<String, String> {
    let Subscription { channel, address, .. } = subscription;
    let address = address.trim();
    let alerts = &shared.config.alerts;
    match channel.as_str() {
        "email" if alerts.smtp.is_none() => Err("channel: no e-mail is sent here".into()),
        "email" => {
            let known: Result<lettre::Address, _> = address.parse();
            match known {
                Ok(known) if address.len() <= LONGEST_EMAIL && address.is_ascii() => {
                    Ok(known.to_string())
                }
                _ => Err("address: write an e-mail address such as you@example.com".into()),
            }
        }
        "webhook" if alerts.webhook_secret.is_none() => {
            Err("channel: no webhooks are sent here".into())
        }
        "webhook" => {
            let uri: Option<ureq::http::Uri> =
                address.parse().ok().filter(|_| address.len() <= LONGEST_URL);
            let scheme_ok = |uri: &ureq::http::Uri| match uri.scheme_str() {
                Some("https") => true,
                Some("http") => alerts.webhook_private,
                _ => false,
            };
            let plain = |uri: &ureq::http::Uri| {
                uri.authority().is_some_and(|host| !host.as_str().contains('@'))
            };
            match uri.filter(|uri| scheme_ok(uri) && plain(uri)) {
                Some(_) => Ok(address.to_owned()),
                None => Err("address: write a URL such as https://example.com/hook".into()),
            }
        }
        _ => Err("channel: email or webhook".into()),
    }
}

fn is_language(text: &str) -> bool {
    text.len() <= 35 && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
}

fn page_link(shared: &Shared, token: &str) -> String {
    format!("{}/t/{token}", shared.config.http.public_url.trim_end_matches('/'))
}

fn end_link(shared: &Shared, subscriber: &str) -> String {
    format!("{}/unsubscribe/{subscriber}", shared.config.http.public_url.trim_end_matches('/'))
}

/// What changed since it was last looked at.
#[derive(Debug, Default)]
struct Changed {
    epcs: HashSet<String>,
    vans: HashSet<String>,
    /// Anything may have.
    all: bool,
}

impl Changed {
    fn take(&mut self, change: Change) {
        match change {
            Change::Parcels { epcs, van } => {
                self.epcs.extend(epcs.iter().cloned());
                self.vans.extend(van.map(|van| van.to_string()));
            }
            Change::Van { van } | Change::Position { van } | Change::Route { van, .. } => {
                self.vans.insert(van.to_string());
            }
            Change::Missed => self.all = true,
        }
    }

    fn is_empty(&self) -> bool {
        !self.all && self.epcs.is_empty() && self.vans.is_empty()
    }
}

/// Tells subscribers until `stop`.
///
/// # Errors
/// None: a store that does not answer is asked again.
pub async fn run(shared: Shared, stop: CancellationToken) -> Result<(), StoreError> {
    let sender = Sender::new(&shared);
    let mut changes = shared.live.watch();
    let mut changed = Changed { all: true, ..Changed::default() };
    let mut sweep = interval(SWEEP);
    let mut failing = false;
    loop {
        let gathered = sleep(GATHER);
        tokio::pin!(gathered);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = &mut gathered => break,
                _ = sweep.tick() => changed.all = true,
                change = changes.recv() => match change {
                    Ok(change) => changed.take(change),
                    Err(RecvError::Lagged(_)) => changed.all = true,
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
        }
        let done = tell(&shared, &sender, &changed).await;
        match &done {
            Ok(()) => {
                if failing {
                    tracing::info!("alerts go out again");
                }
                changed = Changed::default();
            }
            Err(error) if !failing => tracing::warn!(%error, "alerts wait for the store"),
            Err(_) => {}
        }
        failing = done.is_err();
    }
}

/// Makes rows of what changed, and sends what is due.
async fn tell(shared: &Shared, sender: &Sender, changed: &Changed) -> Result<(), StoreError> {
    if !changed.is_empty() {
        note(shared, changed).await?;
    }
    while sender.send_due(shared).await? > 0 {}
    Ok(())
}

/// Makes rows of what subscribers should be told.
async fn note(shared: &Shared, changed: &Changed) -> Result<(), StoreError> {
    let store = &shared.store;
    let mut waited_for = HashSet::new();
    if changed.all {
        waited_for.extend(store.waited_for().await?);
    } else {
        let epcs: Vec<&str> = changed.epcs.iter().map(String::as_str).collect();
        waited_for.extend(store.waited_for_of(&epcs).await?);
        for van in &changed.vans {
            waited_for.extend(store.waited_for_on(van).await?);
        }
    }
    for epc in waited_for {
        let Some(parcel) = store.parcel(&epc).await? else { continue };
        let page = situation::page_of(shared, &parcel).await?;
        let now = shared.now();
        for due in rule::due(&page.view, page.known_at, now) {
            store.put_alerts(&epc, due.kind.name(), due.fresh_until, now).await?;
        }
    }
    Ok(())
}

/// One round of [`run`], as if anything might have changed: makes rows of what is due, and sends them.
///
/// # Errors
/// [`StoreError`].
pub async fn round(shared: &Shared) -> Result<(), StoreError> {
    tell(shared, &Sender::new(shared), &Changed { all: true, ..Changed::default() }).await
}
