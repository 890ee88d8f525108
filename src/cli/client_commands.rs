//! Subcommands that query or instruct the agent on this host through its control socket.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::config;
use crate::control::client::{Client, DEFAULT_PATH};
use crate::control::{
    self, DelayRequest, Disposition, Empty, LogLevelRequest, OutcomeRequest, ParcelOutcome,
    Request, Response, ScanRequest,
};
use crate::doctor;
use waypost_wire::payloads::Duty;

/// The `--control` option.
#[derive(Debug, clap::Args)]
pub(super) struct ControlSocketArg {
    /// Path of the agent's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH)]
    control: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    /// Write JSON, one object per line; docs/control.md describes its members
    #[arg(long)]
    json: bool,
    /// Repeat every second until interrupted
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    socket: ControlSocketArg,
}

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArguments {
    /// Path of the agent's configuration file
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Path of the agent's control socket, instead of the configured one
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Write JSON: `first`, and `findings` in the order of cause
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ScanArguments {
    /// Code as printed on the label
    code: String,
    #[command(flatten)]
    socket: ControlSocketArg,
}

#[derive(Debug, clap::Args)]
pub(super) struct OutcomeArguments {
    /// Number of the parcel as printed on the label
    parcel: String,
    /// Outcome of the delivery; undo revokes the last outcome of this parcel
    outcome: OutcomeArg,
    /// Reason why it could not be delivered: the code on the control card, such as AQ
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Place of the delivery, if not to a person at the stop
    #[arg(long, value_name = "HOW")]
    how: Option<DispositionArg>,
    #[command(flatten)]
    socket: ControlSocketArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutcomeArg {
    Delivered,
    Attempt,
    Damaged,
    NotFound,
    Returned,
    Undo,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DispositionArg {
    SafePlace,
    Neighbour,
    Locker,
}

#[derive(Debug, clap::Args)]
pub(super) struct DutyArguments {
    /// Duty state; off duty and during breaks the van's position is neither stored nor sent
    duty: DutyArg,
    #[command(flatten)]
    socket: ControlSocketArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DutyArg {
    On,
    Off,
    Break,
}

#[derive(Debug, clap::Args)]
pub(super) struct DelayArguments {
    /// Reason of the delay: a code of X12 data element 1651, such as AO for weather; none clears
    /// the delay
    code: String,
    #[command(flatten)]
    socket: ControlSocketArg,
}

#[derive(Debug, clap::Args)]
pub(super) struct LogArguments {
    /// Log level; from debug on, the log has personal data: positions and parcel numbers
    level: LogLevel,
    #[command(flatten)]
    socket: ControlSocketArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Prints the agent's status, once or every second.
pub(super) fn status(arguments: &StatusArguments) -> anyhow::Result<()> {
    let StatusArguments { json, watch, socket } = arguments;
    let mut client = Client::connect(&socket.control)?;
    let probe = if *watch { Request::Watch(Empty {}) } else { Request::Status(Empty {}) };
    let mut out = io::stdout().lock();
    let in_place = *watch && !*json && out.is_terminal();
    let mut answer = client.request(&probe)?;
    loop {
        let Response::Status(status) = answer else {
            anyhow::bail!("unexpected response of the agent: no status")
        };
        if *json {
            writeln!(out, "{}", serde_json::to_string(&status)?)?;
        } else if in_place {
            // Move to the top left, and clear only the rest of each line and of the screen, to
            // avoid flicker.
            let text = control::text(&status).replace('\n', "\x1b[K\n");
            write!(out, "\x1b[H{text}\x1b[J")?;
        } else if *watch {
            writeln!(out, "{}", control::summary(&status))?;
        } else {
            write!(out, "{}", control::text(&status))?;
        }
        out.flush()?;
        if !*watch {
            return Ok(());
        }
        answer = client.next_response()?;
    }
}

/// Prints the diagnosis. A failed check is an error.
pub(super) async fn why(
    DoctorArguments { config, control, json }: DoctorArguments,
) -> anyhow::Result<()> {
    let judgement = doctor::diagnose(&doctor::probe::gather(&config, control.as_deref()).await?);
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&judgement)?)?;
    } else {
        write!(out, "{judgement}")?;
    }
    out.flush()?;
    match judgement.first {
        None => Ok(()),
        Some(first) => anyhow::bail!("first failed check: {}", first.as_str()),
    }
}

pub(super) fn scan(ScanArguments { code, socket }: ScanArguments) -> anyhow::Result<()> {
    send_request(&socket.control, &Request::Scan(ScanRequest { code }))
}

pub(super) fn outcome(arguments: OutcomeArguments) -> anyhow::Result<()> {
    let OutcomeArguments { parcel, outcome, code, how, socket } = arguments;
    let outcome = match outcome {
        OutcomeArg::Delivered => ParcelOutcome::Delivered,
        OutcomeArg::Attempt => ParcelOutcome::Attempt,
        OutcomeArg::Damaged => ParcelOutcome::Damaged,
        OutcomeArg::NotFound => ParcelOutcome::NotFound,
        OutcomeArg::Returned => ParcelOutcome::Returned,
        OutcomeArg::Undo => ParcelOutcome::Undo,
    };
    let how = how.map(|how| match how {
        DispositionArg::SafePlace => Disposition::SafePlace,
        DispositionArg::Neighbour => Disposition::Neighbour,
        DispositionArg::Locker => Disposition::Locker,
    });
    send_request(&socket.control, &Request::Outcome(OutcomeRequest { parcel, outcome, code, how }))
}

pub(super) fn duty(DutyArguments { duty, socket }: &DutyArguments) -> anyhow::Result<()> {
    let duty = match duty {
        DutyArg::On => Duty::On,
        DutyArg::Off => Duty::Off,
        DutyArg::Break => Duty::Break,
    };
    send_request(&socket.control, &Request::Duty(duty))
}

pub(super) fn delay(DelayArguments { code, socket }: DelayArguments) -> anyhow::Result<()> {
    let code = if code == "none" { String::new() } else { code };
    send_request(&socket.control, &Request::Delay(DelayRequest { code }))
}

pub(super) fn log(LogArguments { level, socket }: &LogArguments) -> anyhow::Result<()> {
    let name = level.to_possible_value().expect("every level has a clap value");
    let level = name.get_name().to_owned();
    send_request(&socket.control, &Request::Log(LogLevelRequest { level }))
}

/// Sends a request and prints the response.
fn send_request(socket: &Path, probe: &Request) -> anyhow::Result<()> {
    match Client::connect(socket)?.request(probe)? {
        Response::Done(text) => Ok(writeln!(io::stdout(), "{text}")?),
        Response::Refused(text) => anyhow::bail!("{text}"),
        Response::Status(_) | Response::Error(_) => {
            anyhow::bail!("unexpected response of the agent")
        }
    }
}
