//! Arguments and help text; subcommand → exit code.

mod ask;
mod configuration;
mod run;

use std::future::Future;
use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use tracing::Level;

use crate::clock::Clock;
use crate::code;
use crate::config::{Config, DEFAULT_PATH, Override};
use crate::core::sampling::{Bounds, Sampling};
use crate::decode;
use crate::exit;
use crate::logging;
use crate::replay::{self, Emit};
use crate::units::{Date, Distance};
use crate::wire::VanId;

/// The tracking agent for delivery vans: NMEA in, MQTT out, and nothing accepted is lost between.
#[derive(Debug, Parser)]
#[command(name = "waypost", version, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent until SIGTERM; SIGHUP reads the configuration anew
    Run {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
        /// The agent's time runs so many times as fast: for a simulated day in minutes
        #[cfg(feature = "simulate")]
        #[arg(long, value_name = "TIMES", default_value = "1", value_parser = speed, hide = true)]
        speed: Speed,
    },
    /// Send recorded logs through the code that runs in the van
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArguments),
    /// Check the configuration: every problem in one report
    Check {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
    },
    /// Look at the configuration
    #[command(subcommand)]
    Config(configuration::ConfigCommand),
    /// Say how the agent on this host is
    Status(ask::StatusArguments),
    /// Say what is wrong, from the receiver to the broker, and what to do about it
    #[command(after_help = WHY_HELP)]
    Why(ask::WhyArguments),
    /// Tell the agent a code, as if it had been scanned
    Scan(ask::ScanArguments),
    /// Tell the agent what became of a parcel
    Outcome(ask::OutcomeArguments),
    /// Tell the agent whether the driver is on duty
    Duty(ask::DutyArguments),
    /// Tell the agent why the van is late
    Delay(ask::DelayArguments),
    /// Change how much the agent logs, until it starts anew
    Log(ask::LogArguments),
    /// Write compact messages of the topic `track` as the JSON that they stand for
    #[command(after_help = DECODE_HELP)]
    Decode(DecodeArguments),
    /// Say what the codes of labels and radio tags mean
    #[command(after_help = CODE_HELP)]
    Code(CodeArguments),
    /// Write what a receiver would say in a van on a route
    #[cfg(feature = "simulate")]
    Simulate(crate::simulate::SimulateArgs),
    /// A simulated van, a broker, the agent and a subscriber, all in this process
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs),
    /// Write the completions of a shell to standard output
    Completions {
        /// The shell
        shell: Shell,
    },
}

const REPLAY_HELP: &str = "\
With --emit the log goes through the pipeline only: JSON lines on standard output, no broker, no files.
Without it the log goes through the whole agent, which ends when the broker has acknowledged everything.
A new outbox numbers from 1 again: give a replay a van id of its own, or consumers take its points for duplicates.

Examples:
  waypost replay --emit fixes drive.nmea
  waypost replay --broker mqtt://localhost --van VAN-042-replay --outbox /tmp/replay.db drive.nmea
  waypost replay --config /etc/waypost/waypost.toml --speed 10 monday.nmea tuesday.nmea";

const WHY_HELP: &str = "\
It asks the agent, and where that has no link or does not run, it looks for itself. The exit code is 0 if nothing is
wrong, and 1 if something is.";

const DECODE_HELP: &str = "\
A message is binary as it came, or a line of hexadecimal or base64; a line may begin with the topic, which names the van.

Examples:
  mosquitto_sub -V 5 -h broker -t 'fleet/v1/+/track' -F '%t %x' | waypost decode
  waypost decode --van VAN-042 message.bin";

#[derive(Debug, clap::Args)]
struct DecodeArguments {
    /// The messages; - for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// The van, where no topic names it
    #[arg(long, value_name = "ID", default_value = "unknown", value_parser = VanId::new)]
    van: VanId,
}

const CODE_HELP: &str = "\
A code is what a scanner sends, with or without its AIM identifier (]C1), or the memory of a radio tag in hexadecimal.
The separator of GS1 elements may be written as <GS>, \\x1d or ^].

