//! Pages that somebody looks at → what they show, each evaluated once for all who look at it.
//!
//! - A page is evaluated when something that it depends on changes, when time alone changes it (a fix becomes too old), and
//!   now and then in case neither was noticed. It is sent only when it says something else than before.
//! - Whoever begins to look waits for an evaluation that began after that: what was shown to others before may be more than
//!   the rule of exposure allows now.
//! - One task hears of all changes and wakes the pages of that van, parcel or route: a change costs nothing to other pages.
//! - Positions come often and wait a little for the next evaluation. Everything else is seen at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio::time::sleep;

use super::stream::{Next, Series};
use crate::backend::Shared;
use crate::backend::live::Change;
use crate::backend::situation::{self, Found, Page};
use crate::backend::view::parcel::ParcelView;

/// A page is looked at again after so long although nothing happened.
const LOOKED_AGAIN: Duration = Duration::from_secs(10);

/// A page is not evaluated more often than this for positions alone.
const PACE: Duration = Duration::from_millis(400);

/// Nor more often than this, whatever the time at which it is said to change.
const SOONEST: Duration = Duration::from_millis(50);

/// A store that did not answer is asked again after so long.
const STORE_AGAIN: Duration = Duration::from_secs(2);

/// Evaluations at a time.
const AT_A_TIME: usize = 8;

/// What a page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It has not been evaluated yet.
    Nothing,
    /// This view, as JSON.
    View(Arc<str>),
    /// Nobody has this token.
    Unknown,
    /// The page has expired.
    Gone,
}

/// All pages that somebody looks at.
#[derive(Debug)]
pub(super) struct Watched {
    pages: Mutex<Pages>,
    evaluations: Semaphore,
}

impl Default for Watched {
    fn default() -> Self {
        Self { pages: Mutex::default(), evaluations: Semaphore::new(AT_A_TIME) }
    }
}

#[derive(Debug, Default)]
struct Pages {
    by_token: HashMap<String, Arc<Watch>>,
    by_key: HashMap<Key, Vec<Arc<Watch>>>,
    listening: bool,
}

/// What a page depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Van(String),
    Parcel(String),
    Route(String),
}

#[derive(Debug)]
struct Watch {
    shown: watch::Sender<Shown>,
    /// How many have begun to look …
    joined: AtomicU64,
    /// … and how many of them had when the last evaluation began that is over.
    answered: watch::Sender<u64>,
    /// Something happened.
    happened: Notify,
    /// The van has moved.
    moved: Notify,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            shown: watch::Sender::new(Shown::Nothing),
            joined: AtomicU64::new(0),
            answered: watch::Sender::new(0),
            happened: Notify::new(),
            moved: Notify::new(),
        }
    }
}

impl Watched {
    /// What the page of a token shows from now on: [`Shown::Nothing`] is over when this returns.
    pub(super) async fn watch(
        self: &Arc<Self>,
        shared: &Shared,
        token: &str,
    ) -> watch::Receiver<Shown> {
        let (shown, mut answered, mine) = self.join(shared, token);
        // An error means that the page is over: the last that it showed stays.
        answered.wait_for(|answered| *answered >= mine).await.ok();
        shown
    }

    /// The page, the count of those who were answered, and from which count on this one is.
    fn join(
        self: &Arc<Self>,
        shared: &Shared,
        token: &str,
    ) -> (watch::Receiver<Shown>, watch::Receiver<u64>, u64) {
        let mut pages = self.pages.lock().expect("no holder of the lock can panic");
        if !pages.listening {
            pages.listening = true;
            // From this moment on, so that no change falls between the first evaluation and the listening.
            tokio::spawn(Arc::clone(self).listen(shared.live.watch()));
        }
        let known = pages.by_token.get(token).cloned();
        let watch = known.clone().unwrap_or_default();
        let mine = watch.joined.fetch_add(1, Ordering::SeqCst) + 1;
        let receivers = (watch.shown.subscribe(), watch.answered.subscribe(), mine);
        if known.is_some() {
            watch.happened.notify_one();
        } else {
            pages.by_token.insert(token.to_owned(), Arc::clone(&watch));
            tokio::spawn(Arc::clone(self).keep(shared.clone(), token.to_owned(), watch));
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
                Err(_) => pages.by_token.values().for_each(|watch| watch.happened.notify_one()),
            }
        }
    }

    /// Evaluates a page as long as somebody looks at it.
    async fn keep(self: Arc<Self>, shared: Shared, token: String, watch: Arc<Watch>) {
        let mut last: Option<ParcelView> = None;
        let mut keys = Vec::new();
        loop {
            if self.nobody_looks(&token, &watch, &keys) {
                return;
            }
            let joined = watch.joined.load(Ordering::SeqCst);
            let found = self.evaluate(&shared, &token).await;
            let page = match found {
                Some(Found::Page(page)) => Some(page),
                Some(Found::Unknown) => break drop(watch.shown.send_replace(Shown::Unknown)),
                Some(Found::Gone) => break drop(watch.shown.send_replace(Shown::Gone)),
                None => None,
            };
            if let Some(page) = &page {
                show(&watch, &page.view, &mut last);
                watch.answered.send_replace(joined);
                let depends = depends_on(page);
                if depends != keys {
                    let mut pages = self.pages.lock().expect("no holder of the lock can panic");
                    pages.depend(&watch, &keys, &depends);
                    keys = depends;
                    // What changed before it was listened to.
                    continue;
                }
            }
            wait(&shared, &watch, page.as_deref()).await;
        }
        self.pages.lock().expect("no holder of the lock can panic").forget(&token, &watch, &keys);
    }

    async fn evaluate(&self, shared: &Shared, token: &str) -> Option<Found> {
        let _turn = self.evaluations.acquire().await.expect("it is never closed");
        match situation::parcel(shared, token).await {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::debug!(%error, "page not evaluated");
                None
            }
        }
    }

    /// Whether the last who looked is gone; then the page is forgotten, before somebody else can begin to look.
    fn nobody_looks(&self, token: &str, watch: &Arc<Watch>, keys: &[Key]) -> bool {
        let mut pages = self.pages.lock().expect("no holder of the lock can panic");
        let nobody = watch.shown.receiver_count() == 0;
        if nobody {
            pages.forget(token, watch, keys);
        }
        nobody
    }
}

