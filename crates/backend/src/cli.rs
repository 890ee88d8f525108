//! Command line of `waypost-backend`: arguments, help texts and exit codes.

use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::config::{Config, DEFAULT_PATH, Scope, ShowOrigins};
use super::epc;
use super::octets;
use super::store::export::Subject;
use super::store::{Store, backup};
use waypost_model::units::UtcTime;
use waypost_service::clock::Clock;
use waypost_service::exit;
use waypost_service::logging;
use waypost_service::sd_notify::ServiceNotifier;

/// Tracking backend: ingests van telemetry over MQTT and serves recipient and dispatcher pages
#[derive(Debug, Parser)]
#[command(name = "waypost-backend", version, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the backend until SIGTERM
    Run(ConfigArgument),
    /// Check the configuration and report every problem
    Check {
        #[command(flatten)]
        at: ConfigArgument,
        /// Open the store as well and print a summary of its contents
        #[arg(long)]
        store: bool,
    },
    /// Inspect the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Create an API token and print its table for the configuration
    Token {
        /// Name of the client in the audit log: 1 to 32 of A-Z a-z 0-9 _ . -
        name: String,
        /// Scopes, separated by commas: routes, capture, retract, events, desk, metrics
        #[arg(value_delimiter = ',', value_parser = scope, required = true)]
        scopes: Vec<Scope>,
    },
    /// Back up the store to a new file, also while the backend runs; for PostgreSQL use `pg_dump`
    Backup {
        #[command(flatten)]
        at: ConfigArgument,
        /// File to create; it must not exist
        file: PathBuf,
    },
    /// Restore a backup to the configured store, which must not exist yet
    Restore {
        #[command(flatten)]
        at: ConfigArgument,
        /// Backup file
        file: PathBuf,
    },
    /// Export all data about a parcel or a van, as lines of JSON
    Export {
        #[command(flatten)]
        at: ConfigArgument,
        #[command(flatten)]
        whose: ExportSubject,
        /// Omit data older than this time
        #[arg(long, value_name = "UTC", default_value = "2000-01-01T00:00:00Z", value_parser = utc)]
        since: UtcTime,
    },
    /// Erase all data about a parcel (GDPR Art. 17); the erasure is recorded in the audit log
    Erase {
        #[command(flatten)]
        at: ConfigArgument,
        /// Parcel number as printed on the label, or its URI
        #[arg(long, value_name = "NUMBER", required = true)]
        parcel: String,
        /// Reference of the request in your files, for the audit log; without personal data
        #[arg(long, value_name = "NAME")]
        request: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct ExportSubject {
    /// Parcel number as printed on the label, or its URI
    #[arg(long, value_name = "NUMBER")]
    parcel: Option<String>,
    /// Van id
    #[arg(long, value_name = "ID")]
    van: Option<String>,
}

#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// Path of the configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every key with its effective value, with all drop-ins merged
    Show {
        #[command(flatten)]
        at: ConfigArgument,
        /// Append the source file to each key
        #[arg(long)]
        origin: bool,
    },
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| format!("not one of {}", Scope::names()))
}

fn utc(text: &str) -> Result<UtcTime, String> {
    UtcTime::parse(text).ok_or_else(|| "use RFC 3339, such as 2026-11-23T00:00:00Z".to_owned())
}

