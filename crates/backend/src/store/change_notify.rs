//! Notifies other instances of changes with PostgreSQL's LISTEN and NOTIFY. With SQLite there are
//! no other instances.
//!
//! - A notification names what changed, and the listener reads the new state from the store. A
//!   payload has at most 8000 bytes and serializes commits briefly. Changes are therefore batched
//!   and each van is named once: 10,000 vans are 20 payloads, at most one per `NOTIFY_INTERVAL`.
//! - Each instance receives positions from the broker, so positions are notified only on explicit
//!   request. The listener then reads the newest ones of those vans from the store.
//! - An instance that was disconnected may have missed changes and is informed by `Change::Lagged`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Engine, Statement, Store, StoreError, Value};
use crate::AppState;
use crate::change_feed::Change;
use waypost_wire::payloads::Position;

const CHANNEL: &str = "waypost";

/// Maximum payload size in bytes. PostgreSQL's limit is 8000; the rest is reserved for member
/// names.
const MAX_PAYLOAD_BYTES: usize = 7_600;

/// Maximum number of queued keys while the server is unavailable. On overflow the queue is cleared
/// and the others are informed that they missed changes.
const MAX_PENDING: usize = 20_000;

/// Minimum interval between two payloads.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(50);
/// Delay before a retry while the server is unavailable.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// Queue of changes to be notified. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangeNotifier {
    pending: Arc<Mutex<PendingKeys>>,
    wakeup: Arc<Notify>,
}

#[derive(Debug, Default)]
struct PendingKeys {
    keys: BTreeSet<ChangeKey>,
    is_overflowed: bool,
}

/// Key of a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ChangeKey {
    Parcel(String, Option<String>),
    Route(String, String),
    Van(String),
    Position(String),
}

/// Payload of a notification.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ChangeNotification {
    /// Id of the sending instance, which ignores its own notifications.
    from: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    positions: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vans: Vec<String>,
    /// Parcels by the van that reported them; the empty name means no van.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    parcels: BTreeMap<String, Vec<String>>,
    /// Route and van.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    missed: bool,
}

impl ChangeNotifier {
    fn add(&self, change: &Change) {
        let names: Vec<ChangeKey> = match change {
            Change::Position { van } => vec![ChangeKey::Position(van.to_string())],
            Change::Van { van } => vec![ChangeKey::Van(van.to_string())],
            Change::Parcels { epcs, van } => {
                let van = van.as_deref();
                epcs.iter()
                    .map(|epc| ChangeKey::Parcel(epc.clone(), van.map(str::to_owned)))
                    .collect()
            }
            Change::Route { route, van } => {
                vec![ChangeKey::Route(route.to_string(), van.to_string())]
            }
            Change::Lagged => return,
        };
        {
            let mut waiting = self.pending.lock().expect("no lock holder panics");
            if waiting.keys.len() + names.len() > MAX_PENDING {
                waiting.keys.clear();
                waiting.is_overflowed = true;
            } else {
                waiting.keys.extend(names);
            }
        }
        self.wakeup.notify_one();
    }

    /// Takes as many keys as fit into one payload.
    fn drain(&self, from: &str) -> Option<ChangeNotification> {
        let mut waiting = self.pending.lock().expect("no lock holder panics");
        let missed = std::mem::take(&mut waiting.is_overflowed);
        let mut announcement =
            ChangeNotification { from: from.to_owned(), missed, ..Default::default() };
        let mut bytes = 0;
        while let Some(name) = waiting.keys.pop_first() {
            let size = name.json_size();
            // An oversized key is replaced by the general notification.
            if size > MAX_PAYLOAD_BYTES {
                announcement.missed = true;
                continue;
            }
            bytes += size;
            if bytes > MAX_PAYLOAD_BYTES {
                waiting.keys.insert(name);
                break;
            }
            announcement.add(name);
        }
        (bytes > 0 || announcement.missed).then_some(announcement)
    }
}

impl ChangeKey {
    /// Upper bound of the size in JSON, with quotes, commas and escapes.
    fn json_size(&self) -> usize {
        let of = |text: &str| serde_json::Value::from(text).to_string().len() + 8;
        match self {
            Self::Parcel(epc, van) => of(epc) + of(van.as_deref().unwrap_or_default()),
            Self::Route(route, van) => of(route) + of(van),
            Self::Van(van) | Self::Position(van) => of(van),
        }
    }
}

impl ChangeNotification {
    fn add(&mut self, name: ChangeKey) {
        match name {
            ChangeKey::Parcel(epc, van) => {
                self.parcels.entry(van.unwrap_or_default()).or_default().push(epc);
            }
            ChangeKey::Route(route, van) => self.routes.push((route, van)),
            ChangeKey::Van(van) => self.vans.push(van),
            ChangeKey::Position(van) => self.positions.push(van),
        }
    }

    /// All changes except positions.
    fn changes(&self) -> Vec<Change> {
        let vans = self.vans.iter().map(|van| Change::Van { van: van.as_str().into() });
        let parcels = self.parcels.iter().map(|(van, epcs)| Change::Parcels {
            epcs: epcs.clone().into(),
            van: Some(van.as_str()).filter(|van| !van.is_empty()).map(Into::into),
        });
        let routes = self.routes.iter().map(|(route, van)| Change::Route {
            route: route.as_str().into(),
            van: van.as_str().into(),
        });
        let missed = self.missed.then_some(Change::Lagged);
        vans.chain(parcels).chain(routes).chain(missed).collect()
    }
}

