//! `waypost run`: an agent until SIGTERM; at SIGHUP it gives way to one with the configuration as it is then.
//!
//! - What is wrong with the new configuration is logged once, and the agent goes on as it was.
//! - The old agent stops as by SIGTERM before the new one begins: what it accepted is in the outbox, and goes on from there.

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::block_on;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::server::{ControlError, Desk, Server};
use crate::core::calendar::{Era, RELEASED};
use crate::daemon::{Agent, AtEnd};
use crate::logging;
use crate::metrics::Metrics;
use crate::notify::Notify;
use crate::relay::mqtt::MqttLinks;
use crate::replay;
use crate::source::Address;
use crate::systemd;
use crate::tasks::joined;

pub(super) fn run(path: &Path, clock: &Clock) -> anyhow::Result<()> {
    let mut config = Config::load(path, &[])?;
    logging::init(config.log_level);
    block_on(async {
        let mut signals = Signals::new()?;
        let notify = Notify::from_environment();
        let mut opened = Opened::open(&config, clock).await?;
        loop {
            notify.ready();
            let Some(next) = opened.run(&mut signals, path, &config, &notify).await? else {
                return Ok(());
            };
            opened = match Opened::open(&next, clock).await {
                Ok(opened) => {
                    config = next;
                    opened
                }
                Err(error) => {
                    tracing::error!(%error, "configuration not usable, going on as before");
                    Opened::open(&config, clock).await?
                }
            };
            // It is ours, or somebody else's for good.
            logging::set_level(config.log_level).ok();
            tracing::info!("agent goes on with the configuration as it is now");
        }
    })
}

/// What the process is told.
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

    /// Until the agent must stop: for good, or for the configuration that is returned.
    async fn next(&mut self, path: &Path, current: &Config) -> Option<Config> {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return None,
                _ = self.interrupt.recv() => return None,
                _ = self.hang_up.recv() => {}
            }
            match read_anew(path, current) {
                Ok(next) => return Some(next),
                Err(error) => {
                    tracing::error!(%error, "configuration not usable, going on as before");
                }
            }
        }
    }
}

/// The file as it is now. Somebody waits for the outcome, so the files that it names must be in order too.
fn read_anew(path: &Path, current: &Config) -> anyhow::Result<Config> {
    let next = Config::load(path, &[])?;
    next.examine_files(path)?;
    let waits = |config: &Config| config.source.address.waits();
    anyhow::ensure!(
        !waits(current) && !waits(&next),
        "gnss.source: a recording, or standard input, cannot be begun anew: restart the agent"
    );
    Ok(next)
}

/// An agent, and what listens for it.
struct Opened {
    agent: Agent<MqttLinks>,
    control: Option<Server>,
    clock: Clock,
}

impl Opened {
    async fn open(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        let era = match &config.source.address {
            Address::Log(log) => replay::era(None, std::slice::from_ref(log))?,
            _ => Era::NotBefore(RELEASED),
        };
        let control = match &config.control {
            Some(path) => listen(path).await?,
            None => None,
        };
        let links = MqttLinks::new(config.relay.clone(), clock.clone());
        let agent = Agent::open(config.clone(), era, clock.clone(), links).await?;
        Ok(Self { agent, control, clock: clock.clone() })
    }

    /// Runs until it is told to stop; with which configuration to go on, if that is wanted.
    async fn run(
        self,
        signals: &mut Signals,
        path: &Path,
        config: &Config,
        notify: &Notify,
    ) -> anyhow::Result<Option<Config>> {
        let Self { agent, control, clock } = self;
        let (stop_control, overview) = (CancellationToken::new(), agent.overview());
        let desk = Desk { status: Box::new(move || overview.status()), requests: agent.requests() };
        let control = control.map(|server| tokio::spawn(server.run(desk, stop_control.clone())));
        let metrics = config
            .metrics
            .map(|address| tokio::spawn(Metrics::run(address, agent.watches(), clock.clone())));
        let report = tokio::spawn(systemd::report(notify.clone(), agent.watches(), clock));
        let mut next = None;
        let shutdown = async {
            next = signals.next(path, config).await;
            end(report).await;
            if let Some(metrics) = metrics {
                end(metrics).await;
            }
            if next.is_some() { notify.reloading() } else { notify.stopping() }
        };
        let result = agent.run(vec![config.source.clone()], AtEnd::Stop, shutdown).await;
        stop_control.cancel();
        if let Some(control) = control {
            joined(control.await);
        }
        result?;
        Ok(next)
    }
}

/// When it returns, what the task held is free.
async fn end(task: JoinHandle<()>) {
    task.abort();
    // Aborted is how it ends.
    task.await.ok();
}

/// A van drives without a socket, but not beside a second agent.
async fn listen(path: &Path) -> Result<Option<Server>, ControlError> {
    match Server::bind(path).await {
        Ok(server) => Ok(Some(server)),
        Err(error @ ControlError::Unavailable { .. }) => {
            tracing::warn!(%error, "no control socket");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
