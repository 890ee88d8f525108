//! Notifies subscribers of parcels by e-mail and webhook, once per kind and occurrence.
//!
//! ```text
//! changes ─ parcels with subscribers ─ page ─ rules ─ rows (subscriber, kind, occurrence) ─ dispatcher ─ SMTP, HTTP
//! ```
//!
//! - **Confirmed**: an e-mail address receives one message, which asks for a confirmation, and
//!   nothing else before its owner has confirmed it. A webhook has a secret of its own.
//! - **Once**: subscriber, kind and occurrence (a route or an event) are the key of a row. A repeated change, after a restart or on
//!   two instances at once, inserts no second row. Only the instance that claims a row sends it.
//! - **Never stale** ([`rules`]): a rule evaluates the current state when the row is inserted, and
//!   again before it is sent.
//! - Logs and errors contain no addresses. The tracking page shows them masked.

mod address;
mod dispatcher;
mod email;
mod local_time;
pub mod rules;
mod templates;
mod webhook;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use self::dispatcher::AlertDispatcher;
use self::rules::DueAlert;
use super::change_feed::Change;
use super::store::StoreError;
use super::store::parcels::Parcel;
use super::store::retention::CONFIRMATION_TIME;
use super::store::subscribers::Subscriber;
use super::tracking::parcel::SubscriptionView;
use super::{AppState, octets, queries};

/// Changes are collected for this time and then evaluated together.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// Interval of a full evaluation of all parcels with subscribers, to catch missed changes and
/// delays that arise from time alone.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);
/// Maximum number of subscribers per parcel.
const MAX_SUBSCRIBERS: usize = 8;
/// Maximum number of unconfirmed subscribers per parcel.
const MAX_UNCONFIRMED: usize = 3;

/// Creates an HTTP client for URLs of clients, with the same limits as webhooks.
pub(crate) fn guarded_agent(allow_private: bool) -> ureq::Agent {
    let reach = if allow_private {
        webhook::EgressPolicy::AllowPrivate
    } else {
        webhook::EgressPolicy::PublicOnly
    };
    webhook::guarded_agent(reach)
}

/// Why an alert was not sent. The text contains no address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// A retry may succeed.
    Transient(String),
    /// No retry can succeed.
    Permanent(String),
}

/// Request to be notified about a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// `email` or `webhook`.
    pub channel: String,
    /// E-mail address or URL.
    pub address: String,
    /// Language of the messages, BCP 47; the parcel's language if absent.
    pub language: Option<String>,
}

/// Result of a subscription request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscribeResult {
    /// The token is unknown, or its page has expired.
    Unknown,
    /// The address or channel is invalid: the reason and the remedy.
    Invalid(String),
    /// The parcel has reached `MAX_SUBSCRIBERS`.
    TooMany,
    /// The subscription exists, new or from before.
    Accepted(SubscriptionView),
}

/// Subscribes to notifications about the parcel with this token. Alerts that apply already are
/// marked as sent.
pub async fn subscribe(
    shared: &AppState,
    token: &str,
    subscription: &Subscription,
) -> Result<SubscribeResult, StoreError> {
    let now = shared.now();
    let parcel = shared.store.parcel_by_token(token).await?;
    let Some(parcel) = parcel.filter(|parcel| !queries::is_expired(parcel, now)) else {
        return Ok(SubscribeResult::Unknown);
    };
    let address = match validate_address(shared, subscription) {
        Ok(address) => address,
        Err(problem) => return Ok(SubscribeResult::Invalid(problem)),
    };
    let same = |one: &&Subscriber| one.channel == subscription.channel && one.address == address;
    let there = shared.store.subscribers(&parcel.epc).await?;
    if let Some(known) = there.iter().find(same) {
        return Ok(SubscribeResult::Accepted(known.view()));
    }
    if there.len() >= MAX_SUBSCRIBERS {
        return Ok(SubscribeResult::TooMany);
    }
    let unconfirmed = there.iter().filter(|one| one.confirmed_at.is_none()).count();
    let is_email = subscription.channel == "email";
    if is_email && unconfirmed >= MAX_UNCONFIRMED {
        return Ok(SubscribeResult::TooMany);
    }
    let language = subscription.language.clone().filter(|language| is_language_tag(language));
    let new = Subscriber {
        id: octets::random_uuid(),
        epc: parcel.epc.clone(),
        channel: subscription.channel.clone(),
        address: address.clone(),
        language,
        confirm_token: is_email.then(|| hex::encode(octets::random::<16>())),
        confirmed_at: (!is_email).then_some(now),
        secret: (!is_email).then(webhook::new_secret),
    };
    let known = due_now(shared, &parcel).await?;
    let confirm_until = now.checked_add(CONFIRMATION_TIME).unwrap_or(now);
    shared.store.put_subscriber(&new, &as_known(&known), confirm_until, now).await?;
    let epcs: Arc<[String]> = Arc::new([parcel.epc.clone()]);
    shared.publish_change(Change::Parcels { epcs, van: None }).await;
    // Two concurrent requests create only one subscriber, whose secret is returned once.
    let there = shared.store.subscribers(&parcel.epc).await?;
    let stored = there.iter().find(same).unwrap_or(&new);
    let secret = new.secret.clone().filter(|_| stored.id == new.id);
    Ok(SubscribeResult::Accepted(SubscriptionView { secret, ..stored.view() }))
}

