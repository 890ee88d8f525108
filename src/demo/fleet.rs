//! The vans beside the one that is watched: each a simulated van and a whole agent with an outbox of its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::scratch::Scratch;
use super::van::{Ttys, Van};
use crate::clock::Clock;
use crate::config::{Config, Override};
use crate::core::calendar::{Era, RELEASED};
use crate::daemon::{Agent, AgentError, AtEnd};
use crate::outbox::OutboxConfig;
use crate::relay::mqtt::MqttLinks;

/// Where these agents differ from their defaults. Nobody counts their bytes, and many share one computer.
const CADENCE: &str = "\
mqtt.position_moving_s = 10.0
mqtt.live_error_m = 15.0
mqtt.state_s = 60.0
track.batch_s = 15.0
outbox.commit_after_s = 30.0
delivery.domain = \"id.example.com\"
";

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
        let config = config(id, broker, &van.ttys(), scratch)?;
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

fn config(id: &str, broker: SocketAddr, ttys: &Ttys, scratch: &Scratch) -> anyhow::Result<Config> {
    let Ttys { receiver, hand, portal } = ttys;
    let outbox = scratch.path().join(format!("{id}.db"));
    let outbox = outbox.to_str().context("the directory for temporary files is not UTF-8")?;
    let overrides = [
        ("van.id", id.to_owned()),
        ("mqtt.broker", format!("mqtt://{broker}")),
        ("gnss.source", format!("serial:{receiver}")),
        ("outbox.path", outbox.to_owned()),
    ];
    let overrides = overrides.map(|(key, value)| Override { key, value });
    let scanners = format!(
        "[[scanner]]\nname = \"hand\"\nsource = \"serial:{hand}\"\n\
         [[scanner]]\nname = \"portal\"\nkind = \"rfid\"\nsource = \"serial:{portal}\"\n"
    );
    let mut config = Config::parse(&format!("{CADENCE}{scanners}"), "demo", &overrides)?;
    config.relay.backoff = super::BACKOFF;
    // A pty takes bursts at once, at any rate and pace: no usual speed is as fast.
    config.source.line.baud = super::LINE_BAUD;
    config.outbox = OutboxConfig { tail_path: None, ..config.outbox };
    Ok(config)
}
