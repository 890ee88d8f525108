//! Rows of alerts that wait → letters and webhooks. An instance claims a row for some minutes before it sends it.
//!
//! Before it is sent, the page is looked at once more: what is not so any more, or too old, is not told. A process that dies
//! between sending and saying so sends again, under the same name: that is all that e-mail and HTTP can promise.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::letter::Post;
use super::rule::{self, Kind};
use super::webhook::{Hooks, Reach};
use super::{Failure, end_link, page_link};
use crate::backend::Shared;
use crate::backend::situation;
use crate::backend::store::StoreError;
use crate::backend::store::subscribers::{Outcome, Waiting};
use crate::units::UtcTime;

/// A claim lasts longer than any sending.
const CLAIM: Duration = Duration::from_mins(2);
/// Sent at once.
const AT_ONCE: u32 = 16;
/// Between tries; the last one again and again.
const WAITS_MIN: [u64; 6] = [1, 3, 10, 30, 60, 120];
/// Nobody waits for longer than this.
const GIVE_UP: Duration = Duration::from_hours(24);

/// What is sent to whom.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    /// The name of this message, the same each time that it is tried.
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) number: String,
    /// When it happened.
    pub(super) at: Option<String>,
    pub(super) address: String,
    pub(super) language: Option<String>,
    pub(super) page: String,
    /// Where no more of it can be asked for.
    pub(super) end: String,
    pub(super) now: UtcTime,
}

/// What sends.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    post: Option<Arc<Post>>,
    hooks: Option<Hooks>,
}

impl Sender {
    pub(super) fn new(shared: &Shared) -> Self {
        let config = &shared.config.alerts;
        let reach = if config.webhook_private { Reach::Private } else { Reach::Public };
        let hooks = config.webhook_secret.as_deref().map(|secret| Hooks::new(secret, reach));
        Self { post: config.smtp.as_ref().and_then(Post::new).map(Arc::new), hooks }
    }

    /// Sends what is due, and how much was claimed.
    pub(super) async fn send_due(&self, shared: &Shared) -> Result<usize, StoreError> {
        let now = shared.now();
        let until = now.checked_add(CLAIM).unwrap_or(now);
        let claimed = shared.store.claim_alerts(now, until, AT_ONCE).await?;
        let count = claimed.len();
        let mut sending = JoinSet::new();
        for waiting in claimed {
            let (sender, shared) = (self.clone(), shared.clone());
            sending.spawn(async move { sender.send_one(&shared, waiting).await });
        }
        let mut result = Ok(count);
        while let Some(sent) = sending.join_next().await {
            if let Err(error) = crate::tasks::joined(sent) {
                result = Err(error);
            }
        }
        result
    }

    async fn send_one(&self, shared: &Shared, waiting: Waiting) -> Result<(), StoreError> {
        let outcome = match prepare(shared, &waiting).await? {
            None => Outcome::Stale,
            Some(sending) => match self.send(&waiting, sending).await {
                Ok(()) => Outcome::Sent,
                Err(Failure::Never(error)) => Outcome::Dead(error),
                Err(Failure::Later(error)) => later(&waiting, error, shared.now()),
            },
        };
        shared.store.alert_came_to(&waiting, &outcome).await
    }

    async fn send(&self, waiting: &Waiting, sending: Sending) -> Result<(), Failure> {
        let off = || Failure::Later("this channel is not configured".to_owned());
        match waiting.channel.as_str() {
            "email" => self.post.as_ref().ok_or_else(off)?.send(&sending).await,
            _ => {
                let hooks = self.hooks.clone().ok_or_else(off)?;
                let sent = tokio::task::spawn_blocking(move || hooks.send(&sending)).await;
                sent.unwrap_or_else(|_| Err(Failure::Never("sending failed".to_owned())))
            }
        }
    }
}

/// What is to be sent; `None` if it is not so any more, or too old.
async fn prepare(shared: &Shared, waiting: &Waiting) -> Result<Option<Sending>, StoreError> {
    let now = shared.now();
    let Some(kind) = Kind::parse(&waiting.kind).filter(|_| waiting.fresh_until >= now) else {
        return Ok(None);
    };
    let Some(parcel) = shared.store.parcel(&waiting.epc).await? else { return Ok(None) };
    let page = situation::page_of(shared, &parcel).await?;
    let due = rule::due(&page.view, page.known_at, now);
    let Some(due) = due.into_iter().find(|due| due.kind == kind) else { return Ok(None) };
    Ok(Some(Sending {
        id: format!("{}.{}", waiting.subscriber, kind.name()),
        kind,
        number: parcel.number,
        at: due.since.map(|at| at.to_string()),
        address: waiting.address.clone(),
        language: waiting.language.clone().or(parcel.language),
        page: page_link(shared, &parcel.token),
        end: end_link(shared, &waiting.subscriber),
        now,
    }))
}

fn later(waiting: &Waiting, error: String, now: UtcTime) -> Outcome {
    let tries = usize::try_from(waiting.tries).unwrap_or(usize::MAX);
    let wait = WAITS_MIN[tries.min(WAITS_MIN.len() - 1)];
    let at = now.checked_add(Duration::from_mins(wait));
    let give_up = waiting.made_at.checked_add(GIVE_UP);
    match at {
        Some(at) if give_up.is_some_and(|give_up| at < give_up) => Outcome::Again(at, error),
        _ => Outcome::Dead(error),
    }
}
