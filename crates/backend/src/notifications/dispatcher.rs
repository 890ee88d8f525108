//! Sends pending alerts by e-mail and webhook. An instance leases a row before it sends it.
//!
//! The page is evaluated again before sending; an alert that no longer applies or has expired is
//! dropped. Delivery is at-least-once: after a crash between sending and recording, the alert is
//! sent again under the same ID.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::task::JoinSet;

use super::email::Mailer;
use super::local_time::zone_of_stop;
use super::rules::{self, AlertKind};
use super::webhook::{EgressPolicy, WebhookClient};
use super::{Failure, confirm_url, tracking_url, unsubscribe_url};
use crate::queries::{self, Milestone, TrackingPage};
use crate::store::StoreError;
use crate::store::subscribers::{AlertResult, CONFIRMATION, ClaimedAlert};
use crate::{AppState, octets};
use waypost_model::units::UtcTime;

/// Lease of a claimed row; longer than any send timeout.
const LEASE: Duration = Duration::from_mins(2);
/// Maximum number of alerts that are sent concurrently.
const MAX_CONCURRENT: u32 = 16;
/// Delays between attempts, in minutes; the last one repeats.
const RETRY_DELAYS_MIN: [u64; 6] = [1, 3, 10, 30, 60, 120];
/// An alert is abandoned this long after its creation.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// Content of a message.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Alert {
        kind: AlertKind,
        /// Time of the event.
        happened_at: Option<UtcTime>,
        /// The event that the alert is about.
        event: Option<Milestone>,
    },
    /// Request for the confirmation of an address, with its link.
    Confirmation { url: String },
}

/// A message, ready to be sent to one subscriber.
#[derive(Clone, Debug)]
pub(super) struct OutgoingAlert {
    /// Message ID, the same for every attempt.
    pub(super) id: String,
    pub(super) content: Content,
    pub(super) number: String,
    /// URI of the parcel.
    pub(super) epc: String,
    /// Time zone of the stop.
    pub(super) zone: TimeZone,
    /// Signing secrets of a webhook.
    pub(super) secrets: Vec<String>,
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
        let hooks = config.webhook_enabled.then(|| WebhookClient::new(reach));
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
    if waiting.fresh_until < now {
        return Ok(None);
    }
    let Some(parcel) = shared.store.parcel(&waiting.epc).await? else { return Ok(None) };
    let page = queries::page_for_parcel(shared, &parcel).await?;
    let content = match AlertKind::parse(&waiting.kind) {
        Some(kind) if waiting.confirmed_at.is_some() => alert_content(&page, waiting, kind, now),
        None if waiting.kind == CONFIRMATION && waiting.confirmed_at.is_none() => waiting
            .confirm_token
            .as_deref()
            .map(|token| Content::Confirmation { url: confirm_url(shared, token) }),
        _ => None,
    };
    let default_zone = &shared.config.notifications.time_zone;
    Ok(content.map(|content| OutgoingAlert {
        id: message_id(waiting),
        content,
        number: parcel.number,
        epc: parcel.epc,
        zone: zone_of_stop(page.time_zone.as_deref(), page.utc_offset_min, default_zone),
        secrets: waiting.secrets.clone(),
        address: waiting.address.clone(),
        language: waiting.language.clone().or(parcel.language),
        page_url: tracking_url(shared, &parcel.token),
        unsubscribe_url: unsubscribe_url(shared, &waiting.subscriber),
        now,
    }))
}

/// The content of an alert, if its occurrence is still true.
fn alert_content(
    page: &TrackingPage,
    waiting: &ClaimedAlert,
    kind: AlertKind,
    now: UtcTime,
) -> Option<Content> {
    if kind == AlertKind::Correction {
        let event_id = page.retracted.iter().find(|id| **id == waiting.occurrence)?.clone();
        let event_kind = "event.retracted".to_owned();
        let event = Some(Milestone { at: waiting.made_at, event_id, event_kind, reason: None });
        return Some(Content::Alert { kind, happened_at: None, event });
    }
    let due = rules::due_alerts(page, now)
        .into_iter()
        .find(|due| due.kind == kind && due.occurrence == waiting.occurrence)?;
    Some(Content::Alert { kind, happened_at: due.happened_at, event: page.milestone.clone() })
}

/// Message ID without characters that a header must not contain.
fn message_id(waiting: &ClaimedAlert) -> String {
    let occurrence = &octets::sha256(&waiting.occurrence)[..16];
    format!("{}.{}.{occurrence}", waiting.subscriber, waiting.kind)
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