/// Alerts that apply to a parcel already.
async fn due_now(shared: &AppState, parcel: &Parcel) -> Result<Vec<DueAlert>, StoreError> {
    let page = queries::page_for_parcel(shared, parcel).await?;
    Ok(rules::due_alerts(&page, shared.now()))
}

/// Kind and occurrence of each alert.
fn as_known(due: &[DueAlert]) -> Vec<(&str, &str)> {
    due.iter().map(|due| (due.kind.as_str(), due.occurrence.as_str())).collect()
}

/// Result of using a confirmation link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfirmResult {
    /// The link is unknown, or its subscription has ended.
    Unknown,
    /// The address, masked, is confirmed, now or before.
    Confirmed { address: String },
}

/// Confirms the subscription of a confirmation link. Alerts that apply already are marked as sent.
pub async fn confirm(shared: &AppState, token: &str) -> Result<ConfirmResult, StoreError> {
    let now = shared.now();
    let Some(subscriber) = shared.store.subscriber_by_confirm_token(token).await? else {
        return Ok(ConfirmResult::Unknown);
    };
    if subscriber.confirmed_at.is_none() {
        let Some(parcel) = shared.store.parcel(&subscriber.epc).await? else {
            return Ok(ConfirmResult::Unknown);
        };
        let known = due_now(shared, &parcel).await?;
        shared.store.confirm_subscriber(&subscriber.id, &as_known(&known), now).await?;
        let epcs: Arc<[String]> = Arc::new([parcel.epc]);
        shared.publish_change(Change::Parcels { epcs, van: None }).await;
    }
    Ok(ConfirmResult::Confirmed { address: subscriber.view().address })
}

/// Replaces the signing secret of a webhook; `current` proves the right to do so. Returns the new
/// secret, `None` if there is no such webhook with this secret.
pub async fn rotate_secret(
    shared: &AppState,
    token: &str,
    id: &str,
    current: &str,
) -> Result<Option<String>, StoreError> {
    let Some(parcel) = shared.store.parcel_by_token(token).await? else { return Ok(None) };
    let new = webhook::new_secret();
    let rotated =
        shared.store.rotate_secret((id, &parcel.epc), current, &new, shared.now()).await?;
    Ok(rotated.then_some(new))
}

/// Deletes a subscription of the parcel with this token; returns whether it existed.
pub async fn unsubscribe(shared: &AppState, token: &str, id: &str) -> Result<bool, StoreError> {
    let Some(parcel) = shared.store.parcel_by_token(token).await? else { return Ok(false) };
    let ended = shared.store.delete_subscriber(id, Some(&parcel.epc)).await?;
    if ended {
        let epcs: Arc<[String]> = Arc::new([parcel.epc]);
        shared.publish_change(Change::Parcels { epcs, van: None }).await;
    }
    Ok(ended)
}

fn validate_address(shared: &AppState, subscription: &Subscription) -> Result<String, String> {
    let Subscription { channel, address, .. } = subscription;
    let typed = address.trim();
    let alerts = &shared.config.notifications;
    match channel.as_str() {
        "email" if alerts.smtp.is_none() => {
            Err("channel: e-mail is not configured; use webhook".into())
        }
        "email" => address::email(typed)
            .ok_or_else(|| "address: enter an e-mail address such as you@example.com".into()),
        "webhook" if !alerts.webhook_enabled => {
            Err("channel: webhooks are not configured; use email".into())
        }
        "webhook" if address::is_webhook(typed, alerts.allow_private_webhooks) => {
            Ok(typed.to_owned())
        }
        "webhook" => Err("address: enter a URL such as https://example.com/hook".into()),
        _ => Err("channel: must be email or webhook".into()),
    }
}

fn is_language_tag(text: &str) -> bool {
    text.len() <= 35 && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
}

