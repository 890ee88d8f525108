//! Live tracking pages. Each page is evaluated once per change and fanned out to all subscribers.
//!
//! - A page is evaluated when one of its dependencies changes, when time alone changes it (a fix
//!   becomes too old), and periodically in case a change was missed. It is published only if its
//!   content differs.
//! - A new subscriber waits for an evaluation that began after it subscribed. An older one may show
//!   more than the visibility policy allows now.
//! - One task receives all changes and wakes the pages of that van, parcel or route. Other pages
//!   cost nothing.
//! - Position updates are throttled. All other changes are evaluated at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio::time::sleep;

use super::sse::{EventSource, SseItem};
use crate::AppState;
use crate::change_feed::Change;
use crate::queries::{self, TrackingPage, TrackingPageResult};
use crate::tracking::parcel::ParcelView;

/// Interval of evaluations without a change.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// Minimum interval between evaluations that only positions cause.
const POSITION_INTERVAL: Duration = Duration::from_millis(400);

/// Minimum interval between evaluations that only time causes.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Retry delay while the store is unavailable.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(2);

/// Maximum number of concurrent evaluations.
const MAX_CONCURRENT_EVALUATIONS: usize = 8;

/// State of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FeedState {
    /// Not evaluated yet.
    Pending,
    /// Content as JSON.
    View(Arc<str>),
    /// The token is unknown.
    Unknown,
    /// The page has expired.
    Expired,
}

/// Feed of all pages with subscribers.
#[derive(Debug)]
pub(super) struct TrackingFeed {
    pages: Mutex<FeedIndex>,
    evaluations: Semaphore,
}

impl Default for TrackingFeed {
    fn default() -> Self {
        Self { pages: Mutex::default(), evaluations: Semaphore::new(MAX_CONCURRENT_EVALUATIONS) }
    }
}

#[derive(Debug, Default)]
struct FeedIndex {
    by_token: HashMap<String, Arc<FeedEntry>>,
    by_key: HashMap<Dependency, Vec<Arc<FeedEntry>>>,
    listening: bool,
}

/// Dependency of a page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Dependency {
    Van(String),
    Parcel(String),
    Route(String),
}

#[derive(Debug)]
struct FeedEntry {
    state: watch::Sender<FeedState>,
    /// Total number of subscriptions.
    subscribed: AtomicU64,
    /// Number of subscribers when the last finished evaluation began.
    served: watch::Sender<u64>,
    /// Wakes the evaluation at once.
    changed: Notify,
    /// Wakes the evaluation after a position update.
    moved: Notify,
}

impl Default for FeedEntry {
    fn default() -> Self {
        Self {
            state: watch::Sender::new(FeedState::Pending),
            subscribed: AtomicU64::new(0),
            served: watch::Sender::new(0),
            changed: Notify::new(),
            moved: Notify::new(),
        }
    }
}

