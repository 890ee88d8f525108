//! Evidence → findings: what is wrong, in the order of cause, and what to do about it (pure; [`look`] gathers).
//!
//! - There are two chains of causes: from the receiver to the clock, and from the name look-up to the broker's answer. What
//!   follows the first fault of a chain is not judged: it may be nothing but its consequence.
//! - What nobody can tell is `unknown`, and neither fine nor wrong.
//! - No finding carries a secret, a parcel or a place.

mod link;
pub mod look;
mod receiver;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::config::Config;
use crate::control::span;
use crate::control::status::{OutboxStatus, ScannerStatus, Status};

/// What is judged, in the order of cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The agent of this host.
    Agent,
    /// Its file.
    Configuration,
    /// The receiver's port or connection.
    Device,
    /// What the receiver says of its antenna.
    Antenna,
    /// Whether the receiver says anything.
    Bytes,
    /// Whether that is understood.
    Sentences,
    /// Whether the receiver knows where it is.
    Fix,
    /// Whether it knows what time it is.
    Clock,
    /// What reads parcels.
    Scanners,
    /// What keeps the records.
    Outbox,
    /// The broker's name.
    Dns,
    /// The way to the broker.
    Tcp,
    /// Trust between the two.
    Tls,
    /// Whether the broker lets us in.
    Mqtt,
    /// Whether it takes what we say.
    Publish,
}

impl Part {
    /// As in the JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
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

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// Not so.
    Wrong,
    /// Nobody can tell, or something before it is wrong.
    Unknown,
}

/// A part, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which part.
    pub part: Part,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub words: String,
    /// What to do, if it is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn fine(part: Part, words: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Fine, words: words.into(), remedy: None }
    }

    fn unknown(part: Part, words: impl Into<String>) -> Self {
        Self { part, verdict: Verdict::Unknown, words: words.into(), remedy: None }
    }

    fn wrong(part: Part, words: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (words, remedy) = (words.into(), Some(remedy.into()));
        Self { part, verdict: Verdict::Wrong, words, remedy }
    }
}

/// What the agent said when it was asked.
#[derive(Clone, Debug)]
pub enum Asked {
    /// How it is.
    Answered(Box<Status>),
    /// Nothing; why, in words.
    Silent(String),
    /// The configuration gives it no socket.
    NoSocket,
}

/// How far somebody beside the agent comes on the way to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Its name is not found; why, in words.
    NotFound(String),
    /// Nobody answers there; why, in words.
    NoAnswer(String),
    /// Something listens there.
    Answered,
}

/// One broker of the configuration, or the proxy before them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// As in the configuration.
    pub broker: String,
    /// How far we came.
    pub reached: Reached,
}

/// Everything that was looked at.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The agent's own word.
    pub agent: Asked,
    /// The configuration, or why there is none.
    pub config: Result<Box<Config>, String>,
    /// Whether the receiver's port can be opened, if somebody tried.
    pub device: Option<Result<(), String>>,
    /// Whether the files for TLS can be used, if somebody tried.
    pub tls_files: Option<Result<(), String>>,
    /// The brokers, in the order of the configuration, or their proxy; none if the agent has a link.
    pub probes: Vec<Probe>,
}

