//! `waypost status`, `scan`, `outcome`, `duty`, `delay`, `log`: questions to the agent that runs on this host.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::config;
use crate::control::client::{Client, DEFAULT_PATH};
use crate::control::{
    self, Answer, DelayAsked, HandOver, LogAsked, Nothing, OutcomeAsked, ParcelOutcome, Question,
    ScanAsked,
};
use crate::why;
use crate::wire::json::Duty;

/// Where the agent listens.
#[derive(Debug, clap::Args)]
pub(super) struct Socket {
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH)]
    control: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    /// As JSON, one object a line; docs/control.md has its members
    #[arg(long)]
    json: bool,
    /// Again each second, until interrupted
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Args)]
pub(super) struct WhyArguments {
    /// The agent's configuration
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// The agent's socket, instead of the configuration's
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// As JSON: `first`, and `findings` in the order of cause
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ScanArguments {
    /// The code, as it stands on the label
    code: String,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Args)]
pub(super) struct OutcomeArguments {
    /// The parcel's number, as it stands on the label
    parcel: String,
    /// What became of it; undo takes its last outcome back
    outcome: Outcome,
    /// Why it could not be handed over: the code on the control card, such as AQ
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// How it was handed over, if not to somebody at the stop
    #[arg(long, value_name = "HOW")]
    how: Option<How>,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Outcome {
    Delivered,
    Attempt,
    Damaged,
    NotFound,
    Returned,
    Undo,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    SafePlace,
    Neighbour,
    Locker,
}

#[derive(Debug, clap::Args)]
pub(super) struct DutyArguments {
    /// Off duty and in breaks, nothing is stored or sent of where the van is
    duty: DutyWord,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DutyWord {
    On,
    Off,
    Break,
}

#[derive(Debug, clap::Args)]
pub(super) struct DelayArguments {
    /// Why the van is late: a code of UN/EDIFACT 4221, such as AO for weather; none when that is over
    code: String,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Args)]
pub(super) struct LogArguments {
    /// Positions and parcel numbers are personal data and appear from debug on
    level: LogLevel,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Shows how the agent is.
pub(super) fn status(arguments: &StatusArguments) -> anyhow::Result<()> {
    let StatusArguments { json, watch, socket } = arguments;
    let mut client = Client::connect(&socket.control)?;
    let question = if *watch { Question::Watch(Nothing {}) } else { Question::Status(Nothing {}) };
    let mut out = io::stdout().lock();
    let in_place = *watch && !*json && out.is_terminal();
    let mut answer = client.ask(&question)?;
    loop {
        let Answer::Status(status) = answer else { anyhow::bail!("the agent said no status") };
        if *json {
            writeln!(out, "{}", serde_json::to_string(&status)?)?;
        } else if in_place {
            // Home, and each line and what is below it cleared: nothing flickers.
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
        answer = client.answer()?;
    }
}

/// Says what is wrong; that something is, is an error.
pub(super) async fn why(
    WhyArguments { config, control, json }: WhyArguments,
) -> anyhow::Result<()> {
    let judgement = why::judge(&why::look::look(&config, control.as_deref()).await?);
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&judgement)?)?;
    } else {
        write!(out, "{judgement}")?;
    }
    out.flush()?;
    match judgement.first {
        None => Ok(()),
        Some(first) => anyhow::bail!("wrong, first of all: {}", first.name()),
    }
}

pub(super) fn scan(ScanArguments { code, socket }: ScanArguments) -> anyhow::Result<()> {
    tell(&socket.control, &Question::Scan(ScanAsked { code }))
}

pub(super) fn outcome(arguments: OutcomeArguments) -> anyhow::Result<()> {
    let OutcomeArguments { parcel, outcome, code, how, socket } = arguments;
    let outcome = match outcome {
        Outcome::Delivered => ParcelOutcome::Delivered,
        Outcome::Attempt => ParcelOutcome::Attempt,
        Outcome::Damaged => ParcelOutcome::Damaged,
        Outcome::NotFound => ParcelOutcome::NotFound,
        Outcome::Returned => ParcelOutcome::Returned,
        Outcome::Undo => ParcelOutcome::Undo,
    };
    let how = how.map(|how| match how {
        How::SafePlace => HandOver::SafePlace,
        How::Neighbour => HandOver::Neighbour,
        How::Locker => HandOver::Locker,
    });
    tell(&socket.control, &Question::Outcome(OutcomeAsked { parcel, outcome, code, how }))
}

pub(super) fn duty(DutyArguments { duty, socket }: &DutyArguments) -> anyhow::Result<()> {
    let duty = match duty {
        DutyWord::On => Duty::On,
        DutyWord::Off => Duty::Off,
        DutyWord::Break => Duty::Break,
    };
    tell(&socket.control, &Question::Duty(duty))
}

pub(super) fn delay(DelayArguments { code, socket }: DelayArguments) -> anyhow::Result<()> {
    let code = if code == "none" { String::new() } else { code };
    tell(&socket.control, &Question::Delay(DelayAsked { code }))
}

pub(super) fn log(LogArguments { level, socket }: &LogArguments) -> anyhow::Result<()> {
    let name = level.to_possible_value().expect("no level is skipped");
    let level = name.get_name().to_owned();
    tell(&socket.control, &Question::Log(LogAsked { level }))
}

/// Says what came of it.
fn tell(socket: &Path, question: &Question) -> anyhow::Result<()> {
    match Client::connect(socket)?.ask(question)? {
        Answer::Done(text) => Ok(writeln!(io::stdout(), "{text}")?),
        Answer::Refused(text) => anyhow::bail!("{text}"),
        Answer::Status(_) | Answer::Error(_) => anyhow::bail!("the agent answered something else"),
    }
}