/// Returns the command definition for the manual and shell completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Parses the arguments and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    exit::run(|Arguments { command }| execute(command))
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(ConfigArgument { config }) => run(&config),
        Command::Check { at, store: false } => check(&at.config),
        Command::Check { at, store: true } => {
            check(&at.config)?;
            with_store(&at.config, async |store, _| {
                print_line(&format_args!("  holds    {}", store.summary().await?))
            })
        }
        Command::Config(ConfigCommand::Show { at, origin }) => {
            let origins = if origin { ShowOrigins::Shown } else { ShowOrigins::Hidden };
            Ok(io::stdout().lock().write_all(Config::show(&at.config, origins)?.as_bytes())?)
        }
        Command::Token { name, scopes } => token(&name, &scopes),
        Command::Backup { at, file } => with_store(&at.config, async |store, _| {
            print_line(&format_args!("{}: {}", file.display(), store.backup(&file).await?))
        }),
        Command::Restore { at, file } => {
            let (store, _) = Config::load_store(&at.config)?;
            block_on(async {
                let summary = backup::restore(&file, &store).await?;
                print_line(&format_args!("restored: {summary}"))
            })
        }
        Command::Export { at, whose, since } => with_store(&at.config, async |store, domain| {
            let subject = match (whose.parcel, whose.van) {
                (Some(parcel), _) => Subject::Parcel(resolve_epc(&store, &domain, &parcel).await?),
                (None, Some(van)) => Subject::Van(van),
                (None, None) => unreachable!("clap requires one of them"),
            };
            let mut out = io::BufWriter::new(io::stdout());
            store.export(&subject, since, &mut out).await?;
            Ok(out.flush()?)
        }),
        Command::Erase { at, parcel, request } => with_store(&at.config, async |store, domain| {
            let now = Clock::live().utc().context("the clock of this host is not set")?;
            let epc = resolve_epc(&store, &domain, &parcel).await?;
            let rows = store.erase(&epc, request.as_deref(), now).await?;
            Ok(writeln!(io::stdout(), "{rows} rows deleted or redacted")?)
        }),
    }
}

fn print_line(words: &impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{words}")?)
}

/// Opens the store, also while an instance runs, and passes it to `work` with `[parcels] domain`.
fn with_store(
    path: &Path,
    work: impl AsyncFnOnce(Store, String) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (config, domain) = Config::load_store(path)?;
    block_on(async { work(Store::open_for_command(&config).await?, domain).await })
}

/// Returns the URI of an announced parcel with this number, else the most likely URI of the number.
async fn resolve_epc(store: &Store, domain: &str, number: &str) -> anyhow::Result<String> {
    if number.contains(':') {
        return Ok(epc::canonical(number));
    }
    let mut found = store.find_parcels(number, domain).await?;
    if found.len() > 1 {
        anyhow::bail!(super::queries::ambiguous_number(&found));
    }
    if let Some(parcel) = found.pop() {
        return Ok(parcel.epc);
    }
    epc::uris_for_number(number, domain)
        .into_iter()
        .next()
        .ok_or_else(|| anyhow::anyhow!("{number:?} is not a parcel number"))
}

fn run(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    logging::init(config.log_level);
    block_on(async {
        let stop = CancellationToken::new();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let notify = ServiceNotifier::from_environment();
        let service = App::open(config, Clock::live()).await?;
        notify.ready();
        let signals = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            notify.stopping();
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(
            async {
                let ended = service.run(stop.clone(), notify.clone()).await;
                stop.cancel();
                ended
            },
            async {
                tokio::select! {
                    () = signals => {}
                    () = stop.cancelled() => {}
                }
            }
        );
        ended
    })
}

fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: OK", path.display())?;
    writeln!(out, "  store    {:?}", config.store)?;
    writeln!(out, "  broker   {}:{}", config.mqtt.host, config.mqtt.port)?;
    writeln!(out, "  listens  {}", config.http.listen)?;
    writeln!(out, "  links    {}", config.http.public_url)?;
    writeln!(out, "  tokens   {}", config.tokens.len())?;
    Ok(())
}

/// Creates a token of 32 random bytes; the configuration contains only its digest.
fn token(name: &str, scopes: &[Scope]) -> anyhow::Result<()> {
    let secret = format!("wp_{}", hex::encode(octets::random::<32>()));
    let sha256 = octets::sha256(&secret);
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let table = format!(
        "[[token]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nscopes = \"{}\"\n",
        scopes.join(", ")
    );
    // Validates the printed table like a configuration.
    let rest = "mqtt.broker = \"mqtt://b\"\nparcels.domain = \"id.example.com\"\n";
    Config::parse(&format!("{rest}{table}"), "token", &[])?;
    let mut out = io::stdout().lock();
    writeln!(out, "# The token, printed only once: {secret}\n{table}")?;
    Ok(())
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // Does not wait for threads that block on DNS or SMTP.
    runtime.shutdown_background();
    result
}
