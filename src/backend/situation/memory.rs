//! Routes that were looked at: manifest and facts, so that a look reads only what is new.
//!
//! Forgetting is harmless: what is not remembered is read. An event gets its number before its transaction is over, so that
//! a lower number may be seen after a higher one; numbers of the last minutes are therefore read again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::kept::Kept;
use crate::backend::Shared;
use crate::backend::store::StoreError;
use crate::backend::store::situation::Revision;
use crate::backend::view::fact::Fact;
use crate::backend::view::known::KnownRoute;
use crate::backend::view::progress::{Last, Progress};
use crate::core::delivery::manifest::{Listed, Stop};
use crate::units::UtcTime;
use crate::wire::json::Position;
use crate::wire::manifest;

/// Bytes of routes that are remembered, at most: a route of 25 parcels has about 50 kB at the end of its day, one of 150 about
/// 300. What does not fit is read anew each time that somebody looks at it.
const MOST_BYTES: usize = 256 << 20;
/// Texts of a fact, and of a stop or a parcel of a manifest.
const TEXTS_BYTES: usize = 320;
/// Routes, and events, that are read with one question.
const TOGETHER: usize = 256;
/// No transaction takes longer.
const SETTLED_AFTER: Duration = Duration::from_mins(5);
/// Gaps are looked for so often.
const GAPS_EVERY: Duration = Duration::from_mins(1);

/// What an instance remembers of routes. Clones are one.
#[derive(Clone, Debug)]
pub struct Memory {
    routes: Arc<Mutex<Kept<Entry>>>,
    gaps: Arc<Mutex<HashMap<String, (UtcTime, bool)>>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { routes: Arc::new(Mutex::new(Kept::new(MOST_BYTES))), gaps: Arc::default() }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    remembered: Remembered,
    rev: u64,
    /// Numbers of the events that are in the facts, as far as they may come again, and when those were captured.
    known: BTreeMap<i64, UtcTime>,
    /// Up to this number everything is known.
    settled: i64,
}

/// What was said of a route lately.
#[derive(Debug, Default)]
struct New {
    facts: Vec<Fact>,
    numbers: Vec<(i64, UtcTime)>,
}

/// A route, and how far it is with or without the last stop.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) route: Arc<KnownRoute>,
    stands: Arc<OnceLock<Arc<Progress>>>,
    left: Arc<OnceLock<Arc<Progress>>>,
}

impl Remembered {
    fn new(route: KnownRoute) -> Self {
        Self { route: Arc::new(route), stands: Arc::default(), left: Arc::default() }
    }

    /// How far it is, now that the van's newest position is `position`.
    pub(super) fn progress(&self, position: Option<&Position>) -> Arc<Progress> {
        let of = |last| Arc::new(Progress::of(&self.route, last));
        let stands = self.stands.get_or_init(|| of(Last::Stands));
        if stands.has_left(&self.route, position) {
            return Arc::clone(self.left.get_or_init(|| of(Last::Left)));
        }
        Arc::clone(stands)
    }
}

impl Memory {
    /// A route as it is in the store now; `None` if there is none of this name.
    pub(super) async fn route(
        &self,
        shared: &Shared,
        name: &str,
    ) -> Result<Option<Remembered>, StoreError> {
        match shared.store.revision(name).await? {
            Some(revision) => Ok(self.revisions(shared, &[revision]).await?.remove(name)),
            None => Ok(None),
        }
    }

    /// Routes of which these revisions are in the store now, by their names, with a few questions about all of them.
    pub(super) async fn revisions(
        &self,
        shared: &Shared,
        revisions: &[Revision],
    ) -> Result<HashMap<String, Remembered>, StoreError> {
        let now = shared.now();
        let mut found = HashMap::new();
        // What is read of so many at once is a matter of megabytes.
        for revisions in revisions.chunks(TOGETHER) {
            let mut entries = self.known(shared, revisions).await?;
            catch_up(shared, &mut entries).await?;
            for (revision, mut entry) in entries {
                if entry.remembered.route.withdrawn != revision.withdrawn {
                    let mut route = KnownRoute::clone(&entry.remembered.route);
                    route.withdrawn = revision.withdrawn;
                    entry.remembered = Remembered::new(route);
                }
                found.insert(revision.route.clone(), entry.remembered.clone());
                self.keep(&revision.route, entry, now);
            }
        }
        Ok(found)
    }

