//! Command-line interface of the agent: arguments, help texts and dispatch to the subcommands.

mod client_commands;
mod config;
mod decode;
mod identify;
mod run;

use std::future::Future;
use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use tracing::Level;

use crate::config::{Config, DEFAULT_PATH, Override};
use crate::replay::{self, Emit, RejectedFixes};
use waypost_model::units::{Date, Distance};
use waypost_pipeline::trail_simplifier::{Bounds, Sampling};
use waypost_service::clock::Clock;
use waypost_service::exit;
use waypost_service::logging;
use waypost_wire::VanId;

/// The tracking agent for delivery vans: reads NMEA, publishes over MQTT, keeps every record until
/// it is acknowledged
#[derive(Debug, Parser)]
#[command(name = "waypost", version, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent until SIGTERM; SIGHUP reloads the configuration
    Run {
        /// Path of the configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
        /// Run the agent's clock this many times faster, to simulate a day in minutes
        #[arg(long, value_name = "TIMES", default_value = "1", value_parser = speed, hide = true)]
        speed: Speed,
    },
    /// Send recorded logs through the code that runs in the van
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArguments),
    /// Check the configuration and report every problem at once
    Check {
        /// Path of the configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
    },
    /// Show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show the status of the agent on this host
    Status(client_commands::StatusArguments),
    /// Diagnose the agent, from the receiver to the broker, and suggest remedies
    #[command(after_help = DOCTOR_HELP)]
    Doctor(client_commands::DoctorArguments),
    /// Inject a scan, as if a scanner had read CODE
    Scan(client_commands::ScanArguments),
    /// Record a delivery outcome for a parcel
    Outcome(client_commands::OutcomeArguments),
    /// Set the driver's duty state
    Duty(client_commands::DutyArguments),
    /// Report a delay of the van and its reason
    Delay(client_commands::DelayArguments),
    /// Set the log level of the agent until it restarts
    Log(client_commands::LogArguments),
    /// Decode compact messages of the topic `track` to JSON
    #[command(after_help = DEIDENTIFY_HELP)]
    Decode(DecodeArguments),
    /// Identify codes of parcel labels and RFID tags
    #[command(after_help = IDENTIFY_HELP)]
    Identify(IdentifyArguments),
    /// Write a shell completion script to standard output
    Completions {
        /// Shell to write the script for
        shell: Shell,
    },
}

const REPLAY_HELP: &str = "\
With --emit the log is sent through the pipeline only: JSON lines on standard output, no broker, no files.
Without it the log is sent through the whole agent, which exits when the broker has acknowledged everything.
A new outbox starts at number 1 again: use a separate van id for a replay, or consumers discard its points as duplicates.

Examples:
  waypost replay --emit fixes drive.nmea
  waypost replay --broker mqtt://localhost --van VAN-042-replay --outbox /tmp/replay.db drive.nmea
  waypost replay --config /etc/waypost/waypost.toml --speed 10 monday.nmea tuesday.nmea";

const DOCTOR_HELP: &str = "\
Queries the agent, and probes receiver and broker directly if the agent is not connected or not running. The exit code is
0 if no check fails, and 1 otherwise.";

const DEIDENTIFY_HELP: &str = "\
A message is binary, or a line of hexadecimal or base64. A line may begin with the topic, which names the van.

Examples:
  mosquitto_sub -V 5 -h broker -t 'fleet/v1/+/track' -F '%t %x' | waypost decode
  waypost decode --van VAN-042 message.bin";

#[derive(Debug, clap::Args)]
struct DecodeArguments {
    /// File with the messages; - for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Van id for messages without a topic
    #[arg(long, value_name = "ID", default_value = "unknown", value_parser = VanId::new)]
    van: VanId,
}

const IDENTIFY_HELP: &str = "\
A code is the output of a scanner, with or without its AIM identifier (]C1), or the memory of an RFID tag in hexadecimal.
The separator of GS1 elements may be written as <GS>, \\x1d or ^].

