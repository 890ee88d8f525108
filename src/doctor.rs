//! `waypost doctor`: derives findings and remedies from evidence, in causal order (pure; [`probe`]
//! gathers the evidence).
//!
//! - There are two causal chains: from the receiver to the clock, and from the name look-up to the
//!   broker's response. Checks after the first failure of a chain are not evaluated, because they
//!   may be consequences of it.
//! - A check without evidence is `unknown`, neither passed nor failed.
//! - Findings contain no secrets, parcel numbers or positions.

mod link;
pub mod probe;
mod receiver;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::config::Config;
use crate::control::span;
use crate::control::status::{OutboxStatus, ScannerStatus, Status};

/// Checks in causal order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The agent on this host runs.
    Agent,
    /// The configuration is valid.
    Configuration,
    /// The port or connection of the receiver is open.
    Device,
    /// The receiver reports a working antenna.
    Antenna,
    /// The receiver sends bytes.
    Bytes,
    /// The bytes contain valid sentences.
    Sentences,
    /// The receiver has a fix.
    Fix,
    /// The receiver's time is trusted.
    Clock,
    /// The scanners are open.
    Scanners,
    /// The outbox can write.
    Outbox,
    /// The broker's name resolves.
    Dns,
    /// The broker accepts connections.
    Tcp,
    /// TLS handshake and certificates are valid.
    Tls,
    /// The broker accepts the MQTT connection.
    Mqtt,
    /// The broker accepts published messages.
    Publish,
}

impl Check {
    /// Returns the name used in the JSON output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Configuration => "configuration",
            Self::Device => "device",
            Self::Antenna => "antenna",
            Self::Bytes => "bytes",
            Self::Sentences => "sentences",
            Self::Fix => "fix",
            Self::Clock => "clock",
            Self::Scanners => "scanners",
            Self::Outbox => "outbox",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Mqtt => "mqtt",
            Self::Publish => "publish",
        }
    }
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Passed.
    Fine,
    /// Failed.
    Wrong,
    /// Without evidence, or preceded by a failed check.
    Unknown,
}

/// A check with its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub part: Check,
    pub verdict: Verdict,
    /// Observation, for people.
    pub words: String,
    /// Remedy for a failed check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(part: Check, words: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Fine, words: words.into(), remedy: None }
    }

    fn unknown(part: Check, words: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Unknown, words: words.into(), remedy: None }
    }

    fn fail(part: Check, words: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (words, remedy) = (words.into(), Some(remedy.into()));
        Self { part, verdict: Verdict::Wrong, words, remedy }
    }
}

/// Result of the status request to the agent.
#[derive(Clone, Debug)]
pub enum AgentStatusResult {
    /// The agent's status.
    Answered(Box<Status>),
    /// The agent does not respond; with the reason.
    NoResponse(String),
    /// The control socket is disabled in the configuration.
    NoSocket,
}

/// Result of a connection attempt by this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The name cannot be resolved; with the reason.
    NameNotFound(String),
    /// No connection; with the reason.
    Unreachable(String),
    /// The TCP connection was accepted.
    Reachable,
}

/// Connection attempt to a configured broker, or to the proxy for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Address of the broker in the configuration.
    pub broker: String,
    pub result: ProbeResult,
}

/// Evidence for all checks.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Status of the agent.
    pub agent: AgentStatusResult,
    /// The configuration, or the reason why it is invalid.
    pub config: Result<Box<Config>, String>,
    /// Whether the receiver's port can be opened; `None` if not tried.
    pub device: Option<Result<(), String>>,
    /// Whether the TLS files can be used; `None` if not tried.
    pub tls_files: Option<Result<(), String>>,
    /// Attempts for each configured broker, or for the proxy; empty if the agent is connected.
    pub probes: Vec<Probe>,
}

impl Evidence {
    fn status(&self) -> Option<&Status> {
        match &self.agent {
            AgentStatusResult::Answered(status) => Some(status),
            AgentStatusResult::NoResponse(_) | AgentStatusResult::NoSocket => None,
        }
    }
}

/// Result of the diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The first failed check; absent if none failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Check>,
    /// All findings in causal order.
    pub findings: Vec<Finding>,
}

