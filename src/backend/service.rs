//! All parts of an instance, from the open store to the end in order.
//!
//! A part that ends by itself is a fault: the others are stopped, and systemd starts the instance again.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::ingest::Ingest;
use super::live::Live;
use super::store::{Statement, Store, StoreError, announce, retention};
use super::{Shared, alerts, api, downlink, operation, upstream, web};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::notify::Notify;
use crate::tasks::joined;

/// Between two tries to reach a server that is not there yet.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Signs of life for systemd, unless its watchdog wants more.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// An instance that is open and not yet running.
#[derive(Debug)]
pub struct Service {
    shared: Shared,
    listener: TcpListener,
}

impl Service {
    /// Opens the store and the port. A database server that does not answer yet is waited for.
    ///
    /// # Errors
    /// The clock is not set, the store cannot be used, or the port is taken.
    pub async fn open(mut config: Config, clock: Clock) -> anyhow::Result<Self> {
        anyhow::ensure!(
            clock.utc().is_some(),
            "the clock of this host is not set: start after time-sync.target"
        );
        let store = store(&config).await?;
        let listen = config.http.listen;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("http.listen: {listen}"))?;
        config.http.listens_at(listener.local_addr()?);
        let shared = Shared {
            config: Arc::new(config),
            store,
            live: Live::default(),
            clock,
            downlink: Arc::default(),
            captures: Arc::default(),
        };
        Ok(Self { shared, listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What its parts share.
    #[must_use]
    pub const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Runs until `stop`, or until a part cannot go on.
    ///
    /// # Errors
    /// What the part that could not go on says.
    pub async fn run(self, stop: CancellationToken, notify: Notify) -> anyhow::Result<()> {
        let Self { shared, listener } = self;
        let mut parts = Parts { running: JoinSet::new(), stop: stop.clone() };
        let ingest = Ingest::new(shared.clone());
        let router = router().merge(operation::router(ingest.counters()));
        parts.start("http", api::serve::serve(shared.clone(), listener, router, stop.clone()));
        parts.start("ingest", ingest.run(stop.clone()));
        parts.start("downlink", downlink::run(shared.clone(), stop.clone()));
        parts.start("upstream", endless(upstream::run(shared.clone(), stop.clone())));
        parts.start("alerts", alerts::run(shared.clone(), stop.clone()));
        parts.start("retention", endless(retention::run(shared.clone(), stop.clone())));
        parts.start("announcements", endless(announce::run(shared.clone(), stop.clone())));
        parts.start("signs of life", alive(shared, notify, stop.clone()));
        parts.end().await
    }
}

/// Everything that answers, but for what watches the instance itself.
fn router() -> Router<Shared> {
    api::router().merge(upstream::router()).merge(web::router())
}

/// A part that nothing can stop but the end.
async fn endless(part: impl Future<Output = ()>) -> Result<(), Infallible> {
    part.await;
    Ok(())
}

async fn store(config: &Config) -> anyhow::Result<Store> {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, fastrand::Rng::new());
    let mut said = false;
    loop {
        match Store::open(&config.store).await {
            Err(StoreError::Unreachable(error)) => {
                if !said {
                    tracing::warn!(error, "database does not answer yet, waiting for it");
                }
                said = true;
                tokio::time::sleep(backoff.next_wait()).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// The tasks of the parts.
struct Parts {
    running: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Parts {
    fn start<E: Into<anyhow::Error> + Send + 'static>(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.running.spawn(async move {
            part.await.map_err(Into::into).with_context(|| name)?;
            anyhow::ensure!(stop.is_cancelled(), "{name}: has ended by itself");
            Ok(())
        });
    }

    /// Until all have ended; the first error counts.
    async fn end(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.running.join_next().await {
            let ended = joined(ended);
            if ended.is_err() {
                self.stop.cancel();
                if result.is_ok() {
                    result = ended;
                }
            }
        }
        result
    }
}

/// systemd hears of the instance while its store answers.
async fn alive(shared: Shared, notify: Notify, stop: CancellationToken) -> Result<(), StoreError> {
    let every = notify.watchdog().map_or(ALIVE_EVERY, |watchdog| ALIVE_EVERY.min(watchdog / 3));
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let asked = shared.store.read(Statement::new("SELECT 1", []));
        match tokio::time::timeout(every, asked).await {
            Ok(Ok(_)) => notify.say("WATCHDOG=1\nSTATUS=the store answers"),
            // A server that is away comes back without our being started anew.
            Ok(Err(_)) => notify.say("WATCHDOG=1\nSTATUS=the database does not answer"),
            Err(_) => notify.say("STATUS=the database takes too long"),
        }
    }
}
