//! Routes that were looked at: manifest and facts, so that a look reads only what is new.
//!
//! Forgetting is harmless: what is not remembered is read. An event gets its number before its transaction is over, so that
//! a lower number may be seen after a higher one; numbers of the last minutes are therefore read again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::backend::Shared;
use crate::backend::store::StoreError;
use crate::backend::store::situation::Revision;
use crate::backend::view::fact::Fact;
use crate::backend::view::known::KnownRoute;
use crate::backend::view::progress::{Last, Progress};
use crate::units::UtcTime;
use crate::wire::json::Position;
use crate::wire::manifest;

/// Routes that are remembered, at most: about 0.3 MB each at the end of a day. A fleet that has more of them on one day is
/// read anew each time that a dispatcher looks at all of it.
const ROUTES: usize = 1500;
/// No transaction takes longer.
const SETTLED_AFTER: Duration = Duration::from_mins(5);
/// Gaps are looked for so often.
const GAPS_EVERY: Duration = Duration::from_mins(1);

/// What an instance remembers of routes. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    routes: Arc<Mutex<HashMap<String, Entry>>>,
    gaps: Arc<Mutex<HashMap<String, (UtcTime, bool)>>>,
}

#[derive(Clone, Debug)]
struct Entry {
    remembered: Remembered,
    rev: u64,
    /// Numbers of the events that are in the facts, as far as they may come again.
    known: HashSet<i64>,
    /// Up to this number everything is known.
    settled: i64,
    used_at: UtcTime,
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
            Some(revision) => self.revision(shared, &revision).await,
            None => Ok(None),
        }
    }

    /// A route of which this revision is in the store now.
    pub(super) async fn revision(
        &self,
        shared: &Shared,
        revision: &Revision,
    ) -> Result<Option<Remembered>, StoreError> {
        let name = revision.route.as_str();
        let known = self.routes.lock().expect("no holder of the lock can panic").get(name).cloned();
        let same = known.filter(|entry| {
            entry.rev == revision.rev && entry.remembered.route.put_at == revision.put_at
        });
        let mut entry = match same {
            Some(entry) => entry,
            None => {
                let Some(route) = self.read(shared, name).await? else { return Ok(None) };
                Entry {
                    rev: revision.rev,
                    remembered: Remembered::new(route),
                    known: HashSet::new(),
                    settled: 0,
                    used_at: shared.now(),
                }
            }
        };
        entry.catch_up(shared, name).await?;
        if entry.remembered.route.withdrawn != revision.withdrawn {
            let mut route = KnownRoute::clone(&entry.remembered.route);
            route.withdrawn = revision.withdrawn;
            entry.remembered = Remembered::new(route);
        }
        let remembered = entry.remembered.clone();
        self.keep(name, entry);
        Ok(Some(remembered))
    }

    async fn read(&self, shared: &Shared, name: &str) -> Result<Option<KnownRoute>, StoreError> {
        let Some(row) = shared.store.route(name).await? else { return Ok(None) };
        // What was put was checked then.
        let Ok(Some(manifest)) = manifest::read(row.manifest.as_bytes()) else {
            tracing::error!("a route in the store cannot be read");
            return Ok(None);
        };
        Ok(Some(KnownRoute::new(&row.van, manifest, row.put_at, &shared.config.domain)))
    }

    fn keep(&self, name: &str, entry: Entry) {
        let mut routes = self.routes.lock().expect("no holder of the lock can panic");
        if routes.len() >= ROUTES && !routes.contains_key(name) {
            let oldest = routes.iter().min_by_key(|(_, entry)| entry.used_at);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.and_then(|name| routes.remove(&name));
        }
        // Somebody else may have read further meanwhile.
        let behind = |there: &Entry| {
            there.rev == entry.rev
                && there.remembered.route.facts.len() > entry.remembered.route.facts.len()
        };
        if !routes.get(name).is_some_and(behind) {
            routes.insert(name.to_owned(), entry);
        }
    }

    /// Whether something that a van said lately never came.
    pub(super) async fn has_gaps(&self, shared: &Shared, van: &str) -> Result<bool, StoreError> {
        const LATELY: Duration = Duration::from_hours(2);
        // What is still on its way is no gap.
        const ON_ITS_WAY: Duration = Duration::from_mins(5);
        let now = shared.now();
        let known = self.gaps.lock().expect("no holder of the lock can panic").get(van).copied();
        let fresh =
            |(at, _): &(UtcTime, bool)| at.checked_add(GAPS_EVERY).is_some_and(|at| at > now);
        if let Some((_, is)) = known.filter(fresh) {
            return Ok(is);
        }
        let (Some(from), Some(until)) = (now.checked_sub(LATELY), now.checked_sub(ON_ITS_WAY))
        else {
            return Ok(false);
        };
        let is = !shared.store.gaps(van, from, until).await?.is_empty();
        let mut gaps = self.gaps.lock().expect("no holder of the lock can panic");
        gaps.insert(van.to_owned(), (now, is));
        Ok(is)
    }
}

impl Entry {
    /// Reads what is new.
    async fn catch_up(&mut self, shared: &Shared, name: &str) -> Result<(), StoreError> {
        let now = shared.now();
        self.used_at = now;
        let events = shared.store.events_of_route_after(name, self.settled).await?;
        let new: Vec<_> = events.iter().filter(|event| !self.known.contains(&event.n)).collect();
        if !new.is_empty() {
            let mut route = KnownRoute::clone(&self.remembered.route);
            let facts = Arc::make_mut(&mut route.facts);
            facts.extend(new.iter().map(|event| Fact::of(event)));
            self.known.extend(new.iter().map(|event| event.n));
            self.remembered = Remembered::new(route);
        }
        let settled = |at: UtcTime| at.checked_add(SETTLED_AFTER).is_some_and(|at| at < now);
        let settled = events.iter().take_while(|event| settled(event.captured_at)).last();
        if let Some(event) = settled {
            self.settled = event.n;
            self.known.retain(|n| *n > event.n);
        }
        Ok(())
    }
}