impl Evidence {
    fn status(&self) -> Option<&Status> {
        match &self.agent {
            Asked::Answered(status) => Some(status),
            Asked::Silent(_) | Asked::NoSocket => None,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// The first part that is wrong; absent if all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Part>,
    /// Every part, in the order of cause.
    pub findings: Vec<Finding>,
}

/// Goes through everything in the order of cause.
#[must_use]
pub fn judge(evidence: &Evidence) -> Judgement {
    let mut findings = vec![agent(evidence), configuration(evidence)];
    findings.extend(up_to_the_fault(receiver::chain(evidence)));
    if let Some(status) = evidence.status() {
        findings.extend(scanners(&status.scanners));
        findings.push(outbox(&status.outbox));
    }
    findings.extend(up_to_the_fault(link::chain(evidence)));
    let first = findings.iter().find(|one| one.verdict == Verdict::Wrong).map(|one| one.part);
    Judgement { first, findings }
}

/// After the first fault of a chain, nothing is judged.
fn up_to_the_fault(chain: Vec<Finding>) -> impl Iterator<Item = Finding> {
    let mut fault = None;
    chain.into_iter().map(move |finding| match fault {
        Some(before) => Finding::unknown(finding.part, format!("{before} comes first")),
        None => {
            fault = (finding.verdict == Verdict::Wrong).then(|| finding.part.name());
            finding
        }
    })
}

fn agent(evidence: &Evidence) -> Finding {
    const LOOK: &str = "`systemctl status waypost` and `journalctl -u waypost -n 50` say why it does not run; `sudo systemctl start waypost`";
    match &evidence.agent {
        Asked::Answered(status) => {
            let Status { version, van, uptime_s, .. } = &**status;
            let words = format!("waypost {version}, {van}, runs for {}", span(*uptime_s));
            Finding::fine(Part::Agent, words)
        }
        Asked::Silent(why) => Finding::wrong(Part::Agent, why, LOOK),
        Asked::NoSocket => Finding::unknown(
            Part::Agent,
            "control.path is empty: it cannot be asked; `systemctl status waypost` has a line of it",
        ),
    }
}

fn configuration(evidence: &Evidence) -> Finding {
    const REMEDY: &str = "correct what each line names; `waypost check` says when it is in order";
    match &evidence.config {
        Ok(_) => Finding::fine(Part::Configuration, "in order"),
        // It runs on what it read when it started, and who asks here may not be allowed to read as much.
        Err(why) if evidence.status().is_some() => Finding::unknown(Part::Configuration, why),
        Err(why) => Finding::wrong(Part::Configuration, why, REMEDY),
    }
}

fn scanners(scanners: &[ScannerStatus]) -> Option<Finding> {
    let gone: Vec<_> = scanners.iter().filter(|one| one.state == "gone").collect();
    if scanners.is_empty() {
        return None;
    }
    if gone.is_empty() {
        return Some(Finding::fine(Part::Scanners, format!("{} open", scanners.len())));
    }
    let words = gone.iter().map(|one| {
        let ScannerStatus { name, error, .. } = one;
        format!("{name}: {}", error.as_deref().unwrap_or("gone"))
    });
    let remedy = "plug it in, or correct its `source`: docs/scanners.md";
    Some(Finding::wrong(Part::Scanners, words.collect::<Vec<_>>().join("; "), remedy))
}

fn outbox(outbox: &OutboxStatus) -> Finding {
    let OutboxStatus { pending, dropped, failing, .. } = outbox;
    if *failing {
        let words =
            format!("the disk does not write; {pending} records wait, some of them in memory");
        let remedy = "free space (`df -h`), look at the card (`dmesg`), replace it; what waits is still sent";
        return Finding::wrong(Part::Outbox, words, remedy);
    }
    let dropped = match dropped {
        0 => String::new(),
        count => format!(", {count} given up in its life"),
    };
    Finding::fine(Part::Outbox, format!("{pending} records wait{dropped}"))
}

/// For people: a line for each part, and the remedy below what is wrong.
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for Finding { part, verdict, words, remedy } in &self.findings {
            let verdict = match verdict {
                Verdict::Fine => "fine",
                Verdict::Wrong => "WRONG",
                Verdict::Unknown => "-",
            };
            // A configuration's report has several lines, and a receiver's words may hold anything.
            let mut lines = words.lines().map(|line| line.replace(char::is_control, " "));
            let first = lines.next().unwrap_or_default();
            writeln!(text, "  {verdict:<6} {:<14} {first}", part.name())?;
            lines.try_for_each(|line| writeln!(text, "{:<24}{line}", ""))?;
            if let Some(remedy) = remedy {
                writeln!(text, "{:<24}→ {remedy}", "")?;
            }
        }
        if self.first.is_none() {
            writeln!(text, "nothing is wrong")?;
        }
        f.write_str(&text)
    }
}
