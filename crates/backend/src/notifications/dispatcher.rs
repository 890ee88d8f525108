//! Sends pending alerts by e-mail and webhook. An instance leases a row before it sends it.
//!
//! The page is evaluated again before sending; an alert that no longer applies or has expired is
//! dropped. Delivery is at-least-once: after a crash between sending and recording, the alert is
//! sent again under the same ID.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::email::Mailer;
use super::rules::{self, AlertKind};
use super::webhook::{EgressPolicy, WebhookClient};
use super::{Failure, tracking_url, unsubscribe_url};
use crate::AppState;
use crate::queries;
use crate::store::StoreError;
use crate::store::subscribers::{AlertResult, ClaimedAlert};
use waypost_model::units::UtcTime;

/// Lease of a claimed row; longer than any send timeout.
const LEASE: Duration = Duration::from_mins(2);
/// Maximum number of alerts that are sent concurrently.
const MAX_CONCURRENT: u32 = 16;
/// Delays between attempts, in minutes; the last one repeats.
const RETRY_DELAYS_MIN: [u64; 6] = [1, 3, 10, 30, 60, 120];
/// An alert is abandoned this long after its creation.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// An alert, ready to be sent to one subscriber.
#[derive(Clone, Debug)]
pub(super) struct OutgoingAlert {
    /// Message ID, the same for every attempt.
    pub(super) id: String,
    pub(super) kind: AlertKind,
    pub(super) number: String,
    /// Time of the event.
    pub(super) happened_at: Option<String>,
    pub(super) address: String,
    pub(super) language: Option<String>,
    pub(super) page_url: String,
    /// Unsubscribe URL.
    pub(super) unsubscribe_url: String,
    pub(super) now: UtcTime,
}

/// Sends alerts through the configured channels.
#[derive(Clone, Debug)]
pub(super) struct AlertDispatcher {
    mailer: Option<Arc<Mailer>>,
    webhooks: Option<WebhookClient>,
}

impl AlertDispatcher {
    pub(super) fn new(shared: &AppState) -> Self {
        let config = &shared.config.notifications;
        let reach = if config.allow_private_webhooks {
            EgressPolicy::AllowPrivate
        } else {
            EgressPolicy::PublicOnly
        };
        let hooks =
            config.webhook_secret.as_deref().map(|secret| WebhookClient::new(secret, reach));
        Self { mailer: config.smtp.as_ref().and_then(Mailer::new).map(Arc::new), webhooks: hooks }
    }

    /// Sends pending alerts; returns the number of claimed rows.
    pub(super) async fn send_due(&self, shared: &AppState) -> Result<usize, StoreError> {
        let now = shared.now();
        let until = now.checked_add(LEASE).unwrap_or(now);
        let claimed = shared.store.claim_alerts(now, until, MAX_CONCURRENT).await?;
        let count = claimed.len();
        let mut sending = JoinSet::new();
        for waiting in claimed {
            let (sender, shared) = (self.clone(), shared.clone());
            sending.spawn(async move { sender.send_one(&shared, waiting).await });
        }
        let mut result = Ok(count);
        while let Some(sent) = sending.join_next().await {
            if let Err(error) = waypost_service::task::unwrap_join(sent).await {
                result = Err(error);
            }
        }
        result
    }

    async fn send_one(&self, shared: &AppState, waiting: ClaimedAlert) -> Result<(), StoreError> {
        let outcome = match prepare(shared, &waiting).await? {
            None => AlertResult::Stale,
            Some(sending) => match self.send(&waiting, sending).await {
                Ok(()) => AlertResult::Sent,
                Err(Failure::Permanent(error)) => AlertResult::Failed(error),
                Err(Failure::Transient(error)) => schedule_retry(&waiting, error, shared.now()),
            },
        };
        shared.store.record_alert_result(&waiting, &outcome).await
    }

    async fn send(&self, waiting: &ClaimedAlert, sending: OutgoingAlert) -> Result<(), Failure> {
        let off = || Failure::Transient("channel is not configured".to_owned());
        match waiting.channel.as_str() {
            "email" => self.mailer.as_ref().ok_or_else(off)?.send(&sending).await,
            _ => {
                let hooks = self.webhooks.clone().ok_or_else(off)?;
                let sent = tokio::task::spawn_blocking(move || hooks.send(&sending)).await;
                sent.unwrap_or_else(|_| Err(Failure::Permanent("send task panicked".to_owned())))
            }
        }
    }
}

/// Prepares an alert for sending; `None` if it no longer applies or has expired.
async fn prepare(
    shared: &AppState,
    waiting: &ClaimedAlert,
) -> Result<Option<OutgoingAlert>, StoreError> {
    let now = shared.now();
    let Some(kind) = AlertKind::parse(&waiting.kind).filter(|_| waiting.fresh_until >= now) else {
        return Ok(None);
    };
    let Some(parcel) = shared.store.parcel(&waiting.epc).await? else { return Ok(None) };
    let page = queries::page_for_parcel(shared, &parcel).await?;
    let due = rules::due_alerts(&page.view, page.data_as_of, now);
    let Some(due) = due.into_iter().find(|due| due.kind == kind) else { return Ok(None) };
    Ok(Some(OutgoingAlert {
        id: format!("{}.{}", waiting.subscriber, kind.as_str()),
        kind,
        number: parcel.number,
        happened_at: due.happened_at.map(|at| at.to_string()),
        address: waiting.address.clone(),
        language: waiting.language.clone().or(parcel.language),
        page_url: tracking_url(shared, &parcel.token),
        unsubscribe_url: unsubscribe_url(shared, &waiting.subscriber),
        now,
    }))
}

fn schedule_retry(waiting: &ClaimedAlert, error: String, now: UtcTime) -> AlertResult {
    let tries = usize::try_from(waiting.tries).unwrap_or(usize::MAX);
    let wait = RETRY_DELAYS_MIN[tries.min(RETRY_DELAYS_MIN.len() - 1)];
    let at = now.checked_add(Duration::from_mins(wait));
    let give_up = waiting.made_at.checked_add(GIVE_UP_AFTER);
    match at {
        Some(at) if give_up.is_some_and(|give_up| at < give_up) => AlertResult::Retry(at, error),
        _ => AlertResult::Failed(error),
    }
}