/// Waits until the page may show something else, or nobody looks at it any more.
async fn wait(shared: &Shared, watch: &Watch, page: Option<&Page>) {
    let again = if page.is_some() { LOOKED_AGAIN } else { STORE_AGAIN };
    let changes_at = page.and_then(|page| page.changes_at).map(|at| {
        let ms = u64::try_from(at.millis_since(shared.now())).unwrap_or(0);
        shared.clock.uptime() + Duration::from_millis(ms + 1).max(SOONEST)
    });
    let moved = async {
        tokio::join!(watch.moved.notified(), sleep(PACE));
    };
    tokio::select! {
        () = watch.happened.notified() => {}
        () = moved => {}
        _ = shared.clock.reached(changes_at), if changes_at.is_some() => {}
        () = sleep(again) => {}
        () = watch.shown.closed() => {}
    }
}

fn depends_on(page: &Page) -> Vec<Key> {
    let of = |name: &Option<String>, key: fn(String) -> Key| name.clone().map(key);
    let keys =
        [Some(Key::Parcel(page.epc.clone())), of(&page.route, Key::Route), of(&page.van, Key::Van)];
    keys.into_iter().flatten().collect()
}

/// Sends a view if it says something else than the last, whatever time it is.
fn show(watch: &Watch, view: &ParcelView, last: &mut Option<ParcelView>) {
    let same = last.as_mut().is_some_and(|last| {
        last.at.clone_from(&view.at);
        last == view
    });
    if !same {
        let json = serde_json::to_string(view).expect("every member of a view has a JSON form");
        watch.shown.send_replace(Shown::View(json.into()));
        *last = Some(view.clone());
    }
}

impl Pages {
    fn wake(&self, change: &Change) {
        let van = |van: &str| Key::Van(van.to_owned());
        match change {
            Change::Position { van: moved } => {
                self.of(&van(moved)).for_each(|watch| watch.moved.notify_one());
            }
            Change::Van { van: said } => self.happened(&van(said)),
            Change::Parcels { epcs, van: said } => {
                epcs.iter().for_each(|epc| self.happened(&Key::Parcel(epc.clone())));
                // Other parcels of that van have a stop less before them.
                if let Some(said) = said {
                    self.happened(&van(said));
                }
            }
            Change::Route { route, van: of } => {
                self.happened(&Key::Route(route.as_ref().to_owned()));
                self.happened(&van(of));
            }
            Change::Missed => {
                self.by_key.values().flatten().for_each(|watch| watch.happened.notify_one());
            }
        }
    }

    fn of(&self, key: &Key) -> impl Iterator<Item = &Arc<Watch>> {
        self.by_key.get(key).into_iter().flatten()
    }

    fn happened(&self, key: &Key) {
        self.of(key).for_each(|watch| watch.happened.notify_one());
    }

    fn depend(&mut self, watch: &Arc<Watch>, before: &[Key], now: &[Key]) {
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

    fn forget(&mut self, token: &str, watch: &Arc<Watch>, keys: &[Key]) {
        self.depend(watch, keys, &[]);
        if self.by_token.get(token).is_some_and(|other| Arc::ptr_eq(other, watch)) {
            self.by_token.remove(token);
        }
    }
}

/// A page as a series of views.
#[derive(Debug)]
pub(super) struct Views {
    shown: watch::Receiver<Shown>,
    begun: bool,
}

impl Views {
    /// What it shows now, and then whatever it shows.
    pub(super) fn new(shown: watch::Receiver<Shown>) -> Self {
        Self { shown, begun: false }
    }
}

impl Series for Views {
    async fn next(&mut self) -> Next {
        loop {
            if self.begun && self.shown.changed().await.is_err() {
                return Next::End;
            }
            self.begun = true;
            match self.shown.borrow_and_update().clone() {
                Shown::View(json) => return Next::Event("view", json),
                Shown::Unknown | Shown::Gone => return Next::Last("gone"),
                Shown::Nothing => {}
            }
        }
    }
}