fn tracking_url(shared: &AppState, token: &str) -> String {
    format!("{}/t/{token}", shared.config.http.public_url.trim_end_matches('/'))
}

fn unsubscribe_url(shared: &AppState, subscriber: &str) -> String {
    format!("{}/unsubscribe/{subscriber}", shared.config.http.public_url.trim_end_matches('/'))
}

fn confirm_url(shared: &AppState, token: &str) -> String {
    format!("{}/confirm/{token}", shared.config.http.public_url.trim_end_matches('/'))
}

/// Changes since the last evaluation.
#[derive(Debug, Default)]
struct PendingChanges {
    epcs: HashSet<String>,
    vans: HashSet<String>,
    /// Evaluate all parcels with subscribers.
    all: bool,
}

impl PendingChanges {
    fn record(&mut self, change: Change) {
        match change {
            Change::Parcels { epcs, van } => {
                self.epcs.extend(epcs.iter().cloned());
                self.vans.extend(van.map(|van| van.to_string()));
            }
            Change::Van { van } | Change::Position { van } | Change::Route { van, .. } => {
                self.vans.insert(van.to_string());
            }
            Change::Lagged => self.all = true,
        }
    }

    fn is_empty(&self) -> bool {
        !self.all && self.epcs.is_empty() && self.vans.is_empty()
    }
}

/// Notifies subscribers until `stop`. Retries while the store is unavailable.
pub async fn run(shared: AppState, stop: CancellationToken) -> Result<(), StoreError> {
    let sender = AlertDispatcher::new(&shared);
    let mut changes = shared.change_feed.subscribe();
    let mut changed = PendingChanges { all: true, ..PendingChanges::default() };
    let mut sweep = interval(SWEEP_INTERVAL);
    let mut failing = false;
    loop {
        let pending = sleep(BATCH_DELAY);
        tokio::pin!(pending);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = &mut pending => break,
                _ = sweep.tick() => changed.all = true,
                change = changes.recv() => match change {
                    Ok(change) => changed.record(change),
                    Err(RecvError::Lagged(_)) => changed.all = true,
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
        }
        let done = enqueue_and_send(&shared, &sender, &changed).await;
        match &done {
            Ok(()) => {
                if failing {
                    tracing::info!("alerts resumed: store available");
                }
                changed = PendingChanges::default();
            }
            Err(error) if !failing => tracing::warn!(%error, "alerts paused: store error"),
            Err(_) => {}
        }
        failing = done.is_err();
    }
}

/// Inserts rows for changes, and sends pending rows.
async fn enqueue_and_send(
    shared: &AppState,
    sender: &AlertDispatcher,
    changed: &PendingChanges,
) -> Result<(), StoreError> {
    if !changed.is_empty() {
        enqueue(shared, changed).await?;
    }
    while sender.send_due(shared).await? > 0 {}
    Ok(())
}

/// Inserts a row for each alert that is due.
async fn enqueue(shared: &AppState, changed: &PendingChanges) -> Result<(), StoreError> {
    let store = &shared.store;
    let mut waited_for = HashSet::new();
    if changed.all {
        waited_for.extend(store.parcels_with_subscribers(shared.now()).await?);
    } else {
        let epcs: Vec<&str> = changed.epcs.iter().map(String::as_str).collect();
        waited_for.extend(store.parcels_with_subscribers_among(&epcs).await?);
        for van in &changed.vans {
            waited_for.extend(store.parcels_with_subscribers_for_van(van).await?);
        }
    }
    for epc in waited_for {
        let Some(parcel) = store.parcel(&epc).await? else { continue };
        let page = queries::page_for_parcel(shared, &parcel).await?;
        let now = shared.now();
        for due in rules::due_alerts(&page, now) {
            let alert = (due.kind.as_str(), due.occurrence.as_str());
            store.enqueue_alerts(&epc, alert, due.fresh_until, now).await?;
        }
        if !page.retracted.is_empty() {
            let sent = store.sent_outcomes(&epc).await?;
            for wrong in sent.iter().filter(|sent| page.retracted.contains(sent)) {
                let until = rules::correction_fresh_until(now);
                store.enqueue_corrections(&epc, wrong, until, now).await?;
            }
        }
    }
    Ok(())
}

/// Runs one round of [`run`] over all parcels with subscribers.
pub async fn run_once(shared: &AppState) -> Result<(), StoreError> {
    enqueue_and_send(
        shared,
        &AlertDispatcher::new(shared),
        &PendingChanges { all: true, ..PendingChanges::default() },
    )
    .await
}
