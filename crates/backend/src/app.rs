//! Lifecycle of an instance, from opening the store to the orderly shutdown.
//!
//! A task that ends early is a fault: all others are stopped, and systemd restarts the instance.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::ingest::Ingest;
use super::instances::InstanceMonitor;
use super::store::{Statement, Store, StoreError, Workload, change_notify, retention};
use super::{AppState, downlink, http, integrations, notifications, ops, web};
use waypost_service::backoff::Backoff;
use waypost_service::clock::Clock;
use waypost_service::sd_notify::ServiceNotifier;
use waypost_service::task::unwrap_join;

/// Bounds of the delay between two attempts to reach the database server.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Maximum number of connections that wait to be accepted. A client that finds the queue full tries
/// again only after a second.
const LISTEN_BACKLOG: u32 = 4096;

/// Maximum interval of watchdog notifications to systemd.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(10);

/// An opened instance that does not run yet.
#[derive(Debug)]
pub struct App {
    shared: AppState,
    listener: TcpListener,
}

impl App {
    /// Opens the store and binds the port. Waits for a database server that is not reachable yet.
    ///
    /// # Errors
    /// The clock is not set, the store is unusable, or the port is taken.
    pub async fn open(mut config: Config, clock: Clock) -> anyhow::Result<Self> {
        anyhow::ensure!(
            clock.utc().is_some(),
            "the host clock is not set; start after time-sync.target"
        );
        let store = open_store(&config).await?;
        let listen = config.http.listen;
        let listener = listen_on(listen).with_context(|| format!("http.listen: {listen}"))?;
        config.http.set_listen_addr(listener.local_addr()?);
        let shared = AppState::new(config, store, clock);
        Ok(Self { shared, listener })
    }

    /// Returns the bound address.
    ///
    /// # Errors
    /// The system call fails.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    #[must_use]
    pub const fn shared(&self) -> &AppState {
        &self.shared
    }

    /// Runs until `stop`, or until a task fails.
    ///
    /// # Errors
    /// The first error of a task.
    pub async fn run(self, stop: CancellationToken, notify: ServiceNotifier) -> anyhow::Result<()> {
        let Self { shared, listener } = self;
        let mut parts = TaskSet { tasks: JoinSet::new(), stop: stop.clone() };
        let background = shared.for_workload(Workload::Background);
        let ingest = Ingest::new(shared.for_workload(Workload::Ingest));
        let instances = InstanceMonitor::default();
        let router = router().merge(ops::router(ingest.counters(), instances.clone()));
        parts.spawn("http", http::server::serve(shared.clone(), listener, router, stop.clone()));
        parts.spawn("ingest", ingest.run(stop.clone()));
        parts.spawn("downlink", downlink::run(background.clone(), stop.clone()));
        parts.spawn(
            "integrations",
            until_stopped(integrations::run(background.clone(), stop.clone())),
        );
        parts.spawn("notifications", notifications::run(background.clone(), stop.clone()));
        parts.spawn("retention", until_stopped(retention::run(background.clone(), stop.clone())));
        parts.spawn(
            "change notifications",
            until_stopped(change_notify::run(background.clone(), stop.clone())),
        );
        parts.spawn("instances", until_stopped(instances.run(background.clone(), stop.clone())));
        parts.spawn("watchdog", watchdog_loop(background, notify, stop.clone()));
        parts.join_all().await
    }
}

/// Binds the address. The kernel limits the queue to `net.core.somaxconn`.
fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)
}

/// All routes except the operational ones.
fn router() -> Router<AppState> {
    http::router().merge(integrations::router()).merge(web::router())
}

/// Wraps a task that ends only at shutdown.
async fn until_stopped(part: impl Future<Output = ()>) -> Result<(), Infallible> {
    part.await;
    Ok(())
}

async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let mut backoff = Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY, fastrand::Rng::new());
    let mut said = false;
    loop {
        match Store::open(&config.store).await {
            Err(StoreError::Unavailable(error)) => {
                if !said {
                    tracing::warn!(error, "database not reachable, retrying");
                }
                said = true;
                tokio::time::sleep(backoff.next_delay()).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// The tasks of an instance.
struct TaskSet {
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl TaskSet {
    fn spawn<E: Into<anyhow::Error> + Send + 'static>(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            part.await.map_err(Into::into).with_context(|| name)?;
            anyhow::ensure!(stop.is_cancelled(), "{name}: task ended unexpectedly");
            Ok(())
        });
    }

    /// Waits for all tasks; returns the first error.
    async fn join_all(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = unwrap_join(ended).await;
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

/// Notifies the systemd watchdog while the store responds.
async fn watchdog_loop(
    shared: AppState,
    notify: ServiceNotifier,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let interval =
        notify.watchdog().map_or(WATCHDOG_INTERVAL, |watchdog| WATCHDOG_INTERVAL.min(watchdog / 3));
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let asked = shared.store.read(Statement::new("SELECT 1", []));
        match tokio::time::timeout(interval, asked).await {
            Ok(Ok(_)) => notify.send("WATCHDOG=1\nSTATUS=store responds"),
            // A restart would not help against an unreachable server.
            Ok(Err(_)) => notify.send("WATCHDOG=1\nSTATUS=database unreachable"),
            Err(_) => notify.send("STATUS=database too slow"),
        }
    }
}
