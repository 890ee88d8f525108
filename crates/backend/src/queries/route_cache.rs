//! Cache of routes with manifest and events, so that a query loads only new events.
//!
//! A cache miss only costs a query. Events get their number before their transaction commits, so a
//! lower number may become visible after a higher one. The numbers of the last minutes are
//! therefore loaded again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use serde::Deserialize;

use crate::AppState;
use crate::event::Origin;
use crate::store::StoreError;
use crate::store::tracking_queries::Revision;
use crate::tracking::inputs::RouteInput;
use crate::tracking::progress::{LastStopState, Progress};
use crate::tracking::tracking_event::TrackingEvent;
use waypost_model::manifest::{ManifestParcel, Stop};
use waypost_model::units::UtcTime;
use waypost_wire::manifest;
use waypost_wire::payloads::Position;

/// Maximum size of the cache, bytes. At the end of its day, a route of 25 parcels takes about 50
/// kB, one of 150 parcels about 300 kB. Routes beyond the limit are loaded for each query.
const MAX_BYTES: u64 = 256 << 20;
/// Expected number of routes in a full cache.
const EXPECTED_ROUTES: usize = 4096;
/// Estimated heap size of the texts of an event, a stop or a manifest parcel, bytes.
const TEXT_BYTES_ESTIMATE: usize = 320;
/// Maximum number of routes or events per query.
const BATCH_SIZE: usize = 256;
/// Upper bound of a transaction's duration.
const MAX_TRANSACTION_TIME: Duration = Duration::from_mins(5);
/// Interval between two checks for gaps of a van.
const GAP_CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// Cache of routes. Clones share their entries.
#[derive(Clone, Debug)]
pub struct RouteCache {
    routes: Arc<Mutex<Cache<String, Entry, BySize>>>,
    gaps: Arc<Mutex<HashMap<String, (UtcTime, bool)>>>,
}

impl Default for RouteCache {
    fn default() -> Self {
        Self::with_limit(EXPECTED_ROUTES, MAX_BYTES)
    }
}

/// Weighs an entry by its estimated size in bytes.
#[derive(Clone, Debug)]
struct BySize;

impl Weighter<String, Entry> for BySize {
    fn weight(&self, _: &String, entry: &Entry) -> u64 {
        entry.bytes
    }
}

#[derive(Clone, Debug)]
struct Entry {
    /// Estimated size when it was cached.
    bytes: u64,
    cached: CachedRoute,
    rev: u64,
    /// Numbers of recent events that the next query may return again, with their capture times.
    recent_events: BTreeMap<i64, UtcTime>,
    /// All events up to this number are cached.
    watermark: i64,
}

/// Newly loaded events of a route.
#[derive(Debug, Default)]
struct NewEvents {
    facts: Vec<TrackingEvent>,
    numbers: Vec<(i64, UtcTime)>,
}

/// A route with its progress before and after the departure from the last stop.
#[derive(Clone, Debug)]
pub(super) struct CachedRoute {
    pub(super) route: Arc<RouteInput>,
    at_last_stop: Arc<OnceLock<Arc<Progress>>>,
    after_last_stop: Arc<OnceLock<Arc<Progress>>>,
}

impl CachedRoute {
    fn new(route: RouteInput) -> Self {
        Self {
            route: Arc::new(route),
            at_last_stop: Arc::default(),
            after_last_stop: Arc::default(),
        }
    }

    /// Returns the progress for the newest position of the van.
    pub(super) fn progress(&self, position: Option<&Position>) -> Arc<Progress> {
        let of = |last| Arc::new(Progress::from_events(&self.route, last));
        let stands = self.at_last_stop.get_or_init(|| of(LastStopState::Present));
        if stands.has_left(&self.route, position) {
            return Arc::clone(self.after_last_stop.get_or_init(|| of(LastStopState::Left)));
        }
        Arc::clone(stands)
    }
}

impl RouteCache {
    fn with_limit(expected_routes: usize, max_bytes: u64) -> Self {
        let routes = Cache::with_weighter(expected_routes, max_bytes, BySize);
        Self { routes: Arc::new(Mutex::new(routes)), gaps: Arc::default() }
    }

    /// Returns the current state of a route; `None` if the route is unknown.
    pub(super) async fn route(
        &self,
        shared: &AppState,
        name: &str,
    ) -> Result<Option<CachedRoute>, StoreError> {
        match shared.store.revision(name).await? {
            Some(revision) => Ok(self.load_revisions(shared, &[revision]).await?.remove(name)),
            None => Ok(None),
        }
    }