Examples:
  waypost code ']C100395212340000000014<GS>42127680331'
  waypost code --json 1Z999AA10123456784 3174257BF4499602D2000000
  cat /dev/serial/by-id/usb-Datalogic_* | waypost code";

#[derive(Debug, clap::Args)]
struct CodeArguments {
    /// What was read; - for lines of standard input, as without any
    #[arg(value_name = "CODE")]
    codes: Vec<String>,
    /// Write an object a line
    #[arg(long)]
    json: bool,
    /// The operator's domain, in the URIs of parcels that GS1 does not number
    #[arg(long, value_name = "DOMAIN", default_value = "id.example.com", value_parser = domain)]
    domain: String,
}

fn domain(text: &str) -> Result<String, String> {
    let good = |one: u8| one.is_ascii_alphanumeric() || matches!(one, b'.' | b'-');
    if text.is_empty() || !text.bytes().all(good) {
        return Err("write a name such as id.example.com".to_owned());
    }
    Ok(text.to_owned())
}

#[derive(Debug, clap::Args)]
struct ReplayArguments {
    /// Recorded NMEA 0183, one file after the other; `# Date: YYYY-MM-DD` in a comment says when it was made
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    /// Write each accepted fix, or each record, as a line of JSON
    #[arg(long, value_enum, conflicts_with_all = ["config", "broker", "van", "outbox", "speed"])]
    emit: Option<Emit>,
    /// The day of the recording: century and week rollover are judged by it
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<Date>,
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The broker, instead of the configuration's: `mqtt://HOST[:PORT]`
    #[arg(long, value_name = "URL", required_unless_present_any = ["config", "emit"])]
    broker: Option<String>,
    /// The van's id, instead of the configuration's
    #[arg(long, value_name = "ID", required_unless_present_any = ["config", "emit"])]
    van: Option<String>,
    /// The outbox, instead of the configuration's
    #[arg(long, value_name = "FILE", required_unless_present_any = ["config", "emit"])]
    outbox: Option<String>,
    /// Which fixes the trail keeps, instead of the configuration's: raw or bounded; with --emit records it is raw
    #[arg(long, value_name = "POLICY")]
    sampling: Option<String>,
    /// With bounded: how far the lines between the kept points may be from the van, in metres
    #[arg(long, value_name = "METRES", requires = "sampling")]
    max_error_m: Option<String>,
    /// How many times faster than it was recorded, or max
    #[arg(long, value_name = "FACTOR", default_value = "max", value_parser = speed)]
    speed: Speed,
}

/// How fast a log is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    Factor(f64),
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(factor) if (0.1..=10_000.0).contains(&factor) => Ok(Speed::Factor(factor)),
        _ => Err("write a number from 0.1 to 10000, or max".to_owned()),
    }
}

fn date(text: &str) -> Result<Date, String> {
    Date::parse(text).ok_or_else(|| "write it as YYYY-MM-DD".to_owned())
}

/// The arguments as the manual and completions have them.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Does what the arguments say.
#[must_use]
pub fn main() -> ExitCode {
    exit::run(|Arguments { command }| execute(command))
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        #[cfg(feature = "simulate")]
        Command::Run { config, speed } => run::run(&config, &clock_of(speed)),
        #[cfg(not(feature = "simulate"))]
        Command::Run { config } => run::run(&config, &Clock::live()),
        Command::Replay(arguments) => match arguments.emit {
            Some(emit) => emit_lines(&arguments, emit),
            None => replay_agent(&arguments),
        },
        Command::Check { config } => configuration::check(&config),
        Command::Config(command) => configuration::command(&command),
        Command::Status(arguments) => ask::status(&arguments),
        Command::Why(arguments) => block_on(ask::why(arguments)),
        Command::Scan(arguments) => ask::scan(arguments),
        Command::Outcome(arguments) => ask::outcome(arguments),
        Command::Duty(arguments) => ask::duty(&arguments),
        Command::Delay(arguments) => ask::delay(arguments),
        Command::Log(arguments) => ask::log(&arguments),
        Command::Decode(arguments) => decode(&arguments),
        Command::Code(arguments) => explain(&arguments),
        #[cfg(feature = "simulate")]
        Command::Simulate(arguments) => block_on(crate::simulate::command(arguments)),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => block_on(crate::demo::command(arguments)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "waypost", &mut script);
            Ok(io::stdout().write_all(&script)?)
        }
    }
}

