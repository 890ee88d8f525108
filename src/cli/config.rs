//! `waypost check` and `waypost config`: validate and show the configuration.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::config::{Config, DEFAULT_PATH, ShowOrigins};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show every key with its effective value, from the file and its drop-ins
    Show {
        /// Path of the configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
        /// Show after each key the file that sets it
        #[arg(long)]
        origin: bool,
    },
}

pub(super) fn command(command: &ConfigCommand) -> anyhow::Result<()> {
    let ConfigCommand::Show { config, origin } = command;
    let origins = if *origin { ShowOrigins::Shown } else { ShowOrigins::Hidden };
    Ok(io::stdout().lock().write_all(Config::show(config, origins)?.as_bytes())?)
}

pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path, &[])?;
    config.check_files(path)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: valid", path.display())?;
    for drop_in in &config.drop_ins {
        writeln!(out, "  with     {drop_in}")?;
    }
    writeln!(out, "  van      {}", config.van)?;
    writeln!(out, "  source   {}", config.source.address)?;
    writeln!(out, "  outbox   {}", config.outbox.path.display())?;
    for broker in &config.uplink.brokers {
        writeln!(out, "  broker   {broker}")?;
    }
    if let Some(proxy) = &config.uplink.proxy {
        writeln!(out, "  proxy    {proxy}")?;
    }
    writeln!(out, "  topics   {}", config.uplink.topics.position)?;
    Ok(())
}