    /// Returns the routes of the given revisions by id, with a constant number of queries per
    /// batch.
    pub(super) async fn load_revisions(
        &self,
        shared: &AppState,
        load_revisions: &[Revision],
    ) -> Result<HashMap<String, CachedRoute>, StoreError> {
        let mut found = HashMap::new();
        // A batch takes a few megabytes.
        for load_revisions in load_revisions.chunks(BATCH_SIZE) {
            let mut entries = self.get_or_load(shared, load_revisions).await?;
            load_new_events(shared, &mut entries).await?;
            for (revision, mut entry) in entries {
                if entry.cached.route.withdrawn != revision.withdrawn {
                    let mut route = RouteInput::clone(&entry.cached.route);
                    route.withdrawn = revision.withdrawn;
                    entry.cached = CachedRoute::new(route);
                }
                found.insert(revision.route.clone(), entry.cached.clone());
                self.store(&revision.route, entry);
            }
        }
        Ok(found)
    }

    /// Returns cached entries, and loads the manifests of the others.
    async fn get_or_load<'a>(
        &self,
        shared: &AppState,
        load_revisions: &'a [Revision],
    ) -> Result<Vec<(&'a Revision, Entry)>, StoreError> {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        {
            let routes = self.routes.lock().expect("no holder of the lock can panic");
            for revision in load_revisions {
                match routes.get(&revision.route).filter(|entry| entry.is_current(revision)) {
                    Some(entry) => known.push((revision, entry.clone())),
                    None => unknown.push(revision),
                }
            }
        }
        if unknown.is_empty() {
            return Ok(known);
        }
        let names: Vec<&str> = unknown.iter().map(|revision| revision.route.as_str()).collect();
        let manifests = shared.store.manifests(&names).await?;
        let mut manifests: HashMap<_, _> =
            manifests.into_iter().map(|put| (put.route.clone(), put)).collect();
        for revision in unknown {
            let Some(put) = manifests.remove(&revision.route) else { continue };
            // The manifest was validated when it was put.
            let Ok(Some(manifest)) = manifest::parse(put.manifest.as_bytes()) else {
                tracing::error!("stored manifest is invalid");
                continue;
            };
            let mut route = RouteInput::new(&put.van, manifest, put.put_at, &shared.config.domain);
            route.time_zone = time_zone(&put.manifest);
            let changed = |(stop, ms): (String, i64)| Some((stop, UtcTime::from_unix_ms(ms)?));
            route.order_changes =
                Arc::new(put.order_changes.into_iter().filter_map(changed).collect());
            known.push((revision, Entry::new(revision.rev, route)));
        }
        Ok(known)
    }

    fn store(&self, name: &str, mut entry: Entry) {
        let mut routes = self.routes.lock().expect("no holder of the lock can panic");
        // A concurrent query may have loaded more events.
        let behind = |there: &Entry| {
            there.rev == entry.rev
                && there.cached.route.events.len() > entry.cached.route.events.len()
        };
        if !routes.get(name).is_some_and(behind) {
            entry.bytes = entry.size_bytes() as u64;
            routes.insert(name.to_owned(), entry);
        }
    }

    /// Returns those of the given vans with missing sequence numbers in the last two hours.
    pub(super) async fn vans_with_gaps(
        &self,
        shared: &AppState,
        vans: &[&str],
    ) -> Result<HashSet<String>, StoreError> {
        const LATELY: Duration = Duration::from_hours(2);
        // Recent messages may still be in flight.
        const ON_ITS_WAY: Duration = Duration::from_mins(5);
        let now = shared.now();
        let (Some(from), Some(until)) = (now.checked_sub(LATELY), now.checked_sub(ON_ITS_WAY))
        else {
            return Ok(HashSet::new());
        };
        let fresh = |(at, _): &&(UtcTime, bool)| {
            at.checked_add(GAP_CHECK_INTERVAL).is_some_and(|at| at > now)
        };
        let (mut with, mut stale) = (HashSet::new(), Vec::new());
        {
            let known = self.gaps.lock().expect("no holder of the lock can panic");
            for van in vans {
                match known.get(*van).filter(fresh) {
                    Some((_, true)) => drop(with.insert((*van).to_owned())),
                    Some((_, false)) => {}
                    None => stale.push(*van),
                }
            }
        }
        if stale.is_empty() {
            return Ok(with);
        }
        let found = shared.store.vans_with_gaps(&stale, from, until).await?;
        with.extend(found);
        let mut known = self.gaps.lock().expect("no holder of the lock can panic");
        known.extend(stale.iter().map(|van| ((*van).to_owned(), (now, with.contains(*van)))));
        Ok(with)
    }
}

impl Entry {
    fn new(rev: u64, route: RouteInput) -> Self {
        let cached = CachedRoute::new(route);
        Self { bytes: 0, cached, rev, recent_events: BTreeMap::new(), watermark: 0 }
    }