Examples:
  waypost identify ']C100395212340000000014<GS>42127680331'
  waypost identify --json 1Z999AA10123456784 3174257BF4499602D2000000
  cat /dev/serial/by-id/usb-Datalogic_* | waypost identify";

#[derive(Debug, clap::Args)]
struct IdentifyArguments {
    /// Code that was read; - or no CODE at all reads lines from standard input
    #[arg(value_name = "CODE")]
    codes: Vec<String>,
    /// Write one JSON object per line
    #[arg(long)]
    json: bool,
    /// Operator's domain, for the URIs of parcels without a GS1 number
    #[arg(long, value_name = "DOMAIN", default_value = "id.example.com", value_parser = domain)]
    domain: String,
}

fn domain(text: &str) -> Result<String, String> {
    let good = |one: u8| one.is_ascii_alphanumeric() || matches!(one, b'.' | b'-');
    if text.is_empty() || !text.bytes().all(good) {
        return Err("use a name such as id.example.com".to_owned());
    }
    Ok(text.to_owned())
}

#[derive(Debug, clap::Args)]
struct ReplayArguments {
    /// Recordings of NMEA 0183, replayed in this order; a comment `# Date: YYYY-MM-DD` gives the
    /// day of the recording
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    /// Write each accepted fix, or each record, as a line of JSON
    #[arg(long, value_enum, conflicts_with_all = ["config", "broker", "van", "outbox", "speed"])]
    emit: Option<Emit>,
    /// Day of the recording, to resolve the century and the GPS week rollover
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<Date>,
    /// Path of the configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// URL of the broker, instead of the configured one: `mqtt://HOST[:PORT]`
    #[arg(long, value_name = "URL", required_unless_present_any = ["config", "emit"])]
    broker: Option<String>,
    /// Van id, instead of the configured one
    #[arg(long, value_name = "ID", required_unless_present_any = ["config", "emit"])]
    van: Option<String>,
    /// Path of the outbox, instead of the configured one
    #[arg(long, value_name = "FILE", required_unless_present_any = ["config", "emit"])]
    outbox: Option<String>,
    /// Sampling of the track, instead of the configured one: raw or bounded; with --emit records
    /// the default is raw
    #[arg(long, value_name = "POLICY")]
    sampling: Option<String>,
    /// With bounded: maximum distance in metres between the track and the van
    #[arg(long, value_name = "METRES", requires = "sampling")]
    max_error_m: Option<String>,
    /// Replay speed as a multiple of real time, or max
    #[arg(long, value_name = "FACTOR", default_value = "max", value_parser = speed)]
    speed: Speed,
}

/// Replay speed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    Factor(f64),
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(factor) if (0.1..=10_000.0).contains(&factor) => Ok(Speed::Factor(factor)),
        _ => Err("use a number from 0.1 to 10000, or max".to_owned()),
    }
}

fn date(text: &str) -> Result<Date, String> {
    Date::parse(text).ok_or_else(|| "use the form YYYY-MM-DD".to_owned())
}

/// Returns the command definition, for the manual page and the completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the subcommand that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    exit::run(|Arguments { command }| execute(command))
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { config, speed } => run::run(&config, &replay_clock(speed)),
        Command::Replay(arguments) => match arguments.emit {
            Some(emit) => emit_lines(&arguments, emit),
            None => replay_agent(&arguments),
        },
        Command::Check { config } => config::check(&config),
        Command::Config(command) => config::command(&command),
        Command::Status(arguments) => client_commands::status(&arguments),
        Command::Doctor(arguments) => block_on(client_commands::why(arguments)),
        Command::Scan(arguments) => client_commands::scan(arguments),
        Command::Outcome(arguments) => client_commands::outcome(arguments),
        Command::Duty(arguments) => client_commands::duty(&arguments),
        Command::Delay(arguments) => client_commands::delay(arguments),
        Command::Log(arguments) => client_commands::log(&arguments),
        Command::Decode(arguments) => decode_file(&arguments),
        Command::Identify(arguments) => explain(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "waypost", &mut script);
            Ok(io::stdout().write_all(&script)?)
        }
    }
}

