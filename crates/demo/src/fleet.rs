//! The vans beside the watched one: each is a simulated van and a complete agent with its own
//! outbox.

use std::net::SocketAddr;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::agent;
use super::van::Van;
use waypost::agent::{Agent, AgentError, OnSourceEnd};
use waypost::uplink::mqtt::RumqttcConnector;
use waypost_model::units::RELEASE_DATE;
use waypost_pipeline::date_resolver::DateHint;
use waypost_service::clock::Clock;

/// All agents and their vans.
#[derive(Debug)]
pub(super) struct Fleet {
    stop: CancellationToken,
    agents: JoinSet<Result<(), AgentError>>,
    drive_tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Fleet {
    pub(super) fn new() -> Self {
        Self { stop: CancellationToken::new(), agents: JoinSet::new(), drive_tasks: Vec::new() }
    }

    /// Starts the agent of `van` and the drive.
    pub(super) async fn add(
        &mut self,
        id: &str,
        van: Van,
        broker: SocketAddr,
        scratch: &TempDir,
        speed: f64,
    ) -> anyhow::Result<()> {
        let config = agent::config(id, agent::OTHER_VANS_CONFIG, broker, &van.ttys(), scratch)?;
        let sources = vec![config.source.clone()];
        let links = RumqttcConnector::new(config.uplink.clone(), Clock::live());
        let era = DateHint::NotBefore(RELEASE_DATE);
        let agent = Agent::open(config, era, Clock::scaled(speed), links)
            .await
            .with_context(|| format!("the agent of {id}"))?;
        self.agents.spawn(agent.run(
            sources,
            OnSourceEnd::Stop,
            self.stop.clone().cancelled_owned(),
        ));
        self.drive_tasks.push(tokio::spawn(van.drive(Clock::scaled(speed))));
        Ok(())
    }

    /// Completes only if an agent ends unexpectedly.
    pub(super) async fn wait_for_failure(&mut self) -> anyhow::Error {
        match self.agents.join_next().await {
            Some(Ok(Err(error))) => anyhow::Error::from(error).context("an agent of the fleet"),
            Some(_) => anyhow::anyhow!("an agent of the fleet ended unexpectedly"),
            None => std::future::pending().await,
        }
    }

    /// Stops all vans; the agents send their outboxes and disconnect.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        for driving in &self.drive_tasks {
            driving.abort();
        }
        self.stop.cancel();
        while let Some(ended) = self.agents.join_next().await {
            ended.context("the task of an agent")?.context("an agent of the fleet")?;
        }
        Ok(())
    }
}
