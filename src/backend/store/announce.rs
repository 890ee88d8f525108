//! Changes → the other instances, by LISTEN and NOTIFY of PostgreSQL; with SQLite there are no others.
//!
//! - What is announced is that something changed, never what it is now: a listener finds that in the store. A payload has
//!   at most 8000 bytes, and each one serialises commits for a moment, so that many changes go in one and each van is named
//!   once: 10,000 vans are 20 payloads, and no more than `PAUSE` allows.
//! - Positions are heard by each instance from the broker, and are announced only by who tells so; then the listener reads
//!   the newest of those vans from the store.
//! - Who was not connected has missed something, and is told so ([`Change::Missed`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Engine, Statement, Store, StoreError, Value};
use crate::backend::Shared;
use crate::backend::live::Change;
use crate::wire::json::Position;

const CHANNEL: &str = "waypost";

/// PostgreSQL takes less than 8000; the rest is for names of members.
const MOST_BYTES: usize = 7_600;

/// Names that wait while the server is away. When there are more, all that the others learn is that they missed some.
const MOST_WAITING: usize = 20_000;

/// Between two payloads, and before the next attempt at a server that is away.
const PAUSE: Duration = Duration::from_millis(50);
const AWAY: Duration = Duration::from_secs(2);

/// Changes that wait to be announced. Clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcer {
    waiting: Arc<Mutex<Waiting>>,
    more: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    names: BTreeSet<Name>,
    is_missed: bool,
}

/// What a change is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Parcel(String, Option<String>),
    Route(String, String),
    Van(String),
    Position(String),
}

/// A payload.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Announcement {
    /// Which instance says it: it does not listen to itself.
    from: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    positions: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vans: Vec<String>,
    /// Parcels by the van that spoke of them; nobody is the empty name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    parcels: BTreeMap<String, Vec<String>>,
    /// Route and van.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    missed: bool,
}

impl Announcer {
    fn add(&self, change: &Change) {
        let names: Vec<Name> = match change {
            Change::Position { van } => vec![Name::Position(van.to_string())],
            Change::Van { van } => vec![Name::Van(van.to_string())],
            Change::Parcels { epcs, van } => {
                let van = van.as_deref();
                epcs.iter().map(|epc| Name::Parcel(epc.clone(), van.map(str::to_owned))).collect()
            }
            Change::Route { route, van } => vec![Name::Route(route.to_string(), van.to_string())],
            Change::Missed => return,
        };
        {
            let mut waiting = self.waiting.lock().expect("no holder of the lock can panic");
            if waiting.names.len() + names.len() > MOST_WAITING {
                waiting.names.clear();
                waiting.is_missed = true;
            } else {
                waiting.names.extend(names);
            }
        }
        self.more.notify_one();
    }

    /// As much as one payload holds.
    fn take(&self, from: &str) -> Option<Announcement> {
        let mut waiting = self.waiting.lock().expect("no holder of the lock can panic");
        let missed = std::mem::take(&mut waiting.is_missed);
        let mut announcement = Announcement { from: from.to_owned(), missed, ..Default::default() };
        let mut bytes = 0;
        while let Some(name) = waiting.names.pop_first() {
            let size = name.size();
            // A name that no payload holds is told by what is always true.
            if size > MOST_BYTES {
                announcement.missed = true;
                continue;
            }
            bytes += size;
            if bytes > MOST_BYTES {
                waiting.names.insert(name);
                break;
            }
            announcement.add(name);
        }
        (bytes > 0 || announcement.missed).then_some(announcement)
    }
}

impl Name {
    /// In JSON, at most: quotes, commas, and what has to be escaped.
    fn size(&self) -> usize {
        let of = |text: &str| serde_json::Value::from(text).to_string().len() + 8;
        match self {
            Self::Parcel(epc, van) => of(epc) + of(van.as_deref().unwrap_or_default()),
            Self::Route(route, van) => of(route) + of(van),
            Self::Van(van) | Self::Position(van) => of(van),
        }
    }
}

impl Announcement {
    fn add(&mut self, name: Name) {
        match name {
            Name::Parcel(epc, van) => {
                self.parcels.entry(van.unwrap_or_default()).or_default().push(epc);
            }
            Name::Route(route, van) => self.routes.push((route, van)),
            Name::Van(van) => self.vans.push(van),
            Name::Position(van) => self.positions.push(van),
        }
    }

    /// All but positions.
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
        let missed = self.missed.then_some(Change::Missed);
        vans.chain(parcels).chain(routes).chain(missed).collect()
    }
}