    /// Estimated size including both progress values.
    fn size_bytes(&self) -> usize {
        let route = &self.cached.route;
        let parcels: usize = route.epcs.iter().map(Vec::len).sum();
        let epcs: usize = route.events.iter().map(|fact| fact.epcs.len()).sum();
        route.events.len() * (size_of::<TrackingEvent>() + TEXT_BYTES_ESTIMATE)
            + epcs * (size_of::<String>() + TEXT_BYTES_ESTIMATE / 5)
            + route.manifest.stops.len() * (size_of::<Stop>() + TEXT_BYTES_ESTIMATE)
            + parcels * (size_of::<ManifestParcel>() + 2 * TEXT_BYTES_ESTIMATE)
            + self.recent_events.len() * 3 * size_of::<(i64, UtcTime)>()
    }

    /// Whether the entry matches this revision.
    fn is_current(&self, revision: &Revision) -> bool {
        self.rev == revision.rev && self.cached.route.put_at == revision.put_at
    }

    /// Appends new events.
    fn append(&mut self, new: NewEvents) {
        let mut route = RouteInput::clone(&self.cached.route);
        Arc::make_mut(&mut route.events).extend(new.facts);
        self.recent_events.extend(new.numbers);
        self.cached = CachedRoute::new(route);
    }

    /// Advances the watermark to the last event that is older than any open transaction.
    fn advance_watermark(&mut self, now: UtcTime) {
        let settled = |at: UtcTime| at.checked_add(MAX_TRANSACTION_TIME).is_some_and(|at| at < now);
        let open = self.recent_events.iter().find(|(_, at)| !settled(**at)).map(|(n, _)| *n);
        if let Some((last, _)) = self.recent_events.range(..open.unwrap_or(i64::MAX)).next_back() {
            self.watermark = *last;
            self.recent_events = self.recent_events.split_off(&(self.watermark + 1));
        }
    }
}

/// Time zone that a manifest names. The van does not need it, so its type does not have it.
fn time_zone(manifest: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Zone {
        time_zone: Option<String>,
    }
    serde_json::from_str::<Zone>(manifest).ok()?.time_zone
}

/// Loads the new events of routes.
async fn load_new_events(
    shared: &AppState,
    entries: &mut [(&Revision, Entry)],
) -> Result<(), StoreError> {
    let asked: Vec<(&str, i64)> = entries
        .iter()
        .map(|(revision, entry)| (revision.route.as_str(), entry.watermark))
        .collect();
    let said = shared.store.events_for_routes_after(&asked).await?;
    let is_new = |(place, n): &&(usize, i64)| !entries[*place].1.recent_events.contains_key(n);
    let new: Vec<(usize, i64)> = said.iter().filter(is_new).copied().collect();
    let mut by_route: HashMap<usize, NewEvents> = HashMap::new();
    for new in new.chunks(BATCH_SIZE) {
        let numbers: Vec<i64> = new.iter().map(|(_, n)| *n).collect();
        let places: HashMap<i64, usize> = new.iter().map(|(place, n)| (*n, *place)).collect();
        for event in shared.store.events_by_number(&numbers).await? {
            let new = by_route.entry(places[&event.n]).or_default();
            // Only the van of a route reports its progress.
            let van = &entries[places[&event.n]].0.van;
            if event.origin != Origin::Van || event.van.as_ref() == Some(van) {
                new.facts.push(TrackingEvent::from_route_event(&event));
            }
            new.numbers.push((event.n, event.captured_at));
        }
    }
    for (place, new) in by_route {
        entries[place].1.append(new);
    }
    let now = shared.now();
    entries.iter_mut().for_each(|(_, entry)| entry.advance_watermark(now));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use waypost_sim::{Day, Route};

    use super::*;

    #[test]
    fn the_cache_stays_within_its_size() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/routes/deliveries_short.toml");
        let day = Day::new(Route::load(Path::new(path)).unwrap());
        let manifest = manifest::parse(day.manifest().as_bytes()).unwrap().unwrap();
        let put_at = day.route().settings.start;
        let entry = Entry::new(1, RouteInput::new("VAN-042", manifest, put_at, "id.example.com"));
        let bytes = entry.size_bytes() as u64;
        let limit = 10 * bytes + bytes / 2;
        let cache = RouteCache::with_limit(10, limit);
        let cached = |cache: &RouteCache, name: &str| {
            cache.routes.lock().unwrap().get(name).is_some_and(|entry| entry.bytes == bytes)
        };
        cache.store("in use", entry.clone());
        for nth in 0..100 {
            assert!(cached(&cache, "in use"), "a scan displaced it at {nth}");
            cache.store(&format!("ROUTE-{nth}"), entry.clone());
            let held = cache.routes.lock().unwrap().weight();
            assert!(held <= limit && held >= bytes, "{held} of {limit} bytes");
        }
        let small = RouteCache::with_limit(10, bytes - 1);
        small.store("large", entry);
        assert!(!cached(&small, "large"), "larger than the whole cache");
    }
}
