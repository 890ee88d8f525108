//! The vans beside the one that is watched: each a simulated van and a whole agent with an outbox of its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::agent;
use super::scratch::Scratch;
use super::van::Van;
use crate::clock::Clock;
use crate::core::calendar::{Era, RELEASED};
use crate::daemon::{Agent, AgentError, AtEnd};
use crate::relay::mqtt::MqttLinks;

/// All agents and their vans.
#[derive(Debug)]
pub(super) struct Fleet {
    stop: CancellationToken,
    agents: JoinSet<Result<(), AgentError>>,
    driving: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Fleet {
    /// Nobody drives yet.
    pub(super) fn new() -> Self {
        Self { stop: CancellationToken::new(), agents: JoinSet::new(), driving: Vec::new() }
    }

    /// Starts the agent of `van`; it drives from now on.
    pub(super) async fn add(
        &mut self,
        id: &str,
        van: Van,
        broker: SocketAddr,
        scratch: &Scratch,
        speed: f64,
    ) -> anyhow::Result<()> {
        let config = agent::config(id, agent::OTHERS, broker, &van.ttys(), scratch)?;
        let sources = vec![config.source.clone()];
        let links = MqttLinks::new(config.relay.clone(), Clock::live());
        let era = Era::NotBefore(RELEASED);
        let agent = Agent::open(config, era, Clock::scaled(speed), links)
            .await
            .with_context(|| format!("the agent of {id}"))?;
        self.agents.spawn(agent.run(sources, AtEnd::Stop, self.stop.clone().cancelled_owned()));
        self.driving.push(tokio::spawn(van.drive(Clock::scaled(speed))));
        Ok(())
    }

    /// Completes when an agent has ended by itself, which it should not.
    pub(super) async fn lost(&mut self) -> anyhow::Error {
        match self.agents.join_next().await {
            Some(Ok(Err(error))) => anyhow::Error::from(error).context("an agent of the fleet"),
            Some(_) => anyhow::anyhow!("an agent of the fleet has stopped by itself"),
            None => std::future::pending().await,
        }
    }

    /// Lets all agents send what they have, and take their leave.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        for driving in &self.driving {
            driving.abort();
        }
        self.stop.cancel();
        while let Some(ended) = self.agents.join_next().await {
            ended.context("the task of an agent")?.context("an agent of the fleet")?;
        }
        Ok(())
    }
}
