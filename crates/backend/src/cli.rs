//! Command line of `waypost-backend`: arguments, help texts and exit codes.

use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::AppState;
use super::app::App;
use super::config::{Config, DEFAULT_PATH, Scope, ShowOrigins};
use super::epc;
use super::ingest::{
    self,
    retry::{self, RetryResult},
};
use super::octets;
use super::store::export::Subject;
use super::store::retention::MAX_DEAD_LETTERS;
use super::store::{Store, Workload, backup, change_notify};
use waypost_model::units::UtcTime;
use waypost_service::clock::Clock;
use waypost_service::exit;
use waypost_service::logging;
use waypost_service::sd_notify::ServiceNotifier;
use waypost_wire::VanId;

/// Time for the notification of running instances after an adoption.
const NOTIFY_GRACE: Duration = Duration::from_secs(1);

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
    /// List, show, retry or drop messages that were rejected
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Hand an event source over to another van, for example after a van was renamed
    HandOver {
        #[command(flatten)]
        at: ConfigArgument,
        /// URI in `source` of the van's events, such as <https://id.gs1.org/8004/9521234VAN042>
        source: String,
        /// Id of the van that owns it from now on
        #[arg(value_parser = van_id)]
        van: String,
    },
    /// Record that a parcel was handed over to a van that no route gives it to
    Transfer {
        #[command(flatten)]
        at: ConfigArgument,
        /// Parcel number as printed on the label, or its URI
        #[arg(long, value_name = "NUMBER", required = true)]
        parcel: String,
        /// Id of the van that has it now
        #[arg(long, value_name = "ID", required = true, value_parser = van_id)]
        van: String,
    },
    /// Take over the MQTT session of an instance that is gone: store what waits in it, and end it
    Adopt {
        #[command(flatten)]
        at: ConfigArgument,
        /// `mqtt.client_id` of that instance, as `/healthz` names it
        #[arg(value_name = "CLIENT_ID")]
        client_id: String,
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

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    /// Print the newest messages, one line each
    List {
        #[command(flatten)]
        at: ConfigArgument,
        /// Only messages of this van
        #[arg(long, value_name = "ID", value_parser = van_id)]
        van: Option<String>,
        /// Maximum number of messages
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Print the payload of a message
    Show {
        #[command(flatten)]
        at: ConfigArgument,
        /// Number of the message
        n: i64,
    },
    /// Process messages again, after the cause was removed; those still rejected remain
    Retry {
        #[command(flatten)]
        at: ConfigArgument,
        #[command(flatten)]
        which: ChosenDeadLetters,
    },
    /// Delete messages
    Drop {
        #[command(flatten)]
        at: ConfigArgument,
        #[command(flatten)]
        which: ChosenDeadLetters,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct ChosenDeadLetters {
    /// Numbers of the messages
    n: Vec<i64>,
    /// All messages of this van
    #[arg(long, value_name = "ID", value_parser = van_id)]
    van: Option<String>,
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

fn van_id(text: &str) -> Result<String, String> {
    VanId::new(text).map(|van| van.to_string()).map_err(|error| error.to_string())
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
        Command::DeadLetters(command) => dead_letters(command),
        Command::HandOver { at, source, van } => with_store(&at.config, async |store, _| {
            let by = (OPERATOR, host_time()?);
            store.hand_over_source(&source, &van, by).await?;
            print_line(&format_args!("{source} belongs to {van}"))
        }),
        Command::Transfer { at, parcel, van } => {
            let page = Config::load_retention(&at.config)?.page;
            with_store(&at.config, async |store, domain| {
                let epc = resolve_epc(&store, &domain, &parcel).await?;
                store.transfer_parcel(&epc, &van, (OPERATOR, host_time()?), page).await?;
                print_line(&format_args!("{epc} was handed over to {van}"))
            })
        }
        Command::Adopt { at, client_id } => adopt(&at.config, &client_id),
        Command::Erase { at, parcel, request } => with_store(&at.config, async |store, domain| {
            let now = host_time()?;
            let epc = resolve_epc(&store, &domain, &parcel).await?;
            let rows = store.erase(&epc, request.as_deref(), now).await?;
            Ok(writeln!(io::stdout(), "{rows} rows deleted or redacted")?)
        }),
    }
}

/// Name of this program's user in the audit log.
const OPERATOR: &str = "operator";

fn host_time() -> anyhow::Result<UtcTime> {
    Clock::live().utc().context("the clock of this host is not set")
}

fn dead_letters(command: DeadLettersCommand) -> anyhow::Result<()> {
    match command {
        DeadLettersCommand::List { at, van, limit } => with_store(&at.config, async |store, _| {
            let letters = match &van {
                Some(van) => store.dead_letters_of_van(van, i64::MAX, limit).await?,
                None => store.dead_letters(i64::MAX, limit).await?,
            };
            for letter in letters {
                print_line(&format_args!(
                    "{}  {}  {}  {} bytes  {}",
                    letter.n, letter.received_at, letter.topic, letter.bytes, letter.reason
                ))?;
            }
            Ok(())
        }),
        DeadLettersCommand::Show { at, n } => with_store(&at.config, async |store, _| {
            let letter = store.dead_letter(n).await?.context(NO_DEAD_LETTER)?;
            let mut out = io::stdout().lock();
            out.write_all(&letter.payload)?;
            Ok(writeln!(out)?)
        }),
        DeadLettersCommand::Retry { at, which } => {
            let page = Config::load_retention(&at.config)?.page;
            with_store(&at.config, async |store, _| {
                let now = host_time()?;
                let mut rejected = 0;
                for n in chosen_dead_letters(&store, &which).await? {
                    let letter = store.dead_letter(n).await?.context(NO_DEAD_LETTER)?;
                    match retry::retry(&store, &letter, now, page).await? {
                        RetryResult::Stored => print_line(&format_args!("{n}: stored"))?,
                        RetryResult::Rejected(reason) => {
                            rejected += 1;
                            print_line(&format_args!("{n}: still rejected: {reason}"))?;
                        }
                    }
                }
                anyhow::ensure!(rejected == 0, "{rejected} messages are still rejected");
                Ok(())
            })
        }
        DeadLettersCommand::Drop { at, which } => with_store(&at.config, async |store, _| {
            let mut dropped = 0;
            for n in chosen_dead_letters(&store, &which).await? {
                dropped += u64::from(store.delete_dead_letter(n).await?);
            }
            print_line(&format_args!("{dropped} messages deleted"))
        }),
    }
}

const NO_DEAD_LETTER: &str = "there is no such message; `dead-letters list` prints their numbers";

/// Numbers of the chosen dead letters, oldest first, since later events may depend on earlier ones.
async fn chosen_dead_letters(store: &Store, which: &ChosenDeadLetters) -> anyhow::Result<Vec<i64>> {
    let Some(van) = &which.van else { return Ok(which.n.clone()) };
    let limit = u32::try_from(MAX_DEAD_LETTERS).unwrap_or(u32::MAX);
    let letters = store.dead_letters_of_van(van, i64::MAX, limit).await?;
    Ok(letters.iter().rev().map(|letter| letter.n).collect())
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

/// Adopts the session of an absent instance.
fn adopt(path: &Path, client_id: &str) -> anyhow::Result<()> {
    let mut config = Config::load(path)?;
    logging::init(config.log_level);
    block_on(async {
        let clock = Clock::live();
        let now = clock.utc().context("the clock of this host is not set")?;
        let store = Store::open_for_command(&config.store).await?.for_workload(Workload::Ingest);
        let instances = store.instances().await?;
        let Some(instance) = instances.iter().find(|instance| instance.client_id == client_id)
        else {
            let known: Vec<&str> =
                instances.iter().map(|instance| instance.client_id.as_str()).collect();
            anyhow::bail!(
                "{client_id:?} is not a registered instance; registered are: {}",
                known.join(", ")
            );
        };
        anyhow::ensure!(
            instance.is_absent(now),
            "{client_id} sent a heartbeat {} s ago; stop it, or wait until it is absent",
            instance.silence(now).as_secs()
        );
        client_id.clone_into(&mut config.mqtt.client_id);
        config.mqtt.share_group.clone_from(&instance.share_group);
        let shared = AppState::new(config, store, clock);
        // The running instances learn of the changes.
        let stop = CancellationToken::new();
        let notifying = tokio::spawn(change_notify::run(shared.clone(), stop.clone()));
        let adopted = ingest::adopt(shared.clone(), CancellationToken::new()).await;
        tokio::time::sleep(NOTIFY_GRACE).await;
        stop.cancel();
        notifying.await?;
        let (had_session, counters) = adopted.map_err(anyhow::Error::msg)?;
        shared.store.remove_instance(client_id).await?;
        if !had_session {
            return print_line(&format_args!("{client_id}: the broker has no session of it"));
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        print_line(&format_args!(
            "{client_id}: {} messages stored ({} new events, {} new points), session ended",
            count(&counters.messages),
            count(&counters.events),
            count(&counters.points)
        ))
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
