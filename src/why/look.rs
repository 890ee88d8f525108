//! Looks at what can be looked at on this host → [`Evidence`].
//!
//! The agent is asked first. Where it has a link, nobody else goes to the broker; where it runs, nobody else opens its
//! receiver.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{Asked, Evidence, Probe, Reached};
use crate::config::Config;
use crate::control::client::{Client, ClientError, DEFAULT_PATH};
use crate::control::{Answer, Nothing, Question};
use crate::port::{serial, tcp};
use crate::relay::RelayConfig;
use crate::source::{Address, SourceConfig};

/// For each name, and for each way.
const WITHIN: Duration = Duration::from_secs(5);

/// Gathers the evidence. `control` is the agent's socket, if it is not the one of the configuration.
///
/// # Errors
/// [`ClientError::NotAllowed`]: who asks may not ask the agent, and would be told nonsense.
pub async fn look(path: &Path, control: Option<&Path>) -> Result<Evidence, ClientError> {
    let config = Config::load(path, &[]).map(Box::new);
    let agent = match (control, &config) {
        (Some(control), _) => ask(control)?,
        (None, Ok(config)) => match &config.control {
            Some(control) => ask(control)?,
            None => Asked::NoSocket,
        },
        (None, Err(_)) => ask(Path::new(DEFAULT_PATH))?,
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
        evidence.probes = probes(&config.relay).await;
    }
    if let Asked::Silent(_) = evidence.agent {
        evidence.device = open(&config.source).await;
        evidence.tls_files = Some(config.examine_files(path).map_err(|error| error.to_string()));
    }
    Ok(evidence)
}

fn ask(control: &Path) -> Result<Asked, ClientError> {
    let answer =
        Client::connect(control).and_then(|mut client| client.ask(&Question::Status(Nothing {})));
    match answer {
        Ok(Answer::Status(status)) => Ok(Asked::Answered(status)),
        Ok(_) => Ok(Asked::Silent("the agent said no status".to_owned())),
        Err(error @ ClientError::NotAllowed(_)) => Err(error),
        Err(error) => Ok(Asked::Silent(error.to_string())),
    }
}

/// Whether the receiver can be opened; it is closed again. Standard input is nobody's but the agent's.
async fn open(source: &SourceConfig) -> Option<Result<(), String>> {
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

/// Of the brokers; where a proxy makes the way, it alone is reached from here.
async fn probes(config: &RelayConfig) -> Vec<Probe> {
    if let Some(proxy) = &config.proxy {
        let reached = reach(&proxy.host, proxy.port).await;
        return vec![Probe { broker: format!("the proxy {proxy}"), reached }];
    }
    let mut probes = Vec::new();
    for broker in &config.brokers {
        let reached = reach(&broker.host, broker.port).await;
        probes.push(Probe { broker: broker.to_string(), reached });
    }
    probes
}

async fn reach(host: &str, port: u16) -> Reached {
    let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
    let looked_up = timeout(WITHIN, lookup_host((host, port))).await;
    let addresses: Vec<SocketAddr> = match looked_up {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Reached::NotFound(error.to_string()),
        Err(_) => return Reached::NotFound("no name server answers within 5 s".to_owned()),
    };
    match timeout(WITHIN, TcpStream::connect(&*addresses)).await.unwrap_or_else(late) {
        Ok(_) => Reached::Answered,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Reached::NoAnswer("nobody answers within 5 s".to_owned())
        }
        Err(error) => Reached::NoAnswer(error.to_string()),
    }
}