/// Maximum threads for blocking work: the disk, standard input and name look-ups, several of which
/// may hang on a dead network. All other work runs on one thread, to use little of the van's
/// computer.
const BLOCKING_THREADS: usize = 8;

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let result = runtime.block_on(work);
    // Do not wait for a thread that blocks on standard input or on a name server.
    runtime.shutdown_background();
    result
}

fn decode_file(DecodeArguments { file, van }: &DecodeArguments) -> anyhow::Result<()> {
    let out = io::BufWriter::new(io::stdout().lock());
    if file.as_os_str() == "-" {
        return Ok(decode::command(io::stdin().lock(), van, out)?);
    }
    let input = std::fs::File::open(file)
        .map_err(|error| anyhow::anyhow!("{}: cannot be read: {error}", file.display()))?;
    Ok(decode::command(io::BufReader::new(input), van, out)?)
}

fn explain(IdentifyArguments { codes, json, domain }: &IdentifyArguments) -> anyhow::Result<()> {
    let out = io::BufWriter::new(io::stdout().lock());
    let form = if *json { identify::OutputFormat::Json } else { identify::OutputFormat::Text };
    Ok(identify::command(codes, io::stdin().lock(), domain, form, out)?)
}

fn emit_lines(arguments: &ReplayArguments, emit: Emit) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let logs = replay::open(&arguments.logs)?;
    let era = replay::date_hint(arguments.date, &arguments.logs)?;
    let totals = replay::emit_with_rejections(
        logs,
        era,
        sampling(arguments)?,
        emit,
        &mut out,
        |RejectedFixes { at, reason, count }| {
            eprintln!("{:.1} s: {count} rejected: {reason}", at.as_secs_f64());
        },
    )?;
    let reasons = totals.by_reason().filter(|(_, count)| *count > 0);
    let reasons: Vec<String> = reasons.map(|(name, count)| format!("{count} {name}")).collect();
    if !reasons.is_empty() {
        eprintln!("rejected: {}", reasons.join(", "));
    }
    Ok(out.flush()?)
}

fn sampling(arguments: &ReplayArguments) -> anyhow::Result<Sampling> {
    let mut bounds = Bounds::default();
    if let Some(text) = &arguments.max_error_m {
        let metres = text.parse().ok().filter(|metres| *metres >= Bounds::MIN_ERROR_M);
        bounds.max_error = metres
            .and_then(Distance::from_metres)
            .with_context(|| format!("--max-error-m {text}: use metres, 1 or more"))?;
    }
    match arguments.sampling.as_deref() {
        None | Some("raw") => Ok(Sampling::Raw),
        Some("bounded") => Ok(Sampling::Bounded(bounds)),
        Some(other) => anyhow::bail!("--sampling {other}: use raw or bounded"),
    }
}

fn replay_clock(speed: Speed) -> Clock {
    match speed {
        Speed::Factor(factor) => Clock::scaled(factor),
        Speed::Max => Clock::driven_by_data(),
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
    // Only warnings may interrupt the progress bar.
    logging::init(if progress { config.log_level.min(Level::WARN) } else { config.log_level });
    let clock = replay_clock(arguments.speed);
    let era = replay::date_hint(arguments.date, &arguments.logs)?;
    block_on(async {
        let summary =
            replay::run_through_agent(config, era, clock, &arguments.logs, progress).await?;
        writeln!(io::stdout(), "{summary}")?;
        let waiting = summary.pending();
        anyhow::ensure!(
            waiting == 0,
            "replay stopped: {waiting} records in the outbox are not acknowledged"
        );
        Ok(())
    })
}