impl TrackingFeed {
    /// Subscribes to a page. Its state is no longer [`Shown::Nothing`] when this returns.
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        shared: &AppState,
        token: &str,
    ) -> watch::Receiver<FeedState> {
        let (shown, mut answered, mine) = self.register(shared, token);
        // An error means that the page was removed; its last state remains valid.
        answered.wait_for(|answered| *answered >= mine).await.ok();
        shown
    }

    /// Registers a subscriber; returns the state, the served count, and the count that includes
    /// this subscriber.
    fn register(
        self: &Arc<Self>,
        shared: &AppState,
        token: &str,
    ) -> (watch::Receiver<FeedState>, watch::Receiver<u64>, u64) {
        let mut pages = self.pages.lock().expect("no holder of the lock can panic");
        if !pages.listening {
            pages.listening = true;
            // The subscription exists before the first evaluation, so no change is missed between
            // both.
            tokio::spawn(Arc::clone(self).listen(shared.change_feed.subscribe()));
        }
        let known = pages.by_token.get(token).cloned();
        let watch = known.clone().unwrap_or_default();
        let mine = watch.subscribed.fetch_add(1, Ordering::SeqCst) + 1;
        let receivers = (watch.state.subscribe(), watch.served.subscribe(), mine);
        if known.is_some() {
            watch.changed.notify_one();
        } else {
            pages.by_token.insert(token.to_owned(), Arc::clone(&watch));
            tokio::spawn(Arc::clone(self).run(shared.clone(), token.to_owned(), watch));
        }
        receivers
    }

    async fn listen(self: Arc<Self>, mut changes: broadcast::Receiver<Change>) {
        loop {
            let change = changes.recv().await;
            let mut pages = self.pages.lock().expect("no holder of the lock can panic");
            if pages.by_token.is_empty() || matches!(change, Err(RecvError::Closed)) {
                pages.listening = false;
                return;
            }
            match change {
                Ok(change) => pages.wake(&change),
                Err(_) => pages.by_token.values().for_each(|watch| watch.changed.notify_one()),
            }
        }
    }

    /// Evaluates a page while it has subscribers.
    async fn run(self: Arc<Self>, shared: AppState, token: String, watch: Arc<FeedEntry>) {
        let mut last: Option<ParcelView> = None;
        let mut keys = Vec::new();
        loop {
            if self.remove_if_unwatched(&token, &watch, &keys) {
                return;
            }
            let joined = watch.subscribed.load(Ordering::SeqCst);
            let found = self.evaluate(&shared, &token).await;
            let page = match found {
                Some(TrackingPageResult::Page(page)) => Some(page),
                Some(TrackingPageResult::Unknown) => {
                    break drop(watch.state.send_replace(FeedState::Unknown));
                }
                Some(TrackingPageResult::Expired) => {
                    break drop(watch.state.send_replace(FeedState::Expired));
                }
                None => None,
            };
            if let Some(page) = &page {
                publish_if_changed(&watch, &page.view, &mut last);
                watch.served.send_replace(joined);
                let depends = dependencies(page);
                if depends != keys {
                    let mut pages = self.pages.lock().expect("no holder of the lock can panic");
                    pages.update_dependencies(&watch, &keys, &depends);
                    keys = depends;
                    // Changes before the new dependencies were registered.
                    continue;
                }
            }
            wait_for_change(&shared, &watch, page.as_deref()).await;
        }
        self.pages.lock().expect("no holder of the lock can panic").remove(&token, &watch, &keys);
    }

    async fn evaluate(&self, shared: &AppState, token: &str) -> Option<TrackingPageResult> {
        let _turn = self.evaluations.acquire().await.expect("the semaphore is never closed");
        match queries::page_by_token(shared, token).await {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::debug!(%error, "tracking page refresh failed");
                None
            }
        }
    }

    /// Removes the page if it has no subscribers, before another one can join; returns whether it
    /// did.
    fn remove_if_unwatched(
        &self,
        token: &str,
        watch: &Arc<FeedEntry>,
        keys: &[Dependency],
    ) -> bool {
        let mut pages = self.pages.lock().expect("no holder of the lock can panic");
        let nobody = watch.state.receiver_count() == 0;
        if nobody {
            pages.remove(token, watch, keys);
        }
        nobody
    }
}

/// Waits until the page may have changed, or has no more subscribers.
async fn wait_for_change(shared: &AppState, watch: &FeedEntry, page: Option<&TrackingPage>) {
    let again = if page.is_some() { REFRESH_INTERVAL } else { STORE_RETRY_DELAY };
    let next_change_at = page.and_then(|page| page.next_change_at).map(|at| {
        let ms = u64::try_from(at.millis_since(shared.now())).unwrap_or(0);
        shared.clock.uptime() + Duration::from_millis(ms + 1).max(MIN_INTERVAL)
    });
    let moved = async {
        tokio::join!(watch.moved.notified(), sleep(POSITION_INTERVAL));
    };
    tokio::select! {
        () = watch.changed.notified() => {}
        () = moved => {}
        _ = shared.clock.sleep_until(next_change_at), if next_change_at.is_some() => {}
        () = sleep(again) => {}
        () = watch.state.closed() => {}
    }
}

