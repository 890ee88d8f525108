//! Heartbeat of this instance, and what it sees of the others and of the database.

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::AppState;
use super::store::StoreError;
use super::store::instances::{AbsentInstance, HEARTBEAT_INTERVAL};

/// A table counts as locked if it was locked at two consecutive heartbeats.
#[derive(Debug, Default)]
struct Seen {
    /// Other instances with a recent heartbeat, and this one.
    running: usize,
    absent: Vec<AbsentInstance>,
    locked_tables: Vec<String>,
    locked_before: Vec<String>,
}

/// State of the installation at the last heartbeat. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct InstanceMonitor(Arc<Mutex<Seen>>);

impl InstanceMonitor {
    /// Returns the number of instances with a recent heartbeat, including this one.
    #[must_use]
    pub fn running(&self) -> usize {
        self.seen().running
    }

    /// Returns the absent instances.
    #[must_use]
    pub fn absent(&self) -> Vec<AbsentInstance> {
        self.seen().absent.clone()
    }

    /// Returns the tables that somebody has locked against changes for some seconds.
    #[must_use]
    pub fn locked_tables(&self) -> Vec<String> {
        self.seen().locked_tables.clone()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().expect("no lock holder panics")
    }

    /// Sends heartbeats until `stop`.
    pub async fn run(self, shared: AppState, stop: CancellationToken) {
        let mqtt = &shared.config.mqtt;
        let mut is_registered = false;
        let mut ticks = tokio::time::interval(HEARTBEAT_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let beat = async {
                if !is_registered {
                    let register = shared.store.register_instance(
                        &mqtt.client_id,
                        &mqtt.share_group,
                        shared.now(),
                    );
                    register.await?;
                }
                self.look(&shared).await
            };
            // A beat after the begin of the stop would keep a stopped instance alive for others.
            let beat = async {
                tokio::select! {
                    () = stop.cancelled() => Ok(true),
                    result = beat => result,
                }
            };
            match beat.await {
                Ok(registered) => is_registered = registered,
                Err(error) => tracing::debug!(%error, "heartbeat not stored"),
            }
        }
    }

    /// Records a heartbeat and looks at the others. Returns whether this instance is registered.
    async fn look(&self, shared: &AppState) -> Result<bool, StoreError> {
        let (now, client_id) = (shared.now(), &shared.config.mqtt.client_id);
        let is_registered = shared.store.heartbeat(client_id, now).await?;
        let instances = shared.store.instances().await?;
        let running = instances.iter().filter(|instance| !instance.is_absent(now)).count();
        let absent = shared.store.absent_instances(client_id, now).await?;
        let locked = shared.store.locked_tables().await?;
        let mut seen = self.seen();
        for instance in &absent {
            if !seen.absent.iter().any(|known| known.client_id == instance.client_id) {
                tracing::warn!(
                    client_id = instance.client_id,
                    last_heartbeat = instance.last_heartbeat,
                    "instance absent: messages may wait in its session; start it again, or run `waypost-backend adopt`"
                );
            }
        }
        seen.running = running;
        seen.absent = absent;
        let before = std::mem::replace(&mut seen.locked_before, locked.clone());
        seen.locked_tables = locked.into_iter().filter(|table| before.contains(table)).collect();
        Ok(is_registered)
    }
}
