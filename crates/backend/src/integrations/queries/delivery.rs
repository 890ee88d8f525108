//! Sends the events of subscriptions by HTTP POST, each at least once and in order of capture.
//!
//! A subscription is at the position of the last event that its receiver acknowledged with 2xx. An
//! event is sent after [`SETTLING_TIME`], so that one that another instance captured earlier and
//! stores later is not skipped.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt as _;
use ring::hmac;
use tokio_util::sync::CancellationToken;
use ureq::Agent;

use super::super::query::{self, params};
use super::parameters;
use crate::AppState;
use crate::event::Event;
use crate::notifications::guarded_agent;
use crate::store::StoreError;
use crate::store::epcis_queries::{QueryDelivery, QuerySubscription};
use crate::store::event_query::{Direction, Order, Page};

/// Age of an event before it is sent.
const SETTLING_TIME: Duration = Duration::from_secs(5);

/// Interval of looking for new events.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum number of events per request.
const MAX_EVENTS: u32 = 100;

/// Duration of a claim, longer than a request takes.
const CLAIM_DURATION: Duration = Duration::from_secs(60);

/// Maximum number of concurrent requests.
const MAX_REQUESTS: usize = 8;

/// First and longest delay after a failure.
const RETRY_DELAYS_S: (u64, u64) = (10, 3_600);

/// Next events of a query after a position, oldest capture first.
pub(super) async fn next_events(
    shared: &AppState,
    doc: &str,
    after: (i64, i64),
) -> Result<Vec<Event>, StoreError> {
    // The parameters were checked when the query was created.
    let Ok(mut asked) = params::parse(&parameters(doc)) else { return Ok(Vec::new()) };
    let now = shared.now();
    let settled = now.checked_sub(SETTLING_TIME).unwrap_or(now);
    asked.query.until.push((Order::RecordTime, settled));
    let page = Page {
        order: Order::RecordTime,
        direction: Direction::Ascending,
        after: Some(after),
        limit: MAX_EVENTS,
    };
    shared.store.query_events(&asked.query, page).await
}

/// Position of an event.
pub(super) const fn position(event: &Event) -> (i64, i64) {
    (event.captured_at.as_unix_ms(), event.n)
}

/// Sends events until `stop`.
pub(in crate::integrations) async fn run(shared: AppState, stop: CancellationToken) {
    let agent = guarded_agent(shared.config.notifications.allow_private_webhooks);
    let mut is_up = true;
    loop {
        match send_due(&shared, &agent).await {
            Ok(()) if !std::mem::replace(&mut is_up, true) => {
                tracing::info!("query subscriptions resumed");
            }
            Err(error) if std::mem::replace(&mut is_up, false) => {
                tracing::warn!(%error, "query subscriptions paused: store unavailable");
            }
            _ => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
    }
}

async fn send_due(shared: &AppState, agent: &Agent) -> Result<(), StoreError> {
    let due = shared.store.due_query_subscriptions(shared.now()).await?;
    let sent = futures_util::stream::iter(due).map(|(subscription, doc)| {
        let agent = agent.clone();
        async move { send(shared, agent, subscription, &doc).await }
    });
    let results: Vec<Result<(), StoreError>> = sent.buffer_unordered(MAX_REQUESTS).collect().await;
    results.into_iter().collect()
}

/// Sends the next events of a subscription, if there are any and no other instance does.
async fn send(
    shared: &AppState,
    agent: Agent,
    subscription: QuerySubscription,
    doc: &str,
) -> Result<(), StoreError> {
    let events = next_events(shared, doc, subscription.after).await?;
    let Some(last) = events.last() else { return Ok(()) };
    let now = shared.now();
    let until = now.checked_add(CLAIM_DURATION).unwrap_or(now);
    if !shared.store.claim_query_subscription(&subscription, now, until).await? {
        return Ok(());
    }
    let id = subscription.id.as_str();
    let body = query::query_document(shared, &events, &subscription.query, Some(id)).to_string();
    let (dest, secret) = (subscription.dest.clone(), subscription.secret.clone());
    let posted = tokio::task::spawn_blocking(move || post(&agent, &dest, secret.as_deref(), &body));
    // A request that was cancelled with the runtime has failed.
    let result = posted.await.unwrap_or_else(|error| Err(error.to_string()));
    let now = shared.now();
    let delivery = match result {
        Ok(()) => QueryDelivery { after: position(last), tries: 0, next_at: now, error: None },
        Err(error) => {
            let (first, most) = RETRY_DELAYS_S;
            let delay_s = (first << subscription.tries.min(16)).min(most);
            QueryDelivery {
                after: subscription.after,
                tries: subscription.tries.saturating_add(1),
                next_at: now.checked_add(Duration::from_secs(delay_s)).unwrap_or(now),
                error: Some(error),
            }
        }
    };
    shared.store.finish_query_subscription(id, &delivery).await
}

/// Posts a document; blocks for up to ten seconds.
fn post(agent: &Agent, dest: &str, secret: Option<&str>, body: &str) -> Result<(), String> {
    let mut request = agent
        .post(dest)
        .header("content-type", "application/ld+json")
        .header("gs1-epcis-version", "2.0")
        .header("gs1-cbv-version", "2.0");
    if let Some(secret) = secret {
        request = request.header("gs1-signature", signature(secret, body));
    }
    match request.send(body.as_bytes()).map(|answer| answer.status().as_u16()) {
        Ok(200..=299) => Ok(()),
        Ok(status) => Err(format!("status {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Base64 of the HMAC-SHA256 of the body.
fn signature(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 §4.3.
    #[test]
    fn a_body_is_signed_with_hmac_sha256() {
        let signed = signature("Jefe", "what do ya want for nothing?");
        assert_eq!(signed, "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
    }
}