impl Store {
    /// Queues a change for the other instances; [`run`] sends it soon, in a batch. No effect with
    /// SQLite.
    pub fn notify_change(&self, change: &Change) {
        if let Engine::Postgres(_) = &self.engine {
            self.notifier.add(change);
        }
    }

    /// Newest stored positions of these vans.
    pub async fn newest_positions(&self, vans: &[String]) -> Result<Vec<Position>, StoreError> {
        const BATCH_SIZE: usize = 64;
        let places: Vec<String> = (1..=BATCH_SIZE).map(|place| format!("${place}")).collect();
        let sql = format!(
            "SELECT position FROM van WHERE position IS NOT NULL AND van IN ({})",
            places.join(", ")
        );
        let mut positions = Vec::new();
        for vans in vans.chunks(BATCH_SIZE) {
            let mut values: Vec<Value> = vans.iter().map(|van| van.as_str().into()).collect();
            values.resize(BATCH_SIZE, Value::Null);
            let rows = self.read(Statement::new(sql.clone(), values)).await?;
            positions.extend(rows.iter().filter_map(|row| serde_json::from_str(row.text(0)).ok()));
        }
        Ok(positions)
    }
}

/// Sends queued changes to the other instances and receives theirs, until `stop`. Reconnects
/// automatically. With SQLite it only waits for `stop`.
pub async fn run(shared: AppState, stop: CancellationToken) {
    let Engine::Postgres(_) = &shared.store.engine else { return stop.cancelled().await };
    // Random, since process ids of two hosts may be equal.
    let from = format!("{:016x}", fastrand::u64(..));
    tokio::select! {
        () = stop.cancelled() => {}
        () = send_notifications(&shared.store, &from) => {}
        () = listen(&shared, &from) => {}
    }
}

async fn send_notifications(store: &Store, from: &str) {
    loop {
        store.notifier.wakeup.notified().await;
        while let Some(announcement) = store.notifier.drain(from) {
            let text = serde_json::to_string(&announcement).expect("strings serialize");
            let notify = Statement::new(
                "SELECT CAST(pg_notify($1, $2) AS TEXT)",
                [CHANNEL.into(), text.into()],
            );
            while store.read(notify.clone()).await.is_err() {
                tokio::time::sleep(RETRY_DELAY).await;
            }
            tokio::time::sleep(NOTIFY_INTERVAL).await;
        }
    }
}

async fn listen(shared: &AppState, from: &str) {
    let Engine::Postgres(engine) = &shared.store.engine else { return };
    let mut is_first = true;
    loop {
        let Ok(mut notifications) = engine.listen(CHANNEL).await else {
            tokio::time::sleep(RETRY_DELAY).await;
            continue;
        };
        if !is_first {
            tracing::info!("change notifications restored");
            shared.change_feed.publish(Change::Lagged);
        }
        is_first = false;
        while let Some(text) = notifications.recv().await {
            match serde_json::from_str::<ChangeNotification>(&text) {
                Ok(announcement) if announcement.from != from => {
                    on_notification(shared, &announcement).await;
                }
                // Our own notification, or one of a newer version.
                Ok(_) | Err(_) => {}
            }
        }
        tracing::warn!("change notifications lost until the database is available");
    }
}

async fn on_notification(shared: &AppState, announcement: &ChangeNotification) {
    for change in announcement.changes() {
        if matches!(change, Change::Route { .. } | Change::Lagged) {
            shared.downlink.notify_one();
        }
        shared.change_feed.publish(change);
    }
    let positions = shared.store.newest_positions(&announcement.positions).await;
    for position in positions.unwrap_or_default() {
        // The result is irrelevant: `observe` notifies the subscribers.
        let _is_newer = shared.change_feed.observe(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_changes_are_few_payloads_of_fewer_than_8000_bytes_and_each_is_told_once() {
        let notifier = ChangeNotifier::default();
        for _ in 0..2 {
            for n in 0..1000 {
                let van: Arc<str> = format!("VAN \"{n}\"").into();
                notifier.add(&Change::Position { van: van.clone() });
                let epcs = [format!("https://id.gs1.org/00/{n:018}")].into();
                notifier.add(&Change::Parcels { epcs, van: Some(van) });
            }
        }
        notifier.add(&Change::Route { route: "R".into(), van: "V".into() });
        let (mut payloads, mut positions, mut parcels, mut routes) = (0, 0, 0, 0);
        while let Some(announcement) = notifier.drain("0123456789abcdef") {
            let text = serde_json::to_string(&announcement).unwrap();
            assert!(text.len() < 8000, "{}", text.len());
            assert_eq!(serde_json::from_str::<ChangeNotification>(&text).unwrap(), announcement);
            payloads += 1;
            positions += announcement.positions.len();
            parcels += announcement
                .changes()
                .iter()
                .filter(|c| matches!(c, Change::Parcels { .. }))
                .count();
            routes += announcement.routes.len();
        }
        assert_eq!((positions, parcels, routes), (1000, 1000, 1));
        assert!(payloads < 20, "{payloads}");
    }

    #[test]
    fn what_waits_is_bounded_and_the_others_learn_that_they_missed_some() {
        let notifier = ChangeNotifier::default();
        for n in 0..=MAX_PENDING {
            notifier.add(&Change::Van { van: format!("{n}").into() });
        }
        let first = notifier.drain("a").unwrap();
        assert!(first.missed && first.vans.is_empty());
        assert_eq!(notifier.drain("a"), None);
    }
}