    /// What is remembered of revisions, and the manifests of the others.
    async fn known<'a>(
        &self,
        shared: &Shared,
        revisions: &'a [Revision],
    ) -> Result<Vec<(&'a Revision, Entry)>, StoreError> {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        {
            let routes = self.routes.lock().expect("no holder of the lock can panic");
            for revision in revisions {
                match routes.get(&revision.route).filter(|entry| entry.is(revision)) {
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
            // What was put was checked then.
            let Ok(Some(manifest)) = manifest::read(put.manifest.as_bytes()) else {
                tracing::error!("a route in the store cannot be read");
                continue;
            };
            let route = KnownRoute::new(&put.van, manifest, put.put_at, &shared.config.domain);
            known.push((revision, Entry::new(revision.rev, route)));
        }
        Ok(known)
    }

    fn keep(&self, name: &str, entry: Entry, now: UtcTime) {
        let mut routes = self.routes.lock().expect("no holder of the lock can panic");
        // Somebody else may have read further meanwhile.
        let behind = |there: &Entry| {
            there.rev == entry.rev
                && there.remembered.route.facts.len() > entry.remembered.route.facts.len()
        };
        if !routes.get(name).is_some_and(behind) {
            let bytes = entry.bytes();
            routes.put(name, entry, bytes, now);
        }
    }

    /// Of these vans those of which something that they said lately never came.
    pub(super) async fn gaps(
        &self,
        shared: &Shared,
        vans: &[&str],
    ) -> Result<HashSet<String>, StoreError> {
        const LATELY: Duration = Duration::from_hours(2);
        // What is still on its way is no gap.
        const ON_ITS_WAY: Duration = Duration::from_mins(5);
        let now = shared.now();
        let (Some(from), Some(until)) = (now.checked_sub(LATELY), now.checked_sub(ON_ITS_WAY))
        else {
            return Ok(HashSet::new());
        };
        let fresh =
            |(at, _): &&(UtcTime, bool)| at.checked_add(GAPS_EVERY).is_some_and(|at| at > now);
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
    fn new(rev: u64, route: KnownRoute) -> Self {
        let remembered = Remembered::new(route);
        Self { remembered, rev, known: BTreeMap::new(), settled: 0 }
    }

    /// About so many bytes of memory, with both kinds of progress.
    fn bytes(&self) -> usize {
        let route = &self.remembered.route;
        let parcels: usize = route.epcs.iter().map(Vec::len).sum();
        let epcs: usize = route.facts.iter().map(|fact| fact.epcs.len()).sum();
        route.facts.len() * (size_of::<Fact>() + TEXTS_BYTES)
            + epcs * (size_of::<String>() + TEXTS_BYTES / 5)
            + route.manifest.stops.len() * (size_of::<Stop>() + TEXTS_BYTES)
            + parcels * (size_of::<Listed>() + 2 * TEXTS_BYTES)
            + self.known.len() * 3 * size_of::<(i64, UtcTime)>()
    }

    /// Whether it is of this revision.
    fn is(&self, revision: &Revision) -> bool {
        self.rev == revision.rev && self.remembered.route.put_at == revision.put_at
    }

    /// Takes what was said of the route and is not in its facts yet.
    fn take(&mut self, new: New) {
        let mut route = KnownRoute::clone(&self.remembered.route);
        Arc::make_mut(&mut route.facts).extend(new.facts);
        self.known.extend(new.numbers);
        self.remembered = Remembered::new(route);
    }

    /// Numbers that may come again are those from the first that was captured a moment ago.
    fn settle(&mut self, now: UtcTime) {
        let settled = |at: UtcTime| at.checked_add(SETTLED_AFTER).is_some_and(|at| at < now);
        let open = self.known.iter().find(|(_, at)| !settled(**at)).map(|(n, _)| *n);
        if let Some((last, _)) = self.known.range(..open.unwrap_or(i64::MAX)).next_back() {
            self.settled = *last;
            self.known = self.known.split_off(&(self.settled + 1));
        }
    }
}

/// Reads what is new of routes.
async fn catch_up(shared: &Shared, entries: &mut [(&Revision, Entry)]) -> Result<(), StoreError> {
    let asked: Vec<(&str, i64)> =
        entries.iter().map(|(revision, entry)| (revision.route.as_str(), entry.settled)).collect();
    let said = shared.store.events_of_routes_after(&asked).await?;
    let is_new = |(place, n): &&(usize, i64)| !entries[*place].1.known.contains_key(n);
    let new: Vec<(usize, i64)> = said.iter().filter(is_new).copied().collect();
    let mut by_route: HashMap<usize, New> = HashMap::new();
    for new in new.chunks(TOGETHER) {
        let numbers: Vec<i64> = new.iter().map(|(_, n)| *n).collect();
        let places: HashMap<i64, usize> = new.iter().map(|(place, n)| (*n, *place)).collect();
        for event in shared.store.events_numbered(&numbers).await? {
            let new = by_route.entry(places[&event.n]).or_default();
            new.facts.push(Fact::of_route(&event));
            new.numbers.push((event.n, event.captured_at));
        }
    }
    for (place, new) in by_route {
        entries[place].1.take(new);
    }
    let now = shared.now();
    entries.iter_mut().for_each(|(_, entry)| entry.settle(now));
    Ok(())
}
