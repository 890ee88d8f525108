//! Audit log for the HTTP API.
//!
//! Successful reads are recorded before the response is sent. Denials are batched, so rejected
//! requests cannot saturate the disk; denials beyond the capacity of the queue are dropped.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::AppState;
use crate::store::{AuditEntry, StoreError};

/// Capacity of the queue of denials.
const QUEUE_CAPACITY: usize = 1024;

/// Time for which denials are collected before they are written.
const BATCH_DELAY: Duration = Duration::from_millis(250);

/// Writes audit entries.
#[derive(Debug, Default)]
pub(super) struct AuditLog {
    denials: OnceLock<mpsc::Sender<AuditEntry>>,
}

impl AuditLog {
    /// Records a successful access.
    pub(super) async fn record(
        &self,
        shared: &AppState,
        who: &str,
        what: &str,
        target: &str,
    ) -> Result<(), StoreError> {
        shared.store.insert_audit(&[entry(shared, who, what, target)]).await
    }

    /// Queues a denied access.
    pub(super) fn record_denied(&self, shared: &AppState, who: &str, what: &str, target: &str) {
        let refusals = self.denials.get_or_init(|| {
            let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
            tokio::spawn(write_denials(shared.clone(), receiver));
            sender
        });
        refusals.try_send(entry(shared, who, what, target)).ok();
    }
}

fn entry(shared: &AppState, who: &str, what: &str, target: &str) -> AuditEntry {
    AuditEntry {
        at: shared.now(),
        actor: who.to_owned(),
        action: what.to_owned(),
        target: target.to_owned(),
    }
}

async fn write_denials(shared: AppState, mut refusals: mpsc::Receiver<AuditEntry>) {
    let mut looks = Vec::new();
    while let Some(first) = refusals.recv().await {
        looks.push(first);
        tokio::time::sleep(BATCH_DELAY).await;
        while let Ok(look) = refusals.try_recv() {
            looks.push(look);
        }
        if let Err(error) = shared.store.insert_audit(&looks).await {
            tracing::debug!(%error, "denials not recorded in the audit log");
        }
        looks.clear();
    }
}