/// Evaluates all checks in causal order.
#[must_use]
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    let mut findings = vec![agent(evidence), configuration(evidence)];
    findings.extend(until_first_fault(receiver::chain(evidence)));
    if let Some(status) = evidence.status() {
        findings.extend(scanners(&status.scanners));
        findings.push(outbox(&status.outbox));
    }
    findings.extend(until_first_fault(link::chain(evidence)));
    let first = findings.iter().find(|one| one.verdict == Verdict::Wrong).map(|one| one.part);
    Diagnosis { first, findings }
}

/// Replaces all findings after the first failure of a chain by `unknown`.
fn until_first_fault(chain: Vec<Finding>) -> impl Iterator<Item = Finding> {
    let mut fault = None;
    chain.into_iter().map(move |finding| match fault {
        Some(before) => Finding::unknown(finding.part, format!("first resolve: {before}")),
        None => {
            fault = (finding.verdict == Verdict::Wrong).then(|| finding.part.as_str());
            finding
        }
    })
}

fn agent(evidence: &Evidence) -> Finding {
    const LOOK: &str = "see `systemctl status waypost` and `journalctl -u waypost -n 50` for the reason; start it with `sudo systemctl start waypost`";
    match &evidence.agent {
        AgentStatusResult::Answered(status) => {
            let Status { version, van, uptime_s, .. } = &**status;
            let words = format!("waypost {version}, {van}, running for {}", span(*uptime_s));
            Finding::ok(Check::Agent, words)
        }
        AgentStatusResult::NoResponse(why) => Finding::fail(Check::Agent, why, LOOK),
        AgentStatusResult::NoSocket => Finding::unknown(
            Check::Agent,
            "control.path is empty, so the agent cannot be queried; see `systemctl status waypost`",
        ),
    }
}

fn configuration(evidence: &Evidence) -> Finding {
    const REMEDY: &str = "correct each line; validate with `waypost check`";
    match &evidence.config {
        Ok(_) => Finding::ok(Check::Configuration, "valid"),
        // A running agent uses the configuration it read at its start, and this user may have fewer
        // permissions.
        Err(why) if evidence.status().is_some() => Finding::unknown(Check::Configuration, why),
        Err(why) => Finding::fail(Check::Configuration, why, REMEDY),
    }
}

fn scanners(scanners: &[ScannerStatus]) -> Option<Finding> {
    let gone: Vec<_> = scanners.iter().filter(|one| one.state == "gone").collect();
    if scanners.is_empty() {
        return None;
    }
    if gone.is_empty() {
        return Some(Finding::ok(Check::Scanners, format!("{} open", scanners.len())));
    }
    let words = gone.iter().map(|one| {
        let ScannerStatus { name, error, .. } = one;
        format!("{name}: {}", error.as_deref().unwrap_or("gone"))
    });
    let remedy = "connect it, or correct its `source` (docs/scanners.md)";
    Some(Finding::fail(Check::Scanners, words.collect::<Vec<_>>().join("; "), remedy))
}

fn outbox(outbox: &OutboxStatus) -> Finding {
    let OutboxStatus { pending, dropped, failing, .. } = outbox;
    if *failing {
        let words = format!("disk writes fail; {pending} records pending, some of them in memory");
        let remedy = "free disk space (`df -h`), check the card (`dmesg`), replace it; pending records are still sent";
        return Finding::fail(Check::Outbox, words, remedy);
    }
    let dropped = match dropped {
        0 => String::new(),
        count => format!(", {count} evicted so far"),
    };
    Finding::ok(Check::Outbox, format!("{pending} records pending{dropped}"))
}

/// Text output: one line per check, with the remedy below a failed one.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for Finding { part, verdict, words, remedy } in &self.findings {
            let verdict = match verdict {
                Verdict::Fine => "fine",
                Verdict::Wrong => "WRONG",
                Verdict::Unknown => "-",
            };
            // Configuration reports have several lines, and receiver messages may contain any
            // characters.
            let mut lines = words.lines().map(|line| line.replace(char::is_control, " "));
            let first = lines.next().unwrap_or_default();
            writeln!(text, "  {verdict:<6} {:<14} {first}", part.as_str())?;
            lines.try_for_each(|line| writeln!(text, "{:<24}{line}", ""))?;
            if let Some(remedy) = remedy {
                writeln!(text, "{:<24}→ {remedy}", "")?;
            }
        }
        if self.first.is_none() {
            writeln!(text, "no problems found")?;
        }
        f.write_str(&text)
    }
}