impl Store {
    /// Notes a change for the other instances; [`run`] tells them, soon and many at once. With SQLite nothing.
    pub fn announce(&self, change: &Change) {
        if let Engine::Postgres(_) = &self.engine {
            self.announcer.add(change);
        }
    }

    /// The newest positions of these vans that the store has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn newest_positions(&self, vans: &[String]) -> Result<Vec<Position>, StoreError> {
        const AT_ONCE: usize = 64;
        let places: Vec<String> = (1..=AT_ONCE).map(|place| format!("${place}")).collect();
        let sql = format!(
            "SELECT position FROM van WHERE position IS NOT NULL AND van IN ({})",
            places.join(", ")
        );
        let mut positions = Vec::new();
        for vans in vans.chunks(AT_ONCE) {
            let mut values: Vec<Value> = vans.iter().map(|van| van.as_str().into()).collect();
            values.resize(AT_ONCE, Value::Null);
            let rows = self.read(Statement::new(sql.clone(), values)).await?;
            positions.extend(rows.iter().filter_map(|row| serde_json::from_str(row.text(0)).ok()));
        }
        Ok(positions)
    }
}

/// Tells the other instances what [`Store::announce`] notes, and this one what they say, until `stop`. It reconnects by
/// itself. With SQLite it only waits.
pub async fn run(shared: Shared, stop: CancellationToken) {
    let Engine::Postgres(_) = &shared.store.engine else { return stop.cancelled().await };
    // Two processes on two hosts may have one number; a random one they do not.
    let from = format!("{:016x}", fastrand::u64(..));
    tokio::select! {
        () = stop.cancelled() => {}
        () = speak(&shared.store, &from) => {}
        () = listen(&shared, &from) => {}
    }
}

async fn speak(store: &Store, from: &str) {
    loop {
        store.announcer.more.notified().await;
        while let Some(announcement) = store.announcer.take(from) {
            let text = serde_json::to_string(&announcement).expect("texts only");
            let notify = Statement::new(
                "SELECT CAST(pg_notify($1, $2) AS TEXT)",
                [CHANNEL.into(), text.into()],
            );
            while store.read(notify.clone()).await.is_err() {
                tokio::time::sleep(AWAY).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn listen(shared: &Shared, from: &str) {
    let Engine::Postgres(engine) = &shared.store.engine else { return };
    let mut is_first = true;
    loop {
        let Ok(mut notifications) = engine.listen(CHANNEL).await else {
            tokio::time::sleep(AWAY).await;
            continue;
        };
        if !is_first {
            tracing::info!("hearing other instances again");
            shared.live.tell(Change::Missed);
        }
        is_first = false;
        while let Some(text) = notifications.recv().await {
            match serde_json::from_str::<Announcement>(&text) {
                Ok(announcement) if announcement.from != from => {
                    heard(shared, &announcement).await;
                }
                // Our own, or something that a newer instance says.
                Ok(_) | Err(_) => {}
            }
        }
        tracing::warn!("not hearing other instances until the database answers");
    }
}

async fn heard(shared: &Shared, announcement: &Announcement) {
    for change in announcement.changes() {
        if matches!(change, Change::Route { .. } | Change::Missed) {
            shared.downlink.notify_one();
        }
        shared.live.tell(change);
    }
    let positions = shared.store.newest_positions(&announcement.positions).await;
    for position in positions.unwrap_or_default() {
        // Whether it was news here makes no difference: who watches is told by `observe`.
        let _is_newer = shared.live.observe(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_changes_are_few_payloads_of_fewer_than_8000_bytes_and_each_is_told_once() {
        let announcer = Announcer::default();
        for _ in 0..2 {
            for n in 0..1000 {
                let van: Arc<str> = format!("VAN \"{n}\"").into();
                announcer.add(&Change::Position { van: van.clone() });
                let epcs = [format!("https://id.gs1.org/00/{n:018}")].into();
                announcer.add(&Change::Parcels { epcs, van: Some(van) });
            }
        }
        announcer.add(&Change::Route { route: "R".into(), van: "V".into() });
        let (mut payloads, mut positions, mut parcels, mut routes) = (0, 0, 0, 0);
        while let Some(announcement) = announcer.take("0123456789abcdef") {
            let text = serde_json::to_string(&announcement).unwrap();
            assert!(text.len() < 8000, "{}", text.len());
            assert_eq!(serde_json::from_str::<Announcement>(&text).unwrap(), announcement);
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
        let announcer = Announcer::default();
        for n in 0..=MOST_WAITING {
            announcer.add(&Change::Van { van: format!("{n}").into() });
        }
        let first = announcer.take("a").unwrap();
        assert!(first.missed && first.vans.is_empty());
        assert_eq!(announcer.take("a"), None);
    }
}