/// One thread does everything: a van's computer has better to do.
///
/// Beside it wait threads for what blocks: the disk, standard input, and name look-ups, of which a dead network can
/// leave several behind.
const BLOCKING_THREADS: usize = 8;

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let result = runtime.block_on(work);
    // A thread that waits for standard input, or for a name server, must not keep us.
    runtime.shutdown_background();
    result
}

fn decode(DecodeArguments { file, van }: &DecodeArguments) -> anyhow::Result<()> {
    let out = io::BufWriter::new(io::stdout().lock());
    if file.as_os_str() == "-" {
        return Ok(decode::command(io::stdin().lock(), van, out)?);
    }
    let input = std::fs::File::open(file)
        .map_err(|error| anyhow::anyhow!("{}: cannot be read: {error}", file.display()))?;
    Ok(decode::command(io::BufReader::new(input), van, out)?)
}

fn explain(CodeArguments { codes, json, domain }: &CodeArguments) -> anyhow::Result<()> {
    let out = io::BufWriter::new(io::stdout().lock());
    let form = if *json { code::Form::Json } else { code::Form::Text };
    Ok(code::command(codes, io::stdin().lock(), domain, form, out)?)
}

fn emit_lines(arguments: &ReplayArguments, emit: Emit) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let logs = replay::open(&arguments.logs)?;
    let era = replay::era(arguments.date, &arguments.logs)?;
    replay::emit(logs, era, sampling(arguments)?, emit, &mut out)?;
    Ok(out.flush()?)
}

fn sampling(arguments: &ReplayArguments) -> anyhow::Result<Sampling> {
    let mut bounds = Bounds::default();
    if let Some(text) = &arguments.max_error_m {
        let metres = text.parse().ok().filter(|metres| *metres >= Bounds::MIN_ERROR_M);
        bounds.max_error = metres
            .and_then(Distance::from_metres)
            .with_context(|| format!("--max-error-m {text}: write metres, 1 or more"))?;
    }
    match arguments.sampling.as_deref() {
        None | Some("raw") => Ok(Sampling::Raw),
        Some("bounded") => Ok(Sampling::Bounded(bounds)),
        Some(other) => anyhow::bail!("--sampling {other}: write raw or bounded"),
    }
}

fn clock_of(speed: Speed) -> Clock {
    match speed {
        Speed::Factor(factor) => Clock::scaled(factor),
        Speed::Max => Clock::by_data(),
    }
}

fn replay_agent(arguments: &ReplayArguments) -> anyhow::Result<()> {
    let given = [
        ("mqtt.broker", &arguments.broker),
        ("van.id", &arguments.van),
        ("outbox.path", &arguments.outbox),
        ("track.sampling", &arguments.sampling),
        ("track.max_error_m", &arguments.max_error_m),
    ];
    let overrides: Vec<Override> = given
        .into_iter()
        .filter_map(|(key, value)| Some(Override { key, value: value.clone()? }))
        .collect();
    let config = match &arguments.config {
        Some(path) => Config::load(path, &overrides)?,
        None => Config::parse("", "command line", &overrides)?,
    };
    let progress = io::stderr().is_terminal();
    // The bar has the terminal to itself, unless something is wrong.
    logging::init(if progress { config.log_level.min(Level::WARN) } else { config.log_level });
    let clock = clock_of(arguments.speed);
    let era = replay::era(arguments.date, &arguments.logs)?;
    block_on(async {
        let summary = replay::through_agent(config, era, clock, &arguments.logs, progress).await?;
        writeln!(io::stdout(), "{summary}")?;
        let waiting = summary.waiting();
        anyhow::ensure!(waiting == 0, "stopped, and {waiting} records still wait in the outbox");
        Ok(())
    })
}
