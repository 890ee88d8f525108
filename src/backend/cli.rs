//! Arguments and help text of `waypost-backend`; subcommand → exit code.

use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::config::{Config, DEFAULT_PATH, Origins, Scope};
use super::epc;
use super::octets;
use super::service::Service;
use super::store::export::Subject;
use super::store::{Store, backup};
use crate::clock::Clock;
use crate::exit;
use crate::logging;
use crate::notify::Notify;
use crate::units::UtcTime;

/// The tracking backend: what vans say is stored once, and shown to whom it may be.
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
    /// Check the configuration: every problem in one report
    Check {
        #[command(flatten)]
        at: ConfigArgument,
        /// Open the store as well, and say what is in it
        #[arg(long)]
        store: bool,
    },
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make a token for the API, and write its table for the configuration
    Token {
        /// Who it is for: 1 to 32 of A-Z a-z 0-9 _ . -
        name: String,
        /// What for, separated by commas: routes, capture, retract, events, desk, metrics
        #[arg(value_delimiter = ',', value_parser = scope, required = true)]
        scopes: Vec<Scope>,
    },
    /// Copy the store into a new file while the backend runs; PostgreSQL has `pg_dump` for that
    Backup {
        #[command(flatten)]
        at: ConfigArgument,
        /// The copy; it must not be there
        file: PathBuf,
    },
    /// Put a copy where the configuration says that the store is; nothing may be there
    Restore {
        #[command(flatten)]
        at: ConfigArgument,
        /// The copy
        file: PathBuf,
    },
    /// Write everything that is known of a parcel or a van, as lines of JSON
    Export {
        #[command(flatten)]
        at: ConfigArgument,
        #[command(flatten)]
        whose: Whose,
        /// Not what is older
        #[arg(long, value_name = "UTC", default_value = "2000-01-01T00:00:00Z", value_parser = utc)]
        since: UtcTime,
    },
    /// Forget a parcel wherever it is named; that something was erased stays in the audit log
    Erase {
        #[command(flatten)]
        at: ConfigArgument,
        /// Its number, as people type it, or its URI
        #[arg(long, value_name = "NUMBER", required = true)]
        parcel: String,
        /// What the request is called in your files, for the audit log; without name and number
        #[arg(long, value_name = "NAME")]
        request: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// A parcel's number, as people type it, or its URI
    #[arg(long, value_name = "NUMBER")]
    parcel: Option<String>,
    /// A van's id
    #[arg(long, value_name = "ID")]
    van: Option<String>,
}

#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Write every key with the value that it has, the file and its drop-ins taken together
    Show {
        #[command(flatten)]
        at: ConfigArgument,
        /// Say after each key which file it is from
        #[arg(long)]
        origin: bool,
    },
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| format!("none of {}", Scope::names()))
}

fn utc(text: &str) -> Result<UtcTime, String> {
    UtcTime::parse(text).ok_or_else(|| "write RFC 3339, as 2026-11-23T00:00:00Z".to_owned())
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
        Command::Run(ConfigArgument { config }) => run(&config),
        Command::Check { at, store: false } => check(&at.config),
        Command::Check { at, store: true } => {
            check(&at.config)?;
            with_store(&at.config, async |store, _| {
                said(&format_args!("  holds    {}", store.census().await?))
            })
        }
        Command::Config(ConfigCommand::Show { at, origin }) => {
            let origins = if origin { Origins::Shown } else { Origins::Hidden };
            Ok(io::stdout().lock().write_all(Config::show(&at.config, origins)?.as_bytes())?)
        }
        Command::Token { name, scopes } => token(&name, &scopes),
        Command::Backup { at, file } => with_store(&at.config, async |store, _| {
            said(&format_args!("{}: {}", file.display(), store.backup(&file).await?))
        }),
        Command::Restore { at, file } => {
            let (store, _) = Config::load_store(&at.config)?;
            block_on(async {
                let census = backup::restore(&file, &store).await?;
                said(&format_args!("restored: {census}"))
            })
        }
        Command::Export { at, whose, since } => with_store(&at.config, async |store, domain| {
            let subject = match (whose.parcel, whose.van) {
                (Some(parcel), _) => Subject::Parcel(of(&store, &domain, &parcel).await?),
                (None, Some(van)) => Subject::Van(van),
                (None, None) => unreachable!("one of them is required"),
            };
            let mut out = io::BufWriter::new(io::stdout());
            store.export(&subject, since, &mut out).await?;
            Ok(out.flush()?)
        }),
        Command::Erase { at, parcel, request } => with_store(&at.config, async |store, domain| {
            let now = Clock::live().utc().context("the clock of this host is not set")?;
            let epc = of(&store, &domain, &parcel).await?;
            let rows = store.erase(&epc, request.as_deref(), now).await?;
            Ok(writeln!(io::stdout(), "{rows} rows are gone or without it")?)
        }),
    }
}

fn said(words: &impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{words}")?)
}

/// Beside an instance that runs, or while none does. `work` also gets `[parcels] domain`.
fn with_store(
    path: &Path,
    work: impl AsyncFnOnce(Store, String) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (config, domain) = Config::load_store(path)?;
    block_on(async { work(Store::open_beside(&config).await?, domain).await })
}

/// The URI of a number, as it was announced; else what such a number most likely stands for.
async fn of(store: &Store, domain: &str, number: &str) -> anyhow::Result<String> {
    if number.contains(':') {
        return Ok(epc::canonical(number));
    }
    if let Some(parcel) = store.parcels_called(number, domain).await?.into_iter().next() {
        return Ok(parcel.epc);
    }
    epc::of_number(number, domain)
        .into_iter()
        .next()
        .ok_or_else(|| anyhow::anyhow!("{number:?} is no number of a parcel"))
}

fn run(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    logging::init(config.log_level);
    block_on(async {
        let stop = CancellationToken::new();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let notify = Notify::from_environment();
        let service = Service::open(config, Clock::live()).await?;
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
    writeln!(out, "{}: in order", path.display())?;
    writeln!(out, "  store    {:?}", config.store)?;
    writeln!(out, "  broker   {}:{}", config.mqtt.host, config.mqtt.port)?;
    writeln!(out, "  listens  {}", config.http.listen)?;
    writeln!(out, "  links    {}", config.http.public_url)?;
    writeln!(out, "  tokens   {}", config.tokens.len())?;
    Ok(())
}

/// 32 random bytes; only their digest is for the configuration.
fn token(name: &str, scopes: &[Scope]) -> anyhow::Result<()> {
    let secret = format!("wp_{}", octets::hex(&octets::random::<32>()));
    let sha256 = octets::sha256(&secret);
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
    let table = format!(
        "[[token]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nscopes = \"{}\"\n",
        scopes.join(", ")
    );
    // The table is checked as the configuration will be.
    let rest = "mqtt.broker = \"mqtt://b\"\nparcels.domain = \"id.example.com\"\n";
    Config::parse(&format!("{rest}{table}"), "token", &[])?;
    let mut out = io::stdout().lock();
    writeln!(out, "# The token, which is shown only now: {secret}\n{table}")?;
    Ok(())
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // A thread that waits for a name server or a mail server must not keep us.
    runtime.shutdown_background();
    result
}
