//! Who looked at what → the audit log.
//!
//! What was shown is written down before it is shown. What was refused is written a little later and many at once, so that
//! nobody keeps the disk busy by asking in vain; of too many of those some are left out.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::backend::Shared;
use crate::backend::store::{Look, StoreError};

/// Refusals that wait to be written.
const WAITING: usize = 1024;

/// How long the first of them waits for others.
const GATHER: Duration = Duration::from_millis(250);

/// Writes looks down.
#[derive(Debug, Default)]
pub(super) struct Looks {
    refusals: OnceLock<mpsc::Sender<Look>>,
}

impl Looks {
    /// Writes down what is about to be shown.
    pub(super) async fn shown(
        &self,
        shared: &Shared,
        who: &str,
        what: &str,
        target: &str,
    ) -> Result<(), StoreError> {
        shared.store.record_looks(&[look(shared, who, what, target)]).await
    }

    /// Notes what was refused.
    pub(super) fn refused(&self, shared: &Shared, who: &str, what: &str, target: &str) {
        let refusals = self.refusals.get_or_init(|| {
            let (sender, receiver) = mpsc::channel(WAITING);
            tokio::spawn(write(shared.clone(), receiver));
            sender
        });
        refusals.try_send(look(shared, who, what, target)).ok();
    }
}

fn look(shared: &Shared, who: &str, what: &str, target: &str) -> Look {
    Look { at: shared.now(), who: who.to_owned(), what: what.to_owned(), target: target.to_owned() }
}

async fn write(shared: Shared, mut refusals: mpsc::Receiver<Look>) {
    let mut looks = Vec::new();
    while let Some(first) = refusals.recv().await {
        looks.push(first);
        tokio::time::sleep(GATHER).await;
        while let Ok(look) = refusals.try_recv() {
            looks.push(look);
        }
        if let Err(error) = shared.store.record_looks(&looks).await {
            tracing::debug!(%error, "refusals not in the audit log");
        }
        looks.clear();
    }
}
