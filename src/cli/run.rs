//! `waypost run`: runs the agent until SIGTERM. SIGHUP replaces it by an agent with the reloaded
//! configuration.
//!
//! - An invalid configuration is logged once, and the agent continues with the previous one.
//! - The old agent shuts down completely before the new one starts. Accepted records stay in the
//!   outbox.

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::block_on;
use crate::agent::{Agent, OnSourceEnd};
use crate::config::Config;
use crate::control::server::{AgentHandle, ControlError, Server};
use crate::gnss_source::Address;
use crate::metrics::Metrics;
use crate::replay;
use crate::service_status;
use crate::uplink::mqtt::RumqttcConnector;
use waypost_model::units::RELEASE_DATE;
use waypost_pipeline::date_resolver::DateHint;
use waypost_service::clock::Clock;
use waypost_service::logging;
use waypost_service::sd_notify::ServiceNotifier;
use waypost_service::task::join;

pub(super) fn run(path: &Path, clock: &Clock) -> anyhow::Result<()> {
    let mut config = Config::load(path, &[])?;
    logging::init(config.log_level);
    block_on(async {
        let mut signals = Signals::new()?;
        let notify = ServiceNotifier::from_environment();
        let mut opened = PreparedAgent::open(&config, clock).await?;
        loop {
            notify.ready();
            let Some(next) = opened.run(&mut signals, path, &config, &notify).await? else {
                return Ok(());
            };
            opened = match PreparedAgent::open(&next, clock).await {
                Ok(opened) => {
                    config = next;
                    opened
                }
                Err(error) => {
                    tracing::error!(%error, "configuration invalid, keeping the previous one");
                    PreparedAgent::open(&config, clock).await?
                }
            };
            // Fails only if another component owns the subscriber; then the level stays.
            logging::set_level(config.log_level).ok();
            tracing::info!("configuration reloaded");
        }
    })
}

/// Signals that end or reload the agent.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that stops the agent. Returns the new configuration for a reload, `None`
    /// for a shutdown.
    async fn next(&mut self, path: &Path, current: &Config) -> Option<Config> {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return None,
                _ = self.interrupt.recv() => return None,
                _ = self.hang_up.recv() => {}
            }
            match reload(path, current) {
                Ok(next) => return Some(next),
                Err(error) => {
                    tracing::error!(%error, "configuration invalid, keeping the previous one");
                }
            }
        }
    }
}

/// Loads and checks the configuration, including the files that it names, so that the operator sees
/// every problem at the reload.
fn reload(path: &Path, current: &Config) -> anyhow::Result<Config> {
    let next = Config::load(path, &[])?;
    next.check_files(path)?;
    let waits = |config: &Config| config.source.address.is_recorded();
    anyhow::ensure!(
        !waits(current) && !waits(&next),
        "gnss.source: a recording or standard input cannot be reloaded: restart the agent"
    );
    Ok(next)
}

/// An agent that is ready to run, with its control socket.
struct PreparedAgent {
    agent: Agent<RumqttcConnector>,
    control: Option<Server>,
    clock: Clock,
}

impl PreparedAgent {
    async fn open(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        let era = match &config.source.address {
            Address::Log(log) => replay::date_hint(None, std::slice::from_ref(log))?,
            _ => DateHint::NotBefore(RELEASE_DATE),
        };
        let control = match &config.control {
            Some(path) => bind_control(path).await?,
            None => None,
        };
        let links = RumqttcConnector::new(config.uplink.clone(), clock.clone());
        let agent = Agent::open(config.clone(), era, clock.clone(), links).await?;
        Ok(Self { agent, control, clock: clock.clone() })
    }

    /// Runs the agent until a signal. Returns the configuration to continue with, if it was a
    /// reload.
    async fn run(
        self,
        signals: &mut Signals,
        path: &Path,
        config: &Config,
        notify: &ServiceNotifier,
    ) -> anyhow::Result<Option<Config>> {
        let Self { agent, control, clock } = self;
        let (stop_control, overview) = (CancellationToken::new(), agent.status_collector());
        let desk =
            AgentHandle { status: Box::new(move || overview.status()), requests: agent.requests() };
        let control = control.map(|server| tokio::spawn(server.run(desk, stop_control.clone())));
        let metrics = config
            .metrics
            .map(|address| tokio::spawn(Metrics::run(address, agent.watches(), clock.clone())));
        let report =
            tokio::spawn(service_status::run_watchdog(notify.clone(), agent.watches(), clock));
        let mut next = None;
        let shutdown = async {
            next = signals.next(path, config).await;
            abort_and_join(report).await;
            if let Some(metrics) = metrics {
                abort_and_join(metrics).await;
            }
            if next.is_some() { notify.reloading() } else { notify.stopping() }
        };
        let result = agent.run(vec![config.source.clone()], OnSourceEnd::Stop, shutdown).await;
        stop_control.cancel();
        if let Some(control) = control {
            join(control).await;
        }
        result?;
        Ok(next)
    }
}

/// Aborts a task and waits until its resources are released.
async fn abort_and_join(task: JoinHandle<()>) {
    task.abort();
    // The result is always "cancelled".
    task.await.ok();
}

/// Binds the control socket. The agent runs without one, but not next to a second agent.
async fn bind_control(path: &Path) -> Result<Option<Server>, ControlError> {
    match Server::bind(path).await {
        Ok(server) => Ok(Some(server)),
        Err(error @ ControlError::Unavailable { .. }) => {
            tracing::warn!(%error, "control socket unavailable");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
