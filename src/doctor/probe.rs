//! Gathers the [`Evidence`] for the diagnosis on this host.
//!
//! The agent is queried first. While it is connected, no other connection to the broker is made;
//! while it runs, the receiver is not opened.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::{AgentStatusResult, Evidence, Probe, ProbeResult};
use crate::config::Config;
use crate::control::client::{Client, ClientError, DEFAULT_PATH};
use crate::control::{Empty, Request, Response};
use crate::gnss_source::{Address, SourceConfig};
use crate::transport::{address_race, serial, tcp};
use crate::uplink::UplinkConfig;

/// Time limit for each name look-up and each connection attempt.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Gathers the evidence. `control` overrides the control socket of the configuration.
///
/// # Errors
/// [`ClientError::NotAllowed`]: this user may not query the agent, so that the diagnosis would be
/// wrong.
pub async fn gather(path: &Path, control: Option<&Path>) -> Result<Evidence, ClientError> {
    let config = Config::load(path, &[]).map(Box::new);
    let agent = match (control, &config) {
        (Some(control), _) => query_agent(control)?,
        (None, Ok(config)) => match &config.control {
            Some(control) => query_agent(control)?,
            None => AgentStatusResult::NoSocket,
        },
        (None, Err(_)) => query_agent(Path::new(DEFAULT_PATH))?,
    };
    let mut evidence = Evidence {
        agent,
        config: config.map_err(|error| error.to_string()),
        device: None,
        tls_files: None,
        probes: Vec::new(),
    };
    let Ok(config) = &evidence.config else { return Ok(evidence) };
    let link = evidence.status().map(|status| status.link.state.clone());
    if link.as_deref() != Some("connected") {
        evidence.probes = probe_brokers(&config.uplink).await;
    }
    if let AgentStatusResult::NoResponse(_) = evidence.agent {
        evidence.device = try_source(&config.source).await;
        evidence.tls_files = Some(config.check_files(path).map_err(|error| error.to_string()));
    }
    Ok(evidence)
}

fn query_agent(control: &Path) -> Result<AgentStatusResult, ClientError> {
    let answer =
        Client::connect(control).and_then(|mut client| client.request(&Request::Status(Empty {})));
    match answer {
        Ok(Response::Status(status)) => Ok(AgentStatusResult::Answered(status)),
        Ok(_) => Ok(AgentStatusResult::NoResponse(
            "unexpected response of the agent: no status".to_owned(),
        )),
        Err(error @ ClientError::NotAllowed(_)) => Err(error),
        Err(error) => Ok(AgentStatusResult::NoResponse(error.to_string())),
    }
}

/// Tries to open the receiver and closes it again. Standard input belongs to the agent and is not
/// tried.
async fn try_source(source: &SourceConfig) -> Option<Result<(), String>> {
    let opened = match &source.address {
        Address::Serial(path) => serial::open(path, source.line.baud).map(drop),
        Address::Tcp(host) | Address::Gpsd(host) => tcp::connect(host).await.map(drop),
        Address::Log(path) => std::fs::File::open(path)
            .map(drop)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        Address::Stdin => return None,
    };
    Some(opened.map_err(|error| error.to_string()))
}

/// Tries to connect to each broker, or only to the proxy if there is one.
async fn probe_brokers(config: &UplinkConfig) -> Vec<Probe> {
    if let Some(proxy) = &config.proxy {
        let result = probe_broker(&proxy.host, proxy.port).await;
        return vec![Probe { broker: format!("the proxy {proxy}"), result }];
    }
    let mut probes = Vec::new();
    for broker in &config.brokers {
        let reached = probe_broker(&broker.host, broker.port).await;
        probes.push(Probe { broker: broker.to_string(), result: reached });
    }
    probes
}

async fn probe_broker(host: &str, port: u16) -> ProbeResult {
    let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
    let looked_up = timeout(PROBE_TIMEOUT, address_race::lookup(host, port)).await;
    let addresses = match looked_up {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return ProbeResult::NameNotFound(error.to_string()),
        Err(_) => {
            return ProbeResult::NameNotFound(
                "no response from a name server within 5 s".to_owned(),
            );
        }
    };
    let racing = address_race::connect(&addresses, address_race::ATTEMPT_DELAY);
    match timeout(PROBE_TIMEOUT, racing).await.unwrap_or_else(late) {
        Ok(_) => ProbeResult::Reachable,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let tried: Vec<String> =
                addresses.iter().map(|address| address.ip().to_string()).collect();
            ProbeResult::Unreachable(format!("no response within 5 s from {}", tried.join(", ")))
        }
        Err(error) => ProbeResult::Unreachable(error.to_string()),
    }
}