fn dependencies(page: &TrackingPage) -> Vec<Dependency> {
    let of = |name: &Option<String>, key: fn(String) -> Dependency| name.clone().map(key);
    let keys = [
        Some(Dependency::Parcel(page.epc.clone())),
        of(&page.route, Dependency::Route),
        of(&page.van, Dependency::Van),
    ];
    keys.into_iter().flatten().collect()
}

/// Publishes a view if it differs from the last one, ignoring its time.
fn publish_if_changed(watch: &FeedEntry, view: &ParcelView, last: &mut Option<ParcelView>) {
    let same = last.as_mut().is_some_and(|last| {
        last.at.clone_from(&view.at);
        last == view
    });
    if !same {
        let json = serde_json::to_string(view).expect("every field of a view serializes");
        watch.state.send_replace(FeedState::View(json.into()));
        *last = Some(view.clone());
    }
}

impl FeedIndex {
    fn wake(&self, change: &Change) {
        let van = |van: &str| Dependency::Van(van.to_owned());
        match change {
            Change::Position { van: moved } => {
                self.entries_for(&van(moved)).for_each(|watch| watch.moved.notify_one());
            }
            Change::Van { van: said } => self.notify(&van(said)),
            Change::Parcels { epcs, van: said } => {
                epcs.iter().for_each(|epc| self.notify(&Dependency::Parcel(epc.clone())));
                // The stop count of other parcels on that van changes too.
                if let Some(said) = said {
                    self.notify(&van(said));
                }
            }
            Change::Route { route, van: of } => {
                self.notify(&Dependency::Route(route.as_ref().to_owned()));
                self.notify(&van(of));
            }
            Change::Lagged => {
                self.by_key.values().flatten().for_each(|watch| watch.changed.notify_one());
            }
        }
    }

    fn entries_for(&self, key: &Dependency) -> impl Iterator<Item = &Arc<FeedEntry>> {
        self.by_key.get(key).into_iter().flatten()
    }

    fn notify(&self, key: &Dependency) {
        self.entries_for(key).for_each(|watch| watch.changed.notify_one());
    }

    fn update_dependencies(
        &mut self,
        watch: &Arc<FeedEntry>,
        before: &[Dependency],
        now: &[Dependency],
    ) {
        for key in before {
            if let Some(watches) = self.by_key.get_mut(key) {
                watches.retain(|other| !Arc::ptr_eq(other, watch));
                if watches.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
        for key in now {
            self.by_key.entry(key.clone()).or_default().push(Arc::clone(watch));
        }
    }

    fn remove(&mut self, token: &str, watch: &Arc<FeedEntry>, keys: &[Dependency]) {
        self.update_dependencies(watch, keys, &[]);
        if self.by_token.get(token).is_some_and(|other| Arc::ptr_eq(other, watch)) {
            self.by_token.remove(token);
        }
    }
}

/// Event source of a tracking page.
#[derive(Debug)]
pub(super) struct TrackingStream {
    state: watch::Receiver<FeedState>,
    started: bool,
}

impl TrackingStream {
    /// Yields the current state, then every change.
    pub(super) fn new(state: watch::Receiver<FeedState>) -> Self {
        Self { state, started: false }
    }
}

impl EventSource for TrackingStream {
    async fn next(&mut self) -> SseItem {
        loop {
            if self.started && self.state.changed().await.is_err() {
                return SseItem::End;
            }
            self.started = true;
            match self.state.borrow_and_update().clone() {
                FeedState::View(json) => return SseItem::Event("view", json),
                FeedState::Unknown | FeedState::Expired => return SseItem::Last("gone"),
                FeedState::Pending => {}
            }
        }
    }
}
